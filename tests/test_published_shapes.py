"""Shapes, published: chats, kept columns, and the masking of every string that a version holds."""

import json
from pathlib import Path

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

import cuvee
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
