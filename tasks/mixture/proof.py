"""Proof: the mixture counted again from the published files, bound by bound, before anything is committed."""

from collections.abc import Sequence
from fractions import Fraction

from cuvee.schemas.amounts import counted_human, totals
from cuvee.schemas.errors import IntegrityError
from cuvee.schemas.manifest import Bounds, DataFile, Proof, Totals
from cuvee.schemas.marks import Marked
from cuvee.schemas.recipe import Recipe
from cuvee.tasks.mixture.marks import raised


def prove(
    recipe: Recipe, files: Sequence[DataFile], marked: Marked | None = None
) -> tuple[Totals, dict[str, Totals], Proof]:
    """Recount the mixture from the published files; raises IntegrityError when a bound of the recipe does not hold.

    marked: what reviewers' marks say of text that counts as human, which raises the floor.
    Returns the totals, those of each split, and the proof: the bounds asked for and the shares reached.
    """
    unknown_as = recipe.provenance.unknown_as
    everything = totals(files, unknown_as)
    of = {name: [file for file in files if file.split == name] for name in ("train", "validation")}
    splits = {name: totals(own, unknown_as) for name, own in of.items()}
    human, unit = recipe.mixture.human, recipe.mixture.unit
    least = raised(recipe, marked).mixture.human.min
    floor, ceiling = Fraction(str(least)), Fraction(str(human.max))
    for name, counted, own in (("all files", everything, files), ("the train split", splits["train"], of["train"])):
        if counted_human(own, unknown_as) < floor * counted.amount:
            raise IntegrityError(
                f"{name}: the human share is {counted.human_share}, under the floor {least:g}; nothing is published"
            )
    if counted_human(files, unknown_as) > ceiling * everything.amount:
        raise IntegrityError(
            f"all files: the human share is {everything.human_share}, above the ceiling {human.max:g}; nothing is "
            "published"
        )
    if human.min_amount is not None and counted_human(of["train"], unknown_as) < Fraction(str(human.min_amount)):
        raise IntegrityError(
            f"the train split: {splits['train'].counted_human} {unit} of human text are less than "
            f"mixture.human.min_amount {human.min_amount:g}; nothing is published"
        )
    if recipe.mixture.total is not None and everything.amount > recipe.mixture.total:
        raise IntegrityError(f"{everything.amount} {unit} pass mixture.total; nothing is published")
    _check_held_out(recipe, splits["validation"])
    _check_strata(recipe, files)
    proof = Proof(
        unit=unit,
        bounds=Bounds(**human.model_dump()),
        total=recipe.mixture.total,
        unknown_as=unknown_as,
        human_share=everything.human_share,
        human_share_train=splits["train"].human_share,
        counted_from=tuple(file.sha256 for file in files),
    )
    return everything, splits, proof


def _check_held_out(recipe: Recipe, validation: Totals) -> None:
    """Validation is human text, and of a total at most the share that is held out."""
    other = sorted(validation.by_provenance.keys() - {"human"})
    if other:
        raise IntegrityError(f"the validation split holds {other[0]} text; nothing is published")
    share, total = Fraction(str(recipe.holdout.share)), recipe.mixture.total
    bounded = not share or total is not None
    if bounded and validation.amount > share * Fraction(str(total or 0)):
        raise IntegrityError(
            f"the validation split: {validation.amount} {recipe.mixture.unit} are more than holdout.share "
            f"{recipe.holdout.share:g}; nothing is published"
        )


def _check_strata(recipe: Recipe, files: Sequence[DataFile]) -> None:
    """No file holds text deeper than mixture.depth.max, nor unknown text where that is excluded."""
    for file in files:
        if file.stratum.depth > recipe.mixture.depth.max:
            raise IntegrityError(
                f"{file.path}: depth {file.stratum.depth} passes mixture.depth.max {recipe.mixture.depth.max}; nothing "
                "is published"
            )
        if recipe.provenance.unknown_as == "exclude" and file.amounts.keys() - {"human", "synthetic"}:
            raise IntegrityError(f"{file.path}: it holds unknown text, which the recipe excludes; nothing is published")
