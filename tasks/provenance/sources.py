"""Sources: what the evidence says of each source's documents, and which share of them machines wrote.

What is counted of parts of the documents adds up, so no table of all of them is needed.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import polars as pl
from pydantic import Field

from cuvee.schemas.base import Frozen
from cuvee.tasks.provenance.conclude import dated_human
from cuvee.tasks.provenance.kernel import Floats
from cuvee.tasks.provenance.prevalence import Estimate, Prevalence, bins_of, estimated
from cuvee.tasks.provenance.protocol import ProvenanceModel

# What `by_source` looks at.
LOOKED_AT = (
    *("source", "doc_id", "origin", "provenance", "suspect", "p_model", "p_synthetic", "threshold", "calibrated"),
    *("trusted_date", "created", "own_draft", "own_copy"),
)


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


class _Seen(NamedTuple):
    """What adds up of documents of one source. judged: with p_synthetic; asked: of no generator and not declared
    synthetic; known, observed: those of them with a probability, that are known to be human and that are not, by bin;
    threshold: the largest, 0 for none.
    """

    documents: int
    judged: int
    calibrated: bool
    threshold: float
    declared: Counter[str]
    concluded: Counter[str]
    moved: Counter[str]
    suspects: int
    asked: int
    known: Floats
    observed: Floats

    def plus(self, other: "_Seen") -> "_Seen":
        return _Seen(
            documents=self.documents + other.documents,
            judged=self.judged + other.judged,
            calibrated=self.calibrated and other.calibrated,
            threshold=max(self.threshold, other.threshold),
            declared=self.declared + other.declared,
            concluded=self.concluded + other.concluded,
            moved=self.moved + other.moved,
            suspects=self.suspects + other.suspects,
            asked=self.asked + other.asked,
            known=self.known + other.known,
            observed=self.observed + other.observed,
        )


def by_source(
    parts: Iterable[pl.DataFrame], model: ProvenanceModel, max_false_positive_rate: float
) -> dict[str, SourceFigures]:
    """Return the figures of each source and generator, by name.

    parts: rows with the columns LOOKED_AT; no two parts hold rows of one doc_id. Of several rows of a document in a
    source the first counts.
    """
    seen: dict[str, _Seen] = {}
    for rows in parts:
        for (source,), own in rows.group_by("source", maintain_order=True):
            here, name = _look(own), str(source)
            seen[name] = seen[name].plus(here) if name in seen else here
    return {name: _source(seen[name], model, max_false_positive_rate) for name in sorted(seen)}


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


def _look(rows: pl.DataFrame) -> _Seen:
    """Count the documents of one source."""
    rows = rows.sort("doc_id").unique("doc_id", keep="first", maintain_order=True)
    own = (pl.col("own_draft") | pl.col("own_copy")).fill_null(value=False)
    asked = rows.filter(pl.col("origin") != "synthetic", ~own)
    p = asked.select(p=pl.when(pl.col("p_synthetic").is_not_null()).then("p_model"))["p"]
    known, observed = bins_of(p.cast(pl.Float64).fill_nan(None), asked.select(known=dated_human())["known"])
    differs = rows.filter(pl.col("origin") != pl.col("provenance"))
    return _Seen(
        documents=rows.height,
        judged=int(rows["p_synthetic"].count()),
        calibrated=bool(rows["calibrated"].all()),
        threshold=float(rows["threshold"].max() or 0.0),  # type: ignore[arg-type]
        declared=_counts(rows["origin"]),
        concluded=_counts(rows["provenance"]),
        moved=_counts(differs.select(pl.concat_str("origin", pl.lit(" > "), "provenance").alias("way"))["way"]),
        suspects=int(rows["suspect"].sum()),
        asked=asked.height,
        known=known,
        observed=observed,
    )


def _source(seen: _Seen, model: ProvenanceModel, rate: float) -> SourceFigures:
    found = estimated(seen.asked, seen.known, seen.observed, model)
    share = found.best.share if found.best else 0.0
    return SourceFigures(
        documents=seen.documents,
        judged=seen.judged,
        known_human=found.known_human,
        calibrated=seen.calibrated,
        threshold=seen.threshold or 1.0,
        declared=dict(sorted(seen.declared.items())),
        concluded=dict(sorted(seen.concluded.items())),
        moved=dict(sorted(seen.moved.items())),
        suspects=seen.suspects,
        # Known-human texts are never called synthetic; of the others, the human ones are at risk.
        expected_wrong=round(max(0.0, found.judged * (1 - share) - found.known_human) * rate, 1),
        prevalence=found,
    )


def _counts(column: pl.Series) -> Counter[str]:
    counted = column.alias("name").to_frame().group_by("name").len()
    return Counter({str(name): int(count) for name, count in counted.iter_rows()})
