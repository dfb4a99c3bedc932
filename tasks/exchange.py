"""Exchange: deal rows to partitions through files that lie in the store; it knows nothing of what it carries.

A task that deals writes one file: a segment a partition, one after the other, and an index at the end. A segment is an
Arrow IPC stream (lz4), empty where a partition gets no row. The index is uint64[segments, 2], little-endian: where a
segment ends, and the CRC-32 of its bytes. A task of a partition opens each file at its end, where the index lies, and
reads its own segment in one range.

One file has at most MOST segments. Where there are more partitions, the first round deals to groups of neighbouring
partitions, with each row's partition beside it, and `again` deals one group's rows in a second round. So requests grow
with rows, and not with files times partitions. The same rows, dealt in the same order, give the same bytes.
"""

import hashlib
import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypeAlias
from zlib import crc32

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from cuvee.schemas.base import Frozen
from cuvee.schemas.errors import IntegrityError
from cuvee.schemas.records import FileRef
from cuvee.storage.local import naming
from cuvee.storage.store import Store

# Segments of a file: an open and a read a segment, 8 ms from a bucket, are a third of what its rows cost to read.
MOST = 256
# Rows that wait until they are dealt together: a batch costs 1 ms whatever it holds, and rows 0.3 KB.
_ROWS_AT_ONCE = 1 << 18
_PARTITION = "_partition"
_OPTIONS = pa.ipc.IpcWriteOptions(compression="lz4")

Numbers: TypeAlias = npt.NDArray[np.integer]


class Dealt(Frozen):
    """One file of segments. first: its first partition; each: partitions a segment, over 1 after the first round."""

    file: FileRef
    first: int
    segments: int
    each: int


class Dealer:
    """Deal rows to `partitions` (a power of two, from 1), numbered from 0, into one file below `folder`.

    most: segments of a file. Memory: the rows that wait, and the file's bytes.
    """

    def __init__(self, store: Store, folder: str, partitions: int, most: int = MOST) -> None:
        each = max(1, partitions // most)
        self._store, self._folder, self._range = store, folder, (0, partitions // each, each)
        self._sinks = [pa.BufferOutputStream() for _ in range(partitions // each)]
        self._writers: dict[int, pa.RecordBatchStreamWriter] = {}
        self._waiting: list[tuple[pl.DataFrame, Numbers]] = []
        self._rows = self._held = 0

    @classmethod
    def of_group(cls, store: Store, folder: str, first: int, partitions: int) -> "Dealer":
        """Deal the rows of a group of partitions that begins with `first`."""
        dealer = cls(store, folder, partitions, partitions)
        dealer._range = (first, partitions, 1)
        return dealer

    def add(self, rows: pl.DataFrame, partition: Numbers) -> None:
        """Deal rows; partition: of each. Columns and types are those of the first call."""
        self._waiting.append((rows, partition))
        self._held += rows.height
        if self._held >= _ROWS_AT_ONCE:
            self._flush()

    def finish(self) -> Dealt:
        """Write the file, and return where it is."""
        self._flush()
        for writer in self._writers.values():
            writer.close()
        segments = [sink.getvalue() for sink in self._sinks]
        ends = np.cumsum([len(segment) for segment in segments])
        index = np.stack([ends, [crc32(segment) for segment in segments]], axis=1).astype("<u8")
        first, number, each = self._range
        file = _put(self._store, self._folder, [*segments, index.tobytes()], self._rows)
        return Dealt(file=file, first=first, segments=number, each=each)

    def _flush(self) -> None:
        if not self._held:
            return
        rows = pl.concat([rows for rows, _ in self._waiting])
        partition = np.concatenate([numbers for _, numbers in self._waiting]).astype(np.uint32)
        self._waiting, self._rows, self._held = [], self._rows + self._held, 0
        first, _, each = self._range
        if each > 1:
            rows = rows.with_columns(pl.Series(_PARTITION, partition))
        segment = (partition - first) // each
        order = np.argsort(segment, kind="stable")
        table = rows[order].to_arrow()
        numbers, starts = np.unique(segment[order], return_index=True)
        for number, start, stop in zip(numbers.tolist(), starts, [*starts[1:], rows.height], strict=True):
            if number not in self._writers:
                self._writers[number] = pa.ipc.new_stream(self._sinks[number], table.schema, options=_OPTIONS)
            self._writers[number].write_table(table.slice(start, stop - start))


def deal(store: Store, folder: str, rows: pl.DataFrame, partition: Numbers, partitions: int) -> Dealt:
    """Deal rows that are there at once."""
    dealer = Dealer(store, folder, partitions)
    dealer.add(rows, partition)
    return dealer.finish()


def groups(files: Sequence[Dealt]) -> list[int]:
    """List the first partition of each group that a second round has to deal; none where one round was enough."""
    coarse = next((file for file in files if file.each > 1), None)
    return [coarse.first + number * coarse.each for number in range(coarse.segments)] if coarse else []


def again(store: Store, folder: str, files: Sequence[Dealt], first: int) -> Dealt:
    """Deal the rows of the group that begins with partition `first`, of files of a first round."""
    dealer = Dealer.of_group(store, folder, first, next(file.each for file in files))
    for file in files:
        for table in _segment(store, file, first, None):
            rows = pl.DataFrame(table)
            dealer.add(rows.drop(_PARTITION), rows[_PARTITION].to_numpy())
    return dealer.finish()


def collect(
    store: Store, files: Sequence[Dealt], partition: int, schema: pl.Schema, columns: Sequence[str] | None = None
) -> pl.DataFrame:
    """Return a partition's rows, or some of their columns, in the order of the files and of the dealing.

    files: of the last round. schema: of the rows that were dealt. Raises IntegrityError for a file that is missing,
    or is not what was written.
    """
    names = list(columns if columns is not None else schema.names())
    frames = [schema.to_frame().select(names)]
    for file in files:
        if file.first <= partition < file.first + file.segments * file.each:
            frames += [pl.DataFrame(table).select(names) for table in _segment(store, file, partition, names)]
    return pl.concat(frames)


def _segment(store: Store, file: Dealt, partition: int, columns: Sequence[str] | None) -> Iterator[pa.Table]:
    """Yield the rows of a partition's segment, a batch at a time."""
    number = (partition - file.first) // file.each
    content = _bytes(store, file, number)
    if not content:
        return
    schema = pa.ipc.read_schema(pa.BufferReader(content))
    fields = None if columns is None else [place for place, name in enumerate(schema.names) if name in columns]
    options = pa.ipc.IpcReadOptions(included_fields=fields)
    with pa.ipc.open_stream(pa.BufferReader(content), options=options) as batches:
        for batch in batches:
            yield pa.Table.from_batches([batch])


def _bytes(store: Store, file: Dealt, number: int) -> bytes:
    """Read one segment; raises IntegrityError where it is not what was written."""
    where = store.location(file.file.path)
    try:
        with store.open(file.file.path) as opened:
            opened.seek(file.file.bytes - 16 * file.segments)
            read = opened.read(16 * file.segments)
            index = np.frombuffer(read[: len(read) // 16 * 16], "<u8").reshape(-1, 2).tolist()
            start = index[number - 1][0] if 0 < number < len(index) else 0
            end, checksum = index[number] if number < len(index) else (-1, 0)
            opened.seek(min(start, file.file.bytes))
            content = opened.read(end - start) if start < end <= file.file.bytes else b""
    except FileNotFoundError:
        raise IntegrityError(f"{where} is missing; run again, it is made anew") from None
    if len(content) != end - start or crc32(content) != checksum:
        raise IntegrityError(f"{where} is damaged; remove it and run again, it is made anew")
    return content


def _put(store: Store, folder: str, pieces: Sequence[bytes], rows: int) -> FileRef:
    """Write the pieces one after the other, as a file that is named by its content."""
    digest, size = hashlib.sha256(), 0
    handle, name = tempfile.mkstemp(dir=store.scratch(), suffix=".segments")
    path = Path(name)
    try:
        with naming(path), os.fdopen(handle, "wb") as file:
            for piece in pieces:
                digest.update(piece)
                size += file.write(piece)
        key = f"{folder}/{digest.hexdigest()}.segments"
        store.put_file(key, path)
    finally:
        path.unlink(missing_ok=True)
    return FileRef(path=key, sha256=digest.hexdigest(), bytes=size, rows=rows)
