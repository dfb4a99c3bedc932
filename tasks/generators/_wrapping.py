"""Taking off what models put around a text: fences, JSON and XML, chat tokens, announcements, closing remarks.

The text below is what was asked and paid for, so it is kept, and what was around it is told by name: NAMES. A template
that asks for a wrapper itself (it says JSON, XML or "code") keeps it.
"""

import json
import re
from collections.abc import Callable, Collection, Iterator
from itertools import chain
from typing import Any

from cuvee.tasks.generators._remarks import LINE, without_announcement, without_closing

NAMES = ("tokens", "fence", "json", "xml", "quotes", "marker", "announcement", "closing")
# Layers of one answer; deeper ones are not made by models that wrap.
_LAYERS = 6
# Space, and characters of no width.
_AROUND = "".join(
    map(chr, [*range(9, 14), 32, 0x85, 0xA0, 0x3000, 0x2028, 0x2029, 0x200B, 0x200C, 0x200D, 0x2060, 0xFEFF])
)

_ENDS = (
    r"<\|(?:im_end|eot_id|eom_id|endoftext|end_of_text|end|return|endofprompt|END_OF_TURN_TOKEN)\|>|</s>|<eos>|"
    r"<end_of_turn>|<｜end▁of▁sentence｜>|\[INST\]|<\|user\|>|<\|start_of_role\|>"
)
_END = re.compile(_ENDS)
_HEAD_TOKEN = re.compile(
    r"(?:\s*(?:<\|(?:begin_of_text|im_start|start_header_id|start|assistant|startoftext|START_OF_TURN_TOKEN|"
    r"CHATBOT_TOKEN|start_of_role)\|>|<s>|<bos>|<start_of_turn>|<｜begin▁of▁sentence｜>|<｜Assistant｜>|\[/?INST\])"
    r"(?:\s*(?:assistant|model)\b)?(?:\s*<\|(?:end_header_id|end_of_role)\|>)?|"
    r"\s*<\|channel\|>[^<\n]*(?:<\|constrain\|>[^<\n]*)?<\|message\|>)+"
    r"|\s*(?:assistant|model)[ \t]*\n"
)
_ANY_TOKEN = re.compile(
    r"<[|｜][A-Za-z0-9_▁]{1,40}[|｜]>|<(?:unk|pad|bos|eos|s|sop|eop)>|</s>|(?s:<<SYS>>.*?<</SYS>>)|<</?SYS>>|"
    r"\[/?INST\]|"
    r"\[(?:SEP|CLS|EOS|BOS|PAD|gMASK)\]"
)
# A token that an answer was cut off in.
_HALF_TOKEN = re.compile(r"\s*(?:<[|｜][\w▁]{0,40}[|｜]?|</?(?:think|end_of)\w*)\Z")
# The next turn of a conversation with the model itself.
_TURN = re.compile(
    r"\n\s*(?:(?:user|human)[ \t]*:|#{2,4}[ \t]*(?:instruction|input|user|human)\b[ \t]*:[ \t]*$)", re.I | re.M
)
_LABELLED = re.compile(r"(?m)^\W{0,4}[^\W\d_][\w .'’-]{0,30}[:：]\s")
_OTHERS = re.compile(
    r"(?im)^\W{0,4}(?!(?:user|human|assistant|ai|model|instruction|input|response)\b)[^\W\d_][\w .'’-]{0,30}[:：]\s"
)
_SPEAKER = re.compile(r"(?i)\A\W{0,3}(?:assistant|ai|chatgpt|chatbot|bot)\W{0,3}[:：]\W{0,3}\s")
_FENCE_LINE = re.compile(r"(?m)^[ \t>]*(?:`{3,}|~{3,})[ \t]*[^\n`~]{0,30}$\n?")
_FENCE = re.compile(r"(?:`{3,}|~{3,})(?:(?:markdown|md|json|xml|html|te?xt|plaintext|yaml|plain)\b)?[ \t]*")
_FENCED_TEXT = re.compile(
    r"(?P<before>[^\n`]{0,300}\s*)(?P<mark>`{3,}|~{3,})[ \t]*(?:markdown|md|te?xt|plaintext|"
    r"plain)?[ \t]*\n(?P<text>(?:(?!`{3}|~{3}).*\n)+?)"
    r"[ \t]*(?P=mark)[ \t]*\n(?P<after>\s*[^`~]*)"
)
_DECLARED = re.compile(r"\A<\?xml[^>]*\?>\s*|\A<!\[CDATA\[|\]\]>\s*\Z")
_XML = re.compile(r"(?s)<([A-Za-z][\w.:-]*)(?:\s[^<>]*)?>(.*)</\1\s*>")
_XML_OPEN = re.compile(
    r"<(article|answer|text|document|output|response|result|content|draft|summary|final|rewrite|rewritten"
    r"(?:_\w+)?|final_\w+|conversation|dialogue|tutorial|table|list|faq|page)>\s*",
    re.IGNORECASE,
)
# The lines that divide our own templates.
_MARKER = re.compile(r"(?m)^=====[^=\n]*=====[ \t]*$\n?")
_MAIN_KEYS = (
    *("article", "text", "content", "answer", "output", "response", "result", "draft", "body", "document", "summary"),
    *("rewritten", "final", "conversation", "dialogue", "tutorial", "table", "list", "lists", "faq", "page"),
    *("questions", "pairs", "message", "completion"),
)
_TITLES = ("title", "heading", "name")


def unwrap(text: str, template: str = "", names: Collection[str] = NAMES) -> tuple[str, tuple[str, ...]]:
    """Take off all layers around a text; return it, and what was taken off by name, in the order of NAMES.

    template: the prompt, whose own words for a form keep it; names: what may be taken off. The same text comes back
    where nothing is around it; it may be empty where nothing was in it.
    """
    asked = template.lower()
    layers: dict[str, Callable[[str], str]] = {
        "tokens": _without_tokens,
        "marker": lambda part: _MARKER.sub("", part),
        "announcement": without_announcement,
        "closing": without_closing,
        "fence": _without_fences,
        "json": _out_of_json,
        "xml": _out_of_xml,
        "quotes": _without_quotes,
    }
    wanted = {"json": ("json",), "xml": ("xml", "html"), "fence": ("```", "code block", "fence")}
    applied = {
        name: layer
        for name, layer in layers.items()
        if name in names and not any(word in asked for word in wanted.get(name, ()))
    }
    found: set[str] = set()
    text = text.strip(_AROUND)
    for _ in range(_LAYERS):
        before = text
        for name, layer in applied.items():
            bare = layer(text).strip(_AROUND)
            if bare != text:
                found.add(name)
                text = bare
        if text == before:
            break
    return text, tuple(name for name in NAMES if name in found)


def _without_tokens(text: str) -> str:
    """Cut tokens of chat templates; what follows the end of a turn is another turn."""
    _, asked, answer = text.rpartition("[/INST]")
    text = answer if asked and answer.strip() else text
    begin = _HEAD_TOKEN.match(text)
    text = text[begin.end() :] if begin else text
    end = next((match for match in _END.finditer(text) if text[: match.start()].strip()), None)
    text = _HALF_TOKEN.sub("", _ANY_TOKEN.sub("", text[: end.start()] if end else text))
    # A conversation has labels from its beginning.
    alone = text[_speaker_end(text) :]
    text = text if _LABELLED.search(alone[:LINE]) else alone
    turn = _TURN.search(text)
    if turn and text[: turn.start()].strip() and not _LABELLED.search(text[: turn.start()][:LINE]):
        return text if _OTHERS.search(text, turn.start()) else text[: turn.start()]
    return text


def _speaker_end(text: str) -> int:
    speaker = _SPEAKER.match(text)
    return speaker.end() if speaker else 0


def _without_fences(text: str) -> str:
    """Leave the text of a block that holds nearly all; else take the marks off."""
    block = _FENCED_TEXT.fullmatch(text)
    if block and len(block["text"]) > 3 * (len(block["before"]) + len(block["after"])):
        return block["text"]
    return text if "```" not in text and "~~~" not in text else _FENCE.sub("", _FENCE_LINE.sub("", text))


def _out_of_xml(text: str) -> str:
    if not text.startswith("<"):
        return text
    text = _DECLARED.sub("", text)
    whole = _XML.fullmatch(text)
    if whole:
        return whole.group(2)
    opening = _XML_OPEN.match(text)
    if not opening:
        return text
    inside, closed, after = text[opening.end() :].partition(f"</{opening.group(1)}")
    # A cut-off answer never closes it; what follows is a remark.
    return inside if not closed or (len(after) <= LINE < len(inside) + LINE) else text


def _without_quotes(text: str) -> str:
    """Take off a pair of quotation marks around the whole, and the marks of a quotation before every line."""
    lines = text.split("\n")
    if len(lines) > 1 and all(line.startswith(">") for line in lines):
        return "\n".join(line[1:].removeprefix(" ") for line in lines)
    for first, last in ("“”", "„“", "«»", "「」", "``"):
        if text[:1] == first and text[-1:] == last and not {first, last} & set(text[1:-1]):
            return text[1:-1]
    return text


def _out_of_json(text: str) -> str:
    """Return the strings of a JSON text one under another; the text itself where it is none, or holds no string."""
    if text[:1] not in ("{", "[", '"'):
        return text
    for end in ("", '"}', '"]}', '"]', '"}]}', '"}]', "]}", "}", "}]}", "]"):  # a cut-off answer lacks its end
        try:
            found = json.loads(text + end, strict=False)
        except (ValueError, RecursionError):
            continue
        if isinstance(found, dict | list | str):
            return _spelled(found) or text
        return text
    return text


def _spelled(found: Any) -> str:
    if isinstance(found, dict):
        lower = {str(key).lower(): value for key, value in found.items()}
        if isinstance(lower.get("question"), str) and isinstance(lower.get("answer"), str):
            return f"Question: {lower['question']}\nAnswer: {lower['answer']}"
        said = next((lower[key] for key in ("text", "line", "content") if isinstance(lower.get(key), str)), None)
        who = next((lower[key] for key in ("speaker", "role") if isinstance(lower.get(key), str)), None)
        if who and said:
            return f"{who}: {said}"
        main = next((key for key in _MAIN_KEYS if isinstance(lower.get(key), str | list | dict)), None)
        if main:
            title = next((lower[key] for key in _TITLES if isinstance(lower.get(key), str)), "")
            return "\n\n".join(part for part in (title, _spelled(lower[main])) if part)
    if isinstance(found, list):
        apart = "\n\n" if any(isinstance(part, dict | list) for part in found) else "\n"
        return apart.join(filter(None, map(_spelled, found)))
    return "\n".join(_strings(found))


def _strings(found: Any) -> Iterator[str]:
    if isinstance(found, str):
        yield found
    elif isinstance(found, dict | list):
        yield from chain.from_iterable(map(_strings, found.values() if isinstance(found, dict) else found))
