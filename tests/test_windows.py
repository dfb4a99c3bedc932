"""Windows: long seeds are shown in parts that end with paragraphs, and every word of them can be shown."""

import random
import re
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from plain import Candidate, candidate, drafting_recipe, recipe_file
from stub_endpoint import between, rephrase, stub
from texts import documents, write_jsonl

from cuvee.schemas.tables import WINDOWS
from cuvee.storage.store import open_store
from cuvee.tasks.generate import drafting
from cuvee.tasks.generate.groundedness import ground
from cuvee.tasks.ingest.normalise import measure
from cuvee.tasks.measure import windows
from cuvee.tasks.words.counts import count_words

LONG = "\n\n".join(documents(60))


def divided(*texts: str) -> list[list[dict[str, int]] | None]:
    rows = pl.DataFrame({"text": texts})
    found = windows.divide(rows.hstack(measure(rows["text"])))
    assert found.schema["windows"] == WINDOWS["windows"]
    return found["windows"].to_list()


def words_of(text: str) -> int:
    return int(count_words(pl.Series([text]))[0])


def check(text: str) -> list[dict[str, int]]:
    """Divide a text, and see that each word stands in one window, within the limits."""
    (found,) = divided(text)
    assert found is not None
    ends = [0, *(window["stop"] for window in found)]
    assert all(not text[end : window["start"]].strip() for end, window in zip(ends, found, strict=False))
    assert not text[ends[-1] :].strip()
    for window in found:
        part = text[window["start"] : window["stop"]]
        assert part == part.strip() != ""
        assert window["words"] == words_of(part) <= windows.WORDS
        assert len(part) <= windows.CHARACTERS
    assert sum(window["words"] for window in found) >= words_of(text)
    return found


def test_a_short_document_is_shown_whole_and_a_long_one_in_windows_of_whole_paragraphs() -> None:
    assert divided("", "A short one.", "word " * 1000) == [None, None, None]
    found = check(LONG)
    ends = {match.start() for match in re.finditer("\n\n", LONG)} | {len(LONG)}
    assert {window["stop"] for window in found} <= ends
    assert len(found) <= 1.3 * words_of(LONG) / windows.WORDS + 1
    assert min(window["words"] for window in found) > windows.WORDS / 3


@pytest.mark.parametrize(
    ("text", "end"),
    [
        ("A sentence ends the line here.\n" * 400, ".\n"),
        ("This sentence of a single paragraph ends here. " * 400, ". "),
        ("河水流过。图书馆开放。" * 400, "。"),
        ("a row without a mark\n" * 900, "k\n"),
        ("word " * 5000, "d "),
        ("ก" * 5000, "ก"),
        ("x" * 30_000, "x"),
        ("x" * 9_000 + " " + "An end. " * 900 + "\n\n" + "y" * 9_000, ""),
    ],
)
def test_what_has_no_paragraphs_is_divided_at_the_best_ends_that_it_has(text: str, end: str) -> None:
    found = check(text)
    assert len(found) > 1
    assert all(text[window["stop"] - 1 :].startswith(end) for window in found[:-1])


def test_windows_of_random_texts_hold_every_word_once() -> None:
    draw = random.Random(3)
    pieces = ["word", "End.", "河", "水。", "x" * 300, "\n", "\n\n", " \n \n", "12.5", "“Yes!”", "กขค", "\u00a0"]
    for _ in range(40):
        weights = [draw.random() for _ in pieces]
        text = "".join(piece + " " * draw.choice([0, 1]) for piece in draw.choices(pieces, weights, k=6000)).strip()
        check(text)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_jsonl(tmp_path / "texts.jsonl", [LONG, *documents(70)[60:]])
    return tmp_path


def made(folder: Path, url: str, *overrides: str) -> Candidate:
    lines = ("seeds: {max_per_seed: 1}", "budget: {amount: 1000000}", "gates: {length_ratio: [0.1, 10]}")
    recipe = recipe_file(folder, drafting_recipe(url, *lines, human=0.1))
    return candidate(recipe, str(folder / "store"), *overrides)


def rounds_of(found: Candidate) -> pl.DataFrame:
    entry = found.begun.run.recipe.generate[0]
    return drafting.rounds_of(open_store(found.begun.run.store), found.begun.pool, found.begun.run, entry)


def test_every_window_of_a_long_seed_is_asked_about_once_and_its_drafts_say_which(folder: Path) -> None:
    with stub() as endpoint:
        found = made(folder, endpoint.base_url)
        asked = [between(request, "document") for request in endpoint.requests]
        rounds = rounds_of(found)
        twice = made(folder, endpoint.base_url)
        assert len(endpoint.requests) == len(asked)
        both = made(folder, endpoint.base_url, "generate.0.seeds.max_per_seed=2")
    assert twice.drafts[0].planned == found.drafts[0].planned
    assert set(found.drafts[0].planned) < set(both.drafts[0].planned)
    assert len(both.drafts[0].planned) == 2 * len(asked)
    assert len(asked) == len(set(asked)) == rounds.height == rounds["request_key"].n_unique()
    long = rounds.filter(pl.col("seed_ids").list.first().is_duplicated()).sort("seed_start")
    (windows_,) = divided(LONG)
    assert windows_ is not None
    spans = [(window["start"], window["stop"]) for window in windows_]
    assert long.select("seed_start", "seed_stop").rows() == spans
    assert {LONG[start:stop] for start, stop in spans} < set(asked)
    whole = rounds.filter(pl.col("seed_ids").list.first().is_unique())
    assert whole.height == 10
    assert {len(text) for text in documents(70)[60:]} == set(whole["seed_stop"])
    assert set(whole["seed_start"]) == {0}


def test_a_draft_is_compared_with_its_window_and_not_with_the_rest_of_its_seed(folder: Path) -> None:
    (found,) = divided(LONG)
    assert found is not None
    first, last = (LONG[window["start"] : window["stop"]] for window in (found[0], found[-1]))

    def about_another_window(request: dict[str, Any], nth: int) -> str:
        shown = between(request, "document")
        return (
            rephrase({"messages": [{"content": f"===== document =====\n{last}\n===== end of document ====="}]})
            if (shown == first)
            else rephrase(request)
        )

    with stub(about_another_window) as endpoint:
        rounds = rounds_of(made(folder, endpoint.base_url))
    wrong = rounds.filter(pl.col("seed_stop") == found[0]["stop"]).row(0, named=True)
    assert wrong["groundedness"] == ground(wrong["text"], first).score
    assert wrong["groundedness"] < 0.9 < ground(wrong["text"], LONG).score
