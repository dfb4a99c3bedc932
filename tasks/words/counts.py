"""Counts: the words that a text has, the unit of amounts, bounds and shares.

A text is cut at white space (Unicode's White_Space). A piece without letters of a script written without spaces
(`SPACELESS`) is one word, whatever it is made of. In a piece with them each such letter is a word, each maximal run
between them that holds another letter or a digit is one, and what is left, marks and punctuation, is none:
`我用Python3写代码。` has six words. Letters of these scripts are those of general category L, and Nl for 〇.
`list_words` says the same in plain Python; tests hold the kernel against it.
What texts are compared by are other words, without case and punctuation: `cuvee.tasks.words.words`.
"""

import functools
import re
from collections.abc import Iterator

import numba
import numpy as np
import numpy.typing as npt
import polars as pl

from cuvee.tasks.words.kernel import text_buffers
from cuvee.tasks.words.words import SPACELESS

# What a code point is. LETTER: of a script with spaces. ALONE: a letter of a script written without.
OTHER, WHITE, DIGIT, LETTER, ALONE = range(5)


def count_words(text: pl.Series) -> pl.Series:
    """Count the words of each text (string), int64; null stays null."""
    counts = np.zeros(len(text), np.int64)
    content, offsets = text_buffers(text)
    _count(content, offsets, kinds(), counts)
    counted = pl.Series("words", counts)
    return counted.set(text.is_null(), None) if text.null_count() else counted


def list_words(text: str) -> Iterator[re.Match[str]]:
    """Yield the words of one text, in order, as matches in it."""
    table, (pieces, alone, parts) = kinds(), _patterns()
    for piece in pieces.finditer(text):
        if alone.search(piece[0]):
            for part in parts.finditer(text, *piece.span()):
                if table[list(map(ord, part[0]))].max() >= DIGIT:
                    yield part
        else:
            yield piece


@functools.cache
def kinds() -> npt.NDArray[np.uint8]:
    """Return what each code point is, 0 to 0x10FFFF. Planes 4 to 16 hold no letters."""
    points = np.array([point for point in range(0x40000) if not 0xD800 <= point < 0xE000])
    characters = pl.Series(list(map(chr, points.tolist())))
    table = np.full(0x110000, OTHER, np.uint8)
    for kind, pattern in ((WHITE, r"^\s$"), (DIGIT, r"^\p{N}$"), (LETTER, r"^\p{L}$")):
        table[points[characters.str.contains(pattern).to_numpy()]] = kind
    letters = points[characters.str.contains(r"^[\p{L}\p{Nl}]$").to_numpy()]
    for first, last in SPACELESS:
        table[letters[(letters >= first) & (letters <= last)]] = ALONE
    table.flags.writeable = False
    return table


@functools.cache
def _patterns() -> tuple[re.Pattern[str], re.Pattern[str], re.Pattern[str]]:
    """Return what a piece is, a letter that stands alone, and what such letters divide a piece into."""
    white, alone = (
        "".join(f"\\U{first:08x}-\\U{last:08x}" for first, last in _ranges(kinds() == kind)) for kind in (WHITE, ALONE)
    )
    return re.compile(f"[^{white}]+"), re.compile(f"[{alone}]"), re.compile(f"[{alone}]|[^{white}{alone}]+")


def _ranges(holds: npt.NDArray[np.bool_]) -> Iterator[tuple[int, int]]:
    """Yield first and last place of each run of True."""
    edges = np.flatnonzero(np.diff(holds, prepend=False, append=False))
    yield from zip(edges[::2].tolist(), (edges[1::2] - 1).tolist(), strict=True)


@numba.njit(nogil=True, cache=True)
def _decode(content, i):  # type: ignore[no-untyped-def]
    """Return the code point that starts at byte `i` (>= 0x80) of valid UTF-8, and its width in bytes."""
    lead = np.int64(content[i])
    if lead < 0xE0:
        return (lead & 0x1F) << 6 | (content[i + 1] & 0x3F), 2
    if lead < 0xF0:
        return (lead & 0x0F) << 12 | np.int64(content[i + 1] & 0x3F) << 6 | (content[i + 2] & 0x3F), 3
    high = (lead & 0x07) << 18 | np.int64(content[i + 1] & 0x3F) << 12
    return high | np.int64(content[i + 2] & 0x3F) << 6 | (content[i + 3] & 0x3F), 4


@numba.njit(nogil=True, cache=True)
def _count_mixed(content, start, stop, table):  # type: ignore[no-untyped-def]
    """Count the words of a text with letters that stand alone."""
    words = 0
    # Of the piece: anything, a letter alone; of the run in it: another letter or digit.
    begun = mixed = lettered = False
    i = start
    while i < stop:
        code, width = (np.int64(content[i]), 1) if content[i] < 0x80 else _decode(content, i)
        kind = table[code]
        if kind == WHITE:
            words += lettered if mixed else begun
            begun = mixed = lettered = False
        else:
            begun = True
            if kind == ALONE:
                words += 1 + lettered
                mixed = True
                lettered = False
            elif kind >= DIGIT:
                lettered = True
        i += width
    return words + (lettered if mixed else begun)


@numba.njit(nogil=True, cache=True)
def _count(content, offsets, table, counts):  # type: ignore[no-untyped-def]
    """Write the number of words of each text."""
    for text in range(len(offsets) - 1):
        words = 0
        between = True
        i = offsets[text]
        stop = offsets[text + 1]
        while i < stop:
            byte = content[i]
            if byte < 0x80:
                white = bool(byte == 32 or np.uint8(byte - 9) < 5)
                i += 1
            else:
                code, width = _decode(content, i)
                if table[code] == ALONE:
                    words = _count_mixed(content, offsets[text], stop, table)
                    break
                white = bool(table[code] == WHITE)
                i += width
            words += between and not white
            between = white
        counts[text] = words
