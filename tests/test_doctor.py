"""What the doctor says of a machine, a recipe, its store and its endpoints, over real servers on loopback."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from plain import publish_plainly, recipe_file
from prefect.settings import PREFECT_API_URL, temporary_settings
from texts import documents, write_jsonl

from cuvee.commands import main
from cuvee.storage.corpus import corpora
from cuvee.storage.store import open_store

RECIPE = """
corpus: c
sources: [{name: a, uri: a.jsonl, license: CC0-1.0}]
mixture: {human: {min: 0.5}}
"""
GENERATE = """
generate:
  - {{name: g, generator: openai, base_url: "{url}", model: {model}, api_key_env: DOCTOR_KEY}}
"""


class _Models(BaseHTTPRequestHandler):
    """A server that lists one model to who has the key."""

    def do_GET(self) -> None:
        allowed = self.headers.get("Authorization") == "Bearer right"
        content = json.dumps({"data": [{"id": "small"}]} if allowed else {}).encode()
        self.send_response(404 if "bare" in self.path else 200 if allowed else 401)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def server() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), _Models) as served:
        thread = threading.Thread(target=served.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{served.server_port}"
        served.shutdown()
        thread.join()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write_jsonl(tmp_path / "a.jsonl", documents(3))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DOCTOR_KEY", "right")
    return tmp_path


def examined(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, dict[str, tuple[str, str]]]:
    capsys.readouterr()
    with pytest.raises(SystemExit) as end:
        main(["doctor", *arguments, "--json"])
    checks = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert isinstance(end.value.code, int)
    return end.value.code, {check["check"]: (check["state"], check["told"]) for check in checks}


def test_a_machine_that_is_well_is_told_so_and_nothing_is_made(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(folder.iterdir())
    code, checks = examined(capsys)
    assert code == 0
    assert set(checks) == {"python", "language model", "provenance model", "store", "disk", "prefect"}
    assert {state for state, _ in checks.values()} == {"well"}
    assert "is not there yet" in checks["store"][1]
    assert sorted(folder.iterdir()) == before


def test_a_store_is_tried_out_and_left_as_it_was(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = recipe_file(folder, RECIPE)
    store = str(folder / "store")
    publish_plainly(recipe, store)
    code, checks = examined(capsys, recipe, "--store", store)
    assert code == 0
    assert checks["recipe"][0] == "well"
    assert "listed and cleaned" in checks["store"][1]
    assert corpora(open_store(store)) == ["c"]
    assert not open_store(store).keys("corpora/doctor/")


def test_rights_at_a_bucket_and_its_objects_are_tried_out(
    folder: Path, s3: str, capsys: pytest.CaptureFixture[str]
) -> None:
    import boto3

    boto3.client("s3").upload_file("a.jsonl", s3.removeprefix("s3://"), "in/a.jsonl")
    recipe = recipe_file(folder, RECIPE.replace("a.jsonl", f"['{s3}/in/*.jsonl', '{s3}/none/*.jsonl']"))
    code, checks = examined(capsys, recipe, "--store", f"{s3}/corpora")
    assert code == 1
    assert checks["store"] == (
        "well",
        f"{s3}/corpora can be written once and twice told apart, read, listed and cleaned",
    )
    assert checks["source a"] == ("wrong", f"{s3}/none/*.jsonl matches no object; correct the pattern")
    assert not open_store(f"{s3}/corpora").keys("")
    code, checks = examined(capsys, recipe, "--store", f"{s3}-of-nobody")
    assert (code, checks["store"][0]) == (1, "wrong")
    assert f"{s3}-of-nobody" in checks["store"][1]


def test_a_recipe_s_faults_are_told_each(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = recipe_file(folder, RECIPE.replace("a.jsonl", "b.jsonl"))
    code, checks = examined(capsys, recipe)
    assert code == 1
    assert checks["recipe"][0] == "wrong"
    assert "sources.0.uri: 'b.jsonl' matches no file" in checks["recipe"][1]
    assert checks["prefect"][0] == "well"


def test_endpoints_are_asked_for_their_models(
    folder: Path, server: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def found(url: str, model: str = "small") -> tuple[str, str]:
        recipe = recipe_file(folder, RECIPE + GENERATE.format(url=url, model=model))
        return examined(capsys, recipe)[1]["endpoint g"]

    assert found(f"{server}/v1") == ("well", f"{server}/v1 answers, and lists small")
    assert found(f"{server}/v1", "large")[1] == (
        f"{server}/v1 has no model 'large'; it lists small: name one of them in model"
    )
    assert found(f"{server}/bare/v1")[0] == "open"
    monkeypatch.setenv("DOCTOR_KEY", "stolen-key-of-somebody")
    state, told = found(f"{server}/v1")
    assert (state, "does not take the key in DOCTOR_KEY" in told) == ("wrong", True)
    assert "stolen" not in told
    assert "does not answer" in found("http://127.0.0.1:9/v1")[1]


def test_a_prefect_server_that_is_named_and_does_not_answer_is_wrong(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"}):
        code, checks = examined(capsys)
    assert (code, checks["prefect"][0]) == (1, "wrong")
    assert "unset PREFECT_API_URL" in checks["prefect"][1]
