"""CSV and TSV with a header line; in CSV quoted fields may hold separators and line ends, TSV has no quotes.

A row with more or fewer fields than the header is a bad row, and so is one with a quote that is not closed or is
followed by text; such a quote may hide rows, and each line that it hides is a bad row. After a record over the limit,
which is mostly a quote that is not closed, reading goes on with the next line. Blank lines are no records. The
separator is a tab for .tsv, and where the header has tabs and no comma. The standard csv module runs at 180 MB/s and,
unlike pyarrow's streaming reader, tells the line of each fault.
"""

import csv
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa

from cuvee.schemas.errors import InputError
from cuvee.tasks.readers._batch import ROW_OVERHEAD_BYTES, BadRow, Batch, Found, InvalidRowError, collect
from cuvee.tasks.readers._bytes import Bounds, EndsEarlyError, decode, lines
from cuvee.tasks.readers._columns import Records

SUFFIXES = (".csv", ".tsv")
COMPRESSIBLE = True
MEDIA_TYPES = ("text/csv",)
ONE_DOCUMENT = False

# What a line within quotes counts at least: a quote may hide 90 million empty ones.
_LINE_BYTES = 32


class _Lines:
    """Lines as the csv module wants them, and what is wrong with the lines of the current record.

    An iterator and not a generator: it goes on after the error for a line that is too long.
    """

    def __init__(self, source: Iterable[bytes | None], bounds: Bounds):
        self._source = iter(source)
        self._bounds = bounds
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
            return decode(line) + "\n"
        except InvalidRowError as error:
            # The record is bad, but its quotes must still be read to find where it ends.
            self.fault = f"{error} of line {self.number}"
            return line.decode("utf-8", "replace") + "\n"


def _delimiter(path: Path | str, header: bytes) -> str:
    is_tsv = ".tsv" in (suffix.lower() for suffix in Path(path).suffixes)
    return "\t" if is_tsv or (b"\t" in header and b"," not in header) else ","


def _records(source: _Lines, delimiter: str) -> Iterator[list[str]]:
    """Part lines into fields; the iterator goes on after a fault."""
    if delimiter == "\t":
        return map(_tab_separated, source)
    return csv.reader(source, delimiter=delimiter, strict=True)


def _tab_separated(line: str) -> list[str]:
    line = line.rstrip("\r\n")
    return line.split("\t") if line else []


def _read_header(path: Path | str, records: Iterator[list[str]], source: _Lines) -> list[str]:
    try:
        header = next(records, [])
    except (InvalidRowError, EndsEarlyError, csv.Error) as error:
        raise InputError(f"{path}: the header line cannot be read: {error}") from error
    if source.fault:
        raise InputError(f"{path}: the header line cannot be read: {source.fault}")
    return [name.strip() for name in header]


def _positions(path: Path | str, header: list[str], fields: Mapping[str, str]) -> dict[str, int]:
    """Find the columns that the fields name; raises InputError without the text column or when one stands twice."""
    if fields["text"] not in header:
        raise InputError(f'{path}: no column "{fields["text"]}"; the columns are: {", ".join(header)}')
    for name in fields.values():
        if header.count(name) > 1:
            raise InputError(f'{path}: column "{name}" stands {header.count(name)} times; rename all but one')
    return {column: header.index(name) for column, name in fields.items() if name in header}


def _check(record: list[str], header: list[str], source: _Lines) -> None:
    """Raise InvalidRowError when a record is not what the header promises."""
    if source.fault:
        raise InvalidRowError(source.fault)
    if len(record) != len(header):
        raise InvalidRowError(f"{len(record)} fields where the header has {len(header)}")


def read(
    path: Path | str, stream: BinaryIO, compression: str | None, fields: Mapping[str, str], bounds: Bounds
) -> Iterator[Batch]:
    """Read the records of a file; see `cuvee.tasks.readers.read`.

    Raises InputError when the header cannot be read or lacks the text column.
    """
    table = _Table(path, stream, compression, bounds)
    if not table.header:
        return
    positions = _positions(path, table.header, fields)
    found = (
        BadRow(row, line, cells)
        if isinstance(cells, str)
        else Found(row, [cells[position] for position in positions.values()], table.source.size_bytes)
        for row, line, cells in table.rows()
    )
    yield from collect(positions, found, bounds.batch_bytes)


def records(
    path: Path | str, stream: BinaryIO, compression: str | None, text: str | None, bounds: Bounds
) -> Iterator[Records]:
    """Read the records of a file with all their columns, as strings; see `cuvee.tasks.readers.records`, and `read`."""
    table = _Table(path, stream, compression, bounds)
    if not table.header:
        return
    _positions(path, table.header, {"text": text or table.header[0], **{name: name for name in table.header}})
    rows: list[list[str]] = []
    bad: list[BadRow] = []
    held = 0
    for row, line, found in table.rows():
        if isinstance(found, str):
            bad.append(BadRow(row, line, found))
        else:
            rows.append(found)
        held += table.source.size_bytes + ROW_OVERHEAD_BYTES
        if held >= bounds.batch_bytes:
            yield Records(_columns(table.header, rows), bad)
            rows, bad, held = [], [], 0
    yield Records(_columns(table.header, rows), bad)


def _columns(header: list[str], rows: list[list[str]]) -> pa.Table:
    return pa.table([pa.array([row[place] for row in rows], pa.string()) for place in range(len(header))], header)


class _Table:
    """A file with its header read. Raises InputError when that cannot be read."""

    def __init__(self, path: Path | str, stream: BinaryIO, compression: str | None, bounds: Bounds) -> None:
        csv.field_size_limit(bounds.row_bytes)  # the module's own limit is 128 KiB
        plain = lines(stream, compression, bounds)
        try:
            first = next(plain, b"")
        except EndsEarlyError as error:
            raise InputError(f"{path}: the header line cannot be read: {error}") from error
        self.source = _Lines(chain([first], plain) if first != b"" else plain, bounds)
        self._records = _records(self.source, _delimiter(path, first or b""))
        self.header = _read_header(path, self._records, self.source)

    def rows(self) -> Iterator[tuple[int, int, list[str] | str]]:
        """Give row, line and cells of each record, or why it is bad."""
        row, source = 0, self.source
        while True:
            line = source.number + 1
            source.start_record()
            try:
                record = next(self._records)
                if not record:
                    continue
                _check(record, self.header, source)
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
