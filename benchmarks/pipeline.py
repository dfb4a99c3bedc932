"""Measure a whole run: documents a second, peak memory, and each step's share of the time.

    python benchmarks/pipeline.py JSONL_OR_PARQUET … [--times 10]

The texts of the files (column `text`) are written `--times` times into one source; each repetition has its lines
shuffled and every seventh word replaced, so that the copies are documents of their own.
"""

import argparse
import json
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import polars as pl

RECIPE = """
corpus: benchmark
sources: [{name: texts, uri: "part-*.jsonl", license: CC0-1.0}]
filters:
  - {kind: language, keep: [en], min_score: 0.3}
  - {kind: gopher_quality}
  - {kind: gopher_repetition}
generate: [{name: baseline, generator: ngram, allow_baseline: true}]
mixture: {human: {min: 0.95}}
"""
PARTS = 4


def texts_of(paths: list[str]) -> list[str]:
    frames = [pl.read_parquet(path) if path.endswith(".parquet") else pl.read_ndjson(path) for path in paths]
    return [text for frame in frames for text in frame["text"].drop_nulls()]


def varied(text: str, words: list[str], draw: random.Random) -> str:
    lines = text.split("\n")
    draw.shuffle(lines)
    swap = (
        " ".join(draw.choice(words) if draw.random() < 1 / 7 else word for word in line.split(" ")) for line in lines
    )
    return "\n".join(swap)


def write(folder: Path, texts: list[str], times: int) -> tuple[int, int]:
    draw = random.Random(1)
    words = [word for text in texts[:200] for word in text.split()]
    documents = size = 0
    files = [(folder / f"part-{number}.jsonl").open("w", encoding="utf-8") for number in range(PARTS)]
    for repetition in range(times):
        for text in texts:
            row = json.dumps({"text": varied(text, words, draw) if repetition else text})
            files[documents % PARTS].write(row + "\n")
            documents, size = documents + 1, size + len(row)
    for file in files:
        file.close()
    return documents, size


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("paths", nargs="+")
    parser.add_argument("--times", type=int, default=1)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        documents, size = write(folder, texts_of(arguments.paths), arguments.times)
        (folder / "recipe.yaml").write_text(RECIPE, encoding="utf-8")
        code = "from cuvee.commands import main; main()"
        command = [sys.executable, "-c", code, "run", str(folder / "recipe.yaml"), "--store", str(folder / "store")]
        started = time.perf_counter()
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        assert process.stderr is not None
        log = process.stderr.read()
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - started
    if status:
        sys.exit(log)
    steps: dict[str, float] = {}
    for step, took in re.findall(r"^(\w+): \d+ done in ([\d.]+) s", log, flags=re.M):
        steps[step] = steps.get(step, 0.0) + float(took)
    steps.pop("files", None)  # a part of assemble
    work = sum(steps.values())
    print(f"{documents:,} documents, {size / 1e6:.0f} MB: {seconds:.1f} s in all, {work:.1f} s in steps")
    print(
        f"{documents / work:,.0f} documents/s, {size / 1e6 / work:.1f} MB/s, peak {usage.ru_maxrss // 1024} MB resident"
    )
    for step, took in sorted(steps.items(), key=lambda entry: -entry[1]):
        print(f"  {step:<14} {took:6.1f} s  {took / work:5.1%}")


if __name__ == "__main__":
    main()
