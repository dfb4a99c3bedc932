"""CSV and TSV: cells parted by a delimiter, in which quoted ones may hold delimiters and line ends.

A row with more or fewer cells than the header is a bad row, and so is one with a quote that is not closed or is
followed by text; such a quote may hide rows, and each line that it hides is a bad row. After a record over the limit,
which is mostly a quote that is not closed, reading goes on with the next line. Blank lines are no records. The standard
csv module runs at 180 MB/s and, unlike pyarrow's streaming reader, tells the line of each fault.
"""

import csv
import functools
from collections.abc import Callable, Iterable, Iterator
from itertools import chain

import pyarrow as pa

from cuvee.schemas.errors import InputError
from cuvee.tasks.readers._batch import ROW_OVERHEAD_BYTES, BadRow, Batch, Found, InvalidRowError, collect
from cuvee.tasks.readers._bytes import EndsEarlyError, begun
from cuvee.tasks.readers._chats import chat
from cuvee.tasks.readers._columns import Records
from cuvee.tasks.readers._dialect import SAMPLE_BYTES, SAMPLE_LINES, Dialect, dialect
from cuvee.tasks.readers._file import File, Layout, layout_of
from cuvee.tasks.readers._picking import joined, kept

SUFFIXES = (".csv", ".tsv")
COMPRESSIBLE = True
MEDIA_TYPES = ("text/csv", "text/tab-separated-values")
ONE_DOCUMENT = False

# Row, line, and the cells or why they are none.
Row = tuple[int, int, list[str] | str]

# Rows that cannot be read before the first that can, in a table without a header.
_MOST_BAD_FIRST = 10_000
# What a line within quotes counts at least: a quote may hide 90 million empty ones.
_LINE_BYTES = 32


class _Lines:
    """Lines as the csv module wants them, and what is wrong with the lines of the current record.

    An iterator and not a generator: it goes on after the error for a line that is too long.
    """

    def __init__(self, source: Iterable[bytes | None], file: File):
        self._source = iter(source)
        self._bounds, self._decode = file.bounds, file.decode
        self.number = 0
        self.start_record()

    def start_record(self) -> None:
        """Forget the lines read so far."""
        self.size_bytes = 0
        self.fault: str | None = None

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = next(self._source)
        self.number += 1
        if line is None:
            raise InvalidRowError(self._bounds.too_long())
        self.size_bytes += max(len(line) + 1, _LINE_BYTES)
        if self.size_bytes > self._bounds.row_bytes:  # its lines count, as those of any other fault in quotes
            raise csv.Error(self._bounds.too_long())
        try:
            return line.decode("utf-8") + "\n"
        except UnicodeDecodeError:
            return self._faulty(line)

    def _faulty(self, line: bytes) -> str:
        """Note that the record is bad; its quotes must still be read to find where it ends."""
        try:
            self._decode(line)
        except InvalidRowError as error:
            self.fault = f"{error} of line {self.number}"
        return line.decode("utf-8", "replace") + "\n"


def _records(source: _Lines, form: Dialect) -> Iterator[list[str]]:
    """Part lines into cells; the iterator goes on after a fault."""
    if form.quote:
        return csv.reader(source, delimiter=form.delimiter, quotechar=form.quote, strict=True)
    return map(functools.partial(_parted, form.delimiter), source)


def _parted(delimiter: str, line: str) -> list[str]:
    line = line.rstrip("\r\n")
    return line.split(delimiter) if line else []


class _Table:
    """A file with its header read; told: how it parts its cells, where that was found out.

    Raises InputError when the header cannot be read.
    """

    def __init__(self, file: File, layout: Layout) -> None:
        csv.field_size_limit(file.bounds.row_bytes)  # the module's own limit is 128 KiB
        self.path = file.path
        is_tsv = file.is_named(".tsv")
        sample, plain = ([], file.lines()) if is_tsv or layout.csv.delimiter != "auto" else _sample(file.lines())
        form = dialect(layout.csv, is_tsv, [line.decode("utf-8", "replace") for line in sample], layout.needed)
        self.told = f"the delimiter is {form.delimiter!r}, as its first lines show" if form.found else None
        self.source = _Lines(plain, file)
        self._cells = _records(self.source, form)
        self.header = self._named() if layout.csv.header else []
        self._rows = self._read()
        self._first = [] if layout.csv.header else self._numbered()

    def rows(self) -> Iterator[Row]:
        """Give row, line and cells of each record, or why it is bad."""
        return chain(self._first, self._rows)

    def positions(self, layout: Layout) -> dict[str, int]:
        """Find the columns that a layout names; raises InputError where the text's is missing, or one stands twice."""
        named = {name for paths in (*layout.fields.values(), layout.needed, layout.keep) for name in paths}
        absent = [name for name in layout.needed if name not in self.header]
        if absent == list(layout.needed):
            raise InputError(f'{self.path}: no column "{absent[0]}"; the columns are: {", ".join(self.header)}')
        for name in sorted(named):
            if self.header.count(name) > 1:
                raise InputError(
                    f'{self.path}: column "{name}" stands {self.header.count(name)} times; rename all but one'
                )
        return {name: self.header.index(name) for name in named if name in self.header}

    def _named(self) -> list[str]:
        """Read the header, behind blank lines; empty where there is nothing else."""
        try:
            header = next(filter(None, self._cells), [])
        except (InvalidRowError, EndsEarlyError, csv.Error) as error:
            raise InputError(f"{self.path}: the header line cannot be read: {error}") from error
        if self.source.fault:
            raise InputError(f"{self.path}: the header line cannot be read: {self.source.fault}")
        return [name.strip() for name in header]

    def _numbered(self) -> list[Row]:
        """Read on to the first record that can be read, and name its cells by their number."""
        first: list[Row] = []
        for row in self._rows:
            first.append(row)
            if self.header:
                break
            if len(first) == _MOST_BAD_FIRST:
                raise InputError(f"{self.path}: none of {len(first):,} rows can be read, the first of them: {row[2]}")
        return first

    def _read(self) -> Iterator[Row]:
        row, source = 0, self.source
        while True:
            line = source.number + 1
            source.start_record()
            try:
                record = next(self._cells)
                if not record:
                    continue
                if source.fault:
                    raise InvalidRowError(source.fault)
                self.header = self.header or [f"column_{number}" for number in range(1, len(record) + 1)]
                if len(record) != len(self.header):
                    raise InvalidRowError(f"{len(record)} fields where the header has {len(self.header)}")
                yield row, line, record
            except StopIteration:
                return
            except EndsEarlyError as error:
                yield row, line, str(error)
                return
            except (InvalidRowError, csv.Error) as error:
                last = f" (lines {line} to {source.number})" if source.number > line else ""
                reason = f"{error}{last}".replace("unexpected end of data", "a quote is not closed")
                # Of a fault in quotes, each line may have been a row. Fields too few or too many are those of one row.
                hidden = range(line, source.number + 1) if isinstance(error, csv.Error) else (line,)
                for number in hidden:
                    yield row + number - line, number, reason
                row += len(hidden) - 1
            row += 1


def _sample(lines: Iterator[bytes | None]) -> tuple[list[bytes], Iterator[bytes | None]]:
    """Take the first lines to look at, and give all of them again."""

    def is_enough(taken: list[bytes | None]) -> bool:
        size = sum(len(line or b"") for line in taken)
        return taken[-1] is None or size > SAMPLE_BYTES or len(taken) == SAMPLE_LINES

    head, behind = begun(lines, is_enough)
    return [line for line in head if line is not None], chain(head, behind)


def read(file: File, layout: Layout) -> Iterator[Batch]:
    """Read the records of a file; see `cuvee.tasks.readers.read`.

    Raises InputError when the header cannot be read or lacks the text column.
    """
    table = _Table(file, layout)
    if not table.header:  # there is nothing, or nothing that can be read
        yield from collect([], (BadRow(row, line, str(cells)) for row, line, cells in table.rows()), 1 << 20)
        return
    values, columns = _picker(table, layout)
    yield from collect(columns, _found(table, values), file.bounds.batch_bytes, table.told)


def _found(table: _Table, values: Callable[[list[str]], list[str | None]]) -> Iterator[Found | BadRow]:
    for row, line, cells in table.rows():
        if isinstance(cells, str):
            yield BadRow(row, line, cells)
            continue
        try:
            yield Found(row, values(cells), table.source.size_bytes)
        except InvalidRowError as error:
            yield BadRow(row, line, str(error))


def _picker(table: _Table, layout: Layout) -> tuple[Callable[[list[str]], list[str | None]], list[str]]:
    """Return what takes the values of a layout out of cells, and the columns that they are of: those that there are."""
    at = table.positions(layout)
    found = {column: [at[name] for name in paths if name in at] for column, paths in layout.fields.items()}
    if layout.messages is not None or layout.keep or any(len(places) > 1 for places in found.values()):
        return (lambda cells: _picked(cells, layout, at)), layout.columns
    single = {column: places[0] for column, places in found.items() if places}
    places = list(single.values())
    return (lambda cells: [cells[place] for place in places]), list(single)


def _picked(cells: list[str], layout: Layout, at: dict[str, int]) -> list[str | None]:
    values: list[str | None] = []
    messages = None
    for column, paths in layout.fields.items():
        if column == "text" and layout.messages is not None:
            text, messages = chat(cells[at[layout.messages]], layout.messages)
            values.append(text)
        else:
            value = joined(cells[at[name]] for name in paths if name in at)
            values.append(value or "" if column == "text" else value)
    if layout.messages is not None:
        values.append(messages)
    if layout.keep:
        values.append(kept({name: cells[at[name]] for name in layout.keep if name in at}))
    return values


def records(file: File, text: str | None) -> Iterator[Records]:
    """Read the records of a file with all their columns, as strings; see `cuvee.tasks.readers.records`, and `read`."""
    table = _Table(file, layout_of({"text": text}))
    if not table.header:
        return
    table.positions(layout_of({"text": text or table.header[0]}, keep=table.header))
    rows: list[list[str]] = []
    bad: list[BadRow] = []
    held = 0
    for row, line, found in table.rows():
        if isinstance(found, str):
            bad.append(BadRow(row, line, found))
        else:
            rows.append(found)
        held += table.source.size_bytes + ROW_OVERHEAD_BYTES
        if held >= file.bounds.batch_bytes:
            yield Records(_columns(table.header, rows), bad)
            rows, bad, held = [], [], 0
    yield Records(_columns(table.header, rows), bad)


def _columns(header: list[str], rows: list[list[str]]) -> pa.Table:
    return pa.table([pa.array([row[place] for row in rows], pa.string()) for place in range(len(header))], header)
