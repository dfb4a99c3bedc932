"""Marks: what reviewers' marks say of the human floor.

Marks are a sample of the documents that count as human: where k of n are marked human, the share that is human is at
least the lower bound of Clopper and Pearson (Biometrika 1934) with 95% confidence, whatever the documents are like. The
floor is held with that share of the human text alone. A floor of 1.0, which no sample can show, is held by labels.
"""

import math
from collections.abc import Mapping, Sequence
from fractions import Fraction

import polars as pl

from cuvee.schemas.errors import GateError
from cuvee.schemas.marks import Mark, Marked
from cuvee.schemas.recipe import Recipe

_DOUBT = 0.05
_DECIMALS = 10**6


def lower_bound(human: int, documents: int) -> float:
    """Return the least share of human documents, 0 to 1, of which `human` of `documents` are seen in 95 samples of 100.

    Six decimals, rounded down.
    """
    # Takes half a second, and only recipes whose documents were marked need it.
    from scipy.special import betaincinv

    found = float(betaincinv(human, documents - human + 1, _DOUBT)) if human else 0.0
    return math.floor(found * _DECIMALS) / _DECIMALS


def seen(counted: pl.Series, marks: Mapping[str, Sequence[Mark]]) -> tuple[int, int]:
    """Count the documents that are marked human or synthetic, and of them those marked human.

    counted: doc_ids of documents that count as human. marks: SHA-256 of a file → its marks. A document that is marked
    both ways is not human.
    """
    verdicts = [(mark.doc_id, mark.verdict == "human") for file in marks.values() for mark in file if _tells(mark)]
    table = pl.DataFrame(verdicts, schema={"doc_id": pl.String, "human": pl.Boolean}, orient="row")
    each = table.group_by("doc_id").agg(pl.col("human").all())
    found = each.filter(pl.col("doc_id").is_in(counted.implode()))["human"]
    return len(found), int(found.sum())


def heard(counts: Sequence[tuple[int, int]], files: Sequence[str]) -> Marked | None:
    """Add up what was `seen` of marks, and say what it means; None without marks of documents that count as human.

    files: the SHA-256 of the files of marks.
    """
    documents, human = (sum(one[place] for one in counts) for place in (0, 1))
    if not documents:
        return None
    return Marked(documents=documents, human=human, low=lower_bound(human, documents), files=tuple(files))


def raised(recipe: Recipe, marked: Marked | None) -> Recipe:
    """Return a recipe whose floor, held by labels, holds with what marks say of them.

    Raises GateError where no share of human text is enough.
    """
    floor = recipe.mixture.human.min
    if marked is None or not holds_by_marks(recipe):
        return recipe
    least = Fraction(str(floor)) / Fraction(str(marked.low)) if marked.low else Fraction(2)
    human = recipe.mixture.human
    if least > Fraction(str(human.max)):
        raise GateError(
            f"mixture.human.min {floor:g}: {told(marked)}, so even a labelled share of {human.max:g} does not show it; "
            "nothing is published; mark more documents, add human sources that are sure, or lower the floor"
        )
    raised_human = human.model_copy(update={"min": math.ceil(least * _DECIMALS) / _DECIMALS})
    mixture = recipe.mixture.model_copy(update={"human": raised_human})
    return recipe.model_copy(update={"mixture": mixture})


def holds_by_marks(recipe: Recipe) -> bool:
    """Tell whether marks, where there are some, bear on the floor: there is one, and it is not 1."""
    return 0 < recipe.mixture.human.min < 1


def told(marked: Marked) -> str:
    """Say what was marked."""
    return (
        f"{marked.human:,} of {marked.documents:,} marked documents that count as human are, so at least "
        f"{marked.low:.4f} of such text is human, with 95% confidence"
    )


def _tells(mark: Mark) -> bool:
    return mark.verdict in ("human", "synthetic")
