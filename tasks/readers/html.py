"""HTML: the main text of a page, without menus, footers and comments; tables are kept.

One file is one document, row 0; its id is the path given. trafilatura finds the text and the character set.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from cuvee.tasks.readers._batch import Batch, InvalidRowError, one_document
from cuvee.tasks.readers._bytes import whole

SUFFIXES = (".html", ".htm")
COMPRESSIBLE = True


@dataclass(frozen=True)
class Extracted:
    """What a page holds. date: as ISO 8601 (YYYY-MM-DD); url: of the canonical link; both as the page claims."""

    text: str
    title: str | None
    date: str | None
    url: str | None


def html_to_text(html: bytes) -> Extracted | None:
    """Extract the main text of a page, or give None where there is none."""
    # Imported here: it costs 0.6 s, and most runs read no HTML.
    from trafilatura import bare_extraction

    page = bare_extraction(html, include_comments=False, include_tables=True, with_metadata=True)
    if page is None or isinstance(page, dict) or not (page.text or "").strip():
        return None
    return Extracted(page.text or "", page.title, page.date, page.url)


def read(
    path: Path | str, stream: BinaryIO, compression: str | None, fields: Mapping[str, str], batch_bytes: int
) -> Iterator[Batch]:
    """Read one page; see `cuvee.tasks.readers.read`. The fields and the batch size do not apply."""
    try:
        html = whole(stream, compression)
        if not html:
            return
        page = html_to_text(html)
        if page is None:
            raise InvalidRowError("no main text found")
        yield one_document(
            {"text": page.text, "id": str(path), "url": page.url, "title": page.title, "created": page.date}
        )
    except InvalidRowError as error:
        yield one_document({}, bad=str(error))
