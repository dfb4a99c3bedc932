"""Habits: what the answers of a generator and its judge have in common that a person should know of.

Measured on all rounds that the pool has of an entry, as the recipe reads them (`drafting.rounds_of`).
"""

from collections import Counter
from collections.abc import Iterator, Mapping

import polars as pl

from cuvee.schemas.base import Frozen
from cuvee.schemas.recipe import Generate
from cuvee.tasks.generate import budget
from cuvee.tasks.generators._answer import TRUNCATED, UNFINISHED

# Shares of fewer answers say nothing.
FEWEST = 10
LEAST_READABLE = 0.9
MOST_CUT_OFF = 0.05
MOST_OF_ONE_OPENING = 0.2
# Dollars paid ÷ dollars planned; estimates from words are this far off for English.
MOST_OVER_PLAN = 1.25
# An opening: so many words, or characters where there are no spaces.
_OPENING_WORDS, _OPENING_CHARACTERS = 4, 8


class Habits(Frozen):
    """What was counted of one generator.

    asked: requests that were carried out; survived: drafts that no step rejected; rejected: the others and the requests
    that failed, by reason, the most frequent first.
    answers: that were paid for; cut_off: of these, those that ran into a limit; models: names that the endpoint gave,
    and judges: the judge's; opening: the commonest beginning of the drafts, and opened how many have it; judgements,
    readable: of the judge; grades: how often each was given to a first answer; cost_usd, planned_usd: null without
    prices or counts.
    """

    asked: int
    survived: int
    rejected: dict[str, int]
    answers: int
    cut_off: int
    models: tuple[str, ...]
    judges: tuple[str, ...]
    drafts: int
    opening: str
    opened: int
    judgements: int
    readable: int
    grades: dict[str, int]
    cost_usd: float | None
    planned_usd: float | None


def measure(entry: Generate, rounds: pl.DataFrame, rows: pl.DataFrame) -> Habits:
    """Count. rounds: columns of `drafting.LINEAGE_SCHEMA`; rows: of the entry's drafts, with their verdict."""
    first = rounds.filter(pl.col("round") == 0)
    failed = first.filter(pl.col("text").is_null()).select("request_key", pl.col("reason").fill_null("failed"))
    drafts = first.drop_nulls("text")
    cut = pl.col("stripped").list.contains("cut_off").fill_null(value=False)
    judged = rounds.drop_nulls("judge_key")
    grades = first["grade"].drop_nulls().cast(pl.String).value_counts(name="count").sort("grade")
    opening, opened = _commonest_opening(drafts["text"])
    sent, received = budget.tokens(rounds)
    planned = first.drop_nulls(["prompt_words", "words_expected"])
    return Habits(
        asked=first.height,
        survived=rows["verdict"].null_count(),
        rejected=rejected(rows, dict(failed.iter_rows())),
        answers=first.filter(pl.col("text").is_not_null() | pl.col("reason").is_in([TRUNCATED, UNFINISHED])).height,
        cut_off=first.filter(cut | pl.col("reason").is_in([TRUNCATED, UNFINISHED])).height,
        models=tuple(sorted(set(rounds["model_returned"].drop_nulls()))),
        judges=tuple(sorted(set(rounds["judge_returned"].drop_nulls()))),
        drafts=drafts.height,
        opening=opening,
        opened=opened,
        judgements=judged.height,
        readable=judged.filter(~pl.col("unreadable")).height,
        grades=dict(grades.iter_rows()),
        cost_usd=budget.cost_of(entry, sent, received),
        planned_usd=budget.cost_of(entry, *budget.expected_tokens(entry, planned)),
    )


def rejected(drafts: pl.DataFrame, failed: Mapping[str, str]) -> dict[str, int]:
    """Count drafts that were rejected (column verdict) and requests that failed, by reason, the most frequent first."""
    reasons = [*drafts["verdict"].drop_nulls(), *(f"failed: {reason}" for reason in failed.values())]
    counted = pl.Series("reason", reasons, dtype=pl.String).value_counts()
    return dict(counted.sort(["count", "reason"], descending=[True, False]).iter_rows())


def findings(habits: Habits) -> Iterator[tuple[str, str, dict[str, float | None]]]:
    """Yield what is worth a look: a kind, what to tell and to do, and the figures."""
    if habits.asked and not habits.survived:
        reasons = ", ".join(f"{reason} ({count:,})" for reason, count in habits.rejected.items())
        yield (
            "generation_nothing_survived",
            f"none of {habits.asked:,} requests gave a draft that survives: {reasons}; change the model, kinds, gates "
            "or sampling",
            {"asked": habits.asked},
        )
    if habits.answers >= FEWEST and habits.cut_off > MOST_CUT_OFF * habits.answers:
        yield (
            "generation_cut_off",
            f"{habits.cut_off:,} of {habits.answers:,} answers ran into their limit; raise sampling.max_tokens, or ask "
            "for a shorter kind or of a model that writes to length",
            {"answers": habits.answers, "cut_off": habits.cut_off},
        )
    for whose, names in (("model", habits.models), ("judge", habits.judges)):
        if len(names) > 1:
            yield (
                "generation_model_changed",
                f"the endpoint's answers name {len(names)} models ({', '.join(names)}) for one {whose}; ask for "
                f"one by its full name, or take another {whose} for all drafts",
                {"models": len(names)},
            )
    if habits.drafts >= FEWEST and habits.opened > MOST_OF_ONE_OPENING * habits.drafts:
        yield (
            "generation_one_opening",
            f'{habits.opened:,} of {habits.drafts:,} drafts begin with "{habits.opening}"; raise the temperature, ask '
            "for more kinds, or write a template of your own",
            {"drafts": habits.drafts, "opened": habits.opened},
        )
    if habits.judgements >= FEWEST and habits.readable < LEAST_READABLE * habits.judgements:
        yield (
            "generation_judge_unreadable",
            f"the judge's answer can be read for {habits.readable:,} of {habits.judgements:,} drafts; the others have "
            "no grade: take a judge that answers in JSON, or set gates.ungraded: drop",
            {"judgements": habits.judgements, "readable": habits.readable},
        )
    graded = sum(habits.grades.values())
    if graded >= FEWEST and len(habits.grades) == 1:
        yield (
            "generation_one_grade",
            f"the judge gives each of {graded:,} drafts the grade {next(iter(habits.grades))}; it tells none from "
            "another: take a stronger judge, or none",
            {"graded": graded},
        )
    cost, planned = habits.cost_usd, habits.planned_usd
    if cost is not None and planned is not None and cost > MOST_OVER_PLAN * planned:
        yield (
            "generation_cost",
            f"its requests cost {cost:.4f} USD and were planned at {planned:.4f}; set budget.cost_usd, or lower "
            "sampling.max_tokens",
            {"cost_usd": cost, "planned_usd": planned},
        )


def _commonest_opening(texts: pl.Series) -> tuple[str, int]:
    """Return the beginning that most texts share, without its label ("Question:"), and how many do."""
    counted = Counter(map(_opening, texts))
    if not counted:
        return "", 0
    return min(counted.items(), key=lambda pair: (-pair[1], pair[0]))


def _opening(text: str) -> str:
    begin = text[:200].lstrip("#*-> ")
    label, colon, rest = begin.partition(":")
    words = (rest if colon and len(label) <= 20 else begin).lower().split()[:_OPENING_WORDS]
    spaceless = bool(words) and len(words[0]) > 3 * _OPENING_CHARACTERS
    return words[0][:_OPENING_CHARACTERS] if spaceless else " ".join(words)
