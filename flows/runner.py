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

from prefect.futures import PrefectFuture, as_completed
from prefect.task_runners import ProcessPoolTaskRunner, TaskRunner, ThreadPoolTaskRunner

from cuvee.schemas.errors import RecipeError
from cuvee.tasks.steps import progress

Kind = Literal["threads", "processes", "dask", "ray"]
R = TypeVar("R")

# Where Dask and Ray themselves look for a running cluster.
CLUSTER_ADDRESS = {"dask": "DASK_SCHEDULER_ADDRESS", "ray": "RAY_ADDRESS"}


def task_runner(kind: Kind, workers: int | None = None) -> TaskRunner[Any]:
    """Make a task runner, for `flow.with_options(task_runner=…)`.

    workers: threads or processes, at least 1; None: one for each CPU that this process may use.
    With DASK_SCHEDULER_ADDRESS or RAY_ADDRESS in the environment the tasks go to that cluster, as large as it is.
    Raises RecipeError for an unknown kind, for fewer than one worker, for a number of workers of a cluster that runs
    already, and where the runner's package is absent.
    """
    count = _cpu_count() if workers is None else workers
    if count < 1:
        raise RecipeError(f"--workers {count}: give at least 1")
    if kind == "threads":
        return ThreadPoolTaskRunner(max_workers=count)
    if kind == "processes":
        return ProcessPoolTaskRunner(max_workers=count, initializer=follow_parent)
    if kind in CLUSTER_ADDRESS:
        return _cluster(kind, workers, count)
    raise RecipeError(f"--runner {kind}: give threads, processes, dask or ray")


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
