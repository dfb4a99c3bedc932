"""Kernels of fastText: from the bytes of texts to the scores of a model's labels. Compiled, cached, free of the GIL.

All kernels stand in this one file: numba's cache looks at the file of the function that is called, and would not see a
change in a function or a constant of another file. What they compute is fastText's own arithmetic, in its order but for
the sums of a word's parts, which are kept for the word's next occurrence: scores are equal to some 1e-7.

A line of fastText is a text here, its line feeds read as blanks, and the end of the line that it counts as a word. A
word is what stands between blanks of ASCII; a text's bytes are content[offsets[i]:offsets[i + 1]], as in Arrow.
"""

from typing import Any, NamedTuple, TypeVar, cast

import numba
import numpy as np
import numpy.typing as npt

Function = TypeVar("Function")
Bytes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]

HIERARCHICAL, LOGISTIC, SOFTMAX = range(3)
NO_LABEL = -1
# Of logistic scores, as fastText tabulates them: 512 steps between -8 and 8.
STEPS, REACH = 512, 8
# What fastText adds to a probability before its logarithm; scores keep it.
LEAST = 1e-5
WORD, LABEL = 0, 1  # types of entries

_BASIS, _PRIME = np.uint32(2166136261), np.uint32(16777619)
_NGRAM_FACTOR, _ONE = np.uint64(116049371), np.uint64(1)
_END = np.frombuffer(b"</s>", np.uint8)
_PREFIX = np.frombuffer(b"__label__", np.uint8)
_OPEN, _CLOSE = np.uint8(ord("<")), np.uint8(ord(">"))
# Words whose sums are kept at a time: so many bytes of vectors stay in the processor's cache.
_KEPT_BYTES = 1 << 23
_AT_A_TIME = 1024  # buckets that are looked up


class Matrix(NamedTuple):
    """Rows of numbers, as they are, float32 (rows, size), or by codes (rows, parts) of centroids (parts, 256, numbers).

    A row by codes is the centroids of its codes one after another, times its norm. The one that is not used is empty.
    """

    plain: Floats
    codes: Bytes
    centroids: Floats
    norms: Floats


class Words(NamedTuple):
    """The entries of a dictionary: content[starts[i] : starts[i] + sizes[i]]; slots: their places by hash, or -1.

    The first `words` are words, the others labels; end: the place of the end of a line, or -1.
    """

    content: Bytes
    starts: npt.NDArray[np.int64]
    sizes: npt.NDArray[np.int32]
    hashes: npt.NDArray[np.uint32]
    slots: npt.NDArray[np.int32]
    words: int
    end: int


class Parts(NamedTuple):
    """What counts beside words: their parts of `least` to `most` characters (none: most 0), and runs of words of up to
    `ngrams`; buckets: of hashes. Of pruned ones, kept are those whose bit is set in `bits`, and their rows lie in the
    order of the buckets: `before`, of each 64 bits, is how many are set before them.
    """

    least: int
    most: int
    ngrams: int
    buckets: int
    pruned: bool
    bits: npt.NDArray[np.uint64]
    before: npt.NDArray[np.int32]


class Tree(NamedTuple):
    """A Huffman tree: the labels are the first nodes, the root is the last; left and right of each, -1 for labels."""

    left: npt.NDArray[np.int32]
    right: npt.NDArray[np.int32]


def compiled(function: Function) -> Function:
    """Compile a kernel. No `parallel=True`: callers run one kernel a thread."""
    return cast(Function, numba.njit(nogil=True, cache=True, error_model="numpy")(function))


@compiled
def _next_hash(state: Any, byte: Any) -> Any:
    """Add a byte to a hash: FNV-1a of 32 bits, over bytes with a sign."""
    return np.uint32((state ^ np.uint32(np.int32(np.int8(byte)))) * _PRIME)


@compiled
def _slot(hashed: Any, slots: Any) -> Any:
    return np.int64(hashed) & (len(slots) - 1)


@compiled
def _is_blank(byte: Any) -> bool:
    return bool(byte == 32 or np.uint8(byte - 9) < 5 or byte == 0)


@compiled
def _same(a: Any, start: int, b: Any, other: int, size: int) -> bool:
    i = 0
    while i < size and a[start + i] == b[other + i]:
        i += 1
    return i == size


@compiled
def read_entries(content: Any, at: int, starts: Any, sizes: Any, hashes: Any, counts: Any, types: Any) -> int:
    """Read the entries of a dictionary from byte `at` on: each a text, a zero, a count of 64 bits and a type.

    Return the byte after them, or -1 where the content ends before.
    """
    for entry in range(len(starts)):
        starts[entry] = at
        state = _BASIS
        while at < len(content) and content[at] != 0:
            state = _next_hash(state, content[at])
            at += 1
        if at + 10 > len(content):
            return -1
        sizes[entry] = at - starts[entry]
        hashes[entry] = state
        count = np.uint64(0)
        for i in range(8):
            count |= np.uint64(content[at + 1 + i]) << np.uint64(8 * i)
        counts[entry] = np.int64(count)
        types[entry] = content[at + 9]
        at += 10
    return at


@compiled
def fill_slots(hashes: Any, slots: Any) -> None:
    """Put the entries into an open-addressing table (length a power of 2), -1 before, in their order."""
    for entry in range(len(hashes)):
        slot = _slot(hashes[entry], slots)
        while slots[slot] >= 0:
            slot = (slot + 1) & (len(slots) - 1)
        slots[slot] = entry


@compiled
def find(words: Any, content: Any, start: int, size: int, hashed: Any) -> Any:
    """Return the place of a word in the dictionary, or -1."""
    listed, starts, sizes, hashes, slots, _, _ = words
    slot = _slot(hashed, slots)
    while slots[slot] >= 0:
        entry = slots[slot]
        if hashes[entry] == hashed and sizes[entry] == size and _same(content, start, listed, starts[entry], size):
            return np.int64(entry)
        slot = (slot + 1) & (len(slots) - 1)
    return -1


@compiled
def _add(plain: Any, codes: Any, centroids: Any, norms: Any, row: int, vector: Any) -> None:
    """Add a row of a matrix to a vector."""
    if len(plain):
        # Eight at a time, read before any is written: the compiler's own loop takes 32, and most models have fewer.
        eights = plain.shape[1] & ~7
        for i in range(0, eights, 8):
            a, b, c, d = vector[i], vector[i + 1], vector[i + 2], vector[i + 3]
            e, f, g, h = vector[i + 4], vector[i + 5], vector[i + 6], vector[i + 7]
            a, b, c, d = a + plain[row, i], b + plain[row, i + 1], c + plain[row, i + 2], d + plain[row, i + 3]
            e, f, g, h = e + plain[row, i + 4], f + plain[row, i + 5], g + plain[row, i + 6], h + plain[row, i + 7]
            vector[i], vector[i + 1], vector[i + 2], vector[i + 3] = a, b, c, d
            vector[i + 4], vector[i + 5], vector[i + 6], vector[i + 7] = e, f, g, h
        for i in range(eights, plain.shape[1]):
            vector[i] += plain[row, i]
    else:
        norm, size = norms[row], centroids.shape[2]
        for part in range(codes.shape[1]):
            code = codes[row, part]
            for i in range(size):
                vector[part * size + i] += norm * centroids[part, code, i]


@compiled
def _dot(matrix: Any, row: int, vector: Any) -> Any:
    """Multiply a row and a vector."""
    plain, codes, centroids, norms = matrix
    total = np.float32(0)
    if len(plain):
        for i in range(plain.shape[1]):
            total += plain[row, i] * vector[i]
        return total
    size = centroids.shape[2]
    for part in range(codes.shape[1]):
        code = codes[row, part]
        for i in range(size):
            total += vector[part * size + i] * centroids[part, code, i]
    return np.float32(total * norms[row])


@compiled
def _count_bits(bits: Any) -> Any:
    """Return how many bits of 64 are set."""
    bits = bits - ((bits >> np.uint64(1)) & np.uint64(0x5555555555555555))
    bits = (bits & np.uint64(0x3333333333333333)) + ((bits >> np.uint64(2)) & np.uint64(0x3333333333333333))
    bits = (bits + (bits >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return np.int64((bits * np.uint64(0x0101010101010101)) >> np.uint64(56))


@compiled
def _add_buckets(words: int, parts: Any, matrix: Any, buckets: Any, count: Any, vector: Any) -> Any:
    """Add the rows of the first `count` of `buckets`, as far as they are kept; return how many were added.

    First all are looked up and then all are added, without a branch that waits for memory: three times as fast.
    """
    # Arrays are taken out of their tuples once: numba counts references each time.
    _, _, _, _, pruned, bits, before = parts
    plain, codes, centroids, norms = matrix
    if pruned:
        looked_up, count = count, 0
        for i in range(looked_up):
            place, bit = buckets[i] >> 6, np.uint64(buckets[i] & 63)
            buckets[count] = before[place] + _count_bits(bits[place] & ((_ONE << bit) - _ONE))
            count += np.int64(bits[place] >> bit & _ONE)
    for i in range(count):
        _add(plain, codes, centroids, norms, words + buckets[i], vector)
    return count


@compiled
def _add_parts(words: int, parts: Any, matrix: Any, word: Any, size: int, buckets: Any, vector: Any) -> Any:
    """Add the rows of a word's runs of characters, its brackets among them; return how many were added.

    word: room for its first bracket, its bytes, room for the last one; size: of these.
    """
    least, most, modulus = parts.least, parts.most, np.uint32(parts.buckets)
    # A division by multiplication: off by one at most, which the remainder tells.
    inverse = 1.0 / np.float64(modulus)
    added = waiting = 0
    word[0], word[size - 1] = _OPEN, _CLOSE
    for first in range(size):
        if word[first] & 0xC0 == 0x80:
            continue
        state, i, characters = _BASIS, first, 1
        while i < size and characters <= most:
            state = _next_hash(state, word[i])
            i += 1
            while i < size and word[i] & 0xC0 == 0x80:
                state = _next_hash(state, word[i])
                i += 1
            if characters >= least and not (characters == 1 and (first == 0 or i == size)):
                bucket = np.int64(state) - np.int64(np.float64(state) * inverse) * np.int64(modulus)
                bucket += modulus if bucket < 0 else 0
                buckets[waiting] = bucket - (modulus if bucket >= modulus else 0)
                waiting += 1
            characters += 1
        if waiting + most > len(buckets):
            added += _add_buckets(words, parts, matrix, buckets, waiting, vector)
            waiting = 0
    return added + _add_buckets(words, parts, matrix, buckets, waiting, vector)


@compiled
def _add_runs(words: int, parts: Any, matrix: Any, hashes: Any, count: int, buckets: Any, vector: Any) -> Any:
    """Add the rows of runs of two words and more; return how many were added."""
    added, waiting, modulus = 0, 0, np.uint64(parts.buckets)
    for first in range(count):
        state = np.uint64(np.int64(hashes[first]))
        for last in range(first + 1, min(count, first + parts.ngrams)):
            state = state * _NGRAM_FACTOR + np.uint64(np.int64(hashes[last]))
            buckets[waiting] = state % modulus
            waiting += 1
        if waiting + parts.ngrams > len(buckets):
            added += _add_buckets(words, parts, matrix, buckets, waiting, vector)
            waiting = 0
    return added + _add_buckets(words, parts, matrix, buckets, waiting, vector)


@compiled
def _read(
    words: Any,
    parts: Any,
    matrix: Any,
    content: Any,
    begin: int,
    end: int,
    kept: Any,
    room: Any,
    hidden: Any,
) -> Any:
    """Add the rows of a text to `hidden`, zero before; return how many were added.

    kept: of words seen before in `content`, by hash: where they start (-1: none), their bytes, rows and sums.
    """
    starts, sizes, rows, sums = kept
    word, buckets, hashes = room
    plain, codes, centroids, norms = matrix
    added = count = 0
    i = begin
    ended = False
    while i < end and not ended:
        if _is_blank(content[i]):
            i += 1
            continue
        start, state = i, _BASIS
        while i < end and not _is_blank(content[i]):
            state = _next_hash(state, content[i])
            i += 1
        size = i - start
        ended = size == len(_END) and _same(content, start, _END, 0, size)
        if ended:
            break
        slot = _slot(state, starts)
        if starts[slot] < 0 or sizes[slot] != size or not _same(content, start, content, starts[slot], size):
            entry = find(words, content, start, size, state)
            labelled = size >= len(_PREFIX) and _same(content, start, _PREFIX, 0, len(_PREFIX))
            if entry >= words.words or (entry < 0 and labelled):
                continue
            starts[slot], sizes[slot] = start, size
            for k in range(len(hidden)):
                sums[slot, k] = 0
            rows[slot] = 0
            if entry >= 0:
                _add(plain, codes, centroids, norms, entry, sums[slot])
                rows[slot] = 1
            if parts.most:
                for k in range(size):
                    word[1 + k] = content[start + k]
                rows[slot] += _add_parts(words.words, parts, matrix, word, size + 2, buckets, sums[slot])
        _add(sums, codes, centroids, norms, slot, hidden)
        added += rows[slot]
        if parts.ngrams > 1:
            hashes[count] = np.int32(state)
            count += 1
    if words.end >= 0:
        _add(plain, codes, centroids, norms, words.end, hidden)
        added += 1
    if parts.ngrams > 1:
        state = _BASIS
        for byte in _END:
            state = _next_hash(state, byte)
        hashes[count] = np.int32(state)
        added += _add_runs(words.words, parts, matrix, hashes, count + 1, buckets, hidden)
    return added


@compiled
def _log(probability: Any) -> Any:
    return np.float32(np.log(np.float64(probability) + LEAST))


@compiled
def _right(output: Any, node: int, labels: int, hidden: Any) -> Any:
    """Return the probability that a node's right side holds the label."""
    return np.float32(1.0 / np.float64(np.float32(1) + np.exp(-_dot(output, node - labels, hidden))))


@compiled
def _likeliest_leaf(tree: Any, output: Any, hidden: Any, nodes: Any, logs: Any) -> Any:
    """Return the most likely label and the logarithm of its score. nodes, logs: room for all labels."""
    labels = (len(tree.left) + 1) // 2
    best, found = np.float32(-np.inf), NO_LABEL
    nodes[0], logs[0] = len(tree.left) - 1, np.float32(0)
    waiting = 1
    while waiting:
        waiting -= 1
        node, log = int(nodes[waiting]), logs[waiting]
        if log < best:
            continue
        if node < labels:
            best, found = log, node
            continue
        right = _right(output, node, labels, hidden)
        to_left = np.float32(log + _log(np.float32(1.0 - np.float64(right))))
        to_right = np.float32(log + _log(right))
        # The likelier side is looked at first, which spares most of the other.
        nodes[waiting], logs[waiting] = (
            (tree.right[node], to_right) if to_left > to_right else (tree.left[node], to_left)
        )
        waiting += 1
        nodes[waiting], logs[waiting] = (
            (tree.left[node], to_left) if to_left > to_right else (tree.right[node], to_right)
        )
        waiting += 1
    return found, best


@compiled
def _log_of_leaf(path: Any, output: Any, hidden: Any, labels: int) -> Any:
    """Return the logarithm of a label's score. path: the nodes from the root to it, as ~node where it lies left."""
    log = np.float32(0)
    for step in path:
        right = _right(output, step if step >= 0 else ~step, labels, hidden)
        log = np.float32(log + _log(right if step >= 0 else np.float32(1.0 - np.float64(right))))
    return log


@compiled
def _logistic(value: Any, steps: Any) -> Any:
    if value < -REACH:
        return np.float32(0)
    if value > REACH:
        return np.float32(1)
    return steps[np.int64((value + np.float32(REACH)) * np.float32(STEPS) / np.float32(REACH) / np.float32(2))]


@compiled
def _softmax(output: Any, hidden: Any, values: Any) -> None:
    """Write the probability of each label."""
    for label in range(len(values)):
        values[label] = _dot(output, label, hidden)
    # Loops throughout: each function of numpy costs more to compile than the kernel that calls it.
    most, total = values[0], np.float32(0)
    for label in range(len(values)):
        most = max(most, values[label])
    for label in range(len(values)):
        values[label] = np.exp(values[label] - most)
        total += values[label]
    for label in range(len(values)):
        values[label] /= total


@compiled
def _likeliest(loss: int, tree: Any, steps: Any, output: Any, hidden: Any, nodes: Any, values: Any) -> Any:
    """Return the most likely label of all and the logarithm of its score; of equal ones the last, as fastText does."""
    if loss == HIERARCHICAL:
        return _likeliest_leaf(tree, output, hidden, nodes, values)
    if loss == SOFTMAX:
        _softmax(output, hidden, values)
    else:
        for label in range(len(values)):
            values[label] = _logistic(_dot(output, label, hidden), steps)
    best, found = np.float32(-np.inf), NO_LABEL
    for label in range(len(values)):
        log = _log(values[label])
        if log >= best:
            best, found = log, label
    return found, best


@compiled
def _log_of(label: int, loss: int, path: Any, steps: Any, output: Any, hidden: Any, values: Any) -> Any:
    """Return the logarithm of a label's score."""
    if loss == HIERARCHICAL:
        return _log_of_leaf(path, output, hidden, len(values))
    if loss == SOFTMAX:
        _softmax(output, hidden, values)
        return _log(values[label])
    return _log(_logistic(_dot(output, label, hidden), steps))


@compiled
def classify(
    content: Any,
    offsets: Any,
    words: Any,
    parts: Any,
    matrix: Any,
    output: Any,
    loss: int,
    tree: Any,
    steps: Any,
    label: int,
    path: Any,
    found: Any,
    scores: Any,
) -> None:
    """Write the label of each text and its score: the most likely one, or `label` where that is not NO_LABEL.

    A text of which nothing is known has NO_LABEL and 0. A score is not a number where the model's numbers are none.
    steps: of `_logistic`. path: of `_log_of_leaf`.
    """
    size = matrix.plain.shape[1] if len(matrix.plain) else matrix.codes.shape[1] * matrix.centroids.shape[2]
    labels = len(output.plain) if len(output.plain) else len(output.codes)
    slots = 64
    while 2 * slots * size * 4 <= _KEPT_BYTES:
        slots *= 2
    kept = (
        np.full(slots, -1, np.int64),
        np.empty(slots, np.int64),
        np.empty(slots, np.int64),
        np.empty((slots, size), np.float32),
    )
    longest = 0
    for text in range(len(offsets) - 1):
        longest = max(longest, offsets[text + 1] - offsets[text])
    hashes = np.empty(longest // 2 + 2 if parts.ngrams > 1 else 0, np.int32)
    room = np.empty(longest + 2, np.uint8), np.empty(_AT_A_TIME, np.int64), hashes
    hidden = np.empty(size, np.float32)
    nodes, values = np.empty(labels + 1, np.int64), np.empty(labels + 1, np.float32)
    for text in range(len(offsets) - 1):
        for k in range(size):
            hidden[k] = 0
        rows = _read(words, parts, matrix, content, offsets[text], offsets[text + 1], kept, room, hidden)
        if rows == 0:
            found[text], scores[text] = NO_LABEL, 0
            continue
        total = np.float32(0)
        for k in range(size):
            hidden[k] *= np.float32(1.0 / rows)
            total += hidden[k]
        if label == NO_LABEL:
            found[text], log = _likeliest(loss, tree, steps, output, hidden, nodes, values[:labels])
        else:
            found[text], log = label, _log_of(label, loss, path, steps, output, hidden, values[:labels])
        scores[text] = np.exp(log) if np.isfinite(total) else np.nan
