"""Kernel: the bytes of many texts → words → shingle hashes → MinHash signatures → band keys.

Plain loops (`loops`) reach about 60% of the speed of hand-written vector code for the same signatures, and a hundred
times that of datasketch, on one core of an AVX-512 machine. A text of any length is hashed whole; the scratch memory is
20 to 50 bytes per byte of the longest text of a call.

Hashes. A word (its UTF-8 bytes) is hashed by 8-byte chunks to 64 bits, a shingle by Horner's rule over its words, again
to 64 bits; `shingle_hash32` is the upper half of that. Signatures use the 32-bit hash under datasketch's scheme
"affine32": the finaliser of MurmurHash3, then a·h + b mod 2^32 with odd a. Exact Jaccard uses the 64-bit hash: two
texts of 250,000 shingles each (1.4 MB of English) have a chance of 5e5² / 2^65 = 7e-9 of any wrong match, where 32 bits
would give them 15 wrong matches. Chances are over texts that nobody made to collide.
"""

from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from cuvee.schemas.errors import RecipeError
from cuvee.tasks.dedup import loops
from cuvee.tasks.dedup.words import code_table, spell_out

Text: TypeAlias = pa.Array | pa.ChunkedArray
Uint32s: TypeAlias = npt.NDArray[np.uint32]
Uint64s: TypeAlias = npt.NDArray[np.uint64]
Int64s: TypeAlias = npt.NDArray[np.int64]

_MASK64 = (1 << 64) - 1


class Words(NamedTuple):
    """The words of many texts: words of text i are offsets[i] to offsets[i + 1]."""

    hashes: Uint64s
    has_letter: npt.NDArray[np.bool_]  # ASCII words without a letter are False; a word with any other character is True
    lines: npt.NDArray[np.int32]  # 0-based line of the text in which the word stands; lines end at line feeds
    offsets: Int64s


class Sketch(NamedTuple):
    """What is stored of each text: `band_keys` uint64[n, bands]; `text_key` uint64[n], 0 for a text without words.

    Texts with equal text keys have the same shingles, equally often (J = 1), but for a chance of 2^-64 a pair.
    """

    band_keys: Uint64s
    text_key: Uint64s


def shingle_hash32(shingle: bytes) -> int:
    """Hash a shingle, its words' UTF-8 bytes joined by single spaces, to 32 bits.

    The reference for the kernel, and the `hashfunc` under which datasketch.MinHash gives the same signatures.
    """
    return _shingle_hash64(shingle) >> 32


def _shingle_hash64(shingle: bytes) -> int:
    total = 0
    for word in shingle.split(b" "):
        state = len(word) * loops.GOLDEN & _MASK64
        for start in range(0, max(16, len(word)), 8):
            state = (state ^ int.from_bytes(word[start : start + 8], "little")) * loops.MIX_A & _MASK64
            state ^= state >> 32
        total = (total * loops.MIX_A + state * loops.MIX_B) & _MASK64
    return (total ^ total >> 32) * loops.MIX_B & _MASK64


def signatures(text: Text, ngram: int = 5, permutations: int = 128, seed: int = 1) -> Uint32s:
    """Return the MinHash signatures, uint32[n, permutations], bit-identical to datasketch's affine32.

    text: any Arrow string type; null counts as empty. ngram, permutations >= 1. seed: 0 to 2^32 - 1.
    """
    _check(ngram, permutations)
    content, offsets, ready = prepare(text)
    scratch = _scratch(offsets)
    values = np.empty((len(offsets) - 1, permutations), np.uint32)
    loops.sign(
        content, offsets, ready, _table(ready), ngram, *permutation_parameters(permutations, seed), scratch, values
    )
    return values


def sketch(text: Text, ngram: int, permutations: int, seed: int, bands: int, rows: int) -> Sketch:
    """Return band keys and text keys without holding all signatures; the arguments are those of the parts.

    The same as `band_keys(signatures(…), bands, rows)`. Raises RecipeError when bands·rows exceeds permutations.
    """
    _check(ngram, permutations)
    _check_bands(bands, rows, permutations)
    content, offsets, ready = prepare(text)
    keys = np.empty((len(offsets) - 1, bands), np.uint64)
    text_keys = np.empty(len(offsets) - 1, np.uint64)
    # Permutations beyond bands·rows are not looked at.
    multipliers, increments = (part[: bands * rows] for part in permutation_parameters(permutations, seed))
    loops.sketch_all(
        content, offsets, ready, _table(ready), ngram, multipliers, increments, _scratch(offsets), rows, keys, text_keys
    )
    return Sketch(keys, text_keys)


def band_keys(signature: Uint32s, bands: int, rows: int) -> Uint64s:
    """Return a 64-bit key of each band of consecutive signature values, uint64[n, bands]; bands·rows <= permutations.

    Equal keys mean equal values in that band, but for a chance of 2^-64 a pair.
    """
    _check_bands(bands, rows, signature.shape[1])
    keys = np.empty((len(signature), bands), np.uint64)
    loops.fill_band_keys(np.ascontiguousarray(signature), rows, keys)
    return keys


def shingle_sets(text: Text, ngram: int = 5) -> tuple[Uint64s, Int64s]:
    """Return the distinct 64-bit shingle hashes of each text, by first occurrence, and int64[n + 1] offsets."""
    _check(ngram, 1)
    content, offsets, ready = prepare(text)
    # Two words take at least three bytes, but for a single word of one byte.
    hashes = np.empty(int(((np.diff(offsets) + 1) // 2).sum()), np.uint64)
    ends = np.zeros(len(offsets), np.int64)
    total = loops.list_distinct(content, offsets, ready, _table(ready), ngram, _scratch(offsets), hashes, ends)
    return hashes[:total].copy(), ends


def word_hashes(text: Text) -> Words:
    """Return the words of each text as 64-bit hashes, with their lines."""
    content, offsets, ready = prepare(text)
    room = int(((np.diff(offsets) + 1) // 2).sum())
    hashes, lines = np.empty(room, np.uint64), np.empty(room, np.int32)
    has_letter, ends = np.empty(room, np.bool_), np.zeros(len(offsets), np.int64)
    total = loops.list_words(content, offsets, ready, _table(ready), _scratch(offsets), hashes, has_letter, lines, ends)
    return Words(hashes[:total], has_letter[:total], lines[:total], ends)


def permutation_parameters(permutations: int, seed: int) -> tuple[Uint32s, Uint32s]:
    """Return multipliers (odd) and increments, uint32[permutations] each, drawn as datasketch 2.0 draws them."""
    generator = np.random.RandomState(seed)
    multipliers = generator.randint(0, 1 << 31, permutations, dtype=np.uint32) * np.uint32(2) + np.uint32(1)
    return multipliers, generator.randint(0, 1 << 32, permutations, dtype=np.uint32)


def prepare(text: Text) -> tuple[npt.NDArray[np.uint8], Int64s, npt.NDArray[np.bool_]]:
    """Return the bytes of all texts, int64[n + 1] offsets into them, and which texts need no table.

    A text needs no table when it is ASCII, or has been spelt out because it holds a COMPLEX code point.
    """
    if isinstance(text, pa.ChunkedArray):
        text = text.combine_chunks()
    text = pc.fill_null(text.cast(pa.large_string()), "")
    content, offsets = text_buffers(text)
    kinds = np.zeros(len(text), np.uint8)
    if content.size and content.max() >= 0x80:
        loops.classify(content, offsets, code_table(), kinds)
    difficult = pa.array(kinds == loops.DIFFICULT)
    if difficult.true_count:
        text = pc.replace_with_mask(text, difficult, spell_out(text.filter(difficult)))
        content, offsets = text_buffers(text)
    return content, offsets, kinds != loops.FOLDABLE


def text_buffers(text: pa.LargeStringArray) -> tuple[npt.NDArray[np.uint8], Int64s]:
    """Return the bytes of all texts, and int64[n + 1] offsets into them from 0; nothing is copied but the offsets."""
    _, starts, content = text.buffers()
    if not len(text):
        return np.empty(0, np.uint8), np.zeros(1, np.int64)
    offsets = np.frombuffer(starts, np.int64)[text.offset : text.offset + len(text) + 1]
    view = np.empty(0, np.uint8) if content is None else np.frombuffer(content, np.uint8)
    return view[offsets[0] : offsets[-1]], offsets - offsets[0]


def _table(ready: npt.NDArray[np.bool_]) -> Uint32s:
    return np.empty(0, np.uint32) if ready.all() else code_table()


def _scratch(offsets: Int64s) -> tuple[Any, ...]:
    """Return the arrays that the kernels write for one text: folded bytes as uint64, edges, words, shingles, mixed."""
    longest = int(np.diff(offsets).max(initial=0))
    # A character of two bytes may fold to three, one of three to five (spaces around it), one of four to six.
    folded = longest + (longest * 2) // 3 + 32
    words = longest // 2 + 2
    return (
        np.full(folded // 8 + 4, 0x2020202020202020, np.uint64),
        np.empty(2 * words + 2, np.int64),
        np.empty(words, np.uint64),
        np.empty(words, np.uint64),
        np.empty(words, np.uint32),
    )


def _check(ngram: int, permutations: int) -> None:
    if ngram < 1 or permutations < 1:
        raise RecipeError(f"dedup: ngram {ngram}, permutations {permutations}: give numbers of at least 1")


def _check_bands(bands: int, rows: int, permutations: int) -> None:
    if bands < 1 or rows < 1 or bands * rows > permutations:
        raise RecipeError(
            f"dedup.bands: {bands} bands of {rows} rows need {bands * rows} permutations, of which there are "
            f"{permutations}; use fewer bands or more permutations"
        )
