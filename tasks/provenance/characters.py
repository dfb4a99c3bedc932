"""Characters: what each Unicode code point means to the layout, as a table that a compiled loop can read.

The table is filled by the same regular-expression engine that defines the layout (`layout.normalise`), so both follow
one version of Unicode.
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
    GAP,
    LOWER,
    OTHER,
    PUNCTUATION,
    QUOTE,
    SINGLE_QUOTE,
    UPPER,
    WHITE,
    Bytes,
)

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


def _one_by_one(points: npt.NDArray[np.uint32]) -> pl.Series:
    content = points.astype("<u4").tobytes().decode("utf-32-le").encode()
    widths = 1 + (points >= 0x80).astype(np.int32) + (points >= 0x800) + (points >= 0x10000)
    offsets = np.concatenate([[0], np.cumsum(widths)]).astype(np.int32)
    array = pa.StringArray.from_buffers(points.size, pa.py_buffer(offsets), pa.py_buffer(content))
    return pl.Series(array)
