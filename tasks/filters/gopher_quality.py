"""Gopher quality: drop what does not read like prose.

The rules and defaults are those of Gopher (Rae et al. 2021, arXiv 2112.11446, appendix A1.1). Words are those of
`cuvee.tasks.words.counts`; lines are those that are not blank, without the white space around them. An empty text
measures 0 everywhere. The stop words are English: set `min_stop_words` to 0 for other languages.

Signal columns, all prefixed gopher_quality_:
mean_word_length (float32) characters of the words that are no single letter of a script written without spaces, null
where most words are one: the bounds are made for words between spaces; hash_ratio and ellipsis_ratio (float32) "#", and
"..." or "…", per word; bullet_lines and ellipsis_lines (float32) share of lines that start with a bullet (one of
- * • ‣ ◦ ▪ ●) or end in an ellipsis; letter_words (float32) share of words with a letter; stop_words (uint8) how many
of the, be, to, of, and, that, have, with occur, as a word whose letters are exactly these.
"""

from typing import Literal

import numpy as np
import polars as pl
from pydantic import Field

from cuvee.tasks.filters import FilterOptions, Verdict, above, below, first_reason, outside
from cuvee.tasks.filters._pieces import codes, lines, ratio

VERSION = 2
READS: tuple[str, ...] = ()
SIGNALS: dict[str, pl.DataType] = {
    "gopher_quality_mean_word_length": pl.Float32(),
    "gopher_quality_hash_ratio": pl.Float32(),
    "gopher_quality_ellipsis_ratio": pl.Float32(),
    "gopher_quality_bullet_lines": pl.Float32(),
    "gopher_quality_ellipsis_lines": pl.Float32(),
    "gopher_quality_letter_words": pl.Float32(),
    "gopher_quality_stop_words": pl.UInt8(),
}
STOP_WORDS = ("the", "be", "to", "of", "and", "that", "have", "with")
BULLETS = "-*•‣◦▪●"


class Options(FilterOptions):
    """Bounds, each inclusive."""

    kind: Literal["gopher_quality"] = "gopher_quality"
    min_words: int = Field(50, ge=0, description="Words a document must have.")
    max_words: int = Field(100_000, ge=0, description="Words a document may have.")
    min_mean_word_length: float = Field(
        3, ge=0, allow_inf_nan=False, description="Characters of the mean word, at least."
    )
    max_mean_word_length: float = Field(
        10, ge=0, allow_inf_nan=False, description="Characters of the mean word, at most."
    )
    max_symbol_ratio: float = Field(
        0.1, ge=0, allow_inf_nan=False, description="Hash signs per word, and ellipses per word, at most."
    )
    max_bullet_lines: float = Field(0.9, ge=0, le=1, description="Share of lines that start with a bullet, at most.")
    max_ellipsis_lines: float = Field(0.3, ge=0, le=1, description="Share of lines that end in an ellipsis, at most.")
    min_letter_words: float = Field(0.8, ge=0, le=1, description="Share of words with a letter, at least.")
    min_stop_words: int = Field(2, ge=0, le=8, description="Distinct English stop words, at least; 0 for no English.")


def signals(shard: pl.DataFrame) -> pl.DataFrame:
    """Return SIGNALS for each document of the shard (column text), in its order."""
    texts = shard["text"]
    measured = lines(texts, stop_words=STOP_WORDS)
    words = measured.total(measured.words)
    hashes = texts.str.count_matches("#", literal=True).to_numpy()
    ellipses = (texts.str.count_matches("...", literal=True) + texts.str.count_matches("…", literal=True)).to_numpy()
    stop_words = np.zeros(shard.height, np.uint8)
    for bit in range(len(STOP_WORDS)):
        stop_words += measured.total(measured.stop_words >> bit & 1) > 0
    between_spaces = words - measured.total(measured.alone_words)
    mean_length = ratio(measured.total(measured.word_chars), between_spaces)
    columns = [
        pl.Series(mean_length).set(pl.Series(2 * between_spaces < words), None),
        ratio(hashes, words),
        ratio(ellipses, words),
        measured.share(np.isin(measured.first, codes(BULLETS))),
        measured.share(measured.ellipsis),
        ratio(measured.total(measured.letter_words), words),
        stop_words,
    ]
    return pl.DataFrame(dict(zip(SIGNALS, columns, strict=True)), schema=SIGNALS)


def verdict(options: Options) -> Verdict:
    """Object by the first rule that is broken, in the order of the options, e.g. gopher_quality.mean_word_length."""
    lengths = "gopher_quality_mean_word_length"
    return first_reason(
        options.kind,
        {
            "min_words": below("words", options.min_words),
            "max_words": above("words", options.max_words),
            "mean_word_length": outside(lengths, options.min_mean_word_length, options.max_mean_word_length),
            "hash_ratio": above("gopher_quality_hash_ratio", options.max_symbol_ratio),
            "ellipsis_ratio": above("gopher_quality_ellipsis_ratio", options.max_symbol_ratio),
            "bullet_lines": above("gopher_quality_bullet_lines", options.max_bullet_lines),
            "ellipsis_lines": above("gopher_quality_ellipsis_lines", options.max_ellipsis_lines),
            "letter_words": below("gopher_quality_letter_words", options.min_letter_words),
            "stop_words": below("gopher_quality_stop_words", options.min_stop_words),
        },
    )
