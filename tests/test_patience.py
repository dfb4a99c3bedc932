"""A night waits out what may pass, up to its hour, and nothing else."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from cuvee.flows import names, patience
from cuvee.flows.deployed import environment_of, tags
from cuvee.schemas.errors import CuveeError, GateError, RecipeError, RetryableError

LATER = datetime.now(UTC) + timedelta(hours=1)


def failing(times: int, error: CuveeError) -> tuple[Callable[[], str], list[int]]:
    calls: list[int] = []

    def work() -> str:
        calls.append(1)
        if len(calls) <= times:
            raise error
        return "published"

    return work, calls


def test_an_outage_is_waited_out_and_a_gate_is_not() -> None:
    work, calls = failing(3, RetryableError("the server of s3://b is silent"))
    assert patience.patiently(work, LATER, (0.0, 0.01)) == "published"
    assert len(calls) == 4
    work, calls = failing(1, GateError("too little"))
    with pytest.raises(GateError):
        patience.patiently(work, LATER, (0.0,))
    assert len(calls) == 1


def test_the_hour_ends_the_waiting_and_the_error_says_how_often(monkeypatch: pytest.MonkeyPatch) -> None:
    work, calls = failing(9, RetryableError("silent"))
    soon = datetime.now(UTC) + timedelta(seconds=0.2)
    with pytest.raises(RetryableError, match=r"silent \(tried 2 times until \d\d:\d\d; the next run goes on"):
        patience.patiently(work, soon, (0.0, 60.0))
    assert len(calls) == 2
    work, calls = failing(1, RetryableError("silent"))
    with pytest.raises(RetryableError, match=r"^silent$"):
        patience.of_a_night(work)  # no deployment: somebody waits
    assert len(calls) == 1


def test_the_hour_is_the_next_one_where_the_schedule_lives(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(names.TIMEZONE, "Europe/Berlin")
    due = datetime(2026, 11, 29, 3, 0, tzinfo=UTC)  # 4:00 there
    assert patience.deadline(due, None) == due + timedelta(hours=3)
    assert patience.deadline(due, "07:00") == datetime(2026, 11, 29, 6, 0, tzinfo=UTC)
    assert patience.deadline(due, "3:30") == datetime(2026, 11, 30, 2, 30, tzinfo=UTC)
    for wrong in ("24:00", "7", "07:60", "seven"):
        with pytest.raises(RecipeError, match="--retry-until"):
            patience.parsed(wrong)
    assert environment_of(tags("UTC", retry_until="07:00"))[patience.RETRY_UNTIL] == "07:00"
