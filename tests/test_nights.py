"""Nights that nobody watches: a real server and worker, a training command behind them, and faults in between."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from deploying import Place, deployed, eventually

pytestmark = pytest.mark.slow
LEARN = 'import sys\nwith open("calls", "a") as calls:\n    calls.write(sys.argv[-1] + "\\n")\n'


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("nights")
    (folder / "learn.py").write_text(LEARN)
    with deployed(folder, "--train-command", f"{sys.executable} {folder / 'learn.py'}") as found:
        yield found


def training_runs(place: Place) -> list[Any]:
    wanted = {"deployments": {"name": {"any_": ["training-pull"]}}, "sort": "EXPECTED_START_TIME_DESC"}
    return list(place.ask("/flow_runs/filter", wanted))


def trained(place: Place) -> list[str]:
    calls = place.folder / "cuvee-training" / "library" / "calls"
    return [Path(line).name for line in calls.read_text().splitlines()] if calls.exists() else []


def test_each_version_is_trained_on_once_and_nothing_new_starts_nothing(place: Place) -> None:
    night = place.ended(place.start("nightly"))
    assert night["state_name"].startswith("Published"), night["state"]["message"]
    run = eventually(lambda: training_runs(place), "a run of training-pull")[0]
    run = place.ended(run["id"])
    assert (run["state_name"], run["name"]) == ("Trained", "library@v0001 training"), run["state"]["message"]
    assert trained(place) == ["v0001"]
    assert place.ended(place.start("nightly"))["state_name"] == "Nothing new"
    again = place.ended(place.start("training-pull", flow="training-pull", ref="library@v0001"))
    assert again["state_name"] == "Trained before"
    assert trained(place) == ["v0001"]
    assert len(training_runs(place)) == 2
