"""Protocol: what decide, measure, guard and classify use of a provenance model, whatever it is made of."""

from typing import Protocol

import polars as pl

from cuvee.tasks.provenance.kernel import Floats


class ProvenanceModel(Protocol):
    """Tells how probably a machine wrote a text, and from which probability that counts. `Model` is the one we train.

    Stateless: safe to share between threads. The same text has the same score in every run, batch and process.
    """

    @property
    def name(self) -> str:
        """What people call it."""

    @property
    def version(self) -> str:
        """What tells two models of one name apart; for people."""

    @property
    def sha256(self) -> str:
        """Hash of all that decides a score, part of the key under which scores are kept."""

    @property
    def languages(self) -> tuple[str, ...]:
        """ISO 639-1 codes of the languages that it judges."""

    def score(self, text: pl.Series, language: pl.Series | None = None) -> Floats:
        """Return P(synthetic) of each text, 0 to 1, at most 6 decimals; NaN: no evidence. Never raises for a text.

        language: ISO 639-1 codes; null or none of `languages`: no evidence; no column: every text is in one of them.
        """

    def threshold(self, max_false_positive_rate: float = 0.005) -> float:
        """Return the score from which a text counts as synthetic, so that at most this share of human texts does.

        Raises RecipeError for a rate that is not in (0, 1), or that the model cannot support.
        """

    def human_threshold(self, max_miss_rate: float = 0.01) -> float:
        """Return the score up to which a text of unknown origin counts as human, at most 0.5; negative: none does."""

    def bins(self) -> tuple[Floats, Floats]:
        """Return how many human and synthetic texts that it was not trained on fell into each bin of
        `cuvee.tasks.provenance.model.binned`.
        """
