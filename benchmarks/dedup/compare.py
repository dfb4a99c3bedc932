"""Compare: our signatures and our dedup against datasketch, rensa, Daft and datatrove, side by side in one run.

    python benchmarks/dedup/compare.py [--documents 20000] [--times 3] [--folder FOLDER] [--only cuvee,rensa]

Each library runs in a process of its own, in its own environment (made with venv and pip in FOLDER, kept for the next
run), on one core; one that cannot be installed is named and left out. The processes take turns; the best CPU time of
each counts, which other work on the machine disturbs least. All get the same documents (`workload`).

Signatures: text → word 5-grams → 128 permutations. Dedup: ours with every removal verified on the text; datasketch
with its LSH, query then insert; rensa with its deduplicator. Recall: of the true pairs with J >= .8 (.9), the share
of which not both stay. Precision: of the rows removed, the share that has a true J >= .8 with a row that stays.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import venv
from pathlib import Path
from typing import Any

import workload

THRESHOLD = 0.8
# A library that takes longer for one task is asked for it once.
PATIENCE_S = 20
# Takes minutes for what others take seconds for: asked for the first of so many parts, its time multiplied.
PARTS = {"datatrove": 20}
PINNED = {
    "cuvee": [],
    "datasketch": ["datasketch==2.0.0", "xxhash==3.6.0"],
    "datasketch_xxh32": ["datasketch==2.0.0", "xxhash==3.6.0"],
    "rensa": ["rensa==0.5.0"],
    "daft": ["daft==0.7.26"],
    "datatrove_split": ["datatrove[processing]==0.10.1", "spacy==3.8.7"],
    "datatrove": ["datatrove[processing]==0.10.1", "spacy==3.8.7"],
}
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS", "POLARS_MAX_THREADS", "NUMBA_NUM_THREADS")
ONE_THREAD = dict.fromkeys(THREADS, "1") | {"DAFT_RUNNER": "native", "DO_NOT_TRACK": "1", "HF_HUB_OFFLINE": "1"}


class Library:
    """A worker process, and what it answered."""

    def __init__(self, name: str, python: str, documents: Path, count: int, core: int) -> None:
        """Start the process and wait until it has loaded the documents. Raises RuntimeError when it cannot."""
        self.name = name
        self.parts = PARTS.get(name, 1)
        self.best: dict[str, float] = {}
        self.times = 0
        self.peak_kb: dict[str, int] = {}
        self.removed: list[int] = []

        def pin() -> None:
            if hasattr(os, "sched_setaffinity"):
                os.sched_setaffinity(0, {core})

        self.log = documents.with_name(f"{name}.log")
        self.process = subprocess.Popen(
            [python, str(Path(__file__).with_name("worker.py")), name, str(documents), str(count // self.parts)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log.open("w"), text=True, bufsize=1,
            env=os.environ | ONE_THREAD, preexec_fn=pin,
        )  # fmt: skip
        self.tasks = self._answer()["tasks"]

    def ask(self, task: str) -> None:
        """Do a task again, unless it is known to take long."""
        if task not in self.tasks or self.best.get(task, 0) > PATIENCE_S:
            return
        assert self.process.stdin is not None
        self.process.stdin.write(task + "\n")
        answer = self._answer()
        seconds = answer["seconds"] * self.parts
        self.best[task] = min(self.best.get(task, seconds), seconds)
        self.peak_kb[task] = answer["peak_kb"]
        self.removed = answer["removed"] or self.removed

    def end(self) -> None:
        """Close the process."""
        self.process.communicate()

    def _answer(self) -> Any:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith("{"):
                return json.loads(line)
        self.end()
        raise RuntimeError((self.log.read_text().strip() or "its process ended").splitlines()[-1])


def environment(folder: Path, requirements: list[str]) -> str:
    """Return the Python of an environment with these packages, made when it is not there. Raises RuntimeError."""
    if not requirements:
        return sys.executable
    place = folder / ("-".join(requirements).replace("=", "").replace("[", "-").replace("]", ""))
    python = place / "bin" / "python"
    if not (place / "done").exists():
        venv.create(place, with_pip=True, clear=True)
        answer = subprocess.run(
            [python, "-m", "pip", "install", "--quiet", *requirements], capture_output=True, text=True, timeout=600
        )
        if answer.returncode:
            raise RuntimeError((answer.stderr.strip() or "pip failed").splitlines()[-1])
        (place / "done").touch()
    return str(python)


def quality(removed: list[int], pairs: dict[tuple[int, int], float]) -> tuple[float, float, float]:
    """Return recall at J >= .8, at J >= .9, and the precision of the removals."""
    gone = set(removed)
    recalls = []
    for least in (THRESHOLD, 0.9):
        near = [pair for pair, jaccard in pairs.items() if jaccard >= least]
        recalls.append(sum(a in gone or b in gone for a, b in near) / max(1, len(near)))
    stays = {
        row
        for pair, jaccard in pairs.items()
        if jaccard >= THRESHOLD
        for row, other in (pair, pair[::-1])
        if row in gone and other not in gone
    }
    return recalls[0], recalls[1], len(stays) / max(1, len(gone))


def table(libraries: list[Library], pairs: dict[tuple[int, int], float], megabytes: float) -> str:
    """Return the results as a Markdown table."""
    ours = next((library for library in libraries if library.name == "cuvee"), None)
    lines = [
        "| library | signatures, s | MB/s | ours | dedup, s | ours | recall .8 | recall .9 | precision | peak MB |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]

    def factor(library: Library, task: str) -> str:
        return f"{library.best[task] / ours.best[task]:.1f}×" if ours else ""

    for library in libraries:
        cells = [library.name, f"{library.best['sign']:.3f}", f"{megabytes / library.best['sign']:.1f}"]
        cells.append(factor(library, "sign"))
        if "dedup" in library.best:
            figures = quality(library.removed, pairs)
            cells += [f"{library.best['dedup']:.3f}", factor(library, "dedup")]
            cells += [f"{figure:.5f}" for figure in figures]
        else:
            cells += ["", "", "", "", ""]
        cells.append(str(max(library.peak_kb.values()) // 1024))
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, default=20_000)
    parser.add_argument("--times", type=int, default=3)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "cuvee-benchmark")
    parser.add_argument("--only", default=",".join(PINNED), help="libraries, separated by commas")
    parser.add_argument("--core", type=int, default=0)
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    documents = arguments.folder / f"documents-{arguments.documents}.jsonl"
    workload.write(documents, arguments.documents)
    texts = workload.read(documents)
    pairs = workload.truth(texts)
    megabytes = sum(len(text.encode()) for text in texts) / 1e6
    near = sum(jaccard >= THRESHOLD for jaccard in pairs.values())
    print(f"{len(texts):,} documents, {megabytes:.1f} MB; {len(pairs):,} true pairs of J >= .5, {near:,} of J >= .8")
    libraries = []
    for name in arguments.only.split(","):
        try:
            python = environment(arguments.folder, PINNED[name])
            libraries.append(Library(name, python, documents, len(texts), arguments.core))
        except (RuntimeError, subprocess.SubprocessError, OSError) as error:
            print(f"{name}: left out: {error}")
    print(f"load {' '.join(f'{load:.1f}' for load in os.getloadavg())} on {os.cpu_count()} cores, one used")
    for _ in range(arguments.times):
        for task in ("sign", "dedup"):
            for library in libraries:
                library.ask(task)
    for library in libraries:
        library.end()
    print(table(libraries, pairs, megabytes))


if __name__ == "__main__":
    main()
