"""Objects of JSON: parsed within bounds, and put into batches, whatever file they come from."""

import json
from collections.abc import Iterable, Iterator
from typing import TypeAlias

from cuvee.tasks.readers._batch import ROW_OVERHEAD_BYTES, BadRow, Batch, Found, InvalidRowError, collect
from cuvee.tasks.readers._bytes import Bounds, decode
from cuvee.tasks.readers._columns import Records
from cuvee.tasks.readers._file import Layout
from cuvee.tasks.readers._picking import JSON_TYPES, STRING, Object, Pick, check_text, checked, picker

# Row, line, the object or why there is none, and its bytes as JSON.
Parsed: TypeAlias = tuple[int, int, Object | str, bytes]

# Fewer brackets cannot nest too deep to be written again, by callers that stand so much deeper.
_DEEP = 200
WIDE_BYTES, MOST_VALUES = 4 << 20, 2_000_000
# A value in Python beside its text.
VALUE_BYTES = 16


def parse(line: bytes, encoding: str) -> Object | str:
    """Parse an object, or say why there is none. encoding: of the file, as for `decode`."""
    try:
        text = decode(line, encoding)
        if is_wide(text):
            return too_wide()
        return object_of(json.loads(text), "line")
    except InvalidRowError as error:
        return str(error)
    except json.JSONDecodeError as error:
        return f"not JSON: {error.msg} at column {error.colno}"
    except (ValueError, RecursionError) as error:
        return f"not readable JSON: {error}"


def object_of(value: object, what: str) -> Object | str:
    """Return a value that is an object, else say what it is. what: the thing that holds it."""
    return value if isinstance(value, dict) else f"the {what} holds {JSON_TYPES[type(value)]}, not an object"


def is_wide(text: str) -> bool:
    """Tell whether JSON holds too many values: in Python they take ten times their bytes."""
    # Text has few of these signs.
    if len(text) <= WIDE_BYTES or sum(map(text.count, ",[{")) <= MOST_VALUES:
        return False
    return sum(map(STRING.sub("", text).count, ",[{")) > MOST_VALUES


def too_wide() -> str:
    """Say why a wide record is not read."""
    return f"the record holds over {MOST_VALUES:,} values"


def batches(parsed: Iterable[Parsed], layout: Layout, bounds: Bounds) -> Iterator[Batch]:
    """Put the fields of objects into batches."""
    return collect(layout.columns, _found(parsed, picker(layout)), bounds.batch_bytes)


def _found(parsed: Iterable[Parsed], pick: Pick) -> Iterator[Found | BadRow]:
    for row, line, record, content in parsed:
        if isinstance(record, str):
            yield BadRow(row, line, record)
            continue
        try:
            yield Found(row, pick(record), len(content))
        except InvalidRowError as error:
            yield BadRow(row, line, str(error))


def whole(parsed: Iterable[Parsed], text: str | None, bounds: Bounds) -> Iterator[Records]:
    """Put objects with all their fields into blocks; text: the field that must hold a string, or None."""
    rows: list[Object] = []
    bad: list[BadRow] = []
    held = 0
    for row, line, record, content in parsed:
        try:
            if isinstance(record, str):
                raise InvalidRowError(record)
            if text is not None:
                check_text(record, text)
            if b"\\u" in content or content.count(b"[") + content.count(b"{") > _DEEP:
                checked((_written(record),))
            rows.append(record)
        except InvalidRowError as error:
            bad.append(BadRow(row, line, str(error)))
        held += len(content) + ROW_OVERHEAD_BYTES
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
