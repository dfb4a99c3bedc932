"""Fit: a fastText classifier over words and word pairs, folded to one weight a word and a bucket.

fastText with one thread, seed 0 and the same lines is reproducible; with more threads it is not.
"""

import tempfile
from pathlib import Path

import fasttext
import numpy as np
import polars as pl
from pydantic import Field

from cuvee.schemas.base import Frozen
from cuvee.schemas.errors import RecipeError
from cuvee.tasks.provenance import layout
from cuvee.tasks.provenance.kernel import Weights, word_hash

_LABEL = "__label__"


class TrainingOptions(Frozen):
    """How a model is trained. The defaults made the built-in model."""

    name: str = Field("provenance", min_length=1, description="name the model goes by in manifests")
    languages: tuple[str, ...] = Field(("en",), min_length=1, description="ISO 639-1 codes of the training texts")
    seed: int = Field(0, ge=0, description="order of the training texts and choice of windows")
    folds: int = Field(5, ge=2, le=20, description="parts held out in turn for the calibration")
    epochs: int = Field(5, ge=1, le=100, description="passes over the texts")
    learning_rate: float = Field(0.5, gt=0, le=2, description="fastText's lr")
    dimensions: int = Field(4, ge=1, le=300, description="fastText's dim; folded away, so it costs no space")
    buckets: int = Field(524_288, ge=1_000, le=4_000_000, description="word-pair buckets; 2 bytes each in the model")
    min_count: int = Field(2, ge=1, description="occurrences a word needs to have a weight")
    shortest_window: int = Field(60, ge=1, description="each text is also seen as a random part of at least this many")
    longest_window: int = Field(200, ge=1, description="and of fewer than this many words and marks")
    min_texts: int = Field(500, ge=1, description="held-out texts a domain needs to bind a threshold")


def fit(texts: pl.DataFrame, options: TrainingOptions) -> Weights:
    """Train on columns text and label, in the given row order. Raises RecipeError when a label is missing."""
    if texts["label"].n_unique() != 2:
        raise RecipeError("training needs both human and synthetic texts, in several groups; add the missing kind")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "lines.txt"
        path.write_text("".join(_lines(texts, options)), encoding="utf-8")
        classifier = fasttext.train_supervised(
            str(path),
            dim=options.dimensions,
            epoch=options.epochs,
            lr=options.learning_rate,
            minCount=options.min_count,
            wordNgrams=2,
            bucket=options.buckets,
            loss="softmax",
            thread=1,
            seed=options.seed,
            verbose=0,
        )
    return _fold(classifier, options.buckets)


def _lines(texts: pl.DataFrame, options: TrainingOptions) -> list[str]:
    """Return shuffled training lines: each text whole, and, where it is long enough, a random part of it.

    Parts teach that 100 words are as good as 1,000; without them 0.9% of whole human
    documents passed the threshold that 0.5% pass with them (one training each).
    """
    random = np.random.default_rng(options.seed)
    lines = []
    for text, label in zip(texts.select(layout.normalise(pl.col("text")))["text"], texts["label"], strict=True):
        tokens = text.split()
        lines.append(f"{_LABEL}{label} {' '.join(tokens)}\n")
        size = int(random.integers(options.shortest_window, max(options.longest_window, options.shortest_window + 1)))
        if len(tokens) > size * 1.1:
            start = int(random.integers(0, len(tokens) - size))
            lines.append(f"{_LABEL}{label} {' '.join(tokens[start : start + size])}\n")
    return [lines[index] for index in random.permutation(len(lines))]


def _fold(classifier: "fasttext.FastText._FastText", buckets: int) -> Weights:
    """Return the weights whose mean is the classifier's log-odds; see `kernel`."""
    inputs, outputs = classifier.get_input_matrix(), classifier.get_output_matrix()
    labels = classifier.get_labels()
    direction = outputs[labels.index(f"{_LABEL}synthetic")] - outputs[labels.index(f"{_LABEL}human")]
    weights = (inputs.astype(np.float64) @ direction.astype(np.float64)).astype(np.float16).astype(np.float32)
    hashes = np.array([word_hash(word) for word in classifier.get_words()], np.uint32)
    # Two words of one hash, about one pair in a vocabulary of 100,000, share the weight of the more frequent.
    unique, first = np.unique(hashes, return_index=True)
    return Weights(unique, weights[: hashes.size][first], weights[hashes.size :])
