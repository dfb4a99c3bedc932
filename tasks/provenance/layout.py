"""Layout: bring a text to the one form the provenance model reads.

A model that sees line breaks or Markdown learns where a text was published, not who wrote it: on the development
set such a model scored better at home and called 62% of the Brown corpus synthetic at its "1%" threshold. So
training and scoring both read the text through `normalise`: one line, no markup, plain quotes and dashes,
punctuation as tokens of its own, digits as one 0. Case, spelling and punctuation are kept: the author chose them.

The expressions here are the definition. What reads texts is the compiled loop of `reading`, which gives the same
tokens in a fifth of the time; a property test holds it to this file.
"""

import polars as pl

VERSION = 1

# 20,000 characters, about 3,400 words: a file of one endless line costs no more than a chapter. What follows is not
# read: a document that a machine takes over later is judged by its beginning.
MAX_CHARACTERS = 20_000

# Below 80 words the model gives no evidence.
MIN_WORDS = 80

_LIST_MARK = r"(?m)^[ \t]*(?:[-+•*>]|\d{1,3}[.)]|#{1,6})[ \t]+"
# Whitespace, control characters, joiners and markup become one space: none of them is wording.
NOT_WORDING = r"[\s\x00-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff*_`#|~<>=\\^]+"
PLAIN = {
    "“": '"',
    "”": '"',
    "„": '"',
    "«": '"',
    "»": '"',
    "''": '"',
    "‘": "'",
    "’": "'",
    "–": "-",
    "—": "-",
    "…": "...",
}
# Deleted line breaks glue sentences ("golf courseNottinghamshire"): a change of case inside a word opens a new one.
_GLUE = r"(\p{Ll})(\p{Lu})"
_PUNCTUATION = r"([^\p{L}\p{M}\p{N}\s'])"


def normalise(text: pl.Expr) -> pl.Expr:
    """Return the first `MAX_CHARACTERS` characters of a text as space-separated tokens on one line.

    text: a String expression. The result has no whitespace but U+0020, which may come in runs: whoever reads it
    skips empty tokens, and collapsing them here would cost a third of the time. Null stays null.
    """
    return (
        text.str.slice(0, MAX_CHARACTERS)
        .str.replace_all(_LIST_MARK, " ")
        .str.replace_all(NOT_WORDING, " ")
        .str.replace_many(list(PLAIN), list(PLAIN.values()))
        .str.replace_all(_GLUE, "$1 $2")
        .str.replace_all(r"\d+", "0")
        .str.replace_all(_PUNCTUATION, " $1 ")
    )
