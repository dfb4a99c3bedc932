"""Two runs of one corpus at one time: both publish, one after the other, and the pool holds what both read."""

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import GlobalConcurrencyLimitCreate
from stub_endpoint import stub
from texts import documents, write_jsonl

from cuvee.dataset import open_dataset
from cuvee.flows import pipeline
from cuvee.flows.curate import curate
from cuvee.schemas.errors import ConflictError
from cuvee.schemas.manifest import Manifest
from cuvee.schemas.report import RunReport
from cuvee.storage import corpus
from cuvee.storage.store import Store, open_store
from cuvee.tasks.begin import begin
from cuvee.tasks.publish import commit as publishing
from cuvee.tasks.steps import sweep

pytestmark = pytest.mark.usefixtures("prefect_api")

RECIPE = """
corpus: library
sources:
  - {{name: {name}, uri: {name}/*.jsonl, license: PSF-2.0}}
filters:
  - {{kind: length, min_words: 20}}
holdout: {{share: 0}}
"""

GENERATE = """
generate:
  - name: rephrased
    generator: openai
    base_url: {url}
    model: MODEL
    concurrency: 4
    budget: {{amount: 3000}}
"""


@pytest.fixture(params=["local", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    return open_store(str(tmp_path / "store") if request.param == "local" else request.getfixturevalue("s3"))


def recipe(folder: Path, name: str, count: int, seed: int) -> str:
    write_jsonl(folder / name / "a.jsonl", documents(count, seed))
    path = folder / f"{name}.yaml"
    path.write_text(RECIPE.format(name=name))
    return str(path)


def at_once(works: list[Callable[[], RunReport]]) -> list[RunReport]:
    gate = threading.Barrier(len(works))
    ends: list[RunReport | None] = [None] * len(works)

    def work(number: int) -> None:
        gate.wait()
        ends[number] = works[number]()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(len(works))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [end for end in ends if end is not None]


def sources_in_pool(store: Store) -> set[str]:
    return {
        entry.record.report.source
        for entry in corpus.read_state(store, "library").entries
        if entry.record.step == "ingest"
    }


def test_of_two_runs_at_once_the_loser_takes_the_winners_pool_and_publishes_the_next_version(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [recipe(tmp_path, name, 30, seed) for seed, name in enumerate(["first", "second"])]
    # Both have decided before one of them publishes.
    gate = threading.Barrier(2)
    commit = corpus.commit

    def meet(store: Store, manifest: Manifest) -> None:
        if manifest.version == 1:
            gate.wait(120)
        commit(store, manifest)

    monkeypatch.setattr(publishing, "commit", meet)
    reports = at_once([lambda path=path: curate(recipe=path, store=store.uri) for path in paths])  # type: ignore[misc]
    assert sorted(report.version for report in reports) == [1, 2]
    assert all(report.published and report.documents == 30 for report in reports)
    loser = max(reports, key=lambda report: report.version)
    assert "library@v0001 was published by another run meanwhile" in loser.warnings[0]
    assert corpus.versions(store, "library") == [1, 2]
    assert corpus.load_manifest(store, "library", 2).parent == 1
    assert sources_in_pool(store) == {"first", "second"}
    assert corpus.resolve(store, "library").version == 2
    for version in (1, 2):
        dataset = open_dataset(f"library@v{version:04d}", store.uri)
        assert list(dataset.verify()) == []
        assert dataset.scan(None).collect().height == 30


def test_a_run_that_repeats_what_another_published_meanwhile_publishes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, place = recipe(tmp_path, "first", 30, 0), str(tmp_path / "store")
    gate = threading.Barrier(2)
    commit = corpus.commit

    def meet(store: Store, manifest: Manifest) -> None:
        gate.wait(120)
        commit(store, manifest)

    monkeypatch.setattr(publishing, "commit", meet)
    reports = at_once([lambda: curate(recipe=path, store=place)] * 2)
    assert [report.version for report in reports] == [1, 1]
    assert sorted(report.published for report in reports) == [False, True]
    assert corpus.versions(open_store(place), "library") == [1]


def test_a_run_that_loses_every_time_stops_with_the_conflict_and_keeps_its_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, place = recipe(tmp_path, "first", 30, 0), str(tmp_path / "store")

    def lose(store: Store, manifest: Manifest) -> None:
        corpus.commit(store, manifest.model_copy(update={"run_id": "rival", "recipe_sha256": "0" * 64}))
        corpus.commit(store, manifest)

    with monkeypatch.context() as patched:
        patched.setattr(publishing, "commit", lose)
        patched.setattr(pipeline, "MOST_ATTEMPTS", 2)
        with pytest.raises(ConflictError, match="library@v0002 was published by another run meanwhile"):
            curate(recipe=path, store=place)
    report = curate(recipe=path, store=place)
    assert (report.version, report.published) == (3, True)


def test_what_another_run_removes_meanwhile_does_not_stop_the_sweep(tmp_path: Path) -> None:
    place = open_store(str(tmp_path / "store"))
    (place.scratch() / "gone").symlink_to(tmp_path / "nothing")  # listed, and not there when it is looked at
    stale = place.scratch() / "stale"
    stale.touch()
    os.utime(stale, (0, 0))
    sweep(place)
    assert not stale.exists()


def test_of_many_tags_moved_at_once_the_highest_version_stays(store: Store, tmp_path: Path) -> None:
    run, _, _ = begin(recipe(tmp_path, "first", 3, 0), (), store.uri, "tags")
    gate = threading.Barrier(8)
    faults: list[Exception] = []

    def move(version: int) -> None:
        gate.wait()
        try:
            publishing.move_publishing_tag(store, run, version)
        except Exception as error:
            faults.append(error)

    threads = [threading.Thread(target=move, args=(version,)) for version in range(1, 9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []
    entry = corpus.read_tag(store, "library", "latest")
    assert entry is not None
    assert entry.version == 8


def test_runs_that_ask_models_take_turns_where_the_server_has_a_limit(tmp_path: Path) -> None:
    asked: list[str] = []

    def answer(request: dict[str, Any], nth: int) -> None:
        asked.append(request["model"])

    with stub(answer, wait_s=0.05) as endpoint, get_client(sync_client=True) as client:
        generate = GENERATE.format(url=endpoint.base_url)
        paths = [recipe(tmp_path, name, 30, seed) for seed, name in enumerate(["first", "second"])]
        for path, model in zip(paths, ["one", "two"], strict=True):
            Path(path).write_text(Path(path).read_text() + generate.replace("MODEL", model))
        client.create_global_concurrency_limit(GlobalConcurrencyLimitCreate(name="llm-endpoint", limit=1))
        try:
            at_once(
                [
                    lambda path=path: curate(recipe=path, store=str(tmp_path / Path(path).stem))  # type: ignore[misc]
                    for path in paths
                ]
            )
        finally:
            client.delete_global_concurrency_limit_by_name("llm-endpoint")
    assert set(asked) == {"one", "two"}
    turns = [name for place, name in enumerate(asked) if place == 0 or asked[place - 1] != name]
    # A run that goes into a second round takes another turn; within a round nobody comes between.
    assert len(turns) <= 6
    assert len(asked) > 3 * len(turns)
