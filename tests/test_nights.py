"""Nights that nobody watches: a real server and worker, a training command behind them, and faults in between."""

import json
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from deploying import Place, deployed, eventually
from receiving import Receiver, receiving
from servers import free_port
from texts import documents, write_jsonl

from cuvee.deployments import daemons, keeper

pytestmark = pytest.mark.slow
LEARN = 'import sys\nwith open("calls", "a") as calls:\n    calls.write(sys.argv[-1] + "\\n")\n'


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("nights")
    (folder / "learn.py").write_text(LEARN)
    with deployed(folder, "--train-command", f"{sys.executable} {folder / 'learn.py'}") as found:
        yield found


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as server:
        yield server


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


def standing(place: Place) -> dict[str, daemons.Daemon]:
    record = place.folder / "home" / ".prefect" / "cuvee" / "deploy.json"
    found = daemons.Standing.model_validate(json.loads(record.read_text()))
    return {daemon.name: daemon for daemon in found.alive}


def again(place: Place, name: str, before: daemons.Daemon) -> Any:
    return eventually(lambda: standing(place).get(name) not in (None, before), f"another {name}")


def test_what_dies_is_started_again_and_a_killed_night_is_published_in_the_end(place: Place) -> None:
    write_jsonl(place.folder / "texts" / "b.jsonl", documents(90))
    # As the schedule makes it.
    made = place.ask(f"/deployments/{place.deployment('nightly')['id']}/create_flow_run", {"tags": ["auto-scheduled"]})
    run = made["id"]
    eventually(lambda: place.ask(f"/flow_runs/{run}")["state_type"] == "RUNNING", "a run in hand")
    worker, server = standing(place)["worker"], standing(place)["server"]
    os.killpg(worker.pid, signal.SIGKILL)
    again(place, "worker", worker)
    killed = place.ended(run)
    assert killed["state_name"] == "Crashed", killed["state"]
    second = eventually(lambda: started_by_automation(place), "a second run")
    os.killpg(server.pid, signal.SIGKILL)
    again(place, "server", server)
    eventually(lambda: healthy(place), "the server, at its own port")
    place.ask(f"/flow_runs/{second['id']}/set_state", {"state": {"type": "SCHEDULED"}, "force": True})
    done = place.ended(second["id"])
    assert done["state_name"].startswith("Published"), done["state"]["message"]
    eventually(lambda: trained(place) == ["v0001", "v0002"], "training on the second version")


def started_by_automation(place: Place) -> Any:
    found = place.ask("/flow_runs/filter", {"deployments": {"name": {"any_": ["nightly"]}}})
    return next((run for run in found if (run["created_by"] or {}).get("type") == "AUTOMATION"), None)


def healthy(place: Place) -> bool:
    with suppress(OSError):
        return bool(place.ask("/health"))
    return False


def test_late_failed_gated_and_finding_laden_runs_are_told_once_each(place: Place, receiver: Receiver) -> None:
    (kind,) = place.ask("/block_types/filter", {"block_types": {"slug": {"any_": ["custom-webhook"]}}})
    schemas = place.ask("/block_schemas/filter", {"block_schemas": {"block_type_id": {"any_": [kind["id"]]}}})
    hook = {"name": "cuvee", "url": receiver.address, "json_data": {"what": "{{subject}}", "text": "{{body}}"}}
    block = {"name": "cuvee", "data": hook, "block_type_id": kind["id"], "block_schema_id": schemas[0]["id"]}
    place.ask("/block_documents/", block)
    again = place.run("deploy", "library.yaml", "--detach")
    assert "told of faults     custom-webhook/cuvee" in again.stdout, again.stderr
    flow = place.deployment("nightly")["flow_id"]
    ends = [("SCHEDULED", "Late"), ("FAILED", "Failed"), ("FAILED", "Stopped"), ("FAILED", "Waits for review")]
    ends += [("COMPLETED", "Published with findings"), ("COMPLETED", "Published"), ("COMPLETED", "Nothing new")]
    for kind, name in ends:
        made = {"flow_id": flow, "tags": ["cuvee"], "name": f"run {name}", "state": {"type": "SCHEDULED"}}
        run = place.ask("/flow_runs/", made)["id"]
        state = {"type": kind, "name": name, "message": "what to do: <b>this</b>"}
        place.ask(f"/flow_runs/{run}/set_state", {"state": state, "force": True})
    real = place.ended(place.start("ad-hoc", plan_only=True, tag="trial"))
    eventually(lambda: len(receiver.got) >= 6, "six messages")
    time.sleep(5)  # for what should not come
    told = sorted(message["what"] for message in receiver.got)
    assert told == sorted([f"run {name}: {name}" for _, name in ends[:5]] + [f"{real['name']}: Failed"])
    assert all(f"{place.api.removesuffix('/api')}/" in message["text"] for message in receiver.got)
    (failed,) = [message for message in receiver.got if message["what"].startswith(real["name"])]
    assert "a plan publishes nothing that a tag could point at" in failed["text"]


def test_what_dies_again_and_again_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path))
    monkeypatch.setenv("PREFECT_SERVER_DATABASE_CONNECTION_URL", "sqlite+aiosqlite:////nowhere/prefect.db")
    daemons.home().mkdir()
    gone = daemons.Daemon(name="server", pid=2**22, born="never", log=str(daemons.home() / "server.log"))
    own = daemons.Daemon(name="keeper", pid=os.getpid(), born=daemons.birth(os.getpid()) or "", log=gone.log)
    Path(gone.log).touch()
    daemons.remember(daemons.Standing(api=f"http://127.0.0.1:{free_port()}/api", daemons=(gone, own)))
    assert keeper.keep(0.0, (0.0,)).startswith("the server died 4 times in 10 minutes (")
