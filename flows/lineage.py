"""Lineage: runs as OpenLineage events, where OpenLineage's own variables name an endpoint or a file.

A run is START, then COMPLETE with the version that stands, or FAIL with the error. Inputs are the recipe's sources, the
output is the corpus. A fault of the receiver is a warning; it never fails a run.
"""

import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit
from uuid import NAMESPACE_URL, UUID, uuid5

from cuvee.schemas.address import shown
from cuvee.schemas.manifest import Manifest, version_name
from cuvee.schemas.records import Run
from cuvee.schemas.report import RunReport
from cuvee.storage import secrets
from cuvee.storage.corpus import load_manifest
from cuvee.storage.store import Store

PRODUCER = "urn:cuvee"
_SWITCHES = ("OPENLINEAGE_URL", "OPENLINEAGE_CONFIG", "OPENLINEAGE__TRANSPORT")
_logger = logging.getLogger("cuvee.flows")


def is_configured() -> bool:
    """Tell whether the environment names a receiver."""
    off = os.environ.get("OPENLINEAGE_DISABLED", "").strip().lower() == "true"
    return not off and any(name.startswith(_SWITCHES) for name in os.environ)


class Told:
    """A run of which a receiver is told; without one, nothing is done."""

    def __init__(self) -> None:
        self._client = _client() if is_configured() else None
        self._begun: Run | None = None

    def begun(self, run: Run) -> None:
        """Tell that a run has begun; a second time tells nothing."""
        if self._client and not self._begun:
            self._begun = run
            self._send("START", run, [], {})

    def ended(self, run: Run, store: Store, report: RunReport) -> None:
        """Tell how a run has ended, with the version that stands."""
        if self._client:
            with _warned():
                number = 0 if report.plan else report.version
                manifest = load_manifest(store, run.corpus, number) if number else None
                self._send("COMPLETE", run, [corpus_dataset(run, manifest)], {})

    def failed(self, error: BaseException) -> None:
        """Tell that the run that had begun has failed."""
        if self._client and self._begun:
            from openlineage.client.facet_v2 import error_message_run

            said = error_message_run.ErrorMessageRunFacet(
                message=secrets.hide(str(error)), programmingLanguage="python"
            )
            self._send("FAIL", self._begun, [], {"errorMessage": said})

    def _send(self, state: str, run: Run, outputs: Sequence[Any], facets: dict[str, Any]) -> None:
        from openlineage.client import event_v2

        with _warned():
            event = event_v2.RunEvent(
                eventType=event_v2.RunState[state],
                eventTime=datetime.now(UTC).isoformat(),
                run=event_v2.Run(runId=str(lineage_id(run.run_id)), facets=facets),
                job=event_v2.Job(namespace="cuvee", name=run.corpus),
                inputs=inputs(run),
                outputs=list(outputs),
                producer=PRODUCER,
            )
            self._client.emit(event)  # type: ignore[union-attr]


def lineage_id(run_id: str) -> UUID:
    """Return the id of a run as a UUID: that of Prefect's run where it has one."""
    try:
        return UUID(run_id.partition("-")[2])
    except ValueError:
        return uuid5(NAMESPACE_URL, run_id)


def inputs(run: Run) -> list[Any]:
    """Name a run's sources as OpenLineage names places: namespace and name."""
    from openlineage.client import event_v2

    found = []
    for source in run.recipe.sources:
        uris = [source.uri] if isinstance(source.uri, str) else source.uri
        found += [event_v2.InputDataset(*place_of(secrets.hide(shown(uri)), run.folder)) for uri in uris]
    return found


def place_of(uri: str, folder: str) -> tuple[str, str]:
    """Split an address into OpenLineage's namespace and name; a relative path is below `folder`."""
    parts = urlsplit(uri)
    if parts.scheme in ("s3", "http", "https") and parts.netloc:
        return f"{parts.scheme}://{parts.netloc}", parts.path.lstrip("/") or "/"
    return "file", os.path.join(folder, uri.removeprefix("file://"))


def corpus_dataset(run: Run, manifest: Manifest | None) -> Any:
    """Name the corpus, with the version that stands, its documents, files and bytes."""
    from openlineage.client import event_v2
    from openlineage.client.facet_v2 import dataset_version_dataset, output_statistics_output_dataset

    namespace, name = place_of(f"{run.store.rstrip('/')}/corpora/{run.corpus}", "")
    if manifest is None:
        return event_v2.OutputDataset(namespace, name)
    version = dataset_version_dataset.DatasetVersionDatasetFacet(datasetVersion=version_name(manifest.version))
    statistics = output_statistics_output_dataset.OutputStatisticsOutputDatasetFacet(
        rowCount=manifest.totals.documents,
        size=sum(file.bytes for file in manifest.files),
        fileCount=len(manifest.files),
    )
    facets: dict[str, Any] = {"version": version}
    return event_v2.OutputDataset(namespace, name, facets=facets, outputFacets={"outputStatistics": statistics})


def _client() -> Any:
    with _warned():
        try:
            from openlineage.client import OpenLineageClient
        except ImportError:
            _logger.warning("OpenLineage is configured, and its package is absent: pip install 'cuvee[lineage]'")
            return None
        return OpenLineageClient()
    return None


@contextmanager
def _warned() -> Iterator[None]:
    try:
        yield
    except Exception as error:  # whatever a transport raises, the run is not worse for it
        _logger.warning("OpenLineage was not told: %s", error)
