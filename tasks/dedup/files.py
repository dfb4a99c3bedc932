"""Files: remove near-duplicates from files of any format that is read, without a recipe or a store.

Rows are numbered from 0 over all inputs, in the order of their paths' bytes, then of the files. The keeper is the
longer text (characters), then the smaller row. Output, in the folder `out`:
kept.parquet: the rows that stay, in input order, with the union of the inputs' columns, null where a file has none; a
column of mixed kinds is text.
duplicates.parquet: row int64, keeper_row int64, jaccard double (6 decimals), by row.

Memory holds a block of rows for each thread, the keys of one band and thin tables of about 100 bytes a row. The rows
wait uncompressed in files in `out`, so that comparing reads only the texts it needs; they take about the disk space of
the uncompressed inputs, plus 4 bytes per row and band, and are removed at the end. `estimate` says so beforehand.
"""

import os
import shutil
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from cuvee.schemas.base import Frozen
from cuvee.schemas.errors import RecipeError
from cuvee.tasks import readers
from cuvee.tasks.dedup.extent import extent
from cuvee.tasks.dedup.final import keepers
from cuvee.tasks.dedup.index import Bands, choose, curve
from cuvee.tasks.dedup.inputs import Block, conform, read_blocks
from cuvee.tasks.dedup.resolve import SURVIVOR, Resolution, collapse, expand
from cuvee.tasks.dedup.spool import Spool
from cuvee.tasks.dedup.verify import Comparison
from cuvee.tasks.words.kernel import KEY_BYTES, Int64s, Sketch, sketch

# More threads than these wait for the one that reads.
MOST_THREADS = 8
# Measured: the libraries and the compiled kernels, and what a block takes while it is parsed and hashed.
BYTES_AT_LEAST, BYTES_A_THREAD, BYTES_A_ROW = 400 << 20, 40 << 20, 100
# Of a long text, a byte of it: parsed, normalised and signed; compared.
BYTES_TO_SIGN, BYTES_TO_COMPARE = 10, 19
# The bound of dedup.ngram in a recipe.
LONGEST_SHINGLE = 32

Progress = Callable[[str, int, int], None]


class Estimate(Frozen):
    """What the work will take, told from the files' sizes and lines before they are parsed."""

    files: int
    passed_over: tuple[str, ...]  # files of the folders whose format is not known
    rows: int  # lines, and the rows of Parquet; of compressed files a guess
    bytes_on_disk: int  # for the waiting rows and keys, in `out`
    bytes_free: int  # on the disk of `out`
    bytes_in_memory: int


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
    curve: tuple[tuple[float, float], ...]  # (Jaccard, share of the pairs of that Jaccard that is compared)
    seconds: dict[str, float]  # read, compare, write
    bytes_on_disk: int  # largest extent of the waiting rows and keys
    bytes_in_memory: int  # estimate: libraries, blocks and thin tables


def dedup_files(
    paths: Sequence[str],
    out: Path,
    text: str = "text",
    threshold: float = 0.8,
    ngram: int = 5,
    permutations: int = 128,
    seed: int = 1,
    progress: Progress | None = None,
    announce: Callable[[Estimate], None] | None = None,
) -> DedupReport:
    """Write kept.parquet and duplicates.parquet to `out`, each at once or not at all.

    paths: files, folders (read to any depth) and globs. text: the column to compare. threshold: Jaccard in (0, 1].
    ngram: words a shingle, 1 to 32.
    progress: called with (phase, done, total); in the phase "read" in files, in "compare" and "write" in steps.
    announce: called with the estimate before the work. Blocks are hashed on all cores that the process may use; the
    output does not depend on their number.
    Raises RecipeError for paths without a file, inputs in `out`, and options out of range; InputError for a line or row
    that cannot be read (naming it) and for columns that cannot be united. The outputs of an earlier call then stay.
    """
    division = _division(threshold, ngram, permutations)
    files, passed = readers.expand(paths)
    for file in files:
        if out.resolve() in file.resolve().parents:
            raise RecipeError(f"--out {out}: {file} in it is an input; choose a folder outside of the inputs")
    report = progress or (lambda phase, done, total: None)
    out.mkdir(parents=True, exist_ok=True)
    if announce:
        announce(estimate(files, out, division, passed))
    with tempfile.TemporaryDirectory(prefix=".dedup-", dir=out) as folder:
        clock = [time.perf_counter()]
        spool, columns = Spool(Path(folder)), readers.Columns()
        for number, block, sketched in _sketched(files, text, columns, ngram, permutations, seed, division):
            if block is None:
                report("read", number + 1, len(files))
            else:
                spool.add(block, sketched)
        clock.append(time.perf_counter())
        length, text_key = np.concatenate(spool.lengths), np.concatenate(spool.text_keys)
        groups = collapse(text_key, _keeper_rank(length))
        rows = groups.representative
        found, resolved = keepers(
            lambda band: spool.band_column(band)[rows],
            division.bands,
            Comparison(lambda ids: spool.fetch(rows[ids]), ngram, threshold, sizes=spool.sizes()[rows]),
            _keeper_rank(length)[rows],
            lambda done, total: report("compare", done, total),
        )
        resolved = expand(groups, resolved)
        clock.append(time.perf_counter())
        _write(out, Path(folder), spool, columns.schema(), text, resolved, report)
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
        curve=tuple(curve(division)),
        seconds={
            phase: round(after - before, 3)
            for phase, before, after in zip(("read", "compare", "write"), clock[:-1], clock[1:], strict=True)
        },
        bytes_on_disk=disk,
        bytes_in_memory=_memory(len(length), _longest(spool.sizes())) + 24 * (len(found.a) + found.candidates),
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


def estimate(files: Sequence[Path], out: Path, division: Bands, passed: Sequence[Path] = ()) -> Estimate:
    """Tell from the files' sizes and lines how many rows there are, and what comparing them takes."""
    found = extent(files, _threads() + 1)
    return Estimate(
        files=len(files),
        passed_over=tuple(map(str, passed)),
        rows=found.rows,
        bytes_on_disk=found.size + KEY_BYTES * found.rows * division.bands,
        bytes_free=shutil.disk_usage(out).free,
        bytes_in_memory=_memory(found.rows, found.longest),
    )


def _memory(rows: int, longest: Sequence[int]) -> int:
    """longest: bytes of the longest rows, the longest first: each thread may sign one, or two be compared."""
    signed = BYTES_TO_SIGN * sum(longest[: _threads()]) + sum(longest)
    compared = BYTES_TO_COMPARE * sum(longest[:2]) if len(longest) > 1 else 0
    return BYTES_AT_LEAST + BYTES_A_THREAD * _threads() + BYTES_A_ROW * rows + max(signed, compared)


def _longest(sizes: Int64s) -> list[int]:
    """Give the bytes of the longest texts over 1 MB, the longest first."""
    return sorted(sizes[sizes > 1 << 20].tolist(), reverse=True)[: _threads() + 1]


def _threads() -> int:
    """Return how many cores this process may use, at most MOST_THREADS."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(allowed, MOST_THREADS)


def _sketched(
    files: Sequence[Path],
    text: str,
    columns: readers.Columns,
    ngram: int,
    permutations: int,
    seed: int,
    division: Bands,
) -> Iterator[tuple[int, Block | None, Any]]:
    """Yield (file number, block, its sketch) in order, and (file number, None, None) at the end of each file.

    With more than one core, threads hash the blocks while the next ones are read; as many blocks wait as threads.
    """

    def hashed(block: Block) -> Sketch:
        return sketch(block.text, ngram, permutations, seed, division.bands, division.rows)

    threads = _threads()
    with ThreadPoolExecutor(threads) as pool:
        waiting: deque[tuple[int, Block | None, Future[Sketch] | None]] = deque()
        for number, file in enumerate(files):
            for block in read_blocks(file, text, columns):
                if threads == 1:
                    yield number, block, hashed(block)
                    continue
                waiting.append((number, block, pool.submit(hashed, block)))
                while len(waiting) > threads:
                    yield _finished(waiting.popleft())
            waiting.append((number, None, None))
            if threads == 1:
                yield _finished(waiting.popleft())
        while waiting:
            yield _finished(waiting.popleft())


def _finished(work: tuple[int, Block | None, Future[Sketch] | None]) -> tuple[int, Block | None, Any]:
    number, block, future = work
    return number, block, future.result() if future else None


def _keeper_rank(length: Int64s) -> Int64s:
    """Return the place of each row in keeper order: longer text, then smaller row."""
    rank = np.empty(len(length), np.int64)
    rank[np.lexsort((np.arange(len(length)), -length))] = np.arange(len(length))
    return rank


def _write(
    out: Path,
    folder: Path,
    spool: Spool,
    schema: pa.Schema,
    text: str,
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
    plain = [name for name in schema.names if name != text]
    with pq.ParquetWriter(
        folder / "kept.parquet", schema, compression="zstd", use_dictionary=plain, write_statistics=plain
    ) as writer:
        for number in range(spool.blocks):
            stays = pa.array(kept[spool.starts[number] : spool.starts[number + 1]])
            block = spool.block(number)
            block = Block(block.text.filter(stays), block.rest.filter(stays))
            writer.write_table(conform(block, text, schema))
            report("write", number + 1, spool.blocks)
    for name in ("duplicates.parquet", "kept.parquet"):
        os.replace(folder / name, out / name)
