"""Shapes: JSON files, nested columns, joined text, chats, dialects, encodings and documents within text files."""

import csv as csv_module
import io
import json

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cuvee.schemas.errors import InputError
from cuvee.schemas.recipe import Csv
from cuvee.tasks import readers
from cuvee.tasks.readers import BadRow, _json_window


def read(content, path, fields=None, batch_bytes=8 << 20, **said):
    """Read bytes to the end: all rows, all bad rows, and what is told of the file."""
    format, compression = readers.detect(path)
    batches = list(readers.read(path, io.BytesIO(content), format, compression, fields or {}, batch_bytes, **said))
    rows = pl.concat([readers.SCHEMA.to_frame(), *(batch.rows for batch in batches)])
    return rows, [bad for batch in batches for bad in batch.bad], [batch.told for batch in batches if batch.told]


def parquet(**columns):
    sink = io.BytesIO()
    pq.write_table(pa.table(columns), sink)
    return sink.getvalue()


# --- JSON files ------------------------------------------------------------------------------------------------------

ROWS = [{"text": "a", "id": 1}, {"text": 'b "}], {[', "id": 2}, {"text": "c\n", "id": [{"x": 1}]}]


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize(
    "value",
    [
        ROWS,
        {"data": ROWS},
        {"version": 1, "about": {"by": [1, 2], "of": [{}]}, "names": ["a", "b"], "data": ROWS, "end": [[]]},
    ],
    ids=["array", "object", "object with more"],
)
def test_an_array_is_read_wherever_it_stands(value, indent):
    rows, bad, _ = read(json.dumps(value, indent=indent).encode(), "x.json")
    assert (rows["text"].to_list(), bad) == ([row["text"] for row in ROWS], [])
    assert rows["id"].to_list() == ["1", "2", '[{"x": 1}]']
    assert rows["row"].to_list() == [0, 1, 2]


def test_lines_and_single_objects_are_read_from_json_files():
    lines = b"".join(json.dumps(row).encode() + b"\n" for row in ROWS)
    assert read(lines, "x.json")[0]["row"].to_list() == [0, 1, 2]
    assert read(b'\xef\xbb\xbf{"text": "a", "tags": [{"k": 1}]}\n', "x.json")[0]["text"].to_list() == ["a"]
    chat = json.dumps({"messages": [{"role": "user", "content": "hi"}]}, indent=1).encode()
    assert read(chat, "x.json", {"messages": "messages"})[0]["text"].to_list() == ["User: hi"]


def test_each_fault_of_an_element_is_named_with_its_line_and_costs_only_that_element():
    elements = ['{"text": "a"}', "{'text': 1}", '{"text": 3}', "[]", "nul", '{"text": "\\ud800"}', '{"text": "b"}']
    rows, bad, _ = read(("[\n" + ",\n".join(elements) + "\n]").encode(), "x.json")
    assert (rows["text"].to_list(), rows["row"].to_list()) == (["a", "b"], [0, 6])
    assert [(each.row, each.line) for each in bad] == [(1, 3), (2, 4), (3, 5), (4, 6), (5, 7)]
    assert bad[0].reason.startswith("not JSON: Expecting property name")
    assert bad[1].reason == 'field "text" is a number, not a string'
    assert bad[2].reason == "the element holds an array, not an object"
    assert "surrogate" in bad[4].reason
    assert read(b'[{"text": "a\xff"}, {"text": "b"}]', "x.json")[1] == [BadRow(0, 1, "not UTF-8")]


def test_what_an_element_without_end_hides_is_counted():
    good = [json.dumps({"text": f"text {n}"}) for n in range(100)]
    broken = [*good[:40], '{"text": "no end', *good[41:]]
    rows, bad, _ = read(("[" + ",\n".join(broken) + "]").encode(), "x.json")
    assert rows["row"].to_list() == list(range(40))
    assert (bad[0].row, len(bad)) == (40, 60)
    assert bad[0].reason.endswith("the file is not read further")
    cut = ("[" + ",".join(good))[:-3].encode()
    rows, bad, _ = read(cut, "x.json")
    assert (rows.height, [each.row for each in bad]) == (99, [99])


def test_a_second_array_of_an_object_is_told():
    rows, bad, _ = read(b'{"train": [{"text": "a"}], "test": [{"text": "b"}, {"text": "c"}]}', "x.json")
    assert rows["text"].to_list() == ["a"]
    assert [(each.row, each.reason) for each in bad] == [(1, 'a second array of objects, "test"; the first is read')]


def test_an_element_over_the_limit_is_a_bad_row_and_its_neighbours_stay():
    long = '{"text": "' + 'x\\"' * 1_000_000 + '"}'
    wide = '{"text": "a", "id": [' + "[]," * 2_100_000 + "0]}"
    content = ("[" + ", ".join(['{"text": "a"}', long, '{"text": "b"}', wide, '{"text": "c"}']) + "]").encode()
    rows, bad, _ = read(content, "x.json", row_mb=2)
    assert rows["text"].to_list() == ["a", "b", "c"]
    assert ["max_row_mb" in bad[0].reason, len(bad)] == [True, 2]
    assert "values" in read(content, "x.json", row_mb=64)[1][0].reason


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
RECORDS = st.lists(st.fixed_dictionaries({"text": st.text(max_size=40)}, optional={"id": JSON}), max_size=12)


@settings(max_examples=200, deadline=None)
@given(RECORDS, st.integers(1, 40), st.sampled_from([None, 1]), st.booleans(), st.booleans())
def test_windows_of_any_size_give_the_same_rows(monkeypatch_window, records, window, indent, ascii, is_object):
    value = {"n": [1], "data": records, "z": "}"} if is_object else records
    content = json.dumps(value, indent=indent, ensure_ascii=ascii).encode("utf-8", "replace")
    monkeypatch_window(window)
    rows, bad, _ = read(content, "x.json", {"text": "text"})
    if is_object and not records:
        return
    wanted = [record["text"].encode("utf-8", "replace").decode() for record in records]
    assert ascii or (rows["text"].to_list(), bad) == (wanted, [])


@pytest.fixture(scope="module")
def monkeypatch_window():
    before = _json_window._WINDOW
    yield lambda size: setattr(_json_window, "_WINDOW", size)
    _json_window._WINDOW = before


# --- nested columns, joined text, and what is kept -------------------------------------------------------------------

NESTED = [
    {"doc": {"text": "a", "by": {"name": "x"}}, "q": "one?", "a": "yes", "n": 1.0, "when": None},
    {"doc": {"text": "b", "by": None}, "q": "two?", "a": None, "n": float("nan"), "when": None},
    {"doc": {"text": None}, "q": None, "a": None, "n": None, "when": None},
]
AS_FILES = {
    "x.jsonl": b"".join(json.dumps(row).encode() + b"\n" for row in NESTED),
    "x.json": json.dumps(NESTED).encode(),
    "x.parquet": parquet(**{name: [row[name] for row in NESTED] for name in NESTED[0]}),
}


@pytest.mark.parametrize("path", AS_FILES)
def test_dotted_paths_lead_into_objects_and_structs(path):
    rows, bad, _ = read(AS_FILES[path], path, {"text": "doc.text", "id": "doc.by.name"}, keep=["n", "doc.by", "none"])
    assert (rows["text"].to_list(), rows["id"].to_list()) == (["a", "b"], ["x", None])
    assert [json.loads(extra) for extra in rows["extra"]] == [
        {"n": 1.0, "doc.by": {"name": "x"}},
        {"n": None, "doc.by": None},
    ]
    assert [(each.row, each.reason) for each in bad] == [(2, 'field "doc.text" is null, not a string')]


@pytest.mark.parametrize("path", AS_FILES)
def test_a_list_of_columns_is_joined_by_a_blank_line(path):
    rows, bad, _ = read(AS_FILES[path], path, {"text": ["q", "a", "doc.none"], "title": ["a", "q"]})
    assert rows["text"].to_list() == ["one?\n\nyes", "two?"]
    assert rows["title"].to_list() == ["yes\n\none?", "two?"]
    assert [each.row for each in bad] == [2]


def test_a_column_whose_name_has_a_dot_is_no_path():
    assert read(b'{"doc.text": "a", "doc": {"text": "b"}}', "x.jsonl", {"text": "doc.text"})[0]["text"].to_list() == [
        "a"
    ]
    content = parquet(**{"doc.text": ["a"], "doc": [{"text": "b"}]})
    assert read(content, "x.parquet", {"text": "doc.text"})[0]["text"].to_list() == ["a"]
    assert read(b"doc.text,b\na,b\n", "x.csv", {"text": ["doc.text", "b"]}, keep=["b"])[0].select("text", "extra").row(
        0
    ) == (
        "a\n\nb",
        '{"b": "b"}',
    )


def test_a_path_that_leads_nowhere_is_a_fault_of_a_parquet_file():
    with pytest.raises(InputError, match=r'no column "doc\.body"; the columns are: doc'):
        read(AS_FILES["x.parquet"], "x.parquet", {"text": "doc.body"})
    with pytest.raises(InputError, match='column "doc" is struct'):
        read(AS_FILES["x.parquet"], "x.parquet", {"text": "doc"})


def test_binary_columns_are_text_where_they_are_utf_8():
    content = parquet(text=pa.array([b"a\xc3\xa4", b"b\xff", None], pa.binary()), id=pa.array([b"1", b"2", b"3"]))
    rows, bad, _ = read(content, "x.parquet")
    assert (rows["text"].to_list(), rows["id"].to_list()) == (["aä"], ["1"])
    assert [each.reason for each in bad] == ['field "text" is not UTF-8', 'field "text" is null, not a string']


# --- chats -----------------------------------------------------------------------------------------------------------

CHATS = [
    [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Yo"},
    ],
    [{"role": "user", "content": "a\n\nb"}, {"role": "tool", "content": ""}],
]
TEXTS = ["System: Be kind.\n\nUser: Hi\n\nAssistant: Yo", "User: a\n\nb"]


@pytest.mark.parametrize("path", ["x.jsonl", "x.json", "x.parquet", "x.csv"])
def test_a_chat_is_its_turns_and_its_messages(path):
    content = {
        "x.jsonl": b"".join(json.dumps({"messages": chat}).encode() + b"\n" for chat in CHATS),
        "x.json": json.dumps([{"messages": chat} for chat in CHATS]).encode(),
        "x.parquet": parquet(messages=CHATS),
    }
    sink = io.StringIO()
    csv_module.writer(sink).writerows([["messages"], *([json.dumps(chat)] for chat in CHATS)])
    content["x.csv"] = sink.getvalue().encode()
    rows, bad, _ = read(content[path], path, {"messages": "messages"})
    assert (rows["text"].to_list(), bad) == (TEXTS, [])
    assert [json.loads(messages) for messages in rows["messages"]] == CHATS


def test_other_names_and_parts_of_messages_are_read():
    chat = [
        {"from": "human", "value": "Hi"},
        {"from": "gpt", "value": "Yo"},
        {"role": "tool", "content": "5", "name": "f"},
        {
            "role": "user",
            "content": [{"type": "text", "text": "see"}, {"type": "image_url"}, {"type": "text", "text": "it"}],
        },
        {"role": "assistant", "content": None, "tool_calls": []},
    ]
    rows, bad, _ = read(json.dumps({"c": {"d": chat}}).encode(), "x.jsonl", {"messages": "c.d"})
    assert (rows["text"].to_list(), bad) == (["User: Hi\n\nAssistant: Yo\n\nTool: 5\n\nUser: see\nit"], [])
    assert [message["role"] for message in json.loads(rows["messages"][0])] == [
        "user",
        "assistant",
        "tool",
        "user",
        "assistant",
    ]


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ([], "is an empty list"),
        (None, "not a list of messages"),
        ("hello", "no JSON of one"),
        ([{"role": "user"}], "message 0 .* has neither"),
        ([{"role": "user", "content": "a"}, "b"], "message 1 .* is no object"),
        ([{"role": "user", "content": 3}], "neither text nor parts"),
    ],
)
def test_what_is_no_chat_is_a_bad_row(value, said):
    content = json.dumps({"messages": value}).encode() + b"\n" + json.dumps({"text": "a"}).encode()
    _, bad, _ = read(content, "x.jsonl", {"messages": "messages"})
    assert len(bad) == 2
    assert pl.Series([bad[0].reason]).str.contains(said).item()
    assert bad[1].reason == 'no field "messages"; the row has: text'


# --- tables of text --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("delimiter", [";", "|", "\t", ","])
def test_the_delimiter_is_found_in_the_header_and_told(delimiter):
    quote = "" if delimiter == "\t" else '"'
    lines = [["id", "text"], ["1", f"{quote}a, b; c | d{quote}"], ["2", "e"]]
    rows, bad, told = read("\n".join(map(delimiter.join, lines)).encode(), "x.csv")
    assert (rows["text"].to_list(), bad) == (["a, b; c | d", "e"], [])
    assert told == ([] if delimiter == "," else [f"the delimiter is {delimiter!r}, as its first lines show"])


def test_a_table_without_a_header_has_numbered_columns_and_loses_no_row():
    content = b"'a; b';'it''s'\n\nx;y;z\n'c';d\n"
    said = Csv(quote="'", header=False)
    rows, bad, told = read(content, "x.csv", {"text": "column_2", "id": "column_1"}, csv=said)
    assert rows.select("row", "id", "text").rows() == [(0, "a; b", "it's"), (2, "c", "d")]
    assert [(each.row, each.line) for each in bad] == [(1, 3)]
    assert len(told) == 1
    with pytest.raises(InputError, match='no column "text"; the columns are: column_1, column_2'):
        read(content, "x.csv", csv=said)


def test_quotes_may_be_switched_off_or_on():
    assert read(b'id,text\n1,"a"b\n', "x.csv", csv=Csv(quote=""))[0]["text"].to_list() == ['"a"b']
    assert read(b'id\ttext\n1\t"a\tb"\n', "x.tsv", csv=Csv(quote='"'))[0]["text"].to_list() == ["a\tb"]
    assert read(b"id^text\n1^a\n", "x.tsv", csv=Csv(delimiter="^"))[0]["text"].to_list() == ["a"]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters='\r\n"\t'), max_size=20), max_size=30))
def test_rows_in_are_rows_told_where_there_are_no_quotes(texts):
    for name, delimiter in (("x.csv", ","), ("x.tsv", "\t")):
        lines = ["id" + delimiter + "text", *(f"{n}{delimiter}{text}" for n, text in enumerate(texts))]
        rows, bad, _ = read("\n".join(lines).encode(), name)
        assert rows.height + len(bad) == len(texts)


# --- encodings -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["x.jsonl", "x.json", "x.csv", "x.txt", "x.html"])
@pytest.mark.parametrize("encoding", ["cp1252", "utf-16", "utf-16-le", "shift_jis", "utf-8-sig"])
def test_text_of_another_encoding_is_read(path, encoding):
    word = "日本" if encoding == "shift_jis" else "Müller"
    content = {
        "x.jsonl": json.dumps({"text": word}, ensure_ascii=False) + "\n",
        "x.json": json.dumps([{"text": word}], ensure_ascii=False),
        "x.csv": f"text\n{word}\n",
        "x.txt": word,
        "x.html": f"<html><body><p>{word}</p></body></html>",
    }[path].encode(encoding)
    assert read(content, path, encoding=encoding)[0]["text"].to_list() == [word]
    if encoding in ("utf-16", "utf-8-sig"):
        assert read(content, path)[0]["text"].to_list() == [word]


def test_bytes_that_the_encoding_does_not_know_are_a_bad_row():
    rows, bad, _ = read(b'{"text": "a\x81"}\n{"text": "b\xe4"}\n', "x.jsonl", encoding="cp1252")
    assert (rows["text"].to_list(), [each.row for each in bad]) == (["bä"], [0])
    assert bad[0].reason == "not cp1252: it has bytes that are no character there"
    rows, bad, _ = read(b"plain", "x.txt", encoding="utf-16")
    assert (rows.height, bad[0].reason) == (0, "not utf-16: it has bytes that are no character there")
    cut = "a\n\ud7ffb".encode("utf-16")[:-1]
    rows, bad, _ = read(cut, "x.txt", records="line")
    assert (rows["text"].to_list(), [each.row for each in bad]) == (["a"], [1])


# --- documents within text files -------------------------------------------------------------------------------------

PROSE = b"\xef\xbb\xbfOne\r\nstill one\r\n\r\n \r\ntwo\xff\n\nthree\nmore\n"


def test_a_document_may_be_a_line_or_a_paragraph():
    rows, bad, _ = read(PROSE, "x.txt", records="line")
    assert rows["text"].to_list() == ["One", "still one", "three", "more"]
    assert [(each.row, each.line) for each in bad] == [(2, 5)]
    rows, bad, _ = read(PROSE, "x.txt", records="paragraph")
    assert rows["text"].to_list() == ["One\nstill one", "three\nmore"]
    assert [(each.row, each.line) for each in bad] == [(1, 5)]
    assert rows["id"].null_count() == rows.height


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from(["a", "b c", "", " ", "\t", "d\r"]), max_size=40), st.integers(500, 600))
def test_lines_and_paragraphs_hold_all_lines_that_are_not_blank(lines, batch_bytes):
    content = "\n".join(lines).encode()
    wanted = [line.strip() for line in lines if line.strip()]
    for records in ("line", "paragraph"):
        rows, bad, _ = read(content, "x.txt", records=records, batch_bytes=batch_bytes)
        found = [line for text in rows["text"] for line in text.split("\n")]
        assert (found, bad) == (wanted, [])


def test_a_paragraph_over_the_limit_is_a_bad_row():
    content = b"a\n\n" + b"xxxx\n" * 300_000 + b"\nb\n"
    rows, bad, _ = read(content, "x.txt", records="paragraph", row_mb=1)
    assert (rows["text"].to_list(), [(each.row, each.line) for each in bad]) == (["a", "b"], [(1, 3)])


@pytest.mark.parametrize("path", ["x.rst", "x.tex", "x.md", "x.text"])
def test_markup_is_text(path):
    assert read(b"Title\n=====\n", path)[0]["text"].to_list() == ["Title\n=====\n"]


YAML = '---\ntitle: "A: b"\nauthor: x\ntags:\n  - c\ndate: 2021-03-04 # when\n---\n\nText\n---\nmore\n'


@pytest.mark.parametrize(
    "front",
    [
        YAML,
        YAML.replace("\n", "\r\n"),
        '+++\ntitle = "A: b"\ntags = []\ndate = 2021-03-04\n+++\n\nText\n---\nmore\n',
    ],
)
def test_the_front_matter_of_markdown_gives_title_and_date_and_is_no_text(front):
    for records in ("file", "line", "paragraph"):
        rows, bad, _ = read(front.encode(), "x.md", records=records)
        assert (rows["title"][0], rows["created"][0], bad) == ("A: b", "2021-03-04", [])
        assert "".join(rows["text"]).replace("\r", "").replace("\n", "") == "Text---more"
    assert read(front.encode(), "x.txt")[0]["title"].to_list() == [None]


@pytest.mark.parametrize(
    "text", ["---\n\nA rule.\n---\n", "---\ntitle: no end\n", "---\nno key\n---\n", "---", "--- a\nb: c\n---\n"]
)
def test_a_rule_is_no_front_matter(text):
    assert read(text.encode(), "x.md")[0]["text"].to_list() == [text]
    rows, _, _ = read(text.encode(), "x.md", records="line")
    assert rows["text"].to_list() == [line for line in text.split("\n") if line]
