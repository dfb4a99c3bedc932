"""Any model: what an endpoint wants of a request beside the text, and a judge at an endpoint of its own."""

import json
from pathlib import Path
from typing import Any

import pytest
from plain import candidate, drafting_recipe, recipe_file
from stub_endpoint import stub
from test_generators import SEEDS, Entry, Sampling, ask
from texts import documents, write_jsonl

from cuvee.schemas.errors import RecipeError
from cuvee.schemas.parse import parse_recipe
from cuvee.tasks.generators import openai

MARKS = json.dumps({"faithful": 4, "complete": 4, "useful": 4, "safe": 5, "unsupported": []})


def test_fields_are_added_left_out_and_part_of_the_key(tmp_path: Path) -> None:
    with stub(lambda request, nth: "The mill stands.") as endpoint:
        plain = Entry(generator="openai", base_url=endpoint.base_url, model="tiny")
        extra: dict[str, object] = {"max_completion_tokens": 300, "top_k": 4}
        changed = plain.model_copy(
            update={"sampling": Sampling(extra=extra, omit=("max_tokens", "seed")), "headers": {"x-team": "mills"}}
        )
        assert ask(changed, tmp_path / "j", 300).failures.is_empty()
    for request in endpoint.requests:
        assert set(request) == {"model", "messages", "temperature", "max_completion_tokens", "top_k"}
        assert request["max_completion_tokens"] == 300
    keys = [set(openai.plan(entry, SEEDS, 300)["request_key"]) for entry in (plain, changed)]
    assert keys[0].isdisjoint(keys[1])
    assert keys[1] == set(openai.plan(changed.model_copy(update={"headers": {}}), SEEDS, 300)["request_key"])


def test_the_systems_text_can_stand_in_the_users_message(tmp_path: Path) -> None:
    with stub(lambda request, nth: "The mill stands.") as endpoint:
        plain = Entry(generator="openai", base_url=endpoint.base_url, model="tiny")
        merged = plain.model_copy(update={"system": "merged"})
        assert len(ask(merged, tmp_path / "j", 300).rows) > 1
    for request in endpoint.requests:
        (message,) = request["messages"]
        assert message["role"] == "user"
        assert message["content"].startswith("You rewrite documents.")
    keys = [set(openai.plan(entry, SEEDS, 300)["request_key"]) for entry in (plain, merged)]
    assert keys[0].isdisjoint(keys[1])


def test_a_judge_of_its_own_gets_all_judgements_and_nothing_of_the_generators_fields(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "texts.jsonl", documents(30))
    recipe = """
corpus: words
sources: [{{name: texts, uri: texts.jsonl, license: CC-BY-SA-4.0, domain: manual, language: en}}]
holdout: {{share: 0}}
generate:
  - {{name: g, generator: openai, base_url: "{writer}", model: tiny, system: merged, sampling: {{extra: {{top_k: 4}}}},
     grade: {{judge_model: marker, base_url: "{judge}"}}, budget: {{amount: 400}}}}
mixture: {{human: {{min: 0.5}}}}
"""
    with stub() as writer, stub(lambda request, nth: MARKS) as judge:
        path = recipe_file(tmp_path, recipe.format(writer=writer.base_url, judge=judge.base_url))
        found = candidate(path, str(tmp_path / "store"))
        grades = found.rows.filter(source="g")["grade"].drop_nulls()
        assert set(grades) == {4}
        assert {request["model"] for request in writer.requests} == {"tiny"}
        assert {request["model"] for request in judge.requests} == {"marker"}
        assert len(judge.requests) == len(grades) > 0
        assert all("top_k" in request for request in writer.requests)
        assert not any("top_k" in request for request in judge.requests)


def test_a_judge_that_moves_is_paid_nothing_again_where_the_endpoint_has_a_name(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "texts.jsonl", documents(30))
    with stub() as writer, stub(lambda request, nth: MARKS) as judge, stub(lambda request, nth: MARKS) as moved:
        text = drafting_recipe(writer.base_url, "endpoint: mill", "budget: {amount: 400}")
        path = recipe_file(tmp_path, text)
        places = [f"generate.0.grade={{judge_model: j, base_url: '{one.base_url}'}}" for one in (judge, moved)]
        graded = candidate(path, str(tmp_path / "store"), places[0]).rows
        again = candidate(path, str(tmp_path / "store"), places[1], "generate.0.gates.copied=0.9").rows
    assert judge.sent.total() > 0
    assert moved.sent.total() == 0
    assert set(again.filter(source="rephrased")["grade"]) == set(graded.filter(source="rephrased")["grade"]) == {4}


@pytest.mark.parametrize("sampling", ["{extra: {model: x}}", "{extra: {stream: true}}", "{omit: [model]}"])
def test_what_a_request_cannot_do_without_is_no_field_to_change(sampling: Any) -> None:
    entry = f"{{name: g, generator: openai, base_url: 'http://127.0.0.1:9/v1', model: m, sampling: {sampling}}}"
    with pytest.raises(RecipeError, match="sampling"):
        parse_recipe(
            f"corpus: c\nsources: [{{name: a, uri: a}}]\ngenerate: [{entry}]\nmixture: {{human: {{min: 0.5}}}}"
        )
