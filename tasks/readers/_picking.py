"""Picking: the fields of a document out of an object of JSON, and the shape of what should be text."""

import json
import re
from collections.abc import Callable, Iterable, Mapping
from typing import TypeAlias

from cuvee.tasks.readers._batch import InvalidRowError, as_text
from cuvee.tasks.readers._chats import chat
from cuvee.tasks.readers._columns import plain_value
from cuvee.tasks.readers._file import Layout

Object: TypeAlias = dict[str, object]
# Gives the values of `Layout.columns`; raises InvalidRowError.
Pick: TypeAlias = Callable[[Mapping[str, object]], list[str | None]]

JSON_TYPES = {type(None): "null", bool: "a boolean", int: "a number", float: "a number", list: "an array",
              dict: "an object", str: "a string"}  # fmt: skip
_KEYS_SHOWN = 10
BLANK_LINE = "\n\n"
_ABSENT = object()
_MOST_DEPTH = 200
STRING = re.compile(r'"(?:[^"\\]++|\\.)*+"')
_BRACKET = re.compile(r"[\[\]{}]")


def picker(layout: Layout) -> Pick:
    """Return what takes the values of a layout out of one object."""
    names = [paths[0] for paths in layout.fields.values() if len(paths) == 1 and "." not in paths[0]]
    if len(names) < len(layout.fields) or layout.messages is not None or layout.keep:
        return lambda record: _picked(record, layout)
    text = layout.needed[0]

    def pick(record: Mapping[str, object]) -> list[str | None]:
        check_text(record, text)
        values: list[str | None] = []
        for value in map(record.get, names):
            if value is None or (type(value) is str and value.isascii()):
                values.append(value)
            elif type(value) is int:
                values.append(str(value))
            else:
                return checked(map(record.get, names))
        return values

    return pick


def at(record: Mapping[str, object], path: str) -> object:
    """Return the value of a key, or what a dotted path of keys leads to; `_ABSENT` where there is none."""
    if path in record:
        return record[path]
    node: object = record
    for key in path.split("."):
        if not isinstance(node, dict) or key not in node:
            return _ABSENT
        node = node[key]
    return node


def check_text(record: Mapping[str, object], name: str) -> None:
    """Raise InvalidRowError for an object whose text is no string."""
    text = record.get(name)
    if not isinstance(text, str):
        text = at(record, name)
        if text is _ABSENT:
            raise InvalidRowError(f'no field "{name}"; the row has: {_keys(record)}')
        if not isinstance(text, str):
            raise InvalidRowError(_no_string(name, text))


def _keys(record: Mapping[str, object]) -> str:
    return ", ".join(sorted(record)[:_KEYS_SHOWN]) or "nothing"


def _no_string(name: str, value: object) -> str:
    return f'field "{name}" is {JSON_TYPES.get(type(value), type(value).__name__)}, not a string'


def checked(values: Iterable[object]) -> list[str | None]:
    """Render values as text; raises InvalidRowError for what is too deep, or has half a surrogate pair: an escape can
    bring one past the decoder, and polars refuses a whole column for it.
    """
    try:
        texts = [as_text(value) for value in values]
        for text in texts:
            if text is not None and not text.isascii():
                text.encode()
    except RecursionError as error:
        raise InvalidRowError(f"not readable JSON: {error}") from error
    except UnicodeEncodeError as error:
        raise InvalidRowError("the row holds half a surrogate pair, which is no character") from error
    return texts


def joined(parts: Iterable[str | None]) -> str | None:
    """Join texts by a blank line, blank ones left out; None where nothing is left."""
    return BLANK_LINE.join(part for part in parts if part is not None and part.strip()) or None


def kept(values: Mapping[str, object]) -> str | None:
    """Write the columns that a recipe keeps as a JSON object; null where a row has none. A number that is none is null.

    Raises InvalidRowError for values that nest too deep.
    """
    if not values:
        return None
    try:
        text = _written(values)
    except RecursionError as error:
        raise InvalidRowError(f"not readable JSON: {error}") from error
    if text.count("[") + text.count("{") > _MOST_DEPTH and _depth(text) > _MOST_DEPTH:
        raise InvalidRowError(f"what is kept of the row nests over {_MOST_DEPTH} deep")
    return text


def _written(values: Mapping[str, object]) -> str:
    try:
        return json.dumps(values, ensure_ascii=False, allow_nan=False)
    except ValueError:
        return json.dumps(plain_value(dict(values)), ensure_ascii=False)


def _picked(record: Mapping[str, object], layout: Layout) -> list[str | None]:
    values: list[object] = []
    messages: str | None = None
    for column, paths in layout.fields.items():
        if column == "text":
            if layout.messages is not None:
                text, messages = _chat(record, layout.messages)
            else:
                text = _text(record, paths)
            values.append(text)
        elif len(paths) == 1:
            found = at(record, paths[0])
            values.append(None if found is _ABSENT else found)
        else:
            values.append(joined(as_text(found) for path in paths if (found := at(record, path)) is not _ABSENT))
    if layout.messages is not None:
        values.append(messages)
    if layout.keep:
        values.append(kept({path: found for path in layout.keep if (found := at(record, path)) is not _ABSENT}))
    return checked(values)


def _text(record: Mapping[str, object], paths: tuple[str, ...]) -> str:
    if len(paths) == 1:
        check_text(record, paths[0])
        return str(at(record, paths[0]))
    found = [(path, value) for path in paths if (value := at(record, path)) is not _ABSENT and value is not None]
    for path, value in found:
        if not isinstance(value, str):
            raise InvalidRowError(_no_string(path, value))
    if not found:
        raise InvalidRowError(f"no field of {', '.join(paths)} holds text; the row has: {_keys(record)}")
    return joined(str(value) for _, value in found) or ""


def _chat(record: Mapping[str, object], path: str) -> tuple[str, str]:
    found = at(record, path)
    if found is _ABSENT:
        raise InvalidRowError(f'no field "{path}"; the row has: {_keys(record)}')
    return chat(found, path)


def _depth(text: str) -> int:
    """Tell how deep a value of JSON nests."""
    depth = most = 0
    for sign in _BRACKET.findall(STRING.sub("", text)):
        depth += 1 if sign in "[{" else -1
        most = max(most, depth)
    return most
