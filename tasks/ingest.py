"""Ingest: read source files, normalise and mask their text, and write it once, into shards.

Output: shards with the columns of cuvee.schemas.document.SHARD, every readable row in file order, and one table of
unreadable rows: file (string), row (int64), line (int64 or null), reason (string).
What the recipe declares of a source (origin, licence, domain, dates) is applied later, from thin columns.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import polars as pl
import pyarrow as pa

from cuvee.schemas.address import is_web
from cuvee.schemas.base import Frozen
from cuvee.schemas.document import SHARD
from cuvee.schemas.errors import InputError, RecipeError, RetryableError
from cuvee.schemas.recipe import Ingest, Recipe, Source, canonical_sha256
from cuvee.schemas.records import FileRef, Run, SourceFile, StepRecord, step_key
from cuvee.storage.corpus import pool_folder, read_records
from cuvee.storage.store import Store, open_store
from cuvee.storage.tables import table_file, write_table
from cuvee.tasks import fetch, normalise, readers
from cuvee.tasks.mask import mask
from cuvee.tasks.steps import Outcome, once

STEP = "ingest"
VERSION = 2
MB = 10**6
MOST_FAULTS_TOLD = 5
PIECE_BYTES = 8 << 20
# Their ids are their paths, and follow the file when it is renamed.
ONE_DOCUMENT_A_FILE = ("text", "html")
# What the web declares, for addresses whose path has no suffix.
MEDIA_TYPES = {
    "application/jsonl": "jsonl",
    "application/vnd.apache.parquet": "parquet",
    "application/warc": "warc",
    "application/x-ndjson": "jsonl",
    "application/xhtml+xml": "html",
    "text/csv": "csv",
    "text/html": "html",
    "text/plain": "text",
}

UNREADABLE = pa.schema(
    [("file", pa.string()), ("row", pa.int64()), ("line", pa.int64()), ("reason", pa.string())],
)


class Batch(Frozen):
    """Files of one source that are read by one task."""

    source: str
    files: tuple[SourceFile, ...]


def reading_key(source: Source, ingest: Ingest) -> str:
    """Hash what decides the text that a source's files give."""
    fields = source.fields.model_dump() | {"origin": source.origin_field}
    return canonical_sha256([source.format, fields, sorted(ingest.mask), VERSION])


def drafting_key(recipe: Recipe) -> str:
    """Hash what decides the text that is kept of a generator's answer."""
    return canonical_sha256([sorted(recipe.ingest.mask), VERSION])


def batches(recipe: Recipe, files: Sequence[SourceFile], known: frozenset[tuple[str, str, str]]) -> list[Batch]:
    """Group the files that are not in the pool yet, in the order of their content's hash.

    known: (source, reading key, SHA-256) of files already ingested. A file listed twice is read once.
    """
    readings = {source.name: reading_key(source, recipe.ingest) for source in recipe.sources}
    groups: list[list[SourceFile]] = []
    seen = set(known)
    held = 0
    for file in files:
        name = (file.source, readings[file.source], file.sha256)
        if name in seen:
            continue
        seen.add(name)
        held += file.bytes
        if groups and groups[-1][0].source == file.source and held <= recipe.ingest.shard_mb * MB:
            groups[-1].append(file)
        else:
            groups.append([file])
            held = file.bytes
    return [Batch(source=group[0].source, files=tuple(group)) for group in groups]


def key(run: Run, batch: Batch) -> str:
    """Name the work of one batch."""
    source = run.source(batch.source)
    files = [[file.sha256, file.id] for file in batch.files]
    reading = reading_key(source, run.recipe.ingest)
    return step_key(STEP, VERSION, source=source.name, reading=reading, files=files, mb=run.recipe.ingest.shard_mb)


def found(run: Run, batches: Sequence[Batch]) -> list[StepRecord | None]:
    """Return what an earlier, unfinished run read already, None for the batches that are to be read."""
    store = open_store(run.store)
    return read_records(store, STEP, [key(run, batch) for batch in batches])


def run(run: Run, batch: Batch) -> StepRecord:
    """Ingest one batch of files; a file or row that cannot be read is recorded, and does not stop the rest."""
    record = once(run, STEP, key(run, batch), lambda store: _ingest(run, batch, store))
    fetch.drop(run, batch.files)
    return record


def _ingest(run: Run, batch: Batch, store: Store) -> Outcome:
    source, options = run.source(batch.source), run.recipe.ingest
    reading = _Reading(run, source)
    masked: dict[str, int] = dict.fromkeys(options.mask, 0)
    pieces = (_shape(rows, options, masked) for rows in _together(reading.rows(batch.files)))
    folder = pool_folder(run.corpus, STEP)
    shards = list(_write_shards(store, folder, pieces, options.shard_mb * MB))
    bad = reading.bad
    unreadable = [write_table(store, folder, pa.Table.from_pylist(bad, UNREADABLE))] if bad else []
    names = {file.sha256: file.id for file in batch.files}
    report = {
        "source": source.name,
        "reading": reading_key(source, options),
        "shards": len(shards),
        "files": reading.files,
        "masked": masked,
        "faults": [_fault(names[row["file"]], row) for row in bad[:MOST_FAULTS_TOLD]],
    }
    return [*shards, *unreadable], report


class _Reading:
    """The rows of some files, and on the side what became of each file."""

    def __init__(self, run: Run, source: Source) -> None:
        self.run, self.source = run, source
        self.files: list[dict[str, Any]] = []
        self.bad: list[dict[str, Any]] = []

    def rows(self, files: Sequence[SourceFile]) -> Iterator[pl.DataFrame]:
        """Yield readable rows, with the SHA-256 of their file in the column `file`."""
        for file in files:
            rows, bad = 0, len(self.bad)
            skipped: dict[str, int] = {}
            format, compression = self._format(file)
            try:
                for read in self._read(file, format, compression):
                    self._fail(file, ((b.row, b.line, b.reason) for b in read.bad))
                    rows += read.rows.height
                    for kind, count in read.skipped.items():
                        skipped[kind] = skipped.get(kind, 0) + count
                    yield read.rows.with_columns(file=pl.lit(file.sha256))
            except InputError as error:
                known = rows + len(self.bad) - bad
                lost = range(known, max(error.rows, known + 1))
                self._fail(file, ((row, None, str(error)) for row in lost))
            _check_unchanged(file)
            self.files.append(
                {
                    "sha256": file.sha256,
                    "id": file.id,
                    "document": format in ONE_DOCUMENT_A_FILE,
                    "rows": rows,
                    "unreadable": len(self.bad) - bad,
                    "skipped": dict(sorted(skipped.items())),
                }
            )

    def _fail(self, file: SourceFile, faults: Iterable[tuple[int, int | None, str]]) -> None:
        names = ("row", "line", "reason")
        self.bad.extend({"file": file.sha256, **dict(zip(names, fault, strict=True))} for fault in faults)

    def _format(self, file: SourceFile) -> tuple[str, str | None]:
        path = urlsplit(file.path).path if is_web(file.path) else file.path
        if self.source.format != "auto":
            return self.source.format, {".gz": "gzip", ".zst": "zstd"}.get(Path(path).suffix.lower())
        try:
            return readers.detect(file.path)
        except RecipeError:
            if file.media_type not in MEDIA_TYPES:
                raise
            return MEDIA_TYPES[file.media_type], None

    def _read(self, file: SourceFile, format: str, compression: str | None) -> Iterator[readers.Batch]:
        fields = self.source.fields.model_dump()
        if self.source.origin_field:
            fields["origin"] = self.source.origin_field
        with fetch.opened(self.run, file) as stream:
            yield from readers.read(file.id, stream, format, compression, fields)


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


def _shape(rows: pl.DataFrame, options: Ingest, masked: dict[str, int]) -> pa.Table:
    """Give a batch of rows the columns of a shard."""
    clean = normalise.normalise(rows["text"])
    text, counts = mask(clean["text"], options.mask)
    for kind, count in counts.items():
        masked[kind] += count
    frame = rows.with_columns(
        normalise.measure(text),
        text=text,
        doc_id=normalise.doc_ids(text),
        c2pa=clean["c2pa"],
        source_id=pl.col("id"),
        # Only a full date is taken: it may become evidence of when the text was written.
        created=pl.col("created").str.slice(0, 10).str.to_date("%Y-%m-%d", strict=False),
        origin=pl.col("origin").str.to_lowercase(),
    )
    return _complete(frame)


def _complete(frame: pl.DataFrame) -> pa.Table:
    table = frame.select(name for name in SHARD.names if name in frame.columns).to_arrow()
    columns = [
        table[field.name].cast(field.type) if field.name in table.column_names else pa.nulls(len(table), field.type)
        for field in SHARD
    ]
    return pa.table(columns, schema=SHARD)


def _write_shards(store: Store, folder: str, tables: Iterator[pa.Table], limit: int) -> Iterator[FileRef]:
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
    pieces = (_complete(piece) for piece in frame.iter_slices(10_000))
    return list(_write_shards(store, folder, pieces, limit))


def check_bad_rows(recipe: Recipe, files: Sequence[SourceFile], records: Sequence[StepRecord]) -> list[str]:
    """Return a warning for each source with unreadable rows, naming the first of them by file, line and reason.

    files: those that exist now; what was unreadable in a file that is gone or mended does not count.
    Raises InputError when the share of unreadable rows passes ingest.max_bad_rows in a source, and when no source has
    a readable row; nothing is published then.
    """
    present = {(file.source, file.sha256) for file in files}
    warnings, readable = [], 0
    for source in recipe.sources:
        own = [r for r in records if _reads(recipe, source, r)]
        found = [file for r in own for file in r.report["files"] if (source.name, file["sha256"]) in present]
        readable += sum(file["rows"] for r in own for file in r.report["files"])
        bad, rows = sum(f["unreadable"] for f in found), sum(f["rows"] for f in found)
        warnings += [
            f"source {source.name}: {file['id']} is empty"
            for file in found
            if not file["rows"] + file["unreadable"] + sum(file.get("skipped", {}).values())
        ]
        warnings += _without_documents(source, found)
        if not bad:
            continue
        faults = [fault for r in own if any(f in found for f in r.report["files"]) for fault in r.report["faults"]]
        message = f"source {source.name}: {bad} of {bad + rows} rows cannot be read:\n  "
        message += "\n  ".join(faults[:MOST_FAULTS_TOLD])
        if bad / (bad + rows) > recipe.ingest.max_bad_rows:
            raise InputError(
                f"{message}\nThat is over the limit ingest.max_bad_rows {recipe.ingest.max_bad_rows:g}; nothing is "
                "published; mend the files or raise the limit"
            )
        warnings.append(message)
    if not readable:
        raise InputError(
            "\n".join(["no source has a readable row; nothing is published; look at the files:", *warnings])
        )
    return warnings


def _without_documents(source: Source, files: Sequence[dict[str, Any]]) -> list[str]:
    """Count the records of archives that hold no document, by kind, the most frequent first."""
    kinds: dict[str, int] = {}
    for file in files:
        for kind, count in file.get("skipped", {}).items():
            kinds[kind] = kinds.get(kind, 0) + count
    if not kinds:
        return []
    records = sum(file["rows"] + file["unreadable"] for file in files) + sum(kinds.values())
    told = ", ".join(
        f"{kind} {count:,}" for kind, count in sorted(kinds.items(), key=lambda entry: (-entry[1], entry[0]))
    )
    return [f"source {source.name}: {sum(kinds.values()):,} of {records:,} records hold no document: {told}"]


def current_records(recipe: Recipe, records: Iterable[StepRecord]) -> list[StepRecord]:
    """Choose the records of files that were read as this recipe reads them."""
    return [record for record in records if any(_reads(recipe, source, record) for source in recipe.sources)]


def _reads(recipe: Recipe, source: Source, record: StepRecord) -> bool:
    same_source = record.report["source"] == source.name
    return bool(same_source and record.report["reading"] == reading_key(source, recipe.ingest))
