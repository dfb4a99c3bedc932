"""The oracle of decisions: one table of all rows, no partition, no exchange; what the pipeline has to agree with.

What a step makes of its rows is the product's own; which rows it is given, and in which order, is told here.
"""

from collections.abc import Sequence
from typing import Any

import polars as pl

from cuvee.schemas.document import THIN
from cuvee.schemas.records import Run, SourceFile, StepRecord
from cuvee.schemas.tables import AMOUNTS, CONCLUDED, DECLARED, OVERLAPS, ROWS, SCORES, TEXT_KEYS, TOKENS
from cuvee.storage.store import Store
from cuvee.storage.tables import read_table, read_tables
from cuvee.tasks import filters
from cuvee.tasks.decide import copies, told
from cuvee.tasks.decide.current import Drafts, declare, gone, own_copies
from cuvee.tasks.decide.ended import Verdicts
from cuvee.tasks.decide.evidence import weigh
from cuvee.tasks.decide.gather import among, representatives
from cuvee.tasks.decide.judge import let_object
from cuvee.tasks.decide.verdicts import excluded
from cuvee.tasks.dedup.pairs import read_pairs
from cuvee.tasks.filters import Gathering
from cuvee.tasks.measure.signals import filter_options, provenance_model
from cuvee.tasks.pool import Pool, declared, frame_of, signal_rows
from cuvee.tasks.provenance.conclude import known_human, of_known
from cuvee.tasks.steps import look_up


def decide(
    run: Run, store: Store, pool: Pool, files: Sequence[SourceFile], drafts: Drafts, dates: dict[int, str]
) -> pl.DataFrame:
    """Return all columns of the decided table, by doc_id, shard and position."""
    threshold = run.recipe.dedup.threshold
    near = read_pairs(store, pool.known_pairs).filter(pl.col("jaccard") >= threshold)
    rows = _current(run, store, pool, files, drafts, dates, near)
    verdicts = Verdicts(rows.height)
    verdicts.object("ingest", gone(run, rows), detail=told.tell(rows, told.of_dates(run.recipe)))
    counted = verdicts.alive
    verdicts.object("generate", rows["gate"])
    _filter(run, store, pool, rows, near, counted, verdicts)
    rows = _conclude(run, store, pool, rows, verdicts.alive)
    ones = pl.repeat(1.0, rows.height, dtype=pl.Float64, eager=True)
    verdicts.object("dedup_exact", copies.exact(rows, verdicts.alive), keeper=rows["doc_id"], jaccard=ones)
    if run.recipe.provenance.suspects == "drop":
        suspect = rows.select(pl.when("suspect").then(pl.lit("suspect"))).to_series()
        verdicts.object("classify", suspect, detail=told.tell(rows, told.of_suspects()))
    apart = [source.name for source in run.recipe.sources if not source.near_duplicates]
    found = copies.near(rows, verdicts.alive, near, threshold, apart)
    bound = told.tell(rows, told.of_near_copies(run.recipe))
    verdicts.object("dedup_near", found["reason"], keeper=found["keeper"], jaccard=found["jaccard"], detail=bound)
    overlaps = _signals(store, pool, "decontaminate", OVERLAPS, rows)
    over = pl.col("overlap").cast(pl.Float64).round(6) >= run.recipe.decontaminate.overlap
    reason = overlaps.select(pl.when(over).then(pl.lit("benchmark"))).to_series()
    verdicts.object("decontaminate", reason, detail=told.tell(overlaps, told.of_overlaps(run.recipe)))
    verdicts.object("mixture", excluded(run, rows), detail=told.tell(rows, told.of_depth(run.recipe)))
    rows = rows.with_columns(_signals(store, pool, "tokens", TOKENS, rows))
    parts = [declared(rows, DECLARED), declared(rows, CONCLUDED), verdicts.table, declared(rows, AMOUNTS)]
    return pl.concat(parts, how="horizontal").sort("doc_id", "shard", "position")


def of_sources(rows: pl.DataFrame, default: float, max_false_positive_rate: float) -> pl.DataFrame:
    """Return the threshold of each source: what `of_known` gives of all its rows, as `known_human` wants them."""
    return of_known(known_human(rows), rows.select("source").unique(), default, max_false_positive_rate)


def _current(
    run: Run,
    store: Store,
    pool: Pool,
    files: Sequence[SourceFile],
    drafts: Drafts,
    dates: dict[int, str],
    near: pl.DataFrame,
) -> pl.DataFrame:
    """Return the current rows: columns of ROWS and DECLARED, place (of the row among all of the pool), own_copy, and
    what `gone` looks at.
    """
    rows = thin_rows(store, pool).with_row_index("place")
    language = _signals(store, pool, "filter-language", filters.table("language"), rows)["language"]
    keys = _signals(store, pool, "sign", TEXT_KEYS, rows)["text_key"]
    rows = declare(run, rows.with_columns(language, keys))
    rows = rows.with_columns(
        own_copy=own_copies(rows, near, dates),
        row_accepted="accepted",
        accepted=pl.col("accepted").min().over("doc_id"),
        file_accepted=pl.col("accepted").min().over("source", "file"),
    )
    rows = with_files(spoken_of(run, rows, drafts), pool, files)
    # A file on disk is newer than one that is gone; of two on disk, or two gone, the one that came in later.
    age, same = pl.struct("present", "file_accepted").rank("dense"), ("source", "source_id")
    older = age.over(same) < age.max().over(same)
    return rows.with_columns(superseded=~pl.col("generated") & pl.col("source_id").is_not_null() & older)


def _signals(store: Store, pool: Pool, kind: str, schema: pl.Schema, rows: pl.DataFrame) -> pl.DataFrame:
    """Return a kind's signals for rows, by their place in the pool; raises AssertionError for signals of other rows."""
    signals = signal_rows(store, pool, kind, schema)[rows["place"]]
    if kind in pool.signals and not rows["doc_id"].equals(signals["doc_id"]):
        raise AssertionError(f"the {kind} table does not match its shards row by row")
    return signals.drop("doc_id")


def _filter(
    run: Run, store: Store, pool: Pool, rows: pl.DataFrame, near: pl.DataFrame, counted: pl.Series, verdicts: Verdicts
) -> None:
    """Let the recipe's filters object, in their order, each by the signals of its own kind.

    counted: which rows are documents of their source.
    """
    for entry in filter_options(run):
        step, kind = filters.step(entry), filters.kinds()[entry.kind]
        signals = _signals(store, pool, step, filters.table(entry.kind), rows)
        # What is declared of a row, as its language, stands before what was found in its text.
        frame = rows.hstack(signals.drop(rows.columns, strict=False))
        if isinstance(kind, Gathering):
            first = representatives(rows.filter(counted), near)
            frame = frame.with_columns(gather(store, pool.signals[step], kind, entry, rows, first))
        let_object(run, frame, entry, verdicts)


def _conclude(run: Run, store: Store, pool: Pool, rows: pl.DataFrame, alive: pl.Series) -> pl.DataFrame:
    """Add the columns of CONCLUDED."""
    rate, model = run.recipe.provenance.max_false_positive_rate, provenance_model(run)
    speaks = pl.col("language").is_in(list(model.languages))
    rows = rows.hstack(_signals(store, pool, "classify", SCORES, rows)).with_columns(
        own_draft=pl.col("generated"), p_model=pl.when(speaks).then(pl.col("p_model"))
    )
    own = of_sources(rows.filter(alive), model.threshold(rate), rate)
    return weigh(run, rows, own.drop("known_human"))


def spoken_of(run: Run, rows: pl.DataFrame, drafts: Drafts) -> pl.DataFrame:
    """Keep the rows of this recipe's sources, read as it reads, and the drafts that its generators produce.

    drafts: (generator's name, request key); of two drafts of one request the first is kept.
    """
    readings = pl.DataFrame({"source": list(run.readings), "reading": list(run.readings.values())})
    rows = rows.join(readings, on=["source", "reading"], how="semi", maintain_order="left")
    if not rows["generated"].any():
        return rows
    planned = pl.DataFrame(drafts, schema={"source": pl.String, "source_id": pl.String}, orient="row")
    generated = rows.filter("generated").join(planned, on=["source", "source_id"], how="semi", maintain_order="left")
    generated = generated.unique(["source", "source_id"], keep="first", maintain_order=True)
    return pl.concat([rows.filter(~pl.col("generated")), generated])


def with_files(rows: pl.DataFrame, pool: Pool, files: Sequence[SourceFile]) -> pl.DataFrame:
    """Add `present`; a row of a file that is one document has the path of its file as source_id."""
    rows = look_up(rows, ["source", "file"], _file_names(pool, files))
    return rows.with_columns(
        pl.col("present").fill_null(value=False), source_id=pl.coalesce("path_id", "source_id")
    ).drop("path_id")


def _file_names(pool: Pool, files: Sequence[SourceFile]) -> pl.DataFrame:
    """Return source, file, present, and path_id: for a file that is one document the path it has now, or had last."""
    names: dict[tuple[str, str], tuple[bool, str | None]] = {}
    documents = set()
    for report in (record.report for record in pool.ingested):
        for file in report.files:
            key = (report.source, file.sha256)
            names[key] = (False, file.id if file.document else None)
            if file.document:
                documents.add(key)
    for found in reversed(files):  # of several paths with one content, the first
        key = (found.source, found.sha256)
        names[key] = (True, found.id if key in documents else None)
    schema = {"source": pl.String, "file": pl.String, "present": pl.Boolean, "path_id": pl.String}
    return pl.DataFrame([(*key, *value) for key, value in names.items()], schema=schema, orient="row")


def gather(
    store: Store, records: Sequence[StepRecord], kind: Gathering, options: Any, rows: pl.DataFrame, first: pl.DataFrame
) -> pl.Series:
    """Return the column that `kind.gathered` names, a value for each of `rows`.

    records: of the kind's signals, one a shard. rows: shard, position, source; a shard holds one source. first: what
    `representatives` gives of them.
    """
    placed = rows.select("shard", "position", "source").with_row_index("row")
    counted = placed.join(first, on=["shard", "position"], how="semi")
    found: list[pl.DataFrame] = []
    for source in placed["source"].unique().sort():
        shards = placed.filter(source=source)["shard"].unique().sort().to_list()
        counts = []
        for shard in shards:
            parts = frame_of(read_table(store, records[shard].files[1]))
            of_counted = counted.filter(shard=shard)["position"]
            counts.append(kind.count(parts.filter(among(of_counted, records[shard].files[0].rows, parts)), options))
        chosen = kind.choose(pl.concat(counts).group_by("key").agg(pl.col("documents").sum()), options)
        for shard in shards:
            signals, parts = (frame_of(read_table(store, file)) for file in records[shard].files)
            column = kind.gather(signals, parts, chosen, options)
            here = placed.filter(shard=shard)
            found.append(here.select("row", value=column.gather(here["position"])))
    if not found:
        return pl.Series([], dtype=pl.Float64)
    return pl.concat(found).sort("row")["value"].alias(kind.gathered(options))


def thin_rows(store: Store, pool: Pool) -> pl.DataFrame:
    """Read the thin columns of every row of the pool: ROWS. About 200 bytes a row; no text is read."""
    frames = [ROWS.to_frame()]
    # Shards written before a column was added have it as null.
    tables = read_tables(store, [shard.file for shard in pool.shards], THIN, needed=["doc_id"])
    for number, (shard, table) in enumerate(zip(pool.shards, tables, strict=True)):
        frame = frame_of(table).with_columns(
            shard=pl.lit(number, pl.Int32),
            position=pl.int_range(pl.len(), dtype=pl.Int64),
            source=pl.lit(shard.source),
            accepted=pl.lit(shard.accepted, pl.Int32),
            generated=pl.lit(shard.generated),
            reading=pl.lit(shard.reading),
        )
        frames.append(frame)
    return declared(pl.concat(frames, how="diagonal"), ROWS)
