"""Languages by cuvee's kernels and by fastText itself: labels, scores and CPU time, on texts in many languages.

    python benchmarks/language.py [--texts 100000] [--bytes 1370] [--locales /usr/share/locale]

The texts are made of the translations that a Debian machine has of its programs' messages: as many for each language
that has 50 kB of them, messages in random order. Both read the same text with the same model.
"""

import argparse
import random
import struct
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import fasttext_pybind  # type: ignore[import-not-found]
import polars as pl

from cuvee.tasks.filters import _fasttext, language

LEAST_CHARACTERS = 50_000


def translations(path: Path) -> Iterator[str]:
    """Give the translated messages of a catalogue of gettext (.mo)."""
    content = path.read_bytes()
    order = "<" if content[:4] == b"\xde\x12\x04\x95" else ">"
    count, originals, translated = struct.unpack_from(f"{order}3I", content, 8)
    for entry in range(count):
        (named,) = struct.unpack_from(f"{order}I", content, originals + 8 * entry)
        size, start = struct.unpack_from(f"{order}2I", content, translated + 8 * entry)
        if named and size:  # the message without a name is the head
            yield " ".join(content[start : start + size].split(b"\0")[0].decode(errors="replace").split())


def messages(folder: Path) -> dict[str, list[str]]:
    """Gather the messages of each language."""
    found: dict[str, set[str]] = {}
    for path in sorted(folder.glob("*/LC_MESSAGES/*.mo")):
        code = path.parts[-3].split("_")[0].split("@")[0]
        found.setdefault(code, set()).update(text for text in translations(path) if len(text) > 20)
    enough = {code: sorted(texts) for code, texts in found.items() if sum(map(len, texts)) >= LEAST_CHARACTERS}
    return dict(sorted(enough.items()))


def texts(by_language: dict[str, list[str]], count: int, size: int) -> Iterator[tuple[str, str]]:
    """Give language and text, of at least `size` bytes each."""
    draw = random.Random(11)
    for number in range(count):
        code = list(by_language)[number % len(by_language)]
        parts: list[str] = []
        while sum(len(part.encode()) for part in parts) < size:
            parts.append(draw.choice(by_language[code]))
        yield code, " ".join(parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", type=int, default=100_000)
    parser.add_argument("--bytes", type=int, default=1370)
    parser.add_argument("--locales", type=Path, default=Path("/usr/share/locale"))
    arguments = parser.parse_args()
    made = list(texts(messages(arguments.locales), arguments.texts, arguments.bytes))
    codes, given = zip(*made, strict=True)
    column = pl.Series("text", given)
    size = column.str.len_bytes().mean()
    print(f"{len(made):,} texts in {len(set(codes))} languages, {size:,.0f} bytes each")

    model = _fasttext.load(language.path())
    native = fasttext_pybind.fasttext()
    native.loadModel(str(language.path()))
    model.likeliest(column[:2])  # what is compiled once is not counted
    ours, theirs, answers, found = 0.0, 0.0, [], []
    # In turns, so that both have the same machine.
    for start in range(0, len(made), 5000):
        part = column[start : start + 5000]
        began = time.process_time()
        found.append(model.likeliest(part))
        between = time.process_time()
        answers += [native.predict(f"{text}\n", 1, 0.0, "strict")[0] for text in part]
        ours, theirs = ours + between - began, theirs + time.process_time() - between
    frame = pl.concat(found).with_columns(
        language=pl.Series(codes),
        expected=pl.Series([label.removeprefix("__label__") for _, label in answers]),
        expected_score=pl.Series([score for score, _ in answers]),
    )
    same = frame.filter(pl.col("label") == pl.col("expected"))
    apart = same.select((pl.col("score") - pl.col("expected_score")).abs().max()).item()
    print(f"labels equal: {same.height:,} of {frame.height:,} ({same.height / frame.height:.4%})")
    print(f"largest difference of a score: {apart:.1e}")
    cpu = ours / len(made) * 1e6, theirs / len(made) * 1e6, theirs / ours
    print("CPU: {:.1f} µs a text, fastText {:.1f}, {:.1f} times".format(*cpu))
    for row in frame.filter(pl.col("label") != pl.col("expected")).head(10).iter_rows():
        print("  differs:", row)
    right = Counter(code for code, label in zip(codes, frame["label"], strict=True) if code == label)
    print(f"named as their catalogue is: {sum(right.values()):,}, in {len(right)} languages")


if __name__ == "__main__":
    main()
