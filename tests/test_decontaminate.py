"""Decontamination: against its definition in plain Python, and the ways in which it could find nothing."""

import gzip
import json
import random
from collections import Counter

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cuvee.schemas.errors import InputError, IntegrityError, RecipeError
from cuvee.tasks.measure import decontaminate
from cuvee.tasks.measure.decontaminate import CANARY, BenchmarkItem, build, read_benchmarks, scan
from cuvee.tasks.words.words import split_words

QUESTION = (
    "A farmer keeps 17 sheep in the northern field and buys another 25 at the autumn market. "
    "How many sheep does the farmer keep after the market, if 4 of them are sold on the way home?"
)


def ngrams(words, size):
    return [tuple(words[i : i + size]) for i in range(len(words) - size + 1)]


def has_letter(ngram):
    return any(not character.isascii() or character.isalpha() for word in ngram for character in word)


def plain_scan(text, items, ngram):
    """The definition: return (overlap, name of the item or None)."""
    sets = {}
    for number, entry in enumerate(items):
        words = split_words(entry.text)
        found = {gram for gram in ngrams(words, min(ngram, len(words)) or 1) if has_letter(gram)}
        if len(words) >= min(8, ngram) and found:
            sets[number] = found
    best, name = 0.0, None
    words = split_words(text)
    held = {gram for size in range(1, ngram + 1) for gram in ngrams(words, size)}
    for number, grams in sets.items():
        share = len(grams & held) / len(grams)
        if share > best:
            best, name = share, number
    for line in text.split("\n"):
        grams = [gram for gram in ngrams(split_words(line), ngram) if has_letter(gram)]
        hits = [gram for gram in grams if any(gram in held_by for held_by in sets.values())]
        counts = Counter(number for gram in hits for number, held_by in sets.items() if gram in held_by)
        if hits:
            winner = min(counts, key=lambda number: (-counts[number], number))
            share = len(hits) / len(grams)
            if share > best or (share == best and winner < name):
                best, name = share, winner
    return best, None if name is None else items[name].name


WORDS = st.sampled_from(["red", "Blue", "7", "42", "grün", "漢", "x_y", "_", "e\u0301t", "of"])
LINE = st.lists(WORDS, max_size=24).map(" ".join)
PASSAGE = st.lists(LINE, max_size=4).map("\n".join)


@given(st.lists(PASSAGE, min_size=1, max_size=5), st.lists(PASSAGE, max_size=5), st.sampled_from([3, 5, 9, 13]))
@settings(max_examples=150, deadline=None)
def test_overlaps_and_items_are_those_of_the_definition(benchmarks, texts, ngram):
    items = [BenchmarkItem(f"b:{number}", text) for number, text in enumerate(benchmarks)]
    # Parts of the items, so that much is found.
    texts = [*texts, *(f"{text}\nred {benchmarks[0][7:]}" for text in benchmarks)]
    result = scan(pa.array(texts), build(items, ngram))
    expected = [plain_scan(text, items, ngram) for text in texts]
    assert result["overlap"].to_list() == pytest.approx([overlap for overlap, _ in expected], abs=1e-6)
    assert result["item"].to_list() == [name for _, name in expected]


def test_a_benchmark_question_is_found_in_prose_whatever_its_case_and_marks():
    index = build([BenchmarkItem("other:0", "word " * 40), BenchmarkItem("sums:3", QUESTION)])
    long_before = " ".join(f"before{i}" for i in range(300))
    copy = QUESTION.upper().replace(" ", "  ").replace(",", " —")
    wrapped = "\n".join(" ".join(QUESTION.split()[i : i + 6]) for i in range(0, 40, 6))
    result = scan(pa.array([f"{long_before}\n{copy}\n{long_before}", wrapped, long_before, ""]), index)
    assert result["overlap"].to_list() == [1, 1, 0, 0]
    assert result["item"].to_list() == ["sums:3", "sums:3", None, None]
    assert result.schema == {"overlap": pl.Float32, "item": pl.String}


def test_short_items_are_found_whole_and_shorter_ones_are_listed():
    items = [
        BenchmarkItem("q:0", "Who was the first king of the old Assyrian empire?"),
        BenchmarkItem("q:1", "What is it?"),
        BenchmarkItem("q:2", " ".join(str(number) for number in range(40))),
        BenchmarkItem("q:3", ""),
    ]
    index = build(items)
    assert index.too_short == ["q:1", "q:2", "q:3"]
    texts = ["They ask who was the first\nking of the old ASSYRIAN empire, and why.", "what is it", items[2].text]
    assert scan(pa.array(texts), index)["item"].to_list() == ["q:0", None, None]


def test_a_shared_n_gram_counts_for_every_item_that_has_it():
    start = " ".join(f"shared{i}" for i in range(13))
    items = [BenchmarkItem("a:0", start + " and then something else"), BenchmarkItem("a:1", start)]
    result = scan(pa.array([f"{start} goes on in its own way, for a good while yet"]), build(items))
    assert result.row(0) == (1.0, "a:1")


@pytest.mark.parametrize("slice_bytes", [1, 1000, 1 << 20])
def test_many_texts_are_scanned_like_each_alone(monkeypatch, slice_bytes):
    monkeypatch.setattr(decontaminate, "_SLICE_BYTES", slice_bytes)
    generator = random.Random(1)
    words = QUESTION.split()
    texts = [" ".join(generator.choices(words, k=30)) for _ in range(900)]
    planted = generator.sample(range(900), 40)
    for number in planted:
        texts[number] += " " + QUESTION
    index = build([BenchmarkItem("sums:3", QUESTION)])
    found = scan(pa.chunked_array([pa.array(texts[:100]), pa.array(texts[100:])]), index)
    assert set(np.flatnonzero(found["overlap"].to_numpy() >= 0.99).tolist()) == set(planted)
    assert scan(pa.array(texts[490:500]), index).equals(found[490:500])


def test_an_index_that_would_find_nothing_is_an_error():
    index = build([BenchmarkItem("sums:3", QUESTION)])
    blind = index._replace(filter=np.zeros_like(index.filter))
    with pytest.raises(IntegrityError, match="canary"):
        scan(pa.array(["any text"]), blind)
    with pytest.raises(IntegrityError, match="canary"):
        scan(pa.array([], pa.string()), index._replace(hashes=index.hashes ^ np.uint64(1)))
    assert scan(pa.array([], pa.string()), index).height == 0


def test_the_canary_is_long_enough_for_the_usual_n_grams_and_not_in_prose():
    assert len(split_words(CANARY)) >= 18
    assert scan(pa.array([QUESTION]), build([]))["overlap"].to_list() == [0]


def test_benchmarks_are_read_with_all_their_strings(tmp_path):
    records = [{"question": "Why?", "choices": {"text": ["one", "two"], "label": [1]}}, {"question": "How?", "n": 3}]
    lines = "\n".join(json.dumps(record) for record in records)
    (tmp_path / "a.jsonl").write_text(lines + "\n\n")
    with gzip.open(tmp_path / "b.jsonl.gz", "wt") as file:
        file.write(lines)
    pl.DataFrame({"q": ["Why?", "How?"], "n": [1, 2]}).write_parquet(tmp_path / "c.parquet")
    (tmp_path / "d.txt").write_text("first\n\nsecond\n")
    (tmp_path / "e.csv").write_text('n,q\n1,"Why, how?"\n2,When?\n')
    names = ("a.jsonl", "b.jsonl.gz", "c.parquet", "d.txt", "e.csv")
    items = read_benchmarks([tmp_path / name for name in names])
    assert [entry.name for entry in items] == [f"{name}:{index}" for name in names for index in (0, 1)]
    assert [entry.text for entry in items[8:]] == ["1\nWhy, how?", "2\nWhen?"]
    assert [entry.text for entry in items[:2]] == ["Why?\none\ntwo", "How?"]
    assert [entry.text for entry in items[2:8]] == ["Why?\none\ntwo", "How?", "Why?", "How?", "first", "second"]


def test_benchmarks_that_cannot_be_read_are_errors(tmp_path):
    (tmp_path / "bad.jsonl").write_text('{"a": "b"}\n{"a": \n')
    (tmp_path / "bad.parquet").write_bytes(b"PAR1")
    (tmp_path / "bad.html").write_text("a")
    (tmp_path / "half.jsonl").write_text('{"a": "\\ud83d"}')
    with pytest.raises(InputError, match=r"bad\.jsonl:2"):
        read_benchmarks([tmp_path / "bad.jsonl"])
    with pytest.raises(InputError, match=r"bad\.parquet"):
        read_benchmarks([tmp_path / "bad.parquet"])
    with pytest.raises(InputError, match=r"half\.jsonl:1.* surrogate"):
        read_benchmarks([tmp_path / "half.jsonl"])
    for name in ("bad.html", "bad.pdf", "missing.jsonl"):
        with pytest.raises(RecipeError, match=name):
            read_benchmarks([tmp_path / name])
    with pytest.raises(RecipeError, match="ngram"):
        build([], ngram=2)
