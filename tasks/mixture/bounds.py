"""Bounds: what a recipe asks of its mixture, as lines over a few sums; the plan, the choice and the proof share them.

The sums of a mixture, in the recipe's unit, over its train split: `all` and `human`, epochs counted; `plain` and
`plain_human`, each document once; `deep`, of documents further than one generation from human text; and `groups.0`,
`groups.1`, … of the documents that a group of the recipe names.
"""

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import NamedTuple

import polars as pl

from cuvee.schemas.amounts import WHOLE, human_part, is_by_probability
from cuvee.schemas.licenses import licence_class
from cuvee.schemas.recipe import Group, Mixture, Recipe

# What a group may name a document by; license and grade are looked at as classes.
KEYS = ("source", "domain", "language", "provenance", "depth", "generator", "kind", "license", "grade")
# Kinds of text: unknown ones that count by probability by the tenth of their p_synthetic, 0 to 9, and all others.
_TENTHS, _HUMAN, _SYNTHETIC = 10, 10, 11
_KINDS = {**{tenth: f"unknown{tenth}" for tenth in range(_TENTHS)}, _HUMAN: "human", _SYNTHETIC: "synthetic"}


class Bound(NamedTuple):
    """Σ terms[sum] · sum ≤ most. key: of the recipe; asked: its value there."""

    key: str
    asked: float
    terms: Mapping[str, Fraction]
    most: Fraction

    def excess(self, sums: Mapping[str, int | Fraction]) -> Fraction:
        """Return by how much sums pass the bound, exactly; at most 0 where they hold it."""
        return sum((factor * sums[name] for name, factor in self.terms.items()), Fraction(0)) - self.most

    def told(self) -> str:
        """Write the bound as the recipe has it."""
        return f"{self.key} {self.asked:,.6g}" if self.asked <= 1 else f"{self.key} {self.asked:,.0f}"


def bounds_of(mixture: Mixture, held_out: int) -> list[Bound]:
    """List the hard bounds of a mixture; held_out: amount of human text in the validation split.

    The human floor holds each document once and with epochs. The ceiling and the total hold over both splits, the share
    of a group and that of deep documents in the train split.
    """
    low, high = _exact(mixture.human.min), _exact(mixture.human.max)
    one = Fraction(1)
    found: list[Bound] = []
    if low:
        found.append(Bound("mixture.human.min", mixture.human.min, {"all": low, "human": -one}, Fraction(0)))
        if repeats(mixture):
            plain = {"plain": low, "plain_human": -one}
            found.append(Bound("mixture.human.min", mixture.human.min, plain, Fraction(0)))
    if high < 1:
        terms = {"human": one, "all": -high}
        found.append(Bound("mixture.human.max", mixture.human.max, terms, (high - 1) * held_out))
    if mixture.human.min_amount:
        asked = mixture.human.min_amount
        found.append(Bound("mixture.human.min_amount", asked, {"human": -one}, -_exact(asked)))
    if mixture.total is not None:
        found.append(Bound("mixture.total", mixture.total, {"all": one}, _exact(mixture.total) - held_out))
    for number, group in enumerate(mixture.groups):
        own = f"groups.{number}"
        if group.min > 0:
            terms = {"all": _exact(group.min), own: -one}
            found.append(Bound(f"mixture.{own}.min", group.min, terms, Fraction(0)))
        if group.max < 1:
            terms = {own: one, "all": -_exact(group.max)}
            found.append(Bound(f"mixture.{own}.max", group.max, terms, Fraction(0)))
    most_deep = mixture.depth.share_over_1
    if most_deep is not None and most_deep < 1:
        terms = {"deep": one, "all": -_exact(most_deep)}
        found.append(Bound("mixture.depth.share_over_1", most_deep, terms, Fraction(0)))
    return found


def sum_names(mixture: Mixture) -> list[str]:
    """Name the sums that the bounds of a mixture look at."""
    return ["all", "human", "plain", "plain_human", "deep", *(f"groups.{n}" for n in range(len(mixture.groups)))]


def repeats(mixture: Mixture) -> bool:
    """Tell whether a plan may repeat a document."""
    return mixture.shortage == "repeat" and max(most_epochs(mixture)) > 1


def most_epochs(mixture: Mixture) -> list[int]:
    """List how often a document may be seen: any, and those of each group; a group's own number stands above."""
    return [mixture.max_epochs, *(group.max_epochs or mixture.max_epochs for group in mixture.groups)]


def is_simple(recipe: Recipe) -> bool:
    """Tell whether the human share of whole documents, an amount of it and a total are all that is asked."""
    mixture = recipe.mixture
    whole = not is_by_probability(recipe.provenance.unknown_as)
    return whole and not mixture.groups and mixture.depth.share_over_1 is None and not repeats(mixture)


def members(rows: pl.DataFrame, group: Group) -> pl.Series:
    """Tell which rows a group names; columns: those of KEYS that it looks at."""
    holds = pl.repeat(value=True, n=rows.height, dtype=pl.Boolean, eager=True)
    for key, values in group.where.items():
        holds &= _class_of(rows[key], key).is_in(list(values)).fill_null(value=False)
    return holds


def traits(rows: pl.DataFrame, mixture: Mixture, unknown_as: str) -> pl.DataFrame:
    """Return what the bounds look at of each row: human (int64, millionths of it), kind (int8, of _KINDS), deep,
    groups.0, … (boolean), epochs (int64, at most). rows: columns `looked_at`.
    """
    named = {f"groups.{number}": members(rows, group) for number, group in enumerate(mixture.groups)}
    most = pl.lit(mixture.max_epochs, pl.Int64)
    own = [
        pl.when(name).then(pl.lit(group.max_epochs, pl.Int64))
        for (name, _), group in zip(named.items(), mixture.groups, strict=True)
        if group.max_epochs is not None
    ]
    whole = pl.when(pl.col("human") == WHOLE).then(_HUMAN).otherwise(_SYNTHETIC)
    tenth = ((WHOLE - pl.col("human")) // (WHOLE // _TENTHS)).clip(0, _TENTHS - 1)
    weighed = (pl.col("provenance") == "unknown") & is_by_probability(unknown_as)
    found = (
        rows.select("provenance", human=human_part(unknown_as), deep=pl.col("depth") > 1)
        .with_columns(**named, kind=pl.when(weighed).then(tenth).otherwise(whole).cast(pl.Int8))
        .drop("provenance")
    )
    # Of several groups that say something, the least holds.
    least = pl.coalesce(pl.min_horizontal(*own), most) if own else most
    return found.with_columns(epochs=least if repeats(mixture) else pl.lit(1, pl.Int64))


def looked_at(mixture: Mixture, unknown_as: str) -> list[str]:
    """Name the columns of documents that `traits` looks at."""
    weight = ["p_synthetic"] if is_by_probability(unknown_as) else []
    named = [key for group in mixture.groups for key in group.where]
    return list(dict.fromkeys(["provenance", "depth", *weight, *named]))


def label(found: pl.DataFrame) -> pl.Series:
    """Name the stratum of the plan of each row by its traits but human: rows with one name are alike for every bound,
    unknown ones that count by probability nearly.
    """
    groups = [name for name in found.columns if name.startswith("groups.")]
    in_groups = [pl.when(name).then(pl.lit(f" {name}")).otherwise(pl.lit("")) for name in groups]
    parts = [
        pl.col("kind").replace_strict(_KINDS, return_dtype=pl.String),
        pl.when("deep").then(pl.lit(" deep")).otherwise(pl.lit("")),
        *in_groups,
        pl.format(" x{}", "epochs"),
    ]
    return found.select(label=pl.concat_str(parts))["label"]


def traits_of(labels: Sequence[str], mixture: Mixture) -> pl.DataFrame:
    """Return what the bounds look at of strata by their labels: label, deep, groups.0, … (boolean), epochs (int64)."""
    words = [name.split(" ") for name in labels]
    groups = [f"groups.{number}" for number in range(len(mixture.groups))]
    held = [set(one) for one in words]
    columns = {name: pl.Series([name in own for own in held], dtype=pl.Boolean) for name in ("deep", *groups)}
    epochs = pl.Series([int(one[-1].removeprefix("x")) for one in words], dtype=pl.Int64)
    return pl.DataFrame({"label": pl.Series(labels, dtype=pl.String), **columns, "epochs": epochs})


def count_sums(rows: pl.DataFrame, found: pl.DataFrame, names: Sequence[str]) -> dict[str, int | Fraction]:
    """Add up a mixture, exactly: rows with amount (of one copy) and epochs, traits beside them."""
    each, seen = rows["amount"], rows["amount"] * rows["epochs"]
    sums = {"all": seen, "plain": each, "deep": seen.filter(found["deep"])}
    sums |= {name: seen.filter(found[name]) for name in names if name.startswith("groups.")}
    parts = {"human": seen * found["human"], "plain_human": each * found["human"]}
    return {name: Fraction(int(parts[name].sum()), WHOLE) if name in parts else int(sums[name].sum()) for name in names}


def _class_of(values: pl.Series, key: str) -> pl.Series:
    """Write values as a group's `where` has them."""
    if key == "license":
        classes = {value: licence_class(value) for value in values.unique().drop_nulls()}
        return values.replace_strict(classes, default="unknown", return_dtype=pl.String)
    if key == "grade":
        return values.round(0).cast(pl.Int64).cast(pl.String).fill_null("none")
    return values.cast(pl.String)


def _exact(value: float) -> Fraction:
    """Read a number as it was written: with binary fractions a share of 0.3 could come out a hair below its floor."""
    return Fraction(str(value))
