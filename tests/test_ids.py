"""Ids: one for a number, however a file types it; and fields that no file has."""

import decimal
import json
import math
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from plain import ingested, recipe_file
from texts import documents

from cuvee.schemas.records import IngestReport
from cuvee.tasks import readers


def ids_of(path: Path) -> list[str | None]:
    format, compression = readers.detect(str(path))
    with path.open("rb") as stream:
        return [id for batch in readers.read(path, stream, format, compression, {}) for id in batch.rows["id"]]


NUMBERS = [7.0, -0.0, 7.5, 1e17, 1e20, math.nan, math.inf, None, 2.0**53]
WRITTEN = ["7", "0", "7.5", "1" + "0" * 17, "1" + "0" * 20, None, None, None, "9007199254740992"]


@pytest.mark.parametrize("kind", [pa.float64(), pa.float32()])
def test_a_whole_float_of_parquet_is_written_as_an_integer_and_no_number_is_no_id(tmp_path, kind):
    places = range(len(NUMBERS)) if kind == pa.float64() else (0, 1, 2, 5, 6, 7)
    ids = pa.array([NUMBERS[place] for place in places], pa.float64()).cast(kind)
    pq.write_table(pa.table({"id": ids, "text": ["x"] * len(ids)}), tmp_path / "a.parquet")
    assert ids_of(tmp_path / "a.parquet") == [WRITTEN[place] for place in places]


def test_json_and_decimals_are_written_alike(tmp_path):
    lines = [json.dumps({"id": number, "text": "x"}) for number in NUMBERS] + ['{"id": 7e0, "text": "x"}']
    (tmp_path / "a.jsonl").write_text("\n".join(lines))
    assert ids_of(tmp_path / "a.jsonl") == [*WRITTEN, "7"]
    decimals = [decimal.Decimal("7.00"), decimal.Decimal("7.50"), None]
    table = pa.table({"id": pa.array(decimals, pa.decimal128(10, 2)), "text": ["x"] * 3})
    pq.write_table(table, tmp_path / "b.parquet")
    assert ids_of(tmp_path / "b.parquet") == ["7", "7.50", None]


SOURCE = "corpus: ids\nsources:\n  - {name: i, uri: '*.parquet', license: CC0-1.0%s}\nholdout: {share: 0}\n"


def test_editions_of_a_page_meet_whatever_type_their_files_give_the_id(tmp_path):
    texts = documents(4)
    pq.write_table(pa.table({"id": [1, 2], "text": texts[:2]}), tmp_path / "a.parquet")
    pq.write_table(pa.table({"id": [1.0, math.nan], "text": texts[2:]}), tmp_path / "b.parquet")
    begun = ingested(recipe_file(tmp_path, SOURCE % ""), f"memory://{tmp_path.name}")
    assert begun.decide()["source_id"].sort().to_list() == [None, "1", "1", "2"]
    assert not [line for line in begun.warnings if "no row has a value" in line]


def test_a_field_that_the_recipe_names_and_no_row_has_is_told(tmp_path):
    texts = documents(4)
    rows = {"id": pa.nulls(2, pa.string()), "text": texts[:2], "when": ["2020-05-01", None]}
    pq.write_table(pa.table(rows), tmp_path / "a.parquet")
    pq.write_table(pa.table({"text": texts[2:]}), tmp_path / "b.parquet")
    named = ", fields: {id: id, created: when, url: link}, origin_field: who"
    begun = ingested(recipe_file(tmp_path, SOURCE % named), f"memory://{tmp_path.name}")
    told = [line for line in begun.warnings if "no row has a value" in line]
    assert [line.split(" names")[0] for line in told] == [
        "source i: no row has a value in 'id', which sources[].fields.id",
        "source i: no row has a value in 'link', which sources[].fields.url",
        "source i: no row has a value in 'who', which sources[].origin_field",
    ]
    (report,) = [record.report for record in begun.pool.ingested if isinstance(record.report, IngestReport)]
    assert report.filled == ("created", "text")
