"""Files: remove near-duplicates from JSON Lines and Parquet files, without a recipe or a store.

Rows are numbered from 0 over all inputs, in the order of their paths' bytes, then of the files. The keeper is the
longer text (characters), then the smaller row. Output, in the folder `out`:
kept.parquet: the rows that stay, in input order, with the union of the inputs' columns, null where a file has none.
duplicates.parquet: row int64, keeper_row int64, jaccard double (6 decimals), by row.

Memory holds a block of rows, the keys of one band and thin tables of about 100 bytes a row. The rows wait uncompressed
in files in `out`, so that comparing reads only the texts it needs; they take about the disk space of the uncompressed
inputs, plus 8 bytes per row and band, and are removed at the end.
"""

import glob
import io
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from cuvee.schemas.base import Frozen
from cuvee.schemas.errors import InputError, RecipeError
from cuvee.tasks.dedup.bands import Bands, choose
from cuvee.tasks.dedup.kernel import Int64s, Uint64s, sketch, text_buffers
from cuvee.tasks.dedup.pairs import near_pairs
from cuvee.tasks.dedup.resolve import SURVIVOR, Resolution, collapse, expand, resolve

JSON_LINES = (".jsonl", ".jsonl.gz", ".jsonl.zst", ".ndjson", ".ndjson.gz", ".ndjson.zst")
SUFFIXES = (*JSON_LINES, ".parquet")
# A block of 4 MB: large enough for the parser and the kernel to run at full speed; the parser takes about ten times it.
BLOCK_BYTES = 4 << 20
BLOCK_ROWS = 4096
# The bound of dedup.ngram in a recipe.
LONGEST_SHINGLE = 32

Progress = Callable[[str, int, int], None]


class DedupReport(Frozen):
    """What was read, found and written."""

    files: int
    rows: int
    kept: int
    duplicates: int
    candidates: int
    pairs: int
    large_buckets: int
    bands: Bands
    seconds: dict[str, float]  # read, compare, write
    bytes_on_disk: int  # largest extent of the waiting rows and keys
    bytes_in_memory: int  # estimate of the largest extent of the thin tables


def dedup_files(
    paths: Sequence[str],
    out: Path,
    text: str = "text",
    threshold: float = 0.8,
    ngram: int = 5,
    permutations: int = 128,
    seed: int = 1,
    progress: Progress | None = None,
) -> DedupReport:
    """Write kept.parquet and duplicates.parquet to `out`, each at once or not at all.

    paths: files, folders (read to any depth) and globs. text: the column to compare. threshold: Jaccard in (0, 1].
    ngram: words a shingle, 1 to 32.
    progress: called with (phase, done, total); in the phase "read" in files, in "compare" and "write" in steps.
    Raises RecipeError for paths without a file, inputs in `out`, and options out of range; InputError for a line or row
    that cannot be read (naming it) and for columns that cannot be united. The outputs of an earlier call then stay.
    """
    division = _division(threshold, ngram, permutations)
    files = expand_paths(paths)
    for file in files:
        if out.resolve() in file.resolve().parents:
            raise RecipeError(f"--out {out}: {file} in it is an input; choose a folder outside of the inputs")
    report = progress or (lambda phase, done, total: None)
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".dedup-", dir=out) as folder:
        clock = [time.perf_counter()]
        spool = _Spool(Path(folder), text, division)
        for number, file in enumerate(files):
            for block in read_blocks(file, text):
                spool.add(block, ngram, permutations, seed)
            report("read", number + 1, len(files))
        schema = spool.schema()
        clock.append(time.perf_counter())
        length, text_key = np.concatenate(spool.lengths), np.concatenate(spool.text_keys)
        groups = collapse(text_key, _keeper_rank(length))
        rows = groups.representative
        found = near_pairs(
            lambda band: spool.band_column(band)[rows],
            division.bands,
            np.ones(len(rows), np.bool_),
            lambda ids: spool.fetch(rows[ids]),
            ngram,
            threshold,
            lambda done, total: report("compare", done, total),
        )
        rank = _keeper_rank(length)[rows]
        resolved = expand(groups, resolve(rank, found.a, found.b, found.jaccard, threshold))
        clock.append(time.perf_counter())
        _write(out, Path(folder), spool, schema, resolved, report)
        clock.append(time.perf_counter())
        disk = sum(entry.stat().st_size for entry in Path(folder).iterdir())
    removed = int((resolved.keeper != SURVIVOR).sum())
    return DedupReport(
        files=len(files),
        rows=len(length),
        kept=len(length) - removed,
        duplicates=removed,
        candidates=found.candidates,
        pairs=len(found.a),
        large_buckets=found.large_buckets,
        bands=division,
        seconds={
            phase: round(after - before, 3)
            for phase, before, after in zip(("read", "compare", "write"), clock[:-1], clock[1:], strict=True)
        },
        bytes_on_disk=disk,
        bytes_in_memory=100 * len(length) + 24 * (len(found.a) + found.candidates) + 4 * BLOCK_BYTES,
    )


def _division(threshold: float, ngram: int, permutations: int) -> Bands:
    """Check the options and choose the bands; raises RecipeError naming the option that is out of range."""
    if not 1 <= ngram <= LONGEST_SHINGLE:
        raise RecipeError(f"--ngram {ngram}: give the words of a shingle, from 1 to {LONGEST_SHINGLE}")
    if not 0 < threshold <= 1:
        raise RecipeError(f"--threshold {threshold}: not a Jaccard; give a number above 0, up to 1")
    try:
        return choose(threshold, permutations)
    except RecipeError:
        raise RecipeError(
            f"--threshold {threshold}: {permutations} permutations miss too many pairs that are so little alike; "
            "give a higher one"
        ) from None


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
        files.update(named)
    for file in files:
        if not file.endswith(SUFFIXES):
            raise RecipeError(f"{file}: cannot tell the format; files end in {', '.join(SUFFIXES)}")
    return [Path(file) for file in sorted(files, key=os.fsencode)]


def read_blocks(file: Path, text: str) -> Iterator[pa.Table]:
    """Yield the rows of a file in blocks, the column `text` as large_string without nulls; blank lines are no rows."""
    row = 0
    for block in _parquet_blocks(file) if file.name.endswith(".parquet") else _json_blocks(file):
        yield _with_text(block, text, file, row)
        row += block.num_rows


class _Spool:
    """What waits on disk, and the thin tables of all rows.

    In its folder: texts (the bytes of all texts), and for each block the other columns and the band keys.
    """

    def __init__(self, folder: Path, text: str, division: Bands) -> None:
        self.folder = folder
        self.text = text
        self.division = division
        self.starts = [0]
        self.schemas: list[pa.Schema] = []
        self.ends: list[Int64s] = [np.zeros(1, np.int64)]  # of the texts, in bytes
        self.lengths: list[Int64s] = [np.empty(0, np.int64)]  # of the texts, in characters
        self.text_keys: list[Uint64s] = [np.empty(0, np.uint64)]

    def add(self, block: pa.Table, ngram: int, permutations: int, seed: int) -> None:
        """Write the rows and their band keys to disk."""
        number = len(self.schemas)
        text = block[self.text].combine_chunks()
        sketched = sketch(text, ngram, permutations, seed, self.division.bands, self.division.rows)
        content, offsets = text_buffers(text)
        with open(self.folder / "texts", "ab") as file:
            content.tofile(file)
        rest = block.drop_columns(self.text)
        with pa.OSFile(str(self.folder / f"{number}.arrow"), "wb") as sink, pa.ipc.new_file(sink, rest.schema) as rows:
            rows.write_table(rest)
        # Bands lie one after another, so that one can be read alone.
        np.ascontiguousarray(sketched.band_keys.T).tofile(self.folder / f"{number}.keys")
        self.ends.append(self.ends[-1][-1] + offsets[1:])
        self.lengths.append(pc.utf8_length(text).to_numpy().astype(np.int64))
        self.text_keys.append(sketched.text_key)
        self.schemas.append(block.schema)
        self.starts.append(self.starts[-1] + block.num_rows)

    def schema(self) -> pa.Schema:
        """Return the union of all columns, types widened where they differ."""
        try:
            return pa.unify_schemas(self.schemas, promote_options="permissive") if self.schemas else pa.schema([])
        except (pa.ArrowTypeError, pa.ArrowInvalid) as error:
            raise InputError(f"the inputs have columns of one name and types that cannot be united: {error}") from error

    def band_column(self, band: int) -> Uint64s:
        """Return the keys of one band, uint64[rows]."""
        keys = np.empty(self.starts[-1], np.uint64)
        for number, (start, stop) in enumerate(pairwise(self.starts)):
            offset = 8 * band * (stop - start)
            keys[start:stop] = np.fromfile(self.folder / f"{number}.keys", np.uint64, stop - start, offset=offset)
        return keys

    def fetch(self, rows: Int64s) -> pa.LargeStringArray:
        """Return the texts of ascending rows. Read, not mapped: a map would pull most of the file into memory."""
        self.ends = [np.concatenate(self.ends)]
        begins, ends = self.ends[0][rows], self.ends[0][rows + 1]
        runs = np.flatnonzero(np.append(True, begins[1:] != ends[:-1])) if len(rows) else rows
        spans = zip(begins[runs].tolist(), ends[np.append(runs[1:], len(rows)) - 1].tolist(), strict=True)
        with open(self.folder / "texts", "rb") as file:
            content = b"".join(os.pread(file.fileno(), end - begin, begin) for begin, end in spans)
        offsets = np.concatenate(([0], np.cumsum(ends - begins)))
        return pa.LargeStringArray.from_buffers(len(rows), pa.py_buffer(offsets), pa.py_buffer(content))

    def block(self, number: int) -> pa.Table:
        """Return the rows of one block."""
        text = self.fetch(np.arange(self.starts[number], self.starts[number + 1]))
        with pa.memory_map(str(self.folder / f"{number}.arrow")) as source:
            rest = pa.ipc.open_file(source).read_all()
        columns = {name: text if name == self.text else rest[name] for name in self.schemas[number].names}
        return pa.table(columns)


def _keeper_rank(length: Int64s) -> Int64s:
    """Return the place of each row in keeper order: longer text, then smaller row."""
    rank = np.empty(len(length), np.int64)
    rank[np.lexsort((np.arange(len(length)), -length))] = np.arange(len(length))
    return rank


def _parquet_blocks(file: Path) -> Iterator[pa.Table]:
    try:
        with pq.ParquetFile(file) as source:
            for batch in source.iter_batches(BLOCK_ROWS):
                yield pa.Table.from_batches([batch])
    except (pa.ArrowInvalid, OSError) as error:
        raise InputError(f"{file}: not a readable Parquet file: {error}") from error


def _json_blocks(file: Path) -> Iterator[pa.Table]:
    line = 1
    rest = b""
    try:
        with pa.input_stream(str(file), compression="detect") as source:
            while content := source.read(BLOCK_BYTES):
                lines, feed, rest = (rest + content).rpartition(b"\n")
                if feed:
                    yield from _parse(lines, file, line)
                    line += lines.count(b"\n") + 1
    except (OSError, pa.ArrowInvalid) as error:
        raise InputError(f"{file}:{line}: cannot be read on from this line: {error}") from error
    yield from _parse(rest, file, line)


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


def _write(
    out: Path,
    folder: Path,
    spool: _Spool,
    schema: pa.Schema,
    resolved: Resolution,
    report: Progress,
) -> None:
    """Write both files to a temporary name, then move them into place."""
    kept = resolved.keeper == SURVIVOR
    removed = np.flatnonzero(~kept)
    duplicates = pa.table(
        {"row": removed, "keeper_row": resolved.keeper[removed], "jaccard": resolved.jaccard[removed]}
    )
    pq.write_table(duplicates, folder / "duplicates.parquet", compression="zstd")
    # No dictionary and no statistics on the text: statistics would put texts into the footer.
    plain = [name for name in schema.names if name != spool.text]
    with pq.ParquetWriter(
        folder / "kept.parquet", schema, compression="zstd", use_dictionary=plain, write_statistics=plain
    ) as writer:
        for number in range(len(spool.schemas)):
            rows = spool.block(number).filter(pa.array(kept[spool.starts[number] : spool.starts[number + 1]]))
            writer.write_table(_conform(rows, schema))
            report("write", number + 1, len(spool.schemas))
    for name in ("duplicates.parquet", "kept.parquet"):
        os.replace(folder / name, out / name)


def _conform(rows: pa.Table, schema: pa.Schema) -> pa.Table:
    """Return the rows with all columns of the schema, null where there is none."""
    columns = [
        rows[field.name].cast(field.type) if field.name in rows.column_names else pa.nulls(rows.num_rows, field.type)
        for field in schema
    ]
    return pa.Table.from_arrays(columns, schema=schema)
