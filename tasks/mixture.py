"""Mixture: choose which documents a version keeps, so that the human share holds.

Output columns, beside the input's: split ("train" | "validation" | null: pooled), amount (int64, in the recipe's
unit), priority (uint64), epochs (int8).
Documents are taken in the order of a hash of their id: the same input and recipe give the same output, and a changed
amount moves only the border. Human text is never dropped for synthetic text's sake.
"""

import math
from fractions import Fraction
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
import polars as pl

from cuvee.schemas.errors import GateError
from cuvee.schemas.recipe import Mixture, Recipe
from cuvee.schemas.records import FileRef, Run
from cuvee.tasks.priority import below, priorities
from cuvee.tasks.resolve import survivors
from cuvee.tasks.steps import load, save

Int64s: TypeAlias = npt.NDArray[np.int64]


class Amounts(NamedTuple):
    """What there is, or what is taken, in the recipe's unit. held_out: human text of the validation split."""

    human: int
    synthetic: int
    held_out: int

    @property
    def total(self) -> int:
        """All of it."""
        return self.human + self.synthetic + self.held_out


def unit_amount(unit: str) -> pl.Expr:
    """Return the amount of one copy of a document in a unit: words, bytes or documents."""
    return {"words": pl.col("words"), "bytes": pl.col("bytes"), "documents": pl.lit(1, pl.Int64)}[unit]


def held_out(rows: pl.DataFrame, recipe: Recipe) -> pl.Series:
    """Tell which documents are kept for validation: human by the evidence, by hash, for ever the same."""
    return below(rows["doc_id"], "holdout", recipe.holdout.share) & (rows["provenance"] == "human")


def counts_as_human(recipe: Recipe) -> pl.Expr:
    """Tell which documents the ratio counts as human."""
    as_human = ["human", "unknown"] if recipe.provenance.unknown_as == "human" else ["human"]
    return pl.col("provenance").is_in(as_human)


def run(run: Run, decided: FileRef) -> FileRef:
    """Choose among the survivors of the last pass, and save their table."""
    return save(run, plan(survivors(load(run, decided)), run.recipe))


def plan(rows: pl.DataFrame, recipe: Recipe) -> pl.DataFrame:
    """Choose among the survivors.

    rows: one row a surviving document; columns doc_id, provenance, words, bytes.
    The human share holds in the train split alone, and with the validation split counted; the total counts both.
    Raises GateError when there is no human text under a floor, when mixture.human.min_amount is not reached, and,
    with shortage: fail, when less than the recipe asks for could be published; it says what is missing and how much.
    """
    mixture = recipe.mixture
    rows = rows.with_columns(
        amount=unit_amount(mixture.unit),
        priority=pl.Series(priorities(rows["doc_id"], f"mixture {mixture.seed}"), dtype=pl.UInt64),
        held_out=held_out(rows, recipe),
        human=counts_as_human(recipe),
        epochs=pl.lit(1, pl.Int8),
    ).sort("priority", "doc_id")
    train = ~pl.col("held_out")
    there = Amounts(
        human=_sum(rows, train & pl.col("human")),
        synthetic=_sum(rows, train & ~pl.col("human")),
        held_out=_sum(rows, ~train),
    )
    human, synthetic = _cumulative(rows, train & pl.col("human")), _cumulative(rows, train & ~pl.col("human"))
    taken = choose(there, human, synthetic, mixture)
    _check(there, taken, int(rows["amount"].max() or 0) if rows.height else 0, mixture)  # type: ignore[arg-type]
    chosen = pl.when("human").then(pl.lit(taken.human)).otherwise(pl.lit(taken.synthetic))
    running = pl.col("amount").cum_sum().over("human", "held_out")
    split = pl.when("held_out").then(pl.lit("validation")).when(running <= chosen).then(pl.lit("train"))
    return rows.with_columns(split=split).drop("held_out", "human")


def choose(there: Amounts, human: Int64s, synthetic: Int64s, mixture: Mixture) -> Amounts:
    """Work out how much of each to take: as much as the bounds allow, human text first.

    human, synthetic: cumulative amounts in the order in which documents are taken; the result is a sum of whole
    documents. The floor always holds. The ceiling holds but for at most one document, where floor and ceiling leave
    no room for whole documents.
    """
    room = math.inf if mixture.total is None else max(mixture.total - there.held_out, 0.0)
    # Exact fractions: with floats a share of 0.3 could come out a hair below its floor.
    low, high = Fraction(str(mixture.human.min)), Fraction(str(mixture.human.max))

    def most_synthetic(human_amount: int) -> float:
        return math.floor(human_amount * (1 - low) / low) if low else math.inf

    def most_human(synthetic_amount: int) -> float:
        return math.inf if high == 1 else max(math.floor(synthetic_amount * high / (1 - high)) - there.held_out, 0)

    most = min(there.human, room * float(high), most_human(there.synthetic))
    human_taken = _whole(human, most)
    synthetic_taken = _whole(synthetic, min(there.synthetic, room - human_taken, most_synthetic(human_taken)))
    # What the last synthetic document left over may be too little for the ceiling: give human documents back.
    while human_taken > most_human(synthetic_taken) and low < high:
        human_taken = _whole(human, most_human(synthetic_taken))
        bounded = _whole(synthetic, min(synthetic_taken, most_synthetic(human_taken)))
        if bounded == synthetic_taken:
            break
        synthetic_taken = bounded
    return Amounts(human_taken, synthetic_taken, there.held_out)


def _check(there: Amounts, taken: Amounts, largest: int, mixture: Mixture) -> None:
    unit, floor = mixture.unit, mixture.human.min
    if floor > 0 and taken.human == 0:
        raise GateError(
            f"mixture.human.min is {floor:g}, and no human text survived ({there.synthetic:,} {unit} of synthetic text "
            "did); nothing is published; add human sources, or look at what was dropped"
        )
    least = mixture.human.min_amount or 0
    if taken.human < least:
        raise GateError(
            f"mixture.human.min_amount: {least:,.0f} {unit} of human text are asked for, {taken.human:,} are there: "
            f"{least - taken.human:,.0f} are missing; nothing is published; add human sources or lower it"
        )
    if mixture.shortage != "fail":
        return
    wanted = mixture.total if mixture.total is not None else there.total if floor < 1 else there.human + there.held_out
    # Whole documents only: less than one document short is not a shortage.
    if taken.total + largest > wanted:
        return
    if floor < 1 and taken.synthetic < there.synthetic:
        needed = math.ceil(floor * min(wanted, there.total) if mixture.total is None else floor * wanted)
        have = there.human
        missing = (
            f"{max(needed - have, 1):,} {unit} of human text "
            f"({needed:,} needed for a share of {floor:g}, {have:,} there)"
        )
    else:
        missing = f"{wanted - taken.total:,.0f} {unit} ({wanted:,.0f} asked for, {taken.total:,} there)"
    raise GateError(
        f"shortage: {missing} are missing, and mixture.shortage is fail; nothing is published; "
        "add sources, lower mixture.total or mixture.human.min, or set shortage: shrink"
    )


def _sum(rows: pl.DataFrame, where: pl.Expr) -> int:
    return int(rows.filter(where)["amount"].sum())


def _cumulative(rows: pl.DataFrame, where: pl.Expr) -> Int64s:
    return rows.filter(where)["amount"].cum_sum().to_numpy()


def _whole(cumulative: Int64s, most: float) -> int:
    """Return the largest cumulative amount that does not pass `most`."""
    count = int(np.searchsorted(cumulative, most, side="right"))
    return int(cumulative[count - 1]) if count else 0
