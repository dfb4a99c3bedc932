"""fastText: read supervised models from the files that fastText writes, and score texts by them.

The format is that of fastText 0.9 (versions 11 and 12), little-endian: options, dictionary, input matrix, output
matrix; these are plain, or quantised (.ftz), with the parts of words pruned. Whatever a file says of sizes is held
against its own size before memory is taken. Plain numbers of more than MAPPED_BYTES and codes stay in the file, and are
mapped into memory, page by page, as texts need them.
"""

import functools
import hashlib
import logging
import mmap
import os
import struct
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from cuvee.schemas.errors import RecipeError
from cuvee.tasks.filters import _fasttext_kernels as kernels
from cuvee.tasks.filters._fasttext_kernels import (
    HIERARCHICAL,
    LOGISTIC,
    NO_LABEL,
    SOFTMAX,
    Bytes,
    Matrix,
    Parts,
    Tree,
    Words,
)
from cuvee.tasks.words.kernel import Int64s, text_buffers

LABEL_PREFIX = "__label__"
MAPPED_BYTES = 256 << 20
# Quantised numbers that take no more than so many bytes as they are, are written out: twice as fast.
PLAIN_BYTES = 64 << 20

_MAGIC, _VERSIONS = 793712314, (11, 12)
_SUPERVISED = 3
_LOSSES = {1: HIERARCHICAL, 2: LOGISTIC, 3: SOFTMAX, 4: LOGISTIC}  # hs, ns, softmax, ova
_CENTROIDS = 256
# Longer ones are no model's, and a text of one word would take their number times its size.
_MOST_NGRAMS, _MOST_CHARACTERS = 16, 64
# Which of them are kept takes a fifth of a byte each, however small the file; models have 2 million.
_MOST_PRUNED = 1 << 27
# The count of a node that is not made yet: larger than that of any leaf.
_UNMADE = 10**15
_END = b"</s>"
_NONE = Matrix(
    np.empty((0, 0), np.float32), np.empty((0, 0), np.uint8), np.empty((0, 0, 0), np.float32), np.empty(0, np.float32)
)


class _CorruptError(Exception):
    """What is wrong with a file."""


class _Reader:
    """The bytes of a file, read from front to back; raises _CorruptError where they end or cannot be right."""

    def __init__(self, content: Bytes) -> None:
        self.content = content
        self.at = 0

    def take(self, form: str) -> Any:
        """Read a number, or several, as `struct` has them."""
        packed = struct.Struct(f"<{form}")
        self.must_hold(packed.size)
        found = packed.unpack(self.content[self.at : self.at + packed.size].tobytes())
        self.at += packed.size
        return found if len(found) > 1 else found[0]

    def flag(self) -> bool:
        """Read a truth value."""
        value = self.take("B")
        if value > 1:
            raise _CorruptError(f"byte {self.at - 1:,} is {value}, and neither 0 nor 1")
        return bool(value)

    def array(self, kind: str, *shape: int) -> npt.NDArray[Any]:
        """Read an array without a copy. shape: whole numbers, as the file says."""
        number = np.dtype(kind)
        size = number.itemsize
        for length in shape:
            if length < 0:
                raise _CorruptError(f"at byte {self.at:,} it says that {length:,} numbers follow")
            size *= length
        self.must_hold(size)
        found = self.content[self.at : self.at + size].view(number).reshape(shape)
        self.at += size
        return found

    def must_hold(self, size: int) -> None:
        """Check that so many bytes follow."""
        if size > len(self.content) - self.at:
            raise _CorruptError(
                f"it ends early: {size:,} bytes should follow byte {self.at:,}, and {len(self.content) - self.at:,} do"
            )


class FastText(NamedTuple):
    """A model in memory. labels: without their prefix; mapped_bytes: of numbers that stay in the file."""

    labels: tuple[str, ...]
    mapped_bytes: int
    loss: int
    words: Words
    parts: Parts
    input: Matrix
    output: Matrix
    tree: Tree

    def likeliest(self, texts: pl.Series) -> pl.DataFrame:
        """Return the most likely label of each text (string; null where the model knows nothing of it), and its score.

        score: float32, the probability as fastText gives it, which can pass 1 by some 1e-5.
        """
        found, scores = self._classify(texts, NO_LABEL)
        places = pl.Series(found).replace(NO_LABEL, None)
        return pl.DataFrame({"label": pl.Series(self.labels, dtype=pl.String).gather(places), "score": scores})

    def scores(self, texts: pl.Series, label: str) -> pl.Series:
        """Return the score of one label, float32, for each text; 0 where the model knows nothing of it."""
        return self._classify(texts, self.labels.index(label))[1]

    def _classify(self, texts: pl.Series, label: int) -> tuple[npt.NDArray[np.int32], pl.Series]:
        found, scores = np.empty(len(texts), np.int32), np.empty(len(texts), np.float32)
        content, offsets = text_buffers(texts)
        path = _path(self.tree, label)
        model = (self.words, self.parts, self.input, self.output, self.loss, self.tree, _steps())
        kernels.classify(content, offsets, *model, label, path, found, scores)
        if np.isnan(scores).any():
            raise RecipeError("a fastText model holds numbers that are none; get its file again")
        return found, pl.Series("score", scores)


def whole(texts: pl.Series) -> pl.Series:
    """Return texts without the word that ends a line for fastText, which would not read what stands behind it."""
    return texts.str.replace_all(_END.decode(), " ", literal=True)


def load(path: Path) -> FastText:
    """Read a model; once a process while the file stays as it is.

    Raises RecipeError, with what is wrong, for a file that is none, is damaged, or is not of a classifier.
    """
    return _load(path, _stamp(path))


def content_hash(path: Path) -> str:
    """Return the SHA-256 of a model file, computed once a process while it stays as it is. Raises RecipeError."""
    return _content_hash(path, _stamp(path))


def _stamp(path: Path) -> tuple[int, ...]:
    """Return what changes with a file."""
    try:
        found = path.stat()
    except OSError as error:
        raise RecipeError(f"{path} cannot be read: {error.strerror}; name a fastText model") from None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


@functools.cache
def _content_hash(path: Path, _: tuple[int, ...]) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@functools.cache
def _load(path: Path, _: tuple[int, ...]) -> FastText:
    try:
        with path.open("rb") as file:
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if os.fstat(file.fileno()).st_size else b""
        model = _read(_Reader(np.frombuffer(mapped, np.uint8)))
    except _CorruptError as error:
        raise RecipeError(f"{path} is no fastText model that can be used: {error}; get the file again") from None
    except OSError as error:
        raise RecipeError(f"{path} cannot be read: {error.strerror}; name a fastText model") from None
    if model.mapped_bytes:
        logging.getLogger("cuvee.tasks").warning(
            "%s: %s MB of the model stay in the file and are mapped into memory as texts need them",
            path,
            f"{model.mapped_bytes // 10**6:,}",
        )
    return model


def _read(file: _Reader) -> FastText:
    size, loss, buckets, least, most, ngrams = _options(file)
    words, counts, labels, pruned = _dictionary(file)
    order, bits, before = _kept(file, pruned, buckets)
    start = file.at
    is_quantised = file.flag()
    if pruned >= 0 and not is_quantised:
        raise _CorruptError("its parts of words are pruned, and its numbers not quantised")
    numbers = _matrix(file, is_quantised, words.words + (buckets if pruned < 0 else pruned), size)
    input_bytes = file.at - start
    if pruned > 0:
        numbers = _in_order(numbers, np.concatenate([np.arange(words.words), words.words + order]))
    output = _matrix(file, file.flag() and is_quantised, len(labels), size)
    if file.at != len(file.content):
        raise _CorruptError(f"{len(file.content) - file.at:,} bytes follow after its end")
    tree = _tree(counts.tolist()) if loss == HIERARCHICAL else Tree(*np.empty((2, 0), np.int32))
    parts = Parts(least, most, ngrams, max(buckets, 1), pruned >= 0, bits, before)
    return FastText(labels, input_bytes * (input_bytes > MAPPED_BYTES), loss, words, parts, numbers, output, tree)


def _options(file: _Reader) -> tuple[int, ...]:
    """Return the numbers of a vector, loss, buckets, least and most characters of parts, and the words of runs."""
    magic, version = file.take("2i")
    if magic != _MAGIC or version not in _VERSIONS:
        raise _CorruptError("it does not begin as files of fastText 0.9 do")
    size, _, _, _, _, ngrams, loss, kind, buckets, least, most, _ = file.take("12i")
    file.take("d")
    if kind != _SUPERVISED:
        raise _CorruptError("it holds word vectors, and no classifier (fasttext supervised)")
    most = 0 if version == _VERSIONS[0] else most  # whose classifiers knew no parts of words
    told = f"loss {loss}, vectors of {size}, {buckets} buckets, parts of {least} to {most}, runs of {ngrams}"
    if loss not in _LOSSES or size < 1 or not 1 <= ngrams <= _MOST_NGRAMS or not 0 <= most <= _MOST_CHARACTERS:
        raise _CorruptError(f"its options make no sense: {told}")
    if buckets < (1 if most or ngrams > 1 else 0):
        raise _CorruptError(f"its options make no sense: {told}")
    return size, _LOSSES[loss], buckets, max(least, 0), most, ngrams


def _dictionary(file: _Reader) -> tuple[Words, npt.NDArray[np.int64], tuple[str, ...], int]:
    """Return the words, the counts and names of labels, and how many buckets are kept (-1: all)."""
    size, count, labelled = file.take("3i")
    _, pruned = file.take("2q")
    if min(count, labelled) < 0 or labelled == 0 or count + labelled != size:
        raise _CorruptError(
            f"its dictionary makes no sense: {count:,} words and {labelled:,} labels of {size:,} entries"
        )
    if pruned < -1:
        raise _CorruptError(f"its dictionary makes no sense: {pruned:,} buckets")
    file.must_hold(size * 10)  # an entry has a zero, a count and a type at least
    starts, sizes, hashes = np.empty(size, np.int64), np.empty(size, np.int32), np.empty(size, np.uint32)
    counts, types = np.empty(size, np.int64), np.empty(size, np.uint8)
    end = kernels.read_entries(file.content, file.at, starts, sizes, hashes, counts, types)
    if end < 0:
        raise _CorruptError("it ends within its dictionary")
    if (types[:count] != kernels.WORD).any() or (types[count:] != kernels.LABEL).any():
        raise _CorruptError("its dictionary does not list its words, then its labels")
    file.at = end
    if counts.min() < 0 or int(counts[count:].astype(object).sum()) >= _UNMADE:
        raise _CorruptError("its dictionary makes no sense: the counts of its labels")
    slots = np.full(1 << (2 * size).bit_length(), -1, np.int32)
    kernels.fill_slots(hashes, slots)
    words = Words(file.content, starts, sizes, hashes, slots, count, -1)
    place = kernels.find(words, np.frombuffer(_END, np.uint8), 0, len(_END), _hash(_END))
    names = (
        file.content[start : start + length].tobytes().decode(errors="replace").removeprefix(LABEL_PREFIX)
        for start, length in zip(starts[count:].tolist(), sizes[count:].tolist(), strict=True)
    )
    return words._replace(end=place if place < count else -1), counts[count:], tuple(names), pruned


def _hash(word: bytes) -> np.uint32:
    state = 2166136261
    for byte in word:
        state = (state ^ byte) * 16777619 & 0xFFFFFFFF
    return np.uint32(state)


def _kept(file: _Reader, pruned: int, buckets: int) -> tuple[Int64s, npt.NDArray[np.uint64], npt.NDArray[np.int32]]:
    """Return the rows of the buckets that are kept, in the order of the buckets, and which these are, as in `Parts`."""
    pairs = file.array("<i4", max(pruned, 0), 2).astype(np.int64)
    if pruned < 0:
        return pairs[:, 1], np.zeros(0, np.uint64), np.zeros(0, np.int32)
    if buckets > _MOST_PRUNED:
        raise _CorruptError(f"it has {buckets:,} pruned buckets, and more than {_MOST_PRUNED:,} are not read")
    kept, rows = pairs[np.argsort(pairs[:, 0])].T
    if pruned and (
        kept[0] < 0 or kept[-1] >= buckets or not np.diff(kept).all() or rows.min() < 0 or rows.max() >= pruned
    ):
        raise _CorruptError("its dictionary makes no sense: the buckets that are kept")
    bits = np.zeros(buckets // 64 + 1, np.uint64)
    np.bitwise_or.at(bits, kept >> 6, np.uint64(1) << (kept & 63).astype(np.uint64))
    return rows, bits, np.searchsorted(kept, np.arange(len(bits)) * 64).astype(np.int32)


def _matrix(file: _Reader, is_quantised: bool, rows: int, size: int) -> Matrix:
    has_norms = is_quantised and file.flag()
    shape = file.take("2q")
    if shape != (rows, size):
        raise _CorruptError(f"it holds {shape[0]:,} × {shape[1]:,} numbers where {rows:,} × {size:,} belong")
    if is_quantised:
        return _quantised(file, has_norms, rows, size)
    numbers = file.array("<f4", rows, size)
    # A copy is aligned; what is mapped lies where it lies.
    return _NONE._replace(plain=numbers if numbers.nbytes > MAPPED_BYTES else numbers.copy())


def _quantised(file: _Reader, has_norms: bool, rows: int, size: int) -> Matrix:
    stored = file.take("i")
    if stored < 0 or stored % max(rows, 1):
        raise _CorruptError(f"{stored:,} codes are not those of {rows:,} rows")
    codes = file.array("u1", rows, stored // max(rows, 1))
    centroids = _centroids(file, size, codes.shape[1])
    norms = np.ones(rows, np.float32)
    if has_norms:
        of_rows = file.array("u1", rows)
        norms = _centroids(file, 1, 1)[0, of_rows, 0]
    if rows * size * 4 > PLAIN_BYTES:
        return _NONE._replace(codes=codes, centroids=centroids, norms=norms)
    parts = [centroids[part, codes[:, part]] * norms[:, None] for part in range(codes.shape[1])]
    return _NONE._replace(plain=np.ascontiguousarray(np.hstack(parts)[:, :size]))


def _in_order(matrix: Matrix, order: Int64s) -> Matrix:
    """Return the rows of a matrix in another order."""
    if len(matrix.plain):
        return matrix._replace(plain=matrix.plain[order])
    return matrix._replace(codes=matrix.codes[order], norms=matrix.norms[order])


def _centroids(file: _Reader, size: int, parts: int) -> npt.NDArray[np.float32]:
    """Return the centroids of a product quantiser: (parts, 256, numbers); those of the last part may be filled up."""
    whole, count, numbers, last = file.take("4i")
    if (
        whole != size
        or count != parts
        or numbers < 1
        or not 1 <= last <= numbers
        or (count - 1) * numbers + last != whole
    ):
        raise _CorruptError(f"its quantiser makes no sense: {count} times {numbers} numbers of {whole}")
    stored = file.array("<f4", _CENTROIDS * whole)
    found = np.zeros((count, _CENTROIDS, numbers), np.float32)
    before = (count - 1) * _CENTROIDS * numbers
    found[:-1] = stored[:before].reshape(count - 1, _CENTROIDS, numbers)
    found[-1, :, :last] = stored[before:].reshape(_CENTROIDS, last)
    return found


def _tree(counts: list[int]) -> Tree:
    """Make the Huffman tree of labels from their counts (>= 0, under _UNMADE), most frequent first."""
    labels = len(counts)
    sums = counts + [_UNMADE] * (labels - 1)
    left, right = np.full((2, 2 * labels - 1), -1, np.int32)
    leaf, node = labels - 1, labels
    for parent in range(labels, 2 * labels - 1):
        for side in (left, right):
            if leaf >= 0 and sums[leaf] < sums[node]:
                side[parent], leaf = leaf, leaf - 1
            else:
                side[parent], node = node, node + 1
        sums[parent] = sums[left[parent]] + sums[right[parent]]
    return Tree(left, right)


def _path(tree: Tree, label: int) -> npt.NDArray[np.int64]:
    """Return the inner nodes from the root of a tree to a label, ~node where it lies left of one."""
    path: list[int] = []
    node = label
    while tree.left.size and node not in (NO_LABEL, len(tree.left) - 1):
        ((side, parent),) = np.argwhere(np.stack(tree) == node).tolist()
        path.append(~parent if side == 0 else parent)
        node = parent
    return np.array(path[::-1], np.int64)


@functools.cache
def _steps() -> npt.NDArray[np.float32]:
    """Return the logistic function at its steps, as fastText tabulates it in 32 bits."""
    places = np.arange(kernels.STEPS + 1, dtype=np.float32) * 2 * kernels.REACH / kernels.STEPS - kernels.REACH
    return (1.0 / (1.0 + np.exp(-places).astype(np.float64))).astype(np.float32)
