"""Share: choose documents so that the human share of whole documents holds, human text first.

What is asked is a human share, an amount of human text and a total; plans with more bounds are made by `blend`.
"""

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import NamedTuple

from cuvee.schemas.errors import GateError
from cuvee.schemas.recipe import Mixture
from cuvee.tasks.mixture.lanes import Lane


class Amounts(NamedTuple):
    """What there is, or what is taken, in the recipe's unit. held_out: human text of the validation split."""

    human: int
    synthetic: int
    held_out: int

    @property
    def total(self) -> int:
        """All of it."""
        return self.human + self.synthetic + self.held_out


class Part(NamedTuple):
    """The first documents of a lane. most: what a document of it may hold; larger ones are passed over."""

    lane: Lane
    documents: int
    most: float = math.inf

    @property
    def amount(self) -> int:
        """Amount of all."""
        return self.lane.sum(self.documents)

    def within(self, most: float) -> "Part":
        """Take as many of the part's documents, in order, as hold at most `most`; larger ones are passed over."""
        fit = self.lane.fitting(most, self.documents)
        return Part(fit, min(fit.count(most), self.documents), min(self.most, most))


class Choice(NamedTuple):
    """Which documents are taken, of each of the three groups."""

    human: Part
    synthetic: Part
    held_out: Part


def take(lane: Lane, most: float) -> Part:
    """Take documents in order while their sum stays within `most`; those that are larger than it are passed over."""
    return Part(lane, lane.documents).within(most)


def held_within(apart: Lane, mixture: Mixture, holdout_share: float) -> Part:
    """Say which held-out documents are published for validation: under a total its share of it at most."""
    if mixture.total is None:
        return take(apart, math.inf)
    return take(apart, math.floor(Fraction(str(mixture.total)) * Fraction(str(holdout_share))))


def choose(human: Lane, synthetic: Lane, apart: Lane, mixture: Mixture, holdout_share: float) -> Choice:
    """Work out which documents to take: as much as the bounds allow, human text first; apart: held-out human text.

    Documents are taken whole, so a bound is used up to the last document that fits. Floor and ceiling always hold;
    where no choice in this order keeps them, no document is taken for training.
    """
    total = math.inf if mixture.total is None else mixture.total
    # Exact fractions: with floats a share of 0.3 could come out a hair below its floor.
    low, high = Fraction(str(mixture.human.min)), Fraction(str(mixture.human.max))
    held = held_within(apart, mixture, holdout_share)
    kept_apart = held.amount
    room = max(total - kept_apart, 0)
    share_of_room = room * float(high) if high else 0.0  # without a total, 0 times infinity is no number

    def most_synthetic(human_amount: int) -> float:
        return math.floor(human_amount * (1 - low) / low) if low else math.inf

    def most_human(synthetic_amount: int) -> float:
        return math.inf if high == 1 else max(math.floor(synthetic_amount * high / (1 - high)) - kept_apart, 0)

    budget = min(share_of_room, most_human(synthetic.total), human.total)
    people = take(human, budget)
    # Synthetic text fills what human text cannot, not what its last whole document leaves over: so a larger total keeps
    # every document of a smaller one.
    machines = take(synthetic, min(room - budget, most_synthetic(people.amount)))
    fewer = take(human, min(share_of_room, most_human(machines.amount)))
    # Whole documents leave less synthetic text than planned: give human text back, unless that would break the floor.
    if fewer.documents and machines.amount <= most_synthetic(fewer.amount):
        people = fewer
    return _within(Choice(people, machines, held), low, high)


def _within(choice: Choice, low: Fraction, high: Fraction) -> Choice:
    """Give the last documents back, until the human share is between its bounds: as little human text as possible.

    Whole documents may miss both bounds: of human documents of 4, 4 and 3 words and synthetic ones of 6 and 6, a share
    of 0.4 to 0.45 holds for 4 + 4 and 6 + 6. Text held out is given back only where all else would be in vain.
    """
    human, synthetic, held_out = choice
    most_human = math.inf if high == 1 else math.floor(synthetic.amount * high / (1 - high))
    for held in (held_out, held_out.within(most_human), held_out._replace(documents=0)):
        kept_apart = held.amount
        for people in range(human.documents, -1, -1):
            amount = human.lane.sum(people)
            most = math.floor(amount * (1 - low) / low) if low else math.inf
            machines = min(synthetic.documents, synthetic.lane.count(most))
            all_human, made = amount + kept_apart, synthetic.lane.sum(machines)
            if amount + made and all_human <= high * (all_human + made):
                return Choice(human._replace(documents=people), synthetic._replace(documents=machines), held)
    return Choice(human._replace(documents=0), synthetic._replace(documents=0), held_out)


def check(there: Amounts, taken: Amounts, lanes: Sequence[Lane], mixture: Mixture) -> None:
    """Raise GateError where nothing could be trained on, where mixture.human.min_amount is not reached, and, with
    shortage: fail, where less than the recipe asks for could be published.
    """
    unit, floor = mixture.unit, mixture.human.min
    largest = max(lane.largest for lane in lanes)
    if taken.human + taken.synthetic == 0:
        smallest = min((lane.smallest for lane in lanes if lane.documents), default=0)
        raise GateError(f"{_why_nothing(there, smallest, mixture)}; nothing is published")
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


def _why_nothing(there: Amounts, smallest: int, mixture: Mixture) -> str:
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
    if mixture.total is None or smallest <= mixture.total:
        bounds = f"mixture.human.min {mixture.human.min:g} and max {mixture.human.max:g}"
        return f"no choice of whole documents has a human share between {bounds}; widen them, or add sources"
    return f"no document fits into mixture.total {mixture.total:,.0f} {unit} under its bounds; raise it"
