"""Rules: what every filter's options and verdict expression are made of."""

from collections.abc import Mapping, Sequence

import polars as pl
from pydantic import Field

from cuvee.schemas.base import Frozen


class FilterOptions(Frozen):
    """One entry of a recipe's `filters`; every kind narrows `kind` and adds its thresholds."""

    kind: str = Field(description="The filter, named after its file in tasks/filters.")


def above(signal: str, limit: float) -> pl.Expr:
    """Say where `signal` exceeds `limit`; a value on the limit, at 6 decimals, does not."""
    return _exact(signal) > limit


def below(signal: str, limit: float) -> pl.Expr:
    """Say where `signal` falls short of `limit`; a value on the limit, at 6 decimals, does not."""
    return _exact(signal) < limit


def first_reason(kind: str, objections: Mapping[str, pl.Expr]) -> pl.Expr:
    """Return "<kind>.<name>" of the first objection, in the mapping's order, that holds; null where none does."""
    return coalesce([pl.when(holds).then(pl.lit(f"{kind}.{name}")) for name, holds in objections.items()])


def coalesce(reasons: Sequence[pl.Expr]) -> pl.Expr:
    """Return the first reason that is not null; null where all are, also when there are none."""
    return pl.coalesce([*reasons, pl.lit(None, pl.String)])


def _exact(signal: str) -> pl.Expr:
    # Signals are stored as Float32: 0.3 comes back as 0.30000001, and would cross a threshold of 0.3.
    return pl.col(signal).cast(pl.Float64).round(6)
