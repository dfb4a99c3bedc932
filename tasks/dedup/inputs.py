"""Inputs: the rows of JSON Lines and Parquet files, in blocks."""

import glob
import io
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from cuvee.schemas.errors import InputError, RecipeError

JSON_LINES = (".jsonl", ".jsonl.gz", ".jsonl.zst", ".ndjson", ".ndjson.gz", ".ndjson.zst")
SUFFIXES = (*JSON_LINES, ".parquet")
# A block of 4 MB: large enough for the parser and the kernel to run at full speed; the parser takes about ten times it.
BLOCK_BYTES = 4 << 20
BLOCK_ROWS = 4096


def expand_paths(paths: Sequence[str]) -> list[Path]:
    """Return the files that paths, folders and globs name, each once, sorted by the bytes of their paths."""
    files: set[str] = set()
    for path in paths:
        if os.path.isdir(path):
            named = [str(file) for file in Path(path).rglob("*") if file.is_file() and file.name.endswith(SUFFIXES)]
        else:
            named = (
                [path] if os.path.isfile(path) else [f for f in glob.glob(path, recursive=True) if os.path.isfile(f)]
            )
        if not named:
            raise RecipeError(f"{path}: no such file, or a folder or pattern without {', '.join(SUFFIXES)} files")
        files.update(str(Path(file)) for file in named)  # ./a is a
    for file in files:
        if not file.endswith(SUFFIXES):
            raise RecipeError(f"{file}: cannot tell the format; files end in {', '.join(SUFFIXES)}")
    # Of two names of one file the first.
    once = {os.path.realpath(file): file for file in sorted(files, key=os.fsencode, reverse=True)}
    return [Path(file) for file in sorted(once.values(), key=os.fsencode)]


def read_blocks(file: Path, text: str) -> Iterator[pa.Table]:
    """Yield the rows of a file in blocks, the column `text` as large_string without nulls; blank lines are no rows."""
    row = 0
    for block in _parquet_blocks(file) if file.name.endswith(".parquet") else _json_blocks(file):
        yield _with_text(block, text, file, row)
        row += block.num_rows


def _parquet_blocks(file: Path) -> Iterator[pa.Table]:
    with opened_parquet(file) as source:
        for batch in source.iter_batches(BLOCK_ROWS):
            yield pa.Table.from_batches([batch])


@contextmanager
def opened_parquet(file: Path) -> Iterator[pq.ParquetFile]:
    """Open a Parquet file; raises InputError naming it when it cannot be read, now or later."""
    try:
        with pq.ParquetFile(file) as source:
            yield source
    except (pa.ArrowInvalid, OSError) as error:
        raise InputError(f"{file}: not a readable Parquet file: {error}") from error


def _json_blocks(file: Path) -> Iterator[pa.Table]:
    line = 1
    rest: list[bytes] = []  # of a line that has not ended; a line may be longer than many blocks
    try:
        with pa.input_stream(str(file), compression="detect") as source:
            while content := source.read(BLOCK_BYTES):
                head, feed, tail = content.rpartition(b"\n")
                if feed:
                    lines = b"".join([*rest, head])
                    rest = []
                    yield from _parse(lines, file, line)
                    line += lines.count(b"\n") + 1
                rest.append(tail)
    except (OSError, pa.ArrowInvalid) as error:
        raise InputError(f"{file}:{line}: cannot be read on from this line: {error}") from error
    yield from _parse(b"".join(rest), file, line)


def _parse(lines: bytes, file: Path, first: int) -> Iterator[pa.Table]:
    if not lines.strip():
        return
    try:
        table = pl.read_ndjson(io.BytesIO(lines), infer_schema_length=None).to_arrow()
    except (pl.exceptions.PolarsError, UnicodeDecodeError) as error:
        _name_bad_line(lines, file, first)
        raise InputError(f"{file}:{first}: the block of rows that starts here cannot be read: {error}") from error
    yield table


def _name_bad_line(lines: bytes, file: Path, first: int) -> None:
    """Raise InputError for the first line that is not a JSON object; return when there is none."""
    for number, line in enumerate(lines.split(b"\n"), first):
        if line.strip():
            try:
                record = json.loads(line)
            except ValueError as error:
                raise InputError(f"{file}:{number}: not JSON ({error}); correct or remove the line") from error
            if not isinstance(record, dict):
                raise InputError(f"{file}:{number}: not a JSON object; correct or remove the line")


def _with_text(block: pa.Table, text: str, file: Path, row: int) -> pa.Table:
    """Check the text column and make it large_string."""
    if text not in block.column_names:
        raise InputError(f"{file}: row {row} and on: no column {text!r}; name the column of the text with --text")
    column = block[text]
    kind = column.type
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)):
        raise InputError(f"{file}: row {row} and on: column {text!r} is {kind}, not text; choose another with --text")
    if column.null_count:
        first = row + int(np.flatnonzero(column.is_null().to_numpy())[0])
        raise InputError(f"{file}: row {first} (counted from 0): {text!r} is null; give it a text or remove the row")
    return block.set_column(block.column_names.index(text), text, column.cast(pa.large_string()))
