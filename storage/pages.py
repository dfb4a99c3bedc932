"""Pages: some rows of a Parquet column of strings, reading only the pages that hold them.

Arrow reads and decodes a column of a row group whole, 8 MiB of text for one document; it does not use the page index.
Here the footer tells where the offset index lies, and that where each page lies and with which row it begins (Thrift's
compact protocol; structures of the Parquet format: ColumnChunk, OffsetIndex, PageHeader, DataPageHeader). Only what
`TableWriter` makes of texts is understood: data pages of version 1, plain values, zstd, no dictionary, no nulls. Of
anything else nothing is returned, and Arrow reads it. A page's checksum tells its damage; footer, index and header have
none, but what they say of places, sizes and rows must fit together. (Arrow's own ColumnChunkMetaData is not asked: it
ends the process where a footer is damaged.)
"""

import zlib
from collections.abc import Iterator
from itertools import pairwise
from typing import BinaryIO, NamedTuple, TypeAlias

import numba
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

Bytes: TypeAlias = npt.NDArray[np.uint8]
Int64s: TypeAlias = npt.NDArray[np.int64]

# Kinds of Thrift's values: those up to the first have no bytes of their own in a structure.
_FALSE, _BYTE, _DOUBLE, _BINARY, _LIST, _SET, _STRUCT = 2, 3, 7, 8, 9, 10, 12
_DEEPEST = 16  # of structures and lists in each other
# Parquet's numbers for what is understood.
_BYTE_ARRAY, _ZSTD = 6, 6
# Numbers of fields and places, with a type: numba compiles a function anew for every plain number that it is given.
_ZERO, _ONE, _TWO, _THREE, _FOUR, _FIVE = (np.int64(number) for number in range(6))
_A_STRUCT = np.int64(_STRUCT)


class _Chunk(NamedTuple):
    """What the footer says of a column in a row group; -1 where it says nothing. Sizes and places in bytes."""

    rows: int  # of the row group
    index_at: int
    index_size: int
    kind: int
    codec: int
    values: int
    size: int
    compressed: int
    start: int
    dictionary: int  # its page's place


class StringPages:
    """A column of strings of an open Parquet file. Memory: what a call reads, and the pages with its rows."""

    def __init__(self, file: BinaryIO, metadata: pq.FileMetaData, name: str, hole: int) -> None:
        """Open the column. hole: as many bytes between two pages are rather read than jumped over."""
        self._file, self._hole = file, hole
        schema = metadata.schema
        number = next(number for number in range(len(schema)) if schema.column(number).path == name)
        self._optional = schema.column(number).max_definition_level == 1
        self._size = file.seek(0, 2)
        footer = self._read(self._size - metadata.serialized_size - 8, metadata.serialized_size)
        self._chunks = [_Chunk(*chunk) for chunk in _describe_chunks(footer, metadata.num_row_groups, number).tolist()]
        self._codec = pa.Codec("zstd")

    def take(self, group: int, rows: Int64s) -> pa.LargeStringArray | None:
        """Return the strings of some rows of a row group, or None where this reader does not understand its pages.

        rows: ascending numbers in the row group, at least one. Raises OSError for a page whose checksum is wrong.
        """
        chunk = self._chunks[group]
        if (chunk.kind, chunk.codec, chunk.dictionary) != (_BYTE_ARRAY, _ZSTD, -1) or chunk.values != chunk.rows:
            return None
        places, sizes, firsts = _list_pages(self._read(chunk.index_at, chunk.index_size))
        counts = np.diff(firsts, prepend=0, append=chunk.values)
        if not len(firsts) or counts[0] != 0 or (counts[1:] <= 0).any() or not _fill(places, sizes, chunk):
            return None
        pages = np.unique(np.searchsorted(firsts, rows, side="right") - 1)
        cuts = np.append(np.searchsorted(rows, firsts[pages]), len(rows))
        parts, lengths = [], []
        for number, (content, at) in enumerate(self._contents(places[pages], sizes[pages])):
            page = pages[number]
            compressed, size, checksum, count, body = _read_header(content, at)
            fits = body + compressed == at + sizes[page] and 0 <= size <= chunk.size
            if not fits or count != counts[page + 1]:
                return None
            if zlib.crc32(content[body : body + compressed].data) != checksum:
                raise OSError(f"row group {group}: the page of rows from {firsts[page]} on has another checksum")
            values = np.frombuffer(self._codec.decompress(content[body : body + compressed], size), np.uint8)
            wanted = rows[cuts[number] : cuts[number + 1]] - firsts[page]
            part, found = _take(values, count, wanted, self._optional)
            if len(found) < len(wanted):
                return None
            parts.append(part)
            lengths.append(found)
        offsets = np.concatenate(([0], np.cumsum(np.concatenate(lengths))))
        return pa.LargeStringArray.from_buffers(len(rows), pa.py_buffer(offsets), pa.py_buffer(np.concatenate(parts)))

    def _contents(self, places: Int64s, sizes: Int64s) -> Iterator[tuple[Bytes, int]]:
        """Yield for each page the bytes that it stands in, and its place in them."""
        far = np.append(True, places[1:] - places[:-1] - sizes[:-1] > self._hole)
        runs = np.append(np.flatnonzero(far), len(places))
        for first, end in pairwise(runs):
            start, stop = int(places[first]), int(places[end - 1] + sizes[end - 1])
            content = self._read(start, stop - start)
            yield from ((content, int(place) - start) for place in places[first:end])

    def _read(self, start: int, size: int) -> Bytes:
        """Return bytes of the file, as many as there are."""
        start = min(max(0, start), self._size)
        content = np.zeros(min(max(0, size), self._size - start), np.uint8)
        self._file.seek(start)
        self._file.readinto(content.data)  # type: ignore[attr-defined]
        return content


def _fill(places: Int64s, sizes: Int64s, chunk: _Chunk) -> bool:
    """Tell whether pages lie one behind the other and make up a chunk."""
    ends = chunk.start + np.cumsum([0, *sizes])
    return bool((sizes > 0).all() and np.array_equal(np.append(places, chunk.start + chunk.compressed), ends))


@numba.njit(nogil=True, cache=True)
def _describe_chunks(footer, groups, column):  # type: ignore[no-untyped-def]
    """Return the fields of `_Chunk` for a column in each row group, from RowGroup, ColumnChunk and ColumnMetaData."""
    chunks = np.empty((groups, 10), np.int64)
    group = _element(footer, _field(footer, _ZERO, _FOUR), _ZERO)
    for i in range(groups):
        chunks[i, 0] = _integer(footer, _field(footer, group, _THREE))
        chunk = _element(footer, _field(footer, group, _ONE), column)
        chunks[i, 1] = _integer(footer, _field(footer, chunk, _FOUR))
        chunks[i, 2] = _integer(footer, _field(footer, chunk, _FIVE))
        told = _field(footer, chunk, _THREE)
        for place, field in enumerate((1, 4, 5, 6, 7, 9, 11)):
            chunks[i, 3 + place] = _integer(footer, _field(footer, told, field))
        group = _skip(footer, group, _A_STRUCT) if group >= 0 else group
    return chunks


@numba.njit(nogil=True, cache=True)
def _list_pages(index):  # type: ignore[no-untyped-def]
    """Return place, size (with its header) and first row of each page of a chunk."""
    at = _field(index, _ZERO, _ONE)
    count, kind, at = _list_head(index, at) if at >= 0 else (0, 0, 0)
    # A page takes six bytes at least; damage may count more.
    pages = np.empty((3, min(count, len(index) // 6)), np.int64)
    for i in range(pages.shape[1]):
        for field in range(3):
            pages[field, i] = _integer(index, _field(index, at, field + 1))
        at = _skip(index, at, kind)
    return pages[0], pages[1], pages[2]


@numba.njit(nogil=True, cache=True)
def _read_header(content, at):  # type: ignore[no-untyped-def]
    """Return compressed size, size, checksum and rows of the page at `at`, and the place of its body.

    Rows are -1 for a page of another kind than is understood.
    """
    data = _field(content, at, _FIVE)
    plain = data >= 0 and _integer(content, _field(content, at, _ONE)) == 0
    plain = plain and _integer(content, _field(content, data, _TWO)) == 0 and _field(content, at, _FOUR) >= 0
    return (
        _integer(content, _field(content, at, _THREE)),
        _integer(content, _field(content, at, _TWO)),
        _integer(content, _field(content, at, _FOUR)) & 0xFFFFFFFF,
        _integer(content, _field(content, data, _ONE)) if plain else -1,
        _skip(content, at, _A_STRUCT),
    )


@numba.njit(nogil=True, cache=True)
def _take(values, count, rows, optional):  # type: ignore[no-untyped-def]
    """Return the bytes of some of a page's `count` strings, and their lengths; none unless they fill the page.

    Each string stands behind its length in 4 bytes; so do the definition levels of an optional column, before them.
    """
    nothing = np.empty(0, np.uint8), np.empty(0, np.int64)
    at = 0
    if optional:
        at = 4 + _length(values, _ZERO) if len(values) >= 4 else 0
        if at > len(values) or not _all_ones(values[4:at], count):
            return nothing
    starts, lengths = np.empty(len(rows), np.int64), np.empty(len(rows), np.int64)
    wanted, room = 0, 0
    for row in range(count):
        if at + 4 > len(values):
            return nothing
        length = _length(values, at)
        at += 4
        while wanted < len(rows) and rows[wanted] == row:
            starts[wanted], lengths[wanted] = at, length
            room += length
            wanted += 1
        at += length
    if at != len(values) or wanted < len(rows):
        return nothing
    taken = np.empty(room, np.uint8)
    room = 0
    for i in range(len(rows)):
        for k in range(lengths[i]):  # a slice would be checked, by what takes longer to compile than all of this
            taken[room + k] = values[starts[i] + k]
        room += lengths[i]
    return taken, lengths


@numba.njit(nogil=True, cache=True)
def _length(values, at):  # type: ignore[no-untyped-def]
    """Return the number in 4 bytes, the lowest first."""
    number = np.int64(0)
    for i in range(4):
        number |= np.int64(values[at + i]) << (8 * i)
    return number


@numba.njit(nogil=True, cache=True)
def _all_ones(levels, count):  # type: ignore[no-untyped-def]
    """Tell whether these are the levels of `count` values that are there: runs of 1, or groups of eight bits."""
    at, done = _ZERO, _ZERO
    while done < count and at < len(levels):
        run, at = _number(levels, at)
        if run & 1:
            for i in range(min(8 * (run >> 1), count - done)):
                if at + (i >> 3) >= len(levels) or not (levels[at + (i >> 3)] >> (i & 7)) & 1:
                    return False
            at += run >> 1
            done += 8 * (run >> 1)
        else:
            if at >= len(levels) or levels[at] != 1:
                return False
            at += 1
            done += run >> 1
    return done >= count


# ---- Thrift's compact protocol; no place is beyond the content, whatever stands in it.


@numba.njit(nogil=True, cache=True)
def _number(content, at):  # type: ignore[no-untyped-def]
    """Return a number of 7 bits a byte, and the place behind it."""
    value = np.int64(0)
    for shift in range(0, 63, 7):
        if at >= len(content):
            break
        byte = np.int64(content[at])
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            break
    return value, at


@numba.njit(nogil=True, cache=True)
def _integer(content, at):  # type: ignore[no-untyped-def]
    """Return the integer at a place, small ones of either sign being short; -1 where the place is none."""
    if at < 0:
        return np.int64(-1)
    value, _ = _number(content, at)
    return (value >> 1) ^ -(value & 1)


@numba.njit(nogil=True, cache=True)
def _list_head(content, at):  # type: ignore[no-untyped-def]
    """Return how many values a list has, their kind, and the place of the first."""
    if at >= len(content):
        return np.int64(0), np.int64(0), at
    count, kind = np.int64(content[at] >> 4), np.int64(content[at] & 15)
    at += 1
    if count == 15:
        count, at = _number(content, at)
    return count, kind, at


@numba.njit(nogil=True, cache=True)
def _skip_plain(content, at, kind):  # type: ignore[no-untyped-def]
    """Return the place behind a value that holds no others."""
    size = np.int64(8 if kind == _DOUBLE else kind == _BYTE)
    if kind > _FALSE and size == 0:
        number, at = _number(content, at)
        size = number if kind == _BINARY else size
    return at + min(size, len(content) - at)


@numba.njit(nogil=True, cache=True)
def _skip(content, at, kind):  # type: ignore[no-untyped-def]
    """Return the place behind a value. No recursion: a cached recursive function of numba crashes (its issue 6061)."""
    # Of each list that is open the values left, and their kind; of a structure -1.
    left, kinds = np.empty(_DEEPEST, np.int64), np.empty(_DEEPEST, np.int64)
    depth = -1
    while at < len(content):
        if kind in (_LIST, _SET, _STRUCT):
            depth += 1
            if depth == _DEEPEST:
                break
            left[depth] = -1
            if kind != _STRUCT:
                left[depth], kinds[depth], at = _list_head(content, at)
        else:
            at = _skip_plain(content, at, kind)
        found = False
        while depth >= 0 and not found and at < len(content):
            if left[depth] > 0:
                left[depth] -= 1
                kind, found = max(kinds[depth], _BYTE), True  # in a list a truth value takes a byte
            elif left[depth] == 0 or content[at] == 0:
                at += left[depth] < 0
                depth -= 1
            else:
                kind, at, found = np.int64(content[at] & 15), at + 1, True
                if content[at - 1] < 16:  # the field's number stands for itself
                    _, at = _number(content, at)
        if depth < 0:
            return at
    return len(content)


@numba.njit(nogil=True, cache=True)
def _field(content, at, number):  # type: ignore[no-untyped-def]
    """Return the place of a field's value in the structure at `at`, -1 where there is none."""
    field = np.int64(0)
    while 0 <= at < len(content) and content[at] != 0:
        kind, step = np.int64(content[at] & 15), np.int64(content[at] >> 4)
        field, at = (field + step, at + 1) if step else (_integer(content, at + 1), _number(content, at + 1)[1])
        if field == number:
            return at
        at = _skip(content, at, kind)
    return -1


@numba.njit(nogil=True, cache=True)
def _element(content, at, number):  # type: ignore[no-untyped-def]
    """Return the place of a value in the list at `at`, -1 where there is none."""
    if at < 0:
        return -1
    count, kind, at = _list_head(content, at)
    if number >= count:
        return -1
    for _ in range(number):
        at = _skip(content, at, kind)
    return at
