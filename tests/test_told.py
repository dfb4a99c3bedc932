"""What a user is told of single texts: the rule, the measure and the bound that dropped one, and the texts."""

import json
import shutil
from pathlib import Path

import pytest
from plain import publish_plainly, recipe_file
from texts import documents, write_jsonl

from cuvee.commands import main, story
from cuvee.schemas.errors import GateError
from cuvee.storage.store import open_store

DUTCH = (
    "Het weer was vandaag prachtig, en daarom gingen wij met de kinderen naar het strand, waar de zon de hele middag "
    "scheen en de golven rustig waren. Daarna aten wij thuis een bord soep met brood en kaas bij het open raam. "
)
RECIPE = """
corpus: told
sources:
  - {name: long, uri: long/*.jsonl, license: CC0-1.0}
  - {name: other, uri: other/*.jsonl, license: MIT, dates: trusted}
ingest: {min_date: 2020-01-01}
filters:
  - {kind: language, keep: [en], min_score: 0.65}
  - {kind: gopher_quality, min_words: 30}
  - {kind: license, keep: [CC0-1.0]}
holdout: {share: 0}
provenance: {unknown_as: human, suspects: keep}
"""


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A store with a corpus of which each row ended in another way."""
    folder = tmp_path_factory.mktemp("told")
    texts = documents(7)
    near = texts[0] + " One more sentence stands here, and it changes little."
    write_jsonl(folder / "long/a.jsonl", [*texts[:5], near, DUTCH * 2, "The end of the matter is that it stays."])
    rows = [{"id": "old", "text": texts[5], "created": "2019-05-04"}, {"id": "mit", "text": texts[6]}]
    (folder / "other").mkdir()
    (folder / "other/b.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    store = str(folder / "store")
    publish_plainly(recipe_file(folder, RECIPE), store)
    return folder, store


def test_explain_gives_rule_measure_and_bound(house: tuple[Path, str]) -> None:
    ledger = story.ledger_of("told", open_store(house[1]).uri)
    ends = {}
    for row in ledger.rows.to_dicts():
        ends[row["path"], row["row"]] = list(story.tell(ledger, [row]))[-1].split(None, 1)
    assert ends["a.jsonl", 6] == ["filter", ends["a.jsonl", 6][1]]
    assert ends["a.jsonl", 6][1].startswith("dropped: language: nl 0.9")
    assert ends["a.jsonl", 6][1].endswith(", wanted en at 0.65")
    assert ends["a.jsonl", 7] == ["filter", "dropped: gopher_quality.min_words: 9, wanted at least 30"]
    assert ends["b.jsonl", 0] == ["ingest", "dropped: min_date: 2019-05-04, wanted from 2020-01-01"]
    assert ends["b.jsonl", 1] == ["filter", "dropped: license: MIT, wanted CC0-1.0"]
    near = next(end for end in ends.values() if end[0] == "dedup_near")
    assert near[1].startswith("dropped: duplicate_near, in favour of ")
    assert near[1].endswith(", copies from 0.8")


def shown(capsys: pytest.CaptureFixture[str], house: tuple[Path, str], *arguments: str) -> tuple[int, str, str]:
    capsys.readouterr()
    with pytest.raises(SystemExit) as end:
        main(["texts", "told", "--store", house[1], *arguments])
    told = capsys.readouterr()
    assert isinstance(end.value.code, int)
    return end.value.code, told.out, told.err


def test_texts_shows_what_was_dropped_kept_or_pooled(
    house: tuple[Path, str], capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = shown(capsys, house, "--source", "long", "--reason", "language")
    assert code == 0
    assert "dropped: language: nl 0.9" in out
    assert f"  | {DUTCH[:40]}" in out
    assert err == "1 of 1 rows; more: -n, whole texts: --json\n"
    assert "  | The end of the matter" in shown(capsys, house, "--reason", "gopher_quality")[1]
    kept = json.loads(shown(capsys, house, "--reason", "kept", "-n", "2", "--json")[1])
    assert kept["rows"] == 5
    assert [row["text"] for row in kept["texts"]] == [
        row["text"] for row in sorted(kept["texts"], key=lambda row: str(row["doc_id"]))
    ]
    assert {row["text"] for row in kept["texts"]} <= set(documents(7))
    assert {(row["outcome"], row["provenance"]) for row in kept["texts"]} == {("kept", "human")}


def test_texts_names_what_there_is_where_nothing_fits(
    house: tuple[Path, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert shown(capsys, house, "--source", "lang")[::2] == (
        2,
        "cuvee: --source lang: no row is of it; did you mean 'long'?\n",
    )
    code, _, err = shown(capsys, house, "--source", "long", "--reason", "langauge")
    assert (code, err.splitlines()) == (2, ["cuvee: --reason langauge: no row ended so; did you mean 'language'?"])
    assert shown(capsys, house, "--provenance", "synthetic")[0] == 2


def test_texts_of_a_run_that_published_nothing_are_escaped_and_lost_with_its_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_jsonl(tmp_path / "a.jsonl", ["It rings, and \u202e turns."])
    recipe = recipe_file(
        tmp_path,
        "corpus: told\nsources: [{name: a, uri: a.jsonl}]\nmixture: {human: {min: 0.5}}\n"
        "filters: [{kind: length, min_words: 20}]",
    )
    house = (tmp_path, str(tmp_path / "store"))
    with pytest.raises(GateError):
        publish_plainly(recipe, house[1])
    out = shown(capsys, house)[1]
    assert "as of run" in out
    assert "\n  | It rings, and \\u202e turns.\n" in out
    shutil.rmtree(tmp_path / "store/work")
    assert "its text is not kept any more" in shown(capsys, house)[1]
