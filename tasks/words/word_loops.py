"""Word loops: the compiled way from the bytes of texts to word hashes; what they compute is defined in `kernel`.

Plain loops that LLVM vectorises, with one intrinsic, numba's own for trailing zeros; no compiler at install time.
Functions that call each other stand in one file, because numba's cache does not see a change of a function in another
one: `loops` takes over at word hashes.
A scratch is the tuple (folded, eights, flags, eight_flags, edges) that `kernel` makes.
"""

from typing import Any, TypeVar, cast

import numba
import numpy as np
from numba.cpython.unsafe.numbers import trailing_zeros

from cuvee.tasks.words.words import ALONE, COMPLEX, MARK, SEPARATOR

Function = TypeVar("Function")

# Odd constants: the golden ratio's, and those of splitmix64 (Steele, Lea, Flood 2014).
GOLDEN, MIX_A, MIX_B = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
ASCII, FOLDABLE, DIFFICULT = 0, 1, 2  # kinds of texts

_golden, _mix_a, _mix_b = np.uint64(GOLDEN), np.uint64(MIX_A), np.uint64(MIX_B)
_half = np.uint64(32)
_trailing_zeros: Any = trailing_zeros
_space, _feed, _high = np.uint8(32), np.uint8(10), np.uint8(128)
_high_bits = np.uint64(0x8080808080808080)
_gather = np.uint64(0x0102040810204080)  # times eight bytes of 0 or 1: their bits, in the uppermost byte
# What a word of so many bytes, 16 for longer ones, has in its first and second chunk.
_first_masks = np.array([(1 << (8 * min(size, 8))) - 1 for size in range(17)], np.uint64)
_second_masks = np.array([(1 << (8 * max(size - 8, 0))) - 1 for size in range(17)], np.uint64)
_start: Any = np.int64(0)  # with a type: numba compiles a function anew for a plain number that it is given
_complex, _alone, _mark, _separator = np.uint32(COMPLEX), np.uint32(ALONE), np.uint32(MARK), np.uint32(SEPARATOR)
_point = np.uint32(0x1FFFFF)  # the bits of a code that are a code point


def compiled(function: Function) -> Function:
    """Compile a kernel: free of the GIL, cached on disk. No `parallel=True`: callers run one kernel a thread."""
    return cast(Function, numba.njit(nogil=True, cache=True, error_model="numpy")(function))


@compiled
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


@compiled
def _ascii_end(content: Any, eights: Any, i: int, stop: int) -> int:
    """Return the place of the first byte >= 0x80 from `i` on, or `stop`; eights[i] are the 8 bytes from byte i on."""
    while i + 8 <= stop:
        high = eights[i] & _high_bits
        if high:
            return i + int(_trailing_zeros(high) >> np.uint64(3))
        i += 8
    while i < stop and content[i] < _high:
        i += 1
    return i


@compiled
def classify(content: Any, eights: Any, offsets: Any, table: Any, kinds: Any) -> None:
    """Set kinds[i], ASCII before: FOLDABLE by the table, or DIFFICULT: with a COMPLEX code point."""
    for text in range(len(offsets) - 1):
        stop = offsets[text + 1]
        i = _ascii_end(content, eights, offsets[text], stop)
        while i < stop:
            point, width = _decode(content, i)
            if point >= np.uint32(len(table)) or table[point] == _complex:
                kinds[text] = DIFFICULT
                break
            kinds[text] = FOLDABLE
            i = _ascii_end(content, eights, i + width, stop)


@compiled
def _fold_byte(byte: Any) -> Any:
    """Return a lower-case letter, digit, underscore, byte of a longer character or line feed as it is, else a space."""
    byte = np.uint8(byte | _space) if np.uint8(byte - np.uint8(65)) < np.uint8(26) else byte
    letter = np.uint8(byte - np.uint8(97)) < np.uint8(26)
    digit = np.uint8(byte - np.uint8(48)) < np.uint8(10)
    return byte if letter | digit | (byte == np.uint8(95)) | (byte >= _high) | (byte == _feed) else _space


@compiled
def _fold(source: Any, ready: bool, table: Any, folded: Any, eights: Any) -> int:
    """Write words and separators (space or line feed) to `folded`, then a space; return the length before that."""
    size = len(source)
    for i in range(size):
        folded[i] = _fold_byte(source[i])
    if not ready and not _patch(source, table, folded, eights):
        size = _rewrite(source, table, folded)
    folded[size] = _space
    return size


@compiled
def _code(table: Any, point: Any) -> Any:
    """Return what a code point becomes; all beyond the table are separators."""
    return table[point] if point < np.uint32(len(table)) else _separator


@compiled
def _patch(source: Any, table: Any, folded: Any, eights: Any) -> bool:
    """Fold the characters of several bytes in place; return whether each has the room it needs (in English: nearly)."""
    i = _ascii_end(folded, eights, _start, len(source))
    while i < len(source):
        point, width = _decode(source, i)
        code = _code(table, point)
        if code == _separator:
            for k in range(width):
                folded[i + k] = _space
        elif code & _alone or _width(np.uint32(code & _point)) != width:
            return False
        else:
            _encode(np.uint32(code & _point), width, folded, i)
        i = _ascii_end(folded, eights, i + width, len(source))
    return True


@compiled
def _rewrite(source: Any, table: Any, folded: Any) -> Any:
    """Fold a text whose characters change width or need spaces around them; return the length."""
    i, size = _start, _start
    # Whether the word before is a character that stands alone: then all but marks begins another.
    closed = False
    while i < len(source):
        if source[i] < _high:
            if closed:
                folded[size] = _space
                size += 1
                closed = False
            folded[size] = _fold_byte(source[i])
            i += 1
            size += 1
            continue
        point, width = _decode(source, i)
        i += width
        code = _code(table, point)
        alone = code & _alone
        if alone or code == _separator or (closed and not code & _mark):
            folded[size] = _space
            size += 1
            closed = False
        if code != _separator:
            code = np.uint32(code & _point)
            width = _width(code)
            _encode(code, width, folded, size)
            size += width
        closed = closed or alone != 0
    return size


@compiled
def _width(code: Any) -> int:
    """Return how many bytes a code point takes in UTF-8."""
    return 1 if code < 0x80 else 2 if code < 0x800 else 3 if code < 0x10000 else 4


@compiled
def _encode(code: Any, width: int, folded: Any, at: int) -> None:
    """Write a code point of that width as UTF-8 at folded[at]."""
    if width == 1:
        folded[at] = np.uint8(code)
        return
    for k in range(width - 1, 0, -1):
        folded[at + k] = np.uint8(0x80 | (code & np.uint32(0x3F)))
        code = np.uint32(code >> np.uint32(6))
    folded[at] = np.uint8((0xF00 >> width & 0xFF) | code)


@compiled
def _count_bits(bits: Any) -> Any:
    """Return how many bits of 64 are set."""
    bits -= (bits >> np.uint64(1)) & np.uint64(0x5555555555555555)
    bits = (bits & np.uint64(0x3333333333333333)) + ((bits >> np.uint64(2)) & np.uint64(0x3333333333333333))
    bits = (bits + (bits >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return np.int64((bits * np.uint64(0x0101010101010101)) >> np.uint64(56))


@compiled
def _split(folded: Any, size: int, flags: Any, eight_flags: Any, edges: Any) -> int:
    """Write start and end of each word to `edges`, and up to 8 numbers more; return the number of words.

    folded[size] is a space. eight_flags: the memory of `flags`, 8 a number, to the next 64 beyond size.
    """
    flags[0] = folded[0] > _space
    for i in range(1, size + 1):
        flags[i] = (folded[i] > _space) != (folded[i - 1] > _space)
    for i in range(size + 1, size + 64):
        flags[i] = 0
    count = 0
    for block in range(0, size + 1, 64):
        bits = np.uint64(0)
        for k in range(8):
            bits |= (eight_flags[(block >> 3) + k] * _gather) >> np.uint64(56) << np.uint64(8 * k)
        # Eight edges at a time, wanted or not: a branch on each would be mispredicted.
        end = count + _count_bits(bits)
        for i in range(count, end, 8):
            for k in range(8):
                edges[i + k] = block + np.int64(_trailing_zeros(bits))
                bits &= bits - np.uint64(1)
        count = end
    return count >> 1


@compiled
def _hash_words(eights: Any, edges: Any, count: int, hashes: Any) -> None:
    """Write the hash of each word; eights[i] are the 8 bytes from byte i on, little-endian.

    Numbers without a sign throughout, for an index that may be negative costs numba a comparison.
    """
    eight, longest = np.uint64(8), np.uint64(16)
    for k in range(count):
        start = np.uint64(edges[2 * k])
        size = np.uint64(edges[2 * k + 1]) - start
        short = min(size, longest)
        state = size * _golden
        # Two chunks always (95% of English words fit in 8 bytes, but a branch on it would be mispredicted).
        state = (state ^ (eights[start] & _first_masks[short])) * _mix_a
        state ^= state >> _half
        state = (state ^ (eights[start + eight] & _second_masks[short])) * _mix_a
        state ^= state >> _half
        done = longest
        while done < size:
            state = (state ^ (eights[start + done] & _first_masks[min(size - done, eight)])) * _mix_a
            state ^= state >> _half
            done += eight
        hashes[k] = state * _mix_b


@compiled
def _mark_words(folded: Any, edges: Any, count: int, has_letter: Any, lines: Any) -> None:
    """Write whether each word has a letter (or any character that is not ASCII), and its line."""
    line, read = 0, 0
    for k in range(count):
        for i in range(read, edges[2 * k]):
            line += folded[i] == _feed
        read = edges[2 * k + 1]
        letter = False
        for i in range(edges[2 * k], read):
            letter |= folded[i] > np.uint8(95)
        has_letter[k] = letter
        lines[k] = line


@compiled
def list_words(
    content: Any,
    offsets: Any,
    kinds: Any,
    normal: Any,
    normal_offsets: Any,
    table: Any,
    plain_table: Any,
    scratch: Any,
    hashes: Any,
    ends: Any,
    has_letter: Any,
    lines: Any,
) -> None:
    """Write the words of each text one after another; `has_letter` and `lines` may be empty where nobody asks.

    The difficult texts are read from `normal`, normalised and in their order, and told by `plain_table`.
    """
    folded, eights, flags, eight_flags, edges = scratch
    total, difficult = 0, 0
    ends[0] = 0
    for text in range(len(offsets) - 1):
        if kinds[text] == DIFFICULT:
            source = normal[normal_offsets[difficult] : normal_offsets[difficult + 1]]
            size = _fold(source, kinds[text] == ASCII, plain_table, folded, eights)
            difficult += 1
        else:
            source = content[offsets[text] : offsets[text + 1]]
            size = _fold(source, kinds[text] == ASCII, table, folded, eights)
        count = _split(folded, size, flags, eight_flags, edges)
        _hash_words(eights, edges, count, hashes[total:])
        if len(lines):
            _mark_words(folded, edges, count, has_letter[total:], lines[total:])
        total += count
        ends[text + 1] = total
