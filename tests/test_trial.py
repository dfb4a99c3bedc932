"""A trial: the first rows of each source, in a corpus of its own."""

from pathlib import Path

import polars as pl
import pytest
from plain import recipe_file
from texts import documents, write_jsonl

from cuvee.dataset import open_dataset
from cuvee.flows import pipeline
from cuvee.flows.hands import PlainHands
from cuvee.schemas.errors import RecipeError
from cuvee.schemas.report import RunReport
from cuvee.storage.corpus import corpora
from cuvee.storage.store import open_store
from cuvee.tasks.begin import new_run_id

RECIPE = """
corpus: whole
sources:
  - {name: long, uri: long/*.jsonl, license: CC0-1.0}
  - {name: short, uri: short.jsonl, license: CC0-1.0}
ingest: {max_bad_rows: 0.5}
holdout: {share: 0}
provenance: {suspects: keep}
mixture: {human: {min: 0.5, min_amount: 1000000}}
"""


def try_rows(recipe: str, store: str, limit: int) -> RunReport:
    return pipeline.carry_out(recipe, (), store, False, new_run_id(), PlainHands(), limit)


@pytest.fixture
def house(tmp_path: Path) -> tuple[str, str]:
    texts = documents(14)
    write_jsonl(tmp_path / "long/b.jsonl", texts[3:10])
    write_jsonl(tmp_path / "long/a.jsonl", texts[:3])
    (tmp_path / "long/a.jsonl").open("a").write("{torn\n")
    write_jsonl(tmp_path / "short.jsonl", texts[10:12])
    return recipe_file(tmp_path, RECIPE), str(tmp_path / "store")


def rows(report: RunReport) -> dict[str, list[int]]:
    return {name: [s.rows, s.kept, s.unreadable] for name, s in report.sources.items()}


def test_a_trial_reads_the_first_rows_of_each_source_into_a_corpus_of_its_own(house: tuple[str, str]) -> None:
    recipe, store = house
    report = try_rows(recipe, store, 5)
    # Of a.jsonl three rows and a torn one, then one of b.jsonl.
    assert rows(report) == {"long": [5, 4, 1], "short": [2, 2, 0]}
    assert (report.corpus, report.published, report.documents) == ("whole-trial", True, 6)
    assert corpora(open_store(store)) == ["whole-trial"]
    ledger = open_dataset("whole-trial", store).ledger().filter(pl.col("source") == "long")
    assert ledger.sort("path", "row").select("path", "row").rows() == [
        *(("a.jsonl", row) for row in range(4)),
        ("b.jsonl", 0),
    ]


def test_a_trial_again_finds_nothing_new_and_another_limit_begins_anew(house: tuple[str, str]) -> None:
    recipe, store = house
    assert try_rows(recipe, store, 5).published
    again = try_rows(recipe, store, 5)
    assert (again.published, again.version, rows(again)["long"]) == (False, 1, [5, 4, 1])
    fewer = try_rows(recipe, store, 2)
    assert (fewer.version, rows(fewer)) == (2, {"long": [2, 2, 0], "short": [2, 2, 0]})
    all_of_them = try_rows(recipe, store, 1000)
    assert (all_of_them.version, rows(all_of_them)) == (3, {"long": [11, 10, 1], "short": [2, 2, 0]})


def test_a_name_that_is_too_long_for_a_trial_is_told(house: tuple[str, str]) -> None:
    recipe, store = house
    path = Path(recipe)
    path.write_text(path.read_text().replace("corpus: whole", f"corpus: {'w' * 60}"))
    with pytest.raises(RecipeError, match="of a trial"):
        try_rows(recipe, store, 5)
