"""Ingest: read source files, normalise and mask their text, and write it once, into shards.

Output: shards with the columns of cuvee.schemas.document.SHARD, every readable row in file order, and one table of
unreadable rows: file (string), row (int64), line (int64 or null), reason (string).
What the recipe declares of a source (origin, licence, domain, dates) is applied later, from thin columns.
"""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import replace
from functools import partial
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
from cuvee.tasks.ingest.names import without_long
from cuvee.tasks.ingest.normalise import as_shard, days, many, shape
from cuvee.tasks.steps import once

# Rises when the same bytes would give other rows, or the same answer of a generator another text.
READING_VERSION = 9
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


def with_members(files: Sequence[SourceFile], records: Sequence[IngestRecord]) -> list[SourceFile]:
    """Add to files the members of the archives among them, as they were read."""
    held: dict[tuple[str, str], list[ReadFile]] = {}
    for report in (record.report for record in records):
        for read in report.files:
            if read.archive:
                held.setdefault((report.source, read.archive), []).append(read)
    members = [
        SourceFile(source=file.source, path=file.path, id=f"{file.id}/{read.member}", sha256=read.sha256, bytes=0)
        for file in files
        for read in held.get((file.source, file.sha256), ())
    ]
    return [*files, *members]


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
        # A generator expression would hold a piece until the next is made.
        pieces = map(partial(shape, options=options, masked=masked), _together(reading.rows(batch.files)))
        shards = list(write_shards(store, folder, pieces, options.shard_mb * MB))
        bad.flush()
    unreadable = [bad.writer.ref] if bad.writer else []
    names = {file.sha256: file.id for file in reading.files}
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
    tables = filter(len, tables)
    table = next(tables, None)
    while table is not None:
        with table_file(store, folder, SHARD, small_pages=True) as shard:
            held = 0
            while table is not None and (held == 0 or held + table["text"].nbytes <= limit):
                shard.write(table)
                held += table["text"].nbytes
                table = None  # before the next is made
                table = next(tables, None)
        yield shard.ref


def draft_shards(store: Store, folder: str, frame: pl.DataFrame, limit: int) -> list[FileRef]:
    """Write drafts as shards like any other. frame: the columns of a shard that drafts have; limit: bytes of text."""
    pieces = (as_shard(piece.to_arrow()) for piece in frame.iter_slices(10_000))
    return list(write_shards(store, folder, pieces, limit))


class _Reading:
    """The rows of some files, and on the side what became of each file."""

    def __init__(self, run: Run, store: Store, source: Source, bad: BadRows) -> None:
        self.run, self.store, self.source, self.bad = run, store, source, bad
        self.files: list[ReadFile] = []
        self.undated: list[str] = []
        self.told: list[str] = []
        self.filled: set[str] = set()
        # Members that were read: equal ones have one name.
        self.seen: set[str] = set()
        self.left = run.limit

    def rows(self, files: Sequence[SourceFile]) -> Iterator[pl.DataFrame]:
        """Yield readable rows, `created` as a date, with the SHA-256 of their file in the column `file`."""
        for file in files:
            if self.is_over:
                break
            lost: list[tuple[int, int | None, str]] = []
            skipped: dict[str, int] = {}
            members = 0
            with fetch.opened(self.run, self.store, file) if file.fetched else open(file.path, "rb") as stream:
                try:
                    limits = self.run.recipe.ingest
                    for part in opening.parts(self.source, limits, file.path, file.id, stream, file.media_type):
                        if self.is_over:
                            break
                        if isinstance(part, readers.BadRow):
                            lost.append((part.row, None, part.reason))
                            continue
                        if isinstance(part, readers.Part) and part.sha256 not in self.seen:
                            members += 1
                            yield from self._rows(file, part)
                            continue
                        kind = part if isinstance(part, str) else "copy of another file"
                        skipped[kind] = skipped.get(kind, 0) + 1
                except InputError as error:
                    lost.append((0, None, str(error)))
            _check_unchanged(file)
            if readers.is_archive(file.path):
                bad = self._fail(file.sha256, lost)
                told = {"skipped": dict(sorted(skipped.items())), "members": members}
                self.files.append(
                    ReadFile(sha256=file.sha256, id=file.id, document=False, rows=0, unreadable=bad, **told)
                )

    @property
    def is_over(self) -> bool:
        """Whether as many rows as are wanted have been read."""
        return self.left is not None and self.left <= 0

    def _rows(self, file: SourceFile, part: readers.Part) -> Iterator[pl.DataFrame]:
        """Yield the readable rows of a file, or of a member of one."""
        sha256 = part.sha256 or file.sha256
        self.seen |= {part.sha256} - {""}
        rows = bad = undated = 0
        skipped: dict[str, int] = {}
        read_all = opening.read(self.source, self.run.recipe.ingest, part)
        try:
            for read in map(without_long, _first(self._cut(read_all), self.left)):
                self.told += [f"{part.name}: {read.told}"] if read.told else []
                bad += self._fail(sha256, [(b.row, b.line, b.reason) for b in read.bad])
                rows += read.rows.height
                for kind, count in read.skipped.items():
                    skipped[kind] = skipped.get(kind, 0) + count
                told = [one.name for one in read.rows.iter_columns() if one.null_count() < read.rows.height]
                self.filled |= {*told} - {"row"}
                found = days(read.rows["created"], self.source.date_format)
                if found["looks"].any():
                    undated += self._tell_undated(part.name, read.rows.select("row", "created").filter(found["looks"]))
                name = pl.Series("file", [sha256]).new_from_index(0, read.rows.height)
                # In place, and let go of: with_columns copies the text of a single row, which may be long.
                read.rows.replace_column(read.rows.get_column_index("created"), found["created"])
                yield read.rows.insert_column(read.rows.width, name)
                del read
        except InputError as error:
            known = rows + bad
            lost = range(known, max(error.rows, known + 1))
            bad += self._fail(sha256, [(row, None, str(error)) for row in lost])
        self.left = self.left if self.left is None else self.left - rows - bad
        self.files.append(
            ReadFile(
                sha256=sha256,
                id=part.name,
                document=readers.is_one_document(part.format, self.source.records),
                rows=rows,
                unreadable=bad,
                skipped=dict(sorted(skipped.items())),
                undated=undated,
                archive=file.sha256 if part.sha256 else "",
                member=part.member,
            )
        )

    def _tell_undated(self, name: str, rows: pl.DataFrame) -> int:
        """Note the first rows whose date is not understood; return how many there are."""
        if len(self.undated) < MOST_FAULTS_TOLD:
            first = rows.head(MOST_FAULTS_TOLD).select("row", pl.col("created").str.slice(0, 40))
            self.undated += [f"{name}: row {row}: {created!r}" for row, created in first.iter_rows()]
        return rows.height

    def _fail(self, sha256: str, faults: Sequence[tuple[int, int | None, str]]) -> int:
        """Note unreadable rows; returns how many."""
        if faults:
            columns = dict(zip(("row", "line", "reason"), zip(*faults, strict=True), strict=True))
            self.bad.add(pl.DataFrame({"file": [sha256] * len(faults), **columns}, UNREADABLE))
        return len(faults)

    def _cut(self, batches: Iterator[readers.Batch]) -> Iterator[readers.Batch]:
        """Cut long texts as the recipe says."""
        more = 0
        with closing(batches):  # type: ignore[type-var]  # what gives them is a generator
            for read in batches:
                pieces, more = cut(read, self.source.max_words, more)
                del read
                yield pieces
                del pieces


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
                yield replace(batch, rows=batch.rows.filter(pl.col("row") < end), bad=bad)
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
        held += _bytes(frame["text"])
        del frame
        if held >= PIECE_BYTES:
            yield _taken(waiting)
            held = 0
    if waiting:
        yield _taken(waiting)


def _bytes(text: pl.Series) -> int:
    """Count the bytes of texts. Of a short one without polars' engine, which takes longer to begin than that takes."""
    if len(text) == 1 and text.estimated_size() < 1 << 20:
        return len((text[0] or "").encode())
    return int(many(text).str.len_bytes().sum())


def _taken(waiting: list[pl.DataFrame]) -> pl.DataFrame:
    """Put frames into one, and let go of them."""
    frame = pl.concat(waiting) if len(waiting) > 1 else waiting[0]
    waiting.clear()
    return frame


def _fault(name: str, row: dict[str, Any]) -> str:
    place = f"line {row['line']}" if row["line"] is not None else f"row {row['row']}"
    # What is wrong with a whole file names the file itself.
    return row["reason"] if name in row["reason"] else f"{name}: {place}: {row['reason']}"
