"""HTML: the main text of a page, without menus, footers and comments; tables are kept.

One file is one document, row 0; its id is the path given. A page without main text is a row without text, which is
dropped as empty: it could be read.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

from cuvee.tasks.readers import _signals
from cuvee.tasks.readers._batch import Batch, InvalidRowError, one_document
from cuvee.tasks.readers._bytes import Bounds, whole
from cuvee.tasks.readers._charset import decode_page
from cuvee.tasks.readers._page import read_page

SUFFIXES = (".html", ".htm", ".xhtml")
COMPRESSIBLE = True
MEDIA_TYPES = ("application/xhtml+xml", "text/html")
ONE_DOCUMENT = True


def read(
    path: Path | str, stream: BinaryIO, compression: str | None, fields: Mapping[str, str], bounds: Bounds
) -> Iterator[Batch]:
    """Read one page; see `cuvee.tasks.readers.read`. The fields and the batch size do not apply."""
    try:
        content = whole(stream, compression, bounds)
        if not content:
            return
        page = read_page(decode_page(content, None, is_html=True), is_xhtml=".xhtml" in str(path).lower())
        yield one_document(
            {
                "text": page.text,
                "id": str(path),
                "url": page.url,
                "title": page.title,
                "created": page.date,
                "content_type": "text/html",
                "opt_out": _signals.canonical((), page.metas),
            }
        )
    except InvalidRowError as error:
        yield one_document({}, bad=str(error))
