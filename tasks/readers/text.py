"""Plain text: a document a file, a line or a paragraph.

A file that is one document has the path given as its id; lines and paragraphs have none. Blank lines are no documents,
and end a paragraph. What Markdown holds before its text is no text: its title and date are the document's.
"""

from collections.abc import Iterable, Iterator, Mapping
from itertools import chain

from cuvee.tasks.readers import _front_matter
from cuvee.tasks.readers._batch import BadRow, Batch, Found, InvalidRowError, collect, one_document
from cuvee.tasks.readers._bytes import EndsEarlyError, begun
from cuvee.tasks.readers._file import File, Layout

SUFFIXES = (".txt", ".text", ".md", ".markdown", ".rst", ".tex")
COMPRESSIBLE = True
MEDIA_TYPES = ("text/plain", "text/markdown")
ONE_DOCUMENT = True

_MARKDOWN = (".md", ".markdown")


def read(file: File, layout: Layout) -> Iterator[Batch]:
    """Read the documents of a file; see `cuvee.tasks.readers.read`. The fields do not apply."""
    return _one(file) if layout.records == "file" else _many(file, by_line=layout.records == "line")


def _one(file: File) -> Iterator[Batch]:
    try:
        text = file.decode(file.whole())
        if text:
            front, text = _front_matter.split(text) if file.is_named(*_MARKDOWN) else ({}, text)
            yield one_document({"text": text, "id": file.path, **front})
    except InvalidRowError as error:
        yield one_document({}, bad=str(error))


def _many(file: File, by_line: bool) -> Iterator[Batch]:
    lines = file.lines()
    head: list[bytes | None] = []
    if file.is_named(*_MARKDOWN):
        head, lines = begun(lines, lambda taken: not _front_matter.may_go_on(taken))
    front, skipped = _front_matter.of_lines(head)
    found = _found(file, _records(chain(head[skipped:], lines), skipped, by_line, file.bounds.row_bytes), front)
    return collect(["text", *front], found, file.bounds.batch_bytes)


def _found(
    file: File, records: Iterable[tuple[int, bytes | None]], front: Mapping[str, str]
) -> Iterator[Found | BadRow]:
    row = number = 0
    try:
        for number, content in records:
            try:
                if content is None:
                    raise InvalidRowError(file.bounds.too_long())
                yield Found(row, [file.decode(content), *front.values()], len(content))
            except InvalidRowError as error:
                yield BadRow(row, number, str(error))
            row += 1
    except EndsEarlyError as error:
        yield BadRow(row, number + 1, str(error))


def _records(
    lines: Iterable[bytes | None], skipped: int, by_line: bool, most: int
) -> Iterator[tuple[int, bytes | None]]:
    """Give the first line (1-based) and the bytes of each line or paragraph; None where it is too long."""
    parts: list[bytes] = []
    size, first = 0, skipped + 1
    for number, line in enumerate(lines, skipped + 1):
        is_blank = line is not None and not line.strip()
        if by_line:
            if not is_blank:
                yield number, None if line is None else line.rstrip(b"\r")
            continue
        if is_blank and size:
            yield first, b"\n".join(parts) if size <= most else None
            parts, size = [], 0
        if is_blank:
            continue
        first = first if size else number
        size += most + 1 if line is None else len(line) + 1
        if size > most:
            parts = []
        elif line is not None:
            parts.append(line.rstrip(b"\r"))
    if size:
        yield first, b"\n".join(parts) if size <= most else None
