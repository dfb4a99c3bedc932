"""Lanes: the row groups of a version, put into the sequences that an epoch is woven from.

A stratum has a lane or more, by its amount; where there are many strata, the small ones of one provenance are put
together. A lane's row groups come in random order, small ones joined into chunks, and a chunk's rows in random order.
A lane is gone through as often as its most repeated document wants: each such pass holds the documents whose copy is
due in it, so that the copies of a document lie evenly apart.
"""

from collections.abc import Callable, Sequence
from itertools import accumulate, pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from cuvee.loader.chance import fractions, hashes, key_of, shuffled
from cuvee.schemas.manifest import DataFile, Stratum
from cuvee.storage.groups import Group

# With 8 chunks that are read ahead, and those of which the last rows are being given, at most 32 are open at a time.
MOST_LANES = 20
# Of more strata so many keep lanes of their own; the others are put together, in a lane at least for each provenance.
_OWN_STRATA = 16
# Row groups are joined up to the size of a whole one.
_CHUNK_BYTES = 10 * 2**20

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
EpochsOf = Callable[[Group], npt.NDArray[np.integer]]


class Piece(NamedTuple):
    """A row group in an epoch. key: of the order of its rows; due: rows by pass, whose sum is its occurrences."""

    group: Group
    key: int
    due: tuple[int, ...]
    amount: float

    @property
    def occurrences(self) -> int:
        """Return how many rows it gives in an epoch, copies counted."""
        return sum(self.due)


class Visit(NamedTuple):
    """A chunk in a pass: the pieces of which rows are due."""

    number: int
    pieces: tuple[Piece, ...]


class Lane(NamedTuple):
    """A sequence of visits. starts, times: of each visit, and the end: rows before it, and the fraction of the lane's
    amount before it, from 0 to 1. passes: in the whole lane; human: whether its rows count as human.
    """

    visits: list[Visit]
    starts: Ints
    times: Floats
    passes: int
    human: bool


def due(pass_number: int, passes: int, epochs: npt.NDArray[np.integer], phases: Floats) -> npt.NDArray[np.bool_]:
    """Tell which rows are due in a pass. epochs: of each row, 0 to `passes`; phases: of each, in [0, 1).

    The copies of a row fall into passes that lie evenly apart: over all passes each is due exactly `epochs` times.
    """
    ends = [np.ceil(number * epochs / passes - phases) for number in (pass_number, pass_number + 1)]
    return np.asarray(ends[0] < ends[1])


def row_hashes(piece_key: int, rows: int) -> npt.NDArray[np.uint64]:
    """Return what orders the rows of a row group."""
    return hashes(piece_key, np.arange(rows))


def phases_of(piece: Piece, group_is_even: bool) -> Floats:
    """Return each row's phase; rows of a group that all repeat alike share one, so that a pass reads it or not."""
    if group_is_even:
        return np.full(piece.group.rows, fractions(hashes(piece.key, np.array([-1])))[0])
    return fractions(hashes(piece.key ^ 1, np.arange(piece.group.rows)))


def build(
    files: Sequence[DataFile], groups: Sequence[Sequence[Group]], human: Sequence[str], key: int, epochs_of: EpochsOf
) -> list[Lane]:
    """Return the lanes of an epoch, at most `MOST_LANES`, those without rows left out.

    groups: of each file; human: the provenances that count as human; key: of the epoch's order; epochs_of: reads the
    column `epochs` of a row group.
    """
    strata = _put_together(files)
    whole = sum(files[at].amount for held in strata for at in held) or 1
    lanes = []
    for held in strata:
        most = [_most_epochs(group, epochs_of) for at in held for group in groups[at]]
        passes = max(most, default=0)
        pieces = [piece for at in held for piece in _pieces(files[at], groups[at], passes, key, epochs_of)]
        chunks = _chunks([pieces[at] for at in shuffled(key_of(key, "groups", held), len(pieces))])
        share = sum(files[at].amount for at in held) / whole
        count = min(len(chunks), 1 + int(share * (MOST_LANES - len(strata))))
        is_human = files[held[0]].stratum.provenance in human
        borders = [len(chunks) * number // max(1, count) for number in range(count + 1)]
        for start, end in pairwise(borders):
            lanes.append(_lane(chunks[start:end], passes, is_human))
    return [lane for lane in lanes if lane.visits]


def _put_together(files: Sequence[DataFile]) -> list[list[int]]:
    """Return the positions of each stratum's files, the largest stratum first; of many strata the small ones joined."""
    strata: dict[Stratum, list[int]] = {}
    for at, file in enumerate(files):
        strata.setdefault(file.stratum, []).append(at)
    ranked = sorted(strata, key=lambda name: (-sum(files[at].amount for at in strata[name]), repr(name)))
    if len(ranked) <= MOST_LANES:
        return [strata[name] for name in ranked]
    small: dict[str, list[int]] = {}
    for name in ranked[_OWN_STRATA:]:
        small.setdefault(name.provenance, []).extend(strata[name])
    return [strata[name] for name in ranked[:_OWN_STRATA]] + [small[name] for name in sorted(small)]


def _most_epochs(group: Group, epochs_of: EpochsOf) -> int:
    return group.epochs[1] if group.epochs else int(epochs_of(group).max(initial=0))


def is_even(group: Group) -> bool:
    """Tell whether all rows of a group are known to repeat alike."""
    return group.epochs is not None and group.epochs[0] == group.epochs[1]


def _pieces(file: DataFile, groups: Sequence[Group], passes: int, key: int, epochs_of: EpochsOf) -> list[Piece]:
    """Return the row groups of a file as pieces; its amount is dealt to them by occurrences."""
    pieces = []
    for group in groups:
        piece = Piece(group, key_of(key, "rows", file.path, group.number), (), 0.0)
        even = is_even(group)
        epochs = np.full(1, group.epochs[0]) if group.epochs and even else epochs_of(group)
        phases = phases_of(piece, even)[: len(epochs)]
        counts = [int(due(number, passes, epochs, phases).sum()) for number in range(passes)]
        pieces.append(piece._replace(due=tuple(count * (group.rows if even else 1) for count in counts)))
    occurrences = sum(piece.occurrences for piece in pieces) or 1
    return [piece._replace(amount=max(file.amount, 1) * piece.occurrences / occurrences) for piece in pieces]


def _chunks(pieces: Sequence[Piece]) -> list[list[Piece]]:
    """Join neighbours into chunks of at most about `_CHUNK_BYTES`."""
    chunks: list[list[Piece]] = []
    held = 0
    for piece in pieces:
        if not chunks or held + piece.group.bytes > _CHUNK_BYTES:
            chunks.append([])
            held = 0
        chunks[-1].append(piece)
        held += piece.group.bytes
    return chunks


def _lane(chunks: Sequence[Sequence[Piece]], passes: int, human: bool) -> Lane:
    visits, counts, amounts = [], [], []
    for number in range(passes):
        for chunk in chunks:
            wanted = tuple(piece for piece in chunk if piece.due[number])
            if wanted:
                visits.append(Visit(number, wanted))
                counts.append(sum(piece.due[number] for piece in wanted))
                amounts.append(sum(piece.amount * piece.due[number] / piece.occurrences for piece in wanted))
    starts = np.array([0, *accumulate(counts)], np.int64)
    ends = np.array([0.0, *accumulate(amounts)])
    return Lane(visits, starts, ends / (ends[-1] or 1.0), passes, human)
