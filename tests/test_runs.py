"""Runs: each keeps its ledger, also one that publishes nothing, and leaves nothing behind that no run needs."""

from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest
from plain import publish_plainly, recipe_file
from texts import documents, write_jsonl

from cuvee.commands import story
from cuvee.dataset import open_dataset
from cuvee.schemas.errors import GateError
from cuvee.storage import corpus
from cuvee.storage.store import Store, open_store
from cuvee.tasks.begin import begin, new_run_id

RECIPE = """corpus: c
holdout: {share: 0}
sources: [{name: a, uri: a/*.jsonl}]
filters: [{kind: length, min_words: 20}]
provenance: {unknown_as: human, suspects: keep}
"""


@pytest.fixture
def house(tmp_path: Path) -> tuple[str, Store]:
    write_jsonl(tmp_path / "a/x.jsonl", documents(5))
    return recipe_file(tmp_path, RECIPE), open_store(str(tmp_path / "store"))


def told(store: Store, name: str, ref: str = "c") -> list[str]:
    ledger = story.ledger_of(ref, store.uri)
    return list(story.tell(ledger, story.rows_of(ledger, name)))


def test_explain_knows_the_rows_of_a_night_that_published_nothing(tmp_path: Path, house: tuple[str, Store]) -> None:
    recipe, store = house
    assert publish_plainly(recipe, store.uri).published
    write_jsonl(tmp_path / "a/late.jsonl", ["Too short to be kept."])
    report = publish_plainly(recipe, store.uri)
    assert (report.published, report.version) == (False, 1)
    first, *lines = told(store, "late.jsonl")
    assert "found nothing new" in first
    assert "dropped: length.min_words" in lines[-1]
    # The version's own ledger stays as it was published.
    with pytest.raises(Exception, match=r"is in no row of c@v0001"):
        told(store, "late.jsonl", "c@v0001")
    assert open_dataset("c@v0001", store.uri).ledger().height == 5


def test_a_run_that_a_gate_stops_tells_what_became_of_its_rows(house: tuple[str, Store]) -> None:
    recipe, store = house
    with pytest.raises(GateError, match="min_amount"):
        publish_plainly(recipe, store.uri, "mixture.human.min_amount=1000000")
    end = corpus.newest_run(store, "c")
    assert end is not None
    assert (end.outcome, end.version) == ("stopped", 0)
    assert "min_amount" in end.message
    ledger = story.ledger_of("c", store.uri)
    assert ledger.rows["outcome"].to_list() == ["pooled"] * 5
    assert "was stopped" in told(store, "x.jsonl")[0]
    assert end.steps["mixture"].dropped == {"pooled": 5}


def test_a_ledger_that_says_the_same_is_stored_once(house: tuple[str, Store]) -> None:
    recipe, store = house
    for _ in range(3):
        publish_plainly(recipe, store.uri)
    assert len(store.keys("corpora/c/runs/")) == 3
    (ref,) = open_dataset("c", store.uri).manifest.ledger
    assert store.keys("corpora/c/ledger/") == [ref.path]
    assert list(open_dataset("c", store.uri).verify()) == []
    store.put(ref.path, b"another ledger")
    assert any("has changed" in fault for fault in open_dataset("c", store.uri).verify())


def test_the_last_runs_are_kept_and_only_ledgers_that_something_names(
    tmp_path: Path, house: tuple[str, Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(corpus, "RUNS_KEPT", 3)
    recipe, store = house
    publish_plainly(recipe, store.uri)
    published = open_dataset("c", store.uri).manifest.ledger[0].path
    for night in range(5):
        write_jsonl(tmp_path / f"a/{night}.jsonl", [f"Short {night}."])
        publish_plainly(recipe, store.uri)
    runs = store.keys("corpora/c/runs/")
    assert len(runs) == 3
    named = {file.path for key in runs for file in corpus._run_end(store, "c", key).ledger}
    assert set(store.keys("corpora/c/ledger/")) == {published, *named}
    assert len(named) == 3


def test_a_run_leaves_no_table_behind_and_a_killed_ones_go_after_a_week(house: tuple[str, Store]) -> None:
    recipe, store = house
    old, recent = "20200101T000000Z-killed", new_run_id("killed")
    for run_id in (old, recent):
        store.put(f"work/tables/{run_id}/aa/table.parquet", b"left by a kill")
    publish_plainly(recipe, store.uri)
    assert store.keys("work/tables/") == [f"work/tables/{recent}/aa/table.parquet"]


def test_run_ids_sort_by_the_beginning_of_their_runs(house: tuple[str, Store]) -> None:
    recipe, store = house
    ids = [new_run_id(name) for name in ("z", "", "a")]
    assert all(run_id.startswith(f"{datetime.now(UTC):%Y%m}") for run_id in ids)
    assert len({run_id.rpartition("-")[0] for run_id in ids}) <= 2
    run, _, _ = begin(recipe, (), store.uri, ids[0])
    assert run.run_id == ids[0]


def test_a_plan_keeps_no_run(house: tuple[str, Store]) -> None:
    recipe, store = house
    from cuvee.flows import pipeline
    from cuvee.flows.hands import PlainHands

    report = pipeline.carry_out(recipe, (), store.uri, True, new_run_id(), PlainHands())
    assert report.plan
    assert corpus.newest_run(store, "c") is None
    assert pl.DataFrame(store.keys("work/tables/")).is_empty()
