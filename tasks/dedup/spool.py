"""Spool: rows that wait on disk until it is known which of them stay."""

import os
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cuvee.tasks.dedup.inputs import Block
from cuvee.tasks.words.kernel import Int64s, Sketch, Uint32s, Uint64s, text_buffers


class Spool:
    """What waits on disk, and the thin tables of all rows.

    In its folder: texts (the bytes of all texts), and for each block the other columns and the band keys.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.starts = [0]
        self.ends: list[Int64s] = [np.zeros(1, np.int64)]  # of the texts, in bytes
        self.lengths: list[Int64s] = [np.empty(0, np.int64)]  # of the texts, in characters
        self.text_keys: list[Uint64s] = [np.empty(0, np.uint64)]

    @property
    def blocks(self) -> int:
        """How many blocks wait."""
        return len(self.starts) - 1

    def add(self, block: Block, sketched: Sketch) -> None:
        """Write the rows and their band keys to disk."""
        number = self.blocks
        content, offsets = text_buffers(block.text)
        with open(self.folder / "texts", "ab") as file:
            content.tofile(file)
        path = str(self.folder / f"{number}.arrow")
        with pa.OSFile(path, "wb") as sink, pa.ipc.new_file(sink, block.rest.schema) as rows:
            rows.write_table(block.rest)
        # Bands lie one after another, so that one can be read alone.
        np.ascontiguousarray(sketched.band_keys.T).tofile(self.folder / f"{number}.keys")
        self.ends.append(self.ends[-1][-1] + offsets[1:])
        self.lengths.append(pc.utf8_length(block.text).to_numpy().astype(np.int64))
        self.text_keys.append(sketched.text_key)
        self.starts.append(self.starts[-1] + len(block.text))

    def band_column(self, band: int) -> Uint32s:
        """Return the keys of one band, uint32[rows]."""
        keys = np.empty(self.starts[-1], np.uint32)
        for number, (start, stop) in enumerate(pairwise(self.starts)):
            offset = keys.itemsize * band * (stop - start)
            keys[start:stop] = np.fromfile(self.folder / f"{number}.keys", keys.dtype, stop - start, offset=offset)
        return keys

    def fetch(self, rows: Int64s) -> pa.LargeStringArray:
        """Return the texts of ascending rows. Read, not mapped: a map would pull most of the file into memory."""
        bounds = self._bounds()
        begins, ends = bounds[rows], bounds[rows + 1]
        runs = np.flatnonzero(np.append(True, begins[1:] != ends[:-1])) if len(rows) else rows
        spans = zip(begins[runs].tolist(), ends[np.append(runs[1:], len(rows)) - 1].tolist(), strict=True)
        with open(self.folder / "texts", "rb") as file:
            content = b"".join(os.pread(file.fileno(), end - begin, begin) for begin, end in spans)
        offsets = np.concatenate(([0], np.cumsum(ends - begins)))
        return pa.LargeStringArray.from_buffers(len(rows), pa.py_buffer(offsets), pa.py_buffer(content))

    def sizes(self) -> Int64s:
        """Return the bytes of each text."""
        return np.diff(self._bounds())

    def _bounds(self) -> Int64s:
        self.ends = [np.concatenate(self.ends)]
        return self.ends[0]

    def block(self, number: int) -> Block:
        """Return the rows of one block."""
        text = self.fetch(np.arange(self.starts[number], self.starts[number + 1]))
        with pa.memory_map(str(self.folder / f"{number}.arrow")) as source:
            return Block(text, pa.ipc.open_file(source).read_all())
