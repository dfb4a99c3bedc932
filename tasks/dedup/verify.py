"""Verify: how near the texts of candidate pairs are, exactly.

Memory: the texts of a batch with their shingles.
"""

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import numba
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from cuvee.tasks.words.kernel import Int64s, shingle_sets

Floats: TypeAlias = npt.NDArray[np.float64]
Fetch: TypeAlias = Callable[[Int64s], pa.Array | pa.ChunkedArray]

# Documents whose shingles are held at a time, but no more than so many bytes of text: 8,192 of 220 words are 11 MB, and
# with their shingles 30 MB; shingles take up to four times their text while they are listed.
BATCH_DOCUMENTS = 8192
BATCH_BYTES = 32 << 20


class Comparison(NamedTuple):
    """How texts are read and compared."""

    fetch: Fetch  # gives the texts of ascending document numbers
    ngram: int
    floor: float  # Jaccard, in (0, 1]
    batch: int = BATCH_DOCUMENTS
    sizes: Int64s | None = None  # bytes of each text, which bound a batch beside `batch`; None where all are small


def cut_batches(ids: Int64s, comparison: Comparison) -> list[Int64s]:
    """Cut document numbers into runs of at most `batch`, and of at most BATCH_BYTES of text or one document."""
    weights = np.zeros(len(ids), np.int64) if comparison.sizes is None else comparison.sizes[ids]
    ends = np.cumsum(weights)
    parts, start = [], 0
    while start < len(ids):
        before = ends[start] - weights[start]
        stop = min(start + comparison.batch, int(np.searchsorted(ends, before + BATCH_BYTES, side="right")))
        parts.append(ids[start : max(stop, start + 1)])
        start += len(parts[-1])
    return parts


def verify(a: Int64s, b: Int64s, comparison: Comparison) -> Floats:
    """Return the Jaccard of the shingle sets of each pair, rounded to 6 decimals; 1 for two empty sets.

    a, b: int64 document numbers, in any order. Shingles of at most `batch` documents and BATCH_BYTES of text are held
    at a time, or of two documents.
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
    weights = np.zeros(n, np.int64) if comparison.sizes is None else comparison.sizes
    seen, start, number = np.zeros(n, np.int32), 0, 0
    while start < len(a):
        number += 1
        stop = _cut(a, b, start, comparison.batch, weights, BATCH_BYTES, seen, number)
        ids = np.flatnonzero(seen == number)
        hashes, offsets = shingle_sets(comparison.fetch(ids), comparison.ngram)
        first, second = np.searchsorted(ids, a[start:stop]), np.searchsorted(ids, b[start:stop])
        jaccard[near_first[start:stop]] = _jaccards(hashes, offsets, first, second)
        start = stop
    return np.round(jaccard, 6)


def _neighbours(a: Int64s, b: Int64s, n: int) -> tuple[Int64s, Int64s]:
    """Return for each of n documents those it is paired with, as (int64[n + 1] starts, neighbours)."""
    ends, others = np.concatenate((a, b)), np.concatenate((b, a))
    starts = np.concatenate(([0], np.cumsum(np.bincount(ends, minlength=n)))).astype(np.int64)
    return starts, others[np.argsort(ends, kind="stable")]


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
