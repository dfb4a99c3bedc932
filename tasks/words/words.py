"""Words: what a word is, for comparing texts.

A text is brought to Unicode NFKC, then lower-cased (full mapping, final sigma included), each exactly once and in this
order; the lower-cased text is not normalised again. Its words are the maximal runs of letters (general category L),
digits (N), combining marks (M) and underscores, except that a letter or digit of a script written without spaces
(SPACELESS) is a word of its own, with the marks behind it. Marks are vowels and tones in many scripts: Python's regular
expressions cut Hindi at each. `split_words` says the same in plain Python; tests hold the kernel against it.

The kernel needs no string operation for most texts: `code_table` says what each code point becomes on its own. Texts
with a code point that acts on its neighbours or becomes several (COMPLEX) go through `normalise` first, which takes
three times as long as all else; `plain_table` then tells their letters from separators.
"""

import functools
import unicodedata

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

# Blocks of the scripts written without spaces between words, whose letters Unicode's line breaking (UAX #14, the
# classes in LineBreak.txt) has as SA, ID or CJ; beside them Javanese and Balinese, of class AK. Left out are Tibetan (a
# mark divides its syllables) and Hangul (Korean has spaces), and the Latin letters of full width.
SPACELESS = (
    (0x0E00, 0x0EFF),  # Thai, Lao
    (0x1000, 0x109F),  # Myanmar
    (0x1780, 0x17FF),  # Khmer
    (0x1950, 0x19DF),  # Tai Le, New Tai Lue
    (0x1A20, 0x1AAF),  # Tai Tham
    (0x1B00, 0x1B7F),  # Balinese
    (0x2E80, 0x2FDF),  # radicals of Han
    (0x3000, 0x312F),  # signs of Han, Hiragana, Katakana, Bopomofo
    (0x31A0, 0x31BF),  # Bopomofo, extended
    (0x31F0, 0x31FF),  # Katakana, extended
    (0x3400, 0x4DBF),  # Han, extension A
    (0x4E00, 0x9FFF),  # Han
    (0xA000, 0xA4CF),  # Yi
    (0xA980, 0xA9DF),  # Javanese
    (0xA9E0, 0xA9FF),  # Myanmar, extended B
    (0xAA60, 0xAADF),  # Myanmar, extended A; Tai Viet
    (0xF900, 0xFAFF),  # Han, compatibility
    (0xFF66, 0xFF9F),  # Katakana, half width
    (0x116D0, 0x116FF),  # Myanmar, extended C
    (0x11700, 0x1174F),  # Ahom
    (0x16FE0, 0x18AFF),  # signs of Han, Tangut
    (0x18D00, 0x18DFF),  # Tangut, supplement
    (0x1AFF0, 0x1B2FF),  # Kana, extended; Nushu
    (0x20000, 0x3FFFF),  # Han, later extensions
)

# Codes of `code_table` beside plain code points.
SEPARATOR = 0
MARK = 1 << 29  # added to a combining mark
ALONE = 1 << 30  # added to a code point that is a word of its own
COMPLEX = 1 << 31

# Planes 4 to 13 hold no letters, and the last marks are variation selectors.
_PLANES_END, _MARKS_END = 0x40000, 0xE01F0
TABLE_SIZE = 0x20000  # code points from here on are rare and count as COMPLEX
_VARIATIONS = range(0xFE00, 0xFE10)  # marks that follow emoji; they neither move nor compose
_SIGMA = 0x3A3  # its lower case depends on its neighbours
# Starters that Unicode 16 composes with the starter before them, and that Python's tables may not know yet.
_COMPOSING = (range(0x1160, 0x1200), range(0xD7B0, 0xD800), range(0x16D40, 0x16D80))


def split_words(text: str) -> list[str]:
    """Return the words of a text, in order: the definition, written for reading and for tests, not for speed."""
    words: list[str] = []
    behind = alone = False  # what stands before: a character of a word, and one that takes marks only
    for character in unicodedata.normalize("NFKC", text).lower():
        kind = unicodedata.category(character)[0]
        is_word, is_mark = character == "_" or kind in "LNM", kind == "M"
        own = kind in "LN" and _stands_alone(ord(character))
        if is_word and behind and (is_mark or (not own and not alone)):
            words[-1] += character
        elif is_word:
            words.append(character)
        behind, alone = is_word, own or (alone and is_mark)
    return words


def split_shingles(text: str, ngram: int) -> set[tuple[str, ...]]:
    """Return the set of word n-grams of a text; fewer than `ngram` words are one shingle, none are the empty set."""
    words = split_words(text)
    if not words:
        return set()
    return {tuple(words[i : i + ngram]) for i in range(max(1, len(words) - ngram + 1))}


def normalise(text: pa.Array) -> pa.Array:
    """Return the texts in NFKC, then lower-cased."""
    frame = pl.DataFrame({"text": pl.Series(pl.from_arrow(text))})
    folded = pl.col("text").str.normalize("NFKC").str.to_lowercase()
    return frame.select(folded)["text"].to_arrow().cast(pa.large_string())


@functools.cache
def plain_table() -> npt.NDArray[np.uint32]:
    """Return what each code point below `_MARKS_END` of a normalised text is: SEPARATOR, or itself (+ ALONE or MARK).

    All from there on are separators.
    """
    points = np.array([*range(0xD800), *range(0xE000, _PLANES_END), *range(0xE0000, _MARKS_END)], np.uint32)
    characters = pl.Series(list(map(chr, points.tolist())))
    table = np.full(_MARKS_END, SEPARATOR, np.uint32)
    letters = points[characters.str.contains(r"^[\p{L}\p{N}_]$").to_numpy()]
    table[letters] = letters
    for first, last in SPACELESS:
        part = table[first : last + 1]
        part[part != SEPARATOR] |= ALONE
    marks = points[characters.str.contains(r"^\p{M}$").to_numpy()]
    table[marks] = marks | MARK
    return table


@functools.cache
def code_table() -> npt.NDArray[np.uint32]:
    """Return what each code point below TABLE_SIZE becomes: SEPARATOR, a code point (+ ALONE or MARK), or COMPLEX."""
    points = np.array([point for point in range(TABLE_SIZE) if not 0xD800 <= point < 0xE000])
    texts = normalise(pa.array(map(chr, points.tolist()), pa.large_string()))
    plain = plain_table()
    codes = np.frombuffer("".join(texts.to_pylist()).encode("utf-32-le"), np.uint32)
    codes = np.append(np.where(codes < len(plain), plain[np.minimum(codes, len(plain) - 1)], SEPARATOR), SEPARATOR)
    sizes = pc.utf8_length(texts).to_numpy()
    ends = np.cumsum(sizes)
    of_words = np.append(0, np.cumsum(codes != SEPARATOR))
    # Some become several characters; only if none of them is of a word, one code says it.
    simple = (sizes == 1) | (of_words[ends] == of_words[ends - sizes])
    simple &= ~_act_on_neighbours(points)
    table = np.full(TABLE_SIZE, COMPLEX, np.uint32)
    table[points[simple]] = np.where(sizes == 0, SEPARATOR, codes[ends - sizes])[simple]
    return table


def _stands_alone(point: int) -> bool:
    """Tell whether a letter or digit is of a script written without spaces."""
    return any(first <= point <= last for first, last in SPACELESS)


def _act_on_neighbours(points: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Tell which code points can change how their neighbours are normalised, or are not known to this Python."""
    firsts = [unicodedata.normalize("NFKD", chr(point))[0] for point in points.tolist()]
    acts = np.array([kind[0] == "M" or kind == "Cn" for kind in map(unicodedata.category, firsts)])
    first = np.array(list(map(ord, firsts)))
    for span in _COMPOSING:
        acts |= (first >= span.start) & (first < span.stop)
    variation = (points >= _VARIATIONS.start) & (points < _VARIATIONS.stop)
    acts[variation] = False
    acts[points == _SIGMA] = True
    return acts
