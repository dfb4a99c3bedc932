"""Money: every answer that a server counted is counted once, over all nights, and budgets hold for all of them."""

import hashlib
import json
import random
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from plain import Candidate, candidate, drafting_recipe, publish_plainly, recipe_file
from stub_endpoint import Reply, Stub, between, completion, rephrase, stub
from texts import documents, write_jsonl

from cuvee.schemas.errors import RecipeError
from cuvee.schemas.parse import parse_recipe
from cuvee.storage.store import open_store
from cuvee.tasks.generate import budget, drafting, report
from cuvee.tasks.generators._journal import paid
from cuvee.tasks.priority import held_out


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_jsonl(tmp_path / "texts.jsonl", documents(40))
    return tmp_path


def recipe(folder: Path, endpoint: Stub, budget: str = "", amount: int = 1500) -> str:
    prices, spent = "prices: {prompt_per_million: 10, completion_per_million: 20}", f"amount: {amount}, {budget}"
    lines = ("concurrency: 4", prices, f"budget: {{{spent}}}")
    return recipe_file(folder, drafting_recipe(endpoint.base_url, *lines, human=0.2))


class Till:
    """A server's own count of what it answered. dies_after: answers until it fails for good."""

    def __init__(self) -> None:
        self.dollars = 0.0
        self.answers = 0
        self.dies_after = 10**9

    def __call__(self, request: dict[str, Any], nth: int) -> Reply:
        if self.answers >= self.dies_after:
            return 401, {}, b"{}"
        self.answers += 1
        way = sum(request["messages"][-1]["content"].encode()) % 6
        words = sum(len(message["content"].split()) for message in request["messages"])
        sent, received = words * 3 // 2, 40 + way
        self.dollars += (sent * 10 + received * 20) / 1e6
        body = json.loads(completion(rephrase(request), "length" if way == 1 else "stop"))
        body["usage"] = {"prompt_tokens": float(sent), "completion_tokens": str(received)}
        if way == 2:
            body["choices"][0]["message"] = {"content": None, "refusal": "No."}
        if way == 3:
            body["choices"] = []
        if way == 4:
            body["choices"][0]["message"]["content"] = "<think>hm"
        return 200, {}, json.dumps(body).encode()


def told_of(found: Candidate) -> dict[str, Any]:
    begun = found.begun
    tree, _ = report.build(begun.run, begun.store, begun.pool, found.decided, found.drafts)
    return dict(tree["rephrased"])


def test_dollars_are_exact_over_nights_a_dying_server_and_changed_recipes(folder: Path) -> None:
    till = Till()
    with stub(till) as endpoint:
        till.dies_after = 9
        with pytest.raises(RecipeError):
            candidate(recipe(folder, endpoint), str(folder / "store"))
        till.dies_after = 10**9
        publish_plainly(recipe(folder, endpoint), str(folder / "store"))
        write_jsonl(folder / "b.jsonl", documents(20, seed=9))
        publish_plainly(recipe(folder, endpoint, amount=2500), str(folder / "store"))
        found = candidate(recipe(folder, endpoint, amount=3000), str(folder / "store"), "generate.0.gates.copied=0.9")
        entry = told_of(found)
        assert entry["cost_usd"] == pytest.approx(till.dollars)
        assert entry["answers"] == len(paid(open_store(str(folder / "store")), "words/rephrased"))
        assert till.answers > entry["answers"] > 30


def test_budgets_hold_for_all_nights_and_paid_drafts_stay_when_the_corpus_grows(folder: Path) -> None:
    till = Till()
    planned: list[set[str]] = []
    with stub(till) as endpoint:
        for night in range(3):
            write_jsonl(folder / f"{night}.jsonl", documents(30, seed=20 + night))
            found = candidate(recipe(folder, endpoint, "requests: 12"), str(folder / "store"))
            found.publish()
            planned.append(set(found.drafts[0].planned))
        assert planned[0] == planned[1] == planned[2]
        assert len({json.dumps(request) for request in endpoint.requests}) == 12
        more = candidate(recipe(folder, endpoint, "requests: 15"), str(folder / "store"))
        assert planned[0] < set(more.drafts[0].planned)
        assert len({json.dumps(request) for request in endpoint.requests}) == 15


def test_dollars_of_a_budget_are_not_passed_by_any_number_of_nights(folder: Path) -> None:
    till = Till()
    with stub(till) as endpoint:
        for night in range(3):
            write_jsonl(folder / f"{night}.jsonl", documents(30, seed=20 + night))
            found = candidate(recipe(folder, endpoint, "cost_usd: 0.12", 10**6), str(folder / "store"))
            found.publish()
            again = candidate(recipe(folder, endpoint, "cost_usd: 0.12", 10**6), str(folder / "store"))
            assert set(found.drafts[0].planned) <= set(again.drafts[0].planned)
    assert 0.06 < till.dollars <= 0.12


def test_under_a_total_nothing_is_planned_for_text_that_is_held_out() -> None:
    words = 100
    rows = pl.DataFrame(
        {
            "doc_id": [f"{number * 2654435761 % 2**32:08x}" * 4 for number in range(800)],
            "words": words,
            "bytes": 6 * words,
            "provenance": "human",
            "source": "a",
        }
    )
    entry = "{name: g, generator: openai, base_url: 'http://127.0.0.1:9/v1', model: m}"
    plan = parse_recipe(
        f"corpus: c\nsources: [{{name: a, uri: a}}]\ngenerate: [{entry}]\nholdout: {{share: 0.1}}\n"
        "mixture: {total: 100000, human: {min: 0.7}}"
    )
    apart = int(rows.filter(held_out(rows, plan))["words"].sum())
    assert 5_000 < apart < 10_000
    assert budget.wanted_amount(plan, plan.generate[0], rows) == 100_000 - 80_000


def planned_and_paid(folder: Path, texts: list[str], tokens_of: Any) -> tuple[float, float]:
    """Return what a plan says that its requests cost, and what a server counts that echoes half of each seed."""
    dollars = 0.0

    def answer(request: dict[str, Any], nth: int) -> Reply:
        nonlocal dollars
        seed = between(request, "document")
        text = seed[len(seed) // 2 :]
        sent = sum(tokens_of(message["content"]) for message in request["messages"])
        received = min(tokens_of(text), request["max_tokens"])
        dollars += (sent * 10 + received * 20) / 1e6
        body = json.loads(completion(text))
        body["usage"] = {"prompt_tokens": sent, "completion_tokens": received}
        return 200, {}, json.dumps(body).encode()

    for path in folder.glob("*.jsonl"):
        path.unlink()
    write_jsonl(folder / "texts.jsonl", texts)
    off = ("copied=1", "groundedness=0", "length_ratio=[0, 10]", "language=false", "repetition=1")
    with stub(answer) as endpoint:
        found = candidate(
            recipe(folder, endpoint, amount=10**6),
            str(folder / f"store-{len(texts[0])}"),
            *(f"generate.0.gates.{change}" for change in off),
        )
    entry = found.begun.run.recipe.generate[0]
    plan = drafting.rounds_of(open_store(found.begun.run.store), found.begun.pool, found.begun.run, entry)
    assert plan.height > 3
    told = budget.cost_of(entry, *budget.expected_tokens(entry, plan))
    assert told is not None
    assert budget.worst_cost(entry, plan).sum() > dollars
    return told, dollars


def test_a_plan_knows_what_text_without_spaces_costs(folder: Path) -> None:
    """A token a character of Chinese, and one for three of numbers and addresses, is what tokenizers make of them."""
    draw = random.Random(5)
    letters = [chr(point) for point in range(0x4E00, 0x4F00)]
    sentences = [["".join(draw.choices(letters, k=18)) + "。" for _ in range(25)] for _ in range(10)]
    chinese = ["".join(one) for one in sentences]
    told, paid_ = planned_and_paid(folder, chinese, lambda text: sum(1 if ord(c) > 0x2E7F else 0.25 for c in text) // 1)
    assert 0.6 < told / paid_ < 1.7
    numbers = [
        " ".join(hashlib.sha512(f"{number} {place}".encode()).hexdigest() * 4 for place in range(9))
        for number in range(10)
    ]
    told, paid_ = planned_and_paid(folder, numbers, lambda text: len(text) // 3)
    assert 0.4 < told / paid_ < 2.5


def test_a_server_that_counts_more_than_any_text_has_is_left_when_the_budget_is_spent(folder: Path) -> None:
    dollars = 0.0

    def dear(request: dict[str, Any], nth: int) -> Reply:
        nonlocal dollars
        dollars += 0.1
        body = json.loads(completion(rephrase(request)))
        body["usage"] = {"prompt_tokens": 10_000, "completion_tokens": 0}
        return 200, {}, json.dumps(body).encode()

    with stub(dear, wait_s=0.02) as endpoint:
        for _ in range(2):
            found = candidate(recipe(folder, endpoint, "cost_usd: 0.35", 10**6), str(folder / "store"))
            assert 0.35 <= dollars <= 0.35 + 4 * 0.1
        assert len(endpoint.requests) <= 7
    assert set(found.drafts[0].failed.values()) == {"budget_spent"}
    assert len(found.drafts[0].failed) + len(endpoint.requests) == len(found.drafts[0].planned)


@pytest.mark.parametrize("ungraded", ["keep", "drop"])
def test_drafts_that_were_paid_for_stay_when_the_budget_pays_for_no_judgement(folder: Path, ungraded: str) -> None:
    def dear(request: dict[str, Any], nth: int) -> Reply:
        body = json.loads(completion(rephrase(request)))
        body["usage"] = {"prompt_tokens": 60_000, "completion_tokens": 0}
        return 200, {}, json.dumps(body).encode()

    judged = (f"generate.0.gates.ungraded={ungraded}", "generate.0.grade.judge_model=judge")
    with stub(dear, wait_s=0.02) as endpoint:
        path = recipe(folder, endpoint, "cost_usd: 2.0", 10**6)
        found = candidate(path, str(folder / "store"), *judged)
    sent, drafts = len(endpoint.requests), found.rows.filter(source="rephrased")
    assert drafts.height == sent >= 4
    assert drafts["grade"].null_count() == sent
    assert drafts.filter(verdict="ungraded").height == (sent if ungraded == "drop" else 0)
    assert len(found.drafts[0].failed) + sent == len(found.drafts[0].planned)
    assert set(found.drafts[0].failed.values()) == {"budget_spent"}
