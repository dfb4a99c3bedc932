"""Units: whether words are a measure that all of the text shares."""

from collections.abc import Sequence

import polars as pl

from cuvee.schemas.report import Figures, Finding
from cuvee.tasks.guard import Candidate

# ISO 639 codes of languages written without spaces between words: there a letter counts as a word.
SPACELESS = ("gan", "ja", "km", "lo", "my", "th", "wuu", "yue", "zh")
# A quotation here and there, under a hundredth of the words, moves no share that anybody looks at.
_MOST_IN_ONE = 100


class Units(Figures):
    """Words that are trained on, in languages with spaces between words and in those without."""

    spaced: int
    spaceless: int


def figures(candidate: Candidate) -> Units:
    """Count words by how their language is written."""
    counted = candidate.trained.filter(pl.col("language").is_in(SPACELESS))["words"].sum()
    return Units(spaced=int(candidate.trained["words"].sum()) - int(counted), spaceless=int(counted))


def findings(candidate: Candidate, figures: Units) -> Sequence[Finding]:
    """Say that words are no common measure, where both ways of writing hold a hundredth of them."""
    words = figures.spaced + figures.spaceless
    fewer = min(figures.spaced, figures.spaceless)
    if candidate.run.recipe.mixture.unit != "words" or not fewer or fewer * _MOST_IN_ONE < words:
        return []
    message = (
        f"the mixture is in words and holds languages with spaces between words ({figures.spaced:,} words) and without "
        f"({figures.spaceless:,}, where each letter is one): these are not alike, and a share of words is not one of "
        "what a model reads; set mixture.unit to tokens, and mixture.tokenizer"
    )
    counted: dict[str, float | None] = {"spaced": figures.spaced, "spaceless": figures.spaceless}
    return [Finding(kind="unit", subject="mixture", message=message, figures=counted)]
