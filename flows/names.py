"""Names: what a flow run is called in the Prefect UI, as `library 2026-11-21 nightly`."""

import os
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from prefect.runtime import deployment, flow_run

from cuvee.schemas.parse import parse_recipe

TIMEZONE = "CUVEE_TIMEZONE"  # set by a deployment to the timezone of its schedule


def run_name() -> str:
    """Name the current flow run: corpus, day, then what started it, if not the command line.

    The day is the one on which the run was due, in the timezone that CUVEE_TIMEZONE names, else in UTC: a nightly run
    that waits past midnight keeps the name of its night. Never raises: a name is not worth a run.
    """
    try:
        parameters = flow_run.parameters
        corpus = corpus_of(str(parameters.get("recipe", "")))
        started_by = (deployment.name or "").removesuffix(f"-{corpus}")
        plan = "plan" if parameters.get("plan") or parameters.get("plan_only") else ""
        words = [corpus, day_of(flow_run.scheduled_start_time), started_by, plan]
    except Exception:  # the server may be busy, the context unlike any known one
        words = ["curate", day_of(datetime.now(UTC))]
    return " ".join(word for word in words if word)


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
    try:
        zone = ZoneInfo(os.environ.get(TIMEZONE) or "UTC")
    except (ZoneInfoNotFoundError, ValueError):
        zone = ZoneInfo("UTC")
    return moment.astimezone(zone).date().isoformat()
