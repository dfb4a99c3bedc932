"""Ceiling: whether all human text is left out, as its documents are too large for what the recipe allows of it."""

from collections.abc import Sequence

import polars as pl

from cuvee.schemas.amounts import human_provenances
from cuvee.schemas.report import Figures, Finding
from cuvee.tasks.guard import Candidate
from cuvee.tasks.mixture.share import no_human_text
from cuvee.tasks.priority import held_out


class Ceiling(Figures):
    """Human documents that survived and are not held out, and those that are trained on."""

    there: int
    trained: int


def figures(candidate: Candidate) -> Ceiling:
    """Count human documents."""
    recipe = candidate.run.recipe
    is_human = pl.col("provenance").is_in(human_provenances(recipe.provenance.unknown_as))
    alive = is_human & pl.col("verdict").is_null()
    parts = candidate.parts(["doc_id", "provenance", "verdict"])
    there = sum(rows.filter(alive & ~held_out(rows, recipe)).height for rows in parts)
    return Ceiling(there=there, trained=candidate.trained.filter(is_human).height)


def findings(candidate: Candidate, figures: Ceiling) -> Sequence[Finding]:
    """Say that no human text is trained on, though there is some and the ceiling is above 0."""
    message = no_human_text(figures.there > 0, figures.trained, candidate.run.recipe.mixture)
    counted: dict[str, float | None] = {"documents": figures.there}
    return [Finding(kind="no_human_text", subject="mixture", message=message, figures=counted)] if message else []
