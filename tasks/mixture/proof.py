"""Proof: the mixture counted again from the published files, bound by bound, before anything is committed."""

from collections.abc import Sequence
from fractions import Fraction

from cuvee.schemas.amounts import totals
from cuvee.schemas.errors import IntegrityError
from cuvee.schemas.manifest import Bounds, DataFile, Proof, Totals
from cuvee.schemas.recipe import Recipe


def prove(recipe: Recipe, files: Sequence[DataFile]) -> tuple[Totals, dict[str, Totals], Proof]:
    """Recount the mixture from the published files; raises IntegrityError when a bound of the recipe does not hold.

    Returns the totals, those of each split, and the proof: the bounds asked for and the shares reached.
    """
    unknown_as = recipe.provenance.unknown_as
    everything = totals(files, unknown_as)
    splits = {
        name: totals([file for file in files if file.split == name], unknown_as) for name in ("train", "validation")
    }
    human = recipe.mixture.human
    floor = Fraction(str(human.min))
    for name, counted in {"all files": everything, "the train split": splits["train"]}.items():
        if counted.counted_human < floor * counted.amount:
            raise IntegrityError(
                f"{name}: the human share is {counted.human_share}, under the floor {human.min:g}; nothing is published"
            )
    if recipe.mixture.total is not None and everything.amount > recipe.mixture.total:
        raise IntegrityError(f"{everything.amount} {recipe.mixture.unit} pass mixture.total; nothing is published")
    proof = Proof(
        unit=recipe.mixture.unit,
        bounds=Bounds(**human.model_dump()),
        total=recipe.mixture.total,
        unknown_as=unknown_as,
        human_share=everything.human_share,
        human_share_train=splits["train"].human_share,
        counted_from=tuple(file.sha256 for file in files),
    )
    return everything, splits, proof
