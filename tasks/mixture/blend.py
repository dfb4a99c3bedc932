"""Blend: choose documents by a plan of many strata, with groups, caps of depth and repetition.

Of each stratum of the plan the documents of smallest priority are taken, up to the planned amount; copies go to those
of smallest priority too, so that one threshold and one number of epochs a stratum tell why a document is in. Documents
are whole: where the sums miss a bound by that, single documents at the borders are added or given back until every
bound holds exactly.
"""

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
import polars as pl

from cuvee.schemas.amounts import WHOLE
from cuvee.schemas.errors import GateError
from cuvee.schemas.recipe import Mixture
from cuvee.tasks.mixture.bounds import Bound, bounds_of, sum_names, traits_of
from cuvee.tasks.mixture.lanes import Lane
from cuvee.tasks.mixture.programme import Impossible, Plan, plan
from cuvee.tasks.mixture.why import explain, explain_impossible

Floats: TypeAlias = npt.NDArray[np.float64]

# A plan of a thousand strata is mended in dozens of steps; more means that the documents are too large for the bounds.
_MOST_STEPS = 2000
# Steps of one stratum: a document more or less, a copy more or less; those from _COPIES on move copies.
_STEPS, _COPIES = (1, -1, 1, -1), 2


class Seen(NamedTuple):
    """What is taken of a stratum: its first documents, and copies of them: single ones, which go round."""

    documents: int
    copies: int


class Blend(NamedTuple):
    """taken: of each stratum; plan: stratum → amount with copies; told: why."""

    taken: dict[str, Seen]
    plan: dict[str, int]
    told: tuple[str, ...]


def blend(lanes: Mapping[str, Lane], mixture: Mixture, held_out: int, last: Mapping[str, int] | None = None) -> Blend:
    """Choose among the documents that may be trained on.

    lanes: of each stratum, by its label (`bounds.label`). held_out: amount of the validation split; last: stratum →
    amount with copies, as the last version planned it.
    Raises GateError where the bounds cannot hold with what is there, where whole documents cannot keep them, and, with
    shortage: fail, where less than the recipe asks for is there.
    """
    strata = _strata(lanes, mixture)
    planned = plan(strata, mixture, held_out, last)
    if isinstance(planned, Impossible):
        raise GateError(f"{explain_impossible(planned, strata, mixture, held_out)}; nothing is published")
    told = explain(planned, strata, mixture, held_out)
    ordered = [lanes[name] for name in strata["label"]]
    _check_shortage(planned, strata, mixture, held_out, max(lane.largest for lane in ordered), told)
    state = _State(ordered, strata, mixture, planned)
    state.mend(bounds_of(mixture, held_out))
    together = {name: planned.amounts[name] + planned.repeated[name] for name in planned.amounts}
    return Blend(dict(zip(strata["label"], state.seen(), strict=True)), together, told)


def _strata(lanes: Mapping[str, Lane], mixture: Mixture) -> pl.DataFrame:
    """Return the strata of the plan, in the order of their names."""
    names = sorted(lanes)
    human = [
        lanes[name].human_total / (lanes[name].total * WHOLE) if lanes[name].total else float(name.startswith("human"))
        for name in names
    ]
    sums = pl.DataFrame({"human": human, "amount": [lanes[name].total for name in names]})
    return traits_of(names, mixture).hstack(sums)


def _check_shortage(
    planned: Plan, strata: pl.DataFrame, mixture: Mixture, held_out: int, largest: int, told: Sequence[str]
) -> None:
    """Raise GateError where less is there than a recipe asks for that does not bear it."""
    if mixture.shortage != "fail":
        return
    there = int(strata["amount"].sum())
    wanted = there if mixture.total is None else mixture.total - held_out
    if planned.amount + largest >= wanted:
        return
    raise GateError(
        f"shortage: {wanted - planned.amount:,.0f} {mixture.unit} are missing ({wanted:,.0f} asked for, "
        f"{planned.amount:,.0f} can be taken), and mixture.shortage is fail; nothing is published; {'; '.join(told)}; "
        "add sources, change these bounds, or set shortage: shrink"
    )


class _State:
    """Documents taken, and copies of them, by stratum: taken[s] documents, and copies[s] single copies more, which go
    round the documents taken in the order of priority.

    rows: of the bounds, a factor a sum. What a step of a stratum would change is kept until the stratum changes.
    """

    def __init__(self, lanes: Sequence[Lane], strata: pl.DataFrame, mixture: Mixture, planned: Plan) -> None:
        self.mixture, self.names, self.lanes = mixture, sum_names(mixture), lanes
        self.again = (strata["epochs"] - 1).to_list()
        named = [name.removeprefix("plain_") for name in self.names]
        # What a sum adds up: amounts, or what of them counts as human; of which strata; and whether copies too.
        self.row = np.array([int(name == "human") for name in named])
        ones = np.ones(strata.height, np.int64)
        whole = [name == "human" or name not in strata.columns for name in named]
        once = [ones if one else strata[name].cast(pl.Int64).to_numpy() for one, name in zip(whole, named, strict=True)]
        self.once = np.stack(once, axis=1)
        self.copied = self.once * np.array([not name.startswith("plain") for name in self.names])
        self.unit = np.where(self.row == 1, float(WHOLE), 1.0)
        self.taken, self.copies = list[int](), list[int]()
        for place, (lane, name) in enumerate(zip(lanes, strata["label"], strict=True)):
            count = lane.count(planned.amounts[name])
            rounds, left = divmod(planned.repeated[name], max(lane.sum(count), 1))
            rest = min(lane.count(left), count) if planned.repeated[name] else 0
            self.taken.append(count)
            self.copies.append(min(rounds * count + rest, count * self.again[place]))
        self.parts = [self._part(place) for place in range(strata.height)]

    def seen(self) -> list[Seen]:
        """Return what is taken of each stratum."""
        return [Seen(*one) for one in zip(self.taken, self.copies, strict=True)]

    def mend(self, bounds: Sequence[Bound]) -> None:
        """Add or give back single documents and copies until every bound holds exactly, the least first.

        Raises GateError where no such step leads further, or where nothing is left.
        """
        rows = np.array([[float(bound.terms.get(name, 0)) for name in self.names] for bound in bounds])
        rows = rows.reshape(len(bounds), len(self.names))
        most = np.array([float(bound.most) for bound in bounds])
        possible = np.zeros((len(self.lanes), len(_STEPS)), np.bool_)
        changes = np.zeros((len(self.lanes), len(_STEPS), len(self.names)))
        stale: Sequence[int] = range(len(self.lanes)) if self._is_broken(bounds) else ()
        margin = 0.0
        for _ in range(_MOST_STEPS):
            for place in stale:
                possible[place], changes[place] = self._moves(place)
            exact = self._total()
            broken = [bound for bound in bounds if bound.excess(exact) > 0]
            if not broken and exact["plain"]:
                return
            moves = np.flatnonzero(possible)
            if not len(moves) or not exact["plain"]:
                self._stop(broken)
            sums = np.array([float(exact[name]) for name in self.names])
            change = changes.reshape(-1, len(self.names))[moves]
            now = rows @ sums - most + margin
            before = np.maximum(now, 0).sum()
            after = np.maximum(now[:, None] + rows @ change.T, 0).sum(axis=0)
            # Of moves that mend as much, the one that changes least.
            best = int(np.lexsort((np.abs(change[:, 0]), np.round(after, 6)))[0])
            if before <= 0:  # only the exact sums tell that a bound is passed
                margin, stale = 1e-9 * max(float(sums[0]), 1.0), ()
                continue
            if after[best] >= before:
                self._stop(broken)
            place, kind = divmod(int(moves[best]), len(_STEPS))
            (self.taken if kind < _COPIES else self.copies)[place] += _STEPS[kind]
            self.parts[place] = self._part(place)
            stale = (place,)
        self._stop(broken)

    def _is_broken(self, bounds: Sequence[Bound]) -> bool:
        exact = self._total()
        return not exact["plain"] or any(bound.excess(exact) > 0 for bound in bounds)

    def _part(self, place: int) -> tuple[int, int, int, int]:
        """Return what is taken of a stratum: amount and human millionths of its documents once, and of their copies."""
        lane, taken = self.lanes[place], self.taken[place]
        rounds, rest = divmod(self.copies[place], max(taken, 1))
        once, part = lane.sums(taken), lane.sums(rest)
        return (*once, rounds * once[0] + part[0], rounds * once[1] + part[1])

    def _total(self) -> dict[str, int | Fraction]:
        """Add up what is taken, exactly."""
        parts = np.array(self.parts, np.int64)
        sums = (self.once * parts[:, self.row] + self.copied * parts[:, 2 + self.row]).sum(axis=0)
        return {
            name: Fraction(int(value), WHOLE) if row else int(value)
            for name, value, row in zip(self.names, sums, self.row, strict=True)
        }

    def _moves(self, place: int) -> tuple[list[bool], Floats]:
        """Say which steps a stratum can take, and what each adds to the sums."""
        lane, taken, copies = self.lanes[place], self.taken[place], self.copies[place]
        around = max(taken, 1)
        # Where documents go round, their number moves the copies of others: only copies do then.
        steps = (
            (not copies and taken < lane.documents, taken, self.once),
            (not copies and taken > 0, taken - 1, self.once),
            (copies < taken * self.again[place], copies % around, self.copied),
            (copies > 0, (copies - 1) % around, self.copied),
        )
        changes = np.zeros((len(_STEPS), len(self.names)))
        for kind, (possible, document, counted) in enumerate(steps):
            if possible:
                of = np.array(lane.one(document), np.float64)
                changes[kind] = _STEPS[kind] * counted[place] * of[self.row] / self.unit
        return [possible for possible, _, _ in steps], changes

    def _stop(self, broken: Sequence[Bound]) -> None:
        largest = max(lane.largest for lane in self.lanes)
        asked = ", ".join(dict.fromkeys(bound.told() for bound in broken)) or "something to train on"
        raise GateError(
            f"whole documents cannot keep {asked}: the largest has {largest:,} {self.mixture.unit}; nothing is "
            "published; cut long documents with max_words of their source, widen these bounds, or add sources"
        )
