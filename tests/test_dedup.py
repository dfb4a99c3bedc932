"""Near-duplicates: the kernel against datasketch and plain Python, the pairs against complete truth."""

import datetime as dt
import functools
import gzip
import itertools
import json
import math
import random
import subprocess
import sys
import unicodedata
import zipfile
from collections import Counter, defaultdict
from decimal import Decimal

import datasketch
import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cuvee.schemas.errors import InputError, RecipeError
from cuvee.tasks import readers
from cuvee.tasks.dedup import files as dedup_of_files
from cuvee.tasks.dedup import inputs
from cuvee.tasks.dedup.datasketch_bridge import from_minhash, to_minhash
from cuvee.tasks.dedup.files import dedup_files, estimate
from cuvee.tasks.dedup.index import CROWD, BandKeys, Bands, candidates, choose, curve, found, key_filter, may_meet
from cuvee.tasks.dedup.near import Pairs, near_pairs
from cuvee.tasks.dedup.resolve import SURVIVOR, collapse, expand, resolve
from cuvee.tasks.dedup.verify import Comparison, verify
from cuvee.tasks.words import kernel
from cuvee.tasks.words.kernel import band_keys, shingle_hash32, shingle_sets, signatures, sketch, word_hashes
from cuvee.tasks.words.words import COMPLEX, code_table, split_shingles, split_words

EDGE_TEXTS = [
    "",
    "  \n\t.,!",
    "one",
    "Hello World, this is a Test of it_all 42",
    "a" * 7 + " " + "b" * 8 + " " + "c" * 9 + " " + "d" * 16 + " " + "e" * 17 + " " + "f" * 64,
    "a " * 40,
    "“Quoted” — text… naïve CAFÉ e\u0301te\u0301 İstanbul ẞ STRASSE",
    "ΑΣ ΣΑΣ ΟΔΟΣ Σ",
    "漢字かな交じり文 and English, ｱｲｳ ㌢ 中文",
    "ไทยภาษา ພາສາລາວ ភាសាខ្មែរ မြန်မာ हिन्दी की किताब العَرَبِيَّة",
    "한국어 \u1112\u1161\u11ab ½ ﬁn ™ ² Ⅷ 𝔘nicode 🙂 😀x",
    "x\u00a0y\u200bz\u2028w\x00v\u0345 ᾀ ⓐ ª º",
    "\u270f\ufe0f wr\ufe0fite \u2764\ufe0f\u200d\U0001f525 Σ\ufe0f e\ufe0f\u0301 \u1112\ufe0f\u1161 \ufe0e",
    " ".join("b" * size for size in range(58, 70)) + " a" * 31 + " " + "c" * 64,
    " ".join(f"w{i}" for i in range(3000)),
]
# Letters of many scripts, marks, separators and characters whose case or normal form is unusual.
ALPHABET = (
    "abAZ09_ \n.-éÉßẞİıΣσςǅﬁ½²™ªԱՑ漢かカｶﾞ\uff9eᄒ한\u1161\u11abไทำ\u0e34ကक\u093fק\u05b0ع\u064bⅧ🙂𝔘…“"
    "\u0301\u0308\u0345\u200d\u00a0"
)
KNOWN = st.characters(codec="utf-8").filter(lambda c: unicodedata.category(c) != "Cn")
TEXTS = st.lists(st.text(st.one_of(st.sampled_from(ALPHABET), KNOWN), max_size=60), min_size=1, max_size=8)


def column(texts):
    return pa.array(texts, pa.large_string())


def reference_minhash(text, ngram, permutations, seed):
    minhash = datasketch.MinHash(permutations, seed=seed, hashfunc=shingle_hash32)
    minhash.update_batch(" ".join(shingle).encode() for shingle in split_shingles(text, ngram))
    return minhash


cached_shingles = functools.cache(split_shingles)


def reference_jaccard(a, b, ngram=5):
    a, b = cached_shingles(a, ngram), cached_shingles(b, ngram)
    return round(len(a & b) / len(a | b), 6) if a | b else 1.0


def mutate(text, words, generator):
    split = text.split(" ")
    for _ in range(words):
        split[generator.randrange(len(split))] = f"new{generator.randrange(10**9)}"
    return " ".join(split)


@functools.cache
def planted():
    """1,500 unlike texts, 900 altered copies of them, and 250 texts of one template: distinct texts, shuffled."""
    generator = random.Random(5)
    texts = [" ".join(f"v{int(generator.paretovariate(0.4)) % 5000}" for _ in range(150)) for _ in range(1500)]
    texts += [mutate(generator.choice(texts), generator.randrange(1, 6), generator) for _ in range(900)]
    template = " ".join(f"t{i}" for i in range(150))
    texts += [mutate(template, generator.randrange(1, 9), generator) for _ in range(250)]
    texts = sorted(set(texts))
    generator.shuffle(texts)
    return texts


@functools.cache
def complete_truth():
    """All pairs of `planted` with J >= 0.8, by counting the shingles that they share."""
    sets = [cached_shingles(text, 5) for text in planted()]
    holders = defaultdict(list)
    for number, shingles in enumerate(sets):
        for shingle in shingles:
            holders[shingle].append(number)
    common = Counter(pair for numbers in holders.values() for pair in itertools.combinations(numbers, 2))
    jaccards = {(a, b): round(n / (len(sets[a]) + len(sets[b]) - n), 6) for (a, b), n in common.items()}
    return {pair: jaccard for pair, jaccard in jaccards.items() if jaccard >= 0.8}


def find(texts, new=None, floor=0.8, division=None) -> Pairs:
    text = column(texts)
    division = division or Bands(bands=25, rows=5)
    keys = sketch(text, 5, 128, 1, division.bands, division.rows).band_keys
    new = np.ones(len(texts), bool) if new is None else new
    return near_pairs(
        lambda band: BandKeys(np.arange(len(keys)), keys[:, band]),
        division.bands,
        new,
        Comparison(text.take, 5, floor),
    )


def as_mapping(pairs):
    return dict(zip(zip(pairs.a.tolist(), pairs.b.tolist(), strict=True), pairs.jaccard.tolist(), strict=True))


# ---- words and kernel


@given(TEXTS, st.integers(1, 7), st.sampled_from([1, 8, 128, 130]), st.integers(0, 2**32 - 1))
@settings(max_examples=80, deadline=None)
def test_signatures_are_bit_identical_to_datasketch(texts, ngram, permutations, seed):
    ours = signatures(column(texts), ngram, permutations, seed)
    for row, text in zip(ours, texts, strict=True):
        assert np.array_equal(row, reference_minhash(text, ngram, permutations, seed).hashvalues), text


@given(
    st.lists(st.one_of(st.sampled_from(EDGE_TEXTS), st.text(st.sampled_from(ALPHABET), max_size=40)), max_size=6),
    st.integers(0, 5),
    st.integers(1, 6),
)
@settings(max_examples=30, deadline=None)
def test_edge_cases_beside_each_other_are_bit_identical_to_datasketch(texts, repeated, ngram):
    # Empty, shorter than a shingle, combining marks, other scripts, and one that is much longer than the others.
    texts = [text + " and so on" * 1000 * (number == repeated) for number, text in enumerate(texts)]
    for row, text in zip(signatures(column(texts), ngram, 16, 1), texts, strict=True):
        assert np.array_equal(row, reference_minhash(text, ngram, 16, 1).hashvalues), text[:80]


def test_batches_of_a_call_change_nothing(monkeypatch):
    texts = [*EDGE_TEXTS, *planted()[:50], "", *reversed(EDGE_TEXTS)]
    hashes, offsets = shingle_sets(column(texts), 3)
    expected = sketch(column(texts), 3, 128, 1, 25, 5)
    for size in (1, 100, 5000):
        monkeypatch.setattr(kernel, "BATCH_BYTES", size)
        again, ends = shingle_sets(column(texts), 3)
        assert np.array_equal(again, hashes)
        assert np.array_equal(ends, offsets)
        assert np.array_equal(sketch(column(texts), 3, 128, 1, 25, 5).text_key, expected.text_key)
        assert np.array_equal(sketch(column(texts), 3, 128, 1, 25, 5).band_keys, expected.band_keys)


@pytest.mark.parametrize("text", EDGE_TEXTS)
def test_signatures_of_edge_cases_are_bit_identical_to_datasketch(text):
    # Other texts around it: nothing of a text may leak into the next one.
    ours = signatures(column(["before it", text, "after it"]), 5, 128, 1)
    assert np.array_equal(ours[1], reference_minhash(text, 5, 128, 1).hashvalues)


def test_a_huge_text_is_hashed_whole_like_any_other():
    text = " ".join(f"a_long_word_{i}" for i in range(40_000))
    assert len(text) > 600_000
    assert np.array_equal(signatures(column([text]), 5, 8, 1)[0], reference_minhash(text, 5, 8, 1).hashvalues)
    assert verify(np.array([0]), np.array([1]), Comparison(column([text, text + " end"]).take, 5, 0.8))[0] < 1


def test_every_code_point_makes_the_words_that_the_definition_says():
    points = [chr(p) for p in range(0x20000) if not 0xD800 <= p < 0xE000 and unicodedata.category(chr(p)) != "Cn"]
    words = word_hashes(column([f"a{p}b" for p in points]))
    expected = word_hashes(column([" ".join(split_words(f"a{p}b")) for p in points]))
    assert np.array_equal(words.offsets, expected.offsets)
    assert np.array_equal(words.hashes, expected.hashes)


def test_words_follow_python_regular_expressions_where_scripts_have_spaces():
    assert split_words("Ünïted_Kingdom's 3½ ﬁsh, e\u0301!") == ["ünïted_kingdom", "s", "31", "2", "fish", "é"]
    assert split_words("漢字kana") == ["漢", "字", "kana"]
    assert (code_table() == COMPLEX).sum() < 60_000


@given(TEXTS, st.integers(1, 6))
@settings(max_examples=60, deadline=None)
def test_shingle_sets_have_the_sizes_and_jaccards_of_python_sets(texts, ngram):
    _, offsets = shingle_sets(column(texts), ngram)
    assert np.diff(offsets).tolist() == [len(split_shingles(text, ngram)) for text in texts]
    a, b = np.triu_indices(len(texts))
    jaccard = verify(a, b, Comparison(column(texts).take, ngram, 0.8, batch=3))
    assert jaccard.tolist() == [reference_jaccard(texts[i], texts[j], ngram) for i, j in zip(a, b, strict=True)]


def test_arrow_layouts_nulls_and_slices_change_nothing():
    texts = [*EDGE_TEXTS, "the last one"]
    expected = signatures(column(texts))
    assert np.array_equal(signatures(pa.chunked_array([pa.array(texts[:4]), pa.array(texts[4:])])), expected)
    assert np.array_equal(signatures(pa.array(["x", *texts, "y"]).slice(1, len(texts))), expected)
    assert np.array_equal(signatures(pa.array(texts, pa.string_view())), expected)
    assert np.array_equal(signatures(pa.array([None], pa.string())), signatures(column([""])))
    assert signatures(pa.array([], pa.string())).shape == (0, 128)


def test_a_sketch_holds_the_keys_of_the_signatures_and_a_key_of_the_text():
    text = column(EDGE_TEXTS)
    made = sketch(text, 5, 128, 3, 25, 5)
    assert np.array_equal(made.band_keys, band_keys(signatures(text, 5, 128, 3), 25, 5))
    again = sketch(column([t.upper().replace(" ", " -- ") for t in ("Hello  world", "other", "")]), 5, 128, 3, 25, 5)
    plain = sketch(column(["hello world", "another", "?!"]), 5, 128, 3, 25, 5)
    assert (again.text_key == plain.text_key).tolist() == [True, False, True]
    with pytest.raises(RecipeError, match="130 permutations"):
        sketch(text, 5, 128, 3, 26, 5)


def test_stored_signatures_become_datasketch_objects_that_its_index_finds():
    texts = planted()[:50]
    stored = signatures(column(texts), 5, 128, 1)
    index = datasketch.MinHashLSH(threshold=0.8, num_perm=128)
    for number, signature in enumerate(stored):
        index.insert(number, to_minhash(signature, seed=1))
    assert 7 in index.query(reference_minhash(texts[7], 5, 128, 1))
    assert to_minhash(stored[3]).jaccard(reference_minhash(texts[3], 5, 128, 1)) == 1
    assert np.array_equal(from_minhash(to_minhash(stored[3])), stored[3])
    with pytest.raises(RecipeError):
        from_minhash(datasketch.MinHash(128))


# ---- bands


def test_bands_reach_the_recall_and_the_next_longer_ones_do_not():
    assert choose(0.8) == Bands(bands=25, rows=5)
    for threshold in (0.5, 0.7, 0.85, 0.9, 0.95, 1.0):
        division = choose(threshold)
        assert division.bands * division.rows <= 128
        assert found(division, threshold) >= 0.999
        if division.rows < 128:
            longer = Bands(bands=128 // (division.rows + 1), rows=division.rows + 1)
            assert found(longer, threshold) < 0.999
    assert dict(curve(Bands(bands=14, rows=8)))[0.8] == pytest.approx(0.924, abs=5e-4)
    with pytest.raises(RecipeError, match="permutations"):
        choose(0.02)


# ---- pairs


def test_planted_duplicates_are_all_found_and_nothing_else():
    assert as_mapping(find(planted())) == complete_truth()
    assert len(complete_truth()) > 1000


def test_a_higher_floor_finds_the_part_above_it():
    assert as_mapping(find(planted(), floor=0.9)) == {p: j for p, j in complete_truth().items() if j >= 0.9}


@pytest.mark.parametrize("share", [0.0, 0.02, 0.5, 0.95])
def test_old_and_new_documents_give_the_pairs_of_all_at_once(share):
    texts = planted()
    generator = random.Random(str(share))
    new = np.array([generator.random() < share for _ in texts])
    old = np.flatnonzero(~new)
    within_old = find([texts[i] for i in old])
    added = find(texts, new)
    assert all(new[a] or new[b] for a, b in as_mapping(added))
    joined = {(int(old[a]), int(old[b])): j for (a, b), j in as_mapping(within_old).items()} | as_mapping(added)
    assert joined == complete_truth()


def test_the_order_of_documents_changes_nothing():
    texts = planted()
    order = list(range(len(texts)))
    random.Random(2).shuffle(order)
    shuffled = as_mapping(find([texts[i] for i in order]))
    back = {tuple(sorted((order[a], order[b]))): j for (a, b), j in shuffled.items()}
    assert back == complete_truth()


def test_a_bucket_of_templated_texts_loses_no_true_pair_and_compares_few():
    generator = random.Random(9)
    form = [f"form{i}" for i in range(200)]
    texts = []
    # Every tenth word differs from text to text: J of two texts is about a third, but they share their bands' minima.
    for number in range(2000):
        texts.append(" ".join(f"x{number}q{i}" if i % 10 == 0 else word for i, word in enumerate(form)))
    originals = generator.sample(range(2000), 60)
    texts += [mutate(texts[number], 1, generator) for number in originals]
    few_rows = Bands(bands=20, rows=1)
    pairs = find(texts, division=few_rows)
    assert pairs.large_buckets > 0
    assert {(a, b) for a, b in as_mapping(pairs)} == {(o, 2000 + k) for k, o in enumerate(originals)}
    assert pairs.candidates < 10_000  # of two million pairs in one bucket


def test_true_near_copies_in_a_large_bucket_are_all_paired():
    generator = random.Random(3)
    base = " ".join(f"b{i}" for i in range(120))
    texts = sorted({mutate(base, 1, generator) for _ in range(CROWD * 3)})
    pairs = as_mapping(find(texts))
    assert len(pairs) == len(texts) * (len(texts) - 1) // 2
    assert all(jaccard == reference_jaccard(texts[a], texts[b]) for (a, b), jaccard in list(pairs.items())[:50])


def test_texts_without_words_are_equal_even_in_a_large_bucket():
    texts = ["..." + "!" * i for i in range(CROWD + 3)] + ["some words stand here now"]
    assert set(as_mapping(find(texts)).values()) == {1.0}
    assert len(find(texts).a) == (CROWD + 3) * (CROWD + 2) // 2


def test_candidates_are_the_pairs_of_equal_keys_with_a_new_member():
    generator = np.random.default_rng(1)
    for _ in range(20):
        keys = generator.integers(0, 40, 120).astype(np.uint32) << np.uint32(26)
        new = generator.random(120) < 0.3
        made = candidates(BandKeys(np.arange(120), keys), new, crowd=4)
        sizes = Counter(keys.tolist())
        expected = {
            (i, j)
            for i, j in itertools.combinations(range(120), 2)
            if keys[i] == keys[j] and (new[i] or new[j]) and sizes[int(keys[i])] <= 4
        }
        assert set(zip(made.a.tolist(), made.b.tolist(), strict=True)) == expected
        fresh = {int(key) for key in keys[new]}
        large = {i for i in range(120) if sizes[int(keys[i])] > 4 and int(keys[i]) in fresh}
        assert set(made.crowded.tolist()) == large
        numbers = dict(zip(made.crowded.tolist(), made.bucket.tolist(), strict=True))
        assert all((numbers[i] == numbers[j]) == (keys[i] == keys[j]) for i in large for j in large)


@settings(deadline=None)
@given(st.lists(st.integers(0, 2**32 - 1), max_size=50), st.lists(st.integers(0, 2**32 - 1), max_size=50))
def test_the_filter_passes_every_key_that_it_holds_and_few_others(held: list[int], others: list[int]):
    keys = np.array([*held, *others], np.uint32)
    passed = may_meet(keys, key_filter(np.array(held, np.uint32))).tolist()
    assert set(range(len(held))) <= set(passed)
    many = np.random.default_rng(1).integers(0, 2**32, 100_000).astype(np.uint32)
    assert len(may_meet(many, key_filter(many[:2000]))) < 2000 + 98_000 / 30


# ---- resolve


def plain_resolve(rank, pairs, threshold):
    """The rule of removal, said plainly."""
    keeper = {}
    for document in sorted(range(len(rank)), key=lambda d: rank[d]):
        near = [s for s in keeper if keeper[s] == SURVIVOR and pairs.get(tuple(sorted((s, document))), 0) >= threshold]
        keeper[document] = min(near, key=lambda s: rank[s]) if near else SURVIVOR
    return [keeper[d] for d in range(len(rank))]


@given(st.data())
@settings(max_examples=100, deadline=None)
def test_removal_follows_the_rule_and_is_stable(source):
    n = source.draw(st.integers(0, 12))
    rank = np.array(source.draw(st.permutations(range(n))), np.int64)
    every = list(itertools.combinations(range(n), 2))
    chosen = source.draw(st.lists(st.sampled_from(every), unique=True)) if every else []
    levels = source.draw(st.lists(st.sampled_from([0.8, 0.85, 0.9, 1.0]), min_size=len(chosen), max_size=len(chosen)))
    a, b = (np.array([pair[side] for pair in chosen], np.int64) for side in (0, 1))
    jaccard = np.array(levels, float)
    pairs = dict(zip(chosen, levels, strict=True))
    resolved = resolve(rank, a, b, jaccard, 0.85)
    assert resolved.keeper.tolist() == plain_resolve(rank, pairs, 0.85)
    for document, keeper in enumerate(resolved.keeper.tolist()):
        if keeper != SURVIVOR:
            assert resolved.keeper[keeper] == SURVIVOR
            assert rank[keeper] < rank[document]
            assert resolved.jaccard[document] == pairs[tuple(sorted((keeper, document)))] >= 0.85
    stays = resolved.keeper == SURVIVOR
    assert not any(stays[i] and stays[j] and level >= 0.85 for (i, j), level in pairs.items())


def test_a_chain_does_not_remove_a_document_unlike_every_survivor():
    resolved = resolve(np.arange(4), np.array([0, 1, 2]), np.array([1, 2, 3]), np.full(3, 0.9), 0.8)
    assert resolved.keeper.tolist() == [SURVIVOR, 0, SURVIVOR, 2]


@given(st.lists(st.integers(0, 4), max_size=14), st.data())
@settings(max_examples=60, deadline=None)
def test_collapsing_equal_texts_changes_no_removal(kinds, source):
    n = len(kinds)
    rank = np.array(source.draw(st.permutations(range(n))), np.int64)
    near = source.draw(st.sets(st.sampled_from(list(itertools.combinations(range(5), 2)))))
    pairs = {
        (i, j): 1.0 if kinds[i] == kinds[j] else 0.9
        for i, j in itertools.combinations(range(n), 2)
        if kinds[i] == kinds[j] or tuple(sorted((kinds[i], kinds[j]))) in near
    }
    groups = collapse(np.array(kinds, np.uint64), rank)
    members = groups.representative.tolist()
    inner = [
        (i, j)
        for i, j in itertools.combinations(range(len(members)), 2)
        if tuple(sorted((members[i], members[j]))) in pairs
    ]
    a, b = (np.array([pair[side] for pair in inner], np.int64) for side in (0, 1))
    resolved = expand(groups, resolve(rank[groups.representative], a, b, np.full(len(inner), 0.9), 0.8))
    assert resolved.keeper.tolist() == plain_resolve(rank, pairs, 0.8)
    removed = resolved.keeper != SURVIVOR
    for document in np.flatnonzero(removed).tolist():
        assert resolved.jaccard[document] == pairs[tuple(sorted((document, int(resolved.keeper[document]))))]


# ---- files


def write_inputs(folder):
    """The planted texts in four files of three formats, with columns that differ; return all rows in order."""
    folder.mkdir(exist_ok=True)
    texts = [*planted()[:900], planted()[5].upper(), planted()[5], "Ünïcode “text”, and some more of it", ""]
    rows = [{"text": text, "id": i, "note": f"n{i}"} for i, text in enumerate(texts)]
    for row in rows[600:]:
        row["extra"] = row["id"] + 0.5
    lines = [json.dumps(row) for row in rows]
    (folder / "a.jsonl").write_text("\n".join(lines[:300]) + "\n\n")
    with gzip.open(folder / "b.jsonl.gz", "wt") as file:
        file.write("\n".join(lines[300:600]))
    pl.DataFrame(rows[600:800]).write_parquet(folder / "c.parquet")
    with pa.output_stream(str(folder / "d.jsonl.zst"), compression="zstd") as stream:
        stream.write("\n".join(lines[800:]).encode())
    return rows


def test_files_keep_the_longer_text_and_name_every_removal(tmp_path):
    rows = write_inputs(tmp_path / "in")
    report = dedup_files([str(tmp_path / "in")], tmp_path / "out")
    kept = pl.read_parquet(tmp_path / "out/kept.parquet")
    duplicates = pl.read_parquet(tmp_path / "out/duplicates.parquet")
    texts = [row["text"] for row in rows]
    rank = {row: place for place, row in enumerate(sorted(range(len(texts)), key=lambda r: (-len(texts[r]), r)))}
    near = {pair: j for pair, j in complete_truth().items() if pair[1] < 900}
    near |= {
        (i, j): reference_jaccard(texts[i], texts[j])
        for j in range(900, len(texts))
        for i in range(j)
        if reference_jaccard(texts[i], texts[j]) >= 0.8
    }
    expected = plain_resolve([rank[row] for row in range(len(texts))], near, 0.8)
    removed = [row for row, keeper in enumerate(expected) if keeper != SURVIVOR]
    assert duplicates.columns == ["row", "keeper_row", "jaccard"]
    assert duplicates["row"].to_list() == removed
    assert duplicates["keeper_row"].to_list() == [expected[row] for row in removed]
    assert duplicates["jaccard"].to_list() == [near[tuple(sorted((row, expected[row])))] for row in removed]
    assert kept.columns == ["text", "id", "note", "extra"]
    assert kept["id"].to_list() == [row for row in range(len(texts)) if row not in set(removed)]
    assert kept["extra"].to_list() == [rows[row].get("extra") for row in kept["id"]]
    assert (report.rows, report.kept, report.duplicates) == (len(texts), len(kept), len(duplicates))
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["duplicates.parquet", "kept.parquet"]


def test_members_of_an_archive_are_files_in_its_order(tmp_path):
    long = "The committee met in the old town hall and discussed the plan for the new bridge over the river at length. "
    (tmp_path / "in").mkdir()
    (tmp_path / "in/b.jsonl").write_text(json.dumps({"text": long * 2, "id": "of b"}) + "\n")
    with zipfile.ZipFile(tmp_path / "in/a.zip", "w") as archive:
        archive.writestr("x.jsonl", "".join(json.dumps({"text": text, "id": text[:3]}) + "\n" for text in (long, "no")))
        archive.writestr("LICENSE", "no text")
        archive.writestr("a.txt", f"{long * 2}\n")
    dedup_files([str(tmp_path / "in")], tmp_path / "out")
    assert pl.read_parquet(tmp_path / "out/duplicates.parquet", columns=["row", "keeper_row"]).rows() == [
        (0, 2),
        (3, 2),
    ]
    assert pl.read_parquet(tmp_path / "out/kept.parquet")["id"].to_list() == ["no", f"{tmp_path}/in/a.zip/a.txt"]


def test_its_own_output_loses_nothing(tmp_path):
    write_inputs(tmp_path / "in")
    dedup_files([str(tmp_path / "in")], tmp_path / "out")
    again = dedup_files([str(tmp_path / "out/kept.parquet")], tmp_path / "again")
    assert again.duplicates == 0
    assert pl.read_parquet(tmp_path / "again/kept.parquet").equals(pl.read_parquet(tmp_path / "out/kept.parquet"))


def test_the_number_of_threads_changes_no_byte(tmp_path, monkeypatch):
    write_inputs(tmp_path / "in")
    monkeypatch.setattr(inputs, "BLOCK_BYTES", 20_000)  # many blocks, and lines that span some of them
    for threads in (1, 3):
        monkeypatch.setattr(dedup_of_files, "_threads", lambda threads=threads: threads)
        dedup_files([str(tmp_path / "in")], tmp_path / str(threads))
    for name in ("kept.parquet", "duplicates.parquet"):
        assert (tmp_path / "1" / name).read_bytes() == (tmp_path / "3" / name).read_bytes()


def test_a_line_longer_than_many_blocks_is_one_row(tmp_path, monkeypatch):
    monkeypatch.setattr(inputs, "BLOCK_BYTES", 1000)
    texts = ["short one", " ".join(f"long{i}" for i in range(5000)), "another short one", "é" * 3000]
    (tmp_path / "in.jsonl").write_text("\n".join(json.dumps({"text": text}) for text in texts), encoding="utf-8")
    dedup_files([str(tmp_path / "in.jsonl")], tmp_path / "out")
    assert pl.read_parquet(tmp_path / "out/kept.parquet")["text"].to_list() == texts


def test_the_estimate_comes_first_and_the_report_tells_the_recall(tmp_path):
    rows = write_inputs(tmp_path / "in")
    told = []
    announced = [str(tmp_path / "in/c.parquet"), str(tmp_path / "in/a.jsonl")]
    report = dedup_files(
        announced,
        tmp_path / "out",
        progress=lambda phase, done, total: told.append(phase),
        announce=lambda estimate: told.append(estimate),
    )
    first = told[0]
    assert (first.files, told[1]) == (2, "read")
    assert 200 <= first.rows <= len(rows)
    assert report.bytes_on_disk * 0.3 < first.bytes_on_disk < report.bytes_on_disk * 3
    assert first.bytes_in_memory > 400 << 20
    assert dict(report.curve)[0.8] > 0.999


@pytest.mark.parametrize("name", ["long.jsonl", "long.jsonl.gz", "long.csv", "long.txt"])
def test_the_estimate_counts_long_rows_wherever_they_stand(tmp_path, name):
    short, long = b'{"text": "some words of a line"}\n' * 2000, b'{"text": "' + b"long row " * 400_000 + b'"}\n'
    one, much = (tmp_path / folder / name for folder in ("short", "long"))
    for path, content in ((one, short), (much, long + short if name.endswith("gz") else short + long)):
        path.parent.mkdir()
        path.write_bytes(gzip.compress(content, 1) if name.endswith("gz") else content)
    first, second = (estimate([path], tmp_path, choose(0.8)) for path in (one, much))
    assert second.bytes_in_memory - first.bytes_in_memory >= 10 * len(long)
    if name == "long.jsonl":
        assert (first.rows, second.rows) == (2000, 2001)


def test_outputs_have_the_same_bytes_in_another_process(tmp_path):
    write_inputs(tmp_path / "in")
    dedup_files([str(tmp_path / "in")], tmp_path / "one")
    program = (
        "import sys; from pathlib import Path; from cuvee.tasks.dedup.files import dedup_files; "
        "dedup_files([sys.argv[1]], Path(sys.argv[2]))"
    )
    arguments = [sys.executable, "-c", program, str(tmp_path / "in"), str(tmp_path / "two")]
    subprocess.run(arguments, check=True, env={"PYTHONHASHSEED": "7", "PATH": ""})
    for name in ("kept.parquet", "duplicates.parquet"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ('{"text": "fine"}\n\n{"text": "cut\n', "bad.jsonl:3"),
        ('{"text": "fine"}\n[1]\n', "bad.jsonl:2"),
        ('{"text": "fine"}\n{"other": 1}\n', "row 1"),
        ('{"other": 1}\n', "--text"),
        ('{"text": 1}\n', "not a string"),
        ('{"text": "fine"}\n{"text": "a", "note": "half \\ud83d"}\n', r"bad\.jsonl:2.* surrogate"),
    ],
)
def test_a_bad_row_is_named_and_standing_outputs_stay(tmp_path, content, named):
    (tmp_path / "good.jsonl").write_text('{"text": "a b c d e f"}\n')
    dedup_files([str(tmp_path / "good.jsonl")], tmp_path / "out")
    before = (tmp_path / "out/kept.parquet").read_bytes()
    (tmp_path / "bad.jsonl").write_text(content)
    with pytest.raises(InputError, match=named):
        dedup_files([str(tmp_path / "bad.jsonl")], tmp_path / "out")
    assert (tmp_path / "out/kept.parquet").read_bytes() == before
    assert len(list((tmp_path / "out").iterdir())) == 2


def test_a_damaged_compressed_file_is_named(tmp_path):
    whole = gzip.compress(b'{"text": "a"}\n' * 50_000)
    (tmp_path / "cut.jsonl.gz").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "cut.parquet").write_bytes(b"PAR1 and no more")
    for name in ("cut.jsonl.gz", "cut.parquet"):
        with pytest.raises(InputError, match=name):
            dedup_files([str(tmp_path / name)], tmp_path / "out")


KINDS = [
    ([1, 2, None], pa.int64(), [1, 2, None]),
    ([1, 2.5, math.nan], pa.float64(), [1.0, 2.5, math.nan]),
    ([2**63, 0], pa.uint64(), [2**63, 0]),
    ([2**64, -1], pa.large_string(), ["18446744073709551616", "-1"]),
    ([2**53 + 1, 0.5], pa.large_string(), ["9007199254740993", "0.5"]),
    ([1, "two", 3.0, True, [1, None], {"b": 2}], pa.large_string(), ["1", "two", "3", "true", "[1, null]", '{"b": 2}']),
    ([True, False], pa.bool_(), [True, False]),
    ([[1], [], None], pa.list_(pa.int64()), [[1], [], None]),
    ([["a", 1], [None]], pa.list_(pa.large_string()), [["a", "1"], [None]]),
    ([{"x": 1}, {"y": "z"}], pa.struct({"x": pa.int64(), "y": pa.string()}),
     [{"x": 1, "y": None}, {"x": None, "y": "z"}]),
    ([{}, {"x": 1}], pa.large_string(), ["{}", '{"x": 1}']),
    ([None, None], pa.null(), [None, None]),
]  # fmt: skip


@pytest.mark.parametrize(("values", "kind", "written"), KINDS)
@pytest.mark.parametrize("split", ["one block", "blocks", "files"])
def test_a_column_has_one_type_whatever_block_or_file_a_value_stands_in(
    tmp_path, monkeypatch, split, values, kind, written
):
    monkeypatch.setattr(inputs, "BLOCK_BYTES", 1 if split == "blocks" else 1 << 20)
    lines = [json.dumps({"c": value, "text": f"text number {place}"}) for place, value in enumerate(values)]
    parts = [[line] for line in lines] if split == "files" else [lines]
    for place, part in enumerate(parts):
        (tmp_path / f"{place}.jsonl").write_text("\n".join(part))
    dedup_files([str(tmp_path / "*.jsonl")], tmp_path / "out")
    kept = pq.read_table(tmp_path / "out/kept.parquet")
    assert kept.schema.names == ["c", "text"]
    assert kept.schema.field("c").type == kind
    assert repr(kept["c"].to_pylist()) == repr(written)


def test_files_of_several_formats_are_united_and_what_differs_becomes_text(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"text": "a", "n": 1, "day": "2020-05-01"}\n')
    (tmp_path / "b.csv").write_text('n,text\n2,"b ""quoted"""\n')
    days = pa.array([dt.date(2020, 5, 2)])
    text = pa.array(["c"]).dictionary_encode()
    pq.write_table(pa.table({"text": text, "day": days, "n": pa.array([3], pa.int8())}), tmp_path / "c.parquet")
    (tmp_path / "d.txt").write_text("d is a text file")
    (tmp_path / "e.pdf").write_text("nobody reads this")
    told = []
    report = dedup_files([str(tmp_path)], tmp_path.parent / f"{tmp_path.name}-out", announce=told.append)
    kept = pl.read_parquet(tmp_path.parent / f"{tmp_path.name}-out/kept.parquet")
    assert (report.rows, told[0].passed_over) == (4, (str(tmp_path / "e.pdf"),))
    assert kept.rows() == [
        ("a", "1", "2020-05-01", None),
        ('b "quoted"', "2", None, None),
        ("c", "3", "2020-05-02", None),
        ("d is a text file", None, None, str(tmp_path / "d.txt")),
    ]


FAR, NANO = pa.array([2**62], pa.timestamp("us")), pa.array([5], pa.timestamp("ns"))


@pytest.mark.parametrize(
    ("first", "second", "written"),
    [
        (FAR, NANO, ["4611686018427387904 us from 1970", "1970-01-01T00:00:00.000000005"]),
        (pa.array([10**6], pa.timestamp("us")), NANO, None),
        (pa.array([-800_000], pa.date32()), pa.array(["x"]), ["-800000 days from 1970", "x"]),
        (
            pa.array([[2**62]], pa.list_(pa.timestamp("ms"))),
            pa.array(["x"]),
            ['["4611686018427387904 ms from 1970"]', "x"],
        ),
        (pa.array([Decimal("1.50")]), pa.array([2]), ["1.50", "2"]),
        (pa.array([Decimal("12345678901234567890.5")]), pa.array([0.5]), ["12345678901234567890.5", "0.5"]),
        (pa.array([[2**53 + 1]]), pa.array([[0.5]]), ["[9007199254740993]", "[0.5]"]),
        (pa.array([{"a": 1}]), pa.array([{"a": Decimal("1.5")}]), ['{"a": 1}', '{"a": "1.5"}']),
        (pa.array([[1]], pa.list_(pa.int8())), pa.array([[300]], pa.list_(pa.int64())), None),
        (pa.array([b"\xffa"]), pa.array(["x"]), ["\\xffa", "x"]),
    ],
)
def test_what_no_one_type_holds_exactly_becomes_text(tmp_path, first, second, written):
    for name, values in (("a", first), ("b", second)):
        pq.write_table(pa.table({"text": [name], "c": values}), tmp_path / f"{name}.parquet")
    dedup_files([str(tmp_path / "*.parquet")], tmp_path / "out")
    kept = pq.read_table(tmp_path / "out/kept.parquet")["c"]
    assert len(kept) == 2
    if written is None:
        assert kept.type == second.type
    else:
        assert kept.to_pylist() == written


def test_a_parquet_file_with_two_columns_of_one_name_is_named(tmp_path):
    pq.write_table(pa.table([["a"], [1], [2]], ["text", "n", "n"]), tmp_path / "a.parquet")
    with pytest.raises(InputError, match=r'a\.parquet: column "n" stands 2 times'):
        dedup_files([str(tmp_path)], tmp_path.parent / f"{tmp_path.name}-out")


def test_objects_of_endless_keys_or_depth_are_text_and_keep_all_they_hold(tmp_path):
    rows = [{"text": f"text {n}", "by_id": {f"key {n}": n}} for n in range(1200)]
    deep: object = 7
    for _ in range(300):
        deep = [deep]
    rows.append({"text": "deep", "by_id": None, "deep": deep})
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
    dedup_files([str(tmp_path / "a.jsonl")], tmp_path / "out")
    kept = pl.read_parquet(tmp_path / "out/kept.parquet")
    assert [json.loads(value) for value in kept["by_id"].drop_nulls()] == [row["by_id"] for row in rows[:-1]]
    inner = kept["deep"].drop_nulls()
    while isinstance(inner.dtype, pl.List):
        inner = inner.explode()
    assert inner.dtype == pl.String
    (tmp_path / "b.jsonl").write_text('{"text": "x", "deep": ' + "[" * 990 + "]" * 990 + "}")
    with pytest.raises(InputError, match=r"b\.jsonl:1.*JSON"):
        dedup_files([str(tmp_path / "b.jsonl")], tmp_path / "out")


def test_ids_that_are_numbers_first_and_text_later_are_text_in_a_file_of_many_blocks(tmp_path):
    padding = "many words that stand here " * 40
    rows = [{"id": n if n < 5000 else f"id-{n}", "text": f"{n} {padding}"} for n in range(5010)]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
    assert (tmp_path / "a.jsonl").stat().st_size > 5 << 20
    dedup_files([str(tmp_path / "a.jsonl")], tmp_path / "out", threshold=1.0)
    assert pl.read_parquet(tmp_path / "out/kept.parquet")["id"].to_list() == [str(row["id"]) for row in rows]


def test_paths_are_expanded_once_and_sorted_by_bytes(tmp_path):
    for name in ("b.jsonl", "B.jsonl", "é.jsonl", "sub/z.parquet", "sub/readme.pdf"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("")
    files, passed = readers.expand(
        [str(tmp_path), str(tmp_path / "*.jsonl"), f"{tmp_path}/./b.jsonl", str(tmp_path / "b.jsonl")]
    )
    assert [path.relative_to(tmp_path).as_posix() for path in files] == [
        "B.jsonl",
        "b.jsonl",
        "sub/z.parquet",
        "é.jsonl",
    ]
    assert passed == [tmp_path / "sub/readme.pdf"]
    with pytest.raises(RecipeError, match="outside"):
        dedup_files([str(tmp_path)], tmp_path / "sub")
    for wrong in ("missing.jsonl", "*.csv", "sub/readme.pdf"):
        with pytest.raises(RecipeError):
            readers.expand([str(tmp_path / wrong)])


def test_no_rows_and_rows_without_words_are_handled(tmp_path):
    (tmp_path / "none.jsonl").write_text("\n")
    assert dedup_files([str(tmp_path / "none.jsonl")], tmp_path / "none").rows == 0
    assert pl.read_parquet(tmp_path / "none/duplicates.parquet").columns == ["row", "keeper_row", "jaccard"]
    (tmp_path / "dots.jsonl").write_text('{"text": "."}\n{"text": ""}\n{"text": "..."}\n' * 500)
    report = dedup_files([str(tmp_path / "dots.jsonl")], tmp_path / "dots")
    assert (report.kept, report.duplicates) == (1, 1499)
    assert pl.read_parquet(tmp_path / "dots/kept.parquet")["text"].to_list() == ["..."]
