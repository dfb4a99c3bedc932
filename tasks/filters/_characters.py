"""Characters: the class of every code point, as one table for the kernels.

Space, line feed, letter, digit, and letter that stands alone: as in `cuvee.tasks.words.counts`. A full stop ends a
sentence where white space follows; an ideographic stop ends one anywhere; a closing mark may stand between a stop and
the white space.
"""

import functools

import numpy as np
import numpy.typing as npt

from cuvee.tasks.filters._kernels import (
    ALONE,
    CLOSING,
    DIGIT,
    IDEOGRAPHIC_STOP,
    LETTER,
    LINE_FEED,
    OTHER,
    SPACE,
    STOP,
)
from cuvee.tasks.words import counts

STOPS = ".!?…‼⁇⁈⁉؟۔।॥։።፧။៕"
IDEOGRAPHIC_STOPS = "。！？｡．"
CLOSING_MARKS = "\"'”’»›)]}）」』】〉》*_"


@functools.cache
def classes() -> npt.NDArray[np.uint8]:
    """Return the class of each code point, 0 to 0x10FFFF."""
    table = np.array([OTHER, SPACE, DIGIT, LETTER, ALONE], np.uint8)[counts.kinds()]
    table[10] = LINE_FEED
    for marks, kind in ((STOPS, STOP), (IDEOGRAPHIC_STOPS, IDEOGRAPHIC_STOP), (CLOSING_MARKS, CLOSING)):
        table[[ord(mark) for mark in marks]] = kind
    table.flags.writeable = False
    return table
