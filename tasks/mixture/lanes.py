"""Lanes: documents of one kind in the order in which they are taken, without a table of them.

The range of priorities is cut into bins. Of each bin a lane knows how many documents it has and how much they are; the
documents of a bin are read when a border falls into it. So a plan over any number of documents holds a few bins.
"""

import math
from bisect import bisect_right
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

Int64s: TypeAlias = npt.NDArray[np.int64]
UInt64s: TypeAlias = npt.NDArray[np.uint64]
# Where a document lies in the order: its priority, and the second half of its doc_id, which breaks ties.
Key: TypeAlias = tuple[int, int]


class Documents(NamedTuple):
    """Some documents of a lane in their order. amount: of one copy, >= 0; human: millionths of it that count as human;
    priority and rest: their keys.
    """

    amount: Int64s
    human: Int64s
    priority: UInt64s
    rest: UInt64s


class Sums(NamedTuple):
    """What is known of a lane: a value a bin that has documents, in their order. bins: their numbers; largest,
    smallest: amount of a document of the lane.
    """

    bins: Sequence[int]
    documents: Sequence[int]
    amount: Sequence[int]
    human: Sequence[int]
    largest: int
    smallest: int


class _Bin(NamedTuple):
    documents: Documents
    sums: Int64s  # [2, n + 1]: amounts and human millionths of the first documents


class Lane:
    """Documents of one kind. read: returns the documents of a bin."""

    def __init__(self, sums: Sums, read: Callable[[int], Documents]) -> None:
        self._sums, self._read = sums, read
        self._bins: dict[int, _Bin] = {}
        self._starts, self._amounts, self._humans = ([0] for _ in range(3))
        for totals, values in (
            (self._starts, sums.documents),
            (self._amounts, sums.amount),
            (self._humans, sums.human),
        ):
            for value in values:
                totals.append(totals[-1] + int(value))

    @property
    def documents(self) -> int:
        """How many there are."""
        return self._starts[-1]

    @property
    def total(self) -> int:
        """Amount of all."""
        return self._amounts[-1]

    @property
    def human_total(self) -> int:
        """Millionths of all that count as human."""
        return self._humans[-1]

    @property
    def largest(self) -> int:
        """Amount of the largest document, 0 for none."""
        return self._sums.largest

    @property
    def smallest(self) -> int:
        """Amount of the smallest document, 0 for none."""
        return self._sums.smallest

    def sums(self, count: int) -> tuple[int, int]:
        """Return amount and human millionths of the first `count` documents."""
        if count >= self.documents:
            return self.total, self.human_total
        place, rest = self._place(count)
        amount, human = self._amounts[place], self._humans[place]
        if not rest:
            return amount, human
        found = self._bin(place).sums[:, rest]
        return amount + int(found[0]), human + int(found[1])

    def sum(self, count: int) -> int:
        """Return the amount of the first `count` documents."""
        return self.sums(count)[0]

    def one(self, place: int) -> tuple[int, int]:
        """Return amount and human millionths of one document; place: from 0."""
        at, rest = self._place(place)
        documents = self._bin(at).documents
        return int(documents.amount[rest]), int(documents.human[rest])

    def key(self, place: int) -> Key:
        """Return the key of one document; place: from 0."""
        at, rest = self._place(place)
        documents = self._bin(at).documents
        return int(documents.priority[rest]), int(documents.rest[rest])

    def count(self, most: float) -> int:
        """Return how many of the first documents hold at most `most`."""
        if most >= self.total:
            return self.documents
        if most < 0:
            return 0
        place = self.bin_at(most)
        within = self._bin(place).sums[0].searchsorted(math.floor(most) - self._amounts[place], side="right")
        return self._starts[place] + int(within) - 1

    def bin_at(self, most: float) -> int:
        """Return the place of the bin in which the first documents pass `most`, at least 0 and below the total."""
        return bisect_right(self._amounts, most) - 1

    def number(self, place: int) -> int:
        """Return the number of the bin at a place among those of the lane."""
        return self._sums.bins[place]

    def fitting(self, most: float, count: int) -> "Lane":
        """Return the lane of those of the first `count` documents that hold at most `most` each, until they pass it
        together; the lane itself where all documents do.
        """
        if self.largest <= most:
            return self
        if self.smallest > most:
            return lane_of([])
        kept: list[Documents] = []
        amount = 0
        for place in range(len(self._sums.bins)):
            if amount > most or self._starts[place] >= count:
                break
            whole = self._bin(place).documents
            first = np.arange(len(whole.amount)) < count - self._starts[place]
            fits = first & (whole.amount <= most)
            kept.append(Documents(whole.amount[fits], whole.human[fits], whole.priority[fits], whole.rest[fits]))
            amount += int(kept[-1].amount.sum())
        return lane_of(kept)

    def _place(self, count: int) -> tuple[int, int]:
        """Return the bin that holds a document, and its place there."""
        place = bisect_right(self._starts, count) - 1
        return place, count - self._starts[place]

    def _bin(self, place: int) -> _Bin:
        if place not in self._bins:
            self.hold(place, self._read(self._sums.bins[place]))
        return self._bins[place]

    def hold(self, place: int, documents: Documents) -> None:
        """Keep the documents of the bin at a place, which somebody read."""
        sums = np.zeros((2, len(documents.amount) + 1), np.int64)
        documents.amount.cumsum(out=sums[0, 1:])
        documents.human.cumsum(out=sums[1, 1:])
        self._bins[place] = _Bin(documents, sums)


def lane_of(pieces: Sequence[Documents]) -> Lane:
    """Return a lane of documents that are there, in their order."""
    none = Documents(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.uint64), np.zeros(0, np.uint64))
    whole = Documents(*(np.concatenate(values) for values in zip(none, *pieces, strict=True)))
    amount = whole.amount
    largest, smallest = (int(amount.max()), int(amount.min())) if len(amount) else (0, 0)
    sums = Sums([0], [len(amount)], [int(amount.sum())], [int(whole.human.sum())], largest, smallest)
    return Lane(sums, lambda _: whole)
