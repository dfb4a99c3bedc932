"""Watched: how far a deployed run is, as a progress artifact on its page, with its pace and the time that is left."""

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import ArtifactCreate, ArtifactUpdate
from prefect.runtime import deployment, flow_run

from cuvee.flows.artifacts import artifact_key

PATIENCE_S = 5.0  # a shorter step is over before anybody has read of it
EVERY_S = 2.0

_logger = logging.getLogger(__name__)


class Watch(logging.Handler):
    """Remembers how far the step is that was last heard of."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.step, self.done, self.total, self.note, self.begun, self.first = "", 0, 0, "", 0.0, 0

    def emit(self, record: logging.LogRecord) -> None:
        """Take what `progress` tells."""
        told = vars(record)
        if not {"step", "done", "total"} <= told.keys():
            return
        if told["step"] != self.step or told["done"] < self.done:
            self.begun, self.first = time.monotonic(), told["done"]
        self.step, self.done, self.total = told["step"], told["done"], told["total"]
        self.note = told.get("note", "")

    def seen(self) -> tuple[float, str] | None:
        """Return percents and words for the step in hand; None while it is young, or nothing is."""
        seconds = time.monotonic() - self.begun
        if not self.step or seconds < PATIENCE_S:
            return None
        words = [f"{self.step}: {self.done:,} of {self.total:,}"]
        pace = (self.done - self.first) / seconds
        if pace > 0 and self.done < self.total:
            words += [f"{pace:.2g} a second", f"about {_spelt((self.total - self.done) / pace)} left"]
        return 100.0 * self.done / max(self.total, 1), ", ".join([*words, *([self.note] if self.note else [])])


@contextmanager
def shown(corpus: str) -> Iterator[None]:
    """Show the progress of the body on the page of the run; without a deployment nobody looks there."""
    run = flow_run.get_id()
    if deployment.id is None or not run:
        yield
        return
    watch, over = Watch(), threading.Event()
    told = logging.getLogger("cuvee.progress")
    told.addHandler(watch)
    thread = threading.Thread(target=_follow, args=(watch, over, UUID(str(run)), corpus), daemon=True)
    thread.start()
    try:
        yield
    finally:
        told.removeHandler(watch)
        over.set()
        thread.join(timeout=EVERY_S)


def _follow(watch: Watch, over: threading.Event, run: UUID, corpus: str) -> None:
    """Send what the watch sees, until the run is over; a fault of the server costs the artifact and not the run."""
    artifact, last = None, None
    try:
        with get_client(sync_client=True) as client:
            while not over.wait(EVERY_S):
                seen = watch.seen()
                if seen and seen != last:
                    artifact, last = _send(client, artifact, seen, run, corpus), seen
            if artifact:
                client.update_artifact(artifact, ArtifactUpdate(data=100.0, description="over"))
    except Exception as error:  # whatever the client raises
        _logger.warning("no progress in the Prefect UI any more: %s", error)


def _send(client: SyncPrefectClient, artifact: UUID | None, seen: tuple[float, str], run: UUID, corpus: str) -> Any:
    data, words = seen
    if artifact:
        client.update_artifact(artifact, ArtifactUpdate(data=data, description=words))
        return artifact
    key = artifact_key(corpus, "progress")
    made = ArtifactCreate(key=key, type="progress", data=data, description=words, flow_run_id=run)
    return client.create_artifact(made).id


def _spelt(seconds: float) -> str:
    return (
        f"{seconds:.0f} s"
        if seconds < 90
        else f"{seconds / 60:.0f} min"
        if seconds < 5400
        else f"{seconds / 3600:.1f} h"
    )
