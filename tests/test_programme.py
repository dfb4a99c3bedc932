"""The programme of the mixture: the most that the bounds allow, its goals in order, and reasons that are true."""

import itertools
import random
from fractions import Fraction
from typing import Any

import polars as pl
import pytest

from cuvee.schemas.recipe import Mixture
from cuvee.tasks.mixture.bounds import Bound, bounds_of, sum_names
from cuvee.tasks.mixture.programme import Impossible, Plan, most_amount, plan

# Plans of which what one more allows is compared: with 200 the same holds, in five times as long.
ROUNDS = 40


def mixture(**keys: Any) -> Mixture:
    human = {key: keys.pop(key) for key in ("min", "max", "min_amount") if key in keys}
    return Mixture.model_validate({**keys, "human": human})


def table(*rows: tuple[int, bool, list[int]], groups: int = 2, epochs: int = 1, deep: bool = False) -> pl.DataFrame:
    """Strata: amount, whether it is human, and the groups that it is in."""
    return pl.DataFrame(
        {
            "label": [f"s{place}" for place in range(len(rows))],
            "amount": [row[0] for row in rows],
            "human": [row[1] for row in rows],
            "deep": [deep and not row[1] for row in rows],
            "epochs": [epochs] * len(rows),
            **{f"groups.{number}": [number in row[2] for row in rows] for number in range(groups)},
        }
    )


def planned(strata: pl.DataFrame, asked: Mixture, held_out: int = 0, **last: int) -> Plan:
    found = plan(strata, asked, held_out, last)
    assert isinstance(found, Plan), found
    return found


def sums(strata: pl.DataFrame, taken: list[int], copies: list[int]) -> dict[str, int]:
    found = dict.fromkeys(["all", "plain", "human", "plain_human", "deep"], 0)
    for row, once, again in zip(strata.iter_rows(named=True), taken, copies, strict=True):
        seen = once + again
        found["all"] += seen
        found["plain"] += once
        found["human"] += seen * row["human"]
        found["plain_human"] += once * row["human"]
        found["deep"] += seen * row["deep"]
        for name in row:
            if name.startswith("groups."):
                found[name] = found.get(name, 0) + seen * row[name]
    return found


def drawn(draw: random.Random) -> tuple[pl.DataFrame, Mixture]:
    """Four strata of up to 7 words, and bounds that may or may not hold together."""
    rows = [(draw.randint(1, 7), place < 2, draw.sample([0, 1], draw.randint(0, 2))) for place in range(4)]
    keys: dict[str, Any] = {"min": draw.choice([0, 0.3, 0.5, 0.75]), "total": draw.choice([None, 6, 13])}
    keys["groups"] = [
        {"where": {"domain": "a"}, "max": draw.choice([0.25, 0.5, 1])},
        {"where": {"domain": "b"}, "min": draw.choice([0, 0.2, 0.5]), "max": draw.choice([0.6, 1])},
    ]
    keys["min_amount"] = draw.choice([None, None, 5])
    return table(*rows), mixture(**keys)


def holds(bounds: list[Bound], found: dict[str, int]) -> bool:
    return all(bound.excess(found) <= 0 for bound in bounds)


def test_no_choice_of_whole_amounts_beats_the_plan_and_what_is_impossible_is_so() -> None:
    draw, impossible = random.Random(7), 0
    for _ in range(25):
        strata, asked = drawn(draw)
        bounds = bounds_of(asked, 0)
        ranges = [range(amount + 1) for amount in strata["amount"]]
        best = max(
            (sum(taken) for taken in itertools.product(*ranges) if holds(bounds, sums(strata, list(taken), [0] * 4))),
            default=0,
        )
        found = plan(strata, asked, 0)
        if isinstance(found, Impossible):
            impossible += 1
            assert best == 0
            for bound in found.bounds:  # none is one too many
                assert bound in bounds
            continue
        # Between whole amounts the programme may find a little more, up to what its corner leaves over.
        assert found.amount >= best - 1e-6
        finer = strata.with_columns(pl.col("amount") * 1000)
        exact = mixture(
            min=asked.human.min,
            min_amount=asked.human.min_amount and asked.human.min_amount * 1000,
            total=asked.total and asked.total * 1000,
            groups=[group.model_dump() for group in asked.groups],
        )
        fine = planned(finer, exact)
        # A whole amount less of each stratum is within a thousandth.
        assert sum(fine.amounts.values()) == pytest.approx(found.amount * 1000, rel=1e-3)
        slack = {name: value - 8 for name, value in sums(finer, list(fine.amounts.values()), [0] * 4).items()}
        assert all(bound.excess(slack) <= 8 for bound in bounds_of(exact, 0))
    assert 0 < impossible < 20


def test_what_one_more_allows_is_what_the_programme_finds_with_one_more() -> None:
    draw, compared, degenerate = random.Random(11), 0, 0
    for _ in range(ROUNDS):
        strata, asked = drawn(draw)
        strata = strata.with_columns(pl.col("amount") * 1000 + pl.Series([draw.randint(0, 999) for _ in range(4)]))
        asked = mixture(
            min=round(draw.uniform(0, 0.9), 3),
            total=draw.choice([None, 15_000]),
            groups=[group.model_dump() for group in asked.groups],
        )
        found = plan(strata, asked, 0)
        if isinstance(found, Impossible):
            continue
        for name in strata["label"]:
            step = pl.when(pl.col("label") == name).then(1)
            more, fewer = (
                most_amount(strata.with_columns(pl.col("amount") + sign * step.otherwise(0)), asked, 0)
                for sign in (1, -1)
            )
            assert more is not None
            if fewer is None or abs((more - found.amount) - (found.amount - fewer)) > 1e-5:
                degenerate += 1  # a corner: what one more adds is not what one fewer takes
                continue
            assert found.duals[name] == pytest.approx(more - found.amount, rel=0.01, abs=1e-5)
            compared += 1
    assert compared > 1.5 * ROUNDS
    assert degenerate < 0.4 * ROUNDS


def test_the_goals_come_one_after_the_other() -> None:
    groups = [{"where": {"domain": "a"}, "target": 0.5}, {"where": {"domain": "b"}}]
    strata = table((600, True, [0]), (600, True, []), (2000, False, []))
    # Half of 1,000 words are of the group, though all of it would leave more human text in.
    found = planned(strata, mixture(total=1000, groups=groups))
    assert list(found.amounts.values()) == [500, 500, 0]
    # Without a target human text comes first, at even rates.
    even = planned(strata, mixture(total=1000, groups=[{"where": {"domain": "a"}}, groups[1]]))
    assert list(even.amounts.values()) == [500, 500, 0]
    # The last plan stands where it is as good.
    again = planned(strata, mixture(total=1000, groups=[{"where": {"domain": "a"}}, groups[1]]), s0=600, s1=400, s2=0)
    assert list(again.amounts.values()) == [600, 400, 0]


def test_text_is_repeated_only_for_what_is_asked_and_never_past_its_epochs() -> None:
    strata = table((1000, True, []), (1200, False, []), epochs=3)
    free = planned(strata, mixture(min=0.5, shortage="repeat", max_epochs=3))
    assert sum(free.repeated.values()) == 0
    assert sum(free.amounts.values()) == 2000  # the floor holds each document once, too
    more = planned(strata, mixture(min=0.5, total=4500, shortage="repeat", max_epochs=3))
    assert more.amount == pytest.approx(4500)
    assert sum(more.amounts.values()) == 2000
    assert sum(more.repeated.values()) == 2500
    most = planned(strata, mixture(total=10_000, shortage="repeat", max_epochs=3))
    assert (most.amounts, most.repeated) == ({"s0": 1000, "s1": 1200}, {"s0": 2000, "s1": 2400})


def test_the_share_of_deep_text_is_capped() -> None:
    strata = table((900, True, []), (1000, False, []), deep=True)
    found = planned(strata, mixture(depth={"max": 2, "share_over_1": 0.1}))
    assert list(found.amounts.values()) == [900, 100]
    assert [bound.key for bound in found.binding] == ["mixture.depth.share_over_1"]


def test_bounds_are_exact_fractions() -> None:
    bounds = {bound.key: bound for bound in bounds_of(mixture(min=0.3, total=10, max=0.9), 5)}
    assert bounds["mixture.human.min"].excess(dict.fromkeys(sum_names(mixture()), 0) | {"all": 10, "human": 3}) == 0
    assert bounds["mixture.total"].most == 5
    assert bounds["mixture.human.max"].most == Fraction(-1, 2)


def test_past_the_most_strata_the_smallest_are_taken_at_one_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cuvee.tasks.mixture.programme.MOST_STRATA", 1003)
    strata = table(*[(100 + place, place % 2 == 0, [place % 3]) for place in range(1200)], groups=3)
    asked = mixture(min=0.5, total=60_000, groups=[{"where": {"domain": name}, "max": 0.4} for name in "abc"])
    found = planned(strata, asked)
    assert sum(found.amounts.values()) == pytest.approx(60_000, rel=1e-2)
    small = list(strata.filter(pl.col("amount").rank("ordinal", descending=True) > 3)["label"])
    rates = {round(found.amounts[name] / (100 + int(name[1:])), 1) for name in small if int(name[1:]) % 2 == 1}
    assert len(rates) == 1
