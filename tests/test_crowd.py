"""Very many near copies: few of their pairs are compared, and what becomes of them is what all pairs would say."""

import itertools
import random
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plain import ingested, recipe_file
from texts import documents, write_jsonl

from cuvee.schemas.errors import GateError
from cuvee.tasks.dedup import crowd, final, near
from cuvee.tasks.dedup import pairs as pool_pairs
from cuvee.tasks.dedup.files import dedup_files
from cuvee.tasks.dedup.final import keepers
from cuvee.tasks.dedup.index import candidates
from cuvee.tasks.dedup.near import Pairs, near_pairs
from cuvee.tasks.dedup.resolve import SURVIVOR, Resolution
from cuvee.tasks.dedup.verify import Comparison
from cuvee.tasks.words.kernel import sketch

RECIPE = "corpus: c\nholdout: {share: 0}\nsources: [{name: a, uri: a/*.jsonl}]\nprovenance: {unknown_as: human}\n"
FORM = [f"word{number}" for number in range(50)]
_stores = itertools.count()


@pytest.fixture
def small_crowds() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        shrink(patch)
        yield


def shrink(patch: pytest.MonkeyPatch, copies: int = 3) -> None:
    """Make buckets of more than 3 large, and set aside what has `copies` near copies."""
    patch.setattr(near, "candidates", partial(candidates, crowd=3))
    patch.setattr(crowd, "MOST_COPIES", copies)
    patch.setattr(crowd, "BLOCK", 4)
    patch.setattr(crowd, "MOST_PAIRS", 3)


def forms(count: int, draw: random.Random, changed: int = 3, number: int = 0) -> list[str]:
    """Texts that differ from one form in up to so many words; the pairs are near by chance."""
    texts = []
    for _ in range(count):
        own = list(FORM)
        for place in draw.sample(range(len(FORM)), draw.randint(0, changed)):
            own[place] = f"own{number}x{draw.randrange(10**6)}"
        texts.append(" ".join([*own, f"end{number}y{draw.randrange(10**9)}", *["more"] * draw.randint(0, 3)]))
    return texts


def found_among(texts: list[str], rank: np.ndarray) -> tuple[Pairs, Resolution]:
    text = pa.array(texts, pa.large_string())
    keys = sketch(text, 5, 128, 1, 25, 5).band_keys
    return keepers(lambda band: keys[:, band], 25, Comparison(text.take, 5, 0.8), rank)


@given(st.integers(0, 10**6), st.integers(1, 5))
@settings(max_examples=80, deadline=None)
def test_who_keeps_its_place_is_what_all_pairs_say(seed: int, copies: int) -> None:
    draw = random.Random(seed)
    texts = [text for number in range(3) for text in forms(draw.randint(5, 40), draw, number=number)]
    rank = np.array(draw.sample(range(len(texts)), len(texts)))
    whole, expected = found_among(texts, rank)
    with pytest.MonkeyPatch.context() as patch:
        shrink(patch, copies)
        few, resolved = found_among(texts, rank)
    assert not whole.aside.any()
    assert len(few.a) <= len(whole.a)
    assert np.array_equal(resolved.keeper, expected.keeper)
    assert np.array_equal(resolved.jaccard, expected.jaccard)


def test_what_survives_though_it_was_set_aside_is_compared_again(monkeypatch: pytest.MonkeyPatch) -> None:
    words = [f"w{number}" for number in range(100)]
    # The first removes the second, to which alone the others are near but for each other.
    first, second, others = (
        [*words[9:], *(f"a{n}" for n in range(9))],
        words,
        [*words[:91], *(f"b{n}" for n in range(9))],
    )
    texts = [" ".join(text) for text in (first, second, *([*others, f"c{n}"] for n in range(4)))]
    keys = np.array([[1, 7], [2, 7], [2, 3], [2, 4], [2, 5], [2, 6]], np.uint32)
    calls = []

    def counted(*arguments: Any, again: bool, **named: Any) -> Pairs:
        calls.append((int(arguments[2].sum()), again))
        return near_pairs(*arguments, again=again, **named)

    shrink(monkeypatch, copies=1)
    monkeypatch.setattr(final, "near_pairs", counted)
    comparison = Comparison(pa.array(texts, pa.large_string()).take, 5, 0.8)
    _, resolved = keepers(lambda band: keys[:, band], 2, comparison, np.arange(6))
    assert resolved.keeper.tolist() == [SURVIVOR, 0, SURVIVOR, 2, 2, 2]
    assert calls == [(6, False), (4, True)]


@pytest.mark.usefixtures("small_crowds")
def test_a_crowd_of_copies_keeps_few_pairs() -> None:
    texts = forms(400, random.Random(1), changed=0)
    found, resolved = found_among(texts, np.arange(len(texts)))
    assert found.aside.sum() == 397
    assert len(found.a) <= 5 * len(texts)
    assert found.candidates < 20 * len(texts)
    assert np.flatnonzero(resolved.keeper == SURVIVOR).tolist() == [0]


def test_thousands_of_copies_cost_a_bounded_number_of_comparisons() -> None:
    texts = forms(4000, random.Random(1), changed=1)
    found, _ = found_among(texts, np.arange(len(texts)))
    # All pairs would be 8 million.
    assert found.candidates < 1.1 * crowd.MOST_PAIRS * len(texts)
    assert len(found.a) < 1.5 * crowd.MOST_COPIES * len(texts)


# ---- files


@pytest.mark.parametrize("seed", range(4))
def test_files_keep_the_rows_that_all_pairs_would_keep(tmp_path: Path, seed: int) -> None:
    draw = random.Random(seed)
    texts = [text for number in range(4) for text in forms(40, draw, number=number)] + documents(30)
    draw.shuffle(texts)
    write_jsonl(tmp_path / "texts.jsonl", texts)

    def kept(out: str) -> pl.DataFrame:
        dedup_files([str(tmp_path / "texts.jsonl")], tmp_path / out)
        removed = pl.read_parquet(tmp_path / out / "duplicates.parquet")
        assert removed["jaccard"].min() >= 0.8  # type: ignore[operator]
        assert not set(removed["keeper_row"]) & set(removed["row"])
        return pl.read_parquet(tmp_path / out / "kept.parquet")

    expected = kept("all")
    with pytest.MonkeyPatch.context() as patch:
        shrink(patch)
        assert kept("few").equals(expected)


# ---- the pool


def test_pairs_that_do_not_fit_into_memory_stop_the_run_and_name_a_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe, store = recipe_file(tmp_path, RECIPE), f"memory://crowd-{next(_stores)}"
    write_jsonl(tmp_path / "a/x.jsonl", [*documents(20), *forms(50, random.Random(1), changed=0)])
    monkeypatch.setattr(pool_pairs, "_room_for_pairs", lambda: 1000)
    with pytest.raises(
        GateError, match=r"source a: document \w{32} is one of many thousand copies .* over 1,000 pairs"
    ):
        ingested(recipe, store)
    monkeypatch.setattr(pool_pairs, "_room_for_pairs", lambda: 1500)
    assert ingested(recipe, store).pool.known_pairs.report.work.pairs == 50 * 49 / 2
