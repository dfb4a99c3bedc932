"""Names: what a flow run is called in the Prefect UI, as `library 2026-11-21 nightly`."""

import os
import re
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    DeploymentFilter,
    DeploymentFilterId,
    FlowRunFilter,
    FlowRunFilterExpectedStartTime,
)
from prefect.runtime import deployment, flow_run

from cuvee.schemas.parse import parse_recipe
from cuvee.storage import secrets

TIMEZONE = "CUVEE_TIMEZONE"  # set by a deployment to the timezone of its schedule
_LONGEST_WORD = 30  # of what a run changes, in its name


def run_name() -> str:
    """Name the current flow run: corpus, day, what started it, its number on that day, and what it was told to change.

    The day is the one on which the run was due, in the timezone that CUVEE_TIMEZONE names, else in UTC: a nightly run
    that waits past midnight keeps the name of its night. A name that a person has typed is kept: one with a blank or a
    capital, which those that Prefect makes up never have. Never raises: a name is not worth a run.
    """
    with suppress(Exception):  # the server may be busy, the context unlike any known one
        if is_typed(flow_run.name or ""):
            return str(flow_run.name)
    try:
        from cuvee.flows import deployed  # it imports this module

        parameters = flow_run.parameters
        corpus = corpus_of(str(parameters.get("recipe", "")))
        started_by = (deployment.name or "").removesuffix(f"-{corpus}")
        day = day_of(flow_run.scheduled_start_time)
        registered = deployed.parameters()
        words = [corpus, day, started_by, _number(), *changes(parameters, registered)]
    except Exception:
        words = ["curate", day_of(datetime.now(UTC))]
    return " ".join(word for word in words if word)


def is_typed(name: str) -> bool:
    """Tell a name that a person gave from one that Prefect made up, such as `steadfast-otter`."""
    return re.search(r"[\sA-Z]", name) is not None


def changes(parameters: Mapping[str, Any], registered: Mapping[str, Any]) -> list[str]:
    """Tell in a few words what a run does otherwise than its deployment, as `min=0.8`, `no drafts`, `plan`.

    Overrides are told by the last part of their key, and none that could tell a secret.
    """
    found = []
    for field, word in (("human_share", "min"), ("total", "total"), ("tag", "tag")):
        value = parameters.get(field)
        if value is not None and value != registered.get(field):
            found.append(f"{word}={value:g}" if isinstance(value, float) else f"{word}={value}")
    keys = (str(override).partition("=") for override in parameters.get("overrides") or ())
    found += [f"{key.rpartition('.')[2]}={value}" for key, _, value in keys if key.startswith("mixture.")]
    if registered.get("generate") and parameters.get("generate") is False:
        found.append("no drafts")
    if parameters.get("plan") or parameters.get("plan_only"):
        found.append("plan")
    return [secrets.hide(word)[:_LONGEST_WORD] for word in found]


def _number() -> str:
    """Number the runs of a deployment that were due on one day, from the second on, as `#2`."""
    if deployment.id is None:
        return ""
    due = flow_run.scheduled_start_time.astimezone(zone())
    midnight = due.replace(hour=0, minute=0, second=0, microsecond=0)
    between = FlowRunFilterExpectedStartTime(after_=midnight, before_=due)
    with get_client(sync_client=True) as client:
        found = client.read_flow_runs(
            flow_run_filter=FlowRunFilter(expected_start_time=between),
            deployment_filter=DeploymentFilter(id=DeploymentFilterId(any_=[UUID(str(deployment.id))])),
            limit=200,
        )
    number = 1 + sum(str(run.id) != str(flow_run.get_id()) for run in found)
    return f"#{number}" if number > 1 else ""


def corpus_of(recipe: str) -> str:
    """Return the corpus of the recipe at this path, or the file's name where it cannot be read."""
    path = Path(recipe)
    try:
        text = path.read_text(encoding="utf-8") if path.is_file() else ""  # a device or a pipe may never end
        return parse_recipe(text, path.name, os.environ).corpus
    except Exception:  # the run itself says what is wrong with it
        return path.stem or "curate"


def day_of(moment: datetime) -> str:
    """Return the ISO date of a moment where the schedule lives."""
    return moment.astimezone(zone()).date().isoformat()


def zone() -> ZoneInfo:
    """Return the timezone that CUVEE_TIMEZONE names, else UTC."""
    try:
        return ZoneInfo(os.environ.get(TIMEZONE) or "UTC")
    except (ZoneInfoNotFoundError, ValueError):
        return ZoneInfo("UTC")
