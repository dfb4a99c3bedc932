"""Grade: reject drafts for what can be told without a model, and measure how far their seed supports them.

Columns of `measure`: length_ratio, repetition, copied (float64, null without a seed), found_language (string),
language_score (float64), refusal, preamble (boolean), and those of cuvee.tasks.generate.groundedness.
`gate` turns them into a reason, or null: empty, refusal, preamble, too_short, too_long, wrong_language, repetition,
copied, ungrounded, unsupported_facts, in this order.
"""

import numpy as np
import polars as pl

from cuvee.schemas.recipe import Gates, Generate, Recipe, canonical_sha256
from cuvee.tasks import phrases
from cuvee.tasks.filters import gopher_repetition, language
from cuvee.tasks.generate import groundedness
from cuvee.tasks.generators import _answer
from cuvee.tasks.ingest.reading import READING_VERSION
from cuvee.tasks.words.kernel import shingle_sets

VERSION = 3
# Of all that reads and measures a draft.
VERSIONS = (VERSION, _answer.VERSION, groundedness.VERSION, language.VERSION, gopher_repetition.VERSION)

# A copied run of eight words is hardly chance; shorter ones are names and set phrases.
COPIED_WORDS = 8

MEASURES = pl.Schema(
    {
        "words": pl.Int64(),
        "length_ratio": pl.Float64(),
        "found_language": pl.String(),
        "language_score": pl.Float64(),
        "repetition": pl.Float64(),
        "copied": pl.Float64(),
        "refusal": pl.Boolean(),
        "preamble": pl.Boolean(),
        **groundedness.SCHEMA,
    }
)


def drafting_key(recipe: Recipe, entry: Generate, is_graded: bool) -> str:
    """Hash what decides which of a generator's drafts are kept, and their text, beside the requests themselves."""
    masks = canonical_sha256([sorted(recipe.ingest.mask), READING_VERSION])
    if not is_graded:
        return masks
    gates, grade = entry.gates.model_dump(mode="json"), entry.grade.model_dump(mode="json", exclude={"api_key_env"})
    return canonical_sha256([masks, list(VERSIONS), gates, grade])


def measure(drafts: pl.DataFrame) -> pl.DataFrame:
    """Measure drafts: MEASURES, one row each, in their order.

    drafts: text, chars, words (int64); seed: the text the model saw, or null; words_expected (int64).
    """
    text, seed = drafts["text"], drafts["seed"]
    known = language.signals(drafts.select("text"))
    repeated = gopher_repetition.signals(drafts.select("text", "chars"))["gopher_repetition_repeated_10"]
    grounded = groundedness.compare(text, seed.fill_null(""))
    unseeded = seed.is_null()
    columns = pl.DataFrame(
        {
            "length_ratio": (drafts["words"] / drafts["words_expected"]).round(6),
            "found_language": known["language"],
            "language_score": known["language_score"].cast(pl.Float64).round(6),
            "repetition": repeated.cast(pl.Float64).round(6),
            "copied": copied_share(text, seed),
        }
    ).hstack(phrases.answering(text))
    nothing = pl.lit(None, pl.Float64)
    found = columns.hstack(grounded).with_columns(
        pl.when(unseeded).then(nothing).otherwise(pl.col(name)).alias(name) for name in ("groundedness", "facts")
    )
    return found.with_columns(words=drafts["words"]).select(list(MEASURES)).cast(MEASURES)


def copied_share(text: pl.Series, seed: pl.Series) -> pl.Series:
    """Return the share of each draft's distinct runs of COPIED_WORDS words that its seed has; null without a seed."""
    own, own_ends = shingle_sets(text.to_arrow(), COPIED_WORDS)
    theirs, their_ends = shingle_sets(seed.fill_null("").to_arrow(), COPIED_WORDS)
    shares = [
        float(np.isin(own[a:b], theirs[c:d], assume_unique=True).mean()) if b > a else 0.0
        for a, b, c, d in zip(own_ends[:-1], own_ends[1:], their_ends[:-1], their_ends[1:], strict=True)
    ]
    found = pl.DataFrame({"seed": seed, "copied": pl.Series(shares, dtype=pl.Float64).round(6)})
    return found.select(pl.when(pl.col("seed").is_not_null()).then(pl.col("copied")).alias("copied"))["copied"]


def gate(gates: Gates) -> pl.Expr:
    """Return the first reason to reject a draft, or null.

    Of the columns of `measure`, and words, and seed_language: null or "und" where nothing is known of it.
    """
    shortest, longest = gates.length_ratio
    known = pl.col("seed_language").is_not_null() & ~pl.col("seed_language").is_in(["und", "unknown"])
    other = (
        known
        & (pl.col("found_language") != pl.col("seed_language"))
        & (pl.col("language_score") >= gates.language_score)
    )
    by_text = text_reasons(gates)
    reasons = {
        "empty": pl.col("words") == 0,
        **{name: rule for name, rule in by_text.items() if name != "repetition"},
        "too_short": pl.col("length_ratio") < shortest,
        "too_long": pl.col("length_ratio") > longest,
        "wrong_language": other & pl.lit(gates.language),
        "repetition": by_text["repetition"],
        "copied": pl.col("copied") > gates.copied,
        "ungrounded": pl.col("groundedness") < gates.groundedness,
        "unsupported_facts": pl.col("facts") < gates.facts,
    }
    return first_reason(reasons)


def text_reasons(gates: Gates) -> dict[str, pl.Expr]:
    """Return the rules that need nothing but the text, by reason."""
    return {
        "refusal": pl.col("refusal") & pl.lit(gates.refusal),
        "preamble": pl.col("preamble") & pl.lit(gates.preamble),
        "repetition": pl.col("repetition") > gates.repetition,
    }


def first_reason(reasons: dict[str, pl.Expr]) -> pl.Expr:
    """Name the first rule that is broken."""
    return pl.coalesce(
        *(pl.when(broken.fill_null(value=False)).then(pl.lit(name)) for name, broken in reasons.items()),
        pl.lit(None, pl.String),
    )
