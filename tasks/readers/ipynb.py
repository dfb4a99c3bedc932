"""Jupyter notebooks: Markdown cells as text, code cells in fences, outputs left out.

One file is one document, row 0; its id is the path given. Raw cells, which are for converters, are left out too.
"""

import re
from collections.abc import Iterator, Mapping, Sequence

from cuvee.tasks.readers import _objects
from cuvee.tasks.readers._batch import Batch, InvalidRowError, one_document
from cuvee.tasks.readers._file import File, Layout

SUFFIXES = (".ipynb",)
COMPRESSIBLE = True
MEDIA_TYPES = ("application/x-ipynb+json",)
ONE_DOCUMENT = True

_FENCE = re.compile(r"^ {0,3}(`{3,})", re.MULTILINE)
_LANGUAGE = re.compile(r"[\w+#-]{1,30}")


def read(file: File, layout: Layout) -> Iterator[Batch]:
    """Read one notebook; see `cuvee.tasks.readers.read`. The fields do not apply."""
    try:
        content = file.whole()
        if content:
            notebook = _objects.parse(content, file.encoding)
            if isinstance(notebook, str):
                raise InvalidRowError(notebook.replace("the line", "the file"))
            yield one_document({"text": _text(notebook), "id": file.path, "title": _title(notebook)})
    except InvalidRowError as error:
        yield one_document({}, bad=str(error))


def _text(notebook: Mapping[str, object]) -> str:
    language = _language(notebook)
    parts = []
    for cell in _cells(notebook):
        if not isinstance(cell, Mapping):
            raise InvalidRowError("a cell of the notebook is no object")
        # Before nbformat 4 the code of a cell is its input.
        source = cell.get("source", cell.get("input", ""))
        text = "".join(part for part in source if isinstance(part, str)) if isinstance(source, list) else source
        if not isinstance(text, str) or not text.strip():
            continue
        kind = cell.get("cell_type")
        if kind in ("markdown", "heading"):
            parts.append(text.strip("\n"))
        elif kind == "code":
            longest = max((len(found) for found in _FENCE.findall(text)), default=2)
            fence = "`" * (longest + 1)
            parts.append(f"{fence}{language}\n{text.strip(chr(10))}\n{fence}")
    text = "\n\n".join(parts)
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InvalidRowError("the notebook holds half a surrogate pair, which is no character") from error
    return text


def _cells(notebook: Mapping[str, object]) -> Sequence[object]:
    cells = notebook.get("cells")
    if isinstance(cells, list):
        return cells
    sheets = notebook.get("worksheets")
    if isinstance(sheets, list) and all(isinstance(sheet, Mapping) for sheet in sheets):
        found = [sheet.get("cells") for sheet in sheets]
        return [cell for each in found if isinstance(each, list) for cell in each]
    raise InvalidRowError("no notebook: it has no cells")


def _language(notebook: Mapping[str, object]) -> str:
    """Return the language of the code as a fence names it, empty where the notebook does not say."""
    about = notebook.get("metadata")
    for key, name in (("language_info", "name"), ("kernelspec", "language")):
        found = about.get(key) if isinstance(about, Mapping) else None
        value = found.get(name) if isinstance(found, Mapping) else None
        if isinstance(value, str) and _LANGUAGE.fullmatch(value):
            return value
    return ""


def _title(notebook: Mapping[str, object]) -> str | None:
    about = notebook.get("metadata")
    title = about.get("title") if isinstance(about, Mapping) else None
    return title if isinstance(title, str) and title.isprintable() else None
