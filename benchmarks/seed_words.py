"""Measure how much of the documents that may be seeds a generator can be shown.

    CORPORA=/where/they/are python benchmarks/seed_words.py [examples/library.yaml]

The recipe's sources are read, measured and decided on in a temporary store; its first generator becomes one that asks
an endpoint, and nothing is sent. Printed for each source, and for all: words of the documents that may be seeds
(survivors, human, of a licence that allows derivatives, not held out), words in the windows that the first request of
each seed shows, and their share.
"""

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import polars as pl

from cuvee.flows import pipeline
from cuvee.flows.deciding import decide
from cuvee.flows.hands import PlainHands
from cuvee.tasks.begin import begin
from cuvee.tasks.dedup import pairs
from cuvee.tasks.generate.seeds import Seeds, choose_seeds, windows_of, with_windows
from cuvee.tasks.generators import openai
from cuvee.tasks.pool import pool_of
from cuvee.tasks.steps import load_decided
from cuvee.tasks.words.counts import count_words

MODEL = ("generator=openai", "base_url=http://127.0.0.1:1/v1", "model=none", "seeds.max_per_seed=1")
BATCH = 500
# What of the decided table says which documents may be seeds.
READ = (
    *("shard", "position", "doc_id", "source", "domain", "language", "license", "provenance", "depth"),
    *("words", "chars", "verdict"),
)


class Coverage(NamedTuple):
    """Words of a source's documents that may be seeds, and of what requests show of them."""

    source: str
    words: int
    shown: int

    @property
    def share(self) -> float:
        """Words shown ÷ words."""
        return self.shown / max(self.words, 1)


def measure(recipe: str, folder: Path) -> Iterator[Coverage]:
    """Yield what is shown of each source, the text of the requests counted."""
    overrides = [f"generate.0.{change}" for change in MODEL]
    run, store, state = begin(recipe, overrides, str(folder), "coverage")
    files, pool, _ = pipeline.take_in(run, store, pool_of(state), PlainHands())
    pool = pipeline.describe(run, store, pool, pairs.known_pairs(state), PlainHands())
    decided = decide(run, store, pool, files, (), state.dates, PlainHands())
    rows = load_decided(store, decided, READ)
    entry = run.recipe.generate[0]
    chosen = choose_seeds(run.recipe, entry, rows.filter(pl.col("verdict").is_null()))
    seeds = with_windows(chosen, windows_of(store, pool))
    with Seeds(store, pool, seeds) as texts:
        for (source,), own in seeds.group_by("source", maintain_order=True):
            plan = openai.plan(entry, own, 2**62)
            asked = (openai.shown(batch, texts.fetch) for batch in plan.iter_slices(BATCH))
            yield Coverage(str(source), int(own["words"].sum()), sum(map(_words, asked)))


def _words(texts: list[str]) -> int:
    return int(count_words(pl.Series(texts)).sum())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", nargs="?", default="examples/library.yaml")
    recipe = parser.parse_args().recipe
    with tempfile.TemporaryDirectory() as folder:
        found = list(measure(recipe, Path(folder)))
    found.append(Coverage("all", sum(one.words for one in found), sum(one.shown for one in found)))
    for one in found:
        print(f"{one.source:20} {one.words:>12,} words, {one.shown:>12,} shown, {one.share:.2%}")


if __name__ == "__main__":
    main()
