"""Bands: how many, and how long, so that few near-duplicates are missed.

Two texts of Jaccard s agree in all rows of a band with probability s^rows, and in at least one of the bands with
1 - (1 - s^rows)^bands (Leskovec, Rajaraman, Ullman: Mining of Massive Datasets, 3.4).
"""

from collections.abc import Sequence

from pydantic import Field

from cuvee.schemas.base import Frozen
from cuvee.schemas.errors import RecipeError


class Bands(Frozen):
    """A division of the first bands·rows values of a signature."""

    bands: int = Field(ge=1, description="bands; texts that agree in one of them are compared")
    rows: int = Field(ge=1, description="signature values in a band")


def choose(threshold: float, permutations: int = 128, recall: float = 0.999) -> Bands:
    """Return the longest bands that still find a pair at the threshold with at least this probability.

    Longer bands mean fewer needless comparisons; as many bands as the permutations give. 25 of 5 for 0.8 and 128.
    threshold: Jaccard in (0, 1]; recall in (0, 1). Raises RecipeError when no division reaches the recall.
    """
    for rows in range(permutations, 0, -1):
        division = Bands(bands=permutations // rows, rows=rows)
        if found(division, threshold) >= recall:
            return division
    raise RecipeError(
        f"dedup.threshold: {permutations} permutations cannot find pairs of Jaccard {threshold} with probability "
        f"{recall}; raise the threshold or dedup.permutations"
    )


def found(division: Bands, jaccard: float) -> float:
    """Return the probability that a pair of this Jaccard is compared."""
    return float(1.0 - (1.0 - jaccard**division.rows) ** division.bands)


def curve(
    division: Bands, jaccards: Sequence[float] = (0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)
) -> list[tuple[float, float]]:
    """Return (Jaccard, probability that a pair of it is compared, rounded to 6 decimals)."""
    return [(jaccard, round(found(division, jaccard), 6)) for jaccard in jaccards]
