"""Mask: put fixed tokens in the place of personal numbers and addresses.

Kinds and tokens: email <EMAIL>, ip <IP>, iban <IBAN>, card <CARD>, phone <PHONE>; docs/masks.md lists their forms.
A token never holds what a kind finds, and texts are searched again until nothing is found: masking twice changes
nothing.

The kinds search a copy of the text in which the forms of numbers and addresses are those of ASCII: digits of all
scripts, full-width letters and signs, blanks and hyphens of other widths. Every character stays one character, so a
place in the copy is the same place in the text.
"""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from functools import cache

import polars as pl

from cuvee.schemas.errors import RecipeError
from cuvee.tasks.ingest.personal import Kind, card, email, iban, ip, phone

_KINDS: Mapping[str, Kind] = {"email": email, "ip": ip, "iban": iban, "card": card, "phone": phone}
KINDS = tuple(_KINDS)

_BLANKS = "\u00a0\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u202f\u205f\u3000"
_HYPHENS = "\u2010\u2011\u2012\u2013\u2212\ufe63"
_FROM_TYPE = dict.fromkeys(_BLANKS, " ") | dict.fromkeys(_HYPHENS, "-")
_TYPE = re.compile(f"[{_BLANKS}{_HYPHENS}]")
# Full-width letters and digits, and of the signs those that stand inside numbers and addresses: a full-width comma
# ends a number, where an ASCII one may go on with it.
_FULL_WIDTH = (*range(0xFF10, 0xFF1A), *range(0xFF21, 0xFF3B), *range(0xFF41, 0xFF5B), *map(ord, "＋－．／（）＠＿"))
_OTHER_DIGITS = r"[\p{Nd}&&[^0-9]]|[＋＠]"


def mask(text: pl.Series, kinds: Sequence[str]) -> tuple[pl.Series, dict[str, int]]:
    """Mask what `kinds` names (see `KINDS`; their order does not count) in each text (string, no nulls).

    Gives the texts in the same order, and the number of tokens put in, by kind, also where it is 0. Only rows with a
    candidate are looked at in Python. Raises RecipeError for an unknown kind.
    """
    for name in kinds:
        if name not in _KINDS:
            raise RecipeError(f"ingest.mask: {name!r} is not known; the kinds are {', '.join(KINDS)}")
    counts = {name: 0 for name in KINDS if name in kinds}
    places = pl.int_range(len(text), eager=True)
    # A token may part what stood too close to be a number of its own, so changed rows are searched again.
    while counts and len(places):
        rows = text.gather(places)
        copies = _fold_digits(rows)
        looked: dict[str, pl.Series] = {}
        changed: set[int] = set()
        for name in counts:
            found = {}
            for index in _candidates(copies, _KINDS[name], looked):
                spans = list(_KINDS[name].spans(_fold_type(copies[index])))
                if spans:
                    found[index] = tuple(_put(row[index], spans, _KINDS[name].TOKEN) for row in (rows, copies))
                    counts[name] += len(spans)
            if found:
                indexes = pl.Series(list(found), dtype=pl.UInt32)
                rows, copies = (
                    column.clone().scatter(indexes, [put[side] for put in found.values()])
                    for side, column in enumerate((rows, copies))
                )
                changed |= found.keys()
        text = text.clone().scatter(places, rows) if changed else text
        places = places.gather(sorted(changed))
    return text, counts


def _candidates(copies: pl.Series, kind: Kind, looked: dict[str, pl.Series]) -> pl.Series:
    """Find the places of the texts that may hold the kind: where all regexes of one chain are found.

    looked: what the chains begin with, and where it is found; kinds share it. A token takes away and adds none of it.
    """
    places = pl.Series(dtype=pl.UInt32)
    for first, *others in kind.CANDIDATES:
        if first not in looked:
            looked[first] = copies.str.contains(first).arg_true()
        found = looked[first]
        for other in others:
            found = found.filter(copies.gather(found).str.contains(other))
        places = places.append(found)
    return places.unique().sort()


def _put(text: str, spans: Sequence[tuple[int, int]], token: str) -> str:
    """Put the token in the place of each span; the spans are in order and do not overlap."""
    parts, done = [], 0
    for start, end in spans:
        parts += [text[done:start], token]
        done = end
    return "".join([*parts, text[done:]])


@cache
def _to_ascii() -> dict[str, str]:
    """Map every decimal digit outside ASCII, and the full-width characters, to one ASCII character each."""
    # The highest decimal digits of Unicode 16 are below U+20000.
    others = (chr(code) for code in range(0x80, 0x20000))
    digits = {other: str(unicodedata.decimal(other)) for other in others if other.isdecimal()}
    return digits | {chr(code): chr(code - 0xFEE0) for code in _FULL_WIDTH}


def _fold_digits(text: pl.Series) -> pl.Series:
    """Fold digits of other scripts and full-width characters in the texts (string, no nulls) that have them."""
    places = (text.str.len_bytes() != text.str.len_chars()).arg_true()
    places = places.filter(text.gather(places).str.contains(_OTHER_DIGITS))
    if places.is_empty():
        return text
    table = _to_ascii()
    return text.clone().scatter(places, text.gather(places).str.replace_many(list(table), list(table.values())))


def _fold_type(text: str) -> str:
    """Fold blanks and hyphens of other widths."""
    return text if text.isascii() else _TYPE.sub(lambda found: _FROM_TYPE[found[0]], text)
