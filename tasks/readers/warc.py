"""WARC, WET and ARC: a row for each record that holds a page of text.

Rows are responses with a status from 200 to 299 and a text type, conversions (the text of WET files) and resources of
text types. All others are counted by kind; a broken record is a bad row, and costs no other. `row` is the record's
number in the file. The id of a row is its address: that is what two captures of a page share. `created` is the date
of the capture, which the crawler and not the page's author set, hence trusted.
"""

import re
from collections.abc import Iterator
from typing import BinaryIO, cast

from cuvee.tasks.readers import _http, _signals
from cuvee.tasks.readers._batch import SEEN, BadRow, Batch, Found, InvalidRowError, collect
from cuvee.tasks.readers._bytes import RECORD_BYTES, Bounds, EndsEarlyError, Plain, pieces
from cuvee.tasks.readers._charset import charset_of, decode_page
from cuvee.tasks.readers._file import File, Layout
from cuvee.tasks.readers._page import read_page
from cuvee.tasks.readers._records import Broken, Record, records

SUFFIXES = (".warc", ".wet", ".arc")
COMPRESSIBLE = True
MEDIA_TYPES = ("application/warc",)
ONE_DOCUMENT = False

_COLUMNS = ("text", "id", "url", "title", "created", *SEEN)
_HTML = ("text/html", "application/xhtml+xml")
_TEXT = (*_HTML, "text/plain")
_KINDS = ("warcinfo", "request", "metadata", "revisit", "continuation")
_MAIN_TYPES = ("application", "audio", "font", "image", "message", "model", "multipart", "text", "video")
_LOOKS_LIKE_HTML = re.compile(rb"\s*<(?:!doctype html|html)\b", re.IGNORECASE)
_DAY = re.compile(r"\d{4}-\d\d-\d\d")
_FIRST_YEAR = "1991"  # of the web: an earlier capture tells of a crawler whose clock was not set, as 1970 and 1980

Values = tuple[object, ...]


class _NoDocumentError(Exception):
    """A record that holds no document; its message is the kind under which it is counted."""


def read(file: File, layout: Layout) -> Iterator[Batch]:
    """Read the records of an archive; see `cuvee.tasks.readers.read`. The fields do not apply."""
    return collect(_COLUMNS, _found(file), file.bounds.batch_bytes)


def _found(file: File) -> Iterator[Found | BadRow | str]:
    stream, compression = file.stream, file.compression
    if compression in ("bzip2", "xz"):  # of whole files; the others are compressed record by record
        stream, compression = cast(BinaryIO, Plain(pieces(stream, compression, file.bounds))), None
    for number, record in enumerate(records(stream, compression, file.bounds)):
        try:
            file.bounds.spend(RECORD_BYTES)
            if isinstance(record, Broken):
                raise InvalidRowError(record.reason)
            values = _values(record, file.bounds)
            yield Found(number, values, len(str(values[0])))
        except _NoDocumentError as kind:
            yield str(kind)
        except (InvalidRowError, EndsEarlyError) as error:
            yield BadRow(number, None, f"record {number} at {record.place}: {error}")
            if isinstance(error, EndsEarlyError):
                return


def _values(record: Record, bounds: Bounds) -> Values:
    """Return the row of a record; raises _NoDocumentError and InvalidRowError."""
    kind = record.headers.get("warc-type", "").lower()
    if kind in ("response", "resource", "conversion"):
        response = _response(record, kind)
        declared = response.header("content-type") or record.headers.get("warc-identified-payload-type", "")
        content_type = _essence(declared, response.body)
        if content_type not in _TEXT:
            raise _NoDocumentError(f"{kind} of type {_main_type(content_type)}")
        if record.block is None:
            raise InvalidRowError(bounds.too_long())
        if record.headers.get("warc-segment-number"):
            raise InvalidRowError("it is one segment of several, which are not joined")
        return _row(record, response, content_type, charset_of(declared), bounds)
    raise _NoDocumentError(kind if kind in _KINDS else "unknown")


def _response(record: Record, kind: str) -> _http.Response:
    """Return the response, or what a record without HTTP holds as one."""
    block = record.preview if record.block is None else record.block
    stored = record.headers.get("content-type", "")
    is_dns = record.headers.get("warc-target-uri", "").startswith("dns:") or _essence(stored, b"") == "text/dns"
    if is_dns:
        raise _NoDocumentError("dns")
    is_http = "arc" in record.headers and block.startswith(b"HTTP/")
    if kind == "response" and (is_http or stored.lower().startswith("application/http")):
        response = _http.parse(block)
        if not 200 <= response.status < 300:
            raise _NoDocumentError(f"response {response.status}")
        return response
    return _http.Response(200, (("content-type", stored),), block)


def _row(record: Record, response: _http.Response, content_type: str, charset: str | None, bounds: Bounds) -> Values:
    is_html = content_type in _HTML
    text = decode_page(_http.content(response, bounds), charset, is_html)
    title: str | None = None
    metas: tuple[tuple[str, str], ...] = ()
    if is_html:
        page = read_page(text, is_xhtml=content_type == "application/xhtml+xml")
        text, title, metas = page.text, page.title, page.metas
    url = record.headers.get("warc-target-uri", "").strip("<> ") or None
    created = record.headers.get("warc-date", "")
    trusted = _DAY.match(created) is not None and created >= _FIRST_YEAR
    opt_out = _signals.canonical(response.headers, metas)
    identity = url or record.headers.get("warc-record-id")
    return text, identity, url, title, created, content_type, opt_out, trusted


def _essence(content_type: str, body: bytes) -> str:
    """Return the type without parameters; of a page that does not say, what it looks like."""
    essence = content_type.split(";")[0].split(",")[0].strip().lower()
    if not essence and _LOOKS_LIKE_HTML.match(body, 0, 1024):
        return "text/html"
    return essence


def _main_type(content_type: str) -> str:
    """Return the part before the slash where it is a known one: a report lists kinds, not what servers make up."""
    main = content_type.split("/")[0]
    return f"{main}/*" if main in _MAIN_TYPES else "unknown"
