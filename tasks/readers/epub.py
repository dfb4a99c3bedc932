"""EPUB: the chapters of a book in the order of its spine, read as XHTML, joined by blank lines.

One file is one document, row 0; its id is the path given. Title and date are those of the package. The navigation, and
what the spine calls not linear, are left out.
"""

import posixpath
import zipfile
from collections.abc import Iterator
from urllib.parse import unquote
from xml.etree import ElementTree

from cuvee.tasks.readers._archives import ZIP_FAULTS, opened_zip
from cuvee.tasks.readers._batch import Batch, InvalidRowError, one_document
from cuvee.tasks.readers._bytes import Bounds, EndsEarlyError, seekable
from cuvee.tasks.readers._charset import decode_page
from cuvee.tasks.readers._dates import first_day
from cuvee.tasks.readers._file import File, Layout
from cuvee.tasks.readers._page import plain_text
from cuvee.tasks.readers._xhtml import as_html

SUFFIXES = (".epub",)
COMPRESSIBLE = False
MEDIA_TYPES = ("application/epub+zip",)
ONE_DOCUMENT = True

_CONTAINER, _ENCRYPTION = "META-INF/container.xml", "META-INF/encryption.xml"
_MOST_XML_BYTES = 8 << 20
_MOST_CHAPTERS = 20_000
_PAGES = ("application/xhtml+xml", "text/html")


def read(file: File, layout: Layout) -> Iterator[Batch]:
    """Read one book; see `cuvee.tasks.readers.read`. The fields do not apply."""
    stream = seekable(file.stream)
    if not stream.read(1):
        return
    try:
        with opened_zip(stream) as archive:
            yield one_document(_Book(archive, file.bounds).values(file.path))
    except (InvalidRowError, EndsEarlyError) as error:
        yield one_document({}, bad=str(error))


class _Book:
    """A book whose package is read. Raises InvalidRowError for what is none."""

    def __init__(self, archive: zipfile.ZipFile, bounds: Bounds):
        self._archive, self._bounds, self._held = archive, bounds, 0
        root = next((e for e in _parsed(self._read(_CONTAINER), _CONTAINER).iter() if _tag(e) == "rootfile"), None)
        self._path = (root.get("full-path") if root is not None else None) or ""
        self._package = _parsed(self._read(self._path), "the package")

    def values(self, path: str) -> dict[str, str | None]:
        """Return the columns of the document."""
        told = [(_tag(element), (element.text or "").strip()) for element in self._package.iter()]
        text = "\n\n".join(filter(None, map(self._chapter, self._spine())))
        title = next((value for tag, value in told if tag == "title" and value), None)
        created = first_day([value for tag, value in told if tag == "date" and value])
        return {"text": text, "id": path, "title": " ".join((title or "").split()) or None, "created": created}

    def _spine(self) -> list[str]:
        """Name the files of the chapters, in order."""
        files = {item.get("id"): item for item in self._package.iter() if _tag(item) == "item"}
        chosen = []
        for reference in (item for item in self._package.iter() if _tag(item) == "itemref"):
            item = files.get(reference.get("idref"))
            if item is None or reference.get("linear") == "no" or "nav" in (item.get("properties") or "").split():
                continue
            if item.get("media-type") in _PAGES and item.get("href"):
                href = unquote(item.get("href", "").partition("#")[0])
                chosen.append(posixpath.normpath(posixpath.join(posixpath.dirname(self._path), href)))
        if not chosen:
            raise InvalidRowError("no book: its spine names no chapter")
        if len(chosen) > _MOST_CHAPTERS:
            raise InvalidRowError(f"the spine names over {_MOST_CHAPTERS:,} chapters")
        locked = self._locked()
        if any(name in locked for name in chosen):
            raise InvalidRowError("the book is encrypted (DRM)")
        return chosen

    def _locked(self) -> set[str]:
        if _ENCRYPTION not in self._archive.NameToInfo:
            return set()
        found = _parsed(self._read(_ENCRYPTION), _ENCRYPTION).iter()
        return {unquote(element.get("URI", "")) for element in found if _tag(element) == "CipherReference"}

    def _chapter(self, name: str) -> str:
        page = decode_page(self._read(name, self._bounds.row_bytes - self._held), None, is_html=True)
        return plain_text(as_html(page, declared=True))

    def _read(self, name: str, most: int = _MOST_XML_BYTES) -> bytes:
        try:
            with self._archive.open(name) as member:
                content = member.read(max(most, 0) + 1)
        except KeyError:
            raise InvalidRowError(f"no whole book: it has no file {name[:200]!r}") from None
        except ZIP_FAULTS as error:
            raise InvalidRowError(f"{name[:200]} is damaged: {error}") from error
        self._bounds.spend(len(content))
        self._held += len(content)
        if len(content) > most or self._held > self._bounds.row_bytes:
            raise InvalidRowError(self._bounds.too_long())
        return content


def _parsed(content: bytes, what: str) -> ElementTree.Element:
    if b"<!ENTITY" in content or b"\0" in content:
        raise InvalidRowError(f"{what} declares entities, or is no UTF-8")
    try:
        return ElementTree.fromstring(content)
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise InvalidRowError(f"{what} is not XML: {error}") from error


def _tag(element: ElementTree.Element) -> str:
    return str(element.tag).rpartition("}")[2]
