"""Guard: compare a candidate with its human reference, and name what a person should look at.

Figures per source: rows and the share lost to duplicates; what comparing texts took in this run. Figures per synthetic
source or generator: its rows that copy human text, and those that copy their own seeds; against human text of the same
run, on blocks of equal size: mean document length and trigram entropy. The figures of an earlier version stand beside
them in the report.
Entropy falls first when generated text collapses; it depends on size, so only equal blocks are compared.
"""

import json
import math
from typing import Any

import numpy as np
import polars as pl

from cuvee.schemas.base import Frozen
from cuvee.schemas.errors import GateError
from cuvee.schemas.records import FileRef, Run
from cuvee.schemas.report import Finding
from cuvee.storage.corpus import load_manifest, read_tag
from cuvee.storage.store import Store, open_store
from cuvee.tasks.measure.signals import provenance_model
from cuvee.tasks.pool import Pool, Texts, frame_of
from cuvee.tasks.provenance.sources import figures as source_figures
from cuvee.tasks.provenance.sources import overall
from cuvee.tasks.steps import load

# Marin's sources lost a median of 76% to unverified dedup; a source that loses a third deserves a look.
MOST_LOST_TO_DUPLICATES = 0.3
# Under 20 rows a share says nothing.
FEWEST_ROWS = 20
# Removals, whatever their keeper is.
COPIES = ("duplicate_exact", "duplicate_near", "copy_of_human")
# What is said of the run and not of its documents never blocks: the next run would say it again.
NOTES = ("not_judged", "compared_anew", "many_near_copies")
# A generator that is asked to write anew repeats a text now and then; one in a hundred is a habit.
MOST_COPIES_OF_HUMAN = 0.01
# A text with so many near copies, all near each other, is 2 million stored pairs, 48 MB and some seconds of work.
MOST_NEAR_COPIES = 2000
# Columns that are looked at.
ROWS = ["source", "doc_id", "text_key", "origin", "provenance", "step", "verdict", "keeper", "seed_ids", "created"]
ROWS += ["p_model", "p_synthetic", "suspect", "threshold", "calibrated", "trusted_date", "own_draft", "own_copy"]
PLAN = ["source", "doc_id", "origin", "provenance", "split", "priority", "words", "shard", "position"]
# Blocks of fewer words are dominated by chance; at least 20 human blocks make a reference.
BLOCK_WORDS = 10_000
REFERENCE_BLOCKS = 20


class Guarded(Frozen):
    """Findings, and the figures they rest on."""

    findings: tuple[Finding, ...]
    figures: dict[str, Any]


def run(run: Run, pool: Pool, decided: FileRef, planned: FileRef) -> Guarded:
    """Judge a candidate. decided: every current row with its verdict; planned: the survivors with their split.

    Raises GateError when there are findings and guard.action is block; nothing is published then.
    """
    rows, plan = load(run, decided, ROWS), load(run, planned, PLAN)
    losses = duplicate_losses(rows)
    findings = [
        Finding(
            kind="duplicates",
            subject=source,
            message=f"source {source} lost {share:.0%} of its {count:,} rows to duplicates; look at a few of the pairs "
            f"(cuvee explain), or raise dedup.threshold",
            figures={"share": share, "rows": count},
        )
        for source, (count, share) in losses.items()
        if share > MOST_LOST_TO_DUPLICATES and count >= FEWEST_ROWS
    ]
    provenance = provenance_figures(run, rows)
    findings += _suspects(run, provenance["sources"])
    copies = copies_of_human(rows)
    findings += _copying(copies)
    compared = pool.known_pairs.report["work"]
    compared = compared if compared["version"] == run.version else {}
    findings += _costly(rows, compared)
    published = plan.filter(pl.col("split") == "train")
    diversity = _diversity(open_store(run.store), pool, published)
    findings += _low_entropy(diversity)
    judged = [finding for finding in findings if finding.kind not in NOTES]
    if judged and run.recipe.guard.action == "block":
        raise GateError(
            "the guard has findings, and guard.action is block; nothing is published:\n"
            + "\n".join(f"  {finding.message}" for finding in judged)
        )
    figures = {
        "duplicates": losses,
        "copies_of_human": copies,
        "compared": compared,
        "diversity": diversity,
        "provenance": provenance,
        "earlier": _earlier(run),
    }
    return Guarded(findings=tuple(findings), figures=figures)


def provenance_figures(run: Run, rows: pl.DataFrame) -> dict[str, Any]:
    """Return what the evidence says of each source, of all, and by which model; rows: every current row."""
    model = provenance_model(run)
    # What ingest or a filter drops may be in no language, or no text at all: the classifier was not made for it.
    reached = rows.filter(pl.col("step").is_null() | ~pl.col("step").is_in(["ingest", "filter"]))
    sources = source_figures(reached, model, run.recipe.provenance.max_false_positive_rate)
    share = overall(sources)
    return {
        "model": {"name": model.name, "version": model.version, "sha256": model.sha256},
        "share": share and share.model_dump(),
        "sources": {name: figures.model_dump() for name, figures in sources.items()},
    }


def _suspects(run: Run, sources: dict[str, dict[str, Any]]) -> list[Finding]:
    """Name the sources with more suspects than the classifier's rate explains."""
    treated = {"relabel": "they count as synthetic", "drop": "they are dropped", "keep": "they count as human"}
    findings = []
    for source, figures in sources.items():
        suspects, rate = figures["suspects"], run.recipe.provenance.max_false_positive_rate
        explained = figures["judged"] * rate
        if suspects <= max(1, explained):
            continue
        best = figures["prevalence"]["best"]
        estimate = f"; about {best['share']:.1%} of it may be ({best['low']:.1%} to {best['high']:.1%})" if best else ""
        trust = (
            "the classifier was calibrated on its dated human text"
            if figures["calibrated"]
            else "the classifier is not calibrated for this source, and it may be a kind of text that it does not know"
        )
        message = (
            f"source {source}: {suspects} of {figures['judged']} documents look machine-written though declared human, "
            f"where the classifier's rate explains {explained:.0f}{estimate}; "
            f"{treated[run.recipe.provenance.suspects]} (provenance.suspects); look at some (cuvee explain): {trust}"
        )
        counted = {"suspects": suspects, "documents": figures["judged"], "expected_wrong": figures["expected_wrong"]}
        findings.append(Finding(kind="suspects", subject=source, message=message, figures=counted))
    return findings


def duplicate_losses(rows: pl.DataFrame) -> dict[str, tuple[int, float]]:
    """Return per source its rows and the share that was removed as a duplicate."""
    gone = pl.col("verdict").is_in(COPIES).fill_null(value=False)
    counted = rows.group_by("source").agg(pl.len(), gone.mean().round(6).alias("share")).sort("source")
    return {source: (count, share) for source, count, share in counted.iter_rows()}


def copies_of_human(rows: pl.DataFrame) -> dict[str, tuple[int, int, int]]:
    """Return per synthetic source or generator its rows, those that copy human text, and those that copy a seed."""
    copied = (pl.col("verdict") == "copy_of_human").fill_null(value=False)
    of_seed = copied & pl.col("seed_ids").list.contains(pl.col("keeper")).fill_null(value=False)
    made = rows.filter(pl.col("origin") == "synthetic").group_by("source")
    counted = made.agg(pl.len(), copied.sum().alias("copies"), of_seed.sum().alias("of_seeds")).sort("source")
    return {source: (count, copies, of_seeds) for source, count, copies, of_seeds in counted.iter_rows()}


def _copying(copies: dict[str, tuple[int, int, int]]) -> list[Finding]:
    """Name the generators that give human text back."""
    return [
        Finding(
            kind="copies_of_human",
            subject=source,
            message=f"{source}: {copied} of {count} documents are copies or near-copies of human text, {of_seeds} of "
            "them of their own seeds; they were dropped; raise the temperature, ask for another kind, or use another "
            "model",
            figures={"documents": count, "copies": copied, "of_seeds": of_seeds},
        )
        for source, (count, copied, of_seeds) in copies.items()
        if copied > count * MOST_COPIES_OF_HUMAN
    ]


def _costly(rows: pl.DataFrame, compared: dict[str, Any]) -> list[Finding]:
    """Say where comparing texts cost more than their number explains."""
    findings = []
    if compared.get("anew"):
        message = (
            f"all {compared['documents']:,} texts of the pool were compared anew: {compared['anew']}; the next run "
            "compares only what is new"
        )
        figures: dict[str, float | None] = {"documents": compared["documents"], "candidates": compared["candidates"]}
        findings.append(Finding(kind="compared_anew", subject="dedup", message=message, figures=figures))
    most = compared.get("most_copies", {"copies": 0})
    if most["copies"] >= MOST_NEAR_COPIES:
        text = rows.filter(pl.col("text_key") == pl.lit(most["text_key"], pl.UInt64)).sort("doc_id").head(1)
        named = "".join(f" ({doc_id} of source {source})" for doc_id, source in text.select("doc_id", "source").rows())
        message = (
            f"one text{named} has {most['copies']:,} near copies that are near copies of each other: comparing them "
            f"and keeping their pairs ({compared['pairs']:,} in this run) grows with the square of their number; keep "
            "such forms out at the source"
        )
        figures = {"copies": most["copies"], "pairs": compared["pairs"]}
        findings.append(Finding(kind="many_near_copies", subject="dedup", message=message, figures=figures))
    return findings


def trigram_entropy(words: pl.Series) -> float:
    """Return the Shannon entropy, bits, of the word trigrams of a sequence of at least three words."""
    _, ids = np.unique(words.to_numpy(), return_inverse=True)
    size = int(ids.max()) + 1
    # Below 2^21 distinct words three ids fit one integer; a block has 10,000.
    trigrams = (ids[:-2] * size + ids[1:-1]) * size + ids[2:]
    counts = np.unique(trigrams, return_counts=True)[1]
    shares = counts / counts.sum()
    return round(float(-(shares * np.log2(shares)).sum()), 6)


def _earlier(run: Run) -> dict[str, Any] | None:
    """Return the figures of the version that guard.compare_with names, to stand beside the candidate's."""
    store, tag = open_store(run.store), run.recipe.guard.compare_with
    entry = read_tag(store, run.corpus, tag) if tag else None
    if entry is None:
        return None
    reports = load_manifest(store, run.corpus, entry.version).reports
    report = next(ref for ref in reports if ref.path.endswith("/findings.json"))
    figures = json.loads(store.get(report.path))["figures"]
    return {"version": entry.version, "duplicates": figures["duplicates"], "diversity": figures["diversity"]}


def _diversity(store: Store, pool: Pool, published: pl.DataFrame) -> dict[str, dict[str, float | int | None]]:
    """Measure human text as one group, and every generator and declared synthetic source as its own."""
    declared = pl.when(pl.col("origin") == "synthetic").then(pl.col("source"))
    group = pl.when(pl.col("provenance") == "human").then(pl.lit("human")).otherwise(declared)
    published = published.with_columns(group=group).drop_nulls("group")
    figures: dict[str, dict[str, float | int | None]] = {}
    with Texts(store, pool.shards) as texts:
        for (name,), rows in sorted(published.group_by("group"), key=lambda part: str(part[0][0])):
            blocks = _blocks(texts, rows.sort("priority", "doc_id"))
            entropies = [trigram_entropy(block) for block in blocks]
            figures[str(name)] = {
                "documents": rows.height,
                "mean_words": round(float(rows["words"].mean() or 0.0), 1),  # type: ignore[arg-type]
                "blocks": len(entropies),
                "entropy_mean": round(math.fsum(entropies) / len(entropies), 6) if entropies else None,
                "entropy_lowest": min(entropies, default=None),
            }
    return figures


def _blocks(texts: Texts, rows: pl.DataFrame) -> list[pl.Series]:
    """Cut the first documents into at most REFERENCE_BLOCKS blocks of BLOCK_WORDS words."""
    before = pl.col("words").cum_sum() - pl.col("words")
    rows = rows.filter(before < BLOCK_WORDS * REFERENCE_BLOCKS)
    taken = frame_of(texts.take(rows["shard"].to_numpy(), rows["position"].to_numpy()))
    words = taken["text"].str.to_lowercase().str.extract_all(r"\w+").explode(empty_as_null=False)
    count = min(len(words) // BLOCK_WORDS, REFERENCE_BLOCKS)
    return [words[i * BLOCK_WORDS : (i + 1) * BLOCK_WORDS] for i in range(count)]


def _low_entropy(diversity: dict[str, dict[str, Any]]) -> list[Finding]:
    human = diversity.get("human", {})
    findings = []
    for name, own in diversity.items():
        if name == "human":
            continue
        figures = {"entropy_mean": own["entropy_mean"], "human_lowest": human.get("entropy_lowest")}
        if own["entropy_mean"] is None or (human.get("blocks") or 0) < REFERENCE_BLOCKS:
            message = (
                f"{name}: its diversity was not judged; that takes {BLOCK_WORDS:,} words of it, and "
                f"{BLOCK_WORDS * REFERENCE_BLOCKS:,} words of human text to compare with"
            )
            findings.append(Finding(kind="not_judged", subject=name, message=message, figures=figures))
        elif own["entropy_mean"] < human["entropy_lowest"]:
            message = (
                f"{name}: trigram entropy {own['entropy_mean']:.2f} bits, below all {human['blocks']} blocks of human "
                f"text (lowest {human['entropy_lowest']:.2f}); it repeats itself: raise the temperature, use more seeds"
            )
            findings.append(Finding(kind="low_entropy", subject=name, message=message, figures=figures))
    return findings
