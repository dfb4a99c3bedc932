"""Kernel: the bytes of many texts → words → shingle hashes → MinHash signatures → band keys.

Plain loops reach two thirds of the speed of hand-written vector code for the same signatures, on one core of an AVX-512
machine (docs/dedup.md). They come in two files, words (`word_loops`) and what is made of them (`loops`), and meet in
`_batches`. A text of any length is hashed whole, in about 9 bytes of memory a byte, 19 for `shingle_sets` (English).

Hashes. A word (its UTF-8 bytes) is hashed by 8-byte chunks to 64 bits, a shingle by Horner's rule over its words, again
to 64 bits; `shingle_hash32` is the upper half of that. Signatures use the 32-bit hash under datasketch's scheme
"affine32": the finaliser of MurmurHash3, then a·h + b mod 2^32 with odd a. Exact Jaccard uses the 64-bit hash: two
texts of 250,000 shingles each (1.4 MB of English) have a chance of 5e5² / 2^65 = 7e-9 of any wrong match, where 32 bits
would give them 15 wrong matches. Chances are over texts that nobody made to collide.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from cuvee.schemas.errors import RecipeError
from cuvee.tasks.words import loops, word_loops
from cuvee.tasks.words.words import code_table, normalise, plain_table

Text: TypeAlias = pa.Array | pa.ChunkedArray
Uint32s: TypeAlias = npt.NDArray[np.uint32]
Uint64s: TypeAlias = npt.NDArray[np.uint64]
Bytes: TypeAlias = npt.NDArray[np.uint8]
Int64s: TypeAlias = npt.NDArray[np.int64]

# Texts hashed at a time: what lies between the two kernels, a third of it in English, stays in the processor's cache.
BATCH_BYTES = 1 << 20
KEY_BYTES = 4  # of a band key
_MASK64 = (1 << 64) - 1


class Words(NamedTuple):
    """The words of many texts: words of text i are offsets[i] to offsets[i + 1]."""

    hashes: Uint64s
    has_letter: npt.NDArray[np.bool_]  # ASCII words without a letter are False; a word with any other character is True
    lines: npt.NDArray[np.int32]  # 0-based line of the text in which the word stands; lines end at line feeds
    offsets: Int64s


class Sketch(NamedTuple):
    """What is stored of each text: `band_keys` uint32[n, bands]; `text_key` uint64[n], 0 for a text without words.

    Texts with equal text keys have the same shingles, equally often (J = 1), but for a chance of 2^-64 a pair.
    """

    band_keys: Uint32s
    text_key: Uint64s


def shingle_hash32(shingle: bytes) -> int:
    """Hash a shingle, its words' UTF-8 bytes joined by single spaces, to 32 bits.

    The reference for the kernel, and the `hashfunc` under which datasketch.MinHash gives the same signatures.
    """
    return _shingle_hash64(shingle) >> 32


def _shingle_hash64(shingle: bytes) -> int:
    total = 0
    for word in shingle.split(b" "):
        state = len(word) * word_loops.GOLDEN & _MASK64
        for start in range(0, max(16, len(word)), 8):
            state = (state ^ int.from_bytes(word[start : start + 8], "little")) * word_loops.MIX_A & _MASK64
            state ^= state >> 32
        total = (total * word_loops.MIX_A + state * word_loops.MIX_B) & _MASK64
    return (total ^ total >> 32) * word_loops.MIX_B & _MASK64


def signatures(text: Text, ngram: int = 5, permutations: int = 128, seed: int = 1) -> Uint32s:
    """Return the MinHash signatures, uint32[n, permutations], bit-identical to datasketch's affine32.

    text: any Arrow string type; null counts as empty. ngram, permutations >= 1. seed: 0 to 2^32 - 1.
    """
    _check(ngram, permutations)
    values = np.empty((len(text), permutations), np.uint32)
    parameters = permutation_parameters(permutations, seed)
    for start, stop, words, ends in _batches(text):
        loops.sign(words, ends, ngram, *parameters, values[start:stop])
    return values


def sketch(text: Text, ngram: int, permutations: int, seed: int, bands: int, rows: int) -> Sketch:
    """Return band keys and text keys without holding all signatures; the arguments are those of the parts.

    The same as `band_keys(signatures(…), bands, rows)`. Raises RecipeError when bands·rows exceeds permutations.
    """
    _check(ngram, permutations)
    _check_bands(bands, rows, permutations)
    keys = np.empty((len(text), bands), np.uint32)
    text_keys = np.empty(len(text), np.uint64)
    # Permutations beyond bands·rows are not looked at.
    multipliers, increments = (part[: bands * rows] for part in permutation_parameters(permutations, seed))
    for start, stop, words, ends in _batches(text):
        part = keys[start:stop], text_keys[start:stop]
        loops.sketch(words, ends, ngram, multipliers, increments, rows, *part)
    return Sketch(keys, text_keys)


def band_keys(signature: Uint32s, bands: int, rows: int) -> Uint32s:
    """Return a 32-bit key of each band of consecutive signature values, uint32[n, bands]; bands·rows <= permutations.

    Equal keys mean equal values in that band, but for a chance of 2^-32 a pair: among a million texts 2,900 needless
    comparisons over 25 bands. Keys of 64 bits would double what a night reads.
    """
    _check_bands(bands, rows, signature.shape[1])
    keys = np.empty((len(signature), bands), np.uint32)
    loops.fill_band_keys(np.ascontiguousarray(signature), rows, keys)
    return keys


def shingle_sets(text: Text, ngram: int = 5) -> tuple[Uint64s, Int64s]:
    """Return the distinct 64-bit shingle hashes of each text, by first occurrence, and int64[n + 1] offsets."""
    _check(ngram, 1)
    sets, offsets = [np.empty(0, np.uint64)], np.zeros(len(text) + 1, np.int64)
    for start, stop, words, ends in _batches(text):
        hashes, set_ends = np.empty_like(words), np.empty_like(ends)
        loops.list_distinct(words, ends, ngram, hashes, set_ends)
        sets.append(hashes[: set_ends[-1]].copy())
        offsets[start + 1 : stop + 1] = offsets[start] + set_ends[1:]
    return np.concatenate(sets), offsets


def word_hashes(text: Text) -> Words:
    """Return the words of each text as 64-bit hashes, with their lines."""
    prepared = _prepare(text)
    room = prepared.room()
    hashes, lines, has_letter = np.empty(room, np.uint64), np.empty(room, np.int32), np.empty(room, np.bool_)
    ends = np.empty(len(text) + 1, np.int64)
    word_loops.list_words(*prepared, *_tables(prepared), _scratch(prepared), hashes, ends, has_letter, lines)
    return Words(hashes[: ends[-1]], has_letter[: ends[-1]], lines[: ends[-1]], ends)


def _batches(text: Text) -> Iterator[tuple[int, int, Uint64s, Int64s]]:
    """Yield texts start to stop, their word hashes one after another, and int64[stop - start + 1] offsets of those.

    The next batch overwrites the hashes: new memory for each would cost as much as hashing.
    """
    prepared = _prepare(text)
    tables, scratch, hashes = _tables(prepared), _scratch(prepared), np.empty(0, np.uint64)
    no_letters, no_lines = np.empty(0, np.bool_), np.empty(0, np.int32)
    difficult_before = np.append(0, np.cumsum(prepared.kinds == word_loops.DIFFICULT))
    start = 0
    while start < len(text):
        filled = prepared.offsets[start] + BATCH_BYTES
        stop = max(start + 1, int(np.searchsorted(prepared.offsets, filled, "right")) - 1)
        batch = _Prepared(
            prepared.content,
            prepared.offsets[start : stop + 1],
            prepared.kinds[start:stop],
            prepared.normal,
            prepared.normal_offsets[difficult_before[start] : difficult_before[stop] + 1],
        )
        ends = np.empty(stop - start + 1, np.int64)
        if len(hashes) < batch.room():
            hashes = np.empty(batch.room(), np.uint64)
        word_loops.list_words(*batch, *tables, scratch, hashes, ends, no_letters, no_lines)
        yield start, stop, hashes[: ends[-1]], ends
        start = stop


def permutation_parameters(permutations: int, seed: int) -> tuple[Uint32s, Uint32s]:
    """Return multipliers (odd) and increments, uint32[permutations] each, drawn as datasketch 2.0 draws them."""
    generator = np.random.RandomState(seed)
    multipliers = generator.randint(0, 1 << 31, permutations, dtype=np.uint32) * np.uint32(2) + np.uint32(1)
    return multipliers, generator.randint(0, 1 << 32, permutations, dtype=np.uint32)


class _Prepared(NamedTuple):
    """Texts as bytes with int64[n + 1] offsets, and their kinds; the difficult ones normalised, in their order."""

    content: Bytes
    offsets: Int64s
    kinds: Bytes
    normal: Bytes
    normal_offsets: Int64s

    def room(self) -> int:
        """Return how many words the texts can have: two take at least three bytes, but for a single one of one byte."""
        size = self.offsets[-1] - self.offsets[0] + self.normal_offsets[-1] - self.normal_offsets[0]
        return int(size + len(self.offsets) + len(self.normal_offsets)) // 2


def _prepare(text: Text) -> _Prepared:
    """Return the texts as the kernel takes them; null counts as empty."""
    if isinstance(text, pa.ChunkedArray):
        text = text.combine_chunks()
    text = pc.fill_null(text.cast(pa.large_string()), "")
    content, offsets = text_buffers(text)
    kinds = np.full(len(text), word_loops.ASCII, np.uint8)
    if content.size and content.max() >= 0x80:
        word_loops.classify(content, _eights(content), offsets, code_table(), kinds)
    difficult = kinds == word_loops.DIFFICULT
    none = pa.array([], pa.large_string())
    normal = normalise(text.filter(pa.array(difficult))) if difficult.any() else none
    return _Prepared(content, offsets, kinds, *text_buffers(normal))


def text_buffers(text: pa.LargeStringArray | pl.Series) -> tuple[Bytes, Int64s]:
    """Return the bytes of all texts, and int64[n + 1] offsets into them from 0.

    Null counts as empty. Of an array without nulls, or a Series in one piece, nothing is copied but the offsets.
    """
    if isinstance(text, pl.Series):
        text = text.cast(pl.String).fill_null("").rechunk().to_arrow(compat_level=pl.CompatLevel.oldest())
    _, starts, content = text.buffers()
    view = np.frombuffer(content or b"\0", np.uint8)
    # numba compiles once more for an array that may be written to.
    view.flags.writeable = False
    if not len(text):
        return view[:0], np.zeros(1, np.int64)
    offsets = np.frombuffer(starts, np.int64)[text.offset : text.offset + len(text) + 1]
    return view[offsets[0] : offsets[-1]], offsets - offsets[0]


def _tables(prepared: _Prepared) -> tuple[Uint32s, Uint32s]:
    """Return the tables for foldable and difficult texts; empty ones where there are none."""
    kinds, none = prepared.kinds, np.empty(0, np.uint32)
    return (
        code_table() if (kinds == word_loops.FOLDABLE).any() else none,
        plain_table() if (kinds == word_loops.DIFFICULT).any() else none,
    )


def _scratch(prepared: _Prepared) -> tuple[Any, ...]:
    """Return the arrays that `word_loops` writes for one text.

    Its folded bytes, the same as the 8 bytes from each byte on, flags (does a word start or end here), the same flags
    as 8 a number, word edges.
    """
    longest = max(int(np.diff(offsets).max(initial=0)) for offsets in (prepared.offsets, prepared.normal_offsets))
    # A character of two bytes may fold to three, one of three to five (spaces around it), one of four to six.
    # The hash of a word reads up to 16 bytes beyond it, and flags are read 64 at a time.
    size = longest + (longest * 2) // 3 + 72
    folded, flags = np.zeros(size // 8 + 1, np.uint64), np.zeros(size // 8 + 1, np.uint64)
    eights = _eights(folded.view(np.uint8))
    return folded.view(np.uint8), eights, flags.view(np.uint8), flags, np.empty(size + 1, np.int64)


def _eights(content: Bytes) -> Uint64s:
    """Return the same memory as the 8 bytes from each byte on, one number each, as long as there are 8."""
    return np.ndarray((max(0, len(content) - 7),), np.uint64, content, strides=(1,))


def _check(ngram: int, permutations: int) -> None:
    if ngram < 1 or permutations < 1:
        raise RecipeError(f"dedup: ngram {ngram}, permutations {permutations}: give numbers of at least 1")


def _check_bands(bands: int, rows: int, permutations: int) -> None:
    if bands < 1 or rows < 1 or bands * rows > permutations:
        raise RecipeError(
            f"dedup.bands: {bands} bands of {rows} rows need {bands * rows} permutations, of which there are "
            f"{permutations}; use fewer bands or more permutations"
        )
