"""License: keep documents under licences that the recipe allows.

Signal columns: none; `license` (string, an SPDX expression or "unknown") is a column of every thin table.
An expression passes when it is in the list as a whole, or by its parts: of "A OR B" one must pass, of "A AND B" both.
"A WITH E" passes when A does, for an exception only adds permissions; "A+" passes when A does, for later versions are a
choice. AND binds more strongly than OR. Case is ignored. "unknown", or what is no SPDX expression, passes only if it is
in the list itself.
"""

import re
from collections.abc import Callable
from typing import Literal

import polars as pl
from pydantic import Field, field_validator

from cuvee.tasks.filters import FilterOptions

VERSION = 1
READS: tuple[str, ...] = ()
SIGNALS: dict[str, pl.DataType] = {}

_ID = re.compile(r"[a-z0-9.\-]+(?::[a-z0-9.\-]+)?\+?")
_OPERATORS = ("and", "or", "with", "(", ")")


class Options(FilterOptions):
    """The licences allowed."""

    kind: Literal["license"] = "license"
    keep: tuple[str, ...] = Field(min_length=1, description="SPDX ids or expressions; add unknown to let it pass.")

    @field_validator("keep")
    @classmethod
    def _no_empty_entry(cls, keep: tuple[str, ...]) -> tuple[str, ...]:
        if not all(entry.strip() for entry in keep):
            raise ValueError("an entry is empty; name an SPDX id such as CC0-1.0, or unknown")
        return keep


def signals(shard: pl.DataFrame) -> pl.DataFrame:
    """Return no columns."""
    return pl.DataFrame(height=shard.height)


def verdict(options: Options) -> pl.Expr:
    """Object with "license"; a null counts as unknown."""
    allowed = frozenset(_plain(entry) for entry in options.keep)

    def passes(licenses: pl.Series) -> pl.Series:
        if licenses.is_empty():
            return pl.Series(dtype=pl.Boolean)
        # A corpus has few distinct licences: each is parsed once.
        distinct = licenses.unique()
        judged = [permits(expression, allowed) for expression in distinct]
        return licenses.replace_strict(distinct, pl.Series(judged, dtype=pl.Boolean), return_dtype=pl.Boolean)

    kept = pl.col("license").fill_null("unknown").map_batches(passes, return_dtype=pl.Boolean)
    return pl.when(~kept).then(pl.lit(options.kind))


def permits(expression: str, allowed: frozenset[str]) -> bool:
    """Say whether an SPDX expression passes. allowed: ids and expressions in lower case, single spaces."""
    whole = _plain(expression)
    if whole in allowed:
        return True
    tokens = re.sub(r"([()])", r" \1 ", whole).split()
    try:
        passes, rest = _alternatives(tokens, allowed)
    except ValueError:
        return False
    return passes and not rest


# Each function below reads one level of the grammar from the front of the tokens, and returns whether what it read
# passes, and the tokens after it. It raises ValueError where the tokens are no SPDX expression.
Reading = tuple[bool, list[str]]


def _alternatives(tokens: list[str], allowed: frozenset[str]) -> Reading:
    return _joined(tokens, allowed, "or", _requirements, any)


def _requirements(tokens: list[str], allowed: frozenset[str]) -> Reading:
    return _joined(tokens, allowed, "and", _term, all)


def _joined(
    tokens: list[str],
    allowed: frozenset[str],
    operator: str,
    read: Callable[[list[str], frozenset[str]], Reading],
    combine: Callable[[list[bool]], bool],
) -> Reading:
    passes, rest = read(tokens, allowed)
    parts = [passes]
    while rest[:1] == [operator]:
        passes, rest = read(rest[1:], allowed)
        parts.append(passes)
    return combine(parts), rest


def _term(tokens: list[str], allowed: frozenset[str]) -> Reading:
    if tokens[:1] == ["("]:
        passes, rest = _alternatives(tokens[1:], allowed)
        if rest[:1] != [")"]:
            raise ValueError("a bracket is not closed")
        return passes, rest[1:]
    name = _name(tokens)
    passes = name in allowed or name.removesuffix("+") in allowed
    if tokens[1:2] != ["with"]:
        return passes, tokens[1:]
    exception = _name(tokens[2:])
    return passes or f"{name} with {exception}" in allowed, tokens[3:]


def _name(tokens: list[str]) -> str:
    if not tokens or tokens[0] in _OPERATORS or not _ID.fullmatch(tokens[0]):
        raise ValueError("a licence or an exception is missing")
    return tokens[0]


def _plain(expression: str) -> str:
    return " ".join(expression.lower().split())
