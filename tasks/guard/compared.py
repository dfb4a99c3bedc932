"""Compared: where comparing texts cost more in this run than their number explains."""

from collections.abc import Sequence

import polars as pl

from cuvee.schemas.records import PairsWork
from cuvee.schemas.report import Figures, Finding
from cuvee.tasks.guard import Candidate

# A text with so many near copies, all near each other, is 2 million stored pairs, 48 MB and some seconds of work.
MOST_NEAR_COPIES = 2000


class Compared(Figures):
    """What finding pairs took in this run, null where nothing was new."""

    work: PairsWork | None


def figures(candidate: Candidate) -> Compared:
    """Take the figures of the pairs step, where they are of this run."""
    work = candidate.pool.known_pairs.report.work
    return Compared(work=work if work.version == candidate.run.version else None)


def findings(candidate: Candidate, figures: Compared) -> Sequence[Finding]:
    """Note a comparison of all texts anew, and the text with very many near copies."""
    work, found = figures.work, []
    if work and work.anew:
        message = (
            f"all {work.documents:,} texts of the pool were compared anew: {work.anew}; the next run compares only "
            "what is new"
        )
        counted: dict[str, float | None] = {"documents": work.documents, "candidates": work.candidates}
        found.append(Finding(kind="compared_anew", subject="dedup", message=message, figures=counted, note=True))
    if work and work.most_copies.copies >= MOST_NEAR_COPIES:
        key = pl.lit(work.most_copies.text_key, pl.UInt64)
        same = candidate.counted(["doc_id", "source", "text_key"], lambda rows: rows.filter(pl.col("text_key") == key))
        places = same.sort("doc_id").head(1).select("doc_id", "source").rows()
        named = "".join(f" ({doc_id} of {candidate.named(source)})" for doc_id, source in places)
        message = (
            f"one text{named} has {work.most_copies.copies:,} near copies that are near copies of each other: "
            f"comparing them and keeping their pairs ({work.pairs:,} in this run) grows with the square of their "
            "number; keep such forms out at the source"
        )
        counted = {"copies": work.most_copies.copies, "pairs": work.pairs}
        found.append(Finding(kind="many_near_copies", subject="dedup", message=message, figures=counted, note=True))
    return found
