"""Night: what 50,000 new documents cost against a pool of 1,000,000, by the pipeline's own steps.

    python benchmarks/dedup/night.py [--old 1000000] [--new 50000] [--folder FOLDER]

The pool is ingested, signed and compared once (minutes: ingest masks and normalises every text); then the new documents
come in one file more. Printed: CPU microseconds a new document of the steps ingest, sign and pairs; of the latter, what
reading texts for the comparison took; and how many new documents matched an old one, each named by its doc_id.
"""

import argparse
import itertools
import os
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import polars as pl
import pyarrow as pa
import workload

from cuvee.flows.hands import PlainHands
from cuvee.flows.pipeline import take_in
from cuvee.schemas.records import Run
from cuvee.storage.store import Store
from cuvee.storage.tables import read_table
from cuvee.tasks.begin import begin
from cuvee.tasks.dedup import pairs
from cuvee.tasks.measure import signals
from cuvee.tasks.pool import Int64s, Pool, Texts, pool_of

PART = 50_000
RECIPE = """
corpus: benchmark
sources: [{name: texts, uri: "part-*.jsonl", license: CC0-1.0, origin: human}]
"""
Result = TypeVar("Result")


class TimedTexts(Texts):
    """Texts that count themselves and the CPU seconds of reading them."""

    seconds, texts = 0.0, 0

    def take(self, shard: Int64s, position: Int64s) -> pa.Table:
        """Return the rows, as any Texts do."""
        started = time.process_time()
        rows = super().take(shard, position)
        TimedTexts.seconds += time.process_time() - started
        TimedTexts.texts += len(shard)
        return rows


def row(name: str, documents: int, cpu: float, clock: float) -> None:
    """Print a row of the table."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(f"| {name} | {documents:,} | {cpu:.1f} | {clock:.1f} | {1e6 * cpu / documents:.1f} | {peak} |", flush=True)


def timed(name: str, documents: int, step: Callable[[], Result]) -> Result:
    """Do a step and print its CPU time."""
    cpu, clock = time.process_time(), time.perf_counter()
    result = step()
    cpu, clock = time.process_time() - cpu, time.perf_counter() - clock
    row(name, documents, cpu, clock)
    return result


def signed(run: Run, store: Store, pool: Pool) -> Pool:
    """Sign the shards that are not signed yet."""
    known = signals.found(run, store, pool.shards)["sign"]
    records = [
        record or signals.run(run, store, shard, ["sign"])[0] for shard, record in zip(pool.shards, known, strict=True)
    ]
    return pool.with_signals({"sign": records})


def matches(store: Store, old: Pool, new: Pool) -> pl.DataFrame:
    """Return the new documents with a near-duplicate among the old ones: doc_id, old (its doc_id), jaccard."""

    def keys(pool: Pool) -> pl.DataFrame:
        tables = [read_table(store, record.files[0], ["text_key"]) for record in pool.signals["sign"]]
        texts = [read_table(store, shard.file, ["doc_id"]) for shard in pool.shards]
        frames = [pl.DataFrame(t).with_columns(pl.DataFrame(d)) for t, d in zip(tables, texts, strict=True)]
        return pl.concat(frames).unique("text_key", keep="first", maintain_order=True)

    before, after = keys(old), keys(new)
    added = after.join(before, on="text_key", how="anti")
    found = pairs.read_pairs(store, new.known_pairs)
    both = pl.concat([found, found.select(pl.col("b").alias("a"), pl.col("a").alias("b"), "jaccard")])
    named = both.join(added, left_on="a", right_on="text_key").join(
        before.rename({"doc_id": "old"}), left_on="b", right_on="text_key"
    )
    return named.select("doc_id", "old", "jaccard").sort("doc_id", "old")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--old", type=int, default=1_000_000)
    parser.add_argument("--new", type=int, default=50_000)
    parser.add_argument("--folder", type=Path, help="where the store is made; a temporary folder if not given")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        folder = Path(name)
        (folder / "recipe.yaml").write_text(RECIPE, encoding="utf-8")
        parts = [folder / f"part-{number:04}.jsonl" for number in range(-(-arguments.old // PART))]
        late = folder / "late.jsonl"
        # One sequence: some of the last documents are altered copies of earlier ones.
        whole = folder / "whole.jsonl"
        workload.write(whole, arguments.old + arguments.new)
        with whole.open(encoding="utf-8") as lines:
            for number, part in enumerate(parts):
                part.write_text("".join(itertools.islice(lines, min(PART, arguments.old - number * PART))), "utf-8")
            late.write_text("".join(lines), encoding="utf-8")
        whole.unlink()
        run, store, state = begin(str(folder / "recipe.yaml"), (), str(folder / "store"), "benchmark")
        print("| step | documents | CPU s | s | CPU µs a document | peak MB |\n|---|---|---|---|---|---|")
        pool = timed("ingest", arguments.old, lambda: take_in(run, store, pool_of(state), PlainHands())[1])
        pool = timed("sign", arguments.old, lambda: signed(run, store, pool))
        old = timed("pairs", arguments.old, lambda: pool.with_pairs(pairs.run(run, store, pool, None)))
        late.rename(folder / f"part-{len(parts):04}.jsonl")
        pool = timed("ingest, new", arguments.new, lambda: take_in(run, store, old, PlainHands())[1])
        pool = timed("sign, new", arguments.new, lambda: signed(run, store, pool))
        pairs.Texts, TimedTexts.seconds = TimedTexts, 0.0  # type: ignore[attr-defined, misc]
        new = timed("pairs, new", arguments.new, lambda: pool.with_pairs(pairs.run(run, store, pool, old.pairs)))
        row(f"of this, reading {TimedTexts.texts:,} texts", arguments.new, TimedTexts.seconds, TimedTexts.seconds)
        found = matches(store, old, new)
    load = " ".join(f"{load:.1f}" for load in os.getloadavg())
    print(f"{found['doc_id'].n_unique():,} new documents match an old one; load {load}\n{found.head(3)}")


if __name__ == "__main__":
    main()
