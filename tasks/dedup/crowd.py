"""Crowd: the documents of large buckets, compared in keeper order with each other and with those kept so far.

For keeper order that is known and final. Where m documents are near each other, all pairs would be m(m - 1)/2, so a
document that is near MOST_COPIES of those kept before it is *set aside*: these pairs of it are known, and nothing that
comes later is compared with it. The others are kept. So of two near documents whose pair is not known, one at least is
set aside. Where one that is set aside is removed by a survivor, nothing that is not known of it matters, as the removed
remove nobody. Where it survives, since all that it is near to were removed by others, it is *unsettled*: it must be
compared again with the others that are, and keepers resolved again. When nothing is unsettled, `resolve` says what it
would say of all pairs: a document that is set aside has been compared with all that was kept before it.

Work: documents that are near each other are compared MOST_PAIRS times each, or so. Those that are nearly near enough
(forms at a Jaccard of .7 to .8) meet in the join, too, are never set aside, and all their pairs are compared.
Memory: what `join` says, and 8 KB a document that is set aside.
"""

from collections.abc import Callable
from typing import NamedTuple

import numba
import numpy as np

from cuvee.tasks.dedup.index import Bools
from cuvee.tasks.dedup.join import NO_LIMIT, join
from cuvee.tasks.dedup.verify import Comparison, Floats, verify
from cuvee.tasks.words.kernel import Int64s

# Up to here all pairs of near copies are kept: 1.5 KB a document.
MOST_COPIES = 64
# Documents compared at a time at least, and what stops a larger number: pairs a document.
BLOCK, MOST_PAIRS = 256, 256


class Crowd(NamedTuple):
    """Verified pairs, a < b, and the documents that were set aside."""

    a: Int64s
    b: Int64s
    jaccard: Floats
    aside: Int64s
    candidates: int  # pairs whose texts were compared


_nothing = np.empty(0, np.int64)
NOBODY = Crowd(_nothing, _nothing, np.empty(0), _nothing, 0)


def compare_crowd(
    ids: Int64s,
    buckets: list[tuple[Int64s, Int64s]],
    new: Bools,
    in_order: Callable[[Int64s], Int64s],
    comparison: Comparison,
    again: bool,
) -> Crowd:
    """Return the near pairs with a new member among documents that share a large bucket.

    ids: ascending numbers of these documents. buckets: for each band the members of large buckets, and the bucket of
    each. new: bool[n]. in_order: puts document numbers into keeper order. again: the new documents are unsettled, so
    only they count as copies.
    """
    kept, waiting = ids[~new[ids]], in_order(ids[new[ids]])
    parts, aside, compared, size = [NOBODY[:3]], [NOBODY.aside], 0, BLOCK
    while len(waiting):
        block = waiting[:size]
        members = np.sort(np.concatenate((kept, block)))
        most = MOST_PAIRS * len(block) if len(block) > BLOCK else NO_LIMIT
        a, b = join(members, np.isin(members, block), comparison, most)
        if len(a) > most:
            size = max(BLOCK, size // 2)
            continue
        a, b = in_a_bucket(buckets, len(new), a, b)
        jaccard = verify(a, b, comparison)
        compared += len(a)
        near = jaccard >= comparison.floor
        a, b, jaccard = a[near], b[near], jaccard[near]
        is_aside = _set_aside(block, a, b, new, not again)
        # Of two that are set aside nobody needs to know.
        useful = ~(is_aside[a] & is_aside[b])
        parts.append((a[useful], b[useful], jaccard[useful]))
        aside.append(block[is_aside[block]])
        kept, waiting = np.concatenate((kept, block[~is_aside[block]])), waiting[len(block) :]
        # All that is kept is read again with each block: blocks that grow with it make that a few times over.
        size = max(BLOCK, min(2 * size, len(kept)))
    a, b, jaccard = (np.concatenate(column) for column in zip(*parts, strict=True))
    return Crowd(a, b, jaccard, np.concatenate(aside), compared)


def in_a_bucket(buckets: list[tuple[Int64s, Int64s]], n: int, a: Int64s, b: Int64s) -> tuple[Int64s, Int64s]:
    """Return the pairs that have a large bucket in common."""
    share = np.zeros(len(a), np.bool_)
    bucket_of = np.full(n, -1, np.int64)
    for members, bucket in buckets:
        bucket_of[members] = bucket
        share |= (bucket_of[a] >= 0) & (bucket_of[a] == bucket_of[b])
        bucket_of[members] = -1
    return a[share], b[share]


def _set_aside(block: Int64s, a: Int64s, b: Int64s, new: Bools, counts_old: bool) -> Bools:
    """Tell which documents of the block, in its order, are near enough kept ones before them; a, b: the near pairs."""
    place = np.full(len(new), -1, np.int64)  # of the documents kept before: -1
    place[block] = np.arange(len(block))
    later, earlier = np.maximum(place[a], place[b]), np.minimum(place[a], place[b])
    counted = (earlier >= 0) | counts_old | new[np.where(place[a] < place[b], a, b)]
    later, earlier = later[counted], earlier[counted]
    starts = np.concatenate(([0], np.cumsum(np.bincount(later, minlength=len(block))))).astype(np.int64)
    aside = np.zeros(len(new), np.bool_)
    aside[block] = _visit(starts, earlier[np.argsort(later, kind="stable")], MOST_COPIES)
    return aside


@numba.njit(nogil=True, cache=True)
def _visit(starts, earlier, most):  # type: ignore[no-untyped-def]
    """Visit a block's documents; earlier[starts[i] : starts[i + 1]] are the near ones before document i, -1 if kept."""
    aside = np.zeros(len(starts) - 1, np.bool_)
    for document in range(len(aside)):
        copies = 0
        for k in range(starts[document], starts[document + 1]):
            copies += earlier[k] < 0 or not aside[earlier[k]]
        aside[document] = copies >= most
    return aside
