"""Pool: the shards of a corpus, their thin columns, and the text of chosen documents."""

import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
from pydantic import Field

from cuvee.schemas.base import Frozen
from cuvee.schemas.document import SHARD, THIN
from cuvee.schemas.records import FileRef, PoolEntry, PoolState, Run, StepRecord
from cuvee.storage.store import Store
from cuvee.storage.tables import iterate_table, read_each, read_tables, take_rows

Int64s: TypeAlias = npt.NDArray[np.int64]

# Steps whose files are the documents themselves; all others can be computed from these.
SHARD_STEPS = ("ingest", "generate")
# About the bytes that a page of text takes in a shard: a text by itself costs decompressing one.
PAGE_BYTES = 1 << 14


class Shard(Frozen):
    """One shard of the pool. source: of its rows, for drafts the generator's name; reading: how they were read."""

    file: FileRef
    source: str
    generated: bool
    reading: str
    accepted: int


class Pool(Frozen):
    """All shards of a corpus that a run knows, in a fixed order, with what the steps found out about them.

    attributes: step → one record a shard, in the order of `shards`; its only file has the rows of the shard in order.
    pairs: the record of verified near-duplicate pairs.
    """

    entries: tuple[PoolEntry, ...]
    attributes: dict[str, tuple[StepRecord, ...]] = Field({})
    pairs: StepRecord | None = None

    @property
    def known_pairs(self) -> StepRecord:
        """The record of pairs, which every decision needs."""
        if self.pairs is None:
            raise ValueError("the pool's near-duplicates are not known yet; run the pairs step first")
        return self.pairs

    @property
    def shards(self) -> list[Shard]:
        """List the shards, oldest first, then by the name of the work that made them."""
        return [
            Shard(
                file=file,
                source=entry.record.report["source"],
                generated=entry.record.step == "generate",
                reading=entry.record.report["reading"],
                accepted=entry.accepted,
            )
            for entry in self.entries
            for file in entry.record.files[: entry.record.report["shards"]]
        ]

    @property
    def ingested(self) -> list[StepRecord]:
        """List the records of ingested batches."""
        return [entry.record for entry in self.entries if entry.record.step == "ingest"]

    def read_as(self, readings: Mapping[str, str]) -> list[StepRecord]:
        """List the records of batches that were read as `Run.readings` says."""
        return [r for r in self.ingested if readings.get(r.report["source"]) == r.report["reading"]]

    @property
    def sources(self) -> frozenset[str]:
        """Name the sources that have files in the pool."""
        return frozenset(str(record.report["source"]) for record in self.ingested)

    @property
    def known_files(self) -> frozenset[tuple[str, str, str]]:
        """Name the source files in the pool: source, reading key, SHA-256."""
        return frozenset(
            (record.report["source"], record.report["reading"], file["sha256"])
            for record in self.ingested
            for file in record.report["files"]
        )

    def plus(self, records: Iterable[StepRecord], accepted: int) -> "Pool":
        """Add records of shards; those that are held already change nothing. Attributes must be gathered anew."""
        held = {entry.record.key for entry in self.entries}
        new = {record.key: PoolEntry(accepted=accepted, record=record) for record in records if record.key not in held}
        entries = sorted([*self.entries, *new.values()], key=lambda e: (e.accepted, e.record.step, e.record.key))
        return Pool(entries=tuple(entries))

    def with_attributes(self, step: str, records: Sequence[StepRecord]) -> "Pool":
        """Add what a step found out about every shard."""
        return self.model_copy(update={"attributes": {**self.attributes, step: tuple(records)}})

    def with_pairs(self, record: StepRecord) -> "Pool":
        """Add the verified pairs of all texts."""
        return self.model_copy(update={"pairs": record})

    def state(self, run: Run, dates: dict[int, str]) -> PoolState:
        """Return what a manifest commits: the shards, and the records about them that this run used."""
        known = {entry.record.key: entry.accepted for entry in self.entries}
        records = [record for found in self.attributes.values() for record in found]
        records += [self.pairs] if self.pairs else []
        extra = {
            record.key: PoolEntry(accepted=known.get(record.key, run.version), record=record) for record in records
        }
        return PoolState(
            number=run.version,
            entries=(*self.entries, *(extra[key] for key in sorted(extra))),
            dates={**dates, run.version: run.day},
        )


def pool_of(state: PoolState) -> Pool:
    """Open the pool that a state names."""
    return Pool(entries=tuple(entry for entry in state.entries if entry.record.step in SHARD_STEPS))


def thin_rows(store: Store, pool: Pool) -> pl.DataFrame:
    """Read the thin columns of every row of the pool: THIN, and shard (int32), position (int64), source, accepted
    (int32), generated (boolean), reading (string). About 200 bytes a row; no text is read.
    """
    frames = []
    tables = read_tables(store, [shard.file for shard in pool.shards], THIN)
    for number, (shard, table) in enumerate(zip(pool.shards, tables, strict=True)):
        frame = frame_of(table)
        frames.append(
            frame.with_columns(
                shard=pl.lit(number, pl.Int32),
                position=pl.int_range(pl.len(), dtype=pl.Int64),
                source=pl.lit(shard.source),
                accepted=pl.lit(shard.accepted, pl.Int32),
                generated=pl.lit(shard.generated),
                reading=pl.lit(shard.reading),
            )
        )
    # Shards written before a column was added have it as null.
    return pl.concat(frames, how="diagonal") if frames else pl.DataFrame()


def attribute_rows(store: Store, pool: Pool, step: str) -> pl.DataFrame:
    """Read one step's columns for every row of the pool, in the order of `thin_rows`."""
    return pl.concat(map(frame_of, read_tables(store, [record.files[0] for record in pool.attributes[step]])))


class Texts:
    """Random access to the text of a pool's rows, while the block of `with` lasts.

    The pages of a shard that hold wanted rows are read, until as many texts were taken from it as it has pages. From
    then on it lies decompressed in a memory-mapped file beside the store. So memory is bounded by what is asked for at
    a time, and a shard is decompressed two or three times over at the most.
    """

    def __init__(self, store: Store, shards: Sequence[Shard], columns: Sequence[str] = ("text",)) -> None:
        self._store, self._shards, self._columns = store, shards, list(columns)
        self._open: dict[int, pa.Table] = {}
        self._taken: Counter[int] = Counter()

    def __enter__(self) -> "Texts":
        self._folder = tempfile.TemporaryDirectory(dir=self._store.scratch(), prefix="texts-")
        return self

    def __exit__(self, *_: object) -> None:
        self._open.clear()
        self._folder.cleanup()

    def take(self, shard: Int64s, position: Int64s) -> pa.Table:
        """Return the columns of the rows (shard number, position in it), int64[n] each, in the order asked for."""
        order = np.lexsort((position, shard))
        numbers, starts = np.unique(shard[order], return_index=True)
        wanted = zip(numbers.tolist(), np.split(order, starts[1:]), strict=True)
        parts = list(read_each(self._store, lambda rows: self._rows(rows[0], position[rows[1]]), wanted))
        if not parts:
            return pa.table({name: pa.array([], SHARD.field(name).type) for name in self._columns})
        back = np.empty(len(order), np.int64)
        back[order] = np.arange(len(order))
        return pa.concat_tables(parts).take(pa.array(back))

    def _rows(self, number: int, position: Int64s) -> pa.Table:
        """Return rows of a shard, by ascending position."""
        file = self._shards[number].file
        before, self._taken[number] = self._taken[number], self._taken[number] + len(position)
        if before > file.bytes // PAGE_BYTES:
            return self._table(number).take(pa.array(position))
        return take_rows(self._store, file, self._columns, position)

    def _table(self, number: int) -> pa.Table:
        if number not in self._open:
            path = Path(self._folder.name) / f"{number}.arrow"
            tables = iterate_table(self._store, self._shards[number].file, self._columns)
            with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, _schema(self._columns)) as writer:
                for table in tables:
                    writer.write_table(table)
            self._open[number] = pa.ipc.open_file(pa.memory_map(str(path))).read_all()
        return self._open[number]


def _schema(columns: Sequence[str]) -> pa.Schema:
    return pa.schema([SHARD.field(name) for name in columns])


def frame_of(table: pa.Table) -> pl.DataFrame:
    """Turn an Arrow table into a polars frame without copying where that is possible."""
    frame = pl.from_arrow(table)
    assert isinstance(frame, pl.DataFrame)
    return frame
