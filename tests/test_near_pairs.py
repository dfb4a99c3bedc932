"""Near pairs in the pool: bounded batches, work told, nights equal to a rebuild, and what the guard says of copies."""

import itertools
import json
import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plain import candidate, ingested, publish_plainly, recipe_file
from texts import documents, write_jsonl

from cuvee.schemas.records import PairsReport
from cuvee.schemas.report import Finding
from cuvee.storage import pages, tables
from cuvee.storage.store import open_store
from cuvee.tasks.dedup import index, pairs
from cuvee.tasks.dedup import verify as engine
from cuvee.tasks.dedup.index import BandKeys, first_of_each
from cuvee.tasks.dedup.near import Pairs, near_pairs
from cuvee.tasks.dedup.resolve import SURVIVOR
from cuvee.tasks.dedup.resolve import resolve as keepers_of
from cuvee.tasks.dedup.verify import Comparison, cut_batches, verify
from cuvee.tasks.guard import compared, duplicates
from cuvee.tasks.pool import Shard, Texts
from cuvee.tasks.words.kernel import sketch
from cuvee.tasks.words.union_find import components

RECIPE = "corpus: c\nholdout: {share: 0}\nsources: [{name: a, uri: a/*.jsonl}]\nprovenance: {unknown_as: human}\n"
_stores = itertools.count()


def dense(keys: np.ndarray) -> BandKeys:
    return BandKeys(np.arange(len(keys)), keys)


def find(texts: Sequence[str], bands: int = 25, rows: int = 5) -> Pairs:
    text = pa.array(texts, pa.large_string())
    keys = sketch(text, 5, 128, 1, bands, rows).band_keys
    new, comparison = np.ones(len(texts), bool), Comparison(text.take, 5, 0.8)
    return near_pairs(lambda band: dense(keys[:, band]), bands, new, comparison)


def altered(text: str, draw: random.Random, words: int = 1) -> str:
    split = text.split(" ")
    for _ in range(words):
        split[draw.randrange(len(split))] = f"new{draw.randrange(10**9)}"
    return " ".join(split)


def house(folder: Path, more: str = "") -> tuple[str, str]:
    return recipe_file(folder, RECIPE + more), f"memory://near-pairs-{next(_stores)}"


def finding(folder: Path, kind: str, *overrides: str, recipe: str | None = None, store: str) -> list[Finding]:
    report = publish_plainly(recipe or str(folder / "recipe.yaml"), store, *overrides)
    return [found for found in report.findings if found.kind == kind]


# ---- texts


def test_texts_are_the_same_at_each_use_and_whole_row_groups_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "ROW_GROUP_BYTES", 2000)
    store = open_store(f"memory://near-pairs-{next(_stores)}")
    texts = [[f"{shard} {row} " * 20 for row in range(100)] for shard in range(2)]
    columns = [pa.table({"text": pa.array(rows, pa.large_string())}) for rows in texts]
    files = [tables.write_table(store, "texts", table) for table in columns]
    shards = [Shard(file=file, source="a", generated=False, reading="r", accepted=1) for file in files]
    wanted = [(1, 99), (0, 7), (1, 0), (0, 7), (1, 40)]
    shard, position = (np.array(numbers, np.int64) for numbers in zip(*wanted, strict=True))
    groups: list[int] = []
    take = pages.StringPages.take

    def counted(column: pages.StringPages, group: int, rows: np.ndarray) -> pa.LargeStringArray | None:
        groups.append(group)
        return take(column, group, rows)

    monkeypatch.setattr(pages.StringPages, "take", counted)
    with Texts(store, shards) as opened:
        for use in range(4):
            assert opened.take(shard, position)["text"].to_pylist() == [texts[a][b] for a, b in wanted]
            assert use or len(groups) == 4


# ---- batches


@given(st.lists(st.integers(0, 100), max_size=40), st.integers(1, 10), st.integers(1, 300))
@settings(max_examples=100, deadline=None)
def test_batches_hold_few_documents_and_few_bytes(sizes: list[int], batch: int, most: int) -> None:
    ids = np.arange(0, 2 * len(sizes), 2)
    all_sizes = np.repeat(np.array(sizes, np.int64), 2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine, "BATCH_BYTES", most)
        parts = cut_batches(ids, Comparison(lambda ids: ids, 5, 0.8, batch, all_sizes))
    assert [number for part in parts for number in part.tolist()] == ids.tolist()
    for part in parts:
        assert 1 <= len(part) <= batch
        assert len(part) == 1 or all_sizes[part].sum() <= most


def test_texts_are_fetched_a_bounded_number_of_bytes_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    draw = random.Random(4)
    texts = [" ".join(f"w{draw.randrange(3)}" for _ in range(draw.choice([20, 400]))) for _ in range(120)]
    text = pa.array(texts, pa.large_string())
    sizes = np.array([len(t) for t in texts], np.int64)
    a, b = np.triu_indices(len(texts), 1)
    expected = verify(a, b, Comparison(text.take, 5, 0.8))
    fetched = []

    def fetch(ids: np.ndarray) -> pa.Array:
        fetched.append(ids)
        return text.take(pa.array(ids))

    monkeypatch.setattr(engine, "BATCH_BYTES", 5000)
    comparison = Comparison(fetch, 5, 0.02, sizes=sizes)
    assert np.array_equal(verify(a, b, comparison), expected)
    assert max(sizes[ids].sum() for ids in fetched if len(ids) > 2) <= 5000
    fetched.clear()
    keys = sketch(text, 5, 128, 1, 64, 2).band_keys
    new = np.ones(len(texts), bool)
    near = near_pairs(lambda band: dense(keys[:, band]), 64, new, comparison)
    assert near.large_buckets > 0  # so that the join fetched, too
    assert max(sizes[ids].sum() for ids in fetched if len(ids) > 2) <= 5000


@given(st.lists(st.integers(0, 6), max_size=30), st.data())
@settings(max_examples=100, deadline=None)
def test_one_row_stands_for_a_text_and_an_old_one_where_there_is_one(keys: list[int], source: st.DataObject) -> None:
    new = source.draw(st.lists(st.booleans(), min_size=len(keys), max_size=len(keys)))
    first = first_of_each(np.array(keys, np.uint64), np.array(new, bool)).tolist()
    expected = {min((new[i], i) for i in range(len(keys)) if keys[i] == key)[1] for key in keys}
    assert {i for i, chosen in enumerate(first) if chosen} == expected


@given(st.integers(1, 12), st.data())
@settings(max_examples=100, deadline=None)
def test_components_are_what_pairs_link(n: int, source: st.DataObject) -> None:
    links = source.draw(st.lists(st.tuples(st.integers(0, n - 1), st.integers(0, n - 1)), max_size=14))
    expected = list(range(n))
    for _ in range(n):
        for a, b in links:
            expected[a] = expected[b] = min(expected[a], expected[b])
    a, b = (np.array([link[side] for link in links], np.int64) for side in (0, 1))
    assert components(n, a, b).tolist() == expected


# ---- templates


def forms(count: int, changed: int) -> list[str]:
    """The same form of 100 words, with `changed` names and numbers of its own in each."""
    draw = random.Random(9)
    form = [f"form{i}" for i in range(100)]
    places = [i * 100 // changed for i in range(changed)]
    texts = []
    for number in range(count):
        own = list(form)
        for place in places:
            own[place] = f"x{number}q{draw.randrange(10**6)}"
        texts.append(" ".join(own))
    return texts


def test_a_bucket_of_5000_forms_loses_no_true_pair_and_stays_within_its_bound() -> None:
    draw = random.Random(2)
    texts = forms(5500, changed=12)
    originals = draw.sample(range(5500), 80)
    texts += [altered(texts[number], draw) for number in originals]
    found = find(texts, bands=20, rows=1)
    assert found.largest_bucket >= 5000
    assert found.crowded == len(texts)
    near = set(zip(found.a.tolist(), found.b.tolist(), strict=True))
    assert near == {(original, 5500 + place) for place, original in enumerate(originals)}
    # Less than one comparison a text; all pairs of the bucket would be 12 million.
    assert found.candidates < len(texts)


def test_ten_thousand_forms_do_not_collapse() -> None:
    texts = forms(10_000, changed=12)
    found = find(texts)
    resolved = keepers_of(np.arange(len(texts)), found.a, found.b, found.jaccard, 0.8)
    assert (resolved.keeper == SURVIVOR).all()


def test_forms_that_differ_in_a_word_are_copies_and_their_source_is_a_finding(tmp_path: Path) -> None:
    recipe, store = house(tmp_path)
    write_jsonl(tmp_path / "a/forms.jsonl", [*forms(60, changed=1), *documents(60)])
    found = finding(tmp_path, "duplicates", recipe=recipe, store=store)
    assert [entry.subject for entry in found] == ["a"]
    assert found[0].figures["rows"] == 120
    assert found[0].figures["share"] == pytest.approx(59 / 120, abs=1e-6)


def test_many_copies_of_each_other_are_named_and_block_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compared, "MOST_NEAR_COPIES", 50)
    monkeypatch.setattr(duplicates, "MOST_LOST", 1.0)
    recipe, store = house(tmp_path, "guard: {action: block}\n")
    texts = forms(60, changed=1)
    write_jsonl(tmp_path / "a/forms.jsonl", [*texts, *documents(10)])
    found = finding(tmp_path, "many_near_copies", recipe=recipe, store=store)
    assert (found[0].figures["copies"], found[0].figures["pairs"]) == (59, 60 * 59 / 2)
    assert "of source a" in found[0].message


# ---- nights


def table_of(recipe: str, store: str) -> tuple[pl.DataFrame, PairsReport]:
    begun = ingested(recipe, store)
    record = begun.pool.known_pairs
    return pairs.read_pairs(open_store(store), record).sort("a", "b"), record.report


@pytest.mark.parametrize("seed", range(3))
def test_the_pairs_of_random_nights_are_those_of_a_rebuild(tmp_path: Path, seed: int) -> None:
    draw = random.Random(seed)
    recipe, store = house(tmp_path)
    texts = documents(12, seed=seed)
    for night in range(4):
        tonight = [altered(text, draw, draw.randrange(1, 4)) for text in draw.choices(texts, k=15)]
        # Copies of older texts, of each other, and rows that repeat a text of another night.
        tonight += [altered(tonight[0], draw), draw.choice(tonight), draw.choice(texts)]
        write_jsonl(tmp_path / f"a/{night}.jsonl", tonight)
        texts += tonight
        publish_plainly(recipe, store)
    nightly, report = table_of(recipe, store)
    again, _ = table_of(recipe, f"memory://near-pairs-{next(_stores)}")
    assert nightly.equals(again)
    assert nightly.height > 50
    assert report.work.documents < len(set(texts)) / 2


def test_a_copy_names_the_document_of_an_earlier_night(tmp_path: Path) -> None:
    recipe, store = house(tmp_path)
    old = documents(8)
    write_jsonl(tmp_path / "a/old.jsonl", old)
    publish_plainly(recipe, store)
    draw = random.Random(1)
    write_jsonl(tmp_path / "a/new.jsonl", [*documents(5, seed=9), *(altered(text, draw) for text in old[:3])])
    ledger = candidate(recipe, store).ledger()
    ids = dict(ledger.filter(pl.col("path") == "old.jsonl").select("row", "doc_id").iter_rows())
    copies = ledger.filter(pl.col("reason") == "duplicate_near").sort("row")
    assert copies["path"].to_list() == ["new.jsonl"] * 3
    assert copies["keeper"].to_list() == [ids[0], ids[1], ids[2]]


def test_an_option_that_voids_the_index_is_said_and_a_raised_threshold_voids_nothing(tmp_path: Path) -> None:
    recipe, store = house(tmp_path, "guard: {action: block}\n")
    write_jsonl(tmp_path / "a/x.jsonl", documents(20))
    told = lambda *overrides: finding(tmp_path, "compared_anew", *overrides, recipe=recipe, store=store)  # noqa: E731
    assert told() == []
    assert told("dedup.threshold=0.9") == []
    (entry,) = told("dedup.threshold=0.7", "dedup.bands=[25, 5]")
    assert "dedup.threshold fell from 0.8 to 0.7" in entry.message
    assert entry.figures["documents"] == 20
    (entry,) = told("dedup.ngram=4", "dedup.seed=2")
    assert "dedup.ngram changed from 5 to 4, dedup.seed changed from 1 to 2" in entry.message
    write_jsonl(tmp_path / "a/y.jsonl", documents(5, seed=3))
    assert told("dedup.ngram=4", "dedup.seed=2") == []
    # The bands that follow from it are not named.
    (entry,) = told("dedup.ngram=4", "dedup.seed=2", "dedup.threshold=0.6")
    assert "anew: dedup.threshold fell from 0.8 to 0.6;" in entry.message


def test_what_comparing_took_and_would_take_stands_in_the_findings_report(tmp_path: Path) -> None:
    recipe, store = house(tmp_path)
    texts = documents(20)
    write_jsonl(tmp_path / "a/x.jsonl", [*texts, altered(texts[0], random.Random(1)), texts[1]])
    made = candidate(recipe, store)
    work = made.begun.pool.known_pairs.report.work
    assert (work.documents, work.pairs, work.version, work.anew) == (21, 1, 1, None)
    assert work.estimate.read_mb < work.estimate.memory_mb
    made.publish()
    place = open_store(store)
    (key,) = [key for key in place.keys("corpora/c/reports/") if key.endswith("findings.json")]
    assert json.loads(place.get(key))["figures"]["compared"]["work"] == work.model_dump()


def test_band_keys_are_read_alike_few_or_many_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe, store = house(tmp_path)
    for name in "xyz":
        texts = documents(8, seed=ord(name))
        write_jsonl(tmp_path / f"a/{name}.jsonl", [*texts, texts[0], altered(texts[1], random.Random(1))])
    expected, _ = table_of(recipe, store)
    monkeypatch.setattr(index, "BAND_BYTES", 500)
    monkeypatch.setattr(index, "ROWS_AT_A_TIME", 12)
    found, _ = table_of(recipe, f"memory://near-pairs-{next(_stores)}")
    assert found.height == 3
    assert found.equals(expected)


# ---- copies of human text

TWO = "{name: h, uri: h.jsonl}, {name: s, uri: s.jsonl, origin: synthetic}"


def test_a_machines_copy_of_human_text_goes_even_when_the_human_text_comes_later(tmp_path: Path) -> None:
    recipe, store = house(tmp_path)
    Path(recipe).write_text(RECIPE.replace("{name: a, uri: a/*.jsonl}", TWO))
    draw = random.Random(3)
    human = documents(30)
    made = [altered(text, draw, 2) for text in human[:5]] + [human[5]] + documents(20, seed=8)
    write_jsonl(tmp_path / "h.jsonl", documents(5, seed=5))
    write_jsonl(tmp_path / "s.jsonl", made)
    publish_plainly(recipe, store)
    write_jsonl(tmp_path / "h.jsonl", human)
    late = candidate(recipe, store)
    survivors = late.rows.filter(pl.col("verdict").is_null())
    # The human text wins in every planted pair.
    assert survivors.filter(source="h").height == 5 + 30
    copies = late.ledger().filter(pl.col("reason") == "copy_of_human").sort("row")
    assert copies["step"].to_list() == ["dedup_near"] * 5 + ["dedup_exact"]
    assert set(copies["source"]) == {"s"}
    (found,) = [entry for entry in late.publish().findings if entry.kind == "copies_of_human"]
    assert (found.subject, found.figures) == ("s", {"documents": 26, "copies": 6, "of_seeds": 0})
