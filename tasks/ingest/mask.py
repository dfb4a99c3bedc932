"""Mask: put fixed tokens in the place of personal numbers and addresses.

Kinds and tokens: email <EMAIL>, ip <IP>, iban <IBAN>, card <CARD>, phone <PHONE>; docs/masks.md lists their forms.
A token never holds what a kind finds, and texts are searched again until nothing is found: masking twice changes
nothing.
"""

from collections.abc import Mapping, Sequence

import polars as pl

from cuvee.schemas.errors import RecipeError
from cuvee.tasks.ingest.personal import Kind, card, email, iban, ip, phone, plain

_KINDS: Mapping[str, Kind] = {"email": email, "ip": ip, "iban": iban, "card": card, "phone": phone}
KINDS = tuple(_KINDS)


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
        copies = plain.fold_digits(rows)
        looked: dict[str, pl.Series] = {}
        changed: set[int] = set()
        for name in counts:
            found = {}
            for index in _candidates(copies, _KINDS[name], looked):
                spans = list(_KINDS[name].spans(plain.fold_type(copies[index])))
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
