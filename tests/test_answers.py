"""Answers: whatever servers and models put around a text is read or taken off, told, and never published."""

import json
import re
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
from cuvee.tasks.generators._whole import cut_back, is_whole
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


THOUGHT = "Let me think. The user wants X."
REASONING = [
    "&lt;think&gt;{T}&lt;/think&gt;{B}",
    "<think>a<think>b</think>c</think>{B}",
    "```thinking\n{T}\n```\n\n{B}",
    "<inner_monologue>{T}</inner_monologue>{B}",
    "<reasoning_process>{T}</reasoning_process><answer>{B}</answer>",
    "<planning>{T}</planning>\n<article>{B}</article>",
    "<scratch_pad>{T}</scratch_pad>{B}",
    "<seed:think>{T}</seed:think>{B}",
    "Here is my thought process:\n{T}\nHere is my response:\n{B}",
    "<|channel>thought\n{T}<channel|>{B}",
    "<|channel|>analysis<|message|>{T}<|channel|>final<|message|>{B}",
    "<|channel|>commentary to=f<|message|>{T}<|end|><|start|>assistant<|channel|>final <|constrain|>text<|message|>{B}",
    "analysis{T}assistantfinal{B}",
    "<|think|>{T}<|/think|>{B}",
    "<|START_THINKING|>{T}<|END_THINKING|><|START_RESPONSE|>{B}<|END_RESPONSE|>",
    "<|begin_of_thought|>{T}<|end_of_thought|>\n<|begin_of_solution|>\n{B}\n<|end_of_solution|>",
    "**Thinking:**\n{T}\n\n**Answer:**\n{B}",
    "<details><summary>Thought for 3 seconds</summary>\n> {T}\n</details>\n{B}",
    "*thinking: {T}*\n\n{B}",
    "\u200b<think>{T}</think>\u200b\n{B}",
]
AROUND = [
    "\ufeff{B}",
    "````md\n{B}\n````",
    '```markdown title="a.md"\n{B}\n```',
    "```text {B}```",
    "`{B}`",
    "“{B}”",
    "```markdown\n{B}\n```\n\nThis rewritten article keeps all facts of the document.",
    "Sure thing! Here's a rewritten version:\n\n```\n{B}\n```\n\nHope this helps!",
    "## Rewritten Article\n\n{B}",
    "Final answer:\n{B}",
    "### Response:\n{B}",
    "Assistant: {B}",
    "---\n\n{B}\n\n---",
    "{B}\n\n[End of article]",
    "{B}\n\n**Word Count:** 123 words",
    "{B}\n\n*Total words: ~123*",
    "{B}\n\nI hope you find this article helpful! Let me know if you'd like any changes.",
    "{B}\n\nLet me know if this works.\n\nWould you like another version?",
    "{B}\n\nShould I add sources?",
    "{B}\n\nPlease note that this article is based solely on the provided document.",
    "{B}\n\nDisclaimer: This text was generated by an AI.",
    "{B}\n\n---\n\nThis version keeps every fact from the original text while improving clarity.",
    "{B}\n\n**Changes made:**\n- Shortened sentences\n- Removed repetition",
    "Selbstverständlich. Hier ist die Fassung:\n\n{B}\n\nSagen Sie mir Bescheid, wenn Sie Änderungen wünschen.",
    "Gerne, hier ist der Text:\n\n{B}\n\nWenn Sie Fragen haben, stehe ich gerne zur Verfügung.",
    "¡Claro! Aquí tienes una versión:\n\n{B}\n\n¿Quieres que haga algún cambio?",
    "Claro! Aqui está o artigo:\n\n{B}\n\nEspero que isso ajude!",
    "当然可以，下面是改写后的内容：\n{B}\n\n（共312字）",
    "はい、以下が書き直した記事です。\n\n{B}\n\nご不明な点がございましたらお知らせください。",
    "As requested, here is the rewritten article:\n\n{B}",
    "Based on the document you provided, here's an article:\n\n{B}",
    "Okay, so here is the article.\n\n{B}",
    "<output>\n{B}\n</output>\n\nLet me know!",
    '<?xml version="1.0"?>\n<article><![CDATA[{B}]]></article>',
    "<<SYS>>be nice<</SYS>>\n\n{B}",
    "{B}\n\nUser: Thanks!\nAssistant: You're welcome!",
    "{B}\n\n### Instruction:\nWrite another.",
    "[gMASK]<sop>{B}<|user|>",
    "<|start_of_role|>assistant<|end_of_role|>{B}<|end_of_text|>",
]


def drafted(content: str, finish: str = "stop") -> str:
    """Return what is left of an answer, nothing where it has no draft."""
    found = read(body({"content": content}, finish))
    text = unwrap(found.text or "")[0]
    return cut_back(text) if finish == "length" else text


@pytest.mark.parametrize("form", REASONING + AROUND)
def test_other_ways_to_think_and_to_wrap_leave_the_text_alone_and_no_half_of_it_when_cut_off(form: str) -> None:
    content = form.replace("{T}", THOUGHT).replace("{B}", BODY)
    assert drafted(content) == BODY
    for end in range(1, len(content), 3):
        text = drafted(content[:end], "length")
        assert not text or (is_whole(text) and "Let me think" not in text)
        assert not re.search(r"think>|```|<\||\|>", text, re.IGNORECASE)


@pytest.mark.parametrize(
    "text",
    [
        "Plan: the city built a mill.\nIt opened in 1820.",
        "The user enters a name.\n\nUser: a person who logs in.\nAdmin: a person who rules.",
        "Anna: Do you need a ticket?\nTom: Yes, I do.\nAnna: Let me know if you find one.",
        "Human: Where is it?\nAI: By the river.\nHuman: Thanks.\nAI: You are welcome.",
        "Run it once. It writes a file.\n\n### Input\n\nThe input is a text. It has lines.",
        "“It is old,” she said. The mill stood there. “It is.”",
        "The plan was < 5 and > 3. It said <plan A> was better.",
        "Thinking is hard. So is reading.\n\nAnswer the letter. Then rest.",
        "> A quotation.\n\nThe text goes on. It ends here.",
        "`mill` is a command. It ends with `stop`.",
        "Analysis of the data shows growth. It was strong.",
    ],
)
def test_a_text_about_thinking_turns_and_quotations_stays(text: str) -> None:
    found = read(body({"content": text}))
    assert (found.text, found.stripped) == (text, ())
    assert unwrap(text) == (text, ())


@pytest.mark.parametrize(
    "text",
    [
        "I must decline to write this.",
        "I'm afraid I can't help with that.",
        "This request violates our content policy.",
        "The document is empty, so I cannot write an article.",
        "Please provide the document you would like me to rewrite.",
        "It seems that no document was provided.",
        "I'd be happy to help, but I need the document first.",
        "Ich kann diese Anfrage leider nicht bearbeiten.",
        "Ich bin nicht in der Lage, diesen Text zu schreiben.",
        "Diese Anfrage kann ich nicht erfüllen.",
        "En tant que modèle de langage, je ne peux pas.",
        "Je refuse de répondre à cette demande.",
        "No me es posible escribir este texto.",
        "这个问题我无法回答。",
        "请提供需要改写的文档。",
        "Пожалуйста, предоставьте документ.",
    ],
)
def test_refusals_and_requests_for_a_document_in_other_words_are_known(text: str) -> None:
    assert phrases.answering(pl.Series([text]))["refusal"].to_list() == [True]
