"""Unchanged: whether a run has all that the run before it had, and so would say what that one said.

Then nothing is decided, planned or written anew: the standing version stands.
"""

import hashlib
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import import_module
from pathlib import Path

from cuvee.schemas.errors import IntegrityError
from cuvee.schemas.recipe import canonical_sha256
from cuvee.schemas.records import Run, SourceFile
from cuvee.schemas.report import RunEnd, RunReport
from cuvee.storage.corpus import (
    corpus_folder,
    ledger_folder,
    load_manifest,
    newest_run,
    reports_folder,
    write_run,
)
from cuvee.storage.marks import marks_files
from cuvee.storage.store import Store
from cuvee.tasks.generate.rounds import FAILED, NOT_SENT
from cuvee.tasks.ingest import captures
from cuvee.tasks.measure import signals
from cuvee.tasks.pool import Pool
from cuvee.tasks.publish.commit import move_publishing_tag, report_of


def inputs(run: Run, store: Store, pool: Pool, dates: Mapping[int, str], files: Sequence[SourceFile]) -> str:
    """Hash all that a run's version follows from: the recipe and the files that it names, cuvee's own code, the rows of
    the pool in their order with what was measured of them, reviewers' marks, and the source files that exist.

    pool: with signals and pairs. dates: the day on which each pool state was committed.
    """
    days = {**dates, run.version: run.day}
    shards = [[entry.record.key, entry.accepted, days.get(entry.accepted)] for entry in pool.entries]
    known = {kind: [record.key for record in records] for kind, records in pool.signals.items()}
    return canonical_sha256(
        [
            *(run.recipe.sha256(), _named_files(run), code_sha256(), dict(run.readings)),
            *(shards, known, pool.known_pairs.key, signals.provenance_model(run).sha256),
            sorted([file.source, file.id, file.sha256] for file in files),
            marks_files(store, run.corpus),
        ]
    )


def run(
    run: Run, store: Store, pool: Pool, dates: Mapping[int, str], files: Sequence[SourceFile], warnings: Sequence[str]
) -> RunReport | None:
    """Return what the last run said, where this one would say it again, and keep its end as this one's; None where that
    is not known: in a trial, where requests have no answer yet, and where files of what stands are missing.

    The arguments are those of `inputs`; warnings: of this run's sources. Raises IntegrityError for a damaged manifest.
    """
    end = None if run.limit is not None else _last(run, store)
    if end is None or end.inputs != inputs(run, store, pool, dates, files):
        return None
    manifest = load_manifest(store, run.corpus, run.parent)
    reports, ledger = reports_folder(run.corpus, run.parent), ledger_folder(run.corpus)
    folders = [f"{corpus_folder(run.corpus)}data/", f"{ledger}/", f"{reports}/"]
    there = {path: size for folder in folders for path, size in store.sizes(folder).items()}
    if any(there.get(file.path) != file.bytes for file in (*manifest.files, *manifest.reports, *end.ledger)):
        return None
    held = move_publishing_tag(store, run, manifest.version)
    findings = tuple(finding for finding in end.findings if not finding.note)
    end = end.model_copy(update={"run_id": run.run_id, "outcome": "nothing_new", "findings": findings})
    write_run(store, end)
    return report_of(run, store, manifest, end, warnings, held)


def _last(run: Run, store: Store) -> RunEnd | None:
    """Return how the last run ended, where it left the standing version and nothing to ask again."""
    try:
        end = newest_run(store, run.corpus)
    except IntegrityError:  # what it said is not known
        return None
    if end is None or end.outcome == "stopped" or not end.version or end.version != run.parent:
        return None
    return None if {FAILED, NOT_SENT} & end.steps["generate"].dropped.keys() else end


def _named_files(run: Run) -> list[str]:
    """Hash what the recipe names that no step has in its key: templates, and captures of sites."""
    paths = [Path(run.folder, kind) for entry in run.recipe.generate for kind in entry.kinds if kind.endswith(".md")]
    for position, source in enumerate(run.recipe.sources):
        paths += map(Path, captures.paths(run, position)) if source.robots else []
    return [hashlib.sha256(path.read_bytes()).hexdigest() for path in paths]


@cache
def code_sha256() -> str:
    """Hash the modules of this package: another cuvee may say something else of the same rows."""
    whole = hashlib.sha256()
    for root in map(Path, import_module(__name__.partition(".")[0]).__path__):
        for path in sorted(root.glob("**/*.py")):
            whole.update(hashlib.sha256(path.read_bytes()).digest() + path.relative_to(root).as_posix().encode())
    return whole.hexdigest()
