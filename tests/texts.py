"""Real human text for tests: the language reference that comes with Python, in documents of a few paragraphs."""

import hashlib
import json
import random
from functools import cache
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any


@cache
def paragraphs() -> tuple[str, ...]:
    found = {" ".join(part.split()) for topic in topics.values() for part in topic.split("\n\n")}
    return tuple(sorted(part for part in found if 15 <= len(part.split()) <= 200 and "|" not in part))


def documents(count: int, seed: int = 0) -> list[str]:
    """Documents of four paragraphs each: alike in style, each its own."""
    draw = random.Random(seed)
    return ["\n\n".join(draw.sample(paragraphs(), 4)) for _ in range(count)]


def write_jsonl(path: Path, texts: list[str], **fields: Any) -> Path:
    """One row a text, with an id of its content."""
    rows = [{"id": hashlib.sha256(text.encode()).hexdigest()[:12], "text": text, **fields} for text in texts]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path
