"""The files and functions that a run enters, without an engine: how much a reader has to know of to follow a row.

    python benchmarks/trace.py [--files]

40 made rows, two filters, a local store; the second of two runs in one process, so that what is loaded or compiled once
is not counted.
"""

import argparse
import itertools
import json
import random
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from types import FrameType

import cuvee
from cuvee.flows import pipeline
from cuvee.flows.hands import PlainHands
from cuvee.tasks.begin import new_run_id

RECIPE = """corpus: traced
sources: [{name: rows, uri: rows.jsonl}]
filters:
  - {kind: language, keep: [en], min_score: 0.0}
  - {kind: gopher_quality}
"""
WORDS = [
    "the",
    "of",
    "and",
    "to",
    "in",
    "that",
    "have",
    "with",
    "river",
    "stone",
    "market",
    "garden",
    "letter",
    "window",
    "morning",
    "evening",
    "teacher",
    "doctor",
    "harbour",
    "mountain",
    "bridge",
    "village",
    "captain",
    "history",
    "music",
    "paper",
    "summer",
    "winter",
    "question",
    "answer",
    "moment",
    "people",
    "place",
    "house",
    "night",
]


def rows() -> list[bytes]:
    """Make 40 rows of 14 sentences."""
    draw = random.Random(3)
    texts = (
        " ".join(" ".join(draw.choices(WORDS, k=draw.randrange(8, 14))).capitalize() + "." for _ in range(14))
        for _ in range(40)
    )
    return [json.dumps({"id": str(number), "text": text}).encode() for number, text in enumerate(texts)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", action="store_true", help="name each file with the functions entered in it")
    arguments = parser.parse_args()
    root = str(Path(cuvee.__file__).parent)
    entered: dict[str, set[str]] = defaultdict(set)

    def note(frame: FrameType, event: str, _: object) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(root):
            entered[frame.f_code.co_filename.removeprefix(f"{root}/")].add(frame.f_code.co_qualname)

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "rows.jsonl").write_bytes(b"\n".join(rows()))
        (folder / "recipe.yaml").write_text(RECIPE, encoding="utf-8")
        for number in itertools.count():
            sys.setprofile(note if number else None)
            store = str(folder / f"store-{number}")
            pipeline.carry_out(str(folder / "recipe.yaml"), (), store, False, new_run_id(), PlainHands())
            sys.setprofile(None)
            if number:
                break
    print(f"{len(entered)} files, {sum(map(len, entered.values()))} functions")
    for file in sorted(entered) if arguments.files else ():
        print(f"  {file}: {', '.join(sorted(entered[file]))}")


if __name__ == "__main__":
    main()
