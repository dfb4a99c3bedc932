"""Ledger: where each row ended, and why: the table LEDGER. No text."""

from collections.abc import Sequence

import polars as pl

from cuvee.schemas.errors import IntegrityError
from cuvee.schemas.recipe import Recipe
from cuvee.schemas.records import Run, SourceFile
from cuvee.schemas.report import STEPS, Accounts, SourceReport, StepReport
from cuvee.schemas.tables import CONCLUDED, DECLARED, LEDGER, PLANNED, UNREADABLE, VERDICTS, DecidedRef, PlannedRef
from cuvee.storage.corpus import ledger_folder
from cuvee.storage.store import Store
from cuvee.storage.tables import write_table
from cuvee.tasks.generate.rounds import FAILED, NOT_SENT, Generated
from cuvee.tasks.pool import Pool, declared, read_declared
from cuvee.tasks.steps import load, load_decided, look_up

# What is read of the decided rows.
_READ = tuple(name for name in LEDGER if name in DECLARED or name in CONCLUDED or name in VERDICTS)


def run(
    run: Run,
    store: Store,
    pool: Pool,
    files: Sequence[SourceFile],
    decided: DecidedRef,
    planned: PlannedRef | None,
    generated: Sequence[Generated],
) -> Accounts:
    """Write the ledger of a run, and add up what became of its rows; the arguments and errors are those of `build`."""
    ledger = build(run, store, pool, files, decided, planned, generated)
    ref = write_table(store, ledger_folder(run.corpus), ledger.to_arrow(), level=3)
    steps, sources = step_reports(run.recipe, ledger), source_reports(run.recipe, ledger)
    return Accounts(ledger=(ref,), steps=steps, sources=sources, example=_example(ledger))


def build(
    run: Run,
    store: Store,
    pool: Pool,
    files: Sequence[SourceFile],
    decided: DecidedRef,
    planned: PlannedRef | None,
    generated: Sequence[Generated],
) -> pl.DataFrame:
    """Write down every row's end, sorted by source, file and row.

    files: the source files that exist now; what was unreadable in a file that is gone is no row of anything.
    decided: all current rows with verdicts; planned: the survivors with their split, null where nothing can be
    published: then all of them are pooled.
    Raises IntegrityError when the accounts do not balance: that is a fault of cuvee, and nothing is published.
    """
    rows = load_decided(store, decided, ["shard", "position", "verdict", *_READ])
    chosen = load(store, planned, ["shard", "position", "split"]) if planned else PLANNED.to_frame()
    splits = chosen.select("shard", "position", kept=pl.col("split").is_not_null())
    outcome = (
        pl.when(pl.col("verdict").is_not_null())
        .then(pl.lit("dropped"))
        .when("kept")
        .then(pl.lit("kept"))
        .otherwise(pl.lit("pooled"))
    )
    readable = look_up(rows, ["shard", "position"], splits).select(*_READ, outcome=outcome, reason=pl.col("verdict"))
    ledger = pl.concat([readable, _lost(run, store, pool, files), _failed(generated)], how="diagonal_relaxed")
    ledger = declared(look_up(ledger, ["source", "file"], _paths(run, pool)), LEDGER)
    ledger = ledger.sort("source", "file", "row", nulls_last=True)
    _balance(run, pool, files, ledger, generated)
    return ledger


def step_reports(recipe: Recipe, ledger: pl.DataFrame) -> dict[str, StepReport]:
    """Return rows in, rows out and drops by reason of every step.

    `ingest` counts rows of sources and `generate` requests; what they let through enters `filter`. The last step
    counts as dropped what it pools.
    """
    generators = [entry.name for entry in recipe.generate]
    drafts = pl.col("source").is_in(generators)
    reports = {
        "ingest": _report(ledger.filter(~drafts), "ingest"),
        "generate": _report(ledger.filter(drafts), "generate"),
    }
    left = sum(report.out for report in reports.values())
    for step in STEPS[1:]:
        dropped = _dropped(ledger, step)
        reports[step] = StepReport(into=left, out=left - sum(dropped.values()), dropped=dropped)
        left = reports[step].out
    return reports


def source_reports(recipe: Recipe, ledger: pl.DataFrame) -> dict[str, SourceReport]:
    """Return where the rows of every source ended, in the recipe's order; one without rows has zeros."""
    counts = ledger.group_by("source", "outcome", "reason").len().sort(["len", "reason"], descending=[True, False])
    ended: dict[str, dict[str, int]] = {source.name: {} for source in recipe.sources}
    dropped: dict[str, dict[str, int]] = {source.name: {} for source in recipe.sources}
    for source, outcome, reason, count in counts.iter_rows():
        if source in ended:  # not a generator
            ended[source][outcome] = ended[source].get(outcome, 0) + count
            if outcome == "dropped":
                dropped[source][reason] = count
    return {
        name: SourceReport(
            rows=sum(found.values()),
            kept=found.get("kept", 0),
            pooled=found.get("pooled", 0),
            dropped=dropped[name],
            unreadable=found.get("unreadable", 0),
        )
        for name, found in ended.items()
    }


def _example(ledger: pl.DataFrame) -> str | None:
    """Choose a document to explain: a near-duplicate where there is one, for its keeper."""
    ended = ledger.drop_nulls("doc_id").sort(pl.col("reason") == "duplicate_near", descending=True, nulls_last=True)
    return ended["doc_id"].head(1).to_list()[0] if ended.height else None


def _report(rows: pl.DataFrame, step: str) -> StepReport:
    # Drafts may be objected to at ingest too, when nothing is left of their text.
    dropped = _dropped(rows.with_columns(step=pl.col("step").replace("ingest", step)), step)
    return StepReport(into=rows.height, out=rows.height - sum(dropped.values()), dropped=dropped)


def _dropped(rows: pl.DataFrame, step: str) -> dict[str, int]:
    """Count what a step drops, by reason, the most frequent first."""
    pooled = pl.col("outcome") == "pooled"
    reason = pl.when(pooled).then(pl.lit("pooled")).otherwise(pl.col("reason"))
    at = pl.when(pooled).then(pl.lit("mixture")).otherwise(pl.col("step"))
    ended = rows.filter((pl.col("outcome") != "kept") & (at == step))
    counts = ended.group_by(reason.alias("reason")).len().sort(["len", "reason"], descending=[True, False])
    return {str(name): int(count) for name, count in counts.iter_rows()}


def _lost(run: Run, store: Store, pool: Pool, files: Sequence[SourceFile]) -> pl.DataFrame:
    lost = [pl.DataFrame(schema={"source": pl.String, "file": pl.String, "row": pl.Int64, "detail": pl.String})]
    for record in pool.read_as(run.readings):
        rows = read_declared(store, record.beside, UNREADABLE).with_columns(source=pl.lit(record.report.source))
        lost.append(rows.select("source", "file", "row", detail="reason"))
    named = dict.fromkeys(["source", "file"], pl.String)
    present = pl.DataFrame([(f.source, f.sha256) for f in files], schema=named, orient="row")
    rows = pl.concat(lost).join(present, on=["source", "file"], how="semi", maintain_order="left")
    return rows.with_columns(outcome=pl.lit("unreadable"), step=pl.lit("ingest"), reason=pl.lit("unreadable"))


def _paths(run: Run, pool: Pool) -> pl.DataFrame:
    """Name each file by its id; of several paths with one content the one that was read."""
    records = pool.read_as(run.readings)
    names = [(r.report.source, file.sha256, file.id) for r in records for file in r.report.files]
    frame = pl.DataFrame(names, schema=dict.fromkeys(["source", "file", "path"], pl.String), orient="row")
    return frame.unique(["source", "file"], keep="first", maintain_order=True)


def _failed(generated: Sequence[Generated]) -> pl.DataFrame:
    failed = [(g.name, g.name, key, reason) for g in generated for key, reason in g.failed.items()]
    frame = pl.DataFrame(
        failed, schema=dict.fromkeys(["source", "file", "source_id", "detail"], pl.String), orient="row"
    )
    reason = pl.when(pl.col("detail") == NOT_SENT).then(pl.lit(NOT_SENT)).otherwise(pl.lit(FAILED))
    return frame.with_columns(outcome=pl.lit("failed"), step=pl.lit("generate"), reason=reason)


def _balance(
    run: Run, pool: Pool, files: Sequence[SourceFile], ledger: pl.DataFrame, generated: Sequence[Generated]
) -> None:
    """Check per source: rows = kept + pooled + dropped + unreadable, and per generator: planned = … + failed."""
    expected = {source.name: 0 for source in run.recipe.sources}
    present = {(file.source, file.sha256) for file in files}
    for record in pool.read_as(run.readings):
        source = record.report.source
        for file in record.report.files:
            expected[source] += file.rows + file.unreadable * ((source, file.sha256) in present)
    expected |= {g.name: len(g.planned) for g in generated}
    found = dict(ledger.group_by("source").len().iter_rows())
    for name in sorted(expected.keys() | found.keys()):
        count = expected.get(name, 0)
        if found.get(name, 0) != count:
            raise IntegrityError(
                f"the accounts of {name} do not balance: {count} rows came in, {found.get(name, 0)} are accounted for; "
                "nothing is published; please report this with the recipe"
            )
