"""Pace: a slow server that queues its requests gets fewer at a time, and few of them twice."""

import threading
import time
from pathlib import Path
from typing import Any

import pytest
from stub_endpoint import stub
from test_generators import QUICK, Entry, ask

from cuvee.schemas.errors import RetryableError


def test_a_server_with_one_slot_is_asked_less_at_a_time_and_answers_everything(tmp_path: Path) -> None:
    slot = threading.Lock()

    def answer(request: dict[str, Any], nth: int) -> str:
        with slot:
            time.sleep(0.03)
        return "The mill stands."

    with stub(answer) as endpoint:
        entry = Entry(generator="openai", base_url=endpoint.base_url, model="tiny", concurrency=32)
        policy = QUICK.model_copy(update={"timeout_s": 0.9})
        drafts = ask(entry, tmp_path / "j", 10**6, policy)
    assert drafts.failures.is_empty()
    assert len(drafts.rows) == 120
    assert sum(times - 1 for times in endpoint.sent.values()) <= 12


def test_a_server_that_hangs_gets_each_request_twice_and_the_message_names_what_to_change(tmp_path: Path) -> None:
    with stub(wait_s=1.0) as endpoint:
        entry = Entry(generator="openai", base_url=endpoint.base_url, model="tiny", concurrency=4)
        policy = QUICK.model_copy(update={"timeout_s": 0.1, "faults_in_a_row": 6})
        with pytest.raises(RetryableError, match=r"timeout_s 0\.1.*lower concurrency or a longer timeout_s"):
            ask(entry, tmp_path / "j", 10**6, policy)
    assert max(endpoint.sent.values()) == 2
