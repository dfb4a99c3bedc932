"""Diversity: trigram entropy of synthetic text beside human text of the same run, on blocks of equal size.

Entropy falls first when generated text collapses; it depends on size, so only equal blocks are compared, by generator
and by synthetic source, never on the whole mix.
"""

import math
from collections.abc import Sequence

import numpy as np
import polars as pl

from cuvee.schemas.base import Frozen
from cuvee.schemas.report import Figures, Finding
from cuvee.tasks.guard import Candidate
from cuvee.tasks.pool import Texts, frame_of

# Blocks of fewer words are dominated by chance; at least 20 human blocks make a reference.
BLOCK_WORDS = 10_000
REFERENCE_BLOCKS = 20


class Group(Frozen):
    """Text of one kind that is trained on. blocks: of BLOCK_WORDS words; entropy: bits, null without a block."""

    documents: int
    mean_words: float
    blocks: int
    entropy_mean: float | None
    entropy_lowest: float | None


class Diversity(Figures):
    """human: all of it, null where there is none. sources: of each generator and declared synthetic source."""

    human: Group | None
    sources: dict[str, Group]


def figures(candidate: Candidate) -> Diversity:
    """Measure human text as one group, and every generator and declared synthetic source as its own."""
    trained = candidate.trained
    is_human = pl.col("provenance") == "human"
    synthetic = trained.filter(~is_human & (pl.col("origin") == "synthetic"))
    people = trained.filter(is_human)
    with Texts(candidate.store, candidate.pool.shards) as texts:
        sources = {
            str(name): _group(texts, rows)
            for (name,), rows in sorted(synthetic.group_by("source"), key=lambda part: str(part[0][0]))
        }
        return Diversity(human=_group(texts, people) if people.height else None, sources=sources)


def findings(candidate: Candidate, figures: Diversity) -> Sequence[Finding]:
    """Name what lies below every block of human text, and note what cannot be judged."""
    human, found = figures.human, []
    for name, own in figures.sources.items():
        lowest = human.entropy_lowest if human else None
        compared: dict[str, float | None] = {"entropy_mean": own.entropy_mean, "human_lowest": lowest}
        if own.entropy_mean is None or human is None or lowest is None or human.blocks < REFERENCE_BLOCKS:
            message = (
                f"{name}: its diversity was not judged; that takes {BLOCK_WORDS:,} words of it, and "
                f"{BLOCK_WORDS * REFERENCE_BLOCKS:,} words of human text to compare with"
            )
            found.append(Finding(kind="not_judged", subject=name, message=message, figures=compared, note=True))
        elif own.entropy_mean < lowest:
            message = (
                f"{name}: trigram entropy {own.entropy_mean:.2f} bits, below all {human.blocks} blocks of human "
                f"text (lowest {lowest:.2f}); it repeats itself: raise the temperature, use more seeds"
            )
            found.append(Finding(kind="low_entropy", subject=name, message=message, figures=compared))
    return found


def trigram_entropy(words: pl.Series) -> float:
    """Return the Shannon entropy, bits, of the word trigrams of a sequence of at least three words."""
    _, ids = np.unique(words.to_numpy(), return_inverse=True)
    size = int(ids.max()) + 1
    # Below 2^21 distinct words three ids fit one integer; a block has 10,000.
    trigrams = (ids[:-2] * size + ids[1:-1]) * size + ids[2:]
    counts = np.unique(trigrams, return_counts=True)[1]
    shares = counts / counts.sum()
    return round(float(-(shares * np.log2(shares)).sum()), 6)


def _group(texts: Texts, rows: pl.DataFrame) -> Group:
    entropies = [trigram_entropy(block) for block in _blocks(texts, rows)]
    return Group(
        documents=rows.height,
        mean_words=round(float(rows["words"].sum()) / rows.height, 1),
        blocks=len(entropies),
        entropy_mean=round(math.fsum(entropies) / len(entropies), 6) if entropies else None,
        entropy_lowest=min(entropies, default=None),
    )


def _blocks(texts: Texts, rows: pl.DataFrame) -> list[pl.Series]:
    """Cut the first documents, in sampling order, into at most REFERENCE_BLOCKS blocks of BLOCK_WORDS words."""
    before = pl.col("words").cum_sum() - pl.col("words")
    rows = rows.filter(before < BLOCK_WORDS * REFERENCE_BLOCKS)
    taken = frame_of(texts.take(rows["shard"].to_numpy(), rows["position"].to_numpy()))
    words = taken["text"].str.to_lowercase().str.extract_all(r"\w+").explode(empty_as_null=False)
    count = min(len(words) // BLOCK_WORDS, REFERENCE_BLOCKS)
    return [words[i * BLOCK_WORDS : (i + 1) * BLOCK_WORDS] for i in range(count)]
