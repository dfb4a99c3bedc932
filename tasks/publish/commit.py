"""Publish: prove the mixture, write the reports, then the manifest in one create-only put, then the tag."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from fractions import Fraction
from io import BytesIO
from typing import Any

import polars as pl

from cuvee.schemas.errors import ConflictError, IntegrityError
from cuvee.schemas.manifest import DataFile, Manifest, TagEntry, Totals, version_name
from cuvee.schemas.recipe import Recipe
from cuvee.schemas.records import FileRef, PoolState, Run, SourceFile
from cuvee.schemas.report import RunReport, StepReport
from cuvee.storage.corpus import commit, load_manifest, move_tag, newest_tag, write_report, write_state
from cuvee.storage.store import Store, open_store
from cuvee.tasks.dedup import PAIRS_VERSION
from cuvee.tasks.generate import report, rounds
from cuvee.tasks.generate.rounds import Generated
from cuvee.tasks.guard import Guarded
from cuvee.tasks.keys import READING_VERSION
from cuvee.tasks.measure.signals import VERSIONS, provenance_model
from cuvee.tasks.pool import Pool
from cuvee.tasks.publish import assemble
from cuvee.tasks.publish.documents.card import card
from cuvee.tasks.publish.ledger import PLAN, ROWS, build, step_reports
from cuvee.tasks.steps import load

LEDGER = "ledger.parquet"
CARD = "README.md"
STEP_VERSIONS = {
    "ingest": READING_VERSION,
    **VERSIONS,
    "pairs": PAIRS_VERSION,
    "generate": rounds.VERSION,
    "assemble": assemble.VERSION,
}


def run(
    run: Run,
    pool: Pool,
    sources: Sequence[SourceFile],
    dates: dict[int, str],
    decided: FileRef,
    planned: FileRef,
    generated: Sequence[Generated],
    guarded: Guarded,
    files: Sequence[DataFile],
    warnings: Sequence[str],
) -> RunReport:
    """Commit the candidate, or find that the standing version says the same already.

    Raises IntegrityError when accounts or bounds do not hold, ConflictError when another run published first.
    """
    store = open_store(run.store)
    rows, plan = load(run, decided, ROWS), load(run, planned, PLAN)
    ledger = build(run, store, pool, sources, rows, plan, generated)
    steps = step_reports(run.recipe, ledger)
    parent = standing(store, run, files)
    drafts = report.build(run, pool, decided, generated) if generated and not parent else None
    manifest = parent or _commit(run, store, files, pool.state(run, dates), ledger, guarded, steps, drafts)
    held = move_publishing_tag(store, run, manifest.version)
    return RunReport(
        corpus=run.corpus,
        version=manifest.version,
        published=parent is None,
        documents=manifest.totals.documents,
        amount=manifest.totals.amount,
        unit=run.recipe.mixture.unit,
        human_share=manifest.totals.human_share,
        floor=run.recipe.mixture.human.min,
        steps=steps,
        findings=guarded.findings,
        warnings=(*warnings, *(entry.warning for entry in generated if entry.warning), *([held] if held else [])),
        store=store.uri,
        example=_example(ledger),
    )


def _example(ledger: pl.DataFrame) -> str | None:
    """Choose a document to explain: a near-duplicate where there is one, for its keeper."""
    ended = ledger.drop_nulls("doc_id").sort(pl.col("reason") == "duplicate_near", descending=True, nulls_last=True)
    return ended["doc_id"].head(1).to_list()[0] if ended.height else None


def _commit(
    run: Run,
    store: Store,
    files: Sequence[DataFile],
    state: PoolState,
    ledger: pl.DataFrame,
    guarded: Guarded,
    steps: dict[str, StepReport],
    drafts: tuple[dict[str, Any], str] | None,
) -> Manifest:
    """Write everything that the manifest names, then the manifest."""
    everything, splits, proof = prove(run.recipe, files)
    reports = [
        _json(store, run, "mixture.json", proof),
        _json(store, run, "steps.json", {name: report.as_json() for name, report in steps.items()}),
        _json(store, run, "findings.json", guarded.model_dump(mode="json")),
        _ledger(store, run, ledger),
    ]
    if drafts:
        reports.append(_json(store, run, "generation.json", drafts[0]))
        reports.append(write_report(store, run.corpus, run.version, "generation.md", drafts[1].encode()))
    manifest = Manifest(
        corpus=run.corpus,
        version=run.version,
        parent=run.parent or None,
        created=_now(),
        run_id=run.run_id,
        recipe=run.recipe.model_dump(mode="json", exclude={"store"}),
        recipe_sha256=run.recipe.sha256(),
        steps=STEP_VERSIONS,
        models={"provenance": provenance_model(run).sha256},
        pool=write_state(store, run.corpus, state),
        files=tuple(files),
        totals=everything,
        splits=splits,
        mixture=proof,
        reports=tuple(reports),
    )
    text = card(manifest, steps, guarded).encode()
    reports.append(write_report(store, run.corpus, run.version, CARD, text))
    manifest = manifest.model_copy(update={"reports": tuple(reports)})
    commit(store, manifest)
    return manifest


def prove(recipe: Recipe, files: Sequence[DataFile]) -> tuple[Totals, dict[str, Totals], dict[str, Any]]:
    """Recount the mixture from the published files; raises IntegrityError when a bound of the recipe does not hold.

    Returns the totals, those of each split, and the proof: the bounds asked for and the shares reached.
    """
    everything = totals(recipe, files)
    splits = {name: totals(recipe, [file for file in files if file.split == name]) for name in ("train", "validation")}
    human = recipe.mixture.human
    floor = Fraction(str(human.min))
    for name, counted in {"all files": everything, "the train split": splits["train"]}.items():
        if counted.counted_human < floor * counted.amount:
            raise IntegrityError(
                f"{name}: the human share is {counted.human_share}, under the floor {human.min:g}; nothing is published"
            )
    if recipe.mixture.total is not None and everything.amount > recipe.mixture.total:
        raise IntegrityError(f"{everything.amount} {recipe.mixture.unit} pass mixture.total; nothing is published")
    proof = {
        "unit": recipe.mixture.unit,
        "bounds": human.model_dump(),
        "total": recipe.mixture.total,
        "unknown_as": recipe.provenance.unknown_as,
        "human_share": everything.human_share,
        "human_share_train": splits["train"].human_share,
        "counted_from": [file.sha256 for file in files],
    }
    return everything, splits, proof


def totals(recipe: Recipe, files: Sequence[DataFile]) -> Totals:
    """Add up published files."""
    amounts: dict[str, int] = {}
    for file in files:
        for provenance, amount in file.amounts.items():
            amounts[provenance] = amounts.get(provenance, 0) + amount
    human, synthetic = amounts.get("human", 0), amounts.get("synthetic", 0)
    if recipe.provenance.unknown_as == "human":
        human += amounts.get("unknown", 0)
    else:
        synthetic += amounts.get("unknown", 0)
    counted = human + synthetic
    return Totals(
        documents=sum(file.rows for file in files),
        amount=counted,
        counted_human=human,
        by_provenance=dict(sorted(amounts.items())),
        human_share=round(human / counted, 6) if counted else None,
    )


def standing(store: Store, run: Run, files: Sequence[DataFile]) -> Manifest | None:
    """Return the parent's manifest when the candidate would publish just the same: the same files and recipe."""
    if not run.parent:
        return None
    parent = load_manifest(store, run.corpus, run.parent)
    same = parent.recipe_sha256 == run.recipe.sha256() and _names(parent.files) == _names(files)
    return parent if same else None


def _names(files: Sequence[DataFile]) -> list[tuple[str, str]]:
    return sorted((file.sha256, file.split) for file in files)


def move_publishing_tag(store: Store, run: Run, version: int) -> str | None:
    """Point the recipe's tag at a version; return a warning when a rollback holds the tag where it is.

    Also mends the tag of a run that ended between its manifest and its tag.
    """
    name = run.recipe.publish.tag
    while True:
        number, entry = newest_tag(store, run.corpus, name)
        if entry is not None and entry.by == "rollback":
            return (
                f"tag {name} stays at {version_name(entry.version)}, where a rollback put it; "
                f"move it with: cuvee tag {run.corpus}@{version_name(version)} {name}"
            )
        if entry is not None and entry.version >= version:
            return None
        try:
            entry = TagEntry(version=version, by="publish", created=_now())
            move_tag(store, run.corpus, name, entry, after=number)
        except ConflictError:  # somebody moved it at the same moment: see whereto
            continue
        return None


def _json(store: Store, run: Run, name: str, tree: Any) -> FileRef:
    content = json.dumps(tree, indent=1, sort_keys=True, ensure_ascii=False).encode() + b"\n"
    return write_report(store, run.corpus, run.version, name, content)


def _ledger(store: Store, run: Run, ledger: pl.DataFrame) -> FileRef:
    sink = BytesIO()
    ledger.write_parquet(sink, compression="zstd")
    return write_report(store, run.corpus, run.version, LEDGER, sink.getvalue(), rows=ledger.height)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
