"""Artifacts: a run's tables and texts, for the page of the flow run in the Prefect UI.

They are a copy for the reader: what a corpus needs is in its manifest and reports. So they never fail a run.
"""

import logging
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from cuvee.flows import charts, page
from cuvee.schemas.errors import CuveeError, GateError
from cuvee.schemas.manifest import Manifest
from cuvee.schemas.report import RunReport, SourceReport, StepReport
from cuvee.schemas.visible import markdown
from cuvee.storage import secrets
from cuvee.storage.corpus import load_manifest, newest_run
from cuvee.storage.store import Store, open_store

_logger = logging.getLogger(__name__)


def of_report(report: RunReport) -> None:
    """Show how a run of a recipe ended: a text, its steps and sources as tables, the version as charts."""
    manifest = parent = None
    with _never_fails("of the version"):
        manifest, parent = _manifests(report)
    _text(report.corpus, page.of_report(report, manifest, parent))
    _tables(report.corpus, report.steps, report.sources)
    if manifest and manifest.mixture.constraints:
        chart(report.corpus, "mixture", charts.bounds(page.bounds(manifest)), f"Mixture of {manifest.ref}")
    if manifest:
        who = charts.provenance(page.by_source(manifest))
        chart(report.corpus, "provenance", who, f"Who wrote {manifest.ref}, in {manifest.mixture.unit}")


def of_error(corpus: str, error: CuveeError, run_id: str, place: Callable[[], Store]) -> None:
    """Show what stopped a run, and where its rows ended, if that was kept. place: opens the store of the run."""
    _text(corpus, page.of_error(corpus, error))
    if not isinstance(error, GateError):
        return
    with _never_fails("of the rows of the run"):
        end = newest_run(place(), corpus)
        if end and end.run_id == run_id:
            _tables(corpus, end.steps, end.sources)


def _manifests(report: RunReport) -> tuple[Manifest | None, Manifest | None]:
    """Return the manifests of the version that stands and of the one before it, as far as there are any."""
    if report.plan or not report.version:
        return None, None
    store = open_store(report.store)
    manifest = load_manifest(store, report.corpus, report.version)
    return manifest, load_manifest(store, report.corpus, manifest.parent) if manifest.parent else None


def _tables(corpus: str, steps: Mapping[str, StepReport], sources: Mapping[str, SourceReport]) -> None:
    table(corpus, "steps", page.steps(steps), f"Steps of the run of {corpus}: rows in and out, and why not")
    table(corpus, "sources", page.sources(sources), f"Where the rows of each source of {corpus} ended")


def table(corpus: str, name: str, rows: Sequence[Mapping[str, Any]], description: str) -> None:
    """Show rows of numbers and texts with the same keys; none shows nothing."""
    from prefect.artifacts import create_table_artifact

    if rows:
        _show(create_table_artifact, [_as_text(dict(row)) for row in rows], artifact_key(corpus, name), description)


def chart(corpus: str, name: str, svg: str, description: str) -> None:
    """Show an image, which is part of the artifact itself."""
    from prefect.artifacts import create_image_artifact

    _show(create_image_artifact, charts.address(svg), artifact_key(corpus, name), description)


def _text(corpus: str, words: str) -> None:
    from prefect.artifacts import create_markdown_artifact

    _show(create_markdown_artifact, words, artifact_key(corpus, "run"), f"What the run of {corpus} did, and what to do")


def _as_text(value: Any) -> Any:
    """Escape the strings of a cell, which the page renders as Markdown: reasons are texts of others."""
    if isinstance(value, str):
        return markdown(value)
    if isinstance(value, Mapping):
        return {markdown(str(name)): _as_text(inside) for name, inside in value.items()}
    return [_as_text(inside) for inside in value] if isinstance(value, list | tuple) else value


def artifact_key(corpus: str, name: str) -> str:
    """Make a key that Prefect accepts: lower-case letters, digits and single dashes; runs share it as a history."""
    return re.sub(r"[^a-z0-9]+", "-", f"cuvee-{corpus}-{name}".lower()).strip("-")


def _show(create: Callable[..., Any], content: Any, key: str, description: str) -> None:
    with _never_fails(key):
        create(secrets.hide_in(content), key=key, description=description)


@contextmanager
def _never_fails(what: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # whatever the client, the server or a store raises, the corpus is not worse for it
        _logger.warning("no artifact %s in the Prefect UI: %s", what, error)
