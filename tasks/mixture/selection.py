"""Selection: choose which documents a version keeps, so that its bounds hold.

Documents are taken in the order of a hash of their id: the same input and recipe give the same output, and a changed
amount moves only the border. Human text is never dropped for synthetic text's sake. The plan sees sums of strata and
of bins of priority; documents are read where a border falls, and each partition finds its own by the borders.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
import polars as pl

from cuvee.schemas.amounts import WHOLE
from cuvee.schemas.base import Frozen
from cuvee.schemas.errors import GateError
from cuvee.schemas.marks import Marked
from cuvee.schemas.recipe import Recipe
from cuvee.schemas.records import Run
from cuvee.schemas.tables import BORDERS, PLANNED, SURVIVING, BordersRef, KeptRef, PlannedRef
from cuvee.storage.corpus import load_manifest
from cuvee.storage.marks import read_marks
from cuvee.storage.store import Store
from cuvee.tasks.mixture import marks, share
from cuvee.tasks.mixture.blend import blend
from cuvee.tasks.mixture.bounds import is_simple
from cuvee.tasks.mixture.lanes import Lane, lane_of
from cuvee.tasks.mixture.share import Amounts, Part, held_within
from cuvee.tasks.mixture.strata import (
    APART,
    Counted,
    Reader,
    Weighed,
    bin_numbers,
    count,
    lanes_of,
    load_bins,
    split,
    weigh,
)
from cuvee.tasks.mixture.why import why_simple
from cuvee.tasks.steps import load, save

Numbers: TypeAlias = npt.NDArray[np.integer]
Bools: TypeAlias = npt.NDArray[np.bool_]


class Bordered(Frozen):
    """The plan. borders: BORDERS; strata, why, marked: as of PlannedRef."""

    borders: BordersRef
    strata: dict[str, int]
    why: tuple[str, ...]
    marked: Marked | None


class Doubt(Frozen):
    """Of what is trained on, epochs counted: amount, what counts as human, and of it what is not in doubt, both in
    millionths; documents: those in doubt.
    """

    amount: int
    human: int
    sure: int
    documents: int


class Took(Frozen):
    """What was chosen of a partition: PLANNED."""

    kept: KeptRef
    doubt: Doubt


class Planned(NamedTuple):
    """borders: BORDERS; strata, why: as of PlannedRef; there: what might be trained on, and what validation takes."""

    borders: pl.DataFrame
    strata: dict[str, int]
    why: tuple[str, ...]
    there: Amounts


class Chosen(NamedTuple):
    """The rows with what was chosen beside them, in sampling order, and how it was planned."""

    rows: pl.DataFrame
    strata: dict[str, int]
    why: tuple[str, ...]
    there: Amounts


def run(run: Run, store: Store, counted: Sequence[Counted]) -> Bordered:
    """Plan the mixture of all partitions, and find where its borders fall.

    Raises GateError as `plan_of`, and where marks leave too little human text.
    """
    marked = marks.heard([one.marked for one in counted], list(read_marks(store, run.corpus)))
    recipe = marks.raised(run.recipe, marked)
    lanes = lanes_of(load_bins(store, counted), Reader(store, counted).bin)
    planned = plan_of(lanes, recipe, last_plan(run, store))
    why = planned.why or why_simple(*planned.there, recipe.mixture)
    return Bordered(
        borders=BordersRef(save(run, store, planned.borders, BORDERS)),
        strata=planned.strata,
        why=(*(_marked(run.recipe, recipe, marked) if marked else ()), *why),
        marked=marked,
    )


def take(run: Run, store: Store, counted: Counted, bordered: Bordered) -> Took:
    """Choose among a partition's survivors by the borders."""
    rows = load(store, counted.surviving, SURVIVING.names())
    chosen = rows.hstack(within(Weighed(rows, list(counted.labels)), load(store, bordered.borders)))
    # Survivors lie in the order of doc_id, which breaks ties.
    kept = chosen.drop_nulls("split").sort("priority", maintain_order=True)
    return Took(kept=KeptRef(save(run, store, kept, PLANNED)), doubt=doubt_of(kept))


def finish(took: Sequence[Took], bordered: Bordered) -> PlannedRef:
    """Put together what was chosen of each partition."""
    least, told = guaranteed([one.doubt for one in took])
    return PlannedRef(
        kept=tuple(one.kept for one in took),
        strata=bordered.strata,
        guaranteed=least,
        why=(*bordered.why, *told),
        marked=bordered.marked,
    )


def doubt_of(chosen: pl.DataFrame) -> Doubt:
    """Add up what is in doubt; chosen: amount, human, doubtful, split and epochs of documents."""
    trained = chosen.filter(pl.col("split") == "train")
    epochs = trained["epochs"].cast(pl.Int64)
    human, doubtful = trained["human"] * epochs, trained["doubtful"]
    return Doubt(
        amount=int((trained["amount"] * epochs).sum()),
        human=int(human.sum()),
        sure=int(human.filter(~doubtful).sum()),
        documents=int(doubtful.sum()),
    )


def guaranteed(doubts: Sequence[Doubt]) -> tuple[float | None, tuple[str, ...]]:
    """Return the human share of what is trained on, 0 to 1, if all suspects and unknown documents are machine-written,
    and say so where there are any that count as human.
    """
    amount, human, sure, documents = (sum(getattr(one, name) for one in doubts) for name in Doubt.model_fields)
    if not amount:
        return None, ()
    expected, least = (round(of / WHOLE / amount, 6) for of in (human, sure))
    if not documents:
        return least, ()
    return least, (
        f"the human share of what is trained on is {expected:.4f}; {least:.4f} is sure, with {documents:,} suspect or "
        "unknown documents counted against it",
    )


def _marked(asked: Recipe, planned: Recipe, marked: Marked) -> tuple[str, ...]:
    """Say what marks say, and what that makes of the floor."""
    floor, least = asked.mixture.human.min, planned.mixture.human.min
    held = f"the floor of {floor:g} is held as {least:g} by labels"
    if not marks.holds_by_marks(asked):
        held = "the floor of 1 is held by labels alone" if floor else "no floor rests on it"
    return (f"{marks.told(marked)}: {held}",)


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


def choose_of(rows: pl.DataFrame, recipe: Recipe, last: Mapping[str, int], bins: int = 1) -> Chosen:
    """Choose among survivors that are there at once.

    rows: one row a surviving document; columns doc_id, provenance, words, bytes, tokens, and others, which are given
    back with split ("train" | "validation" | null: pooled), amount (int64, in the recipe's unit), priority, epochs.
    The other arguments and the errors are those of `plan_of`; bins: of priorities, a power of two, changes nothing.
    """
    weighed = weigh(rows, recipe)
    where = bin_numbers(weighed.rows, bins)
    names = pl.Series(weighed.labels, dtype=pl.String).gather(weighed.rows["lane"].cast(pl.UInt32))
    labelled = weighed.rows.with_columns(names.alias("label"), where.alias("bin"))
    lanes = lanes_of(count(weighed, where), lambda number: split(labelled.filter(pl.col("bin") == number)))
    planned = plan_of(lanes, recipe, last)
    chosen = weighed.rows.drop("lane", "rest").hstack(within(weighed, planned.borders))
    beside = rows.drop("human", "doubtful", strict=False).hstack(chosen)
    return Chosen(beside.sort("priority", "doc_id"), planned.strata, planned.why, planned.there)


def plan_of(lanes: Mapping[str, Lane], recipe: Recipe, last: Mapping[str, int]) -> Planned:
    """Plan a mixture, and find the border of each stratum.

    lanes: of each stratum, by its label. last: stratum → amount of the last version's plan.
    The human share holds in the train split alone, and with the validation split counted. Under a total, validation
    takes at most its share of it, and what is held out beyond that is pooled.
    Raises GateError when nothing could be trained on, when mixture.human.min_amount is not reached, and, with
    shortage: fail, when less than the recipe asks for could be published; it says what is missing and how much.
    """
    mixture = recipe.mixture
    apart = lanes.get(APART, lane_of([]))
    if is_simple(recipe):
        human, synthetic = (lanes.get(name, lane_of([])) for name in ("human", "synthetic"))
        choice = share.choose(human, synthetic, apart, mixture, recipe.holdout.share)
        there = Amounts(human.total, synthetic.total, apart.total)
        taken = Amounts(*(part.amount for part in choice))
        share.check(there, taken, (human, synthetic, apart), mixture)
        named = zip(("human", "synthetic", APART), choice, strict=True)
        return Planned(
            borders({name: (part, 0) for name, part in named}), {}, (), there._replace(held_out=taken.held_out)
        )
    strata = {name: lane for name, lane in lanes.items() if name != APART}
    if not strata:
        raise GateError("no document survived to train on; look at what was dropped, and why; nothing is published")
    held = held_within(apart, mixture, recipe.holdout.share)
    blended = blend(strata, mixture, held.amount, last)
    found = {name: (Part(strata[name], seen.documents), seen.copies) for name, seen in blended.taken.items()}
    human_total = sum(lane.human_total for lane in strata.values()) // WHOLE
    there = Amounts(human_total, sum(lane.total for lane in strata.values()) - human_total, held.amount)
    return Planned(borders({**found, APART: (held, 0)}), blended.plan, blended.told, there)


def borders(taken: Mapping[str, tuple[Part, int]]) -> pl.DataFrame:
    """Return BORDERS. taken: stratum → the part of it that is taken, and single copies more, which go round."""
    rows = []
    for name, (part, copies) in taken.items():
        if not part.documents:
            continue
        rounds, rest = divmod(copies, part.documents)
        more = part.lane.key(rest - 1) if rest else (None, None)
        most = None if part.most == float("inf") else int(part.most)
        rows.append((name, *part.lane.key(part.documents - 1), most, 1 + rounds, *more))
    return pl.DataFrame(rows, schema=BORDERS, orient="row")


def within(weighed: Weighed, borders: pl.DataFrame) -> pl.DataFrame:
    """Return split and epochs (int8) of documents, by the borders of their strata."""
    of = pl.DataFrame({"label": pl.Series(weighed.labels, dtype=pl.String)}).join(
        borders, on="label", how="left", maintain_order="left"
    )
    lane, amount = weighed.rows["lane"].to_numpy(), weighed.rows["amount"].to_numpy()
    key = [weighed.rows[name].to_numpy() for name in ("priority", "rest")]

    def column(name: str, default: int) -> Numbers:
        found: Numbers = of[name].fill_null(default).to_numpy()[lane]
        return found

    def up_to(prefix: str) -> Bools:
        there = of[f"{prefix}priority"].is_not_null().to_numpy()[lane]
        priority, rest = column(f"{prefix}priority", 0), column(f"{prefix}rest", 0)
        found: Bools = there & ((key[0] < priority) | ((key[0] == priority) & (key[1] <= rest)))
        return found

    taken = up_to("") & (amount <= column("most", np.iinfo(np.int64).max))
    epochs = np.where(taken, column("epochs", 1) + (taken & up_to("more_")), 1)
    names = pl.Series([None, *("validation" if name == APART else "train" for name in weighed.labels)], dtype=pl.String)
    split_ = names.gather(np.where(taken, lane + 1, 0).astype(np.uint32))
    return pl.DataFrame({"split": split_, "epochs": pl.Series(epochs).cast(pl.Int8, strict=True)})
