"""Stack Exchange: Posts.xml of a data dump, a row for each question and answer.

The dump has one <row …/> a line, so each is parsed by itself: a broken one is a bad row and costs no other; several on
a line are read as well. There is no document type, hence no entities beyond XML's own. Bodies are HTML, of which all is
text. Ids count within a site; the folder that the file lies in, by custom named for the site, stands before them, and
tells the address where it is a host.
"""

import re
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import PurePosixPath
from xml.etree import ElementTree

from cuvee.schemas.errors import InputError
from cuvee.tasks.readers._batch import BadRow, Batch, Found, InvalidRowError, collect
from cuvee.tasks.readers._bytes import RECORD_BYTES, EndsEarlyError
from cuvee.tasks.readers._file import File, Layout
from cuvee.tasks.readers._page import plain_text

SUFFIXES = (".xml",)
COMPRESSIBLE = True
MEDIA_TYPES: tuple[str, ...] = ()
ONE_DOCUMENT = False

_COLUMNS = ("text", "id", "url", "title", "created", "license")
_QUESTION, _ANSWER = "1", "2"
_AROUND = re.compile(rb"</?posts\s*/?>")
_DECLARATION = re.compile(rb"^<\?xml[^<>]*\?>")
_PART = re.compile(rb"""\s+|</?posts\s*/?>|<row(?:[^<>"']++|"[^"]*+"|'[^']*+')*+>""")
_ATTRIBUTE = re.compile(rb"""=\s*(?:"[^"]*+"|'[^']*+')""")
# A post of the dump has about twenty.
_MOST_ATTRIBUTES = 1000
_SITE = re.compile(r"[a-z0-9-]+(?:\.[a-z0-9-]+)*\.(?:com|net)")


def read(file: File, layout: Layout) -> Iterator[Batch]:
    """Read the posts of a file; see `cuvee.tasks.readers.read`. The fields do not apply.

    Raises InputError for XML that is no dump of posts.
    """
    return collect(_COLUMNS, _found(file), file.bounds.batch_bytes)


def _found(file: File) -> Iterator[Found | BadRow | str]:
    folder = PurePosixPath(file.path).parent.name
    row, opened = 0, False
    number = 0
    try:
        for number, line in enumerate(file.lines(), start=1):
            for part in _parts(line):
                if part is not None and _AROUND.fullmatch(part):
                    opened = True
                    continue
                if not opened and part is not None and not part.startswith(b"<row"):
                    raise InputError(
                        f"{file.path} is no Posts.xml of a Stack Exchange dump: line {number} is no <posts>"
                    )
                try:
                    if part is None:
                        raise InvalidRowError(file.bounds.too_long())
                    post = _post(part)
                    if post.get("PostTypeId") in (_QUESTION, _ANSWER):
                        yield Found(row, _values(post, folder), len(part))
                    else:
                        yield f"post type {post.get('PostTypeId', '')[:4]}"
                except InvalidRowError as error:
                    yield BadRow(row, number, str(error))
                row += 1
                file.bounds.spend(RECORD_BYTES if part is None else max(RECORD_BYTES - len(part), 0))
    except EndsEarlyError as error:
        yield BadRow(row, number + 1, str(error))


def _parts(line: bytes | None) -> Iterator[bytes | None]:
    """Cut a line into what stands around rows, each of `_AROUND`, and rows or what else there is; None as it is."""
    if line is None:
        yield None
        return
    line = _DECLARATION.sub(b"", line.strip())
    at = 0
    while at < len(line):
        found = _PART.match(line, at)
        # A broken row ends where the next begins.
        end = found.end() if found else line.find(b"<row", at + 1)
        end = end if end > 0 else len(line)
        if part := line[at:end].strip():
            yield part
        at = end


def _post(row: bytes) -> dict[str, str]:
    if not row.startswith(b"<row"):
        raise InvalidRowError("the line holds no <row>")
    # Few rows have so many of the sign: looking for attributes takes a twentieth of a row's time.
    if row.count(b"=") > _MOST_ATTRIBUTES and next(islice(_ATTRIBUTE.finditer(row), _MOST_ATTRIBUTES, None), None):
        raise InvalidRowError(f"the row has over {_MOST_ATTRIBUTES} attributes")
    try:
        return dict(ElementTree.fromstring(row).attrib)
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise InvalidRowError(f"not XML: {error}") from error


def _values(post: Mapping[str, str], folder: str) -> tuple[str | None, ...]:
    number, title = post.get("Id"), post.get("Title")
    if number is None or "Body" not in post:
        raise InvalidRowError("the post has no Id or no Body")
    text = plain_text(post["Body"])
    path = "q" if post["PostTypeId"] == _QUESTION else "a"
    return (
        f"{title}\n\n{text}" if title else text,
        f"{folder}/{number}" if folder else number,
        f"https://{folder}/{path}/{number}" if _SITE.fullmatch(folder) else None,
        title,
        post.get("CreationDate"),
        post.get("ContentLicense"),
    )
