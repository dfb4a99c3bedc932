"""The oracle of decisions: one table of all rows, no partition, no exchange; what the pipeline has to agree with."""

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import polars as pl

from cuvee.schemas.document import THIN
from cuvee.schemas.records import Run, SourceFile, StepRecord
from cuvee.schemas.tables import AMOUNTS, CONCLUDED, DECLARED, OVERLAPS, ROWS, SCORES, TEXT_KEYS, VERDICTS
from cuvee.storage.store import Store
from cuvee.storage.tables import read_table, read_tables
from cuvee.tasks import filters
from cuvee.tasks.decide import rights, told
from cuvee.tasks.decide.current import Drafts, declare
from cuvee.tasks.dedup.pairs import read_pairs
from cuvee.tasks.dedup.resolve import SURVIVOR, Resolution, collapse, expand, resolve
from cuvee.tasks.filters import Gathering, opt_out
from cuvee.tasks.measure.signals import filter_options, provenance_model
from cuvee.tasks.pool import Pool, declared, frame_of, read_declared
from cuvee.tasks.provenance.conclude import Thresholds, conclude, of_sources
from cuvee.tasks.steps import look_up

_EXACT_ORDER = ["rank", "suspect", "row_accepted", "source", "file", "row"]
_NEAR_ORDER = ["rank", "accepted", "longer_first", "doc_id"]
_RANK = {"human": 0, "unknown": 1, "synthetic": 2}
_NEAR = {"reason": pl.String(), "keeper": pl.String(), "jaccard": pl.Float64()}


class Verdicts:
    """How some rows ended, while the steps look at them: the first that objects to a row names its reason."""

    def __init__(self, height: int) -> None:
        self.table = pl.select(pl.repeat(None, height, dtype=kind).alias(name) for name, kind in VERDICTS.items())

    @property
    def alive(self) -> pl.Series:
        """Tell which rows no step has objected to."""
        return self.table["verdict"].is_null()

    def object(self, step: str, verdict: pl.Series, **explained: pl.Series) -> None:
        """Give the rows that have no verdict yet the one of this step, null for none, and what explains it."""
        objects = self.alive & verdict.is_not_null()
        named = pl.repeat(step, len(verdict), dtype=pl.String, eager=True)
        new = {"step": named, "verdict": verdict, **explained}
        self.table = self.table.with_columns(
            values.cast(VERDICTS[name]).zip_with(objects, self.table[name]).alias(name) for name, values in new.items()
        )


def decide(
    run: Run, store: Store, pool: Pool, files: Sequence[SourceFile], drafts: Drafts, dates: dict[int, str]
) -> pl.DataFrame:
    """Return all columns of the decided table, by doc_id, shard and position."""
    threshold = run.recipe.dedup.threshold
    near = read_pairs(store, pool.known_pairs).filter(pl.col("jaccard") >= threshold)
    rows = _current(run, store, pool, files, drafts, dates, near)
    verdicts = Verdicts(rows.height)
    verdicts.object("ingest", gone(run, rows), detail=_tell(rows, told.of_dates(run.recipe)))
    counted = verdicts.alive
    verdicts.object("generate", rows["gate"])
    _filter(run, store, pool, rows, near, counted, verdicts)
    rows = _conclude(run, store, pool, rows, verdicts.alive)
    ones = pl.repeat(1.0, rows.height, dtype=pl.Float64, eager=True)
    verdicts.object("dedup_exact", exact_copies(rows, verdicts.alive), keeper=rows["doc_id"], jaccard=ones)
    if run.recipe.provenance.suspects == "drop":
        suspect = rows.select(pl.when("suspect").then(pl.lit("suspect"))).to_series()
        verdicts.object("classify", suspect, detail=_tell(rows, told.of_suspects()))
    apart = [source.name for source in run.recipe.sources if not source.near_duplicates]
    found = near_copies(rows, verdicts.alive, near, threshold, apart)
    bound = _tell(rows, told.of_near_copies(run.recipe))
    verdicts.object("dedup_near", found["reason"], keeper=found["keeper"], jaccard=found["jaccard"], detail=bound)
    overlaps = _signals(store, pool, "decontaminate", OVERLAPS, rows)
    over = pl.col("overlap").cast(pl.Float64).round(6) >= run.recipe.decontaminate.overlap
    reason = overlaps.select(pl.when(over).then(pl.lit("benchmark"))).to_series()
    verdicts.object("decontaminate", reason, detail=_tell(overlaps, told.of_overlaps(run.recipe)))
    verdicts.object("mixture", _excluded(run, rows), detail=_tell(rows, told.of_depth(run.recipe)))
    parts = [declared(rows, DECLARED), declared(rows, CONCLUDED), verdicts.table, declared(rows, AMOUNTS)]
    return pl.concat(parts, how="horizontal").sort("doc_id", "shard", "position")


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
    return with_files(spoken_of(run, rows, drafts), pool, files)


def _tell(rows: pl.DataFrame, told: pl.Expr) -> pl.Series:
    return rows.with_columns(told.alias("detail"))["detail"]


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
    options = filter_options(run)
    for entry in options:
        step, kind = filters.step(entry), filters.kinds()[entry.kind]
        signals = _signals(store, pool, step, filters.table(entry.kind), rows)
        # What is declared of a row, as its language, stands before what was found in its text.
        frame = rows.hstack(signals.drop(rows.columns, strict=False))
        if isinstance(kind, filters.Gathering):
            first = representatives(rows.filter(counted), near)
            frame = frame.with_columns(gather(store, pool.signals[step], kind, entry, rows, first))
        if isinstance(entry, opt_out.Options):
            frame = frame.hstack(rights.sites(run, frame, entry))
        verdict = filters.judge(frame, [entry])
        detail = filters.tell(frame, entry, verdict)
        if isinstance(entry, opt_out.Options):
            detail = frame["opt_out_told"].fill_null(detail)
        verdicts.object("filter", verdict, detail=detail)


def _conclude(run: Run, store: Store, pool: Pool, rows: pl.DataFrame, alive: pl.Series) -> pl.DataFrame:
    """Add the columns of CONCLUDED."""
    options = run.recipe.provenance
    model = provenance_model(run)
    thresholds = Thresholds(
        synthetic=model.threshold(options.max_false_positive_rate),
        human=model.human_threshold(),
        suspects=options.suspects,
    )
    speaks = pl.col("language").is_in(list(model.languages))
    rows = rows.hstack(_signals(store, pool, "classify", SCORES, rows)).with_columns(
        own_draft=pl.col("generated"), p_model=pl.when(speaks).then(pl.col("p_model"))
    )
    # A source that brings text known to be human is judged by how that text scores.
    own = of_sources(rows.filter(alive), thresholds.synthetic, options.max_false_positive_rate)
    rows = look_up(rows, ["source"], own.drop("known_human")).with_columns(
        threshold=pl.col("threshold").fill_null(thresholds.synthetic),
        calibrated=pl.col("calibrated").fill_null(value=False),
    )
    rows = conclude(rows, thresholds)
    counted_human = ["human", "unknown"] if options.unknown_as == "human" else ["human"]
    depth = pl.when(pl.col("provenance").is_in(counted_human)).then(0).otherwise(pl.coalesce("depth", pl.lit(1)))
    return rows.with_columns(depth=depth)


def _excluded(run: Run, rows: pl.DataFrame) -> pl.Series:
    """Object to what the mixture may not hold: documents of unknown provenance, and those too far from human text."""
    unknown = (pl.col("provenance") == "unknown") & pl.lit(run.recipe.provenance.unknown_as == "exclude")
    deep = pl.col("depth") > run.recipe.mixture.depth.max
    reason = pl.when(unknown).then(pl.lit("unknown_provenance")).when(deep).then(pl.lit("depth"))
    return rows.select(reason.alias("reason"))["reason"]


def own_copies(rows: pl.DataFrame, pairs: pl.DataFrame, dates: dict[int, str]) -> pl.Series:
    """Tell which rows equal or nearly equal a draft of ours accepted before them.

    The seed of the draft is no copy of it, nor is a text that came in before it, nor one that a trusted date shows to
    be older.
    """
    rows = rows.with_row_index("index")
    drafts = rows.filter("generated").select("doc_id", "text_key", draft_accepted="accepted", draft_seeds="seed_ids")
    if drafts.is_empty():
        return pl.Series([False]).new_from_index(0, rows.height)
    near = pl.concat([pairs.select("a", "b"), pairs.select(a="b", b="a")])
    through = drafts.join(near, left_on="text_key", right_on="a").select(
        pl.all().exclude("text_key", "b"), text_key="b"
    )
    others = (
        rows.filter(~pl.col("generated"))
        .with_columns(pl.col("accepted").min().over("doc_id"))
        .filter(pl.col("origin") != "synthetic")
        .select("index", "accepted", "created", "trusted_date", "text_key", "doc_id")
    )
    keys = pl.concat(
        [drafts.select(pl.all().exclude("doc_id")), through.select(pl.all().exclude("doc_id"))], how="diagonal"
    )
    days = pl.DataFrame(
        {"draft_accepted": list(dates), "draft_day": list(dates.values())},
        schema={"draft_accepted": pl.Int32, "draft_day": pl.String},
    ).with_columns(pl.col("draft_day").str.to_date("%Y-%m-%d"))
    copies = (
        others.join(keys, on="text_key")
        .join(days, on="draft_accepted", how="left")
        .filter(
            (pl.col("draft_accepted") < pl.col("accepted"))
            & ~pl.col("draft_seeds").list.contains(pl.col("doc_id"))
            & ~(pl.col("trusted_date") & (pl.col("created") < pl.col("draft_day"))).fill_null(value=False)
        )
    )
    return rows["index"].is_in(copies["index"].implode())


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


def gone(run: Run, rows: pl.DataFrame) -> pl.Series:
    """Tell why rows do not count: vanished, superseded, min_date, empty, or null where they do.

    rows: source, source_id, generated, created, words; present: the row's file is on disk; file_accepted: the pool
    state that first held it.
    """
    # A file on disk is newer than one that is gone; of two on disk, or two gone, the one that came in later.
    age = pl.struct("present", "file_accepted")
    older = age.rank("dense").over("source", "source_id") < age.rank("dense").max().over("source", "source_id")
    dropping = [source.name for source in run.recipe.sources if source.vanished == "drop"]
    min_date = run.recipe.ingest.min_date
    reason = (
        pl.when(~pl.col("generated") & pl.col("source").is_in(dropping) & ~pl.col("present"))
        .then(pl.lit("vanished"))
        .when(~pl.col("generated") & pl.col("source_id").is_not_null() & older)
        .then(pl.lit("superseded"))
        .when(pl.col("created") < min_date if min_date else pl.lit(value=False))
        .then(pl.lit("min_date"))
        .when(pl.col("words") == 0)
        .then(pl.lit("empty"))
    )
    return rows.select(reason.alias("gone"))["gone"]


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


def exact_copies(rows: pl.DataFrame, alive: pl.Series) -> pl.Series:
    """Object to all but the first, in keeper order, of the rows alive with one doc_id: duplicate_exact, copy_of_human.

    rows: doc_id, provenance, suspect, row_accepted, source, file, row.
    """
    ordered = _alive(rows, alive, "doc_id", *_EXACT_ORDER[1:]).sort(_EXACT_ORDER)
    first = ordered.unique("doc_id", keep="first", maintain_order=True)
    later = ordered.join(first.select("place"), on="place", how="anti")
    # Human text comes first in the order, so where there is any the first is human.
    of_human = later.join(first.filter(pl.col("rank") == 0).select("doc_id"), on="doc_id", how="semi")["place"]
    machines = later.filter(pl.col("rank") == _RANK["synthetic"])["place"]
    reason = pl.when(pl.col("place").is_in(of_human.implode()) & pl.col("place").is_in(machines.implode()))
    named = later.select("place", reason=reason.then(pl.lit("copy_of_human")).otherwise(pl.lit("duplicate_exact")))
    return _spread(named, rows.height)["reason"]


def near_copies(
    rows: pl.DataFrame, alive: pl.Series, pairs: pl.DataFrame, threshold: float, apart: Collection[str] = ()
) -> pl.DataFrame:
    """Object to documents alive that a survivor before them, in keeper order, nearly equals.

    rows: doc_id, text_key, source, provenance, accepted, chars; doc_ids alive are distinct. pairs: PAIRS, of any
    Jaccard. apart: sources whose rows are no near copies of each other, only of other sources' rows.
    Returns reason (duplicate_near, copy_of_human), keeper and jaccard, all null where there is no objection.
    """
    told = _alive(rows, alive, "doc_id", "text_key", "source", "accepted", "chars")
    told = told.with_columns(
        longer_first=-pl.col("chars"),
        # Rows of one source that stay apart share a number from 1 on; all others have 0.
        apart=pl.col("source").replace_strict({name: n for n, name in enumerate(sorted(apart), 1)}, default=0),
    )
    linked = pl.concat([pairs["a"], pairs["b"]]).unique()
    # A text without a twin or a near copy has nobody to fear.
    key = pl.col("text_key")
    told = told.filter(key.is_duplicated() | key.is_in(linked.implode())).sort(_NEAR_ORDER)
    if told.is_empty():
        return _spread(pl.DataFrame(schema={"place": pl.UInt32, **_NEAR}), rows.height)
    resolved = _resolved(told, pairs, threshold)
    gone = np.flatnonzero(resolved.keeper != SURVIVOR)
    keeper = resolved.keeper[gone]
    by_machine = (told["rank"].gather(gone) == _RANK["synthetic"]) & (told["rank"].gather(keeper) == _RANK["human"])
    found = pl.DataFrame(
        {
            "place": told["place"].gather(gone),
            "keeper": told["doc_id"].gather(keeper),
            "jaccard": resolved.jaccard[gone],
            "by_machine": by_machine,
        }
    )
    reason = pl.when("by_machine").then(pl.lit("copy_of_human")).otherwise(pl.lit("duplicate_near"))
    return _spread(found.with_columns(reason=reason).select("place", *_NEAR), rows.height)


def _resolved(told: pl.DataFrame, pairs: pl.DataFrame, threshold: float) -> Resolution:
    """Find the keepers of documents in keeper order.

    Documents of one text key, and of one source where its rows stay apart, are at the same Jaccard to all others, so
    they are one group; pairs within a source that stays apart fall away, and so do those of texts without survivors.
    """
    numbers = told.select(pl.struct("text_key", "apart").rank("dense").cast(pl.UInt64)).to_series()
    groups = collapse(numbers.to_numpy(), np.arange(told.height))
    # `collapse` numbers groups by their first documents.
    keys = told.select("text_key", "apart")[groups.representative].with_row_index("group")
    twins = keys.join(keys, on="text_key", suffix="_b").filter(pl.col("group") < pl.col("group_b"))
    linked = pairs.join(keys, left_on="a", right_on="text_key")
    linked = linked.join(keys, left_on="b", right_on="text_key", suffix="_b")
    columns = ["group", "group_b", "jaccard", "apart", "apart_b"]
    linked = pl.concat([linked.select(columns), twins.with_columns(jaccard=1.0).select(columns)])
    linked = linked.filter((pl.col("apart") == 0) | (pl.col("apart") != pl.col("apart_b")))
    found = resolve(
        groups.representative.astype(np.int64),
        linked["group"].to_numpy().astype(np.int64),
        linked["group_b"].to_numpy().astype(np.int64),
        linked["jaccard"].to_numpy(),
        threshold,
    )
    resolved = expand(groups, found)
    spared = (found.keeper == SURVIVOR)[groups.group] & (told["apart"] > 0).to_numpy()
    return Resolution(np.where(spared, SURVIVOR, resolved.keeper), np.where(spared, 0.0, resolved.jaccard))


def _alive(rows: pl.DataFrame, alive: pl.Series, *columns: str) -> pl.DataFrame:
    """Return columns of the rows alive, with their place and the rank of their provenance."""
    rank = pl.col("provenance").replace_strict(_RANK, return_dtype=pl.Int8)
    return rows.select(*columns, rank=rank).with_row_index("place").filter(alive)


def _spread(found: pl.DataFrame, height: int) -> pl.DataFrame:
    """Put what was found at some places among all of them, null elsewhere."""
    places = pl.DataFrame({"place": pl.int_range(height, dtype=pl.UInt32, eager=True)})
    return places.join(found, on="place", how="left", maintain_order="left").drop("place")


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
            counts.append(kind.count(parts.filter(_among(of_counted, records[shard].files[0].rows, parts)), options))
        chosen = kind.choose(pl.concat(counts).group_by("key").agg(pl.col("documents").sum()), options)
        for shard in shards:
            signals, parts = (frame_of(read_table(store, file)) for file in records[shard].files)
            column = kind.gather(signals, parts, chosen, options)
            here = placed.filter(shard=shard)
            found.append(here.select("row", value=column.gather(here["position"])))
    if not found:
        return pl.Series([], dtype=pl.Float64)
    return pl.concat(found).sort("row")["value"].alias(kind.gathered(options))


def representatives(rows: pl.DataFrame, pairs: pl.DataFrame) -> pl.DataFrame:
    """Return shard and position of the rows that are counted.

    rows: current rows; columns shard, position, source, doc_id, text_key. pairs: the near copies, PAIRS.
    """
    ordered = rows.select("shard", "position", "source", "doc_id", "text_key").sort("doc_id", "shard", "position")
    texts = ordered.unique(["source", "text_key"], keep="first", maintain_order=True).with_row_index("rank")
    ranks = texts.select("source", "rank", "text_key")
    linked = pairs.join(ranks, left_on="a", right_on="text_key")
    linked = linked.join(ranks, left_on=["b", "source"], right_on=["text_key", "source"], suffix="_b")
    a, b = (linked[name].to_numpy().astype(np.int64) for name in ("rank", "rank_b"))
    keeper = resolve(np.arange(texts.height), a, b, linked["jaccard"].to_numpy(), 0.0).keeper
    return texts.filter(keeper == SURVIVOR).select("shard", "position")


def _among(positions: pl.Series, height: int, parts: pl.DataFrame) -> pl.Series:
    """Tell which parts are of the documents at these positions of a shard of `height` rows."""
    counts = np.zeros(height, np.bool_)
    counts[positions.to_numpy()] = True
    return pl.Series(counts[parts["position"].to_numpy()], dtype=pl.Boolean)


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


def signal_rows(store: Store, pool: Pool, kind: str, schema: pl.Schema) -> pl.DataFrame:
    """Read what was measured of one kind of signal, a row for every row of the pool, in the order of `thin_rows`.

    schema: of its table, doc_id first. A kind that was not measured is all null.
    """
    if kind not in pool.signals:
        rows = sum(shard.file.rows for shard in pool.shards)
        return pl.select(pl.repeat(None, rows, dtype=kind_of).alias(name) for name, kind_of in schema.items())
    return read_declared(store, [record.files[0] for record in pool.signals[kind]], schema)
