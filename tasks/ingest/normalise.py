"""Normalise: one form for each text, so that equal texts have equal ids.

Output columns: text (string), c2pa (string or null; see `cuvee.tasks.ingest.c2pa`).

What is changed, and nothing else: line ends (CR LF, CR, vertical tab, form feed) become LF; the other C0 controls but
tab, and DEL, are removed; C2PA wrappers are removed; characters are composed (NFC); whitespace at line ends, blank
lines at both ends and byte-order marks at the start are removed. Indentation, blank lines inside, no-break and
zero-width characters, and C1 controls (a sign of a wrong character set that filters should see) stay.
Normalising twice changes nothing.
"""

import hashlib
from collections.abc import Callable

import polars as pl

from cuvee.tasks.ingest import c2pa
from cuvee.tasks.words.counts import count_words

_TO_CLEAN = r"[\x00-\x08\x0b-\x1f\x7f]"
_LINE_ENDS = r"\r\n|[\r\x0b\x0c]"
_TRAILING = r"[^\S\n]+\n"
_LEADING = r"\A(?:\x{feff}|[^\S\n]*\n)+"
# A superset of the characters that NFC changes, reorders or composes with the one before: marks, conjoining Hangul,
# and the blocks with characters that decompose for good. NFC runs at 85 MB/s, this search at 500.
_PERHAPS_NOT_NFC = (
    r"[\p{M}\x{1160}-\x{11ff}\x{0374}\x{037e}\x{0387}\x{1f71}-\x{1fff}\x{2000}\x{2001}\x{2126}\x{212a}\x{212b}"
    r"\x{2329}\x{232a}\x{2adc}\x{f900}-\x{faff}\x{fb1d}-\x{fb4f}\x{11000}-\x{1ffff}\x{2f800}-\x{2fa1f}"
    r"\x{0958}-\x{095f}\x{09dc}-\x{09df}\x{0a33}-\x{0a5e}\x{0b5c}\x{0b5d}\x{0f43}-\x{0f69}]"
)


def _change(text: pl.Series, where: pl.Series, change: Callable[[pl.Series], pl.Series]) -> pl.Series:
    """Change the texts at `where` (boolean), and pass the others on without a copy of their bytes."""
    places = where.arg_true()
    if places.is_empty():
        return text
    return text.clone().scatter(places, change(text.gather(places)))


def _clean(text: pl.Series) -> pl.Series:
    return text.str.replace_all(_LINE_ENDS, "\n").str.replace_all(_TO_CLEAN, "")


def measure(text: pl.Series) -> pl.DataFrame:
    """Count words, chars (code points) and bytes (UTF-8) of each text, as int64."""
    sizes = {"chars": text.str.len_chars(), "bytes": text.str.len_bytes()}
    return pl.DataFrame({"words": count_words(text), **{name: size.cast(pl.Int64) for name, size in sizes.items()}})


def normalise(text: pl.Series) -> pl.DataFrame:
    """Normalise texts (string, in any order), and note and remove their C2PA manifests.

    Gives a row for each text, in the same order, also where nothing is left of it (an empty text).
    """
    is_marked = text.str.contains(c2pa.PREFIX, literal=True).any()
    notes = c2pa.note(text) if is_marked else pl.Series([None], dtype=pl.String).new_from_index(0, len(text))
    text = _change(text, text.str.contains(_TO_CLEAN), _clean)
    # Cleaning may join the halves of a wrapper.
    text = c2pa.strip(text) if is_marked or text.str.contains(c2pa.PREFIX, literal=True).any() else text
    text = _change(text, text.str.contains(_PERHAPS_NOT_NFC), lambda rows: rows.str.normalize("NFC"))
    text = _change(text, text.str.contains(_TRAILING), lambda rows: rows.str.replace_all(_TRAILING, "\n"))
    text = text.str.strip_chars_end()
    text = _change(text, text.str.contains(_LEADING), lambda rows: rows.str.replace(_LEADING, ""))
    return pl.DataFrame([text.alias("text"), notes.alias("c2pa")])


def doc_ids(text: pl.Series) -> pl.Series:
    """Give the id of each text: the first 32 lower-case hex digits of the SHA-256 of its UTF-8 bytes.

    A Python loop: no engine at hand has SHA-256, and the loop itself is 1 µs a document beside the hash.
    """
    return pl.Series("doc_id", [hashlib.sha256(row.encode()).hexdigest()[:32] for row in text], dtype=pl.String)
