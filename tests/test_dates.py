"""Dates: what is one, what only looks like one and is told, and which are evidence."""

import datetime as dt
import json
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from plain import ingested, publish_plainly, recipe_file
from texts import documents

from cuvee.tasks.ingest.normalise import days
from cuvee.tasks.readers._dates import iso_day

DATES = {
    "iso": {
        "2020-05-01": "2020-05-01", " 2020-05-01\n": "2020-05-01", "0001-01-01": "0001-01-01",
        "9999-12-31T23:59:60Z": "9999-12-31", "2020-05-01T10:30:00Z": "2020-05-01", "2020-02-29t23:59:59.25-08:00":
        "2020-02-29", "2020-05-01 10:30": "2020-05-01", "2020-05-01 10:30:00+0200": "2020-05-01",
    },
    "epoch_s": {"0": "1970-01-01", "-1": "1969-12-31", "1588329000.75": "2020-05-01", "1.588329e9": "2020-05-01",
                "-62135596800": "0001-01-01", "253402300799": "9999-12-31", "2020-05-01": "2020-05-01"},
    "epoch_ms": {"1588329000000": "2020-05-01", "-1": "1969-12-31", "1588329000": "1970-01-19"},
    "rfc2822": {
        "Fri, 1 May 2020 10:30:00 +0200": "2020-05-01", "01 may 2020 10:30 GMT": "2020-05-01",
        "Fri, 01 May 2020 23:59:59 -0000 (a remark)": "2020-05-01", "2020-05-01T10:30:00Z": "2020-05-01",
    },
}  # fmt: skip
NONE = {
    "iso": ["0000-01-01", "-0044-03-15", "+2020-05-01", "12020-05-01", "2020-13-45", "2021-02-29", "2020", "2020-05",
            "20200501", "2020-W18-5", "2020-122", "2020-5-1", "1/5/2020", "2020-05-01T25:00:00Z", "2020-05-01T",
            "2020-05-01T10:60Z", "2020-05-01T10:30:00+2", "2020-05-01 or so", "٢٠٢٠-٠٥-٠١", "1588329000"],
    "epoch_s": ["1588329000000", "253402300800", "-62135596801", "1e99", "1,588", "0x5e", "Fri, 1 May 2020"],
    "epoch_ms": ["1e400", "--1", "1588329000000000"],
    "rfc2822": ["Mon, 1 May 2020 10:30:00 +0200", "1 May 20 10:30 GMT", "31 Apr 2020 10:30 GMT", "1 May 2020",
                "1 May 0000 10:30 GMT", "1 May 2020 24:30 GMT", "1 May 2020 10:30 Vienna", "1588329000"],
}  # fmt: skip


@pytest.mark.parametrize("form", DATES)
def test_a_date_in_full_gives_its_day_and_all_else_only_looks_like_one(form):
    good, bad = days(pl.Series(list(DATES[form])), form), days(pl.Series(NONE[form]), form)
    assert good["created"].cast(pl.String).to_list() == list(DATES[form].values())
    assert not good["looks"].any()
    assert (bad["created"].drop_nulls().to_list(), bad["looks"].all()) == ([], True)


def test_words_without_a_digit_and_empty_cells_do_not_even_look_like_a_date():
    found = days(pl.Series([None, "n.d.", "last week", "Year's end"]), "iso")
    assert (found["created"].null_count(), found["looks"].any()) == (4, False)


def test_pages_and_columns_have_one_definition():
    assert [iso_day(text) for text in DATES["iso"]] == list(DATES["iso"].values())
    assert [iso_day(text) for text in NONE["iso"]] == [None] * len(NONE["iso"])


SOURCES = """
corpus: dated
sources:
  - {{name: lines, uri: a.jsonl, license: CC0-1.0, dates: trusted{}}}
  - {{name: table, uri: b.parquet, license: CC0-1.0}}
holdout: {{share: 0}}
"""


def write(folder: Path, created: list[object]) -> None:
    texts = documents(len(created) + 3)
    rows = [
        {"id": str(n), "text": text, "created": day}
        for n, (text, day) in enumerate(zip(texts[:-3], created, strict=True))
    ]
    (folder / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    impossible = pa.array([18383, 2**31 - 1, None], pa.int32()).cast(pa.date32())
    pq.write_table(pa.table({"text": texts[-3:], "created": impossible}), folder / "b.parquet")


def test_what_looks_like_a_date_is_told_and_what_is_published_can_be_read_in_python(tmp_path):
    write(tmp_path, ["2020-05-01", "0000-01-01", "-0044-03-15", "2020, ask jo@example.org", "soon"])
    report = publish_plainly(recipe_file(tmp_path, SOURCES.format("")), str(tmp_path / "store"))
    told = [line for line in report.warnings if "date" in line]
    assert "source lines: 3 of 5 rows have a date that is not understood" in told[0]
    assert "a.jsonl: row 1: '0000-01-01'" in told[0]
    assert "a.jsonl: row 2: '-0044-03-15'" in told[0]
    assert "jo@" not in told[0]
    assert "source table: 1 of 3 rows" in told[1]
    assert "b.parquet: row 1" in told[1]
    found = [
        day for file in (tmp_path / "store/corpora/dated/data").rglob("*.parquet")
        for day in pq.read_table(file, columns=["created"])["created"].to_pylist()
    ]  # fmt: skip
    assert sorted(day for day in found if day) == [dt.date(2020, 5, 1)] * 2
    again = publish_plainly(recipe_file(tmp_path, SOURCES.format("")), str(tmp_path / "store"))
    assert [line for line in again.warnings if "date" in line] == told


def test_a_source_says_how_it_writes_dates_and_one_before_1450_is_no_evidence(tmp_path):
    seconds = [int(dt.datetime(year, 6, 1, tzinfo=dt.UTC).timestamp()) for year in (1449, 1450, 2020)]
    write(tmp_path, [*seconds, 1e300])
    text = SOURCES.format(", date_format: epoch_s")
    rows = ingested(recipe_file(tmp_path, text), f"memory://{tmp_path.name}").decide().filter(source="lines")
    assert rows.sort("source_id").select("created", "trusted_date").cast(pl.String).rows() == [
        ("1449-06-01", "false"), ("1450-06-01", "true"), ("2020-06-01", "true"), (None, "false"),
    ]  # fmt: skip
