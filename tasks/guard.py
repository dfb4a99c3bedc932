"""Guard: compare a candidate with its human reference, and name what a person should look at.

Figures per source: rows and the share lost to duplicates. Figures per synthetic source or generator, against human
text of the same run, on blocks of equal size: mean document length and trigram entropy. The figures of an earlier
version stand beside them in the report.
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
from cuvee.tasks.pool import Pool, Texts, frame_of
from cuvee.tasks.steps import load

# Marin's sources lost a median of 76% to unverified dedup; a source that loses a third deserves a look.
MOST_LOST_TO_DUPLICATES = 0.3
# Under 20 rows a share says nothing.
FEWEST_ROWS = 20
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
    rows, plan = load(run, decided), load(run, planned)
    losses = duplicate_losses(rows)
    findings = [
        Finding(
            kind="duplicates",
            subject=source,
            message=f"source {source} lost {share:.0%} of its {count} rows to duplicates; look at a few of the pairs "
            f"(cuvee explain), or raise dedup.threshold",
            figures={"share": share, "rows": count},
        )
        for source, (count, share) in losses.items()
        if share > MOST_LOST_TO_DUPLICATES and count >= FEWEST_ROWS
    ]
    findings += _suspects(run, rows)
    published = plan.filter(pl.col("split") == "train")
    diversity = _diversity(open_store(run.store), pool, published)
    findings += _low_entropy(diversity)
    judged = [finding for finding in findings if finding.kind != "not_judged"]
    if judged and run.recipe.guard.action == "block":
        raise GateError(
            "the guard has findings, and guard.action is block; nothing is published:\n"
            + "\n".join(f"  {finding.message}" for finding in judged)
        )
    figures = {"duplicates": losses, "diversity": diversity, "earlier": _earlier(run)}
    return Guarded(findings=tuple(findings), figures=figures)


def _suspects(run: Run, rows: pl.DataFrame) -> list[Finding]:
    """Name the sources with more suspects than the classifier's rate explains."""
    options = run.recipe.provenance
    judged = rows.filter((pl.col("origin") == "human") & pl.col("p_synthetic").is_not_null())
    counted = judged.group_by("source").agg(pl.len(), pl.col("suspect").sum().alias("suspects")).sort("source")
    treated = {"relabel": "they count as synthetic", "drop": "they are dropped", "keep": "they count as human"}
    return [
        Finding(
            kind="suspects",
            subject=source,
            message=f"source {source}: {suspects} of {count} documents declared human look machine-written, where "
            f"the classifier's rate explains {count * options.max_false_positive_rate:.0f}; "
            f"{treated[options.suspects]} (provenance.suspects); look at some (cuvee explain): it may be a "
            "kind of text that the model does not know",
            figures={"suspects": suspects, "documents": count},
        )
        for source, count, suspects in counted.iter_rows()
        if suspects > max(1, count * options.max_false_positive_rate)
    ]


def duplicate_losses(rows: pl.DataFrame) -> dict[str, tuple[int, float]]:
    """Return per source its rows and the share that was removed as a duplicate."""
    gone = pl.col("verdict").is_in(["duplicate_exact", "duplicate_near"]).fill_null(value=False)
    counted = rows.group_by("source").agg(pl.len(), gone.mean().round(6).alias("share")).sort("source")
    return {source: (count, share) for source, count, share in counted.iter_rows()}


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
