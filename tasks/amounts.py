"""Amounts: what a document counts in the recipe's unit, whether it counts as human, and which are held out."""

import polars as pl

from cuvee.schemas.recipe import Recipe
from cuvee.tasks.priority import below


def unit_amount(unit: str) -> pl.Expr:
    """Return the amount of one copy of a document in a unit: words, bytes or documents."""
    return {"words": pl.col("words"), "bytes": pl.col("bytes"), "documents": pl.lit(1, pl.Int64)}[unit]


def held_out(rows: pl.DataFrame, recipe: Recipe) -> pl.Series:
    """Tell which documents are kept for validation: human by the evidence, by hash, for ever the same."""
    return below(rows["doc_id"], "holdout", recipe.holdout.share) & (rows["provenance"] == "human")


def counts_as_human(recipe: Recipe) -> pl.Expr:
    """Tell which documents the ratio counts as human."""
    as_human = ["human", "unknown"] if recipe.provenance.unknown_as == "human" else ["human"]
    return pl.col("provenance").is_in(as_human)
