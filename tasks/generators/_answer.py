"""Reading the body of a chat completion: its text without reasoning, its counts, and why there is no text.

The journal keeps bodies as they came, and reads them anew each time, so a better reader costs nothing. Only what is
needed is read, since compatible servers leave out, rename or add fields.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from cuvee.tasks.generators._reasoning import without_reasoning

# Rises when the same body, or the same text under `_wrapping` and `_whole`, would give another draft.
VERSION = 3

# Reasons that are no text of an answer that was paid for.
UNREADABLE, EMPTY, REFUSAL, UNFINISHED = "unreadable_answer", "empty_answer", "refusal", "unfinished_reasoning"
TRUNCATED = "truncated"
# And of a refusal: the request is longer than the model's context.
CONTEXT_LENGTH = "context_length"
CONTENT_FILTER, TOOL_CALLS = "content_filter", "tool_calls"
_TOOLS = ("tool_calls", "function_call")
_FILTERED = re.compile(
    r"content_?filter|safety|sensitive|guardrail|recitation|blocklist|prohibited|policy|spii|censored", re.IGNORECASE
)
# Fields of a message, and parts of its content, that hold no text of the answer.
_APART = ("reasoning_content", "reasoning", "reasoning_details", "thinking", "thinking_blocks")
_WHERE = ("text", "content", "value", "parts")
_THOUGHT = re.compile(r"think|thought|reason|summary")
_NO_TEXT = re.compile(rf"{_THOUGHT.pattern}|refusal|image|audio|file|tool|call")
# A call written as text, in the forms of Qwen, Mistral, DeepSeek, Llama and Phi.
_CALL = re.compile(
    r"<tool_calls?>|\[TOOL_CALLS\]|<｜tool▁calls▁begin｜>|<\|tool_calls?(?:_begin|_section_begin)?\|>|<\|python_tag\|>|"
    r"<function_calls?>|<function=\w"
)
_STREAMED = re.compile(r"\s*(?:(?:event|id|retry)?:[^\n]*\n\s*)*data:")
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
        answer = json.loads(body.lstrip("\ufeff")) if not _STREAMED.match(body) else _joined_stream(body)
    except (ValueError, RecursionError) as error:
        return Reading(reason=UNREADABLE, detail=f"{type(error).__name__}: {body[:80]!r}")
    choice = _first(answer)
    message = choice.get("message", choice.get("delta"))
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
    refusal = message.get("refusal") or _refused(message.get("content"))
    if (isinstance(refusal, str) and refusal.strip()) or finish == REFUSAL:
        return Reading(reason=REFUSAL, detail=_plain(str(refusal or content))[:300], **known)
    if finish and _FILTERED.search(finish):
        return Reading(reason=CONTENT_FILTER, **known)
    apart = any(message.get(name) for name in _APART) or any(map(_is_thought, _parts(message.get("content"))))
    found = read_text(_plain(content), known, apart=apart)
    if found.text is None and (finish in _TOOLS or any(message.get(name) for name in _TOOLS)):
        return Reading(reason=TOOL_CALLS, **known)
    return found


def read_text(content: str, known: Mapping[str, Any], apart: bool = False) -> Reading:
    """Read the content of a message. known: what else of a Reading is known; apart: reasoning stood beside it."""
    counts = {name: known[name] for name in ("model_returned", "finish_reason", "prompt_tokens", "completion_tokens")}
    text, cut = without_reasoning(content)
    call = _CALL.search(text or "")
    text = text[: call.start()].rstrip() if text and call else text
    if text:
        return Reading(text=text, stripped=("reasoning",) if apart or cut else (), **counts)
    if call:
        return Reading(reason=TOOL_CALLS, **counts)
    unfinished = text is None or (apart and counts["finish_reason"] == "length")
    return Reading(reason=UNFINISHED if unfinished else EMPTY, **counts)


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
    if not isinstance(content, list) and not (isinstance(content, dict) and any(name in content for name in _WHERE)):
        raise TypeError(f"content is a {type(content).__name__} that holds no parts of a text")
    if isinstance(content, list) and not all(isinstance(part, str | dict | list | None) for part in content):
        raise TypeError("content is a list of what are no parts of a text")
    joined = ""
    for part in _parts(content):
        text = _of_part(part)
        if text and _SENTENCE_END.search(joined) and (text[0].isupper() or text[0] in "#*-|<"):
            joined += "\n\n"
        joined += text
    return joined


def _parts(content: object) -> Iterator[str | dict[str, Any]]:
    """Yield the parts of a content, also of lists within lists."""
    if isinstance(content, dict) and isinstance(content.get("parts"), list):
        yield from _parts(content["parts"])
    elif isinstance(content, list):
        for part in content:
            yield from [part] if isinstance(part, str) else _parts(part)
    elif isinstance(content, dict):
        yield content


def _is_thought(part: str | dict[str, Any]) -> bool:
    return not isinstance(part, str) and (part.get("thought") is True or bool(_THOUGHT.search(str(part.get("type")))))


def _refused(content: object) -> str | None:
    found = (part.get("refusal") for part in _parts(content) if isinstance(part, dict))
    return next((said for said in found if isinstance(said, str)), None)


def _of_part(part: str | dict[str, Any]) -> str:
    if isinstance(part, str):
        return part
    if part.get("thought") is True or _NO_TEXT.search(str(part.get("type"))):
        return ""
    text = next((part[name] for name in _WHERE if name != "parts" and part.get(name)), "")
    text = text.get("value") if isinstance(text, dict) else text
    return text if isinstance(text, str) else ""


def _joined_stream(body: str) -> dict[str, Any]:
    """Put together what a server streamed although nobody asked for that. Raises ValueError for what is no JSON."""
    lines = [line.removeprefix("data:").strip() for line in body.splitlines() if line.startswith("data:")]
    chunks = [json.loads(line) for line in lines if line != "[DONE]"]
    message: dict[str, Any] = {"content": ""}
    whole: dict[str, Any] = {}
    finish = None
    for chunk in chunks:
        choice = _first(chunk)
        delta = choice.get("delta", choice.get("message"))
        for name, value in delta.items() if isinstance(delta, dict) else ():
            before = message.get(name)
            message[name] = before + value if isinstance(before, str) and isinstance(value, str) else value or before
        finish = choice.get("finish_reason") or finish
        whole |= {name: value for name, value in chunk.items() if value} if isinstance(chunk, dict) else {}
    return whole | {"choices": [{"message": message, "finish_reason": finish}]} if chunks else {}


def _plain(text: str) -> str:
    return text.encode("utf-8", "replace").decode().strip()


def _string(value: object) -> str | None:
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else None
