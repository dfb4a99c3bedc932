"""Readers: MB of CPU-second that each format is read at, beside the readers of another tree where one is given.

    python benchmarks/readers.py [--before TREE] [--mb 40] [NAME …]

TREE is a folder that holds another version of the package as `cuvee`. Both read the same files in turn, in two
processes each, seven times in each; the least time counts. Prints a line a format: MB/s, and now ÷ before.
"""

import argparse
import bz2
import gzip
import io
import json
import lzma
import os
import random
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import zstandard

_WORDS = "the committee met in old town hall and discussed plan for new bridge over river at some length"
_PROCESSES = 2
_READ = """
import sys, time
from cuvee.tasks import readers
path, fields = sys.argv[1], eval(sys.argv[2])
more = eval(sys.argv[3])
if "csv" in more:
    from cuvee.schemas.recipe import Csv
    more["csv"] = Csv(**more["csv"])
def take(name, stream, format, compression):
    return sum(batch.rows.height for batch in readers.read(name, stream, format, compression, fields, **more))
import io
take("x.jsonl", io.BytesIO(b'{"text": "a"}'), "jsonl", None)
times = []
for _ in range(7):
    began = time.process_time()
    with open(path, "rb") as stream:
        if path.endswith((".zip", ".tar", ".tgz", ".tar.zst")):
            for member in readers.members(path, stream):
                take(member.name, member.content, *readers.detect(member.name))
        else:
            take(path, stream, *readers.detect(path))
    times.append(time.process_time() - began)
print(min(times))
"""


def _texts(size: int) -> list[str]:
    chance, texts, held = random.Random(1), list[str](), 0
    while held < size:
        texts.append(" ".join(chance.choices(_WORDS.split(), k=chance.randint(80, 500))).capitalize() + ".")
        held += len(texts[-1])
    return texts


def _lines(rows: list[dict[str, object]]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def _table(**columns: object) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.table(columns), sink, compression="zstd")
    return sink.getvalue()


def _zip(files: dict[str, bytes]) -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return sink.getvalue()


def _tar(files: dict[str, bytes]) -> bytes:
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return sink.getvalue()


def _book(texts: list[str]) -> bytes:
    """Make a book of chapters of a hundred paragraphs."""
    chapters = [
        f"<html xmlns='http://www.w3.org/1999/xhtml'><body><p>{'</p><p>'.join(texts[at : at + 100])}</p></body></html>"
        for at in range(0, len(texts), 100)
    ]
    kind = "application/xhtml+xml"
    items = "".join(f'<item id="i{n}" href="{n}.xhtml" media-type="{kind}"/>' for n in range(len(chapters)))
    spine = "".join(f'<itemref idref="i{n}"/>' for n in range(len(chapters)))
    package = (
        f'<package xmlns="http://www.idpf.org/2007/opf"><manifest>{items}</manifest><spine>{spine}</spine></package>'
    )
    container = (
        '<container xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><rootfiles>'
        '<rootfile full-path="book.opf"/></rootfiles></container>'
    )
    files = {"META-INF/container.xml": container, "book.opf": package}
    files |= {f"{n}.xhtml": chapter for n, chapter in enumerate(chapters)}
    return _zip({name: text.encode() for name, text in files.items()})


def _warc(texts: list[str]) -> bytes:
    """Make responses with a page of ten paragraphs each."""
    records = []
    for at in range(0, len(texts), 10):
        page = f"<html><body><article><p>{'</p><p>'.join(texts[at : at + 10])}</p></article></body></html>".encode()
        answer = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n" + page
        head = (
            f"WARC/1.0\r\nWARC-Type: response\r\nWARC-Target-URI: http://a.example/{at}\r\n"
            "WARC-Date: 2020-01-01T00:00:00Z\r\nContent-Type: application/http\r\n"
            f"Content-Length: {len(answer)}\r\n\r\n"
        )
        records.append(head.encode() + answer + b"\r\n\r\n")
    return b"".join(records)


def _posts(texts: list[str]) -> bytes:
    rows = "".join(
        f'<row Id="{n}" PostTypeId="1" CreationDate="2020-01-01T00:00:00" Body="&lt;p&gt;{text}&lt;/p&gt;"/>\n'
        for n, text in enumerate(texts)
    )
    return f"<posts>\n{rows}</posts>".encode()


def _cases(texts: list[str]) -> dict[str, tuple[Callable[[], bytes], dict[str, object], dict[str, object], bool]]:
    """Return by file name what makes it, the fields and what else is said of it, and whether it was read before."""
    rows: list[dict[str, object]] = [{"text": text, "id": n, "title": f"t {n}"} for n, text in enumerate(texts)]
    chats = [
        [{"role": "user", "content": text[:300]}, {"role": "assistant", "content": text[300:] or "no"}]
        for text in texts
    ]
    nested: list[dict[str, object]] = [{"doc": {"text": text, "n": n}} for n, text in enumerate(texts)]
    small = {f"{n}.txt": "\n\n".join(texts[n : n + 50]).encode() for n in range(0, len(texts), 50)}
    csv = "id;text\n" + "".join(f'{n};"{text}"\n' for n, text in enumerate(texts))
    plain = "id,text\n" + "".join(f'{n},"{text}"\n' for n, text in enumerate(texts))
    tabs = "id\ttext\n" + "".join(f"{n}\t{text}\n" for n, text in enumerate(texts))
    chat, path, keep = {"messages": "messages"}, {"text": "doc.text"}, {"keep": ["doc"]}
    of_chats: list[dict[str, object]] = [{"messages": each} for each in chats]
    cells = [{"cell_type": "markdown", "source": text.split(". ")} for text in texts]
    return {
        "x.jsonl": (lambda: _lines(rows), {}, {}, True),
        "x.jsonl.gz": (lambda: gzip.compress(_lines(rows)), {}, {}, True),
        "x.jsonl.zst": (lambda: zstandard.compress(_lines(rows)), {}, {}, True),
        "x.csv": (lambda: plain.encode(), {}, {}, True),
        "x.tsv": (lambda: tabs.encode(), {}, {}, True),
        "x.parquet": (lambda: _table(text=texts, id=list(range(len(texts)))), {}, {}, True),
        "x.txt": (lambda: "\n".join(texts).encode(), {}, {}, True),
        "x.html": (lambda: ("<p>" + "</p><p>".join(texts[:2000])).encode(), {}, {}, True),
        "x.warc": (lambda: _warc(texts), {}, {}, True),
        "x.warc.gz": (lambda: gzip.compress(_warc(texts)), {}, {}, True),
        "Posts.xml": (lambda: _posts(texts), {}, {}, True),
        "x.json": (lambda: json.dumps(rows).encode(), {}, {}, False),
        "indented.json": (lambda: json.dumps({"data": rows}, indent=1).encode(), {}, {}, False),
        "nested.jsonl": (lambda: _lines(nested), path, keep, False),
        "nested.parquet": (lambda: _table(doc=[row["doc"] for row in nested]), path, keep, False),
        "joined.jsonl": (lambda: _lines(rows), {"text": ["title", "text"]}, {}, False),
        "chat.jsonl": (lambda: _lines(of_chats), chat, {}, False),
        "chat.json": (lambda: json.dumps(of_chats).encode(), chat, {}, False),
        "chat.parquet": (lambda: _table(messages=chats), chat, {}, False),
        "semicolons.csv": (lambda: csv.encode(), {}, {}, False),
        "latin.csv": (lambda: plain.encode(), {}, {"encoding": "cp1252"}, False),
        "utf16.jsonl": (lambda: _lines(rows).decode().encode("utf-16"), {}, {}, False),
        "lines.txt": (lambda: "\n".join(texts).encode(), {}, {"records": "line"}, False),
        "paragraphs.txt": (lambda: "\n\n".join(texts).encode(), {}, {"records": "paragraph"}, False),
        "quotes.csv": (lambda: csv.replace('"', "'").encode(), {}, {"csv": {"quote": "'"}}, False),
        "x.rst": (lambda: "\n".join(texts).encode(), {}, {}, False),
        "x.tex": (lambda: "\n".join(texts).encode(), {}, {}, False),
        "x.md": (lambda: ("---\ntitle: a\n---\n" + "\n".join(texts)).encode(), {}, {}, False),
        "x.ipynb": (lambda: json.dumps({"cells": cells}).encode(), {}, {}, False),
        "x.zip": (lambda: _zip(small), {}, {}, False),
        "x.tar": (lambda: _tar(small), {}, {}, False),
        "x.tgz": (lambda: gzip.compress(_tar(small)), {}, {}, False),
        "x.tar.zst": (lambda: zstandard.compress(_tar(small)), {}, {}, False),
        "x.epub": (lambda: _book(texts), {}, {}, False),
        "x.jsonl.xz": (lambda: lzma.compress(_lines(rows)), {}, {}, False),
        "x.jsonl.bz2": (lambda: bz2.compress(_lines(rows)), {}, {}, False),
    }


def _seconds(tree: str, path: Path, fields: dict[str, object], more: dict[str, object]) -> float:
    command = [sys.executable, "-c", _READ, str(path), repr(fields), repr(more)]
    environment = {**os.environ, "PYTHONPATH": tree} if tree else dict(os.environ)
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    return float(done.stdout.split()[0])


def main() -> None:
    """Read each file with both trees in turn."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--before", default="")
    parser.add_argument("--mb", type=int, default=40)
    parser.add_argument("names", nargs="*")
    given = parser.parse_args()
    texts = _texts(given.mb * 10**6)
    with tempfile.TemporaryDirectory() as folder:
        for name, (make, fields, more, known) in _cases(texts).items():
            if given.names and name not in given.names:
                continue
            path = Path(folder) / name
            path.write_bytes(make())
            size = sum(map(len, texts[:2000] if name == "x.html" else texts))
            now, before = list[float](), list[float]()
            for _ in range(_PROCESSES):
                now.append(_seconds("", path, fields, more))
                if given.before and known:
                    before.append(_seconds(given.before, path, fields, more))
            ratio = f"{min(before) / min(now):5.2f} of before" if before else ""
            print(f"{name:16} {size / 1e6 / min(now):7.0f} MB/s {ratio}", flush=True)
            path.unlink()


if __name__ == "__main__":
    main()
