"""Amounts: what a document counts in a recipe's unit, what counts as human, and the sums of published files."""

from collections.abc import Sequence
from fractions import Fraction

import polars as pl

from cuvee.schemas.manifest import DataFile, Totals

# A document that counts as human as a whole, in millionths of it.
WHOLE = 1_000_000
# A unit → the column that holds it, of documents that are decided on and of published ones; documents are counted.
UNITS = {"words": "words", "tokens": "tokens", "bytes": "bytes", "documents": None}


def unit_amount(unit: str) -> pl.Expr:
    """Return the amount of one copy of a document, int64; columns words, bytes and tokens."""
    column = UNITS[unit]
    return pl.lit(1, pl.Int64) if column is None else pl.col(column).cast(pl.Int64)


def human_provenances(unknown_as: str) -> list[str]:
    """List the provenances that the ratio counts as human; unknown_as: the recipe's provenance.unknown_as."""
    return ["human", "unknown"] if unknown_as == "human" else ["human"]


def is_by_probability(unknown_as: str) -> bool:
    """Tell whether documents of unknown provenance count in part as human, in part as synthetic."""
    return unknown_as == "by_probability"


def human_part(unknown_as: str) -> pl.Expr:
    """Return how much of a document counts as human, in millionths, int64; 0 for unknown ones without p_synthetic.

    Columns provenance and, for by_probability, p_synthetic: it is kept with six decimals, so the sums are exact.
    """
    whole = pl.when(pl.col("provenance").is_in(human_provenances(unknown_as))).then(pl.lit(WHOLE, pl.Int64))
    if not is_by_probability(unknown_as):
        return whole.otherwise(pl.lit(0, pl.Int64))
    part = WHOLE - (pl.col("p_synthetic").cast(pl.Float64) * WHOLE).round(0).cast(pl.Int64)
    return whole.when(pl.col("provenance") == "unknown").then(part).otherwise(pl.lit(0, pl.Int64)).fill_null(0)


def counted_columns(unit: str, unknown_as: str) -> list[str]:
    """List the columns of a published file that `count` and `count_unknown` look at."""
    by_probability = ["p_synthetic"] if is_by_probability(unknown_as) else []
    return ["provenance", "tokens", "epochs", *(["text"] if unit == "bytes" else []), *by_probability]


def count(published: pl.DataFrame, unit: str) -> dict[str, int]:
    """Return provenance → Σ amount · epochs of a published file; columns: `counted_columns`."""
    amounts = published.select("provenance", amount=pl.col("epochs") * published_amount(published, unit))
    counted = amounts.group_by("provenance").agg(pl.col("amount").sum().cast(pl.Int64))
    return {str(name): int(value) for name, value in counted.sort("provenance").iter_rows()}


def count_unknown(published: pl.DataFrame, unit: str, unknown_as: str) -> int | None:
    """Return Σ amount · epochs · (1 - p_synthetic) of a published file's unknown text, in millionths; null where the
    recipe counts it whole. Columns: `counted_columns`.
    """
    if not is_by_probability(unknown_as):
        return None
    amounts = published.select("provenance", amount=pl.col("epochs") * published_amount(published, unit))
    human = published.select(part=human_part(unknown_as))["part"] * amounts["amount"]
    return int(human.filter(amounts["provenance"] == "unknown").sum())


def counted_human(files: Sequence[DataFile], unknown_as: str) -> Fraction:
    """Add up what counts as human in published files, exactly."""
    whole = sum(file.amounts.get(name, 0) for file in files for name in human_provenances(unknown_as))
    return whole + Fraction(sum(file.human_of_unknown or 0 for file in files), WHOLE)


def published_amount(published: pl.DataFrame, unit: str) -> pl.Series:
    """Return the amount of one copy of each published document, int64; columns: `counted_columns`."""
    sizes = [pl.col("text").str.len_bytes().cast(pl.Int64).alias("bytes")] if unit == "bytes" else []
    return published.with_columns(pl.col("tokens").alias("words"), *sizes).with_columns(amount=unit_amount(unit))[
        "amount"
    ]


def totals(files: Sequence[DataFile], unknown_as: str) -> Totals:
    """Add up published files."""
    amounts: dict[str, int] = {}
    for file in files:
        for provenance, amount in file.amounts.items():
            amounts[provenance] = amounts.get(provenance, 0) + amount
    counted = sum(amounts.values())
    human = counted_human(files, unknown_as)
    return Totals(
        documents=sum(file.rows for file in files),
        amount=counted,
        counted_human=human.numerator if human.denominator == 1 else round(float(human), 6),
        by_provenance=dict(sorted(amounts.items())),
        human_share=round(float(human / counted), 6) if counted else None,
    )
