"""Decontaminate: find texts that hold parts of a benchmark.

Output columns of `scan`, one row a text: overlap (float32, 0 to 1), item (string or null, null where overlap is 0).

Words are those of the near-duplicate step (`dedup.words`); an n-gram is `ngram` consecutive words with a letter among
them, compared by a 64-bit hash. Overlap is the larger of two shares:
- the largest share of a paragraph's n-grams that are found in the benchmarks; paragraphs are lines, n-grams of a
  paragraph lie in it, and a paragraph without an n-gram is passed over (Marin and GPT-3 judge by 13-grams);
- the largest share of one item's n-grams that are found in the text, across its lines.
An item of MIN_WORDS to ngram - 1 words is one n-gram of all its words (GPT-3 goes down to 8: Brown et al. 2020,
appendix C); a shorter one would be found by chance: it is not looked for, and listed in `too_short`.

`item` names the item of the larger share; for a paragraph, the item with most hits in it. Ties go to the item that
comes first.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from cuvee.schemas.errors import InputError, IntegrityError, RecipeError
from cuvee.tasks import readers
from cuvee.tasks.measure.n_grams import (
    extend,
    filter_of,
    judge_items,
    judge_paragraphs,
    list_n_grams,
    look_up,
    next_letters,
)
from cuvee.tasks.words.kernel import Int64s, Text, Uint64s, word_hashes

# A change of what is found, or of the shares, makes stored results void: raise it.
VERSION = 2
MIN_WORDS = 8
# Text scanned at a time: its words and n-grams, about five times as many bytes, stay in the processor's cache.
_SLICE_BYTES = 1 << 20

# Planted in every index and every scan. Words that no language has, so that no text can hold them; mixed case, a
# ligature and a combining mark, so that it takes the slow way through normalisation as well as the fast one.
CANARY_NAME = "canary"
CANARY = (
    "Quivorblax zemmitrune Ospandrik vellucarne thrixomide Ubbenforth calydrune pexivolt Grommelquay ﬁthrabine "
    "jorvandel Skimmetrax e\u0301loquarn dwybbenish voltramere Hexapindle crovanthine Mirrowgast tulquendor fennixabra"
)
# Formats of which a record is an item.
_FORMATS = ("csv", "jsonl", "parquet")


class BenchmarkItem(NamedTuple):
    """One question, passage or answer of a benchmark; `name` is file:index, from 0."""

    name: str
    text: str


class Index(NamedTuple):
    """N-grams of all items, by hash; the last item is the canary."""

    ngram: int
    names: list[str]
    hashes: Uint64s  # distinct, ascending
    starts: Int64s  # items of hashes[i] are owners[starts[i] : starts[i + 1]]
    owners: Int64s
    totals: Int64s  # distinct n-grams of each item
    lengths: list[int]  # of the n-grams there are, ascending
    filter: Uint64s  # see n_grams.filter_of
    too_short: list[str]  # items of fewer than MIN_WORDS words (or ngram, if that is less), or without a letter


def read_benchmarks(paths: Sequence[Path]) -> list[BenchmarkItem]:
    """Return the items of the benchmark files, in order of paths and rows.

    jsonl, Parquet, CSV and TSV (all but Parquet also .gz, .zst): a record is an item, made of its string fields at any
    depth, a line each. txt: a line that is not blank is an item. Raises RecipeError for a file that is none of these or
    is not there, InputError for one that cannot be read.
    """
    items = []
    for path in paths:
        if not path.is_file():
            raise RecipeError(f"decontaminate.benchmarks: {path}: no such file")
        for index, text in enumerate(_records(path)):
            items.append(BenchmarkItem(f"{path.name}:{index}", text))
    return items


def build(items: Sequence[BenchmarkItem], ngram: int = 13) -> Index:
    """Return the index of the items and of the canary. Raises RecipeError for an n-gram below 3."""
    if ngram < 3:
        raise RecipeError(f"decontaminate.ngram: {ngram} is too short to mean anything; give at least 3")
    items = [*items, BenchmarkItem(CANARY_NAME, CANARY)]
    words = word_hashes(pa.array([entry.text for entry in items], pa.large_string()))
    sizes = np.diff(words.offsets)
    shortest = min(ngram, MIN_WORDS)
    parts, owners, too_short = [], [], []
    for number, (entry, size) in enumerate(zip(items, sizes, strict=True)):
        length = min(ngram, int(size))
        part = slice(words.offsets[number], words.offsets[number + 1])
        hashes, usable = list_n_grams(words.hashes[part], words.has_letter[part], max(length, 1))
        distinct = np.unique(hashes[usable])
        if length < shortest or not len(distinct):
            too_short.append(entry.name)
            continue
        parts.append(distinct)
        owners.append(np.full(len(distinct), number))
    hashes, owner = np.concatenate(parts), np.concatenate(owners)
    order = np.lexsort((owner, hashes))
    distinct, starts = np.unique(hashes[order], return_index=True)
    return Index(
        ngram=ngram,
        names=[entry.name for entry in items],
        hashes=distinct,
        starts=np.append(starts, len(owner)),
        owners=owner[order],
        totals=np.bincount(owner, minlength=len(items)),
        lengths=sorted({min(ngram, int(size)) for size in sizes if size >= shortest} | {ngram}),
        filter=filter_of(distinct),
        too_short=too_short,
    )


def scan(text: Text, index: Index) -> pl.DataFrame:
    """Return overlap and item of each text. Raises IntegrityError when the planted canary is not found."""
    if isinstance(text, pa.ChunkedArray):
        text = text.combine_chunks()
    text = text.cast(pa.large_string())
    tally = _Tally(len(index.hashes), len(index.names))
    parts = [_scan_slice(part, index, tally) for part in _slices(text)]
    overlap = np.concatenate([part[0] for part in parts])
    owner = np.concatenate([part[1] for part in parts])
    names = pl.Series([*index.names, None], dtype=pl.String)
    # Number -1 takes the last entry, null.
    return pl.DataFrame({"overlap": overlap, "item": names.gather(np.where(owner < 0, len(index.names), owner))})


class _Tally:
    """What is counted while texts are scanned. Texts and words are numbered through, so nothing is ever reset."""

    def __init__(self, n_grams: int, items: int) -> None:
        self.texts = self.words = 0  # scanned so far
        self.counted = np.full(n_grams, -1, np.int64)  # the last text in which an n-gram was counted
        self.text_of, self.hits = np.full(items, -1, np.int64), np.zeros(items, np.int64)
        self.paragraph_of, self.paragraph_hits = np.full(items, -1, np.int64), np.zeros(items, np.int64)


def _slices(text: pa.LargeStringArray) -> Iterator[pa.LargeStringArray]:
    """Cut texts into runs of at most _SLICE_BYTES, or of one text; no text is one empty run."""
    ends = np.cumsum(pc.fill_null(pc.binary_length(text), 0).to_numpy())
    start = 0
    while start < len(text) or start == 0:
        before = ends[start - 1] if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, before + _SLICE_BYTES, side="right")))
        yield text.slice(start, stop - start)
        start = stop


def _scan_slice(text: pa.LargeStringArray, index: Index, tally: _Tally) -> tuple[npt.NDArray[np.float32], Int64s]:
    """Return overlap and item number (-1 for none) of some texts, scanned with the canary behind them."""
    canary = pa.array([f"An opening. {CANARY}, and an end."], pa.large_string())
    words = word_hashes(pa.concat_arrays([text, canary]))
    overlap, owner = np.zeros(len(text) + 1, np.float64), np.full(len(text) + 1, -1, np.int64)
    holders = (index.starts, index.owners, index.totals, overlap, owner)
    next_letter = next_letters(words.has_letter)
    running, size = words.hashes.copy(), 1
    for length in index.lengths:
        extend(words.hashes, running, size, length)
        size = length
        places = look_up(running, next_letter, length, index.hashes, index.filter)
        judge_items(places, words.offsets, length, *holders, tally.counted, tally.text_of, tally.hits, tally.texts)
        if length == index.ngram:
            paragraphs = (tally.paragraph_of, tally.paragraph_hits, tally.words)
            judge_paragraphs(places, words.lines, words.offsets, length, *holders, *paragraphs)
    tally.texts, tally.words = tally.texts + len(text) + 1, tally.words + len(words.hashes)
    if owner[-1] != len(index.names) - 1 or overlap[-1] < 1:
        raise IntegrityError(
            "decontaminate: the planted canary was not found, so nothing would be; the index was not made by this "
            "version: build it again"
        )
    return np.round(overlap[:-1], 6).astype(np.float32), owner[:-1]


def _records(path: Path) -> Iterator[str]:
    """Yield the text of each record of a benchmark file."""
    try:
        if path.suffix == ".txt":
            yield from (line for line in path.read_text(encoding="utf-8").split("\n") if line.strip())
            return
        if readers.detect(str(path))[0] not in _FORMATS:
            raise RecipeError(f"{path}: give .jsonl, .parquet, .csv, .tsv or .txt")
        for part in readers.whole(path):
            rows = part.rows if isinstance(part.rows, list) else part.rows.to_pylist()
            yield from ("\n".join(_strings(row)) for row in rows)
    except RecipeError as error:
        raise RecipeError(f"decontaminate.benchmarks: {error}") from None
    except (InputError, OSError, UnicodeDecodeError) as error:
        raise InputError(f"decontaminate.benchmarks: {path}: cannot be read: {error}") from error


def _strings(value: object) -> Iterator[str]:
    """Yield the strings of a record, at any depth, in their order."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for part in value.values():
            yield from _strings(part)
    elif isinstance(value, list):
        for part in value:
            yield from _strings(part)
