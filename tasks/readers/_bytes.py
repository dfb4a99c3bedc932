"""Bytes of a file: decompressed piece by piece, whole or by lines, with memory bounded by one record."""

import gzip
import zlib
from collections.abc import Iterator
from typing import BinaryIO

import pyarrow as pa

from cuvee.tasks.readers._batch import MAX_RECORD_BYTES, InvalidRowError

COMPRESSIONS = {".gz": "gzip", ".zst": "zstd"}
_PIECE_BYTES = 1 << 20
# A read that meets the break of a damaged zstd stream loses what it had gathered: at most this much. Reads of 4 KiB
# ran at 2.4 GB/s, against 3.0 with 64 KiB.
_ZSTD_PIECE_BYTES = 4 << 10


class EndsEarlyError(Exception):
    """The compressed stream is truncated or damaged; what came before was given."""


def is_of_arrow(error: OSError) -> bool:
    """Tell a fault that Arrow found in the bytes from one of the disk, socket or store that gave them.

    Arrow's are plain OSErrors without a number; the others have one, or a class of their own.
    """
    return type(error) is OSError and error.errno is None


def pieces(stream: BinaryIO, compression: str | None) -> Iterator[bytes]:
    """Give the decompressed bytes of a stream, all members and frames of it.

    Raises EndsEarlyError where a compressed stream breaks; faults of the stream itself pass through.
    """
    if compression is None:
        while piece := stream.read(_PIECE_BYTES):
            yield piece
    elif compression == "gzip":
        try:
            with gzip.GzipFile(fileobj=stream) as plain:
                while piece := plain.read1(_PIECE_BYTES):
                    yield piece
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise EndsEarlyError(f"file ends early: gzip: {error}") from error
    else:
        try:
            with pa.CompressedInputStream(pa.PythonFile(stream, mode="r"), compression) as plain:
                while piece := plain.read(_ZSTD_PIECE_BYTES):
                    yield piece
        except OSError as error:
            if not is_of_arrow(error):
                raise
            raise EndsEarlyError(f"file ends early: {error}") from error


def lines(stream: BinaryIO, compression: str | None) -> Iterator[bytes | None]:
    r"""Give the lines of a stream without their b"\n"; None for a line over `MAX_RECORD_BYTES`.

    A byte-order mark at the start of the file is left out. Raises EndsEarlyError as `pieces` does; the unfinished
    line before the break is not given.
    """
    parts: list[bytes] = []
    size = 0
    first = True
    for piece in pieces(stream, compression):
        *ends, rest = piece.split(b"\n")
        for end in ends:
            line = b"".join((*parts, end)) if size + len(end) <= MAX_RECORD_BYTES else None
            yield line.removeprefix(b"\xef\xbb\xbf") if first and line is not None else line
            parts, size, first = [], 0, False
        size += len(rest)
        if size > MAX_RECORD_BYTES:
            parts = []
        elif rest:
            parts.append(rest)
    if size:
        line = b"".join(parts) if size <= MAX_RECORD_BYTES else None
        yield line.removeprefix(b"\xef\xbb\xbf") if first and line is not None else line


def whole(stream: BinaryIO, compression: str | None) -> bytes:
    """Give the bytes of a file that is one document.

    Raises InvalidRowError when it is over `MAX_RECORD_BYTES` or ends early.
    """
    parts: list[bytes] = []
    size = 0
    try:
        for piece in pieces(stream, compression):
            size += len(piece)
            if size > MAX_RECORD_BYTES:
                raise InvalidRowError(too_long())
            parts.append(piece)
    except EndsEarlyError as error:
        raise InvalidRowError(str(error)) from error
    return b"".join(parts)


def decode(content: bytes) -> str:
    """Decode UTF-8; raises InvalidRowError naming the first byte that is not."""
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidRowError(f"not UTF-8: byte 0x{content[error.start]:02x} at offset {error.start}") from error


def too_long() -> str:
    """Say why a record over the limit is not read."""
    return f"the record is over {MAX_RECORD_BYTES >> 20} MiB; split it"
