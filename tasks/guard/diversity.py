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
from cuvee.tasks.pool import Texts
from cuvee.tasks.words.kernel import Uint64s, word_hashes

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
        sources = {str(name): _group(texts, rows) for (name,), rows in sorted(synthetic.group_by("source"))}
        return Diversity(human=_group(texts, people) if people.height else None, sources=sources)


def findings(candidate: Candidate, figures: Diversity) -> Sequence[Finding]:
    """Name what lies below every block of human text, and note what cannot be judged."""
    human, found = figures.human, []
    lowest = human.entropy_lowest if human and human.blocks >= REFERENCE_BLOCKS else None
    for name, own in figures.sources.items():
        compared: dict[str, float | None] = {"entropy_mean": own.entropy_mean, "human_lowest": lowest}
        if own.entropy_mean is None or lowest is None:
            message = (
                f"{candidate.named(name)}: its diversity was not judged; that takes {BLOCK_WORDS:,} words of it, and "
                f"{BLOCK_WORDS * REFERENCE_BLOCKS:,} words of human text to compare with"
            )
            found.append(Finding(kind="not_judged", subject=name, message=message, figures=compared, note=True))
        elif own.entropy_mean < lowest:
            message = (
                f"{candidate.named(name)}: trigram entropy {own.entropy_mean:.2f} bits, below all {REFERENCE_BLOCKS} "
                f"blocks of human text (lowest {lowest:.2f}); it repeats itself: raise the temperature, use more seeds"
            )
            found.append(Finding(kind="low_entropy", subject=name, message=message, figures=compared))
    return found


def trigram_entropy(words: Uint64s) -> float:
    """Return the Shannon entropy, bits, of the trigrams of at least three words, given by their hashes."""
    _, ids = np.unique(words, return_inverse=True)
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


def _blocks(texts: Texts, rows: pl.DataFrame) -> list[Uint64s]:
    """Cut the first documents, in sampling order, into at most REFERENCE_BLOCKS blocks of BLOCK_WORDS words."""
    wanted, before = BLOCK_WORDS * REFERENCE_BLOCKS, rows["words"].cum_sum() - rows["words"]
    words = np.empty(0, np.uint64)
    # The bars of a table count in `words` and are none to compare: more documents are read until the blocks are full.
    for start in range(0, int(rows["words"].sum()), wanted):
        part = rows.filter(before.is_between(start, start + wanted, closed="left"))
        taken = texts.take(part["shard"].to_numpy(), part["position"].to_numpy())
        words = np.append(words, word_hashes(taken["text"]).hashes)
        if len(words) >= wanted:
            break
    count = min(len(words) // BLOCK_WORDS, REFERENCE_BLOCKS)
    return [words[i * BLOCK_WORDS : (i + 1) * BLOCK_WORDS] for i in range(count)]
