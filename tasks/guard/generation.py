"""Generation: habits of generators and of their judges."""

from collections.abc import Sequence

import polars as pl

from cuvee.schemas.report import Figures, Finding
from cuvee.tasks import generators
from cuvee.tasks.generate import drafting, habits
from cuvee.tasks.guard import Candidate


class Generation(Figures):
    """Habits by generator; those that have no answers of an endpoint have none."""

    generators: dict[str, habits.Habits]


def figures(candidate: Candidate) -> Generation:
    """Measure the generators of the recipe that ask an endpoint."""
    run, store, pool = candidate.run, candidate.store, candidate.pool
    asking = [entry for entry in run.recipe.generate if generators.find(entry.generator).GRADED]
    if not asking:
        return Generation(generators={})
    drafted = pl.col("source").is_in([entry.name for entry in asking])
    drafts = candidate.counted(["source", "verdict"], lambda rows: rows.filter(drafted))
    found = {}
    for entry in asking:
        rows = drafts.filter(pl.col("source") == entry.name)
        found[entry.name] = habits.measure(entry, drafting.rounds_of(store, pool, run, entry), rows)
    return Generation(generators=found)


def findings(candidate: Candidate, figures: Generation) -> Sequence[Finding]:
    """Name the habits that a person should know of."""
    return [
        Finding(kind=kind, subject=name, message=f"{candidate.named(name)}: {told}", figures=counted)
        for name, found in figures.generators.items()
        for kind, told, counted in habits.findings(found)
    ]
