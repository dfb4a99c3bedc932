"""C4: drop pages of placeholder text, code and notices, and pages with too few sentences.

The rules are those of C4 (Raffel et al. 2020, arXiv 1910.10683, section 2.2, and its published code). C4 edits: it
removes lines, and drops a page when too few sentences are left. cuvee never edits text. So C4's line rules become
signals, the share of lines that C4 would remove, and the sentences that it would leave; a document is dropped whole or
kept whole. By default a single line with "javascript" or a notice drops it: raise those two shares, and allow curly
brackets, for corpora about software. C4's list of bad words and its removal of citation marks have no part here.

C4 removes a line of fewer than 3 words or with a word of more than 1,000 characters, a line with "javascript" or with
the words of a cookie or policy notice, and a line that does not end in punctuation (. ! ? " ', but not "..."). FineWeb
leaves the last rule out because it removes about 30% of all text; `terminal_punctuation` brings it back. Lines are
those that are not blank. Sentences: a sentence ends with a full stop before white space (closing quotes and
brackets may stand between), with an ideographic stop, and with the line; abbreviations count as ends.

Signal columns, all prefixed c4_: lorem_ipsum, curly_bracket (boolean); javascript_lines, policy_lines, short_lines,
long_word_lines, unpunctuated_lines, removed_lines (by any rule but punctuation), removed_lines_strict (by any rule)
(float32) shares of lines; sentences, sentences_strict (int32) in the lines that are left.
"""

from typing import Literal

import numpy as np
import polars as pl
from pydantic import Field

from cuvee.tasks.filters import FilterOptions, Verdict, above, below, first_reason
from cuvee.tasks.filters._pieces import codes, lines

VERSION = 2
READS: tuple[str, ...] = ()
SIGNALS: dict[str, pl.DataType] = {
    "c4_lorem_ipsum": pl.Boolean(),
    "c4_curly_bracket": pl.Boolean(),
    "c4_javascript_lines": pl.Float32(),
    "c4_policy_lines": pl.Float32(),
    "c4_short_lines": pl.Float32(),
    "c4_long_word_lines": pl.Float32(),
    "c4_unpunctuated_lines": pl.Float32(),
    "c4_removed_lines": pl.Float32(),
    "c4_removed_lines_strict": pl.Float32(),
    "c4_sentences": pl.Int32(),
    "c4_sentences_strict": pl.Int32(),
}
POLICY_PHRASES = ("terms of use", "privacy policy", "cookie policy", "uses cookies", "use of cookies", "use cookies")
LINE_ENDS = ".!?\"'"
MIN_LINE_WORDS = 3
MAX_WORD_CHARS = 1000


class Options(FilterOptions):
    """What a page may hold; bounds are inclusive."""

    kind: Literal["c4"] = "c4"
    allow_lorem_ipsum: bool = Field(False, description='Let pages with "lorem ipsum" pass.')
    allow_curly_bracket: bool = Field(False, description='Let pages with "{" pass; set it for corpora about software.')
    max_javascript_lines: float = Field(0, ge=0, le=1, description='Share of lines with "javascript", at most.')
    max_policy_lines: float = Field(0, ge=0, le=1, description="Share of lines of cookie or policy notices, at most.")
    max_removed_lines: float = Field(1, ge=0, le=1, description="Share of lines that C4 would remove, at most.")
    min_sentences: int = Field(5, ge=0, description="Sentences in the lines that C4 would leave, at least.")
    terminal_punctuation: bool = Field(False, description="Also count lines without end punctuation as removed.")


def signals(shard: pl.DataFrame) -> pl.DataFrame:
    """Return SIGNALS for each document of the shard (column text), in its order."""
    texts = shard["text"]
    measured = lines(texts, phrases=("javascript", *POLICY_PHRASES))
    javascript = (measured.phrases & 1) != 0
    policy = measured.phrases > 1
    short = measured.words < MIN_LINE_WORDS
    long_word = measured.longest_word > MAX_WORD_CHARS
    unpunctuated = ~np.isin(measured.last, codes(LINE_ENDS)) | measured.ellipsis
    removed = javascript | policy | short | long_word
    shares = (javascript, policy, short, long_word, unpunctuated, removed, removed | unpunctuated)
    columns = [
        texts.str.contains_any(["lorem ipsum"], ascii_case_insensitive=True),
        texts.str.contains("{", literal=True),
        *(measured.share(holds) for holds in shares),
        measured.total(measured.sentences * ~removed).astype(np.int32),
        measured.total(measured.sentences * ~(removed | unpunctuated)).astype(np.int32),
    ]
    return pl.DataFrame(dict(zip(SIGNALS, columns, strict=True)), schema=SIGNALS)


def verdict(options: Options) -> Verdict:
    """Object by the first rule that is broken, in the order of the options, e.g. c4.curly_bracket."""
    strict = "_strict" if options.terminal_punctuation else ""
    return first_reason(
        options.kind,
        {
            "lorem_ipsum": pl.col("c4_lorem_ipsum") & (not options.allow_lorem_ipsum),
            "curly_bracket": pl.col("c4_curly_bracket") & (not options.allow_curly_bracket),
            "javascript_lines": above("c4_javascript_lines", options.max_javascript_lines),
            "policy_lines": above("c4_policy_lines", options.max_policy_lines),
            "removed_lines": above(f"c4_removed_lines{strict}", options.max_removed_lines),
            "sentences": below(f"c4_sentences{strict}", options.min_sentences),
        },
    )
