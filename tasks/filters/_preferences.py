"""Preferences: what a Content-Usage value says (draft-ietf-aipref-vocab-08 of September 2026, without consensus).

A value is a dictionary of structured fields (RFC 9651): labels of uses, each with the token y or n. All else is no
preference: other values, a string "n", a label without a value, labels that the vocabulary does not have, and a value
that is no dictionary, as one with a capital in a key.
"""

import re
from collections.abc import Iterable

# The vocabulary's uses. ai-use came with its version 08; search was in all.
LABELS = ("train-ai", "ai-use", "search")

_KEY = r"[a-z*][a-z0-9_\-.*]*"
_ITEM = (
    r"(?:-?(?:\d{1,12}\.\d{1,3}|\d{1,15})"  # decimal, integer
    r'|"(?:[ !#-\[\]-~]|\\["\\])*"'  # string
    r"|[A-Za-z*][!#$%&'*+\-.^_`|~0-9A-Za-z:/]*"  # token
    r"|:[A-Za-z0-9+/=]*:|\?[01]|@-?\d{1,15}"  # bytes, boolean, date
    r'|%"(?:[ !#$&-~]|%[0-9a-f]{2})*")'  # display string
)
_PARAMETERS = rf"(?:; *{_KEY}(?:={_ITEM})?)*"
_LIST = rf"\( *(?:{_ITEM}{_PARAMETERS}(?: +|(?=\))))*\)"
_MEMBER = re.compile(rf"({_KEY})(?:=({_ITEM}|{_LIST}))?{_PARAMETERS}")
_COMMA = re.compile(r"[ \t]*,[ \t]*")


def preferences(value: str) -> dict[str, bool]:
    """Return the uses that a value allows (true) or disallows (false); of a label that comes twice the last counts."""
    text = value.strip(" ")
    found: dict[str, str | None] = {}
    at = 0
    while text:
        member = _MEMBER.match(text, at)
        if member is None:
            return {}
        found[member[1]] = member[2]
        if member.end() == len(text):
            break
        comma = _COMMA.match(text, member.end())
        if comma is None:
            return {}
        at = comma.end()
    return {label: found[label] == "y" for label in LABELS if found.get(label) in ("y", "n")}


def combine(statements: Iterable[dict[str, bool]]) -> dict[str, bool]:
    """Combine statements, whoever makes them: one that disallows a use wins, else one that allows it."""
    combined: dict[str, bool] = {}
    for statement in statements:
        for label, is_allowed in statement.items():
            combined[label] = combined.get(label, True) and is_allowed
    return combined
