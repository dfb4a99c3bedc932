"""Pages of a Parquet file: what each decodes to, told by its headers before any is decoded.

pyarrow takes as much memory for a page as the page's header asks for, and of a footer's entries a damaged one ends the
whole process; so footer and headers are read here (Thrift's compact protocol, Parquet format 2.11).
"""

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

_HEADER_BYTES, _MOST_HEADER_BYTES = 4 << 10, 16 << 20
_MOST_DEPTH = 16
_DICTIONARY_PAGE = 2
# Delta encodings of texts; with the second, values share their beginnings.
_DELTAS = (6, 7)
# Of the headers of its three kinds, where a page says how it is encoded.
_ENCODING = {0: (5, 2), 2: (7, 2), 3: (8, 4)}

Struct = Mapping[int, Any]


class NoPagesError(Exception):
    """The footer or a page's header is not what the format says."""


@dataclass(frozen=True)
class Pages:
    """The pages of one column in one row group.

    values: of all pages, nulls too; largest: bytes that the largest page decodes to; packed: bytes of it in the file;
    total: bytes that all decode to; dictionary, deltas: whether one is a dictionary, and whether one holds texts by
    what differs from the text before:
    in these, a value of a few bits may decode to all of the page.
    """

    values: int
    largest: int
    packed: int
    total: int
    dictionary: bool
    deltas: bool


class Footer:
    """Where a file's columns lie. Raises NoPagesError for one that cannot be read."""

    def __init__(self, stream: BinaryIO):
        self._stream = stream
        end = stream.seek(0, 2) - 8
        if end < 0:
            raise NoPagesError("it has no footer")
        stream.seek(end)
        size = struct.unpack("<I", stream.read(4))[0]
        if size > end:
            raise NoPagesError("the footer is longer than the file")
        stream.seek(end - size)
        try:
            self._groups = [group.get(1, []) for group in _Compact(stream.read(size)).struct().get(4, [])]
        except (TypeError, AttributeError) as error:
            raise NoPagesError("the footer is not as the format says") from error

    def pages(self, group: int, columns: Sequence[str]) -> dict[str, Pages]:
        """Read the headers of the pages of columns in a row group, and of those within them, by their dotted paths.

        Raises NoPagesError where they, or one of the columns, cannot be found.
        """
        try:
            found = {b".".join(chunk[3][3]).decode(): chunk[3] for chunk in self._groups[group]}
            within = tuple(f"{name}." for name in columns)
            wanted = [path for path in found if path in columns or path.startswith(within)]
            if not set(columns) <= {path[:end] for path in wanted for end in _ends(path)}:
                raise NoPagesError("the footer has not the columns of its schema")
            return {path: self._walk(found[path]) for path in wanted}
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            raise NoPagesError("the footer is not as the format says") from error

    def _walk(self, column: Struct) -> Pages:
        start = column[9]
        if 0 < column.get(11, 0) < start:
            start = column[11]
        at, end = start, start + column[7]
        values, largest, packed, total, dictionary, deltas = 0, 0, 0, 0, False, False
        while at < end:
            header, size = self._header(at)
            decoded, stored = header[2], header[3]
            if min(decoded, stored) < 0:
                raise NoPagesError("a page has a negative size")
            if decoded > largest:
                largest, packed = decoded, stored
            total += decoded
            values += max(header.get(5, header.get(8, {})).get(1, 0), 0)
            place = _ENCODING.get(header[1])
            deltas = deltas or (place is not None and header.get(place[0], {}).get(place[1]) in _DELTAS)
            dictionary = dictionary or header[1] == _DICTIONARY_PAGE
            at += size + stored
        return Pages(values, largest, packed, total, dictionary, deltas)

    def _header(self, at: int) -> tuple[Struct, int]:
        size = _HEADER_BYTES
        while True:
            self._stream.seek(at)
            content = self._stream.read(size)
            reader = _Compact(content)
            try:
                return reader.struct(), reader.at
            except NoPagesError:
                if len(content) < size or size > _MOST_HEADER_BYTES:
                    raise
            size *= 16


def _ends(path: str) -> list[int]:
    """Tell where the names of a dotted path end."""
    return [place for place, sign in enumerate(path) if sign == "."] + [len(path)]


class _Compact:
    """Thrift's compact protocol: structs as mappings of field numbers, binary as bytes; nothing is kept of maps."""

    def __init__(self, content: bytes):
        self._content = content
        self.at = 0

    def _byte(self) -> int:
        if self.at >= len(self._content):
            raise NoPagesError("it ends early")
        self.at += 1
        return self._content[self.at - 1]

    def _varint(self) -> int:
        value = shift = 0
        while True:
            byte = self._byte()
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7
            if shift > 63:
                raise NoPagesError("a number is too long")

    def _skip(self, size: int) -> bytes:
        if size > len(self._content) - self.at:
            raise NoPagesError("it ends early")
        self.at += size
        return self._content[self.at - size : self.at]

    def _value(self, kind: int, depth: int) -> Any:
        if depth > _MOST_DEPTH:
            raise NoPagesError("it nests too deep")
        if kind in (1, 2):
            return kind == 1
        if kind == 3:
            return self._byte()
        if kind in (4, 5, 6):
            number = self._varint()
            return (number >> 1) ^ -(number & 1)
        if kind == 7:
            return self._skip(8)
        if kind == 8:
            return self._skip(self._varint())
        if kind in (9, 10):
            return self._list(depth + 1)
        if kind == 12:
            return self.struct(depth + 1)
        raise NoPagesError(f"there is no type {kind}")

    def _list(self, depth: int) -> list[Any]:
        head = self._byte()
        size, kind = head >> 4, head & 0x0F
        if size == 15:
            size = self._varint()
        if size > len(self._content) - self.at:
            raise NoPagesError("a list is longer than what holds it")
        if kind in (1, 2):
            return [self._byte() == 1 for _ in range(size)]
        return [self._value(kind, depth) for _ in range(size)]

    def struct(self, depth: int = 0) -> Struct:
        """Read a struct; the last of two fields of one number counts."""
        fields: dict[int, Any] = {}
        number = 0
        while head := self._byte():
            if head >> 4:
                number += head >> 4
            else:
                value = self._varint()
                number = (value >> 1) ^ -(value & 1)
            fields[number] = self._value(head & 0x0F, depth)
        return fields
