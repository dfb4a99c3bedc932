"""The loader: batches of a version, the same for any number of ranks, resumable at any of them."""

from collections.abc import Iterator, Sequence
from copy import copy
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from cuvee.loader.chance import key_of
from cuvee.loader.lanes import Lane, build
from cuvee.loader.order import Walk, Window
from cuvee.loader.packing import Packing, packed_ahead
from cuvee.schemas.amounts import human_provenances
from cuvee.schemas.document import PUBLISHED
from cuvee.schemas.errors import RecipeError
from cuvee.schemas.manifest import Manifest
from cuvee.storage.groups import Group, groups_of, read_group
from cuvee.storage.store import Store

if TYPE_CHECKING:
    from cuvee.loader.torch import TorchBatches

Batch = dict[str, Any]

# Threads that read ahead: of a disk two keep up with one consumer, of a server each waits for its answer.
_THREADS, _THREADS_REMOTE = 2, 8


class Version(NamedTuple):
    """What is read: a version, by the SHA-256 of its stored manifest, and the split of it."""

    store: Store
    manifest: Manifest
    sha256: str
    split: Literal["train", "validation"]


class Share(NamedTuple):
    """Who reads it. rank: 0 to world_size - 1; worker: 0 to workers - 1, of one rank. even: every rank gets as many
    batches as the others, all of them full: the last incomplete round of batches is left out.
    """

    rank: int
    world_size: int
    even: bool
    worker: int = 0
    workers: int = 1


class Loader:
    """Iterate over the batches of one rank, from where the state is to the end of the epoch; then the next epoch.

    The order of an epoch follows from version, split, seed and epoch. Batch number i, counted over all ranks, holds the
    documents i·batch to (i+1)·batch - 1 of that order and goes to rank i mod world_size. Each document occurs `epochs`
    times. A batch is a dict of lists, a list a column; with `packing` it is what `Packing` gives.
    Errors while iterating: IntegrityError where a file is gone or damaged.
    """

    def __init__(
        self,
        version: Version,
        share: Share,
        seed: int,
        epoch: int,
        batch: int,
        columns: Sequence[str],
        packing: Packing | None,
    ) -> None:
        _check(share, seed, epoch, batch, columns)
        self.share, self._version, self._packing = share, version, packing
        self._seed, self._epoch, self._batch = seed, epoch, batch
        self._columns = tuple(columns) if packing is None else ("doc_id", "text")
        # Batches of all ranks before the iteration began, and of this worker since then.
        self._before = self._taken = 0
        self._groups: list[list[Group]] = []
        self._woven: tuple[int, list[Lane]] = (-1, [])

    def __iter__(self) -> Iterator[Batch]:
        """Yield batches from the state on; a batch counts as done when it is handed out."""
        batches = self._batches(self._own(), self._columns)
        for batch in batches if self._packing is None else packed_ahead(batches, self._packing):
            self._taken += 1
            yield batch
        self.set_epoch(self._epoch + 1)

    @property
    def batches(self) -> int:
        """Return how many batches the epoch has for all ranks; the last may be shorter than the others."""
        return -(-self._rows() // self._batch)

    def set_epoch(self, epoch: int) -> None:
        """Begin an epoch anew."""
        self._epoch, self._before, self._taken = epoch, 0, 0

    def state_dict(self) -> dict[str, Any]:
        """Return where this rank is: manifest, split, seed, epoch, batch (documents in one), and `batches`: those done
        by all ranks, each of which is taken to have got as many as this one. All that is needed to go on, at any
        world size.
        """
        return self.state_after(0)

    def state_after(self, batches: int) -> dict[str, Any]:
        """Return the state that the rank will have after more batches of this epoch: for whom workers read ahead."""
        share = self.share
        state: dict[str, Any] = {"manifest": self._version.sha256, "split": self._version.split}
        state |= {"seed": self._seed, "epoch": self._epoch, "batch": self._batch}
        if share.workers > 1:
            return {**state, "batches": self._before, "worker": [share.worker, share.workers, self._taken + batches]}
        done = self._before + (self._taken + batches) * share.world_size
        return {**state, "batches": min(done, max(self._before, self.batches))}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state; its seed and epoch take the place of the loader's own.

        Raises RecipeError for a state of another version, split or size of batches, and for one of a worker process
        that this is not.
        """
        own = self.state_after(0)
        for name in ("manifest", "split", "batch"):
            if state.get(name) != own[name]:
                raise RecipeError(
                    f"the state was taken with {name} {state.get(name)!r}, and this loader has {own[name]!r}; open "
                    "what it was taken of, with the same options"
                )
        worker, workers, taken = state.get("worker", [self.share.worker, self.share.workers, 0])
        if (worker, workers) != (self.share.worker, self.share.workers):
            raise RecipeError(
                f"the state is of worker {worker} of {workers}, and this is {self.share.worker} of "
                f"{self.share.workers}; go on with as many workers, or take the state by state_after()"
            )
        self._seed, self._epoch = int(state["seed"]), int(state["epoch"])
        self._before, self._taken = int(state["batches"]), int(taken)

    @property
    def documents(self) -> int:
        """Return how many documents the epoch has, copies counted."""
        return self._rows()

    def tables(self, start: int, end: int) -> Iterator[pa.Table]:
        """Yield the documents from one place of the epoch's order to another, as tables of at most 1,024 rows."""
        for window in self._walk(self._columns).windows(start) if start < end else ():
            places = window.start + np.arange(len(window.row))
            found = rows_of(window, np.flatnonzero((places >= start) & (places < end)))
            if found:
                yield found
            if window.start + len(places) >= end:
                return

    def left_out(self) -> list[str]:
        """Return the doc_id of each document, copies too, that `even` leaves out of the epoch, in their order."""
        rest = range(self._end(), self.batches)
        return [doc_id for batch in self._batches(rest, ("doc_id",)) for doc_id in batch["doc_id"]]

    def torch(self) -> "TorchBatches":
        """Return it as a `torch.utils.data.IterableDataset`, for a DataLoader with `batch_size=None`.

        Raises RecipeError without torch.
        """
        try:
            from cuvee.loader.torch import TorchBatches
        except ImportError as error:
            raise RecipeError(f"loader: torch() needs torch, which cannot be imported: {error}") from None
        return TorchBatches(self)

    def for_worker(self, worker: int, workers: int) -> "Loader":
        """Return the loader of a worker process: every `workers`-th batch of the rank, the first is number `worker`."""
        own = copy(self)
        own.share = self.share._replace(worker=worker, workers=workers)
        return own

    def _own(self) -> range:
        """Return the numbers of the batches that are still to come."""
        share, start = self.share, self._before
        of_rank = range(start + (share.rank - start) % share.world_size, self._end(), share.world_size)
        return of_rank[share.worker :: share.workers][self._taken :]

    def _end(self) -> int:
        """Return the number of the batch at which this iteration ends."""
        if not self.share.even:
            return self.batches
        full = self._rows() // self._batch - self._before
        return self._before + max(0, full) // self.share.world_size * self.share.world_size

    def _rows(self) -> int:
        return sum(int(lane.starts[-1]) for lane in self._lanes())

    def _lanes(self) -> list[Lane]:
        version = self._version
        files = [file for file in version.manifest.files if file.split == version.split]
        if not self._groups:
            self._groups = list(groups_of(version.store, files))
        if self._woven[0] != self._key:
            human = human_provenances(version.manifest.mixture.unknown_as)
            self._woven = self._key, build(files, self._groups, human, self._key, self._epochs_of)
        return self._woven[1]

    @property
    def _key(self) -> int:
        return key_of(self._version.sha256, self._version.split, self._seed, self._epoch)

    def _epochs_of(self, group: Group) -> npt.NDArray[np.integer]:
        return np.asarray(self._read(group, ["epochs"])["epochs"].to_numpy())

    def _read(self, group: Group, columns: Sequence[str]) -> pa.Table:
        version = self._version
        files = [file for file in version.manifest.files if file.split == version.split]
        return read_group(version.store, files[group.file], group.number, columns)

    def _walk(self, columns: Sequence[str]) -> Walk:
        threads = _THREADS_REMOTE if self._version.store.remote else _THREADS
        weigh = self._version.manifest.mixture.unit != "documents"
        return Walk(self._lanes(), columns, weigh, lambda piece, names: self._read(piece.group, names), threads)

    def _batches(self, own: range, columns: Sequence[str]) -> Iterator[Batch]:
        """Yield the batches of these numbers."""
        if not own:
            return
        walk = self._walk(columns)
        sizes = (min(self._batch, walk.rows - number * self._batch) for number in own)
        waiting, size = dict[str, list[Any]](), next(sizes)
        for window in walk.windows(own[0] * self._batch):
            number = (window.start + np.arange(len(window.row))) // self._batch
            mine = (number >= own.start) & (number < own.stop) & ((number - own.start) % own.step == 0)
            found = rows_of(window, np.flatnonzero(mine))
            waiting = {name: waiting.get(name, []) + (found[name].to_pylist() if found else []) for name in columns}
            at, held = 0, len(waiting[columns[0]])
            while size and at + size <= held:
                yield {name: values[at : at + size] for name, values in waiting.items()}
                at, size = at + size, next(sizes, 0)
            if not size:
                return
            waiting = {name: values[at:] for name, values in waiting.items()}


def rows_of(window: Window, wanted: npt.NDArray[np.int64]) -> pa.Table | None:
    """Return some rows of a window, in its order; None for none. wanted: positions in it, ascending."""
    order = np.argsort(window.chunk[wanted], kind="stable")
    chunk, row = window.chunk[wanted][order], window.row[wanted][order]
    used, starts = np.unique(chunk, return_index=True)
    if not len(used):
        return None
    ends = [*starts[1:], len(row)]
    tables = [window.chunks[at].table.take(row[s:e]) for at, s, e in zip(used, starts, ends, strict=True)]
    return pa.concat_tables(tables).take(np.argsort(order, kind="stable"))


def _check(share: Share, seed: int, epoch: int, batch: int, columns: Sequence[str]) -> None:
    unknown = [name for name in columns if name not in PUBLISHED.names]
    wrong = {
        f"rank={share.rank}: give a number from 0 to world_size - 1": not 0 <= share.rank < share.world_size,
        f"seed={seed}, epoch={epoch}: give numbers of at least 0": min(seed, epoch) < 0,
        f"batch={batch}: give at least 1 document a batch": batch < 1,
        f"columns={list(columns)}: give at least one of {', '.join(PUBLISHED.names)}": bool(unknown) or not columns,
    }
    for message, applies in wrong.items():
        if applies:
            raise RecipeError(f"loader: {message}")
