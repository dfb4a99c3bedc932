"""Budget: how much a generator should write, what that may cost, and how much more is worth asking for."""

import math
from collections.abc import Collection

import polars as pl

from cuvee.schemas.amounts import WHOLE, human_part, unit_amount
from cuvee.schemas.recipe import Generate, Recipe
from cuvee.tasks.generate.judge import JUDGE_TOKENS
from cuvee.tasks.generators._purse import Purse
from cuvee.tasks.generators._turns import WORDS_A_TOKEN
from cuvee.tasks.measure.windows import WORDS
from cuvee.tasks.priority import held_out

# A generator of which nine drafts in ten fall away is for a person to look at before more is paid for.
LEAST_YIELD = 0.1
# A hundredth less than wanted is not worth another round.
NEAR_ENOUGH = 0.01
# Code and tables take two tokens a word and more; a budget must hold for them too.
MOST_TOKENS_A_WORD = 2.0
_GRADING_WORDS = 300
# Four marks and a quote or two.
_JUDGEMENT_TOKENS = 80
_MILLION = 1e6
_MOST_SENT = MOST_TOKENS_A_WORD * (2 * WORDS + _GRADING_WORDS)


def wanted_amount(recipe: Recipe, entry: Generate, rows: pl.DataFrame) -> float:
    """Return how much text an entry should draft, in the recipe's unit.

    auto: min(total - what of it is held out, human ÷ human.min) - human - synthetic text that is there, of the train
    split, shared equally by the entries with auto.
    """
    if entry.budget.amount != "auto":
        return entry.budget.amount
    rows = rows.with_columns(
        amount=unit_amount(recipe.mixture.unit),
        human=human_part(recipe.provenance.unknown_as),
    )
    # The floor holds in the train split alone, and a total has room for its share of held-out text too.
    is_apart = held_out(rows, recipe)
    train, apart = rows.filter(~is_apart), int(rows.filter(is_apart)["amount"].sum())
    human = int((train["amount"] * train["human"]).sum()) // WHOLE
    synthetic = int(train["amount"].sum()) - human
    floor, total = recipe.mixture.human.min, recipe.mixture.total
    within = math.inf if total is None else total - min(apart, math.floor(total * recipe.holdout.share))
    room = min(within, human / floor if floor else math.inf)
    sharing = sum(other.budget.amount == "auto" for other in recipe.generate)
    return max(room - human - synthetic, 0.0) / sharing


def wanted_words(recipe: Recipe, entry: Generate, rows: pl.DataFrame) -> int:
    """Return the wanted amount in words, at the survivors' mean words a document, or bytes or tokens a word."""
    amount, words = wanted_amount(recipe, entry, rows), max(int(rows["words"].sum()), 1)
    unit = int(rows.with_columns(amount=unit_amount(recipe.mixture.unit))["amount"].sum())
    return math.ceil(amount * words / max(unit, 1))


def more_words(wanted: int, planned: int, survived: int) -> int:
    """Return how many words to plan in all after a round, at the yield that it had; `planned` for no more.

    wanted, planned, survived: words that are asked of the generator, expected of its plan so far, and left of it after
    all steps. Nothing more is planned when nothing survived.
    """
    shortage = wanted - survived
    if survived <= 0 or shortage <= NEAR_ENOUGH * wanted:
        return planned
    measured = round(max(survived / planned, LEAST_YIELD), 6)
    return planned + math.ceil(shortage / measured)


def worst_cost(entry: Generate, plan: pl.DataFrame) -> pl.Series:
    """Return the most that each request of a plan may cost with all its judgements and revisions, US dollars.

    Zero where prices are not known.
    """
    each = MOST_TOKENS_A_WORD * plan["prompt_words"]
    out = _most_received(entry)
    revisions = entry.grade.revise if entry.grade.judge_model else 0
    judgements = revisions + 1 if entry.grade.judge_model else 0
    again = MOST_TOKENS_A_WORD * (WORDS + _GRADING_WORDS) + out
    prompt = each + again * (judgements + revisions)
    completion = out * (1 + revisions) + JUDGE_TOKENS * judgements
    return (
        _price(entry.prices.prompt_per_million) * prompt + _price(entry.prices.completion_per_million) * completion
    ) / (_MILLION)


def affordable(entry: Generate, plan: pl.DataFrame, paid: pl.DataFrame, carried_out: Collection[str]) -> pl.DataFrame:
    """Keep the rows of a plan that the budget pays for whatever they cost, and those that were carried out.

    paid: what the entry ever paid for, PAID_SCHEMA. What was carried out, or is of no row, counts as it cost, any other
    row as the most that it may, also where a killed run has answers to it: a resumed run plans as an undisturbed one.
    """
    if entry.budget.cost_usd is None:
        return plan
    open_keys = paid.filter(~pl.col("ended"))["draft_key"].implode()
    is_done = pl.col("request_key").is_in(list(carried_out)) & ~pl.col("request_key").is_in(open_keys)
    todo = plan.filter(~is_done).with_columns(worst=worst_cost(entry, plan.filter(~is_done)))
    is_todo = pl.col("draft_key").is_in(todo["request_key"].implode())
    spent = paid.with_columns(_cost(entry)).filter(~(is_todo & pl.col("ended")))
    left = entry.budget.cost_usd - float(spent["cost"].sum())
    begun = pl.col("request_key").is_in(paid["draft_key"].implode())
    todo = todo.sort(begun, descending=True, maintain_order=True).filter(pl.col("worst").cum_sum() <= left + 1e-9)
    return plan.filter(is_done | pl.col("request_key").is_in(todo["request_key"].implode()))


def _cost(entry: Generate) -> pl.Expr:
    """Return what an answer cost, US dollars; where its tokens were not counted the most that it may have."""
    most_received = _most_received(entry)
    sent = pl.col("prompt_tokens").fill_null(_MOST_SENT) * _price(entry.prices.prompt_per_million)
    received = pl.col("completion_tokens").fill_null(most_received) * _price(entry.prices.completion_per_million)
    return pl.when("answered").then((sent + received) / _MILLION).otherwise(0.0).alias("cost")


def purse(entry: Generate, paid: pl.DataFrame) -> Purse | None:
    """Return what is left of an entry's dollars, null where it has no budget of them; paid: PAID_SCHEMA."""
    if entry.budget.cost_usd is None:
        return None
    prices = (
        _price(entry.prices.prompt_per_million) / _MILLION,
        _price(entry.prices.completion_per_million) / _MILLION,
    )
    spent = float(paid.select(_cost(entry))["cost"].sum())
    return Purse(entry.budget.cost_usd - spent, *prices, (_MOST_SENT, _most_received(entry)))


def first_answered(
    entry: Generate, plan: pl.DataFrame, outside: pl.DataFrame, paid: pl.DataFrame, wanted_words: int
) -> pl.DataFrame:
    """Return a plan in which answered requests come before others, so that a larger corpus keeps what was paid for.

    plan: rows for the wanted words, were nothing paid for yet; outside: rows that were asked and are not in it. Of the
    rows that were never asked, `budget.requests` allows what is left of it for the life of the entry.
    """
    asked = paid.filter(pl.col("draft_key") == pl.col("request_key"))["request_key"]
    is_asked = plan["request_key"].is_in(asked.implode())
    words = pl.col("words_expected").cum_sum() - pl.col("words_expected")
    inside = int(plan.filter(is_asked)["words_expected"].sum())
    outside = outside.filter(words < wanted_words - inside)
    known = inside + int(outside["words_expected"].sum())
    new = plan.filter(~is_asked).filter(words < wanted_words - known)
    if entry.budget.requests is not None:
        new = new.head(max(0, entry.budget.requests - asked.n_unique()))
    kept = plan.filter(is_asked | plan["request_key"].is_in(new["request_key"].implode()))
    return pl.concat([outside, kept]).with_columns(pl.int_range(pl.len(), dtype=pl.Int64).alias("position"))


def totals(paid: pl.DataFrame) -> tuple[int, int | None, int | None]:
    """Count the answers that were paid for, and add up tokens sent and received; null where one was not counted."""
    answers = paid.filter("answered")
    sent, received = (
        None if answers[side].null_count() else int(answers[side].sum())
        for side in ("prompt_tokens", "completion_tokens")
    )
    return answers.height, sent, received


def cost_of(entry: Generate, prompt_tokens: int | None, completion_tokens: int | None) -> float | None:
    """Return what tokens cost, US dollars; null when prices or tokens are not known."""
    prices = entry.prices
    if prices.prompt_per_million is None or prices.completion_per_million is None:
        return None
    if prompt_tokens is None or completion_tokens is None:
        return None
    total = prompt_tokens * prices.prompt_per_million + completion_tokens * prices.completion_per_million
    return round(total / _MILLION, 6)


def tokens(rounds: pl.DataFrame) -> tuple[int | None, int | None]:
    """Add up the tokens sent and received of rounds, each request once; null where an answer did not count them."""
    answers = rounds.filter(pl.col("text").is_not_null())
    judged = rounds.filter(pl.col("judge_key").is_not_null()).unique("judge_key", keep="first", maintain_order=True)
    sums = []
    for side in ("prompt_tokens", "completion_tokens"):
        unknown = answers[side].null_count() + judged[f"judge_{side}"].null_count()
        asked = rounds.unique("asked_key", keep="first", maintain_order=True)
        sums.append(None if unknown else int(asked[side].sum()) + int(judged[f"judge_{side}"].sum()))
    return sums[0], sums[1]


def expected_tokens(entry: Generate, plan: pl.DataFrame) -> tuple[int, int]:
    """Estimate the tokens of a plan's requests, and of one judgement each where there is a judge: sent, received."""
    prompt, completion = int(plan["prompt_words"].sum()), int(plan["words_expected"].sum())
    sent, received = prompt / WORDS_A_TOKEN, completion / WORDS_A_TOKEN
    if entry.grade.judge_model:
        sent += (prompt + completion + _GRADING_WORDS * plan.height) / WORDS_A_TOKEN
        received += _JUDGEMENT_TOKENS * plan.height
    return round(sent), round(received)


def _most_received(entry: Generate) -> int:
    """Return the most tokens that an answer may have; a limit in `sampling.extra` stands above max_tokens."""
    limits = [entry.sampling.extra.get(name) for name in ("max_tokens", "max_completion_tokens", "max_output_tokens")]
    return max(entry.sampling.max_tokens, *(limit for limit in limits if isinstance(limit, int)), 0)


def _price(price: float | None) -> float:
    return price or 0.0
