"""What one night leaves for the next: files that change, return, move or break, and options that change."""

import json
from pathlib import Path

import polars as pl
import pytest
from plain import publish_plainly, recipe_file
from texts import documents, write_jsonl

import cuvee
from cuvee.schemas.errors import GateError, InputError, RecipeError, RetryableError
from cuvee.schemas.manifest import TagEntry
from cuvee.schemas.records import SourceFile
from cuvee.storage.corpus import move_tag, read_tag
from cuvee.tasks.begin import begin
from cuvee.tasks.ingest.reading import batches
from cuvee.tasks.publish.commit import move_publishing_tag

RECIPE = "corpus: c\nsources:\n  - {name: a, uri: a/*.jsonl}\nholdout: {share: 0}\n"
TEXT_RECIPE = "corpus: c\nsources:\n  - {name: a, uri: a/*.txt}\nholdout: {share: 0}\n"


def texts_of(folder: Path, store: str = "store") -> set[str]:
    return set(cuvee.open("c", store=str(folder / store)).scan(None).collect()["text"])


def page(folder: Path, text: str, **fields: str) -> None:
    (folder / "a").mkdir(exist_ok=True)
    (folder / "a/page.jsonl").write_text(json.dumps({"id": "page", "text": text, **fields}) + "\n")


@pytest.mark.parametrize("vanished", ["keep", "drop"])
def test_a_page_that_is_reverted_is_published_as_it_stands_now(tmp_path: Path, vanished: str) -> None:
    recipe, store = recipe_file(tmp_path, RECIPE), str(tmp_path / "store")
    first, second = documents(2)
    for text in (first, second, first):
        page(tmp_path, text)
        publish_plainly(recipe, store, f"sources.0.vanished={vanished}")
        assert texts_of(tmp_path) == {text}


def test_a_text_file_keeps_its_text_when_it_is_renamed_and_its_name_taken(tmp_path: Path) -> None:
    recipe, store = recipe_file(tmp_path, TEXT_RECIPE), str(tmp_path / "store")
    old, new = documents(2)
    (tmp_path / "a").mkdir()
    (tmp_path / "a/x.txt").write_text(old)
    publish_plainly(recipe, store)
    (tmp_path / "a/x.txt").rename(tmp_path / "a/y.txt")
    (tmp_path / "a/x.txt").write_text(new)
    publish_plainly(recipe, store)
    assert texts_of(tmp_path) == {old, new}
    names = cuvee.open("c", store=store).scan(None).collect().select("text", "source_id")
    assert dict(names.iter_rows()) == {old: "y.txt", new: "x.txt"}


def test_a_changed_mask_does_not_bring_a_superseded_row_back(tmp_path: Path) -> None:
    recipe, store = recipe_file(tmp_path, RECIPE), str(tmp_path / "store")
    first, second = documents(2)
    page(tmp_path, first)
    publish_plainly(recipe, store)
    (tmp_path / "a/newer.jsonl").write_text(json.dumps({"id": "page", "text": second}) + "\n")
    publish_plainly(recipe, store)
    publish_plainly(recipe, store, "ingest.mask=[]")
    assert texts_of(tmp_path) == {second}


def test_two_files_with_the_same_bytes_are_read_once(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_jsonl(tmp_path / f"a/{name}.jsonl", documents(5))
    report = publish_plainly(recipe_file(tmp_path, RECIPE), str(tmp_path / "store"))
    assert report.steps["ingest"].into == report.documents == 5


def test_a_new_address_of_the_same_text_is_published(tmp_path: Path) -> None:
    recipe, store = recipe_file(tmp_path, RECIPE), str(tmp_path / "store")
    for address in ("http://old.example/", "http://new.example/"):
        page(tmp_path, documents(1)[0], url=address)
        publish_plainly(recipe, store)
        assert cuvee.open("c", store=store).scan(None).collect()["url"].to_list() == [address]


def test_unreadable_rows_of_a_mended_file_or_a_removed_source_no_longer_stop_the_run(tmp_path: Path) -> None:
    recipe, store = recipe_file(tmp_path, RECIPE), str(tmp_path / "store")
    write_jsonl(tmp_path / "a/good.jsonl", documents(5))
    (tmp_path / "a/bad.jsonl").write_text("{\n")
    publish_plainly(recipe, store, "ingest.max_bad_rows=0.5")
    with pytest.raises(InputError, match=r"1 of 6 rows cannot be read:\n  bad\.jsonl: line 1"):
        publish_plainly(recipe, store)
    write_jsonl(tmp_path / "a/bad.jsonl", documents(1, seed=3))
    assert publish_plainly(recipe, store).documents == 6


def test_a_source_without_a_readable_row_is_an_error_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a/empty.jsonl").touch()
    with pytest.raises(InputError, match=r"no source has a readable row(.|\n)*empty\.jsonl is empty"):
        publish_plainly(recipe_file(tmp_path, RECIPE), str(tmp_path / "store"))


def test_nothing_that_survives_is_a_gate_and_the_tag_stays(tmp_path: Path) -> None:
    recipe, store = recipe_file(tmp_path, RECIPE), str(tmp_path / "store")
    write_jsonl(tmp_path / "a/x.jsonl", documents(5))
    publish_plainly(recipe, store)
    with pytest.raises(GateError, match="no document survived to train on"):
        publish_plainly(recipe, store, "filters=[{kind: length, min_words: 100000}]")
    assert cuvee.open("c", store=store).manifest.version == 1


def test_a_raised_threshold_measures_no_text_again(tmp_path: Path) -> None:
    recipe, store = recipe_file(tmp_path, RECIPE), str(tmp_path / "store")
    write_jsonl(tmp_path / "a/x.jsonl", documents(20))
    publish_plainly(recipe, store)
    signed = set((tmp_path / "store/work/sign").iterdir())
    publish_plainly(recipe, store, "dedup.threshold=0.9")
    assert set((tmp_path / "store/work/sign").iterdir()) == signed


def test_a_renamed_generator_drafts_under_its_new_name(tmp_path: Path) -> None:
    recipe, store = recipe_file(tmp_path, RECIPE), str(tmp_path / "store")
    write_jsonl(tmp_path / "a/x.jsonl", documents(40), license="PSF-2.0")
    for name in ("first", "second"):
        entry = f"generate=[{{name: {name}, generator: ngram, allow_baseline: true}}]"
        publish_plainly(recipe, store, "mixture.human.min=0.7", entry)
        frame = cuvee.open("c", store=store).scan(None).collect()
        assert set(frame.filter(pl.col("kind") == "baseline")["source"]) == {name}


def test_a_file_that_changes_while_it_is_read_stops_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_jsonl(tmp_path / "a/x.jsonl", documents(5))
    from cuvee.tasks.ingest import sources

    listed = sources._identify

    def identify_then_append(*arguments: object) -> SourceFile:
        found = listed(*arguments)
        path.write_text(path.read_text() + json.dumps({"text": documents(1, seed=4)[0]}) + "\n")
        return found

    monkeypatch.setattr(sources, "_identify", identify_then_append)
    with pytest.raises(RetryableError, match="changed while it was read"):
        publish_plainly(recipe_file(tmp_path, RECIPE), str(tmp_path / "store"))


def test_a_slow_run_does_not_move_the_tag_back(tmp_path: Path) -> None:
    recipe, store = recipe_file(tmp_path, RECIPE), str(tmp_path / "store")
    write_jsonl(tmp_path / "a/x.jsonl", documents(5))
    publish_plainly(recipe, store)
    slow, place, _ = begin(recipe, (), store, "slow")
    move_tag(place, "c", "latest", TagEntry(version=2, by="publish", created="2026-01-01T00:00:00+00:00"))
    move_publishing_tag(place, slow, 1)
    entry = read_tag(place, "c", "latest")
    assert entry is not None
    assert entry.version == 2


def test_a_folder_with_brackets_in_its_name_is_found(tmp_path: Path) -> None:
    folder = tmp_path / "my [corpus] 1"
    write_jsonl(folder / "a/x.jsonl", documents(3))
    assert publish_plainly(recipe_file(folder, RECIPE), str(tmp_path / "store")).documents == 3


def test_a_licence_that_is_no_expression_is_refused_before_anything_runs(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "a/x.jsonl", documents(3))
    recipe = recipe_file(tmp_path, RECIPE)
    with pytest.raises(RecipeError, match=r"sources\.0\.license: 'ask the author': not an SPDX expression"):
        publish_plainly(recipe, str(tmp_path / "store"), "sources.0.license=ask the author")


def test_grouping_files_takes_time_linear_in_their_number(tmp_path: Path) -> None:
    files = [SourceFile(source="a", path=f"{n}", id=f"{n}", sha256=f"{n:064x}", bytes=10**6) for n in range(20_000)]
    write_jsonl(tmp_path / "a/x.jsonl", documents(1))
    run, _, _ = begin(recipe_file(tmp_path, RECIPE), (), str(tmp_path / "store"), "grouping")
    groups = batches(run, files, frozenset())
    assert [len(group.files) for group in groups] == [64] * 312 + [32]


def test_a_generator_without_a_seed_says_so(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "a/x.jsonl", documents(10))
    entry = "generate=[{name: drafts, generator: ngram, allow_baseline: true}]"
    report = publish_plainly(recipe_file(tmp_path, RECIPE), str(tmp_path / "store"), "mixture.human.min=0.7", entry)
    assert any("generator drafts" in warning and "0 documents may be seeds" in warning for warning in report.warnings)
