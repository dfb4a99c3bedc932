"""The embedded Prefect API, runners, gathering, artifacts and the progress display."""

import io
import logging
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import httpx
import pytest
from prefect import flow, task
from prefect.exceptions import PrefectHTTPStatusError

from cuvee.commands.progress import display
from cuvee.flows import deployed, embedded, history
from cuvee.flows.artifacts import artifact_key, chart, table
from cuvee.flows.curate import curate
from cuvee.flows.runner import chosen, gather, task_runner
from cuvee.schemas.errors import CuveeError, InputError, RecipeError
from cuvee.tasks.steps import progress

SQUARES = """
import os, sys
from cuvee.flows import embedded
with embedded.api() as ready:
    from prefect import flow, task
    @task(task_run_name="square {n}")
    def square(n):
        return n * n
    @flow
    def squares():
        return sum(square.map(range(40)).result())
    ready()
    print(os.environ["PREFECT_API_URL"].split(":")[2].split("/")[0], flush=True)
    print(squares(), flush=True)
    sys.stdin.read()
print(os.environ.get("PREFECT_API_URL"), flush=True)
"""


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The environment of a user who has set nothing but a proxy that does not answer, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_LOGGING")}
    return kept | {"HTTP_PROXY": "http://127.0.0.1:9", "http_proxy": "http://127.0.0.1:9"}


def answers(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def falls_silent(port: int) -> bool:
    deadline = time.monotonic() + 20
    while answers(port) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not answers(port)


def test_an_embedded_run_says_nothing_keeps_its_history_and_leaves_no_server(
    environment: dict[str, str], tmp_path: Path
) -> None:
    environment["PREFECT_HOME"] = str(tmp_path / "prefect")
    run = subprocess.run(
        [sys.executable, "-c", SQUARES], env=environment, input="", capture_output=True, text=True, timeout=120
    )
    port, total, address_after = run.stdout.split()
    assert (total, address_after, run.stderr) == ("20540", "None", "")
    assert not answers(int(port))
    with sqlite3.connect(Path(environment["PREFECT_HOME"]) / "prefect.db") as history:
        states = history.execute("select state_type, count(*) from task_run group by 1").fetchall()
    assert states == [("COMPLETED", 40)]


def test_the_embedded_server_ends_when_its_parent_is_killed(environment: dict[str, str]) -> None:
    command = [sys.executable, "-c", SQUARES]
    with subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        port, total = int(parent.stdout.readline()), parent.stdout.readline()
        assert total == "20540\n"
        assert answers(port)
        parent.send_signal(signal.SIGKILL)
        parent.wait()
        assert falls_silent(port)


def test_a_server_that_cannot_start_is_reported_with_its_last_words(environment: dict[str, str]) -> None:
    script = "from cuvee.flows import embedded\nwith embedded.api() as ready: ready()"
    nowhere = {"PREFECT_SERVER_DATABASE_CONNECTION_URL": "sqlite+aiosqlite:////nowhere/prefect.db"}
    run = subprocess.run(
        [sys.executable, "-c", script], env=environment | nowhere, capture_output=True, text=True, timeout=120
    )
    assert run.returncode == 1
    last = run.stderr.strip().splitlines()[-1]
    assert last.startswith(f"{CuveeError.__module__}.CuveeError: the embedded Prefect server did not start")
    assert "PREFECT_API_URL" in last


def test_a_locked_database_is_named(
    environment: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path))
    path = tmp_path / "prefect.db"
    history.check()  # none is there yet
    assert not path.exists()
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("CREATE TABLE run (id)")
        history.check()
        other.execute("BEGIN EXCLUSIVE")
        monkeypatch.setattr(history, "PATIENCE_S", 0.1)
        with pytest.raises(CuveeError, match=rf"{path} is locked by another program; .* PREFECT_HOME=FOLDER"):
            history.check()
        script = "from cuvee.flows import embedded, history\nhistory.PATIENCE_S = 0.1\nwith embedded.api(): pass"
        run = subprocess.run(
            [sys.executable, "-c", script], env=environment | {"PREFECT_HOME": str(tmp_path)}, capture_output=True
        )
        assert f"CuveeError: the Prefect database {path} is locked" in run.stderr.decode()
        # One named elsewhere is what counts.
        monkeypatch.setenv("PREFECT_SERVER_DATABASE_CONNECTION_URL", f"sqlite+aiosqlite:///{tmp_path}/b.db?timeout=1")
        assert history.database() == tmp_path / "b.db"
        history.check()
        monkeypatch.setenv("PREFECT_SERVER_DATABASE_CONNECTION_URL", "postgresql+asyncpg://h/d")
        assert history.database() is None
    request = httpx.Request("GET", "http://127.0.0.1/api")
    for code, expected in ((503, True), (500, False)):
        failed = PrefectHTTPStatusError("", request=request, response=httpx.Response(code, request=request))
        assert history.is_unavailable(failed) == expected
    busy = httpx.HTTPStatusError("", request=request, response=httpx.Response(503, request=request))
    assert not history.is_unavailable(busy)  # an endpoint's, not Prefect's


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("home/profiles.toml", 'active = "mine"\n[profiles.mine]\nPREFECT_API_URL = "http://127.0.0.1:9/api"\n'),
        ("prefect.toml", '[api]\nurl = "http://127.0.0.1:9/api"\n'),
        (".env", "PREFECT_API_URL=http://127.0.0.1:9/api\n"),
    ],
)
def test_a_server_configured_in_a_file_is_used(
    environment: dict[str, str], tmp_path: Path, file: str, text: str
) -> None:
    script = (
        "import os\nfrom cuvee.flows import embedded\nwith embedded.api() as ready:\n"
        " ready(); print(embedded.server_is_configured(), 'PREFECT_API_URL' in os.environ)"
    )
    path = tmp_path / file
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    home = {"PREFECT_HOME": str(tmp_path / "home")}
    run = subprocess.run([sys.executable, "-c", script], env=environment | home, capture_output=True, text=True)
    assert run.stdout.split() == ["True", "False"], run.stderr


def test_what_the_user_has_set_is_not_overridden(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in embedded.private() | embedded.quiet():
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.setenv("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "DEBUG")
    (tmp_path / ".env").write_text("PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW=error\n")
    embedded.prepare()
    assert os.environ["PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL"] == "DEBUG"
    assert "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW" not in os.environ
    assert os.environ["DO_NOT_TRACK"] == "1"


@task
def double_or_fail(number: int) -> int:
    if number == 3:
        raise InputError("shard 3: bad bytes")
    time.sleep(0.02 * (5 - number % 5))
    return 2 * number


@flow
def doubles(numbers: list[int]) -> list[int]:
    return gather("double", double_or_fail.map(numbers))


@pytest.mark.usefixtures("prefect_api")
def test_gathered_results_come_in_order_and_progress_counts_up(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="cuvee.progress"):
        results = doubles.with_options(task_runner=task_runner("threads", 3))([4, 5, 6, 7])
    assert results == [8, 10, 12, 14]
    seen = [(r.step, r.done, r.total) for r in caplog.records if r.name == "cuvee.progress"]  # type: ignore[attr-defined]
    assert seen == [("double", done, 4) for done in range(5)]


@pytest.mark.usefixtures("prefect_api")
def test_the_first_failure_is_raised_as_the_task_raised_it_and_the_rest_is_not_run() -> None:
    began = time.monotonic()
    with pytest.raises(InputError, match="shard 3: bad bytes"):
        doubles.with_options(task_runner=task_runner("threads", 2))([3, *range(100, 400)])
    assert time.monotonic() - began < 6  # all 300 would sleep 9 s


@pytest.mark.usefixtures("prefect_api")
def test_an_error_keeps_its_type_on_its_way_out_of_a_process() -> None:
    with pytest.raises(InputError, match="shard 3: bad bytes"):
        doubles.with_options(task_runner=task_runner("processes", 1))([3])


def test_a_runner_that_cannot_be_had_is_wrong_use() -> None:
    with pytest.raises(RecipeError, match="--workers 0"):
        task_runner("threads", 0)
    with pytest.raises(RecipeError, match=r"pip install 'cuvee\[ray\]'"):
        task_runner("ray", 1)


def test_a_deployed_run_takes_the_runner_and_workers_that_its_deployment_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUVEE_RUNNER", raising=False)
    monkeypatch.delenv("CUVEE_WORKERS", raising=False)
    assert 1 <= curate.task_runner._max_workers == chosen()._max_workers <= (os.cpu_count() or 1)
    said = deployed.environment_of(["cuvee", "corpus:library", *deployed.tags("Europe/Berlin", "processes", 3)])
    assert said == {"CUVEE_TIMEZONE": "Europe/Berlin", "CUVEE_RUNNER": "processes", "CUVEE_WORKERS": "3"}
    for name, value in said.items():
        monkeypatch.setenv(name, value)
    runner = chosen()
    assert (type(runner).__name__, runner._max_workers) == ("ProcessPoolTaskRunner", 3)
    assert deployed.environment_of(["cuvee", *deployed.tags("UTC", "plain", None)]).keys() == {
        "CUVEE_TIMEZONE",
        "CUVEE_RUNNER",
    }
    monkeypatch.setenv("CUVEE_RUNNER", "plain")
    with pytest.raises(RecipeError, match="the plain runner works alone"):
        chosen()
    monkeypatch.setenv("CUVEE_WORKERS", "many")
    with pytest.raises(RecipeError, match="CUVEE_WORKERS=many"):
        chosen()


def test_artifacts_have_valid_keys_and_never_fail_a_run(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    assert artifact_key("Ma Cuvée/2", "steps") == "cuvee-ma-cuv-e-2-steps"
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    from prefect.settings import PREFECT_API_URL, PREFECT_CLIENT_MAX_RETRIES, temporary_settings

    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api", PREFECT_CLIENT_MAX_RETRIES: 0}):
        table("library", "steps", [{"step": "filter", "in": 2, "out": 1}], "Steps")
        chart("library", "mixture", "<svg/>", "Mixture")
    assert [r.message.split(" in ")[0] for r in caplog.records if r.name.startswith("cuvee")] == [
        "no artifact cuvee-library-steps",
        "no artifact cuvee-library-mixture",
    ]


def test_a_pipe_gets_one_line_when_a_step_starts_and_one_when_it_ends(capsys: pytest.CaptureFixture[str]) -> None:
    stream = io.StringIO()
    with display(quiet=False, stream=stream):
        for done in range(4):
            progress("filter", done, 3)
        progress("generate", 0, 0)
    progress("after", 0, 1)
    lines = [line.rpartition(" in ")[0] or line for line in stream.getvalue().splitlines()]
    assert lines == ["filter: 3 to do", "filter: 3 done", "generate: 0 to do", "generate: 0 done"]
    assert capsys.readouterr().out == ""


def test_a_quiet_display_shows_nothing_and_a_failed_body_removes_the_display() -> None:
    stream = io.StringIO()
    with display(quiet=True, stream=stream):
        progress("filter", 0, 1)
    assert stream.getvalue() == ""
    with pytest.raises(InputError), display(quiet=False, stream=stream):
        raise InputError("a.jsonl, line 3")
    assert logging.getLogger("cuvee.progress").handlers == []


def test_a_terminal_gets_a_bar_for_each_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("FORCE_COLOR", "1")
    stream = io.StringIO()
    with display(quiet=False, stream=stream):
        progress("filter", 0, 2)
        progress("filter", 2, 2)
    assert "filter" in stream.getvalue()
    assert "2/2" in stream.getvalue()
