"""Selection: choose which documents a version keeps, so that the human share holds.

Documents are taken in the order of a hash of their id: the same input and recipe give the same output, and a changed
amount moves only the border. Human text is never dropped for synthetic text's sake.
"""

import math
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
import polars as pl

from cuvee.schemas.amounts import WHOLE, human_part, human_provenances, unit_amount
from cuvee.schemas.errors import GateError
from cuvee.schemas.marks import Marked
from cuvee.schemas.recipe import Mixture, Recipe
from cuvee.schemas.records import Run
from cuvee.schemas.tables import PLANNED, DecidedRef, KeptRef, PlannedRef
from cuvee.storage.corpus import load_manifest
from cuvee.storage.marks import read_marks
from cuvee.storage.store import Store
from cuvee.tasks.decide.partitions import by_doc_id
from cuvee.tasks.mixture import marks
from cuvee.tasks.mixture.blend import blend
from cuvee.tasks.mixture.bounds import is_simple, looked_at, traits
from cuvee.tasks.mixture.why import why_simple
from cuvee.tasks.priority import held_out, priorities
from cuvee.tasks.steps import load_decided, save

Int64s: TypeAlias = npt.NDArray[np.int64]
Bools: TypeAlias = npt.NDArray[np.bool_]


# What decides.
_READ = ("shard", "position", "doc_id", "provenance", "words", "bytes", "tokens", "verdict", "suspect")


class Amounts(NamedTuple):
    """What there is, or what is taken, in the recipe's unit. held_out: human text of the validation split."""

    human: int
    synthetic: int
    held_out: int

    @property
    def total(self) -> int:
        """All of it."""
        return self.human + self.synthetic + self.held_out


class Choice(NamedTuple):
    """Which documents are taken, bool[n] for each of the three groups, in the order in which they were given."""

    human: Bools
    synthetic: Bools
    held_out: Bools


class Chosen(NamedTuple):
    """The rows with what was chosen beside them; strata, why: as of PlannedRef, empty where the human share is all that
    is asked; there: what might be trained on, and what validation takes.
    """

    rows: pl.DataFrame
    strata: dict[str, int]
    why: tuple[str, ...]
    there: Amounts


def run(run: Run, store: Store, decided: DecidedRef) -> PlannedRef:
    """Choose among the survivors of the last pass, and save the choice: PLANNED, in sampling order."""
    unknown_as = run.recipe.provenance.unknown_as
    columns = dict.fromkeys([*_READ, *looked_at(run.recipe.mixture, unknown_as)])
    rows = load_decided(store, decided, columns).filter(pl.col("verdict").is_null())
    counted = rows.filter(pl.col("provenance").is_in(human_provenances(unknown_as)))["doc_id"]
    marked = marks.heard(counted, read_marks(store, run.corpus))
    recipe = marks.raised(run.recipe, marked)
    chosen = choose_of(rows, recipe, last_plan(run, store))
    saved = save(run, store, chosen.rows, PLANNED)
    why = chosen.why or why_simple(*chosen.there, recipe.mixture)
    share, doubt = guaranteed(chosen.rows, recipe)
    why = (*(_marked(run.recipe, recipe, marked) if marked else ()), *why, *doubt)
    kept = _kept(run, store, chosen.rows, len(decided.partitions))
    return PlannedRef(**saved.model_dump(), strata=chosen.strata, guaranteed=share, why=why, marked=marked, kept=kept)


def _marked(asked: Recipe, planned: Recipe, marked: Marked) -> tuple[str, ...]:
    """Say what marks say, and what that makes of the floor."""
    floor, least = asked.mixture.human.min, planned.mixture.human.min
    held = (
        f"the floor of {floor:g} is held as {least:g} by labels"
        if marks.holds_by_marks(asked)
        else "no floor rests on it"
    )
    if floor == 1:
        held = "the floor of 1 is held by labels alone"
    return (f"{marks.told(marked)}: {held}",)


def guaranteed(chosen: pl.DataFrame, recipe: Recipe) -> tuple[float | None, tuple[str, ...]]:
    """Return the human share of what is trained on, 0 to 1, if all suspects and unknown documents are machine-written,
    and say so where there are any that count as human; chosen: of `choose_of`, with suspect (boolean).
    """
    trained = chosen.filter(pl.col("split") == "train")
    seen = trained["amount"] * trained["epochs"].cast(pl.Int64)
    part = trained.select(part=human_part(recipe.provenance.unknown_as))["part"]
    in_doubt = (part > 0) & (trained["suspect"].fill_null(value=False) | (trained["provenance"] == "unknown"))
    everything = int(seen.sum())
    if not everything:
        return None, ()
    human = seen * part
    expected, least = (round(int(of.sum()) / WHOLE / everything, 6) for of in (human, human.filter(~in_doubt)))
    if not in_doubt.any():
        return least, ()
    documents = int(in_doubt.sum())
    return least, (
        f"the human share of what is trained on is {expected:.4f}; {least:.4f} is sure, with {documents:,} suspect or "
        "unknown documents counted against it",
    )


def _kept(run: Run, store: Store, chosen: pl.DataFrame, partitions: int) -> tuple[KeptRef, ...]:
    """Save what is published, a file a partition."""
    kept = chosen.drop_nulls("split")
    where = pl.Series(by_doc_id(kept["doc_id"], partitions))
    return tuple(KeptRef(save(run, store, kept.filter(where == part), PLANNED)) for part in range(partitions))


def last_plan(run: Run, store: Store) -> dict[str, int]:
    """Return the strata of the standing version's plan, none where its recipe had other groups."""
    if is_simple(run.recipe) or not run.parent:
        return {}
    parent = load_manifest(store, run.corpus, run.parent)
    told = run.recipe.model_dump(mode="json")["mixture"]["groups"]
    return parent.mixture.strata if parent.recipe.get("mixture", {}).get("groups") == told else {}


def plan(rows: pl.DataFrame, recipe: Recipe) -> pl.DataFrame:
    """Choose among the survivors: `choose_of` without what an earlier version planned, and the rows alone."""
    return choose_of(rows, recipe, {}).rows


def choose_of(rows: pl.DataFrame, recipe: Recipe, last: Mapping[str, int]) -> Chosen:
    """Choose among the survivors.

    rows: one row a surviving document; columns doc_id, provenance, words, bytes, tokens, and others, which are given
    back with split ("train" | "validation" | null: pooled), amount (int64, in the recipe's unit), priority, epochs.
    The human share holds in the train split alone, and with the validation split counted. Under a total, validation
    takes at most its share of it, and what is held out beyond that is pooled.
    Raises GateError when nothing could be trained on, when mixture.human.min_amount is not reached, and, with
    shortage: fail, when less than the recipe asks for could be published; it says what is missing and how much.
    last: stratum → amount of the last version's plan.
    """
    mixture = recipe.mixture
    if not is_simple(recipe):
        return _blended(rows, recipe, last)
    # Only what decides is sorted and cut, and the rows themselves are put in order once, at the end.
    deciding = _deciding(rows, recipe)
    human, synthetic, apart = (
        deciding.filter(group)
        for group in (~pl.col("held_out") & pl.col("human"), ~pl.col("held_out") & ~pl.col("human"), pl.col("held_out"))
    )
    amounts: list[Int64s] = [group["amount"].to_numpy() for group in (human, synthetic, apart)]
    choice = choose(amounts[0], amounts[1], amounts[2], mixture, recipe.holdout.share)
    there = Amounts(*(int(amount.sum()) for amount in amounts))
    taken = Amounts(*(_sum(amount, mask) for amount, mask in zip(amounts, choice, strict=True)))
    _check(there, taken, deciding["amount"].to_numpy(), mixture)
    splits = [
        group.with_columns(split=pl.when(pl.Series(mask)).then(pl.lit(name)), epochs=pl.lit(1, pl.Int8))
        for group, mask, name in zip((human, synthetic, apart), choice, ("train", "train", "validation"), strict=True)
    ]
    return Chosen(_ordered(rows, splits), {}, (), there._replace(held_out=taken.held_out))


def _blended(rows: pl.DataFrame, recipe: Recipe, last: Mapping[str, int]) -> Chosen:
    """Choose by groups, depth and epochs; validation is what it is without them."""
    mixture = recipe.mixture
    deciding = _deciding(rows, recipe)
    apart, trained = deciding.filter("held_out"), deciding.filter(~pl.col("held_out"))
    if trained.is_empty():
        raise GateError("no document survived to train on; look at what was dropped, and why; nothing is published")
    held = held_within(apart["amount"].to_numpy(), mixture, recipe.holdout.share)
    found = traits(rows[trained["place"]], mixture, recipe.provenance.unknown_as)
    amounts: Int64s = trained["amount"].to_numpy()
    held_amount = _sum(apart["amount"].to_numpy(), held)
    blended = blend(amounts, found, mixture, held_amount, last)
    epochs = pl.Series(blended.epochs)
    splits = [
        trained.with_columns(
            split=pl.when(epochs > 0).then(pl.lit("train")), epochs=epochs.clip(1).cast(pl.Int8, strict=True)
        ),
        apart.with_columns(split=pl.when(pl.Series(held)).then(pl.lit("validation")), epochs=pl.lit(1, pl.Int8)),
    ]
    human = _sum(amounts, trained["human"].to_numpy())
    there = Amounts(human, int(amounts.sum()) - human, held_amount)
    return Chosen(_ordered(rows, splits), blended.plan, blended.told, there)


def _deciding(rows: pl.DataFrame, recipe: Recipe) -> pl.DataFrame:
    """Return what decides of each row, in the order in which documents are taken; place: of the row."""
    return rows.select(
        "doc_id",
        place=pl.int_range(pl.len(), dtype=pl.UInt32),
        amount=unit_amount(recipe.mixture.unit),
        priority=pl.Series(priorities(rows["doc_id"], f"mixture {recipe.mixture.seed}"), dtype=pl.UInt64),
        held_out=held_out(rows, recipe),
        human=pl.col("provenance").is_in(human_provenances(recipe.provenance.unknown_as)),
    ).sort("priority", "doc_id")


def _ordered(rows: pl.DataFrame, splits: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """Put what was chosen beside the rows, in the order of priority."""
    chosen = pl.concat(splits).sort("priority", "doc_id")
    chosen = chosen.select("place", "amount", "priority", "split", "epochs")
    return rows[chosen["place"]].hstack(chosen.drop("place"))


def held_within(apart: Int64s, mixture: Mixture, holdout_share: float) -> Bools:
    """Tell which held-out documents are published for validation: under a total its share of it at most."""
    if mixture.total is None:
        return _take(apart, math.inf)
    return _take(apart, math.floor(Fraction(str(mixture.total)) * Fraction(str(holdout_share))))


def choose(human: Int64s, synthetic: Int64s, apart: Int64s, mixture: Mixture, holdout_share: float) -> Choice:
    """Work out which documents to take: as much as the bounds allow, human text first.

    human, synthetic, apart: amounts, in the order in which documents are taken; apart is held-out human text.
    Documents are taken whole, so a bound is used up to the last document that fits. Floor and ceiling always hold;
    where no choice in this order keeps them, no document is taken for training.
    """
    total = math.inf if mixture.total is None else mixture.total
    # Exact fractions: with floats a share of 0.3 could come out a hair below its floor.
    low, high = Fraction(str(mixture.human.min)), Fraction(str(mixture.human.max))
    held = held_within(apart, mixture, holdout_share)
    kept_apart = int(apart[held].sum())
    room = max(total - kept_apart, 0)
    share_of_room = room * float(high) if high else 0.0  # without a total, 0 times infinity is no number

    def most_synthetic(human_amount: int) -> float:
        return math.floor(human_amount * (1 - low) / low) if low else math.inf

    def most_human(synthetic_amount: int) -> float:
        return math.inf if high == 1 else max(math.floor(synthetic_amount * high / (1 - high)) - kept_apart, 0)

    budget = min(share_of_room, most_human(int(synthetic.sum())), int(human.sum()))
    people = _take(human, budget)
    # Synthetic text fills what human text cannot, not what its last whole document leaves over: so a larger total keeps
    # every document of a smaller one.
    machines = _take(synthetic, min(room - budget, most_synthetic(_sum(human, people))))
    fewer = _take(human, min(share_of_room, most_human(_sum(synthetic, machines))))
    # Whole documents leave less synthetic text than planned: give human text back, unless that would break the floor.
    if fewer.any() and _sum(synthetic, machines) <= most_synthetic(_sum(human, fewer)):
        people = fewer
    return _within(Choice(people, machines, held), human, synthetic, apart, low, high)


def _within(choice: Choice, human: Int64s, synthetic: Int64s, apart: Int64s, low: Fraction, high: Fraction) -> Choice:
    """Give the last documents back, until the human share is between its bounds: as little human text as possible.

    Whole documents may miss both bounds: of human documents of 4, 4 and 3 words and synthetic ones of 6 and 6, a share
    of 0.4 to 0.45 holds for 4 + 4 and 6 + 6. Text held out is given back only where all else would be in vain.
    """
    most_human = math.inf if high == 1 else math.floor(_sum(synthetic, choice.synthetic) * high / (1 - high))
    people_sums, machine_sums = (
        np.concatenate([[0], amounts[taken].cumsum()])
        for amounts, taken in ((human, choice.human), (synthetic, choice.synthetic))
    )
    fewer = choice.held_out & _take(np.where(choice.held_out, apart, 0), most_human)
    for held in (choice.held_out, fewer, np.zeros_like(fewer)):
        kept_apart = _sum(apart, held)
        for people in range(len(people_sums) - 1, -1, -1):
            amount = int(people_sums[people])
            most = math.floor(amount * (1 - low) / low) if low else math.inf
            machines = int(np.searchsorted(machine_sums, most, side="right")) - 1
            all_human, made = amount + kept_apart, int(machine_sums[machines])
            if amount + made and all_human <= high * (all_human + made):
                return Choice(_first(choice.human, people), _first(choice.synthetic, machines), held)
    return Choice(np.zeros_like(choice.human), np.zeros_like(choice.synthetic), choice.held_out)


def _check(there: Amounts, taken: Amounts, amounts: Int64s, mixture: Mixture) -> None:
    unit, floor = mixture.unit, mixture.human.min
    largest = int(amounts.max(initial=0))
    if taken.human + taken.synthetic == 0:
        raise GateError(f"{_why_nothing(there, amounts, mixture)}; nothing is published")
    least = mixture.human.min_amount or 0
    if taken.human < least:
        raise GateError(
            f"mixture.human.min_amount: {least:,.0f} {unit} of human text are asked for, {taken.human:,} are there: "
            f"{least - taken.human:,.0f} are missing; nothing is published; add human sources or lower it"
        )
    if mixture.shortage != "fail":
        return
    wanted = mixture.total if mixture.total is not None else there.total if floor < 1 else there.human + there.held_out
    left_out = no_human_text(there.human > 0, taken.human, mixture)
    if left_out:
        raise GateError(f"shortage: {left_out}; mixture.shortage is fail; nothing is published")
    # Whole documents only: less than one document short is not a shortage, one of each kind under a ceiling.
    if taken.total + largest * (2 if mixture.human.max < 1 else 1) > wanted:
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


def no_human_text(is_there: bool, taken: int, mixture: Mixture) -> str | None:
    """Say that all human text is left out, where there is some that the bounds allow and no document fits into them."""
    if taken or not is_there or mixture.human.max == 0:
        return None
    total = "" if mixture.total is None else f", mixture.total {mixture.total:,.0f}"
    return (
        "no human text is trained on: each human document is larger than the bounds leave room for (mixture.human.max "
        f"{mixture.human.max:g}{total}); add smaller ones or more synthetic text, or widen the bounds"
    )


def _why_nothing(there: Amounts, amounts: Int64s, mixture: Mixture) -> str:
    """Say why no document could be taken for training, and what to do."""
    unit = mixture.unit
    if there.human + there.synthetic == 0:
        return "no document survived to train on; look at what was dropped, and why"
    if there.human == 0 and mixture.human.min > 0:
        return (
            f"mixture.human.min is {mixture.human.min:g}, and no human text survived ({there.synthetic:,} {unit} of "
            "synthetic text did); add human sources, or look at what was dropped"
        )
    if there.synthetic == 0 and mixture.human.max < 1:
        return f"mixture.human.max is {mixture.human.max:g}, and there is no synthetic text; generate some, or raise it"
    if mixture.total is None or amounts.min() <= mixture.total:
        bounds = f"mixture.human.min {mixture.human.min:g} and max {mixture.human.max:g}"
        return f"no choice of whole documents has a human share between {bounds}; widen them, or add sources"
    return f"no document fits into mixture.total {mixture.total:,.0f} {unit} under its bounds; raise it"


def _sum(amounts: Int64s, taken: Bools) -> int:
    return int(amounts[taken].sum())


def _first(taken: Bools, count: int) -> Bools:
    """Keep the first `count` of the taken documents."""
    kept: Bools = taken & (taken.cumsum() <= count)
    return kept


def _take(amounts: Int64s, most: float) -> Bools:
    """Take documents in order while their sum stays within `most`; those that are larger than it are passed over."""
    fits = amounts <= most
    taken: Bools = fits & (np.where(fits, amounts, 0).cumsum() <= most)
    return taken
