"""Windows: the parts in which a long document is shown to a generator.

A document within WORDS and CHARACTERS is shown whole. A longer one is divided into windows of about equal length, not
many more than would hold it; each ends with a paragraph, and every word stands in exactly one. Paragraphs end at blank
lines. One that is longer than a window is divided at the sentences that end a line, else at its sentences, its lines,
its words, and where it has none of these at the limit of characters.
"""

import math
import re
from collections.abc import Iterator, Sequence
from itertools import groupby, pairwise
from typing import NamedTuple

import numpy as np
import polars as pl

from cuvee.schemas.tables import WINDOWS
from cuvee.tasks.words.counts import count_words, list_words

VERSION = 1
# Longer seeds crowd the answer out of small context windows; about 1,400 tokens of English.
WORDS = 1_000
# The bound for text with few words: addresses, numbers, encoded bytes.
CHARACTERS = 8 * WORDS

_MARK = r"""(?:[.!?]["'”’)\]]*(?=\s|\Z)|[。！？।؟]["'”’」』)\]]*)"""
_ENDS = tuple(
    re.compile(end) for end in (r"\n[^\S\n]*\n\s*", rf"{_MARK}[^\S\n]*\n\s*", rf"{_MARK}\s*", r"\s*\n\s*", r"\s+")
)


class Span(NamedTuple):
    """A part of a text, characters start to stop. of: place of the text; weight: in characters of a window."""

    of: int
    start: int
    stop: int
    weight: int


def divide(rows: pl.DataFrame) -> pl.DataFrame:
    """Return the windows of documents: column windows of WINDOWS, row by row, null for one that is shown whole.

    rows: text, words, chars.
    """
    is_long = (rows["words"] > WORDS) | (rows["chars"] > CHARACTERS)
    texts = rows.filter(is_long)["text"].to_list()
    found: list[list[dict[str, int]]] = [[] for _ in texts]
    spans = [span for span in _windows(texts, _pieces(texts)) if span.stop > span.start]
    words = count_words(pl.Series([texts[span.of][span.start : span.stop] for span in spans], dtype=pl.String))
    for span, count in zip(spans, words, strict=True):
        found[span.of].append({"start": span.start, "stop": span.stop, "words": count})
    long = pl.DataFrame({"place": is_long.arg_true(), "windows": pl.Series(found, dtype=WINDOWS["windows"])})
    places = pl.DataFrame({"place": pl.int_range(rows.height, dtype=pl.UInt32, eager=True)})
    return places.join(long, on="place", how="left", maintain_order="left").select("windows")


def _pieces(texts: Sequence[str]) -> list[Span]:
    """Cut texts into what windows are made of, each within a window, in order."""
    found: list[Span] = []
    large = [Span(of, 0, len(text), 0) for of, text in enumerate(texts)]
    for level in range(len(_ENDS) + 1):
        bounds = [sorted({one.start, *_ends(texts[one.of], one, level), one.stop}) for one in large]
        parts = [(one.of, *pair) for one, ends in zip(large, bounds, strict=True) for pair in pairwise(ends)]
        cut = pl.Series([texts[of][start:stop] for of, start, stop in parts], dtype=pl.String)
        weights = np.maximum(cut.str.len_chars().to_numpy(), CHARACTERS // WORDS * count_words(cut).to_numpy())
        spans = [Span(*part, weight) for part, weight in zip(parts, weights.tolist(), strict=True)]
        is_last = level == len(_ENDS)
        found += [span for span in spans if is_last or span.weight <= CHARACTERS]
        large = [span for span in spans if not is_last and span.weight > CHARACTERS]
    return sorted(found)


def _ends(text: str, span: Span, level: int) -> list[int]:
    """List where pieces of a span may end."""
    if level < len(_ENDS):
        return [match.end() for match in _ENDS[level].finditer(text, span.start, span.stop)]
    words = [span.start + match.end() for match in list_words(text[span.start : span.stop])]
    return [*words[WORDS - 1 :: WORDS], *range(span.start + CHARACTERS, span.stop, CHARACTERS)]


def _windows(texts: Sequence[str], pieces: Sequence[Span]) -> Iterator[Span]:
    """Join pieces to windows of about equal weight, without the space around them."""
    for of, own in groupby(pieces, key=lambda piece: piece.of):
        parts = list(own)
        for first, last in pairwise(_balanced([part.weight for part in parts])):
            yield Span(of, *_bare(texts[of], parts[first].start, parts[last - 1].stop), 0)


def _balanced(weights: Sequence[int]) -> Iterator[int]:
    """Yield the places of pieces at which windows begin, and the end."""
    yield 0
    left, window = sum(weights), 0
    target = left / math.ceil(left / CHARACTERS)
    for place, weight in enumerate(weights):
        # Nearer to the target without this piece than with it.
        if window and (window + weight > CHARACTERS or window + weight / 2 > target):
            yield place
            target, window = left / math.ceil(left / CHARACTERS), 0
        window, left = window + weight, left - weight
    yield len(weights)


def _bare(text: str, start: int, stop: int) -> tuple[int, int]:
    """Leave the space around a window out of it."""
    inside = text[start:stop]
    return start + len(inside) - len(inside.lstrip()), start + len(inside.rstrip())
