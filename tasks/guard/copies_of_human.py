"""Copies of human text: generators and synthetic sources that give back what people wrote."""

from collections.abc import Sequence

import polars as pl

from cuvee.schemas.base import Frozen
from cuvee.schemas.report import Figures, Finding
from cuvee.tasks.guard import Candidate

# A generator that is asked to write anew repeats a text now and then; one in a hundred is a habit.
MOST_COPIES = 0.01


class Copies(Frozen):
    """Rows of a synthetic source or generator, those that copy human text, and those that copy their own seeds."""

    rows: int
    copies: int
    of_seeds: int


class CopiesOfHuman(Figures):
    """Copies by source or generator."""

    sources: dict[str, Copies]


def figures(candidate: Candidate) -> CopiesOfHuman:
    """Count each synthetic source's rows and its copies of human text."""
    copied = (pl.col("verdict") == "copy_of_human").fill_null(value=False)
    of_seed = copied & pl.col("seed_ids").list.contains(pl.col("keeper")).fill_null(value=False)

    def count(rows: pl.DataFrame) -> pl.DataFrame:
        made = rows.filter(pl.col("origin") == "synthetic").group_by("source")
        return made.agg(pl.len(), copied.sum().alias("copies"), of_seed.sum().alias("of_seeds"))

    counted = candidate.counted(["source", "origin", "verdict", "keeper", "seed_ids"], count)
    counted = counted.group_by("source").agg(pl.all().sum()).sort("source")
    return CopiesOfHuman(
        sources={
            source: Copies(rows=rows, copies=copies, of_seeds=of_seeds)
            for source, rows, copies, of_seeds in counted.iter_rows()
        }
    )


def findings(candidate: Candidate, figures: CopiesOfHuman) -> Sequence[Finding]:
    """Name those of whose rows more than MOST_COPIES copy human text."""
    return [
        Finding(
            kind="copies_of_human",
            subject=source,
            message=f"{candidate.named(source)}: {found.copies} of {found.rows} documents are copies or near-copies of "
            f"human text, {found.of_seeds} of them of their own seeds; they were dropped; raise the temperature, ask "
            "for another kind, or use another model",
            figures={"documents": found.rows, "copies": found.copies, "of_seeds": found.of_seeds},
        )
        for source, found in figures.sources.items()
        if found.copies > found.rows * MOST_COPIES
    ]
