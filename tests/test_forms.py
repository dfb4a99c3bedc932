"""Forms of answers: further ways in which models think, wrap, greet, refuse and stop, each ending as the same draft."""

import json
from typing import Any

import polars as pl
import pytest

from cuvee.tasks import phrases
from cuvee.tasks.generators import openai
from cuvee.tasks.generators._answer import read
from cuvee.tasks.generators._ask import OUTCOME_SCHEMA

FIRST = "The mill stands by the river Lea. It was built in 1820 by a miller."
BODY = (
    f"{FIRST}\n\nIts wheel still turns on market days, and flour is sold in the village. Visitors may see the stones."
)
THOUGHT = "Okay, the user wants an article. Let me think about what to include."
CUT = BODY.removesuffix(" see the stones.")


def reading(message: dict[str, Any], finish: str | None = "stop") -> dict[str, Any]:
    """Return a draft as a run reads it."""
    found = read(json.dumps({"choices": [{"message": message, "finish_reason": finish}]}))
    row = {"text": found.text, "reason": found.reason, "finish_reason": found.finish_reason}
    row |= {"request_key": "a", "stripped": list(found.stripped), "completion_tokens": found.completion_tokens}
    frame = pl.DataFrame([dict.fromkeys(OUTCOME_SCHEMA) | row], schema=OUTCOME_SCHEMA)
    frame = frame.with_columns(kind=pl.lit("distilled"), sampling=pl.lit('{"max_tokens": 512}'))
    return openai.as_drafts(frame, {"distilled": "Rewrite the document."}).row(0, named=True)


def outcome(message: dict[str, Any], finish: str | None = "stop") -> tuple[Any, Any]:
    found = reading(message, finish)
    return found["text"], found["reason"]


def draft(content: Any, finish: str | None = "stop") -> str | None:
    text = outcome({"content": content}, finish)[0]
    return None if text is None else str(text)


@pytest.mark.parametrize(
    "form",
    [
        "<chain-of-thought>{}</chain-of-thought>\n",
        "<antThinking>{}</antThinking>\n",
        "<think_fast>{}</think_fast>\n",
        "<|inner_prefix|>{}<|inner_suffix|>",
        "<think><think>{}</think> more</think>\n<think>and again</think>",
        "~~~thinking\n{}\n~~~\n",
        "analysis\n{}\nassistantfinal\n",
        "## Thinking\n{}\n\n## Final Answer\n",
        "Thinking Process:\n\n1. **Analyze:** {}\n\nFinal Output:\n\n",
        "Here is my thought process: {}\n\nHere is my response: ",
        "> **Reasoning**\n> {}\n\n",
    ],
)
def test_what_a_model_thought_is_no_part_of_a_draft(form: str) -> None:
    assert draft(form.format(THOUGHT) + BODY) == BODY


@pytest.mark.parametrize(
    "text",
    ["Thinking Process:\n\n1. Analyze it.", "analysis\nThe user wants", "~~~think\nHm", "Here is my reasoning: hm"],
)
def test_thoughts_that_never_end_are_no_draft(text: str) -> None:
    assert outcome({"content": f"{text}\n{BODY}"}) == (None, "unfinished_reasoning")


@pytest.mark.parametrize(
    "content",
    [
        [{"text": THOUGHT, "thought": True}, {"text": BODY}],
        [None, [{"type": "text", "text": BODY}]],
        [{"type": "summary_text", "text": THOUGHT}, {"type": None, "text": BODY}],
        [{"type": "image_url", "image_url": {"url": "x"}}, {"type": "text", "value": BODY}],
        {"type": "text", "text": BODY},
        {"parts": [{"text": BODY}]},
    ],
)
def test_parts_of_any_shape_are_read(content: Any) -> None:
    assert draft(content) == BODY


def test_what_was_streamed_unasked_is_put_together() -> None:
    deltas = [{"delta": {"role": "assistant", "content": ""}}, {"delta": {"reasoning_content": THOUGHT}}]
    deltas += [{"delta": {"content": part}} for part in (BODY[:50], BODY[50:])]
    deltas += [{"delta": {}, "finish_reason": "stop"}]
    chunks = [*({"choices": [delta]} for delta in deltas), {"choices": [], "usage": {"prompt_tokens": 7}, "model": "m"}]
    body = ": ping\n\n" + "".join(f"data: {json.dumps(chunk)}\n\n" for chunk in chunks) + "data: [DONE]\n\n"
    found = read(body)
    assert (found.text, found.finish_reason, found.prompt_tokens, found.model_returned) == (BODY, "stop", 7, "m")
    assert found.stripped == ("reasoning",)
    assert read("data: what").reason == "unreadable_answer"


@pytest.mark.parametrize(
    ("message", "finish", "reason"),
    [
        ({"content": FIRST}, "SAFETY", "content_filter"),
        ({"content": FIRST}, "sensitive", "content_filter"),
        ({"content": FIRST}, "refusal", "refusal"),
        ({"content": [{"type": "refusal", "refusal": "No."}]}, "stop", "refusal"),
        ({"content": '<tool_call>\n{"name": "write"}\n</tool_call>'}, "stop", "tool_calls"),
        ({"content": '[TOOL_CALLS][{"name": "write"}]'}, "stop", "tool_calls"),
        ({"content": "", "thinking": THOUGHT}, "length", "unfinished_reasoning"),
    ],
)
def test_other_names_of_no_text_have_the_same_reasons(message: dict[str, Any], finish: str, reason: str) -> None:
    assert outcome(message, finish) == (None, reason)


@pytest.mark.parametrize(
    "wrapped",
    [
        "---\ntitle: The mill\ntags:\n  - water\n---\n\n{}",
        "```yaml\n---\ntitle: The mill\n---\n```\n\n{}",
        '+++\ntitle = "The mill"\n+++\n{}',
        "[article]\n{}\n[/article]",
        "\\begin{{document}}\n{}\n\\end{{document}}",
        "<!-- article -->\n{}\n<!-- end -->",
        '"""\n{}\n"""',
        "{}\n</article>",
        "&lt;article&gt;{}&lt;/article&gt;",
        "[|assistant|]{}[|endofturn|]",
        "<|turn>model\n{}<turn|>",
        "{}<|im_start|>user\nThanks",
        "{}<start_of_turn>user\nThanks",
        "{}<|start_header_id|>user<|end_header_id|>\n\nThanks",
        "{}<SPECIAL_12>",
        '{}\n<tool_call>\n{{"name": "write"}}\n</tool_call>',
        "{}\n\nI'm sorry, but I can't continue with this text.",
        "{} Es tut mir leid, aber ich kann dabei nicht weiterhelfen.",
        "Hier is het artikel:\n\n{}\n\nIk hoop dat dit helpt!",
        "Jasne! Oto artykuł:\n\n{}\n\nCzy chcesz, abym coś dodał?",
        "İşte makale:\n\n{}\n\nUmarım yardımcı olur!",
        "Självklart! Här är artikeln:\n\n{}\n\nHoppas det hjälper!",
        "もちろんです。記事は以下の通りです：\n\n{}\n\n（文字数：48）",
        "네, 아래는 다시 작성한 글입니다:\n\n{}\n\n추가로 필요한 것이 있으면 말씀해 주세요.",
        "بالتأكيد! إليك المقال:\n\n{}\n\nهل تريد مني إضافة شيء آخر؟",
        "ज़रूर! यहाँ लेख है:\n\n{}\n\nआशा है कि यह मदद करेगा।",
        "Segue abaixo o artigo:\n\n{}\n\nSe precisar de mais alguma coisa, é só avisar.",
        "Hier der Artikel:\n\n{}\n\nSoll ich den Text kürzen?",
    ],
)
def test_other_things_around_a_draft_are_taken_off(wrapped: str) -> None:
    assert draft(wrapped.format(BODY)) == BODY


@pytest.mark.parametrize(
    "tree",
    [
        {"language": "English", "format": "encyclopedic", "article_text": BODY},
        {"rephrased_document": BODY, "word_count": 40, "status": "ok"},
        {"reply": BODY, "lang": "en"},
        {"thought": THOUGHT, "answer": BODY},
    ],
)
def test_of_an_object_the_text_alone_is_taken(tree: dict[str, Any]) -> None:
    assert draft(json.dumps(tree)) == BODY
    assert draft(repr(tree)) == BODY


def test_a_page_becomes_its_text() -> None:
    inside = BODY.replace("\n\n", "</p>\n<p>")
    page = f"<html><head><title>x</title></head><body><h1>Mill</h1><p>{inside}</p><ul><li>oak</li></ul></body></html>"
    assert draft(page) == f"# Mill\n\n{BODY}\n\n- oak"
    assert draft(BODY.replace("\n\n", "<br><br>")) == BODY
    table = "| A | B |\n|---|---|\n| one<br>two | three |"
    assert draft(table) == table


@pytest.mark.parametrize(
    "finish", ["length", "MAX_TOKENS", "token limit", "incomplete", "abort", "error", "eos", "stop", "odd", None]
)
@pytest.mark.parametrize(
    ("text", "whole"),
    [
        (CUT, BODY.removesuffix(" Visitors may see the stones.")),
        ("- The wheel turns.\n- The stones grind.\n- The hopper hol", "- The wheel turns.\n- The stones grind."),
        ("Anna: When was it built?\nBen: It was built in 1820.\nAnna: And does it", None),
        ("Ջրաղացը հին է։ Այն կա", "Ջրաղացը հին է։"),
        (f'{{"article": "{FIRST} Its gre', FIRST),
        (f"<think>Hm</think>```markdown\n{FIRST} Its gre", FIRST),
    ],
)
def test_no_draft_ends_within_a_sentence_whatever_the_server_calls_it(
    finish: str | None, text: str, whole: str | None
) -> None:
    assert draft(text, finish) == (whole or text.rpartition("\n")[0])


def test_only_a_limit_is_told_as_one() -> None:
    told = {finish: reading({"content": CUT}, finish)["stripped"] for finish in ("stop", "length", None)}
    assert told == {"stop": ["unended"], "length": ["cut_off"], None: ["cut_off"]}


@pytest.mark.parametrize(
    "text",
    [
        "Oak\nIron\nStone\nWater",
        f"{FIRST}\n\n- oak\n- iron",
        f"{FIRST} It ended in 1920.",
        "Question: When?\nAnswer: 1820\n\nQuestion: Who?\nAnswer: a miller",
        "Name: Mill\nBuilt: 1820",
        "โรงสีตั้งอยู่ริมแม่น้ำ สร้างในปี 1820 โดยชาวบ้าน",
        f"# Reasoning\n\n{FIRST}",
    ],
)
def test_a_text_that_ends_in_its_own_way_stays(text: str) -> None:
    assert draft(text) == text


def test_refusals_in_further_languages_and_words_are_known() -> None:
    said = [
        "My guidelines prevent me from rewriting this text.",
        "There is no document attached. Please share it.",
        "I understand your request, but I cannot write an article about this.",
        "I don't have enough information to write this article.",
        "Il m'est impossible de traiter cette demande.",
        "No puedo reescribir este documento.",
        "Ik kan dit document niet herschrijven.",
        "Jag är ledsen, men jag kan inte hjälpa till med det.",
        "Beklager, jeg kan ikke hjelpe med det.",
        "Omlouvám se, ale s tím vám nemohu pomoci.",
        "Maaf, saya tidak dapat membantu permintaan itu.",
        "Xin lỗi, tôi không thể giúp bạn việc này.",
        "Λυπάμαι, αλλά δεν μπορώ να βοηθήσω.",
        "ขออภัย ฉันไม่สามารถช่วยได้",
        "そのリクエストにはお応えできません。",
        "이 요청은 처리할 수 없습니다.",
        "我无法处理该请求。",
    ]
    assert phrases.answering(pl.Series(said))["refusal"].all()
    assert not phrases.answering(pl.Series([FIRST, "There is no document that names the mill before 1820."]))[
        "refusal"
    ].any()
