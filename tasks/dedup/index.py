"""Index: the band keys of texts, how many there are of how many values, and which documents share a key of one band.

Two texts of Jaccard s agree in all rows of a band with probability s^rows, and in at least one of the bands with
1 - (1 - s^rows)^bands (Leskovec, Rajaraman, Ullman: Mining of Massive Datasets, 3.4). A bucket is the documents with
one key. Up to CROWD documents give all their pairs; of larger ones the members are told.
"""

from collections.abc import Iterator, Sequence
from itertools import compress, groupby
from operator import not_
from typing import NamedTuple, TypeAlias

import numba
import numpy as np
import numpy.typing as npt
from pydantic import Field

from cuvee.schemas.base import Frozen
from cuvee.schemas.errors import RecipeError
from cuvee.schemas.records import FileRef
from cuvee.storage.store import Store
from cuvee.storage.tables import read_tables
from cuvee.tasks.measure.signals import band_name
from cuvee.tasks.words.kernel import Int64s, Uint32s

Bools: TypeAlias = npt.NDArray[np.bool_]

# All pairs of 32 are 496 comparisons of 1 µs, less than the index costs.
CROWD = 32
# Bands held at a time: of a million new documents five, of 50,000 beside ten million old ones 15.
BAND_BYTES = 64 << 20
# Rows of the index read at a time: with 25 bands 26 MB.
ROWS_AT_A_TIME = 1 << 18


class Bands(Frozen):
    """A division of the first bands·rows values of a signature."""

    bands: int = Field(ge=1, description="bands; texts that agree in one of them are compared")
    rows: int = Field(ge=1, description="signature values in a band")


class BandKeys(NamedTuple):
    """The keys of one band: of all documents, or only of those that may meet a new one."""

    documents: Int64s
    keys: Uint32s


class Candidates(NamedTuple):
    """Pairs of one band, a < b, and the members of the buckets that were too large for all pairs."""

    a: Int64s
    b: Int64s
    crowded: Int64s
    bucket: Int64s  # of each member, a number
    large_buckets: int
    largest_bucket: int


def choose(threshold: float, permutations: int = 128, recall: float = 0.999) -> Bands:
    """Return the longest bands that still find a pair at the threshold with at least this probability.

    Longer bands mean fewer needless comparisons; as many bands as the permutations give. 25 of 5 for 0.8 and 128.
    threshold: Jaccard in (0, 1]; recall in (0, 1). Raises RecipeError when no division reaches the recall.
    """
    for rows in range(permutations, 0, -1):
        division = Bands(bands=permutations // rows, rows=rows)
        if found(division, threshold) >= recall:
            return division
    raise RecipeError(
        f"dedup.threshold: {permutations} permutations cannot find pairs of Jaccard {threshold} with probability "
        f"{recall}; raise the threshold or dedup.permutations"
    )


def found(division: Bands, jaccard: float) -> float:
    """Return the probability that a pair of this Jaccard is compared."""
    return float(1.0 - (1.0 - jaccard**division.rows) ** division.bands)


def curve(
    division: Bands, jaccards: Sequence[float] = (0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)
) -> list[tuple[float, float]]:
    """Return (Jaccard, probability that a pair of it is compared, rounded to 6 decimals)."""
    return [(jaccard, round(found(division, jaccard), 6)) for jaccard in jaccards]


def candidates(band: BandKeys, new: Bools, crowd: int = CROWD) -> Candidates:
    """Return the pairs with a new member in the buckets of one band, and the members of buckets over `crowd`.

    new: bool[n], for each document number.
    """
    # Buckets are sets, so the sort need not be stable; an unstable one is five times faster.
    order = np.argsort(band.keys)
    rows, ordered = band.documents[order], band.keys[order]
    starts = np.flatnonzero(np.concatenate(([True], ordered[1:] != ordered[:-1]))) if len(rows) else rows
    sizes = np.diff(np.append(starts, len(rows)))
    has_new = np.logical_or.reduceat(new[rows], starts) if len(rows) else np.empty(0, np.bool_)
    large = has_new & (sizes > crowd)
    small = has_new & (sizes > 1) & ~large
    a, b = _all_pairs(rows, starts[small], sizes[small], new)
    bucket = np.repeat(np.arange(large.sum()), sizes[large])
    return Candidates(a, b, rows[np.repeat(large, sizes)], bucket, int(large.sum()), int(sizes[has_new].max(initial=0)))


@numba.njit(nogil=True, cache=True)
def first_of_each(keys, new):  # type: ignore[no-untyped-def]
    """Return bool[n], one True for each distinct key of uint64[n]: its first old row, or if it has none, its first.

    new: bool[n]. Faster than sorting: 60 ns a key, where np.unique with its indices takes 280.
    """
    bits = 6
    while (1 << bits) < 2 * len(keys):
        bits += 1
    shift, mask = np.uint64(64 - bits), (1 << bits) - 1
    rows = np.full(1 << bits, -1, np.int32)
    first = np.zeros(len(keys), np.bool_)
    for turn in (False, True):
        for i in range(len(keys)):
            if new[i] != turn:
                continue
            # Keys are hashes, but those of texts without words are all 0.
            slot = np.int64(keys[i] >> shift)
            while rows[slot] >= 0 and keys[rows[slot]] != keys[i]:
                slot = (slot + 1) & mask
            if rows[slot] < 0:
                rows[slot] = i
                first[i] = True
    return first


@numba.njit(nogil=True, cache=True)
def key_filter(keys):  # type: ignore[no-untyped-def]
    """Return the bits, uint64[2^k], by which `may_meet` knows uint32[n] keys: 32 or more a key."""
    bits = 10
    while bits < 32 and (1 << bits) < 32 * len(keys):
        bits += 1
    shift, six, low = np.uint64(32 - bits), np.uint64(6), np.uint64(63)
    # A bit each, so that the table of 50,000 new documents (256 KB) stays in a core's cache.
    seen = np.zeros(1 << (bits - 6), np.uint64)
    for i in range(len(keys)):
        slot = np.uint64(keys[i]) >> shift
        seen[slot >> six] |= np.uint64(1) << (slot & low)
    return seen


@numba.njit(nogil=True, cache=True)
def may_meet(keys, seen):  # type: ignore[no-untyped-def]
    """Return the places of the keys that may equal one of the filter's: all that do, and at most one in 32 others."""
    bits = 6
    while (1 << (bits - 6)) < len(seen):
        bits += 1
    shift, six, low = np.uint64(32 - bits), np.uint64(6), np.uint64(63)
    places = np.empty(len(keys), np.int64)
    count = 0
    for i in range(len(keys)):
        slot = np.uint64(keys[i]) >> shift
        places[count] = i
        count += int((seen[slot >> six] >> (slot & low)) & np.uint64(1))
    return places[:count].copy()


@numba.njit(nogil=True, cache=True)
def _all_pairs(rows, starts, sizes, new):  # type: ignore[no-untyped-def]
    """Return the pairs (a < b) with a new member of each bucket rows[start : start + size]."""
    total = 0
    for k in range(len(starts)):
        fresh = 0
        for i in range(starts[k], starts[k] + sizes[k]):
            fresh += new[rows[i]]
        stale = sizes[k] - fresh
        total += sizes[k] * (sizes[k] - 1) // 2 - stale * (stale - 1) // 2
    a, b = np.empty(total, np.int64), np.empty(total, np.int64)
    count = 0
    for k in range(len(starts)):
        for i in range(starts[k], starts[k] + sizes[k]):
            for j in range(i + 1, starts[k] + sizes[k]):
                if new[rows[i]] or new[rows[j]]:
                    a[count] = min(rows[i], rows[j])
                    b[count] = max(rows[i], rows[j])
                    count += 1
    return a, b


class BandIndex:
    """The band keys of the pool, each read once, as many bands at a time as fit into BAND_BYTES, at least one.

    Of old files only the keys that may meet a new one are kept, so memory is bounded by what is new, and a night costs
    little more than reading.
    """

    def __init__(self, store: Store, files: Sequence[FileRef], fresh: Bools, rows: Int64s, bands: int) -> None:
        """Open the files, whose rows are numbered one file after another.

        fresh: bool[all rows], the new ones. rows: those to compare, ascending; document i is rows[i].
        """
        self._store, self._bands = store, bands
        ends = np.cumsum([file.rows for file in files])
        self._documents = np.full(int(ends[-1]) if len(ends) else 0, -1, np.int32)
        self._documents[rows] = np.arange(len(rows), dtype=np.int32)
        places = [(file, int(end) - file.rows) for file, end in zip(files, ends, strict=True)]
        has_new = [bool(fresh[start : start + file.rows].any()) for file, start in places]
        self._new = list(compress(places, has_new))
        self._old = list(compress(places, map(not_, has_new)))
        # `may_meet` lets one old key in 32 pass. A key takes 4 bytes, the document's number 8.
        kept = sum(file.rows for file, _ in self._new) + sum(file.rows for file, _ in self._old) // 32
        self._at_a_time = max(1, BAND_BYTES // (12 * max(1, kept)))
        self._read: dict[int, BandKeys] = {}

    def __call__(self, band: int) -> BandKeys:
        """Return the keys of a band, which are then forgotten."""
        if band not in self._read:
            self._read = self._some(range(band, min(band + self._at_a_time, self._bands)))
        return self._read.pop(band)

    def _some(self, bands: Sequence[int]) -> dict[int, BandKeys]:
        parts: dict[int, list[BandKeys]] = {band: [] for band in bands}
        for band, start, keys in self._columns(self._new, bands):
            parts[band].append(self._chosen(start, keys, np.arange(len(keys))))
        if self._old:
            filters = {band: key_filter(np.concatenate([part.keys for part in parts[band]])) for band in bands}
            for band, start, keys in self._columns(self._old, bands):
                parts[band].append(self._chosen(start, keys, may_meet(keys, filters[band])))
        return {
            band: BandKeys(*(np.concatenate(column) for column in zip(*parts[band], strict=True))) for band in bands
        }

    def _columns(
        self, places: Sequence[tuple[FileRef, int]], bands: Sequence[int]
    ) -> Iterator[tuple[int, int, Uint32s]]:
        """Yield band, first row and keys of each file.

        Files are taken a few at a time, bands outermost: the filter of a band, 256 KB for 50,000 new documents, is
        then loaded into a core's cache for all of them.
        """
        names = {band: band_name(band) for band in bands}
        for _, some in groupby(places, key=lambda place: place[1] // ROWS_AT_A_TIME):
            files, starts = zip(*some, strict=True)
            tables = list(read_tables(self._store, files, list(names.values())))
            for band, name in names.items():
                for table, start in zip(tables, starts, strict=True):
                    yield band, start, table[name].to_numpy()

    def _chosen(self, start: int, keys: Uint32s, places: Int64s) -> BandKeys:
        documents = self._documents[start + places]
        chosen = documents >= 0
        return BandKeys(documents[chosen].astype(np.int64), keys[places[chosen]])
