"""What a newcomer runs first: the demo, and the library example."""

import json
import os
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

import cuvee
from cuvee.flows.curate import curate
from cuvee.schemas.document import PUBLISHED

ROOT = Path(__file__).parents[1]
CORPORA = ROOT.parent / "shared" / "corpora"


def test_the_demo_publishes_and_verifies(tmp_path: Path) -> None:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PREFECT_API")}
    code = "from cuvee.commands import main; main()"
    arguments = [sys.executable, "-c", code, "demo", "--json"]
    done = subprocess.run(arguments, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout.splitlines()[-1])
    assert (report["version"], report["published"]) == ("v0001", True)
    assert report["human_share"] >= 0.7
    dataset = cuvee.open("demo", store=str(tmp_path / "cuvee-store"))
    assert list(dataset.verify()) == []
    frame = dataset.scan(None).collect()
    assert set(frame["source"]) == {"packages", "language_reference", "standard_library", "baseline"}
    assert set(frame.filter(pl.col("source") == "baseline")["kind"]) == {"baseline"}
    assert "PSF-2.0" in set(frame["license"])


@pytest.mark.skipif(not CORPORA.is_dir(), reason=f"{CORPORA} is absent: the example needs its corpora")
def test_the_library_example_publishes_all_five_formats(
    prefect_api: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CORPORA", str(CORPORA))
    report = curate(recipe=str(ROOT / "examples/library.yaml"), store=str(tmp_path / "store"))
    frame = cuvee.open("library", store=str(tmp_path / "store")).scan(None).collect()
    assert frame.columns == PUBLISHED.names
    sources = {"standards", "textbooks", "gov_blog", "blog_news", "speeches", "novels", "baseline"}
    assert set(frame["source"]) == sources
    assert report.human_share is not None
    assert report.human_share >= 0.95
    assert report.documents > 4000
