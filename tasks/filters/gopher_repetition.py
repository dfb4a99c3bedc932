"""Gopher repetition: drop texts that say the same thing again and again.

The rules and defaults are those of Gopher (Rae et al. 2021, arXiv 2112.11446, table A1). The paper leaves details open;
here they are as in datatrove, which FineWeb was filtered with, but for the word splitter:
- Words are those of `cuvee.tasks.words.counts`, compared with their case and punctuation. The characters of an n-gram
  are those of its words, plus one where white space stands between two. Every share is of all characters of the text.
- A line is one that is not blank; a paragraph is what stands between blank lines. Two are equal when they differ in
  white space only. The first occurrence is not a repetition, the later ones are.
- Top n-gram: the one that occurs most, at least twice, and among equals the one with most characters; its characters
  times its occurrences, at most 1.
- Repeated n-grams: read from left to right, an n-gram that was read before counts with all its characters, and reading
  goes on after it, so that no character counts twice; one that was not read before is remembered, and reading goes on
  at its second word. Where most words are letters of scripts written without spaces, repeated n-grams are of four
  times as many: else endings that every Japanese text is full of count as repetition.
- N-grams are measured in the first 1,000,000 words, as shares of the characters up to there.

Signal columns (float32, 0 to 1), all prefixed gopher_repetition_: lines, paragraphs (share that repeats an earlier
one), line_chars, paragraph_chars (the same, by characters), top_2 to top_4, repeated_5 to repeated_10.
"""

from typing import Literal

import numpy as np
import polars as pl
from pydantic import Field

from cuvee.tasks.filters import FilterOptions, Verdict, above, first_reason
from cuvee.tasks.filters._characters import classes
from cuvee.tasks.filters._kernels import DUPLICATE_SIZES, TOP_SIZES, scan_ngrams
from cuvee.tasks.filters._pieces import lines, paragraphs, ratio
from cuvee.tasks.words.kernel import text_buffers

VERSION = 2
READS = ("chars",)
_MEASURES = ("lines", "paragraphs", "line_chars", "paragraph_chars")
_NAMES = (*_MEASURES, *(f"top_{n}" for n in TOP_SIZES), *(f"repeated_{n}" for n in DUPLICATE_SIZES))
SIGNALS: dict[str, pl.DataType] = {f"gopher_repetition_{name}": pl.Float32() for name in _NAMES}


class Options(FilterOptions):
    """Upper bounds, each inclusive; 1 lets everything pass."""

    kind: Literal["gopher_repetition"] = "gopher_repetition"
    max_lines: float = Field(0.30, ge=0, le=1, description="Share of lines that repeat an earlier one.")
    max_paragraphs: float = Field(0.30, ge=0, le=1, description="Share of paragraphs that repeat an earlier one.")
    max_line_chars: float = Field(0.20, ge=0, le=1, description="Share of characters in repeated lines.")
    max_paragraph_chars: float = Field(0.20, ge=0, le=1, description="Share of characters in repeated paragraphs.")
    max_top_2: float = Field(0.20, ge=0, le=1, description="Share of characters in the most frequent 2-gram.")
    max_top_3: float = Field(0.18, ge=0, le=1, description="Share of characters in the most frequent 3-gram.")
    max_top_4: float = Field(0.16, ge=0, le=1, description="Share of characters in the most frequent 4-gram.")
    max_repeated_5: float = Field(0.15, ge=0, le=1, description="Share of characters in repeated 5-grams.")
    max_repeated_6: float = Field(0.14, ge=0, le=1, description="Share of characters in repeated 6-grams.")
    max_repeated_7: float = Field(0.13, ge=0, le=1, description="Share of characters in repeated 7-grams.")
    max_repeated_8: float = Field(0.12, ge=0, le=1, description="Share of characters in repeated 8-grams.")
    max_repeated_9: float = Field(0.11, ge=0, le=1, description="Share of characters in repeated 9-grams.")
    max_repeated_10: float = Field(0.10, ge=0, le=1, description="Share of characters in repeated 10-grams.")


def signals(shard: pl.DataFrame) -> pl.DataFrame:
    """Return SIGNALS for each document of the shard (columns text, chars), in its order."""
    texts, chars = shard["text"], shard["chars"].to_numpy()
    shares, char_shares = [], []
    for pieces in (lines(texts), paragraphs(texts)):
        shares.append(pieces.share(pieces.repeated))
        char_shares.append(ratio(pieces.total(pieces.chars * pieces.repeated), chars))
    content, offsets = text_buffers(texts)
    found = scan_ngrams(offsets, content, classes())
    ngrams = [np.minimum(ratio(covered, found[:, 0]), 1.0) for covered in found[:, 1:].T]
    return pl.DataFrame(dict(zip(SIGNALS, shares + char_shares + ngrams, strict=True)), schema=SIGNALS)


def verdict(options: Options) -> Verdict:
    """Object by the first rule that is broken, in the order of the options, e.g. gopher_repetition.top_2."""
    limits = options.model_dump(exclude={"kind"})
    return first_reason(
        options.kind, {name: above(f"gopher_repetition_{name}", limits[f"max_{name}"]) for name in _NAMES}
    )
