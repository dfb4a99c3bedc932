"""Kills: runs that are killed lose no answer, pay twice for none but what was in flight, and publish the same bytes.

`make kills` carries this out with 2,000 requests and ten kills.
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from plain import candidate, drafting_recipe, publish_plainly, recipe_file
from stub_endpoint import Reply, completion, rephrase, stub
from texts import documents, write_jsonl

from cuvee.schemas.manifest import version_name
from cuvee.storage.corpus import load_manifest
from cuvee.storage.store import open_store
from cuvee.tasks.generate import report

REQUESTS = int(os.environ.get("CUVEE_KILLS", "60"))
KILLS, KILLS_A_NIGHT = (10, 3) if "CUVEE_KILLS" in os.environ else (2, 1)
CONCURRENCY = 8
NIGHTS = 3
RUN = """
import sys
sys.path.insert(0, sys.argv[1])
from plain import drafting_recipe, publish_plainly
publish_plainly(sys.argv[2], sys.argv[3])
"""


def recipe_of(folder: Path, url: str, budget: str) -> str:
    prices = "prices: {prompt_per_million: 10, completion_per_million: 20}"
    lines = (f"concurrency: {CONCURRENCY}", prices, f"budget: {{amount: 1000000, {budget}}}")
    text = drafting_recipe(url, *lines, uri="*.jsonl", human=0.05, more="dedup: {threshold: 1.0}")
    return recipe_file(folder, text)


class Till:
    """A server with faults, and its own count of what it answered: answer → dollars.

    A fault comes at a request's first attempt alone. Some answers cannot be read, are refusals, or cut off, and cost.
    """

    def __init__(self) -> None:
        self.dollars: dict[str, float] = {}

    def __call__(self, request: dict[str, Any], nth: int) -> Reply:
        way = sum(request["messages"][-1]["content"].encode()) % 40
        if nth == 1 and way in (0, 1):
            return 429, {"retry-after": "0.02"}, b"{}"
        if nth == 1 and way == 2:
            return 500, {}, b"oops"
        words = sum(len(message["content"].split()) for message in request["messages"])
        sent, received = words * 3 // 2, 40 + way
        body = json.loads(completion(rephrase(request), "length" if way == 3 else "stop"))
        body["id"] = name = f"answer {len(self.dollars)} {nth} {way}"
        body["usage"] = {"prompt_tokens": sent, "completion_tokens": received}
        if nth == 1 and way == 4:
            body["choices"] = []
        if way == 5:
            body["choices"][0]["message"] = {"content": None, "refusal": "No."}
        self.dollars[name] = (sent * 10 + received * 20) / 1e6
        return 200, {}, json.dumps(body).encode()


def killed(recipe: str, store: Path, till: Till, kills: int, answers: int) -> list[str]:
    """Start a run so many times, kill it at its share of the answers, and finish it; return the answers lost.

    answers: how many the first round of the night has at least.
    """
    command = [sys.executable, "-c", RUN, str(Path(__file__).parent), recipe, str(store)]
    lost, known = [], set(till.dollars)
    for number in range(kills):
        running = subprocess.Popen(command)
        while len(kept_in(store)) < answers * (number + 1) // (kills + 1) and running.poll() is None:
            time.sleep(0.01)
        assert running.poll() is None, "the run ended before it was killed"
        running.send_signal(signal.SIGKILL)
        running.wait()
        time.sleep(0.2)  # what the server writes to a process that is gone is written
        kept = kept_in(store)
        assert kept, "the run was through with its requests before it was killed"
        lost += sorted(set(till.dollars) - known - kept)
        known = set(till.dollars)
    subprocess.run(command, check=True)
    return lost


def kept_in(store: Path) -> set[str]:
    """Return the answers that are in the journal of the round under way."""
    paths = (store / "work/journal").glob("*.jsonl")
    lines = [json.loads(line) for path in paths for line in path.read_bytes().rpartition(b"\n")[0].splitlines()]
    return {json.loads(line["body"])["id"] for line in lines if line["body"]}


def entry_of(recipe: str, store: Path) -> dict[str, Any]:
    """Return the report's figures, of one more run."""
    found = candidate(recipe, str(store))
    begun = found.begun
    tree, _ = report.build(begun.run, begun.store, begun.pool, found.decided, found.drafts)
    return dict(tree["rephrased"])


def published(store: Path) -> list[tuple[str, int]]:
    manifest = load_manifest(open_store(str(store)), "words", 1)
    assert version_name(manifest.version) == "v0001"
    return sorted((file.sha256, file.rows) for file in manifest.files)


@pytest.mark.slow
def test_a_run_that_is_killed_again_and_again_loses_nothing_and_publishes_the_same_bytes(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "texts.jsonl", documents(REQUESTS * 2 // 3))
    budget = f"requests: {REQUESTS}"
    with stub(Till()) as endpoint:
        recipe = recipe_of(tmp_path, endpoint.base_url, budget)
        publish_plainly(recipe, str(tmp_path / "whole"))
        asked = len(endpoint.sent)
    till = Till()
    port = int(endpoint.base_url.rsplit(":", 1)[1].split("/")[0])
    with stub(till, wait_s=0.02, port=port) as endpoint:
        lost = killed(recipe, tmp_path / "killed", till, KILLS, REQUESTS)
        assert len(endpoint.sent) == asked == REQUESTS
        told = entry_of(recipe, tmp_path / "killed")
        assert len(endpoint.sent) == REQUESTS
    assert published(tmp_path / "killed") == published(tmp_path / "whole")
    assert len(lost) <= KILLS * CONCURRENCY
    assert told["cost_usd"] == pytest.approx(sum(till.dollars.values()) - sum(till.dollars[name] for name in lost))
    faulty = sum(nth > 1 for nth in endpoint.sent.values())
    assert faulty <= REQUESTS // 4 + KILLS * CONCURRENCY
    print(f"{REQUESTS} requests, {KILLS} kills: {len(lost)} answers in flight were lost and paid for again")


@pytest.mark.slow
def test_dollars_are_exact_and_no_budget_is_passed_over_nights_with_kills(tmp_path: Path) -> None:
    till, lost = Till(), list[str]()
    each = REQUESTS // NIGHTS
    with stub(till, wait_s=0.1) as endpoint:
        for night in range(NIGHTS):
            write_jsonl(tmp_path / f"{night}.jsonl", documents(each, seed=night))
            # What a night may spend is about half of what its seeds would take.
            limit = 0.012 * each * (night + 1)
            budget = f"cost_usd: {limit:.3f}"
            recipe = recipe_of(tmp_path, endpoint.base_url, budget)
            lost += killed(recipe, tmp_path / "store", till, KILLS_A_NIGHT, each // 4)
            told = entry_of(recipe, tmp_path / "store")["cost_usd"]  # of a run that may ask for what is left
            spent = sum(till.dollars.values()) - sum(till.dollars[name] for name in lost)
            assert told == pytest.approx(spent)
            assert 0.3 * limit < spent <= limit
    assert len(lost) <= KILLS_A_NIGHT * NIGHTS * CONCURRENCY
    assert sum(till.dollars.values()) <= limit + sum(till.dollars[name] for name in lost)
    print(
        f"{len(till.dollars)} answers, {NIGHTS} nights, {KILLS_A_NIGHT * NIGHTS} kills, "
        f"{len(lost)} answers lost: {spent:.4f} USD"
    )
