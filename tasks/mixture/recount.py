"""Recount: every bound of the mixture counted again from the published files, with nothing but their columns."""

from collections.abc import Mapping, Sequence
from fractions import Fraction

import polars as pl

from cuvee.schemas.amounts import counted_columns, counted_human, is_by_probability, published_amount
from cuvee.schemas.errors import IntegrityError
from cuvee.schemas.manifest import Constraint, DataFile
from cuvee.schemas.marks import Marked
from cuvee.schemas.recipe import Mixture, Recipe
from cuvee.storage.store import Store
from cuvee.storage.tables import read_table
from cuvee.tasks.mixture.bounds import Bound, bounds_of, count_sums, is_simple, looked_at, sum_names, traits
from cuvee.tasks.mixture.marks import holds_by_marks, raised

_ROUNDING = 6


def recount(
    store: Store, asked: Recipe, files: Sequence[DataFile], marked: Marked | None = None
) -> tuple[Constraint, ...]:
    """Count what the bounds look at in the published files of the train split; return each bound with what was found.

    Where the human share is all that is asked, the amounts that were counted of each file as it was written are added
    up; else each file is read again. marked: what marks say of the labels; the floor is looked at with the least share
    of human text that they leave. Raises IntegrityError for a bound that does not hold.
    """
    recipe = raised(asked, marked)
    mixture = recipe.mixture
    trained = [file for file in files if file.split == "train"]
    held_out = sum(file.amount for file in files if file.split == "validation")
    sums: dict[str, int | Fraction] = dict.fromkeys(sum_names(mixture), 0)
    for file in trained:
        for name, value in (_of_amounts(recipe, file) if is_simple(recipe) else _of(store, recipe, file)).items():
            sums[name] += value
    found = []
    for bound in bounds_of(mixture, held_out):
        counted = _counted(bound, sums, held_out)
        if bound.excess(sums) > 0:
            raise IntegrityError(
                f"{bound.key}: {bound.asked:g} is asked for, {counted} was counted in the published files; nothing is "
                "published"
            )
        if marked and bound.key == "mixture.human.min" and holds_by_marks(asked):
            least = None if counted is None else round(counted * marked.low, _ROUNDING)
            found.append(Constraint(key=bound.key, asked=asked.mixture.human.min, counted=least))
            continue
        found.append(Constraint(key=bound.key, asked=bound.asked, counted=counted))
    return tuple(found)


def _of_amounts(recipe: Recipe, file: DataFile) -> dict[str, int | Fraction]:
    human = counted_human([file], recipe.provenance.unknown_as)
    return {"all": file.amount, "plain": file.amount, "human": human, "plain_human": human}


def _of(store: Store, recipe: Recipe, file: DataFile) -> dict[str, int | Fraction]:
    mixture: Mixture = recipe.mixture
    unknown_as = recipe.provenance.unknown_as
    columns = dict.fromkeys([*counted_columns(mixture.unit, unknown_as), *looked_at(mixture, unknown_as)])
    published = pl.DataFrame(read_table(store, file, list(columns)))
    rows = published.with_columns(
        amount=published_amount(published, mixture.unit), epochs=pl.col("epochs").cast(pl.Int64)
    )
    if is_by_probability(unknown_as) and rows.filter(provenance="unknown")["p_synthetic"].has_nulls():
        raise IntegrityError(f"{file.path}: it holds unknown text without p_synthetic; nothing is published")
    return count_sums(rows, traits(published, mixture, unknown_as), sum_names(mixture))


def _counted(bound: Bound, sums: Mapping[str, int | Fraction], held_out: int) -> float | None:
    """Return the share or the amount that a bound speaks of."""
    if bound.key == "mixture.total":
        return float(sums["all"] + held_out)
    of = next((name for name in ("all", "plain") if name in bound.terms), None)
    (own,) = (name for name in bound.terms if name != of)
    if of is None:
        return float(sums[own])
    apart = held_out if bound.key == "mixture.human.max" else 0
    return round(float((sums[own] + apart) / (sums[of] + apart)), _ROUNDING) if sums[of] + apart else None
