"""Who gets into a deployed server and into the embedded one, and what a run may be told by who is in."""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from browser import opened
from deploying import RECIPE, Place, basic, command, deployed
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from cuvee.deployments import daemons, environment, login, programs
from cuvee.schemas.errors import CuveeError, RecipeError

OPEN = {("GET", "/api/health"), ("GET", "/api/ready")}
SOCKETS = [
    "/events/in",
    "/events/out",
    "/logs/out",
    "/task_runs/subscriptions/scheduled",
    "/work_pools/cuvee/workers/connect",
]
SECRETS = {"CANARY_TOKEN": "canary-of-nobody", "OPENAI_API_KEY": "canary-of-openai"}
NEEDED = {"AWS_PROFILE": "canary", "LIBRARY_TEXTS": "texts", "OMP_NUM_THREADS": "2"}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    # Six sources are read by six tasks.
    entry = 'uri: "${LIBRARY_TEXTS}/*.jsonl", license: PSF-2.0'
    sources = ", ".join(f"{{name: manual-{number}, {entry}}}" for number in range(6))
    recipe = RECIPE.replace("{name: manual, uri: texts/*.jsonl, license: PSF-2.0}", sources)
    folder = tmp_path_factory.mktemp("access")
    before = os.umask(0)  # nothing may depend on it
    try:
        with deployed(folder, "--workers", "1", recipe=recipe, further=SECRETS | NEEDED) as found:
            yield found
    finally:
        os.umask(before)


def answer(api: str, path: str, method: str = "GET", **headers: str) -> tuple[int, Any]:
    request = urllib.request.Request(f"{api}{path}", method=method, headers=headers)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=60) as found:
            return found.status, found.headers
    except urllib.error.HTTPError as error:
        return error.code, error.headers


def paths(openapi: Any) -> list[tuple[str, str]]:
    """Every method and path of an API, with some id for each parameter."""
    return [
        (method.upper(), re.sub(r"\{[^}]*\}", str(uuid4()), path))
        for path, methods in openapi["paths"].items()
        for method in methods
    ]


def is_shut(api: str, socket: str, token: str | None, **headers: str) -> bool:
    """Tell whether the server closes a socket, opened as Prefect does it with a token, else as any page would."""
    address = api.replace("http://", "ws://") + socket
    protocols: Any = ["prefect"] if token is not None else None
    try:
        with connect(address, subprotocols=protocols, additional_headers=headers, proxy=None) as client:
            if token is not None:
                client.send(json.dumps({"type": "auth", "token": token}))
            return "auth_success" not in str(client.recv(30))
    except (ConnectionClosed, InvalidStatus):
        return True


def test_without_the_login_no_path_of_the_api_answers(place: Place) -> None:
    known = [("/api" + path.removeprefix("/api"), method) for method, path in paths(place.ask("/openapi.json"))]
    assert len(known) > 150
    root = place.api.removesuffix("/api")
    for path, method in known:
        code, _ = answer(root, path, method)
        assert code == (200 if (method, path) in OPEN else 401), (method, path)
    assert answer(place.api, "/admin/version", Authorization=basic("cuvee:wrong"))[0] == 401
    assert answer(place.api, "/admin/version", Authorization=basic(place.login))[0] == 200
    assert answer(root, "/ui-settings")[0] == 200


def test_a_foreign_host_or_page_is_refused(place: Place) -> None:
    check_strangers(place.api, place.login)


def check_strangers(api: str, key: str) -> None:
    """Check Host, Origin and sockets of a server."""
    for host in ("evil.example", "127.0.0.1.evil.example", "evil.example:4200", ""):
        assert answer(api, "/admin/version", Host=host, Authorization=basic(key))[0] == 400, host
        assert answer(api, "/health", Host=host)[0] == 400, host
    preflight = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
    for origin in ("http://evil.example", "http://127.0.0.1:1", "null"):
        code, headers = answer(api, "/flows/filter", "OPTIONS", Origin=origin, **preflight)
        assert (code, headers["Access-Control-Allow-Origin"]) == (400, None), origin
        assert answer(api, "/health", Origin=origin)[1]["Access-Control-Allow-Origin"] is None
    own = api.removesuffix("/api")
    assert answer(api, "/flows/filter", "OPTIONS", Origin=own, **preflight)[0] == 200
    for socket in SOCKETS:
        assert is_shut(api, socket, None), socket
        assert is_shut(api, socket, ""), socket
        assert is_shut(api, socket, "cuvee:wrong"), socket
        assert is_shut(api, socket, key, Host="evil.example"), socket
    assert not is_shut(api, "/events/in", key)


EMBEDDED = """
import os, sys
from cuvee.flows import embedded
with embedded.api() as ready:
    from prefect import flow, task
    from cuvee.flows.runner import task_runner
    @task
    def double(n):
        return 2 * n
    @flow(task_runner=task_runner("processes", 1))
    def doubles():
        return double.map([1, 2]).result()
    ready()
    print(os.environ["PREFECT_API_URL"], os.environ["PREFECT_API_AUTH_STRING"], flush=True)
    sys.stdin.readline()
    print(doubles(), "PREFECT_SERVER_API_AUTH_STRING" in os.environ, flush=True)
print("PREFECT_API_AUTH_STRING" in os.environ)
"""


def test_the_embedded_server_keeps_strangers_out_and_its_own_processes_in(tmp_path: Path) -> None:
    script = tmp_path / "doubles.py"
    script.write_text(f"if __name__ == '__main__':\n{''.join(f'    {line}' for line in EMBEDDED.splitlines(True))}")
    kept = {name: value for name, value in os.environ.items() if name not in SECRETS}
    with subprocess.Popen(
        [sys.executable, str(script)], env=kept, cwd=tmp_path, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as run:
        assert run.stdout is not None
        api, key = run.stdout.readline().split()
        assert answer(api, "/health")[0] == 200
        assert answer(api, "/flows/filter", "POST")[0] == answer(api, "/admin/version")[0] == 401
        assert answer(api, "/admin/version", Authorization=basic(key))[0] == 200
        check_strangers(api, key)
        rest, _ = run.communicate("\n", timeout=120)
    assert rest.splitlines() == ["[2, 4] False", "False"]


@pytest.mark.parametrize(
    "variables",
    [
        {"command": "touch MARK"},
        {"env": {"PYTHONPATH": "EVIL"}},
        {"env.PYTHONPATH": "EVIL"},
        {"working_dir": "EVIL"},
        {"anything": 1},
    ],
    ids=str,
)
def test_a_run_has_no_say_in_its_command_and_environment(place: Place, variables: dict[str, Any]) -> None:
    for name in ("ad-hoc", "nightly"):
        address = f"/deployments/{place.deployment(name)['id']}/create_flow_run"
        assert refusal(place, address, {"job_variables": variables}) == 422
    later = {"type": "SCHEDULED", "state_details": {"scheduled_time": "2099-01-01T00:00:00Z"}}
    planned = place.ask(address, {"state": later})["id"]
    assert refusal(place, f"/flow_runs/{planned}", {"job_variables": variables}, "PATCH") == 422
    place.ask(f"/flow_runs/{planned}", method="DELETE")


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("ad-hoc", {"recipe": "/srv/other.yaml"}),
        ("ad-hoc", {"recipe": ["/srv/other.yaml"]}),
        ("ad-hoc", {"store": "elsewhere"}),
        ("ad-hoc", {"store": None}),
        ("nightly", {"recipe": "/srv/other.yaml"}),
        ("nightly", {"store": "s3://elsewhere"}),
        ("nightly", {"overrides": ["mixture.human.min=0.7", "store=elsewhere"]}),
    ],
    ids=str,
)
def test_a_run_of_what_is_not_deployed_is_refused(place: Place, name: str, parameters: dict[str, Any]) -> None:
    address = f"/deployments/{place.deployment(name)['id']}/create_flow_run"
    assert refusal(place, address, {"parameters": parameters}) == 409


def refusal(place: Place, address: str, body: Any, method: str | None = None) -> int:
    with pytest.raises(urllib.error.HTTPError) as refused:
        place.ask(address, body, method)
    return refused.value.code


def test_a_run_made_past_the_checks_of_the_server_is_refused_by_the_flow(place: Place) -> None:
    evil, mark = place.folder / "evil", place.folder / "mark"
    evil.mkdir()
    (evil / "sitecustomize.py").write_text(f"open({str(mark)!r}, 'w')")
    (place.folder / "other.yaml").write_text(RECIPE)
    form = place.deployment("ad-hoc")
    run = {
        "flow_id": form["flow_id"],
        "deployment_id": form["id"],
        "work_pool_name": "cuvee",
        "state": {"type": "SCHEDULED"},
        "job_variables": {"command": f"touch {mark}", "env": {"PYTHONPATH": str(evil)}},
        "parameters": {**form["parameters"], "recipe": str(place.folder / "other.yaml")},
    }
    ended = place.ended(place.ask("/flow_runs/", run)["id"])
    assert ended["state_type"] == "FAILED"
    assert "other.yaml: this deployment is for" in ended["state"]["message"]
    assert not mark.exists()


def test_a_run_gets_what_its_recipe_names_and_the_runner_that_was_chosen(place: Place) -> None:
    planned = place.ended(place.start("ad-hoc", plan_only=True))
    assert planned["state_type"] == "COMPLETED", planned["state"]["message"]
    assert {"runner:threads", "workers:1"} <= set(planned["tags"])
    reading = sorted(
        (task["start_time"], task["end_time"])
        for task in tasks_of(place, planned["id"])
        if task["name"].startswith("ingest")
    )
    assert len(reading) == 6
    assert all(before[1] <= after[0] for before, after in pairwise(reading)), "one worker works on one thing at a time"
    plain = place.run("deploy", "library.yaml", "--detach", "--runner", "plain")
    assert plain.returncode == 0, plain.stderr
    ended = place.ended(place.start("ad-hoc", plan_only=True))
    assert ended["state_type"] == "COMPLETED", ended["state"]["message"]
    assert tasks_of(place, ended["id"]) == []


def tasks_of(place: Place, run: str) -> list[Any]:
    found: list[Any] = place.ask("/task_runs/filter", {"flow_runs": {"id": {"any_": [run]}}})
    return found


def test_server_and_worker_have_a_short_environment(place: Place) -> None:
    record = place.folder / "home" / ".prefect" / "cuvee" / "deploy.json"
    standing = daemons.Standing.model_validate_json(record.read_text())
    assert standing.given == ("LIBRARY_TEXTS",)
    if not Path("/proc/self/environ").exists():
        pytest.skip("this system does not show the environment of a process")
    for daemon in standing.daemons:
        has = Path(f"/proc/{daemon.pid}/environ").read_text().split("\0")
        assert not any("canary-of" in variable for variable in has), daemon.name
        assert "OMP_NUM_THREADS=2" in has
        assert ("LIBRARY_TEXTS=texts" in has) == (daemon.name != "server")


def test_the_login_is_shown_once_and_kept_where_its_owner_alone_reads_it(place: Place) -> None:
    kept = place.folder / "home" / ".prefect" / "cuvee" / "login"
    assert kept.stat().st_mode & 0o777 == 0o600
    assert kept.parent.stat().st_mode & 0o777 == 0o700
    assert place.said.count(place.login) == 1
    before = place.login
    again = place.run("deploy", "library.yaml", "--detach")
    assert again.returncode == 0, again.stderr
    assert place.login == before
    assert before not in again.stdout + again.stderr
    assert f"login              {kept}\n" in again.stdout
    for log in kept.parent.glob("*.log"):
        assert before not in log.read_text()


def test_a_variable_that_the_running_worker_lacks_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEWS_NAME", "news")
    monkeypatch.delenv("NEWS_KEY", raising=False)
    named = {"NEWS_NAME", "NEWS_KEY", "AWS_PROFILE"}
    worker = daemons.Daemon(name="worker", pid=1, born="", log="")
    with pytest.raises(RecipeError, match=r"news\.yaml names NEWS_NAME, which the worker that runs was not given"):
        programs.check_given(daemons.Standing(api="", daemons=(worker,)), named, "news.yaml")
    programs.check_given(daemons.Standing(api="", daemons=(worker,), given=("NEWS_NAME",)), named, "news.yaml")
    programs.check_given(daemons.Standing(api="", daemons=()), named, "news.yaml")


def test_of_a_server_that_somebody_else_started_is_said_what_is_not_known(place: Place) -> None:
    home = place.folder / "other-home"
    home.mkdir()
    elsewhere = {"HOME": str(home), "PREFECT_API_URL": place.api, "PREFECT_API_AUTH_STRING": place.login}
    environment = place.environment | elsewhere
    try:
        done = command(place.folder, environment, "deploy", "library.yaml", "--name", "far", "--detach", "--json")
        assert done.returncode == 0, done.stderr
        told = json.loads(done.stdout)
        assert (told["login"], told["login_file"], told["started"]) == (None, None, ["worker", "keeper"])
        (doubt,) = told["warnings"]
        assert f"did not start the server at {place.api} and cannot vouch for it" in doubt
        assert f"warning: {doubt}" in done.stderr
        del environment["PREFECT_API_AUTH_STRING"]
        for asked in (("run", "library.yaml", "--plan"), ("deploy", "library.yaml", "--name", "far")):
            refused = command(place.folder, environment, *asked)
            assert refused.returncode == 1
            last = refused.stderr.splitlines()[-1]
            assert last.startswith(f"cuvee: the Prefect server at {place.api} wants its login in"), refused.stderr
    finally:
        command(place.folder, environment, "deploy", "--stop")


def test_the_ui_opens_with_the_login(place: Place, tmp_path: Path) -> None:
    with opened(place.api.removesuffix("/api"), tmp_path) as page:
        page.wait_for("document.querySelector('input[type=password]') !== null")
        assert "/login" in page.value("location.href")
        page.type_in("input[type=password]", place.login)
        page.wait_for("document.body.innerText.includes('Flow Runs') && document.body.innerText.includes('cuvee')")
        assert "/login" not in page.value("location.href")


def test_no_other_user_can_read_the_login(monkeypatch: pytest.MonkeyPatch) -> None:
    if os.geteuid() != 0 or shutil.which("su") is None:
        pytest.skip("only root can become another user without a password")
    with tempfile.TemporaryDirectory() as folder:  # of pytest's own folders others reach none
        monkeypatch.setenv("PREFECT_HOME", folder)
        daemons.home().mkdir(mode=0o755)
        Path(folder).chmod(0o755)
        before = os.umask(0)
        login.make()
        os.umask(before)
        beside = daemons.home() / "beside"
        beside.write_text("for all")
        beside.chmod(0o644)
        assert as_nobody(beside).stdout == "for all"
        denied = as_nobody(login.path())
        assert denied.returncode != 0
        assert denied.stdout == ""


def as_nobody(path: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["su", "nobody", "-s", "/bin/sh", "-c", f"cat {path}"], capture_output=True, text=True, timeout=60
    )


def test_a_login_that_others_may_know_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path))
    daemons.home().mkdir()
    assert login.held() is None
    made = login.make()
    assert login.held() == made
    assert len(made) > 40
    assert login.make() != made
    login.path().chmod(0o640)
    with pytest.raises(CuveeError, match=r"its mode is 640, .* delete the file"):
        login.held()
    login.path().chmod(0o600)
    login.path().write_text("")
    with pytest.raises(CuveeError, match="it holds no login"):
        login.held()
    login.path().rename(tmp_path / "aside")
    login.path().symlink_to(tmp_path / "aside")
    with pytest.raises(CuveeError, match="cannot be used"):
        login.held()
    assert not login.is_fit()


def test_what_a_recipe_names_is_found_in_its_keys_and_values(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TEXTS", "LICENSE", "NOT_USED", "OPENAI_API_KEY", "OTHER_KEY"):
        monkeypatch.setenv(name, "MIT")
    endpoint = "base_url: 'http://127.0.0.1:9/v1', model: m"
    recipe = tmp_path / "a.yaml"
    recipe.write_text(
        "corpus: a  # ${NOT_USED}\n"
        "sources: [{name: a, uri: '${TEXTS}/*.txt', license: '${LICENSE:-MIT}'}]\n"
        f"generate:\n  - {{name: one, generator: openai, {endpoint}, api_key_env: OTHER_KEY, budget: {{amount: 1}}}}\n"
    )
    assert environment.named_by(str(recipe)) == {"TEXTS", "LICENSE", "OTHER_KEY"}
    recipe.write_text(recipe.read_text().replace("api_key_env: OTHER_KEY, ", ""))
    assert environment.named_by(str(recipe)) == {"TEXTS", "LICENSE", "OPENAI_API_KEY"}
    assert environment.named_by(str(tmp_path / "absent.yaml")) == set()
    recipe.write_text('corpus: "${TEXTS}"\nsources: [\n')
    assert environment.named_by(str(recipe)) == {"TEXTS"}
    assert environment.handed_on(["TEXTS"]).keys() & {"TEXTS", "LICENSE", "PATH"} == {"TEXTS", "PATH"}
