"""JSON lines: one object a line.

Blank lines are no records: `row` counts records, `line` counts all lines. Of a key that stands twice, the last counts.
The standard json module is the parser: on real documents it ran at 500–600 MB/s, pyarrow.json at 250–470, and unlike
the latter it takes an id that is a number here and a string there, and isolates a bad line.
"""

from collections.abc import Iterable, Iterator

from cuvee.schemas.errors import InputError
from cuvee.tasks.readers import _objects
from cuvee.tasks.readers._batch import Batch
from cuvee.tasks.readers._bytes import EndsEarlyError
from cuvee.tasks.readers._columns import Records
from cuvee.tasks.readers._file import File, Layout

SUFFIXES = (".jsonl", ".ndjson")
COMPRESSIBLE = True
MEDIA_TYPES = ("application/jsonl", "application/x-ndjson")
ONE_DOCUMENT = False


def read(file: File, layout: Layout) -> Iterator[Batch]:
    """Read the objects of a file; see `cuvee.tasks.readers.read`.

    Raises InputError when a .json file is one array instead of lines.
    """
    return _objects.batches(found(file, file.lines()), layout, file.bounds)


def records(file: File, text: str | None) -> Iterator[Records]:
    """Read the objects of a file whole; see `cuvee.tasks.readers.records`, and `read` for what it raises."""
    return _objects.whole(found(file, file.lines()), text, file.bounds)


def found(file: File, lines: Iterable[bytes | None]) -> Iterator[_objects.Parsed]:
    """Give the object of each line, or why it has none. Raises InputError as `read` does."""
    row = number = 0
    try:
        for number, line in enumerate(lines, start=1):
            if line is None:
                yield row, number, file.bounds.too_long(), b""
            elif not line.strip():
                continue
            elif row == 0 and line.lstrip()[:1] == b"[" and file.is_named(".json"):
                raise InputError(f"{file.path} holds a JSON array, not one object a line; read it with format: json")
            else:
                file.bounds.spend(_objects.VALUE_BYTES * line.count(b","))
                yield row, number, _objects.parse(line, file.encoding), line
            row += 1
    except EndsEarlyError as error:
        yield row, number + 1, str(error), b""
