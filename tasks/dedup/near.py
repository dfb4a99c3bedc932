"""Pairs: which documents share a band key, and how near they are to each other.

The result is, exactly, every pair with a new member, a band key in common and Jaccard >= floor. That depends on the
two texts alone, so neither order nor a split into old and new documents changes it: pairs(old) ∪ pairs(new, all) =
pairs(all). Removal in keeper order is left to `resolve`, which may then be repeated for any keeper order, threshold up
from the floor, and set of current documents, without reading text.

Work. A bucket is the documents with one band key. Up to CROWD documents: all pairs, at most bands·(CROWD - 1)/2
comparisons a document. Larger buckets (templates, boilerplate) are put together and joined by `join`, whose work is
that of an inverted index of rare shingles; it loses no pair, so unlike texts of one template cost next to nothing.
What remains quadratic are pairs near the floor, above it and some way below: m documents of which all are such pairs
are m(m - 1)/2 comparisons of 1 µs, and those above it as many pairs of 24 bytes. No part of these can be spared where
it is not known yet who comes before whom: any two documents may be the only ones that are current tomorrow, and then
their pair alone decides. Where keeper order is known and final, `crowd` spares most. Documents with equal `text_key`
are collapsed before (`resolve.collapse`), and `Pairs` tells what was paid, so that a caller can name what costs too
much.

Memory: the keys of one band, the texts of a batch with their shingles, BYTES_A_PAIR a pair, and what `join` says.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from cuvee.tasks.dedup.crowd import NOBODY, compare_crowd, in_a_bucket
from cuvee.tasks.dedup.index import BandKeys, Bools, candidates
from cuvee.tasks.dedup.join import NO_LIMIT, join
from cuvee.tasks.dedup.verify import Comparison, Floats, verify
from cuvee.tasks.words.kernel import Int64s, Uint64s

# While pairs are found, sorted and compared: 50 million of them took 7.0 GB.
BYTES_A_PAIR = 140
_LOW = np.uint64(0xFFFFFFFF)


class Pairs(NamedTuple):
    """Verified pairs, sorted by (a, b), each once, a < b; Jaccard rounded to 6 decimals."""

    a: Int64s
    b: Int64s
    jaccard: Floats
    aside: Bools  # of each document, whether it was set aside
    candidates: int  # pairs whose texts were compared
    large_buckets: int  # buckets of more than CROWD documents with a new one among them
    largest_bucket: int  # documents in the largest bucket with a new one among them
    crowded: int  # documents in large buckets

    def joined(self, more: "Pairs", again: Bools) -> "Pairs":
        """Add what comparing unsettled documents, bool[n], once more has found."""
        a, b = np.concatenate((self.a, more.a)), np.concatenate((self.b, more.b))
        _, first = np.unique(_pack(a, b), return_index=True)
        return Pairs(
            a[first],
            b[first],
            np.concatenate((self.jaccard, more.jaccard))[first],
            self.aside & ~again | more.aside,
            self.candidates + more.candidates,
            max(self.large_buckets, more.large_buckets),
            max(self.largest_bucket, more.largest_bucket),
            max(self.crowded, more.crowded),
        )


class TooManyPairsError(Exception):
    """Near copies of each other have more pairs than there is room for; document: one of them, pairs: so many."""

    def __init__(self, document: int, pairs: int) -> None:
        super().__init__(document, pairs)
        self.document, self.pairs = document, pairs


def near_pairs(
    band_keys: Callable[[int], BandKeys],
    n_bands: int,
    new: Bools,
    comparison: Comparison,
    progress: Callable[[int, int], None] | None = None,
    final_order: Callable[[Int64s], Int64s] | None = None,
    again: bool = False,
    most: int = NO_LIMIT,
) -> Pairs:
    """Return all pairs with a new member, a common band key and Jaccard >= floor.

    band_keys: gives the keys of one band, at least of all documents with the key of a new one; called once a band, in
    ascending order, one held at a time. new: bool[n], n < 2^31.
    progress: called with (steps done, steps): a step a band, one for the large buckets, one for the comparison.
    final_order: puts document numbers into keeper order, where that is known and final: documents with very many near
    copies are then set aside, and their pairs left out (`crowd`). again: the new documents are unsettled ones.
    most: raises TooManyPairsError where documents of large buckets have more pairs that may be near.
    """
    packed = np.empty(0, np.uint64)
    buckets: list[tuple[Int64s, Int64s]] = []
    large_buckets = largest = 0
    report = progress or (lambda done, steps: None)
    for band in range(n_bands):
        found = candidates(band_keys(band), new)
        packed = _distinct(np.concatenate((packed, _pack(found.a, found.b))))
        buckets.append((found.crowded, found.bucket))
        large_buckets, largest = large_buckets + found.large_buckets, max(largest, found.largest_bucket)
        report(band + 1, n_bands + 2)
    ids = np.unique(np.concatenate([members for members, _ in buckets]))
    crowd = NOBODY
    if len(ids) and final_order:
        crowd = compare_crowd(ids, buckets, new, final_order, comparison, again)
        packed = packed[~np.isin(packed, _pack(crowd.a, crowd.b))]
    elif len(ids):
        a, b = join(ids, new[ids], comparison, most)
        if len(a) > most:
            raise TooManyPairsError(int(np.bincount(np.concatenate((a, b))).argmax()), most)
        packed = _distinct(np.concatenate((packed, _pack(*in_a_bucket(buckets, len(new), a, b)))))
    report(n_bands + 1, n_bands + 2)
    a, b = _unpack(packed)
    jaccard = verify(a, b, comparison) if len(a) else np.empty(0, np.float64)
    near = jaccard >= comparison.floor
    report(n_bands + 2, n_bands + 2)
    aside = np.zeros(len(new), np.bool_)
    aside[crowd.aside] = True
    compared = len(packed) + crowd.candidates
    told = aside, compared, large_buckets, largest, len(ids)
    a, b, jaccard = a[near], b[near], jaccard[near]
    if not len(crowd.a):
        return Pairs(a, b, jaccard, *told)
    a, b, jaccard = np.concatenate((a, crowd.a)), np.concatenate((b, crowd.b)), np.concatenate((jaccard, crowd.jaccard))
    order = np.lexsort((b, a))
    return Pairs(a[order], b[order], jaccard[order], *told)


def _distinct(packed: Uint64s) -> Uint64s:
    """Return the values sorted, each once; several times faster than the hash table of np.unique."""
    packed = np.sort(packed)
    return packed[np.concatenate(([True], packed[1:] != packed[:-1]))] if len(packed) else packed


def _pack(a: Int64s, b: Int64s) -> Uint64s:
    return (np.minimum(a, b).astype(np.uint64) << np.uint64(32)) | np.maximum(a, b).astype(np.uint64)


def _unpack(packed: Uint64s) -> tuple[Int64s, Int64s]:
    return (packed >> np.uint64(32)).astype(np.int64), (packed & _LOW).astype(np.int64)
