"""Bytes of a file: decompressed piece by piece, whole or by lines, within bounds.

Memory is bounded by one record, and a small file cannot take the machine by what it decodes to.
"""

import bz2
import gzip
import lzma
import os
import shutil
import tempfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from typing import BinaryIO, Never, TypeVar, cast

import zstandard

from cuvee.tasks.readers._batch import InvalidRowError

MB = 10**6
# Judged from here on: a small file may well be a thousand times smaller than what it holds.
FREE_BYTES = 256 * MB
# What a record counts at least: reading and deciding take as much of the machine for an empty one.
RECORD_BYTES = 1600
COMPRESSIONS = {".gz": "gzip", ".zst": "zstd", ".bz2": "bzip2", ".xz": "xz"}
_PIECE_BYTES = 1 << 20
# 2 GiB of one letter take 4.7 s, and with 1 MiB 6.0.
_GZIP_PIECE_BYTES = 128 << 10
_PACKED_PIECE_BYTES = 64 << 10
# xz -9 takes 65 MB; a file may ask for 4 GB.
_XZ_BYTES = 256 << 20
# Decompressed at a time: what these bytes hold before a break is lost, and they may hold 30,000 times as much.
_ZSTD_PIECE_BYTES = 512
# The largest of zstd's own command line. Memory is taken as the window fills.
MOST_WINDOW_BYTES = 1 << 31
_ZSTD_HEADER_BYTES = 6  # as far as the window

_T = TypeVar("_T")


class EndsEarlyError(Exception):
    """The file is not read further: it is truncated, damaged or decodes to too much; what came before was given."""


class Bounds:
    """What one file may take of the machine, and what it has taken.

    row_mb: MB of one record, at most. expansion: decoded bytes / stored bytes of the file, at most, judged from
    FREE_BYTES decoded bytes on. stored: bytes of the file as it is stored; None: unknown, and nothing is judged.
    batch_bytes: of a batch, about.
    """

    def __init__(self, row_mb: int = 64, expansion: int = 1000, stored: int | None = None, batch_bytes: int = 8 << 20):
        self.row_bytes = row_mb * MB
        self.batch_bytes = batch_bytes
        self._row_mb, self._expansion, self._stored = row_mb, expansion, stored
        self._decoded = 0

    def spend(self, decoded: int) -> None:
        """Count bytes that are decoded, or are about to be; raises EndsEarlyError where they are too many.

        A record counts `RECORD_BYTES` at least: the reader adds what its bytes lack.
        """
        self._decoded += decoded
        if self._decoded > FREE_BYTES and self._stored is not None and self._decoded > self._expansion * self._stored:
            raise EndsEarlyError(
                f"the file is not read further: its {self._stored:,} bytes decode to over {self._expansion:,} times as "
                "many (ingest.max_expansion); where it is sound, raise that limit"
            )

    def too_long(self) -> str:
        """Say why a record over the limit is not read."""
        return f"the record is over {self._row_mb} MB (ingest.max_row_mb); split it, or raise that limit"


def size_of(stream: BinaryIO) -> int | None:
    """Measure a stream that can seek; None for one that cannot."""
    if not stream.seekable():
        return None
    place = stream.tell()
    size = stream.seek(0, os.SEEK_END)
    stream.seek(place)
    return size


def is_of_arrow(error: OSError) -> bool:
    """Tell a fault that Arrow found in the bytes from one of the disk, socket or store that gave them.

    Arrow's are plain OSErrors without a number; the others have one, or a class of their own.
    """
    return type(error) is OSError and error.errno is None


def pieces(stream: BinaryIO, compression: str | None, bounds: Bounds) -> Iterator[bytes]:
    """Give the decompressed bytes of a stream, all members and frames of it.

    Raises EndsEarlyError where a compressed stream breaks or passes its bounds; faults of the stream itself pass
    through.
    """
    if compression is None:
        while piece := stream.read(_PIECE_BYTES):
            yield piece
    elif compression == "gzip":
        try:
            with gzip.GzipFile(fileobj=stream, mode="rb") as plain:
                while piece := plain.read1(_GZIP_PIECE_BYTES):
                    bounds.spend(len(piece))
                    yield piece
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise EndsEarlyError(f"file ends early: gzip: {error}") from error
    elif compression == "zstd":
        yield from _unzstd(stream, bounds)
    else:
        yield from _unpacked(stream, compression, bounds)


def _unpacked(stream: BinaryIO, compression: str, bounds: Bounds) -> Iterator[bytes]:
    """Decompress bzip2 and xz, all streams of a file; zero bytes may fill the end of one."""
    unpacker: bz2.BZ2Decompressor | lzma.LZMADecompressor | None = None
    held = b""
    try:
        while True:
            if not held and (unpacker is None or unpacker.needs_input):
                held = stream.read(_PACKED_PIECE_BYTES)
                if not held:
                    break
            if unpacker is None:
                held = held.lstrip(b"\0")
                if not held:
                    continue
                is_xz = compression == "xz"
                unpacker = lzma.LZMADecompressor(memlimit=_XZ_BYTES) if is_xz else bz2.BZ2Decompressor()
            piece = unpacker.decompress(held, _GZIP_PIECE_BYTES)
            held = b""
            if piece:
                bounds.spend(len(piece))
                yield piece
            if unpacker.eof:
                held, unpacker = unpacker.unused_data, None
    except (OSError, EOFError, lzma.LZMAError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise EndsEarlyError(f"file ends early: {compression}: {error}") from error
    if unpacker is not None:
        raise EndsEarlyError(f"file ends early: it ends within {compression}")


class Plain:
    """The pieces of a file, read like a stream that cannot seek."""

    def __init__(self, pieces: Iterable[bytes]):
        self._pieces = iter(pieces)
        self._held = b""

    def read(self, size: int) -> bytes:
        """Return up to `size` bytes, none at the end."""
        while not self._held and (piece := next(self._pieces, None)) is not None:
            self._held = piece
        content, self._held = self._held[:size], self._held[size:]
        return content


def seekable(stream: BinaryIO) -> BinaryIO:
    """Give a stream that can seek, a nameless copy on the disk where this one cannot."""
    if stream.seekable():
        return stream
    copy = cast(BinaryIO, tempfile.TemporaryFile())  # noqa: SIM115 closed with the last reference to it
    shutil.copyfileobj(stream, copy)
    copy.seek(0)
    return copy


def _unzstd(stream: BinaryIO, bounds: Bounds) -> Iterator[bytes]:
    decompressor = zstandard.ZstdDecompressor(max_window_size=MOST_WINDOW_BYTES)
    frame, head = None, b""
    while held := stream.read(_PIECE_BYTES):
        start = 0
        while start < len(held):
            chunk = held[start : start + _ZSTD_PIECE_BYTES]
            start += len(chunk)
            if frame is None:
                frame, head = decompressor.decompressobj(), b""
            head = (head + chunk)[:_ZSTD_HEADER_BYTES]
            try:
                piece = frame.decompress(chunk)
            except zstandard.ZstdError as error:
                raise EndsEarlyError(f"file ends early: {_excess(head) or error}") from error
            if piece:
                bounds.spend(len(piece))
                yield piece
            if frame.eof:
                start -= len(frame.unused_data)
                frame = None
    if frame is not None:
        raise EndsEarlyError("file ends early: it ends within a zstd frame")


def _excess(head: bytes) -> str | None:
    """Name the window that a frame asks for where it is too large (RFC 8878, section 3.1.1.1.2). head: its bytes."""
    if len(head) < _ZSTD_HEADER_BYTES or head[4] & 0x20:  # a frame in one segment has no window
        return None
    base = 1 << (10 + (head[5] >> 3))
    window = base + base // 8 * (head[5] & 7)
    if window <= MOST_WINDOW_BYTES:
        return None
    return f"its zstd window of {window:,} bytes is over the {MOST_WINDOW_BYTES:,} that are read; use zstd --long=31"


def lines(pieces: Iterable[bytes], bounds: Bounds) -> Iterator[bytes | None]:
    r"""Cut the bytes of a file into lines without their b"\n"; None for one that is too long.

    Raises EndsEarlyError as the pieces do; the unfinished line before the break is not given.
    """
    parts: list[bytes] = []
    size = 0
    for piece in pieces:
        *ends, rest = piece.split(b"\n")
        bounds.spend(max(RECORD_BYTES * len(ends) - len(piece), 0))
        for end in ends:
            yield b"".join((*parts, end)) if size + len(end) <= bounds.row_bytes else None
            parts, size = [], 0
        size += len(rest)
        if size > bounds.row_bytes:
            parts = []
        elif rest:
            parts.append(rest)
    if size:
        yield b"".join(parts) if size <= bounds.row_bytes else None


def whole(pieces: Iterable[bytes], bounds: Bounds) -> bytes:
    """Put the bytes of a file that is one document together.

    Raises InvalidRowError when it is too long or ends early.
    """
    parts: list[bytes] = []
    size = 0
    try:
        for piece in pieces:
            size += len(piece)
            if size > bounds.row_bytes:
                raise InvalidRowError(bounds.too_long())
            parts.append(piece)
    except EndsEarlyError as error:
        raise InvalidRowError(str(error)) from error
    return b"".join(parts)


def begun(items: Iterator[_T], is_enough: Callable[[list[_T]], bool]) -> tuple[list[_T], Iterator[_T]]:
    """Take the first pieces or lines of a file, until they are enough or it ends, and give those behind them.

    Where the file ends early among the first, EndsEarlyError is raised behind them.
    """
    head: list[_T] = []
    try:
        for item in items:
            head.append(item)
            if is_enough(head):
                break
    except EndsEarlyError as error:
        return head, _broken(error)
    return head, items


def _broken(fault: EndsEarlyError) -> Iterator[Never]:
    yield from ()
    raise fault


def decode(content: bytes, encoding: str = "auto") -> str:
    """Decode UTF-8; raises InvalidRowError naming the first byte that is not.

    encoding: of the file, which `as_utf8` has decoded; what it does not know is such a byte.
    """
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        if encoding != "auto":
            raise InvalidRowError(f"not {encoding}: it has bytes that are no character there") from error
        raise InvalidRowError(f"not UTF-8: byte 0x{content[error.start]:02x} at offset {error.start}") from error
