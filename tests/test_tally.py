"""While requests are sent: how many, tokens a second, dollars and time left, on the terminal and in the report."""

import io
import logging
from functools import partial
from pathlib import Path

import pytest
from plain import candidate, drafting_recipe, recipe_file
from stub_endpoint import stub
from texts import documents, write_jsonl

from cuvee.commands import progress as shown
from cuvee.schemas.generation import Asked
from cuvee.tasks.generate import report
from cuvee.tasks.generators._journal import Outcome
from cuvee.tasks.generators._tally import Tally, Telling
from cuvee.tasks.steps import progress

PRICES = "prices: {prompt_per_million: 10, completion_per_million: 20}"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    write_jsonl(tmp_path / "texts.jsonl", documents(30))
    return tmp_path


def recipe_of(path: Path, url: str) -> str:
    lines = ("concurrency: 2", PRICES, "budget: {amount: 400}")
    return recipe_file(path, drafting_recipe(url, *lines, kinds="[encyclopedic]"))


def test_lines_tell_requests_pace_dollars_and_time_left(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shown, "EVERY_S", 0.0)
    out = io.StringIO()
    with stub(wait_s=0.05) as endpoint, shown.display(quiet=False, stream=out):
        candidate(recipe_of(path, endpoint.base_url), str(path / "store"))
        count = len(endpoint.requests)
    lines = [line for line in out.getvalue().splitlines() if line.startswith("generate rephrased: ")]
    assert lines[0] == f"generate rephrased: {count} to do"
    assert f" of {count} (2 requests, " in lines[2]
    assert " tokens/s, 0.0160 USD, " in lines[2]
    assert lines[2].endswith(" s left)")
    assert lines[-1].startswith(f"generate rephrased: {count} done in ")
    assert f"({count} requests, " in lines[-1]
    assert lines[-1].endswith(f"{count * (700 * 10 + 50 * 20) / 1e6:.4f} USD)")


def test_the_report_tells_what_this_run_asked_and_nothing_where_it_asked_nothing(path: Path) -> None:
    with stub() as endpoint:
        recipe = recipe_of(path, endpoint.base_url)
        trees = []
        for _ in range(2):
            found = candidate(recipe, str(path / "store"))
            begun = found.begun
            tree, text = report.build(begun.run, begun.store, begun.pool, found.decided, found.drafts)
            trees.append((tree["rephrased"]["this_run"], text))
            found.publish()
        count = len(endpoint.requests)
    (asked, text), (nothing, later) = trees
    assert asked["requests"] == count
    assert asked["completion_tokens"] == 50 * count
    assert asked["cost_usd"] == pytest.approx(count * 0.008)
    assert asked["tokens_a_second"] == pytest.approx(50 * count / asked["seconds"], abs=0.1)
    assert f"This run: {count} requests in " in text
    assert nothing is None
    assert "This run:" not in later


def test_what_is_not_known_is_not_told() -> None:
    told: list[str] = []
    tally = Tally(lambda sent, received: None)
    telling = Telling(lambda done, planned, note: told.append(note), tally)
    telling(0, 3)
    tally.count(Outcome("a", reason="timeout"))
    telling(1, 3)
    tally.count(Outcome("b", body="{}"))
    telling(3, 3)
    assert told[0] == ""
    assert told[1].startswith("1 requests, ")
    assert told[1].endswith(" left")
    assert told[2] == "2 requests"
    assert tally.asked.completion_tokens is None


def test_rounds_of_a_run_are_added_and_the_unknown_stays_unknown() -> None:
    one = Asked(requests=2, prompt_tokens=10, completion_tokens=20, cost_usd=0.5, seconds=4.0)
    both = one.plus(one)
    assert (both.requests, both.cost_usd, both.tokens_a_second) == (4, 1.0, 5.0)
    assert one.plus(None) == one
    assert one.plus(one.model_copy(update={"cost_usd": None})).cost_usd is None


def test_a_note_travels_with_the_record(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="cuvee.progress"):
        partial(progress, "generate rephrased")(1, 2, "80 tokens/s")
    assert caplog.records[0].note == "80 tokens/s"  # type: ignore[attr-defined]
