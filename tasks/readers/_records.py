"""Records: the records of a WARC or ARC file, and for each that is broken where it was and why.

Why no library reads the files: of 10 records with one changed byte in the fifth, fastwarc 2.0 gives four and stops,
warcio 1.8 gives the broken one as if it were whole and stops; both give the rest of a cut record as a whole one, and
neither goes on behind a wrong Content-Length. A record's limits are easy to find; what to do where they are wrong is
the work, and it is done here: a record counts when it is as long as it says and another, or the end, follows.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from cuvee.tasks.readers._bytes import Bounds
from cuvee.tasks.readers._members import Piece, pieces

_MOST_HEADER_BYTES = 64 << 10
# What is read of a record over the limit, to tell its kind.
_PREVIEW_BYTES = 64 << 10
_LONGEST_START = 8 << 10
_MOST_BLANK_BYTES = 64 << 10

_WARC = rb"WARC/\d\.\d{1,2}\r?\n[!-9;-~]+:"
# ARC 1 and 2: URL, IP address, date, content type, …, length.
_ARC = rb"[a-z][a-z0-9+.-]*:[^\n\r]{0,4096} [0-9A-Fa-f.:]{3,45} \d{14} [^\n\r]{1,2048} \d+\r?\n"
_BEGINS = re.compile(rb"WARC/\d\.|[a-z][a-z0-9+.-]{1,20}:")
_NEXT = re.compile(rb"(?<=\n)(?:" + _WARC + rb"|" + _ARC + rb")")
_START = re.compile(rb"(?:" + _WARC + rb"|" + _ARC + rb")")
_FILLED = re.compile(rb"[^\r\n\0]")
_END_OF_HEADER = re.compile(rb"\r?\n\r?\n")
_ARC_LINE = re.compile(rb"(\S.*?) ([0-9A-Fa-f.:]{3,45}) (\d{14}) (\S+)(?: .*)? (\d+)\r?\n")


@dataclass(frozen=True)
class Record:
    """A record. place: where it is, for messages; headers: by lower-case name; block: None where it is over the limit,
    of which `preview` is the beginning.
    """

    place: str
    headers: dict[str, str]
    block: bytes | None
    preview: bytes = b""


@dataclass(frozen=True)
class Broken:
    """A record that cannot be read, and why."""

    place: str
    reason: str


def records(stream: BinaryIO, compression: str | None, bounds: Bounds) -> Iterator[Record | Broken]:
    """Give the records of an archive in order; memory is bounded by the longest that is read."""
    source = _Source(pieces(stream, lambda head: _BEGINS.match(head) is not None, compression, bounds))
    while source.open():
        yield from _stretch(source, bounds)


class _Source:
    """The bytes from one safe beginning to the next: a member, or a whole file where nothing is compressed."""

    def __init__(self, found: Iterator[Piece]):
        self._pieces = found
        self._waiting: Piece | None = next(found, None)
        self.held = bytearray()

    def open(self) -> bool:
        """Begin the next stretch; False at the end of the file."""
        first = self._waiting
        if first is None:
            return False
        self.held, self.at, self._taken = bytearray(), 0, 0
        self._offset, self._plain = first.offset, True
        self.fault: str | None = None
        self._ended = False
        self._pull()
        return True

    def _pull(self) -> bool:
        piece = self._waiting
        if self._ended or piece is None:
            self._ended = True
            return False
        self.held += piece.content
        self._plain = self._plain and piece.offset == self._offset + self._taken + len(self.held) - len(piece.content)
        self._waiting = next(self._pieces, None)
        if piece.fault is not None:
            self.fault = piece.fault
        if self.fault or self._waiting is None or self._waiting.starts:
            self._ended = True
        return True

    def has(self, size: int) -> bool:
        """Whether `size` bytes follow in this stretch."""
        while len(self.held) - self.at < size:
            if not self._pull():
                return False
        return True

    def skip_blank(self) -> bool:
        """Move over line ends and filling; False at the end of the stretch."""
        start = self.at
        while self.has(1):
            found = _FILLED.search(self.held, self.at)
            if found:
                self.at = found.start()
                return True
            self.at = len(self.held)
            if self.at - start > _MOST_BLANK_BYTES:  # filling without end is not held
                del self.held[start:]
                self._taken += self.at - start
                self.at = start
        return False

    def drop(self) -> None:
        """Let go of what lies behind."""
        del self.held[: self.at]
        self._taken += self.at
        self.at = 0

    def find_next(self) -> bool:
        """Move to where the next record seems to begin, behind `at`; False where the stretch has no other."""
        while True:
            found = _NEXT.search(self.held, self.at)
            if found:
                self.at = found.start()
                return True
            self.at = max(self.at, len(self.held) - _LONGEST_START)
            # The byte before is part of the pattern.
            del self.held[: max(self.at - 1, 0)]
            self._taken += max(self.at - 1, 0)
            self.at = min(self.at, 1)
            if not self._pull():
                return False

    def place(self) -> str:
        """Say where the stretch is read now."""
        inside = self._taken + self.at
        if self._plain:
            return f"byte {self._offset + inside}"
        return f"byte {self._offset}" + (f", {inside} bytes into its plain text" if inside else "")


def _stretch(source: _Source, bounds: Bounds) -> Iterator[Record | Broken]:
    if not source.skip_blank():
        if source.fault:
            yield Broken(source.place(), source.fault)
        return
    more = True
    while more:
        source.drop()
        place = source.place()
        fault, headers, length = _header(source)
        start = source.at
        if fault is None and length <= bounds.row_bytes:
            fault = _block_fault(source, length)
            if fault is None:
                yield Record(place, headers, bytes(source.held[start : start + length]))
                more = bool(source.held[source.at :])
                continue
        elif fault is None:
            source.has(_PREVIEW_BYTES)
            preview = bytes(source.held[start : start + _PREVIEW_BYTES])
            source.at = start
            # Its length is not believed: were it wrong, all that follows would be lost.
            more = source.find_next()
            yield Broken(place, source.fault) if source.fault else Record(place, headers, None, preview)
            continue
        source.at = start
        more = source.find_next()
        yield Broken(place, fault or bounds.too_long())


def _block_fault(source: _Source, length: int) -> str | None:
    """Check a record's block and move to the next record; returns what is wrong."""
    if not source.has(length):
        return source.fault or f"it should have {length} bytes, and {len(source.held) - source.at} are there"
    source.at += length
    source.has(4)
    ended = source.held.startswith(b"\r\n\r\n", source.at)
    if not source.skip_blank():
        return source.fault
    source.has(_LONGEST_START)
    # Behind the two line ends of the standard anything may stand: it is the next record that is broken then.
    if not ended and not _START.match(source.held, source.at):
        return f"it does not end after the {length} bytes that it should have"
    return None


def _header(source: _Source) -> tuple[str | None, dict[str, str], int]:
    """Read a record's header and move behind it; returns what is wrong, the fields and the block's length."""
    source.has(_LONGEST_START)
    line = _ARC_LINE.match(source.held, source.at)
    if line and not source.held.startswith(b"WARC/", source.at):
        source.at = line.end()
        return None, _arc_headers(line), int(line.group(5))
    if not _START.match(source.held, source.at):
        return source.fault or "no record begins here", {}, 0
    source.has(_MOST_HEADER_BYTES)
    end = _END_OF_HEADER.search(source.held, source.at, source.at + _MOST_HEADER_BYTES)
    if end is None:
        return source.fault or "its header does not end", {}, 0
    headers = dict(reversed(header_lines(bytes(source.held[source.at : end.start()]))))
    source.at = end.end()
    length = headers.get("content-length", "")
    if not length.isascii() or not length.isdigit() or len(length) > 15:
        return f"its Content-Length is {length!r}", headers, 0
    return None, headers, int(length)


def _arc_headers(line: "re.Match[bytes]") -> dict[str, str]:
    url, _, date, kind, _ = (group.decode("utf-8", "replace") for group in line.groups())
    day = f"{date[:4]}-{date[4:6]}-{date[6:8]}T{date[8:10]}:{date[10:12]}:{date[12:14]}Z"
    what = "warcinfo" if url.startswith("filedesc:") else "response"
    return {"warc-type": what, "warc-target-uri": url, "warc-date": day, "content-type": kind, "arc": "1"}


def header_lines(block: bytes) -> list[tuple[str, str]]:
    """Split header lines into (name in lower case, value), in order; the first line is no field; folded lines join.

    UTF-8, and Latin-1 where it is not.
    """
    try:
        text = block.decode("utf-8")
    except UnicodeDecodeError:
        text = block.decode("latin-1")
    lines: list[str] = []
    for line in text.replace("\r\n", "\n").split("\n")[1:]:
        if line[:1] in (" ", "\t") and lines:
            lines[-1] += " " + line.strip()
        else:
            lines.append(line)
    return [(name.strip().lower(), value.strip()) for name, colon, value in (x.partition(":") for x in lines) if colon]
