"""JSON files: an array of objects, an object with one array of objects inside, or one object; JSON lines too.

The elements are parsed one by one out of a window that moves over the file, so memory is bounded by the longest. An
element that is not readable costs itself where its brackets close; else the rest of the file is lost, and counted by
what looks like further elements. `line` is where an element begins. In an object with an array of objects, other keys
are no rows; where the object itself has the text, it is the row.
"""

import json
import re
from collections.abc import Iterator
from itertools import chain, count

from cuvee.tasks.readers import _objects
from cuvee.tasks.readers._batch import Batch
from cuvee.tasks.readers._bytes import begun, lines
from cuvee.tasks.readers._columns import Records
from cuvee.tasks.readers._file import File, Layout
from cuvee.tasks.readers._json_window import BETWEEN, BadValueError, Window
from cuvee.tasks.readers.jsonl import found as found_in_lines

SUFFIXES = (".json",)
COMPRESSIBLE = True
MEDIA_TYPES = ("application/json",)
ONE_DOCUMENT = False

_HEAD_BYTES = 1 << 20
_MOST_KEYS = 500_000
_SECOND_LINE = re.compile(rb"\s*\{")


def read(file: File, layout: Layout) -> Iterator[Batch]:
    """Read the objects of a file; see `cuvee.tasks.readers.read`."""
    return _objects.batches(_found(file, layout.needed), layout, file.bounds)


def records(file: File, text: str | None) -> Iterator[Records]:
    """Read the objects of a file whole; see `cuvee.tasks.readers.records`."""
    return _objects.whole(_found(file, (text,) if text else ()), text, file.bounds)


def _found(file: File, needed: tuple[str, ...]) -> Iterator[_objects.Parsed]:
    head, behind = begun(file.pieces(), lambda taken: sum(map(len, taken)) >= _HEAD_BYTES)
    first = b"".join(head)
    pieces = chain([first], behind)
    if _is_lines(first):
        yield from found_in_lines(file, lines(pieces, file.bounds))
    else:
        own = {key for path in needed for key in (path, path.partition(".")[0])}
        yield from _values(Window(pieces, file.bounds), frozenset(own))


def _is_lines(head: bytes) -> bool:
    """Tell whether a file begins with a line that is an object, and another object follows it."""
    first, _, behind = head.removeprefix(b"\xef\xbb\xbf").lstrip().partition(b"\n")
    if not first.startswith(b"{") or not _SECOND_LINE.match(behind):
        return False
    try:
        return isinstance(json.loads(first), dict)
    except (ValueError, RecursionError):
        return False


def _values(window: Window, own: frozenset[str]) -> Iterator[_objects.Parsed]:
    """Give the objects of all values of a file, mostly of one. own: keys of an object that is itself a row."""
    rows = count()
    try:
        while sign := window.peek():
            if sign == "[":
                window.step()
                yield from _elements(window, rows)
            elif sign == "{" and not window.holds(own):
                yield from _members(window, rows, own)
            else:
                line = window.line
                value, content = window.value()
                yield next(rows), line, _objects.object_of(value, "file"), content
        if window.fault:
            yield next(rows), window.line, window.fault, b""
    except BadValueError as error:
        line, reason = window.line, f"{error}; the file is not read further"
        # The row that is lost, and each that seems to begin behind it.
        for _ in range(1 + window.count_elements()):
            yield next(rows), line, reason, b""


def _elements(window: Window, rows: Iterator[int]) -> Iterator[_objects.Parsed]:
    """Give the elements of an array, behind its bracket."""
    while (sign := window.peek(BETWEEN)) != "]":
        if not sign:
            raise BadValueError(window.fault or "the file ends within the array", whole=True)
        line = window.line
        try:
            value, content = window.value()
        except BadValueError as error:
            if error.whole:
                raise
            yield next(rows), line, str(error), b""
        else:
            yield next(rows), line, _objects.object_of(value, "element"), content
    window.step()


def _members(window: Window, rows: Iterator[int], own: frozenset[str]) -> Iterator[_objects.Parsed]:
    """Give the elements of the one array of objects in an object, or the object where it has none."""
    line, record, arrays = window.line, dict[str, object](), 0
    held = bytearray()
    window.step()
    while (sign := window.peek(BETWEEN)) != "}":
        if not sign:
            raise BadValueError(window.fault or "the file ends within the object", whole=True)
        key = _key(window)
        if window.peek() == "[" and key not in own and window.begins_objects():
            arrays += 1
            if arrays > 1:
                yield next(rows), window.line, f'a second array of objects, "{key[:80]}"; the first is read', b""
                window.skip()
                continue
            window.step()
            yield from _elements(window, rows)
        else:
            value, content = window.value()
            if not arrays:
                record[key] = value
                held += content
                if len(held) > window.bounds.row_bytes:
                    raise BadValueError(window.bounds.too_long(), whole=True)
                if len(record) > _MOST_KEYS:
                    raise BadValueError(f"the object holds over {_MOST_KEYS:,} keys", whole=True)
    window.step()
    if not arrays:
        yield next(rows), line, record, bytes(held)


def _key(window: Window) -> str:
    key, _ = window.value()
    if not isinstance(key, str) or window.peek() != ":":
        raise BadValueError("not JSON: a key and a colon belong here", whole=True)
    window.step()
    return key
