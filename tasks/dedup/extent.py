"""Extent: how many rows files hold, how many bytes, and how long their longest rows are, told before they are read."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from cuvee.schemas.errors import InputError
from cuvee.tasks import readers

# English prose in JSON is 3 to 4 times its size in gzip or zstd.
COMPRESSION = 4
_ROW_BYTES = 1000
# Of a compressed file so much is decoded, and more where no line has ended.
_SAMPLE_BYTES = 16 << 20
# Longer rows matter to the memory.
_LONG_BYTES = 1 << 20


class Extent(NamedTuple):
    """rows: of Parquet those of its footer, else lines; size: bytes when decoded; longest: bytes of the longest rows,
    the longest first, none under 1 MB. Of compressed files all three follow from a sample, of Parquet the last from
    averages.
    """

    rows: int
    size: int
    longest: list[int]


def extent(files: Sequence[Path], most: int) -> Extent:
    """Look at files without parsing them. most: how many of the longest rows to tell.

    Raises InputError for a Parquet file without a readable footer.
    """
    rows = size = 0
    long: list[int] = []
    for file in files:
        found = _of_file(file)
        rows, size = rows + found.rows, size + found.size
        long = sorted([*long, *found.longest], reverse=True)[:most]
    return Extent(rows, size, long)


def _of_file(file: Path) -> Extent:
    if readers.is_archive(str(file)):
        return _of_archive(file)
    format, compression = readers.detect(str(file))
    if format == "parquet":
        return _of_parquet(file)
    stored = file.stat().st_size
    size = stored * (COMPRESSION if compression else 1)
    if readers.is_one_document(format):
        return Extent(1, size, [size] if size > _LONG_BYTES else [])
    long: list[int] = []
    ended = read = lines = 0  # the last line's end; bytes read, and lines
    for piece in readers.decoded(file, compression):
        ends = np.flatnonzero(np.frombuffer(piece, np.uint8) == ord("\n")) + read + 1
        lengths = np.diff(ends, prepend=ended)
        long += lengths[lengths > _LONG_BYTES].tolist()
        read, lines = read + len(piece), lines + len(ends)
        ended = int(ends[-1]) if len(ends) else ended
        if compression and ended and read > _SAMPLE_BYTES:
            break
    long += [read - ended] if read - ended > _LONG_BYTES else []
    lines += read > ended
    size = max(size, read)
    return Extent(-(-lines * size // max(read, 1)), size, sorted(long, reverse=True))


def _of_archive(file: Path) -> Extent:
    """Guess from the size: nothing tells of rows but reading them."""
    size = file.stat().st_size * COMPRESSION
    return Extent(-(-size // _ROW_BYTES), size, [])


def _of_parquet(file: Path) -> Extent:
    try:
        with pq.ParquetFile(file) as source:
            groups = [source.metadata.row_group(group) for group in range(source.metadata.num_row_groups)]
            sizes = [(group.num_rows, group.total_byte_size) for group in groups]
    except (pa.ArrowInvalid, OSError) as error:
        raise InputError(f"{file}: not a readable Parquet file: {error}") from error
    longest = sorted(_averages(sizes), reverse=True)
    return Extent(sum(rows for rows, _ in sizes), sum(size for _, size in sizes), longest)


def _averages(groups: Sequence[tuple[int, int]]) -> Iterator[int]:
    for rows, size in groups:
        if rows and size / rows > _LONG_BYTES:
            yield from [size // rows] * min(rows, 64)
