"""The order of an epoch: lanes woven together by amount.

Each lane runs from time 0 to time 1, and each of its rows has the time at which half of the row's own amount is out: at
any moment every lane has given the same fraction of its amount. Rows come by time. In each stretch of 1,024 of them
those that count as human and the others are woven once more, as two sequences: many lanes wander from the mixture
together further than two do.

Where a row stands follows from footers, and from the columns `tokens` and `epochs` of the chunks around it, so that any
place is found without reading what lies before it.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from cuvee.loader.lanes import Floats, Ints, Lane, Piece, due, is_even, phases_of, row_hashes

WINDOW = 1024
# Chunks that are read ahead of the lanes that need them.
READ_AHEAD = 8

# Reads columns of a row group.
Read = Callable[[Piece, Sequence[str]], pa.Table]
# A lane, and a visit in it.
Place = tuple[int, int]

_THIN = ("tokens", "epochs")


class Chunk(NamedTuple):
    """A visit's rows. table: of all its pieces; rows: those that are due, as positions in it, in their order; times:
    of each of them, ascending.
    """

    table: pa.Table
    rows: Ints
    amounts: Floats
    times: Floats


class _Stretch(NamedTuple):
    """Rows of chunks. chunk: position in `chunks`; row: position in its table; human: whether it counts as human."""

    chunks: list[Chunk]
    chunk: Ints
    row: Ints
    amount: Floats
    human: npt.NDArray[np.bool_]

    @classmethod
    def empty(cls) -> "_Stretch":
        """Return no rows."""
        return cls([], np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0), np.empty(0, np.bool_))

    def part(self, start: int, end: int) -> "_Stretch":
        """Return the rows from one position to another, with the chunks that hold them."""
        used, chunk = np.unique(self.chunk[start:end], return_inverse=True)
        return _Stretch(
            [self.chunks[at] for at in used],
            chunk.astype(np.int64),
            self.row[start:end],
            self.amount[start:end],
            self.human[start:end],
        )

    def joined(self, other: "_Stretch") -> "_Stretch":
        """Return these rows, then the other's."""
        chunk = np.concatenate([self.chunk, other.chunk + len(self.chunks)])
        rest = [np.concatenate([own, more]) for own, more in zip(self[2:], other[2:], strict=True)]
        return _Stretch(self.chunks + other.chunks, chunk, *rest)


class Window(NamedTuple):
    """Rows in the epoch's order. chunks: that hold them; chunk, row: which of these, and the position in its table."""

    start: int
    chunks: list[Chunk]
    chunk: Ints
    row: Ints


def open_chunk(lane: Lane, at: int, columns: Sequence[str], weigh: bool, read: Read) -> Chunk:
    """Read a visit. columns: wanted of its rows; weigh: whether amounts are `tokens`, not documents."""
    visit = lane.visits[at]
    wanted = [*columns, *(name for name in _THIN if name not in columns)]
    tables = [read(piece, wanted) for piece in visit.pieces]
    rows, order, first = [], [], 0
    for piece, table in zip(visit.pieces, tables, strict=True):
        epochs = table["epochs"].to_numpy()
        wanted_rows = np.flatnonzero(due(visit.number, lane.passes, epochs, phases_of(piece, is_even(piece.group))))
        order.append(row_hashes(piece.key, table.num_rows)[wanted_rows])
        rows.append(wanted_rows + first)
        first += table.num_rows
    picked = np.concatenate(rows)[np.argsort(np.concatenate(order), kind="stable")]
    table = pa.concat_tables(tables).combine_chunks()
    amounts = np.maximum(table["tokens"].to_numpy(), 1).astype(np.float64) if weigh else np.ones(first)
    amounts = amounts[picked]
    start, end = float(lane.times[at]), float(lane.times[at + 1])
    times = start + (end - start) * _middles(amounts)
    return Chunk(table.select(list(columns)), picked, amounts, np.clip(times, np.nextafter(start, 2.0), end))


class Walk:
    """An epoch's rows from any place on, in windows of 1,024.

    weigh: whether amounts are `tokens` (else every document counts 1); threads: that read ahead.
    Errors of reading are raised where the rows are due.
    """

    def __init__(self, lanes: Sequence[Lane], columns: Sequence[str], weigh: bool, read: Read, threads: int) -> None:
        self._lanes, self._columns, self._weigh, self._read = lanes, columns, weigh, read
        self._threads = threads
        self._times: dict[Place, Floats] = {}
        self.rows = sum(int(lane.starts[-1]) for lane in lanes)

    def windows(self, position: int) -> Iterator[Window]:
        """Yield the window that holds a position, and all after it, read ahead by threads."""
        first = position // WINDOW * WINDOW
        if first >= self.rows:
            return
        border, before = self._border_before(first)
        at = [int(np.searchsorted(lane.times, border, side="right")) - 1 for lane in self._lanes]
        with ThreadPoolExecutor(self._threads) as readers:
            source = _Ahead(self._open, self._upcoming(at), readers)
            try:
                yield from _cut(self._woven(at, border, source), first, first - before)
            finally:
                source.close()

    def _open(self, place: Place) -> Chunk:
        return open_chunk(self._lanes[place[0]], place[1], self._columns, self._weigh, self._read)

    def _upcoming(self, at: Sequence[int]) -> Iterator[Place]:
        """Yield the visits from `at` on, of all lanes, in the order in which they are opened."""
        for lane, visit in enumerate(at):
            if visit < len(self._lanes[lane].visits):
                yield lane, visit
        rest = [
            (float(held.times[visit]), lane, visit)
            for lane, held in enumerate(self._lanes)
            for visit in range(at[lane] + 1, len(held.visits))
        ]
        yield from ((lane, visit) for _, lane, visit in sorted(rest))

    def _woven(self, at: list[int], border: float, source: "_Ahead") -> Iterator[_Stretch]:
        """Yield the rows between one border of visits and the next, by time, then lane. at: visits that are open."""
        held: dict[int, tuple[Chunk, int]] = {}
        for lane, visit in enumerate(at):
            if visit < len(self._lanes[lane].visits):
                chunk = source.take((lane, visit))
                held[lane] = chunk, int(np.searchsorted(chunk.times, border, side="right"))
        while held:
            nearest = min(float(self._lanes[lane].times[at[lane] + 1]) for lane in held)
            parts = []
            for lane, (chunk, start) in sorted(held.items()):
                end = int(np.searchsorted(chunk.times, nearest, side="right"))
                parts.append((chunk, start, end, self._lanes[lane].human))
                held[lane] = chunk, end
            yield _stretch(parts)
            for lane in sorted(held):
                if self._lanes[lane].times[at[lane] + 1] <= nearest:
                    at[lane] += 1
                    del held[lane]
                    if at[lane] < len(self._lanes[lane].visits):
                        held[lane] = source.take((lane, at[lane])), 0

    def _border_before(self, position: int) -> tuple[float, int]:
        """Return the last border of visits with at most `position` rows before it, and how many there are."""
        borders = np.unique(np.concatenate([[0.0], *(lane.times for lane in self._lanes)]))
        low, high = 0, len(borders) - 1
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (low, middle - 1) if self._is_past(float(borders[middle]), position) else (middle, high)
        return float(borders[low]), sum(
            self._rows_before(lane, float(borders[low])) for lane in range(len(self._lanes))
        )

    def _is_past(self, border: float, position: int) -> bool:
        """Tell whether more than `position` rows lie before a border; chunks are read only where that decides it."""
        at = [int(np.searchsorted(lane.times, border, side="right")) - 1 for lane in self._lanes]
        least = sum(int(lane.starts[visit]) for lane, visit in zip(self._lanes, at, strict=True))
        most = sum(
            int(lane.starts[min(visit + (lane.times[visit] < border), len(lane.visits))])
            for lane, visit in zip(self._lanes, at, strict=True)
        )
        if least > position or most <= position:
            return least > position
        return sum(self._rows_before(lane, border) for lane in range(len(self._lanes))) > position

    def _rows_before(self, lane: int, border: float) -> int:
        held = self._lanes[lane]
        visit = int(np.searchsorted(held.times, border, side="right")) - 1
        if held.times[visit] == border:
            return int(held.starts[visit])
        if (lane, visit) not in self._times:
            self._times[lane, visit] = open_chunk(held, visit, (), self._weigh, self._read).times
        return int(held.starts[visit] + np.searchsorted(self._times[lane, visit], border, side="right"))


def _stretch(parts: Sequence[tuple[Chunk, int, int, bool]]) -> _Stretch:
    """Put rows of chunks into the order of their times. parts: chunk, its rows from and to, whether they are human."""
    times = np.concatenate([chunk.times[start:end] for chunk, start, end, _ in parts])
    counts = [end - start for _, start, end, _ in parts]
    order = np.argsort(times, kind="stable")
    return _Stretch(
        [chunk for chunk, _, _, _ in parts],
        np.repeat(np.arange(len(parts)), counts)[order],
        np.concatenate([chunk.rows[start:end] for chunk, start, end, _ in parts])[order],
        np.concatenate([chunk.amounts[start:end] for chunk, start, end, _ in parts])[order],
        np.repeat([human for _, _, _, human in parts], counts)[order],
    )


def _cut(stretches: Iterator[_Stretch], start: int, skipped: int) -> Iterator[Window]:
    """Cut rows into windows, of which the last may be shorter. start: of the first; skipped: rows before it."""
    held = _Stretch.empty()
    for stretch in stretches:
        drop = min(skipped, len(stretch.row))
        skipped -= drop
        held = held.joined(stretch.part(drop, len(stretch.row)))
        while len(held.row) >= WINDOW:
            yield _window(start, held.part(0, WINDOW))
            held = held.part(WINDOW, len(held.row))
            start += WINDOW
    if len(held.row):
        yield _window(start, held)


def _window(start: int, rows: _Stretch) -> Window:
    """Weave the rows of a window once more: those that count as human, and the others."""
    times = np.empty(len(rows.row))
    for which in (rows.human, ~rows.human):
        if which.any():
            times[which] = _middles(rows.amount[which])
    order = np.argsort(times, kind="stable")
    return Window(start, rows.chunks, rows.chunk[order], rows.row[order])


def _middles(amounts: Floats) -> Floats:
    """Return where the middle of each amount lies in their sum, as a fraction."""
    sums = np.cumsum(amounts)
    return np.asarray((sums - amounts / 2) / sums[-1])


class _Ahead:
    """Chunks that threads read before they are asked for. `places`: in the order in which they will be."""

    def __init__(self, read: Callable[[Place], Chunk], places: Iterator[Place], readers: ThreadPoolExecutor) -> None:
        self._read, self._places, self._readers = read, places, readers
        self._coming: dict[Place, Future[Chunk]] = {}
        self._submit(READ_AHEAD)

    def take(self, place: Place) -> Chunk:
        """Return a chunk, when it is read."""
        while place not in self._coming:
            self._submit(len(self._coming) + 1)
        chunk = self._coming.pop(place)
        self._submit(READ_AHEAD)
        return chunk.result()

    def close(self) -> None:
        """Begin no more reads."""
        for chunk in self._coming.values():
            chunk.cancel()

    def _submit(self, most: int) -> None:
        while len(self._coming) < most and (place := next(self._places, None)) is not None:
            self._coming[place] = self._readers.submit(self._read, place)
