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

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, TypeAlias

import numba
import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from cuvee.schemas.errors import InputError, IntegrityError, RecipeError
from cuvee.tasks.dedup.kernel import Text, word_hashes

# A change of what is found, or of the shares, makes stored results void: raise it.
VERSION = 1
MIN_WORDS = 8
ABSENT, UNUSABLE = -1, -2
# Texts hashed at a time: words take 13 bytes each while they wait.
_SLICE = 4096

# Planted in every index and every scan. Words that no language has, so that no text can hold them; mixed case, a
# ligature and a combining mark, so that it takes the slow way through normalisation as well as the fast one.
CANARY_NAME = "canary"
CANARY = (
    "Quivorblax zemmitrune Ospandrik vellucarne thrixomide Ubbenforth calydrune pexivolt Grommelquay ﬁthrabine "
    "jorvandel Skimmetrax e\u0301loquarn dwybbenish voltramere Hexapindle crovanthine Mirrowgast tulquendor fennixabra"
)

Uint64s: TypeAlias = npt.NDArray[np.uint64]
Int64s: TypeAlias = npt.NDArray[np.int64]


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
    filter: npt.NDArray[np.bool_]  # by the upper bits of a hash: False where no n-gram is
    too_short: list[str]  # items of fewer than MIN_WORDS words (or ngram, if that is less), or without a letter


def read_benchmarks(paths: Sequence[Path]) -> list[BenchmarkItem]:
    """Return the items of the benchmark files, in order of paths and rows.

    jsonl (also .gz, .zst) and Parquet: a record is an item, made of its string fields at any depth, a line each.
    txt: a line that is not blank is an item. Raises RecipeError for a file that is none of these or is not there,
    InputError for one that cannot be read.
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
        hashes, usable = _ngrams(words.hashes[part], words.has_letter[part], max(length, 1))
        distinct = np.unique(hashes[usable])
        if length < shortest or not len(distinct):
            too_short.append(entry.name)
            continue
        parts.append(distinct)
        owners.append(np.full(len(distinct), number))
    hashes, owner = np.concatenate(parts), np.concatenate(owners)
    order = np.lexsort((owner, hashes))
    distinct, starts = np.unique(hashes[order], return_index=True)
    bits = max(16, int(16 * len(distinct)).bit_length())
    seen = np.zeros(1 << bits, np.bool_)
    seen[distinct >> np.uint64(64 - bits)] = True
    return Index(
        ngram=ngram,
        names=[entry.name for entry in items],
        hashes=distinct,
        starts=np.append(starts, len(owner)),
        owners=owner[order],
        totals=np.bincount(owner, minlength=len(items)),
        lengths=sorted({min(ngram, int(size)) for size in sizes if size >= shortest} | {ngram}),
        filter=seen,
        too_short=too_short,
    )


def scan(text: Text, index: Index) -> pl.DataFrame:
    """Return overlap and item of each text. Raises IntegrityError when the planted canary is not found."""
    if isinstance(text, pa.ChunkedArray):
        text = text.combine_chunks()
    parts = [_scan_slice(text.slice(start, _SLICE), index) for start in range(0, max(1, len(text)), _SLICE)]
    overlap = np.concatenate([part[0] for part in parts])
    owner = np.concatenate([part[1] for part in parts])
    names = pl.Series([*index.names, None], dtype=pl.String)
    # Number -1 takes the last entry, null.
    return pl.DataFrame({"overlap": overlap, "item": names.gather(np.where(owner < 0, len(index.names), owner))})


def _scan_slice(text: pa.Array, index: Index) -> tuple[npt.NDArray[np.float32], Int64s]:
    """Return overlap and item number (-1 for none) of some texts, scanned with the canary behind them."""
    canary = pa.array([f"An opening. {CANARY}, and an end."], pa.large_string())
    words = word_hashes(pa.concat_arrays([text.cast(pa.large_string()), canary]))
    overlap, owner = np.zeros(len(text) + 1, np.float64), np.full(len(text) + 1, -1, np.int64)
    for length in index.lengths:
        values, usable = _ngrams(words.hashes, words.has_letter, length)
        places = _look_up(values, usable, index.hashes, index.filter)
        holders = (index.starts, index.owners, index.totals, overlap, owner)
        _judge_items(places, words.offsets, length, *holders)
        if length == index.ngram:
            _judge_paragraphs(places, words.lines, words.offsets, length, *holders)
    if owner[-1] != len(index.names) - 1 or overlap[-1] < 1:
        raise IntegrityError(
            "decontaminate: the planted canary was not found, so nothing would be; the index was not made by this "
            "version: build it again"
        )
    return np.round(overlap[:-1], 6).astype(np.float32), owner[:-1]


def _records(path: Path) -> Iterator[str]:
    """Yield the text of each record of a benchmark file."""
    try:
        if path.name.endswith((".jsonl", ".jsonl.gz", ".jsonl.zst")):
            with pa.input_stream(str(path), compression="detect") as source:
                yield from _json_records(path, source.read())
        elif path.suffix == ".parquet":
            for record in pl.read_parquet(path).iter_rows(named=True):
                yield "\n".join(_strings(record))
        elif path.suffix == ".txt":
            yield from (line for line in path.read_text(encoding="utf-8").split("\n") if line.strip())
        else:
            raise RecipeError(f"decontaminate.benchmarks: {path}: give .jsonl, .jsonl.gz, .jsonl.zst, .parquet or .txt")
    except (OSError, UnicodeDecodeError, pa.ArrowInvalid, pl.exceptions.PolarsError) as error:
        raise InputError(f"decontaminate.benchmarks: {path}: cannot be read: {error}") from error


def _json_records(path: Path, content: bytes) -> Iterator[str]:
    for number, line in enumerate(content.split(b"\n"), 1):
        if line.strip():
            try:
                yield "\n".join(_strings(json.loads(line)))
            except ValueError as error:
                raise InputError(f"decontaminate.benchmarks: {path}:{number}: not JSON: {error}") from error


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


@numba.njit(nogil=True, cache=True)
def _ngrams(words, has_letter, size):  # type: ignore[no-untyped-def]
    """Return the hash of the `size` words from each place on (Horner's rule), and whether one of them has a letter."""
    total = max(0, len(words) - size + 1)
    hashes = words[:total].copy()
    for j in range(1, size):
        for i in range(total):
            hashes[i] = hashes[i] * np.uint64(0xBF58476D1CE4E5B9) + words[i + j]
    usable = np.empty(total, np.bool_)
    letters = 0
    for i in range(min(size - 1, len(words))):
        letters += has_letter[i]
    for i in range(total):
        letters += has_letter[i + size - 1]
        usable[i] = letters > 0
        letters -= has_letter[i]
        hashes[i] = (hashes[i] ^ (hashes[i] >> np.uint64(32))) * np.uint64(0x94D049BB133111EB)
    return hashes, usable


@numba.njit(nogil=True, cache=True)
def _look_up(values, usable, hashes, seen):  # type: ignore[no-untyped-def]
    """Return the place of each n-gram among the ascending hashes; ABSENT, or UNUSABLE when it has no letter."""
    bits = 0
    while (1 << bits) < len(seen):
        bits += 1
    places = np.full(len(values), ABSENT, np.int64)
    for i in range(len(values)):
        if not usable[i]:
            places[i] = UNUSABLE
        elif seen[values[i] >> np.uint64(64 - bits)]:
            place = np.searchsorted(hashes, values[i])
            if place < len(hashes) and hashes[place] == values[i]:
                places[i] = place
    return places


@numba.njit(nogil=True, cache=True)
def _judge_items(places, offsets, size, starts, owners, totals, overlap, owner):  # type: ignore[no-untyped-def]
    """Raise overlap and owner of each text to the largest share of an item's n-grams that it holds."""
    counted = np.full(len(starts) - 1, -1, np.int64)  # the last text in which an n-gram was counted
    text_of, hits = np.full(len(totals), -1, np.int64), np.zeros(len(totals), np.int64)
    for text in range(len(offsets) - 1):
        for i in range(offsets[text], offsets[text + 1] - size + 1):
            place = places[i]
            if place < 0 or counted[place] == text:
                continue
            counted[place] = text
            for k in range(starts[place], starts[place + 1]):
                candidate = owners[k]
                if text_of[candidate] != text:
                    text_of[candidate], hits[candidate] = text, 0
                hits[candidate] += 1
                share = hits[candidate] / totals[candidate]
                if share > overlap[text] or (share == overlap[text] and candidate < owner[text]):
                    overlap[text], owner[text] = share, candidate


@numba.njit(nogil=True, cache=True)
def _judge_paragraphs(places, lines, offsets, size, starts, owners, totals, overlap, owner):  # type: ignore[no-untyped-def]
    """Raise overlap and owner of each text to the largest share of a paragraph's n-grams that any item holds."""
    paragraph_of, hits = np.full(len(totals), -1, np.int64), np.zeros(len(totals), np.int64)
    for text in range(len(offsets) - 1):
        begin = offsets[text]
        while begin < offsets[text + 1]:
            end = begin
            total, found, best = 0, 0, -1
            while end < offsets[text + 1] and lines[end] == lines[begin]:
                end += 1
            for i in range(begin, end - size + 1):
                place = places[i]
                total += place != UNUSABLE
                if place < 0:
                    continue
                found += 1
                for k in range(starts[place], starts[place + 1]):
                    candidate = owners[k]
                    # Words are numbered through, so their number tells paragraphs apart.
                    if paragraph_of[candidate] != begin:
                        paragraph_of[candidate], hits[candidate] = begin, 0
                    hits[candidate] += 1
                    if best < 0 or hits[candidate] > hits[best] or (hits[candidate] == hits[best] and candidate < best):
                        best = candidate
            begin = end
            if found and (found / total > overlap[text] or (found / total == overlap[text] and best < owner[text])):
                overlap[text], owner[text] = found / total, best
