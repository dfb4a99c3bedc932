"""Replicas, names of endpoints, and quotas: servers may move, die and be joined by others, and no answer is lost."""

import itertools
import json
from pathlib import Path
from typing import Any

import pytest
from plain import candidate, recipe_file
from pydantic import ValidationError
from stub_endpoint import stub
from test_generators import QUICK, SEEDS, Entry, ask
from texts import documents, write_jsonl

from cuvee.schemas.errors import RecipeError, RetryableError
from cuvee.schemas.recipe import Generate
from cuvee.tasks.generate.rounds import UNANSWERED
from cuvee.tasks.generators import openai
from cuvee.tasks.generators._ask import folder_of
from cuvee.tasks.generators._quota import words_of


def speak(request: dict[str, Any], nth: int) -> str:
    return "The mill stands."


def entry_for(*base_urls: str, **changes: object) -> Entry:
    base_url = base_urls if len(base_urls) > 1 else base_urls[0]
    return Entry(generator="openai", base_url=base_url, model="tiny").model_copy(update=changes)


def test_replicas_share_the_work_and_no_request_goes_to_two_of_them(tmp_path: Path) -> None:
    with stub(speak, wait_s=0.02) as one, stub(speak, wait_s=0.02) as other:
        drafts = ask(entry_for(one.base_url, other.base_url), tmp_path / "j", 10**6)
    assert len(drafts.rows) == 120
    assert min(one.sent.total(), other.sent.total()) > 40
    assert set((one.sent + other.sent).values()) == {1}


@pytest.mark.parametrize("fault", ["gone", "500", "silent"])
def test_a_replica_that_fails_costs_no_request(tmp_path: Path, fault: str, caplog: pytest.LogCaptureFixture) -> None:
    def fail(request: dict[str, Any], nth: int) -> Any:
        return 500, {}, b"{}"

    with stub(speak, wait_s=0.01) as well, stub(fail, wait_s=6.0 if fault == "silent" else 0.0) as ill:
        if fault == "gone":
            ill.server.server_close()
        policy = QUICK.model_copy(update={"timeout_s": 1.5, "faults_in_a_row": 6})
        drafts = ask(entry_for(ill.base_url, well.base_url), tmp_path / "j", 10**6, policy)
    assert len(drafts.rows) == 120
    assert set(well.sent.values()) == {1}
    if fault != "silent":  # of that one too few requests are made to tell
        assert f"{ill.base_url}: 6 faults in a row" in caplog.text


def test_a_replica_that_comes_back_is_asked_again(tmp_path: Path) -> None:
    arrived = itertools.count(1)

    def fail_at_first(request: dict[str, Any], nth: int) -> Any:
        return (500, {}, b"{}") if next(arrived) <= 8 else "The mill stands."

    with stub(speak, wait_s=0.05) as well, stub(fail_at_first) as ill:
        policy = QUICK.model_copy(update={"faults_in_a_row": 6})
        drafts = ask(entry_for(ill.base_url, well.base_url), tmp_path / "j", 10**6, policy)
    assert len(drafts.rows) == 120
    assert next(arrived) > 20


def test_when_all_replicas_fail_the_run_ends(tmp_path: Path) -> None:
    with stub() as one, stub() as other:
        pass
    with pytest.raises(RetryableError, match="cannot be reached"):
        ask(entry_for(one.base_url, other.base_url), tmp_path / "j", 10**6)


def test_a_server_that_moves_is_paid_nothing_again_where_the_endpoint_has_a_name(tmp_path: Path) -> None:
    with stub(speak) as before:
        named = entry_for(before.base_url, endpoint="mill")
        first = ask(named, tmp_path / "j", 10**6)
    with stub(speak) as after:
        moved = ask(named.model_copy(update={"base_url": after.base_url}), tmp_path / "j", 10**6)
        assert after.sent.total() == 0
    assert moved.rows.equals(first.rows)
    assert set(first.rows["endpoint"]) == {"mill"}


def test_answers_paid_for_before_the_move_are_found_by_the_address_or_the_first_of_a_list() -> None:
    old, new = "http://10.0.0.1:8000/v1", "http://10.0.0.2:8000/v1"
    keys = [
        set(openai.plan(entry, SEEDS, 300)["request_key"])
        for entry in (entry_for(old), entry_for(new, endpoint=old), entry_for(old, new), entry_for(new))
    ]
    assert keys[0] == keys[1] == keys[2]
    assert keys[0].isdisjoint(keys[3])
    assert folder_of(entry_for(old)) == folder_of(entry_for(new, endpoint=old)) == "generation/10.0.0.1_8000_v1"  # type: ignore[arg-type]
    assert folder_of(entry_for(old, endpoint="mill")) == "generation/mill"  # type: ignore[arg-type]


@pytest.mark.parametrize("endpoint", ["", "..", "../models", "a b", ".hidden", "http://"])
def test_a_name_that_is_no_folder_is_refused(endpoint: str) -> None:
    with pytest.raises(ValidationError, match="endpoint"):
        Generate(name="g", generator="openai", base_url="http://127.0.0.1:9/v1", endpoint=endpoint)


def test_an_empty_list_and_a_replica_that_is_no_url_are_refused() -> None:
    with pytest.raises(ValidationError, match="base_url"):
        Generate(name="g", generator="openai", base_url=())
    with pytest.raises(RecipeError, match=r"'10\.0\.0\.2' is no URL"):
        openai.plan(entry_for("http://10.0.0.1/v1", "10.0.0.2"), SEEDS, 300)


OUT_OF_MONEY = [
    (429, {"error": {"message": "You exceeded your current quota.", "type": "insufficient_quota", "code": None}}),
    (429, {"error": {"message": "You exceeded your current quota.", "code": "insufficient_quota", "param": None}}),
    (400, {"error": {"message": "Billing hard limit has been reached", "code": "billing_hard_limit_reached"}}),
    (402, {"error": {"message": "Insufficient Balance", "type": "unknown_error"}}),
    (402, {"detail": "Payment Required"}),
    (403, {"code": 30001, "message": "Sorry, your account balance is insufficient"}),
    (400, {"error": {"message": "Your credit balance is too low to access the API", "type": "invalid_request_error"}}),
    (429, {"error": {"message": "Your account has no credits left.", "type": "tokens"}}),
    (400, {"error": {"message": "Budget has been exceeded! Current cost: 5", "type": "budget_exceeded"}}),
    (200, {"error": {"message": "Insufficient credits", "code": 402}}),
]


@pytest.mark.parametrize(("status", "body"), OUT_OF_MONEY)
def test_a_quota_that_is_used_up_ends_the_run_at_once_in_the_servers_words(
    tmp_path: Path, status: int, body: dict[str, Any]
) -> None:
    arrived = itertools.count(1)

    def spend(request: dict[str, Any], nth: int) -> Any:
        return (status, {}, json.dumps(body).encode()) if next(arrived) > 20 else "The mill stands."

    inner = body.get("error", body)
    with stub(spend) as endpoint:
        with pytest.raises(RetryableError, match=r"no quota left.*kept.*TEST_KEY") as told:
            ask(entry_for(endpoint.base_url, api_key_env="TEST_KEY"), tmp_path / "j", 10**6)
        assert (inner.get("message") or inner["detail"]) in str(told.value)
        assert endpoint.sent.total() <= 20 + 8
        assert set(endpoint.sent.values()) == {1}
    assert (tmp_path / "j").read_bytes().count(b'"reason": null') == 20


@pytest.mark.parametrize(
    ("status", "body", "is_told_to_wait"),
    [
        (429, "Rate limit reached: Limit 3 / min. Please try again in 20s. Add a payment method to raise it.", False),
        (429, "You exceeded your current quota, please check your plan and billing details", True),
        (429, '[{"error": {"message": "You exceeded your current quota", "details": [{"retryDelay": "23s"}]}}]', False),
        (429, '{"error": {"message": "Too many requests", "code": "rate_limit_exceeded"}}', False),
        (500, "billing details could not be read: payment required", False),
        (400, '{"error": {"message": "context length is 4096 tokens", "code": "context_length_exceeded"}}', False),
        (200, "<html>your credit balance is too low", False),
        (429, "", False),
    ],
)
def test_a_limit_that_passes_is_no_used_up_quota(status: int, body: str, is_told_to_wait: bool) -> None:
    assert words_of(status, body, is_told_to_wait) is None


TWO = """
corpus: words
sources: [{{name: texts, uri: texts.jsonl, license: CC-BY-SA-4.0, domain: manual, language: en}}]
holdout: {{share: 0}}
generate:
  - {{name: ill, generator: openai, base_url: "{ill}", model: tiny, budget: {{amount: 400}}}}
  - {{name: well, generator: openai, base_url: "{well}", model: tiny, budget: {{amount: {amount}}}}}
mixture: {{human: {{min: 0.5}}}}
"""


@pytest.mark.parametrize("status", [402, 401])
def test_an_endpoint_that_fails_does_not_hold_up_the_other_entries(tmp_path: Path, status: int) -> None:
    write_jsonl(tmp_path / "texts.jsonl", documents(30))
    is_out = [True]

    def spend(request: dict[str, Any], nth: int) -> Any:
        return (status, {}, b'{"error": {"message": "no money"}}') if is_out[0] else None

    with stub(spend) as ill, stub() as well:
        path = recipe_file(tmp_path, TWO.format(ill=ill.base_url, well=well.base_url, amount=400))
        found = candidate(path, str(tmp_path / "store"))
        ends = {entry.name: entry for entry in found.drafts}
        report = found.publish()
        assert set(ends["ill"].failed.values()) == {UNANSWERED}
        assert len(ends["ill"].failed) == len(ends["ill"].planned) > 0
        assert not ends["well"].failed
        assert report.published
        (told,) = [warning for warning in report.warnings if "generator ill" in warning]
        assert "no money" in told
        is_out[0] = False
        again = candidate(path, str(tmp_path / "store"))
        assert not {entry.name: entry for entry in again.drafts}["ill"].failed
        assert again.rows.filter(source="ill").height == len(ends["ill"].planned)


def test_where_no_other_entry_plans_anything_the_run_ends_with_the_endpoints_words(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "texts.jsonl", documents(30))
    with stub(lambda request, nth: (402, {}, b'{"detail": "no money"}')) as ill, stub() as well:
        path = recipe_file(tmp_path, TWO.format(ill=ill.base_url, well=well.base_url, amount=0))
        with pytest.raises(RetryableError, match="no money"):
            candidate(path, str(tmp_path / "store"))
