"""Classify: documents of 200 words a second on one core, step by step, and the memory of one endless line.

POLARS_MAX_THREADS=1 taskset -c 0 python benchmarks/classify.py ../shared/provenance/provenance_dev.parquet
"""

import argparse
import resource
import time
from collections.abc import Callable

import polars as pl

from cuvee.tasks.provenance import layout
from cuvee.tasks.provenance.conclude import phrase, score
from cuvee.tasks.provenance.model import load
from cuvee.tasks.words.counts import count_words


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("texts", help="Parquet with a column text")
    parser.add_argument("--documents", type=int, default=20_000)
    options = parser.parse_args()
    model = load()
    texts = pl.read_parquet(options.texts, columns=["text"])["text"]
    texts = texts.filter(count_words(texts).is_between(180, 220))
    texts = pl.concat([texts] * (options.documents // len(texts) + 1)).head(options.documents).rechunk()
    model.score(texts.head(1))
    steps: dict[str, Callable[[], object]] = {
        "whole step (score)": lambda: score(texts, None, model),
        "model": lambda: model.score(texts),
        "phrases": lambda: phrase(texts),
        "layout by regular expressions, for comparison": lambda: texts.to_frame().select(
            layout.normalise(pl.col("text"))
        ),
    }
    for name, step in steps.items():
        best = min(_seconds(step) for _ in range(3))
        print(f"{len(texts) / best:10,.0f} documents/s  {name}")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    seconds = _seconds(lambda: score(pl.Series(["word " * 20_000_000]), None, model))
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    print(f"one line of 100 MB: {seconds:.2f} s, {grown:.0f} MB more")


def _seconds(step: Callable[[], object]) -> float:
    start = time.process_time()
    step()
    return time.process_time() - start


if __name__ == "__main__":
    main()
