"""Fit: a logistic regression over words and word pairs, by AdaGrad, in one thread and one order: the same bytes.

AdaGrad (Duchi, Hazan and Singer, JMLR 2011) gives rare terms larger steps. On held-out texts it separated better than
fastText over the same terms (AUROC .9965 against .9940, and .975 against .929 on average over domains left out of
training), with no other library.
"""

import numpy as np
import polars as pl
from pydantic import Field

from cuvee.schemas.base import Frozen
from cuvee.schemas.errors import RecipeError
from cuvee.tasks.provenance.kernel import HASH, Tokens, descend
from cuvee.tasks.provenance.model import Weights, places
from cuvee.tasks.provenance.tokens import tokenize


class TrainingOptions(Frozen):
    """How a model is trained. The defaults made the built-in model."""

    name: str = Field("provenance", min_length=1, description="name the model goes by in manifests")
    languages: tuple[str, ...] = Field(("en",), min_length=1, description="ISO 639-1 codes of the training texts")
    seed: int = Field(0, ge=0, description="order of the training texts and choice of windows")
    folds: int = Field(5, ge=2, le=20, description="parts held out in turn for the calibration")
    rounds: int = Field(3, ge=1, le=20, description="fits over other orders and windows, whose mean is the model")
    epochs: int = Field(5, ge=1, le=100, description="passes over the texts")
    learning_rate: float = Field(1.0, gt=0, le=10, description="AdaGrad's, falling to 0")
    buckets: int = Field(1_048_576, ge=1_000, le=8_000_000, description="word-pair buckets; 2 bytes each in the model")
    min_count: int = Field(2, ge=1, description="occurrences a word needs to have a weight")
    shortest_window: int = Field(60, ge=1, description="each text is also seen as a random part of at least this many")
    longest_window: int = Field(200, ge=1, description="and of fewer than this many words and marks")
    min_texts: int = Field(500, ge=1, description="held-out texts a domain needs to bind a threshold")


def fit(texts: pl.DataFrame, options: TrainingOptions) -> Weights:
    """Train on columns text and label, in the given row order.

    The mean of several fits errs less than any (AUROC .966 for .962 on a domain left out of training). Raises
    RecipeError when a label is missing.
    """
    if texts["label"].n_unique() != 2:
        raise RecipeError("training needs both human and synthetic texts, in several groups; add the missing kind")
    tokens, ends = tokenize(texts["text"])
    words, counts = np.unique((tokens & HASH).astype(np.uint32), return_counts=True)
    hashes = words[counts >= options.min_count]
    table, synthetic = places(hashes), (texts["label"] == "synthetic").to_numpy().astype(np.float64)
    mean = np.zeros(hashes.size + options.buckets)
    for seed in range(options.seed, options.seed + options.rounds):
        starts, stops, rows = _windows(ends, options, seed)
        weights = np.zeros(mean.size, np.float32)
        descend(tokens, starts, stops, synthetic[rows], table, hashes, weights, options.epochs, options.learning_rate)
        mean += weights / options.rounds
    # As they are stored: what is measured is what is kept.
    stored = mean.astype(np.float16).astype(np.float32)
    return Weights(hashes, stored[: hashes.size], stored[hashes.size :])


def _windows(ends: Tokens, options: TrainingOptions, seed: int) -> tuple[Tokens, Tokens, Tokens]:
    """Return first token, end and row of each training window, shuffled: texts whole, and a random part of long ones.

    Parts teach that 100 words are as good as 1,000.
    """
    random = np.random.default_rng(seed)
    windows = []
    for row in range(ends.size - 1):
        first, stop = int(ends[row]), int(ends[row + 1])
        windows.append((first, stop, row))
        size = int(random.integers(options.shortest_window, max(options.longest_window, options.shortest_window + 1)))
        if stop - first > size * 1.1:
            start = first + int(random.integers(0, stop - first - size))
            windows.append((start, start + size, row))
    shuffled = np.array(windows, np.int64).reshape(-1, 3)[random.permutation(len(windows))]
    return shuffled[:, 0].copy(), shuffled[:, 1].copy(), shuffled[:, 2].copy()
