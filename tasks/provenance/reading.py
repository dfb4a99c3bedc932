"""Reading: the tokens of a text's layout and its words, in one pass over Arrow's UTF-8 bytes.

The tokens are those of `layout.normalise`, the words those of `layout.word_count`. A token is a number: the FNV-1a
hash of its UTF-8 bytes (Fowler, Noll and Vo), and a bit that tells whether it begins with a letter.
"""

import numpy as np
import polars as pl
import pyarrow as pa

from cuvee.tasks.provenance.characters import classes
from cuvee.tasks.provenance.kernel import FNV_OFFSET, FNV_PRIME, HASH, Bytes, Tokens, tokenize_all
from cuvee.tasks.provenance.layout import MAX_CHARACTERS


def word_hash(word: str) -> int:
    """Return the hash of a token."""
    value = FNV_OFFSET
    for byte in word.encode():
        value = ((value ^ byte) * FNV_PRIME) & HASH
    return value


def buffers(text: pl.Series) -> tuple[Tokens, Bytes]:
    """Return the offsets (n + 1) and UTF-8 bytes of a string column of one row or more, without nulls."""
    array = pa.array(text.rechunk().to_arrow()).cast(pa.large_string())
    _, offsets, content = array.buffers()
    window = slice(array.offset, array.offset + len(array) + 1)
    # A column of empty strings may have no bytes at all.
    characters = np.frombuffer(content, np.uint8) if content is not None and content.size else np.zeros(1, np.uint8)
    return np.frombuffer(offsets, np.int64)[window], characters


def tokenize(text: pl.Series) -> tuple[Tokens, Tokens]:
    """Return the tokens of all texts in a row, and where each text's begin and end (n + 1). Null counts as empty."""
    if not len(text):
        return np.zeros(0, np.int64), np.zeros(1, np.int64)
    offsets, characters = buffers(text.cast(pl.String).fill_null(""))
    ends = np.zeros(offsets.size, np.int64)
    # Once to count and once to keep: tokens may be three times as many as bytes, and are mostly a sixth.
    tokenize_all(offsets, characters, MAX_CHARACTERS, classes(), np.zeros(0, np.int64), ends)
    tokens = np.zeros(int(ends[-1]), np.int64)
    tokenize_all(offsets, characters, MAX_CHARACTERS, classes(), tokens, ends)
    return tokens, ends
