"""Measure runs over many files of one document each: task runs, and CPU time of the first run and of an unchanged one.

    python benchmarks/small_files.py [--files 20000] [--runner threads]

The texts are made of words at random, 230 each. CPU time is that of the command and of the Prefect server that it
starts; kernels are compiled before.
"""

import argparse
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

RECIPE = """
corpus: benchmark
sources: [{name: texts, uri: "texts/*/*.txt", license: CC0-1.0}]
filters:
  - {kind: language, keep: [en], min_score: 0.0}
  - {kind: gopher_quality}
  - {kind: gopher_repetition}
"""
WORDS = (
    "the of and to in that have with be river stone market garden letter window morning evening teacher doctor harbour "
    "mountain bridge village captain history music paper summer winter question answer moment people place house night"
)
A_FOLDER = 1000  # files


def write(folder: Path, files: int) -> None:
    """Write the files, each of sentences of a few words."""
    draw, words = random.Random(1), WORDS.split()
    for number in range(files):
        place = folder / "texts" / f"{number // A_FOLDER:03}"
        place.mkdir(parents=True, exist_ok=True)
        lines = (" ".join(draw.choices(words, k=draw.randrange(6, 18))).capitalize() + "." for _ in range(20))
        (place / f"{number:06}.txt").write_text("\n".join(lines), encoding="utf-8")


def run(folder: Path, runner: str) -> tuple[float, float, int]:
    """Run the recipe; return seconds of CPU, seconds, and how many tasks there were."""
    code = "from cuvee.commands import main; main()"
    command = [sys.executable, "-c", code, "run", str(folder / "recipe.yaml"), "--store", str(folder / "store")]
    started = time.perf_counter()
    process = subprocess.Popen(
        [*command, "--runner", runner], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    log = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(log)
    tasks = sum(map(int, re.findall(r"^\w+: (\d+) to do", log, flags=re.MULTILINE)))
    return usage.ru_utime + usage.ru_stime, time.perf_counter() - started, tasks


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=20_000)
    parser.add_argument("--runner", default="threads", choices=["plain", "threads"])
    arguments = parser.parse_args()
    subprocess.run([sys.executable, "-m", "cuvee.flows.compiling"], check=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write(folder, arguments.files)
        (folder / "recipe.yaml").write_text(RECIPE, encoding="utf-8")
        for which in ("first run", "unchanged"):
            cpu, seconds, tasks = run(folder, arguments.runner)
            print(f"{which}: {cpu:.1f} s of CPU, {seconds:.1f} s, {tasks} task runs", flush=True)


if __name__ == "__main__":
    main()
