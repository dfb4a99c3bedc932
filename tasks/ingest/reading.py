"""Ingest: read source files, normalise and mask their text, and write it once, into shards.

Output: shards with the columns of cuvee.schemas.document.SHARD, every readable row in file order, and one table of
unreadable rows: file (string), row (int64), line (int64 or null), reason (string).
What the recipe declares of a source (origin, licence, domain, dates) is applied later, from thin columns.
"""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from typing import Any

import polars as pl
import pyarrow as pa

from cuvee.schemas.base import Frozen
from cuvee.schemas.document import SHARD
from cuvee.schemas.errors import InputError, RetryableError
from cuvee.schemas.recipe import Ingest, Source, canonical_sha256
from cuvee.schemas.records import FileRef, IngestRecord, IngestReport, ReadFile, Run, SourceFile, step_key
from cuvee.schemas.tables import UNREADABLE
from cuvee.storage.corpus import corpus_folder, pool_folder, read_records
from cuvee.storage.store import Store
from cuvee.storage.tables import table_file
from cuvee.tasks import readers
from cuvee.tasks.ingest import fetch, opening
from cuvee.tasks.ingest.bad_rows import MOST_FAULTS_TOLD, BadRows
from cuvee.tasks.ingest.cut import cut
from cuvee.tasks.ingest.mask import mask
from cuvee.tasks.ingest.normalise import as_shard, days, shape
from cuvee.tasks.steps import once

# Rises when the same bytes would give other rows, or the same answer of a generator another text.
READING_VERSION = 6
STEP = "ingest"
PIECE_BYTES = 8 << 20
MB = 10**6


class Batch(Frozen):
    """Files of one source that are read by one task."""

    source: str
    files: tuple[SourceFile, ...]


def batches(run: Run, files: Sequence[SourceFile], known: frozenset[tuple[str, str, str]]) -> list[Batch]:
    """Group the files that are not in the pool yet, in the order of their content's hash.

    known: (source, reading key, SHA-256) of files already ingested. A file listed twice is read once.
    """
    if run.limit is not None:
        return _of_trial(files)
    groups: list[list[SourceFile]] = []
    seen = set(known)
    held = 0
    for file in files:
        name = (file.source, run.readings[file.source], file.sha256)
        if name in seen:
            continue
        seen.add(name)
        held += file.bytes
        if groups and groups[-1][0].source == file.source and held <= run.recipe.ingest.shard_mb * MB:
            groups[-1].append(file)
        else:
            groups.append([file])
            held = file.bytes
    return [Batch(source=group[0].source, files=tuple(group)) for group in groups]


def _of_trial(files: Sequence[SourceFile]) -> list[Batch]:
    """Put the files of each source together, in the order of their names: only who reads them knows how far it gets."""
    groups: dict[str, dict[str, SourceFile]] = {}
    for file in sorted(files, key=lambda file: (file.source, file.id)):
        groups.setdefault(file.source, {}).setdefault(file.sha256, file)
    return [Batch(source=name, files=tuple(group.values())) for name, group in groups.items()]


def reading_key(source: Source, ingest: Ingest) -> str:
    """Hash what decides the text that a source's files give: rows of the pool count for a recipe whose keys are theirs
    (`Run.readings`).
    """
    fields = source.fields.model_dump() | {"origin": source.origin_field}
    shape = [source.encoding, source.csv.model_dump(), source.records, source.max_words, source.keep]
    limits = [ingest.max_row_mb, ingest.max_expansion]
    said = [source.format, fields, shape, source.date_format, sorted(ingest.mask), limits]
    return canonical_sha256([*said, READING_VERSION])


def key(run: Run, batch: Batch) -> str:
    """Name the work of one batch."""
    source = run.source(batch.source)
    files = [[file.sha256, file.id] for file in batch.files]
    reading = run.readings[source.name]
    mb = run.recipe.ingest.shard_mb
    named: dict[str, Any] = {"corpus": run.corpus, "source": source.name}
    named |= {} if run.limit is None else {"limit": run.limit}
    return step_key(STEP, READING_VERSION, **named, reading=reading, files=files, mb=mb)


def found(run: Run, store: Store, batches: Sequence[Batch]) -> list[IngestRecord | None]:
    """Return what an earlier, unfinished run read already, None for the batches that are to be read."""
    keys = [key(run, batch) for batch in batches]
    return read_records(store, IngestRecord, STEP, keys, corpus_folder(run.corpus))


def run(run: Run, store: Store, batch: Batch) -> IngestRecord:
    """Ingest one batch of files; a file or row that cannot be read is recorded, and does not stop the rest."""
    record = once(run, store, IngestRecord, STEP, key(run, batch), lambda: _ingest(run, store, batch))
    if any(file.fetched for file in batch.files):
        fetch.drop(store, batch.files)
    return record


def _ingest(run: Run, store: Store, batch: Batch) -> IngestRecord:
    source, options = run.source(batch.source), run.recipe.ingest
    masked: dict[str, int] = dict.fromkeys(options.mask, 0)
    folder = pool_folder(run.corpus, STEP)
    with ExitStack() as files:
        bad = BadRows(lambda schema: files.enter_context(table_file(store, folder, schema)))
        reading = _Reading(run, store, source, bad)
        pieces = (shape(rows, options, masked) for rows in _together(reading.rows(batch.files)))
        shards = list(write_shards(store, folder, pieces, options.shard_mb * MB))
        bad.flush()
    unreadable = [bad.writer.ref] if bad.writer else []
    names = {file.sha256: file.id for file in batch.files}
    undated, _ = mask(pl.Series(reading.undated[:MOST_FAULTS_TOLD], dtype=pl.String), options.mask)
    report = IngestReport(
        source=source.name,
        reading=run.readings[source.name],
        shards=len(shards),
        files=tuple(reading.files),
        masked=masked,
        faults=tuple(_fault(names[row["file"]], row) for row in bad.first.to_dicts()),
        undated=tuple(undated),
        filled=tuple(sorted(reading.filled)),
        told=tuple(reading.told[:MOST_FAULTS_TOLD]),
    )
    return IngestRecord(key=key(run, batch), files=(*shards, *unreadable), report=report)


def write_shards(store: Store, folder: str, tables: Iterator[pa.Table], limit: int) -> Iterator[FileRef]:
    """Write tables of SHARD's columns, in order, a file for every `limit` bytes of text; yield each when it stands."""
    tables = (table for table in tables if table.num_rows)
    table = next(tables, None)
    while table is not None:
        with table_file(store, folder, SHARD, small_pages=True) as shard:
            held = 0
            while table is not None and (held == 0 or held + table["text"].nbytes <= limit):
                shard.write(table)
                held += table["text"].nbytes
                table = next(tables, None)
        yield shard.ref


def draft_shards(store: Store, folder: str, frame: pl.DataFrame, limit: int) -> list[FileRef]:
    """Write drafts as shards like any other. frame: the columns of a shard that drafts have; limit: bytes of text."""
    pieces = (as_shard(piece) for piece in frame.iter_slices(10_000))
    return list(write_shards(store, folder, pieces, limit))


class _Reading:
    """The rows of some files, and on the side what became of each file."""

    def __init__(self, run: Run, store: Store, source: Source, bad: BadRows) -> None:
        self.run, self.store, self.source, self.bad = run, store, source, bad
        self.files: list[ReadFile] = []
        self.undated: list[str] = []
        self.told: list[str] = []
        self.filled: set[str] = set()

    def rows(self, files: Sequence[SourceFile]) -> Iterator[pl.DataFrame]:
        """Yield readable rows, `created` as a date, with the SHA-256 of their file in the column `file`."""
        left = self.run.limit
        for file in files:
            if left is not None and left <= 0:
                break
            rows = bad = undated = 0
            skipped: dict[str, int] = {}
            format, compression = opening.format_of(self.source, file.path, file.media_type)
            try:
                for read in _first(self._cut(self._read(file, format, compression)), left):
                    self.told += [f"{file.id}: {read.told}"] if read.told else []
                    bad += self._fail(file, [(b.row, b.line, b.reason) for b in read.bad])
                    rows += read.rows.height
                    for kind, count in read.skipped.items():
                        skipped[kind] = skipped.get(kind, 0) + count
                    self.filled.update(
                        name for name in readers.SCHEMA.names() if read.rows[name].null_count() < read.rows.height
                    )
                    found = days(read.rows["created"], self.source.date_format)
                    undated += self._tell_undated(file, read.rows.filter(found["looks"]))
                    yield read.rows.with_columns(found["created"], file=pl.lit(file.sha256))
            except InputError as error:
                known = rows + bad
                lost = range(known, max(error.rows, known + 1))
                bad += self._fail(file, [(row, None, str(error)) for row in lost])
            left = left if left is None else left - rows - bad
            _check_unchanged(file)
            self.files.append(
                ReadFile(
                    sha256=file.sha256,
                    id=file.id,
                    document=readers.is_one_document(format, self.source.records),
                    rows=rows,
                    unreadable=bad,
                    skipped=dict(sorted(skipped.items())),
                    undated=undated,
                )
            )

    def _tell_undated(self, file: SourceFile, rows: pl.DataFrame) -> int:
        """Note the first rows whose date is not understood; return how many there are."""
        if len(self.undated) < MOST_FAULTS_TOLD:
            first = rows.head(MOST_FAULTS_TOLD).select("row", pl.col("created").str.slice(0, 40))
            self.undated += [f"{file.id}: row {row}: {created!r}" for row, created in first.iter_rows()]
        return rows.height

    def _fail(self, file: SourceFile, faults: Sequence[tuple[int, int | None, str]]) -> int:
        """Note unreadable rows; returns how many."""
        if faults:
            columns = dict(zip(("row", "line", "reason"), zip(*faults, strict=True), strict=True))
            self.bad.add(pl.DataFrame({"file": [file.sha256] * len(faults), **columns}, UNREADABLE))
        return len(faults)

    def _cut(self, batches: Iterator[readers.Batch]) -> Iterator[readers.Batch]:
        """Cut long texts as the recipe says."""
        more = 0
        with closing(batches):  # type: ignore[type-var]  # what gives them is a generator
            for read in batches:
                pieces, more = cut(read, self.source.max_words, more)
                yield pieces

    def _read(self, file: SourceFile, format: str, compression: str | None) -> Iterator[readers.Batch]:
        with fetch.opened(self.run, self.store, file) if file.fetched else open(file.path, "rb") as stream:
            yield from opening.read(self.source, self.run.recipe.ingest, file.id, stream, format, compression)


def _first(batches: Iterator[readers.Batch], rows: int | None) -> Iterator[readers.Batch]:
    """Give the first rows of a file, readable or not; None: all."""
    if rows is None:
        yield from batches
        return
    with closing(batches):  # type: ignore[type-var]  # what gives them is a generator
        for batch in batches:
            numbers = sorted([*batch.rows["row"], *(bad.row for bad in batch.bad)])
            if len(numbers) > rows:
                end = numbers[rows]
                bad = [one for one in batch.bad if one.row < end]
                yield readers.Batch(batch.rows.filter(pl.col("row") < end), bad, batch.skipped, batch.told)
                return
            yield batch
            rows -= len(numbers)
            if rows == 0:
                return


def _check_unchanged(file: SourceFile) -> None:
    """Raise RetryableError when a file is not what it was when the run listed it: its rows would have a false name.

    A fetched file was verified before it was read.
    """
    if file.fetched:
        return
    with open(file.path, "rb") as stream:
        if hashlib.file_digest(stream, "sha256").hexdigest() != file.sha256:
            raise RetryableError(f"{file.path} changed while it was read; run again when it is written")


def _together(frames: Iterator[pl.DataFrame]) -> Iterator[pl.DataFrame]:
    """Put the rows of small files together, up to PIECE_BYTES of text: a thousand files are not a thousand pieces."""
    waiting: list[pl.DataFrame] = []
    held = 0
    for frame in frames:
        waiting.append(frame)
        held += int(frame["text"].str.len_bytes().sum())
        if held >= PIECE_BYTES:
            yield pl.concat(waiting)
            waiting, held = [], 0
    if waiting:
        yield pl.concat(waiting)


def _fault(name: str, row: dict[str, Any]) -> str:
    place = f"line {row['line']}" if row["line"] is not None else f"row {row['row']}"
    # What is wrong with a whole file names the file itself.
    return row["reason"] if name in row["reason"] else f"{name}: {place}: {row['reason']}"
