"""One run on workers that share nothing but the store and the sources, both on S3."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import boto3
import pytest
from texts import documents, write_jsonl

import cuvee
from cuvee.flows.curate import curate
from cuvee.flows.runner import task_runner
from cuvee.schemas.errors import RecipeError

RECIPE = """
corpus: library
sources:
  - {{name: notes, uri: "{place}/notes/*.jsonl", license: PSF-2.0}}
filters:
  - {{kind: length, min_words: 20}}
ingest: {{shard_mb: 1}}
generate:
  - {{name: baseline, generator: ngram, allow_baseline: true, budget: {{amount: 3000}}}}
"""
# A worker imports numba and Prefect, on a machine that does other things too.
START_S = 120


@contextmanager
def cluster(folder: Path, workers: int) -> Iterator[tuple[str, list[Path]]]:
    """Run a Dask scheduler and workers, each in a folder of its own; give the address and the folders."""
    contact = folder / "scheduler.json"
    homes = [folder / f"worker-{number}" for number in range(workers)]
    with ExitStack() as running:

        def start(home: Path, *arguments: str) -> None:
            home.mkdir(parents=True)
            environment = os.environ | {"HOME": str(home), "CUVEE_SCRATCH": str(home / "scratch")}
            environment |= {"PREFECT_HOME": str(home / "prefect")}
            with (home / "log").open("wb") as log:
                child = subprocess.Popen(
                    [sys.executable, "-m", *arguments], cwd=home, env=environment, stdout=log, stderr=log
                )
            running.callback(lambda: (child.kill(), child.wait()))

        start(
            folder / "scheduler",
            *("distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard"),
            *("--scheduler-file", str(contact)),
        )
        for home in homes:
            arguments = ["--scheduler-file", str(contact), "--host", "127.0.0.1", "--nthreads", "1", "--no-nanny"]
            start(home, "distributed.cli.dask_worker", *arguments, "--no-dashboard")
        deadline = time.monotonic() + START_S
        while not contact.exists():
            assert time.monotonic() < deadline, (folder / "scheduler/log").read_text()
            time.sleep(0.1)
        import distributed

        with distributed.Client(scheduler_file=str(contact), set_as_default=False) as client:
            client.wait_for_workers(workers, timeout=START_S)
            yield client.scheduler.address, homes


@pytest.mark.usefixtures("prefect_api")
def test_workers_in_folders_of_their_own_complete_one_run_with_the_bytes_of_a_local_one(
    s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = documents(1200)
    bucket = boto3.client("s3")
    for part in range(4):
        path = write_jsonl(tmp_path / f"notes/{part}.jsonl", texts[part::4])
        bucket.upload_file(str(path), s3.removeprefix("s3://"), f"notes/{part}.jsonl")
    for name, place in {"local": str(tmp_path), "far": s3}.items():
        (tmp_path / f"{name}.yaml").write_text(RECIPE.format(place=place))
    curate(recipe=str(tmp_path / "local.yaml"), store=str(tmp_path / "store"))

    with cluster(tmp_path / "cluster", 2) as (address, homes):
        monkeypatch.setenv("DASK_SCHEDULER_ADDRESS", address)
        with pytest.raises(RecipeError, match="leave --workers out"):
            task_runner("dask", 3)
        flow = curate.with_options(task_runner=task_runner("dask"))  # type: ignore[arg-type]
        report = flow(recipe=str(tmp_path / "far.yaml"), store=f"{s3}/store")
        used = [sorted(path.name for path in home.rglob("cuvee-*")) or list(home.rglob("scratch/*")) for home in homes]
    assert report.published
    assert all(used), "each worker wrote files of its own"
    local, far = cuvee.open("library", str(tmp_path / "store")), cuvee.open("library", f"{s3}/store")
    assert [file.sha256 for file in far.manifest.files] == [file.sha256 for file in local.manifest.files]
    assert list(far.verify()) == []
