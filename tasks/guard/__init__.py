"""Guard: compare a candidate with its human reference, and name what a person should look at.

Every module of this package whose name does not start with "_" is a metric, found without a register: `figures`
measures the candidate, and `findings` says what of these figures deserves a look.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, TypeAlias, cast

import polars as pl

from cuvee.schemas.errors import GateError
from cuvee.schemas.manifest import parse_version
from cuvee.schemas.records import Run
from cuvee.schemas.report import Figures, Finding, Guarded
from cuvee.schemas.tables import DecidedRef, PlannedRef
from cuvee.storage.corpus import check_tagged, load_manifest, read_tag
from cuvee.storage.store import Store
from cuvee.storage.trust import parse_tree, read_whole
from cuvee.tasks import shelf
from cuvee.tasks.pool import Pool
from cuvee.tasks.steps import load_part, load_published

# What a metric may look at of the documents that are trained on, beside PLANNED.
_TRAINED = ("source", "doc_id", "origin", "provenance", "language", "words")

Parts: TypeAlias = Callable[[Sequence[str]], Iterator[pl.DataFrame]]


class Candidate(NamedTuple):
    """What metrics look at. parts: yields some columns of the decided table, a partition at a time, of which there is
    one at least; no two hold rows of one doc_id, and what is counted of each adds up. trained: the train split in
    sampling order, with PLANNED, source, doc_id, origin, provenance, language and words; published: documents of each
    source in both splits.
    """

    run: Run
    store: Store
    pool: Pool
    parts: Parts
    trained: pl.DataFrame
    published: Mapping[str, int]

    def counted(self, columns: Sequence[str], count: Callable[[pl.DataFrame], pl.DataFrame]) -> pl.DataFrame:
        """Return what is counted of each partition, one below the other."""
        return pl.concat([count(part) for part in self.parts(columns)])

    def named(self, name: str) -> str:
        """Say whether a generator or a source bears a name: it may be called human, and is no person for that."""
        made = any(entry.name == name for entry in self.run.recipe.generate)
        return f"{'generator' if made else 'source'} {name}"


class Metric(Protocol):
    """What a module of this package holds."""

    def figures(self, candidate: Candidate) -> Figures:
        """Measure the candidate."""

    def findings(self, candidate: Candidate, figures: Any) -> Sequence[Finding]:
        """Say what of the figures a person should look at."""


def run(run: Run, store: Store, pool: Pool, decided: DecidedRef, planned: PlannedRef) -> Guarded:
    """Judge a candidate. decided: every current row with its verdict; planned: the survivors with their split.

    Raises GateError when there are findings and guard.action is block, RecipeError when there is no version that
    guard.compare_with names, IntegrityError when its findings have changed; nothing is published then.
    """
    chosen = load_published(store, planned, decided, _TRAINED)
    published = dict(chosen.group_by("source").len().iter_rows())
    trained = chosen.filter(pl.col("split") == "train")

    def parts(columns: Sequence[str]) -> Iterator[pl.DataFrame]:
        return (load_part(store, part, columns) for part in decided.partitions)

    candidate = Candidate(run, store, pool, parts, trained, published)
    measured: dict[str, Figures] = {}
    findings: list[Finding] = []
    for name, module in shelf.modules(__name__).items():
        metric = cast(Metric, module)
        measured[name] = metric.figures(candidate)
        findings += metric.findings(candidate, measured[name])
    judged = [finding for finding in findings if not finding.note]
    if judged and run.recipe.guard.action == "block":
        raise GateError(
            "the guard has findings, and guard.action is block; nothing is published:\n"
            + "\n".join(f"  {finding.message}" for finding in judged)
        )
    return Guarded(findings=tuple(findings), figures=measured, earlier=_earlier(run, store))


def _earlier(run: Run, store: Store) -> dict[str, Any] | None:
    """Return the figures of the version or tag that guard.compare_with names, to stand beside the candidate's.

    None where there is no such tag, as in a first run. Raises RecipeError where there is no such version.
    """
    name = run.recipe.guard.compare_with
    if name is None:
        return None
    tagged = read_tag(store, run.corpus, name)
    if tagged:
        check_tagged(store, run.corpus, name, tagged)
    version = tagged.version if tagged else parse_version(name)
    if version is None:
        return None
    reports = load_manifest(store, run.corpus, version).reports
    report = next((ref for ref in reports if ref.path.endswith("/findings.json")), None)
    if report is None:
        return None
    told = parse_tree(read_whole(store, report), store.location(report.path))
    figures = told.get("figures") if isinstance(told, dict) else None
    kept = figures if isinstance(figures, dict) else {}
    return {"version": version, "duplicates": kept.get("duplicates"), "diversity": kept.get("diversity")}
