"""Calibrate: from weights of held-out texts to probabilities, and to the thresholds of false-positive rates."""

import hashlib
import math

import numpy as np
import numpy.typing as npt
import polars as pl

from cuvee.schemas.errors import RecipeError
from cuvee.tasks.provenance import layout
from cuvee.tasks.provenance.fit import TrainingOptions
from cuvee.tasks.provenance.kernel import Floats
from cuvee.tasks.provenance.model import EVERYWHERE, FORMAT, RATES, Calibration, DomainTable, binned, probabilities

# Changes whenever the same texts can give another model.
VERSION = 2

# Of the alphabetic words of an English text, 97% are in the built-in vocabulary, and 91% in all but one of 100; of a
# French sample 56%, of a Spanish one 47%, of German, Dutch, Italian and Indonesian ones less than 30%.
MIN_KNOWN = 0.7


def calibrate(
    scored: pl.DataFrame, strangers: pl.DataFrame | None, chosen: pl.DataFrame, options: TrainingOptions
) -> Calibration:
    """Return the calibration of a model.

    scored: texts of 80 words or more with label, domain and weight, as given by a model that saw no text of their
    group. strangers: human ones likewise, with p as given by a model that saw no text of their domain. chosen: all
    training texts.
    """
    slope, intercept = platt(scored["weight"].to_numpy(), (scored["label"] == "synthetic").to_numpy())
    scored = scored.with_columns(p=pl.Series(probabilities(scored["weight"].to_numpy(), slope, intercept)))
    digest = hashlib.sha256("".join(f"{a} {b} {c} {d}\n" for a, b, c, d in _identity(chosen)).encode())
    return Calibration(
        format=FORMAT,
        layout=layout.VERSION,
        name=options.name,
        languages=options.languages,
        slope=slope,
        intercept=intercept,
        min_known=MIN_KNOWN,
        min_texts=options.min_texts,
        human=_tables(scored, "human"),
        strangers=() if strangers is None else _tables(strangers, "human")[1:],
        synthetic=_tables(scored, "synthetic"),
        human_bins=_bins(scored, "human"),
        synthetic_bins=_bins(scored, "synthetic"),
        base_rate=0.5,
        training_sha256=digest.hexdigest(),
        training_step=VERSION,
    )


def _identity(chosen: pl.DataFrame) -> list[tuple[str, ...]]:
    return chosen.select("digest", "label", "group", "domain").rows()


def platt(weight: Floats, synthetic: npt.NDArray[np.bool_]) -> tuple[float, float]:
    """Fit P(synthetic) = logistic(slope · weight + intercept) by Newton's method; return both, 6 decimals.

    Both labels weigh the same in all, so that the probability supposes a share of one half, however many texts of
    each there are. Targets are smoothed as Platt (1999) does, so that texts that separate perfectly still get a
    finite slope.
    """
    positives, negatives = int(synthetic.sum()), int((~synthetic).sum())
    target = np.where(synthetic, (positives + 1) / (positives + 2), 1 / (negatives + 2))
    share = np.where(synthetic, 0.5 / max(positives, 1), 0.5 / max(negatives, 1)) * synthetic.size
    design = np.column_stack([weight, np.ones_like(weight)])
    solution = np.zeros(2)
    for _ in range(50):
        probability = 1.0 / (1.0 + np.exp(-np.clip(design @ solution, -50, 50)))
        curvature = design.T @ (design * (share * probability * (1 - probability))[:, None]) + 1e-9 * np.eye(2)
        step = np.linalg.solve(curvature, design.T @ (share * (target - probability)))
        solution = solution + step
        if np.abs(step).max() < 1e-9:
            break
    if solution[0] <= 0:
        raise RecipeError("the model ranks held-out texts no better than chance; train it on more texts")
    return round(float(solution[0]), 6), round(float(solution[1]), 6)


def cutoff(ascending: Floats, rate: float) -> float:
    """Return what at most `rate` of further values like these reach; infinite where these are too few to tell.

    It leaves floor(rate · (n + 1)) - 1 of the n on its far side (split conformal prediction; Vovk et al.,
    arXiv 1209.2673).
    """
    above = int(rate * (ascending.size + 1) + 1e-9) - 1
    return float(ascending[-1 - above]) + 1e-6 if above >= 0 else math.inf


def _tables(scored: pl.DataFrame, label: str) -> tuple[DomainTable, ...]:
    """Return the cutoffs of all, and of each domain by name; beyond 0..1 where there are too few texts for a rate."""
    tables = []
    texts = scored.filter(pl.col("label") == label)
    parts = {str(domain): part for (domain,), part in texts.group_by(["domain"])}
    everything = [(EVERYWHERE, texts)] if texts.height else []
    for domain, part in everything + sorted(parts.items(), key=lambda named: named[0]):
        p = part["p"].to_numpy()
        if label == "human":
            cutoffs = [min(2.0, cutoff(np.sort(p), rate)) for rate in RATES]
        else:
            cutoffs = [max(-1.0, -cutoff(np.sort(-p), rate)) for rate in RATES]
        tables.append(DomainTable(domain=domain, texts=p.size, cutoffs=tuple(np.round(cutoffs, 6).tolist())))
    return tuple(tables)


def _bins(scored: pl.DataFrame, label: str) -> tuple[int, ...]:
    return tuple(int(count) for count in binned(scored.filter(pl.col("label") == label)["p"].to_numpy()))
