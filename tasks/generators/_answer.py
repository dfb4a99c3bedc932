"""Reading the body of a chat completion: its text without reasoning, its counts, and why there is no text.

The journal keeps bodies as they came, and reads them anew each time, so a better reader costs nothing. Only what is
needed is read, since compatible servers leave out, rename or add fields.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

# Rises when the same body, or the same text under `_wrapping` and `_whole`, would give another draft.
VERSION = 2

# Reasons that are no text of an answer that was paid for.
UNREADABLE, EMPTY, REFUSAL, UNFINISHED = "unreadable_answer", "empty_answer", "refusal", "unfinished_reasoning"
TRUNCATED = "truncated"
# And of a refusal: the request is longer than the model's context.
CONTEXT_LENGTH = "context_length"
CONTENT_FILTER, TOOL_CALLS = "content_filter", "tool_calls"
_TOOLS = ("tool_calls", "function_call")

_NAMES = (
    r"(?:[a-z]+:)?(?:think(?:ing)?|thoughts?|reason(?:ing)?|(?:self_?)?reflection|analysis|scratch_?pad|plan(?:ning)?|"
    r"brainstorm(?:ing)?|deliberation|chain_of_thought|cot|(?:inner|internal)_?(?:monologue|thoughts?|reasoning)|"
    r"(?:thought|thinking|reasoning)_?(?:process|steps?))"
)
_BLOCK = r"(?:thinking|think|thought|reasoning)"
_OPENING = re.compile(
    rf"(?:<|&lt;)\s*{_NAMES}(?:\s+[\w-]+\s*=[^<>&]*)?\s*(?:>|&gt;)|<\|\s*{_NAMES}\s*\|>|\[THINK\]|◁think▷|<\|channel>\s*thought|"
    rf"<\|(?:begin_of|begin|start_of|start)_{_BLOCK}\|>|(?:<\|start\|>assistant)?"
    r"<\|channel\|>(?:analysis|commentary)[^<]*<\|message\|>",
    re.IGNORECASE,
)
_CLOSING = re.compile(
    rf"(?:<|&lt;)\s*/\s*{_NAMES}\s*(?:>|&gt;)|<\|\s*/\s*{_NAMES}\s*\|>|\[/THINK\]|◁/think▷|<channel\|>|"
    rf"<\|(?:end_of|end)_{_BLOCK}\|>|<\|end\|>(?=\s*<\|(?:start|channel)\|>)|(?<=\S)(?=<\|channel\|>\s*final)",
    re.IGNORECASE,
)
_FENCED = re.compile(
    rf"(?im)^[ \t]*`{{3,}}[ \t]*{_BLOCK}s?[ \t]*\n(?P<inside>(?:.*\n)*?)[ \t]*(?P<end>`{{3,}})[ \t]*$"
    rf"|^[ \t]*`{{3,}}[ \t]*{_BLOCK}s?[ \t]*\n"
)
# Reasoning without tags: folded in HTML, in channels whose tokens a server left out, under a heading of its own before
# one of the answer, in one paragraph in italics.
_UNTAGGED = re.compile(
    r"\A\s*<details[^>]*>\s*<summary>[^<]*(?:think|thought|reason)[^<]*</summary>.*?</details>"
    r"|\A(?-i:analysis(?=[A-Z])).*?assistantfinal"
    r"|\A\W*(?:here(?:['’]s| is) )?(?:my )?(?:thinking|thoughts?|thought process|reasoning|chain of thought)"
    r"[ \t]*[:：*_#]+[ \t]*\n.*?\n\W*(?:here(?:['’]s| is) )?(?:my |the )?(?:final )?(?:answer|response|article|"
    r"output|draft|text)[ \t]*[:：*_#]+[ \t]*\n"
    r"|\A\s*[*_(]+(?:thinking|thoughts?|internal)\b[:：](?![*_])[^\n]*[*_)]+[ \t]*\n",
    re.IGNORECASE | re.DOTALL,
)
# The beginning of such reasoning: without an answer after it it is not finished.
_UNTAGGED_BEGIN = re.compile(
    r"\s*<details[^>]*>\s*<summary>[^<]*(?:think|thought|reason)|(?-i:analysis(?=[A-Z]))"
    r"|\W*(?:here(?:['’]s| is) )?(?:my )?(?:thinking|thoughts?|thought process|reasoning|chain of thought)"
    r"[*_ ]*[:：][*_ ]*\n"
    r"|\s*[*_(]+(?:thinking|thoughts?|internal)\b[:：]",
    re.IGNORECASE,
)
# Zero-width characters, which `strip` keeps.
_INVISIBLE = "\u200b\u200c\u200d\u2060\ufeff"
_SENTENCE_END = re.compile(r"""[.!?:]["'”’)\]]*$""")


@dataclass(frozen=True)
class Reading:
    """What a body says: a text, or the reason why there is none. stripped: what was cut from the text, by name."""

    text: str | None = None
    reason: str | None = None
    detail: str | None = None
    model_returned: str | None = None
    finish_reason: str | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    stripped: tuple[str, ...] = ()


def read(body: str) -> Reading:
    """Read a body; whatever is no completion has the reason UNREADABLE. Lone surrogates become "?"."""
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError) as error:
        return Reading(reason=UNREADABLE, detail=f"{type(error).__name__}: {body[:80]!r}")
    choice = _first(answer)
    message = choice.get("message")
    usage = answer.get("usage") if isinstance(answer, dict) else None
    tokens: dict[str, Any] = {
        "prompt_tokens": count(usage, "prompt_tokens", "input_tokens"),
        "completion_tokens": count(usage, "completion_tokens", "output_tokens"),
    }
    if not isinstance(message, dict) and isinstance(choice.get("text"), str):
        message = {"content": choice["text"]}
    if not isinstance(message, dict):
        return Reading(reason=UNREADABLE, detail=f"no message: {body[:80]!r}", **tokens)
    try:
        content = _joined(message.get("content"))
    except TypeError as error:
        return Reading(reason=UNREADABLE, detail=str(error), **tokens)
    finish = _string(choice.get("finish_reason"))
    known: dict[str, Any] = {
        "model_returned": _string(answer.get("model")),
        "finish_reason": finish,
        **tokens,
    }
    refusal = message.get("refusal")
    if isinstance(refusal, str) and refusal.strip():
        return Reading(reason=REFUSAL, detail=_plain(refusal)[:300], **known)
    if finish == CONTENT_FILTER:
        return Reading(reason=CONTENT_FILTER, **known)
    apart = any(message.get(name) for name in ("reasoning_content", "reasoning")) or _thinks(message.get("content"))
    found = read_text(_plain(content), known, apart=apart)
    if found.text is None and (finish in _TOOLS or any(message.get(name) for name in _TOOLS)):
        return Reading(reason=TOOL_CALLS, **known)
    return found


def read_text(content: str, known: Mapping[str, Any], apart: bool = False) -> Reading:
    """Read the content of a message. known: what else of a Reading is known; apart: reasoning stood beside it."""
    counts = {name: known[name] for name in ("model_returned", "finish_reason", "prompt_tokens", "completion_tokens")}
    text, cut = without_reasoning(content)
    if text:
        return Reading(text=text, stripped=("reasoning",) if apart or cut else (), **counts)
    unfinished = text is None or (apart and counts["finish_reason"] == "length")
    return Reading(reason=UNFINISHED if unfinished else EMPTY, **counts)


def without_reasoning(text: str) -> tuple[str | None, bool]:
    """Cut blocks of reasoning from a text, and all before a closing tag without an opening one; tell whether any was.

    The text is null where a block is never closed: what a model thought is no draft.
    """
    text = _FENCED.sub(lambda block: f"<think>{'</think>' if block['end'] else ''}", text.strip(_INVISIBLE))
    untagged = _UNTAGGED.match(text)
    text = text[untagged.end() :] if untagged else text
    if not untagged and _UNTAGGED_BEGIN.match(text):
        return None, True
    kept, place, opened, found = "", 0, False, bool(untagged)
    tags = sorted([*_OPENING.finditer(text), *_CLOSING.finditer(text)], key=lambda tag: tag.start())
    for tag in tags:
        found = True
        if tag.re is _OPENING:
            kept += "" if opened else text[place : tag.start()]
            opened = True
        elif opened:
            opened = False
        else:
            kept = ""
        place = tag.end()
    return (None if opened else (kept + text[place:]).strip().strip(_INVISIBLE).strip()), found


def count(usage: object, *names: str) -> int | None:
    """Read a count of tokens under the first of the names that holds one: a whole number, also as float or string."""
    for name in names:
        value = usage.get(name) if isinstance(usage, dict) else None
        try:
            found = None if isinstance(value, bool) or value is None else float(value)
        except (ValueError, TypeError, OverflowError):
            continue
        if found is not None and 0 <= found < 2**53 and found == int(found):
            return int(found)
    return None


def _first(answer: object) -> dict[str, Any]:
    choices = answer.get("choices") if isinstance(answer, dict) else None
    first = choices[0] if isinstance(choices, list) and choices else None
    return first if isinstance(first, dict) else {}


def _joined(content: object) -> str:
    """Join the parts of a content list: two paragraphs where one ends a sentence and the next begins one, else one
    text. Parts that are no text (reasoning, images) are left out. Raises TypeError for content of another kind.
    """
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if not isinstance(content, list) or not all(isinstance(part, str | dict) for part in content):
        raise TypeError(f"content is a {type(content).__name__} that holds no parts of a text")
    joined = ""
    for part in content:
        text = _of_part(part)
        if text and _SENTENCE_END.search(joined) and (text[0].isupper() or text[0] in "#*-|<"):
            joined += "\n\n"
        joined += text
    return joined


def _thinks(content: object) -> bool:
    parts = content if isinstance(content, list) else []
    return any(isinstance(part, dict) and part.get("type") in ("thinking", "reasoning") for part in parts)


def _of_part(part: str | dict[str, Any]) -> str:
    if isinstance(part, str):
        return part
    if str(part.get("type", "text")) not in ("text", "output_text"):
        return ""
    text = part.get("text", part.get("content"))
    text = text.get("value") if isinstance(text, dict) else text
    return text if isinstance(text, str) else ""


def _plain(text: str) -> str:
    return text.encode("utf-8", "replace").decode().strip()


def _string(value: object) -> str | None:
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else None
