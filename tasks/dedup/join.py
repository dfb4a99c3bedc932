"""Join: near pairs among many documents that share much text, without comparing all with all.

Prefix filtering (Bayardo, Ma, Srikant: Scaling up all pairs similarity search, 2007; Xiao et al.: PPJoin, 2008). Write
each shingle set in one common order, rare shingles first. Two sets x, y with J >= t and |y| <= |x| share at least
t/(1+t)·(|x|+|y|) shingles, so at least one that is among the first |x| - ceil(t·|x|) + 1 of x and the first
|y| - ceil(2t/(1+t)·|y|) + 1 of y. An inverted index of the short prefixes, probed with the long ones, hence loses no
pair, whatever the order; that rare shingles come first only makes its lists short. Where a pair is first met, no
common shingle stands before the meeting point in either set, which bounds what they can share: most false pairs end
there. Texts that differ from their template in more than a fifth of it meet in no list at all.

Memory: about 40 bytes for each shingle of a prefix, 2 KB for a document of 220 words at t = 0.8.
"""

from collections.abc import Iterator, Sequence

import numba
import numpy as np
import numpy.typing as npt

from cuvee.tasks.dedup.verify import Comparison, cut_batches
from cuvee.tasks.words.kernel import Int64s, Uint64s, shingle_sets

# Counters of shingles, a thousand a document; shingles that share one are taken for equally common, which costs speed
# only. At most 16 MB.
_MOST_COUNTERS = 1 << 22
# Jaccard is rounded to 6 decimals before it is compared: a pair may be this far below the floor.
_ROUNDING = 1e-6
NO_LIMIT = 2**62  # of pairs


def join(ids: Int64s, new: npt.NDArray[np.bool_], comparison: Comparison, most: int) -> tuple[Int64s, Int64s]:
    """Return pairs (a, b) of ids that hold every pair with a new member and J >= floor, each once, and few others.

    ids: ascending document numbers, int64[n]; new: bool[n], whether ids[i] is new. most: where there are more pairs, a
    few more than these are returned, and not all. Each text is fetched twice, or once where all fit into a batch.
    """
    threshold = max(comparison.floor - _ROUNDING, 1e-9)
    batches = cut_batches(ids, comparison)
    counts = np.zeros(min(_MOST_COUNTERS, 1 << (1000 * len(ids)).bit_length()), np.uint32)
    # One batch is held; more are listed twice, so that memory stays that of one.
    only = list(_sets(batches, comparison)) if len(batches) == 1 else None
    for hashes, _ in only or _sets(batches, comparison):
        np.add.at(counts, hashes & np.uint64(len(counts) - 1), np.uint32(1))
    prefixes, sizes = [], []
    for hashes, offsets in only or _sets(batches, comparison):
        sizes.append(np.diff(offsets))
        prefixes.append(_rarest(hashes, offsets, counts, threshold))
    size = np.concatenate(sizes)
    prefix = np.concatenate(prefixes)
    offsets = np.concatenate(([0], np.cumsum(_prefix_length(size, threshold))))
    return _meet(ids, new, prefix, offsets, size, threshold, most)


def _sets(batches: Sequence[Int64s], comparison: Comparison) -> Iterator[tuple[Uint64s, Int64s]]:
    for ids in batches:
        yield shingle_sets(comparison.fetch(ids), comparison.ngram)


def _prefix_length(size: Int64s, share: float) -> Int64s:
    """Return how many shingles of a set of this size must be looked at when `share` of them are common; 0 for empty."""
    # The small constant keeps a product that should be whole from being rounded up.
    return np.where(size > 0, size - np.ceil(share * size - 1e-9).astype(np.int64) + 1, 0)


def _meet(
    ids: Int64s,
    new: npt.NDArray[np.bool_],
    prefix: Uint64s,
    offsets: Int64s,
    size: Int64s,
    threshold: float,
    most: int,
) -> tuple[Int64s, Int64s]:
    """Index the short prefixes, probe with the long ones; documents by size, then number. Stop beyond `most` pairs."""
    tokens, codes = np.unique(prefix, return_inverse=True)
    order = np.argsort(size, kind="stable")
    indexed = _prefix_length(size, 2 * threshold / (1 + threshold))
    starts, members, places = _invert(codes, offsets, indexed, order, len(tokens))
    x, y = _probe(codes, offsets, size, order, new, starts, members, places, threshold, most)
    # Two documents without shingles are equal (J = 1), but meet in no list.
    empty = np.flatnonzero(size == 0)
    first, second = np.triu_indices(len(empty), 1)
    x, y = np.concatenate((x, empty[first])), np.concatenate((y, empty[second]))
    met = new[x] | new[y]
    return ids[np.minimum(x, y)[met]], ids[np.maximum(x, y)[met]]


@numba.njit(nogil=True, cache=True)
def _rarest(hashes, offsets, counts, threshold):  # type: ignore[no-untyped-def]
    """Return the prefixes of all sets, one after another, each set ordered by count, then hash."""
    kept = np.empty(len(hashes), np.uint64)
    total = 0
    mask = np.uint64(len(counts) - 1)
    for k in range(len(offsets) - 1):
        size = offsets[k + 1] - offsets[k]
        if size == 0:
            continue
        ranked = np.empty(size, np.uint64)
        for i in range(size):
            value = hashes[offsets[k] + i]
            count = min(np.uint64(counts[value & mask]), np.uint64((1 << 20) - 1))
            # Count in the upper 20 bits, 44 bits of the hash below. Two shingles of equal value only add candidates.
            ranked[i] = (count << np.uint64(44)) | (value >> np.uint64(20))
        ranked.sort()
        length = size - np.int64(np.ceil(threshold * size - 1e-9)) + 1
        for i in range(length):
            kept[total + i] = ranked[i]
        total += length
    return kept[:total].copy()


@numba.njit(nogil=True, cache=True)
def _invert(codes, offsets, indexed, order, n_tokens):  # type: ignore[no-untyped-def]
    """Return (starts, members, places): for each token, the documents that hold it, by order, and where."""
    starts = np.zeros(n_tokens + 1, np.int64)
    for document in order:
        for i in range(offsets[document], offsets[document] + indexed[document]):
            starts[codes[i] + 1] += 1
    for token in range(n_tokens):
        starts[token + 1] += starts[token]
    filled = starts[:-1].copy()
    members, places = np.empty(starts[-1], np.int32), np.empty(starts[-1], np.int32)
    for rank in range(len(order)):
        document = order[rank]
        for i in range(indexed[document]):
            token = codes[offsets[document] + i]
            members[filled[token]] = rank
            places[filled[token]] = i
            filled[token] += 1
    return starts, members, places


@numba.njit(nogil=True, cache=True)
def _probe(codes, offsets, size, order, new, starts, members, places, threshold, most):  # type: ignore[no-untyped-def]
    """Return the pairs of documents that meet and may share enough; stop soon after they are more than `most`."""
    x, y = np.empty(1024, np.int64), np.empty(1024, np.int64)
    count = 0
    heads = starts[:-1].copy()
    met = np.full(len(order), -1, np.int64)
    needed = threshold / (1 + threshold)
    for rank in range(len(order)):
        if count > most:
            break
        document = order[rank]
        own = size[document]
        for i in range(offsets[document + 1] - offsets[document]):
            token = codes[offsets[document] + i]
            end = starts[token + 1]
            # Sets smaller than threshold·own can meet neither this one nor any later, larger one.
            while heads[token] < end and size[order[members[heads[token]]]] < threshold * own - 1e-9:
                heads[token] += 1
            for k in range(heads[token], end):
                if members[k] >= rank:
                    break
                if met[members[k]] == rank:
                    continue
                met[members[k]] = rank
                other = order[members[k]]
                common = min(own - i, size[other] - places[k])
                if common < needed * (own + size[other]) - 1e-9 or not (new[document] or new[other]):
                    continue
                if count == len(x):
                    x, y = np.concatenate((x, np.empty_like(x))), np.concatenate((y, np.empty_like(y)))
                x[count], y[count] = document, other
                count += 1
    return x[:count].copy(), y[:count].copy()
