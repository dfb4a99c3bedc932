"""Workload: documents of about 220 words of real text, with planted near-duplicates, and the complete truth about them.

A document is five passages of 44 words from random places of a stream of real prose: the shared corpora beside the
repository when they are there, and the documentation inside the Python installation in any case. A fifth of the
documents are altered copies of earlier ones (or of copies) at a Jaccard aimed at evenly from .5 to 1: scattered words
replaced, a passage replaced, cut off or added, or upper case only. The same machine and numbers give the same text.
"""

import ast
import csv
import gzip
import itertools
import json
import random
import re
import subprocess
import sys
import sysconfig
import unicodedata
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl

PASSAGES, PASSAGE_WORDS = 5, 44
COPIES = 0.2
RESERVOIR = 2000
STREAM_CHARACTERS = 28_000_000
LEAST_TRUE = 0.5
# Scripts whose letters are words of their own are taken out: a regular expression then finds the same words.
SPACELESS = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u19e0-\u1aaf\u1b00-\u1b7f\u2e80-\u9fff\ua980-\uaadf"
                       "\uf900-\ufaff\U0001afd0-\U0003ffff]+")  # fmt: skip


def prose() -> str:
    """Return about 28 million characters, or what there is of real text."""
    texts, size = [], 0
    for text in itertools.chain(_corpora(Path(__file__).parents[3] / "shared" / "corpora"), _documentation()):
        texts.append(SPACELESS.sub(" ", text))
        size += len(text)
        if size > STREAM_CHARACTERS:
            break
    return "\n".join(texts)


def _corpora(folder: Path) -> Iterator[str]:
    csv.field_size_limit(1 << 30)
    for file in sorted(folder.glob("*/**/*")):
        if file.suffix == ".txt":
            yield file.read_text(encoding="utf-8", errors="replace")
        elif file.name.endswith(".jsonl.gz"):
            with gzip.open(file, "rt", encoding="utf-8") as lines:
                yield from (json.loads(line)["text"] for line in lines)
        elif file.suffix == ".parquet":
            yield from pl.read_parquet(file)["text"].drop_nulls()
        elif file.suffix == ".csv":
            with file.open(newline="", encoding="utf-8") as lines:
                yield from (row["text"] for row in csv.DictReader(lines) if row.get("text"))


def _documentation() -> Iterator[str]:
    """Yield the docstrings of the standard library, then the readmes of the installed packages."""
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef)
    for file in sorted(Path(sysconfig.get_path("stdlib")).glob("**/*.py")):
        if "site-packages" not in file.parts and "test" not in file.parts:
            try:
                tree = ast.parse(file.read_text(encoding="utf-8"))
            except (SyntaxError, ValueError):
                continue
            yield "\n".join(ast.get_docstring(node) or "" for node in ast.walk(tree) if isinstance(node, kinds))
    for file in sorted(Path(sysconfig.get_path("purelib")).rglob("*")):
        if file.suffix in (".md", ".rst") or file.name == "METADATA":
            yield file.read_text(encoding="utf-8", errors="replace")


def documents(count: int, seed: int = 1) -> Iterator[str]:
    """Yield the documents, one after another; memory holds the stream and a few thousand of them."""
    draw = random.Random(seed)
    stream = prose()
    starts = np.fromiter((match.start() for match in re.finditer(r"\S+", stream)), np.int64)

    def passage(words: int) -> str:
        start = draw.randrange(len(starts) - words - 1)
        return stream[starts[start] : starts[start + words]].rstrip()

    kept: list[str] = []
    for _ in range(count):
        if kept and draw.random() < COPIES:
            text = altered(draw.choice(kept), draw, passage)
        else:
            text = " ".join(passage(PASSAGE_WORDS) for _ in range(PASSAGES))
        if len(kept) < RESERVOIR:
            kept.append(text)
        elif draw.random() < 0.2:
            kept[draw.randrange(RESERVOIR)] = text
        yield text


def altered(text: str, draw: random.Random, passage: object) -> str:
    """Return a copy at about a Jaccard of word 5-grams drawn evenly from .5 to 1."""
    assert callable(passage)
    words = text.split(" ")
    jaccard = draw.uniform(0.5, 1.0)
    share = (1 - jaccard) / (1 + jaccard)  # of the shingles of either text that the other lacks
    kind = draw.choice(["scattered", "scattered", "replaced", "cut", "added", "upper"])
    if kind == "scattered":  # a word stands in five shingles
        for _ in range(round(share * len(words) / 5)):
            words[draw.randrange(len(words))] = passage(1)
    elif kind == "replaced":
        length = max(1, round(share * len(words)) - 4)
        start = draw.randrange(max(1, len(words) - length))
        words[start : start + length] = [passage(length)]
    elif kind == "cut":
        words = words[: max(1, round(jaccard * len(words)))]
    elif kind == "added":
        words.append(passage(max(1, round((1 / jaccard - 1) * len(words)))))
    else:
        words = [word.upper() for word in words]
    return " ".join(words)


def write(file: Path, count: int, seed: int = 1) -> None:
    """Write the documents as JSON Lines (id, text)."""
    write_parts([file], count, count, seed)


def write_parts(files: list[Path], count: int, part: int, seed: int = 1) -> None:
    """Write `part` documents to each file, in a process of its own: the stream would count as our memory."""
    arguments = [str(count), str(part), str(seed), *map(str, files)]
    subprocess.run([sys.executable, __file__, *arguments], check=True)


def write_forms(files: list[Path], count: int, part: int) -> None:
    """Write texts of 200 words, all copies of one form in which two words differ, `part` to each file."""
    draw = random.Random(1)
    for number, file in enumerate(files):
        with file.open("w", encoding="utf-8") as lines:
            for _ in range(min(part, count - number * part)):
                words = [f"word{place}" for place in range(200)]
                for place in draw.sample(range(200), 2):
                    words[place] = f"own{draw.randrange(10**9)}"
                lines.write(json.dumps({"text": " ".join(words)}) + "\n")


def read(file: Path) -> list[str]:
    with file.open(encoding="utf-8") as lines:
        return [json.loads(line)["text"] for line in lines]


def truth(texts: list[str], ngram: int = 5, least: float = LEAST_TRUE) -> dict[tuple[int, int], float]:
    """Return every pair (a < b) with Jaccard >= least of the sets of word n-grams, without any hash or sample.

    Words come from a regular expression, shingles are numbered exactly, pairs from an inverted index of the rarest
    shingles: two sets with J >= t and the larger of size s share at least ceil(t·s), so one of the s - ceil(t·s) + 1
    rarest of each is common to both. Each pair that meets there is compared by Python's sets.
    """
    sets = _shingle_sets(texts, ngram)
    counts = np.bincount(np.concatenate(sets)) if sets else np.zeros(0, np.int64)
    rarest = []
    for numbers in sets:
        ordered = numbers[np.lexsort((numbers, counts[numbers]))]
        rarest.append(ordered[: len(ordered) - int(np.ceil(least * len(ordered) - 1e-9)) + 1])
    owner = np.repeat(np.arange(len(texts)), [len(part) for part in rarest])
    shingle = np.concatenate(rarest)
    order = np.lexsort((owner, shingle))
    owner, shingle = owner[order], shingle[order]
    met: list[np.ndarray] = []
    here, distance = np.arange(len(owner)), 1
    while len(here):  # equal shingles lie together: what differs from the next but one differs from all further ones
        here = here[here + distance < len(owner)]
        here = here[shingle[here] == shingle[here + distance]]
        met.append(np.unique(owner[here] << 32 | owner[here + distance]))
        distance += 1
    pairs = np.unique(np.concatenate(met)) if met else np.zeros(0, np.int64)
    as_sets: dict[int, set[int]] = {}
    found = {}
    for a, b in zip((pairs >> 32).tolist(), (pairs & 0xFFFFFFFF).tolist(), strict=True):
        if min(len(sets[a]), len(sets[b])) < least * max(len(sets[a]), len(sets[b])):
            continue
        first, second = (as_sets.setdefault(i, set(sets[i].tolist())) for i in (a, b))
        common = len(first & second)
        jaccard = common / (len(first) + len(second) - common)
        if jaccard >= least:
            found[a, b] = round(jaccard, 6)
    return found


def _shingle_sets(texts: list[str], ngram: int) -> list[np.ndarray]:
    """Return the distinct shingles of each text as numbers: equal numbers are equal words, with no chance of error."""
    vocabulary: dict[str, int] = {}
    rows = [
        [vocabulary.setdefault(word, len(vocabulary)) for word in re.findall(r"\w+", _folded(text))] for text in texts
    ]
    sizes = [len(row) for row in rows]
    if min(sizes, default=ngram) < ngram:
        raise ValueError(f"the truth is told for documents of at least {ngram} words")
    words = np.concatenate([np.array(row, np.int64) for row in rows])
    numbers = words
    for length in range(1, ngram):  # number of an n-gram = rank of (number of its first n - 1 words, last word)
        both = numbers[: len(words) - length] * len(vocabulary) + words[length:]
        numbers = np.unique(both, return_inverse=True)[1]
    ends = np.cumsum(sizes)
    return [np.unique(numbers[end - size : end - ngram + 1]) for end, size in zip(ends, sizes, strict=True)]


def _folded(text: str) -> str:
    return unicodedata.normalize("NFKC", text).lower()


def _main() -> None:
    count, part, seed = (int(argument) for argument in sys.argv[1:4])
    numbered = enumerate(documents(count, seed))
    for name in sys.argv[4:]:
        with open(name, "w", encoding="utf-8") as output:
            for number, text in itertools.islice(numbered, part):
                output.write(json.dumps({"id": number, "text": text}, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    _main()
