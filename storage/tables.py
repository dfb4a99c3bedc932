"""Parquet in a store: content-addressed writing, thin reading."""

import hashlib
import os
import tempfile
from base64 import b64decode
from binascii import Error as BinasciiError
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from cuvee.schemas.errors import IntegrityError
from cuvee.schemas.records import FileRef
from cuvee.schemas.tables import LEDGER
from cuvee.storage.local import naming, readable
from cuvee.storage.store import Store
from cuvee.storage.trust import MOST_LEDGER_BYTES, read_whole

if TYPE_CHECKING:
    from cuvee.storage.pages import StringPages

Item = TypeVar("Item")
Found = TypeVar("Found")

# 8 MiB row groups: a shuffled reader holds 16 of them.
ROW_GROUP_BYTES = 8 * 2**20
# Small pages, for who wants single texts: 5% more bytes than pages of 1 MiB. A page ends behind a batch of rows.
SMALL_PAGES = {"data_page_size": 2**15, "write_batch_size": 16}
# Where each read waits for an answer: thin columns of many files are a few small requests each, and a request takes as
# long as half a mebibyte.
_FILES_AT_ONCE = 8
# Where under one row in so many is wanted of a row group, only the pages of its texts are read; others lie on most.
FEW = 2
_HOLE_BYTES = 2**19


class TableWriter:
    """Write one Parquet file batch by batch; `ref` is set when the file stands in the store."""

    ref: FileRef

    def __init__(self, path: Path, schema: pa.Schema, level: int, small_pages: bool) -> None:
        # No dictionary and no statistics on text: footers would store documents, and keep them after a takedown.
        plain = [name for name in schema.names if name != "text"]
        self.schema = schema
        self._writer = pq.ParquetWriter(
            path,
            schema,
            compression={_leaf(field): "none" if _is_band_key(field.type) else "zstd" for field in schema},
            compression_level={_leaf(field): level for field in schema if not _is_band_key(field.type)},
            use_dictionary=[name for name in plain if not _seldom_repeats(schema.field(name).type)],
            write_statistics=plain,
            write_page_index=True,
            # zstd finds two of three changed bytes by itself; the others would pass as text.
            write_page_checksum=True,
            **(SMALL_PAGES if small_pages else {}),
        )

    def write(self, table: pa.Table) -> None:
        """Append a table, cast to the file's schema, in row groups of about 8 MiB."""
        if table.num_rows:
            table = table.select(self.schema.names).cast(self.schema)
            rows = max(1, table.num_rows * ROW_GROUP_BYTES // max(table.nbytes, 1))
            self._writer.write_table(table, row_group_size=rows)

    def say(self, metadata: Mapping[str, str]) -> None:
        """Write key-value metadata into the file's footer."""
        if metadata:
            self._writer.add_key_value_metadata(metadata)

    def close(self) -> None:
        """Finish the file."""
        self._writer.close()


def _leaf(field: pa.Field) -> str:
    """Name the column in which Parquet keeps the values of a field."""
    return f"{field.name}.list.element" if pa.types.is_list(field.type) else str(field.name)


def _is_band_key(kind: pa.DataType) -> bool:
    """Tell whether a column's values are hashes of which no two are alike: zstd makes them no smaller."""
    return bool(kind == pa.uint32())


def _seldom_repeats(kind: pa.DataType) -> bool:
    """Tell whether a dictionary of a column's values would be built and read in vain: floats, and hashes."""
    return bool(pa.types.is_floating(kind)) or kind in (pa.uint32(), pa.uint64())


@contextmanager
def table_file(
    store: Store, folder: str, schema: pa.Schema, level: int = 1, small_pages: bool = False
) -> Iterator[TableWriter]:
    """Write a Parquet file under `folder/<aa>/<sha256>.parquet`; nothing is left behind when the block fails.

    small_pages: for files of which single texts will be read (`take_rows`).
    """
    handle, name = tempfile.mkstemp(dir=store.scratch(), suffix=".parquet")
    os.close(handle)
    path = Path(name)
    try:
        with naming(path):
            writer = TableWriter(path, schema, level, small_pages)
            try:
                yield writer
            finally:
                writer.close()
        writer.ref = _keep(store, folder, path)
    finally:
        path.unlink(missing_ok=True)


def write_table(
    store: Store, folder: str, table: pa.Table, level: int = 1, metadata: Mapping[str, str] | None = None
) -> FileRef:
    """Write one table as a content-addressed Parquet file. metadata: more that its footer says, by key."""
    with table_file(store, folder, table.schema, level) as writer:
        writer.write(table)
        writer.say(metadata or {})
    return writer.ref


def _keep(store: Store, folder: str, path: Path) -> FileRef:
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    rows, size = pq.read_metadata(path).num_rows, path.stat().st_size
    key = f"{folder}/{sha256[:2]}/{sha256}.parquet"
    # Also where the key exists: what stands there may have rotted, and these bytes are right.
    readable(path)
    store.put_file(key, path)
    return FileRef(path=key, sha256=sha256, bytes=size, rows=rows)


def read_table(
    store: Store, ref: FileRef, columns: Sequence[str] | None = None, needed: Sequence[str] | None = None
) -> pa.Table:
    """Read a file's columns. needed: those that it must have, by default all that are read; of others it may lack some.

    Raises IntegrityError when the file is gone, damaged, has another number of rows, or lacks a column.
    """
    with opened(store, ref, (columns or ()) if needed is None else needed) as (_, parquet):
        return _read(store, ref, parquet, columns)


def read_ledger(store: Store, refs: Sequence[FileRef]) -> pa.Table:
    """Read files of a ledger: LEDGER, by source, file and row.

    Raises IntegrityError when the bytes of one are not the recorded ones.
    """
    columns = LEDGER.to_frame().to_arrow().schema
    tables = [columns.empty_table()]
    for ref in refs:
        with opened(store, ref, columns.names, BytesIO(read_whole(store, ref, MOST_LEDGER_BYTES))) as (_, parquet):
            tables.append(_read(store, ref, parquet, columns.names).cast(columns))
    return pa.concat_tables(tables).sort_by([(name, "ascending") for name in ("source", "file", "row")])


def read_tables(
    store: Store, refs: Sequence[FileRef], columns: Sequence[str] | None = None, needed: Sequence[str] | None = None
) -> Iterator[pa.Table]:
    """Read the columns of many files, and yield the tables in order; arguments and errors are those of `read_table`."""
    return read_each(store, lambda ref: read_table(store, ref, columns, needed), refs)


def read_each(store: Store, read: Callable[[Item], Found], items: Iterable[Item]) -> Iterator[Found]:
    """Yield what `read` returns for each item, in order; several are read at a time where the network has to answer."""
    if not store.remote:
        # Arrow reads the columns of a file side by side; threads beside that take a fifth more CPU.
        yield from map(read, items)
        return
    with ThreadPoolExecutor(_FILES_AT_ONCE) as readers:
        yield from readers.map(read, items)


def _read(store: Store, ref: FileRef, parquet: pq.ParquetFile, columns: Sequence[str] | None) -> pa.Table:
    table = parquet.read(columns=list(columns) if columns is not None else None)
    if table.num_rows != ref.rows:
        raise IntegrityError(f"{store.location(ref.path)} has {table.num_rows} rows, recorded were {ref.rows}")
    return table


def iterate_table(store: Store, ref: FileRef, columns: Sequence[str]) -> Iterator[pa.Table]:
    """Read a file's columns a row group at a time; raises IntegrityError when it is gone, damaged or lacks one."""
    with opened(store, ref, columns) as (_, parquet):
        for group in range(parquet.num_row_groups):
            yield parquet.read_row_group(group, columns=list(columns))


def take_rows(store: Store, ref: FileRef, columns: Sequence[str], rows: npt.NDArray[np.int64]) -> pa.Table:
    """Read the columns of some rows, ascending row numbers of which one at least; raises as `read_table`.

    Row groups without a wanted row are not read; where few rows are wanted, only the pages that hold their texts are.
    """
    parts, start = [], 0
    with opened(store, ref, columns) as (file, parquet):
        counts = [parquet.metadata.row_group(group).num_rows for group in range(parquet.num_row_groups)]
        if sum(counts) != ref.rows:
            raise IntegrityError(f"{store.location(ref.path)} has {sum(counts)} rows, recorded were {ref.rows}")
        pages = None
        for group, count in enumerate(counts):
            inside = rows[slice(*np.searchsorted(rows, [start, start + count]))] - start
            few = "text" in columns and FEW * len(inside) < count
            if few and pages is None:
                pages = _text_pages(store, file, parquet)
            if len(inside):
                parts.append(_take_group(parquet, pages if few else None, group, columns, inside))
            start += count
    return pa.concat_tables(parts)


def _text_pages(store: Store, file: BinaryIO, parquet: pq.ParquetFile) -> "StringPages":
    # Here, for commands that only read versions do without numba.
    from cuvee.storage.pages import StringPages

    return StringPages(file, parquet.metadata, "text", _HOLE_BYTES if store.remote else 0)


def _take_group(
    parquet: pq.ParquetFile,
    pages: "StringPages | None",
    group: int,
    columns: Sequence[str],
    rows: npt.NDArray[np.int64],
) -> pa.Table:
    """Read the columns of some rows of a row group; of texts only their pages, where `pages` are given."""
    texts = pages.take(group, rows) if pages else None
    if texts is None:
        return parquet.read_row_group(group, columns=list(columns)).take(pa.array(rows))
    text = pa.table({"text": texts.cast(parquet.schema_arrow.field("text").type)})
    rest = [name for name in columns if name != "text"]
    if not rest:
        return text
    table = parquet.read_row_group(group, columns=rest).take(pa.array(rows))
    return table.append_column("text", text["text"]).select(columns)


@contextmanager
def opened(
    store: Store, ref: FileRef, needed: Sequence[str], content: BinaryIO | None = None
) -> Iterator[tuple[BinaryIO, pq.ParquetFile]]:
    """Open a file, or its bytes where they have been read already. needed: columns that it must have."""
    try:
        with content or store.open(ref.path) as file:
            # Pre-buffered, the columns that lie together are one request.
            parquet = pq.ParquetFile(file, page_checksum_verification=True, pre_buffer=True)
            # The footer has no checksum, but names its columns twice.
            schema = b64decode((parquet.metadata.metadata or {}).get(b"ARROW:schema", b""))
            written = pa.ipc.read_schema(pa.py_buffer(schema))
            if written.names != parquet.schema_arrow.names:
                raise pa.ArrowInvalid("its columns have other names than were written")
            missing = set(needed).difference(written.names)
            if missing:
                raise pa.ArrowInvalid(f"it has no column {', '.join(sorted(missing))}")
            yield file, parquet
    except FileNotFoundError:
        raise IntegrityError(f"{store.location(ref.path)} is missing; restore it from a backup") from None
    # OSError: a wrong checksum, bytes that do not decompress. Others: a footer that cannot be what was written.
    except (pa.ArrowException, OSError, UnicodeDecodeError, BinasciiError) as error:
        raise IntegrityError(f"{store.location(ref.path)} is damaged ({error}); restore it") from None
