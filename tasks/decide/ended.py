"""Ended: how rows ended, while one step after another looks at them."""

import polars as pl

from cuvee.schemas.tables import VERDICTS


class Verdicts:
    """How some rows ended: the first that objects to a row names its reason. so_far: columns of VERDICTS, if any."""

    def __init__(self, height: int, so_far: pl.DataFrame | None = None) -> None:
        known = pl.DataFrame(height=height) if so_far is None else so_far
        others = [name for name in VERDICTS if name not in known.columns]
        nulls = pl.select(pl.repeat(None, height, dtype=VERDICTS[name]).alias(name) for name in others)
        self.table = known.hstack(nulls).select(VERDICTS.names())

    @property
    def alive(self) -> pl.Series:
        """Tell which rows no step has objected to."""
        return self.table["verdict"].is_null()

    def object(self, step: str, verdict: pl.Series, **explained: pl.Series) -> None:
        """Give the rows that have no verdict yet the one of this step, null for none, and what explains it."""
        objects = self.alive & verdict.is_not_null()
        named = pl.repeat(step, len(verdict), dtype=pl.String, eager=True)
        new = {"step": named, "verdict": verdict, **explained}
        self.table = self.table.with_columns(
            values.cast(VERDICTS[name]).zip_with(objects, self.table[name]).alias(name) for name, values in new.items()
        )
