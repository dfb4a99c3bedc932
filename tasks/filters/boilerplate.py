"""Boilerplate: drop documents made mostly of lines that many documents of their source repeat.

Signal columns: line_words (int64), the words of a document, whatever their lines. Parts: the lines of FEWEST_WORDS
words and more; key: a hash of a line's words; words (int32): how many.

A line is what stands between line feeds; its words are those of the near-duplicate step, so case, marks and spaces do
not count. Two lines are equal when their words are. No text is edited. What a line is worth shows only beside all
documents of its source: each run counts the stored lines again, and measures the lines of new text only.
"""

from typing import Literal, NamedTuple

import numba
import numpy as np
import numpy.typing as npt
import polars as pl
from pydantic import Field

from cuvee.tasks.filters import FilterOptions, Verdict, above, first_reason
from cuvee.tasks.words.kernel import Int64s, Text, Uint64s, word_hashes

VERSION = 2
READS: tuple[str, ...] = ()
SIGNALS: dict[str, pl.DataType] = {"line_words": pl.Int64()}

# Lines of fewer words are not stored: they are headings and single names, equal by chance.
FEWEST_WORDS = 3


class Options(FilterOptions):
    """What counts as boilerplate, and how much of it a document may hold."""

    kind: Literal["boilerplate"] = "boilerplate"
    # CCNet and Gopher-like pipelines look at lines seen in a few documents of a dump; a form letter is seen in dozens.
    max_documents: int = Field(10, ge=1, le=60_000, description="Documents of one source that may hold a line.")
    min_words: int = Field(5, ge=FEWEST_WORDS, description="Words a line must have to count as boilerplate.")
    max_share: float = Field(0.5, ge=0.0, lt=1.0, description="Share of a document's words in boilerplate lines.")


class Lines(NamedTuple):
    """The lines of FEWEST_WORDS words and more of some texts, in order."""

    position: Int64s  # of the text
    line: Uint64s  # hash of its words; equal for equal words, and else but for a chance of 2^-64 a pair
    words: npt.NDArray[np.int32]
    total: Int64s  # words of each text, whatever their lines


def signals(shard: pl.DataFrame) -> pl.DataFrame:
    """Return SIGNALS for each document of the shard, in its order."""
    return measure(shard)[0]


def measure(shard: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return the signals, and the lines of each document."""
    found = list_lines(shard["text"].to_arrow())
    parts = pl.DataFrame({"position": found.position, "key": found.line, "words": found.words})
    return pl.DataFrame({"line_words": found.total}), parts


def count(parts: pl.DataFrame, options: Options) -> pl.DataFrame:
    """Count the documents that hold each line of at least `min_words` words; a line counts once a document."""
    lines = parts.filter(pl.col("words") >= options.min_words).unique(["position", "key"])
    return lines.group_by("key").agg(documents=pl.len())


def choose(counts: pl.DataFrame, options: Options) -> pl.Series:
    """Choose the lines that more than `max_documents` documents hold."""
    return counts.filter(pl.col("documents") > options.max_documents)["key"]


def gather(signals: pl.DataFrame, parts: pl.DataFrame, chosen: pl.Series, options: Options) -> pl.Series:
    """Return the share of each document's words that stand in chosen lines: float64, 0 to 1, six decimals."""
    lines = parts.filter((pl.col("words") >= options.min_words) & pl.col("key").is_in(chosen.implode()))
    words = np.bincount(lines["position"], lines["words"], minlength=signals.height)
    # Of a text without words nothing is boilerplate.
    return pl.Series(np.round(words / np.maximum(signals["line_words"].to_numpy(), 1), 6))


def gathered(options: Options) -> str:
    """Name the column with the share of words in lines that these options call boilerplate."""
    return f"boilerplate_{options.max_documents}_{options.min_words}"


def verdict(options: Options) -> Verdict:
    """Object with boilerplate.share."""
    return first_reason(options.kind, {"share": above(gathered(options), options.max_share)})


def list_lines(text: Text) -> Lines:
    """Return the lines of each text."""
    words = word_hashes(text)
    position, line, counts = _lines(words.hashes, words.lines, words.offsets, FEWEST_WORDS)
    return Lines(position, line, counts, np.diff(words.offsets))


@numba.njit(nogil=True, cache=True)
def _lines(hashes, lines, offsets, fewest):  # type: ignore[no-untyped-def]
    """Return text, hash and words of each run of words that stand in one line, of at least `fewest` words."""
    room = len(hashes) // fewest
    position, line, words = np.empty(room, np.int64), np.empty(room, np.uint64), np.empty(room, np.int32)
    count = 0
    for text in range(len(offsets) - 1):
        begin = offsets[text]
        while begin < offsets[text + 1]:
            end, total = begin, np.uint64(0)
            while end < offsets[text + 1] and lines[end] == lines[begin]:
                total = total * np.uint64(0xBF58476D1CE4E5B9) + hashes[end]
                end += 1
            if end - begin >= fewest:
                position[count], words[count] = text, end - begin
                line[count] = (total ^ (total >> np.uint64(32))) * np.uint64(0x94D049BB133111EB)
                count += 1
            begin = end
    return position[:count].copy(), line[:count].copy(), words[:count].copy()
