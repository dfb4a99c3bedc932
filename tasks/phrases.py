"""Phrases: wording and debris that only assistants leave in a text, and answers that talk to a user.

`phrase`: one slug a text, or null. Each pattern was kept only if it occurs in no human text of the development set and
the known-human corpora. A text that *talks about* such wording is a risk: so a self-description counts only where no
quotation mark or backtick stands before it, a template token only as the first or last characters of the text (where
a careless copy leaves it; a tutorial has it in the middle), and machine citation marks only with their digits.
"""

import polars as pl

VERSION = 1

# Not what somebody else is quoted as saying: no opening quotation mark, bracket or backtick directly before.
_UNQUOTED = r"(?:\A|[^\"'“”‘’«»`(\[\s])\s*\b"
_TEMPLATE = (
    r"<\|(?:im_start|im_end|endoftext|eot_id|end_of_text|begin_of_text|start_header_id|assistant|user|system)\|>"
)
_AI = "(?:AI|artificial intelligence)"
_CANNOT = r"(?:cannot|can not|can't|can’t|am unable to|am not able to)"

# In order of weight: the first that matches names the text.
PATTERNS: dict[str, str] = {
    "template-token": rf"\A\s*(?:{_TEMPLATE}|\[INST\])|(?:{_TEMPLATE}|\[/INST\])\s*\z",
    "citation-mark": r":contentReference\[oaicite:|\boai_citation:\d|【\d+†|\bturn\d+(?:search|view|news|image)\d+\b"
    r"|\battributableIndex\b|\bgrok_card\b",
    "tracking-link": r"[?&]utm_source=(?:chatgpt\.com|openai|copilot\.com|perplexity)",
    "self-description": rf"{_UNQUOTED}(?:[Aa]s an? (?:{_AI}|large)?[ -]?language model,? (?:I|my|it's|it is)\b"
    rf"|[Aa]s an {_AI}(?: (?:assistant|chatbot|system|model))?"
    r"(?: (?:developed|created|trained|designed|built) by \w+)?, (?:I|my)\b"
    rf"|I(?:'m| am|’m) (?:just |only |sorry, but as )?an? {_AI} (?:language model|assistant|chatbot)\b)",
    "refusal": rf"{_UNQUOTED}(?:I(?:'m| am|’m) sorry, but I {_CANNOT} "
    r"(?:fulfil+|assist with|help with|comply with|provide assistance|generate) (?:that|this|your|any)\b"
    rf"|I {_CANNOT} (?:fulfil+|comply with) (?:that|this|your) request\b)",
    "knowledge-cutoff": rf"{_UNQUOTED}(?:[Aa]s of my (?:last|latest|most recent) (?:knowledge |training )?"
    r"(?:update|cutoff|cut-off|training)\b|[Mm]y (?:knowledge|training)(?: data)? (?:cutoff|cut-off)\b)",
    "service-line": r"\bRegenerate response\s*\z|\bChatGPT (?:can|may) make mistakes\.",
}

# Each match contains one of these: one pass of Aho-Corasick finds the few texts worth a regular expression.
TRACES = (
    *("<|", "[INST]", "[/INST]", "oaicite", "oai_citation", "†", "turn0", "turn1", "turn2", "attributableIndex"),
    *("grok_card", "utm_source=", "language model", " an AI", " an artificial intelligence", "sorry, but I", " fulfil"),
    *("comply with", " of my la", "of my most recent", "y knowledge cut", "y training cut", "y knowledge data cut"),
    *("y training data cut", "Regenerate response", "make mistakes."),
)

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


def phrase(text: pl.Series) -> pl.Series:
    """Return the slug of the first pattern in each whole text, or null; same length, null in, null out."""
    slug = pl.coalesce(
        [pl.when(pl.col("text").str.contains(rule)).then(pl.lit(name)) for name, rule in PATTERNS.items()]
    )
    frame = text.cast(pl.String).to_frame("text").with_row_index("row")
    named = frame.filter(pl.col("text").str.contains_any(list(TRACES))).select("row", phrase=slug.cast(pl.String))
    return frame.select("row").join(named, on="row", how="left", maintain_order="left")["phrase"]


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
