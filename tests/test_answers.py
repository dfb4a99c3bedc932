"""Answers: whatever servers and models put around a text is read or taken off, told, and never published."""

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from stub_endpoint import Reply, completion, stub
from test_generators import QUICK, SEEDS, TEXTS, Entry, ask, whole_lines

from cuvee.schemas.errors import RetryableError
from cuvee.tasks import phrases
from cuvee.tasks.generators import openai
from cuvee.tasks.generators._answer import count, read, without_reasoning
from cuvee.tasks.generators._journal import JOURNAL_SCHEMA, Journal
from cuvee.tasks.generators._wrapping import unwrap
from cuvee.tasks.ingest import normalise

BODY = "The mill stands by the river. It was built in 1820.\n\nIts wheel still turns, and here it is:\n- oak\n- iron"


def body(message: dict[str, Any] | None = None, finish: str | None = "stop", **changes: Any) -> str:
    message = {"content": BODY} | (message or {})
    return json.dumps({"choices": [{"message": message, "finish_reason": finish}], "model": "m"} | changes)


@pytest.mark.parametrize(
    ("message", "text"),
    [
        ({"content": f"<think>Let me see.</think>\n\n{BODY}"}, BODY),
        ({"content": f"Let me see.\n</think>\n{BODY}"}, BODY),
        ({"content": f"<THINKING type='x'>a <think>b</THINKING>{BODY}"}, BODY),
        ({"content": f"[THINK]hm[/THINK]{BODY}"}, BODY),
        ({"content": f"◁think▷hm◁/think▷{BODY}"}, BODY),
        ({"content": f"<reasoning>hm</reasoning>{BODY}<reflection>good</reflection>"}, BODY),
        (
            {"content": f"<|channel|>analysis<|message|>hm<|end|><|start|>assistant<|channel|>final<|message|>{BODY}"},
            None,
        ),
        ({"content": BODY, "reasoning_content": "Let me see."}, BODY),
        ({"content": BODY, "reasoning": "Let me see."}, BODY),
        ({"content": [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": BODY}]}, BODY),
        (
            {"content": ["The mill ", {"type": "output_text", "text": "stands."}, "It turns."]},
            "The mill stands.\n\nIt turns.",
        ),
        ({"content": [{"type": "text", "text": {"value": "Parts of a "}}, {"text": "list."}]}, "Parts of a list."),
    ],
)
def test_reasoning_and_parts_are_read(message: dict[str, Any], text: str | None) -> None:
    found = read(body(message))
    assert found.text is not None
    assert unwrap(found.text)[0] == (text or BODY)
    assert ("reasoning" in found.stripped) == ("hm" in str(message) or "see" in str(message) or "b<" in str(message))


@pytest.mark.parametrize(
    ("message", "finish", "reason"),
    [
        ({"content": "<think>Let me see. The mill"}, "length", "unfinished_reasoning"),
        ({"content": f"{BODY}<think>Was that right?"}, "stop", "unfinished_reasoning"),
        ({"content": None, "reasoning_content": "Let me see."}, "length", "unfinished_reasoning"),
        ({"content": "<think>Nothing to say.</think>"}, "stop", "empty_answer"),
        ({"content": []}, "stop", "empty_answer"),
        ({"content": None, "refusal": "I can't do that."}, "stop", "refusal"),
        ({"content": BODY}, "content_filter", "content_filter"),
        ({"content": None, "tool_calls": [{"id": "x"}]}, "tool_calls", "tool_calls"),
        ({"content": {"a": 1}}, "stop", "unreadable_answer"),
    ],
)
def test_an_answer_without_a_text_has_a_reason_of_its_own(message: dict[str, Any], finish: str, reason: str) -> None:
    found = read(body(message, finish))
    assert (found.text, found.reason) == (None, reason)


def test_counts_are_read_as_numbers_floats_and_strings() -> None:
    assert [count({"n": value}, "n") for value in (7, 7.0, "7", " 7 ", 7.5, -1, True, None, "x", 1e300)] == [
        *[7] * 4,
        *[None] * 6,
    ]
    found = read(body(usage={"input_tokens": "12", "output_tokens": 5.0}))
    assert (found.prompt_tokens, found.completion_tokens) == (12, 5)


@pytest.mark.parametrize(
    ("wrapped", "names"),
    [
        ("{}", ()),
        ("```\n{}\n```", ("fence",)),
        ("```markdown\n{}", ("fence",)),
        ("~~~text\n{}\n~~~\n", ("fence",)),
        ("Here you go:\n\n{}", ("announcement",)),
        ("Sure! Here is the article:\n{}\n\nLet me know if you need anything else!", ("announcement", "closing")),
        ("Certainly!\n\n```markdown\n{}\n```\n\n(Word count: 312)", ("fence", "announcement", "closing")),
        ("Here's the rewritten text based on the document: {}", ("announcement",)),
        ("**Article:**\n\n{}", ("announcement",)),
        ("Natürlich! Hier ist der Artikel:\n\n{}\n\nIch hoffe, das hilft Ihnen.", ("announcement", "closing")),
        ("Voici l'article :\n{}\n\nN'hésitez pas à me dire.", ("announcement", "closing")),
        ("Claro, aquí tienes el artículo:\n{}\n\nEspero que esto te sirva.", ("announcement", "closing")),
        ("好的，以下是文章：\n{}\n\n（字数：312）", ("announcement", "closing")),
        ("Конечно! Вот статья:\n{}\n\nНадеюсь, это поможет.", ("announcement", "closing")),
        ("{}\n\n---\n*(312 words)*", ("closing",)),
        ("{}\n\nWould you like me to add more?", ("closing",)),
        ("<article>\n{}\n</article>", ("xml",)),
        ("<answer>{}", ("xml",)),
        ("<|im_start|>assistant\n{}<|im_end|>\n<|im_start|>user\nAnother?", ("tokens",)),
        ("<|start_header_id|>assistant<|end_header_id|>\n\n{}<|eot_id|>", ("tokens",)),
        ("assistant\n\n{}</s>", ("tokens",)),
        ("===== document =====\n{}\n===== end of document =====", ("marker",)),
    ],
)
def test_what_stands_around_a_draft_is_taken_off_and_named(wrapped: str, names: tuple[str, ...]) -> None:
    text, found = unwrap(wrapped.replace("{}", BODY))
    assert text == BODY
    assert found == names
    assert unwrap(text)[1] == ()


def test_json_becomes_its_strings_even_when_it_is_cut_off_or_has_line_ends_inside() -> None:
    assert unwrap(json.dumps({"article": BODY, "word_count": 9})) == (BODY, ("json",))
    assert unwrap("```json\n" + json.dumps({"title": "Mill", "content": BODY}) + "\n```")[0] == f"Mill\n\n{BODY}"
    assert unwrap('{"text": "' + BODY + '"}')[0] == BODY
    assert unwrap('{"text": "The mill stands. It tur')[0] == "The mill stands. It tur"
    pairs = [{"question": "Where?", "answer": "By the river."}, {"question": "When?", "answer": "In 1820."}]
    assert unwrap(json.dumps({"questions": pairs}))[0] == (
        "Question: Where?\nAnswer: By the river.\n\nQuestion: When?\nAnswer: In 1820."
    )
    assert unwrap(json.dumps(BODY))[0] == BODY


def test_a_template_that_asks_for_a_form_keeps_it() -> None:
    record = json.dumps({"text": BODY})
    assert unwrap(record, "Answer in JSON.")[0] == record
    assert unwrap(f"```\n{BODY}\n```", "Put it into a code block.")[0].startswith("```")


@pytest.mark.parametrize(
    "text",
    [
        "Of course, the mill is old.\nIt stands by the river.",
        "Great Britain is an island.\nIt has mills.",
        "Question: Where is it?\nAnswer: Here is the place: by the river.",
        "Guide: Sure, here it is.\nAsker: Let me know if it rains.\nGuide: I hope this helps the harvest.",
        "The mill has 5 < 6 wheels [1]. It said <a> and </b>.",
        "Okra is a plant. It is green.\nIt grows.",
        "# The mill\n\nIt stands here:\n\n- by the river",
        "[1] The mill stands.\n[2] It turns.",
        "Here lies the mill of the old town.\nIt burnt down.",
    ],
)
def test_text_that_only_looks_wrapped_stays(text: str) -> None:
    assert unwrap(text) == (text, ())


@pytest.mark.parametrize(
    "text",
    [
        "I'm sorry, but I can't help with that.",
        "Es tut mir leid, aber ich kann diesen Text nicht umschreiben.",
        "Leider kann ich Ihnen dabei nicht helfen.",
        "Je suis désolé, mais je ne peux pas répondre à cette demande.",
        "Lo siento, pero no puedo ayudarte con eso.",
        "Desculpe, mas não posso ajudar com isso.",
        "抱歉，我无法协助完成这个请求。",
        "我不能帮您写这篇文章。",
        "Извините, но я не могу помочь с этим запросом.",
        "К сожалению, я не могу выполнить эту просьбу.",
        "申し訳ありませんが、そのご依頼にはお答えできません。",
        "죄송합니다. 요청하신 내용을 도와드릴 수 없습니다.",
        "Mi dispiace, ma non posso aiutarti.",
    ],
)
def test_refusals_are_known_in_the_languages_of_the_corpus(text: str) -> None:
    assert phrases.answering(pl.Series([text]))["refusal"].to_list() == [True]


def test_no_reasoning_and_no_fence_is_left_in_a_draft_and_the_journal_has_the_body(tmp_path: Path) -> None:
    ways = [
        "<think>hm</think>{}",
        "hm</think>{}",
        "```\n{}\n```",
        "Sure! Here is the article:\n\n{}",
        "{}<|im_end|>",
        "<think>hm",
    ]

    def answer(request: dict[str, Any], nth: int) -> str:
        seed = request["messages"][-1]["content"]
        return ways[len(seed) % len(ways)].replace("{}", f"The mill of {len(seed)} stands.\nIt turns.")

    with stub(answer) as endpoint:
        entry = Entry(generator="openai", base_url=endpoint.base_url, model="tiny")
        plan = openai.plan(entry, SEEDS, 10**6)
        drafts = ask(entry, tmp_path / "j", 10**6)  # type: ignore[arg-type]
    assert not drafts.rows["text"].str.contains("think|```|Sure|<").any()
    assert set(drafts.rows["stripped"].explode().drop_nulls()) == {"reasoning", "fence", "announcement", "tokens"}
    assert (
        set(drafts.failures.rows())
        == {(key, "unfinished_reasoning", True) for key in drafts.failures["request_key"]}
        != set()
    )
    assert drafts.rows.height + drafts.failures.height == plan.height
    lines = [json.loads(line) for line in (tmp_path / "j").read_text().splitlines()]
    assert all(json.loads(line["body"])["choices"] for line in lines)
    assert normalise.measure(drafts.rows["text"])["words"].min() > 0  # type: ignore[operator]


def test_an_answer_that_cannot_be_read_is_asked_for_once_more_and_then_never(tmp_path: Path) -> None:
    def some(request: dict[str, Any], nth: int) -> Reply | str:
        odd = len(request["messages"][-1]["content"]) % 3 == 0
        return (200, {}, b"<html>busy</html>") if odd else "The mill stands."

    with stub(some) as endpoint:
        entry = Entry(generator="openai", base_url=endpoint.base_url, model="tiny")
        drafts = ask(entry, tmp_path / "j", 10**6)
        again = ask(entry, tmp_path / "j", 10**6)
    assert set(endpoint.sent.values()) == {1, 2}
    assert set(drafts.failures["reason"]) == {"unreadable_answer"}
    assert drafts.failures.height == sum(times == 2 for times in endpoint.sent.values()) > 5
    assert again.failures.equals(drafts.failures)


def test_an_endpoint_that_never_answers_readably_is_told_in_its_own_words_and_asked_again(tmp_path: Path) -> None:
    page = (200, {}, b"<html>log in</html>")
    with stub(lambda request, nth: page if endpoint.sent.total() < 100 else None) as endpoint:
        entry = Entry(generator="openai", base_url=endpoint.base_url, model="tiny")
        with pytest.raises(RetryableError, match=r"answers what cannot be read.*log in"):
            ask(entry, tmp_path / "j", 10**6)
        assert endpoint.sent.total() <= 2 * (20 + entry.concurrency)
        few = ask(entry, tmp_path / "few", 300)
        assert set(few.failures["permanent"]) == {False}
        endpoint.sent["x"] = 100
        assert ask(entry, tmp_path / "j", 10**6).failures.is_empty()


def test_answers_of_before_are_still_read(tmp_path: Path) -> None:
    with stub() as endpoint:
        entry = Entry(generator="openai", base_url=endpoint.base_url, model="tiny")
        plan = openai.plan(entry, SEEDS, 300)
        old = [name for name in JOURNAL_SCHEMA if name != "body"]
        lines = [
            {**dict.fromkeys(old), "request_key": key, "text": f"<think>hm</think>Draft {n}.", "permanent": False}
            for n, key in enumerate(plan["request_key"])
        ]
        (tmp_path / "j").write_text("".join(json.dumps(line) + "\n" for line in lines))
        with Journal(tmp_path / "j") as journal:
            drafts = openai.run(entry, SEEDS, plan, TEXTS, journal, policy=QUICK)
    assert endpoint.sent.total() == 0
    assert drafts.rows["text"].to_list() == [f"Draft {n}." for n in range(plan.height)]
    assert len(whole_lines(tmp_path / "j")) == plan.height


def test_a_completion_of_the_stub_is_read() -> None:
    found = read(completion("Text.").decode())
    assert (found.text, found.prompt_tokens, found.completion_tokens) == ("Text.", 700, 50)
    assert without_reasoning("plain") == ("plain", False)
