"""The nightly run and the ad-hoc form, on a real Prefect server with a real worker, in an empty home."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from deploying import MAIN, PATIENCE_S, RECIPE, Place, command, deployed, eventually
from servers import free_port
from texts import documents, write_jsonl

import cuvee
from cuvee.deployments import daemons, definitions, programs
from cuvee.flows import names
from cuvee.flows.ad_hoc import checked, defaults
from cuvee.flows.deployed import check
from cuvee.schemas.errors import RecipeError
from cuvee.schemas.parse import parse_recipe

ROOT = Path(__file__).parents[1]
ZONE = "Europe/Berlin"
OPEN_POOL = {
    "job_configuration": {"command": "{{ command }}", "env": "{{ env }}"},
    "variables": {"type": "object", "properties": {"command": {"type": "string"}, "env": {"type": "object"}}},
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with deployed(tmp_path_factory.mktemp("deployed"), "--timezone", ZONE) as found:
        yield found


def test_deploy_tells_where_the_ui_is_and_it_answers(place: Place) -> None:
    ui = place.api.removesuffix("/api")
    assert f"UI                 {ui}\n" in place.said
    with urllib.request.urlopen(ui, timeout=60) as page:
        assert page.status == 200
        assert b"<html" in page.read().lower()
    due = place.ask(f"/deployments/{place.deployment('nightly')['id']}")["schedules"][0]["schedule"]
    assert (due["cron"], due["timezone"]) == ("0 4 * * *", ZONE)
    assert " 04:00 CE" in place.said


def test_the_form_has_descriptions_defaults_of_the_recipe_and_bounds(place: Place) -> None:
    ad_hoc = place.deployment("ad-hoc")
    assert ad_hoc["enforce_parameter_schema"]
    assert ad_hoc["schedules"] == []
    store = str(place.folder / "cuvee-store")
    assert ad_hoc["parameters"] == {
        "recipe": str(place.folder / "library.yaml"),
        "store": store,
        "human_share": 0.6,
        "generate": True,
        "tag": "latest",
    }
    fields = ad_hoc["parameter_openapi_schema"]["properties"]
    assert list(fields) == ["recipe", "human_share", "total", "generate", "plan_only", "tag", "store"]
    assert all(field["description"] for field in fields.values())
    assert fields["human_share"].items() >= {"type": "number", "minimum": 0.0, "maximum": 1.0}.items()
    assert fields["total"].items() >= {"type": "integer", "minimum": 1}.items()
    assert "human_share" not in ad_hoc["parameter_openapi_schema"].get("required", [])


@pytest.mark.parametrize(
    "wrong",
    [
        {"human_share": 1.7},
        {"human_share": "half"},
        {"total": 0},
        {"tag": "No Tag"},
        {"generate": "perhaps"},
        {"train_command": "touch mark"},
    ],
    ids=str,
)
def test_the_server_refuses_what_is_out_of_bounds(place: Place, wrong: dict[str, Any]) -> None:
    with pytest.raises(urllib.error.HTTPError) as refusal:
        place.start("ad-hoc", **wrong)
    assert refusal.value.code in (409, 422)
    said = refusal.value.read().decode()
    assert next(iter(wrong)) in said
    assert wrong != {"human_share": 1.7} or "1.7 is greater than the maximum of 1" in said


def test_nights_come_once_each_where_the_clock_changes(place: Place) -> None:
    early = place.run(
        "deploy", "library.yaml", "--detach", "--name", "early", "--cron", "30 2 * * *", "--timezone", ZONE
    )
    assert early.returncode == 0, early.stderr
    assert "It runs already" in early.stdout
    for change, skipped in ((date(2030, 3, 31), True), (date(2030, 10, 27), False)):
        nights = [change + timedelta(days=day) for day in range(-2, 3)]
        offsets = {datetime(n.year, n.month, n.day, 12, tzinfo=ZoneInfo(ZONE)).utcoffset() for n in nights}
        assert len(offsets) == 2, "the clock changes in between"
        assert due(place, "nightly", nights) == [f"{night} 04:00" for night in nights]
        # Prefect runs a skipped 2:30 an hour early, and a repeated one the first time.
        times = ["01:30" if skipped and night == change else "02:30" for night in nights]
        assert due(place, "nightly-early", nights) == [f"{night} {at}" for night, at in zip(nights, times, strict=True)]


def due(place: Place, name: str, nights: list[date]) -> list[str]:
    """Let the server schedule the nights, twice from different moments, and give the local times of its runs."""
    deployment = place.deployment(name)["id"]
    first, last = (datetime(n.year, n.month, n.day, tzinfo=UTC) for n in (nights[0], nights[-1] + timedelta(days=1)))
    window = {"end_time": last.isoformat(), "min_runs": 50, "max_runs": 50}
    for start in (first - timedelta(hours=2), first + timedelta(days=2, hours=1, minutes=15)):
        place.ask(f"/deployments/{deployment}/schedule", {"start_time": start.isoformat(), **window})
    between = {"expected_start_time": {"after_": first.isoformat(), "before_": last.isoformat()}}
    found = place.ask("/flow_runs/filter", {"flow_runs": between, "deployments": {"id": {"any_": [deployment]}}})
    moments = sorted(datetime.fromisoformat(run["expected_start_time"]) for run in found)
    return [f"{moment.astimezone(ZoneInfo(ZONE)):%Y-%m-%d %H:%M}" for moment in moments]


def test_the_worker_carries_out_a_scheduled_nightly_run_that_publishes(place: Place) -> None:
    minutely = place.run("deploy", "library.yaml", "--detach", "--cron", "* * * * *", "--timezone", ZONE)
    assert minutely.returncode == 0, minutely.stderr
    nightly = place.deployment("nightly")["id"]

    def started_by_schedule() -> Any:
        ran = {"state": {"type": {"any_": ["COMPLETED", "FAILED", "CRASHED"]}}}
        found = place.ask("/flow_runs/filter", {"flow_runs": ran, "deployments": {"id": {"any_": [nightly]}}})
        return [run for run in found if run["auto_scheduled"]]

    run = eventually(started_by_schedule, "a scheduled run")[0]
    assert run["state_type"] == "COMPLETED", run["state"]["message"]
    restored = place.run("deploy", "library.yaml", "--detach", "--timezone", ZONE)
    assert restored.returncode == 0, restored.stderr
    first = cuvee.open("library@v0001", store=str(place.folder / "cuvee-store"))
    assert first.manifest.version == 1
    assert sum(1 for _ in first.dataset().to_batches()) > 0
    kinds = {
        artifact["type"] for artifact in place.ask("/artifacts/filter", {}) if artifact["flow_run_id"] == run["id"]
    }
    assert {"table", "markdown"} <= kinds
    logs = place.ask("/logs/filter", {"logs": {"flow_run_id": {"any_": [run["id"]]}}})
    assert any(line["name"] == "cuvee.progress" for line in logs)


def test_an_ad_hoc_run_publishes_what_its_form_says(place: Place) -> None:
    run = place.ended(place.start("ad-hoc", human_share=0.9, total=2000, tag="trial"))
    assert run["state_type"] == "COMPLETED", run["state"]["message"]
    assert run["name"].startswith(f"library {local_day(run)} ad-hoc")
    assert run["name"].endswith("min=0.9 total=2000 tag=trial")
    assert run["state_name"] == "Published"
    assert run["state"]["message"].startswith("Published library@v000")
    trial = cuvee.open("library@trial", store=str(place.folder / "cuvee-store"))
    mixture = trial.manifest.recipe["mixture"]
    assert (mixture["human"]["min"], mixture["total"]) == (0.9, 2000)
    table = trial.dataset().to_table(["provenance", "tokens"]).to_pydict()
    rows = list(zip(table["provenance"], table["tokens"], strict=True))
    human = sum(tokens for provenance, tokens in rows if provenance == "human")
    assert sum(tokens for _, tokens in rows) > 1000
    assert human / sum(tokens for _, tokens in rows) >= 0.9


def test_a_wrong_combination_fails_at_once_and_says_why(place: Place) -> None:
    run = place.ended(place.start("ad-hoc", plan_only=True, tag="trial"))
    assert run["state_type"] == "FAILED"
    assert "a plan publishes nothing that a tag could point at" in run["state"]["message"]
    assert run["name"].startswith(f"library {local_day(run)} ad-hoc")
    assert run["name"].endswith("tag=trial plan")
    assert run["total_run_time"] < 10


def local_day(run: Any) -> str:
    return datetime.fromisoformat(run["expected_start_time"]).astimezone(ZoneInfo(ZONE)).date().isoformat()


def test_a_run_whose_process_died_is_crashed(place: Place) -> None:
    (automation,) = [a for a in place.ask("/automations/filter", {}) if a["name"] == "cuvee-zombies"]
    assert automation["trigger"]["within"] == 300
    # The heartbeat of a real run shows what events carry; minutes are shortened to seconds.
    done = place.ended(place.start("ad-hoc", plan_only=True))
    beat = eventually(lambda: heartbeat(place, done["id"]), "a heartbeat")
    changed = {key: automation[key] for key in ("name", "description", "enabled", "trigger", "actions")}
    changed["trigger"] = {**changed["trigger"], "within": 10}
    place.ask(f"/automations/{automation['id']}", changed, "PUT")
    running = {"flow_id": done["flow_id"], "tags": ["cuvee"], "state": {"type": "RUNNING"}}
    run = place.ask("/flow_runs/", running)["id"]
    event = {key: beat[key] for key in ("event", "related", "payload")}
    event |= {"id": done["id"], "occurred": datetime.now(UTC).isoformat()}
    event["resource"] = {**beat["resource"], "prefect.resource.id": f"prefect.flow-run.{run}"}
    place.ask("/events", [event])
    assert place.ended(run)["state_type"] == "CRASHED"
    place.ask(f"/automations/{automation['id']}", {**changed, "trigger": automation["trigger"]}, "PUT")


def heartbeat(place: Place, run: str) -> Any:
    wanted = {"event": {"name": ["prefect.flow-run.heartbeat"]}, "any_resource": {"id": [f"prefect.flow-run.{run}"]}}
    found = place.ask("/events/filter", {"filter": wanted})["events"]
    return found[0] if found else None


def test_another_corpus_needs_a_pair_of_its_own(place: Place) -> None:
    (place.folder / "news.yaml").write_text(RECIPE.replace("corpus: library", "corpus: news"))
    refused = place.run("deploy", "news.yaml", "--detach")
    assert refused.returncode == 2
    assert "--name news" in refused.stderr
    assert place.deployment("nightly")["parameters"]["recipe"] == str(place.folder / "library.yaml")


def test_prefect_deploy_takes_the_file_as_it_stands(place: Place) -> None:
    environment = place.environment | {"PREFECT_API_URL": place.api, "CUVEE_RECIPE": "/srv/library.yaml"}
    environment["PREFECT_API_AUTH_STRING"] = place.login
    # As `prefect work-pool create` makes it: runs may choose their command there.
    place.ask("/work_pools/", {"name": "own", "type": "process", "base_job_template": OPEN_POOL})
    file = str(ROOT / "deployments" / "prefect.yaml")
    for name in ("nightly", "ad-hoc"):
        prefect = [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--name", name, "--prefect-file", file]
        prefect += ["--pool", "own"]
        done = subprocess.run(
            prefect, cwd=place.folder, env=environment, capture_output=True, text=True, timeout=PATIENCE_S
        )
        # Its exit code tells about what comes after: with FastAPI 0.151 and later it cannot list the workers.
        assert f"Deployment 'curate/{name}' successfully created" in done.stdout, done.stdout + done.stderr
    nightly, ad_hoc = place.deployment("nightly"), place.deployment("ad-hoc")
    assert nightly["parameters"] == ad_hoc["parameters"] == {"recipe": "/srv/library.yaml"}
    assert nightly["entrypoint"] == "cuvee.flows.curate.curate"
    assert nightly["schedules"][0]["schedule"]["cron"] == "0 4 * * *"
    assert nightly["job_variables"]["command"] == "python -m cuvee.deployments.engine"
    assert nightly["pull_steps"] == []
    assert nightly["global_concurrency_limit"]["limit"] == 1


def test_stop_ends_every_program_and_may_be_repeated(place: Place) -> None:
    record = place.folder / "home" / ".prefect" / "cuvee" / "deploy.json"
    standing = daemons.Standing.model_validate(json.loads(record.read_text()))
    assert [daemon.name for daemon in standing.alive] == ["server", "worker", "keeper"]
    stopped = place.run("deploy", "--stop")
    assert (stopped.returncode, stopped.stdout) == (0, "stopped: keeper, worker, server\n"), stopped.stderr
    assert standing.alive == ()
    with socket.socket() as client:
        assert client.connect_ex(("127.0.0.1", int(place.api.split(":")[2].split("/")[0]))) != 0
    again = place.run("deploy", "--stop")
    assert (again.returncode, again.stdout) == (0, "nothing was running\n")


def test_in_the_foreground_an_interrupt_stops_it_all(place: Place) -> None:
    place.run("deploy", "--stop")
    with (place.folder / "log").open("w") as log:
        front = subprocess.Popen(
            [*MAIN, "deploy", "library.yaml", "--port", str(free_port())],
            cwd=place.folder,
            env=place.environment,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        eventually(lambda: "cuvee deploy --stop" in (place.folder / "log").read_text(), "the address")
        record = place.folder / "home" / ".prefect" / "cuvee" / "deploy.json"
        standing = daemons.Standing.model_validate(json.loads(record.read_text()))
        assert len(standing.alive) == 3
        front.send_signal(signal.SIGINT)
        assert front.wait(PATIENCE_S) == 0
    finally:
        front.kill()
    assert "stopped: keeper, worker, server" in (place.folder / "log").read_text()
    assert standing.alive == ()
    assert not record.exists()


def test_a_program_that_got_a_used_process_id_is_left_alone() -> None:
    stranger = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, start_new_session=True)
    try:
        taken = daemons.Daemon(name="server", pid=stranger.pid, born="an earlier time", log="")
        assert not taken.is_alive
        assert not daemons.stop(taken, 0.0)
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_a_program_that_ignores_its_interrupt_is_ended_with_its_children(tmp_path: Path) -> None:
    stubborn = (
        "import signal, subprocess, sys, time\n"
        "for number in (signal.SIGINT, signal.SIGTERM): signal.signal(number, signal.SIG_IGN)\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        "print(child.pid, flush=True); time.sleep(600)"
    )
    daemon = daemons.start("worker", [sys.executable, "-c", stubborn], tmp_path / "log", dict(os.environ))
    child = eventually(lambda: (tmp_path / "log").read_text().strip(), "the child")
    assert daemons.stop(daemon, 0.5)
    assert not daemon.is_alive
    assert daemons.birth(int(child)) is None


@pytest.mark.parametrize(
    ("option", "reason"),
    [
        (("--cron", "every night"), "not a cron expression"),
        (("--timezone", "Europe/Atlantis"), "give an IANA name"),
        (("--name", "a b"), "letters, digits and dashes"),
    ],
)
def test_a_wrong_schedule_or_name_starts_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, option: tuple[str, str], reason: str
) -> None:
    recipe, _ = recipe_in(tmp_path)
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path / "home"))
    done = command(tmp_path, dict(os.environ), "deploy", recipe, *option)
    assert done.returncode == 2
    assert reason in done.stderr
    assert not (tmp_path / "home" / "cuvee" / "deploy.json").exists()


def test_a_unit_for_systemd_says_what_the_command_line_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe, _ = recipe_in(tmp_path)
    write_jsonl(tmp_path / "texts" / "a.jsonl", documents(3))
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    for name in ((), ("--name", "news")):
        options = ("--retry-until", "07:00", "--train-command", "echo '$HOME' 5%", *name)
        done = command(tmp_path, dict(os.environ), "deploy", recipe, "--systemd", *options)
        assert done.returncode == 0, done.stderr
    folder = tmp_path / "config" / "systemd" / "user"
    first, further = folder / "cuvee.service", folder / "cuvee-news.service"
    assert f'"{recipe}" "--retry-until=07:00" "--train-command=echo \'$$HOME\' 5%%"' in first.read_text()
    assert "Requires=cuvee.service" in further.read_text()
    assert not (tmp_path / "home" / "cuvee" / "deploy.json").exists()
    if shutil.which("systemd-analyze"):
        monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
        verify = ["systemd-analyze", "--user", "verify", first, further]
        verified = subprocess.run(verify, capture_output=True, text=True, timeout=60)
        assert (verified.returncode, verified.stderr) == (0, "")


def test_a_port_in_use_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe, _ = recipe_in(tmp_path)
    write_jsonl(tmp_path / "texts" / "a.jsonl", documents(3))
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path / "home"))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = command(tmp_path, dict(os.environ), "deploy", recipe, "--port", port)
    assert done.returncode == 2
    assert f"--port {port}: something else listens there" in done.stderr


def test_the_server_keeps_its_port_and_says_who_has_taken_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path))
    daemons.home().mkdir()
    port = free_port()
    programs._remember_port(port)
    assert programs._free_port(None) == port
    with socket.create_server(("127.0.0.1", port)), pytest.raises(RecipeError, match=f"port {port}, where the server"):
        programs._free_port(None)
    assert programs._free_port(None) == port


def recipe_in(folder: Path, text: str = RECIPE) -> tuple[str, dict[str, Any]]:
    """Write a recipe; give its path, and the form as it is deployed for it."""
    path = folder / "library.yaml"
    path.write_text(text)
    return str(path), {"recipe": str(path), **defaults(parse_recipe(text))}


def form(**chosen: Any) -> dict[str, Any]:
    return {"human_share": None, "total": None, "tag": None} | chosen


def test_an_empty_form_changes_nothing_and_a_filled_one_only_its_keys(tmp_path: Path) -> None:
    recipe, _ = recipe_in(tmp_path)
    assert checked(recipe, form(), True, False) == []
    filled = checked(recipe, form(human_share=0.8, total=900, tag="2026"), False, False)
    assert filled == ["mixture.human.min=0.8", "mixture.total=900", 'publish.tag="2026"', "generate=[]"]
    changed = parse_recipe(RECIPE, overrides=filled)
    assert (changed.mixture.human.min, changed.mixture.total, changed.generate) == (0.8, 900, ())
    assert changed.publish.tag == "2026"  # not the number


@pytest.mark.parametrize(
    ("chosen", "plan_only", "reason"),
    [
        ({"human_share": 0.0}, False, "auto needs mixture.human.min above 0 or mixture.total"),
        ({"total": 100}, False, "total 100 is less than the 500 of human text"),
        ({"tag": "v0003"}, False, "this is the form of a version"),
        ({"tag": "trial"}, True, "plan_only and tag 'trial'"),
    ],
)
def test_fields_that_contradict_each_other_are_refused(
    tmp_path: Path, chosen: dict[str, Any], plan_only: bool, reason: str
) -> None:
    recipe, _ = recipe_in(tmp_path)
    with pytest.raises(RecipeError, match=reason):
        checked(recipe, form(**chosen), True, plan_only)


def test_a_plan_may_keep_the_tag_that_the_form_shows(tmp_path: Path) -> None:
    recipe, deployed = recipe_in(tmp_path)
    shown = form(human_share=deployed["human_share"], tag=deployed["tag"])
    assert checked(recipe, shown, True, True, deployed) == ["mixture.human.min=0.6", 'publish.tag="latest"']


def test_a_human_share_raised_in_the_recipe_is_not_lowered_by_an_old_form(tmp_path: Path) -> None:
    recipe, deployed = recipe_in(tmp_path)
    Path(recipe).write_text(RECIPE.replace("min: 0.6", "min: 0.8"))
    with pytest.raises(RecipeError, match=r"human_share 0\.6 is the form's default, and library\.yaml says .* 0\.8"):
        checked(recipe, form(human_share=0.6), True, False, deployed)
    assert checked(recipe, form(human_share=0.7), True, False, deployed) == ["mixture.human.min=0.7"]


def test_a_run_of_another_recipe_or_store_than_those_deployed_is_refused(tmp_path: Path) -> None:
    recipe, form = recipe_in(tmp_path)
    check({}, "other.yaml", "elsewhere", ["store=elsewhere"])  # `cuvee run` has no deployment
    check(form, recipe, None, ["mixture.human.min=0.9"])
    check({**form, "store": "here"}, recipe, "here")
    with pytest.raises(RecipeError, match=r"recipe /srv/news\.yaml: this deployment is for .*library\.yaml"):
        check(form, "/srv/news.yaml", None)
    with pytest.raises(RecipeError, match="store elsewhere: this deployment is for the store that its recipe names"):
        check(form, recipe, "elsewhere")
    with pytest.raises(RecipeError, match="store None: this deployment is for here"):
        check({**form, "store": "here"}, recipe, None)
    with pytest.raises(RecipeError, match="store=elsewhere: a deployed run writes where it was deployed to"):
        check(form, recipe, None, ["store=elsewhere"])


@pytest.mark.parametrize("path", ["library.yaml", "/nowhere/library.yaml"])
def test_a_recipe_that_the_worker_cannot_find_is_named(path: str) -> None:
    with pytest.raises(RecipeError, match=path):
        checked(path, form(), True, False)


def test_a_run_is_named_by_corpus_and_local_day_even_of_a_broken_recipe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe, _ = recipe_in(tmp_path)
    assert names.corpus_of(recipe) == "library"
    Path(recipe).write_text("corpus: [")
    assert names.corpus_of(recipe) == "library"  # the file's name
    os.mkfifo(tmp_path / "endless.yaml")
    assert names.corpus_of(str(tmp_path / "endless.yaml")) == "endless"
    late = datetime(2026, 11, 21, 23, 30, tzinfo=UTC)
    monkeypatch.delenv(names.TIMEZONE, raising=False)
    assert names.day_of(late) == "2026-11-21"
    monkeypatch.setenv(names.TIMEZONE, "Asia/Tokyo")
    assert names.day_of(late) == "2026-11-22"
    monkeypatch.setenv(names.TIMEZONE, "nowhere")
    assert names.day_of(late) == "2026-11-21"


def test_a_run_says_in_its_name_what_it_changes_and_keeps_a_name_that_was_typed() -> None:
    registered = {"human_share": 0.6, "tag": "latest", "generate": True}
    form = {"human_share": 0.8, "total": 900, "tag": "latest", "generate": False, "plan_only": True}
    assert names.changes(form, registered) == ["min=0.8", "total=900", "no drafts", "plan"]
    assert names.changes(registered, registered) == []
    told = names.changes({"overrides": ["mixture.human.min=0.7", "generate.0.headers.x=key"], "plan": True}, {})
    assert told == ["min=0.7", "plan"]
    assert names.is_typed("before the summer")
    assert names.is_typed("Trial")
    assert not names.is_typed("steadfast-otter")


def test_a_form_says_its_bounds_and_takes_no_other_field() -> None:
    from prefect.utilities.callables import parameter_schema

    from cuvee.flows.ad_hoc import ad_hoc
    from cuvee.flows.deployed import schema

    form = schema(parameter_schema(ad_hoc).model_dump(), {"recipe": "/srv/library.yaml"})
    assert form["additionalProperties"] is False
    assert form["required"] == ["recipe"]
    fields = form["properties"]
    assert (fields["recipe"]["enum"], fields["store"]["enum"]) == (["/srv/library.yaml"], [None])
    assert (fields["human_share"]["minimum"], fields["human_share"]["maximum"]) == (0.0, 1.0)
    assert fields["human_share"]["type"] == "number"
    assert not any("anyOf" in field or "default" in field for field in (fields["human_share"], fields["total"]))


def test_the_default_hour_exists_once_each_night_in_every_timezone() -> None:
    from zoneinfo import available_timezones

    assert definitions.default_cron() == "0 4 * * *"
    for name in available_timezones():
        zone = ZoneInfo(name)
        for day in range(800):
            night = date(2026, 11, 1) + timedelta(days=day)
            four = datetime(night.year, night.month, night.day, 4, tzinfo=zone)
            assert four.utcoffset() == four.replace(fold=1).utcoffset(), f"{name} {night}"
