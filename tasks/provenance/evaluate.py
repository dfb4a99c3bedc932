"""Evaluate: how well a model does on labelled texts it has not seen, and the card that says so.

Figures are over texts of 80 words or more on which the model speaks. Base-model continuations are counted apart:
models are not trained on them.
"""

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import polars as pl

from cuvee.schemas.base import Frozen
from cuvee.schemas.errors import RecipeError
from cuvee.tasks.provenance import layout
from cuvee.tasks.provenance.kernel import Floats
from cuvee.tasks.provenance.model import Model
from cuvee.tasks.provenance.train import prepare

Booleans = npt.NDArray[np.bool_]

_LENGTHS = (layout.MIN_WORDS, 120, 200, 400)
_ECE_BINS = 15
DEFAULT_RATE = 0.005


class Rate(Frozen):
    """A share with its 95% interval (Wilson 1927), over `texts` texts."""

    group: str
    texts: int
    rate: float
    low: float
    high: float


class Evaluation(Frozen):
    """What a model did on an evaluation set."""

    model: str
    sha256: str
    base_rate: float
    human: int
    synthetic: int
    no_evidence: int
    auroc: float
    tpr_at_fpr_001: float
    tpr_at_fpr_0001: float
    ece: float
    max_false_positive_rate: float
    threshold: float
    human_threshold: float
    false_positives: tuple[Rate, ...]
    found_by_domain: tuple[Rate, ...]
    found_by_generator: tuple[Rate, ...]
    found_by_length: tuple[Rate, ...]
    found_by_attack: tuple[Rate, ...]
    called_human_by_domain: tuple[Rate, ...]
    auroc_by_length: dict[str, float]
    base_continuations: int
    base_auroc: float | None
    base_found: Rate | None


def evaluate(model: Model, frame: pl.DataFrame, max_false_positive_rate: float | None = None) -> Evaluation:
    """Score a labelled frame (columns as for training) and return the figures.

    Where the frame has a column slice with values ending in "valid", only those rows count: the rest was for
    training. max_false_positive_rate: None: .005, or the smallest that the model supports. Raises RecipeError when no
    human or no synthetic text is left, and for a model that supports no threshold.
    """
    if max_false_positive_rate is None:
        max_false_positive_rate = max(DEFAULT_RATE, model.finest_rate() or DEFAULT_RATE)
    texts = prepare(frame)
    held_out = texts.filter(pl.col("slice").str.ends_with("valid"))
    texts = held_out if len(held_out) else texts
    texts = texts.with_columns(p=pl.Series(model.score(texts["text"]), dtype=pl.Float64).fill_nan(None))
    heard = texts.filter(pl.col("p").is_not_null())
    base = heard.filter(pl.col("generator_kind") == "base_lm")
    heard = heard.filter(pl.col("generator_kind") != "base_lm")
    synthetic, p = (heard["label"] == "synthetic").to_numpy(), heard["p"].to_numpy()
    if not synthetic.any() or synthetic.all():
        raise RecipeError("an evaluation needs human and synthetic texts of 80 words or more; add the missing kind")
    threshold, human_threshold = model.threshold(max_false_positive_rate), model.human_threshold()
    humans = heard.filter(pl.col("label") == "human").with_columns(hit=pl.col("p") >= threshold)
    machines = heard.filter(pl.col("label") == "synthetic").with_columns(hit=pl.col("p") >= threshold)
    spans = {f"{low}–{high - 1}" if high else f"{low} or more": (low, high) for low, high in _spans()}
    length = pl.coalesce(
        pl.when(pl.col("words") < high if high else pl.lit(value=True)).then(pl.lit(name))
        for name, (_, high) in spans.items()
    )
    machines, heard = machines.with_columns(length=length), heard.with_columns(length=length)
    base_p = np.concatenate([p[~synthetic], base["p"].to_numpy()])
    return Evaluation(
        model=model.name,
        sha256=model.sha256,
        base_rate=model.calibration.base_rate,
        human=len(humans),
        synthetic=len(machines),
        no_evidence=int(texts["p"].null_count()),
        auroc=auroc(p, synthetic),
        tpr_at_fpr_001=true_positive_rate(p, synthetic, 0.01),
        tpr_at_fpr_0001=true_positive_rate(p, synthetic, 0.001),
        ece=calibration_error(p, synthetic),
        max_false_positive_rate=max_false_positive_rate,
        threshold=threshold,
        human_threshold=human_threshold,
        false_positives=rates(humans, "domain"),
        found_by_domain=rates(machines, "domain"),
        found_by_generator=rates(machines, "generator"),
        found_by_length=tuple(sorted(rates(machines, "length"), key=lambda rate: list(spans).index(rate.group))),
        found_by_attack=rates(machines, "attack"),
        called_human_by_domain=rates(machines.with_columns(hit=pl.col("p") <= human_threshold), "domain"),
        auroc_by_length={
            name: auroc(part["p"].to_numpy(), (part["label"] == "synthetic").to_numpy())
            for name in spans
            if (part := heard.filter(pl.col("length") == name))["label"].n_unique() == 2
        },
        base_continuations=len(base),
        base_auroc=auroc(base_p, np.arange(base_p.size) >= base_p.size - len(base)) if len(base) else None,
        base_found=next(iter(rates(base.with_columns(hit=pl.col("p") >= threshold), "generator_kind")), None),
    )


def auroc(p: Floats, synthetic: Booleans) -> float:
    """Return the chance that a synthetic text scores above a human one, ties counted half; 6 decimals."""
    ranks = pl.Series(p).rank("average").to_numpy()
    positives = int(synthetic.sum())
    above = ranks[synthetic].sum() - positives * (positives + 1) / 2
    return round(float(above / (positives * (p.size - positives))), 6)


def true_positive_rate(p: Floats, synthetic: Booleans, false_positive_rate: float) -> float:
    """Return the share of synthetic texts above the lowest cutoff that passes at most this share of human ones."""
    humans = np.sort(p[~synthetic])[::-1]
    cutoff = humans[min(int(false_positive_rate * humans.size), humans.size - 1)]
    return round(float((p[synthetic] > cutoff).mean()), 6)


def calibration_error(p: Floats, synthetic: Booleans) -> float:
    """Return the expected calibration error over 15 bins of equal width (Guo et al., arXiv 1706.04599); 6 decimals."""
    bins = np.minimum((p * _ECE_BINS).astype(np.int64), _ECE_BINS - 1)
    gaps = [abs(float(p[bins == b].sum() - synthetic[bins == b].sum())) for b in range(_ECE_BINS)]
    return round(sum(gaps) / p.size, 6)


def rates(texts: pl.DataFrame, by: str) -> tuple[Rate, ...]:
    """Return the share of rows with `hit`, for each value of a column, in value order."""
    counts = texts.group_by(by).agg(pl.len(), hits=pl.col("hit").sum()).sort(by)
    return tuple(_rate(str(group), texts, hits) for group, texts, hits in counts.iter_rows())


def _rate(group: str, texts: int, hits: int) -> Rate:
    z, share = 1.959964, hits / texts
    middle = (share + z * z / (2 * texts)) / (1 + z * z / texts)
    half = z * np.sqrt(share * (1 - share) / texts + z * z / (4 * texts * texts)) / (1 + z * z / texts)
    low, high = max(0.0, middle - half) if hits else 0.0, min(1.0, middle + half) if hits < texts else 1.0
    return Rate(group=group, texts=texts, rate=round(share, 6), low=round(float(low), 6), high=round(float(high), 6))


def _spans() -> Iterable[tuple[int, int]]:
    return zip(_LENGTHS, (*_LENGTHS[1:], 0), strict=True)
