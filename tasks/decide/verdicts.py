"""Resolve: from thin tables, decide what becomes of every current row, without reading text.

Output columns (one row a current row of the recipe's sources and generators): shard, position, doc_id, source, file,
row, source_id, origin, license, domain, language, provenance, p_synthetic, evidence, depth (int8), created, words,
chars, bytes, accepted, seed_ids, text_key, step, verdict (string or null: survives), keeper (doc_id or null),
jaccard (float64 or null), detail (string or null).

Survival is a verdict: it is worked out again in every run, from the stored signals, scores and pairs.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl

from cuvee.schemas.records import FileRef, Run, SourceFile
from cuvee.storage.store import Store, open_store
from cuvee.tasks import filters
from cuvee.tasks.decide.current import Drafts, current, declare, own_copies
from cuvee.tasks.dedup.pairs import read_pairs
from cuvee.tasks.dedup.resolve import SURVIVOR, collapse, expand, resolve
from cuvee.tasks.filters import _repeated_lines, boilerplate, synthetic
from cuvee.tasks.measure.signals import filter_kinds, provenance_model
from cuvee.tasks.pool import Pool, attribute_rows, thin_rows
from cuvee.tasks.provenance.conclude import Thresholds, conclude
from cuvee.tasks.provenance.sources import thresholds as source_thresholds
from cuvee.tasks.steps import look_up, save

# The order in which steps look at a row; the first that objects names the reason.
STEPS = ("ingest", "filter", "dedup_exact", "classify", "dedup_near", "decontaminate", "mixture")
_KEEPER_ORDER = ["provenance_rank", "accepted", "longer_first", "doc_id"]
# Columns that have done their work when all is decided.
_SPENT = ["origin_declared", "license_declared", "domain_declared", "language_declared", "license_spdx", "path_id"]
_SPENT += ["date_trusted", "file_accepted", "provenance_rank"]
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
    rows = declare(run, rows)
    near = read_pairs(store, pool.known_pairs).filter(pl.col("jaccard") >= run.recipe.dedup.threshold)
    rows = rows.with_columns(
        own_copy=own_copies(rows, near, dates),
        row_accepted="accepted",
        accepted=pl.col("accepted").min().over("doc_id"),
        file_accepted=pl.col("accepted").min().over("source", "file"),
    )
    blank = {"verdict": pl.String, "step": pl.String, "keeper": pl.String, "jaccard": pl.Float64, "detail": pl.String}
    rows = current(run, rows, pool, files, drafts).with_columns(
        pl.lit(None, kind).alias(n) for n, kind in blank.items()
    )
    rows = _object(rows, "ingest", pl.col("gone"))
    rows = _object(rows, "generate", pl.col("gate"))
    rows = _judge(run, store, pool, rows, near)
    rows = _conclude(run, rows)
    rows = _exact(rows)
    if run.recipe.provenance.suspects == "drop":
        rows = _object(rows, "classify", pl.when("suspect").then(pl.lit("suspect")))
    rows = _near(rows, near, run.recipe.dedup.threshold)
    if "overlap" in rows.columns:
        over = pl.col("overlap").cast(pl.Float64).round(6) >= run.recipe.decontaminate.overlap
        rows = _object(rows, "decontaminate", pl.when(over).then(pl.lit("benchmark")), detail=pl.col("benchmark"))
    return _exclude(run, rows).drop(_SPENT)


def survivors(rows: pl.DataFrame) -> pl.DataFrame:
    """Return the rows that no step objects to; their doc_ids are distinct."""
    return rows.filter(pl.col("verdict").is_null())


def _described(run: Run, store: Store, pool: Pool) -> pl.DataFrame:
    rows = thin_rows(store, pool)
    for step in pool.attributes:
        columns = attribute_rows(store, pool, step)
        if not rows["doc_id"].equals(columns["doc_id"]):
            raise AssertionError(f"the {step} table does not match its shards row by row")
        rows = rows.hstack(columns.drop("doc_id"))
    return rows


def _judge(run: Run, store: Store, pool: Pool, rows: pl.DataFrame, near: pl.DataFrame) -> pl.DataFrame:
    options = [
        filters.parse(spec.model_dump(), f"filters.{position}", Path(run.folder))
        for position, spec in enumerate(run.recipe.filters)
    ]
    if "synthetic" in filter_kinds(run.recipe) and not any(isinstance(entry, synthetic.Options) for entry in options):
        options.append(synthetic.Options())
    known = rows.columns
    repeated = [entry for entry in options if isinstance(entry, boilerplate.Options)]
    if repeated:
        rows = _repeated_lines.add_shares(rows, near, store, pool.attributes["lines"], repeated)
    shares = [name for name in rows.columns if name not in known]
    if options:
        rows = _object(rows, "filter", filters.judge(rows, options))
    # The signals have done their work; of them only the language is published.
    kinds = filters.kinds()
    spent = [name for kind in filter_kinds(run.recipe) for name in kinds[kind].SIGNALS if name != "language"]
    return rows.drop(spent, shares, *(["line_words"] if repeated else []))


def _conclude(run: Run, rows: pl.DataFrame) -> pl.DataFrame:
    options = run.recipe.provenance
    model = provenance_model(run)
    thresholds = Thresholds(
        synthetic=model.threshold(options.max_false_positive_rate),
        human=model.human_threshold(),
        suspects=options.suspects,
    )
    speaks = pl.col("language").is_in(list(model.languages))
    rows = rows.with_columns(own_draft=pl.col("generated"), p_model=pl.when(speaks).then(pl.col("p_model")))
    # A source that brings text known to be human is judged by how that text scores.
    own = source_thresholds(survivors(rows), thresholds.synthetic, options.max_false_positive_rate)
    rows = look_up(rows, ["source"], own.drop("known_human")).with_columns(
        threshold=pl.col("threshold").fill_null(thresholds.synthetic),
        calibrated=pl.col("calibrated").fill_null(value=False),
    )
    rows = conclude(rows, thresholds)
    counted_human = ["human", "unknown"] if options.unknown_as == "human" else ["human"]
    depth = pl.when(pl.col("provenance").is_in(counted_human)).then(0).otherwise(pl.coalesce("depth", pl.lit(1)))
    return rows.with_columns(depth=depth.cast(pl.Int8), provenance_rank=pl.col("provenance").replace_strict(_RANK))


def _exact(rows: pl.DataFrame) -> pl.DataFrame:
    """Object to all but the first, in keeper order, of the rows with one doc_id."""
    alive = pl.col("verdict").is_null()
    order = ["provenance_rank", "suspect", "row_accepted", "source", "file", "row"]
    ordered = rows.select("doc_id", "verdict", *order).with_row_index("place").filter(alive).sort(order)
    first = ordered.unique("doc_id", keep="first", maintain_order=True)["place"]
    # Human text comes first in the order, so where there is any the first is human.
    of_human = ((pl.col("provenance") == "human") & alive).any().over("doc_id")
    later = ~pl.int_range(pl.len(), dtype=pl.UInt32).is_in(first.implode())
    copy = pl.when(later).then(_copy_reason("duplicate_exact", of_human))
    return _object(rows, "dedup_exact", copy, keeper=pl.col("doc_id"), jaccard=pl.lit(1.0))


def _copy_reason(reason: str, of_human: pl.Expr) -> pl.Expr:
    """Call a copy that a machine made of human text by its own name: a generator may copy what it was shown."""
    by_machine = pl.col("provenance") == "synthetic"
    return pl.when(by_machine & of_human).then(pl.lit("copy_of_human")).otherwise(pl.lit(reason))


def _near(rows: pl.DataFrame, near: pl.DataFrame, threshold: float) -> pl.DataFrame:
    """Object to documents that a survivor before them, in keeper order, nearly equals."""
    told = rows.select(
        "doc_id", "text_key", "provenance", "provenance_rank", "accepted", "verdict", longer_first=-pl.col("chars")
    )
    alive = survivors(told.with_row_index("place")).sort(_KEEPER_ORDER)
    groups = collapse(alive["text_key"].to_numpy(), np.arange(alive.height))
    # `collapse` numbers groups by ascending key; pairs that name a text without survivors fall away.
    keys = pl.DataFrame({"key": alive["text_key"].gather(groups.representative)}).with_row_index("group")
    near = near.join(keys, left_on="a", right_on="key").join(keys, left_on="b", right_on="key", suffix="_b")
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
            "place": alive["place"].gather(gone),
            "near_keeper": alive["doc_id"].gather(resolved.keeper[gone]),
            "near_jaccard": resolved.jaccard[gone],
            "near_human": alive["provenance"].gather(resolved.keeper[gone]) == "human",
        }
    )
    rows = look_up(rows.with_row_index("place"), ["place"], found)
    reason = _copy_reason("duplicate_near", pl.col("near_human").fill_null(value=False))
    near_copy = pl.when(pl.col("near_keeper").is_not_null()).then(reason)
    near_columns = {"keeper": pl.col("near_keeper"), "jaccard": pl.col("near_jaccard")}
    return _object(rows, "dedup_near", near_copy, **near_columns).drop(found.columns)


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
