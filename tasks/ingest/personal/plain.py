"""Plain: a copy of a text in which the forms of numbers and addresses are those of ASCII, character by character.

Digits of all scripts, full-width letters and signs, blanks and hyphens of other widths become their ASCII equivalents.
Every character stays one character, so a place in the copy is the same place in the text.
"""

import re
import unicodedata
from functools import cache

import polars as pl

# Blanks and hyphens that typesetters put into numbers; the candidates' regexes know them by these classes.
BLANK = r" \x{a0}\x{2000}-\x{200a}\x{202f}\x{205f}\x{3000}"
HYPHEN = r"\-\x{2010}-\x{2013}\x{2212}\x{fe63}"
# What no number is without.
SEVEN_DIGITS = rf"(?:[0-9][{BLANK}{HYPHEN}./()]{{0,3}}){{6}}[0-9]"
_BLANKS = "\u00a0\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u202f\u205f\u3000"
_HYPHENS = "\u2010\u2011\u2012\u2013\u2212\ufe63"
_FROM_TYPE = dict.fromkeys(_BLANKS, " ") | dict.fromkeys(_HYPHENS, "-")
_TYPE = re.compile(f"[{_BLANKS}{_HYPHENS}]")
# Full-width letters and digits, and of the signs those that stand inside numbers and addresses: a full-width comma
# ends a number, where an ASCII one may go on with it.
_FULL_WIDTH = (*range(0xFF10, 0xFF1A), *range(0xFF21, 0xFF3B), *range(0xFF41, 0xFF5B), *map(ord, "＋－．／（）＠＿"))
_OTHER_DIGITS = r"[\p{Nd}&&[^0-9]]|[＋＠]"


@cache
def _to_ascii() -> dict[str, str]:
    """Map every decimal digit outside ASCII, and the full-width characters, to one ASCII character each."""
    # The highest decimal digits of Unicode 16 are below U+20000.
    others = (chr(code) for code in range(0x80, 0x20000))
    digits = {other: str(unicodedata.decimal(other)) for other in others if other.isdecimal()}
    return digits | {chr(code): chr(code - 0xFEE0) for code in _FULL_WIDTH}


def fold_digits(text: pl.Series) -> pl.Series:
    """Fold digits of other scripts and full-width characters in the texts (string, no nulls) that have them."""
    places = (text.str.len_bytes() != text.str.len_chars()).arg_true()
    places = places.filter(text.gather(places).str.contains(_OTHER_DIGITS))
    if places.is_empty():
        return text
    table = _to_ascii()
    return text.clone().scatter(places, text.gather(places).str.replace_many(list(table), list(table.values())))


def fold_type(text: str) -> str:
    """Fold blanks and hyphens of other widths."""
    return text if text.isascii() else _TYPE.sub(lambda found: _FROM_TYPE[found[0]], text)
