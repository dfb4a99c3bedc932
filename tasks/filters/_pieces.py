"""Pieces: the lines or paragraphs of a shard's texts, measured once, and what they add up to by document."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from cuvee.tasks.filters import _kernels as kernels
from cuvee.tasks.filters._characters import classes
from cuvee.tasks.words.kernel import text_buffers

Floats = npt.NDArray[np.float64]


class Pieces:
    """The measured pieces of some texts: one entry a piece in every array, in the order of the texts.

    chars: all characters. words: of them alone_words are single letters of scripts written without spaces; word_chars,
    longest_word: characters of the others. letter_words: words with a letter. sentences: 0 for a piece of marks only.
    first, last: code points. ellipsis: ends with "..." or "…". repeated: equal to an earlier piece of its text.
    stop_words, phrases: a bit for each one that was found.
    """

    def __init__(self, rows: npt.NDArray[np.int32], documents: int) -> None:
        self.documents = documents
        self._document = rows[kernels.DOCUMENT]
        self.chars = rows[kernels.CHARS]
        self.words = rows[kernels.WORDS]
        self.word_chars = rows[kernels.WORD_CHARS]
        self.alone_words = rows[kernels.ALONE_WORDS]
        self.letter_words = rows[kernels.LETTER_WORDS]
        self.longest_word = rows[kernels.LONGEST_WORD]
        self.sentences = rows[kernels.SENTENCES]
        self.first = rows[kernels.FIRST]
        self.last = rows[kernels.LAST]
        self.ellipsis = rows[kernels.ELLIPSIS] != 0
        self.repeated = rows[kernels.REPEATED] != 0
        self.stop_words = rows[kernels.STOP_WORDS]
        self.phrases = rows[kernels.PHRASES]

    def total(self, values: npt.NDArray[Any]) -> Floats:
        """Add up `values`, one a piece, by document."""
        totals: Floats = np.bincount(self._document, weights=values, minlength=self.documents).astype(np.float64)
        return totals

    def share(self, holds: npt.NDArray[np.bool_]) -> Floats:
        """Return the share of each document's pieces for which `holds` is true; 0 for a document without pieces."""
        return ratio(self.total(holds), np.bincount(self._document, minlength=self.documents))


def lines(texts: pl.Series, stop_words: Sequence[str] = (), phrases: Sequence[str] = ()) -> Pieces:
    """Measure the lines that are not blank.

    stop_words: lower-case ASCII words of at most 8 letters, found where a word's letters, in either case, are
    exactly these. phrases: lower-case ASCII that starts with a letter, found anywhere in a line, in either case.
    """
    return _measure(texts, 1, stop_words, phrases)


def paragraphs(texts: pl.Series) -> Pieces:
    """Measure the paragraphs: what stands between blank lines."""
    return _measure(texts, 2, (), ())


def ratio(part: npt.NDArray[Any], whole: npt.NDArray[Any]) -> Floats:
    """Divide; where `whole` is 0 the ratio is 0."""
    empty = whole == 0
    quotient: Floats = np.where(empty, 0.0, part / np.where(empty, 1, whole))
    return quotient


def codes(marks: str) -> npt.NDArray[np.int32]:
    """Return the code points of the characters in `marks`."""
    return np.array([ord(mark) for mark in marks], np.int32)


def _measure(texts: pl.Series, breaks: int, stop_words: Sequence[str], phrases: Sequence[str]) -> Pieces:
    packed = np.array([int.from_bytes(word.encode()) for word in stop_words], np.uint64)
    lengths = np.array([len(phrase) for phrase in phrases], np.int64)
    letters = np.zeros((len(phrases), max(lengths, default=1)), np.uint8)
    for row, phrase in enumerate(phrases):
        letters[row, : len(phrase)] = list(phrase.encode())
    content, offsets = text_buffers(texts)
    rows = kernels.scan_pieces(offsets, content, classes(), breaks, packed, letters, lengths)
    return Pieces(rows, len(texts))
