"""Loops: the compiled way from word hashes to shingles, signatures, band keys and sets; defined in `kernel`.

The words of text i are words[ends[i] : ends[i + 1]]. As in `word_loops`, functions that call each other stand together.
"""

from typing import Any

import numpy as np

from cuvee.tasks.words.word_loops import GOLDEN, MIX_A, MIX_B, compiled

EMPTY = 0xFFFFFFFF  # each value of the signature of a text without words, as in datasketch

_golden, _mix_a, _mix_b = np.uint64(GOLDEN), np.uint64(MIX_A), np.uint64(MIX_B)
_half = np.uint64(32)


@compiled
def _longest(ends: Any) -> int:
    """Return the number of words of the longest text."""
    longest = 0
    for text in range(len(ends) - 1):
        longest = max(longest, ends[text + 1] - ends[text])
    return longest


@compiled
def _hash_shingles(words: Any, ngram: int, shingles: Any) -> int:
    """Write the hash of each word n-gram, in order; return their number. Inner loops over a text's words vectorise."""
    if len(words) == 0:
        return 0
    ngram = min(ngram, len(words))
    total = len(words) - ngram + 1
    for i in range(total):
        shingles[i] = words[i]
    for j in range(1, ngram):
        for i in range(total):
            shingles[i] = shingles[i] * _mix_a + words[i + j]
    for i in range(total):
        value = shingles[i]
        shingles[i] = (value ^ (value >> _half)) * _mix_b
    return total


@compiled
def _premix(shingles: Any, total: int, mixed: Any) -> None:
    """Apply the 32-bit finaliser of MurmurHash3 to the upper halves, as datasketch's affine32 does."""
    for i in range(total):
        value = np.uint32(shingles[i] >> _half)
        value = np.uint32((value ^ (value >> np.uint32(16))) * np.uint32(0x85EBCA6B))
        value = np.uint32((value ^ (value >> np.uint32(13))) * np.uint32(0xC2B2AE35))
        mixed[i] = value ^ (value >> np.uint32(16))


@compiled
def _minimise(mixed: Any, total: int, multipliers: Any, increments: Any, signature: Any) -> None:
    """Write min over i of multiplier·mixed[i] + increment, for each permutation; mixed has room for total + 7."""
    for k in range(len(signature)):
        signature[k] = np.uint32(EMPTY)
    # The last one again, up to a multiple of eight, leaves the least as it is.
    for i in range(total, total + 7):
        mixed[i] = mixed[total - 1]
    # Eight shingles a round: one load and store of the signature for eight multiplications (three times faster).
    for i in range(0, total, 8):
        h0, h1, h2, h3 = mixed[i], mixed[i + 1], mixed[i + 2], mixed[i + 3]
        h4, h5, h6, h7 = mixed[i + 4], mixed[i + 5], mixed[i + 6], mixed[i + 7]
        for k in range(len(signature)):
            a, b = multipliers[k], increments[k]
            low = min(
                min(np.uint32(h0 * a + b), np.uint32(h1 * a + b)), min(np.uint32(h2 * a + b), np.uint32(h3 * a + b))
            )
            top = min(
                min(np.uint32(h4 * a + b), np.uint32(h5 * a + b)), min(np.uint32(h6 * a + b), np.uint32(h7 * a + b))
            )
            signature[k] = min(signature[k], min(low, top))


@compiled
def sign(words: Any, ends: Any, ngram: int, multipliers: Any, increments: Any, values: Any) -> None:
    """Write the signature of each text."""
    shingles = np.empty(_longest(ends), np.uint64)
    mixed = np.empty(len(shingles) + 7, np.uint32)
    for text in range(len(ends) - 1):
        total = _hash_shingles(words[ends[text] : ends[text + 1]], ngram, shingles)
        _premix(shingles, total, mixed)
        _minimise(mixed, total, multipliers, increments, values[text])


@compiled
def fill_band_keys(values: Any, rows: int, keys: Any) -> None:
    """Write the key of each band of each signature: its number and values, mixed in turn."""
    for text in range(len(values)):
        for band in range(keys.shape[1]):
            state = np.uint64(band) * _golden
            for row in range(rows):
                state = (state ^ np.uint64(values[text, band * rows + row])) * _mix_a
                state ^= state >> _half
            keys[text, band] = np.uint32((state * _mix_b) >> _half)


@compiled
def sketch(
    words: Any, ends: Any, ngram: int, multipliers: Any, increments: Any, rows: int, keys: Any, text_keys: Any
) -> None:
    """Write band keys and text key of each text."""
    shingles = np.empty(_longest(ends), np.uint64)
    mixed = np.empty(len(shingles) + 7, np.uint32)
    values = np.empty((1, len(multipliers)), np.uint32)
    for text in range(len(ends) - 1):
        total = _hash_shingles(words[ends[text] : ends[text + 1]], ngram, shingles)
        _premix(shingles, total, mixed)
        _minimise(mixed, total, multipliers, increments, values[0])
        fill_band_keys(values, rows, keys[text : text + 1])
        text_key = np.uint64(0)
        for i in range(total):
            value = (shingles[i] ^ (shingles[i] >> _half)) * _mix_a
            text_key += value ^ (value >> _half)
        text_keys[text] = text_key


@compiled
def list_distinct(words: Any, ends: Any, ngram: int, hashes: Any, set_ends: Any) -> None:
    """Write the distinct shingle hashes of each text one after another."""
    shingles = np.empty(_longest(ends), np.uint64)
    slots = 64
    while slots < 2 * len(shingles):
        slots *= 2
    keys, owners = np.empty(slots, np.uint64), np.full(slots, -1, np.int64)
    total = 0
    set_ends[0] = 0
    for text in range(len(ends) - 1):
        count = _hash_shingles(words[ends[text] : ends[text + 1]], ngram, shingles)
        # A short text uses the first part of the table only, which stays in the processor's cache.
        bits = 6
        while (1 << bits) < 2 * count:
            bits += 1
        for i in range(count):
            value = shingles[i]
            slot = np.int64(value >> np.uint64(64 - bits))
            while owners[slot] == text and keys[slot] != value:
                slot = (slot + 1) & ((1 << bits) - 1)
            if owners[slot] != text:
                owners[slot] = text
                keys[slot] = value
                hashes[total] = value
                total += 1
        set_ends[text + 1] = total
