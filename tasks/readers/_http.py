"""HTTP: what a stored response says, and its body without transfer and content encodings.

Crawlers store responses as they came, or decoded under the old headers: a header is believed where the body fits it.
A body that ends early gives what is there, as in a browser; one that is broken is a bad row.
"""

import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

from cuvee.tasks.readers._batch import InvalidRowError
from cuvee.tasks.readers._bytes import Bounds
from cuvee.tasks.readers._records import header_lines

_STATUS = re.compile(rb"(?:HTTP/\d(?:\.\d+)?|ICY)\s+(\d{3})(?:\s|$)")
_FIELD = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+[ \t]*:")
_END_OF_HEADER = re.compile(rb"\r?\n\r?\n")
_MOST_HEADER_BYTES = 256 << 10
_PIECE_BYTES = 1 << 16
_MOST_CHUNKS, _MOST_MEMBERS = 1_000_000, 100_000


@dataclass(frozen=True)
class Response:
    """A response. status: 200 where it has no status line; headers: (lower-case name, value); body: as stored."""

    status: int
    headers: Sequence[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> str:
        """Return the first value of a header, or an empty string."""
        return next((value for known, value in self.headers if known == name), "")


def parse(block: bytes) -> Response:
    """Split a response; one without a status line begins with its headers, or with its body.

    Raises InvalidRowError for a status line that is none.
    """
    line = block[:512].split(b"\n", 1)[0].strip()
    status = _STATUS.match(line)
    if status is None and line.startswith(b"HTTP/"):
        raise InvalidRowError(f"the status line is {line[:60].decode('latin-1')!r}")
    if status is None and not _FIELD.match(line):
        return Response(200, (), block)
    end = _END_OF_HEADER.search(block, 0, _MOST_HEADER_BYTES)
    head, body = (block[: end.start()], block[end.end() :]) if end else (block[:_MOST_HEADER_BYTES], b"")
    return Response(int(status.group(1)) if status else 200, header_lines(head if status else b"\n" + head), body)


def content(response: Response, bounds: Bounds) -> bytes:
    """Decode a response's body; raises InvalidRowError where it is broken, too long, or of an unknown encoding.

    Raises EndsEarlyError where it passes what the file may decode to.
    """
    body = response.body
    if "chunked" in response.header("transfer-encoding").lower():
        body = _joined(body)
    encodings = [name.strip().lower() for name in response.header("content-encoding").split(",")]
    for name in reversed(encodings):
        if body and name not in ("", "identity", "none", "utf-8"):
            body = _decoded(body, name, bounds)
    if len(body) > bounds.row_bytes:
        raise InvalidRowError(bounds.too_long())
    return body


def _joined(body: bytes) -> bytes:
    """Join chunks; a body that is none of chunks stays as it is."""
    joined = bytearray()
    at = chunks = 0
    while at < len(body):
        end = body.find(b"\n", at, at + 4096)
        size = body[at:end].split(b";")[0].strip() if end >= 0 else b""
        if not re.fullmatch(rb"[0-9A-Fa-f]{1,15}", size):
            if chunks:
                break
            return body
        length = int(size, 16)
        if length == 0:
            break
        chunks += 1
        if chunks > _MOST_CHUNKS:
            raise InvalidRowError(f"the body is in over {_MOST_CHUNKS:,} chunks")
        joined += body[end + 1 : end + 1 + length]
        at = end + 1 + length
        at += 2 if body[at : at + 2] == b"\r\n" else 1 if body[at : at + 1] == b"\n" else 0
    return bytes(joined)


def _decoded(body: bytes, name: str, bounds: Bounds) -> bytes:
    if name in ("gzip", "x-gzip"):
        return _inflated(body, 31, bounds) if body.startswith(b"\x1f\x8b") else body
    if name == "deflate":
        try:
            return _inflated(body, 15, bounds)
        except InvalidRowError:  # servers send it with and without the zlib header
            return _inflated(body, -15, bounds)
    if name == "zstd" and not body.startswith(b"\x28\xb5\x2f\xfd"):
        return body
    if name in ("br", "zstd"):
        return _streamed(body, {"br": "brotli", "zstd": "zstd"}[name], bounds)
    raise InvalidRowError(f"the content encoding {name[:40]!r} is not known")


def _inflated(body: bytes, bits: int, bounds: Bounds) -> bytes:
    joined = bytearray()
    inflater = zlib.decompressobj(bits)
    at, members = 0, 1
    while at < len(body):
        # In pieces: what is left over is copied each time.
        rest = body[at : at + _PIECE_BYTES]
        at += len(rest)
        while not inflater.eof:
            try:
                piece = inflater.decompress(rest, _PIECE_BYTES)
            except zlib.error as error:
                raise InvalidRowError(f"the compressed body is broken: {error}") from error
            joined += piece
            bounds.spend(len(piece))
            if len(joined) > bounds.row_bytes:
                raise InvalidRowError(bounds.too_long())
            rest = inflater.unconsumed_tail
            if not rest and len(piece) < _PIECE_BYTES:
                break
        if inflater.eof:
            at -= len(inflater.unused_data)
            if bits != 31 or not body.startswith(b"\x1f\x8b", at):
                break
            members += 1
            if members > _MOST_MEMBERS:
                raise InvalidRowError(f"the compressed body has over {_MOST_MEMBERS:,} members")
            inflater = zlib.decompressobj(bits)
    return bytes(joined)


def _streamed(body: bytes, codec: str, bounds: Bounds) -> bytes:
    parts: list[bytes] = []
    size = 0
    try:
        with pa.CompressedInputStream(pa.BufferReader(body), codec) as plain:
            while piece := plain.read(_PIECE_BYTES):
                parts.append(piece)
                size += len(piece)
                bounds.spend(len(piece))
                if size > bounds.row_bytes:
                    raise InvalidRowError(bounds.too_long())
    except OSError as error:
        raise InvalidRowError(f"the compressed body is broken: {error}") from error
    return b"".join(parts)
