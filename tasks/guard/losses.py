"""Losses: what became of each source's rows: one that gives nothing, or loses most of its rows to one reason.

Rows that a newer edition supersedes and those of vanished files are what nights are made of, and do not count.
"""

from collections.abc import Sequence

import polars as pl

from cuvee.schemas.base import Frozen
from cuvee.schemas.report import Figures, Finding
from cuvee.tasks.guard import Candidate, duplicates

# Filters made for web pages drop up to half of them (FineWeb, Penedo et al. 2024, section 3.3 and on): above, they do
# not fit the source, or the source is not what its name says.
MOST_TO_ONE_REASON = 0.6
_OF_NIGHTS = ("superseded", "vanished")


class Losses(Frozen):
    """Readable rows of a source; those that it publishes; and those it loses by reason, the most frequent first."""

    rows: int
    published: int
    dropped: dict[str, int]


class SourceLosses(Figures):
    """Losses by source, in the recipe's order."""

    sources: dict[str, Losses]


def figures(candidate: Candidate) -> SourceLosses:
    """Count each source's rows by how they ended."""
    own = ~pl.col("verdict").is_in(_OF_NIGHTS).fill_null(value=False)
    ended = ["source", "verdict"]
    counts = candidate.counted(ended, lambda rows: rows.filter(own).group_by(ended).len())
    counts = counts.group_by(ended).agg(pl.col("len").sum()).sort(["len", "verdict"], descending=[True, False])
    found = {source.name: counts.filter(pl.col("source") == source.name) for source in candidate.run.recipe.sources}
    return SourceLosses(
        sources={
            name: Losses(
                rows=own["len"].sum(),
                published=candidate.published.get(name, 0),
                dropped=dict(own.drop_nulls("verdict").select("verdict", "len").iter_rows()),
            )
            for name, own in found.items()
        }
    )


def findings(candidate: Candidate, figures: SourceLosses) -> Sequence[Finding]:
    """Name the sources that publish no row, and those that lose more than MOST_TO_ONE_REASON of their rows to one."""
    found = []
    for name, lost in figures.sources.items():
        reason, count = next(iter(lost.dropped.items()), (None, 0))
        if not lost.published:
            kind, ended = "nothing_published", f"publishes none of its {lost.rows:,} readable rows{_ends(lost)}"
        elif count > MOST_TO_ONE_REASON * lost.rows and not _is_of_duplicates(reason, lost):
            share = f"{count:,} of its {lost.rows:,} readable rows ({count / lost.rows:.0%})"
            kind, ended = "lost_to_one_reason", f"loses {share} to {reason}"
        else:
            continue
        seen = f"cuvee texts {candidate.run.corpus} --source {name}" + (f" --reason {reason}" if reason else "")
        message = f"source {name} {ended}" + (f"; look at some: {seen}" if lost.rows else "")
        counted: dict[str, float | None] = {"rows": lost.rows, "published": lost.published}
        found.append(Finding(kind=kind, subject=name, message=message, figures=counted))
    return found


def _is_of_duplicates(reason: str | None, lost: Losses) -> bool:
    """Tell whether the metric of duplicates names the source for this reason already."""
    return reason in duplicates.COPIES and lost.rows >= duplicates.FEWEST_ROWS


def _ends(lost: Losses) -> str:
    pooled = lost.rows - sum(lost.dropped.values())
    ends = [f"{count:,} dropped by {reason}" for reason, count in lost.dropped.items()]
    ends += [f"{pooled:,} pooled, since the mixture had no room"] if pooled else []
    return f": {', '.join(ends)}" if ends else ""
