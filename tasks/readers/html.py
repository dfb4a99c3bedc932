"""HTML: the main text of a page, without menus, footers and comments; tables are kept.

One file is one document, row 0; its id is the path given. A page without main text is a row without text, which is
dropped as empty: it could be read.
"""

from collections.abc import Iterator

from cuvee.tasks.readers import _bytes, _signals
from cuvee.tasks.readers._batch import Batch, InvalidRowError, one_document
from cuvee.tasks.readers._charset import decode_page
from cuvee.tasks.readers._file import File, Layout
from cuvee.tasks.readers._page import read_page

SUFFIXES = (".html", ".htm", ".xhtml")
COMPRESSIBLE = True
MEDIA_TYPES = ("application/xhtml+xml", "text/html")
ONE_DOCUMENT = True


def read(file: File, layout: Layout) -> Iterator[Batch]:
    """Read one page; see `cuvee.tasks.readers.read`. The recipe's encoding goes before the page's."""
    try:
        if file.encoding == "auto":
            raw = _bytes.pieces(file.stream, file.compression, file.bounds)
            content = decode_page(_bytes.whole(raw, file.bounds), None, is_html=True)
        else:
            content = file.decode(file.whole())
        if not content:
            return
        page = read_page(content, is_xhtml=file.is_named(".xhtml"))
        yield one_document(
            {
                "text": page.text,
                "id": file.path,
                "url": page.url,
                "title": page.title,
                "created": page.date,
                "content_type": "text/html",
                "opt_out": _signals.canonical((), page.metas),
            }
        )
    except InvalidRowError as error:
        yield one_document({}, bad=str(error))
