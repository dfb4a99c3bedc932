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
from cuvee.schemas.document import SHARD
from cuvee.schemas.errors import IntegrityError
from cuvee.schemas.records import (
    DraftRecord,
    FileRef,
    IngestRecord,
    PairsRecord,
    PoolEntry,
    PoolState,
    Run,
    ShardsRecord,
    StepRecord,
)
from cuvee.storage.store import Store
from cuvee.storage.tables import iterate_table, read_each, read_tables, take_rows

Int64s: TypeAlias = npt.NDArray[np.int64]

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

    signals: kind of signal → one record a shard, in the order of `shards`; its first file has the rows of the shard in
    order. pairs: the record of verified near-duplicate pairs.
    """

    entries: tuple[PoolEntry, ...]
    signals: dict[str, tuple[StepRecord, ...]] = Field({})
    pairs: PairsRecord | None = None

    @property
    def known_pairs(self) -> PairsRecord:
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
                source=record.report.source,
                generated=isinstance(record, DraftRecord),
                reading=record.report.reading,
                accepted=entry.accepted,
            )
            for entry in self.entries
            if isinstance(record := entry.record, ShardsRecord)
            for file in record.shards
        ]

    @property
    def ingested(self) -> list[IngestRecord]:
        """List the records of ingested batches."""
        return [entry.record for entry in self.entries if isinstance(entry.record, IngestRecord)]

    @property
    def drafted(self) -> list[DraftRecord]:
        """List the records of rounds of drafts."""
        return [entry.record for entry in self.entries if isinstance(entry.record, DraftRecord)]

    def read_as(self, readings: Mapping[str, str]) -> list[IngestRecord]:
        """List the records of batches that were read as `Run.readings` says."""
        return [record for record in self.ingested if readings.get(record.report.source) == record.report.reading]

    @property
    def sources(self) -> frozenset[str]:
        """Name the sources that have files in the pool."""
        return frozenset(record.report.source for record in self.ingested)

    @property
    def known_files(self) -> frozenset[tuple[str, str, str]]:
        """Name the source files in the pool: source, reading key, SHA-256."""
        reports = [record.report for record in self.ingested]
        return frozenset((report.source, report.reading, file.sha256) for report in reports for file in report.files)

    def plus(self, records: Iterable[ShardsRecord], accepted: int) -> "Pool":
        """Add records of shards; those that are held already change nothing. Signals must be gathered anew."""
        held = {entry.record.key for entry in self.entries}
        new = {record.key: PoolEntry(accepted=accepted, record=record) for record in records if record.key not in held}
        entries = sorted([*self.entries, *new.values()], key=lambda e: (e.accepted, e.record.step, e.record.key))
        return Pool(entries=tuple(entries))

    def with_signals(self, signals: Mapping[str, Sequence[StepRecord]]) -> "Pool":
        """Add what was measured of every shard, by kind of signal."""
        return self.model_copy(update={"signals": {kind: tuple(records) for kind, records in signals.items()}})

    def with_pairs(self, record: PairsRecord) -> "Pool":
        """Add the verified pairs of all texts."""
        return self.model_copy(update={"pairs": record})

    def state(self, run: Run, dates: dict[int, str]) -> PoolState:
        """Return what a manifest commits: the shards, and the records about them that this run used."""
        known = {entry.record.key: entry.accepted for entry in self.entries}
        records = [record for found in self.signals.values() for record in found]
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
    return Pool(entries=tuple(entry for entry in state.entries if isinstance(entry.record, ShardsRecord)))


def signal_rows(store: Store, pool: Pool, kind: str, schema: pl.Schema) -> pl.DataFrame:
    """Read what was measured of one kind of signal, a row for every row of the pool: shards in the pool's
    order, rows in that of their shard.

    schema: of its table, doc_id first. A kind that was not measured is all null. No text is read.
    """
    if kind not in pool.signals:
        rows = sum(shard.file.rows for shard in pool.shards)
        return pl.select(pl.repeat(None, rows, dtype=kind_of).alias(name) for name, kind_of in schema.items())
    return read_declared(store, [record.files[0] for record in pool.signals[kind]], schema)


def read_declared(
    store: Store, refs: Sequence[FileRef], schema: pl.Schema, needed: Sequence[str] | None = None
) -> pl.DataFrame:
    """Read the rows of files of one table. needed: columns that a file must have, by default all; others may be lacking
    in an older file, and are null. Raises IntegrityError for a file that holds another table.
    """
    frames = [schema.to_frame()]
    for ref, table in zip(refs, read_tables(store, refs, schema.names(), needed), strict=True):
        try:
            whole = pl.concat([schema.to_frame(), frame_of(table)], how="diagonal_relaxed")
            frames.append(declared(whole, schema))
        except pl.exceptions.PolarsError as error:
            raise IntegrityError(f"{store.location(ref.path)} holds another table ({error}); restore it") from None
    return pl.concat(frames)


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


def declared(frame: pl.DataFrame, schema: pl.Schema) -> pl.DataFrame:
    """Return the frame with exactly the columns of a schema, in its order and types; raises polars' ColumnNotFoundError
    for one that is missing, and InvalidOperationError for a value that its type cannot hold.
    """
    return frame.select(schema.names()).cast(schema)
