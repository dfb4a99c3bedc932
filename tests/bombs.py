"""Bombs: small files that ask for much, and what reading each of them takes, and a whole run over it.

`python -m tests.bombs` reads all of them at the defaults, each in a process of its own, and prints time and memory;
with `--run` it does so for `cuvee run`, time beside that of a run over a few words.
"""

import bz2
import functools
import gzip
import io
import json
import lzma
import os
import resource
import struct
import subprocess
import sys
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
import zstandard

from cuvee.schemas.errors import InputError
from cuvee.schemas.recipe import Ingest, Source
from cuvee.tasks import readers
from cuvee.tasks.ingest import opening

MB = 10**6


class Bomb(NamedTuple):
    """A file. told: what a message says of it; large: its making or reading takes seconds."""

    name: str
    make: Callable[[], bytes]
    told: str
    large: bool = False


class Taken(NamedTuple):
    """What reading a file gave and took; reasons: of the first and of the last bad row, or of the whole file."""

    rows: int
    bad: int
    reasons: list[str]
    cpu_s: float
    peak_mb: float


def gzipped(total: int, piece: bytes, head: bytes = b"") -> bytes:
    """Compress `head` and `total` bytes of repeated pieces, as members one behind the other."""
    member = gzip.compress(piece * ((16 << 20) // len(piece)))
    return gzip.compress(head) + member * (total >> 24)


def frames(total: int, piece: bytes, head: bytes = b"") -> bytes:
    """Compress `head` and `total` bytes of repeated pieces, as zstd frames one behind the other."""
    frame = zstandard.compress(piece * ((16 << 20) // len(piece)))
    return zstandard.compress(head) + frame * (total >> 24)


def one_frame(total: int) -> bytes:
    """Compress `total` zero bytes as one zstd frame."""
    sink = io.BytesIO()
    with zstandard.ZstdCompressor().stream_writer(sink, closefd=False) as writer:
        for _ in range(total >> 20):
            writer.write(bytes(1 << 20))
    return sink.getvalue()


def capture(body: bytes, encoding: str) -> bytes:
    """Store a response as a WARC record."""
    http = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Encoding: %s\r\n\r\n" % encoding.encode() + body
    head = "WARC/1.0\r\nWARC-Type: response\r\nWARC-Target-URI: http://a.example/\r\nContent-Type: application/http\r\n"
    return f"{head}Content-Length: {len(http)}\r\n\r\n".encode() + http + b"\r\n\r\n"


def chunked(count: int) -> bytes:
    """Store a response whose body comes in chunks of a byte."""
    return capture(b"1\r\na\r\n" * count, "identity\r\nTransfer-Encoding: chunked")


def no_dictionary() -> bytes:
    """Begin a WARC file with a dictionary frame that holds no dictionary."""
    return struct.pack("<II", 0x184D2A5D, 20) + bytes(20) + zstandard.compress(capture(b"a", "identity"))


def packed(total: int, piece: bytes, head: bytes, pack: Callable[[bytes], bytes]) -> bytes:
    """Compress `head` and `total` bytes of repeated pieces, as streams one behind the other."""
    return pack(head) + pack(piece * ((16 << 20) // len(piece))) * (total >> 24)


def member(name: str, size: int) -> bytes:
    """Make the header of a member of a tar, whose bytes are to follow."""
    info = tarfile.TarInfo(name)
    info.size = size
    return info.tobuf()


def zipped(content: bytes, *names: str) -> bytes:
    """Put the same bytes under some names into a zip."""
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name in names:
            archive.writestr(name, content)
    return sink.getvalue()


def book(chapter: bytes, times: int) -> bytes:
    """Make a book that names one chapter many times."""
    spine = '<itemref idref="a"/>' * times
    package = f'<package><manifest><item id="a" href="a" media-type="text/html"/></manifest>{spine}</package>'
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr("META-INF/container.xml", '<container><rootfile full-path="p"/></container>')
        archive.writestr("p", package)
        archive.writestr("a", chapter)
    return sink.getvalue()


def chats(content: pa.Array, rows: int) -> bytes:
    """Write rows of a list of messages, `content` shared out among them, as one row group."""
    role = pa.DictionaryArray.from_arrays(pa.repeat(pa.scalar(0, pa.int32()), len(content)), pa.array(["user"]))
    offsets = pa.array([len(content) * row // rows for row in range(rows + 1)], pa.int32())
    lists = pa.ListArray.from_arrays(offsets, pa.StructArray.from_arrays([role, content], ["role", "content"]))
    sink = io.BytesIO()
    pq.write_table(pa.table({"messages": lists}), sink, compression="zstd", row_group_size=1 << 30, **WHOLE)
    return sink.getvalue()


def parquet(text: pa.Array, **options: object) -> bytes:
    """Write a column of texts as one row group."""
    sink = io.BytesIO()
    options = {"compression": "zstd", "store_schema": False, "row_group_size": 1 << 30} | options
    pq.write_table(pa.table({"text": text}), sink, **options)
    return sink.getvalue()


def repeated(text: str, rows: int) -> pa.Array:
    """Repeat a text as places in a dictionary of one."""
    return pa.DictionaryArray.from_arrays(pa.repeat(pa.scalar(0, pa.int32()), rows), pa.array([text]))


def long_name() -> bytes:
    """Begin a tar with a name of a gigabyte."""
    header = tarfile.TarInfo("././@LongLink")
    header.type, header.size = tarfile.GNUTYPE_LONGNAME, 1 << 30
    return header.tobuf(tarfile.GNU_FORMAT)


def huge_dictionary() -> bytes:
    """Compress a line so that reading it takes a dictionary of 1 GB."""
    filters = [{"id": lzma.FILTER_LZMA2, "dict_size": 1 << 20}]
    content = bytearray(lzma.compress(b'{"text": "a"}\n', check=lzma.CHECK_NONE, filters=filters))
    # In the header of the block: its flags and size, and the filter with its dictionary's (xz file format, 3.1).
    header = bytearray(content[12:24])
    header[4] = 36
    header[8:12] = struct.pack("<I", zlib.crc32(header[:8]))
    content[12:24] = header
    return bytes(content)


LONG = "a" * (60 * MB)
LAUGHS = b'<!DOCTYPE posts [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;">]>'
OUTSIDE = b'<!DOCTYPE posts [<!ENTITY a SYSTEM "file:///etc/passwd">]>'
POST = b'<row Id="1" PostTypeId="1" Body="&a;" />'
WHOLE = {"dictionary_pagesize_limit": 1 << 30}
OVER, LENGTH = "ingest.max_expansion", "ingest.max_row_mb"
BOMBS = [
    Bomb("line.jsonl.gz", lambda: gzipped(2 << 30, b"a", b'{"text": "'), OVER, large=True),
    Bomb("zeros.jsonl.zst", lambda: frames(4 << 30, b"\0"), OVER),
    Bomb("blank.jsonl.zst", lambda: frames(4 << 30, b"\n"), OVER),
    Bomb("rows.jsonl.zst", lambda: frames(4 << 30, b'{"text":"a"}    \n'), OVER),
    Bomb("text.txt.zst", lambda: one_frame(4 << 30), LENGTH, large=True),
    Bomb("quote.csv", lambda: b'text\n"' + b"hidden by a quote that is not closed\n" * 2_500_000, LENGTH, large=True),
    Bomb("quote.csv.zst", lambda: frames(4 << 30, b"a\n", b'text\n"'), OVER),
    Bomb("zeros.warc.zst", lambda: one_frame(4 << 30), OVER, large=True),
    Bomb("frames.warc.zst", lambda: frames(4 << 30, b"\0"), OVER),
    Bomb("body.warc", lambda: capture(gzipped(4 << 30, b"a"), "gzip"), LENGTH),
    Bomb("bodies.warc.zst", lambda: zstandard.compress(capture(frames(16 << 20, b"a"), "zstd") * 900), OVER),
    Bomb("chunks.warc", lambda: chunked(2 * MB), "1,000,000 chunks"),
    Bomb("members.warc", lambda: capture(gzip.compress(b"") * MB, "gzip"), "100,000 members"),
    Bomb("no_dictionary.warc.zst", no_dictionary, "dictionary of the file cannot be read"),
    Bomb("dictionary.parquet", lambda: parquet(repeated(LONG[: 20 * MB], 1200), **WHOLE), OVER),
    Bomb("long_dictionary.parquet", lambda: parquet(repeated(LONG, 400), **WHOLE), OVER, large=True),
    Bomb("run_length.parquet", lambda: parquet(repeated("x", 100 * MB)), OVER, large=True),
    Bomb("nulls.parquet", lambda: parquet(pa.nulls(20 * MB, pa.string())), OVER),
    Bomb(
        "prefixes.parquet",
        lambda: parquet(pa.array([LONG] * 30), use_dictionary=False, column_encoding="DELTA_BYTE_ARRAY"),
        OVER,
        large=True,
    ),
    Bomb("page.parquet", lambda: parquet(pa.array(["a" * (400 * MB)]), use_dictionary=False), LENGTH, large=True),
    Bomb("laughs.xml", lambda: LAUGHS + b"\n<posts>\n" + POST + b"\n</posts>", "is no <posts>"),
    Bomb("laughs_inside.xml", lambda: b"<posts>\n" + LAUGHS + POST, "holds no <row>"),
    Bomb("outside.xml", lambda: b"<posts>" + OUTSIDE + POST + b"</posts>", "holds no <row>"),
    Bomb("undefined.xml", lambda: b"<posts>" + POST + b"</posts>", "undefined entity"),
    Bomb("attributes.xml", lambda: b"<posts>\n<row " + b'a="" ' * 3_000_000 + b"/>\n</posts>", "attributes"),
    Bomb("one_line.xml", lambda: b"<posts>" + POST.replace(b"&a;", b"ha") * 20_000 + b"</posts>", ""),
    Bomb("deep.html", lambda: b"<div>" * (3 * MB), "500,000 elements"),
    Bomb("deep_styles.html", lambda: b"<p><b>" * (2 * MB), "500,000 elements"),
    Bomb("wide.html", lambda: b"<p>a</p>" * (2 * MB), "500,000 elements"),
    Bomb("styles.html", lambda: "".join(f"<p><b id={n}>" for n in range(8000)).encode(), "1,000,000 elements"),
    Bomb("attributes.html", lambda: (b"<p " + b"a b c d e f " * 300 + b">") * 1500, "2,000,000 attributes"),
    Bomb("deep.jsonl", lambda: b'{"text": "a", "id": ' + b"[" * MB + b"]" * MB + b"}", "recursion"),
    Bomb("wide.jsonl", lambda: b'{"text": "a", "id": [' + b"[]," * (20 * MB) + b"0]}", "2,000,000 values"),
    Bomb("values.jsonl.gz", lambda: gzip.compress(b'{"text": "a", "n": [' + b"0," * 1_900_000 + b"0]}\n") * 60, OVER),
    Bomb("rows.jsonl.bz2", lambda: packed(4 << 30, b'{"text":"a"}    \n', b"", bz2.compress), OVER, large=True),
    Bomb("zeros.jsonl.xz", lambda: packed(4 << 30, b"\0", b"", lzma.compress), OVER, large=True),
    Bomb("dictionary.jsonl.xz", huge_dictionary, "Memory usage limit"),
    Bomb("rows.json.zst", lambda: frames(4 << 30, b'{"text":"a"},   ', b"["), OVER, large=True),
    Bomb("commas.json.zst", lambda: frames(4 << 30, b",", b"["), OVER),
    Bomb("brackets.json.zst", lambda: frames(4 << 30, b"[", b"["), "not read further", large=True),
    Bomb("closed.json.zst", lambda: frames(4 << 30, b"}", b"["), OVER, large=True),
    Bomb("string.json.zst", lambda: frames(4 << 30, b"a", b'[{"text": "'), LENGTH, large=True),
    Bomb(
        "keys.json", lambda: b"{" + b",".join(b'"k%d":1' % n for n in range(2 * MB)) + b"}", "500,000 keys", large=True
    ),
    Bomb("wide.json", lambda: b'[{"text": "a", "id": [' + b"[]," * (20 * MB) + b"0]}]", "2,000,000 values", large=True),
    Bomb("quotes.json", lambda: b'[{"text": "a", "id": "' + b'"' * (20 * MB) + b'"}]', "Expecting", large=True),
    Bomb("deep.json", lambda: b'[{"text": "a", "id": ' + b"[" * MB + b"]" * MB + b"}]", "recursion"),
    Bomb("zeros.tar.zst", lambda: frames(4 << 30, b"\0", member("a.txt", 4 << 30)), OVER),
    Bomb("empty.tar.gz", lambda: gzipped(1 << 30, member("a.txt", 0)), OVER, large=True),
    Bomb("name.tar.gz", lambda: gzipped(1 << 30, b"a", long_name()), "a name takes"),
    Bomb("zeros.zip", lambda: zipped(bytes(1 << 30), *(f"{n}.txt" for n in range(5))), LENGTH, large=True),
    Bomb("many.zip", lambda: zipped(b"", *(f"{n:08}.txt" for n in range(400_000))), "directory", large=True),
    Bomb("inner.zip", lambda: zipped(zipped(bytes(1 << 24), "a.txt"), "b.zip"), "archive within an archive"),
    Bomb("chapters.epub", lambda: book(b"<p>" + b"a " * (5 * MB), 20_000), LENGTH),
    Bomb("chapter.epub", lambda: book(bytes(256 << 20), 1), LENGTH),
    Bomb("wide.ipynb", lambda: b'{"cells": [' + b"{}," * (20 * MB) + b"{}]}", "2,000,000 values"),
    Bomb("messages.parquet", lambda: chats(repeated(LONG[: 20 * MB], 1200), 1200), OVER, large=True),
    Bomb("lists.parquet", lambda: chats(repeated("a", 60 * MB), 2), "lists of 60,000,000 values", large=True),
    Bomb("short_lists.parquet", lambda: chats(repeated("a", 15 * MB), 3), LENGTH, large=True),
    Bomb("messages.jsonl", lambda: b'{"messages": [' + b"[]," * (20 * MB) + b"0]}", "2,000,000 values"),
    Bomb("digits.jsonl", lambda: b'{"text": "a", "id": ' + b"9" * MB + b"}", "not readable JSON"),
]


def measure(bombs: Iterable[Bomb], folder: Path) -> dict[str, Taken]:
    """Make each file, and read it, each in a process of its own that is forked from this one."""
    found = {}
    for bomb in bombs:
        path = folder / bomb.name
        _forked(functools.partial(_make, bomb, path))
        (rows, bad, reasons), used = _forked(functools.partial(_read, path))
        found[bomb.name] = Taken(rows, bad, reasons, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)
        path.unlink()
    return found


def _forked(work: Callable[[], object]) -> tuple[Any, resource.struct_rusage]:
    """Work in a forked process; returns what came of it, by way of JSON, and what it took."""
    ours, theirs = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(ours)
        with os.fdopen(theirs, "w") as answer:
            json.dump(work(), answer)
        os._exit(0)
    os.close(theirs)
    with os.fdopen(ours) as answer:
        came = answer.read()
    _, _, used = os.wait4(child, 0)
    return json.loads(came), used


def run(path: Path, folder: Path) -> tuple[int, str, resource.struct_rusage]:
    """Run the pipeline over a file, in a process that holds nothing else; returns exit code, words and what it took."""
    recipe = folder / "recipe.yaml"
    recipe.write_text(f"corpus: a\nstore: store-{path.name}\nsources: [{{name: a, uri: {path}, license: CC0-1.0}}]\n")
    code = "from cuvee.commands import main; main()"
    with (folder / "said").open("w+") as said:
        command = [sys.executable, "-c", code, "run", str(recipe), "--runner", "plain"]
        child = subprocess.Popen(command, stdout=said, stderr=said)
        _, status, used = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        said.seek(0)
        return child.returncode, said.read(), used


def _make(bomb: Bomb, path: Path) -> None:
    path.write_bytes(bomb.make())


def _read(path: Path) -> tuple[int, int, list[str]]:
    rows, bad, reasons = 0, 0, list[str]()
    source = Source.model_validate({"name": "s", "uri": "x", "fields": _fields(path)})
    try:
        with path.open("rb") as stream:
            for part in opening.parts(source, Ingest(), str(path), str(path), stream):
                if isinstance(part, readers.BadRow):
                    bad, reasons = bad + 1, [*reasons[:1], part.reason]
                    continue
                if isinstance(part, str):
                    continue
                for batch in opening.read(source, Ingest(), part):
                    rows, bad = rows + batch.rows.height, bad + len(batch.bad)
                    told = [fault.reason for fault in (*batch.bad[:1], *batch.bad[-1:])]
                    reasons = [*reasons[:1], *told] if told else reasons
    except InputError as error:
        reasons.append(str(error))
    return rows, bad, reasons


def _fields(path: Path) -> dict[str, str]:
    """Say what a file of chats holds."""
    of_chats = path.name.startswith("messages.") or "lists." in path.name
    return {"messages": "messages"} if of_chats and path.suffix != ".json" and ".tar" not in path.name else {}


def _chosen(named: Iterable[str]) -> list[Bomb]:
    names = set(named)
    return [bomb for bomb in BOMBS if not names or bomb.name in names]


def _show_runs(named: Iterable[str]) -> None:
    base = 0.0
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        # The first run compiles what is compiled once.
        for bomb in [Bomb("words.txt", lambda: b"a few words", "")] * 2 + _chosen(named):
            path = folder / bomb.name
            _forked(functools.partial(_make, bomb, path))
            code, _, used = run(path, folder)
            cpu_s = used.ru_utime + used.ru_stime
            base = cpu_s if bomb.name == "words.txt" else base
            took = f"{max(cpu_s - base, 0):4.1f} s, {used.ru_maxrss / 1024:4.0f} MB"
            print(f"{bomb.name:23} {took}, exit code {code}", flush=True)
            path.unlink()


def _show(named: Iterable[str]) -> None:
    chosen = _chosen(named)
    with tempfile.TemporaryDirectory() as folder:
        for bomb in chosen:
            (taken,) = measure([bomb], Path(folder)).values()
            took = f"{taken.cpu_s:4.1f} s, {taken.peak_mb:4.0f} MB, {taken.rows:9,} rows, {taken.bad:9,} bad"
            print(f"{bomb.name:23} {took}", flush=True)


if __name__ == "__main__":
    _show_runs(sys.argv[2:]) if sys.argv[1:2] == ["--run"] else _show(sys.argv[1:])
