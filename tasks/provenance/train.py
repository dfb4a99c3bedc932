"""Train: fit and calibrate a provenance model. The same texts give the same files, in any row order.

A training frame has columns text, label ("human" | "synthetic"), and where known: group (the source document: its
texts stay on one side of each split), domain, generator, generator_kind ("base_lm" rows are left out: they are
continuations, and learning them costs more elsewhere than it gains), slice (rows whose slice ends in "valid" are
left out: they are for `evaluate`), attack, source_repo, source_path, source_commit, license.
"""

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from cuvee.schemas.base import Frozen
from cuvee.schemas.errors import RecipeError
from cuvee.tasks.provenance import layout
from cuvee.tasks.provenance.fit import TrainingOptions, fit
from cuvee.tasks.provenance.kernel import Weights
from cuvee.tasks.provenance.model import FORMAT, RATES, Calibration, DomainTable, Floats, probabilities, save

VERSION = 1
DEFAULTS = TrainingOptions()

# Of the alphabetic words of an English text, 97% are in the built-in vocabulary, and 91% in all but one of 100; of a
# French sample 56%, of a Spanish one 47%, of German, Dutch, Italian and Indonesian ones less than 30%.
MIN_KNOWN = 0.7

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

    One thread, for reproducibility: about ten seconds for 20,000 texts of 200 words, and as much for each fold. The
    calibration is fitted on texts scored by a model that saw no text of their group. Raises RecipeError as
    `prepare` does, and when either label is missing from some split.
    """
    prepared = prepare(frame)
    chosen = prepared.filter(trainable())
    folds = fold_of(chosen["group"], options.folds)
    parts = []
    for fold in range(options.folds):
        progress(f"fold {fold + 1} of {options.folds}", fold / (options.folds + 1))
        weights = fit(chosen.filter(folds != fold), options)
        held_out = chosen.filter((folds == fold) & (chosen["words"] >= layout.MIN_WORDS))
        parts.append(held_out.with_columns(weight=pl.Series(weights.weigh(held_out["text"])[0])))
    progress("final model", options.folds / (options.folds + 1))
    weights = fit(chosen, options)
    sha256 = save(weights, calibrate(pl.concat(parts), chosen, options), out)
    progress("done", 1.0)
    return _report(prepared, options, sha256, weights)


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
        words=layout.word_count(pl.col("text")),
    )
    if "group" not in frame.columns:
        # A path shared by more than 200 texts is a collection, not a document.
        path = _filled(frame, "source_path", None).alias("group")
        frame = frame.with_columns(path).with_columns(group=pl.when(pl.len().over("group") <= 200).then("group"))
    return frame.with_columns(pl.col("group").fill_null(pl.col("digest"))).sort("digest", "label", "group", "domain")


def _filled(frame: pl.DataFrame, name: str, default: str | None) -> pl.Expr:
    column = pl.col(name).cast(pl.String) if name in frame.columns else pl.lit(None, pl.String)
    return column.fill_null(default).alias(name) if default is not None else column.alias(name)


def fold_of(group: pl.Series, folds: int) -> pl.Series:
    """Return the fold of each group, from its hash: whatever the order, a group has one fold."""
    numbers = [int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") % folds for name in group]
    return pl.Series("fold", numbers, dtype=pl.Int64)


def calibrate(scored: pl.DataFrame, chosen: pl.DataFrame, options: TrainingOptions) -> Calibration:
    """Return the calibration of a model.

    scored: texts of 80 words or more with label, domain and weight, the mean weight given by a model that saw no
    text of their group. chosen: all training texts.
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
        synthetic=_tables(scored, "synthetic"),
        base_rate=round(float((scored["label"] == "synthetic").to_numpy().mean()), 6),
        training_sha256=digest.hexdigest(),
        training_step=VERSION,
    )


def _identity(chosen: pl.DataFrame) -> list[tuple[str, ...]]:
    return chosen.select("digest", "label", "group", "domain").rows()


def platt(weight: Floats, synthetic: npt.NDArray[np.bool_]) -> tuple[float, float]:
    """Fit P(synthetic) = logistic(slope · weight + intercept) by Newton's method; return both, 6 decimals.

    Targets are smoothed as Platt (1999) does, so that texts that separate perfectly still get a finite slope.
    """
    positives, negatives = int(synthetic.sum()), int((~synthetic).sum())
    target = np.where(synthetic, (positives + 1) / (positives + 2), 1 / (negatives + 2))
    design = np.column_stack([weight, np.ones_like(weight)])
    solution = np.zeros(2)
    for _ in range(50):
        probability = 1.0 / (1.0 + np.exp(-np.clip(design @ solution, -50, 50)))
        curvature = design.T @ (design * (probability * (1 - probability))[:, None]) + 1e-9 * np.eye(2)
        step = np.linalg.solve(curvature, design.T @ (target - probability))
        solution = solution + step
        if np.abs(step).max() < 1e-9:
            break
    if solution[0] <= 0:
        raise RecipeError("the model ranks held-out texts no better than chance; train it on more texts")
    return round(float(solution[0]), 6), round(float(solution[1]), 6)


def _tables(scored: pl.DataFrame, label: str) -> tuple[DomainTable, ...]:
    """Return the cutoffs of each domain, in name order.

    A cutoff leaves floor(rate · (n + 1)) - 1 of the n texts on its far side, which bounds the rate of a further
    text of the domain by `rate` (split conformal prediction; Vovk et al., arXiv 1209.2673).
    """
    tables = []
    for (domain,), texts in (
        scored.filter(pl.col("label") == label).sort("domain").group_by(["domain"], maintain_order=True)
    ):
        p = np.sort(texts["p"].to_numpy())
        allowed = [int(rate * (p.size + 1) + 1e-9) - 1 for rate in RATES]
        if label == "human":
            cutoffs = [p[-1 - count] + 1e-6 if count >= 0 else 2.0 for count in allowed]
        else:
            cutoffs = [p[count] - 1e-6 if count >= 0 else -1.0 for count in allowed]
        tables.append(DomainTable(domain=domain, texts=p.size, cutoffs=tuple(np.round(cutoffs, 6).tolist())))
    return tuple(tables)


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
