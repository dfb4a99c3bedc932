"""Guesses: what is told of a file's shape from its beginning."""

import gzip
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cuvee.schemas.errors import InputError
from cuvee.schemas.recipe import Csv
from cuvee.tasks import readers

LONG = "Der Ausschuss traf sich im alten Rathaus und sprach lange über den Plan für die neue Brücke über den Fluss. "
QUOTE = '"'
CHAT = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": LONG}]


def lines(*rows: object) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


NEWS = "".join(f"'{kind}';'{LONG} Nummer {n}; ''so''.'\n" for n, kind in enumerate(["Sport", "Web", "Web"]))
ALPACA = [{"instruction": f"Explain {n}.", "input": "", "output": LONG} for n in range(3)]
CASES = {
    "alpaca.json": (json.dumps(ALPACA, indent=1), {"format": "json"}, {"text": ("instruction", "input", "output")}),
    "chat.jsonl": (lines({"messages": CHAT, "id": 1}), {"format": "jsonl"}, {"messages": "messages"}),
    "nested.jsonl": (
        lines({"doc": {"text": LONG, "uid": "a"}, "meta": {"date": "2020-01-01"}}),
        {"format": "jsonl"},
        {"text": "doc.text", "id": "doc.uid", "created": "meta.date"},
    ),
    "qa.jsonl": (lines({"question": "Why?", "answer": LONG}), {"format": "jsonl"}, {"text": ("question", "answer")}),
    "news.csv": (
        NEWS,
        {"format": "csv", "csv": Csv(delimiter=";", quote="'", header=False)},
        {"text": "column_2"},
    ),
    "plain.csv": (f"id,Text\n1,{LONG}\n2,{LONG}\n", {"format": "csv", "csv": Csv(delimiter=",")}, {"text": "Text"}),
    "pipes.csv": (
        f'nr|body\n1|"{LONG}"\n2|"{LONG}"\n',
        {"format": "csv", "csv": Csv(delimiter="|")},
        {"text": "body"},
    ),
    "tabs.tsv": (f"id\ttext\n1\t{LONG}\n", {"format": "csv", "csv": Csv()}, {}),
    "articles.txt": (f"{LONG * 3}\n{LONG * 4}\n\n{LONG * 3}\n" * 4, {"format": "text", "records": "file"}, {}),
    "chat.csv": (
        f'id,turns\n1,"{json.dumps(CHAT).replace(QUOTE, 2 * QUOTE)}"\n',
        {"format": "csv"},
        {"messages": "turns"},
    ),
    "lines.txt": (f"{LONG * 3}\n{LONG * 4}\n{LONG * 3}\n" * 4, {"format": "text", "records": "line"}, {}),
    "book.txt": (f"Kapitel 1\n\n{LONG}\n{LONG}\n\n{LONG}\n", {"format": "text", "records": "file"}, {}),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("encoding", ["utf-8", "cp1252", "utf-16"])
def test_the_shape_of_a_file_is_told_and_reads_it(name: str, encoding: str, tmp_path: Path) -> None:
    text, said, fields = CASES[name]
    path = tmp_path / name
    path.write_bytes(text.encode(encoding))
    found = readers.guess(path)
    assert {key: getattr(found, key) for key in said} == said
    assert dict(found.fields) == fields
    assert (found.encoding == "auto") == (encoding != "cp1252" or text.isascii())
    with path.open("rb") as stream:
        batches = readers.read(
            path,
            stream,
            found.format,
            None,
            found.fields,
            encoding=found.encoding,
            csv=found.csv,
            records=found.records,
        )
        rows, bad = 0, 0
        for batch in batches:
            rows, bad = rows + batch.rows.height, bad + len(batch.bad)
            assert LONG.strip() in batch.rows["text"][0] or name == "book.txt"
    assert (rows > 0, bad) == (True, 0)


def test_lines_of_signs_that_say_more_are_documents_sooner(tmp_path: Path) -> None:
    said = "城市去年修建的住房比以往任何时候都多，"
    for times, records in ((2, "file"), (6, "line")):
        (tmp_path / "a.txt").write_text((said * times + "\n") * 3)
        assert readers.guess(tmp_path / "a.txt").records == records


def test_text_in_bytes_within_structs_is_text(tmp_path: Path) -> None:
    doc = pa.struct([("body", pa.binary()), ("when", pa.string()), ("picture", pa.binary())])
    rows = [{"body": LONG.encode(), "when": "2020-01-01", "picture": b"\xff" * 500}]
    pq.write_table(pa.table({"doc": pa.array(rows, doc), "turns": [[]]}), tmp_path / "a.parquet")
    assert dict(readers.guess(tmp_path / "a.parquet").fields) == {"text": "doc.body"}


def test_parquet_and_compressed_files_are_told(tmp_path: Path) -> None:
    pq.write_table(pa.table({"conversation": [CHAT], "key": ["a"]}), tmp_path / "x.parquet")
    found = readers.guess(tmp_path / "x.parquet")
    assert (found.format, dict(found.fields), found.columns) == (
        "parquet",
        {"messages": "conversation"},
        ("conversation", "key"),
    )
    (tmp_path / "x.jsonl.gz").write_bytes(gzip.compress(lines({"body": LONG, "title": "a"}).encode()))
    assert dict(readers.guess(tmp_path / "x.jsonl.gz").fields) == {"text": "body"}
    (tmp_path / "x.html").write_text("<p>a</p>", encoding="utf-8")
    assert readers.guess(tmp_path / "x.html") == readers.Guess("html")


def test_a_file_that_breaks_off_is_named(tmp_path: Path) -> None:
    path = tmp_path / "torn.jsonl.gz"
    path.write_bytes(gzip.compress(lines({"text": LONG}).encode())[:-12])
    with pytest.raises(InputError, match=r"torn.jsonl.gz cannot be read: file ends early"):
        readers.guess(path)
