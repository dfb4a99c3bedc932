"""Pace: a slow server that queues its requests gets fewer at a time, few of them twice, and is not called dead."""

import itertools
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from stub_endpoint import stub
from test_generators import QUICK, Entry, ask, library, prose

from cuvee.schemas.errors import RetryableError
from cuvee.schemas.recipe import Generate
from cuvee.tasks.generators import openai
from cuvee.tasks.generators._journal import Journal
from cuvee.tasks.generators._pace import Slots

# A hundredth of a second for a second.
SCALE = 100


def one_slot(seconds: float) -> Any:
    """Answer one request at a time, each after so many seconds; the others wait."""
    turns, waiting, served = threading.Condition(), itertools.count(), itertools.count(1)
    at = [0]

    def answer(request: dict[str, Any], nth: int) -> str:
        with turns:
            turn = next(waiting)
            turns.wait_for(lambda: at[0] == turn)
        time.sleep(seconds)
        with turns:
            at[0] = next(served)
            turns.notify_all()
        return "The mill stands."

    return answer


def at_defaults(base_url: str) -> Entry:
    shipped = Generate(name="g", generator="openai")
    return Entry(generator="openai", base_url=base_url, model="tiny", concurrency=shipped.concurrency)


@pytest.mark.slow
def test_a_server_with_one_slot_and_four_seconds_an_answer_finishes_500_requests_at_the_defaults(
    tmp_path: Path,
) -> None:
    seeds, texts = library([prose(number) for number in range(250)])
    with stub(one_slot(4.0 / SCALE)) as endpoint:
        entry = at_defaults(endpoint.base_url)
        plan = openai.plan(entry, seeds, 10**9)
        policy = QUICK.model_copy(update={"timeout_s": Generate(name="g", generator="openai").timeout_s / SCALE})
        with Journal(tmp_path / "j") as kept:
            drafts = openai.run(entry, seeds, plan, texts, kept, policy=policy)
    assert drafts.failures.is_empty()
    assert len(drafts.rows) == 500
    assert sum(times - 1 for times in endpoint.sent.values()) <= 25


@pytest.mark.parametrize("waits", [4, 12])
def test_a_request_that_waits_longer_in_the_queue_than_timeout_s_is_not_lost(tmp_path: Path, waits: int) -> None:
    with stub(one_slot(0.1)) as endpoint:
        policy = QUICK.model_copy(update={"timeout_s": 0.1 * waits})
        drafts = ask(at_defaults(endpoint.base_url), tmp_path / "j", 2500, policy)
    assert drafts.failures.is_empty()
    assert len(drafts.rows) > 40
    assert sum(times - 1 for times in endpoint.sent.values()) <= len(drafts.rows) // 20


def test_a_server_that_hangs_gets_each_request_twice_and_the_message_names_what_to_change(tmp_path: Path) -> None:
    with stub(wait_s=1.0) as endpoint:
        entry = Entry(generator="openai", base_url=endpoint.base_url, model="tiny", concurrency=4)
        policy = QUICK.model_copy(update={"timeout_s": 0.1, "faults_in_a_row": 6, "last_answers_s": 0.1})
        told = r"accepts requests, and answers none.*timeout_s 0\.1.*lower concurrency or a longer timeout_s"
        with pytest.raises(RetryableError, match=told):
            ask(entry, tmp_path / "j", 10**6, policy)
    assert max(endpoint.sent.values()) == 2


def test_a_server_that_is_not_there_and_one_that_went_silent_are_told_apart(tmp_path: Path) -> None:
    with stub() as endpoint:
        gone = at_defaults(endpoint.base_url)
    with pytest.raises(RetryableError, match="cannot be reached"):
        ask(gone, tmp_path / "gone", 10**6)

    over = threading.Event()

    def fall_silent(request: dict[str, Any], nth: int) -> str:
        over.wait(30.0 if endpoint.sent.total() > 20 else 0.01)
        return "The mill stands."

    with stub(fall_silent) as endpoint:
        policy = QUICK.model_copy(update={"timeout_s": 0.6, "faults_in_a_row": 6, "last_answers_s": 0.1})
        with pytest.raises(RetryableError, match=r"after \d+ answers, the last of which took up to 0\.\d s"):
            ask(at_defaults(endpoint.base_url), tmp_path / "silent", 10**6, policy)
        over.set()


def test_a_server_whose_answers_take_differently_long_is_still_asked_as_much_as_it_may_be() -> None:
    slots = Slots(256, 64)
    for number in range(200):
        slots.grow(0.02 if number % 10 == 3 else 1.0 + number % 7 / 3)
    assert slots.limit == 256


def test_a_queue_that_only_grows_ends_the_growth() -> None:
    slots = Slots(256, 8)
    for number in range(500):
        slots.grow(4.0 * min(number + 1, slots.limit))
    assert slots.limit <= 32


def test_answers_under_way_when_a_run_ends_early_are_kept(tmp_path: Path) -> None:
    arrived = itertools.count()

    def refuse_one(request: dict[str, Any], nth: int) -> Any:
        if next(arrived) == 5:
            return 401, {}, b"{}"
        time.sleep(0.2)
        return "The mill stands."

    with stub(refuse_one) as endpoint:
        with pytest.raises(Exception, match="401"):
            ask(at_defaults(endpoint.base_url), tmp_path / "j", 10**6)
        assert (tmp_path / "j").read_bytes().count(b"\n") == endpoint.sent.total() - 1 == 7
