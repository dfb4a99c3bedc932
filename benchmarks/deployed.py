"""Compare the peak memory of a deployed first run with that of `cuvee run`, with as many workers.

    python benchmarks/deployed.py [--shards 20] [--mb 4] [--workers 2]

Both read the same texts of random words, in `--shards` files of `--mb` MB that make a shard each, into empty stores.
The peak is that of the process which carries the run out (VmHWM of /proc; Linux). What is deployed lives in an empty
home and is stopped at the end.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

RECIPE = """
corpus: benchmark
sources: [{{name: texts, uri: "part-*.jsonl", license: CC0-1.0}}]
ingest: {{shard_mb: {mb}}}
"""
CUVEE = [sys.executable, "-c", "from cuvee.commands import main; main()"]
ENGINE = "cuvee.deployments.engine"
PATIENCE_S = 900


def write(folder: Path, shards: int, mb: int) -> None:
    draw = random.Random(1)
    words = ["".join(draw.choices("abcdefghijklmnopqrstuvwxyz", k=draw.randint(2, 10))) for _ in range(5000)]
    for number in range(shards):
        size = 0
        with (folder / f"part-{number:03}.jsonl").open("w", encoding="utf-8") as file:
            while size < 0.9e6 * mb:  # more than half a shard, or two files would share one
                row = json.dumps({"text": " ".join(draw.choices(words, k=300))}) + "\n"
                file.write(row)
                size += len(row)


def peak_mb(process: int) -> int | None:
    """The largest resident memory that a process has had; None when it has ended."""
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return next((int(line.split()[1]) // 1024 for line in lines if line.startswith("VmHWM:")), None)


def children(parent: int) -> list[int]:
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            if int(stat.read_text().rpartition(")")[2].split()[1]) == parent:
                found.append(int(stat.parent.name))
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


def follow(process: int) -> int:
    """Wait for a process's end; its peak in MB."""
    peak = 0
    while (now := peak_mb(process)) is not None:
        peak = max(peak, now)
        time.sleep(0.05)
    return peak


def run_peak(folder: Path, environment: dict[str, str], workers: int) -> int:
    command = [*CUVEE, "run", "recipe.yaml", "--store", "store-run", "--workers", str(workers)]
    with subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.DEVNULL) as run:
        peak = follow(run.pid)  # what has ended keeps its number until we ask, but no memory
    if run.returncode:
        sys.exit("cuvee run failed")
    return peak


def deployed_peak(folder: Path, environment: dict[str, str], workers: int) -> int:
    deploy = [*CUVEE, "deploy", "recipe.yaml", "--store", "store-deployed", "--workers", str(workers), "--detach"]
    with (folder / "said").open("w") as said:
        subprocess.run([*deploy, "--json"], cwd=folder, env=environment, stdout=said, check=True)
    try:
        told = json.loads((folder / "said").read_text())
        login = Path(told["login_file"]).read_text().strip()
        client = environment | {"PREFECT_API_URL": told["api"], "PREFECT_API_AUTH_STRING": login}
        start = ["-m", "prefect", "deployment", "run", f"curate/{told['names'][0]}"]
        subprocess.run([sys.executable, *start], cwd=folder, env=client, stdout=subprocess.DEVNULL, check=True)
        standing = json.loads((folder / "home" / "cuvee" / "deploy.json").read_text())
        worker = next(daemon["pid"] for daemon in standing["daemons"] if daemon["name"] == "worker")
        deadline = time.monotonic() + PATIENCE_S
        while not (runs := [child for child in children(worker) if is_run(child)]):
            if time.monotonic() > deadline:
                sys.exit("the worker started no run")
            time.sleep(0.05)
        peak = follow(runs[0])
        if not list((folder / "store-deployed" / "corpora" / "benchmark" / "manifests").glob("v0001.json")):
            sys.exit("the deployed run published nothing")
        return peak
    finally:
        subprocess.run([*CUVEE, "deploy", "--stop"], cwd=folder, env=environment, stdout=subprocess.DEVNULL)


def is_run(process: int) -> bool:
    try:
        return ENGINE in Path(f"/proc/{process}/cmdline").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shards", type=int, default=20)
    parser.add_argument("--mb", type=int, default=4)
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write(folder, arguments.shards, arguments.mb)
        (folder / "recipe.yaml").write_text(RECIPE.format(mb=arguments.mb), encoding="utf-8")
        own = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
        environment = own | {"PREFECT_HOME": str(folder / "home")}
        run, deployed = (measure(folder, environment, arguments.workers) for measure in (run_peak, deployed_peak))
    print(f"{arguments.shards} shards of {arguments.mb} MB, {arguments.workers} workers: ", end="")
    print(f"cuvee run {run} MB, deployed {deployed} MB, {deployed / run:.2f} times")


if __name__ == "__main__":
    main()
