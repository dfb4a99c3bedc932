"""Model: the calibrated probability that a text was written by a machine, and the thresholds that go with it.

A model is a folder: `words.npy` (uint32 hashes, ascending), `word_weights.npy`, `pair_weights.npy` (float16) and
`calibration.json`, the `Calibration` below. `CARD.md` beside them is for people and is not part of the model.
"""

import hashlib
import math
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl
from pydantic import Field, ValidationError

from cuvee.schemas.base import Frozen
from cuvee.schemas.errors import RecipeError
from cuvee.tasks.provenance import layout
from cuvee.tasks.provenance.kernel import Weights

Floats = npt.NDArray[np.float64]

BUILTIN = Path(__file__).parent / "builtin"
FORMAT = 1
CALIBRATION_FILE = "calibration.json"
WEIGHT_FILES = ("words.npy", "word_weights.npy", "pair_weights.npy")

# False-positive rates a threshold is stored for; a target between two of them gets the stricter.
RATES = (0.001, 0.002, 0.003, 0.004, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.05, 0.1, 0.2, 0.3, 0.5)


class DomainTable(Frozen):
    """Score quantiles of one label's held-out texts in one domain."""

    domain: str
    texts: int = Field(ge=1, description="held-out texts of 80 words or more")
    cutoffs: tuple[float, ...] = Field(
        description="for each of RATES, the probability that at most this share of the texts passes; "
        "human: passes upwards, synthetic: downwards; beyond 0..1 when there are too few texts to tell"
    )


class Calibration(Frozen):
    """What turns mean weights into probabilities, and says how far to trust them."""

    format: int
    layout: int
    name: str
    languages: tuple[str, ...]
    slope: float = Field(gt=0, description="Platt slope on the mean weight")
    intercept: float
    min_known: float = Field(ge=0, le=1, description="share of alphabetic words in the vocabulary, below: no evidence")
    min_texts: int = Field(ge=1, description="texts a domain needs to bind a threshold")
    human: tuple[DomainTable, ...]
    synthetic: tuple[DomainTable, ...]
    base_rate: float = Field(gt=0, lt=1, description="share of synthetic texts behind slope and intercept")
    training_sha256: str = Field(description="hash over the training texts, labels, groups and domains")
    training_step: int


class Model:
    """A loaded model. Stateless after loading: safe to share between threads."""

    def __init__(self, weights: Weights, calibration: Calibration, sha256: str) -> None:
        """Take the parts of a model; `load` reads them from a folder."""
        self.weights = weights
        self.calibration = calibration
        self.sha256 = sha256

    @property
    def name(self) -> str:
        """The name given at training."""
        return self.calibration.name

    @property
    def version(self) -> str:
        """The first 12 hex digits of `sha256`: a model trained again on the same texts has the same version."""
        return self.sha256[:12]

    @property
    def languages(self) -> tuple[str, ...]:
        """ISO 639-1 codes of the languages it was trained on; it says nothing about others."""
        return self.calibration.languages

    def score(self, text: pl.Series, language: pl.Series | None = None) -> Floats:
        """Return P(synthetic) of each text, rounded to 6 decimals, at the share of synthetic texts in training.

        NaN, no evidence: null, under 80 words, a language outside `languages` (null is outside; no column means
        every text is inside), or too few words the model knows. Never raises for a text.
        """
        if not len(text):
            return np.zeros(0)
        weight, known = self.weights.weigh(text)
        probability = probabilities(weight, self.calibration.slope, self.calibration.intercept)
        words = text.to_frame("text").select(layout.word_count(pl.col("text").fill_null("")))["text"].to_numpy()
        silent = (words < layout.MIN_WORDS) | (known < self.calibration.min_known)
        if language is not None:
            silent |= ~language.is_in(list(self.languages)).fill_null(value=False).to_numpy()
        return np.where(silent, np.nan, probability)

    def threshold(self, max_false_positive_rate: float = 0.005) -> float:
        """Return the smallest stored probability that at most this share of held-out human texts reaches, everywhere.

        The bound holds on the worst calibration domain with `calibration.min_texts` texts or more. Raises
        RecipeError for a rate that is not in (0, 1) or that some such domain has too few texts to support.
        """
        key = "provenance.max_false_positive_rate"
        cutoff = max(self._cutoffs(self.calibration.human, max_false_positive_rate, key), default=math.inf)
        if cutoff > 1:
            finest = [rate for rate in RATES if max(self._cutoffs(self.calibration.human, rate, key), default=2) <= 1]
            advice = f"give at least {finest[0]}" if finest else "train it on more human texts"
            raise RecipeError(f"{key}: the model {self.name} cannot support {max_false_positive_rate}; {advice}")
        return cutoff

    def human_threshold(self, max_miss_rate: float = 0.01) -> float:
        """Return the probability at or below which a text of unknown origin counts as human; at most 0.5.

        At most this share of held-out synthetic texts lies there, on the worst domain with enough texts. Negative,
        so that nothing counts as human, when the tables cannot support the rate.
        """
        cutoffs = self._cutoffs(self.calibration.synthetic, max_miss_rate, "provenance.max_miss_rate")
        return min(0.5, min(cutoffs, default=-1.0))

    def _cutoffs(self, tables: tuple[DomainTable, ...], rate: float, key: str) -> list[float]:
        if not 0 < rate < 1:
            raise RecipeError(f"{key}: {rate} is not a rate; give a number above 0 and below 1")
        stored = sum(known <= rate for known in RATES)
        return [t.cutoffs[stored - 1] for t in tables if stored and t.texts >= self.calibration.min_texts]


def probabilities(weight: Floats, slope: float, intercept: float) -> Floats:
    """Return the logistic of slope · weight + intercept, rounded to 6 decimals."""
    return np.round(1.0 / (1.0 + np.exp(-np.clip(slope * weight + intercept, -50.0, 50.0))), 6)


def load(where: str = "builtin") -> Model:
    """Load the built-in model ("builtin") or the one in a folder.

    Raises RecipeError when a file is missing, cannot be read, or was written by another layout or format.
    """
    folder = BUILTIN if where == "builtin" else Path(where)
    problem = f"provenance.model: {where} cannot be used"
    try:
        contents = {name: (folder / name).read_bytes() for name in (*WEIGHT_FILES, CALIBRATION_FILE)}
        calibration = Calibration.model_validate_json(contents[CALIBRATION_FILE])
        hashes, words, pairs = (np.load(BytesIO(contents[name]), allow_pickle=False) for name in WEIGHT_FILES)
    except OSError as error:
        raise RecipeError(f"{problem}: {error}; train one with cuvee provenance train") from error
    except (ValidationError, ValueError, EOFError) as error:
        raise RecipeError(f"{problem}, its files are damaged: {error}; train it again") from error
    if (calibration.format, calibration.layout) != (FORMAT, layout.VERSION):
        raise RecipeError(
            f"{problem}: format {calibration.format}, layout {calibration.layout}, where this cuvee reads "
            f"{FORMAT} and {layout.VERSION}; train it again"
        )
    if hashes.dtype != np.uint32 or hashes.shape != words.shape or pairs.ndim != 1 or not pairs.size:
        raise RecipeError(f"{problem}: its weights do not belong together; train it again")
    weights = Weights(hashes, words.astype(np.float32), pairs.astype(np.float32))
    return Model(weights, calibration, content_hash(contents))


def content_hash(contents: Mapping[str, bytes]) -> str:
    """Return the SHA-256 over the names and hashes of a model's files, in name order."""
    lines = "".join(f"{name} {hashlib.sha256(contents[name]).hexdigest()}\n" for name in sorted(contents))
    return hashlib.sha256(lines.encode()).hexdigest()


def save(weights: Weights, calibration: Calibration, folder: Path) -> str:
    """Write a model's files into a folder, made if needed, and return their content hash."""
    folder.mkdir(parents=True, exist_ok=True)
    stored = (weights.words.astype(np.float16), weights.pairs.astype(np.float16))
    arrays: tuple[npt.NDArray[np.generic], ...] = (weights.hashes, *stored)
    contents = {CALIBRATION_FILE: (calibration.model_dump_json(indent=1) + "\n").encode()}
    for name, array in zip(WEIGHT_FILES, arrays, strict=True):
        stream = BytesIO()
        np.save(stream, array, allow_pickle=False)
        contents[name] = stream.getvalue()
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return content_hash(contents)
