"""Outcome: how a run ended, as its page in the Prefect UI says it: a name and a sentence."""

from collections.abc import Callable
from typing import TypeVar, cast

from prefect.client.schemas.objects import State, StateType

from cuvee.schemas.errors import CuveeError, GateError
from cuvee.schemas.manifest import version_name
from cuvee.schemas.report import RunReport
from cuvee.storage import secrets

PUBLISHED, FINDINGS, NOTHING_NEW, PLANNED = "Published", "Published with findings", "Nothing new", "Planned"
STOPPED, WAITS, FAILED = "Stopped", "Waits for review", "Failed"
# Of what GateError says of a candidate that a person must approve.
_WAITING = "waits for a reviewer"

R = TypeVar("R")


def told(work: Callable[[], R], say: Callable[[R], tuple[str, str]]) -> R:
    """Carry work out, and give Prefect the state in which the run ends; its callers get the result, or the error.

    say: the state's name and message for a result. An error that cuvee names is the state's message, without a
    traceback: it says what to do. Other errors are raised.
    """
    try:
        with secrets.kept():
            result = work()
    except CuveeError as error:
        name, message = of_error(error)
        return cast(R, State(type=StateType.FAILED, name=name, message=message, data=error))
    name, message = say(result)
    return cast(R, State(type=StateType.COMPLETED, name=name, message=message, data=result))


def of_report(report: RunReport) -> tuple[str, str]:
    """Name how a run of a recipe ended, as ("Published", "Published library@v0007: 211,497 words, human .804")."""
    ref = f"{report.corpus}@{version_name(report.version)}"
    share = "none counted" if report.human_share is None else f"{report.human_share:.3f}".removeprefix("0")
    figures = f"{report.amount:,} {report.unit}, human {share}"
    if report.plan:
        return PLANNED, f"Planned, nothing was sent or published: {figures} without new drafts"
    if not report.published:
        return NOTHING_NEW, f"Nothing new: {ref} stands"
    count = sum(not finding.note for finding in report.findings)
    if not count:
        return PUBLISHED, f"Published {ref}: {figures}"
    return FINDINGS, f"Published {ref}: {figures}; {count} finding{'s' * (count > 1)} to look at"


def of_error(error: CuveeError) -> tuple[str, str]:
    """Name how a run ended that published nothing, as ("Stopped", "Stopped: …")."""
    if not isinstance(error, GateError):
        return FAILED, str(error)
    return (WAITS, f"Waits for review: {error}") if _WAITING in str(error) else (STOPPED, f"Stopped: {error}")
