"""Pairs: which documents share a band key, and how near they are to each other.

The result is, exactly, every pair with a new member, a band key in common and Jaccard >= floor. That depends on the
two texts alone, so neither order nor a split into old and new documents changes it: pairs(old) ∪ pairs(new, all) =
pairs(all). Removal in keeper order is left to `resolve`, which may then be repeated for any keeper order, threshold up
from the floor, and set of current documents, without reading text.

Work. A bucket is the documents with one band key. Up to CROWD documents: all pairs, at most bands·(CROWD - 1)/2
comparisons a document. Larger buckets (templates, boilerplate) are put together and joined by `join`, whose work is
that of an inverted index of rare shingles; it loses no pair, so unlike texts of one template cost next to nothing.
What remains quadratic is the output: m documents that are all near each other are m(m - 1)/2 pairs of 24 bytes, found
at about 1 µs each. No part of them can be spared: any two documents may be the only ones that are current tomorrow,
and then their pair alone decides. Documents with equal `text_key` are therefore collapsed before (`resolve.collapse`),
and `Pairs` tells what was paid, so that a caller can name what costs too much.

Memory: the keys of one band, the texts of a batch with their shingles, the pairs, and what `join` says.
"""

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import numba
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from cuvee.tasks.dedup.candidates import Bools, candidates
from cuvee.tasks.dedup.join import join
from cuvee.tasks.dedup.kernel import Int64s, Uint64s, shingle_sets

Floats: TypeAlias = npt.NDArray[np.float64]
Fetch: TypeAlias = Callable[[Int64s], pa.Array | pa.ChunkedArray]

# Documents whose shingles are held at a time, but no more than so many bytes of text: 8,192 of 220 words are 11 MB, and
# with their shingles 30 MB; shingles take up to four times their text while they are listed.
BATCH_DOCUMENTS = 8192
BATCH_BYTES = 32 << 20
_LOW = np.uint64(0xFFFFFFFF)


class Pairs(NamedTuple):
    """Verified pairs, sorted by (a, b), each once, a < b; Jaccard rounded to 6 decimals."""

    a: Int64s
    b: Int64s
    jaccard: Floats
    candidates: int  # pairs whose texts were compared
    large_buckets: int  # buckets of more than CROWD documents with a new one among them
    largest_bucket: int  # documents in the largest bucket with a new one among them
    crowded: int  # documents in large buckets


def near_pairs(
    band_column: Callable[[int], Uint64s],
    n_bands: int,
    new: Bools,
    fetch: Fetch,
    ngram: int,
    floor: float,
    progress: Callable[[int, int], None] | None = None,
    batch: int = BATCH_DOCUMENTS,
    sizes: Int64s | None = None,
) -> Pairs:
    """Return all pairs with a new member, a common band key and Jaccard >= floor.

    band_column: gives the uint64[n] keys of one band, n < 2^32; called up to twice a band, in ascending order, one
    held at a time. new: bool[n]. fetch: gives the texts of ascending document numbers. floor: in (0, 1].
    progress: called with (steps done, steps): a step a band, one for the large buckets, one for the comparison.
    sizes: int64[n] bytes of the texts, which bound a batch beside `batch`; None where all texts are known to be small.
    """
    packed = np.empty(0, np.uint64)
    crowded = np.zeros(len(new), np.bool_)
    large_buckets = largest = 0
    report = progress or (lambda done, steps: None)
    for band in range(n_bands):
        found = candidates(band_column(band), new)
        packed = _distinct(np.concatenate((packed, _pack(found.a, found.b))))
        crowded[found.crowded] = True
        large_buckets, largest = large_buckets + found.large_buckets, max(largest, found.largest_bucket)
        report(band + 1, n_bands + 2)
    ids = np.flatnonzero(crowded)
    if large_buckets:
        a, b = join(ids, new[ids], fetch, ngram, floor, cut_batches(ids, batch, sizes))
        share = _share_a_band(band_column, n_bands, a, b)
        packed = _distinct(np.concatenate((packed, _pack(a[share], b[share]))))
    report(n_bands + 1, n_bands + 2)
    a, b = _unpack(packed)
    jaccard = verify(a, b, fetch, ngram, batch, sizes)
    near = jaccard >= floor
    report(n_bands + 2, n_bands + 2)
    return Pairs(a[near], b[near], jaccard[near], len(packed), large_buckets, largest, len(ids))


def cut_batches(ids: Int64s, batch: int, sizes: Int64s | None) -> list[Int64s]:
    """Cut document numbers into runs of at most `batch`, and of at most BATCH_BYTES of text or one document."""
    weights = np.zeros(len(ids), np.int64) if sizes is None else sizes[ids]
    ends = np.cumsum(weights)
    parts, start = [], 0
    while start < len(ids):
        before = ends[start] - weights[start]
        stop = min(start + batch, int(np.searchsorted(ends, before + BATCH_BYTES, side="right")))
        parts.append(ids[start : max(stop, start + 1)])
        start += len(parts[-1])
    return parts


def unique_pairs(a: Int64s, b: Int64s) -> tuple[Int64s, Int64s]:
    """Return the pairs with a < b, sorted by (a, b), each once; numbers below 2^32."""
    return _unpack(_distinct(_pack(a, b)))


def verify(
    a: Int64s, b: Int64s, fetch: Fetch, ngram: int, batch: int = BATCH_DOCUMENTS, sizes: Int64s | None = None
) -> Floats:
    """Return the Jaccard of the shingle sets of each pair, rounded to 6 decimals; 1 for two empty sets.

    a, b: int64 document numbers, in any order. sizes: as for `near_pairs`.
    Shingles of at most `batch` documents and BATCH_BYTES of text are held at a time, or of two documents.
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
    weights = np.zeros(n, np.int64) if sizes is None else sizes
    seen, start, number = np.zeros(n, np.int32), 0, 0
    while start < len(a):
        number += 1
        stop = _cut(a, b, start, batch, weights, BATCH_BYTES, seen, number)
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
def _cut(a, b, start, batch, weights, most, seen, number):  # type: ignore[no-untyped-def]
    """Mark the documents of the pairs from `start` with `number`, at most `batch` and of weight `most`; return the end.

    The first pair is always taken.
    """
    count, weight = 0, 0
    for k in range(start, len(a)):
        first, second = seen[a[k]] != number, seen[b[k]] != number
        added = first * weights[a[k]] + second * weights[b[k]]
        if k > start and (count + first + second > batch or weight + added > most):
            return k
        seen[a[k]] = number
        seen[b[k]] = number
        count += first + second
        weight += added
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
