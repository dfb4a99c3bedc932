"""Generation: habits of generators and of their judges."""

from collections.abc import Sequence

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
    rounds = {entry.name: drafting.rounds_of(store, pool, run, entry) for entry in asking}
    return Generation(generators={entry.name: habits.measure(entry, rounds[entry.name]) for entry in asking})


def findings(candidate: Candidate, figures: Generation) -> Sequence[Finding]:
    """Name the habits that a person should know of."""
    return [
        Finding(kind=kind, subject=name, message=f"{candidate.named(name)}: {told}", figures=counted)
        for name, found in figures.generators.items()
        for kind, told, counted in habits.findings(found)
    ]
