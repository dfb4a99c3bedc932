"""Row groups of published files: what their footers tell of them, and reading one."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from cuvee.schemas.errors import IntegrityError
from cuvee.schemas.manifest import DataFile
from cuvee.storage.store import Store
from cuvee.storage.tables import opened, read_each

# What a reader of single groups must find in a file.
_NEEDED = ("doc_id", "text", "tokens", "epochs")


class Group(NamedTuple):
    """A row group. file: position in the list of files; number: in its file; bytes: decoded, of all columns.

    epochs: the least and the most of its rows, where the footer tells; None where the column has to be read.
    """

    file: int
    number: int
    rows: int
    bytes: int
    epochs: tuple[int, int] | None


def groups_of(store: Store, files: Sequence[DataFile]) -> Iterator[list[Group]]:
    """Yield the row groups of each file, in order, from the footers alone.

    Raises IntegrityError for a file that is gone, damaged, or has another number of rows than the manifest says.
    """
    yield from read_each(store, lambda at: _groups(store, at, files[at]), range(len(files)))


def read_group(store: Store, file: DataFile, number: int, columns: Sequence[str]) -> pa.Table:
    """Read columns of one row group, in the order of `columns`; raises IntegrityError, also where one is missing."""
    with opened(store, file, columns) as (_, parquet):
        # Without Arrow's threads: who reads groups reads several at a time.
        return parquet.read_row_group(number, columns=list(columns), use_threads=False).select(list(columns))


def _groups(store: Store, at: int, file: DataFile) -> list[Group]:
    with opened(store, file, _NEEDED) as (_, parquet):
        footer = parquet.metadata
        if footer.num_rows != file.rows:
            raise IntegrityError(f"{store.location(file.path)} has {footer.num_rows} rows, recorded were {file.rows}")
        return [_group(footer, at, number) for number in range(footer.num_row_groups)]


def _group(footer: pq.FileMetaData, at: int, number: int) -> Group:
    group = footer.row_group(number)
    chunks = (group.column(position) for position in range(group.num_columns))
    told = next(chunk.statistics for chunk in chunks if chunk.path_in_schema == "epochs")
    known = told is not None and told.has_min_max
    epochs = (int(told.min), int(told.max)) if known else None
    return Group(at, number, group.num_rows, group.total_byte_size, epochs)
