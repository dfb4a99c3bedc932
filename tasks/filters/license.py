"""License: keep documents under licences that the recipe allows.

Signal columns: none; `license` (string, an SPDX expression or "unknown") is a column of every thin table.
Rows and `keep` are read alike, by cuvee.schemas.licenses. An expression passes when it is in the list as a whole, or by
its parts: of "A OR B" one must pass, of "A AND B" both. "A WITH E" passes when A does, for an exception only adds
permissions; "A+" and "A-or-later" pass when A does, for later versions are a choice. "unknown" passes only if it is in
the list itself.
"""

from typing import Literal

import polars as pl
from pydantic import Field, field_validator

from cuvee.schemas.licenses import UNKNOWN, alternatives, spdx
from cuvee.tasks.filters import FilterOptions, Verdict

VERSION = 1
READS: tuple[str, ...] = ()
SIGNALS: dict[str, pl.DataType] = {}


class Options(FilterOptions):
    """The licences allowed."""

    kind: Literal["license"] = "license"
    keep: tuple[str, ...] = Field(
        min_length=1, description="SPDX ids, expressions or names of licences; add unknown to let it pass."
    )

    @field_validator("keep")
    @classmethod
    def _are_licences(cls, keep: tuple[str, ...]) -> tuple[str, ...]:
        for entry in keep:
            if spdx(entry) == UNKNOWN != entry.strip().lower():
                raise ValueError(
                    f"{entry!r} is no licence that is known; name an SPDX id such as CC0-1.0, or {UNKNOWN}"
                )
        return keep


def signals(shard: pl.DataFrame) -> pl.DataFrame:
    """Return no columns."""
    return pl.DataFrame(height=shard.height)


def verdict(options: Options) -> Verdict:
    """Object with "license"; a null counts as unknown."""
    allowed = frozenset(map(spdx, options.keep))

    def passes(licenses: pl.Series) -> pl.Series:
        if licenses.is_empty():
            return pl.Series(dtype=pl.Boolean)
        # A corpus has few distinct licences: each is parsed once.
        distinct = licenses.unique()
        judged = [permits(expression, allowed) for expression in distinct]
        return licenses.replace_strict(distinct, pl.Series(judged, dtype=pl.Boolean), return_dtype=pl.Boolean)

    kept = pl.col("license").fill_null("unknown").map_batches(passes, return_dtype=pl.Boolean)
    found = pl.col("license").fill_null("unknown")
    told = pl.format("{}, wanted {}", found, pl.lit(" or ".join(options.keep)))
    return Verdict(pl.when(~kept).then(pl.lit(options.kind)), told)


def permits(expression: str, allowed: frozenset[str]) -> bool:
    """Say whether a licence passes. allowed: SPDX expressions as `spdx` gives them, or "unknown"."""
    choices = alternatives(spdx(expression))
    whole = [set(choices) == set(alternatives(entry)) for entry in allowed]
    return any(whole) or any(all(_passes(name, allowed) for name in choice) for choice in choices)


def _passes(name: str, allowed: frozenset[str]) -> bool:
    base = name.split(" WITH ")[0]
    earliest = base.removesuffix("+").replace("-or-later", "-only")
    return not allowed.isdisjoint((name, base, earliest))
