"""Phrases: answers that talk to a user instead of doing the task: refusals, preambles, closings."""

import polars as pl

# Where a model talks to its user instead of doing the task, in its first sentences or in its last.
HEAD_CHARACTERS, TAIL_CHARACTERS = 240, 160

_NOT = r"(?:can['’]?t|cannot|can not|won['’]t|am unable to|['’]m unable to|am not able to|['’]m not able to)"
_TASK = r"(?:help|assist|provide|write|create|rewrite|generate|produce|fulfil|complete|comply|access|see|read|do that)"
_FORM = r"(?:article|summary|lists?|table|version|text|dialogue|conversation|tutorial|faq|questions?|answers?|page)"
# Matched in the head alone, in either case, after marks and spaces.
_REFUSALS = (
    r"(?:i['’]m|i am|we are|we['’]re)? ?(?:very |so )?sorry\b.{0,60}\b(?:" + _NOT + r"|unable|not able)",
    r"(?:unfortunately,? |i apologi[sz]e,? (?:but )?|my apologies,? (?:but )?)i ?" + _NOT,
    r"i ?" + _NOT + r"\b.{0,60}\b" + _TASK,
    r"as an? (?:ai|artificial intelligence|large language model|language model)\b",
)
_PREAMBLES = (
    r"(?:sure|certainly|of course|absolutely|okay|ok|great)\b ?[,!.:—–-].{0,80}\b(?:here|below|following)\b",
    r"here(?:['’]s| is| are)\b[^.\n]{0,80}\b" + _FORM + r"\b[^.\n]{0,60}(?::|\.\s*\n|\n)",
    r"below (?:is|are)\b[^.\n]{0,80}\b" + _FORM + r"\b",
    r"(?:based on|according to) the (?:provided|given|above) (?:document|text|article|passage|source)\b",
)
_CLOSINGS = (
    r"let me know if\b",
    r"i hope (?:this|that) helps",
    r"feel free to ask",
    r"would you like me to\b",
    r"is there anything else\b",
)
_REFUSAL = r"(?is)^\W*(?:" + "|".join(_REFUSALS) + ")"
_PREAMBLE = r"(?is)^\W*(?:" + "|".join(_PREAMBLES) + ")"
_CLOSING = r"(?i)(?:^|[\n.!?]\s*)(?:" + "|".join(_CLOSINGS) + r")[^\n]*\s*$"


def answering(text: pl.Series) -> pl.DataFrame:
    """Tell which texts refuse, and which talk about themselves before they begin or after they end.

    Columns: refusal, preamble (boolean).
    """
    head = text.str.slice(0, HEAD_CHARACTERS)
    tail = pl.DataFrame({"text": text}).select(pl.col("text").str.tail(TAIL_CHARACTERS))["text"]
    # A refusal is short: a long text that begins with an apology quotes one.
    brief = text.str.len_chars() <= 4 * HEAD_CHARACTERS
    return pl.DataFrame(
        {
            "refusal": head.str.contains(_REFUSAL) & brief,
            "preamble": head.str.contains(_PREAMBLE) | tail.str.contains(_CLOSING),
        }
    )
