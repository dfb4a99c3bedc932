"""Whole drafts: what ran into a limit is cut back to its last whole sentence, pair, row or turn, or is no draft."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stub_endpoint import Reply, completion, stub
from test_generators import SEEDS, Entry, Sampling, ask

from cuvee.tasks.generators import openai
from cuvee.tasks.generators._whole import cut_back, is_whole, was_cut_off

TABLE = "On mills.\n\n| a | b |\n|---|---|\n| 1 | 2 |"


@pytest.mark.parametrize(
    ("text", "whole"),
    [
        ("The mill stands. It was bui", "The mill stands."),
        ("The mill stands.\n\nIt was bui", "The mill stands."),
        ("The mill stands. It cost 3.", "The mill stands."),
        ("The mill stands. He met Dr.", "The mill stands."),
        ('He said "It is." Then he', 'He said "It is."'),
        ("河水流过。图书馆开", "河水流过。"),
        ("No sentence ends in her", ""),
        ("It was Dr. Holm who pai", ""),
        ("Question: a?\nAnswer: It is.\n\nQuestion: c?\nAnswer: It was. And", "Question: a?\nAnswer: It is."),
        ("Question: a?\nAnswer: It is.\n\nQuestion: c?", "Question: a?\nAnswer: It is."),
        ("**Q1:** a?\n**A1:** It is.\n\n**Q2:** c", "**Q1:** a?\n**A1:** It is."),
        ("Question: a?\nAnswer: It is", ""),
        ("Mills\n\n## What is it?\n\nA mill.\n\n## Where is it?\n\nIt is by", "Mills\n\n## What is it?\n\nA mill."),
        ("Guide: Hello.\nAsker: Where?\nGuide: By the riv", "Guide: Hello.\nAsker: Where?"),
        (f"{TABLE}\n| 3 |", TABLE),
        (f"{TABLE}\n| 3 | 4 |", f"{TABLE}\n| 3 | 4 |"),
        ("On mills.\n\n| a | b |\n|---|---|\n| 1", "On mills."),
        ("On mills.\n\nOld\n- The mill is old.\n\nNew\n- The mill b is", "On mills.\n\nOld\n- The mill is old."),
        ("You will learn.\n\n1. **Start**\nDo it.\n\n2. **Go on**\nThen", "You will learn.\n\n1. **Start**\nDo it."),
        ("The mill stands.\n\n## Its wheel", "The mill stands."),
    ],
)
def test_a_cut_off_text_goes_back_to_what_is_whole(text: str, whole: str) -> None:
    assert cut_back(text) == whole
    assert cut_back(whole) == whole


@settings(max_examples=100, deadline=None)
@given(st.text(alphabet="ab.?|\n#- :0。Q", max_size=60))
def test_what_is_cut_back_is_a_whole_beginning(text: str) -> None:
    found = cut_back(text)
    assert text.startswith(found)
    assert not found or is_whole(found)


def test_a_limit_is_known_by_its_name_or_by_the_count_of_tokens() -> None:
    assert was_cut_off("length", None, {})
    assert was_cut_off("MAX_TOKENS", 3, {})
    assert was_cut_off("stop", 128, {"max_tokens": 128})
    assert not was_cut_off("stop", 127, {"max_tokens": 128})
    assert not was_cut_off(None, None, {"max_tokens": 128})


def test_no_draft_is_cut_off_and_each_other_end_has_its_reason(tmp_path: Path) -> None:
    bodies = [
        completion("The mill stands. It tur", "length"),
        completion("It tur", "length"),
        completion("The mill", "content_filter"),
        completion(None, "tool_calls"),
        json.dumps({"choices": [{"message": {"content": "The mill stands. It tur"}}]}).encode(),
        json.dumps({"choices": [{"message": {"content": "Mills without an end"}}]}).encode(),
    ]

    def answer(request: dict[str, Any], nth: int) -> Reply:
        return 200, {}, bodies[sum(request["messages"][-1]["content"].encode()) % len(bodies)]

    with stub(answer) as endpoint:
        entry = Entry(generator="openai", base_url=endpoint.base_url, model="tiny")
        drafts = ask(entry, tmp_path / "j", 10**6)
    assert set(drafts.rows["text"]) == {"The mill stands.", "Mills without an end"}
    cut = drafts.rows.filter(text="The mill stands.")
    assert set(cut["stripped"].list.contains("cut_off")) == {True}
    assert set(drafts.failures["reason"]) == {"truncated", "content_filter", "tool_calls"}
    assert drafts.failures["permanent"].all()


def test_a_request_allows_as_many_tokens_as_its_words_need_and_no_more_than_the_ceiling() -> None:
    def limits(most: int) -> list[int]:
        entry = Entry(base_url="http://127.0.0.1:1/v1", model="tiny", sampling=Sampling(max_tokens=most))
        plan = openai.plan(entry, SEEDS, 10**6)
        found = [json.loads(sampling)["max_tokens"] for sampling in plan["sampling"]]
        needed = [4 * words for words in plan["words_expected"]]
        assert all(min(most, need) <= limit < need + 128 for limit, need in zip(found, needed, strict=True))
        return found

    assert max(limits(4096)) < 512
    assert set(limits(100)) == {100}
