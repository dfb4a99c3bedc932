"""Runs as OpenLineage events."""

import json
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from plain import publish_plainly, recipe_file
from texts import documents, write_jsonl

from cuvee.flows import lineage
from cuvee.schemas.errors import GateError

RECIPE = """corpus: c
holdout: {share: 0}
sources: [{name: a, uri: a/*.jsonl}]
provenance: {unknown_as: human, suspects: keep}
"""


@pytest.fixture
def events(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    file = tmp_path / "lineage.jsonl"
    monkeypatch.setenv("OPENLINEAGE__TRANSPORT__TYPE", "file")
    monkeypatch.setenv("OPENLINEAGE__TRANSPORT__LOG_FILE_PATH", str(file))
    monkeypatch.setenv("OPENLINEAGE__TRANSPORT__APPEND", "true")
    write_jsonl(tmp_path / "a/1.jsonl", documents(5))
    return file


def told(file: Path) -> list[Any]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_a_run_is_begun_and_complete_with_its_version(tmp_path: Path, events: Path) -> None:
    report = publish_plainly(recipe_file(tmp_path, RECIPE), str(tmp_path / "store"))
    begun, ended = told(events)
    assert (begun["eventType"], ended["eventType"]) == ("START", "COMPLETE")
    assert begun["run"]["runId"] == ended["run"]["runId"]
    # What the specification asks of every event and facet.
    for event in (begun, ended):
        assert UUID(event["run"]["runId"])
        assert datetime.fromisoformat(event["eventTime"]).tzinfo is not None
        assert {"job", "producer", "schemaURL"} <= event.keys()
        datasets = [*event["inputs"], *event["outputs"]]
        facets = [one[kind] for one in datasets for kind in ("facets", "inputFacets", "outputFacets") if kind in one]
        assert all({"_producer", "_schemaURL"} <= facet.keys() for one in facets for facet in one.values())
    assert ended["job"]["name"] == "c"
    assert [(one["namespace"], one["name"]) for one in ended["inputs"]] == [("file", str(tmp_path / "a/*.jsonl"))]
    (output,) = ended["outputs"]
    assert output["name"] == str(tmp_path / "store" / "corpora" / "c")
    assert output["facets"]["version"]["datasetVersion"] == "v0001"
    assert output["outputFacets"]["outputStatistics"]["rowCount"] == report.documents == 5


def test_a_run_that_stops_has_failed_with_its_words(tmp_path: Path, events: Path) -> None:
    recipe = recipe_file(tmp_path, RECIPE + "mixture: {human: {min_amount: 1000000}, shortage: fail}\n")
    with pytest.raises(GateError) as stopped:
        publish_plainly(recipe, str(tmp_path / "store"))
    _, failed = told(events)
    assert failed["eventType"] == "FAIL"
    assert failed["run"]["facets"]["errorMessage"]["message"] == str(stopped.value)


def test_a_receiver_that_fails_costs_the_run_nothing(
    tmp_path: Path, events: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OPENLINEAGE__TRANSPORT__LOG_FILE_PATH", "/nowhere/at/all.jsonl")
    assert publish_plainly(recipe_file(tmp_path, RECIPE), str(tmp_path / "store")).published
    assert "OpenLineage was not told" in caplog.text
    monkeypatch.setenv("OPENLINEAGE_DISABLED", "true")
    assert not lineage.is_configured()


def test_places_are_named_as_openlineage_names_them() -> None:
    assert lineage.place_of("s3://bucket/a/*.parquet", "/r") == ("s3://bucket", "a/*.parquet")
    assert lineage.place_of("https://host/x.gz", "/r") == ("https://host", "x.gz")
    assert lineage.place_of("a/b", "/r") == ("file", "/r/a/b")
    id = "0c8f1b5e-5a52-4f0b-9f0e-3f6a6d2c7b11"
    assert str(lineage.lineage_id(f"20261130T040000Z-{id}")) == id
