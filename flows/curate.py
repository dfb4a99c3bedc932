"""Curate: the pipeline as a Prefect flow, whose hands are the flow's task runner."""

import functools
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, ParamSpec, TypeVar, TypeVarTuple

from prefect import Task, flow, task
from prefect.cache_policies import NO_CACHE
from prefect.runtime import flow_run, task_run
from pydantic import Field

from cuvee.flows import artifacts, deployed, endpoint, events, outcome, patience, pipeline, watched
from cuvee.flows.hands import PlainHands
from cuvee.flows.names import corpus_of, run_name
from cuvee.flows.runner import chosen, gather, is_plain
from cuvee.schemas.errors import CuveeError
from cuvee.schemas.parse import parse_recipe
from cuvee.schemas.report import RunReport
from cuvee.storage import secrets
from cuvee.storage.store import Store
from cuvee.tasks.begin import new_run_id
from cuvee.tasks.generate import rounds
from cuvee.tasks.look import place_of

P = ParamSpec("P")
R = TypeVar("R")
Ts = TypeVarTuple("Ts")


# Results are handed on in memory; were they kept, they would be read again as pickles.
@flow(name="curate", flow_run_name=run_name, task_runner=chosen(), persist_result=False)
def curate(
    recipe: str,
    overrides: Sequence[str] = (),
    store: str | None = None,
    plan: bool = False,
    limit: Annotated[int, Field(ge=1)] | None = None,
) -> RunReport:
    """Run a recipe.

    recipe: path of the YAML file. overrides: `key.path=value` strings. store: overrides the recipe's.
    plan: work everything out, send no request to a generator and publish nothing. limit: rows to read of each source,
    for a trial, which is a corpus of its own.
    Raises RecipeError where a deployed run has another recipe or store than its deployment.
    """

    def work() -> RunReport:
        deployed.check(deployed.parameters(), recipe, store, overrides)
        return patience.of_a_night(lambda: carry_out(recipe, overrides, store, plan, limit))

    return outcome.told(work, outcome.of_report)


def carry_out(
    recipe: str, overrides: Sequence[str], store: str | None, plan: bool, limit: int | None = None
) -> RunReport:
    """Run a recipe inside a flow, and show its figures on the page of the run; raises as the pipeline does."""
    run_id = new_run_id(str(flow_run.get_id() or ""))
    hands = PlainHands() if is_plain() else TaskHands()
    secrets.guard_logs()
    try:
        with watched.shown(corpus_of(recipe)):
            report = pipeline.carry_out(recipe, overrides, store, plan, run_id, hands, limit, events.configured())
    except CuveeError as error:
        artifacts.of_error(corpus_of(recipe), error, run_id, lambda: _store_of(recipe, overrides, store))
        raise
    artifacts.of_report(report)
    return report


def _store_of(recipe: str, overrides: Sequence[str], store: str | None) -> Store:
    text = Path(recipe).read_text(encoding="utf-8")
    return place_of(parse_recipe(text, recipe, os.environ, overrides), recipe, store)


class TaskHands:
    """Carry work out as tasks of the current flow, by its task runner."""

    def one(self, step: str, work: Callable[P, R], *arguments: P.args, **named: P.kwargs) -> R:
        """Run a single task and wait for it."""
        return gather(step, [_task(step, work).submit(*arguments, **named)])[0]

    def each(self, step: str, work: Callable[[*Ts], R], arguments: Sequence[tuple[*Ts]]) -> list[R]:
        """Run a task for each tuple of arguments; return their results in order."""
        mapped = _task(step, work)
        return gather(step, [mapped.submit(*one) for one in arguments])


def _task(step: str, work: Callable[P, R]) -> Task[P, R]:
    # Runs that ask models take turns where the server has a limit for them.
    carried = without_secrets(endpoint.in_turn if work is rounds.run else work)
    return task(name=step, task_run_name=_label, cache_policy=NO_CACHE, persist_result=False)(carried)  # type: ignore[arg-type]


def without_secrets(work: Callable[P, R]) -> Callable[P, R]:
    """Carry work out so that neither its log nor its error, which Prefect keeps, tells a secret of the environment."""

    @functools.wraps(work)
    def carried(*arguments: P.args, **named: P.kwargs) -> R:
        secrets.guard_logs()
        with secrets.kept():
            return work(*arguments, **named)

    return carried


def _label() -> str:
    """Name a task run after its step and the source that its work is about, where it is about one."""
    named = (getattr(value, "source", None) for value in task_run.parameters.values())
    return " ".join([task_run.task_name, *(source for source in named if isinstance(source, str))][:2])
