"""Archives: the members of .zip and .tar files, in the order of the archive, each a file of its own.

Nothing is written under a member's name: its bytes lie in memory or in a nameless temporary file while they are read.
Links, encrypted, sparse and damaged members and archives within archives are told and not read.
"""

import errno
import functools
import hashlib
import re
import stat
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import PurePosixPath
from typing import BinaryIO, NamedTuple, cast

from cuvee.schemas.errors import InputError
from cuvee.tasks.readers._batch import InvalidRowError
from cuvee.tasks.readers._bytes import COMPRESSIONS, Bounds, EndsEarlyError, seekable
from cuvee.tasks.readers._bytes import pieces as pieces_of

# Short for .tar with the suffix of a compression.
_SHORT = {".tgz": ".gz", ".tbz": ".bz2", ".tbz2": ".bz2", ".txz": ".xz", ".tzst": ".zst"}
_IN_MEMORY_BYTES = 8 << 20
_READ_BYTES = 1 << 20
# A central directory takes ten times its bytes in memory.
_MOST_DIRECTORY_BYTES = 16 << 20
_BLOCK = 512
# What a member counts at least: opening one costs as much.
_MEMBER_BYTES = 64 << 10
_MOST_NAME_BYTES = 1 << 20
_PAX = re.compile(rb"(\d{1,7}) ([^=\n]{1,100})=")
ZIP_FAULTS = (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError, ValueError, OSError)


class Member(NamedTuple):
    """A member that can be read, or why it is not. content: its bytes, until the next member is asked for; fault: None
    where it can be read.
    """

    name: str
    content: BinaryIO | None = None
    sha256: str = ""
    bytes: int = 0
    fault: str | None = None


def kind_of(suffixes: Sequence[str]) -> tuple[str, str | None] | None:
    """Tell by its suffixes, in small letters, whether a file is an archive: zip or tar, and how it is compressed."""
    last, before = [*suffixes[:0:-1], *suffixes[:1], "", ""][:2]
    if last in (".zip", ".tar"):
        return last[1:], None
    if last in _SHORT:
        return "tar", COMPRESSIONS[_SHORT[last]]
    return ("tar", COMPRESSIONS[last]) if before == ".tar" and last in COMPRESSIONS else None


def members(path: str, kind: tuple[str, str | None], stream: BinaryIO, bounds: Bounds) -> Iterator[Member]:
    """Give the members of an archive but its folders. path: for messages; kind: as of `kind_of`.

    Raises InputError where a zip cannot be read at all; where a tar breaks off, or the bounds end it, the last member
    says so.
    """
    found = _of_zip(path, seekable(stream), bounds) if kind[0] == "zip" else _of_tar(stream, kind[1], bounds)
    name = "the rest of the archive"
    try:
        for member in found:
            bounds.spend(_MEMBER_BYTES)
            yield member
    except EndsEarlyError as error:
        yield Member(name, fault=str(error))


def opened_zip(stream: BinaryIO) -> zipfile.ZipFile:
    """Open a zip whose directory may be read; raises InvalidRowError."""
    try:
        end = stream.seek(0, 2)
        start = max(0, end - 65_600)
        stream.seek(start)
        tail = stream.read()
        at = tail.rfind(b"PK\5\6")
        size = struct.unpack("<L", tail[at + 12 : at + 16])[0] if 0 <= at <= len(tail) - 16 else 0
        wide = tail.rfind(b"PK\6\6")
        if size == 0xFFFFFFFF and 0 <= wide <= len(tail) - 48:
            size = struct.unpack("<Q", tail[wide + 40 : wide + 48])[0]
        if size > _MOST_DIRECTORY_BYTES:
            raise InvalidRowError(
                f"its directory of {size:,} bytes is over the {_MOST_DIRECTORY_BYTES:,} that are read"
            )
        return zipfile.ZipFile(stream)
    except ZIP_FAULTS as error:
        raise InvalidRowError(f"not a whole zip file: {error}") from error


def _of_zip(path: str, stream: BinaryIO, bounds: Bounds) -> Iterator[Member]:
    try:
        archive = opened_zip(stream)
    except InvalidRowError as error:
        raise InputError(f"{path}: {error}") from error
    for info in archive.infolist():
        name = info.filename
        if info.is_dir():
            continue
        fault = "is encrypted" if info.flag_bits & 1 else None
        if stat.S_ISLNK(info.external_attr >> 16):
            fault = "is a link"
        fault = fault or _nested(name)
        if fault:
            yield Member(name, fault=fault)
            continue
        try:
            with archive.open(info) as source:
                yield from _held(name, iter(functools.partial(source.read, _READ_BYTES), b""), bounds)
        except ZIP_FAULTS as error:
            # A place before the file, which a damaged directory may name, is one that disks refuse.
            if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
                raise
            yield Member(name, fault=f"is damaged: {error}")


def _held(name: str, pieces: Iterator[bytes], bounds: Bounds | None) -> Iterator[Member]:
    """Hold the bytes of a member while it is looked at. bounds: to spend them from, or None where they are spent."""
    digest, size = hashlib.sha256(), 0
    with tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY_BYTES) as content:
        for piece in pieces:
            if bounds:
                bounds.spend(len(piece))
            digest.update(piece)
            content.write(piece)
            size += len(piece)
        content.seek(0)
        yield Member(name, cast(BinaryIO, content), digest.hexdigest(), size)


def _nested(name: str) -> str | None:
    suffixes = [suffix.lower() for suffix in PurePosixPath(name).suffixes]
    return "is an archive within an archive" if kind_of(suffixes) else None


class _Blocks:
    """The bytes of a tar, in order."""

    def __init__(self, pieces: Iterator[bytes]):
        self._pieces = pieces
        self._held, self._at = b"", 0

    def read(self, size: int) -> bytes:
        """Return so many bytes, fewer only at the end; size: small."""
        while len(self._held) - self._at < size and (piece := next(self._pieces, None)) is not None:
            self._held, self._at = self._held[self._at :] + piece, 0
        content = self._held[self._at : self._at + size]
        self._at += len(content)
        return content

    def parts(self, size: int) -> Iterator[bytes]:
        """Give so many bytes piece by piece, and pass over what fills their last block; raises EndsEarlyError."""
        left = size
        while left:
            part = self.read(min(left, _READ_BYTES))
            if not part:
                raise EndsEarlyError("file ends early: within a member of the archive")
            left -= len(part)
            yield part
        self.read(-size % _BLOCK)


def _of_tar(stream: BinaryIO, compression: str | None, bounds: Bounds) -> Iterator[Member]:
    blocks = _Blocks(pieces_of(stream, compression, bounds))
    told: dict[bytes, bytes] = {}
    while header := blocks.read(_BLOCK):
        if not header.strip(b"\0"):
            continue
        kind, size = header[156:157], _number(header[124:136])
        if len(header) < _BLOCK or size < 0 or not _is_header(header):
            raise EndsEarlyError("file ends early: no member of a tar begins where one should")
        if kind in (b"L", b"K", b"x", b"g"):
            if size > _MOST_NAME_BYTES:
                raise EndsEarlyError(f"the archive is not read further: a name takes {size:,} bytes")
            content = b"".join(blocks.parts(size))
            if kind != b"g":
                told |= _pax(content) if kind == b"x" else ({b"path": content.rstrip(b"\0")} if kind == b"L" else {})
            continue
        with suppress(ValueError):
            size = int(told.get(b"size", str(size).encode()))
        name = (told.get(b"path") or _name(header)).decode("utf-8", "backslashreplace")
        sparse = kind == b"S" or any(key.startswith(b"GNU.sparse") for key in told)
        told = {}
        # Links, folders and devices have no bytes, whatever they say.
        content_parts = blocks.parts(0 if kind in (b"1", b"2", b"3", b"4", b"5", b"6") else max(size, 0))
        if kind in (b"0", b"\0", b"7", b"S") and not name.endswith("/"):
            fault = "is a sparse file" if sparse else _nested(name)
            if fault:
                yield Member(name, fault=fault)
            else:
                yield from _held(name, content_parts, None)
        elif kind != b"5" and not name.endswith("/"):
            yield Member(name, fault="is a link" if kind in (b"1", b"2") else "is no file")
        for _ in content_parts:
            pass


def _number(field: bytes) -> int:
    """Read a number of a header: octal digits, or binary where the first bit is set; -1 for none."""
    if field[:1] >= b"\x80":
        return int.from_bytes(field[1:], "big")
    digits = field.strip(b" \0")
    return (int(digits, 8) if digits else 0) if re.fullmatch(rb"[0-7]*", digits) else -1


def _is_header(header: bytes) -> bool:
    return _number(header[148:156]) == sum(header[:148]) + 8 * ord(" ") + sum(header[156:])


def _name(header: bytes) -> bytes:
    name, prefix = header[:100].partition(b"\0")[0], header[345:500].partition(b"\0")[0]
    return prefix + b"/" + name if header[257:262] == b"ustar" and header[263:265] != b" \0" and prefix else name


def _pax(content: bytes) -> dict[bytes, bytes]:
    """Read the entries of an extended header that are needed; a malformed one ends them."""
    found: dict[bytes, bytes] = {}
    at = 0
    while entry := _PAX.match(content, at):
        end = at + int(entry[1])
        if end <= entry.end():
            break
        found[entry[2]] = content[entry.end() : end - 1]
        at = end
    return found
