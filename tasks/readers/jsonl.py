"""JSON lines: one object a line.

Blank lines are no records: `row` counts records, `line` counts all lines. Of a key that stands twice, the last counts.
The standard json module is the parser: on real documents it ran at 500–600 MB/s, pyarrow.json at 250–470, and unlike
the latter it takes an id that is a number here and a string there, and isolates a bad line.
"""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

from cuvee.schemas.errors import InputError
from cuvee.tasks.readers._batch import Batch, Collector, InvalidRowError, as_text
from cuvee.tasks.readers._bounds import Bounds
from cuvee.tasks.readers._bytes import EndsEarlyError, decode, lines

SUFFIXES = (".jsonl", ".ndjson", ".json")
COMPRESSIBLE = True
MEDIA_TYPES = ("application/jsonl", "application/x-ndjson")
ONE_DOCUMENT = False

_KEYS_SHOWN = 10
_WIDE_BYTES, _MOST_VALUES = 4 << 20, 2_000_000
_STRING = re.compile(r'"(?:[^"\\]++|\\.)*+"')
_JSON_TYPES = {type(None): "null", bool: "a boolean", int: "a number", float: "a number", list: "an array",
               dict: "an object", str: "a string"}  # fmt: skip


def _parse(line: bytes) -> dict[str, object]:
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


def _values(line: bytes, fields: Mapping[str, str]) -> list[str | None]:
    """Give the values of one line in the order of `fields`; raises InvalidRowError."""
    record = _parse(line)
    name = fields["text"]
    text = record.get(name)
    if not isinstance(text, str):
        if name not in record:
            keys = ", ".join(sorted(record)[:_KEYS_SHOWN]) or "nothing"
            raise InvalidRowError(f'no field "{name}"; the row has: {keys}')
        raise InvalidRowError(f'field "{name}" is {_JSON_TYPES[type(text)]}, not a string')
    values = [as_text(record.get(field)) for field in fields.values()]
    # An escape can bring half a surrogate pair past the decoder, and polars refuses a whole column for one.
    if not all(value is None or value.isascii() for value in values):
        try:
            "".join(value for value in values if value).encode()
        except UnicodeEncodeError as error:
            raise InvalidRowError("the row holds half a surrogate pair, which is no character") from error
    return values


def read(
    path: Path | str, stream: BinaryIO, compression: str | None, fields: Mapping[str, str], bounds: Bounds
) -> Iterator[Batch]:
    """Read the objects of a file; see `cuvee.tasks.readers.read`.

    Raises InputError when a .json file is one array instead of lines.
    """
    collector = Collector(fields, bounds.batch_bytes)
    row = number = 0
    try:
        for number, line in enumerate(lines(stream, compression, bounds), start=1):
            if line is not None and not line.strip():
                continue
            if row == 0 and line is not None and line.lstrip()[:1] == b"[" and ".json" in Path(path).suffixes:
                raise InputError(f"{path} holds a JSON array, not one object a line; write it as lines (jq -c '.[]')")
            try:
                if line is None:
                    raise InvalidRowError(bounds.too_long())
                collector.add(row, _values(line, fields), len(line))
            except InvalidRowError as error:
                collector.fail(row, number, str(error))
            row += 1
            if collector.full and (batch := collector.take()):
                yield batch
    except EndsEarlyError as error:
        collector.fail(row, number + 1, str(error))
    if batch := collector.take():
        yield batch
