"""Resolve: from thin tables, decide what becomes of every current row, without reading text.

Output columns (one row a current row of the recipe's sources and generators): shard, position, doc_id, source, file,
row, source_id, origin, license, domain, language, provenance, p_synthetic, evidence, depth (int8), created, words,
chars, bytes, accepted, seed_ids, text_key, step, verdict (string or null: survives), keeper (doc_id or null),
jaccard (float64 or null), detail (string or null).

Survival is a verdict: it is worked out again in every run, from the stored signals, scores and pairs.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np
import polars as pl

from cuvee.schemas.licenses import spdx
from cuvee.schemas.records import FileRef, Run, SourceFile
from cuvee.storage.store import Store, open_store
from cuvee.tasks import filters
from cuvee.tasks.attributes import filter_kinds, model_path
from cuvee.tasks.dedup.resolve import SURVIVOR, collapse, expand, resolve
from cuvee.tasks.ingest import drafting_key, reading_key
from cuvee.tasks.pairs import read_pairs
from cuvee.tasks.pool import Pool, attribute_rows, thin_rows
from cuvee.tasks.provenance import model as provenance_model
from cuvee.tasks.provenance.conclude import Thresholds, conclude
from cuvee.tasks.steps import save

# (generator's name, request key)
Drafts: TypeAlias = Sequence[tuple[str, str]]

# The order in which steps look at a row; the first that objects names the reason.
STEPS = ("ingest", "filter", "dedup_exact", "classify", "dedup_near", "decontaminate", "mixture")
_KEEPER_ORDER = ["provenance_rank", "accepted", "longer_first", "doc_id"]
_RANK = {"human": 0, "unknown": 1, "synthetic": 2}


def run(run: Run, pool: Pool, files: Sequence[SourceFile], drafts: Drafts, dates: dict[int, str]) -> FileRef:
    """Decide over all current rows, and save the table.

    files: the source files that exist now. drafts: (generator's name, request key) of what this recipe's generators
    produce, none in the first pass. dates: the day on which each pool state was committed.
    """
    return save(run, decide(run, pool, files, drafts, dates))


def decide(run: Run, pool: Pool, files: Sequence[SourceFile], drafts: Drafts, dates: dict[int, str]) -> pl.DataFrame:
    """Return the table of all current rows; the arguments are those of `run`."""
    store = open_store(run.store)
    rows = _described(run, store, pool)
    rows = _declare(run, rows)
    pairs = read_pairs(store, pool.known_pairs).filter(pl.col("jaccard") >= run.recipe.dedup.threshold)
    own_copy = _own_copies(rows, pairs, dates)
    rows = rows.with_columns(
        own_copy=own_copy,
        row_accepted="accepted",
        accepted=pl.col("accepted").min().over("doc_id"),
        file_accepted=pl.col("accepted").min().over("source", "file"),
    )
    rows = _current(run, rows, pool, files, drafts)
    rows = _judge(run, rows)
    rows = _conclude(run, rows)
    rows = _exact(rows)
    if run.recipe.provenance.suspects == "drop":
        rows = _object(rows, "classify", pl.when("suspect").then(pl.lit("suspect")))
    rows = _near(rows, pairs, run.recipe.dedup.threshold)
    if "overlap" in rows.columns:
        over = pl.col("overlap").cast(pl.Float64).round(6) >= run.recipe.decontaminate.overlap
        rows = _object(rows, "decontaminate", pl.when(over).then(pl.lit("benchmark")), detail=pl.col("benchmark"))
    return _exclude(run, rows)


def survivors(rows: pl.DataFrame) -> pl.DataFrame:
    """Return the rows that no step objects to; their doc_ids are distinct."""
    return rows.filter(pl.col("verdict").is_null())


def _described(run: Run, store: Store, pool: Pool) -> pl.DataFrame:
    rows = thin_rows(store, pool)
    for step in pool.attributes:
        columns = attribute_rows(store, pool, step)
        if not rows["doc_id"].equals(columns["doc_id"]):
            raise AssertionError(f"the {step} table does not match its shards row by row")
        keep = [name for name in columns.columns if name != "doc_id" and not _is_band(name)]
        rows = rows.hstack(columns.select(keep))
    return rows


def _is_band(name: str) -> bool:
    return name[0] == "b" and name[1:].isdigit()


def _declare(run: Run, rows: pl.DataFrame) -> pl.DataFrame:
    """Apply what the recipe declares of its sources, where a row does not say itself."""
    sources = pl.DataFrame(
        [
            {
                "source": source.name,
                "origin_declared": source.origin,
                "license_declared": source.license,
                "domain_declared": source.domain,
                "language_declared": None if source.language == "auto" else source.language,
                "trusted_date": source.dates == "trusted",
            }
            for source in run.recipe.sources
        ],
        schema_overrides={"license_declared": pl.String, "language_declared": pl.String},
    )
    named = pl.col("origin").is_in(["human", "synthetic"])
    rows = rows.join(sources, on="source", how="left", maintain_order="left").join(
        _licenses(run, rows), on=["source", "license"], how="left", nulls_equal=True, maintain_order="left"
    )
    return rows.with_columns(
        origin=pl.when("generated")
        .then(pl.lit("synthetic"))
        .when(pl.col("origin").is_null())
        .then(pl.col("origin_declared"))
        # A row that declares something else than human or synthetic declares nothing.
        .otherwise(pl.when(named).then(pl.col("origin")).otherwise(pl.lit("unknown"))),
        license=pl.coalesce("license_spdx", "license_declared", pl.lit("unknown")),
        domain=pl.coalesce("domain", "domain_declared", pl.lit("unknown")),
        language=pl.coalesce("language_declared", "language"),
        trusted_date=pl.col("trusted_date").fill_null(value=False),
    )


def _licenses(run: Run, rows: pl.DataFrame) -> pl.DataFrame:
    """Map each distinct licence text of a source to SPDX; null where the row says nothing."""
    maps = {source.name: source.license_map for source in run.recipe.sources}
    distinct = rows.select("source", "license").unique().sort("source", "license")
    found = []
    for source, raw in distinct.iter_rows():
        mapped = maps.get(source, {}).get(raw or "", raw)
        found.append(spdx(mapped) if mapped else None)
    return distinct.with_columns(license_spdx=pl.Series(found, dtype=pl.String))


def _own_copies(rows: pl.DataFrame, pairs: pl.DataFrame, dates: dict[int, str]) -> pl.Series:
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


def _current(run: Run, rows: pl.DataFrame, pool: Pool, files: Sequence[SourceFile], drafts: Drafts) -> pl.DataFrame:
    """Keep the rows of this recipe's sources and generators; object to those that are superseded or gone."""
    recipe = run.recipe
    readings = {source.name: reading_key(source, recipe.ingest) for source in recipe.sources}
    readings |= {entry.name: drafting_key(recipe) for entry in recipe.generate}
    now = pl.DataFrame({"source": list(readings), "reading": list(readings.values())})
    rows = rows.join(now, on=["source", "reading"], how="semi", maintain_order="left")
    planned = pl.DataFrame(drafts, schema={"source": pl.String, "source_id": pl.String}, orient="row")
    generated = rows.filter("generated").join(planned, on=["source", "source_id"], how="semi", maintain_order="left")
    generated = generated.unique(["source", "source_id"], keep="first", maintain_order=True)
    rows = pl.concat([rows.filter(~pl.col("generated")), generated]).drop("reading")

    rows = rows.join(_file_names(pool, files), on=["source", "file"], how="left", maintain_order="left").with_columns(
        pl.col("present").fill_null(value=False), source_id=pl.coalesce("path_id", "source_id")
    )
    # A file on disk is newer than one that is gone; of two on disk, or two gone, the one that came in later.
    age = pl.struct("present", "file_accepted")
    older = age.rank("dense").over("source", "source_id") < age.rank("dense").max().over("source", "source_id")
    dropping = [source.name for source in recipe.sources if source.vanished == "drop"]
    too_old = pl.col("created") < recipe.ingest.min_date if recipe.ingest.min_date else pl.lit(value=False)
    reason = (
        pl.when(~pl.col("generated") & pl.col("source").is_in(dropping) & ~pl.col("present"))
        .then(pl.lit("vanished"))
        .when(~pl.col("generated") & pl.col("source_id").is_not_null() & older)
        .then(pl.lit("superseded"))
        .when(too_old)
        .then(pl.lit("min_date"))
        .when(pl.col("words") == 0)
        .then(pl.lit("empty"))
    )
    blank = {"verdict": pl.String, "step": pl.String, "keeper": pl.String, "jaccard": pl.Float64, "detail": pl.String}
    rows = rows.with_columns(pl.lit(None, kind).alias(name) for name, kind in blank.items())
    return _object(rows, "ingest", reason)


def _file_names(pool: Pool, files: Sequence[SourceFile]) -> pl.DataFrame:
    """Return source, file, present, and path_id: for a file that is one document the path it has now, or had last."""
    names: dict[tuple[str, str], tuple[bool, str | None]] = {}
    documents = set()
    for record in pool.ingested:
        for file in record.report["files"]:
            key = (record.report["source"], file["sha256"])
            names[key] = (False, file["id"] if file["document"] else None)
            if file["document"]:
                documents.add(key)
    for found in reversed(files):  # of several paths with one content, the first
        key = (found.source, found.sha256)
        names[key] = (True, found.id if key in documents else None)
    schema = {"source": pl.String, "file": pl.String, "present": pl.Boolean, "path_id": pl.String}
    return pl.DataFrame([(*key, *value) for key, value in names.items()], schema=schema, orient="row")


def _judge(run: Run, rows: pl.DataFrame) -> pl.DataFrame:
    options = [
        filters.parse(spec.model_dump(), f"filters.{position}", Path(run.folder))
        for position, spec in enumerate(run.recipe.filters)
    ]
    if options:
        rows = _object(rows, "filter", filters.judge(rows, options))
    # The signals have done their work; of them only the language is published.
    kinds = filters.kinds()
    spent = [name for kind in filter_kinds(run.recipe) for name in kinds[kind].SIGNALS if name != "language"]
    return rows.drop(spent)


def _conclude(run: Run, rows: pl.DataFrame) -> pl.DataFrame:
    options = run.recipe.provenance
    model = provenance_model.load(model_path(run))
    thresholds = Thresholds(
        synthetic=model.threshold(options.max_false_positive_rate),
        human=model.human_threshold(),
        suspects=options.suspects,
    )
    speaks = pl.col("language").is_in(list(model.languages))
    rows = rows.with_columns(own_draft=pl.col("generated"), p_model=pl.when(speaks).then(pl.col("p_model")))
    rows = conclude(rows, thresholds)
    counted_human = ["human", "unknown"] if options.unknown_as == "human" else ["human"]
    depth = pl.when(pl.col("provenance").is_in(counted_human)).then(0).otherwise(pl.coalesce("depth", pl.lit(1)))
    return rows.with_columns(depth=depth.cast(pl.Int8), provenance_rank=pl.col("provenance").replace_strict(_RANK))


def _exact(rows: pl.DataFrame) -> pl.DataFrame:
    """Object to all but the first, in keeper order, of the rows with one doc_id."""
    alive = pl.col("verdict").is_null()
    order = ["provenance_rank", "suspect", "row_accepted", "source", "file", "row"]
    first = (
        rows.filter(alive).sort(order).unique("doc_id", keep="first", maintain_order=True).select("shard", "position")
    )
    rows = rows.join(
        first.with_columns(first=pl.lit(value=True)), on=["shard", "position"], how="left", maintain_order="left"
    )
    copy = pl.when(pl.col("first").is_null()).then(pl.lit("duplicate_exact"))
    return _object(rows, "dedup_exact", copy, keeper=pl.col("doc_id"), jaccard=pl.lit(1.0))


def _near(rows: pl.DataFrame, pairs: pl.DataFrame, threshold: float) -> pl.DataFrame:
    """Object to documents that a survivor before them, in keeper order, nearly equals."""
    rows = rows.with_columns(longer_first=-pl.col("chars")).with_row_index("index")
    alive = survivors(rows).sort(_KEEPER_ORDER)
    groups = collapse(alive["text_key"].to_numpy(), np.arange(alive.height))
    # `collapse` numbers groups by ascending key; pairs that name a text without survivors fall away.
    keys = pl.DataFrame({"key": alive["text_key"].gather(groups.representative)}).with_row_index("group")
    near = pairs.join(keys, left_on="a", right_on="key").join(keys, left_on="b", right_on="key", suffix="_b")
    resolved = expand(
        groups,
        resolve(
            groups.representative.astype(np.int64),
            near["group"].to_numpy().astype(np.int64),
            near["group_b"].to_numpy().astype(np.int64),
            near["jaccard"].to_numpy(),
            threshold,
        ),
    )
    gone = np.flatnonzero(resolved.keeper != SURVIVOR)
    found = pl.DataFrame(
        {
            "index": alive["index"].gather(gone),
            "near_keeper": alive["doc_id"].gather(resolved.keeper[gone]),
            "near_jaccard": resolved.jaccard[gone],
        }
    )
    rows = rows.join(found, on="index", how="left", maintain_order="left")
    near_copy = pl.when(pl.col("near_keeper").is_not_null()).then(pl.lit("duplicate_near"))
    return _object(rows, "dedup_near", near_copy, keeper=pl.col("near_keeper"), jaccard=pl.col("near_jaccard"))


def _exclude(run: Run, rows: pl.DataFrame) -> pl.DataFrame:
    """Object to what the mixture may not hold: documents of unknown provenance, and those too far from human text."""
    unknown = (pl.col("provenance") == "unknown") & pl.lit(run.recipe.provenance.unknown_as == "exclude")
    deep = pl.col("depth") > run.recipe.mixture.depth.max
    reason = pl.when(unknown).then(pl.lit("unknown_provenance")).when(deep).then(pl.lit("depth"))
    return _object(rows, "mixture", reason)


def _object(rows: pl.DataFrame, step: str, reason: pl.Expr | pl.Series, **columns: pl.Expr) -> pl.DataFrame:
    """Give the rows that have no verdict yet the one of this step, and the columns that explain it."""
    rows = rows.with_columns(_reason=reason)
    objects = pl.col("verdict").is_null() & pl.col("_reason").is_not_null()
    rows = rows.with_columns(_objects=objects)
    return rows.with_columns(
        verdict=pl.coalesce("verdict", "_reason"),
        step=pl.when("_objects").then(pl.lit(step)).otherwise(pl.col("step")),
        **{name: pl.when("_objects").then(value).otherwise(pl.col(name)) for name, value in columns.items()},
    ).drop("_reason", "_objects")
