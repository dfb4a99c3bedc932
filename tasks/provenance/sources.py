"""Sources: calibrate the classifier on a source's own human text, and say what it found in each source.

Output columns of `thresholds`: source, known_human (UInt32: its texts known to be human that the model judged),
threshold (Float64), calibrated (Boolean: the threshold is the source's own).
"""

from collections.abc import Mapping

import polars as pl
from pydantic import Field

from cuvee.schemas.base import Frozen
from cuvee.tasks.provenance.conclude import FIRST_DAY
from cuvee.tasks.provenance.layout import MIN_WORDS
from cuvee.tasks.provenance.prevalence import Estimate, Prevalence, prevalence
from cuvee.tasks.provenance.protocol import ProvenanceModel

# A text that is rather human than not is never called synthetic, however human the rest of its source looks.
LOWEST_THRESHOLD = 0.5


class SourceFigures(Frozen):
    """What the evidence says of one source's documents.

    documents: those that came as far as the classifier, copies once; judged: with a probability. known_human: judged
    ones with a trusted date before 2022-11-30. declared, concluded: documents by origin and by provenance; moved:
    documents by "declared > concluded" where these differ. expected_wrong: human documents that are called synthetic
    by the model at the target rate, were the source like the texts behind its threshold. prevalence: of the documents
    that are neither drafts nor declared synthetic.
    """

    documents: int
    judged: int
    known_human: int
    calibrated: bool
    threshold: float
    declared: dict[str, int]
    concluded: dict[str, int]
    moved: dict[str, int]
    suspects: int
    expected_wrong: float = Field(ge=0)
    prevalence: Prevalence


def known_human() -> pl.Expr:
    """Select the rows that a trusted date proves human: columns trusted_date, created, own_draft, own_copy."""
    old = pl.col("trusted_date") & (pl.col("created") < FIRST_DAY)
    return old.fill_null(value=False) & ~(pl.col("own_draft") | pl.col("own_copy")).fill_null(value=False)


def thresholds(rows: pl.DataFrame, default: float, max_false_positive_rate: float) -> pl.DataFrame:
    """Return the threshold of each source.

    rows: columns source, doc_id, words, p_model, and those of `known_human`. A source with enough known-human texts
    gets the probability that at most `max_false_positive_rate` of further ones reach (split conformal prediction, as
    in training: 199 texts support .005), at least LOWEST_THRESHOLD; every other source gets `default`.
    """
    judged = rows.filter(known_human(), pl.col("words") >= MIN_WORDS).unique(["source", "doc_id"])
    p = pl.col("p_model").cast(pl.Float64).fill_nan(None).drop_nulls()
    above = ((max_false_positive_rate * (p.len() + 1) + 1e-9).floor() - 1).cast(pl.Int64)
    own = pl.when(above >= 0).then(p.sort(descending=True).get(above.clip(0), null_on_oob=True) + 1e-6).round(6)
    counted = judged.group_by("source").agg(known_human=p.len(), own=own)
    return (
        rows.select("source")
        .unique()
        .join(counted, on="source", how="left")
        .select(
            "source",
            known_human=pl.col("known_human").fill_null(0),
            threshold=pl.when(pl.col("own").is_not_null())
            .then(pl.max_horizontal(pl.col("own"), pl.lit(LOWEST_THRESHOLD)))
            .otherwise(default),
            calibrated=pl.col("own").is_not_null(),
        )
        .sort("source")
    )


def figures(rows: pl.DataFrame, model: ProvenanceModel, max_false_positive_rate: float) -> dict[str, SourceFigures]:
    """Return the figures of each source and generator, by name.

    rows: one a document and source, with source, doc_id, origin, provenance, suspect, p_model, p_synthetic,
    threshold, calibrated, and the columns of `known_human`.
    """
    return {
        str(name): _figures(part, model, max_false_positive_rate)
        for (name,), part in sorted(rows.group_by("source"), key=lambda pair: str(pair[0][0]))
    }


def overall(sources: Mapping[str, SourceFigures]) -> Estimate | None:
    """Return the share over all sources: their best estimates by judged documents, lows and highs added likewise.

    The interval is cautious: it holds even where the sources' errors go the same way.
    """
    parts = [(f.prevalence.judged, f.prevalence.best) for f in sources.values() if f.prevalence.best]
    total = sum(count for count, _ in parts)
    if not total:
        return None
    share, low, high = (
        round(sum(count * getattr(best, name) for count, best in parts) / total, 6) for name in ("share", "low", "high")
    )
    return Estimate(share=share, low=low, high=high)


def _figures(rows: pl.DataFrame, model: ProvenanceModel, rate: float) -> SourceFigures:
    rows = rows.sort("doc_id").unique("doc_id", keep="first", maintain_order=True)
    own = (pl.col("own_draft") | pl.col("own_copy")).fill_null(value=False)
    asked = rows.filter(pl.col("origin") != "synthetic", ~own)
    known = asked.select(known=known_human())["known"]
    p = asked.select(p=pl.when(pl.col("p_synthetic").is_not_null()).then("p_model"))["p"]
    found = prevalence(p, model, known)
    share = found.best.share if found.best else 0.0
    differs = rows.filter(pl.col("origin") != pl.col("provenance"))
    return SourceFigures(
        documents=rows.height,
        judged=int(rows["p_synthetic"].count()),
        known_human=found.known_human,
        calibrated=bool(rows["calibrated"].all()),
        threshold=float(rows["threshold"].max() or 1.0),  # type: ignore[arg-type]
        declared=_counts(rows["origin"]),
        concluded=_counts(rows["provenance"]),
        moved=_counts(differs.select(pl.concat_str("origin", pl.lit(" > "), "provenance").alias("way"))["way"]),
        suspects=int(rows["suspect"].sum()),
        # Known-human texts are never called synthetic; of the others, the human ones are at risk.
        expected_wrong=round(max(0.0, found.judged * (1 - share) - found.known_human) * rate, 1),
        prevalence=found,
    )


def _counts(column: pl.Series) -> dict[str, int]:
    counted = column.alias("name").to_frame().group_by("name").len().sort("name")
    return {str(name): int(count) for name, count in counted.iter_rows()}
