"""Told: the measure and the bound that verdicts rest on, for whoever asks why a row was dropped.

Each expression gives a string, or null beside another verdict; filters tell their own (`filters.tell`).
"""

import polars as pl

from cuvee.schemas.recipe import Recipe


def tell(rows: pl.DataFrame, told: pl.Expr) -> pl.Series:
    """Return what an expression tells of each row."""
    return rows.with_columns(told.alias("detail"))["detail"]


def of_dates(recipe: Recipe) -> pl.Expr:
    """Tell of rows (created) that are older than ingest.min_date."""
    bound = recipe.ingest.min_date
    if bound is None:
        return pl.lit(None, pl.String)
    told = pl.concat_str(pl.col("created").dt.to_string("%Y-%m-%d"), pl.lit(f", wanted from {bound}"))
    return pl.when(pl.col("created") < bound).then(told)


def of_suspects() -> pl.Expr:
    """Tell of rows (p_synthetic, threshold) that the classifier suspects."""
    return pl.format("P(synthetic) {}, suspected from {}", pl.col("p_synthetic").round(3), pl.col("threshold").round(3))


def of_near_copies(recipe: Recipe) -> pl.Expr:
    """Tell from which Jaccard on a text is a copy."""
    return pl.lit(f"copies from {recipe.dedup.threshold:g}")


def of_overlaps(recipe: Recipe) -> pl.Expr:
    """Tell of rows (benchmark, overlap) that share text with a benchmark."""
    bound = pl.lit(f"{recipe.decontaminate.overlap:g}")
    return pl.format("{}, overlap {}, wanted under {}", "benchmark", pl.col("overlap").round(3), bound)


def of_depth(recipe: Recipe) -> pl.Expr:
    """Tell of rows (provenance, depth) that are too far from human text."""
    told = pl.format("depth {}, wanted at most {}", "depth", pl.lit(str(recipe.mixture.depth.max)))
    return pl.when(pl.col("depth") > recipe.mixture.depth.max).then(told)
