"""Readers: every format, its faults, and what a fault may cost."""

import bz2
import csv as csv_module
import datetime as dt
import gzip
import io
import json
import lzma
import re
import zipfile
from contextlib import suppress
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from cuvee.schemas.errors import InputError, RecipeError, RetryableError
from cuvee.tasks import readers
from cuvee.tasks.readers import BadRow, Batch

CORPORA = Path(__file__).parents[2] / "shared" / "corpora"


def gather(content, path="x.jsonl", fields=None, batch_bytes=8 << 20, format=None, row_mb=64):
    """Read bytes to the end: all rows, all bad rows, the number of batches."""
    detected, compression = readers.detect(path)
    stream = content if hasattr(content, "read") else io.BytesIO(content)
    wanted = format or detected, compression, fields or {}, batch_bytes
    batches = list(readers.read(path, stream, *wanted, row_mb=row_mb))
    for batch in batches:
        assert batch.rows.schema == readers.SCHEMA
    rows = pl.concat([readers.SCHEMA.to_frame(), *(batch.rows for batch in batches)])
    return rows, [bad for batch in batches for bad in batch.bad], len(batches)


def json_lines(*records):
    return b"".join(json.dumps(record, ensure_ascii=False).encode() + b"\n" for record in records)


def zstd(content):
    return pa.compress(content, codec="zstd", asbytes=True)


def parquet_bytes(table, **options):
    sink = io.BytesIO()
    pq.write_table(table, sink, **options)
    return sink.getvalue()


# --- the register, names and calls -----------------------------------------------------------------------------------


def test_the_formats_are_those_that_stand_in_the_folder():
    assert set(readers.names()) == {
        "csv", "epub", "html", "ipynb", "json", "jsonl", "parquet", "stackexchange", "text", "warc",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("a/b.jsonl", ("jsonl", None)),
        ("a.JSONL.GZ", ("jsonl", "gzip")),
        ("a.ndjson.zst", ("jsonl", "zstd")),
        ("a.json", ("json", None)),
        ("a.parquet", ("parquet", None)),
        ("a.b.csv.gz", ("csv", "gzip")),
        ("a.tsv", ("csv", None)),
        ("a.md", ("text", None)),
        ("a.text.gz", ("text", "gzip")),
        ("a.htm", ("html", None)),
        ("a.warc.gz", ("warc", "gzip")),
        ("CC-MAIN-20240101000000-20240101030000-00000.warc.wet.gz", ("warc", "gzip")),
        ("a.wet", ("warc", None)),
        ("a.warc.zst", ("warc", "zstd")),
        ("a.arc.gz", ("warc", "gzip")),
        ("https://example.org/a.html.gz?x=1.csv", ("html", "gzip")),
        ("s3://bucket/a?b.txt", ("text", None)),
    ],
)
def test_the_suffix_tells_format_and_compression(path, expected):
    assert readers.detect(path) == expected


@pytest.mark.parametrize("path", ["a", "a.gz", "a.png", "a.parquet.gz", "a.jsonl.lzma", "", ".zst"])
def test_an_unknown_suffix_names_the_path_and_the_known_ones(path):
    with pytest.raises(RecipeError, match=r"\.jsonl.*\.gz or \.zst") as caught:
        readers.detect(path)
    assert str(caught.value).startswith(path)


def test_a_wrong_call_fails_at_once():
    with pytest.raises(RecipeError, match="docx"):
        readers.read("x", io.BytesIO(), "docx", None, {})
    with pytest.raises(RecipeError, match="bz2"):
        readers.read("x", io.BytesIO(), "jsonl", "bz2", {})
    with pytest.raises(RecipeError, match="headline"):
        readers.read("x", io.BytesIO(), "jsonl", None, {"headline": "title"})


@pytest.mark.parametrize("suffix", ["jsonl", "csv", "txt", "html", "parquet", "warc", "jsonl.gz", "csv.zst", "warc.gz"])
def test_an_empty_file_gives_nothing(suffix):
    assert gather(b"", f"x.{suffix}")[1:] == ([], 0)


# --- JSON lines ------------------------------------------------------------------------------------------------------


def test_every_row_of_a_good_file_is_read_with_its_fields():
    content = json_lines(
        {"text": "one", "id": 7, "created": "2019", "extra": {"text": "no"}},
        {"id": "b", "title": "T", "text": "two\x00\x01", "url": None, "license": ["MIT"], "generator": ""},
    )
    rows, bad, _ = gather(content)
    assert bad == []
    assert rows.select("row", *readers.FIELDS).to_dicts() == [
        {"row": 0, "text": "one", "id": "7", "url": None, "title": None, "created": "2019", "license": None,
         "generator": None, "model": None, "origin": None},
        {"row": 1, "text": "two\x00\x01", "id": "b", "url": None, "title": "T", "created": None, "license": '["MIT"]',
         "generator": None, "model": None, "origin": None},
    ]  # fmt: skip


def test_fields_are_renamed_and_origin_is_read_only_when_asked_for():
    content = json_lines({"body": "b", "origin": "human", "kind": "synthetic"})
    assert gather(content, fields={"text": "body"})[0]["origin"].to_list() == [None]
    assert gather(content, fields={"text": "body", "origin": "kind"})[0]["origin"].to_list() == ["synthetic"]


def test_each_fault_of_a_line_is_named_and_costs_only_that_line():
    lines = [
        b'{"text": "good"}',
        b'{"text": "a" "b"}',
        b"",
        b"   \r",
        b'["text"]',
        b'{"id": 1, "body": "x"}',
        b'{"text": null}',
        b'{"text": 3}',
        b'{"text": "a\xff"}',
        b'{"text": "\\ud800"}',
        b"[" * 100_000,
        b'{"text": "last"}',
    ]
    rows, bad, _ = gather(b"\n".join(lines))
    assert rows["row"].to_list() == [0, 9]
    assert rows["text"].to_list() == ["good", "last"]
    assert [(each.row, each.line) for each in bad] == [(1, 2), (2, 5), (3, 6), (4, 7), (5, 8), (6, 9), (7, 10), (8, 11)]
    reasons = [each.reason for each in bad]
    assert reasons[0] == "not JSON: Expecting ',' delimiter at column 14"
    assert reasons[1] == "the line holds an array, not an object"
    assert reasons[2] == 'no field "text"; the row has: body, id'
    assert reasons[3] == 'field "text" is null, not a string'
    assert reasons[4] == 'field "text" is a number, not a string'
    assert reasons[5] == "not UTF-8: byte 0xff at offset 11"
    assert "surrogate" in reasons[6]
    assert "recursion" in reasons[7]


def test_an_id_that_nests_as_deep_as_can_be_read_is_no_fault_of_the_file():
    # Somewhere here reading still works and writing again does not.
    deep = [b'{"text": "x", "id": %s}\n' % (b"[" * depth + b"]" * depth) for depth in range(500, 1100, 20)]
    rows, bad, _ = gather(b"".join(deep), "x.jsonl")
    assert rows.height + len(bad) == len(deep)
    assert all("not readable JSON" in each.reason for each in bad)


def test_a_byte_order_mark_and_windows_line_ends_do_no_harm():
    rows, bad, _ = gather(b'\xef\xbb\xbf{"text": "a"}\r\n{"text": "b"}\r\n')
    assert (rows["text"].to_list(), bad) == (["a", "b"], [])


def test_a_json_array_is_refused_as_lines_with_a_way_out():
    with pytest.raises(InputError, match=r"x\.json.*format: json"):
        gather(b'[\n  {"text": "a"}\n]\n', "x.json", format="jsonl")


def test_a_record_over_the_limit_is_a_bad_row_and_its_neighbours_stay():
    long = {"text": "x" * (5 << 20)}
    rows, bad, _ = gather(json_lines({"text": "a"}, long, {"text": "b"}, long), row_mb=3)
    assert rows["row"].to_list() == [0, 2]
    assert [(each.row, each.line) for each in bad] == [(1, 2), (3, 4)]
    assert "over 3 MB (ingest.max_row_mb)" in bad[0].reason


@given(
    st.lists(st.text(st.characters(codec="utf-8"), max_size=40), max_size=30),
    st.integers(1, 400),
    st.sampled_from(["", ".gz", ".zst"]),
)
@settings(max_examples=60, deadline=None)
def test_batches_of_any_size_hold_the_same_rows(texts, batch_bytes, suffix):
    content = json_lines(*({"text": text} for text in texts))
    content = {"": bytes, ".gz": gzip.compress, ".zst": zstd}[suffix](content)
    rows, bad, _ = gather(content, "x.jsonl" + suffix, batch_bytes=batch_bytes)
    assert rows["text"].to_list() == texts
    assert rows["row"].to_list() == list(range(len(texts)))
    assert bad == []


def test_memory_is_bounded_by_the_batch_and_not_by_the_file():
    class Endless(io.RawIOBase):
        given_bytes = 0

        def readable(self):
            return True

        def read(self, size=-1):
            self.given_bytes += 1 << 20
            return b'{"text": "abcdefghijklmnopqrstuvwxyz"}\n' * 26_887

    stream = Endless()
    batches = readers.read("x", stream, "jsonl", None, {}, 1 << 20)
    first = next(batches)
    assert stream.given_bytes <= 2 << 20
    assert first.rows.estimated_size() < 4 << 20


# --- compression -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
def test_all_members_of_a_compressed_file_are_read(suffix):
    compress = gzip.compress if suffix == ".gz" else zstd
    content = compress(json_lines({"text": "a"})) + compress(json_lines({"text": "b"}, {"text": "c"}))
    rows, bad, _ = gather(content, "x.jsonl" + suffix)
    assert (rows["text"].to_list(), bad) == (["a", "b", "c"], [])


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
@pytest.mark.parametrize("format", ["jsonl", "csv"])
def test_a_truncated_file_keeps_the_rows_before_the_break_and_reports_one_bad_row(suffix, format):
    records = [{"text": f"record {n} {n * 7919 % 10007} {n * n}"} for n in range(40_000)]
    plain = json_lines(*records) if format == "jsonl" else b"text\n" + b"".join(
        record["text"].encode() + b"\n" for record in records
    )  # fmt: skip
    whole = (gzip.compress if suffix == ".gz" else zstd)(plain)
    rows, bad, _ = gather(whole[: len(whole) * 2 // 3], f"x.{format}{suffix}")
    kept = len(rows)
    assert 15_000 < kept < 40_000
    assert rows["text"].to_list() == [record["text"] for record in records[:kept]]
    assert [each.row for each in bad] == [kept]
    assert bad[0].line == kept + (1 if format == "jsonl" else 2)
    assert bad[0].reason.startswith("file ends early")


@pytest.mark.parametrize("path", ["x.jsonl.gz", "x.jsonl.zst", "x.txt.gz", "x.html.zst"])
def test_a_file_that_is_not_compressed_as_named_is_one_bad_row(path):
    rows, bad, _ = gather(b"this is no compressed stream at all", path)
    assert len(rows) == 0
    assert len(bad) == 1
    assert bad[0].row == 0
    assert bad[0].reason.startswith("file ends early")


@pytest.mark.parametrize("compression", [None, "gzip", "zstd"])
@pytest.mark.parametrize("error", [RetryableError("the store answered 503"), ConnectionResetError(104, "reset")])
def test_a_fault_of_the_store_is_not_taken_for_a_damaged_file(compression, error):
    class Broken(io.RawIOBase):
        def readable(self):
            return True

        def read(self, size=-1):
            raise error

    with pytest.raises(type(error)):
        list(readers.read("x", Broken(), "jsonl", compression, {}))


# --- CSV -------------------------------------------------------------------------------------------------------------


def test_quotes_commas_line_ends_and_a_byte_order_mark_are_read():
    content = b'\xef\xbb\xbfid,text,title\r\n1,"a, ""b""\r\nc",\r\n\r\n2,d,T\r\n'
    rows, bad, _ = gather(content, "x.csv")
    assert bad == []
    assert rows.select("row", "id", "text", "title").rows() == [(0, "1", 'a, "b"\r\nc', None), (1, "2", "d", "T")]


def test_tabs_part_the_fields_of_a_tsv():
    assert gather(b"id\ttext\n1\ta, b\n", "x.tsv")[0]["text"].to_list() == ["a, b"]
    assert gather(b"id\ttext\n1\ta, b\n", "x.csv")[0]["text"].to_list() == ["a, b"]


def test_a_missing_column_is_a_fault_of_the_file_and_names_the_columns():
    with pytest.raises(InputError, match=r'x\.csv: no column "text"; the columns are: id, body'):
        gather(b"id,body\n1,a\n", "x.csv")
    with pytest.raises(InputError, match='"text" stands 2 times'):
        gather(b"text,text\n1,a\n", "x.csv")
    with pytest.raises(InputError, match="header"):
        gather(b"te\xffxt\na\n", "x.csv")


def test_ragged_open_and_undecodable_rows_are_bad_and_the_others_stay():
    content = b'id,text\n1,a\n2\n3,b,c\n4,"x\xff\ny"\n5,"d"e\n6,f\n7,"open\nto the end\n'
    rows, bad, _ = gather(content, "x.csv")
    assert rows["id"].to_list() == ["1", "6"]
    assert rows["row"].to_list() == [0, 5]
    assert [(each.row, each.line) for each in bad] == [(1, 3), (2, 4), (3, 5), (4, 7), (6, 9), (7, 10)]
    assert bad[0].reason == "1 fields where the header has 2"
    assert bad[2].reason == "not UTF-8: byte 0xff at offset 4 of line 5 (lines 5 to 6)"
    assert bad[4].reason == bad[5].reason == "a quote is not closed (lines 9 to 10)"


def test_each_line_that_an_open_quote_hides_is_a_bad_row_and_none_is_taken_for_less():
    plain = [f"{number},text {number}" for number in range(400)]
    for fault, last in (('200,"begins with a quote', 399), ('200,"begins and "ends" elsewhere', 200)):
        lines = ["id,text", *plain[:200], fault, *plain[201:]]
        rows, bad, _ = gather("\n".join(lines).encode(), "x.csv")
        assert [each.row for each in bad] == list(range(200, last + 1))
        assert [each.line for each in bad] == list(range(202, last + 3))
        assert rows["row"].to_list() == [row for row in range(400) if not 200 <= row <= last]
    closed_late = '200,"begins\n201,b\n202,c "d" e'
    rows, bad, _ = gather("\n".join(["id,text", *plain[:200], closed_late, *plain[203:]]).encode(), "x.csv")
    assert ([each.line for each in bad], rows.height) == ([202, 203, 204], 397)


def test_a_quote_in_a_tsv_is_a_character():
    texts = ['"begins with one', "it's 5\" wide", '"both"', '""', 'x "y" z"', " a "]
    content = "text\tid\r\n" + "".join(f"{text}\t{place}\r\n" for place, text in enumerate(texts))
    for name in ("x.tsv", "x.csv"):
        rows, bad, _ = gather(content.encode(), name)
        assert (rows["text"].to_list(), bad) == (texts, [])
    rows, bad, _ = gather(b"text\tid\none\ttwo\tthree\n\nfour\t\n", "x.tsv")
    assert (rows["text"].to_list(), rows["id"].to_list()) == (["four"], [None])
    assert [(each.row, each.line, each.reason) for each in bad] == [(0, 2, "3 fields where the header has 2")]


@pytest.mark.parametrize("log", [10, 27, 28, 31])
def test_a_zstd_frame_of_any_window_is_read(log):
    options = zstandard.ZstdCompressionParameters(window_log=log)
    writer = zstandard.ZstdCompressor(compression_params=options).compressobj()
    frame = writer.compress(json_lines({"text": "a"})) + writer.flush()
    skipped = b"\x50\x2a\x4d\x18\x03\x00\x00\x00abc"
    assert gather(frame + skipped + frame, "x.jsonl.zst")[0]["text"].to_list() == ["a", "a"]


def test_a_zstd_window_that_is_too_large_is_named():
    writer = zstandard.ZstdCompressor(
        compression_params=zstandard.ZstdCompressionParameters(window_log=31)
    ).compressobj()
    frame = bytearray(writer.compress(json_lines({"text": "a"})) + writer.flush())
    frame[5] = (32 - 10) << 3
    bad = gather(bytes(frame), "x.jsonl.zst")[1]
    assert "window of 4,294,967,296 bytes" in bad[0].reason


def test_a_csv_line_over_the_limit_is_a_bad_row():
    rows, bad, _ = gather(b"text\na\n" + b"x" * (5 << 20) + b"\nb\n", "x.csv", row_mb=3)
    assert rows["text"].to_list() == ["a", "b"]
    assert [(each.row, each.line) for each in bad] == [(1, 3)]


@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\r"), min_size=1, max_size=20), max_size=20))
@settings(max_examples=60, deadline=None)
def test_what_the_csv_module_writes_is_read_back(texts):
    sink = io.StringIO(newline="")
    writer = csv_module.writer(sink)
    writer.writerows([["n", "text"], *enumerate(texts)])
    rows, bad, _ = gather(sink.getvalue().encode(), "x.csv", batch_bytes=300)
    assert (rows["text"].to_list(), bad) == (texts, [])


# --- Parquet ---------------------------------------------------------------------------------------------------------

TEXT_TYPES = [pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string())]


@pytest.mark.parametrize("text_type", TEXT_TYPES, ids=str)
def test_every_kind_of_string_column_is_read(text_type):
    table = pa.table({"text": pa.array(["a", None, "c"], pa.string()).cast(text_type), "other": [1, 2, 3]})
    rows, bad, _ = gather(parquet_bytes(table), "x.parquet")
    assert rows.select("row", "text").rows() == [(0, "a"), (2, "c")]
    assert bad == [BadRow(1, None, 'field "text" is null, not a string')]


def test_other_columns_are_rendered_as_text():
    table = pa.table(
        {
            "text": ["a"],
            "id": pa.array([12], pa.uint8()),
            "title": pa.nulls(1),
            "created": pa.array([dt.datetime(2019, 5, 4, 10, 30)], pa.timestamp("us")),
            "published": pa.array([dt.date(2019, 5, 4)]),
        }
    )
    rows = gather(parquet_bytes(table), "x.parquet")[0]
    assert rows.select("id", "title").rows() == [("12", None)]
    assert rows["created"].to_list() == ["2019-05-04T10:30:00"]
    renamed = gather(parquet_bytes(table), "x.parquet", {"created": "published"})[0]
    assert renamed["created"].to_list() == ["2019-05-04"]


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_times_are_rendered_in_utc_and_impossible_ones_are_no_dates(unit):
    noon = dt.datetime(2019, 5, 4, 12, tzinfo=dt.timezone(dt.timedelta(hours=2)))
    for zone in ("Europe/Vienna", "+02:00", "Not/AZone"):
        times = pa.array([noon, None], pa.timestamp(unit, zone))
        rows = gather(parquet_bytes(pa.table({"text": ["a", "b"], "created": times})), "x.parquet")[0]
        assert rows["created"].to_list() == ["2019-05-04T10:00:00Z", None]
    impossible = pa.array([0, 2**52, -(2**52)] if unit == "s" else [0, 2**62, -(2**62)], pa.int64()).cast(
        pa.timestamp(unit)
    )
    rows = gather(parquet_bytes(pa.table({"text": ["a", "b", "c"], "created": impossible})), "x.parquet")[0]
    assert rows["created"][0] == "1970-01-01T00:00:00"
    assert unit == "ns" or [value.split(" ", 1)[1] for value in rows["created"][1:]] == ["seconds from 1970"] * 2
    days = pa.array([0, 2**31 - 1], pa.int32()).cast(pa.date32())
    rows = gather(parquet_bytes(pa.table({"text": ["a", "b"], "created": days})), "x.parquet")[0]
    assert rows["created"].to_list() == ["1970-01-01", "2147483647 days from 1970"]


def test_wrong_columns_and_a_truncated_footer_are_faults_of_the_file():
    with pytest.raises(InputError, match=r'x\.parquet: column "text" is int64, wanted string'):
        gather(parquet_bytes(pa.table({"text": [1]})), "x.parquet")
    with pytest.raises(InputError, match='no column "text"; the columns are: body'):
        gather(parquet_bytes(pa.table({"body": ["a"]})), "x.parquet")
    with pytest.raises(InputError, match=r'column "id" is list'):
        gather(parquet_bytes(pa.table({"text": ["a"], "id": [["x"]]})), "x.parquet")
    with pytest.raises(InputError, match="not a whole Parquet file"):
        gather(parquet_bytes(pa.table({"text": ["a"] * 100}))[:-20], "x.parquet")


def test_a_damaged_row_group_costs_its_own_rows_only():
    table = pa.table({"text": [f"document {n} {n * 7919 % 10007}" for n in range(3000)]})
    content = bytearray(parquet_bytes(table, row_group_size=1000, compression="zstd", use_dictionary=False))
    chunk = pq.ParquetFile(io.BytesIO(content)).metadata.row_group(1).column(0)
    start = chunk.data_page_offset + 60
    content[start : start + 400] = bytes(400)
    rows, bad, _ = gather(bytes(content), "x.parquet")
    assert sorted(rows["row"].to_list() + [each.row for each in bad]) == list(range(3000))
    assert {0, 999, 2000, 2999} <= set(rows["row"].to_list())
    assert all(1000 <= each.row < 2000 for each in bad)
    assert "row group 1 is damaged" in bad[0].reason


def test_a_fault_of_the_store_is_not_taken_for_a_damaged_row_group():
    table = pa.table({"text": [f"document {n} {n * 7919 % 10007}" for n in range(30_000)]})
    content = parquet_bytes(table, row_group_size=10_000, use_dictionary=False)

    class Fading(io.BytesIO):
        fails = False

        def read(self, size=-1):
            if self.fails:
                raise ConnectionResetError(104, "reset")
            return super().read(size)

    stream = Fading(content)
    batches = readers.read("x", stream, "parquet", None, {}, 100_000)
    assert len(next(batches).rows) > 0
    stream.fails = True
    with pytest.raises(ConnectionResetError):
        list(batches)


def test_cells_that_are_not_utf_8_are_bad_rows():
    cells = pa.array([b"good", b"b\xffd", None], pa.binary())
    broken = pa.Array.from_buffers(pa.string(), 3, cells.buffers())
    table = pa.table({"text": ["a", "b", "c"], "title": broken})
    rows, bad, _ = gather(parquet_bytes(table), "x.parquet")
    assert rows.select("text", "title").rows() == [("a", "good"), ("c", None)]
    assert bad == [BadRow(1, None, 'field "title" is not UTF-8')]


def test_parquet_whose_footer_disagrees_with_itself_loses_its_rows_and_no_run():
    content = parquet_bytes(pa.table({"text": ["a"], "doc": [{"inside": "b"}]}))
    assert content.count(b"inside") == 2
    damaged = content[::-1].replace(b"edisni", b"edisno", 1)[::-1]
    for keep, told in (([], "is damaged: the footer has not"), (["doc"], "is damaged")):
        text = "text" if keep else "doc.inside"
        read = list(readers.read("a.parquet", io.BytesIO(damaged), "parquet", None, {"text": text}, keep=keep))
        assert [(batch.rows.height, told in batch.bad[0].reason) for batch in read] == [(0, True)]


@pytest.mark.parametrize("content", [b"", b"PAR", b"PAR1\x15\x02\x00\x02\x00\x00\x00PAR1"])
def test_what_is_no_parquet_is_named_to_who_guesses(content, tmp_path):
    (tmp_path / "a.parquet").write_bytes(content)
    with suppress(InputError):
        assert readers.guess(tmp_path / "a.parquet").columns == ()


def test_parquet_is_read_from_a_stream_that_cannot_seek_and_in_small_batches():
    class Pipe(io.BytesIO):
        def seekable(self):
            return False

    content = parquet_bytes(pa.table({"text": [f"{n:>100}" for n in range(500)]}))
    rows, bad, batches = gather(Pipe(content), "x.parquet", batch_bytes=10_000)
    assert rows["row"].to_list() == list(range(500))
    assert bad == []
    assert batches > 5


# --- text and HTML ---------------------------------------------------------------------------------------------------


def test_a_text_file_is_one_document_named_by_its_path():
    rows, bad, _ = gather("Zwölf\nBoxkämpfer\n".encode(), "novels/one.txt")
    assert rows.select("row", "id", "text").rows() == [(0, "novels/one.txt", "Zwölf\nBoxkämpfer\n")]
    assert bad == []
    assert gather(b"good \xe9", "x.txt")[1] == [BadRow(0, None, "not UTF-8: byte 0xe9 at offset 5")]


PARAGRAPHS = "".join(
    f"<p>Paragraph {n} tells of the river {n * 7} and of a town whose people wrote {'long ' * n}letters all winter.</p>"
    for n in range(8)
)
PAGE = f"""<html><head><title>The café</title><meta charset="latin-1">
<meta property="article:published_time" content="2019-05-04T10:00:00Z">
<link rel="canonical" href="https://example.org/story"></head>
<body><nav><a href="/">Home</a> Menu About</nav><article><h1>The café</h1>{PARAGRAPHS}
<table><tr><td>first cell</td><td>second cell</td></tr></table></article>
<div class="comments"><p>What a comment!</p></div><footer>All rights of the footer</footer></body></html>"""


def test_a_page_gives_its_main_text_with_tables_and_without_menus_and_comments():
    rows, bad, _ = gather(PAGE.encode("latin-1"), "pages/a.html")
    assert bad == []
    assert rows.select("row", "id", "url", "title", "created").rows() == [
        (0, "pages/a.html", "https://example.org/story", "The café", "2019-05-04")
    ]
    text = rows["text"][0]
    assert "Paragraph 7 tells of the river 49" in text
    assert "second cell" in text
    assert not any(word in text for word in ("Menu", "comment", "footer"))


XHTML = f"<head>HEAD</head><body><div/><p>Before.<a id='x'/></p>{PARAGRAPHS}<p>Tea &amp; cake END</p></body></html>"
XMLNS = "<html xmlns='http://www.w3.org/1999/xhtml' xml:lang='en'>"
DOCTYPE = (
    '<!DOCTYPE html PUBLIC "-//W3C//DTD XHTML 1.0 Strict//EN" "http://www.w3.org/TR/xhtml1/DTD/xhtml1-strict.dtd">'
)


@pytest.mark.parametrize(
    ("begin", "name"),
    [
        (f'<?xml version="1.0"?>\n{XMLNS}', "x.html"),
        (f"{DOCTYPE}<html>", "x.html"),
        (f"<!DOCTYPE html>\n{XMLNS}", "x.htm"),
        ("<html>", "x.xhtml"),
        ("<html>", "x.XHTML"),
        (f'<?xml version="1.0" encoding="iso-8859-1"?>{XMLNS}', "x.xhtml"),
        (f"<!-- saved -->\n{DOCTYPE}<!-- by a tool --><html>", "x.html"),
        (f"<?xml-stylesheet href='a.css'?>{XMLNS}", "x.html"),
        # What follows is no XML: an attribute without quotes, an unknown prefix, an entity of its own.
        (f"{XMLNS.replace(' xml:lang', ' lang=en xml:lang')}", "x.html"),
        (f"{XMLNS}<fb:root/>", "x.html"),
        (f"<!DOCTYPE html [<!ENTITY a 'b'>]>{XMLNS}", "x.html"),
    ],
)
@pytest.mark.parametrize("head", ["<title/>", "<script src='a.js?b>c'/><style/><title>T</title>", "<title>T</title>"])
def test_xhtml_is_not_misread_as_html(begin, name, head):
    end = "caf\u00e9<br/>x&nbsp;y<![CDATA[ <b>kept</b>]]>"
    page = (begin + XHTML.replace("HEAD", head).replace("END", end)).encode("latin-1")
    rows, bad, _ = gather(page, name)
    text = rows["text"][0]
    assert (bad, rows["title"][0]) == ([], None if head == "<title/>" else "T")
    assert "Paragraph 7 tells of the river 49" in text
    assert "Tea & cake café\nx\u00a0y <b>kept</b>" in text


@pytest.mark.parametrize(
    "page",
    [
        f"<html><head><title>T</title></head><body><br/>{PARAGRAPHS}<p>no end</body></html>",
        f"<?xml version='1.0'?>{XMLNS}<body><div/>{PARAGRAPHS}<p>never closed</body></html>",
        f"<?xml version='1.0'?>{XMLNS}<head><title/><script src='x'/></head><body>{PARAGRAPHS}<p>R&D</p></body></html>",
        f"<!DOCTYPE html [<!ENTITY a 'b'>]>{XMLNS}<body><div/>{PARAGRAPHS}<p>&a;</p></body></html>",
    ],
)
def test_what_is_no_well_formed_xhtml_is_read_as_html(page):
    rows, bad, _ = gather(page.encode(), "x.xhtml")
    assert bad == []
    assert "Paragraph 7 tells of the river 49" in rows["text"][0]


def test_xhtml_with_a_prefix_and_names_of_characters_that_nobody_knows():
    page = "<h:html xmlns:h='http://www.w3.org/1999/xhtml'><h:head><h:title>T</h:title></h:head><h:body><h:p/>"
    page += re.sub(r"<(/?)(?=p>)", r"<\1h:", PARAGRAPHS) + "<h:p>&what; END</h:p></h:body></h:html>"
    rows, bad, _ = gather(page.encode(), "x.html")
    assert (rows["title"].to_list(), bad) == (["T"], [])
    assert rows["text"][0].endswith("&what; END")


def test_a_title_without_any_end_is_not_the_page():
    page = f"<html><head><title/></head><body>{PARAGRAPHS}</body></html>"
    assert "Paragraph 7 tells of the river 49" in gather(page.encode(), "x.html")[0]["text"][0]


SIGNS = "<mrow><msup><mi>x</mi><mn>2</mn></msup></mrow>"
TEX = "<annotation encoding='application/x-tex; mode=inline'>x^2</annotation>"


@pytest.mark.parametrize(
    ("formula", "written"),
    [
        (f"<semantics>{SIGNS}<annotation encoding='application/x-tex'>x^2</annotation></semantics>", "x^2"),
        (f"<semantics>{SIGNS}<annotation encoding='LaTeX'>x^2</annotation></semantics>", "x^2"),
        (f"<semantics>{SIGNS}<annotation encoding='StarMath 5.0'>x^2</annotation></semantics>", "x2"),
        (f"<semantics>{SIGNS}<annotation-xml encoding='MathML-Content'><ci>x</ci></annotation-xml></semantics>", "x2"),
        (SIGNS, "x2"),
        (f"<semantics>{SIGNS}{TEX}{TEX.replace('x^2', 'x^{2}')}</semantics>", "x^2"),
        (f"<semantics>{SIGNS}{TEX.replace('x^2', ' ')}</semantics>", "x2"),
        (
            f"<semantics><mrow><semantics>{SIGNS}{TEX}</semantics></mrow><annotation>words</annotation></semantics>",
            "x^2",
        ),
        (f"<semantics><mrow><semantics>{SIGNS}{TEX}</semantics></mrow>{TEX.replace('x^2', 'X')}</semantics>", "X"),
        (f"{SIGNS}{TEX}", "x^2"),
    ],
)
def test_a_formula_is_written_once(formula, written):
    page = f"<html><body><article>{PARAGRAPHS}<p>The area is <math>{formula}</math> acres.</p></article></body></html>"
    assert f"The area is {written} acres." in gather(page.encode(), "x.html")[0]["text"][0]
    drawn = f"<span class='katex-mathml'><math>{formula}</math></span><span class='katex-html'>x2</span>"
    page = f"<html><body><article>{PARAGRAPHS}<p>The area is {drawn} acres.</p></article></body></html>"
    assert f"The area is {written} acres." in gather(page.encode(), "x.html")[0]["text"][0]


def test_a_formula_with_a_prefix_is_written_once_too():
    signs = "<m:mi>a</m:mi><m:mo>+</m:mo><m:mi>b</m:mi><m:annotation encoding='TeX'>a+b</m:annotation>"
    formula = f"<m:math xmlns:m='http://www.w3.org/1998/Math/MathML'><m:semantics>{signs}</m:semantics></m:math>"
    page = f"<html><body>{PARAGRAPHS}<p>The sum is {formula} acres.</p></body></html>"
    assert "The sum is a+b acres." in gather(page.encode(), "x.xhtml")[0]["text"][0]


@pytest.mark.parametrize(
    "drawn",
    [
        "<span class='mwe-math-element'><span style='display: none;'>MATH</span><img src='x.svg' alt='x^2'/></span>",
        "<mjx-container><mjx-math>x2</mjx-math><mjx-assistive-mml>MATH</mjx-assistive-mml></mjx-container>",
        "<span class='MathJax_Preview'>x2</span><span class='MathJax'><nobr>x2</nobr><span>MATH</span></span>",
        "PREFIXED",
    ],
)
def test_a_formula_that_tools_draw_or_hide_is_written_once(drawn):
    formula = f"<math><semantics>{SIGNS}{TEX}</semantics></math>"
    drawn = drawn.replace("MATH", formula).replace("PREFIXED", re.sub(r"<(/?)", r"<\1m:", formula))
    page = f"<html><body><article>{PARAGRAPHS}<p>The area is {drawn} acres.</p></article></body></html>"
    assert "The area is x^2 acres." in gather(page.encode(), "x.html")[0]["text"][0]


def test_a_page_without_main_text_is_a_row_without_text():
    rows, bad, _ = gather(b"<html><body><nav><a href='/'>Home</a></nav></body></html>", "x.html")
    assert (rows["text"].to_list(), bad) == ([""], [])


@pytest.mark.parametrize(
    ("head", "date"),
    [
        ('<meta name="date" content="2011-02-03">', "2011-02-03"),
        ('<script type="application/ld+json">{"datePublished": "2012-03-04T05:06:07Z"}</script>', "2012-03-04"),
        ('<meta name="date" content="3 May 2011">', "3 May 2011"),
        ('<meta name="date" content="today">', None),
        ('<meta name="x" property="article:published_time" content="2016-07-08">', "2016-07-08"),
        # One that is no date hides no other.
        (
            '<meta property="article:published_time" content="2020-13-45"><meta name="pubdate" content="2013-04-05">',
            "2013-04-05",
        ),
        ('<meta name="date" content="0000-01-01"><meta name="date" content="2014-05-06 07:08">', "2014-05-06"),
        (
            '<meta name="date" content="2015-06-07x"><script>{"datePublished": "2015"}, {"datePublished":"2015-06-08"}'
            "</script>",
            "2015-06-08",
        ),
        ("", None),
    ],
)
def test_the_date_of_a_page_is_what_it_declares(head, date):
    rows, _, _ = gather(f"<html><head>{head}</head><body>{PARAGRAPHS}</body></html>".encode(), "x.html")
    assert rows.select("created", "date_trusted").row(0) == (date, None)


def test_the_opt_outs_of_a_page_are_kept_as_it_says_them():
    head = '<meta name="Robots" content="noai,  noimageai"><meta name="TDM-Reservation" content="1">'
    head += '<meta name="GPTBot" content="noindex"><meta name="viewport" content="width=device-width">'
    rows, _, _ = gather(f"<html><head>{head}</head><body>{PARAGRAPHS}</body></html>".encode(), "x.html")
    assert json.loads(rows["opt_out"][0]) == {
        "meta": {"gptbot": ["noindex"], "robots": ["noai, noimageai"], "tdm-reservation": ["1"]}
    }
    assert gather(PAGE.encode("latin-1"), "x.html")[0]["opt_out"].to_list() == [None]


@pytest.mark.parametrize(
    ("page", "reason"),
    [
        ("<div>" * 20_000 + "text", "1,000 deep"),
        ("<div></x>" * 2_000 + "</div>" * 2_000 + "text", "1,000 deep"),
        ("<p " + " ".join(f"a{n}=1" for n in range(9_000)) + ">text", "attributes"),
        ("<p/" + "/".join(f"a{n}" for n in range(9_000)) + ">text", "attributes"),
        ("<select>" + "<option>x" * 11_000, "options"),
    ],
)
def test_a_page_that_is_made_to_stall_its_reader_is_a_bad_row(page, reason):
    rows, bad, _ = gather(page.encode(), "x.html")
    assert len(rows) == 0
    assert reason in bad[0].reason


def test_an_image_of_many_bytes_within_a_tag_does_not_spoil_a_page():
    image = "data:image/png;base64," + "iVBORw0KGgo=/+ab" * 10_000
    rows, bad, _ = gather(f"<html><body>{PARAGRAPHS}<img src='{image}'></body></html>".encode(), "x.html")
    assert bad == []
    assert "Paragraph 7" in rows["text"][0]


# --- Stack Exchange --------------------------------------------------------------------------------------------------

POSTS = """\ufeff<?xml version="1.0" encoding="utf-8"?>\r
<posts>\r
  <row Id="4" PostTypeId="1" AcceptedAnswerId="7" CreationDate="2008-07-31T21:42:52.667" Score="794" \
Body="&lt;p&gt;I want to assign a decimal.&lt;/p&gt;&#xA;&lt;pre&gt;&lt;code&gt;if a &amp;lt; b:&#xA;    f()\
&lt;/code&gt;&lt;/pre&gt;" Title="How to convert?" Tags="|c#|" ContentLicense="CC BY-SA 4.0" />\r
  <row Id="5" PostTypeId="5" CreationDate="2008-08-01T00:00:00.000" Body="a tag" />\r
  <row Id="6" PostTypeId="2" ParentId="4" CreationDate="2008-08-01T14:45:37.000" Body="broken />\r
  <row Id="7" PostTypeId="2" ParentId="4" CreationDate="2008-07-31T22:17:57.883" Score="502" \
Body="&lt;p&gt;An explicit cast is &lt;em&gt;needed&lt;/em&gt;.&lt;/p&gt;" ContentLicense="CC BY-SA 2.5" />\r
</posts>\r
""".encode()


@pytest.mark.parametrize("compress", [bytes, gzip.compress])
def test_a_dump_of_posts_gives_questions_and_answers_and_a_broken_line_costs_itself(compress):
    name = "cooking.stackexchange.com/Posts.xml" + (".gz" if compress is gzip.compress else "")
    format, compression = readers.detect(name)
    (batch,) = readers.read(name, io.BytesIO(compress(POSTS)), format, compression, {})
    question, answer = batch.rows.to_dicts()
    assert question["text"] == "How to convert?\n\nI want to assign a decimal.\n\nif a < b:\n    f()"
    assert (question["id"], question["url"]) == (
        "cooking.stackexchange.com/4",
        "https://cooking.stackexchange.com/q/4",
    )
    assert (answer["text"], answer["title"], answer["license"]) == (
        "An explicit cast is needed.",
        None,
        "CC BY-SA 2.5",
    )
    assert (answer["row"], answer["created"], answer["url"]) == (
        3,
        "2008-07-31T22:17:57.883",
        "https://cooking.stackexchange.com/a/7",
    )
    assert [(bad.row, bad.line, bad.reason[:7]) for bad in batch.bad] == [(2, 5, "not XML")]
    assert batch.skipped == {"post type 5": 1}


def test_ids_of_a_dump_without_a_folder_stand_alone():
    rows, _, _ = gather(POSTS, "Posts.xml")
    assert rows.select("id", "url").rows() == [("4", None), ("7", None)]


@pytest.mark.parametrize("content", [b"<mediawiki>\n<page>\n", b"hello", b"<html></html>"])
def test_xml_of_another_kind_is_refused(content):
    with pytest.raises(InputError, match=r"no Posts\.xml"):
        gather(content, "x.xml")


# --- all readers -----------------------------------------------------------------------------------------------------


def _book():
    page = b'<html xmlns="http://www.w3.org/1999/xhtml"><body><p>abc</p></body></html>'
    package = b'<package><manifest><item id="a" href="a" media-type="text/html"/></manifest><spine><itemref idref="a"/>'
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as book:
        book.writestr("META-INF/container.xml", b'<container><rootfile full-path="p"/></container>')
        book.writestr("p", package + b"</spine></package>")
        book.writestr("a", page)
    return sink.getvalue()


SEEDS = {
    "json": b'{"n": 1, "data": [{"text": "abc", "id": 1}, {"text": "d\\"}]", "id": [[]]}], "more": {}}',
    "jsonl": json_lines({"text": "abc", "id": 1}, {"text": "def"}),
    "csv": b'id,text\n1,"a\nb"\n2,c\n',
    "parquet": parquet_bytes(pa.table({"text": ["abc", "def"] * 20, "id": [1, 2] * 20})),
    "text": b"a document",
    "html": PAGE.encode(),
    "stackexchange": POSTS,
    "ipynb": b'{"cells": [{"cell_type": "code", "source": ["abc"]}], "metadata": {"title": "t"}}',
    "epub": _book(),
    "warc": b"WARC/1.0\r\nWARC-Type: resource\r\nWARC-Target-URI: http://a/\r\nWARC-Date: 2020-01-01T00:00:00Z\r\n"
    b"Content-Type: text/plain\r\nContent-Length: 3\r\n\r\nabc\r\n\r\n" * 2,
}


@st.composite
def damaged(draw):
    """A format, a compression, and bytes: random, or a good file with random bytes written over it or cut off."""
    format = draw(st.sampled_from(readers.names()))
    packed = st.sampled_from([None, "gzip", "zstd", "bzip2", "xz"])
    compression = None if format in ("parquet", "epub") else draw(packed)
    if draw(st.booleans()):
        content = draw(st.binary(max_size=200))
    else:
        content = bytearray(SEEDS[format])
        for _ in range(draw(st.integers(0, 6))):
            content[draw(st.integers(0, len(content) - 1))] = draw(st.integers(0, 255))
        content = bytes(content[: draw(st.integers(0, len(content)))])
    if compression and draw(st.booleans()):
        content = {"gzip": gzip.compress, "zstd": zstd, "bzip2": bz2.compress, "xz": lzma.compress}[compression](
            content
        )[: draw(st.integers(1, 400))]
    return format, compression, content


@given(damaged())
@settings(max_examples=400, deadline=None)
def test_no_bytes_make_a_reader_raise_anything_but_an_input_error(case):
    format, compression, content = case
    try:
        batches = list(readers.read("x", io.BytesIO(content), format, compression, {}, 500))
    except InputError:
        return
    numbers = [n for batch in batches for n in (*batch.rows["row"], *(bad.row for bad in batch.bad))]
    skipped = sum(count for batch in batches for count in batch.skipped.values())
    assert len(set(numbers)) == len(numbers)
    assert set(numbers) <= set(range(len(numbers) + skipped))
    assert skipped == 0 or format in ("warc", "stackexchange")
    for batch in batches:
        assert isinstance(batch, Batch)
        assert batch.rows["text"].null_count() == 0


@pytest.mark.skipif(not CORPORA.exists(), reason="the shared corpora are not here")
@pytest.mark.parametrize(
    ("name", "rows"),
    [
        ("standards/standards.jsonl.zst", 884),
        ("gov_blog/part-000.jsonl.gz", 700),
        ("csv/blog_news.csv", 1511),
        ("mixed_parquet/eips_textbook.parquet", 677),
    ],
)
def test_real_files_are_read_without_a_bad_row(name, rows):
    with (CORPORA / name).open("rb") as stream:
        found, bad, _ = gather(stream, name)
    assert (len(found), bad) == (rows, [])
    assert found["id"].n_unique() == rows
