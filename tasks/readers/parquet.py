"""Parquet, row group by row group; only the columns that the fields name are read.

A damaged row group costs its own rows, each a bad row; the groups after it are read.
"""

import shutil
import tempfile
from collections.abc import Iterator, Mapping
from itertools import accumulate
from pathlib import Path
from typing import BinaryIO, cast

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from cuvee.schemas.errors import InputError
from cuvee.tasks.readers._batch import MAX_RECORD_BYTES, ROW_OVERHEAD_BYTES, SCHEMA, BadRow, Batch, as_text, clean
from cuvee.tasks.readers._bytes import is_of_arrow, too_long

SUFFIXES = (".parquet",)
COMPRESSIBLE = False
MEDIA_TYPES = ("application/vnd.apache.parquet",)
ONE_DOCUMENT = False

_FAULTS = (pa.ArrowException, OSError, ValueError, OverflowError)

# The days of the years 1 to 9999, counted from 1970-01-01.
_DAYS = (-719_162, 2_932_896)


def _fault(error: Exception) -> str:
    """Say in a line what is wrong with the bytes; raises the error again when it is of what gave them."""
    if isinstance(error, OSError) and not is_of_arrow(error):
        raise error
    return (str(error).splitlines() or [type(error).__name__])[0]


def _seekable(stream: BinaryIO) -> BinaryIO:
    """Give a stream that can seek: the footer of a Parquet file is at its end."""
    if stream.seekable():
        return stream
    copy = cast(BinaryIO, tempfile.TemporaryFile())  # noqa: SIM115 closed with the last reference to it
    shutil.copyfileobj(stream, copy)
    copy.seek(0)
    return copy


def _is_text(type_: pa.DataType) -> bool:
    if pa.types.is_dictionary(type_):
        return _is_text(type_.value_type)
    text_types = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view, pa.types.is_null)
    return any(is_type(type_) for is_type in text_types)


def _is_plain(type_: pa.DataType) -> bool:
    """Tell whether a type has one obvious spelling as text."""
    numbers = (pa.types.is_integer, pa.types.is_floating, pa.types.is_decimal, pa.types.is_boolean)
    times = (pa.types.is_date, pa.types.is_timestamp)
    return _is_text(type_) or any(is_type(type_) for is_type in (*numbers, *times))


def _columns(path: Path | str, schema: pa.Schema, fields: Mapping[str, str]) -> dict[str, str]:
    """Choose the columns to read; raises InputError without the text column or for one of a wrong type."""
    if fields["text"] not in schema.names:
        raise InputError(f'{path}: no column "{fields["text"]}"; the columns are: {", ".join(schema.names)}')
    chosen = {column: name for column, name in fields.items() if name in schema.names}
    for column, name in chosen.items():
        if schema.names.count(name) > 1:
            raise InputError(f'{path}: column "{name}" stands {schema.names.count(name)} times; rename all but one')
        found = schema.field(name).type
        if not (_is_text(found) if column == "text" else _is_plain(found)):
            wanted = "string" if column == "text" else "string, number, boolean, date or timestamp"
            raise InputError(f'{path}: column "{name}" is {found}, wanted {wanted}')
    return chosen


def _decode(value: bytes | None) -> str | None:
    """Decode one cell; None when it is not UTF-8."""
    try:
        return None if value is None else value.decode("utf-8")
    except UnicodeDecodeError:
        return None


def _as_iso(array: pa.Array) -> pl.Series:
    """Render dates and timestamps; those with a zone as UTC. What lies outside the years 1 to 9999 is no date, and is
    rendered as a distance from 1970.

    Arrow's numbers are taken as they are: polars ends with a panic at a time it cannot show, and knows fewer zones.
    """
    if pa.types.is_date(array.type):
        numbers = cast(pl.Series, pl.from_arrow(array.cast(pa.date32()).cast(pa.int32())))
        is_day = numbers.is_between(*_DAYS)
        return _or_distance(numbers.set(~is_day, None).cast(pl.Date).dt.to_string("iso"), numbers, "days")
    per_second = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[array.type.unit]
    seconds = cast(pl.Series, pl.from_arrow(array.cast(pa.int64()))) // per_second
    first, last = (day * 86_400 for day in _DAYS)
    times = (seconds.set(~seconds.is_between(first, last), None) * 1000).cast(pl.Datetime("ms"))
    return _or_distance(times.dt.strftime("%Y-%m-%dT%H:%M:%S" + ("Z" if array.type.tz else "")), seconds, "seconds")


def _or_distance(rendered: pl.Series, numbers: pl.Series, unit: str) -> pl.Series:
    if rendered.null_count() == numbers.null_count():
        return rendered
    return rendered.zip_with(rendered.is_not_null(), numbers.cast(pl.String) + f" {unit} from 1970")


def _as_number(array: pa.Array) -> pl.Series:
    """Render numbers and booleans, as `as_text` does for those of JSON."""
    if pa.types.is_decimal(array.type):
        return cast(pl.Series, pl.from_arrow(array.cast(pa.string()))).str.replace(r"\.0+$", "")
    series = cast(pl.Series, pl.from_arrow(array))
    if not pa.types.is_floating(array.type):
        return series.cast(pl.String)
    exact = series.cast(pl.Float64)
    # Of a float column few are fractions and none are ids of 20 digits: those alone are rendered one by one.
    is_plain = exact.is_finite() & (exact == exact.floor()) & (exact.abs() < 2.0**63)
    text = exact.cast(pl.Int64, strict=False).cast(pl.String)
    rest = (~is_plain.fill_null(value=True)).arg_true()
    return text.scatter(rest, [as_text(value) for value in series.gather(rest)])


def _as_strings(array: pa.Array) -> tuple[pl.Series, list[int]]:
    """Give a column as strings, dates and timestamps in ISO 8601, and the places of cells that are not UTF-8."""
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    if not _is_text(array.type):
        if pa.types.is_temporal(array.type):
            return _as_iso(array), []
        return _as_number(array), []
    if pa.types.is_null(array.type):
        return pl.Series([None] * len(array), dtype=pl.String), []
    try:
        array.validate(full=True)  # files of other writers may hold bytes that are not UTF-8
    except pa.ArrowInvalid:
        cells = array.cast(pa.large_binary()).to_pylist()
        decoded = [_decode(cell) for cell in cells]
        wrong = [place for place, (cell, text) in enumerate(zip(cells, decoded, strict=True)) if cell and text is None]
        return pl.Series(decoded, dtype=pl.String), wrong
    return cast(pl.Series, pl.from_arrow(array)).cast(pl.String), []


def _batch(table: pa.RecordBatch, columns: Mapping[str, str], start: int) -> Batch:
    """Turn the rows from number `start` on into a batch; rows without text, not UTF-8 or too long are bad."""
    frame = {"row": pl.Series(range(start, start + table.num_rows), dtype=pl.Int64)}
    reasons: dict[int, str] = {}
    for column, name in columns.items():
        frame[column], wrong = _as_strings(table.column(name))
        reasons |= dict.fromkeys(wrong, f'field "{name}" is not UTF-8')
    text = frame["text"]
    for place in text.is_null().arg_true():
        reasons.setdefault(place, f'field "{columns["text"]}" is null, not a string')
    for place in (text.str.len_bytes() > MAX_RECORD_BYTES).arg_true():
        reasons[place] = too_long()
    rows = pl.DataFrame(frame)
    if reasons:
        rows = rows.filter(~pl.int_range(pl.len()).is_in(list(reasons)))
    return Batch(clean(rows), [BadRow(start + place, None, reasons[place]) for place in sorted(reasons)])


def _rows_per_batch(group: pq.RowGroupMetaData, batch_bytes: int) -> int:
    """Choose how many rows of a group make a batch, from its size in the footer.

    The size is that of all columns, so batches may be smaller than asked for. The footer's entry of a column is not
    read: where it is damaged, pyarrow 26 ends the whole process.
    """
    rows = max(int(group.num_rows), 1)
    row_bytes = max(int(group.total_byte_size), 0) / rows + ROW_OVERHEAD_BYTES
    return max(1, min(rows, int(batch_bytes / row_bytes)))


def _read_group(
    file: pq.ParquetFile, group: int, columns: Mapping[str, str], rows: range, batch_bytes: int
) -> Iterator[Batch]:
    """Read one row group, whose rows have the numbers `rows`."""
    start = rows.start
    try:
        size = _rows_per_batch(file.metadata.row_group(group), batch_bytes)
        names = list(dict.fromkeys(columns.values()))
        for table in file.iter_batches(batch_size=size, row_groups=[group], columns=names, use_threads=False):
            batch = _batch(table.slice(0, rows.stop - start), columns, start)
            start += min(table.num_rows, rows.stop - start)
            yield batch
        reason = f"row group {group} holds fewer rows than the footer says"
    except _FAULTS as error:
        reason = f"row group {group} is damaged from here on: {_fault(error)}"
    if start < rows.stop:
        yield Batch(SCHEMA.to_frame(), [BadRow(row, None, reason) for row in range(start, rows.stop)])


def read(
    path: Path | str, stream: BinaryIO, compression: str | None, fields: Mapping[str, str], batch_bytes: int
) -> Iterator[Batch]:
    """Read the rows of a file; see `cuvee.tasks.readers.read`.

    A stream that cannot seek is first copied to a temporary file.
    Raises InputError when the footer cannot be read or the columns are not as wanted.
    """
    stream = _seekable(stream)
    if not stream.read(1):
        return
    stream.seek(0)
    try:
        # A buffer lets pages be read one by one, where the default takes the whole column chunk of a group.
        file = pq.ParquetFile(stream, buffer_size=1 << 20, pre_buffer=False)
        schema = file.schema_arrow
    except _FAULTS as error:
        raise InputError(f"{path} is not a whole Parquet file: {_fault(error)}") from error
    sizes = [file.metadata.row_group(group).num_rows for group in range(file.metadata.num_row_groups)]
    if min(sizes, default=0) < 0 or sum(sizes) != file.metadata.num_rows:
        raise InputError(f"{path} is damaged: its footer counts {file.metadata.num_rows} rows and {sum(sizes)}")
    try:
        columns = _columns(path, schema, fields)
    except InputError as error:
        error.rows = max(1, sum(sizes))
        raise
    starts = accumulate(sizes, initial=0)
    for group, (start, size) in enumerate(zip(starts, sizes, strict=False)):
        yield from _read_group(file, group, columns, range(start, start + size), batch_bytes)
