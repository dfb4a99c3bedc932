"""Shapes, published: chats, kept columns, and the masking of every string that a version holds."""

import io
import json
import tarfile
from pathlib import Path

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

import cuvee
from cuvee.commands import story
from cuvee.schemas.document import PUBLISHED
from cuvee.tasks.ingest.mask import mask
from cuvee.tasks.ingest.strings import inside_json
from tests.plain import publish_plainly, recipe_file

PROSE = "The committee met in the old town hall and discussed the plan for the new bridge over the river. "


def published(folder: Path, recipe: str) -> pl.DataFrame:
    """Run a recipe, and read what it published."""
    publish_plainly(recipe_file(folder, recipe), str(folder / "store"))
    frame = cuvee.open("a", store=str(folder / "store")).scan().collect()
    assert list(frame.columns) == PUBLISHED.names
    return frame


def test_an_address_is_masked_in_every_string_that_is_published(tmp_path: Path) -> None:
    chats = [
        {
            "messages": [
                {"role": f"jane{n}@example.org", "content": f"{PROSE * 3}jane{n}@example.org\r\n"},
                {"role": "assistant", "content": f"number {n} {PROSE}"},
            ],
            "title": f"from jane{n}@example.org",
            "url": f"https://example.org/?m=jane{n}@example.org",
            "meta": {f"jane{n}@example.org": ["x", {"y": f"\njane{n}@example.org", "n": n}]},
        }
        for n in range(3)
    ]
    (tmp_path / "chats.jsonl").write_text("\n".join(map(json.dumps, chats)), encoding="utf-8")
    frame = published(
        tmp_path,
        "corpus: a\nholdout: {share: 0}\ndedup: {threshold: 1.0}\nsources:\n"
        "  - {name: c, uri: chats.jsonl, license: CC0-1.0, fields: {messages: messages}, keep: [meta]}\n",
    )
    assert frame.height == 3
    assert "example.org" not in frame.select("text", "messages", "extra", "title").write_ndjson()
    assert set(frame["url"]) == {"https://example.org/?m=<EMAIL>"}
    assert set(frame["title"]) == {"from <EMAIL>"}
    for row in frame.iter_rows(named=True):
        assert row["messages"][0] == {"role": "<EMAIL>", "content": f"{PROSE * 3}<EMAIL>"}
        assert row["text"].startswith(f"<EMAIL>: {PROSE}")
        (inside,) = json.loads(row["extra"])["meta"].values()
        assert inside[1]["y"] == "\n<EMAIL>"


def test_an_id_with_an_address_is_not_published_and_yet_known_later(tmp_path: Path) -> None:
    def row(n: int, text: str) -> str:
        made_by = {"origin": "synthetic", "generator": "jane@example.org", "model": "m"}
        return json.dumps({"id": f"jane{n}@example.org", "text": f"{text} {n}. {PROSE}", **made_by}) + "\n"

    (tmp_path / "texts").mkdir()
    (tmp_path / "mails").mkdir()
    (tmp_path / "texts/a.jsonl").write_text(row(1, "First") + row(2, "Second") + '{"id": "b", "text": "Third."}\n')
    (tmp_path / "mails/joe@example.org.txt").write_text(f"Fourth. {PROSE}")
    recipe = (
        "corpus: a\nholdout: {share: 0}\ndedup: {threshold: 1.0}\nsources:\n"
        "  - {name: c, uri: texts/*.jsonl, license: CC0-1.0, origin_field: origin}\n  - {name: m, uri: mails/*.txt}\n"
    )
    frame = published(tmp_path, recipe).sort("source", "source_id")
    assert "example.org" not in frame.write_ndjson()
    assert frame["source_id"].n_unique() == frame.height == 4
    assert "b" in frame["source_id"].to_list()
    store = str(tmp_path / "store")
    rows = frame.filter(pl.col("source_id") != "b")["source_id"]
    for name in ("jane2@example.org", "joe@example.org.txt", *rows):
        found = story.rows_of(story.ledger_of("a", store), name)
        assert [each["outcome"] for each in found] == ["kept"]
    # A newer row with the id of an older one replaces it.
    (tmp_path / "texts/b.jsonl").write_text(row(2, "Instead of the second"))
    later = published(tmp_path, recipe)
    assert (later.height, later["text"].str.contains("Instead").sum()) == (4, 1)
    assert not later["text"].str.contains("^Second").any()


ALL_KEYS = """
corpus: a
holdout: {share: 0}
dedup: {threshold: 0.8}
sources:
  - {name: books, uri: books.tar.gz, encoding: cp1252, max_words: 60, license: CC0-1.0}
  - name: news
    uri: news.csv
    csv: {delimiter: ";", quote: "'", header: false}
    fields: {text: column_2}
    license: CC0-1.0
  - {name: lines, uri: lines.txt, records: line, near_duplicates: false, license: CC0-1.0}
  - {name: chats, uri: chats.json, fields: {messages: doc.turns, id: doc.key}, keep: [doc.tags, rank], license: CC0-1.0}
  - {name: asked, uri: asked.jsonl, fields: {text: [question, answer]}, license: CC0-1.0}
filters:
  - {kind: length, min_words: 20, sources: [books, lines]}
  - {kind: length, min_words: 4}
"""


def test_one_recipe_uses_all_that_can_be_said_of_a_source(tmp_path: Path) -> None:
    words = "one two three four five six seven eight nine ten eleven twelve".split()  # noqa: SIM905
    book = "\n\n".join(
        f"Kapitel {n}: Straße. {' '.join(words[n * 2 :] + words[: n * 2])} " * 2 for n in range(4)
    ).encode("cp1252")
    with tarfile.open(tmp_path / "books.tar.gz", "w:gz") as archive:
        for name, content in (("a/book.txt", book), ("a/short.txt", b"short")):
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    news = "".join(f"'Sport';'{n} Spiele; {' '.join(words[n:] + words[:n])}'\n" for n in range(3))
    (tmp_path / "news.csv").write_text(news, encoding="utf-8")
    (tmp_path / "lines.txt").write_text(
        "".join(f"{PROSE * 2} {n}\n" for n in range(3)) + "few words\n", encoding="utf-8"
    )
    turns = [{"from": "human", "value": "What now, my friend?"}, {"from": "gpt", "value": "We wait for the rain."}]
    chats = [{"doc": {"turns": turns, "key": "k", "tags": ["x"]}, "rank": 1}]
    (tmp_path / "chats.json").write_text(json.dumps({"version": 2, "data": chats}), encoding="utf-8")
    asked = {"question": "Why is the sky blue in the morning?", "answer": "Because of the light that it scatters."}
    (tmp_path / "asked.jsonl").write_text(json.dumps(asked), encoding="utf-8")
    frame = published(tmp_path, ALL_KEYS)
    kept = dict(frame.group_by("source").agg(pl.len()).iter_rows())
    assert kept == {"books": 2, "news": 3, "lines": 3, "chats": 1, "asked": 1}
    chat = frame.row(by_predicate=pl.col("source") == "chats", named=True)
    assert chat["text"] == "User: What now, my friend?\n\nAssistant: We wait for the rain."
    assert (json.loads(chat["extra"]), chat["source_id"]) == ({"doc.tags": ["x"], "rank": 1}, "k")
    books = frame.filter(pl.col("source") == "books")
    assert set(books["source_id"]) == {"books.tar.gz/a/book.txt"}
    assert books["text"].str.contains("Straße").all()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.sampled_from(["a@example.org", "b@example.org", "x"]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["k", "a@example.org", "b@example.org", "c@example.org"]), inner, max_size=4)
    ),
    max_leaves=12,
)


def count(value: object) -> int:
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return 1 + sum(map(count, inside))


@settings(deadline=None)
@given(st.lists(JSON, max_size=5))
def test_masking_within_json_loses_no_value_and_leaves_no_address(values: list[object]) -> None:
    column = pl.Series([json.dumps(value) for value in values] + [None], dtype=pl.String)
    hidden = inside_json(column, lambda strings: mask(strings, ["email"])[0])
    assert hidden[-1] is None
    for before, after in zip(values, hidden.to_list()[:-1], strict=True):
        assert "example.org" not in after
        assert count(json.loads(after)) == count(before)
