"""Definitions: the deployments of prefect.yaml, filled in for one recipe, and the automations beside them."""

import shlex
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.resources import files
from typing import Any

from prefect.client.schemas.schedules import CronSchedule
from pydantic import ValidationError
from ruamel.yaml import YAML

from cuvee.flows import deployed
from cuvee.flows.ad_hoc import defaults
from cuvee.flows.names import TIMEZONE
from cuvee.schemas.base import Frozen
from cuvee.schemas.errors import RecipeError
from cuvee.schemas.recipe import Recipe

POOL = "cuvee"
NO_VARIABLES = {"type": "object", "properties": {}, "additionalProperties": False}


class Definition(Frozen):
    """One deployment, ready for the server. queue: of the pool, None for its default one; job_variables: for a pool
    that lets runs have some.
    """

    name: str
    entrypoint: str
    description: str
    tags: tuple[str, ...]
    parameters: dict[str, Any]
    schedules: tuple[dict[str, Any], ...]
    limit: int
    collision_strategy: str
    pool: str
    queue: str | None
    job_variables: dict[str, Any]


def default_cron() -> str:
    """Return the nightly schedule of prefect.yaml."""
    return next(str(schedule["cron"]) for entry in _deployments() for schedule in entry["schedules"])


def local_timezone() -> str:
    """Return the IANA name of this machine's timezone, UTC where it has none."""
    from tzlocal import get_localzone_name

    try:
        return get_localzone_name() or "UTC"
    except (LookupError, ValueError, OSError):
        return "UTC"


def check_schedule(cron: str, timezone: str) -> None:
    """Raise RecipeError for a cron expression or a timezone that the server would not take."""
    try:
        CronSchedule(cron=cron)
    except ValidationError:
        raise RecipeError(
            f"--cron {cron!r}: not a cron expression; minute, hour, day, month, weekday, for example '0 4 * * *'"
        ) from None
    try:
        CronSchedule(cron=cron, timezone=timezone)
        datetime.now(UTC).astimezone(_zone(timezone))
    except (ValidationError, LookupError, ValueError):
        raise RecipeError(f"--timezone {timezone!r}: unknown; give an IANA name, for example Europe/Berlin") from None


def definitions(
    recipe: Recipe,
    path: str,
    store: str | None,
    cron: str,
    timezone: str,
    name: str | None,
    runner: str = "threads",
    workers: int | None = None,
    retry_until: str | None = None,
) -> list[Definition]:
    """Fill in the deployments for the recipe at `path`.

    path: absolute. store: None, or an absolute path or URL that wins over the recipe's. name: makes a pair of its own,
    `nightly-NAME` and `ad-hoc-NAME`, beside that of another recipe. workers: None for the CPUs of the worker's machine.
    retry_until: HH:MM, up to which a night waits out an outage.
    """
    choices = deployed.tags(timezone, runner, workers, retry_until)
    common = {"recipe": path} | ({"store": store} if store else {})
    about = f"Corpus {recipe.corpus}, recipe {path}"
    found = []
    for entry in _deployments():
        form = defaults(recipe) if entry["name"] == "ad-hoc" else {}
        filled = _definition(entry, name, recipe.corpus, about, choices, timezone)
        hour = {"cron": cron} if entry["name"] == "nightly" else {}
        schedules = tuple({**schedule, **hour, "timezone": timezone} for schedule in entry["schedules"])
        found.append(filled.model_copy(update={"parameters": common | form, "schedules": schedules}))
    return found


def training(corpus: str, store: str, timezone: str, name: str | None) -> Definition:
    """Fill in the deployment that pulls the versions of a corpus for a training command."""
    about = f"Corpus {corpus}, store {store}"
    filled = _definition(_load("training.yaml")["deployment"], name, corpus, about, deployed.tags(timezone), timezone)
    return filled.model_copy(update={"parameters": {"corpus": corpus, "store": store}})


def training_automation(definition: Definition, deployment: str) -> dict[str, Any]:
    """Fill in the automation that starts such a deployment, by its id."""
    tree = dict(_load("training.yaml")["automation"])
    corpus = str(definition.parameters["corpus"])
    (action,) = tree["actions"]
    return {
        **tree,
        "name": f"cuvee-{definition.name}",
        "trigger": {**tree["trigger"], "match": {"prefect.resource.id": f"cuvee.corpus.{corpus}"}},
        "actions": [{**action, "deployment_id": deployment}],
    }


def block_types() -> list[str]:
    """List the types of Prefect's blocks by which somebody can be told of a run."""
    return list(_load("notify.yaml")["types"])


def notification(block_type: str, block: str) -> dict[str, Any]:
    """Fill in the automation that tells by such a block, by its id."""
    tree = dict(_load("notify.yaml")["automation"])
    (action,) = tree["actions"]
    return {**tree, "name": f"{tree['name']}-{block_type}", "actions": [{**action, "block_document_id": block}]}


def mail_block_type() -> str:
    """Return the type of the block by which mail is sent."""
    return str(_load("notify.yaml")["mail"])


def mail() -> Definition:
    """Return the deployment that sends mail."""
    return _definition(_load("notify.yaml")["deployment"], None, None, "", (), "UTC")


def mail_automation(deployment: str) -> dict[str, Any]:
    """Fill in the automation that starts the deployment that sends mail, by its id."""
    tree = _load("notify.yaml")
    action = {**tree["mail_action"], "deployment_id": deployment}
    return {**tree["automation"], "name": f"{tree['automation']['name']}-mail", "actions": [action]}


def _definition(
    entry: Mapping[str, Any], name: str | None, corpus: str | None, about: str, choices: Sequence[str], timezone: str
) -> Definition:
    """Fill in all of a deployment but its parameters and schedules. corpus: None for one that is for all."""
    pool, limit = entry["work_pool"], entry["concurrency_limit"]
    return Definition(
        name=f"{entry['name']}-{name}" if name else entry["name"],
        entrypoint=entry["entrypoint"],
        description=f"{entry['description']}\n\n{about}".strip(),
        tags=(*entry["tags"], *([corpus_tag(corpus)] if corpus else []), *choices),
        parameters={},
        schedules=(),
        limit=limit["limit"],
        collision_strategy=limit["collision_strategy"],
        pool=pool["name"],
        queue=pool.get("queue"),
        job_variables=_job(pool["job_variables"], timezone),
    )


def job_template(command: str) -> dict[str, Any]:
    """Return the job template of a pool whose runs are all started by `command`, whoever starts them.

    It names no `env`: a worker merges a run's into one that is there, variable or not, and PYTHONPATH is code. Without
    `additionalProperties: false` the server would take job variables and ignore them; so it refuses them.
    """
    job: dict[str, Any] = {"command": command, "labels": {}, "name": None, "stream_output": True, "working_dir": None}
    return {"job_configuration": job, "variables": dict(NO_VARIABLES)}


def corpus_tag(corpus: str) -> str:
    """Return the tag that the deployments and runs of a corpus carry."""
    return f"corpus:{corpus}"


def automations() -> list[dict[str, Any]]:
    """Return the automations as the server takes them."""
    return list(_load("automations.yaml")["automations"])


def _deployments() -> list[dict[str, Any]]:
    return list(_load("prefect.yaml")["deployments"])


def _load(name: str) -> dict[str, Any]:
    text = (files("cuvee.deployments") / name).read_text(encoding="utf-8")
    tree: dict[str, Any] = YAML(typ="safe", pure=True).load(text)
    return tree


def _job(variables: Mapping[str, Any], timezone: str) -> dict[str, Any]:
    """Fill in the timezone, and this interpreter for `python`, which the worker's path may lack."""
    _, *arguments = shlex.split(variables["command"])
    environment = {**variables["env"], TIMEZONE: timezone}
    return {**variables, "command": shlex.join([sys.executable, *arguments]), "env": environment}


def _zone(timezone: str) -> Any:
    from zoneinfo import ZoneInfo

    return ZoneInfo(timezone)
