"""Very many near copies: few of their pairs are compared, and what becomes of them is what all pairs would say."""

import itertools
import random
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plain import candidate, ingested, publish_plainly, recipe_file
from texts import documents, write_jsonl

from cuvee.storage.store import open_store
from cuvee.tasks import pairs as pool_pairs
from cuvee.tasks import resolve as deciding
from cuvee.tasks.dedup import crowd, pairs
from cuvee.tasks.dedup.candidates import BandKeys, candidates
from cuvee.tasks.dedup.files import dedup_files
from cuvee.tasks.dedup.kernel import sketch
from cuvee.tasks.dedup.pairs import Pairs, near_pairs
from cuvee.tasks.dedup.resolve import SURVIVOR, resolve
from cuvee.tasks.dedup.verify import Comparison

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
    patch.setattr(pairs, "candidates", partial(candidates, crowd=3))
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


class Pool:
    """Texts that come in night by night, of which the pairs are kept as the pool keeps them."""

    def __init__(self, texts: list[str]) -> None:
        self.text = pa.array(texts, pa.large_string())
        self.keys = sketch(self.text, 5, 128, 1, 25, 5).band_keys
        self.held = np.zeros(len(texts), bool)
        self.found: Pairs | None = None

    def compare(self, new: np.ndarray, again: bool = False) -> None:
        self.held |= new
        aside = self.found.aside if self.found else ~self.held & False
        listed = np.flatnonzero(self.held & (new | ~aside))
        found = near_pairs(
            lambda band: BandKeys(listed, self.keys[listed, band]),
            25,
            new,
            Comparison(self.text.take, 5, 0.8),
            np.sort,
            again=again,
        )
        self.found = self.found.joined(found, new) if self.found else found

    def survivors(self, current: np.ndarray, rank: np.ndarray) -> list[int]:
        """Resolve the current ones, comparing unsettled ones again; rank: of all texts."""
        while True:
            assert self.found is not None
            alive = np.flatnonzero(current)
            place = np.full(len(current), -1)
            place[alive] = np.arange(len(alive))
            known = current[self.found.a] & current[self.found.b]
            ends = place[self.found.a[known]], place[self.found.b[known]]
            resolved = resolve(rank[alive], *ends, self.found.jaccard[known], 0.8)
            survives = np.zeros(len(current), bool)
            survives[alive[resolved.keeper == SURVIVOR]] = True
            if not (survives & self.found.aside).any():
                return np.flatnonzero(survives).tolist()
            self.compare(survives & self.found.aside, again=True)


@given(st.integers(0, 10**6), st.integers(1, 4), st.integers(1, 5))
@settings(max_examples=60, deadline=None)
def test_survivors_are_those_of_all_pairs_whatever_is_current_in_whatever_order(
    seed: int, nights: int, copies: int
) -> None:
    draw = random.Random(seed)
    texts = [text for number in range(3) for text in forms(draw.randint(5, 30), draw, number=number)]
    draw.shuffle(texts)
    night = np.array([draw.randrange(nights) for _ in texts])
    pool, whole = Pool(texts), Pool(texts)
    whole.compare(np.ones(len(texts), bool))
    with pytest.MonkeyPatch.context() as patch:
        shrink(patch, copies)
        for number in range(nights):
            pool.compare(night == number)
            for _ in range(2):
                current = np.array([draw.random() < 0.7 for _ in texts]) & (night <= number)
                rank = np.array(draw.sample(range(len(texts)), len(texts)))
                found = pool.survivors(current, rank)
                assert found == whole.survivors(current, rank)
    assert whole.found is not None
    assert not whole.found.aside.any()


@pytest.mark.usefixtures("small_crowds")
def test_a_crowd_of_copies_keeps_few_pairs() -> None:
    draw = random.Random(1)
    texts = forms(400, draw, changed=0)
    pool = Pool(texts)
    pool.compare(np.ones(len(texts), bool))
    assert pool.found is not None
    assert pool.found.aside.sum() == 397
    assert len(pool.found.a) <= 5 * len(texts)
    assert pool.found.candidates < 20 * len(texts)
    assert pool.survivors(np.ones(len(texts), bool), np.arange(len(texts))) == [0]


def test_thousands_of_copies_cost_a_bounded_number_of_comparisons() -> None:
    draw = random.Random(1)
    texts = forms(4000, draw, changed=1)
    pool = Pool(texts)
    pool.compare(np.ones(len(texts), bool))
    assert pool.found is not None
    # All pairs would be 8 million.
    assert pool.found.candidates < 1.1 * crowd.MOST_PAIRS * len(texts)
    assert len(pool.found.a) < 1.5 * crowd.MOST_COPIES * len(texts)


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


CHANGES = [
    (),
    ("dedup.threshold=0.86",),  # what stood for others no longer is near enough
    ("filters=[{kind: length, max_words: 53}]",),  # the longest are kept first, and gone now
    ("filters=[{kind: length, max_words: 52}]", "dedup.threshold=0.84"),
    (),
]


def survivors(recipe: str, store: str, overrides: tuple[str, ...]) -> list[str]:
    return sorted(deciding.survivors(ingested(recipe, store, *overrides).decide())["doc_id"])


@pytest.mark.parametrize("seed", range(3))
def test_nights_decide_what_they_would_with_all_pairs(tmp_path: Path, seed: int) -> None:
    draw = random.Random(seed)
    recipe = recipe_file(tmp_path, RECIPE)
    few, everything = (f"memory://crowd-{next(_stores)}" for _ in range(2))
    for night, published in enumerate(CHANGES):
        write_jsonl(tmp_path / f"a/{night}.jsonl", [*forms(30, draw), *documents(3, seed=night)])
        for overrides in CHANGES:
            expected = survivors(recipe, everything, overrides)
            with pytest.MonkeyPatch.context() as patch:
                shrink(patch)
                assert survivors(recipe, few, overrides) == expected
        whole = publish_plainly(recipe, everything, *published)
        with pytest.MonkeyPatch.context() as patch:
            shrink(patch)
            assert publish_plainly(recipe, few, *published).documents == whole.documents


@pytest.mark.usefixtures("small_crowds")
def test_what_was_set_aside_is_kept_and_compared_again_only_when_it_survives(tmp_path: Path) -> None:
    recipe, store = recipe_file(tmp_path, RECIPE), f"memory://crowd-{next(_stores)}"
    write_jsonl(tmp_path / "a/x.jsonl", forms(40, random.Random(1), changed=1))
    first = candidate(recipe, store)
    record = first.begun.pool.known_pairs
    aside = pool_pairs.read_aside(open_store(store), record)
    assert 20 < len(aside) < 40
    assert record.report["work"]["aside"] == len(aside)
    first.publish()
    assert candidate(recipe, store).begun.pool.known_pairs == record
    again = candidate(recipe, store, "filters=[{kind: length, max_words: 52}]").begun.pool.known_pairs
    assert again.key != record.key
    assert set(pool_pairs.read_aside(open_store(store), again)) < set(aside)
    known = pool_pairs.read_pairs(open_store(store), again)
    assert known.select("a", "b").is_unique().all()
    assert known.filter(pl.col("a") >= pl.col("b")).is_empty()
