"""JSON lines: one object a line.

Blank lines are no records: `row` counts records, `line` counts all lines. Of a key that stands twice, the last counts.
The standard json module is the parser: on real documents it ran at 500–600 MB/s, pyarrow.json at 250–470, and unlike
the latter it takes an id that is a number here and a string there, and isolates a bad line.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

from cuvee.schemas.errors import InputError
from cuvee.tasks.readers._batch import ROW_OVERHEAD_BYTES, BadRow, Batch, Found, InvalidRowError, as_text, collect
from cuvee.tasks.readers._bytes import Bounds, EndsEarlyError, decode, lines
from cuvee.tasks.readers._columns import Object, Records

SUFFIXES = (".jsonl", ".ndjson", ".json")
COMPRESSIBLE = True
MEDIA_TYPES = ("application/jsonl", "application/x-ndjson")
ONE_DOCUMENT = False

_KEYS_SHOWN = 10
# Fewer brackets cannot nest too deep to be written again, by callers that stand so much deeper.
_DEEP = 200
_WIDE_BYTES, _MOST_VALUES = 4 << 20, 2_000_000
_STRING = re.compile(r'"(?:[^"\\]++|\\.)*+"')
_JSON_TYPES = {type(None): "null", bool: "a boolean", int: "a number", float: "a number", list: "an array",
               dict: "an object", str: "a string"}  # fmt: skip


def _parse(line: bytes | str) -> Object:
    """Parse a line, or raise why there is none."""
    if isinstance(line, str):
        raise InvalidRowError(line)
    text = decode(line)
    # Values in Python take ten times their bytes; text has few of these signs.
    if len(text) > _WIDE_BYTES and sum(map(text.count, ",[{")) > _MOST_VALUES:
        values = sum(map(_STRING.sub("", text).count, ",[{"))
        if values > _MOST_VALUES:
            raise InvalidRowError(f"the record holds over {_MOST_VALUES:,} values")
    try:
        record = json.loads(text)
    except json.JSONDecodeError as error:
        raise InvalidRowError(f"not JSON: {error.msg} at column {error.colno}") from error
    except (ValueError, RecursionError) as error:
        raise InvalidRowError(f"not readable JSON: {error}") from error
    if not isinstance(record, dict):
        raise InvalidRowError(f"the line holds {_JSON_TYPES[type(record)]}, not an object")
    return record


def _check_text(record: Mapping[str, object], name: str) -> None:
    """Raise InvalidRowError for an object whose text is no string."""
    text = record.get(name)
    if not isinstance(text, str):
        if name not in record:
            keys = ", ".join(sorted(record)[:_KEYS_SHOWN]) or "nothing"
            raise InvalidRowError(f'no field "{name}"; the row has: {keys}')
        raise InvalidRowError(f'field "{name}" is {_JSON_TYPES[type(text)]}, not a string')


def _check_characters(values: Iterable[str | None]) -> None:
    """Raise InvalidRowError for half a surrogate pair: an escape can bring one past the decoder, and polars refuses a
    whole column for it.
    """
    for value in values:
        if value is not None and not value.isascii():
            try:
                value.encode()
            except UnicodeEncodeError as error:
                raise InvalidRowError("the row holds half a surrogate pair, which is no character") from error


def _values(record: Mapping[str, object], fields: Mapping[str, str]) -> list[str | None]:
    """Give the values of one object in the order of `fields`; raises InvalidRowError."""
    _check_text(record, fields["text"])
    try:
        values = [as_text(record.get(field)) for field in fields.values()]
    except RecursionError as error:
        raise InvalidRowError(f"not readable JSON: {error}") from error
    _check_characters(values)
    return values


def read(
    path: Path | str, stream: BinaryIO, compression: str | None, fields: Mapping[str, str], bounds: Bounds
) -> Iterator[Batch]:
    """Read the objects of a file; see `cuvee.tasks.readers.read`.

    Raises InputError when a .json file is one array instead of lines.
    """
    return collect(fields, _found(path, stream, compression, fields, bounds), bounds.batch_bytes)


def _found(
    path: Path | str, stream: BinaryIO, compression: str | None, fields: Mapping[str, str], bounds: Bounds
) -> Iterator[Found | BadRow]:
    for row, number, line in _lines(path, stream, compression, bounds):
        try:
            yield Found(row, _values(_parse(line), fields), len(line))
        except InvalidRowError as error:
            yield BadRow(row, number, str(error))


def records(
    path: Path | str, stream: BinaryIO, compression: str | None, text: str | None, bounds: Bounds
) -> Iterator[Records]:
    """Read the objects of a file whole; see `cuvee.tasks.readers.records`, and `read` for what it raises."""
    rows: list[Object] = []
    bad: list[BadRow] = []
    held = 0
    for row, number, line in _lines(path, stream, compression, bounds):
        try:
            record = _parse(line)
            if text is not None:
                _check_text(record, text)
            if isinstance(line, bytes) and (b"\\u" in line or line.count(b"[") + line.count(b"{") > _DEEP):
                _check_characters((_written(record),))
            rows.append(record)
        except InvalidRowError as error:
            bad.append(BadRow(row, number, str(error)))
        held += len(line) + ROW_OVERHEAD_BYTES
        if held >= bounds.batch_bytes:
            yield Records(rows, bad)
            rows, bad, held = [], [], 0
    yield Records(rows, bad)


def _written(record: Object) -> str:
    """Write an object as JSON; raises InvalidRowError where it is too deep for that, here or in a deeper caller."""
    deeper: object = record
    for _ in range(_DEEP):
        deeper = [deeper]
    try:
        return json.dumps(deeper, ensure_ascii=False)
    except RecursionError as error:
        raise InvalidRowError(f"not readable JSON: {error}") from error


def _lines(
    path: Path | str, stream: BinaryIO, compression: str | None, bounds: Bounds
) -> Iterator[tuple[int, int, bytes | str]]:
    """Give row, line and bytes of each record, or why it has none. Raises InputError as `read` does."""
    row = number = 0
    try:
        for number, line in enumerate(lines(stream, compression, bounds), start=1):
            if line is not None and not line.strip():
                continue
            if row == 0 and line is not None and line.lstrip()[:1] == b"[" and ".json" in Path(path).suffixes:
                raise InputError(f"{path} holds a JSON array, not one object a line; write it as lines (jq -c '.[]')")
            yield row, number, bounds.too_long() if line is None else line
            row += 1
    except EndsEarlyError as error:
        yield row, number + 1, str(error)
