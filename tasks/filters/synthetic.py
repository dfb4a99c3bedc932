"""Synthetic: drop texts declared synthetic that refuse, talk to a user, or repeat themselves.

Drafts of our own generators pass the same rules, and those that need a seed, under `generate[].gates`. Where a
source is declared synthetic, this filter applies with its defaults also when a recipe does not name it.
Signal columns: synthetic_refusal, synthetic_preamble (boolean), synthetic_repetition (float32, 0 to 1).
"""

from typing import Literal

import polars as pl
from pydantic import Field

from cuvee.tasks import phrases
from cuvee.tasks.filters import FilterOptions, Rule, Verdict, above, first_reason, gopher_repetition

VERSION = 3
READS = ("chars",)
SIGNALS: dict[str, pl.DataType] = {
    "synthetic_refusal": pl.Boolean(),
    "synthetic_preamble": pl.Boolean(),
    "synthetic_repetition": pl.Float32(),
}


class Options(FilterOptions):
    """What a synthetic text is dropped for; text of another origin always passes."""

    kind: Literal["synthetic"] = "synthetic"
    refusal: bool = Field(True, description="Drop answers that decline a task.")
    preamble: bool = Field(True, description="Drop answers that talk to a user before or after the text.")
    repetition: float = Field(0.3, ge=0, le=1, description="Share of characters in repeated 10-grams, at most.")


def signals(shard: pl.DataFrame) -> pl.DataFrame:
    """Return SIGNALS for each document of the shard (columns text, chars), in its order."""
    repeated = gopher_repetition.signals(shard.select("text", "chars"))["gopher_repetition_repeated_10"]
    found = phrases.answering(shard["text"]).with_columns(repetition=repeated)
    named = found.select(pl.all().name.prefix("synthetic_"))
    return named.cast(SIGNALS)  # type: ignore[arg-type]


def verdict(options: Options) -> Verdict:
    """Object to synthetic texts by the first rule that is broken."""
    declared = (pl.col("origin") == "synthetic") & ~pl.col("generated")
    repetition = above("synthetic_repetition", options.repetition)
    return first_reason(
        options.kind,
        {
            "refusal": declared & pl.col("synthetic_refusal") & pl.lit(options.refusal),
            "preamble": declared & pl.col("synthetic_preamble") & pl.lit(options.preamble),
            "repetition": Rule(declared & repetition.broken, repetition.told),
        },
    )
