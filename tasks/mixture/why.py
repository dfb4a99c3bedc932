"""Why: what a plan runs into, and what more text would allow, in sentences that are worked out and not guessed."""

import polars as pl

from cuvee.schemas.recipe import Mixture
from cuvee.tasks.mixture.bounds import bounds_of
from cuvee.tasks.mixture.programme import Impossible, Plan, most_amount, plan

# Of what there is, so much more is tried at most: what a person could add.
_MORE = 10
_MOST_MORE = 1_000_000
_MOST_TOLD = 5


def explain(planned: Plan, strata: pl.DataFrame, mixture: Mixture, held_out: int) -> tuple[str, ...]:
    """Say which bounds a plan runs into and what more of each kind of text allows.

    The arguments are those of `plan`. Each figure comes from the plan made again with so much more.
    """
    unit, told = mixture.unit, list[str]()
    for bound in planned.binding:
        told.append(f"{bound.told()} binds")
    if not told:
        told.append(f"no bound binds: all {int(strata['amount'].sum()):,} {unit} that may be trained on are taken")
    valued = sorted(
        ((planned.duals.get(name, 0.0), name) for name in strata["label"]), key=lambda one: (-one[0], one[1])
    )
    more = _more(int(strata["amount"].sum()))
    for value, name in [one for one in valued if one[0] > 1e-6][: _MOST_TOLD if planned.binding else 0]:
        grown = strata.with_columns(
            amount=pl.when(pl.col("label") == name).then(pl.col("amount") + more).otherwise("amount")
        )
        most = most_amount(grown, mixture, held_out)
        if most is not None and value:
            told.append(
                f"{more:,} {unit} more of {describe(name, mixture)} allow {most - planned.amount:,.0f} more in all"
            )
    repeated = {name: copies for name, copies in planned.repeated.items() if copies}
    for name, copies in repeated.items():
        seen = (planned.amounts[name] + copies) / max(planned.amounts[name], 1)
        told.append(f"{describe(name, mixture)}: each document is seen {seen:.2f} times on average")
    for number, group in enumerate(mixture.groups):
        if group.target is not None:
            named = f"groups.{number}"
            own, everything = (
                sum(planned.amounts[name] + planned.repeated[name] for name in strata["label"] if among(name, part))
                for part in (named, "")
            )
            told.append(f"mixture.{named}.target {group.target:g}: {own / max(everything, 1):.4f} is planned")
    return tuple(told)


def why_simple(human: int, synthetic: int, held_out: int, mixture: Mixture) -> tuple[str, ...]:
    """Say the same of a mixture of which the human share is all that is asked; human, synthetic: amounts there are."""
    if not bounds_of(mixture, held_out):
        return ()
    strata = pl.DataFrame(
        {
            "label": ["human x1", "synthetic x1"],
            "amount": [human, synthetic],
            "human": [True, False],
            "deep": [False, False],
            "epochs": [1, 1],
        }
    ).filter(pl.col("amount") > 0)
    planned = plan(strata, mixture, held_out)
    return () if isinstance(planned, Impossible) else explain(planned, strata, mixture, held_out)


def explain_impossible(found: Impossible, strata: pl.DataFrame, mixture: Mixture, held_out: int) -> str:
    """Say which bounds cannot hold together, and what there is."""
    named = " and ".join(dict.fromkeys(bound.told() for bound in found.bounds))
    there = "; ".join(
        f"{amount:,} of {describe(name, mixture)}" for name, amount in strata.select("label", "amount").iter_rows()
    )
    unit = mixture.unit
    if strata.is_empty():
        return "no document survived to train on; look at what was dropped, and why"
    many = "" if strata.height <= _MOST_TOLD else f" ({strata.height} kinds)"
    what = there if strata.height <= _MOST_TOLD else f"{int(strata['amount'].sum()):,} in all"
    return (
        f"{named or 'what the recipe asks'} cannot hold with what is there{many}, in {unit}: {what}, and {held_out:,} "
        "held out; widen one of these bounds, or add sources"
    )


def describe(name: str, mixture: Mixture) -> str:
    """Say in words what a stratum of the plan is."""
    kind, *rest = name.split(" ")
    tenth = kind.removeprefix("unknown")
    words = [f"{kind} text" if tenth == kind else f"unknown text, synthetic to {tenth}0% and more"]
    if "deep" in rest:
        words.append("of depth 2 and more")
    groups = [mixture.groups[int(part.removeprefix("groups."))] for part in rest if part.startswith("groups.")]
    where = [f"{key} {' or '.join(values)}" for group in groups for key, values in group.where.items()]
    outside = " outside the groups" if mixture.groups and not groups else ""
    return " ".join(words) + (f" ({', '.join(dict.fromkeys(where))})" if where else outside)


def among(name: str, group: str) -> bool:
    """Tell whether a stratum of the plan is of a group, groups.0 and so on; of the empty one each is."""
    return not group or group in name.split(" ")


def _more(there: int) -> int:
    """Return a round amount, a tenth of what there is or less."""
    more = 1
    while more * 10 <= min(there / _MORE, _MOST_MORE):
        more *= 10
    return more
