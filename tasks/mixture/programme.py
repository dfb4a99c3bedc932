"""Programme: how much of each stratum of a plan a version takes, as a linear programme with goals in order.

Strata that are alike for every bound of the recipe are one variable, so ten thousand strata of sources, domains and
languages become as many as the recipe's groups tell apart; documents of one variable are taken by one threshold. Goals,
each kept before the next is looked at:
1. the most amount under the hard bounds; without a total each document counts once, so nothing is repeated for it;
2. the least deviation from the groups' targets;
3. the least repetition;
4. the most human text: it is never left out for synthetic text's sake;
5. nearest to the last version's plan; where that says nothing, human and synthetic strata at even rates.

HiGHS solves it, by its serial simplex, so the same programme gives the same numbers; amounts come out as whole numbers.
"""

import time
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
import polars as pl

from cuvee.schemas.recipe import Mixture
from cuvee.tasks.mixture.bounds import Bound, bounds_of, repeats

Floats: TypeAlias = npt.NDArray[np.float64]
Matrix: TypeAlias = Any  # scipy has no types

# Above, the smallest strata of one kind (human or not) and epochs are taken at one rate: 100,000 took 42 s and more.
MOST_STRATA = 20_000
# HiGHS is exact to 1e-7: amounts are scaled so that this is 1e-11 of all there is.
_SCALE = 1e4
# Of a goal this share may be given up for the next ones.
_KEPT = 1e-9
# A rate this far from even costs more from there on: no stratum is all or nothing without need.
_NEAR, _FAR_COST = 0.25, 4.0
_EVEN_COST = 0.01
_GOALS = ("amount", "targets", "repetition", "human", "nearest")


class Plan(NamedTuple):
    """What is taken. amounts, repeated: stratum → amount of its documents once, and of their further copies; sums: of
    the mixture; binding: the bounds that the amount runs into; duals: bound or stratum → what one more of its limit
    adds to the amount; seconds: goal → processor time.
    """

    amounts: dict[str, int]
    repeated: dict[str, int]
    amount: float
    binding: tuple[Bound, ...]
    duals: dict[str, float]
    seconds: dict[str, float]


class Impossible(NamedTuple):
    """Bounds that cannot hold together with what is there, none of which is one too many."""

    bounds: tuple[Bound, ...]


def plan(
    strata: pl.DataFrame, mixture: Mixture, held_out: int, last: Mapping[str, int] | None = None
) -> Plan | Impossible:
    """Plan a mixture.

    strata: one row a stratum, distinct in label (string); amount (int64) of one copy of all its documents; human, deep
    and groups.0, … (boolean, or the share of the amount of which it is true, 0 to 1); epochs (int64, >= 1): copies of a
    document at most. held_out: amount of the validation split. last: label → amount with copies in the last plan.
    """
    merged, members = _merge(strata)
    programme = _Programme(merged, mixture, held_out, last or {})
    solved = programme.solve()
    if isinstance(solved, Impossible):
        return solved
    once, again, amount, binding, duals, seconds = solved
    taken = _shared(once, strata, members, copies=False)
    copies = _shared(again, strata, members, copies=True)
    return Plan(taken, copies, amount, binding, duals, seconds)


def most_amount(strata: pl.DataFrame, mixture: Mixture, held_out: int) -> float | None:
    """Return the most amount alone, None where the bounds cannot hold; the arguments are those of `plan`."""
    programme = _Programme(_merge(strata)[0], mixture, held_out, {})
    found = programme.first()
    return None if found is None else float(found.x @ -programme.goals()["amount"]) / programme.scale


def _merge(strata: pl.DataFrame) -> tuple[pl.DataFrame, pl.Series]:
    """Keep the largest strata, and blend the others of one kind; return them and each stratum's place among them."""
    if strata.height <= MOST_STRATA:
        return strata, pl.Series(np.arange(strata.height))
    order = strata["amount"].rank("ordinal", descending=True)
    blended = pl.format("merged {} {}", pl.col("human").cast(pl.Float64).round(1), "epochs")
    named = strata.with_columns(group=pl.when(order <= MOST_STRATA - 1000).then(pl.col("label")).otherwise(blended))
    weights = [
        (pl.col(name).cast(pl.Float64) * pl.col("amount")).sum() / pl.col("amount").sum().clip(1)
        for name in strata.columns
        if name in ("human", "deep") or name.startswith("groups.")
    ]
    merged = named.group_by("group", maintain_order=True).agg(
        *weights, pl.col("amount").sum(), pl.col("epochs").first()
    )
    places = named["group"].replace_strict(merged["group"], np.arange(merged.height))
    return merged.rename({"group": "label"}), places


def _shared(values: Floats, strata: pl.DataFrame, members: pl.Series, copies: bool) -> dict[str, int]:
    """Give each stratum its part of what is taken of the variable that it lies in."""
    amounts, place = strata["amount"].to_numpy().astype(np.float64), members.to_numpy()
    whole = np.bincount(place, amounts, len(values))
    part = amounts / np.maximum(whole[place], 1.0)
    # What is given up of earlier goals, and the solver's rounding, do not cost a whole one.
    taken = np.floor(values[place] * part + 1e-6 + 4 * _KEPT * whole.sum()).astype(np.int64)
    most = strata["amount"].to_numpy() * (strata["epochs"].to_numpy() - 1 if copies else 1)
    return dict(zip(strata["label"], np.clip(taken, 0, most).tolist(), strict=True))


class _Programme:
    """The programme of a mixture. Variables: what is taken of each stratum once, its further copies, all of both, all
    of the first; the deviation from each target; and those of the last goal.
    """

    def __init__(self, strata: pl.DataFrame, mixture: Mixture, held_out: int, last: Mapping[str, int]) -> None:
        from scipy import sparse

        self.sparse = sparse
        self.strata, self.mixture, self.last = strata, mixture, last
        self.count = strata.height
        self.amounts = strata["amount"].to_numpy().astype(np.float64)
        self.scale = _SCALE / max(float(self.amounts.sum()), 1.0)
        self.shares = {
            name: strata[name].cast(pl.Float64).to_numpy()
            for name in strata.columns
            if name in ("human", "deep") or name.startswith("groups.")
        }
        self.known = np.array([name in self.last for name in strata["label"]], np.bool_)
        self.epochs = strata["epochs"].to_numpy().astype(np.float64)
        self.bounds = bounds_of(mixture, held_out)
        self.targets = [(n, g.target) for n, g in enumerate(mixture.groups) if g.target is not None]
        self.all, self.plain = 2 * self.count, 2 * self.count + 1
        self.first_target = self.plain + 1
        # Past these: the even rates of human and synthetic strata, and deviations from last plan and even rate.
        self.rates = self.first_target + len(self.targets)
        self.width = self.rates + 2 + 3 * self.count
        self.rows, self.most = self._hard()

    def solve(self) -> tuple[Floats, Floats, float, tuple[Bound, ...], dict[str, float], dict[str, float]] | Impossible:
        """Reach the goals in their order."""
        seconds: dict[str, float] = {}
        began = time.process_time()
        first = self.first()
        if first is None:
            return self._conflict()
        goals, found, limits = self.goals(), first, list[tuple[Floats, float]]()
        seconds["amount"] = round(time.process_time() - began, 3)
        binding, duals = self._duals(first)
        for name, following in pairwise(_GOALS):
            goal = goals[name]
            if goal.any():
                value = float(goal @ found.x)
                limits.append((goal, value + _KEPT * _SCALE))
            began = time.process_time()
            if goals[following].any():
                better = self._minimise(goals[following], limits)
                found = found if better is None else better
            seconds[following] = round(time.process_time() - began, 3)
        x = found.x / self.scale
        amount = float(-goals["amount"] @ first.x) / self.scale
        return x[: self.count], x[self.count : 2 * self.count], amount, binding, duals, seconds

    def first(self) -> Any:
        """Reach the first goal; None where the bounds cannot hold. Something must be taken."""
        return self._minimise(self.goals()["amount"], [])

    def goals(self) -> dict[str, Floats]:
        """Return what each goal minimises."""
        found = {name: np.zeros(self.width) for name in _GOALS}
        found["amount"][self.plain if self.mixture.total is None else self.all] = -1.0
        found["targets"][self.first_target : self.rates] = 1.0
        if repeats(self.mixture):
            found["repetition"][self.count : 2 * self.count] = 1.0
        found["human"][: self.count] = -self.shares["human"]
        from_last = self.rates + 2
        found["nearest"][from_last : from_last + self.count][self.known] = 1.0
        found["nearest"][from_last + self.count : from_last + 2 * self.count][~self.known] = _EVEN_COST
        found["nearest"][from_last + 2 * self.count :][~self.known] = _EVEN_COST * _FAR_COST
        return found

    def _hard(self) -> tuple[list[Matrix], list[float]]:
        """Return the matrix of the hard bounds, a row each, and what each may be at most."""
        columns = {
            "all": self._unit(self.all),
            "plain": self._unit(self.plain),
            "human": self._over(self.shares["human"], copies=True),
            "plain_human": self._over(self.shares["human"], copies=False),
            "deep": self._over(self.shares["deep"], copies=True),
        }
        columns |= {n: self._over(share, copies=True) for n, share in self.shares.items() if n.startswith("groups.")}
        rows = [
            sum((columns[name] * float(factor) for name, factor in bound.terms.items()), self._zero())
            for bound in self.bounds
        ]
        return rows, [float(bound.most) * self.scale for bound in self.bounds]

    def _soft(self) -> tuple[Matrix, Floats]:
        """Return the rows that define deviations and copies, <= what is given with them."""
        n, sparse = self.count, self.sparse
        rows, most = [], list[float]()
        for place, (number, target) in enumerate(self.targets):
            deviation = self._over(self.shares[f"groups.{number}"], copies=True) - self._unit(self.all) * target
            for sign in (1.0, -1.0):
                rows.append(deviation * sign - self._unit(self.first_target + place))
                most.append(0.0)
        one = sparse.identity(n, format="csr")
        left = sparse.csr_matrix((n, self.width - 2 * n))
        # Copies: at most epochs - 1 of what is taken.
        rows.append(sparse.hstack([-sparse.diags(self.epochs - 1), one, left], format="csr"))
        most += [0.0] * n
        return sparse.vstack(rows, format="csr"), np.array(most)

    def _nearness(self) -> tuple[Matrix, Floats]:
        """Return the rows that define the deviations from the last plan and from even rates."""
        n, sparse = self.count, self.sparse
        one, none = sparse.identity(n, format="csr"), sparse.csr_matrix((n, n))
        between = sparse.csr_matrix((n, self.rates - 2 * n))
        last = np.array([self.last.get(name, 0) for name in self.strata["label"]], np.float64) * self.scale
        human = self.shares["human"] >= 0.5
        rates = sparse.csr_matrix(np.stack([human * self.amounts, ~human * self.amounts], axis=1) * self.scale)
        no_rates = sparse.csr_matrix((n, 2))
        known, new = np.flatnonzero(self.known), np.flatnonzero(~self.known)
        rows, most = [], []
        for sign in (1.0, -1.0):
            rows.append(
                sparse.hstack([one * sign, one * sign, between, no_rates, -one, none, none], format="csr")[known]
            )
            most.append(last[known] * sign)
            rows.append(sparse.hstack([one * sign, none, between, -rates * sign, none, -one, -one], format="csr")[new])
            most.append(np.zeros(len(new)))
        return sparse.vstack(rows, format="csr"), np.concatenate(most)

    def _minimise(self, goal: Floats, limits: Sequence[tuple[Floats, float]], keep: Sequence[int] | None = None) -> Any:
        """Minimise a goal under the hard bounds (those at the places `keep`) and earlier goals; None: impossible."""
        from scipy.optimize import linprog

        sparse, n = self.sparse, self.count
        kept = range(len(self.rows)) if keep is None else keep
        soft, soft_most = self._soft()
        parts = [*(self.rows[place] for place in kept), *(sparse.csr_matrix(row) for row, _ in limits), soft]
        most = [*(self.most[place] for place in kept), *(value for _, value in limits), *soft_most]
        if goal[self.rates :].any():
            near, near_most = self._nearness()
            parts.append(near)
            most += near_most.tolist()
        ones = np.ones(n)
        whole = sparse.vstack(
            [
                self._over(ones, copies=True) - self._unit(self.all),
                self._over(ones, copies=False) - self._unit(self.plain),
            ]
        )
        top = np.full(self.width, np.inf)
        top[:n] = self.amounts * self.scale
        top[n : 2 * n] = top[:n] * (self.epochs - 1)
        top[self.rates : self.rates + 2] = 1.0
        far = self.rates + 2 + n
        top[far : far + n] = _NEAR * self.amounts * self.scale
        low = np.zeros(self.width)
        low[self.all] = min(1.0, float(self.amounts.sum())) * self.scale
        found = linprog(
            goal,
            A_ub=sparse.vstack(parts, format="csr"),
            b_ub=np.array(most),
            A_eq=whole,
            b_eq=np.zeros(2),
            bounds=np.stack([low, top], axis=1),
            method="highs-ds",
        )
        return found if found.status == 0 else None

    def _duals(self, found: Any) -> tuple[tuple[Bound, ...], dict[str, float]]:
        """Return the bounds that the amount runs into, and what one more of each limit would add to it."""
        of_bounds = -found.ineqlin.marginals[: len(self.bounds)]
        of_strata = -found.upper.marginals[: self.count]
        # What is taken above a stratum's amount could be copied too.
        of_strata = of_strata - found.upper.marginals[self.count : 2 * self.count] * (self.epochs - 1)
        duals = {name: round(float(value), 9) for name, value in zip(self.strata["label"], of_strata, strict=True)}
        binding = []
        for bound, value in zip(self.bounds, of_bounds, strict=True):
            if value > 1e-9:
                binding.append(bound)
                duals[bound.key] = max(duals.get(bound.key, 0.0), round(float(value), 9))
        return tuple(binding), duals

    def _conflict(self) -> Impossible:
        """Leave bounds out one by one while the rest cannot hold: none of those that stay is one too many."""
        kept = list(range(len(self.bounds)))
        for place in list(kept):
            fewer = [other for other in kept if other != place]
            if self._minimise(np.zeros(self.width), [], fewer) is None:
                kept = fewer
        return Impossible(tuple(self.bounds[place] for place in kept))

    def _unit(self, place: int) -> Matrix:
        return self.sparse.csr_matrix(([1.0], ([0], [place])), shape=(1, self.width))

    def _zero(self) -> Matrix:
        return self.sparse.csr_matrix((1, self.width))

    def _over(self, shares: Floats, copies: bool) -> Matrix:
        """Return a row that adds up the shares of what is taken, with its copies or without."""
        n = self.count
        row = np.zeros(self.width)
        row[:n] = shares
        if copies:
            row[n : 2 * n] = shares
        return self.sparse.csr_matrix(row)
