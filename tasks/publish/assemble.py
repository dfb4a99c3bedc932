"""Assemble: write the chosen documents as content-addressed Parquet files, with the columns of PUBLISHED.

A file holds one stratum, one night and one split, its rows by sampling priority. The priorities of a stratum's night
are cut into equal ranges, one a file, so that a moved threshold or a new night leaves the other files as they are.
Each partition deals its documents to batches of files, and a batch is written after the other: no more is held.
"""

import hashlib

import polars as pl
import pyarrow as pa

from cuvee.schemas.amounts import count, count_unknown, counted_columns, is_by_probability
from cuvee.schemas.document import HIDDEN_ID, MESSAGES, PUBLISHED, STRATUM
from cuvee.schemas.manifest import DataFile, Stratum
from cuvee.schemas.marking import KEY, mark_of, write_mark
from cuvee.schemas.recipe import Recipe
from cuvee.schemas.records import CountReport, FileRecord, Run, step_key
from cuvee.schemas.tables import CONCLUDED, DECLARED, DecidedRef, PlannedRef
from cuvee.storage.corpus import corpus_folder, data_folder, read_record, write_record
from cuvee.storage.store import Store
from cuvee.storage.tables import read_table, write_table
from cuvee.tasks.exchange import again, collect, deal, groups
from cuvee.tasks.ingest.reading import MB
from cuvee.tasks.pool import Pool, Texts, frame_of
from cuvee.tasks.steps import folder_of, load_part, look_up, part_published, progress

STEP = "assemble"
VERSION = 3
# A row takes about 1 KB while it is written.
ROWS_A_BATCH = 1 << 18
_FILE = [*STRATUM, "accepted", "split", "part"]
_NIGHT = ["source", "domain", "language", "accepted"]
_READ_AGAIN = ["text", "url", "title", "messages", "extra"]
_MESSAGES = pl.Series(pa.array([], MESSAGES)).dtype
# What fixes how many files a night has, and what is published of a row beside its text and its place in the sample.
_SIZES = ("doc_id", "source", "domain", "language", "accepted", "bytes", "row_accepted", "file", "row")
_PUBLISHED = (
    *(n for n in PUBLISHED.names if n in DECLARED or n in CONCLUDED),
    "accepted",
    "file",
    "row",
    "words",
    "tokens",
)


def run(run: Run, store: Store, pool: Pool, decided: DecidedRef, planned: PlannedRef) -> list[DataFile]:
    """Write every file of the candidate that does not stand yet, and count each from what was written.

    decided: every current row (their sizes fix how many files a night has); planned: the survivors with their split.
    """
    ranges = _ranges(run.recipe, store, decided)
    places = _places(store, decided, planned, ranges)
    batches = 1 << (int(places["batch"].max() or 0)).bit_length()  # type: ignore[arg-type]
    dealt, schema = [], pl.Schema()
    for part, kept in zip(decided.partitions, planned.kept, strict=True):
        rows = look_up(_parted(part_published(store, part, kept, _PUBLISHED), ranges), _FILE, places)
        dealt.append(deal(store, folder_of(run), rows, rows["batch"].to_numpy(), batches))
        schema = rows.schema
    if second := groups(dealt):
        dealt = [again(store, folder_of(run), dealt, first) for first in second]
    shards = {number: shard.file.sha256 for number, shard in enumerate(pool.shards)}
    files: list[DataFile] = []
    with Texts(store, pool.shards, _READ_AGAIN) as texts:
        for batch in range(batches):
            rows = collect(store, dealt, batch, schema).with_columns(place=pl.col("shard").replace_strict(shards))
            for _, documents in sorted(rows.group_by("number"), key=lambda one: one[0]):
                files.append(_file(run, store, texts, documents))
                progress("files", len(files), places.height)
    return files


def _ranges(recipe: Recipe, store: Store, decided: DecidedRef) -> pl.DataFrame:
    """Return into how many ranges of priority the files of a night are cut: columns of _NIGHT, and ranges (uint64).

    The number follows from all text of the source, domain, language and night, chosen or not, so it stays when a
    threshold moves.
    """
    sizes = []
    for part in decided.partitions:
        rows = load_part(store, part, _SIZES).sort("row_accepted", "source", "file", "row")
        # Copies of a document count where it came in first, so that later copies change nothing.
        distinct = rows.unique("doc_id", keep="first", maintain_order=True)
        sizes.append(distinct.group_by(_NIGHT).agg(pl.col("bytes").sum()))
    size = pl.col("bytes").sum() / (recipe.publish.shard_mb * MB)
    return pl.concat(sizes).group_by(_NIGHT).agg(ranges=size.ceil().clip(1).cast(pl.UInt64))


def _parted(chosen: pl.DataFrame, ranges: pl.DataFrame) -> pl.DataFrame:
    """Give each chosen document the number of its file within its stratum and night (column part, int64).

    ranges: of `_ranges`. A priority of 64 bits is cut by its upper 32.
    """
    part = ((pl.col("priority") // 2**32) * pl.col("ranges") // 2**32).cast(pl.Int64)
    chosen = look_up(chosen, _NIGHT, ranges)
    # A night may hold a document that came in first elsewhere, as text of another source.
    return chosen.with_columns(pl.col("ranges").fill_null(1)).with_columns(part=part).drop("ranges")


def _places(store: Store, decided: DecidedRef, planned: PlannedRef, ranges: pl.DataFrame) -> pl.DataFrame:
    """List the files of the candidate, columns of _FILE, with the number of each and the batch in which it is written:
    neighbouring files of about ROWS_A_BATCH rows.
    """
    counts = []
    for part, kept in zip(decided.partitions, planned.kept, strict=True):
        rows = _parted(part_published(store, part, kept, [*STRATUM, "accepted"]), ranges)
        counts.append(rows.group_by(_FILE).agg(rows=pl.len()))
    files = pl.concat(counts).group_by(_FILE).agg(pl.col("rows").cast(pl.Int64).sum())
    order = sorted(range(files.height), key=lambda place: tuple(map(str, files.row(place)[:-1])))
    before = pl.col("rows").cum_sum() - pl.col("rows")
    return files[order].with_row_index("number").with_columns(batch=before // ROWS_A_BATCH).drop("rows")


def _file(run: Run, store: Store, texts: Texts, documents: pl.DataFrame) -> DataFile:
    documents = documents.sort("priority", "doc_id")
    thin = _columns(documents)
    metadata = _metadata(run, documents)
    unit, unknown_as = run.recipe.mixture.unit, run.recipe.provenance.unknown_as
    counting = {"unit": unit, **({"unknown_as": unknown_as} if is_by_probability(unknown_as) else {})}
    key = step_key(STEP, VERSION, content=_digest(documents, thin), metadata=metadata, corpus=run.corpus, **counting)
    record = read_record(store, FileRecord, STEP, key, corpus_folder(run.corpus))
    if record is None:
        again = frame_of(texts.take(documents["shard"].to_numpy(), documents["position"].to_numpy()))
        again = again.with_columns(pl.col("messages").str.json_decode(_MESSAGES))
        table = thin.hstack(again).select(PUBLISHED.names).to_arrow().cast(PUBLISHED)
        ref = write_table(store, data_folder(run.corpus), table, level=3, metadata=metadata)
        written = frame_of(read_table(store, ref, counted_columns(unit, unknown_as)))
        told = CountReport(amounts=count(written, unit), human_of_unknown=count_unknown(written, unit, unknown_as))
        record = FileRecord(key=key, files=(ref,), report=told)
        write_record(store, record)
    first = documents.row(0, named=True)
    return DataFile(
        **record.files[0].model_dump(),
        split=first["split"],
        stratum=Stratum(**{name: first[name] for name in STRATUM}),
        accepted=first["accepted"],
        amounts=record.report.amounts,
        human_of_unknown=record.report.human_of_unknown,
    )


def _metadata(run: Run, documents: pl.DataFrame) -> dict[str, str]:
    """Return what a file says of itself, as the recipe wants it: its mark, or nothing."""
    if run.recipe.publish.marking == "none":
        return {}
    generators = documents.select("generator", "model").unique().iter_rows()
    return {KEY: write_mark(mark_of(run.corpus, documents["provenance"][0], documents.height, generators))}


def _columns(documents: pl.DataFrame) -> pl.DataFrame:
    """Return all published columns but those that are read again from the shards."""
    own = pl.col("source_id")
    shown = pl.when(~own.str.contains(HIDDEN_ID)).then(own)
    return documents.with_columns(
        source_id=pl.coalesce(shown, pl.concat_str("file", pl.lit(":"), "row")),
        tokens=pl.coalesce("tokens", "words"),
        seed_ids=pl.col("seed_ids").fill_null([]),
    ).select(name for name in PUBLISHED.names if name not in _READ_AGAIN)


def _digest(documents: pl.DataFrame, thin: pl.DataFrame) -> str:
    """Hash all that decides a file's bytes; the place of a row stands for what is read again from there."""
    sink = pa.BufferOutputStream()
    table = thin.hstack(documents.select("place", "position")).rechunk().to_arrow()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return hashlib.sha256(sink.getvalue()).hexdigest()
