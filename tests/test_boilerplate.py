"""Boilerplate: lines that many documents of a source repeat, against their definition in plain Python."""

import hashlib
import itertools
import random
from collections import Counter, defaultdict
from pathlib import Path

import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plain import candidate, ingested, publish_plainly, recipe_file
from texts import paragraphs, write_jsonl

import cuvee
from cuvee.schemas.errors import RecipeError
from cuvee.schemas.tables import PAIRS
from cuvee.storage.store import open_store
from cuvee.tasks import filters
from cuvee.tasks.decide import gather
from cuvee.tasks.decide.partitions import batches
from cuvee.tasks.dedup.pairs import read_pairs
from cuvee.tasks.filters.boilerplate import FEWEST_WORDS, list_lines
from cuvee.tasks.words.words import split_words

RECIPE = """corpus: c
holdout: {share: 0}
sources: [{name: a, uri: a/*.jsonl}, {name: b, uri: b/*.jsonl}]
provenance: {unknown_as: human, suspects: keep}
"""
FILTER = "filters: [{kind: boilerplate, max_documents: 3, min_words: 5, max_share: 0.5}]\n"
NOTICE = [
    "All rights to this page are reserved by its owner.",
    "Please accept our cookies before you read any further.",
    "Sign up for the letter that we send every week.",
    "Read what other visitors have said about this page.",
]
_stores = itertools.count()


def own(count: int, seed: int) -> list[list[str]]:
    """So many documents of two paragraphs each, that no other has."""
    chosen = random.Random(seed).sample(paragraphs(), 2 * count)
    return [chosen[2 * i : 2 * i + 2] for i in range(count)]


def house(folder: Path, more: str = FILTER) -> tuple[str, str]:
    for name in "ab":
        (folder / name).mkdir(exist_ok=True)
    write_jsonl(folder / "b/other.jsonl", ["\n".join(parts) for parts in own(3, seed=99)])
    return recipe_file(folder, RECIPE + more), f"memory://boilerplate-{next(_stores)}"


def page(parts: list[str], draw: random.Random) -> str:
    """A text and the notice around it, in another case now and then."""
    notice = [line.upper() if draw.random() < 0.3 else line for line in NOTICE]
    return "\n".join([notice[0], *parts, *notice[1:]])


# ---- lines

WORD = st.sampled_from(["red", "Blue", "7", "x_y", "漢", "—", "of", "e\u0301t"])
TEXT = st.lists(st.lists(WORD, max_size=8).map(" ".join), max_size=6).map("\n".join)


@given(st.lists(TEXT, min_size=1, max_size=6))
@settings(max_examples=80, deadline=None)
def test_lines_are_those_of_the_definition(texts: list[str]) -> None:
    found = list_lines(pa.array(texts, pa.large_string()))
    expected = [
        (position, split_words(line))
        for position, text in enumerate(texts)
        for line in text.split("\n")
        if len(split_words(line)) >= FEWEST_WORDS
    ]
    assert found.position.tolist() == [position for position, _ in expected]
    assert found.words.tolist() == [len(words) for _, words in expected]
    assert found.total.tolist() == [len(split_words(text)) for text in texts]
    names = [tuple(words) for _, words in expected]
    hashes = found.line.tolist()
    assert len(set(zip(names, hashes, strict=True))) == len(set(names)) == len(set(hashes))


# ---- shares


def plain_shares(texts: dict[str, list[str]], limit: int, fewest: int) -> dict[tuple[str, str], float]:
    """The definition, for texts that are no near copies: (source, text) to its share."""
    shares = {}
    for source, own_texts in texts.items():
        documents: dict[tuple[str, ...], set[str]] = defaultdict(set)
        for text in own_texts:
            for line in text.split("\n"):
                documents[tuple(split_words(line))].add(text)
        for text in own_texts:
            counts = Counter[bool]()
            for line in text.split("\n"):
                words = split_words(line)
                counts[len(words) >= fewest and len(documents[tuple(words)]) > limit] += len(words)
            shares[source, text] = round(counts[True] / max(1, counts.total()), 6)
    return shares


@pytest.mark.parametrize("keys", [1 << 24, 100])
def test_shares_are_those_of_the_definition(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keys: int) -> None:
    # With 100 keys at a time for thousands of lines, they are counted in many ranges.
    monkeypatch.setattr(gather, "KEYS_AT_A_TIME", keys)
    draw = random.Random(5)
    lines = [" ".join(f"w{draw.randrange(400)}" for _ in range(draw.randrange(2, 12))) for _ in range(300)]
    texts = {name: ["\n".join(draw.choices(lines, k=40)) for _ in range(60)] for name in "ab"}
    recipe, store = house(tmp_path, FILTER.replace("max_share: 0.5", "max_share: 0.99"))
    (tmp_path / "b/other.jsonl").unlink()
    for name, rows in texts.items():
        # Several files, and rows that stand twice: a text counts once.
        write_jsonl(tmp_path / name / "one.jsonl", [*rows[:30], *rows[:5]])
        write_jsonl(tmp_path / name / "two.jsonl", [*rows[30:], *rows[:5]])
    begun = ingested(recipe, store)
    assert not read_pairs(begun.store, begun.pool.known_pairs).height
    assert (gather.key_ranges(begun.run, batches(begun.pool, begun.files)) > 1) == (keys == 100)
    seen: list[pl.DataFrame] = []
    judge = filters.judge
    monkeypatch.setattr(filters, "judge", lambda frame, entries: (seen.append(frame), judge(frame, entries))[1])
    begun.decide(partitions=4)
    shares = pl.concat(frame.select("source", "doc_id", "boilerplate_3_5") for frame in seen)
    by_id = {(source, doc_id): share for source, doc_id, share in shares.iter_rows()}
    assert len(by_id) == len(texts["a"]) + len(texts["b"])
    expected = plain_shares(texts, limit=3, fewest=5)
    for (source, text), share in expected.items():
        assert by_id[source, hashlib.sha256(text.encode()).hexdigest()[:32]] == share
    assert len(set(expected.values())) > 20


def test_of_a_chain_of_near_copies_both_ends_count_and_each_source_counts_its_own() -> None:
    # 1 is near 2, 2 is near 3; b has no 2, so that its 1 and 3 know nothing of each other.
    rows = pl.DataFrame(
        {
            "source": list("aaaabb"),
            "doc_id": ["d1", "d2", "d3", "d1", "d1", "d3"],
            "text_key": pl.Series([1, 2, 3, 1, 1, 3], dtype=pl.UInt64),
            "shard": [0, 0, 0, 1, 2, 2],
            "position": [0, 1, 2, 0, 0, 1],
        }
    )
    pairs = pl.DataFrame({"a": [1, 2], "b": [2, 3], "jaccard": [0.9, 0.8]}, PAIRS)
    counted = gather.representatives(rows, pairs)
    assert sorted(counted.iter_rows()) == [(0, 0), (0, 2), (2, 0), (2, 1)]
    # In a star whose middle comes first nothing but the middle counts.
    star = pl.DataFrame({"a": [1, 1], "b": [2, 3], "jaccard": [0.9, 0.8]}, PAIRS)
    assert sorted(gather.representatives(rows, star).iter_rows()) == [(0, 0), (2, 0)]


def verdicts(recipe: str, store: str, *overrides: str) -> dict[tuple[str, int], str | None]:
    ledger = candidate(recipe, store, *overrides).ledger()
    return {(row["path"], row["row"]): row["reason"] for row in ledger.to_dicts()}


def test_documents_made_mostly_of_boilerplate_are_dropped_and_the_others_keep_every_line(tmp_path: Path) -> None:
    recipe, store = house(tmp_path)[0], str(tmp_path / "store")
    draw = random.Random(1)
    short = [[f"Number {i} was a good year, they said."] for i in range(6)]
    long = own(6, seed=2)
    texts = [page(parts, draw) for parts in (*short, *long)]
    write_jsonl(tmp_path / "a/pages.jsonl", texts)
    # In another source the same lines stand in few documents.
    write_jsonl(tmp_path / "b/pages.jsonl", [page([f"Elsewhere {i} words stand here alone."], draw) for i in range(2)])
    made = candidate(recipe, store)
    ledger = made.ledger().filter(pl.col("path") == "pages.jsonl")
    dropped = ledger.filter(pl.col("reason") == "boilerplate.share")
    assert set(dropped["source"]) == {"a"}
    assert sorted(dropped["row"]) == list(range(6))
    assert set(dropped["step"]) == {"filter"}
    report = made.publish()
    assert report.steps["filter"].dropped == {"boilerplate.share": 6}
    assert set(texts[6:]) <= set(cuvee.open("c", store=store).scan(None).collect()["text"])


def test_versions_of_one_page_count_once_so_that_one_of_them_stays(tmp_path: Path) -> None:
    recipe, store = house(tmp_path)
    lines = own(1, seed=4)[0] + own(1, seed=5)[0] + NOTICE
    write_jsonl(tmp_path / "a/pages.jsonl", ["\n".join([*lines, f"Seen {i} times."]) for i in range(12)])
    reasons = Counter(reason for (path, _), reason in verdicts(recipe, store).items() if path == "pages.jsonl")
    assert reasons == {None: 1, "duplicate_near": 11}


def test_nights_decide_like_a_rebuild_and_measure_only_new_lines(tmp_path: Path) -> None:
    recipe, store = house(tmp_path)
    draw = random.Random(7)
    measured = []
    for night in range(3):
        texts = [page([f"Night {night} page {i} had little to say."], draw) for i in range(2)]
        texts += [page(parts, draw) for parts in own(2, seed=night)]
        write_jsonl(tmp_path / f"a/{night}.jsonl", texts)
        publish_plainly(recipe, store)
        keys = open_store(store).keys("work/filter-boilerplate/")
        measured.append(len([key for key in keys if key.endswith(".json")]))
    nightly = verdicts(recipe, store)
    assert nightly == verdicts(recipe, f"memory://boilerplate-{next(_stores)}")
    # Two pages a night: only the second night's made the lines common, which the first night's then were, too.
    assert [nightly[f"{night}.jsonl", 0] for night in range(3)] == ["boilerplate.share"] * 3
    assert measured == [2, 3, 4]


def test_a_superseded_text_counts_no_more(tmp_path: Path) -> None:
    recipe, store = house(tmp_path)
    for night in range(6):
        text = "\n".join([*own(1, seed=night)[0][:1], f"Page as of night {night}, and no more.", *NOTICE])
        (tmp_path / "a/page.jsonl").unlink(missing_ok=True)
        path = write_jsonl(tmp_path / "a/page.jsonl", [text])
        path.write_text(path.read_text().replace('"id": "', '"id": "same", "other": "'))
        publish_plainly(recipe, store, "filters.0.max_share=0.2")
    assert verdicts(recipe, store, "filters.0.max_share=0.2")["page.jsonl", 0] is None


def test_other_thresholds_need_no_text_and_without_the_filter_no_line_is_measured(tmp_path: Path) -> None:
    recipe, store = house(tmp_path)
    draw = random.Random(2)
    write_jsonl(tmp_path / "a/x.jsonl", [page([f"Here is page {i} of them."], draw) for i in range(5)])
    place = open_store(store)
    publish_plainly(recipe, store, "filters=[]")
    assert not list(place.keys("work/filter-boilerplate/"))
    assert verdicts(recipe, store)["x.jsonl", 0] == "boilerplate.share"
    known = sorted(place.keys("work/filter-boilerplate/"))
    assert verdicts(recipe, store, "filters.0.max_documents=5")["x.jsonl", 0] is None
    assert verdicts(recipe, store, "filters.0.min_words=11")["x.jsonl", 0] is None
    two = "filters=[{kind: boilerplate, max_documents: 5}, {kind: boilerplate, max_documents: 2, max_share: 0.6}]"
    assert verdicts(recipe, store, two)["x.jsonl", 0] == "boilerplate.share"
    assert sorted(place.keys("work/filter-boilerplate/")) == known


@pytest.mark.parametrize("wrong", [{"max_documents": 0}, {"min_words": 2}, {"max_share": 1.0}, {"max_line": 3}])
def test_options_out_of_bounds_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(RecipeError, match=next(iter(wrong))):
        filters.parse({"kind": "boilerplate", **wrong}, "filters.0")
