"""Members: the bytes of an archive, decompressed, with the places where reading can begin again.

WARC files are compressed record by record, as gzip members or zstd frames one behind the other; a broken one costs
itself, and reading goes on at the next that decompresses to the beginning of a record. The zstd form may begin with a
dictionary frame (WARC-zstd 1.0 of the IIPC). A file compressed as a whole is one large member.
"""

import struct
import zlib
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

import zstandard

from cuvee.tasks.readers._batch import InvalidRowError
from cuvee.tasks.readers._bytes import MOST_WINDOW_BYTES, Bounds, EndsEarlyError

_READ_BYTES = 1 << 18
# zstd can make 128 MB of this, at its worst.
_CHUNK_BYTES = 4 << 10
_OUTPUT_BYTES = 16 << 10
_GZIP, _ZSTD = b"\x1f\x8b\x08", b"\x28\xb5\x2f\xfd"
_ZLIB = type(zlib.decompressobj())
_DICTIONARY_MAGIC = 0x184D2A5D
# Beyond 8 MiB a decoder may refuse (WARC-zstd 1.0, section 5).
_MOST_DICTIONARY_BYTES = 8 << 20
_HEAD_BYTES = 32


@dataclass(frozen=True)
class Piece:
    """Plain bytes of an archive, in order.

    offset: of their member in the file, or their own where nothing is compressed. starts: a member that begins with a
    record begins here. fault: why the stream breaks off before this piece; None where it does not.
    """

    content: bytes
    offset: int
    starts: bool = False
    fault: str | None = None


def pieces(
    stream: BinaryIO, begins: Callable[[bytes], bool], compression: str | None, bounds: Bounds
) -> Iterator[Piece]:
    """Give the plain bytes of an archive; the first bytes tell whether and how it is compressed.

    begins: whether some first bytes are those of a record. compression: what the name says, for a file whose first
    bytes are broken. What passes the bounds is a fault behind which nothing follows.
    """
    try:
        yield from _pieces(_Window(stream, bounds.row_bytes), begins, compression, bounds)
    except EndsEarlyError as error:
        yield Piece(b"", 0, starts=True, fault=str(error))


def _pieces(
    window: "_Window", begins: Callable[[bytes], bool], compression: str | None, bounds: Bounds
) -> Iterator[Piece]:
    head = window.peek(_HEAD_BYTES)
    skippable = len(head) >= 4 and struct.unpack("<I", head[:4])[0] & 0xFFFFFFF0 == 0x184D2A50
    if head.startswith(_ZSTD) or skippable:
        compression = "zstd"
    elif head.startswith(_GZIP):
        compression = "gzip"
    elif begins(head):
        compression = None
    if compression is None:
        while content := window.take(_READ_BYTES):
            yield Piece(content, window.position - len(content), starts=window.position == len(content))
    elif compression == "gzip":
        yield from _members(window, _GZIP, lambda: zlib.decompressobj(31), begins, bounds)
    else:
        try:
            decompressor = zstandard.ZstdDecompressor(dict_data=_dictionary(window), max_window_size=MOST_WINDOW_BYTES)
            decompressor.decompressobj()  # fails for a dictionary that is none
        except (InvalidRowError, zstandard.ZstdError) as error:
            yield Piece(b"", 0, fault=f"the dictionary of the file cannot be read: {error}")
            return
        yield from _members(window, _ZSTD, decompressor.decompressobj, begins, bounds)


class _Window:
    """The bytes of a stream from `start` to what was read, of which those before `position` are taken.

    `mark` drops what is taken; what was taken since can be taken again with `rewind`. It holds about
    `most` bytes.
    """

    def __init__(self, stream: BinaryIO, most: int):
        self._stream, self._most = stream, most
        self._held = bytearray()
        self.start = self.position = 0

    def _fill(self, size: int) -> None:
        while self.start + len(self._held) - self.position < size:
            more = self._stream.read(_READ_BYTES)
            if not more:
                return
            if len(self._held) > self._most:  # a file that is one member: only its end can be searched again
                self.mark()
            self._held += more

    def peek(self, size: int) -> bytes:
        """Return up to `size` bytes from the position on, fewer only at the end."""
        self._fill(size)
        at = self.position - self.start
        return bytes(self._held[at : at + size])

    def take(self, size: int) -> bytes:
        """Return up to `size` bytes and move behind them."""
        content = self.peek(size)
        self.position += len(content)
        return content

    def mark(self) -> None:
        """Drop what lies before the position."""
        del self._held[: self.position - self.start]
        self.start = self.position

    def rewind(self, position: int) -> None:
        """Go back, as far as bytes are held."""
        self.position = max(position, self.start)

    def find(self, magic: bytes) -> bool:
        """Move to the next occurrence of `magic` at or behind the position; to the end where there is none."""
        while True:
            at = self._held.find(magic, self.position - self.start)
            if at >= 0:
                self.position = self.start + at
                return True
            end = self.start + len(self._held)
            self.position = max(self.position, end - len(magic) + 1)
            self.mark()
            if not self.peek(len(magic))[len(magic) - 1 :]:
                self.position = self.start + len(self._held)
                return False


def _members(
    window: _Window, magic: bytes, decompressor: Callable[[], Any], begins: Callable[[bytes], bool], bounds: Bounds
) -> Iterator[Piece]:
    while True:
        window.mark()
        offset = window.position
        head = window.peek(8)
        if not head.strip(b"\0\r\n"):  # the end, or what fills the rest of a block
            if not head:
                return
            window.take(len(head))
            continue
        if head[1:4] == b"\x2a\x4d\x18" and head[0] & 0xF0 == 0x50 and len(head) == 8:
            window.take(8 + struct.unpack("<I", head[4:])[0])  # a skippable frame means nothing here
            continue
        fault, given = "no compressed record begins here", False
        if head.startswith(magic):
            fault, given = yield from _member(window, decompressor(), begins, bounds)
        if fault:
            # A member that gave nothing is a loss of its own, and no fault of the record before it.
            yield Piece(b"", offset, starts=not given, fault=fault)
            window.rewind(offset + 1)
            _go_on(window, magic, decompressor, begins)


def _member(
    window: _Window, member: Any, begins: Callable[[bytes], bool], bounds: Bounds
) -> Generator[Piece, None, tuple[str, bool]]:
    """Give one member's bytes; returns what is wrong with it, empty for nothing, and whether it gave any."""
    offset, head, given = window.position, b"", False
    while not member.eof:
        chunk = window.take(_CHUNK_BYTES)
        fault = "" if chunk else "the file ends within these compressed bytes"
        try:
            for content in _decompressed(member, chunk):
                bounds.spend(len(content))
                head += content
                if head and (given or len(head) >= _HEAD_BYTES or member.eof):
                    yield Piece(head, offset, starts=not given and begins(head))
                    head, given = b"", True
        except (zlib.error, zstandard.ZstdError) as error:
            fault = f"the compressed bytes are broken: {error}"
        if fault:
            return fault, given
    if head:
        yield Piece(head, offset, starts=not given and begins(head))
    window.rewind(window.position - len(member.unused_data))
    return "", True


def _decompressed(member: Any, chunk: bytes) -> Iterator[bytes]:
    if not isinstance(member, _ZLIB):  # zstd's have no limit of output
        yield member.decompress(chunk)
        return
    # In small pieces: what comes before a break is given.
    more = True
    while more and not member.eof:
        content = member.decompress(chunk, _OUTPUT_BYTES)
        chunk = member.unconsumed_tail
        more = bool(chunk) or len(content) == _OUTPUT_BYTES
        yield content


def _go_on(window: _Window, magic: bytes, decompressor: Callable[[], Any], begins: Callable[[bytes], bool]) -> None:
    """Move to the next member that decompresses to the beginning of a record, or to the end."""
    while window.find(magic):
        try:
            if begins(decompressor().decompress(window.peek(_CHUNK_BYTES))):
                return
        except (zlib.error, zstandard.ZstdError):
            pass
        window.take(1)


def _dictionary(window: _Window) -> zstandard.ZstdCompressionDict | None:
    """Read the dictionary frame where the file begins with one.

    Raises InvalidRowError and ZstdError for one that cannot be used.
    """
    head = window.peek(8)
    if len(head) < 8 or struct.unpack("<I", head[:4])[0] != _DICTIONARY_MAGIC:
        return None
    size = struct.unpack("<I", head[4:])[0]
    if size > _MOST_DICTIONARY_BYTES:
        raise InvalidRowError(f"it has {size:,} bytes, over {_MOST_DICTIONARY_BYTES:,}")
    window.take(8)
    content = window.take(size)
    if content.startswith(_ZSTD):
        # What the frame says of its size would be taken from the memory at once.
        promised = zstandard.frame_content_size(content)
        if promised > _MOST_DICTIONARY_BYTES:
            raise InvalidRowError(f"it says that it unpacks to {promised:,} bytes, over {_MOST_DICTIONARY_BYTES:,}")
        content = zstandard.ZstdDecompressor().decompress(content, max_output_size=_MOST_DICTIONARY_BYTES)
    return zstandard.ZstdCompressionDict(content, dict_type=zstandard.DICT_TYPE_FULLDICT)
