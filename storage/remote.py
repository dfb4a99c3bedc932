"""Files elsewhere, on the web and in S3: what is there, and their bytes from any place on.

A validator tells whether a file is still what it was, without its bytes: a strong ETag, or the date of the last change
with the length; for S3 the ETag with the size. It is empty where a server gives neither.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from http.client import HTTPResponse
from typing import Literal, NamedTuple, cast

from cuvee.schemas.address import bucket_and_key, shown
from cuvee.schemas.errors import RetryableError
from cuvee.storage import web
from cuvee.storage.s3 import carry_out, listing
from cuvee.storage.web import PassingError

# The web's dates have whole seconds: a file changed so shortly before it was sent may have changed again unseen.
RACY_S = 2.0


class Answer(NamedTuple):
    """What a server says of a file before its bytes.

    status: "past" when it has no byte where it was asked for one. size: bytes of the whole file, None if unknown.
    start: the first byte that follows. read: gives at most so many bytes, none at the end; raises PassingError.
    """

    status: Literal["bytes", "unchanged", "gone", "past"]
    validator: str = ""
    size: int | None = None
    start: int = 0
    media_type: str = ""
    read: Callable[[int], bytes] = lambda size: b""


class Object(NamedTuple):
    """An object in a bucket."""

    key: str
    validator: str
    bytes: int


def objects(bucket: str, prefix: str) -> Iterator[Object]:
    """List the objects whose keys start with a prefix; raises RecipeError and RetryableError."""
    for stored in listing(bucket, prefix):
        yield Object(stored.key, f"{stored.etag} {stored.size}", stored.size)


def find_object(bucket: str, key: str) -> Object | None:
    """Look an object up by its key; the right to list the bucket is not needed."""
    try:
        head = carry_out(bucket, lambda s3: s3.head_object(Bucket=bucket, Key=key))
    except FileNotFoundError:
        return None
    size = int(head["ContentLength"])
    return Object(key, f"{head['ETag'].strip(chr(34))} {size}", size)


@contextmanager
def ask_bucket(uri: str, start: int) -> Iterator[Answer]:
    """Ask for an object from a byte on. Its ETag comes before its bytes, so a changed one costs none.

    Raises RetryableError when the server is down for longer than S3 is waited for, PassingError when a body breaks off,
    and RecipeError for what waiting does not mend.
    """
    bucket, key = bucket_and_key(uri)
    rest = {"Range": f"bytes={start}-"} if start else {}
    try:
        found = carry_out(bucket, lambda s3: s3.get_object(Bucket=bucket, Key=key, **rest))
    except FileNotFoundError:
        yield Answer("gone")
        return
    size = int(found.get("ContentRange", "").rpartition("/")[2] or found["ContentLength"])
    body = found["Body"]

    def read(most: int) -> bytes:
        try:
            return cast(bytes, carry_out(bucket, lambda _: body.read(most), patience=0))
        except RetryableError:
            raise PassingError(f"{uri} breaks off before its end") from None

    try:
        validator = f"{found['ETag'].strip(chr(34))} {size}"
        yield Answer("bytes", validator, size, start if "ContentRange" in found else 0, read=read)
    finally:
        body.close()


@contextmanager
def ask_web(uri: str, known: str, start: int, validator: str, seconds: float, private: bool) -> Iterator[Answer]:
    """Ask for a file: from a byte on if it still has the validator, else the whole, unless it is what is known.

    seconds: after which the connection is cut. private: redirects may lead to private addresses.
    Raises PassingError, and RecipeError for what waiting does not mend.
    """
    headers = {}
    if start:
        headers = {"Range": f"bytes={start}-", "If-Range": _tag_or_date(validator)}
    elif known.startswith('"'):
        # By date nothing is asked: many servers call a file unchanged that was replaced by an older one. The head of
        # the answer tells date and length, and the body is not read.
        headers = {"If-None-Match": known}
    with web.get(uri, headers, seconds, private) as response:
        told = response.headers
        first, size = _extent(response)
        answer = Answer(
            "bytes",
            validator=_web_validator(response, size),
            size=size,
            start=first,
            media_type=told.get("Content-Type", "").partition(";")[0].strip().lower(),
            read=lambda most: web.read(response, most, uri),
        )
        if response.status == 304 and "If-None-Match" not in headers:
            raise PassingError(f"{shown(uri)} answers 304 to a question without a condition")
        if response.status in (404, 410):
            yield Answer("gone")
        elif response.status == 416:
            yield Answer("past")
        elif known and not start and (response.status == 304 or answer.validator == known):
            yield Answer("unchanged")
        else:
            yield answer


def _tag_or_date(validator: str) -> str:
    return validator if validator.startswith('"') else validator.rpartition(" ")[0]


def _extent(response: HTTPResponse) -> tuple[int, int | None]:
    """Return the first byte that follows, and the size of the whole file where it is told."""
    part = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", "").strip())
    if response.status == 206 and part:
        return int(part[1]), int(part[2]) if part[2] != "*" else None
    return 0, response.length


def _web_validator(response: HTTPResponse, size: int | None) -> str:
    """Return the strong validator of an answer, or an empty string."""
    if size is None and not response.chunked:
        return ""  # the end of such a body is the end of the connection: what broke off looks whole
    tag = response.headers.get("ETag", "").strip()
    if re.fullmatch(r'"[^"]*"', tag):
        return tag
    changed, now = response.headers.get("Last-Modified", ""), response.headers.get("Date", "")
    try:
        is_old = (parsedate_to_datetime(now) - parsedate_to_datetime(changed)).total_seconds() >= RACY_S
    except (TypeError, ValueError):
        return ""
    return f"{changed} {size}" if is_old and size is not None else ""
