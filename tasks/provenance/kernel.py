"""Kernel: the compiled loops of the classifier, over Arrow's UTF-8 bytes and NumPy arrays, without the GIL.

All of them stand in this one file, with every constant that they read: numba keeps compiled code until the file of a
function changes, and would not see a change in another.
"""

from typing import Final

import numba
import numpy as np
import numpy.typing as npt

Bytes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float64]
Hashes = npt.NDArray[np.uint32]
Singles = npt.NDArray[np.float32]
Tokens = npt.NDArray[np.int64]

# What a character is, part of a word first. OTHER: a letter without case, a mark, or a number that is no digit.
OTHER: Final = 0
LOWER: Final = 1
UPPER: Final = 2
DIGIT: Final = 3
APOSTROPHE: Final = 4
# A typographic apostrophe or single quote.
SINGLE_QUOTE: Final = 5
# From here on a token of its own: as it stands, or as the plain character that it stands for.
PUNCTUATION: Final = 6
QUOTE: Final = 7
DASH: Final = 8
ELLIPSIS: Final = 9
GAP: Final = 10
# Added to the others: white space, which separates words.
WHITE: Final = 16

# A token's hash is its lower 32 bits; this bit says that it begins with a letter.
LETTERED: Final = 1 << 32
HASH: Final = 0xFFFFFFFF

# weight = Σ terms ÷ terms^LENGTH_POWER: with power 1 a text of 2,000 words would be no surer than one of 100, with
# power 0 every chapter would be certain; 0.7 separated best on domains left out of training (of 0.3, 0.5, 0.7 and 1).
LENGTH_POWER: Final = 0.7

FNV_OFFSET: Final = 2166136261
FNV_PRIME: Final = 16777619
_KIND: Final = WHITE - 1
# Knuth's multiplier for 64 bits: neighbours' hashes are mixed so that every bit of both decides the bucket.
_MIX: Final = 0x9E3779B97F4A7C15
# A share of known words says nothing over fewer.
_FEWEST_WORDS: Final = 20
# The bias is a term of every text, and gets smaller steps than the others.
_BIAS_RATE: Final = 0.05


@numba.njit(nogil=True, cache=True)
def read(characters: Bytes, start: int, end: int, most: int, table: Bytes, tokens: Tokens) -> int:
    """Write the tokens of a text's first `most` characters into `tokens`, and return how many they are.

    `tokens` has room for three times `most`: "…" is one character and three tokens; nothing gives more.
    """
    end = _cut(characters, start, end, most)
    count, position, line_start = 0, start, True
    value, length, lettered, before = np.uint32(FNV_OFFSET), 0, False, GAP
    while position < end:
        if line_start:
            position = _after_list_mark(characters, position, end, table)
            line_start = False
            if position >= end:
                break
        point, width = _decode(characters, position)
        kind = table[point] & _KIND
        line_start = point == 10
        paired = kind == APOSTROPHE and position + 1 < end and characters[position + 1] == 39
        apart = kind >= PUNCTUATION or paired
        if length and (apart or (kind == UPPER and before == LOWER)):
            tokens[count] = np.int64(value) | (LETTERED if lettered else 0)
            count += 1
            value, length = np.uint32(FNV_OFFSET), 0
        if not apart:
            if not length:
                lettered = kind <= UPPER
            if kind == DIGIT:
                if before != DIGIT:
                    value, length = _step(value, 48), length + 1
            elif kind == SINGLE_QUOTE:
                value, length = _step(value, 39), length + 1
            else:
                for offset in range(width):
                    value = _step(value, characters[position + offset])
                length += 1
        elif kind != GAP:
            sign = np.uint32(FNV_OFFSET)
            if kind == PUNCTUATION:
                for offset in range(width):
                    sign = _step(sign, characters[position + offset])
            else:
                sign = _step(sign, 45 if kind == DASH else 46 if kind == ELLIPSIS else 34)
            for _ in range(3 if kind == ELLIPSIS else 1):
                tokens[count] = np.int64(sign)
                count += 1
        before = kind
        position += width + (1 if paired else 0)
    if length:
        tokens[count] = np.int64(value) | (LETTERED if lettered else 0)
        count += 1
    return count


@numba.njit(nogil=True, cache=True)
def _step(value: np.uint32, byte: int) -> np.uint32:
    return np.uint32((value ^ np.uint32(byte)) * np.uint32(FNV_PRIME))


@numba.njit(nogil=True, cache=True)
def _decode(characters: Bytes, position: int) -> tuple[np.int64, int]:
    """Return the code point at a position of valid UTF-8, and its bytes."""
    first = np.int64(characters[position])
    if first < 0x80:
        return first, 1
    second = np.int64(characters[position + 1]) & 0x3F
    if first < 0xE0:
        return (first & 0x1F) << 6 | second, 2
    third = np.int64(characters[position + 2]) & 0x3F
    if first < 0xF0:
        return (first & 0x0F) << 12 | second << 6 | third, 3
    return (first & 0x07) << 18 | second << 12 | third << 6 | (np.int64(characters[position + 3]) & 0x3F), 4


@numba.njit(nogil=True, cache=True)
def _cut(characters: Bytes, start: int, end: int, most: int) -> int:
    """Return where the text ends, or where its first `most` characters do."""
    if end - start <= most:
        return end
    seen, position = 0, start
    while position < end:
        if characters[position] & 0xC0 != 0x80:
            if seen == most:
                break
            seen += 1
        position += 1
    return position


@numba.njit(nogil=True, cache=True)
def _after_list_mark(characters: Bytes, start: int, end: int, table: Bytes) -> int:
    """Return where a line's words begin: behind a bullet, number or heading's marks and a space, else its start."""
    position = start
    while position < end and (characters[position] == 32 or characters[position] == 9):
        position += 1
    if position == end:
        return start
    point, width = _decode(characters, position)
    if point == 45 or point == 43 or point == 42 or point == 62 or point == 0x2022:
        position += width
    elif point == 35:
        first = position
        while position < end and characters[position] == 35:
            position += 1
        if position - first > 6:
            return start
    else:
        digits = 0
        while position < end and table[point] & _KIND == DIGIT:
            digits += 1
            position += width
            if position < end:
                point, width = _decode(characters, position)
        if not 1 <= digits <= 3 or position == end or not (point == 46 or point == 41):
            return start
        position += 1
    first = position
    while position < end and (characters[position] == 32 or characters[position] == 9):
        position += 1
    return position if position > first else start


@numba.njit(nogil=True, cache=True)
def tokenize_all(offsets: Tokens, characters: Bytes, most: int, table: Bytes, kept: Tokens, ends: Tokens) -> None:
    """Write where each text's tokens end into `ends`, and the tokens into `kept`, unless it is empty."""
    scratch = np.empty(3 * most, np.int64)
    for row in range(offsets.size - 1):
        count = read(characters, offsets[row], offsets[row + 1], most, table, scratch)
        ends[row + 1] = ends[row] + count
        if kept.size:
            kept[ends[row] : ends[row + 1]] = scratch[:count]


@numba.njit(nogil=True, cache=True)
def fill(hashes: Hashes, table: Tokens) -> Tokens:
    """Fill an open-addressing table, a power of two long and all -1, with the places of the hashes; return it."""
    mask = table.size - 1
    for index in range(hashes.size):
        slot = np.int64(hashes[index]) & mask
        while table[slot] >= 0:
            slot = (slot + 1) & mask
        table[slot] = index
    return table


@numba.njit(nogil=True, cache=True)
def terms(tokens: Tokens, table: Tokens, hashes: Hashes, buckets: int, found: Tokens) -> tuple[int, float]:
    """Write the term numbers of a text into `found` (twice the tokens long); return how many, and the share known.

    A word of the vocabulary is numbered by its place there, a pair by the vocabulary's size and its bucket. Words
    outside the vocabulary have no term of their own, and are in pairs. The share is 0 under 20 words with letters.
    """
    mask, count, lettered, known = table.size - 1, 0, 0, 0
    for position in range(tokens.size):
        value = tokens[position] & HASH
        slot = value & mask
        while table[slot] >= 0 and hashes[table[slot]] != value:
            slot = (slot + 1) & mask
        if tokens[position] & LETTERED:
            lettered += 1
            known += 1 if table[slot] >= 0 else 0
        if table[slot] >= 0:
            found[count] = table[slot]
            count += 1
        if position:
            mixed = (np.uint64(tokens[position - 1] & HASH) << np.uint64(32) | np.uint64(value)) * np.uint64(_MIX)
            found[count] = hashes.size + np.int64((mixed >> np.uint64(32)) % np.uint64(buckets))
            count += 1
    return count, known / lettered if lettered >= _FEWEST_WORDS else 0.0


@numba.njit(nogil=True, cache=True)
def weigh_all(
    offsets: Tokens,
    characters: Bytes,
    most: int,
    kinds: Bytes,
    table: Tokens,
    hashes: Hashes,
    weights: Singles,
    weight: Floats,
    known: Floats,
) -> None:
    """Fill weight and known of each text. Sums run in text order: the same on every run."""
    tokens, found = np.empty(3 * most, np.int64), np.empty(6 * most, np.int64)
    for row in range(offsets.size - 1):
        size = read(characters, offsets[row], offsets[row + 1], most, kinds, tokens)
        count, known[row] = terms(tokens[:size], table, hashes, weights.size - hashes.size, found)
        total = 0.0
        for position in range(count):
            total += weights[found[position]]
        weight[row] = total / max(count, 1) ** LENGTH_POWER


@numba.njit(nogil=True, cache=True)
def descend(
    tokens: Tokens,
    starts: Tokens,
    stops: Tokens,
    target: Floats,
    table: Tokens,
    hashes: Hashes,
    weights: Singles,
    epochs: int,
    rate: float,
) -> None:
    """Fit the weights in place, one window after the other."""
    squares = np.full(weights.size, 1e-8, np.float32)
    found = np.empty(2 * max(1, (stops - starts).max()), np.int64)
    bias, step = 0.0, 0
    for _ in range(epochs):
        for window in range(starts.size):
            part = tokens[starts[window] : stops[window]]
            count, _known = terms(part, table, hashes, weights.size - hashes.size, found)
            pace = rate * (1.0 - step / (epochs * starts.size))
            step += 1
            scale = 1.0 / max(count, 1) ** LENGTH_POWER
            total = 0.0
            for position in range(count):
                total += weights[found[position]]
            error = 1.0 / (1.0 + np.exp(-(total * scale + bias))) - target[window]
            bias -= _BIAS_RATE * pace * error
            slope = error * scale
            for position in range(count):
                term = found[position]
                squares[term] += slope * slope
                weights[term] -= pace * slope / np.sqrt(squares[term])
