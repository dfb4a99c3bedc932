"""Pairs: which documents share a band key, and how near they are to each other.

The result is, exactly, every pair with a new member, a band key in common and Jaccard >= floor, but for the pairs of
documents that are set aside (`crowd`), of which all that is needed is known. That depends on the two texts alone, so
neither order nor a split into old and new documents changes it: pairs(old) ∪ pairs(new, all) = pairs(all). Removal in
keeper order is left to `resolve`, which may then be repeated for any keeper order, threshold up from the floor, and set
of current documents, reading no text but that of unsettled documents.

Work. A bucket is the documents with one band key. Up to CROWD documents: all pairs, at most bands·(CROWD - 1)/2
comparisons a document. Larger buckets (templates, boilerplate) are put together and compared by `crowd`, whose work is
bounded: it sets documents aside that have very many near copies. Documents with equal `text_key` are collapsed before
(`resolve.collapse`).

Memory: the keys of one band, the texts of a batch with their shingles, the pairs, and what `join` says.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from cuvee.tasks.dedup.candidates import BandKeys, Bools, candidates
from cuvee.tasks.dedup.crowd import compare_crowd
from cuvee.tasks.dedup.kernel import Int64s, Uint64s
from cuvee.tasks.dedup.verify import Comparison, Floats, verify

_LOW = np.uint64(0xFFFFFFFF)


class Pairs(NamedTuple):
    """Verified pairs, sorted by (a, b), each once, a < b; Jaccard rounded to 6 decimals."""

    a: Int64s
    b: Int64s
    jaccard: Floats
    aside: Bools  # of each document, whether it was set aside: what comes later is not compared with it
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


def near_pairs(
    band_keys: Callable[[int], BandKeys],
    n_bands: int,
    new: Bools,
    comparison: Comparison,
    in_order: Callable[[Int64s], Int64s],
    progress: Callable[[int, int], None] | None = None,
    again: bool = False,
) -> Pairs:
    """Return the pairs with a new member, a common band key and Jaccard >= floor.

    band_keys: gives the keys of one band, at least of all documents with the key of a new one but for those that were
    set aside before; called once a band, in ascending order, one held at a time. new: bool[n], n < 2^32.
    in_order: puts document numbers into the order in which they should rather be kept; close to keeper order spares
    comparing again.
    progress: called with (steps done, steps): a step a band, one for the large buckets, one for the comparison.
    again: the new documents are unsettled ones (`crowd`).
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
    crowd = compare_crowd(buckets, new, in_order, comparison, again)
    report(n_bands + 1, n_bands + 2)
    packed = packed[~np.isin(packed, _pack(crowd.a, crowd.b))]
    a, b = _unpack(packed)
    jaccard = verify(a, b, comparison)
    near = jaccard >= comparison.floor
    report(n_bands + 2, n_bands + 2)
    aside = np.zeros(len(new), np.bool_)
    aside[crowd.aside] = True
    a, b = np.concatenate((a[near], crowd.a)), np.concatenate((b[near], crowd.b))
    jaccard = np.concatenate((jaccard[near], crowd.jaccard))
    order = np.lexsort((b, a))
    compared = len(packed) + crowd.candidates
    return Pairs(a[order], b[order], jaccard[order], aside, compared, large_buckets, largest, crowd.documents)


def unique_pairs(a: Int64s, b: Int64s) -> tuple[Int64s, Int64s]:
    """Return the pairs with a < b, sorted by (a, b), each once; numbers below 2^32."""
    return _unpack(_distinct(_pack(a, b)))


def _distinct(packed: Uint64s) -> Uint64s:
    """Return the values sorted, each once; several times faster than the hash table of np.unique."""
    packed = np.sort(packed)
    return packed[np.concatenate(([True], packed[1:] != packed[:-1]))] if len(packed) else packed


def _pack(a: Int64s, b: Int64s) -> Uint64s:
    return (np.minimum(a, b).astype(np.uint64) << np.uint64(32)) | np.maximum(a, b).astype(np.uint64)


def _unpack(packed: Uint64s) -> tuple[Int64s, Int64s]:
    return (packed >> np.uint64(32)).astype(np.int64), (packed & _LOW).astype(np.int64)
