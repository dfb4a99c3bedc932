"""Provenance: what the evidence says of each source, and sources with more suspects than the classifier explains."""

from collections.abc import Sequence
from math import ceil

import polars as pl

from cuvee.schemas.base import Frozen
from cuvee.schemas.report import Figures, Finding
from cuvee.tasks.guard import Candidate
from cuvee.tasks.measure.signals import provenance_model
from cuvee.tasks.provenance.prevalence import Estimate
from cuvee.tasks.provenance.sources import LOOKED_AT, SourceFigures, by_source, overall

_TREATED = {"relabel": "they count as synthetic", "drop": "they are dropped", "keep": "they count as human"}
_UNSURE = "those that only the classifier found count as human, as declared"


class Classifier(Frozen):
    """The model that scored the documents."""

    name: str
    version: str
    sha256: str


class Provenance(Figures):
    """share: of machine-written text over all sources, null where it cannot be estimated."""

    model: Classifier
    share: Estimate | None
    sources: dict[str, SourceFigures]


def figures(candidate: Candidate) -> Provenance:
    """Return what the evidence says of each source, of all, and by which model."""
    model = provenance_model(candidate.run)
    # What ingest or a filter drops may be in no language, or no text at all: the classifier was not made for it.
    reached = pl.col("step").is_null() | ~pl.col("step").is_in(["ingest", "filter"])
    parts = candidate.parts(["step", "generated", *(name for name in LOOKED_AT if name != "own_draft")])
    rate = candidate.run.recipe.provenance.max_false_positive_rate
    sources = by_source((rows.filter(reached).with_columns(own_draft="generated") for rows in parts), model, rate)
    classifier = Classifier(name=model.name, version=model.version, sha256=model.sha256)
    return Provenance(model=classifier, share=overall(sources), sources=sources)


def findings(candidate: Candidate, figures: Provenance) -> Sequence[Finding]:
    """Name the sources with more suspects than the classifier's rate explains, and more than one."""
    options, found = candidate.run.recipe.provenance, []
    fewest = ceil(1 / options.max_false_positive_rate) - 1
    for source, seen in figures.sources.items():
        explained = seen.judged * options.max_false_positive_rate
        if seen.suspects <= max(1, explained):
            continue
        best = seen.prevalence.best
        known = best if seen.calibrated else None
        estimate = f"; about {known.share:.1%} of it may be ({known.low:.1%} to {known.high:.1%})" if known else ""
        auto = _TREATED["relabel"] if seen.calibrated else _UNSURE
        trust = (
            "the classifier was calibrated on its dated human text"
            if seen.calibrated
            else "the classifier is not calibrated for this source, and it may be a kind of text that it does not know"
            f"; {fewest} documents of it with a trusted date before 2022-11-30 would calibrate it"
        )
        message = (
            f"source {source}: {seen.suspects} of {seen.judged} documents look machine-written though declared human, "
            f"where the classifier's rate explains {explained:.0f}{estimate}; {_TREATED.get(options.suspects, auto)} "
            f"(provenance.suspects); look at some (cuvee explain): {trust}"
        )
        counted = {"suspects": seen.suspects, "documents": seen.judged, "expected_wrong": seen.expected_wrong}
        found.append(Finding(kind="suspects", subject=source, message=message, figures=counted))
    return found
