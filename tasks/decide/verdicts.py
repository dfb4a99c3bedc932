"""Decide: what becomes of every current row, from thin tables, without reading text.

Output: the four parts of the decided table (cuvee.schemas.tables: DECLARED, CONCLUDED, VERDICTS, AMOUNTS), one row a
current row of the recipe's sources and generators.

Survival is a verdict: it is worked out again in every run, from the stored signals, scores and pairs.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import polars as pl

from cuvee.schemas.records import Run, SourceFile
from cuvee.schemas.tables import (
    AMOUNTS,
    CONCLUDED,
    DECLARED,
    OVERLAPS,
    SCORES,
    TEXT_KEYS,
    VERDICTS,
    AmountsRef,
    ConcludedRef,
    DecidedRef,
    DeclaredRef,
    VerdictsRef,
)
from cuvee.storage.store import Store
from cuvee.tasks import filters
from cuvee.tasks.decide import copies, gather, rights, told
from cuvee.tasks.decide.current import Drafts, declare, gone, own_copies, spoken_of, with_files
from cuvee.tasks.dedup.pairs import read_pairs
from cuvee.tasks.filters import language, opt_out, synthetic
from cuvee.tasks.measure.signals import filter_kinds, provenance_model
from cuvee.tasks.pool import Pool, declared, signal_rows, thin_rows
from cuvee.tasks.provenance.conclude import Thresholds, conclude, of_sources
from cuvee.tasks.steps import look_up, save


class Decided(NamedTuple):
    """The four parts of the decided table."""

    declared: pl.DataFrame
    concluded: pl.DataFrame
    verdicts: pl.DataFrame
    amounts: pl.DataFrame

    @property
    def rows(self) -> pl.DataFrame:
        """All columns side by side."""
        return pl.concat(self, how="horizontal")


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


def run(
    run: Run, store: Store, pool: Pool, files: Sequence[SourceFile], drafts: Drafts, dates: dict[int, str]
) -> DecidedRef:
    """Decide over all current rows, and save the tables.

    files: the source files that exist now. drafts: (generator's name, request key) of what this recipe's generators
    produce, none in the first pass. dates: the day on which each pool state was committed.
    """
    parts = decide(run, store, pool, files, drafts, dates)
    return DecidedRef(
        declared=DeclaredRef(save(run, store, parts.declared, DECLARED)),
        concluded=ConcludedRef(save(run, store, parts.concluded, CONCLUDED)),
        verdicts=VerdictsRef(save(run, store, parts.verdicts, VERDICTS)),
        amounts=AmountsRef(save(run, store, parts.amounts, AMOUNTS)),
    )


def decide(
    run: Run, store: Store, pool: Pool, files: Sequence[SourceFile], drafts: Drafts, dates: dict[int, str]
) -> Decided:
    """Return the decided table; the arguments are those of `run`."""
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
    verdicts.object("dedup_exact", copies.exact(rows, verdicts.alive), keeper=rows["doc_id"], jaccard=ones)
    if run.recipe.provenance.suspects == "drop":
        suspect = rows.select(pl.when("suspect").then(pl.lit("suspect"))).to_series()
        verdicts.object("classify", suspect, detail=_tell(rows, told.of_suspects()))
    apart = [source.name for source in run.recipe.sources if not source.near_duplicates]
    found = copies.near(rows, verdicts.alive, near, threshold, apart)
    bound = _tell(rows, told.of_near_copies(run.recipe))
    verdicts.object("dedup_near", found["reason"], keeper=found["keeper"], jaccard=found["jaccard"], detail=bound)
    overlaps = _signals(store, pool, "decontaminate", OVERLAPS, rows)
    over = pl.col("overlap").cast(pl.Float64).round(6) >= run.recipe.decontaminate.overlap
    reason = overlaps.select(pl.when(over).then(pl.lit("benchmark"))).to_series()
    verdicts.object("decontaminate", reason, detail=_tell(overlaps, told.of_overlaps(run.recipe)))
    verdicts.object("mixture", _excluded(run, rows), detail=_tell(rows, told.of_depth(run.recipe)))
    return Decided(declared(rows, DECLARED), declared(rows, CONCLUDED), verdicts.table, declared(rows, AMOUNTS))


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
    spoken = _signals(store, pool, filters.step(language.Options()), filters.table("language"), rows)["language"]
    keys = _signals(store, pool, "sign", TEXT_KEYS, rows)["text_key"]
    rows = declare(run, rows.with_columns(spoken, keys))
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
    options = [
        filters.parse(spec.model_dump(), f"filters.{position}", Path(run.folder))
        for position, spec in enumerate(run.recipe.filters)
    ]
    options += _default_gates(run, options)
    for entry in options:
        step, kind = filters.step(entry), filters.kinds()[entry.kind]
        signals = _signals(store, pool, step, filters.table(entry.kind), rows)
        # What is declared of a row, as its language, stands before what was found in its text.
        frame = rows.hstack(signals.drop(rows.columns, strict=False))
        if isinstance(kind, filters.Gathering):
            first = gather.representatives(rows.filter(counted), near)
            frame = frame.with_columns(gather.gather(store, pool.signals[step], kind, entry, rows, first))
        if isinstance(entry, opt_out.Options):
            frame = frame.hstack(rights.sites(run, frame, entry))
        verdict = filters.judge(frame, [entry])
        detail = filters.tell(frame, entry, verdict)
        if isinstance(entry, opt_out.Options):
            detail = frame["opt_out_told"].fill_null(detail)
        verdicts.object("filter", verdict, detail=detail)


def _default_gates(run: Run, options: Sequence[filters.FilterOptions]) -> list[filters.FilterOptions]:
    """Return the gates of synthetic text that a recipe has without saying so: for sources that it says nothing of."""
    said = [entry for entry in options if isinstance(entry, synthetic.Options)]
    if "synthetic" not in filter_kinds(run.recipe) or any(not entry.sources for entry in said):
        return []
    named = {name for entry in said for name in entry.sources}
    others = tuple(source.name for source in run.recipe.sources if source.name not in named) if said else ()
    return [synthetic.Options(sources=others)] if others or not said else []


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
