"""Stack Exchange: Posts.xml of a data dump, a row for each question and answer.

The dump has one <row …/> a line, so each is parsed by itself: a broken one is a bad row and costs no other. Bodies are
HTML, of which all is text. Ids count within a site; the folder that the file lies in, by custom named for the site,
stands before them, and tells the address where it is a host.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import BinaryIO
from xml.etree import ElementTree

from cuvee.schemas.errors import InputError
from cuvee.tasks.readers._batch import Batch, Collector, InvalidRowError
from cuvee.tasks.readers._bytes import EndsEarlyError, lines, too_long
from cuvee.tasks.readers._page import plain_text

SUFFIXES = (".xml",)
COMPRESSIBLE = True
MEDIA_TYPES: tuple[str, ...] = ()
ONE_DOCUMENT = False

_COLUMNS = ("text", "id", "url", "title", "created", "license")
_QUESTION, _ANSWER = "1", "2"
_SITE = re.compile(r"[a-z0-9-]+(?:\.[a-z0-9-]+)*\.(?:com|net)")


def read(
    path: Path | str, stream: BinaryIO, compression: str | None, fields: Mapping[str, str], batch_bytes: int
) -> Iterator[Batch]:
    """Read the posts of a file; see `cuvee.tasks.readers.read`. The fields do not apply.

    Raises InputError for XML that is no dump of posts.
    """
    collector = Collector(_COLUMNS, batch_bytes)
    folder = PurePosixPath(path).parent.name
    row, opened = 0, False
    number = 0
    try:
        for number, line in enumerate(lines(stream, compression), start=1):
            start = b"" if line is None else line.strip()[:16]
            if line is not None and not start.startswith(b"<row"):
                opened = opened or start.startswith(b"<posts>")
                if start and not start.startswith((b"<?xml", b"<posts>", b"</posts>")):
                    if not opened:
                        raise InputError(
                            f"{path} is no Posts.xml of a Stack Exchange dump: line {number} is no <posts>"
                        )
                    collector.fail(row, number, "the line holds no <row>")
                    row += 1
                continue
            try:
                post = _post(line)
                if post.get("PostTypeId") in (_QUESTION, _ANSWER):
                    collector.add(row, _values(post, folder), len(line or b""))
                else:
                    collector.skip(f"post type {post.get('PostTypeId', '')[:4]}")
            except InvalidRowError as error:
                collector.fail(row, number, str(error))
            row += 1
            if collector.full and (batch := collector.take()):
                yield batch
    except EndsEarlyError as error:
        collector.fail(row, number + 1, str(error))
    if batch := collector.take():
        yield batch


def _post(line: bytes | None) -> dict[str, str]:
    if line is None:
        raise InvalidRowError(too_long())
    try:
        return dict(ElementTree.fromstring(line.strip()).attrib)
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
