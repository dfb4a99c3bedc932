"""Models of quality: trained from good and bad texts, and what the filter `fasttext` makes of them and of others."""

import json
import random
from pathlib import Path

import pytest
from click.testing import CliRunner
from plain import publish_plainly, recipe_file
from texts import paragraphs, write_jsonl

import cuvee
from cuvee.commands import cli
from cuvee.schemas.errors import RecipeError
from cuvee.storage.store import open_store
from cuvee.tasks import filters
from cuvee.tasks.measure import quality

RECIPE = """corpus: c
holdout: {share: 0}
sources: [{name: rows, uri: rows.jsonl}]
provenance: {unknown_as: human, suspects: keep}
filters:
  - {kind: fasttext, model: quality.bin, label: good, min_score: 0.5}
"""


def noise(count: int, seed: int) -> list[str]:
    """So many lists of words for sale, as no person writes."""
    draw = random.Random(seed)
    words = ["buy", "cheap", "deal", "click", "here", "free", "bonus", "casino", "now", "€99", "</s>", "__label__good"]
    return [" ".join(draw.choices(words, k=40)) + f" {seed}-{number}" for number in range(count)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Good and bad texts in two formats, and a model of them."""
    folder = tmp_path_factory.mktemp("quality")
    (folder / "bad").mkdir()
    for number, text in enumerate(noise(150, 1)):
        (folder / f"bad/{number}.txt").write_text(text, encoding="utf-8")
    write_jsonl(folder / "good.jsonl", paragraphs()[:150])
    quality.train([str(folder / "good.jsonl")], [str(folder / "bad")], folder / "quality.bin")
    return folder


def test_the_same_texts_give_the_same_model_in_any_order(folder: Path, tmp_path: Path) -> None:
    write_jsonl(tmp_path / "good.jsonl", [*paragraphs()[:150][::-1], "in both sets", *paragraphs()[:9]])
    write_jsonl(tmp_path / "bad.jsonl", [*noise(150, 1)[::-1], "in both sets", " "])
    made = quality.train([str(tmp_path / "good.jsonl")], [str(tmp_path / "bad.jsonl")], tmp_path / "quality.bin")
    assert (tmp_path / "quality.bin").read_bytes() == (folder / "quality.bin").read_bytes()
    assert (made.good + made.bad + made.held_out, made.good_kept, made.bad_kept) == (300, 1.0, 0.0)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bad.jsonl", "good.jsonl", "quality.bin"]


def test_the_command_tells_what_the_model_keeps(folder: Path, tmp_path: Path) -> None:
    arguments = ["quality", "train", "--good", str(folder / "good.jsonl"), "--bad", str(folder / "bad"), "--out"]
    told = CliRunner().invoke(cli, [*arguments, str(tmp_path / "m.bin")], catch_exceptions=False)
    assert "min_score 0.5 keeps 100.0% of the good texts and 0.0% of the bad texts" in told.output
    answer = CliRunner().invoke(cli, [*arguments, str(tmp_path / "m.bin"), "--json"], catch_exceptions=False)
    assert json.loads(answer.output)["bytes"] == (tmp_path / "m.bin").stat().st_size


def test_too_few_texts_are_refused_and_leave_no_file(folder: Path, tmp_path: Path) -> None:
    write_jsonl(tmp_path / "few.jsonl", paragraphs()[:5])
    with pytest.raises(RecipeError, match=r"--good: \d texts of its own to train on; give 20 or more"):
        quality.train([str(tmp_path / "few.jsonl")], [str(folder / "bad")], tmp_path / "m.bin")
    assert not (tmp_path / "m.bin").exists()


def test_the_filter_keeps_what_the_model_scores_well_and_measures_a_model_once(folder: Path, tmp_path: Path) -> None:
    good, bad = paragraphs()[200:230], noise(20, 7)
    write_jsonl(tmp_path / "rows.jsonl", [*good, *bad])
    model = tmp_path / "quality.bin"
    model.write_bytes((folder / "quality.bin").read_bytes())
    recipe, place = recipe_file(tmp_path, RECIPE), f"memory://quality-{tmp_path.name}"
    store = open_store(place)

    def published(*overrides: str) -> int:
        publish_plainly(recipe, place, *overrides)
        return cuvee.open("c", store=place).manifest.totals.documents

    def measured() -> dict[str, int]:
        keys = [key.split("/")[1] for key in store.keys("work/") if key.startswith("work/filter-fasttext-")]
        return {name: keys.count(name) for name in keys}

    assert published() == len(good), "kept by the model"
    (first,) = measured()
    assert published("filters.0.min_score=0") == len(good) + len(bad)
    assert published("filters=[{kind: fasttext, model: quality.bin, label: __label__bad}]") == len(bad)
    assert measured() == {first: 1, **{name: 1 for name in measured() if name != first}}
    assert len(measured()) == 2
    both = "{kind: fasttext, model: quality.bin, label: good}, {kind: fasttext, model: quality.bin, label: bad}"
    with pytest.raises(Exception, match="nothing is published"):
        published(f"filters=[{both}]")
    assert len(measured()) == 2
    quality.train([str(folder / "good.jsonl")], [str(folder / "bad/1*.txt")], model)
    published()
    assert len(measured()) == 3


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        ({"label": "good"}, r"filters\.0\.model: missing"),
        ({"model": "quality.bin"}, r"filters\.0\.label: missing"),
        ({"model": "absent.bin", "label": "good"}, r"filters\.0: model: .*absent\.bin cannot be read"),
        ({"model": "good.jsonl", "label": "good"}, r"good\.jsonl is no fastText model"),
        ({"model": "quality.bin", "label": "fine"}, r"the model has no 'fine'; its labels: (good, bad|bad, good)"),
        ({"model": "quality.bin", "label": "good", "min_score": 2}, r"filters\.0\.min_score"),
    ],
)
def test_what_is_wrong_with_an_entry_is_said(folder: Path, entry: dict[str, object], told: str) -> None:
    with pytest.raises(RecipeError, match=told):
        filters.parse({"kind": "fasttext", **entry}, "filters.0", folder)
