"""Assemble: write the chosen documents as content-addressed Parquet files, with the columns of PUBLISHED.

A file holds one stratum, one night and one split, its rows by sampling priority. The priorities of a stratum's night
are cut into equal ranges, one a file, so that a moved threshold or a new night leaves the other files as they are.
"""

import hashlib

import polars as pl
import pyarrow as pa

from cuvee.schemas.document import PUBLISHED, STRATUM
from cuvee.schemas.manifest import DataFile, Stratum
from cuvee.schemas.recipe import Recipe
from cuvee.schemas.records import FileRef, Run, StepRecord, step_key
from cuvee.storage.corpus import data_folder, read_record, write_record
from cuvee.storage.store import Store, open_store
from cuvee.storage.tables import read_table, write_table
from cuvee.tasks.amounts import unit_amount
from cuvee.tasks.ingest.shards import MB
from cuvee.tasks.pool import Pool, Texts, frame_of
from cuvee.tasks.steps import load, look_up, progress

STEP = "assemble"
VERSION = 1
_FILE = [*STRATUM, "accepted", "split", "part"]
_READ_AGAIN = ["text", "url", "title"]
_ROWS = ["doc_id", "source", "domain", "language", "accepted", "bytes", "row_accepted", "file", "row"]


def run(run: Run, pool: Pool, decided: FileRef, planned: FileRef) -> list[DataFile]:
    """Write every file of the candidate that does not stand yet, and count each from what was written.

    decided: every current row (their sizes fix how many files a night has); planned: the survivors with their split.
    """
    store, rows, plan = open_store(run.store), load(run, decided, _ROWS), load(run, planned)
    chosen = parts(run.recipe, rows, plan.filter(pl.col("split").is_not_null()))
    groups = sorted(chosen.group_by(_FILE), key=lambda group: tuple(map(str, group[0])))
    shards = {number: shard.file.sha256 for number, shard in enumerate(pool.shards)}
    files = []
    with Texts(store, pool.shards, _READ_AGAIN) as texts:
        for done, (_, documents) in enumerate(groups, 1):
            files.append(_file(run, store, texts, documents.with_columns(place=pl.col("shard").replace_strict(shards))))
            progress("files", done, len(groups))
    return files


def parts(recipe: Recipe, rows: pl.DataFrame, chosen: pl.DataFrame) -> pl.DataFrame:
    """Give each chosen document the number of its file within its stratum and night (column part, int64).

    The number of ranges follows from all text of the source, domain, language and night, chosen or not, so it stays
    when a threshold moves. A priority of 64 bits is cut by its upper 32.
    """
    night = ["source", "domain", "language", "accepted"]
    size = pl.col("bytes").sum() / (recipe.publish.shard_mb * MB)
    # Copies of a document count where it came in first, so that later copies change nothing.
    distinct = rows.sort("row_accepted", "source", "file", "row").unique("doc_id", keep="first", maintain_order=True)
    ranges = distinct.group_by(night).agg(ranges=size.ceil().clip(1).cast(pl.UInt64))
    part = ((pl.col("priority") // 2**32) * pl.col("ranges") // 2**32).cast(pl.Int64)
    chosen = look_up(chosen, night, ranges)
    # A night may hold a document that came in first elsewhere, as text of another source.
    return chosen.with_columns(pl.col("ranges").fill_null(1)).with_columns(part=part)


def _file(run: Run, store: Store, texts: Texts, documents: pl.DataFrame) -> DataFile:
    documents = documents.sort("priority", "doc_id")
    thin = _columns(documents)
    key = step_key(STEP, VERSION, content=_digest(documents, thin), unit=run.recipe.mixture.unit, corpus=run.corpus)
    record = read_record(store, STEP, key)
    if record is None:
        again = frame_of(texts.take(documents["shard"].to_numpy(), documents["position"].to_numpy()))
        table = thin.hstack(again).select(PUBLISHED.names).to_arrow().cast(PUBLISHED)
        ref = write_table(store, data_folder(run.corpus), table, level=3)
        written = frame_of(read_table(store, ref, _counted(run.recipe)))
        record = StepRecord(step=STEP, key=key, files=(ref,), report={"amounts": count(run.recipe, written)})
        write_record(store, record)
    first = documents.row(0, named=True)
    return DataFile(
        **record.files[0].model_dump(),
        split=first["split"],
        stratum=Stratum(**{name: first[name] for name in STRATUM}),
        accepted=first["accepted"],
        amounts=record.report["amounts"],
    )


def _columns(documents: pl.DataFrame) -> pl.DataFrame:
    """Return all published columns but those that are read again from the shards."""
    return documents.with_columns(
        source_id=pl.coalesce("source_id", pl.concat_str("file", pl.lit(":"), "row")),
        tokens="words",
        seed_ids=pl.col("seed_ids").fill_null([]),
    ).select(name for name in PUBLISHED.names if name not in _READ_AGAIN)


def _digest(documents: pl.DataFrame, thin: pl.DataFrame) -> str:
    """Hash all that decides a file's bytes; the place of a row stands for what is read again from there."""
    sink = pa.BufferOutputStream()
    table = thin.hstack(documents.select("place", "position")).rechunk().to_arrow()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return hashlib.sha256(sink.getvalue()).hexdigest()


def _counted(recipe: Recipe) -> list[str]:
    return ["provenance", "tokens", "epochs", *(["text"] if recipe.mixture.unit == "bytes" else [])]


def count(recipe: Recipe, written: pl.DataFrame) -> dict[str, int]:
    """Count Σ amount · epochs by provenance from the columns of a published file."""
    written = written.with_columns(words=pl.col("tokens"))
    if recipe.mixture.unit == "bytes":
        written = written.with_columns(bytes=pl.col("text").str.len_bytes().cast(pl.Int64))
    amount = (unit_amount(recipe.mixture.unit) * pl.col("epochs")).sum().cast(pl.Int64)
    return {
        str(name): int(value)
        for name, value in written.group_by("provenance").agg(amount).sort("provenance").iter_rows()
    }
