"""Prevalence: which share of a collection machines wrote, and how sure that is.

Counting labels is no answer: a classifier's errors add up. Three estimators correct them.
- Adjusted classify and count (Forman, DMKD 2008): (called synthetic - false-positive rate) ÷ (true-positive rate -
  false-positive rate), with the rates of held-out texts.
- EMQ (Saerens, Latinne and Decaestecker, Neural Computation 2002): the share under which the probabilities, adjusted
  to that share, average to it. Probabilities are those of a score's bin on held-out texts.
- With a sample that people labelled, the difference estimator (Särndal, Swensson and Wretman 1992): the model's mean
  over all, plus the mean of what it missed in the sample. It is unbiased whatever the model; it takes precedence.
The first two hold where the collection is like the model's held-out texts; texts of the collection that are known to
be human (dated before machines wrote) take the place of those as far as there are some.
Pure and deterministic: the bootstrap draws from a fixed seed.
"""

import numpy as np
import numpy.typing as npt
import polars as pl
from pydantic import Field

from cuvee.schemas.base import Frozen
from cuvee.schemas.errors import RecipeError
from cuvee.tasks.provenance.kernel import Floats
from cuvee.tasks.provenance.model import BINS, binned
from cuvee.tasks.provenance.protocol import ProvenanceModel

RESAMPLES = 400
# Fewer documents say nothing of a share.
FEWEST_DOCUMENTS = 20
# Kolmogorov's distance between the observed scores and the best mixture of held-out ones, beyond the 1.63/√n that
# chance explains at 1%. Mixtures of held-out documents stay under .05; human text of other kinds reached .09 (rates
# right), .21 (two points too high) and .39 (ten points too high).
MOST_DISTANCE = 0.15
_CRITICAL = 1.63
# Counted from log-odds of 2 on (a probability of .88): from even odds on, human texts of one kind and another are
# called synthetic at rates too different for one correction (at a true share of 0, 58% of the intervals held it).
CALLED = BINS // 2 + 2
# Held-out human texts weigh as much as this many of the source's own.
_PRIOR_TEXTS = 50
_EMQ_ROUNDS = 200
_SEED = 2002


class Estimate(Frozen):
    """A share with its 95% interval."""

    share: float = Field(ge=0, le=1)
    low: float = Field(ge=0, le=1)
    high: float = Field(ge=0, le=1)


class Prevalence(Frozen):
    """The machine-written share of a collection's documents.

    documents: all; judged: those with a probability, which adjusted_count and emq speak of; known_human: of them,
    those known to be human. audited: from people's labels, over all documents. best: the one to use, named by method.
    distance: how far the scores are from any mixture of held-out ones; warning: why the estimate may not hold.
    """

    documents: int
    judged: int
    known_human: int
    adjusted_count: Estimate | None
    emq: Estimate | None
    audited: Estimate | None
    audit_sample: int
    best: Estimate | None
    method: str
    distance: float | None
    warning: str | None


def prevalence(
    p_model: pl.Series,
    model: ProvenanceModel,
    known_human: pl.Series | None = None,
    label: pl.Series | None = None,
) -> Prevalence:
    """Estimate the share of synthetic documents among all.

    p_model: each document's probability from its text alone, null where there is none. known_human: Boolean, true
    where something else than the text proves it human. label: "human" | "synthetic" where a person decided, else
    null; the labelled documents must be a random sample of all.
    Raises RecipeError for another label.
    """
    p = p_model.cast(pl.Float64).fill_nan(None)
    known = known_human if known_human is not None else pl.repeat(False, len(p), eager=True)
    audited, sample = difference(p, label) if label is not None else (None, 0)
    return estimated(len(p), *bins_of(p, known), model, audited, sample)


def bins_of(p: pl.Series, known_human: pl.Series) -> tuple[Floats, Floats]:
    """Count probabilities, null where there is none, by bin: of documents known to be human, and of the others."""
    known, judged = known_human.fill_null(value=False), p.is_not_null()
    return binned(p.filter(judged & known).to_numpy()), binned(p.filter(judged & ~known).to_numpy())


def estimated(
    documents: int,
    anchors: Floats,
    observed: Floats,
    model: ProvenanceModel,
    audited: Estimate | None = None,
    sample: int = 0,
) -> Prevalence:
    """Estimate the share from counts by bin, of texts known to be human and of others; audited, sample: of labels."""
    counted = emq_share = None
    distance = None
    judged = int(anchors.sum() + observed.sum())
    if judged >= FEWEST_DOCUMENTS:
        counted, emq_share, distance = _modelled(observed, anchors, model)
    best = audited or emq_share
    return Prevalence(
        documents=documents,
        judged=judged,
        known_human=int(anchors.sum()),
        adjusted_count=counted,
        emq=emq_share,
        audited=audited,
        audit_sample=sample,
        best=best,
        method="difference" if audited else "emq" if best else "none",
        distance=distance,
        warning=_warning(distance, int(observed.sum()), counted, emq_share),
    )


def adjusted_count(observed: Floats, human: Floats, synthetic: Floats) -> float:
    """Return the adjusted share of observations from the bin CALLED on; human, synthetic: held-out counts."""
    called, false, true = (float(counts[CALLED:].sum() / counts.sum()) for counts in (observed, human, synthetic))
    return min(1.0, max(0.0, (called - false) / (true - false))) if true > false else 0.0


def emq(observed: Floats, human: Floats, synthetic: Floats) -> float:
    """Return the share that maximises the likelihood of the observed bins; human, synthetic: held-out counts."""
    of_human, of_synthetic = human / human.sum(), synthetic / synthetic.sum()
    share, total = 0.5, observed.sum()
    for _ in range(_EMQ_ROUNDS):
        joint = share * of_synthetic
        posterior = joint / (joint + (1 - share) * of_human)
        following = float((observed * posterior).sum() / total)
        if abs(following - share) < 1e-7:
            break
        share = following
    return share


def difference(p_model: pl.Series, label: pl.Series) -> tuple[Estimate | None, int]:
    """Return the difference estimate of the synthetic share over all documents, and the size of the sample.

    p_model: null counts as one half. label: "human" | "synthetic" for a random sample, else null. None under two
    labels. The interval is normal, for a sample without replacement; where no residual differs, the rule of three.
    """
    wrong = label.drop_nulls().filter(~label.drop_nulls().is_in(["human", "synthetic"]))
    if len(wrong):
        raise RecipeError(f"the audit label {wrong[0]!r} is unknown; use human or synthetic")
    guess = p_model.fill_null(0.5).to_numpy()
    drawn = label.is_not_null().to_numpy()
    size, everything = int(drawn.sum()), len(label)
    if size < 2:
        return None, size
    missed = (label.filter(label.is_not_null()) == "synthetic").to_numpy() - guess[drawn]
    share = float(guess.mean() + missed.mean())
    error = float(missed.std(ddof=1)) / size**0.5 * (1 - size / everything) ** 0.5
    half = 1.959964 * error if error else 3 / size * (size < everything)
    return _estimate(share, share - half, share + half), size


def _modelled(observed: Floats, anchors: Floats, model: ProvenanceModel) -> tuple[Estimate, Estimate, float | None]:
    """Return both estimates over observed and known-human documents together, and the distance of the fit."""
    held_human, held_synthetic = model.bins()
    random = np.random.default_rng(_SEED)
    part = float(observed.sum() / (observed.sum() + anchors.sum()))
    if not observed.sum():
        return _estimate(0.0, 0.0, 0.0), _estimate(0.0, 0.0, 0.0), None
    human, synthetic = _human(held_human, anchors), held_synthetic + 0.5 / BINS
    shares = [part * estimator(observed, human, synthetic) for estimator in (adjusted_count, emq)]
    draws = np.zeros((RESAMPLES, 2))
    for draw in draws:
        again = _again(random, observed)
        human_again = _human(_again(random, held_human), _again(random, anchors))
        synthetic_again = _again(random, held_synthetic) + 0.5 / BINS
        draw[:] = [part * estimator(again, human_again, synthetic_again) for estimator in (adjusted_count, emq)]
    low, high = np.quantile(draws, [0.025, 0.975], axis=0)
    fitted = shares[1] / part * synthetic / synthetic.sum() + (1 - shares[1] / part) * human / human.sum()
    distance = float(np.abs(np.cumsum(fitted - observed / observed.sum())).max())
    counted, emq_share = (_estimate(share, low[i], high[i]) for i, share in enumerate(shares))
    return counted, emq_share, round(distance, 6)


def _human(held_out: Floats, anchors: Floats) -> Floats:
    """Return how human texts score here: as the source's own do, and as the held-out ones do where those are few."""
    prior = held_out / held_out.sum()
    return anchors + _PRIOR_TEXTS * prior + 0.5 / BINS if anchors.sum() else held_out + 0.5 / BINS


def _again(random: np.random.Generator, counts: Floats) -> Floats:
    size = int(counts.sum())
    return random.multinomial(size, counts / size).astype(np.float64) if size else counts


def _warning(
    distance: float | None, documents: int, counted: Estimate | None, emq_share: Estimate | None
) -> str | None:
    if distance is None or counted is None or emq_share is None:
        return None
    if distance > MOST_DISTANCE + _CRITICAL / documents**0.5:
        return (
            "its scores are like no mixture of the texts that the model was calibrated on: the share may be far off; "
            "have people label a random sample"
        )
    if counted.low > emq_share.high or emq_share.low > counted.high:
        return "the two estimators contradict each other: have people label a random sample"
    return None


def _estimate(share: float, low: float, high: float) -> Estimate:
    bounded: npt.NDArray[np.float64] = np.round(np.clip([share, low, high], 0.0, 1.0), 6)
    return Estimate(share=float(bounded[0]), low=float(bounded[1]), high=float(bounded[2]))
