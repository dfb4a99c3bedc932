"""Patience: a night waits out an outage of store, source or endpoint, up to an hour that its deployment names."""

import logging
import os
import re
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from prefect.runtime import deployment, flow_run

from cuvee.flows.names import zone
from cuvee.schemas.errors import RecipeError, RetryableError

RETRY_UNTIL = "CUVEE_RETRY_UNTIL"
# Stores and clients of endpoints have waited minutes themselves before; a long outage is tried four times an hour.
PAUSES_S = (60.0, 120.0, 240.0, 480.0, 900.0)
AT_LEAST = timedelta(hours=3)  # without a named hour; a night that is over by seven

_logger = logging.getLogger("cuvee.flows")
R = TypeVar("R")


def of_a_night(work: Callable[[], R]) -> R:
    """Carry out the work of a deployed run with patience; without a deployment somebody waits, and is told at once."""
    if deployment.id is None:
        return work()
    return patiently(work, deadline(flow_run.scheduled_start_time, os.environ.get(RETRY_UNTIL)))


def patiently(work: Callable[[], R], until: datetime, pauses_s: Sequence[float] = PAUSES_S) -> R:
    """Do the work, again after each fault that may pass, while the pause before it ends by `until`.

    pauses_s: seconds before each attempt, the last one before all later ones. What was finished is not done again.
    Raises the last RetryableError, with how often it was tried, and other errors at once.
    """
    attempt = 1
    while True:
        try:
            return work()
        except RetryableError as error:
            pause = timedelta(seconds=pauses_s[min(attempt, len(pauses_s)) - 1])
            now = datetime.now(UTC)
            last = f"{until.astimezone(zone()):%H:%M}"
            if now + pause > until:
                times = f"tried {attempt} times until {last}; the next run goes on from there"
                raise RetryableError(f"{error} ({times})") from error
            again = (now + pause).astimezone(zone())
            _logger.warning("%s; trying again at %s, until %s", error, f"{again:%H:%M:%S}", last)
            time.sleep(pause.total_seconds())
            attempt += 1


def deadline(due: datetime, hour: str | None) -> datetime:
    """Return until when a run that was due then tries again. hour: HH:MM in the timezone of the schedule, the next one
    after `due`; None for AT_LEAST. Raises RecipeError for another form.
    """
    if not hour:
        return due + AT_LEAST
    hours, minutes = parsed(hour)
    local = due.astimezone(zone())
    found = local.replace(hour=hours, minute=minutes, second=0, microsecond=0)
    return found if found > local else found + timedelta(days=1)


def parsed(hour: str) -> tuple[int, int]:
    """Read HH:MM; raises RecipeError."""
    if not re.fullmatch(r"([01]?\d|2[0-3]):[0-5]\d", hour, re.ASCII):
        raise RecipeError(f"--retry-until {hour!r}: give an hour as HH:MM, for example 07:00")
    hours, _, minutes = hour.partition(":")
    return int(hours), int(minutes)
