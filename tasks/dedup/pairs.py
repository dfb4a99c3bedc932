"""Pairs: which documents share a band key, and how near they are to each other.

The result is, exactly, every pair with a new member, a band key in common and Jaccard >= floor. That depends on the
two texts alone, so neither order nor a split into old and new documents changes it: pairs(old) ∪ pairs(new, all) =
pairs(all). Removal in keeper order is left to `resolve`, which may then be repeated for any keeper order, threshold up
from the floor, and set of current documents, without reading text.

Work. A bucket is the documents with one band key. Up to CROWD documents: all pairs, at most bands·(CROWD - 1)/2
comparisons a document. Larger buckets (templates, boilerplate) are put together and joined by `join`, whose work is
that of an inverted index of rare shingles; it loses no pair, so unlike texts of one template cost next to nothing.
What remains quadratic is the output: m documents that are all near each other are m(m - 1)/2 pairs of 24 bytes, found
at about 1 µs each. Documents with equal `text_key` are therefore collapsed before (`resolve.collapse`).
"""

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import numba
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from cuvee.tasks.dedup.join import join
from cuvee.tasks.dedup.kernel import Int64s, Uint64s, shingle_sets

Bools: TypeAlias = npt.NDArray[np.bool_]
Floats: TypeAlias = npt.NDArray[np.float64]
Fetch: TypeAlias = Callable[[Int64s], pa.Array | pa.ChunkedArray]

# All pairs of 32 are 496 comparisons of 1 µs, less than the index costs.
CROWD = 32
# Documents whose shingles are held at a time: 8,192 of 220 words are 30 MB.
BATCH_DOCUMENTS = 8192
_LOW = np.uint64(0xFFFFFFFF)


class Pairs(NamedTuple):
    """Verified pairs, sorted by (a, b), each once, a < b; Jaccard rounded to 6 decimals."""

    a: Int64s
    b: Int64s
    jaccard: Floats
    candidates: int  # pairs whose texts were compared
    large_buckets: int  # buckets of more than CROWD documents with a new one among them


class Candidates(NamedTuple):
    """Pairs of one band, a < b, and the members of the buckets that were too large for all pairs."""

    a: Int64s
    b: Int64s
    crowded: Int64s
    large_buckets: int


def near_pairs(
    band_column: Callable[[int], Uint64s],
    n_bands: int,
    new: Bools,
    fetch: Fetch,
    ngram: int,
    floor: float,
    progress: Callable[[int, int], None] | None = None,
    batch: int = BATCH_DOCUMENTS,
) -> Pairs:
    """Return all pairs with a new member, a common band key and Jaccard >= floor.

    band_column: gives the uint64[n] keys of one band, n < 2^32; called up to twice a band, one held at a time.
    new: bool[n]. fetch: gives the texts of ascending document numbers. floor: in (0, 1].
    progress: called with (steps done, steps): a step a band, one for the large buckets, one for the comparison.
    """
    packed = np.empty(0, np.uint64)
    crowded = np.zeros(len(new), np.bool_)
    large_buckets = 0
    report = progress or (lambda done, steps: None)
    for band in range(n_bands):
        found = candidates(band_column(band), new)
        packed = _distinct(np.concatenate((packed, _pack(found.a, found.b))))
        crowded[found.crowded] = True
        large_buckets += found.large_buckets
        report(band + 1, n_bands + 2)
    if large_buckets:
        ids = np.flatnonzero(crowded)
        a, b = join(ids, new[ids], fetch, ngram, floor, batch)
        share = _share_a_band(band_column, n_bands, a, b)
        packed = _distinct(np.concatenate((packed, _pack(a[share], b[share]))))
    report(n_bands + 1, n_bands + 2)
    a, b = _unpack(packed)
    jaccard = verify(a, b, fetch, ngram, batch)
    near = jaccard >= floor
    report(n_bands + 2, n_bands + 2)
    return Pairs(a[near], b[near], jaccard[near], len(packed), large_buckets)


def candidates(keys: Uint64s, new: Bools, crowd: int = CROWD) -> Candidates:
    """Return the pairs with a new member in the buckets of one band, and the members of buckets over `crowd`.

    keys: uint64[n]; new: bool[n]. Old documents cost a look-up each: only those that may meet a new one are sorted.
    """
    rows = np.arange(len(keys)) if new.all() else _may_meet(keys, new)
    rows = rows[np.argsort(keys[rows], kind="stable")]
    ordered = keys[rows]
    starts = np.flatnonzero(np.concatenate(([True], ordered[1:] != ordered[:-1]))) if len(rows) else rows
    sizes = np.diff(np.append(starts, len(rows)))
    has_new = np.logical_or.reduceat(new[rows], starts) if len(rows) else np.empty(0, np.bool_)
    large = has_new & (sizes > crowd)
    small = has_new & (sizes > 1) & ~large
    a, b = _all_pairs(rows, starts[small], sizes[small], new)
    return Candidates(a, b, rows[np.repeat(large, sizes)], int(large.sum()))


def unique_pairs(a: Int64s, b: Int64s) -> tuple[Int64s, Int64s]:
    """Return the pairs with a < b, sorted by (a, b), each once; numbers below 2^32."""
    return _unpack(_distinct(_pack(a, b)))


def verify(a: Int64s, b: Int64s, fetch: Fetch, ngram: int, batch: int = BATCH_DOCUMENTS) -> Floats:
    """Return the Jaccard of the shingle sets of each pair, rounded to 6 decimals; 1 for two empty sets.

    a, b: int64 document numbers, in any order. Shingles of at most `batch` documents (at least two) are held at a time.
    Pairs are taken in breadth-first order of the documents, so that near documents are fetched together: most of them
    once, and about twice where very many are connected.
    """
    jaccard = np.empty(len(a), np.float64)
    n = int(max(a.max(initial=-1), b.max(initial=-1))) + 1
    starts, neighbours = _neighbours(a, b, n)
    place = _breadth_first(starts, neighbours)
    near_first = np.lexsort((np.maximum(place[a], place[b]), np.minimum(place[a], place[b])))
    a, b = a[near_first], b[near_first]
    swap = place[a] > place[b]
    a, b = np.where(swap, b, a), np.where(swap, a, b)
    seen, start, number = np.zeros(n, np.int32), 0, 0
    while start < len(a):
        number += 1
        stop = _cut(a, b, start, batch, seen, number)
        ids = np.flatnonzero(seen == number)
        hashes, offsets = shingle_sets(fetch(ids), ngram)
        first, second = np.searchsorted(ids, a[start:stop]), np.searchsorted(ids, b[start:stop])
        jaccard[near_first[start:stop]] = _jaccards(hashes, offsets, first, second)
        start = stop
    return np.round(jaccard, 6)


def _share_a_band(band_column: Callable[[int], Uint64s], n_bands: int, a: Int64s, b: Int64s) -> Bools:
    share = np.zeros(len(a), np.bool_)
    for band in range(n_bands):
        keys = band_column(band)
        share |= keys[a] == keys[b]
    return share


def _distinct(packed: Uint64s) -> Uint64s:
    """Return the values sorted, each once; several times faster than the hash table of np.unique."""
    packed = np.sort(packed)
    return packed[np.concatenate(([True], packed[1:] != packed[:-1]))] if len(packed) else packed


def _neighbours(a: Int64s, b: Int64s, n: int) -> tuple[Int64s, Int64s]:
    """Return for each of n documents those it is paired with, as (int64[n + 1] starts, neighbours)."""
    ends, others = np.concatenate((a, b)), np.concatenate((b, a))
    starts = np.concatenate(([0], np.cumsum(np.bincount(ends, minlength=n)))).astype(np.int64)
    return starts, others[np.argsort(ends, kind="stable")]


def _pack(a: Int64s, b: Int64s) -> Uint64s:
    return (np.minimum(a, b).astype(np.uint64) << np.uint64(32)) | np.maximum(a, b).astype(np.uint64)


def _unpack(packed: Uint64s) -> tuple[Int64s, Int64s]:
    return (packed >> np.uint64(32)).astype(np.int64), (packed & _LOW).astype(np.int64)


@numba.njit(nogil=True, cache=True)
def _may_meet(keys, new):  # type: ignore[no-untyped-def]
    """Return the new documents and the old ones that may have a key of theirs: all that do, few others."""
    bits = 10
    while (1 << bits) < 16 * new.sum():
        bits += 1
    shift = np.uint64(64 - bits)
    seen = np.zeros(1 << bits, np.bool_)
    for i in range(len(keys)):
        if new[i]:
            seen[keys[i] >> shift] = True
    rows = np.empty(len(keys), np.int64)
    count = 0
    for i in range(len(keys)):
        rows[count] = i
        count += seen[keys[i] >> shift]
    return rows[:count].copy()


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


@numba.njit(nogil=True, cache=True)
def _breadth_first(starts, neighbours):  # type: ignore[no-untyped-def]
    """Return the place of each document in breadth-first order of the graph of pairs."""
    n = len(starts) - 1
    place = np.full(n, -1, np.int64)
    queue = np.empty(n, np.int64)
    count = 0
    for root in range(n):
        if place[root] >= 0:
            continue
        place[root], queue[count] = count, root
        read = count
        count += 1
        while read < count:
            document = queue[read]
            read += 1
            for k in range(starts[document], starts[document + 1]):
                other = neighbours[k]
                if place[other] < 0:
                    place[other], queue[count] = count, other
                    count += 1
    return place


@numba.njit(nogil=True, cache=True)
def _cut(a, b, start, batch, seen, number):  # type: ignore[no-untyped-def]
    """Mark the documents of the pairs from `start` with `number`, at most `batch`; return where it stops."""
    count = 0
    for k in range(start, len(a)):
        added = (seen[a[k]] != number) + (seen[b[k]] != number)
        if k > start and count + added > batch:
            return k
        seen[a[k]] = number
        seen[b[k]] = number
        count += added
    return len(a)


@numba.njit(nogil=True, cache=True)
def _jaccards(hashes, offsets, a, b):  # type: ignore[no-untyped-def]
    """Return the Jaccard of sets a[k] and b[k]; the table of a set is built once for a run of equal a."""
    jaccard = np.empty(len(a), np.float64)
    longest = 0
    for i in range(len(offsets) - 1):
        longest = max(longest, offsets[i + 1] - offsets[i])
    bits = 6
    while (1 << bits) < 2 * longest:
        bits += 1
    shift = np.uint64(64 - bits)
    mask = (1 << bits) - 1
    keys, owners = np.empty(1 << bits, np.uint64), np.full(1 << bits, -1, np.int64)
    for k in range(len(a)):
        if k == 0 or a[k] != a[k - 1]:
            for i in range(offsets[a[k]], offsets[a[k] + 1]):
                slot = np.int64(hashes[i] >> shift)
                while owners[slot] == k:
                    slot = (slot + 1) & mask
                owners[slot] = k
                keys[slot] = hashes[i]
            owner = k
        common = 0
        for i in range(offsets[b[k]], offsets[b[k] + 1]):
            slot = np.int64(hashes[i] >> shift)
            while owners[slot] == owner and keys[slot] != hashes[i]:
                slot = (slot + 1) & mask
            common += owners[slot] == owner
        union = offsets[a[k] + 1] - offsets[a[k]] + offsets[b[k] + 1] - offsets[b[k]] - common
        jaccard[k] = common / union if union > 0 else 1.0
    return jaccard
