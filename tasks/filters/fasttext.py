"""fastText: keep documents that a supervised fastText model of the user's scores well, as quality classifiers do.

Signal column: fasttext_score (float32, 0 to 1), the probability of the entry's label; 0 for a text of which the model
knows nothing. The whole text is read as one line, as it is but for `</s>`, which is a blank here. Entries of one model
and label share their signals.
"""

from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Literal

import polars as pl
from pydantic import Field, ValidationInfo, field_validator, model_validator

from cuvee.schemas.errors import RecipeError
from cuvee.tasks.filters import FilterOptions, Signals, Verdict, _fasttext, below, first_reason

VERSION = 1
READS: tuple[str, ...] = ()
SIGNALS: dict[str, pl.DataType] = {"fasttext_score": pl.Float32()}


class Options(FilterOptions):
    """A model, one of its labels, and the score wanted of it."""

    kind: Literal["fasttext"] = "fasttext"
    model: str = Field(description="A supervised model (.bin, .ftz), relative to the recipe's folder.")
    label: str = Field(description="A label of the model, without __label__.")
    min_score: float = Field(0.5, ge=0, le=1, description="The probability of the label, at least.")

    @field_validator("model")
    @classmethod
    def _below_the_recipe(cls, model: str, info: ValidationInfo) -> str:
        return str(Path((info.context or {}).get("folder", "."), model))

    @field_validator("label")
    @classmethod
    def _without_its_prefix(cls, label: str) -> str:
        return label.removeprefix(_fasttext.LABEL_PREFIX)

    @model_validator(mode="after")
    def _is_of_the_model(self) -> "Options":
        try:
            labels = _fasttext.load(Path(self.model)).labels
        except RecipeError as error:
            raise ValueError(f"model: {error}") from None
        if self.label not in labels:
            more = ", …" if len(labels) > 10 else ""
            raise ValueError(f"label: the model has no {self.label!r}; its labels: {', '.join(labels[:10])}{more}")
        return self


def measured_by(options: Options) -> tuple[str, Signals]:
    """Return a name of the model's content and the label, and what measures by them."""
    path = Path(options.model)
    name = sha256(f"{_fasttext.content_hash(path)} {options.label}".encode()).hexdigest()[:16]
    return name, partial(_signals, path, options.label)


def _signals(path: Path, label: str, shard: pl.DataFrame) -> pl.DataFrame:
    scores = _fasttext.load(path).scores(_fasttext.whole(shard["text"]), label)
    # A score can pass 1 by some 1e-5.
    return pl.DataFrame({"fasttext_score": scores.clip(0.0, 1.0)})


def verdict(options: Options) -> Verdict:
    """Object with fasttext.score."""
    return first_reason(options.kind, {"score": below("fasttext_score", options.min_score)})
