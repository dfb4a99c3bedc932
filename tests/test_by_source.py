"""What a recipe says of single sources: filters, near duplicates, and long texts in pieces."""

from collections.abc import Sequence
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cuvee.schemas.errors import RecipeError
from cuvee.tasks.decide import copies
from cuvee.tasks.ingest.cut import cut, pieces
from cuvee.tasks.readers import SCHEMA, BadRow, Batch
from cuvee.tasks.words.counts import count_words
from tests.plain import candidate, recipe_file

# --- near duplicates -------------------------------------------------------------------------------------------------

Text = tuple[int, str, int]  # text key, source, accepted


def resolved(texts: Sequence[Text], near: set[frozenset[int]], apart: Sequence[str]) -> list[int | None]:
    """Visit texts one by one, as the rule says; return the place of each one's keeper."""
    order = sorted(range(len(texts)), key=lambda place: (texts[place][2], place))
    survivors: list[int] = []
    keepers: dict[int, int] = {}
    for place in order:
        key, source, _ = texts[place]
        for earlier in survivors:
            other, of, _ = texts[earlier]
            if (key == other or frozenset((key, other)) in near) and not (source == of and source in apart):
                keepers[place] = earlier
                break
        else:
            survivors.append(place)
    return [keepers.get(place) for place in range(len(texts))]


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 6), st.sampled_from("abc"), st.integers(1, 3)), max_size=14),
    st.sets(st.frozensets(st.integers(1, 6), min_size=2, max_size=2)),
    st.sets(st.sampled_from("abc")),
)
def test_rows_that_stay_apart_are_no_near_copies_of_each_other(
    texts: list[Text], near: set[frozenset[int]], apart: set[str]
) -> None:
    rows = pl.DataFrame(
        {
            "doc_id": [f"{place:04}" for place in range(len(texts))],
            "text_key": pl.Series([text[0] for text in texts], dtype=pl.UInt64),
            "source": [text[1] for text in texts],
            "provenance": ["human"] * len(texts),
            "accepted": pl.Series([text[2] for text in texts], dtype=pl.Int32),
            "chars": pl.Series([9] * len(texts), dtype=pl.Int64),
        },
        schema_overrides={"doc_id": pl.String, "source": pl.String, "provenance": pl.String},
    )
    ends = [sorted(pair) for pair in near]
    pairs = pl.DataFrame(
        {"a": [a for a, _ in ends], "b": [b for _, b in ends], "jaccard": [0.9] * len(ends)},
        schema={"a": pl.UInt64, "b": pl.UInt64, "jaccard": pl.Float64},
    )
    found = copies.near(rows, pl.repeat(True, len(texts), eager=True), pairs, 0.8, sorted(apart))
    wanted = resolved(texts, near, sorted(apart))
    assert found["keeper"].to_list() == [None if keeper is None else f"{keeper:04}" for keeper in wanted]
    assert found["reason"].null_count() == found["keeper"].null_count() == wanted.count(None)


# --- a recipe --------------------------------------------------------------------------------------------------------

PROSE = "The committee met in the old town hall and discussed the plan for the new bridge over the river. " * 4


def folder_of(tmp_path: Path) -> Path:
    rows = {"a": [f"{PROSE} {n}-in-all" for n in range(3)], "b": [f"{PROSE} {n}" for n in (7, 8)] + ["short words"]}
    for name, texts in rows.items():
        lines = "".join(f"{text}\n" for text in texts)
        (tmp_path / f"{name}.txt").write_text(lines, encoding="utf-8")
    return tmp_path


RECIPE = """
corpus: a
holdout: {share: 0}
sources:
  - {name: a, uri: a.txt, records: line, license: CC0-1.0, near_duplicates: false}
  - {name: b, uri: b.txt, records: line, license: CC0-1.0}
filters:
  - {kind: length, min_words: 10, sources: a}
  - {kind: length, min_words: 70, sources: [b]}
"""


def test_a_filter_judges_the_rows_of_its_sources_alone(tmp_path: Path) -> None:
    rows = candidate(recipe_file(folder_of(tmp_path), RECIPE), str(tmp_path / "store")).rows
    told = dict(rows.group_by("source").agg(pl.col("verdict").drop_nulls().sort()).iter_rows())
    assert told["a"] == []
    assert told["b"] == ["duplicate_near", "duplicate_near", "length.min_words"]


def test_a_filter_that_names_no_source_is_refused(tmp_path: Path) -> None:
    recipe = recipe_file(folder_of(tmp_path), RECIPE.replace("sources: a}", "sources: [aa]}"))
    with pytest.raises(RecipeError, match=r"filters\.0\.sources: no source is called 'aa'; did you mean 'a'"):
        candidate(recipe, str(tmp_path / "store"))


# --- long texts ------------------------------------------------------------------------------------------------------


def test_a_text_is_cut_at_paragraphs_and_a_long_one_within() -> None:
    assert pieces("a b\n\nc d\r\n\r\ne f", 4) == ["a b\n\nc d", "e f"]
    assert pieces("a b c\nd e\n\nf", 3) == ["a b c", "d e\n\nf"]
    assert pieces("One two. Three four! Five", 2) == ["One two.", "Three four!", "Five"]
    assert pieces("a b c d e", 2) == ["a b", "c d", "e"]
    assert pieces("我们去。他们来了吗？", 4) == ["我们去。", "他们来了吗？"]


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from(["a", "b.", " ", "\n", "\n\n", "\r\n", "日本。", "—"]), max_size=60), st.integers(1, 8))
def test_pieces_hold_all_of_a_text_in_order_and_no_more_words_than_they_may(parts: list[str], most: int) -> None:
    text = "".join(parts)
    found = pieces(text, most)
    assert "".join("".join(found).split()) == "".join(text.split())
    counts = count_words(pl.Series(found, dtype=pl.String))
    whole = pl.Series(found, dtype=pl.String).str.strip_chars().str.contains(r"\s|。.").fill_null(value=False)
    assert not ((counts > most) & whole).any()


def test_rows_behind_a_cut_one_are_numbered_on() -> None:
    rows = pl.DataFrame({"row": [0, 2, 3], "text": ["a b c d e", "f", "g h"], "id": ["x", "y", "z"]})
    missing = [pl.lit(None, kind).alias(name) for name, kind in SCHEMA.items() if name not in rows.columns]
    batch = Batch(rows.with_columns(missing).select(SCHEMA.names()), [BadRow(1, 2, "bad"), BadRow(4, 5, "bad")])
    found, more = cut(batch, 2, 10)
    assert found.rows.select("row", "text", "id").rows() == [
        (10, "a b", "x"), (11, "c d", "x"), (12, "e", "x"), (14, "f", "y"), (15, "g h", "z"),
    ]  # fmt: skip
    assert ([bad.row for bad in found.bad], more) == ([13, 16], 12)
    assert cut(batch, None, 0)[0] is batch
    assert cut(batch, 5, 0)[0] is batch


def test_a_newer_edition_replaces_all_pieces_and_pieces_replace_none(tmp_path: Path) -> None:
    recipe = recipe_file(
        tmp_path,
        "corpus: a\nholdout: {share: 0}\ndedup: {threshold: 1.0}\n"
        "sources: [{name: book, uri: '*.txt', max_words: 40, license: CC0-1.0}]\n",
    )
    book = tmp_path / "book.txt"
    book.write_text("\n\n".join(f"Chapter {n}. {PROSE[:190]}" for n in range(4)), encoding="utf-8")
    begun = candidate(recipe, str(tmp_path / "store"))
    begun.publish()
    assert begun.rows.select("row", "verdict").sort("row").rows() == [(n, None) for n in range(4)]
    book.write_text("\n\n".join(f"Part {n}. {PROSE[:190]}" for n in range(3)), encoding="utf-8")
    rows = candidate(recipe, str(tmp_path / "store")).rows
    assert sorted(rows["verdict"].fill_null("kept")) == ["kept"] * 3 + ["superseded"] * 4
