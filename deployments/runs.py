"""Runs in hand: let them end before their worker is stopped, and say of those that did not what became of them.

A stopped worker kills its runs and tells nobody; the server would take them for running.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import WorkPoolUpdate
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateType,
    WorkPoolFilter,
    WorkPoolFilterName,
)
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.client.schemas.sorting import FlowRunSort
from prefect.states import Crashed

MESSAGE = "Its worker has ended; what the run had finished is kept, and the next run goes on from there."
_IN_HAND = [StateType.PENDING, StateType.RUNNING, StateType.CANCELLING]


@contextmanager
def paused(client: SyncPrefectClient, pool: str) -> Iterator[None]:
    """Give no run of the pool to any worker while the body runs."""
    client.update_work_pool(pool, WorkPoolUpdate(is_paused=True))
    try:
        yield
    finally:
        client.update_work_pool(pool, WorkPoolUpdate(is_paused=False))


def in_hand(client: SyncPrefectClient, pool: str) -> list[FlowRun]:
    """Return the pool's runs that a worker has taken and that have not ended."""
    return client.read_flow_runs(
        flow_run_filter=FlowRunFilter(state=FlowRunFilterState(type=FlowRunFilterStateType(any_=_IN_HAND))),
        work_pool_filter=WorkPoolFilter(name=WorkPoolFilterName(any_=[pool])),
        sort=FlowRunSort.EXPECTED_START_TIME_ASC,
        limit=200,
    )


def await_end(client: SyncPrefectClient, pool: str, seconds: float) -> None:
    """Wait until no run is in hand, or the time is over."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and in_hand(client, pool):
        time.sleep(0.5)


def recover(client: SyncPrefectClient, pool: str) -> None:
    """Undo what a worker or a stop that was killed has left: runs that seem to run, a paused pool."""
    mark_stopped(client, pool)
    client.update_work_pool(pool, WorkPoolUpdate(is_paused=False))


def mark_stopped(client: SyncPrefectClient, pool: str) -> None:
    """Set to crashed what is in hand of a worker that is gone, which frees its concurrency slot."""
    for run in in_hand(client, pool):
        client.set_flow_run_state(run.id, Crashed(message=MESSAGE), force=True)
