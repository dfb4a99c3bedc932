"""Runner: where mapped tasks run, and how their results come back.

A mapped task costs 6 ms with threads; with processes 150–400 ms, and 3 s for the first of each worker (Prefect 3.8.8,
two cores). A task is shard-sized for that reason.
"""

import importlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Sequence
from multiprocessing.connection import wait
from typing import Any, Literal, TypeVar

from prefect.context import FlowRunContext
from prefect.futures import PrefectFuture, as_completed
from prefect.task_runners import ProcessPoolTaskRunner, TaskRunner, ThreadPoolTaskRunner

from cuvee.schemas.errors import RecipeError
from cuvee.tasks.steps import progress

Kind = Literal["plain", "threads", "processes", "dask", "ray"]
R = TypeVar("R")

# The choice of a flow that is started by a worker; of a deployment it stands in its tags.
RUNNER, WORKERS = "CUVEE_RUNNER", "CUVEE_WORKERS"

# Where Dask and Ray themselves look for a running cluster.
CLUSTER_ADDRESS = {"dask": "DASK_SCHEDULER_ADDRESS", "ray": "RAY_ADDRESS"}


class Alone(ThreadPoolTaskRunner[Any]):
    """Marks a flow that carries its work out in its own process, one piece after another, without task runs."""


def task_runner(kind: Kind, workers: int | None = None) -> TaskRunner[Any]:
    """Make a task runner, for `flow.with_options(task_runner=…)`.

    workers: threads or processes, at least 1; None: one for each CPU that this process may use.
    With DASK_SCHEDULER_ADDRESS or RAY_ADDRESS in the environment the tasks go to that cluster, as large as it is.
    Raises RecipeError for an unknown kind, for fewer than one worker, for a number of workers where it is fixed, and
    where the runner's package is absent.
    """
    if kind == "plain":
        if workers is not None:
            raise RecipeError(f"--workers {workers}: the plain runner works alone; leave --workers out, or use threads")
        return Alone(max_workers=1)
    count = _cpu_count() if workers is None else workers
    if count < 1:
        raise RecipeError(f"--workers {count}: give at least 1")
    if kind == "threads":
        return ThreadPoolTaskRunner(max_workers=count)
    if kind == "processes":
        return ProcessPoolTaskRunner(max_workers=count, initializer=follow_parent)
    if kind in CLUSTER_ADDRESS:
        return _cluster(kind, workers, count)
    raise RecipeError(f"--runner {kind}: give plain, threads, processes, dask or ray")


def chosen() -> TaskRunner[Any]:
    """Make the task runner that CUVEE_RUNNER and CUVEE_WORKERS name; by default threads, one for each CPU."""
    kind, workers = os.environ.get(RUNNER) or "threads", os.environ.get(WORKERS) or None
    if workers is not None and not workers.isdecimal():
        raise RecipeError(f"{WORKERS}={workers}: give a whole number of at least 1")
    return task_runner(kind, None if workers is None else int(workers))  # type: ignore[arg-type]


def is_plain() -> bool:
    """Tell whether the current flow carries its work out without task runs."""
    context = FlowRunContext.get()
    return context is not None and isinstance(context.task_runner, Alone)


def gather(step: str, futures: Sequence[PrefectFuture[R]]) -> list[R]:
    """Wait for mapped tasks and give their results in the order of `futures`, reporting progress after each.

    Raises the first failure as the task raised it, without waiting for the rest: tasks that have not begun are
    cancelled, and those that have begun end with the flow's task runner.
    """
    progress(step, 0, len(futures))
    try:
        for done, future in enumerate(as_completed(list(futures)), start=1):
            future.result()
            progress(step, done, len(futures))
    except BaseException:
        for future in futures:
            cancel = getattr(getattr(future, "wrapped_future", None), "cancel", None)
            if cancel:
                cancel()
        raise
    return [future.result() for future in futures]


def follow_parent() -> None:
    """Tie a worker process to the process that started it; runs once in each worker.

    A pool's workers wait for work for ever when their parent is killed, and meet Ctrl-C with a traceback each and
    the next task.
    """
    parent = multiprocessing.parent_process()
    if parent is None:
        return
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    sentinel = parent.sentinel

    def end_with_parent() -> None:
        wait([sentinel])
        os._exit(1)

    threading.Thread(target=end_with_parent, name="cuvee-follow-parent", daemon=True).start()


def _cluster(kind: Kind, workers: int | None, count: int) -> TaskRunner[Any]:
    package, address = _integration(kind), os.environ.get(CLUSTER_ADDRESS[kind])
    if address and workers is not None:
        raise RecipeError(
            f"--workers {workers}: the cluster at {address} has its own workers; leave --workers out, "
            f"or unset {CLUSTER_ADDRESS[kind]} for workers on this machine"
        )
    options: dict[str, Any] = {"address": address} if address else {}
    if kind == "dask":
        here = {"n_workers": count, "threads_per_worker": 1}
        dask: TaskRunner[Any] = package.DaskTaskRunner(**options or {"cluster_kwargs": here})
        return dask
    ray: TaskRunner[Any] = package.RayTaskRunner(**options or {"init_kwargs": {"num_cpus": count}})
    return ray


def _cpu_count() -> int:
    """Count the CPUs this process may use: a container's or a batch system's share, not the machine's."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _integration(kind: str) -> Any:
    try:
        return importlib.import_module(f"prefect_{kind}")
    except ImportError as error:
        raise RecipeError(f"--runner {kind} needs a package of its own: pip install 'cuvee[{kind}]'") from error
