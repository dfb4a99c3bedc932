"""Context: a model that holds less than a window is shown less of it, and the run goes on."""

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from plain import Candidate, candidate, drafting_recipe, recipe_file
from stub_endpoint import Reply, Stub, between, stub
from texts import documents, write_jsonl

from cuvee.storage.store import open_store
from cuvee.tasks.generate import drafting, report
from cuvee.tasks.generate.groundedness import ground
from cuvee.tasks.generators._context import MOST_CUTS, says_too_long
from cuvee.tasks.generators._journal import paid

TEXTS = ["\n\n".join(documents(20)[place : place + 4]) for place in range(0, 20, 4)]


def refusal(status: int, message: str) -> Reply:
    error = {"message": message, "type": "invalid_request_error", "code": 400}
    return status, {}, json.dumps({"error": error}).encode()


def holding(words: int) -> Any:
    """Answer requests of so many words and tokens at most, as a server of a small context does."""

    def answer(request: dict[str, Any], nth: int) -> Reply | None:
        asked = sum(len(message["content"].split()) for message in request["messages"]) + request["max_tokens"]
        told = f"This model's maximum context length is {words} tokens. However, you requested {asked} tokens"
        return refusal(400, told) if asked > words else None

    return answer


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_jsonl(tmp_path / "texts.jsonl", TEXTS)
    return tmp_path


def made(folder: Path, endpoint: Stub, *overrides: str) -> Candidate:
    gates = "gates: {length_ratio: [0.1, 10], groundedness: 0}"
    lines = ("budget: {amount: 9999}", "seeds: {max_per_seed: 1}", gates)
    recipe = recipe_file(folder, drafting_recipe(endpoint.base_url, *lines, kinds="[distilled]", human=0.1))
    return candidate(recipe, str(folder / "store"), *overrides)


def rounds_of(found: Candidate) -> pl.DataFrame:
    entry = found.begun.run.recipe.generate[0]
    return drafting.rounds_of(open_store(found.begun.run.store), found.begun.pool, found.begun.run, entry)


def test_what_does_not_fit_the_context_is_asked_again_with_half_a_window_and_compared_with_it(folder: Path) -> None:
    with stub() as endpoint:
        whole = made(folder, endpoint)
        sizes = sorted(len(message["messages"][1]["content"].split()) for message in endpoint.requests)
    with stub(holding(sizes[0] * 2 // 3 + 128)) as endpoint:
        other = folder / "other"
        other.mkdir()
        write_jsonl(other / "texts.jsonl", TEXTS)
        found = made(other, endpoint)
        sent = len(endpoint.requests)
        again = made(other, endpoint)
        assert len(endpoint.requests) == sent
    rounds, uncut = rounds_of(found), rounds_of(whole)
    assert found.drafts[0].failed == {}
    assert found.drafts[0].planned == again.drafts[0].planned
    assert rounds.height == uncut.height > 3
    assert sent >= 2 * rounds.height
    shown = {between(request, "document") for request in endpoint.requests}
    texts = {text[:40]: text for text in TEXTS}
    for row in rounds.iter_rows(named=True):
        assert row["asked_key"] != row["request_key"]
        seed = next(text for text in texts.values() if text[: row["seed_stop"]] in shown)
        assert row["seed_start"] == 0 < row["seed_stop"] < len(seed)
        assert json.loads(row["sampling"])["max_tokens"] <= 512
    grounded = [
        ground(row["text"], text[: row["seed_stop"]]).score for row in rounds.iter_rows(named=True) for text in TEXTS
    ]
    assert set(rounds["groundedness"]) <= set(grounded)
    assert rounds["words_expected"].sum() < uncut["words_expected"].sum()
    begun = found.begun
    tree, told = report.build(begun.run, begun.store, begun.pool, found.decided, found.drafts)
    assert tree["rephrased"]["windows_cut"] == rounds.height
    assert "for the model's context" in told
    bought = paid(begun.store, drafting.payer(begun.run, begun.run.recipe.generate[0]))
    assert bought["answered"].sum() == rounds.height
    assert bought["draft_key"].n_unique() == rounds.height


def test_a_model_that_holds_next_to_nothing_fails_each_request_with_that_reason(folder: Path) -> None:
    with stub(holding(1)) as endpoint:
        found = made(folder, endpoint)
    assert set(found.drafts[0].failed.values()) == {"context_length"}
    assert len(endpoint.requests) == (MOST_CUTS + 1) * len(found.drafts[0].planned)
    assert "context_length" in str(found.drafts[0].warning)


@pytest.mark.parametrize(
    "message",
    [
        "This model's maximum context length is 4096 tokens. However, you requested 5020 tokens (4508 in the messages)",
        "the request exceeds the available context size. try increasing the context size or enable context shift",
        "`inputs` tokens + `max_new_tokens` must be <= 4096. Given: 4000 `inputs` tokens and 512 `max_new_tokens`",
        "The input (5000 tokens) is longer than the model's context length (4096 tokens).",
        "prompt is too long: 210000 tokens > 200000 maximum",
        "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576).",
        "Prompt contains 40000 tokens and 0 draft tokens, too large for model with 32768 maximum context length",
        "Please reduce the length of the messages or completion.",
        "Input is too long for requested model.",
        "The decoder prompt (length 5000) is longer than the maximum model length of 4096.",
        "Requested token count exceeds the model's maximum context length of 8192 tokens.",
        "code: context_length_exceeded",
    ],
)
def test_refusals_for_their_length_are_known_by_what_servers_say(message: str) -> None:
    assert says_too_long(400, message)


@pytest.mark.parametrize(
    "message",
    [
        "temperature must be at most 2",
        "unknown field seed",
        "max_tokens must be at least 1",
        "model tiny is not loaded",
    ],
)
def test_other_refusals_are_none_for_length(message: str) -> None:
    assert not says_too_long(400, message)
    assert not says_too_long(429, "Request too large: input tokens per minute exceed the limit")
