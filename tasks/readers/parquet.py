"""Parquet, row group by row group; only the columns that the fields name are read.

A damaged row group costs its own rows, each a bad row; the groups after it are read.
Texts are read as places in a dictionary, where the file has one, so that what rows decode to is known before they are
decoded: 1.5 kB may hold 23.8 GB.
"""

import functools
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from itertools import accumulate
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from cuvee.schemas.errors import InputError
from cuvee.tasks.readers._batch import ROW_OVERHEAD_BYTES, SCHEMA, BadRow, Batch, as_text, clean
from cuvee.tasks.readers._bytes import MB, RECORD_BYTES, Bounds, EndsEarlyError, is_of_arrow
from cuvee.tasks.readers._columns import Records
from cuvee.tasks.readers._parquet_pages import Footer, NoPagesError, Pages

SUFFIXES = (".parquet",)
COMPRESSIBLE = False
MEDIA_TYPES = ("application/vnd.apache.parquet",)
ONE_DOCUMENT = False

# Opens the file with these columns' texts as places in a dictionary.
Opened = Callable[[tuple[str, ...]], pq.ParquetFile]

_FAULTS = (pa.ArrowException, OSError, ValueError, OverflowError)

# A page is decoded as a whole, its dictionary twice. Sound pages are larger where 1,024 long rows make one (pyarrow),
# and then not this much smaller in the file.
_PAGE_BYTES, _PAGE_EXPANSION = 128 * MB, 20
# Of rows in delta encodings, each may be as long as its page; they cannot be read as places in a dictionary.
_DELTA_BYTES = 64 * MB
# A footer may say that a group holds 10^12 rows; of those that are lost, so many are told one by one.
_MOST_LOST_ROWS = 100_000

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


def _batch(table: pa.RecordBatch, columns: Mapping[str, str], start: int, long: Set[int], reason: str) -> Batch:
    """Turn the rows from number `start` on into a batch; rows without text or not UTF-8 are bad.

    long: places of rows that are too long, which have lost their values; reason: what is said of them.
    """
    frame = {"row": pl.Series(range(start, start + table.num_rows), dtype=pl.Int64)}
    reasons: dict[int, str] = {}
    for column, name in columns.items():
        frame[column], wrong = _as_strings(table.column(name))
        reasons |= dict.fromkeys(wrong, f'field "{name}" is not UTF-8')
    for place in frame["text"].is_null().arg_true():
        reasons.setdefault(place, f'field "{columns["text"]}" is null, not a string')
    reasons |= dict.fromkeys(long, reason)
    rows = pl.DataFrame(frame)
    if reasons:
        rows = rows.filter(~pl.int_range(pl.len()).is_in(list(reasons)))
    return Batch(clean(rows), [BadRow(start + place, None, reasons[place]) for place in sorted(reasons)])


def _lengths(array: pa.Array) -> npt.NDArray[np.int64]:
    """Tell how many bytes each text of a column decodes to, without decoding it; 0 for what is no text."""
    if pa.types.is_dictionary(array.type):
        of_values = _lengths(array.dictionary)
        places = array.indices.fill_null(0).to_numpy(zero_copy_only=False)
        lengths = of_values[places] if len(of_values) else np.zeros(len(array), np.int64)
        return cast(npt.NDArray[np.int64], np.where(array.is_null().to_numpy(zero_copy_only=False), 0, lengths))
    if not _is_text(array.type) or pa.types.is_null(array.type):
        return np.zeros(len(array), np.int64)
    return cast(
        npt.NDArray[np.int64], pc.binary_length(array).fill_null(0).to_numpy(zero_copy_only=False).astype(np.int64)
    )


def _without(array: pa.Array, long: npt.NDArray[np.bool_]) -> pa.Array:
    """Take the values of some rows out of a column of texts."""
    if not pa.types.is_dictionary(array.type):
        return pc.if_else(pa.array(long), pa.scalar(None, array.type), array) if _is_text(array.type) else array
    places = pc.if_else(pa.array(long), pa.scalar(None, array.indices.type), array.indices)
    return pa.DictionaryArray.from_arrays(places, array.dictionary, safe=False)


def _batches(table: pa.RecordBatch, columns: Mapping[str, str], start: int, bounds: Bounds) -> Iterator[Batch]:
    """Give the rows from number `start` on in bounded batches; raises EndsEarlyError where they are too many."""
    lengths = sum((_lengths(table.column(name)) for name in columns.values()), np.zeros(table.num_rows, np.int64))
    long = lengths > bounds.row_bytes
    if long.any():
        arrays = [_without(table.column(name), long) for name in table.schema.names]
        table = pa.RecordBatch.from_arrays(arrays, table.schema.names)
    lengths[long] = 0
    for at, end in _cuts(lengths, bounds):
        places = frozenset(np.flatnonzero(long[at:end]).tolist())
        yield _batch(table.slice(at, end - at), columns, start + at, places, bounds.too_long())


def _cuts(lengths: npt.NDArray[np.int64], bounds: Bounds) -> Iterator[tuple[int, int]]:
    """Cut rows of these decoded lengths into batches, and spend each before it is given: first place, and the next."""
    ends = np.cumsum(lengths + ROW_OVERHEAD_BYTES)
    at = 0
    while at < len(lengths):
        before = int(ends[at - 1]) if at else 0
        end = max(at + 1, int(np.searchsorted(ends, before + bounds.batch_bytes, "right")))
        bounds.spend(int(np.maximum(lengths[at:end], RECORD_BYTES).sum()))
        yield at, end
        at = end


def _page_fault(pages: Mapping[str, Pages], bounds: Bounds) -> str | None:
    """Say why the pages of a row group are not decoded; None where they may be."""
    decoded, stored = sum(p.largest for p in pages.values()), sum(p.packed for p in pages.values())
    if decoded <= max(_PAGE_BYTES, 2 * bounds.row_bytes, _PAGE_EXPANSION * stored):
        return None
    return (
        f"has pages of {decoded // MB:,} MB in {stored:,} bytes, over twice ingest.max_row_mb; write the file with "
        "smaller pages, or raise that limit"
    )


def _rows_per_batch(group: pq.RowGroupMetaData, pages: Iterable[Pages], batch_bytes: int) -> int:
    """Choose how many rows of a group make a batch, from its size in the footer.

    The size is that of all columns, so batches may be smaller than asked for. The footer's entry of a column is not
    asked of pyarrow: where it is damaged, pyarrow 26 ends the whole process.
    """
    rows = max(int(group.num_rows), 1)
    row_bytes = max(int(group.total_byte_size), 0) / rows + ROW_OVERHEAD_BYTES
    longest = sum(found.largest for found in pages if found.deltas)
    return max(1, min(rows, int(batch_bytes / row_bytes), _DELTA_BYTES // longest if longest else rows))


def _lost(rows: range, reason: str) -> Batch:
    return Batch(SCHEMA.to_frame(), [BadRow(row, None, reason) for row in rows[:_MOST_LOST_ROWS]])


def _read_group(
    opened: Opened, footer: Footer, group: int, columns: Mapping[str, str], rows: range, bounds: Bounds
) -> Iterator[Batch]:
    """Read one row group, whose rows have the numbers `rows`; raises EndsEarlyError, its lost rows told."""
    start, over = rows.start, None
    try:
        names = list(dict.fromkeys(columns.values()))
        pages = footer.pages(group, names)
        reason = _page_fault(pages, bounds)
        if reason is None:
            bounds.spend(sum(found.total for found in pages.values()))
            file = opened(tuple(name for name, found in pages.items() if found.dictionary and not found.deltas))
            size = _rows_per_batch(file.metadata.row_group(group), pages.values(), bounds.batch_bytes)
            for table in file.iter_batches(batch_size=size, row_groups=[group], columns=names, use_threads=False):
                for batch in _batches(table.slice(0, rows.stop - start), columns, start, bounds):
                    start += batch.rows.height + len(batch.bad)
                    yield batch
            reason = "holds fewer rows than the footer says"
    except EndsEarlyError as error:
        reason, over = str(error), error
    except NoPagesError as error:
        reason = f"is damaged: {error}"
    except _FAULTS as error:
        reason = f"is damaged from here on: {_fault(error)}"
    if start < rows.stop:
        yield _lost(range(start, rows.stop), reason if over else f"row group {group} {reason}")
    if over:
        raise over


def read(
    path: Path | str, stream: BinaryIO, compression: str | None, fields: Mapping[str, str], bounds: Bounds
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
        file = _opened(stream)
        schema, metadata = file.schema_arrow, file.metadata
        footer = Footer(stream)
    except (NoPagesError, *_FAULTS) as error:
        raise InputError(f"{path} is not a whole Parquet file: {_fault(error)}") from error
    sizes = [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]
    if min(sizes, default=0) < 0 or sum(sizes) != metadata.num_rows:
        raise InputError(f"{path} is damaged: its footer counts {metadata.num_rows} rows and {sum(sizes)}")
    try:
        columns = _columns(path, schema, fields)
    except InputError as error:
        error.rows = max(1, min(sum(sizes), _MOST_LOST_ROWS))
        raise
    opened = functools.cache(functools.partial(_opened, stream))
    starts = accumulate(sizes, initial=0)
    for group, (start, size) in enumerate(zip(starts, sizes, strict=False)):
        try:
            yield from _read_group(opened, footer, group, columns, range(start, start + size), bounds)
        except EndsEarlyError as error:
            yield _lost(range(start + size, sum(sizes)), str(error))
            return


def _opened(stream: BinaryIO, in_dictionary: tuple[str, ...] = ()) -> pq.ParquetFile:
    """Open a file; in_dictionary: columns of which texts are read as places in a dictionary."""
    # A buffer lets pages be read one by one, where the default takes the whole column chunk of a group.
    return pq.ParquetFile(stream, buffer_size=1 << 20, pre_buffer=False, read_dictionary=list(in_dictionary))


def records(
    path: Path | str, stream: BinaryIO, compression: str | None, text: str | None, bounds: Bounds
) -> Iterator[Records]:
    """Read the rows of a file with all their columns, of the types that they have; see `cuvee.tasks.readers.records`.

    Raises InputError when the file or one of its row groups cannot be read, or the text column is not as wanted.
    """
    stream = _seekable(stream)
    if not stream.read(1):
        return
    stream.seek(0)
    start = 0
    try:
        opened, footer = functools.cache(functools.partial(_opened, stream)), Footer(stream)
        file = opened(())
        names = file.schema_arrow.names
        if text is not None:
            _columns(path, file.schema_arrow, {"text": text})
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise InputError(f'{path}: column "{twice[0]}" stands {names.count(twice[0])} times; rename all but one')
        for group in range(file.metadata.num_row_groups):
            pages = footer.pages(group, names)
            if fault := _page_fault(pages, bounds):
                raise InputError(f"{path}: row group {group} {fault}")
            bounds.spend(sum(found.total for found in pages.values()))
            in_dictionary = [name for name, found in pages.items() if found.dictionary and not found.deltas]
            size = _rows_per_batch(file.metadata.row_group(group), pages.values(), bounds.batch_bytes)
            of_group = opened(tuple(in_dictionary))
            for batch in of_group.iter_batches(size, row_groups=[group], use_threads=False):
                for piece in _pieces(batch, file.schema_arrow, bounds):
                    yield _whole(piece, text, start)
                    start += piece.num_rows
    except (EndsEarlyError, NoPagesError) as error:
        raise InputError(f"{path}: from row {start} on: {error}") from error
    except _FAULTS as error:
        raise InputError(f"{path}: not a readable Parquet file, from row {start} on: {_fault(error)}") from error


def _pieces(batch: pa.RecordBatch, schema: pa.Schema, bounds: Bounds) -> Iterator[pa.Table]:
    """Give rows in batches of bounded size, their columns of the types of the schema; raises EndsEarlyError."""
    lengths = sum((_lengths(column) for column in batch.columns), np.zeros(batch.num_rows, np.int64))
    if (lengths > bounds.row_bytes).any():
        raise EndsEarlyError(bounds.too_long())
    for at, end in _cuts(lengths, bounds):
        columns = [
            column.dictionary_decode().cast(field.type)
            if pa.types.is_dictionary(column.type) and not pa.types.is_dictionary(field.type)
            else column
            for column, field in zip(batch.slice(at, end - at).columns, schema, strict=True)
        ]
        yield pa.Table.from_arrays(columns, schema=schema)


def _whole(table: pa.Table, text: str | None, start: int) -> Records:
    if text is None:
        return Records(table)
    strings, wrong = _as_strings(table[text].combine_chunks())
    reasons = dict.fromkeys(strings.is_null().arg_true(), f'field "{text}" is null, not a string')
    reasons |= dict.fromkeys(wrong, f'field "{text}" is not UTF-8')
    column = strings.to_arrow(compat_level=pl.CompatLevel.oldest()).cast(pa.large_string())
    table = table.set_column(table.column_names.index(text), text, column)
    if reasons:
        table = table.filter(pa.array([place not in reasons for place in range(len(table))]))
    return Records(table, [BadRow(start + place, None, reasons[place]) for place in sorted(reasons)])
