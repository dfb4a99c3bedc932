"""Amounts: what a document counts in a recipe's unit, what counts as human, and the sums of published files."""

from collections.abc import Sequence

import polars as pl

from cuvee.schemas.manifest import DataFile, Totals

# A unit → the column that holds it, of documents that are decided on and of published ones; documents are counted.
UNITS = {"words": "words", "tokens": "tokens", "bytes": "bytes", "documents": None}


def unit_amount(unit: str) -> pl.Expr:
    """Return the amount of one copy of a document, int64; columns words, bytes and tokens."""
    column = UNITS[unit]
    return pl.lit(1, pl.Int64) if column is None else pl.col(column)


def human_provenances(unknown_as: str) -> list[str]:
    """List the provenances that the ratio counts as human; unknown_as: the recipe's provenance.unknown_as."""
    return ["human", "unknown"] if unknown_as == "human" else ["human"]


def counted_columns(unit: str) -> list[str]:
    """List the columns of a published file that `count` looks at."""
    return ["provenance", "tokens", "epochs", *(["text"] if unit == "bytes" else [])]


def count(published: pl.DataFrame, unit: str) -> dict[str, int]:
    """Return provenance → Σ amount · epochs of a published file; columns: `counted_columns`."""
    amounts = published.select("provenance", amount=pl.col("epochs") * published_amount(published, unit))
    counted = amounts.group_by("provenance").agg(pl.col("amount").sum().cast(pl.Int64))
    return {str(name): int(value) for name, value in counted.sort("provenance").iter_rows()}


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
    human = sum(amounts.get(name, 0) for name in human_provenances(unknown_as))
    return Totals(
        documents=sum(file.rows for file in files),
        amount=counted,
        counted_human=human,
        by_provenance=dict(sorted(amounts.items())),
        human_share=round(human / counted, 6) if counted else None,
    )
