"""Ingest: read source files, normalise and mask their text, and write it once, into shards.

Output: shards with the columns of cuvee.schemas.document.SHARD, every readable row in file order, and one table of
unreadable rows: file (string), row (int64), line (int64 or null), reason (string).
What the recipe declares of a source (origin, licence, domain, dates) is applied later, from thin columns.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa

from cuvee.schemas.base import Frozen
from cuvee.schemas.document import SHARD
from cuvee.schemas.errors import InputError, RecipeError
from cuvee.schemas.recipe import Ingest, Recipe, Source, canonical_sha256
from cuvee.schemas.records import FileRef, Run, SourceFile, StepRecord, step_key
from cuvee.storage.corpus import pool_folder, read_record
from cuvee.storage.store import Store, open_store
from cuvee.storage.tables import table_file, write_table
from cuvee.tasks import normalise, readers
from cuvee.tasks.mask import mask
from cuvee.tasks.steps import Outcome, once

STEP = "ingest"
VERSION = 1
MB = 10**6
MOST_FAULTS_TOLD = 5

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


def batches(recipe: Recipe, files: Sequence[SourceFile], known: frozenset[tuple[str, str, str]]) -> list[Batch]:
    """Group the files that are not in the pool yet, in the order of their content's hash.

    known: (source, reading key, SHA-256) of files already ingested. A file listed twice is read once.
    """
    sources = {source.name: source for source in recipe.sources}
    groups: list[list[SourceFile]] = []
    seen = set(known)
    for file in files:
        name = (file.source, reading_key(sources[file.source], recipe.ingest), file.sha256)
        if name in seen:
            continue
        seen.add(name)
        open_group = groups[-1] if groups and groups[-1][0].source == file.source else None
        if open_group and sum(f.bytes for f in open_group) + file.bytes <= recipe.ingest.shard_mb * MB:
            open_group.append(file)
        else:
            groups.append([file])
    return [Batch(source=group[0].source, files=tuple(group)) for group in groups]


def key(run: Run, batch: Batch) -> str:
    """Name the work of one batch."""
    source = _source(run, batch)
    files = [[file.sha256, file.id] for file in batch.files]
    reading = reading_key(source, run.recipe.ingest)
    return step_key(STEP, VERSION, source=source.name, reading=reading, files=files, mb=run.recipe.ingest.shard_mb)


def found(run: Run, batches: Sequence[Batch]) -> list[StepRecord | None]:
    """Return what an earlier, unfinished run read already, None for the batches that are to be read."""
    store = open_store(run.store)
    return [read_record(store, STEP, key(run, batch)) for batch in batches]


def run(run: Run, batch: Batch) -> StepRecord:
    """Ingest one batch of files; a file or row that cannot be read is recorded, and does not stop the rest."""
    return once(run, STEP, key(run, batch), lambda store: _ingest(run, batch, store))


def _ingest(run: Run, batch: Batch, store: Store) -> Outcome:
    source, options = _source(run, batch), run.recipe.ingest
    bad: list[dict[str, Any]] = []
    files: list[dict[str, Any]] = []
    masked: dict[str, int] = dict.fromkeys(options.mask, 0)

    def tables() -> Iterator[pa.Table]:
        for file in batch.files:
            rows, unreadable = 0, len(bad)
            try:
                for read in _read(source, file):
                    bad.extend(
                        {"file": file.sha256, "row": b.row, "line": b.line, "reason": b.reason} for b in read.bad
                    )
                    rows += read.rows.height
                    yield _shape(read.rows, file, options, masked)
            except InputError as error:
                lost = max(error.rows - rows, 1)
                bad.extend(
                    {"file": file.sha256, "row": rows + i, "line": None, "reason": str(error)} for i in range(lost)
                )
            files.append({"sha256": file.sha256, "id": file.id, "rows": rows, "unreadable": len(bad) - unreadable})

    folder = pool_folder(run.corpus, STEP)
    names = {file.sha256: file.id for file in batch.files}
    shards = list(_write_shards(store, folder, tables(), options.shard_mb * MB))
    unreadable = [write_table(store, folder, pa.Table.from_pylist(bad, UNREADABLE))] if bad else []
    report = {
        "source": source.name,
        "reading": reading_key(source, options),
        "shards": len(shards),
        "files": files,
        "masked": masked,
        "faults": [_fault(names[row["file"]], row) for row in bad[:MOST_FAULTS_TOLD]],
    }
    return [*shards, *unreadable], report


def _fault(name: str, row: dict[str, Any]) -> str:
    place = f"line {row['line']}" if row["line"] is not None else f"row {row['row']}"
    # What is wrong with a whole file names the file itself.
    return row["reason"] if name in row["reason"] else f"{name}: {place}: {row['reason']}"


def _read(source: Source, file: SourceFile) -> Iterator[readers.Batch]:
    format, compression = source.format, None
    if format == "auto":
        format, compression = readers.detect(file.path)  # type: ignore[assignment]
    else:
        compression = {".gz": "gzip", ".zst": "zstd"}.get(Path(file.path).suffix.lower())
    fields = source.fields.model_dump()
    if source.origin_field:
        fields["origin"] = source.origin_field
    with open(file.path, "rb") as stream:
        yield from readers.read(file.id, stream, format, compression, fields)


def _shape(rows: pl.DataFrame, file: SourceFile, options: Ingest, masked: dict[str, int]) -> pa.Table:
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
        file=pl.lit(file.sha256),
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
        with table_file(store, folder, SHARD) as shard:
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


def check_bad_rows(recipe: Recipe, records: Sequence[StepRecord]) -> list[str]:
    """Return a warning for each source with unreadable rows, naming the first of them by file, line and reason.

    Raises InputError when their share passes ingest.max_bad_rows in a source; nothing is published then.
    """
    warnings = []
    for name in sorted({record.report["source"] for record in records}):
        own = [record for record in records if record.report["source"] == name]
        files = [file for record in own for file in record.report["files"]]
        bad, rows = sum(f["unreadable"] for f in files), sum(f["rows"] for f in files)
        warnings += [f"source {name}: {file['id']} is empty" for file in files if not file["rows"] + file["unreadable"]]
        if not bad:
            continue
        faults = [fault for record in own for fault in record.report["faults"]][:MOST_FAULTS_TOLD]
        message = f"source {name}: {bad} of {bad + rows} rows cannot be read:\n  " + "\n  ".join(faults)
        if bad / (bad + rows) > recipe.ingest.max_bad_rows:
            raise InputError(
                f"{message}\nThat is over the limit ingest.max_bad_rows {recipe.ingest.max_bad_rows:g}; nothing is "
                "published; mend the files or raise the limit"
            )
        warnings.append(message)
    return warnings


def _source(run: Run, batch: Batch) -> Source:
    for source in run.recipe.sources:
        if source.name == batch.source:
            return source
    raise RecipeError(f"the recipe has no source {batch.source!r}")
