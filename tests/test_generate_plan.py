"""Generation in a run: rounds that follow from outcomes, budgets, previews, and nights that ask for nothing twice."""

import hashlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from plain import Candidate, candidate, drafting_recipe, ingested, recipe_file
from stub_endpoint import Reply, Stub, completion, stub
from texts import documents, write_jsonl

from cuvee.schemas.errors import RecipeError
from cuvee.schemas.recipe import Budget, Generate, Grade, Prices, Sampling
from cuvee.storage.store import open_store
from cuvee.tasks.generate import budget, drafting, report, rounds
from cuvee.tasks.generate.rounds import NOT_SENT

TEXTS = documents(60)


def recipe_of(url: str) -> str:
    return drafting_recipe(url, "concurrency: 8", "budget: {amount: 2000}")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_jsonl(tmp_path / "texts.jsonl", TEXTS)
    return tmp_path


def made(folder: Path, endpoint: Stub, *overrides: str) -> Candidate:
    recipe = recipe_file(folder, recipe_of(endpoint.base_url))
    return candidate(recipe, str(folder / "store"), *overrides)


def drafts_of(made: Candidate) -> pl.DataFrame:
    return made.rows.filter(pl.col("source") == "rephrased")


def survived(made: Candidate) -> int:
    return int(drafts_of(made).filter(pl.col("verdict").is_null())["words"].sum())


def is_unlucky(request: dict[str, Any]) -> bool:
    return hashlib.sha256(request["messages"][1]["content"].encode()).digest()[0] < 100


def refuse_some(request: dict[str, Any], nth: int) -> str | None:
    return "I'm sorry, but I can't help with that." if is_unlucky(request) else None


def test_what_the_gates_take_is_asked_for_again_at_the_measured_yield_within_three_rounds(folder: Path) -> None:
    with stub(refuse_some) as endpoint:
        found = made(folder, endpoint)
    (entry,) = found.drafts
    reasons = drafts_of(found)["verdict"].value_counts()
    assert reasons.filter(verdict="refusal")["count"].sum() > 0
    assert entry.wanted == 2000
    assert entry.expected > 2200
    assert survived(found) >= 0.9 * entry.wanted
    assert len(endpoint.requests) == len(entry.planned) == len(set(entry.planned))
    ledger = found.ledger().filter(pl.col("source") == "rephrased")
    assert ledger.height == len(entry.planned)
    assert set(ledger.filter(outcome="dropped")["step"]) >= {"generate"}


def test_an_unchanged_second_night_plans_the_same_and_sends_nothing(folder: Path) -> None:
    with stub(refuse_some) as endpoint:
        first = made(folder, endpoint)
        first.publish()
        published = pl.read_parquet(folder / "store/corpora/words/data/**/*.parquet").filter(source="rephrased")
        assert published["groundedness"].null_count() == 0 < published.height
        assert published["grade"].null_count() == published.height
        sent = len(endpoint.requests)
        second = made(folder, endpoint)
        assert not second.publish().published
        assert len(endpoint.requests) == sent
    assert second.drafts[0].planned == first.drafts[0].planned
    assert second.drafts[0].record is None


def test_a_plan_sends_nothing_and_shows_what_would_be_sent(folder: Path) -> None:
    with stub() as endpoint:
        recipe = recipe_file(folder, recipe_of(endpoint.base_url))
        begun = ingested(recipe, str(folder / "store"), "generate.0.grade.judge_model=judge")
        (entry,) = rounds.run(begun.run, begun.store, begun.pool, begun.decided(), False)
        assert endpoint.requests == []
        outlook = entry.outlook
        assert outlook is not None
        assert set(entry.failed.values()) == {NOT_SENT}
        assert outlook.requests == outlook.judgements == len(entry.planned) > 5
        assert outlook.cost_usd is None
        assert {sample.kind for sample in outlook.samples} == {"encyclopedic", "distilled"}
        shown = "\n".join(outlook.as_lines("rephrased"))
        assert any(text[:40] in shown for text in TEXTS)
        assert "would send" in shown
        assert "cost unknown" in shown
        prices = ["generate.0.prices.prompt_per_million=2", "generate.0.prices.completion_per_million=8"]
        begun = ingested(recipe, str(folder / "store"), *prices)
        (entry,) = rounds.run(begun.run, begun.store, begun.pool, begun.decided(), False)
        assert entry.outlook is not None
        sent, received = entry.outlook.prompt_tokens, entry.outlook.completion_tokens
        assert entry.outlook.cost_usd == round((2 * sent + 8 * received) / 1e6, 6)


def test_requests_and_cost_bound_what_is_planned(folder: Path) -> None:
    prices = ["generate.0.prices.prompt_per_million=10", "generate.0.prices.completion_per_million=10"]
    with stub(refuse_some) as endpoint:
        assert len(made(folder, endpoint, "generate.0.budget.requests=3").drafts[0].planned) == 3
        assert len(endpoint.requests) == 3
        nothing = made(folder, endpoint, *prices, "generate.0.budget.cost_usd=0.001")
        assert nothing.drafts[0].planned == ()
        assert "does not pay for one request" in str(nothing.drafts[0].warning)
        found = made(folder, endpoint, *prices, "generate.0.budget.cost_usd=0.08")
    entry = found.begun.run.recipe.generate[0]
    rounds = drafting.rounds_of(open_store(found.begun.run.store), found.begun.pool, found.begun.run, entry)
    sent, received = budget.tokens(rounds)
    spent = budget.cost_of(entry, sent, received)
    assert spent is not None
    assert 0.02 < spent <= 0.08
    assert spent == pytest.approx(len(found.drafts[0].planned) * 750 * 10 / 1e6)


def test_the_next_round_asks_for_the_shortage_at_the_measured_yield() -> None:
    assert budget.more_words(1000, 1000, 500) == 2000
    assert budget.more_words(1000, 1000, 995) == 1000
    assert budget.more_words(1000, 1000, 0) == 1000
    assert budget.more_words(1000, 1000, 1) == 1000 + 9990
    assert budget.more_words(0, 0, 0) == 0


def test_a_generator_of_which_nothing_survives_is_not_asked_again(folder: Path) -> None:
    with stub(lambda request, nth: "Lo siento, pero no puedo ayudarte con eso.") as e:
        found = made(folder, e)
        assert len(e.requests) == len(found.drafts[0].planned)
    assert set(drafts_of(found)["verdict"]) == {"refusal"}
    assert found.drafts[0].expected < 2500


def test_drafts_carry_grades_groundedness_licence_and_depth_into_the_rows(folder: Path) -> None:
    with stub() as endpoint:
        found = made(folder, endpoint)
    drafts = drafts_of(found).filter(pl.col("verdict").is_null())
    assert set(drafts["license"]) == {"CC-BY-SA-4.0"}
    assert set(drafts["depth"]) == {1}
    assert set(drafts["domain"]) == {"manual"}
    assert drafts["groundedness"].min() > 0.9  # type: ignore[operator]
    assert drafts["grade"].null_count() == drafts.height
    run = found.begun.run
    rounds = drafting.rounds_of(open_store(run.store), found.begun.pool, run, run.recipe.generate[0])
    assert rounds["request_key"].to_list() == list(found.drafts[0].planned)
    row = rounds.row(0, named=True)
    assert (row["model"], row["model_returned"], row["finish_reason"]) == ("tiny", "tiny-2026-01", "stop")
    assert (row["prompt_tokens"], row["completion_tokens"], row["chosen"]) == (700, 50, True)
    assert row["seed_licenses"] == ["CC-BY-SA-4.0"]
    assert row["endpoint"] == endpoint.base_url.removeprefix("http://").removesuffix("/v1")


def test_documents_without_a_licence_for_derivatives_are_no_seeds_unless_allowed(folder: Path) -> None:
    with stub() as endpoint:
        for license, seeds in (("CC-BY-ND-4.0", 0), ("unknown", 0), ("CC-BY-NC-4.0", 60)):
            plan = made(folder, endpoint, f"sources.0.license={license}", "generate.0.budget.amount=10000000")
            ids = {tuple(ids) for ids in drafts_of(plan)["seed_ids"]}
            assert len(ids) == seeds
            assert set(drafts_of(plan)["license"]) <= {license}
        allowed = made(folder, endpoint, "sources.0.license=unknown", "generate.0.seeds.allow_unlicensed=true")
        assert drafts_of(allowed).height > 0


def test_a_changed_gate_asks_nobody_and_brings_back_what_it_lets_through(folder: Path) -> None:
    def ungrounded(request: dict[str, Any], nth: int) -> str | None:
        return "Wholly different matters concern astronomers observing distant galaxies tonight. " * 6

    with stub(ungrounded) as endpoint:
        found = made(folder, endpoint, "generate.0.budget.requests=8", "generate.0.gates.repetition=1")
        assert set(drafts_of(found)["verdict"]) == {"ungrounded"}
        off = ["generate.0.gates.groundedness=0", "generate.0.gates.repetition=1"]
        again = made(folder, endpoint, "generate.0.budget.requests=8", *off)
        assert "ungrounded" not in set(drafts_of(again)["verdict"])
        assert len(endpoint.requests) == 8


def test_a_template_of_the_users_own_is_found_beside_the_recipe_and_its_bytes_are_in_the_key(folder: Path) -> None:
    template = "version: 3\nwords: 0.8\n---\nYou rewrite.\n---\nAgain:\n===== document =====\n{text}\n"
    template += "===== end of document =====\n"
    (folder / "my").mkdir()
    (folder / "my/plain.md").write_text(template)
    options = ["generate.0.kinds=[my/plain.md, distilled]", "generate.0.budget.requests=10"]
    with stub() as endpoint:
        first = made(folder, endpoint, *options)
        assert set(drafts_of(first)["kind"]) == {"plain", "distilled"}
        sent = len(endpoint.requests)
        (folder / "my/plain.md").write_text(template.replace("Again:", "Again!"))
        # The budget is for all nights: of the ten requests those for the changed template are gone.
        assert set(made(folder, endpoint, *options).drafts[0].planned) < set(first.drafts[0].planned)
        gone = drafts_of(first).filter(kind="plain").height
        second = made(folder, endpoint, options[0], f"generate.0.budget.requests={10 + gone}")
        plain = drafts_of(second).filter(kind="plain").height
        assert len(endpoint.requests) == sent + plain
        assert len(set(first.drafts[0].planned) & set(second.drafts[0].planned)) == 10 - plain
        (folder / "my/plain.md").unlink()
        with pytest.raises(RecipeError, match="is not a file"):
            made(folder, endpoint, *options)


def test_the_free_kind_needs_topics_has_no_seed_and_warns(folder: Path) -> None:
    topics = (
        "generate.0.free={topics: [tides, bridges], styles: [a letter, a lecture], license: CC0-1.0, domain: essays}"
    )
    words = "The moon draws the water of the oceans, and twice a day the level rises along the shore. " * 3
    with stub(lambda request, nth: words + request["messages"][1]["content"][-300:-200] if nth else None) as endpoint:
        with pytest.raises(RecipeError, match=r"give free\.topics"):
            made(folder, endpoint, "generate.0.kinds=[free]")
        found = made(folder, endpoint, "generate.0.kinds=[free, distilled]", topics, "generate.0.budget.requests=8")
    free = drafts_of(found).filter(kind="free")
    assert free.height == 4
    assert free["seed_ids"].list.len().sum() == 0
    assert set(free["license"]) == {"CC0-1.0"}
    assert set(free["domain"]) == {"essays"}
    assert set(free["depth"]) == {1}
    assert free["groundedness"].null_count() == 4
    assert "2510.01631" in str(found.drafts[0].warning)
    assert len(endpoint.asked("Topic: tides")) == 2


KILLED_RUN = """
import sys
sys.path.insert(0, sys.argv[1])
from plain import candidate, drafting_recipe
candidate(sys.argv[2], sys.argv[3], "generate.0.grade.judge_model=judge")
"""


def marks(request: dict[str, Any], nth: int) -> Reply | str | None:
    """Judge as a function of the request; some drafts need a revision."""
    content = request["messages"][-1]["content"]
    if request["model"] != "judge":
        return None if "===== source" not in content else content[-900:-200]
    mark = 2 if hashlib.sha256(content.encode()).digest()[0] < 128 else 4
    return f'{{"faithful": {mark}, "complete": 4, "useful": 5, "safe": 5, "unsupported": []}}'


def test_a_run_killed_anywhere_ends_with_the_same_bytes_and_pays_for_nothing_twice(folder: Path) -> None:
    with stub(marks) as endpoint:
        recipe = recipe_file(folder, recipe_of(endpoint.base_url))
        whole = candidate(recipe, str(folder / "whole"), "generate.0.grade.judge_model=judge")
        total = len(endpoint.requests)
    port = int(endpoint.base_url.rsplit(":", 1)[1].split("/")[0])
    with stub(marks, wait_s=0.05, port=port) as slow:
        command = [sys.executable, "-c", KILLED_RUN, str(Path(__file__).parent), recipe, str(folder / "killed")]
        for part in (0.2, 0.5, 0.8):
            running = subprocess.Popen(command, env={**os.environ, "PYTHONHASHSEED": str(int(part * 10))})
            while len(slow.requests) < part * total and running.poll() is None:
                time.sleep(0.01)
            running.send_signal(signal.SIGKILL)
            running.wait()
        resumed = candidate(recipe, str(folder / "killed"), "generate.0.grade.judge_model=judge")
        assert set(slow.sent.values()) <= {1, 2}
        assert sum(slow.sent.values()) - len(slow.sent) <= 3 * 8
        assert len(slow.sent) == total
    files = [
        [
            file.sha256
            for entry in found.begun.pool.entries
            if entry.record.step == "generate"
            for file in entry.record.files
        ]
        for found in (whole, resumed)
    ]
    assert files[0]
    assert files[0] == files[1]


def test_a_sampling_entry_costs_at_most_what_worst_cost_says() -> None:
    entry = Generate(
        name="a",
        generator="openai",
        model="m",
        sampling=Sampling(max_tokens=100),
        prices=Prices(prompt_per_million=1, completion_per_million=1),
        grade=Grade(judge_model="j", revise=1),
        budget=Budget(amount=1),
    )
    plan = pl.DataFrame({"prompt_words": [500]}, schema={"prompt_words": pl.Int64})
    alone = budget.worst_cost(entry.model_copy(update={"grade": Grade()}), plan)[0]
    assert alone == pytest.approx((1000 + 100) / 1e6)
    assert budget.worst_cost(entry, plan)[0] > 5 * alone


def test_usage_that_an_endpoint_does_not_tell_is_unknown_and_never_guessed(folder: Path) -> None:
    def silent(request: dict[str, Any], nth: int) -> Reply:
        return 200, {}, completion(request["messages"][1]["content"][1100:1700], usage=False)

    with stub(silent) as endpoint:
        found = made(folder, endpoint, "generate.0.budget.requests=3")
    run = found.begun.run
    rounds = drafting.rounds_of(open_store(run.store), found.begun.pool, run, run.recipe.generate[0])
    assert budget.tokens(rounds) == (None, None)


def test_the_report_tells_yield_reasons_cost_judge_and_ten_drafts_beside_their_seeds(folder: Path) -> None:
    prices = ["generate.0.prices.prompt_per_million=10", "generate.0.prices.completion_per_million=20"]
    with stub(lambda request, nth: refuse_some(request, nth) or marks(request, nth)) as endpoint:
        found = made(folder, endpoint, "generate.0.grade.judge_model=judge", "generate.0.model=judged", *prices)
    run, pool = found.begun.run, found.begun.pool
    tree, told = report.build(run, found.begun.store, pool, found.decided, found.drafts)
    entry = tree["rephrased"]
    assert entry["planned"] == len(found.drafts[0].planned)
    assert entry["words"]["survived"] == survived(found)
    assert entry["rejected"]["refusal"] > 0
    assert sum(kind["planned"] for kind in entry["kinds"].values()) == entry["planned"]
    assert 0 < entry["kinds"]["encyclopedic"]["yield"] < 1
    assert entry["judge"]["judgements"] == len(endpoint.asked("Compare the text with its source"))
    assert entry["judge"]["unreadable"] > 0
    assert entry["cost_usd"] == pytest.approx(len(endpoint.requests) * (700 * 10 + 50 * 20) / 1e6)
    assert len(entry["samples"]) == 10
    assert all(sample["seed"] and sample["draft"] for sample in entry["samples"])
    assert told.count("\n### ") == 10
    assert report.build(run, found.begun.store, pool, found.decided, found.drafts) == (tree, told)


def test_diversity_is_compared_on_equally_many_words() -> None:
    many, few = [f"word{n} runs by the river" for n in range(3000)], ["the same words again and again"] * 3000
    found = report.diversity(few, many)
    assert found["words"] == 15000
    assert found["entropy"] < found["entropy_of_seeds"]  # type: ignore[operator]
    assert found["distinct"] < found["distinct_of_seeds"]  # type: ignore[operator]
    assert report.diversity(few[:10], many)["entropy"] is None


def test_a_judge_that_is_the_generator_is_a_warning(folder: Path) -> None:
    with stub(marks) as endpoint:
        found = made(folder, endpoint, "generate.0.grade.judge_model=tiny", "generate.0.budget.requests=1")
    assert "the judge is the generator" in str(found.drafts[0].warning)


def test_synthetic_documents_are_seeds_only_where_the_depth_of_their_drafts_is_allowed(folder: Path) -> None:
    write_jsonl(folder / "machine.jsonl", documents(40, seed=9), license="CC0-1.0")
    machine = "sources.1={name: machine, uri: machine.jsonl, origin: synthetic, domain: manual, language: en}"
    options = ["generate.0.budget.amount=10000000", "generate.0.seeds.max_per_seed=1"]
    added = "language: en}, {name: machine, uri: machine.jsonl, origin: synthetic}]"
    with stub() as endpoint:
        path = recipe_file(folder, recipe_of(endpoint.base_url).replace("language: en}]", added))
        human = candidate(path, str(folder / "store"), machine, *options)
        assert set(drafts_of(human)["depth"]) == {1}
        assert set(drafts_of(human)["license"]) == {"CC-BY-SA-4.0"}
        deep = candidate(path, str(folder / "store"), machine, *options, "mixture.depth.max=2")
    drafts = drafts_of(deep).filter(pl.col("verdict").is_null())
    assert set(drafts["depth"]) == {1, 2}
    assert set(drafts.filter(depth=2)["license"]) == {"CC0-1.0"}
    assert deep.ledger().height > human.ledger().height


def test_texts_declared_synthetic_pass_the_gates_that_need_no_seed_and_keep_who_wrote_them(folder: Path) -> None:
    refusals = [f"I'm sorry, but I can't help with that. Number {n}." for n in range(3)]
    looped = ["the library stands beside the harbour of the old town and its market " * 12]
    fine = documents(5, seed=77)
    write_jsonl(folder / "machine.jsonl", [*refusals, *looped, *fine], generator="elsewhere", model="m-1")
    # The same words of a person are nobody's refusal.
    write_jsonl(folder / "people.jsonl", [f"{refusals[0]} So she said.", *documents(3, seed=78)])
    machine = "sources.1={name: machine, uri: machine.jsonl, origin: synthetic, license: CC0-1.0}"
    recipe = recipe_of("http://127.0.0.1:9/v1")
    recipe = recipe.replace(
        "language: en}]", "language: en}, {name: machine, uri: machine.jsonl}, {name: people, uri: people.jsonl}]"
    )
    path = recipe_file(folder, recipe)
    found = candidate(path, str(folder / "store"), machine, "generate=[]").rows
    dropped = found.filter(pl.col("step") == "filter").group_by("source", "verdict").len().sort("verdict").rows()
    assert dropped == [("machine", "synthetic.refusal", 3), ("machine", "synthetic.repetition", 1)]
    kept = found.filter((pl.col("source") == "machine") & pl.col("verdict").is_null())
    assert set(kept.select("generator", "model").rows()) == {("elsewhere", "m-1")}
    off = "filters=[{kind: synthetic, refusal: false, repetition: 1}]"
    rows = candidate(path, str(folder / "store"), machine, "generate=[]", off).rows
    assert rows.filter(pl.col("step") == "filter").is_empty()
