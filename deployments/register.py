"""Register: tell a Prefect server about the work pool, the deployments and the automations; again is no harm."""

import functools
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from prefect.automations import AutomationCore
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import DeploymentScheduleCreate, WorkPoolCreate, WorkPoolUpdate
from prefect.client.schemas.filters import (
    DeploymentFilter,
    DeploymentFilterId,
    FlowRunFilter,
    FlowRunFilterExpectedStartTime,
    FlowRunFilterState,
    FlowRunFilterStateType,
    WorkPoolFilter,
    WorkPoolFilterName,
)
from prefect.client.schemas.objects import ConcurrencyLimitStrategy, ConcurrencyOptions, StateType
from prefect.client.schemas.schedules import CronSchedule
from prefect.client.schemas.sorting import FlowRunSort
from prefect.exceptions import ObjectNotFound
from prefect.flows import Flow, load_flow_from_entrypoint
from prefect.utilities.callables import parameter_schema

from cuvee.deployments.definitions import (
    NO_VARIABLES,
    POOL,
    Definition,
    automations,
    corpus_tag,
    job_template,
    training_automation,
)
from cuvee.deployments.plans import Plan
from cuvee.flows import deployed, training_order
from cuvee.schemas.base import Frozen
from cuvee.schemas.errors import RecipeError


class Pool(Frozen):
    """A work pool. is_fixed: whether its runs have no say in their command and environment."""

    type: str
    is_fixed: bool


class Registered(Frozen):
    """What a server was told. ids: of the deployments, in the plan's order; next_run: of the first of them."""

    pool: Pool
    ids: tuple[str, ...]
    next_run: datetime | None


def register(client: SyncPrefectClient, plan: Plan, ours: bool) -> Registered:
    """Make or update all that a plan means; raises RecipeError where a name belongs to another corpus.

    ours: the server is one that we have started.
    """
    check_free(client, plan.wanted, plan.corpus)
    pool = ensure_pool(client, POOL, plan.wanted[0].job_variables["command"], ours)
    for queue in dict.fromkeys(definition.queue for definition in plan.wanted):
        if queue or ours:
            take_turns(client, POOL, queue)
    ids = [apply(client, definition, pool) for definition in plan.wanted]
    apply_automations(client)
    if plan.order:
        training = plan.wanted[-1]
        training_order.keep(training.name, plan.order)
        apply_automation(client, training_automation(training, str(ids[-1])))
    return Registered(pool=pool, ids=tuple(map(str, ids)), next_run=next_run(client, ids[0]))


def ensure_pool(client: SyncPrefectClient, name: str, command: str, ours: bool) -> Pool:
    """Make the work pool for workers that start runs as processes of their machine by `command`, unless it stands.

    ours: the server is one that we have started, so that a standing pool is brought into that form too.
    """
    template = job_template(command)
    try:
        standing = client.read_work_pool(name)
    except ObjectNotFound:
        description = "Runs of cuvee, as processes of the worker's machine"
        pool = WorkPoolCreate(name=name, type="process", description=description, base_job_template=template)
        return Pool(type=client.create_work_pool(pool).type, is_fixed=True)
    is_fixed = standing.base_job_template.get("variables") == NO_VARIABLES
    if standing.type == "process" and (ours or is_fixed):
        client.update_work_pool(name, WorkPoolUpdate(base_job_template=template))
        is_fixed = True
    return Pool(type=standing.type, is_fixed=is_fixed)


def recipes(client: SyncPrefectClient, pool: str) -> list[str]:
    """Return the paths of the recipes that the pool's deployments run."""
    of_pool = WorkPoolFilter(name=WorkPoolFilterName(any_=[pool]))
    found = client.read_deployments(work_pool_filter=of_pool, limit=200)
    return sorted({str(deployment.parameters["recipe"]) for deployment in found if "recipe" in deployment.parameters})


def check_free(client: SyncPrefectClient, wanted: Sequence[Definition], corpus: str) -> None:
    """Raise RecipeError if a wanted name belongs to another corpus."""
    for definition in wanted:
        try:
            standing = client.read_deployment_by_name(full_name(definition))
        except ObjectNotFound:
            continue
        owners = [tag.partition(":")[2] for tag in standing.tags if tag.startswith(corpus_tag(""))]
        if owners and corpus not in owners:
            raise RecipeError(
                f"the deployment {definition.name} runs corpus {owners[0]} ({standing.parameters.get('recipe')}); "
                f"give {corpus} a pair of its own with --name {corpus}, or remove that one first: "
                f"prefect deployment delete {full_name(definition)}"
            )


def full_name(definition: Definition) -> str:
    """Return what Prefect calls a deployment, FLOW/NAME."""
    return f"{_flow(definition.entrypoint).name}/{definition.name}"


@functools.cache
def _flow(entrypoint: str) -> Flow[..., Any]:
    return load_flow_from_entrypoint(entrypoint, use_placeholder_flow=False)


def apply(client: SyncPrefectClient, definition: Definition, pool: Pool) -> UUID:
    """Make or update a deployment; what was scheduled for it before is scheduled anew."""
    flow = _flow(definition.entrypoint)
    form = deployed.schema(parameter_schema(flow).model_dump(), definition.parameters)
    return client.create_deployment(
        flow_id=client.create_flow(flow),
        name=definition.name,
        entrypoint=definition.entrypoint,
        description=definition.description,
        tags=list(definition.tags),
        parameters=definition.parameters,
        parameter_openapi_schema=form,
        enforce_parameter_schema=True,
        schedules=[
            DeploymentScheduleCreate(
                slug=schedule["slug"],
                schedule=CronSchedule(cron=schedule["cron"], timezone=schedule["timezone"]),
                active=schedule["active"],
            )
            for schedule in definition.schedules
        ],
        concurrency_limit=definition.limit,
        concurrency_options=ConcurrencyOptions(
            collision_strategy=ConcurrencyLimitStrategy(definition.collision_strategy)
        ),
        work_pool_name=definition.pool,
        work_queue_name=definition.queue,
        job_variables={} if pool.is_fixed else definition.job_variables,
        pull_steps=[],
    )


def apply_automations(client: SyncPrefectClient) -> None:
    """Make or update the automations, by name."""
    for tree in automations():
        apply_automation(client, tree)


def apply_automation(client: SyncPrefectClient, tree: Mapping[str, Any]) -> None:
    """Make or update an automation, by name."""
    wanted = AutomationCore.model_validate(tree)
    standing = client.read_automations_by_name(wanted.name)
    if standing:
        client.update_automation(standing[0].id, wanted)
    else:
        client.create_automation(wanted)


def take_turns(client: SyncPrefectClient, pool: str, queue: str | None) -> None:
    """Let one run of a queue of the pool be in hand at a time; None: the default queue. It is made where it lacks."""
    name = queue or "default"
    try:
        standing = client.read_work_queue_by_name(name, pool)
    except ObjectNotFound:
        client.create_work_queue(name, concurrency_limit=1, work_pool_name=pool)
        return
    client.update_work_queue(standing.id, concurrency_limit=1)


def next_run(client: SyncPrefectClient, deployment: UUID) -> datetime | None:
    """Let the server schedule the deployment's next runs, and return when the first is due."""
    client.request("POST", "/deployments/{id}/schedule", path_params={"id": deployment}, json={}).raise_for_status()
    found = client.read_flow_runs(
        deployment_filter=DeploymentFilter(id=DeploymentFilterId(any_=[deployment])),
        flow_run_filter=FlowRunFilter(
            state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.SCHEDULED])),
            expected_start_time=FlowRunFilterExpectedStartTime(after_=datetime.now(UTC)),
        ),
        sort=FlowRunSort.EXPECTED_START_TIME_ASC,
        limit=1,
    )
    return found[0].expected_start_time if found else None


def worker_is_online(client: SyncPrefectClient, pool: str, name: str) -> bool:
    """Tell whether a worker of this name has reported to the pool of late."""
    answer = client.request(
        "POST", "/work_pools/{work_pool_name}/workers/filter", path_params={"work_pool_name": pool}, json={}
    )
    workers: list[dict[str, Any]] = answer.json()
    return any(worker["name"] == name and worker["status"] == "ONLINE" for worker in workers)
