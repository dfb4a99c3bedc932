"""Bounds: how long a record may be, and how much a file may decode to, so that a small file cannot take the machine."""

import os
from typing import BinaryIO

MB = 10**6
# Judged from here on: a small file may well be a thousand times smaller than what it holds.
FREE_BYTES = 256 * MB
# What a record counts at least: reading and deciding take as much of the machine for an empty one.
RECORD_BYTES = 800


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
