"""Habits of generators: each finding is provoked by a server that behaves so, and nothing else is told."""

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from plain import Candidate, candidate, drafting_recipe, publish_plainly, recipe_file
from stub_endpoint import Reply, completion, rephrase, stub
from texts import documents, write_jsonl

from cuvee.schemas.errors import GateError
from cuvee.schemas.recipe import Generate, Prices
from cuvee.schemas.report import Finding
from cuvee.tasks import guard
from cuvee.tasks.generate import drafting, habits

JUDGED = "grade: {judge_model: judge, min_score: null}"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_jsonl(tmp_path / "texts.jsonl", documents(60))
    return tmp_path


def made(folder: Path, url: str, *more: str) -> Candidate:
    text = drafting_recipe(url, "budget: {amount: 2500}", *more)
    return candidate(recipe_file(folder, text), str(folder / "store"))


def found(one: Candidate) -> dict[str, Finding]:
    told = guard.run(one.begun.run, one.begun.store, one.begun.pool, one.decided, one.planned).findings
    return {finding.kind: finding for finding in told if finding.kind.startswith("generation")}


def number(request: dict[str, Any]) -> int:
    return sum(request["messages"][-1]["content"].encode()) % 10


def marks(*grades: int) -> str:
    names = ["faithful", "complete", "useful", "safe"]
    return json.dumps(dict(zip(names, grades, strict=True)) | {"unsupported": []})


def test_an_ordinary_generator_and_judge_have_no_findings(folder: Path) -> None:
    def answer(request: dict[str, Any], nth: int) -> str | None:
        return marks(4, 5, 3 + number(request) % 2, 5) if request["model"] == "judge" else None

    with stub(answer) as endpoint:
        assert found(made(folder, endpoint.base_url, JUDGED)) == {}


def test_cut_off_answers_a_changed_model_one_opening_an_unreadable_judge_and_the_cost_are_told(folder: Path) -> None:
    def answer(request: dict[str, Any], nth: int) -> Reply | str:
        if request["model"] == "judge":
            return marks(4, 5, 3, 5) if number(request) < 7 else "A fine text!"
        text = f"In the heart of it all. {rephrase(request)}" if number(request) < 5 else rephrase(request)
        body = json.loads(completion(text, "length" if number(request) == 3 else "stop"))
        body["model"] = f"tiny-{number(request) % 2}"
        body["usage"] = {"prompt_tokens": 90_000, "completion_tokens": 9}
        return 200, {}, json.dumps(body).encode()

    prices = "prices: {prompt_per_million: 1, completion_per_million: 1}"
    with stub(answer) as endpoint:
        told = found(made(folder, endpoint.base_url, JUDGED, prices))
    assert set(told) == {
        "generation_cut_off",
        "generation_model_changed",
        "generation_one_opening",
        "generation_judge_unreadable",
        "generation_one_grade",
        "generation_cost",
    }
    assert "tiny-0, tiny-1" in told["generation_model_changed"].message
    assert 'begin with "in the heart of"' in told["generation_one_opening"].message
    assert "sampling.max_tokens" in told["generation_cut_off"].message
    assert "the grade 3" in told["generation_one_grade"].message


def test_when_nothing_survives_the_reasons_are_on_the_terminal_whether_a_gate_stops_the_run_or_not(
    folder: Path,
) -> None:
    def answer(request: dict[str, Any], nth: int) -> Reply | str:
        if number(request) < 3:
            return 200, {}, completion("It tur", "length")
        return "Lo siento, pero no puedo ayudarte con eso."

    with stub(answer) as endpoint:
        one = made(folder, endpoint.base_url)
        warning = one.drafts[0].warning
        assert warning is not None
        assert f"nothing of {len(one.drafts[0].planned)} drafts survived (refusal " in warning
        assert "failed: truncated " in warning
        assert warning in one.publish().warnings
        none = found(one)["generation_nothing_survived"]
    planned = len(one.drafts[0].planned)
    assert none.figures == {"asked": planned}
    assert none.message.startswith(
        f"generator rephrased: none of {planned} requests gave a draft that survives: refusal ("
    )
    assert ", failed: truncated (" in none.message


def test_shares_of_a_few_answers_say_nothing_and_the_borders_are_passed_and_not_reached() -> None:
    entry = Generate(name="g", generator="openai", prices=Prices(prompt_per_million=1.0, completion_per_million=1.0))

    def kinds(rows: int, cut: int = 0, opened: int = 0, unreadable: int = 0, same: bool = False) -> set[str]:
        frame = pl.DataFrame(
            [
                {
                    "request_key": f"{n}",
                    "asked_key": f"{n}",
                    "round": 0,
                    "text": ("Question: In the heart of" if n < opened else f"w{n} is of it") + f" {n}.",
                    "stripped": ["cut_off"] if n < cut else [],
                    "judge_key": f"j{n}",
                    "unreadable": n < unreadable,
                    "grade": None if n < unreadable else 4 if same else n % 2,
                    "prompt_tokens": 10,
                    "completion_tokens": 10,
                    "judge_prompt_tokens": 10,
                    "judge_completion_tokens": 10,
                    "prompt_words": 30,
                    "words_expected": 30,
                }
                for n in range(rows)
            ]
        )
        frame = pl.concat([drafting.LINEAGE_SCHEMA.to_frame(), frame], how="diagonal_relaxed")
        kept = pl.DataFrame({"verdict": [None] * rows}, schema={"verdict": pl.String})
        return {kind for kind, _, _ in habits.findings(habits.measure(entry, frame, kept))}

    assert kinds(9, 9, 9, 9, True) == set()
    assert kinds(20, 1, 4, 2) == set()
    assert kinds(20, 2) == {"generation_cut_off"}
    assert kinds(20, opened=5) == {"generation_one_opening"}
    assert kinds(20, unreadable=3) == {"generation_judge_unreadable"}
    assert kinds(20, same=True) == {"generation_one_grade"}


def test_a_gate_that_stops_the_run_says_what_became_of_the_drafts(folder: Path) -> None:
    with stub(lambda request, nth: "Lo siento, pero no puedo ayudarte con eso.") as endpoint:
        text = drafting_recipe(endpoint.base_url, "budget: {amount: 2500}")
        text = text.replace("min: 0.5}", "min: 0.5, max: 0.6}, shortage: fail")
        with pytest.raises(GateError, match=r"nothing of \d+ drafts survived \(refusal \d+"):
            publish_plainly(recipe_file(folder, text), str(folder / "store"))
