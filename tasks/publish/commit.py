"""Publish: prove the mixture, write the documents, then the manifest in one create-only put, then the tag."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import cast

from cuvee.schemas.errors import ConflictError
from cuvee.schemas.manifest import DataFile, Manifest, TagEntry, version_name
from cuvee.schemas.records import FileRef, Run
from cuvee.schemas.report import Accounts, Guarded, RunEnd, RunReport
from cuvee.schemas.tables import DecidedRef, PlannedRef
from cuvee.storage.corpus import commit, load_manifest, move_tag, newest_tag, write_report, write_run, write_state
from cuvee.storage.secrets import hide_in
from cuvee.storage.store import Store
from cuvee.tasks import shelf
from cuvee.tasks.dedup import PAIRS_VERSION
from cuvee.tasks.generate import rounds
from cuvee.tasks.generate.rounds import Generated
from cuvee.tasks.ingest.reading import READING_VERSION
from cuvee.tasks.measure import signals, tokens
from cuvee.tasks.mixture.proof import prove
from cuvee.tasks.mixture.recount import recount
from cuvee.tasks.pool import Pool
from cuvee.tasks.publish import assemble, documents
from cuvee.tasks.publish.documents import Document, Told


def run(
    run: Run,
    store: Store,
    pool: Pool,
    dates: dict[int, str],
    decided: DecidedRef,
    planned: PlannedRef,
    generated: Sequence[Generated],
    guarded: Guarded,
    files: Sequence[DataFile],
    accounts: Accounts,
    warnings: Sequence[str],
    inputs: str,
) -> RunReport:
    """Commit the candidate, or find that the standing version says the same already; keep the run's ledger.

    inputs: as of `unchanged.inputs`.
    Raises IntegrityError when bounds do not hold, ConflictError when another run published first.
    """
    parent = standing(store, run, files)
    manifest = parent
    if manifest is None:
        candidate = _manifest(run, store, pool, dates, files, accounts, planned)
        told = Told(run, store, pool, decided, generated, candidate, accounts, guarded)
        manifest = candidate.model_copy(update={"reports": _documents(told)})
        commit(store, manifest)
    held = move_publishing_tag(store, run, manifest.version)
    end = RunEnd(
        run_id=run.run_id,
        corpus=run.corpus,
        outcome="nothing_new" if parent else "published",
        version=manifest.version,
        steps=accounts.steps,
        sources=accounts.sources,
        ledger=accounts.ledger,
        partitions=accounts.partitions,
        inputs=inputs,
        findings=guarded.findings,
        warnings=tuple(entry.warning for entry in generated if entry.warning),
        mixture=planned.why,
        example=accounts.example,
    )
    write_run(store, end)
    return report_of(run, store, manifest, end, warnings, held)


def report_of(
    run: Run, store: Store, standing: Manifest, end: RunEnd, warnings: Sequence[str], held: str | None
) -> RunReport:
    """Report how a run ended. standing: the version that stands now; warnings: of sources; held: of the tag."""
    return RunReport(
        corpus=run.corpus,
        version=standing.version,
        published=end.outcome == "published",
        documents=standing.totals.documents,
        amount=standing.totals.amount,
        unit=run.recipe.mixture.unit,
        human_share=standing.totals.human_share,
        floor=run.recipe.mixture.human.min,
        steps=end.steps,
        sources=end.sources,
        findings=end.findings,
        mixture=end.mixture,
        warnings=(*warnings, *end.warnings, *([held] if held else [])),
        store=store.uri,
        example=end.example,
    )


def stopped(run: Run, store: Store, accounts: Accounts, gate: str) -> None:
    """Keep the ledger of a run that a gate stopped; gate: what it said."""
    end = RunEnd(
        run_id=run.run_id,
        corpus=run.corpus,
        outcome="stopped",
        version=run.parent,
        message=gate,
        steps=accounts.steps,
        sources=accounts.sources,
        ledger=accounts.ledger,
        partitions=accounts.partitions,
    )
    write_run(store, end)


def _manifest(
    run: Run,
    store: Store,
    pool: Pool,
    dates: dict[int, str],
    files: Sequence[DataFile],
    accounts: Accounts,
    planned: PlannedRef,
) -> Manifest:
    """Return what the candidate is, its mixture proven, without the documents about it."""
    everything, splits, proof = prove(run.recipe, files, planned.marked)
    counted = {
        "constraints": recount(store, run.recipe, files, planned.marked),
        "guaranteed": planned.guaranteed,
        "strata": planned.strata,
        "why": planned.why,
        "marked": planned.marked,
    }
    versions = {"ingest": READING_VERSION, "pairs": PAIRS_VERSION}
    return Manifest(
        corpus=run.corpus,
        version=run.version,
        parent=run.parent or None,
        created=_now(),
        run_id=run.run_id,
        recipe=hide_in(run.recipe.told(), also_named=False),
        recipe_sha256=run.recipe.sha256(),
        steps={**versions, **signals.versions(run), "generate": rounds.VERSION, "assemble": assemble.VERSION},
        models={"provenance": signals.provenance_model(run).sha256, **_tokenizer(run)},
        pool=write_state(store, run.corpus, pool.state(run, dates)),
        files=tuple(files),
        totals=everything,
        splits=splits,
        mixture=proof.model_copy(update=counted),
        reports=(),
        ledger=accounts.ledger,
        ledger_partitions=accounts.partitions,
    )


def _tokenizer(run: Run) -> dict[str, str]:
    """Return what counted the tokens, where they are the unit."""
    path = tokens.tokenizer_path(run)
    return {"tokenizer": tokens.tokenizer_hash(path)} if path else {}


def _documents(told: Told) -> tuple[FileRef, ...]:
    """Write all documents of a version into its folder of reports."""
    return tuple(
        write_report(told.store, told.run.corpus, told.run.version, name, content)
        for module in shelf.modules(documents.__name__).values()
        for name, content in cast(Document, module).write(told).items()
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


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
