"""Loops: the compiled part of `kernel`, over plain arrays; what they compute is defined there.

Plain loops that LLVM vectorises: no intrinsics, no compiler at install time. All of them stand in this file: numba's
cache does not see a change of a function in another file. A scratch is the tuple that `kernel` makes.
"""

from typing import Any, TypeVar, cast

import numba
import numpy as np

from cuvee.tasks.dedup.words import ALONE, COMPLEX, SEPARATOR

Function = TypeVar("Function")

# Odd constants: the golden ratio's, and those of splitmix64 (Steele, Lea, Flood 2014).
GOLDEN, MIX_A, MIX_B = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
EMPTY = 0xFFFFFFFF  # each value of the signature of a text without words, as in datasketch
ASCII, FOLDABLE, DIFFICULT = 0, 1, 2  # kinds of texts

_golden, _mix_a, _mix_b = np.uint64(GOLDEN), np.uint64(MIX_A), np.uint64(MIX_B)
_half = np.uint64(32)
_space, _feed, _high = np.uint8(32), np.uint8(10), np.uint8(128)
_chunk_masks = np.array([(1 << (8 * size)) - 1 for size in range(9)], np.uint64)
_complex, _alone, _separator = np.uint32(COMPLEX), np.uint32(ALONE), np.uint32(SEPARATOR)


def _compiled(function: Function) -> Function:
    """Compile a kernel: free of the GIL, cached on disk. No `parallel=True`: callers run one kernel a thread."""
    return cast(Function, numba.njit(nogil=True, cache=True, error_model="numpy")(function))


@_compiled
def _decode(content: Any, i: int) -> Any:
    """Return the code point that starts at byte `i` (>= 0x80) of valid UTF-8, and its width in bytes."""
    lead = np.uint32(content[i])
    second = np.uint32(content[i + 1]) & np.uint32(0x3F)
    if lead < 0xE0:
        return np.uint32((lead & np.uint32(0x1F)) << np.uint32(6) | second), 2
    third = np.uint32(content[i + 2]) & np.uint32(0x3F)
    if lead < 0xF0:
        return np.uint32((lead & np.uint32(0x0F)) << np.uint32(12) | second << np.uint32(6) | third), 3
    fourth = np.uint32(content[i + 3]) & np.uint32(0x3F)
    upper = (lead & np.uint32(0x07)) << np.uint32(18) | second << np.uint32(12)
    return np.uint32(upper | third << np.uint32(6) | fourth), 4


@_compiled
def _ascii_end(source: Any, i: int) -> int:
    """Return the place of the first byte >= 0x80 from `i` on, or the length."""
    while i < len(source) and source[i] < _high:
        i += 1
    return i


@_compiled
def classify(content: Any, offsets: Any, table: Any, kinds: Any) -> None:
    """Set kinds[i]: ASCII, FOLDABLE by the table, or DIFFICULT: with a COMPLEX code point."""
    for text in range(len(offsets) - 1):
        source = content[offsets[text] : offsets[text + 1]]
        union = np.uint8(0)
        for i in range(len(source)):
            union |= source[i]
        if union < _high:
            continue
        kinds[text] = FOLDABLE
        i = 0
        while i < len(source):
            if source[i] < _high:
                i = _ascii_end(source, i)
                continue
            point, width = _decode(source, i)
            if point >= np.uint32(len(table)) or table[point] == _complex:
                kinds[text] = DIFFICULT
                break
            i += width


@_compiled
def _fold_byte(byte: Any) -> Any:
    """Return a lower-case letter, digit, underscore, byte of a longer character or line feed as it is, else a space."""
    byte = np.uint8(byte | _space) if np.uint8(byte - np.uint8(65)) < np.uint8(26) else byte
    letter = np.uint8(byte - np.uint8(97)) < np.uint8(26)
    digit = np.uint8(byte - np.uint8(48)) < np.uint8(10)
    return byte if letter | digit | (byte == np.uint8(95)) | (byte >= _high) | (byte == _feed) else _space


@_compiled
def _fold(source: Any, ready: bool, table: Any, folded: Any) -> int:
    """Write words and separators (space or line feed) to `folded`, then 16 spaces; return the length before those."""
    size = len(source)
    for i in range(size):
        folded[i] = _fold_byte(source[i])
    if not ready and not _patch(source, table, folded):
        size = _rewrite(source, table, folded)
    for i in range(size, size + 16):
        folded[i] = _space
    return size


@_compiled
def _patch(source: Any, table: Any, folded: Any) -> bool:
    """Fold the characters of several bytes in place; return whether each has the room it needs (in English: nearly)."""
    i = _ascii_end(source, 0)
    while i < len(source):
        point, width = _decode(source, i)
        code = table[point]
        if code == _separator:
            for k in range(width):
                folded[i + k] = _space
        elif code & _alone or _width(code) != width:
            return False
        else:
            _encode(code, width, folded, i)
        i = _ascii_end(source, i + width)
    return True


@_compiled
def _rewrite(source: Any, table: Any, folded: Any) -> int:
    """Fold a text whose characters change width or need spaces around them; return the length."""
    i = 0
    size = 0
    while i < len(source):
        if source[i] < _high:
            folded[size] = _fold_byte(source[i])
            i += 1
            size += 1
            continue
        point, width = _decode(source, i)
        i += width
        code = table[point]
        alone = code & _alone
        if alone or code == _separator:
            folded[size] = _space
            size += 1
        code = np.uint32(code & ~_alone)
        if code != _separator:
            width = _width(code)
            _encode(code, width, folded, size)
            size += width
        if alone:
            folded[size] = _space
            size += 1
    return size


@_compiled
def _width(code: Any) -> int:
    """Return how many bytes a code point takes in UTF-8."""
    return 1 if code < 0x80 else 2 if code < 0x800 else 3 if code < 0x10000 else 4


@_compiled
def _encode(code: Any, width: int, folded: Any, at: int) -> None:
    """Write a code point of that width as UTF-8 at folded[at]."""
    if width == 1:
        folded[at] = np.uint8(code)
        return
    for k in range(width - 1, 0, -1):
        folded[at + k] = np.uint8(0x80 | (code & np.uint32(0x3F)))
        code = np.uint32(code >> np.uint32(6))
    folded[at] = np.uint8((0xF00 >> width & 0xFF) | code)


@_compiled
def _split(folded: Any, size: int, edges: Any) -> int:
    """Write start and end of each word to `edges`; return the number of words. No branch: each byte writes."""
    count = 0
    before = False
    for i in range(size + 1):
        inside = folded[i] > _space
        edges[count] = i
        count += inside != before
        before = inside
    return count >> 1


@_compiled
def _load(blocks: Any, at: int) -> Any:
    """Return the 8 bytes at byte `at` of an array of uint64, little-endian, at any alignment."""
    shift = np.uint64((at & 7) * 8)
    # The second shift is split in two: shifting by 64 is undefined.
    return (blocks[at >> 3] >> shift) | ((blocks[(at >> 3) + 1] << np.uint64(1)) << (np.uint64(63) - shift))


@_compiled
def _hash_words(blocks: Any, edges: Any, count: int, words: Any) -> None:
    for k in range(count):
        start = edges[2 * k]
        size = edges[2 * k + 1] - start
        state = np.uint64(size) * _golden
        # Two chunks always (95% of English words fit in 8 bytes, but a branch on it would be mispredicted).
        state = (state ^ (_load(blocks, start) & _chunk_masks[min(size, 8)])) * _mix_a
        state ^= state >> _half
        state = (state ^ (_load(blocks, start + 8) & _chunk_masks[min(max(size - 8, 0), 8)])) * _mix_a
        state ^= state >> _half
        done = 16
        while done < size:
            state = (state ^ (_load(blocks, start + done) & _chunk_masks[min(size - done, 8)])) * _mix_a
            state ^= state >> _half
            done += 8
        words[k] = state * _mix_b


@_compiled
def _hash_shingles(words: Any, count: int, ngram: int, shingles: Any) -> int:
    """Write the hash of each word n-gram, in order; return their number. Inner loops over texts' words vectorise."""
    if count == 0:
        return 0
    ngram = min(ngram, count)
    total = count - ngram + 1
    for i in range(total):
        shingles[i] = words[i]
    for j in range(1, ngram):
        for i in range(total):
            shingles[i] = shingles[i] * _mix_a + words[i + j]
    for i in range(total):
        value = shingles[i]
        shingles[i] = (value ^ (value >> _half)) * _mix_b
    return total


@_compiled
def _shingle(source: Any, ready: bool, table: Any, ngram: int, scratch: Any) -> int:
    """Write the shingle hashes of one text to scratch[3]; return their number."""
    blocks, edges, words, shingles, _ = scratch
    folded = blocks.view(np.uint8)
    count = _split(folded, _fold(source, ready, table, folded), edges)
    _hash_words(blocks, edges, count, words)
    return int(_hash_shingles(words, count, ngram, shingles))


@_compiled
def _premix(shingles: Any, total: int, mixed: Any) -> None:
    """Apply the 32-bit finaliser of MurmurHash3 to the upper halves, as datasketch's affine32 does."""
    for i in range(total):
        value = np.uint32(shingles[i] >> _half)
        value = np.uint32((value ^ (value >> np.uint32(16))) * np.uint32(0x85EBCA6B))
        value = np.uint32((value ^ (value >> np.uint32(13))) * np.uint32(0xC2B2AE35))
        mixed[i] = value ^ (value >> np.uint32(16))


@_compiled
def _minimise(mixed: Any, total: int, multipliers: Any, increments: Any, signature: Any) -> None:
    """Write min over i of multiplier·mixed[i] + increment, for each permutation."""
    for k in range(len(signature)):
        signature[k] = np.uint32(EMPTY)
    whole = total & ~7
    # Eight shingles a round: one load and store of the signature for eight multiplications (three times faster).
    for i in range(0, whole, 8):
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
    for i in range(whole, total):
        for k in range(len(signature)):
            signature[k] = min(signature[k], np.uint32(mixed[i] * multipliers[k] + increments[k]))


@_compiled
def sign(
    content: Any,
    offsets: Any,
    ready: Any,
    table: Any,
    ngram: int,
    multipliers: Any,
    increments: Any,
    scratch: Any,
    values: Any,
) -> None:
    """Write the signature of each text."""
    for text in range(len(offsets) - 1):
        total = _shingle(content[offsets[text] : offsets[text + 1]], ready[text], table, ngram, scratch)
        _premix(scratch[3], total, scratch[4])
        _minimise(scratch[4], total, multipliers, increments, values[text])


@_compiled
def fill_band_keys(values: Any, rows: int, keys: Any) -> None:
    """Write the key of each band of each signature: its number and values, mixed in turn."""
    for text in range(len(values)):
        for band in range(keys.shape[1]):
            state = np.uint64(band) * _golden
            for row in range(rows):
                state = (state ^ np.uint64(values[text, band * rows + row])) * _mix_a
                state ^= state >> _half
            keys[text, band] = state * _mix_b


@_compiled
def sketch_all(
    content: Any,
    offsets: Any,
    ready: Any,
    table: Any,
    ngram: int,
    multipliers: Any,
    increments: Any,
    scratch: Any,
    rows: int,
    keys: Any,
    text_keys: Any,
) -> None:
    """Write band keys and text key of each text."""
    values = np.empty((1, len(multipliers)), np.uint32)
    for text in range(len(offsets) - 1):
        total = _shingle(content[offsets[text] : offsets[text + 1]], ready[text], table, ngram, scratch)
        shingles = scratch[3]
        _premix(shingles, total, scratch[4])
        _minimise(scratch[4], total, multipliers, increments, values[0])
        fill_band_keys(values, rows, keys[text : text + 1])
        text_key = np.uint64(0)
        for i in range(total):
            value = (shingles[i] ^ (shingles[i] >> _half)) * _mix_a
            text_key += value ^ (value >> _half)
        text_keys[text] = text_key


@_compiled
def list_distinct(
    content: Any, offsets: Any, ready: Any, table: Any, ngram: int, scratch: Any, hashes: Any, ends: Any
) -> int:
    """Write the distinct shingle hashes of each text one after another; return how many in all."""
    slots = 64
    while slots < 2 * len(scratch[3]):
        slots *= 2
    keys, owners = np.empty(slots, np.uint64), np.full(slots, -1, np.int64)
    total = 0
    for text in range(len(offsets) - 1):
        count = _shingle(content[offsets[text] : offsets[text + 1]], ready[text], table, ngram, scratch)
        # A short text uses the first part of the table only, which stays in the processor's cache.
        bits = 6
        while (1 << bits) < 2 * count:
            bits += 1
        for i in range(count):
            value = scratch[3][i]
            slot = np.int64(value >> np.uint64(64 - bits))
            while owners[slot] == text and keys[slot] != value:
                slot = (slot + 1) & ((1 << bits) - 1)
            if owners[slot] != text:
                owners[slot] = text
                keys[slot] = value
                hashes[total] = value
                total += 1
        ends[text + 1] = total
    return total


@_compiled
def list_words(
    content: Any,
    offsets: Any,
    ready: Any,
    table: Any,
    scratch: Any,
    hashes: Any,
    has_letter: Any,
    lines: Any,
    ends: Any,
) -> int:
    """Write the words of each text one after another; return how many in all."""
    blocks, edges = scratch[0], scratch[1]
    folded = blocks.view(np.uint8)
    total = 0
    for text in range(len(offsets) - 1):
        size = _fold(content[offsets[text] : offsets[text + 1]], ready[text], table, folded)
        count = _split(folded, size, edges)
        _hash_words(blocks, edges, count, hashes[total:])
        line, read = 0, 0
        for k in range(count):
            for i in range(read, edges[2 * k]):
                line += folded[i] == _feed
            read = edges[2 * k + 1]
            letter = False
            for i in range(edges[2 * k], read):
                letter |= folded[i] > np.uint8(95)
            has_letter[total + k] = letter
            lines[total + k] = line
        total += count
        ends[text + 1] = total
    return total
