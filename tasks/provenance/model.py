"""Model: the calibrated probability that a text was written by a machine, and the thresholds that go with it.

A model is a folder: `words.npy` (uint32 hashes, ascending), `word_weights.npy`, `pair_weights.npy` (float16) and
`calibration.json`, the `Calibration` below. `CARD.md` beside them is for people and is not part of the model.
"""

import hashlib
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl
from pydantic import Field, ValidationError

from cuvee.schemas.base import Frozen
from cuvee.schemas.errors import RecipeError
from cuvee.tasks.provenance import layout
from cuvee.tasks.provenance.kernel import Floats, Hashes, Singles, Tokens, fill, weigh_all
from cuvee.tasks.provenance.tokens import classes
from cuvee.tasks.words.counts import count_words
from cuvee.tasks.words.kernel import text_buffers

BUILTIN = Path(__file__).parent / "builtin"
FORMAT = 2
CALIBRATION_FILE = "calibration.json"
WEIGHT_FILES = ("words.npy", "word_weights.npy", "pair_weights.npy")

# How a recipe names a model of the store, such as essays@v0002.
_REF = re.compile(r"[a-z0-9][a-z0-9_-]*@v\d{4,}")

# False-positive rates a threshold is stored for; a target between two of them gets the stricter.
RATES = (0.001, 0.002, 0.003, 0.004, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.05, 0.1, 0.2, 0.3, 0.5)


# Text of a kind that no training text is of may be called synthetic at twice the rate. Thresholds from known kinds
# alone let up to 7 times the rate through on kinds that were left out; this costs a tenth of what is found.
STRANGE = 2

# The table over all domains together.
EVERYWHERE = "(all)"

_RATE = "provenance.max_false_positive_rate"

# Scores are counted by their log-odds, a bin for each unit from -14 to 14: six decimals reach no further.
BINS = 28


class Weighed(NamedTuple):
    """What a pass over texts tells of each: its weight, and the share of known words among those with a letter."""

    weight: Floats
    known: Floats


@dataclass(frozen=True)
class Weights:
    """One weight for each word of a vocabulary (ascending hashes) and each bucket of pairs; positive: synthetic."""

    hashes: Hashes
    words: Singles
    pairs: Singles

    @cached_property
    def table(self) -> Tokens:
        """The places of the vocabulary's hashes; see `places`."""
        return places(self.hashes)

    @cached_property
    def joined(self) -> Singles:
        """The weights of all terms, by term number."""
        return np.concatenate([self.words, self.pairs])

    def weigh(self, text: pl.Series) -> Weighed:
        """Return weight and known words of each text, in order; null counts as empty. Releases the GIL."""
        weight, known = np.zeros(len(text)), np.zeros(len(text))
        if len(text):
            characters, offsets = text_buffers(text)
            kinds, terms = classes(), (self.table, self.hashes, self.joined)
            weigh_all(offsets, characters, layout.MAX_CHARACTERS, kinds, *terms, weight, known)
        return Weighed(weight, known)


def places(hashes: Hashes) -> Tokens:
    """Return an open-addressing table, at most half full: slot → index into `hashes`, -1 where empty."""
    size = 2 << int(np.ceil(np.log2(max(2, hashes.size))))
    return fill(hashes, np.full(size, -1, np.int64))


class DomainTable(Frozen):
    """Score quantiles of one label's held-out texts in one domain."""

    domain: str
    texts: int = Field(ge=1, description="held-out texts of 80 words or more")
    cutoffs: tuple[float, ...] = Field(
        description="for each of RATES, the probability that at most this share of the texts passes; "
        "human: passes upwards, synthetic: downwards; beyond 0..1 when there are too few texts to tell"
    )


class Calibration(Frozen):
    """What turns weights into probabilities, and says how far to trust them."""

    format: int
    layout: int
    name: str
    languages: tuple[str, ...]
    slope: float = Field(gt=0, description="Platt slope on the weight")
    intercept: float
    min_known: float = Field(ge=0, le=1, description="share of alphabetic words in the vocabulary, below: no evidence")
    min_texts: int = Field(ge=1, description="texts a domain needs to bind a threshold")
    human: tuple[DomainTable, ...]
    strangers: tuple[DomainTable, ...] = Field(description="human texts, by a model that knows none of their domain")
    synthetic: tuple[DomainTable, ...]
    human_bins: tuple[int, ...] = Field(
        min_length=BINS, max_length=BINS, description="held-out human texts by log-odds"
    )
    synthetic_bins: tuple[int, ...] = Field(min_length=BINS, max_length=BINS, description="held-out synthetic ones")
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
        weighed = self.weights.weigh(text)
        probability = probabilities(weighed.weight, self.calibration.slope, self.calibration.intercept)
        words = count_words(text.cast(pl.String).fill_null("")).to_numpy()
        silent = (words < layout.MIN_WORDS) | (weighed.known < self.calibration.min_known)
        if language is not None:
            silent |= ~language.is_in(list(self.languages)).fill_null(value=False).to_numpy()
        return np.where(silent, np.nan, probability)

    def threshold(self, max_false_positive_rate: float = 0.005) -> float:
        """Return the smallest stored probability that at most this share of held-out human texts reaches.

        The bound holds on all of them and on the worst domain with `calibration.min_texts` or more; and on no such
        domain does a model that never saw it pass STRANGE times the share. Raises RecipeError for a rate that is not
        in (0, 1) or that there are too few texts to support.
        """
        cutoff = self._threshold(max_false_positive_rate)
        if cutoff > 1:
            finest = self.finest_rate()
            advice = f"give at least {finest}" if finest else "train it on more human texts"
            raise RecipeError(f"{_RATE}: the model {self.name} cannot support {max_false_positive_rate}; {advice}")
        return cutoff

    def finest_rate(self) -> float | None:
        """Return the smallest of RATES that its held-out human texts are enough for; None: for none."""
        return next((rate for rate in RATES if self._threshold(rate) <= 1), None)

    def _threshold(self, rate: float) -> float:
        own = self._cutoffs(self.calibration.human, rate)
        strange = self._cutoffs(self.calibration.strangers, min(STRANGE * rate, RATES[-1]))
        return max([*own, *strange], default=math.inf)

    def human_threshold(self, max_miss_rate: float = 0.01) -> float:
        """Return the probability at or below which a text of unknown origin counts as human; at most 0.5.

        At most this share of held-out synthetic texts lies there, on the worst domain with enough texts. Negative,
        so that nothing counts as human, when the tables cannot support the rate.
        """
        cutoffs = self._cutoffs(self.calibration.synthetic, max_miss_rate)
        return min(0.5, min(cutoffs, default=-1.0))

    def bins(self) -> tuple[Floats, Floats]:
        """Return how many held-out human and synthetic texts fell into each bin of `binned`."""
        return np.array(self.calibration.human_bins, float), np.array(self.calibration.synthetic_bins, float)

    def _cutoffs(self, tables: tuple[DomainTable, ...], rate: float) -> list[float]:
        if not 0 < rate < 1:
            raise RecipeError(f"{_RATE}: {rate} is not a rate; give a number above 0 and below 1")
        stored = sum(known <= rate for known in RATES)
        binding = (t for t in tables if t.texts >= self.calibration.min_texts or t.domain == EVERYWHERE)
        return [table.cutoffs[stored - 1] for table in binding if stored]


def probabilities(weight: Floats, slope: float, intercept: float) -> Floats:
    """Return the logistic of slope · weight + intercept, rounded to 6 decimals."""
    return np.round(1.0 / (1.0 + np.exp(-np.clip(slope * weight + intercept, -50.0, 50.0))), 6)


def binned(p: Floats) -> Floats:
    """Count probabilities by the unit of their log-odds: BINS counts, 0.5 is the first of the upper half."""
    inside = np.clip(p, 1e-6, 1 - 1e-6)
    place = np.clip(np.floor(np.log(inside / (1 - inside)) + 1e-9).astype(np.int64) + BINS // 2, 0, BINS - 1)
    return np.bincount(place, minlength=BINS).astype(np.float64)


def is_ref(where: str) -> bool:
    """Tell whether a recipe's model names one of the store, as `name@v0001` does."""
    return _REF.fullmatch(where) is not None


def load(where: str = "builtin") -> Model:
    """Load the built-in model ("builtin") or the one in a folder; `store.load_named` loads one from a store.

    Raises RecipeError when a file is missing, cannot be read, or was written by another layout or format.
    """
    return _builtin() if where == "builtin" else _of_folder(Path(where), where)


@cache
def _builtin() -> Model:
    # Reading it takes 6 ms, and deciding on a small corpus asks for it a dozen times.
    return _of_folder(BUILTIN, "builtin")


def _of_folder(folder: Path, where: str) -> Model:
    try:
        contents = {name: (folder / name).read_bytes() for name in (*WEIGHT_FILES, CALIBRATION_FILE)}
    except OSError as error:
        raise RecipeError(
            f"provenance.model: {where} cannot be used: {error}; train one with cuvee provenance train"
        ) from error
    return assemble(contents, where)


def assemble(contents: Mapping[str, bytes], where: str) -> Model:
    """Make a model of its files' bytes; where: what to call it in errors. Raises RecipeError as `load` does."""
    problem = f"provenance.model: {where} cannot be used"
    try:
        calibration = Calibration.model_validate_json(contents[CALIBRATION_FILE])
        hashes, words, pairs = (np.load(BytesIO(contents[name]), allow_pickle=False) for name in WEIGHT_FILES)
    except (ValidationError, ValueError, EOFError, MemoryError) as error:
        raise RecipeError(
            f"{problem}: its files are damaged, or another cuvee wrote them: {error}; train it again"
        ) from error
    if (calibration.format, calibration.layout) != (FORMAT, layout.VERSION):
        raise RecipeError(
            f"{problem}: format {calibration.format}, layout {calibration.layout}, where this cuvee reads "
            f"{FORMAT} and {layout.VERSION}; train it again"
        )
    if hashes.dtype != np.uint32 or hashes.shape != words.shape or pairs.ndim != 1 or not pairs.size:
        raise RecipeError(f"{problem}: its weights do not belong together; train it again")
    weights = Weights(hashes, words.astype(np.float32), pairs.astype(np.float32))
    return Model(
        weights, calibration, content_hash({name: contents[name] for name in (*WEIGHT_FILES, CALIBRATION_FILE)})
    )


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
