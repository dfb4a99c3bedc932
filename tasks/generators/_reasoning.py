"""Reasoning: what a model thought before it answered, in tags, channels, fences or under a heading; cut from texts."""

import re

_NAMES = (
    r"(?:[a-z]+:)?(?:(?:ant|deep)?think(?:ing)?(?:[_-]\w{1,20})?|thoughts?|reason(?:ing)?|(?:self[_-]?)?reflection|"
    r"analysis|scratch[_-]?pad|plan(?:ning)?|brainstorm(?:ing)?|deliberation|chain[_-]of[_-]thought|cot(?:_\w{1,30})?|"
    r"(?:inner|internal)[_-]?(?:monologue|thoughts?|reasoning)|(?:thought|thinking|reasoning)[_-]?(?:process|steps?))"
)
_BLOCK = r"(?:thinking|think|thought|reasoning)"
_OPENING = re.compile(
    rf"(?:<|&lt;)\s*{_NAMES}(?:\s+[\w-]+\s*=[^<>&]*)?\s*(?:>|&gt;)|<\|\s*{_NAMES}\s*\|>|\[THINK\]|◁think▷|"
    rf"<\|channel>\s*thought|<\|inner_prefix\|>|<\|(?:begin_of|begin|start_of|start)_{_BLOCK}\|>|"
    r"(?:<\|start\|>assistant)?<\|channel\|>(?:analysis|commentary)[^<]*<\|message\|>",
    re.IGNORECASE,
)
_CLOSING = re.compile(
    rf"(?:<|&lt;)\s*/\s*{_NAMES}\s*(?:>|&gt;)|<\|\s*/\s*{_NAMES}\s*\|>|\[/THINK\]|◁/think▷|<channel\|>|"
    rf"<\|inner_suffix\|>|<\|(?:end_of|end)_{_BLOCK}\|>|<\|end\|>(?=\s*<\|(?:start|channel)\|>)|"
    r"(?<=\S)(?=<\|channel\|>\s*final)",
    re.IGNORECASE,
)
_FENCED = re.compile(
    rf"(?im)^[ \t]*(?P<mark>`{{3,}}|~{{3,}})[ \t]*{_BLOCK}s?[ \t]*\n(?:.*\n)*?[ \t]*(?P<end>(?P=mark))[ \t]*$"
    rf"|^[ \t]*(?:`{{3,}}|~{{3,}})[ \t]*{_BLOCK}s?[ \t]*\n"
)
_TITLE = r"(?:my )?(?:thinking process|thinking|thoughts?|thought process|reasoning process|reasoning|chain of thought)"
_ANSWER = r"(?:my |the )?(?:final )?(?:answer|response|article|output|draft|text|version)"
_HERE = r"(?:here(?:['’]s| is) )?"
# Reasoning without tags: folded in HTML, in channels whose tokens a server left out, under a heading of its own before
# one of the answer, in one paragraph in italics, in a quotation.
_UNTAGGED = re.compile(
    r"\A\s*<details[^>]*>\s*<summary>[^<]*(?:think|thought|reason)[^<]*</summary>.*?</details>"
    r"|\A(?-i:analysis(?=[A-Z\n])).*?assistantfinal"
    rf"|\A\W*{_HERE}{_TITLE}[ \t]*[:：*_#]+[ \t]*\n.*?\n\W*{_HERE}{_ANSWER}[ \t]*[:：*_#]+[ \t]*\n"
    rf"|\A\s*#{{1,6}}[ \t]*[*_]*{_TITLE}[*_:： \t]*\n.*?\n#{{1,6}}[ \t]*[*_]*{_ANSWER}[*_:： \t]*\n"
    rf"|\A\W*here(?:['’]s| is) {_TITLE}[:：].*?\bhere(?:['’]s| is) {_ANSWER}[:：]"
    r"|\A\s*[*_(]+(?:thinking|thoughts?|internal)\b[:：](?![*_])[^\n]*[*_)]+[ \t]*\n"
    rf"|\A\s*>\s*[*_\W]{{0,6}}{_TITLE}[*_:： \t]*\n(?:>[^\n]*\n)+",
    re.IGNORECASE | re.DOTALL,
)
# The beginning of such reasoning: without an answer after it it is not finished.
_UNTAGGED_BEGIN = re.compile(
    r"\s*<details[^>]*>\s*<summary>[^<]*(?:think|thought|reason)|(?-i:analysis(?=[A-Z\n]))"
    rf"|\W*{_HERE}{_TITLE}[*_ ]*[:：][*_ ]*\n|\W*here(?:['’]s| is) {_TITLE}[:：]"
    r"|\s*[*_(]+(?:thinking|thoughts?|internal)\b[:：]",
    re.IGNORECASE,
)
# Zero-width characters, which `strip` keeps.
_INVISIBLE = "\u200b\u200c\u200d\u2060\ufeff"


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
