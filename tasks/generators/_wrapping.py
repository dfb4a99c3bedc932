"""Taking off what models put around a text: fences, JSON and XML, chat tokens, announcements, closing remarks.

The text below is what was asked and paid for, so it is kept, and what was around it is told by name: NAMES. A template
that asks for a wrapper itself (it says JSON, XML or "code") keeps it.
"""

import ast
import html
import json
import re
import textwrap
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from itertools import chain
from typing import Any

from cuvee.tasks.generators._html import is_html, out_of_html, with_line_ends
from cuvee.tasks.generators._remarks import LINE, without_announcement, without_closing
from cuvee.tasks.generators._tokens import without_tokens

NAMES = ("tokens", "yaml", "fence", "json", "xml", "quotes", "marker", "announcement", "closing")
# Layers of one answer; deeper ones are not made by models that wrap.
_LAYERS = 6
# Space, and characters of no width.
_AROUND = "".join(
    map(chr, [*range(9, 14), 32, 0x85, 0xA0, 0x3000, 0x2028, 0x2029, 0x200B, 0x200C, 0x200D, 0x2060, 0xFEFF])
)

_FENCE_LINE = re.compile(r"(?m)^[ \t>]*(?:`{3,}|~{3,})[ \t]*[^\n`~]{0,30}$\n?")
_FENCE = re.compile(r"(?:`{3,}|~{3,})(?:(?:markdown|md|json|xml|html|te?xt|plaintext|yaml|plain)\b)?[ \t]*")
_FENCED_TEXT = re.compile(
    r"(?P<before>[^\n`]{0,300}\s*)(?P<mark>`{3,}|~{3,})[ \t]*[\w+-]{0,20}[ \t]*\n"
    r"(?P<text>(?:(?!`{3}|~{3}).*\n)+?)"
    r"[ \t]*(?P=mark)[ \t]*(?:\n|\Z)(?P<after>\s*[^`~]*)"
)
_DECLARED = re.compile(r"\A<\?xml[^>]*\?>\s*|\A<!\[CDATA\[|\]\]>\s*\Z")
_XML = re.compile(r"(?s)<([A-Za-z][\w.:-]*)(?:\s[^<>]*)?>(.*)</\1\s*>")
_XML_OPEN = re.compile(
    r"<(article|answer|text|document|output|response|result|content|draft|summary|final|rewrite|rewritten"
    r"(?:_\w+)?|final_\w+|conversation|dialogue|tutorial|table|list|faq|page)>\s*",
    re.IGNORECASE,
)
_XML_CLOSE = re.compile(r"\n</(?:article|answer|text|document|output|response|result|content|draft|final)>\s*\Z", re.I)
_ESCAPED = re.compile(r"&lt;[a-z]+&gt;", re.IGNORECASE)
_FRAMES = (
    re.compile(r"(?si)\[(article|answer|text|document|output|response|draft)\]\s*(?P<text>.*?)\s*\[/\1\]"),
    re.compile(r"(?s)\\begin\{(\w+)\}\s*(?P<text>.*?)\s*\\end\{\1\}"),
    re.compile(r"(?s)\\boxed\{(?P<text>.*)\}"),
    re.compile(r"(?s)<!--[^>]*-->\s*(?P<text>.*?)\s*(?:<!--[^>]*-->)?"),
    re.compile(r"(?s)(?P<text>.*?)\s*<!--[^>]*-->"),
)
# Pages of site generators begin so; a rule and a line with a colon alone do not.
_FRONT_MATTER = re.compile(
    r"\A(?:---[ \t]*\n(?:[\w-]+:.*\n|[ \t]+\S.*\n|-[ \t].*\n)+---[ \t]*(?:\n|\Z)|"
    r"\+\+\+[ \t]*\n(?:[\w-]+[ \t]*=.*\n)+\+\+\+[ \t]*(?:\n|\Z))"
)
_YAML_BLOCK = re.compile(r"[\w-]+:[ \t]*[|>][+-]?[ \t]*\n(?P<text>(?:[ \t]+\S.*(?:\n|\Z)|[ \t]*\n)+)")
# The lines that divide our own templates.
_MARKER = re.compile(r"(?m)^=====[^=\n]*=====[ \t]*$\n?")
_MAIN_KEYS = (
    *("article", "text", "content", "answer", "output", "response", "result", "draft", "body", "document", "summary"),
    *("rewritten", "final", "conversation", "dialogue", "tutorial", "table", "list", "lists", "faq", "page"),
    *("questions", "pairs", "message", "completion", "sections", "paragraphs", "steps", "items", "entries"),
)
# Beside a text of this share of all letters stand its language, its form, notes.
_MOST = 0.8
_TITLES = ("title", "heading", "name")


def unwrap(text: str, template: str = "", names: Collection[str] = NAMES) -> tuple[str, tuple[str, ...]]:
    """Take off all layers around a text; return it, and what was taken off by name, in the order of NAMES.

    template: the prompt, whose own words for a form keep it; names: what may be taken off. The same text comes back
    where nothing is around it; it may be empty where nothing was in it.
    """
    asked = template.lower()
    layers: dict[str, Callable[[str], str]] = {
        "tokens": without_tokens,
        "yaml": _out_of_yaml,
        "marker": lambda part: _MARKER.sub("", part),
        "announcement": without_announcement,
        "closing": without_closing,
        "fence": _without_fences,
        "json": _out_of_json,
        "xml": _out_of_xml,
        "quotes": _without_quotes,
    }
    wanted = {
        "json": ("json",),
        "yaml": ("yaml", "front matter"),
        "xml": ("xml", "html"),
        "fence": ("```", "code block", "fence"),
    }
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


def _without_fences(text: str) -> str:
    """Leave the text of a block that holds nearly all; else take the marks off."""
    block = _FENCED_TEXT.fullmatch(text)
    if block and len(block["text"]) > 3 * (len(block["before"]) + len(block["after"])):
        return textwrap.dedent(block["text"])
    return text if "```" not in text and "~~~" not in text else _FENCE.sub("", _FENCE_LINE.sub("", text))


def _out_of_yaml(text: str) -> str:
    """Cut the front matter of a page; a text that is the only value of a file, as a block, comes back."""
    block = _YAML_BLOCK.fullmatch(text)
    return textwrap.dedent(block["text"]) if block else _FRONT_MATTER.sub("", text)


def _out_of_xml(text: str) -> str:
    if _ESCAPED.match(text):
        text = html.unescape(text)
    framed = next(filter(None, (frame.fullmatch(text) for frame in _FRAMES)), None)
    if framed:
        return framed["text"]
    text = with_line_ends(_XML_CLOSE.sub("", text)) if not text.startswith("<") else text
    if not text.startswith("<"):
        return text
    if is_html(text):
        return out_of_html(text)
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
    for mark in ('"""', "'''", "**"):
        if text.startswith(mark) and text.endswith(mark) and text.count(mark) == 2:
            return text.removeprefix(mark).removesuffix(mark)
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
    with suppress(ValueError, SyntaxError, MemoryError, RecursionError):  # what Python prints for the same
        return _spelled(ast.literal_eval(text)) or text
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
        main = _main_key(lower)
        if main:
            title = next((lower[key] for key in _TITLES if isinstance(lower.get(key), str)), "")
            return "\n\n".join(part for part in (title, _spelled(lower[main])) if part)
    if isinstance(found, list):
        apart = "\n\n" if any(isinstance(part, dict | list) for part in found) else "\n"
        return apart.join(filter(None, map(_spelled, found)))
    return "\n".join(_strings(found))


def _main_key(found: dict[str, Any]) -> str | None:
    """Return the key that holds the text: by its name, by a part of it, or since most of all letters are there."""
    named = [key for key, value in found.items() if isinstance(value, str | list | dict)]
    for key in _MAIN_KEYS:
        if key in named:
            return key
    parts = {key: set(re.split(r"[^a-z]+", key)) for key in named}
    by_part = [key for key in named if parts[key] & set(_MAIN_KEYS)]
    lengths = {key: sum(map(len, _strings(found[key]))) for key in by_part or named}
    longest = max(lengths, key=lambda key: lengths[key], default=None)
    is_most = longest is not None and lengths[longest] > _MOST * sum(lengths.values())
    return longest if by_part or is_most else None


def _strings(found: Any) -> Iterator[str]:
    if isinstance(found, str):
        yield found
    elif isinstance(found, dict | list):
        yield from chain.from_iterable(map(_strings, found.values() if isinstance(found, dict) else found))
