"""A recipe deployed in an empty home, on a real Prefect server with a real worker."""

import base64
import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from servers import free_port
from texts import documents, write_jsonl

MAIN = [sys.executable, "-c", "from cuvee.commands import main; main()"]
PATIENCE_S = 300
RECIPE = """
corpus: library
sources: [{name: manual, uri: texts/*.jsonl, license: PSF-2.0}]
holdout: {share: 0.1}
generate: [{name: parrot, generator: ngram, allow_baseline: true}]
mixture: {human: {min: 0.6, min_amount: 500}}
"""


class Place(NamedTuple):
    """A folder with a recipe, deployed from an environment with an empty home."""

    folder: Path
    environment: dict[str, str]
    api: str
    said: str

    @property
    def login(self) -> str:
        return (self.folder / "home" / ".prefect" / "cuvee" / "login").read_text().strip()

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return command(self.folder, self.environment, *arguments)

    def ask(self, path: str, body: Any = None, method: str | None = None) -> Any:
        """Ask the server, again while its database is locked; HTTPError for a refusal."""
        sent = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json", "Authorization": basic(self.login)}
        request = urllib.request.Request(f"{self.api}{path}", sent, headers, method=method)
        for attempt in range(10):
            try:
                with urllib.request.urlopen(request, timeout=60) as answer:
                    return json.loads(answer.read() or "null")
            except urllib.error.HTTPError as error:
                if error.code != 503 or attempt == 9:
                    raise
                time.sleep(1)
        return None

    def deployment(self, name: str, flow: str = "curate") -> Any:
        return self.ask(f"/deployments/name/{flow}/{name}")

    def start(self, name: str, flow: str = "curate", **parameters: Any) -> str:
        found = self.deployment(name, flow)["id"]
        created = self.ask(f"/deployments/{found}/create_flow_run", {"parameters": parameters})
        return str(created["id"])

    def ended(self, run: str) -> Any:
        """Wait for a flow run's end, and give the run."""
        return eventually(lambda: self._final(run), f"flow run {run}")

    def _final(self, run: str) -> Any:
        found = self.ask(f"/flow_runs/{run}")
        return found if found["state_type"] in ("COMPLETED", "FAILED", "CRASHED", "CANCELLED") else None


def basic(login: str) -> str:
    return "Basic " + base64.b64encode(login.encode()).decode()


def command(folder: Path, environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    # Into files: what is started would hold a pipe open.
    with (folder / "out.txt").open("w+") as out, (folder / "err.txt").open("w+") as err:
        ended = subprocess.run(
            [*MAIN, *arguments], cwd=folder, env=environment, stdout=out, stderr=err, timeout=PATIENCE_S, check=False
        )
        out.seek(0)
        err.seek(0)
        return subprocess.CompletedProcess(ended.args, ended.returncode, out.read(), err.read())


def eventually(look: Any, what: str) -> Any:
    deadline = time.monotonic() + PATIENCE_S
    while not (found := look()):
        assert time.monotonic() < deadline, f"{what} did not come"
        time.sleep(0.5)
    return found


@contextmanager
def deployed(
    folder: Path, *options: str, recipe: str = RECIPE, further: Mapping[str, str] | None = None
) -> Iterator[Place]:
    """Deploy `recipe` with texts beside it. further: variables of the command's environment."""
    write_jsonl(folder / "texts" / "a.jsonl", documents(60))
    (folder / "library.yaml").write_text(recipe)
    (folder / "home").mkdir()
    kept = ("PREFECT_", "CUVEE_", "TZ")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(kept)}
    environment |= {"HOME": str(folder / "home"), **(further or {})}
    port = free_port()
    try:
        done = command(folder, environment, "deploy", "library.yaml", "--detach", "--port", str(port), *options)
        assert done.returncode == 0, done.stderr
        yield Place(folder, environment, f"http://127.0.0.1:{port}/api", done.stdout)
    finally:
        command(folder, environment, "deploy", "--stop")
