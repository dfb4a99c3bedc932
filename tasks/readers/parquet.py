"""Parquet, row group by row group; only the columns that the fields name are read.

A damaged row group costs its own rows, each a bad row; the groups after it are read.
Texts are read as places in a dictionary, where the file has one, so that what rows decode to is known before they are
decoded: 1.5 kB may hold 23.8 GB.
"""

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import accumulate
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from cuvee.schemas.errors import InputError
from cuvee.tasks.readers._arrow_values import as_objects, as_strings, inside, is_plain, is_text, lengths
from cuvee.tasks.readers._batch import ROW_OVERHEAD_BYTES, SCHEMA, BadRow, Batch, InvalidRowError, clean
from cuvee.tasks.readers._bytes import MB, RECORD_BYTES, Bounds, EndsEarlyError, is_of_arrow, seekable
from cuvee.tasks.readers._chats import chat
from cuvee.tasks.readers._columns import Records
from cuvee.tasks.readers._file import File, Layout, layout_of
from cuvee.tasks.readers._marks import marking_of
from cuvee.tasks.readers._parquet_pages import Footer, NoPagesError, Pages
from cuvee.tasks.readers._picking import joined, kept

SUFFIXES = (".parquet",)
COMPRESSIBLE = False
MEDIA_TYPES = ("application/vnd.apache.parquet",)
ONE_DOCUMENT = False

# Opens the file with these columns' texts as places in a dictionary.
Opened = Callable[[tuple[str, ...]], pq.ParquetFile]

_FAULTS = (pa.ArrowException, OSError, ValueError, OverflowError, KeyError)

# A page is decoded as a whole, its dictionary twice. Sound pages are larger where 1,024 long rows make one (pyarrow),
# and then not this much smaller in the file.
_PAGE_BYTES, _PAGE_EXPANSION = 128 * MB, 20
# Of lists in a row group, at most: a few bytes may stand for any number, and each takes 30 bytes.
_MOST_VALUES = 20_000_000
# Of rows in delta encodings, each may be as long as its page; they cannot be read as places in a dictionary.
_DELTA_BYTES = 64 * MB
# A footer may say that a group holds 10^12 rows; of those that are lost, so many are told one by one.
_MOST_LOST_ROWS = 100_000


def _fault(error: Exception) -> str:
    """Say in a line what is wrong with the bytes; raises the error again when it is of what gave them."""
    if isinstance(error, OSError) and not is_of_arrow(error):
        raise error
    return (str(error).splitlines() or [type(error).__name__])[0]


def _columns(path: str, schema: pa.Schema, layout: Layout) -> dict[str, tuple[str, ...]]:
    """Find what a layout names: each column or path with the names of the column and of the members that it leads
    through. Raises InputError where the text's is missing, or for one of a wrong type.
    """
    named = dict.fromkeys([*(name for paths in layout.fields.values() for name in paths), *layout.needed, *layout.keep])
    found = {name: steps for name in named if (steps := _steps(schema, name))}
    absent = [name for name in layout.needed if name not in found]
    if absent == list(layout.needed):
        raise InputError(f'{path}: no column "{absent[0]}"; the columns are: {", ".join(schema.names)}')
    for name, (column, *_) in found.items():
        if schema.names.count(column) > 1:
            raise InputError(f'{path}: column "{column}" stands {schema.names.count(column)} times; rename all but one')
        kind = _type_at(schema, found[name])
        if name in layout.fields["text"] and layout.messages is None and not is_text(kind):
            raise InputError(f'{path}: column "{name}" is {kind}, wanted string')
        if name == layout.messages:
            if not (pa.types.is_list(kind) or pa.types.is_large_list(kind) or is_text(kind)):
                raise InputError(f'{path}: column "{name}" is {kind}, wanted a list of messages')
        elif name not in layout.keep and not is_plain(kind):
            raise InputError(f'{path}: column "{name}" is {kind}, wanted string, number, boolean, date or timestamp')
    return found


def _steps(schema: pa.Schema, name: str) -> tuple[str, ...]:
    """Return the column, and the members of structs within, that a name or dotted path leads to; empty for none."""
    if name in schema.names:
        return (name,)
    column, *members = name.split(".")
    if column not in schema.names or schema.names.count(column) > 1:
        return ()
    kind = schema.field(column).type
    for member in members:
        if not pa.types.is_struct(kind) or kind.get_field_index(member) < 0:
            return ()
        kind = kind.field(member).type
    return (column, *members)


def _type_at(schema: pa.Schema, steps: tuple[str, ...]) -> pa.DataType:
    kind = schema.field(steps[0]).type
    for member in steps[1:]:
        kind = kind.field(member).type
    return kind


class _Picker:
    """Makes rows of tables, by what the layout names of them."""

    def __init__(self, path: str, schema: pa.Schema, layout: Layout, marking: str | None):
        self.layout, self.marking = layout, marking
        self._steps = _columns(path, schema, layout)

    @property
    def names(self) -> list[str]:
        """What is read of the file: columns, and paths into them."""
        return [".".join(steps) for steps in self._steps.values()]

    def batch(self, table: pa.RecordBatch, rows: npt.NDArray[np.int64]) -> Batch:
        """Turn rows, which have these numbers in the file, into a batch; rows without text or not UTF-8 are bad."""
        frame = {"row": pl.Series(rows, dtype=pl.Int64)}
        reasons: dict[int, str] = {}
        for column, paths in self.layout.fields.items():
            if column == "text" and self.layout.messages is not None:
                frame["text"], frame["messages"] = self._chats(table, reasons)
                continue
            parts = {name: self._strings(table, name, reasons) for name in paths if name in self._steps}
            if len(parts) == 1:
                frame[column] = next(iter(parts.values()))
            elif parts:
                frame[column] = pl.Series([joined(each) for each in zip(*parts.values(), strict=True)], dtype=pl.String)
        if self.layout.keep:
            frame["extra"] = self._extra(table, reasons)
        if self.marking is not None:
            frame["marking"] = pl.Series([self.marking]).new_from_index(0, len(rows))
        for place in frame["text"].is_null().arg_true():
            reasons.setdefault(place, f'field "{", ".join(self.layout.needed)}" is null, not a string')
        made = clean(frame)
        if reasons:
            made = made.filter(~pl.int_range(pl.len()).is_in(list(reasons)))
        return Batch(made, [BadRow(int(rows[place]), None, reasons[place]) for place in sorted(reasons)])

    def _at(self, table: pa.RecordBatch, name: str) -> pa.Array:
        column, *members = self._steps[name]
        return inside(table.column(column), members)

    def _strings(self, table: pa.RecordBatch, name: str, reasons: dict[int, str]) -> pl.Series:
        strings, wrong = as_strings(self._at(table, name))
        reasons |= dict.fromkeys(wrong, f'field "{name}" is not UTF-8')
        return strings

    def _objects(self, table: pa.RecordBatch, name: str, reasons: dict[int, str]) -> list[object]:
        values, wrong = as_objects(self._at(table, name))
        reasons |= dict.fromkeys(wrong, f'field "{name}" is not UTF-8')
        return values

    def _chats(self, table: pa.RecordBatch, reasons: dict[int, str]) -> tuple[pl.Series, pl.Series]:
        name = str(self.layout.messages)
        texts: list[str | None] = []
        messages: list[str | None] = []
        for place, value in enumerate(self._objects(table, name, reasons)):
            text = written = None
            try:
                if place not in reasons and value is not None:
                    text, written = chat(value, name)
            except InvalidRowError as error:
                reasons[place] = str(error)
            texts.append(text)
            messages.append(written)
        return pl.Series(texts, dtype=pl.String), pl.Series(messages, dtype=pl.String)

    def _extra(self, table: pa.RecordBatch, reasons: dict[int, str]) -> pl.Series:
        held = {name: self._objects(table, name, reasons) for name in self.layout.keep if name in self._steps}
        columns = zip(*held.values(), strict=True) if held else iter([()] * table.num_rows)
        return pl.Series([kept(dict(zip(held, values, strict=True))) for values in columns], dtype=pl.String)


def _batches(table: pa.RecordBatch, picker: _Picker, start: int, bounds: Bounds) -> Iterator[Batch]:
    """Give the rows from number `start` on in bounded batches; raises EndsEarlyError where they are too many."""
    sizes = sum((lengths(column) for column in table.columns), np.zeros(table.num_rows, np.int64))
    long = sizes > bounds.row_bytes
    sizes[long] = 0
    for at, end in _cuts(sizes, bounds):
        part, rows = table.slice(at, end - at), np.arange(start + at, start + end)
        over = long[at:end]
        if over.any():
            part = part.filter(pa.array(~over))
        batch = picker.batch(part, rows[~over])
        bad = [*batch.bad, *(BadRow(row, None, bounds.too_long()) for row in rows[over].tolist())]
        yield Batch(batch.rows, sorted(bad, key=lambda fault: fault.row))


def _cuts(sizes: npt.NDArray[np.int64], bounds: Bounds) -> Iterator[tuple[int, int]]:
    """Cut rows of these decoded sizes into batches, and spend each before it is given: first place, and the next."""
    ends = np.cumsum(sizes + ROW_OVERHEAD_BYTES)
    at = 0
    while at < len(sizes):
        before = int(ends[at - 1]) if at else 0
        end = max(at + 1, int(np.searchsorted(ends, before + bounds.batch_bytes, "right")))
        bounds.spend(int(np.maximum(sizes[at:end], RECORD_BYTES).sum()))
        yield at, end
        at = end


def _page_fault(pages: Mapping[str, Pages], bounds: Bounds) -> str | None:
    """Say why the pages of a row group are not decoded; None where they may be."""
    of_lists = [found.values for path, found in pages.items() if ".list." in path or ".key_value." in path]
    values = max(of_lists, default=0)
    if values > _MOST_VALUES:
        return f"holds lists of {values:,} values, over the {_MOST_VALUES:,} that are read; write smaller row groups"
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
    opened: Opened, footer: Footer, group: int, picker: _Picker, rows: range, bounds: Bounds
) -> Iterator[Batch]:
    """Read one row group, whose rows have the numbers `rows`; raises EndsEarlyError, its lost rows told."""
    start, over = rows.start, None
    try:
        pages = footer.pages(group, picker.names)
        reason = _page_fault(pages, bounds)
        if reason is None:
            bounds.spend(sum(found.total for found in pages.values()))
            file = opened(tuple(name for name, found in pages.items() if found.dictionary and not found.deltas))
            size = _rows_per_batch(file.metadata.row_group(group), pages.values(), bounds.batch_bytes)
            for table in file.iter_batches(
                batch_size=size, row_groups=[group], columns=picker.names, use_threads=False
            ):
                for batch in _batches(table.slice(0, rows.stop - start), picker, start, bounds):
                    start += batch.rows.height + len(batch.bad)
                    yield batch
                    del batch
                del table  # before the next is decoded: a row may have 60 MB
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


def read(file: File, layout: Layout) -> Iterator[Batch]:
    """Read the rows of a file; see `cuvee.tasks.readers.read`.

    A stream that cannot seek is first copied to a temporary file.
    Raises InputError when the footer cannot be read or the columns are not as wanted.
    """
    path, bounds = file.path, file.bounds
    stream = seekable(file.stream)
    if not stream.read(1):
        return
    stream.seek(0)
    try:
        whole = _opened(stream)
        schema, metadata = whole.schema_arrow, whole.metadata
        footer = Footer(stream)
    except (NoPagesError, *_FAULTS) as error:
        raise InputError(f"{path} is not a whole Parquet file: {_fault(error)}") from error
    sizes = [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]
    if min(sizes, default=0) < 0 or sum(sizes) != metadata.num_rows:
        raise InputError(f"{path} is damaged: its footer counts {metadata.num_rows} rows and {sum(sizes)}")
    marking, told = marking_of(metadata)
    try:
        picker = _Picker(path, schema, layout, marking)
    except InputError as error:
        error.rows = max(1, min(sum(sizes), _MOST_LOST_ROWS))
        raise
    if told:
        yield Batch(SCHEMA.to_frame(), told=told)
    opened = functools.cache(functools.partial(_opened, stream))
    starts = accumulate(sizes, initial=0)
    for group, (start, size) in enumerate(zip(starts, sizes, strict=False)):
        try:
            yield from _read_group(opened, footer, group, picker, range(start, start + size), bounds)
        except EndsEarlyError as error:
            yield _lost(range(start + size, sum(sizes)), str(error))
            return


def _opened(stream: BinaryIO, in_dictionary: tuple[str, ...] = ()) -> pq.ParquetFile:
    """Open a file; in_dictionary: columns of which texts are read as places in a dictionary."""
    # A buffer lets pages be read one by one, where the default takes the whole column chunk of a group.
    return pq.ParquetFile(stream, buffer_size=1 << 20, pre_buffer=False, read_dictionary=list(in_dictionary))


def records(file: File, text: str | None) -> Iterator[Records]:
    """Read the rows of a file with all their columns, of the types that they have; see `cuvee.tasks.readers.records`.

    Raises InputError when the file or one of its row groups cannot be read, or the text column is not as wanted.
    """
    path, bounds = file.path, file.bounds
    stream = seekable(file.stream)
    if not stream.read(1):
        return
    stream.seek(0)
    start = 0
    try:
        opened, footer = functools.cache(functools.partial(_opened, stream)), Footer(stream)
        whole = opened(())
        names = whole.schema_arrow.names
        if text is not None:
            _columns(path, whole.schema_arrow, layout_of({"text": text}))
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise InputError(f'{path}: column "{twice[0]}" stands {names.count(twice[0])} times; rename all but one')
        for group in range(whole.metadata.num_row_groups):
            pages = footer.pages(group, names)
            if fault := _page_fault(pages, bounds):
                raise InputError(f"{path}: row group {group} {fault}")
            bounds.spend(sum(found.total for found in pages.values()))
            in_dictionary = [
                name for name in names if name in pages and pages[name].dictionary and not pages[name].deltas
            ]
            size = _rows_per_batch(whole.metadata.row_group(group), pages.values(), bounds.batch_bytes)
            of_group = opened(tuple(in_dictionary))
            for batch in of_group.iter_batches(size, row_groups=[group], use_threads=False):
                for piece in _pieces(batch, whole.schema_arrow, bounds):
                    yield _whole(piece, text, start)
                    start += piece.num_rows
    except (EndsEarlyError, NoPagesError) as error:
        raise InputError(f"{path}: from row {start} on: {error}") from error
    except _FAULTS as error:
        raise InputError(f"{path}: not a readable Parquet file, from row {start} on: {_fault(error)}") from error


def _pieces(batch: pa.RecordBatch, schema: pa.Schema, bounds: Bounds) -> Iterator[pa.Table]:
    """Give rows in batches of bounded size, their columns of the types of the schema; raises EndsEarlyError."""
    sizes = sum((lengths(column) for column in batch.columns), np.zeros(batch.num_rows, np.int64))
    if (sizes > bounds.row_bytes).any():
        raise EndsEarlyError(bounds.too_long())
    for at, end in _cuts(sizes, bounds):
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
    strings, wrong = as_strings(table[text].combine_chunks())
    reasons = dict.fromkeys(strings.is_null().arg_true(), f'field "{text}" is null, not a string')
    reasons |= dict.fromkeys(wrong, f'field "{text}" is not UTF-8')
    column = strings.to_arrow(compat_level=pl.CompatLevel.oldest()).cast(pa.large_string())
    table = table.set_column(table.column_names.index(text), text, column)
    if reasons:
        table = table.filter(pa.array([place not in reasons for place in range(len(table))]))
    return Records(table, [BadRow(start + place, None, reasons[place]) for place in sorted(reasons)])
