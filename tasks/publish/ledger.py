"""Ledger: where each row ended, and why: the table LEDGER. No text.

A file holds the rows of one partition, by doc_id; one more holds what has no document: unreadable rows, and requests
without a draft. Files are named by their content, so a partition in which nothing changed keeps its file. What a run
tells of its rows is added up from the counts of all files (ENDS).
"""

from collections.abc import Sequence

import polars as pl

from cuvee.schemas.base import Frozen
from cuvee.schemas.errors import IntegrityError
from cuvee.schemas.recipe import Recipe
from cuvee.schemas.records import FileRef, Run, SourceFile
from cuvee.schemas.report import STEPS, Accounts, SourceReport, StepReport
from cuvee.schemas.tables import (
    ADDRESSES,
    CONCLUDED,
    DECLARED,
    ENDS,
    LEDGER,
    PATHS,
    UNREADABLE,
    VERDICTS,
    DecidedPart,
    EndsRef,
    KeptRef,
    PathsRef,
)
from cuvee.storage.corpus import ledger_folder
from cuvee.storage.store import Store
from cuvee.storage.tables import write_table
from cuvee.tasks.generate.rounds import FAILED, NOT_SENT, Generated
from cuvee.tasks.pool import Pool, declared, read_declared
from cuvee.tasks.steps import load, load_part, look_up, save

# What is read of the decided rows.
_READ = tuple(name for name in LEDGER if name in DECLARED or name in CONCLUDED or name in VERDICTS)
_COPY = "duplicate_near"


class Ended(Frozen):
    """Where the rows of a partition ended. file: of the ledger, null where none is kept; ends: ENDS; first, first_copy:
    the first document, and the first near copy, for whoever wants an example.
    """

    file: FileRef | None
    ends: EndsRef
    first: str | None
    first_copy: str | None


def paths(run: Run, store: Store, pool: Pool) -> PathsRef:
    """Name each file of the pool by its id; of several paths with one content the one that was read: PATHS."""
    records = pool.read_as(run.readings)
    names = [(r.report.source, file.sha256, file.id) for r in records for file in r.report.files]
    frame = pl.DataFrame(names, schema=PATHS, orient="row")
    return PathsRef(save(run, store, frame.unique(["source", "file"], keep="first", maintain_order=True), PATHS))


def of_partition(
    run: Run, store: Store, part: DecidedPart, kept: KeptRef | None, names: PathsRef, is_kept: bool = True
) -> Ended:
    """Write down the end of each row of a partition.

    kept: the rows that are published (PLANNED), null where nothing can be: then all survivors are pooled. names:
    PATHS. is_kept: whether the file is written, or the rows are only counted.
    """
    rows = load_part(store, part, ["shard", "position", "verdict", *_READ])
    published = load(store, kept, ADDRESSES.names()) if kept else ADDRESSES.to_frame()
    rows = look_up(rows, ADDRESSES.names(), published.with_columns(kept=pl.lit(value=True)))
    outcome = (
        pl.when(pl.col("verdict").is_not_null())
        .then(pl.lit("dropped"))
        .when("kept")
        .then(pl.lit("kept"))
        .otherwise(pl.lit("pooled"))
    )
    rows = rows.sort("doc_id", "shard", "position").select(*_READ, outcome=outcome, reason=pl.col("verdict"))
    return _ended(run, store, rows, names, is_kept)


def run(
    run: Run,
    store: Store,
    pool: Pool,
    files: Sequence[SourceFile],
    parts: Sequence[Ended],
    generated: Sequence[Generated],
    names: PathsRef,
    is_kept: bool = True,
) -> Accounts:
    """Write down what has no document, and add up what became of all rows.

    files: the source files that exist now; what was unreadable in a file that is gone is no row of anything. parts: of
    all partitions, in their order. names, is_kept: as of `of_partition`.
    Raises IntegrityError when the accounts do not balance: that is a fault of cuvee, and nothing is published.
    """
    rows = pl.concat([_lost(run, store, pool, files), _failed(generated)], how="diagonal_relaxed")
    rows = rows.sort("source", "file", "row", nulls_last=True)
    ended = [*parts, *([_ended(run, store, rows, names, is_kept)] if rows.height else [])]
    ends = pl.concat([ENDS.to_frame(), *(load(store, one.ends) for one in ended)])
    ends = ends.group_by(ENDS.names()[:-1]).agg(pl.col("rows").sum())
    _balance(run, pool, files, ends, generated)
    examples = [one.first_copy for one in parts if one.first_copy] or [one.first for one in parts if one.first]
    return Accounts(
        ledger=tuple(one.file for one in ended if one.file),
        partitions=len(parts),
        steps=step_reports(run.recipe, ends),
        sources=source_reports(run.recipe, ends),
        example=next(iter(examples), None),
    )


def _ended(run: Run, store: Store, rows: pl.DataFrame, names: PathsRef, is_kept: bool) -> Ended:
    """Keep rows as a file of the ledger, and count them. rows: columns of LEDGER, of which some may be lacking."""
    rows = pl.concat([LEDGER.to_frame().drop("path"), rows], how="diagonal_relaxed")
    ledger = declared(look_up(rows, ["source", "file"], load(store, names)), LEDGER)
    copies, documents = ledger.filter(reason=_COPY)["doc_id"], ledger["doc_id"].drop_nulls()
    return Ended(
        file=write_table(store, ledger_folder(run.corpus), ledger.to_arrow(), level=3) if is_kept else None,
        ends=EndsRef(save(run, store, count(ledger), ENDS)),
        first=next(iter(documents.head(1)), None),
        first_copy=next(iter(copies.head(1)), None),
    )


def count(ledger: pl.DataFrame) -> pl.DataFrame:
    """Count rows of LEDGER by how they ended: ENDS."""
    return declared(ledger.group_by(ENDS.names()[:-1]).agg(rows=pl.len()), ENDS)


def step_reports(recipe: Recipe, ends: pl.DataFrame) -> dict[str, StepReport]:
    """Return rows in, rows out and drops by reason of every step. ends: ENDS.

    `ingest` counts rows of sources and `generate` requests; what they let through enters `filter`. The last step
    counts as dropped what it pools.
    """
    generators = [entry.name for entry in recipe.generate]
    drafts = pl.col("source").is_in(generators)
    reports = {
        "ingest": _report(ends.filter(~drafts), "ingest"),
        "generate": _report(ends.filter(drafts), "generate"),
    }
    left = sum(report.out for report in reports.values())
    for step in STEPS[1:]:
        dropped = _dropped(ends, step)
        reports[step] = StepReport(into=left, out=left - sum(dropped.values()), dropped=dropped)
        left = reports[step].out
    return reports


def source_reports(recipe: Recipe, ends: pl.DataFrame) -> dict[str, SourceReport]:
    """Return where the rows of every source ended, in the recipe's order; one without rows has zeros. ends: ENDS."""
    counts = ends.group_by("source", "outcome", "reason").agg(pl.col("rows").sum())
    counts = counts.sort(["rows", "reason"], descending=[True, False])
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


def _report(rows: pl.DataFrame, step: str) -> StepReport:
    # Drafts may be objected to at ingest too, when nothing is left of their text.
    dropped = _dropped(rows.with_columns(step=pl.col("step").replace("ingest", step)), step)
    into = int(rows["rows"].sum())
    return StepReport(into=into, out=into - sum(dropped.values()), dropped=dropped)


def _dropped(rows: pl.DataFrame, step: str) -> dict[str, int]:
    """Count what a step drops, by reason, the most frequent first."""
    pooled = pl.col("outcome") == "pooled"
    reason = pl.when(pooled).then(pl.lit("pooled")).otherwise(pl.col("reason"))
    at = pl.when(pooled).then(pl.lit("mixture")).otherwise(pl.col("step"))
    ended = rows.filter((pl.col("outcome") != "kept") & (at == step))
    counts = ended.group_by(reason.alias("reason")).agg(pl.col("rows").sum())
    counts = counts.sort(["rows", "reason"], descending=[True, False])
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


def _failed(generated: Sequence[Generated]) -> pl.DataFrame:
    failed = [(g.name, g.name, key, reason) for g in generated for key, reason in g.failed.items()]
    frame = pl.DataFrame(
        failed, schema=dict.fromkeys(["source", "file", "source_id", "detail"], pl.String), orient="row"
    )
    reason = pl.when(pl.col("detail") == NOT_SENT).then(pl.lit(NOT_SENT)).otherwise(pl.lit(FAILED))
    return frame.with_columns(outcome=pl.lit("failed"), step=pl.lit("generate"), reason=reason)


def _balance(
    run: Run, pool: Pool, files: Sequence[SourceFile], ends: pl.DataFrame, generated: Sequence[Generated]
) -> None:
    """Check per source: rows = kept + pooled + dropped + unreadable, and per generator: planned = … + failed."""
    expected = {source.name: 0 for source in run.recipe.sources}
    present = {(file.source, file.sha256) for file in files}
    for record in pool.read_as(run.readings):
        source = record.report.source
        for file in record.report.files:
            expected[source] += file.rows + file.unreadable * ((source, file.sha256) in present)
    expected |= {g.name: len(g.planned) for g in generated}
    found = dict(ends.group_by("source").agg(pl.col("rows").sum()).iter_rows())
    for name in sorted(expected.keys() | found.keys()):
        count = expected.get(name, 0)
        if found.get(name, 0) != count:
            raise IntegrityError(
                f"the accounts of {name} do not balance: {count} rows came in, {found.get(name, 0)} are accounted for; "
                "nothing is published; please report this with the recipe"
            )
