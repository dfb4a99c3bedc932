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
from cuvee.tasks.mixture.bounds import Bound, bounds_of, label, sum_names
from cuvee.tasks.mixture.programme import Impossible, Plan, plan
from cuvee.tasks.mixture.why import explain, explain_impossible

Int64s: TypeAlias = npt.NDArray[np.int64]
Floats: TypeAlias = npt.NDArray[np.float64]

# A plan of a thousand strata is mended in dozens of steps; more means that the documents are too large for the bounds.
_MOST_STEPS = 2000
# Steps of one stratum: a document more or less, a copy more or less; those from _COPIES on move copies.
_STEPS, _COPIES = (1, -1, 1, -1), 2


class Blend(NamedTuple):
    """epochs: of each document, 0 for those that are left, int64[n]; plan: stratum → amount with copies; told: why."""

    epochs: Int64s
    plan: dict[str, int]
    told: tuple[str, ...]


def blend(
    amounts: Int64s, found: pl.DataFrame, mixture: Mixture, held_out: int, last: Mapping[str, int] | None = None
) -> Blend:
    """Choose among the documents that may be trained on.

    amounts: of one copy, in the order in which documents are taken; found: their traits (`bounds.traits`). held_out:
    amount of the validation split; last: stratum → amount with copies, as the last version planned it.
    Raises GateError where the bounds cannot hold with what is there, where whole documents cannot keep them, and, with
    shortage: fail, where less than the recipe asks for is there.
    """
    strata, places = _strata(amounts, found)
    planned = plan(strata, mixture, held_out, last)
    if isinstance(planned, Impossible):
        raise GateError(f"{explain_impossible(planned, strata, mixture, held_out)}; nothing is published")
    told = explain(planned, strata, mixture, held_out)
    _check_shortage(planned, strata, mixture, held_out, int(amounts.max(initial=0)), told)
    each = np.stack([amounts, amounts * found["human"].to_numpy()])
    state = _State(each, places, strata, mixture, planned)
    state.mend(bounds_of(mixture, held_out))
    together = {name: planned.amounts[name] + planned.repeated[name] for name in planned.amounts}
    return Blend(state.epochs(), together, told)


def _strata(amounts: Int64s, found: pl.DataFrame) -> tuple[pl.DataFrame, Int64s]:
    """Add documents up by stratum; return the strata in the order of their names, and each document's place in them."""
    alike = [name for name in found.columns if name != "human"]
    kinds = found.select(alike).unique()
    kinds = kinds.with_columns(label=label(kinds)).sort("label").with_row_index("stratum")
    strata = found.join(kinds, on=alike, how="left", maintain_order="left")["stratum"]
    rows = pl.DataFrame({"stratum": strata, "amount": amounts, "human": found["human"]})
    human = (pl.col("amount") * pl.col("human")).sum() / (pl.col("amount").sum().clip(1) * WHOLE)
    sums = rows.group_by("stratum").agg(human=human, amount=pl.col("amount").sum())
    return kinds.join(sums, on="stratum", maintain_order="left").drop("stratum"), strata.to_numpy().astype(np.int64)


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

    Documents lie one stratum after the other; each: amount, and millionths of it that count as human, int64[2, n].
    """

    def __init__(self, each: Int64s, stratum: Int64s, strata: pl.DataFrame, mixture: Mixture, planned: Plan) -> None:
        self.mixture, self.names = mixture, sum_names(mixture)
        self.order = np.argsort(stratum, kind="stable")
        self.each = each[:, self.order]
        self.sums = np.concatenate([np.zeros((2, 1), np.int64), self.each.cumsum(axis=1)], axis=1)
        self.counts = np.bincount(stratum, minlength=strata.height)
        self.starts = self.counts.cumsum() - self.counts
        self.again = strata["epochs"].to_numpy() - 1
        named = [name.removeprefix("plain_") for name in self.names]
        # What a sum adds up: amounts, or what of them counts as human; of which strata; and whether copies too.
        self.row = np.array([int(name == "human") for name in named])
        ones = np.ones(strata.height, np.int64)
        whole = [name == "human" or name not in strata.columns for name in named]
        self.once = np.stack(
            [ones if one else strata[name].cast(pl.Int64).to_numpy() for one, name in zip(whole, named, strict=True)]
        )
        self.copied = self.once * np.array([[not name.startswith("plain")] for name in self.names])
        self.unit = np.array([float(WHOLE) if row else 1.0 for row in self.row])
        self.taken = np.zeros(strata.height, np.int64)
        self.copies = np.zeros(strata.height, np.int64)
        for place, name in enumerate(strata["label"]):
            start = self.starts[place]
            sums = self.sums[0, start : start + self.counts[place] + 1] - self.sums[0, start]
            self.taken[place] = count = int(sums.searchsorted(planned.amounts[name], side="right")) - 1
            rounds, left = divmod(planned.repeated[name], max(int(sums[count]), 1))
            rest = int(sums[: count + 1].searchsorted(left, side="right")) - 1
            self.copies[place] = min(rounds * count + rest, count * int(self.again[place]))

    def epochs(self) -> Int64s:
        """Return how often each document is seen, 0 for those that are left."""
        rounds, rest = np.divmod(self.copies, np.maximum(self.taken, 1))
        place = np.arange(len(self.order)) - np.repeat(self.starts, self.counts)
        seen = 1 + np.repeat(rounds, self.counts) + (place < np.repeat(rest, self.counts))
        found = np.zeros(len(self.order), np.int64)
        found[self.order] = np.where(place < np.repeat(self.taken, self.counts), seen, 0)
        return found

    def mend(self, bounds: Sequence[Bound]) -> None:
        """Add or give back single documents and copies until every bound holds exactly, the least first.

        Raises GateError where no such step leads further, or where nothing is left.
        """
        rows = np.array([[float(bound.terms.get(name, 0)) for name in self.names] for bound in bounds])
        rows = rows.reshape(len(bounds), len(self.names))
        most = np.array([float(bound.most) for bound in bounds])
        margin = 0.0
        for _ in range(_MOST_STEPS):
            exact = self._total()
            broken = [bound for bound in bounds if bound.excess(exact) > 0]
            if not broken and exact["plain"]:
                return
            sums = np.array([float(exact[name]) for name in self.names])
            moves, changes = self._moves()
            if not len(moves) or not exact["plain"]:
                self._stop(broken)
            before = np.maximum(rows @ sums - most + margin, 0).sum()
            after = np.maximum(rows @ (sums + changes).T - most[:, None] + margin, 0).sum(axis=0)
            # Of moves that mend as much, the one that changes least.
            best = int(np.lexsort((np.abs(changes[:, 0]), np.round(after, 6)))[0])
            if before <= 0:  # only the exact sums tell that a bound is passed
                margin = 1e-9 * max(float(sums[0]), 1.0)
                continue
            if after[best] >= before:
                self._stop(broken)
            place, kind = divmod(int(moves[best]), len(_STEPS))
            (self.taken if kind < _COPIES else self.copies)[place] += _STEPS[kind]
        self._stop(broken)

    def _total(self) -> dict[str, int | Fraction]:
        """Add up what is taken, exactly."""
        rounds, rest = np.divmod(self.copies, np.maximum(self.taken, 1))
        before = self.sums[:, self.starts]
        first = self.sums[:, self.starts + self.taken] - before
        again = rounds * first + self.sums[:, self.starts + rest] - before
        sums = (self.once * first[self.row] + self.copied * again[self.row]).sum(axis=1)
        return {
            name: Fraction(int(value), WHOLE) if row else int(value)
            for name, value, row in zip(self.names, sums, self.row, strict=True)
        }

    def _moves(self) -> tuple[Int64s, Floats]:
        """List the single steps from here, stratum · 4 + place in _STEPS, and what each adds to the sums."""
        taken, copies, last = self.taken, self.copies, len(self.order) - 1
        rest, back = copies % np.maximum(taken, 1), (copies - 1) % np.maximum(taken, 1)
        # Where documents go round, their number moves the copies of others: only copies do then.
        steps = (
            (~copies.astype(np.bool_) & (taken < self.counts), taken, self.once),
            (~copies.astype(np.bool_) & (taken > 0), taken - 1, self.once),
            (copies < taken * self.again, rest, self.copied),
            (copies > 0, back, self.copied),
        )
        changes = np.empty((len(taken), len(_STEPS), len(self.names)))
        for kind, (_, document, counted) in enumerate(steps):
            of = self.each[:, np.clip(self.starts + document, 0, last)].astype(np.float64)
            changes[:, kind] = (_STEPS[kind] * counted * of[self.row]).T / self.unit
        moves = np.flatnonzero(np.stack([possible for possible, _, _ in steps], axis=1))
        return moves, changes.reshape(-1, len(self.names))[moves]

    def _stop(self, broken: Sequence[Bound]) -> None:
        largest = int(self.each[0].max(initial=0))
        asked = ", ".join(dict.fromkeys(bound.told() for bound in broken)) or "something to train on"
        raise GateError(
            f"whole documents cannot keep {asked}: the largest has {largest:,} {self.mixture.unit}; nothing is "
            "published; cut long documents with max_words of their source, widen these bounds, or add sources"
        )
