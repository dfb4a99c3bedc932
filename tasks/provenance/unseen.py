"""Unseen: how well training carries over to domains and generators that were left out of it.

These are the figures to expect on a source unlike the training texts; those of `evaluate` are the figures at home.
"""

import numpy as np
import polars as pl

from cuvee.schemas.base import Frozen
from cuvee.tasks.provenance import layout
from cuvee.tasks.provenance.calibrate import cutoff
from cuvee.tasks.provenance.evaluate import Rate, auroc, rates
from cuvee.tasks.provenance.fit import TrainingOptions, fit
from cuvee.tasks.provenance.train import DEFAULTS, Progress, fold_of, prepare, quiet, trainable

_GENERATOR_PARTS = 5


class UnseenPart(Frozen):
    """One training without a domain, or a fifth of the generators, and what it made of them."""

    left_out: str
    auroc: float
    false_positives: Rate | None
    found: Rate | None


class Unseen(Frozen):
    """All such trainings, at the threshold that passes `rate` of the human texts of the worst domain left in."""

    rate: float
    domains: tuple[UnseenPart, ...]
    generators: tuple[UnseenPart, ...]


def unseen(
    frame: pl.DataFrame, options: TrainingOptions = DEFAULTS, rate: float = 0.005, progress: Progress = quiet
) -> Unseen:
    """Train once without each domain that has human texts, and once without each fifth of the generators.

    A further fifth of the groups is held out of each training, for the threshold and for the other class of the
    AUROC. One round each, where a model has several: a second of training for 5,000 texts, for each part.
    """
    options = options.model_copy(update={"rounds": 1})
    texts = prepare(frame).filter(trainable())
    texts = texts.with_columns(_held_out=fold_of(texts["group"], options.folds) == 0)
    domains = sorted(texts.filter(pl.col("label") == "human")["domain"].unique())
    texts = texts.with_columns(
        _part=pl.when(pl.col("label") == "synthetic").then(fold_of(texts["generator"], _GENERATOR_PARTS))
    )
    choices = [(name, pl.col("domain") == name) for name in domains] if len(domains) > 1 else []
    fifths = sorted(part for part in texts["_part"].unique() if part is not None)
    choices += [(f"generators, part {part + 1}", (pl.col("_part") == part).fill_null(value=False)) for part in fifths]
    parts = []
    for index, (name, away) in enumerate(choices):
        progress(f"without {name}", index / len(choices))
        parts.append(_leave_out(texts, name, away, options, rate))
    return Unseen(rate=rate, domains=tuple(parts[: -len(fifths)]), generators=tuple(parts[-len(fifths) :]))


def _leave_out(texts: pl.DataFrame, name: str, away: pl.Expr, options: TrainingOptions, rate: float) -> UnseenPart:
    weights = fit(texts.filter(~away, ~pl.col("_held_out")), options)
    judged = texts.filter(away | pl.col("_held_out"), pl.col("words") >= layout.MIN_WORDS)
    judged = judged.with_columns(weight=pl.Series(weights.weigh(judged["text"]).weight))
    human = pl.col("label") == "human"
    judged = judged.with_columns(hit=pl.col("weight") >= _threshold(judged.filter(~away, human), options, rate))
    left_out = judged.filter(away)
    # The class that the part lacks comes from what was held out of the rest.
    missing = [label for label in ("human", "synthetic") if label not in left_out["label"].unique()]
    pair = pl.concat([left_out, judged.filter(~away, pl.col("label").is_in(missing))])
    return UnseenPart(
        left_out=name,
        auroc=auroc(pair["weight"].to_numpy(), (pair["label"] == "synthetic").to_numpy()),
        false_positives=next(iter(rates(left_out.filter(human), "label")), None),
        found=next(iter(rates(left_out.filter(~human), "label")), None),
    )


def _threshold(humans: pl.DataFrame, options: TrainingOptions, rate: float) -> float:
    """Return the weight that at most `rate` of the human texts reach, of all and on the worst domain, as for a model.

    Only a fold of them is here, so a fold's part of `min_texts` binds, if it is enough for the rate.
    """
    fewest = max(options.min_texts / options.folds, 1 / rate)
    parts = [humans, *(part for _, part in humans.group_by("domain") if part.height >= fewest)]
    return max(cutoff(np.sort(part["weight"].to_numpy()), rate) for part in parts)
