"""Train: fit and calibrate a provenance model. The same texts give the same files, in any row order.

A training frame has columns text, label ("human" | "synthetic"), and where known: group (the source document: its
texts stay on one side of each split), domain, generator, generator_kind ("base_lm" rows are left out: they are
continuations, and learning them costs more elsewhere than it gains), slice (rows whose slice ends in "valid" are
left out: they are for `evaluate`), attack, source_repo, source_path, source_commit, license.
"""

import hashlib
from collections.abc import Callable
from pathlib import Path

import polars as pl

from cuvee.schemas.base import Frozen
from cuvee.schemas.errors import RecipeError
from cuvee.tasks.provenance import layout
from cuvee.tasks.provenance.calibrate import calibrate, platt
from cuvee.tasks.provenance.fit import TrainingOptions, fit
from cuvee.tasks.provenance.model import Weights, probabilities, save
from cuvee.tasks.words.counts import count_words

DEFAULTS = TrainingOptions()

# Progress(step, share of the whole work done)
Progress = Callable[[str, float], None]

_COLUMNS = {
    "domain": "all",
    "generator": "unnamed",
    "generator_kind": "",
    "slice": "",
    "attack": "none",
    "source_repo": "unnamed",
    "source_commit": "",
    "license": "unknown",
}


class Source(Frozen):
    """Where training texts came from."""

    repository: str
    commit: str
    license: str
    human: int
    synthetic: int


class TrainingReport(Frozen):
    """What was trained on what. No times in it: the same texts give the same report."""

    sha256: str
    options: TrainingOptions
    human: int
    synthetic: int
    base_continuations_left_out: int
    kept_for_evaluation: int
    domains: dict[str, int]
    generators: int
    words: int
    sources: tuple[Source, ...]


def quiet(step: str, share: float) -> None:
    """Report nothing."""


def train(
    frame: pl.DataFrame, out: Path, options: TrainingOptions = DEFAULTS, progress: Progress = quiet
) -> TrainingReport:
    """Train a model on labelled texts, write it to the folder `out`, and say what was done.

    One thread, for reproducibility: about three seconds a round for 20,000 texts of 200 words; each fold takes as many
    rounds as the model, each large human domain one. The calibration is fitted on texts scored by a model that saw no
    text of their group, the thresholds on these and on human texts scored by a model that saw none of their domain.
    Raises RecipeError as `prepare` does, and when either label is missing from some split.
    """
    prepared = prepare(frame)
    chosen = prepared.filter(trainable())
    folds = fold_of(chosen["group"], options.folds)
    domains = _large(chosen, options)
    steps = options.folds + len(domains) + 1
    parts, strangers = [], []
    for fold in range(options.folds):
        progress(f"fold {fold + 1} of {options.folds}", fold / steps)
        parts.append(_weighed(fit(chosen.filter(folds != fold), options), chosen.filter(folds == fold)))
    for place, domain in enumerate(domains):
        progress(f"without {domain}", (options.folds + place) / steps)
        strangers.append(_strangers(chosen, folds, domain, options))
    progress("final model", (steps - 1) / steps)
    weights = fit(chosen, options)
    calibration = calibrate(pl.concat(parts), pl.concat(strangers) if strangers else None, chosen, options)
    sha256 = save(weights, calibration, out)
    progress("done", 1.0)
    return _report(prepared, options, sha256, weights)


def _large(chosen: pl.DataFrame, options: TrainingOptions) -> list[str]:
    """List the domains whose human texts are enough to bind a threshold, where both labels remain without each."""
    human = chosen.filter(pl.col("label") == "human", pl.col("words") >= layout.MIN_WORDS)
    counted = human.group_by("domain").len().filter(pl.col("len") >= options.min_texts)
    large = sorted(counted["domain"])
    return [name for name in large if chosen.filter(pl.col("domain") != name)["label"].n_unique() == 2]


def _strangers(chosen: pl.DataFrame, folds: pl.Series, domain: str, options: TrainingOptions) -> pl.DataFrame:
    """Return a domain's human texts with p, as given by a model that was fitted and calibrated without the domain."""
    others, known = chosen["domain"] != domain, folds != 0
    weights = fit(chosen.filter(others & known), options.model_copy(update={"rounds": 1}))
    held_out = _weighed(weights, chosen.filter(others & ~known))
    own = _weighed(weights, chosen.filter(~others & (chosen["label"] == "human")))
    calibration = platt(held_out["weight"].to_numpy(), (held_out["label"] == "synthetic").to_numpy())
    return own.with_columns(p=pl.Series(probabilities(own["weight"].to_numpy(), *calibration), dtype=pl.Float64))


def _weighed(weights: Weights, texts: pl.DataFrame) -> pl.DataFrame:
    texts = texts.filter(pl.col("words") >= layout.MIN_WORDS)
    return texts.with_columns(weight=pl.Series(weights.weigh(texts["text"]).weight, dtype=pl.Float64))


def trainable() -> pl.Expr:
    """Select the rows of a prepared frame a model is fitted to."""
    return ~pl.col("slice").str.ends_with("valid") & (pl.col("generator_kind") != "base_lm")


def prepare(frame: pl.DataFrame) -> pl.DataFrame:
    """Return a training frame's rows with all columns of the module docstring, words and digest, sorted by digest.

    A missing group is the source_path where that names a document, else the text itself. Raises RecipeError when
    text or label is missing, or a label is neither human nor synthetic.
    """
    missing = sorted({"text", "label"} - set(frame.columns))
    if missing:
        raise RecipeError(f"the training texts have no column {missing[0]}; they need text and label")
    wrong = frame.filter(~pl.col("label").is_in(["human", "synthetic"]).fill_null(value=False))
    if len(wrong):
        raise RecipeError(f"the training label {wrong['label'][0]!r} is unknown; use human or synthetic")
    frame = frame.filter(pl.col("text").is_not_null())
    frame = frame.with_columns(
        *(_filled(frame, name, default) for name, default in _COLUMNS.items()),
        digest=pl.Series([hashlib.sha256(text.encode()).hexdigest() for text in frame["text"]], dtype=pl.String),
        words=count_words(frame["text"]),
    )
    # A path shared by more than 200 texts is a collection, not a document.
    path = _filled(frame, "source_path", None).alias("_path")
    frame = frame.with_columns(_filled(frame, "group", None), path)
    frame = frame.with_columns(
        group=pl.coalesce("group", pl.when(pl.len().over("_path") <= 200).then("_path"), "digest")
    ).drop("_path")
    return frame.sort("digest", "label", "group", "domain")


def _filled(frame: pl.DataFrame, name: str, default: str | None) -> pl.Expr:
    column = pl.col(name).cast(pl.String) if name in frame.columns else pl.lit(None, pl.String)
    return column.fill_null(default).alias(name) if default is not None else column.alias(name)


def fold_of(group: pl.Series, folds: int) -> pl.Series:
    """Return the fold of each group, from its hash: whatever the order, a group has one fold."""
    numbers = [int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") % folds for name in group]
    return pl.Series("fold", numbers, dtype=pl.Int64)


def _report(prepared: pl.DataFrame, options: TrainingOptions, sha256: str, weights: Weights) -> TrainingReport:
    chosen = prepared.filter(trainable())
    synthetic = pl.col("label") == "synthetic"
    sources = (
        chosen.group_by(repository="source_repo", commit="source_commit", license="license")
        .agg(human=(~synthetic).sum(), synthetic=synthetic.sum())
        .sort("repository", "commit", "license")
    )
    domains = chosen.group_by("domain").len().sort("domain")
    return TrainingReport(
        sha256=sha256,
        options=options,
        human=int((chosen["label"] == "human").sum()),
        synthetic=int((chosen["label"] == "synthetic").sum()),
        base_continuations_left_out=int((prepared["generator_kind"] == "base_lm").sum()),
        kept_for_evaluation=int(prepared["slice"].str.ends_with("valid").sum()),
        domains=dict(domains.iter_rows()),
        generators=chosen.filter(synthetic)["generator"].n_unique(),
        words=int(weights.hashes.size),
        sources=tuple(Source(**row) for row in sources.iter_rows(named=True)),
    )
