"""Candidates: which documents share a key of one band, and with whom each must be compared.

A bucket is the documents with one key. Up to CROWD documents give all their pairs; of larger ones the members are told.
"""

from typing import NamedTuple, TypeAlias

import numba
import numpy as np
import numpy.typing as npt

from cuvee.tasks.words.kernel import Int64s, Uint32s

Bools: TypeAlias = npt.NDArray[np.bool_]

# All pairs of 32 are 496 comparisons of 1 µs, less than the index costs.
CROWD = 32


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
