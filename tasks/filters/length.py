"""Length: keep documents within a range of words and characters.

Signal columns: none; `words` and `chars` are columns of every thin table.
Defaults: any length. For the bounds of Gopher (50 to 100,000 words) see gopher_quality.
"""

from typing import Literal

import polars as pl
from pydantic import Field, model_validator

from cuvee.tasks.filters import FilterOptions, Verdict, above, below, first_reason

VERSION = 1
READS: tuple[str, ...] = ()
SIGNALS: dict[str, pl.DataType] = {}
NO_BOUND = 1_000_000_000_000


class Options(FilterOptions):
    """Bounds, each inclusive."""

    kind: Literal["length"] = "length"
    min_words: int = Field(0, ge=0, description="Words a document must have.")
    max_words: int = Field(NO_BOUND, ge=0, description="Words a document may have.")
    min_chars: int = Field(0, ge=0, description="Characters a document must have.")
    max_chars: int = Field(NO_BOUND, ge=0, description="Characters a document may have.")

    @model_validator(mode="after")
    def _some_length_passes(self) -> "Options":
        if self.min_words > self.max_words or self.min_chars > self.max_chars:
            raise ValueError("a minimum is above its maximum, so that no document could pass")
        return self


def signals(shard: pl.DataFrame) -> pl.DataFrame:
    """Return no columns."""
    return pl.DataFrame(height=shard.height)


def verdict(options: Options) -> Verdict:
    """Object to a document outside a bound: length.min_words, length.max_words, length.min_chars, length.max_chars."""
    return first_reason(
        options.kind,
        {
            "min_words": below("words", options.min_words),
            "max_words": above("words", options.max_words),
            "min_chars": below("chars", options.min_chars),
            "max_chars": above("chars", options.max_chars),
        },
    )
