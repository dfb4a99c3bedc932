"""Growth: time, peak memory and disk of `cuvee dedup` from 50,000 to 1,000,000 documents.

    python benchmarks/dedup/growth.py [--documents 50000,200000,1000000] [--forms] [--folder FOLDER]

With --forms the documents are copies of one form in which two words differ, so that any two are near-duplicates. Each
size is a process of its own on jsonl files of at most 50,000 documents. CPU time is that of all threads; the exponent
is log(time ratio) / log(size ratio) from one size to the next, 1 is linear.
"""

import argparse
import math
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import workload

PART = 50_000


def measured(files: list[Path], out: Path) -> tuple[float, float, float, str]:
    """Run the command; return CPU seconds, seconds, peak resident MB, and the first line of its summary."""
    code = "from cuvee.commands import main; main()"
    command = [sys.executable, "-c", code, "dedup", *map(str, files), "--out", str(out)]
    started = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout is not None
    summary = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - started
    if status:
        raise SystemExit(f"cuvee dedup failed with status {status}")
    return usage.ru_utime + usage.ru_stime, seconds, usage.ru_maxrss / 1024, summary.splitlines()[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", default="50000,200000,1000000", help="sizes, separated by commas")
    parser.add_argument("--forms", action="store_true", help="copies of one form instead of real text")
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "cuvee-benchmark")
    arguments = parser.parse_args()
    sizes = sorted(int(size) for size in arguments.documents.split(","))
    folder = arguments.folder / "growth"
    folder.mkdir(parents=True, exist_ok=True)
    parts = [folder / f"part-{number:03}.jsonl" for number in range(math.ceil(sizes[-1] / PART))]
    (workload.write_forms if arguments.forms else workload.write_parts)(parts, sizes[-1], PART)
    print("| documents | CPU s | s | peak MB | exponent | load | result |\n|---|---|---|---|---|---|---|")
    before: tuple[int, float] | None = None
    for size in sizes:
        whole = parts[: size // PART]
        if size % PART:
            cut = folder / "rest.jsonl"
            lines = parts[size // PART].read_text(encoding="utf-8").splitlines(keepends=True)
            cut.write_text("".join(lines[: size % PART]), encoding="utf-8")
            whole = [*whole, cut]
        cpu, seconds, peak, summary = measured(whole, folder / "out")
        exponent = f"{math.log(cpu / before[1]) / math.log(size / before[0]):.2f}" if before else ""
        print(
            f"| {size:,} | {cpu:.1f} | {seconds:.1f} | {peak:.0f} | {exponent} | {os.getloadavg()[0]:.1f} | {summary} |"
        )
        before = size, cpu


if __name__ == "__main__":
    main()
