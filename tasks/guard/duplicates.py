"""Duplicates: the share of each source's rows that was removed as a copy of another.

Marin's sources lost a median of 76% to unverified duplicates (its issue 6854); a source that loses a third deserves a
look.
"""

from collections.abc import Sequence

import polars as pl

from cuvee.schemas.base import Frozen
from cuvee.schemas.report import Figures, Finding
from cuvee.tasks.guard import Candidate

MOST_LOST = 0.3
# Under 20 rows a share says nothing.
FEWEST_ROWS = 20
# Removals, whatever their keeper is.
COPIES = ("duplicate_exact", "duplicate_near", "copy_of_human")


class Losses(Frozen):
    """Rows of a source, and the share of them that was removed, 0 to 1, six decimals."""

    rows: int
    share: float


class Duplicates(Figures):
    """Losses by source."""

    sources: dict[str, Losses]


def figures(candidate: Candidate) -> Duplicates:
    """Count each source's rows, and those removed as duplicates."""
    gone = pl.col("verdict").is_in(COPIES).fill_null(value=False)

    def count(rows: pl.DataFrame) -> pl.DataFrame:
        return rows.group_by("source").agg(pl.len(), gone.sum().alias("gone"))

    counted = candidate.counted(["source", "verdict"], count).group_by("source").agg(pl.all().sum()).sort("source")
    counted = counted.select("source", "len", (pl.col("gone") / pl.col("len")).round(6))
    return Duplicates(sources={source: Losses(rows=rows, share=share) for source, rows, share in counted.iter_rows()})


def findings(candidate: Candidate, figures: Duplicates) -> Sequence[Finding]:
    """Name the sources of at least FEWEST_ROWS rows that lost more than MOST_LOST of them."""
    return [
        Finding(
            kind="duplicates",
            subject=source,
            message=f"{candidate.named(source)} lost {lost.share:.0%} of its {lost.rows:,} rows to duplicates; look at "
            "a few of the pairs (cuvee explain), or raise dedup.threshold",
            figures={"share": lost.share, "rows": lost.rows},
        )
        for source, lost in figures.sources.items()
        if lost.share > MOST_LOST and lost.rows >= FEWEST_ROWS
    ]
