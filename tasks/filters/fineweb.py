"""FineWeb: drop lists, menus and fragments that pass Gopher's and C4's rules.

The rules and defaults are FineWeb's own filters (Penedo et al. 2024, arXiv 2406.17557, section 3.6). Lines are those
that are not blank, without the white space around them; two are equal when they differ in white space only, and the
first occurrence is not a repetition. Beside FineWeb's . ! ? ' " the stops and closing quotes of other scripts end a
line well. FineWeb has two more rules, which are kinds of their own here: a language score of at least 0.65 (language)
and Gopher's. FineWeb-2 raises `max_repeated_line_chars` to 0.1.

Signal columns (float32), all prefixed fineweb_: punctuated_lines, share of lines that end in punctuation; short_lines,
share of lines of at most 30 characters; repeated_line_chars, characters in lines that repeat an earlier one, of all
characters but line feeds; newline_ratio, line feeds per word.
"""

from typing import Literal

import numpy as np
import polars as pl
from pydantic import Field

from cuvee.tasks.filters import FilterOptions, Verdict, above, below, first_reason
from cuvee.tasks.filters._characters import IDEOGRAPHIC_STOPS, STOPS
from cuvee.tasks.filters._pieces import codes, lines, ratio

VERSION = 2
READS = ("chars",)
SIGNALS: dict[str, pl.DataType] = {
    "fineweb_punctuated_lines": pl.Float32(),
    "fineweb_short_lines": pl.Float32(),
    "fineweb_repeated_line_chars": pl.Float32(),
    "fineweb_newline_ratio": pl.Float32(),
}
LINE_ENDS = STOPS + IDEOGRAPHIC_STOPS + "'\"’”»」』"
SHORT_LINE_CHARS = 30


class Options(FilterOptions):
    """Bounds, each inclusive."""

    kind: Literal["fineweb"] = "fineweb"
    min_punctuated_lines: float = Field(
        0.12, ge=0, le=1, description="Share of lines that end in punctuation, at least."
    )
    max_short_lines: float = Field(0.67, ge=0, le=1, description="Share of lines of at most 30 characters, at most.")
    max_repeated_line_chars: float = Field(
        0.01, ge=0, le=1, description="Share of characters in repeated lines, at most."
    )
    max_newline_ratio: float = Field(0.3, ge=0, allow_inf_nan=False, description="Line feeds per word, at most.")


def signals(shard: pl.DataFrame) -> pl.DataFrame:
    """Return SIGNALS for each document of the shard (columns text, chars), in its order."""
    texts, chars = shard["text"], shard["chars"].to_numpy()
    measured = lines(texts)
    newlines = texts.str.count_matches("\n", literal=True).to_numpy()
    columns = [
        measured.share(np.isin(measured.last, codes(LINE_ENDS))),
        measured.share(measured.chars <= SHORT_LINE_CHARS),
        ratio(measured.total(measured.chars * measured.repeated), chars - newlines),
        ratio(newlines, measured.total(measured.words)),
    ]
    return pl.DataFrame(dict(zip(SIGNALS, columns, strict=True)), schema=SIGNALS)


def verdict(options: Options) -> Verdict:
    """Object by the first rule that is broken, in the order of the options, e.g. fineweb.short_lines."""
    return first_reason(
        options.kind,
        {
            "punctuated_lines": below("fineweb_punctuated_lines", options.min_punctuated_lines),
            "short_lines": above("fineweb_short_lines", options.max_short_lines),
            "repeated_line_chars": above("fineweb_repeated_line_chars", options.max_repeated_line_chars),
            "newline_ratio": above("fineweb_newline_ratio", options.max_newline_ratio),
        },
    )
