"""Tokens: what the compiled loops read of a text: the class of each of its code points, and its tokens as numbers.

The classes are found by the same regular-expression engine that defines the layout (`layout.normalise`), so both
follow one version of Unicode. A token is a number: the FNV-1a hash of its UTF-8 bytes (Fowler, Noll and Vo), and a bit
that tells whether it begins with a letter.
"""

from functools import cache

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from cuvee.tasks.provenance import layout
from cuvee.tasks.provenance.kernel import (
    APOSTROPHE,
    DASH,
    DIGIT,
    ELLIPSIS,
    FNV_OFFSET,
    FNV_PRIME,
    GAP,
    HASH,
    LOWER,
    OTHER,
    PUNCTUATION,
    QUOTE,
    SINGLE_QUOTE,
    UPPER,
    WHITE,
    Bytes,
    Tokens,
    tokenize_all,
)
from cuvee.tasks.words.kernel import text_buffers

# Planes 4 to 13 are unassigned, 15 and 16 private: none of them holds a letter, mark, number or space.
_PLANES_END = 0x40000
_TAGS, _TAGS_END = 0xE0000, 0xE0200

_CLASSES = {
    OTHER: r"[\p{L}\p{M}\p{N}]",
    LOWER: r"\p{Ll}",
    UPPER: r"\p{Lu}",
    DIGIT: r"\d",
    GAP: layout.NOT_WORDING,
}
_SIGNS = {"'": APOSTROPHE, '"': QUOTE, "-": DASH, "...": ELLIPSIS}


@cache
def classes() -> Bytes:
    """Return the class of each code point, 0 to 0x10FFFF; surrogates count as punctuation. Shared: never write to it.

    Takes about 0.1 s, once a process.
    """
    spans = [(0, 0xD800), (0xE000, _PLANES_END), (_TAGS, _TAGS_END)]
    points = np.concatenate([np.arange(first, end, dtype=np.uint32) for first, end in spans])
    character = _one_by_one(points)
    table = np.full(0x110000, PUNCTUATION, np.uint8)
    for kind, rule in _CLASSES.items():
        table[points[character.str.contains(rule).to_numpy()]] = kind
    for sign, plain in layout.PLAIN.items():
        if len(sign) == 1:
            table[ord(sign)] = SINGLE_QUOTE if plain == "'" else _SIGNS[plain]
    table[ord("'")] = APOSTROPHE
    table[points[character.str.contains(r"\s").to_numpy()]] |= WHITE
    table.flags.writeable = False
    return table


def word_hash(word: str) -> int:
    """Return the hash of a token."""
    value = FNV_OFFSET
    for byte in word.encode():
        value = ((value ^ byte) * FNV_PRIME) & HASH
    return value


def tokenize(text: pl.Series) -> tuple[Tokens, Tokens]:
    """Return the tokens of all texts in a row, and where each text's begin and end (n + 1). Null counts as empty."""
    if not len(text):
        return np.zeros(0, np.int64), np.zeros(1, np.int64)
    characters, offsets = text_buffers(text)
    ends = np.zeros(offsets.size, np.int64)
    # Once to count and once to keep: tokens may be three times as many as bytes, and are mostly a sixth.
    tokenize_all(offsets, characters, layout.MAX_CHARACTERS, classes(), np.zeros(0, np.int64), ends)
    tokens = np.zeros(int(ends[-1]), np.int64)
    tokenize_all(offsets, characters, layout.MAX_CHARACTERS, classes(), tokens, ends)
    return tokens, ends


def _one_by_one(points: npt.NDArray[np.uint32]) -> pl.Series:
    content = points.astype("<u4").tobytes().decode("utf-32-le").encode()
    widths = 1 + (points >= 0x80).astype(np.int32) + (points >= 0x800) + (points >= 0x10000)
    offsets = np.concatenate([[0], np.cumsum(widths)]).astype(np.int32)
    array = pa.StringArray.from_buffers(points.size, pa.py_buffer(offsets), pa.py_buffer(content))
    return pl.Series(array)
