"""Cutting an answer that ran into its limit back to what is whole: sentence, pair, row or turn.

A draft that ends in the middle of a sentence teaches a model to stop there, so what was begun and not ended goes.
"""

import re
from collections.abc import Mapping
from typing import Any

# How servers say that an answer ran into a limit, and that it came to its end.
_CUT_OFF = re.compile(
    r"length|max_\w*(?:tokens|length)|model_length|token_limit|incomplete|(?:model_)?context_\w+|abort(?:ed)?|"
    r"cancell?ed|error|time_?out|insufficient_system_resource"
)
# Scripts in which nothing marks the end of a sentence: Thai and Lao.
_UNMARKED = re.compile(r"[\u0e00-\u0eff]\W*$")
# A line of a list without marks is shorter.
_LISTED_WORDS = 12

_END = re.compile(r"""[.!?…]+["'”’»)\]*_]*(?=\s|$)|[。！？｡।؟۔።။։]["'”’」』）»]*""")
# A full stop after these ends no sentence.
_ABBREVIATED = re.compile(
    r"(?:^|[\s(\[])(?:[^\W\d_]|\d|[Mm]rs?|[Mm]s|[Dd]rs?|[Ss]t|[Pp]rof|[Ss]r|[Jj]r|[Nn]os?|vs|[Ff]ig|[Nn]r|ca|bzw|etc|cf|"
    r"approx|e\.g|i\.e|z\.\s?B|u\.a|d\.h|[Mm]me|[Ss]ra|тыс|млн|г|ул|им)\.$"
)
_ROW = re.compile(r"^\s*\|")
_RULE = re.compile(r"^\s*\|[\s|:-]*$")
_HEADING = re.compile(r"^\s*#{1,6}(?:\s|$)")
_ITEM = re.compile(r"^\s*(?:[-*•+–]|\d{1,3}[.)、])\s")
_BARE = re.compile(r"^[\s#*•+\-–>|=_]*(?:\d{1,3}[.)、]?)?\s*[:：]?$")
_TITLE = re.compile(r"^\s*(?:\d{1,3}[.)]\s*)?\*\*[^*]+\*\*:?\s*$")
_LABEL = re.compile(r"^\W{0,4}([^\W\d_][\w .'’-]{0,30}?)\s*\d*\W{0,3}[:：]")
_QUESTION = re.compile(
    r"^\W{0,4}(?:question|q|frage|pregunta|pergunta|domanda|vraag|pytanie|вопрос|问题?|問題?|質問|질문|سؤال|प्रश्न|soru)"
    r"\s*\d*\W{0,3}[:：]|^\s*#{1,6}\s.*[?？؟]\s*$|^\s*\*\*[^*]*[?？؟]\*\*\s*$",
    re.IGNORECASE,
)


def was_cut_off(finish_reason: str | None, completion_tokens: int | None, sampling: Mapping[str, Any]) -> bool:
    """Tell whether an answer ran into its limit: the server says so, or counts as many tokens as were allowed."""
    if _CUT_OFF.fullmatch(re.sub(r"[\s-]", "_", (finish_reason or "").lower())):
        return True
    limits = [sampling.get(name) for name in ("max_tokens", "max_completion_tokens", "max_output_tokens")]
    return completion_tokens is not None and completion_tokens in limits


def is_whole(text: str) -> bool:
    """Tell whether a text ends as a sentence, a row or a line of a list does.

    Where the two items, turns or answers before it end as sentences do, the last must, too.
    """
    lines = [line for line in text.split("\n") if line.strip()]
    last = lines[-1] if lines else ""
    if _ROW.match(last):
        return last.rstrip().endswith("|")
    if _ends(last, at_the_end=False) or _UNMARKED.search(last):
        return True
    form = next((form for form in (_ITEM, _LABEL) if form.match(last)), None)
    others = [line for line in lines[:-1] if form.match(line)][-2:] if form else lines[-2:-1]
    ended = sum(_ends(line, at_the_end=False) for line in others)
    return _is_short(last) and (
        2 * ended <= len(others) if form else bool(others) and not ended and _is_short(others[0])
    )


def _is_short(line: str) -> bool:
    return len(line.split()) <= _LISTED_WORDS and not _dangles(line)


def _stands(line: str) -> bool:
    """Whether a line that others followed may be the last one."""
    if _ROW.match(line):
        return line.rstrip().endswith("|")
    return bool(_ITEM.match(line) or _LABEL.match(line) or _ends(line))


def cut_back(text: str) -> str:
    """Return the longest beginning of a cut-off text that is whole; empty if nothing is."""
    lines = text.rstrip().split("\n")
    if _ROW.match(lines[-1]):
        lines = _whole_rows(lines)
    elif not _ends(lines[-1]):
        lines = _without_last_unit(lines)
    while lines and (not lines[-1].strip() or _dangles(lines[-1]) or not _stands(lines[-1])):
        lines.pop()
    if lines and _RULE.match(lines[-1]):  # a header without a row
        return cut_back("\n".join(lines[:-2])) if lines[:-2] else ""
    return "\n".join(lines).rstrip()


def _whole_rows(lines: list[str]) -> list[str]:
    cells = max((line.count("|") for line in lines[:-1] if _ROW.match(line)), default=0)
    row = lines[-1].rstrip()
    return lines if row.endswith("|") and row.count("|") >= max(cells, 2) else lines[:-1]


def _without_last_unit(lines: list[str]) -> list[str]:
    """Drop the pair, turn or line of a list that was not ended; of a paragraph the sentence."""
    last = lines[-1]
    if _is_labelled(lines) or _is_paired(lines):
        start = next(
            at for at in range(len(lines) - 1, -1, -1) if _LABEL.match(lines[at]) or _QUESTION.match(lines[at])
        )
        return lines[:start]
    ends = [match.end() for match in _END.finditer(last) if _ends(last[: match.end()], at_the_end=False)]
    return lines[:-1] + ([last[: ends[-1]]] if ends else [])


def _is_labelled(lines: list[str]) -> bool:
    """Whether most paragraphs begin with a label: turns of a conversation, questions and answers."""
    labels = [match.group(1) for line in lines if (match := _LABEL.match(line))]
    return (len(labels) >= 2 and len(set(labels)) < len(labels)) or any(_QUESTION.match(line) for line in lines[:1])


def _is_paired(lines: list[str]) -> bool:
    return sum(bool(_QUESTION.match(line)) for line in lines) >= 2


def _ends(line: str, at_the_end: bool = True) -> bool:
    """Whether a line ends as a sentence does. at_the_end: of all that came, where `3.` may be half of `3.5`."""
    line = line.rstrip()
    if not any(match.end() == len(line) for match in _END.finditer(line)) or _ABBREVIATED.search(line):
        return False
    return not (at_the_end and re.search(r"\d\.$", line))


def _dangles(line: str) -> bool:
    """Whether a line announces what does not follow: a heading, a question, a bare mark."""
    return bool(
        _HEADING.match(line)
        or _QUESTION.match(line)
        or (_BARE.match(line) and not _ROW.match(line))
        or _TITLE.match(line)
        or line.rstrip().endswith((":", "："))
    )
