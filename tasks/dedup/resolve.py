"""Resolve: who keeps its place, and who is removed by whom.

Documents are visited in keeper order; one is removed when a survivor before it has Jaccard >= threshold, and the first
such survivor is its keeper. So every removed document is near its keeper, and a chain of likenesses never removes a
document that is unlike every survivor.
"""

from typing import NamedTuple

import numba
import numpy as np
import numpy.typing as npt

from cuvee.tasks.words.kernel import Int64s, Uint64s

SURVIVOR = -1


class Resolution(NamedTuple):
    """For each document its keeper (a document number), or SURVIVOR; and their Jaccard, 0 for a survivor."""

    keeper: Int64s
    jaccard: npt.NDArray[np.float64]


class Groups(NamedTuple):
    """Documents of equal text key as one: `representative` int64[groups], the first of each in keeper order."""

    representative: Int64s
    group: Int64s  # of each document


def resolve(rank: Int64s, a: Int64s, b: Int64s, jaccard: npt.NDArray[np.float64], threshold: float) -> Resolution:
    """Return keeper and Jaccard of each document.

    rank: int64[n], unique, smaller first. a, b, jaccard: the near pairs, each once, in any order; those below the
    threshold are passed over. Time is linear in documents (but for sorting the ranks) and pairs.
    """
    near = jaccard >= threshold
    if not near.any():  # no kernel: a process that loads its first one spends half a second
        return Resolution(np.full(len(rank), SURVIVOR, np.int64), np.zeros(len(rank), np.float64))
    a, b, jaccard = a[near], b[near], jaccard[near]
    order = np.argsort(rank)
    place = np.empty(len(rank), np.int64)
    place[order] = np.arange(len(rank))
    later, earlier = np.maximum(place[a], place[b]), np.minimum(place[a], place[b])
    starts = np.concatenate(([0], np.cumsum(np.bincount(later, minlength=len(rank))))).astype(np.int64)
    by_later = np.argsort(later, kind="stable")
    keeper, nearness = _visit(starts, earlier[by_later], jaccard[by_later])
    resolved = Resolution(np.empty(len(rank), np.int64), np.empty(len(rank), np.float64))
    resolved.keeper[order] = np.where(keeper == SURVIVOR, SURVIVOR, order[keeper])
    resolved.jaccard[order] = nearness
    return resolved


def collapse(text_key: Uint64s, rank: Int64s) -> Groups:
    """Put documents with equal text keys together. Groups are numbered by their representatives' numbers.

    A group acts in `resolve` as its representative does: its members are at the same Jaccard to every document.
    """
    order = np.lexsort((rank, text_key))
    ordered = text_key[order]
    first = np.concatenate(([True], ordered[1:] != ordered[:-1])) if len(order) else np.empty(0, np.bool_)
    ascending = np.argsort(order[first])
    number = np.empty(len(ascending), np.int64)
    number[ascending] = np.arange(len(ascending))
    group = np.empty(len(order), np.int64)
    group[order] = number[np.cumsum(first) - 1]
    return Groups(order[first][ascending], group)


def expand(groups: Groups, resolved: Resolution) -> Resolution:
    """Return the resolution of the documents from that of their groups.

    A group that survives keeps its representative, which removes the others (J = 1); of a group that is removed, all
    members have the same keeper and Jaccard. This is what `resolve` gives on the documents themselves.
    """
    keeper, jaccard = resolved.keeper[groups.group], resolved.jaccard[groups.group]
    own = groups.representative[groups.group]
    survives = keeper == SURVIVOR
    first = own == np.arange(len(own))
    keeper = np.where(survives, np.where(first, SURVIVOR, own), groups.representative[keeper])
    return Resolution(keeper, np.where(survives & ~first, 1.0, jaccard))


@numba.njit(nogil=True, cache=True)
def _visit(starts, earlier, jaccard):  # type: ignore[no-untyped-def]
    """Visit documents 0, 1, … in order; earlier[starts[i] : starts[i + 1]] are the near ones before document i."""
    keeper = np.full(len(starts) - 1, -1, np.int64)
    nearness = np.zeros(len(starts) - 1, np.float64)
    for document in range(len(keeper)):
        for k in range(starts[document], starts[document + 1]):
            if keeper[earlier[k]] == -1 and (keeper[document] == -1 or earlier[k] < keeper[document]):
                keeper[document] = earlier[k]
                nearness[document] = jaccard[k]
    return keeper, nearness
