"""Blend: choose documents by a plan of many strata, with groups, caps of depth and repetition.

Of each stratum of the plan the documents of smallest priority are taken, up to the planned amount; copies go to those
of smallest priority too, so that one threshold and one number of epochs a stratum tell why a document is in. Documents
are whole: where the sums miss a bound by that, single documents at the borders are added or given back until every
bound holds exactly.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
import polars as pl

from cuvee.schemas.errors import GateError
from cuvee.schemas.recipe import Mixture
from cuvee.tasks.mixture.bounds import Bound, bounds_of, label, sum_names
from cuvee.tasks.mixture.programme import Impossible, Plan, plan
from cuvee.tasks.mixture.why import explain, explain_impossible

Int64s: TypeAlias = npt.NDArray[np.int64]
Floats: TypeAlias = npt.NDArray[np.float64]

# A plan of a thousand strata is mended in dozens of steps; more means that the documents are too large for the bounds.
_MOST_STEPS = 2000


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
    state = _State(amounts, places, strata, mixture, planned)
    state.mend(bounds_of(mixture, held_out))
    together = {name: planned.amounts[name] + planned.repeated[name] for name in planned.amounts}
    return Blend(state.epochs(), together, told)


def _strata(amounts: Int64s, found: pl.DataFrame) -> tuple[pl.DataFrame, Int64s]:
    """Add documents up by stratum; return the strata in the order of their names, and each document's place in them."""
    kinds = found.unique()
    kinds = kinds.with_columns(label=label(kinds)).sort("label").with_row_index("stratum")
    strata = found.join(kinds, on=found.columns, how="left", maintain_order="left")["stratum"]
    sums = pl.DataFrame({"stratum": strata, "amount": amounts}).group_by("stratum").agg(pl.col("amount").sum())
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
    """

    def __init__(self, amounts: Int64s, stratum: Int64s, strata: pl.DataFrame, mixture: Mixture, planned: Plan) -> None:
        self.mixture, self.strata, self.names = mixture, strata, sum_names(mixture)
        ends = np.bincount(stratum, minlength=strata.height).cumsum()
        self.places = np.split(np.argsort(stratum, kind="stable"), ends[:-1])
        self.each = [amounts[places] for places in self.places]
        self.sums = [np.concatenate([[0], each.cumsum()]) for each in self.each]
        self.most = strata["epochs"].to_numpy()
        factors = [
            strata[name].cast(pl.Int64).to_numpy() if name in strata.columns else np.ones(strata.height, np.int64)
            for name in (name.removeprefix("plain_") for name in self.names)
        ]
        self.once = np.stack(factors, axis=1)
        self.again = self.once * np.array([not name.startswith("plain") for name in self.names])
        self.taken = np.zeros(strata.height, np.int64)
        self.copies = np.zeros(strata.height, np.int64)
        for place, name in enumerate(strata["label"]):
            sums = self.sums[place]
            self.taken[place] = count = int(sums.searchsorted(planned.amounts[name], side="right")) - 1
            rounds, left = divmod(planned.repeated[name], max(int(sums[count]), 1))
            rest = int(sums[: count + 1].searchsorted(left, side="right")) - 1
            self.copies[place] = min(rounds * count + rest, count * (int(self.most[place]) - 1))

    def epochs(self) -> Int64s:
        """Return how often each document is seen, 0 for those that are left."""
        found = np.zeros(sum(map(len, self.places)), np.int64)
        for places, taken, copies in zip(self.places, self.taken, self.copies, strict=True):
            rounds, rest = divmod(int(copies), max(int(taken), 1))
            found[places[:taken]] = 1 + rounds
            found[places[:rest]] += 1
        return found

    def mend(self, bounds: Sequence[Bound]) -> None:
        """Add or give back single documents and copies until every bound holds exactly, the least first.

        Raises GateError where no such step leads further, or where nothing is left.
        """
        rows = np.array([[float(bound.terms.get(name, 0)) for name in self.names] for bound in bounds])
        rows = rows.reshape(len(bounds), len(self.names))
        most = np.array([float(bound.most) for bound in bounds])
        sums = self._total()
        margin = 0.0
        for _ in range(_MOST_STEPS):
            exact = dict(zip(self.names, map(int, sums), strict=True))
            broken = [bound for bound in bounds if bound.excess(exact) > 0]
            if not broken and exact["plain"]:
                return
            moves, changes = self._moves()
            if not moves or not exact["plain"]:
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
            kind, place, step = moves[best]
            (self.taken if kind == "taken" else self.copies)[place] += step
            sums = sums + changes[best]
        self._stop(broken)

    def _total(self) -> Floats:
        found = np.zeros(len(self.names))
        for place, (sums, taken, copies) in enumerate(zip(self.sums, self.taken, self.copies, strict=True)):
            rounds, rest = divmod(int(copies), max(int(taken), 1))
            found += self.once[place] * sums[taken] + self.again[place] * (rounds * sums[taken] + sums[rest])
        return found

    def _moves(self) -> tuple[list[tuple[str, int, int]], Floats]:
        """List the single steps from here, and what each adds to the sums."""
        moves, changes = list[tuple[str, int, int]](), list[Floats]()
        for place, each in enumerate(self.each):
            taken, copies = int(self.taken[place]), int(self.copies[place])
            # Where documents go round, their number moves the copies of others: only copies do then.
            if taken < len(each) and not copies:
                moves.append(("taken", place, 1))
                changes.append(self.once[place] * float(each[taken]))
            if taken and not copies:
                moves.append(("taken", place, -1))
                changes.append(self.once[place] * -float(each[taken - 1]))
            if taken and copies < taken * (int(self.most[place]) - 1):
                moves.append(("copies", place, 1))
                changes.append(self.again[place] * float(each[copies % taken]))
            if copies:
                moves.append(("copies", place, -1))
                changes.append(self.again[place] * -float(each[(copies - 1) % taken]))
        return moves, np.array(changes).reshape(len(moves), len(self.names))

    def _stop(self, broken: Sequence[Bound]) -> None:
        largest = max((int(each.max()) for each in self.each if len(each)), default=0)
        asked = ", ".join(dict.fromkeys(bound.told() for bound in broken)) or "something to train on"
        raise GateError(
            f"whole documents cannot keep {asked}: the largest has {largest:,} {self.mixture.unit}; nothing is "
            "published; cut long documents with max_words of their source, widen these bounds, or add sources"
        )
