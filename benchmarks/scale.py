"""Measure what decisions cost as a corpus grows: CPU a row by step, and the most memory that any of them holds.

    python benchmarks/scale.py [--rows 1000000 …] [--step decide]

Thin tables are made (a fifth near-duplicates, in pairs, three per cent exact copies, four sources, of which one is
dated), and a word of text in each row; each number of rows is a pool of its own, in a process of its own, on one core.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from cuvee.flows.accounting import account
from cuvee.flows.deciding import decide
from cuvee.flows.hands import PlainHands
from cuvee.flows.mixing import mix
from cuvee.schemas.document import SHARD
from cuvee.schemas.records import (
    Estimate,
    IngestRecord,
    IngestReport,
    MostCopies,
    PairsRecord,
    PairsReport,
    PairsWork,
    ReadFile,
    Run,
    SourceFile,
    StepRecord,
)
from cuvee.schemas.tables import PAIRS
from cuvee.storage.store import Store
from cuvee.storage.tables import write_table
from cuvee.tasks.begin import begin
from cuvee.tasks.measure.signals import kinds
from cuvee.tasks.pool import Pool
from cuvee.tasks.publish import assemble

RECIPE = """
corpus: scale
sources:
  - {name: news, uri: news.jsonl, domain: news}
  - {name: web, uri: web.jsonl, domain: web}
  - {name: books, uri: books.jsonl, domain: books, dates: trusted}
  - {name: bots, uri: bots.jsonl, origin: synthetic}
filters: [{kind: length, min_words: 50}, {kind: language, keep: [en], min_score: 0.5}]
mixture: {human: {min: 0.6}}
"""
SOURCES = ("news", "web", "books", "bots")
ROWS_A_SHARD = 100_000
FILES_A_SHARD = 10


class Timed(PlainHands):
    """Hands that add up the CPU seconds of each step."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def one(self, step: str, work: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        """Do one piece of work, and count it."""
        started = time.process_time()
        result = work(*arguments, **named)
        self.seconds[step] = self.seconds.get(step, 0.0) + time.process_time() - started
        return result

    def each(self, step: str, work: Callable[..., Any], arguments: Sequence[tuple[Any, ...]]) -> list[Any]:
        """Do a piece of work for each tuple of arguments."""
        return [self.one(step, work, *one) for one in arguments]


def shard(run: Run, store: Store, number: int, rows: int, draw: np.random.Generator) -> tuple[Any, ...]:
    """Make a shard and its signals; returns its record, the records of its signals by kind, and its text keys."""
    source, per_file = SOURCES[number % len(SOURCES)], -(-rows // FILES_A_SHARD)
    ids = [f"{high:016x}{low:016x}" for high, low in draw.integers(0, 2**63, (rows, 2), dtype=np.uint64).tolist()]
    keys = draw.integers(1, 2**63, rows, dtype=np.uint64)
    copies = np.arange(0, rows - 1, 33)
    for place in copies.tolist():
        ids[place], keys[place] = ids[place + 1], keys[place + 1]
    words = draw.integers(20, 900, rows)
    files = [f"{number:032x}{file:032x}" for file in range(FILES_A_SHARD)]
    frame = pl.DataFrame(
        {
            "doc_id": ids,
            "file": [files[place // per_file] for place in range(rows)],
            "row": np.arange(rows) % per_file,
            "source_id": [f"page-{place}" for place in range(rows)],
            "words": words,
            "chars": words * 6,
            "bytes": words * 6,
        }
    ).with_columns(created=pl.date(2015, 1, 1) + pl.duration(days=pl.col("words") * 8))
    missing = [name for name in SHARD.names if name not in frame.columns]
    whole = frame.with_columns(pl.lit("text" if name == "text" else None).alias(name) for name in missing)
    table = whole.select(SHARD.names).to_arrow().cast(SHARD)
    ref = write_table(store, "corpora/scale/pool/shards", table)
    told = tuple(
        ReadFile(
            sha256=file, id=f"{number}/{file}", document=False, rows=min(per_file, rows - n * per_file), unreadable=0
        )
        for n, file in enumerate(files)
        if n * per_file < rows
    )
    reading = run.readings[source]
    report = IngestReport(source=source, reading=reading, shards=1, files=told, masked={}, faults=())
    measured = {
        "filter-language": {"language": ["en"] * rows, "language_score": draw.random(rows).astype(np.float32)},
        "filter-length": {},
        "classify": {"p_model": np.round(draw.random(rows) ** 4, 6), "phrase": [None] * rows},
        "sign": {"text_key": keys},
    }
    records = {}
    for name, kind in kinds(run).items():
        columns = pl.DataFrame({"doc_id": ids, **measured.get(name, {})})
        full = columns.with_columns(pl.lit(None).alias(n) for n in kind.schema.names() if n not in columns.columns)
        file = write_table(
            store, f"corpora/scale/pool/{name}", full.select(kind.schema.names()).cast(kind.schema).to_arrow()
        )
        records[name] = StepRecord(step=name, key=f"{number:064x}", files=(file,))
    return IngestRecord(key=f"{number:064x}", files=(ref,), report=report), records, keys


def made(run: Run, store: Store, rows: int) -> tuple[Pool, list[SourceFile]]:
    """Make a pool of so many rows, and its source files."""
    draw = np.random.default_rng(7)
    records, signals, linked = [], {}, []
    for number in range(-(-rows // ROWS_A_SHARD)):
        record, own, keys = shard(run, store, number, min(ROWS_A_SHARD, rows - number * ROWS_A_SHARD), draw)
        records.append(record)
        for name, one in own.items():
            signals.setdefault(name, []).append(one)
        linked.append(keys[: len(keys) // 5 // 2 * 2])
    pool = Pool(entries=()).plus(records, 1)
    a, b = np.concatenate([keys[::2] for keys in linked]), np.concatenate([keys[1::2] for keys in linked])
    a, b = np.minimum(a, b), np.maximum(a, b)
    pairs = pl.DataFrame({"a": a, "b": b, "jaccard": np.round(0.8 + 0.2 * draw.random(len(a)), 6)}, PAIRS)
    work = PairsWork(
        version=1,
        anew=None,
        documents=rows,
        candidates=len(a),
        pairs=len(a),
        large_buckets=0,
        largest_bucket=0,
        most_copies=MostCopies(text_key=0, copies=0),
        estimate=Estimate(memory_mb=0, disk_mb=0, read_mb=0),
    )
    options = (5, 128, 1, run.bands)
    told = PairsReport(signed=(), floor=0.8, options=options, work=work)
    file = write_table(store, "corpora/scale/pool/pairs", pairs.to_arrow())
    pool = pool.with_signals(signals).with_pairs(PairsRecord(key="0", files=(file,), report=told))
    files = [
        SourceFile(source=record.report.source, path=file.id, id=file.id, sha256=file.sha256, bytes=1)
        for record in records
        for file in record.report.files
    ]
    return pool, files


class Sampled:
    """Sample this process's memory four times a second, and keep the most: resident and anonymous, MB."""

    def __init__(self) -> None:
        self.resident = self.anonymous = 0
        self._done = threading.Event()
        threading.Thread(target=self._sample, daemon=True).start()

    def _sample(self) -> None:
        while not self._done.wait(0.25):
            told = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
            self.resident = max(self.resident, int(told["VmRSS"].split()[0]) >> 10)
            self.anonymous = max(self.anonymous, int(told["RssAnon"].split()[0]) >> 10)

    def stop(self) -> None:
        """End sampling."""
        self._done.set()


def measure(folder: Path, rows: int) -> dict[str, Any]:
    """Make a pool, then decide, plan, account and write files, and count what it took."""
    recipe = folder / "recipe.yaml"
    recipe.write_text(RECIPE)
    for source in SOURCES:  # a run looks whether its sources are there before it begins
        (folder / f"{source}.jsonl").write_text(
            json.dumps({"text": "One text stands here, and nobody reads it."}) + "\n"
        )
    run, store, _ = begin(str(recipe), (), str(folder / "store"), "scale")
    pool, files = made(run, store, rows)
    sampled, hands = Sampled(), Timed()
    decided = decide(run, store, pool, files, (), {}, hands)
    of_decisions = sampled.anonymous, sampled.resident
    planned = mix(run, store, decided, hands)
    account(run, store, pool, files, decided, planned, [], hands)
    of_accounts = sampled.anonymous, sampled.resident
    hands.one("assemble", assemble.run, run, store, pool, decided, planned)
    sampled.stop()
    return {
        "rows": rows,
        "partitions": len(decided.partitions),
        "us_a_row": {step: round(seconds * 1e6 / rows, 2) for step, seconds in hands.seconds.items()},
        "anonymous_mb": {"decide": of_decisions[0], "account": of_accounts[0], "all": sampled.anonymous},
        "resident_mb": {"decide": of_decisions[1], "account": of_accounts[1], "all": sampled.resident},
    }


def main() -> None:
    """Measure each number of rows in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[1_000_000])
    parser.add_argument("--folder", type=Path, help="where a pool is made; by default a temporary folder")
    parser.add_argument("--here", action="store_true", help="measure one number of rows in this process")
    given = parser.parse_args()
    for rows in given.rows:
        folder = Path(tempfile.mkdtemp(prefix="cuvee-scale-", dir=given.folder))
        try:
            if given.here:
                print(json.dumps(measure(folder, rows), indent=1))
            else:
                one = [sys.executable, __file__, "--here", "--rows", str(rows), "--folder", str(folder)]
                subprocess.run(one, check=True, env=os.environ | {"POLARS_MAX_THREADS": "1"})
        finally:
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
