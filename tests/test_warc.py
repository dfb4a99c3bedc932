"""Web archives: what public tools write, what damage costs, and what is kept of a page."""

import gzip
import html
import http.client
import http.server
import io
import json
import random
import re
import shutil
import subprocess
import threading
import zlib
from collections.abc import Iterator
from pathlib import Path

import brotli
import polars as pl
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from plain import ingested, publish_plainly, recipe_file
from texts import documents
from warcio.statusandheaders import StatusAndHeaders
from warcio.warcwriter import WARCWriter

from cuvee.tasks import filters, readers
from cuvee.tasks.filters.opt_out import reservations
from cuvee.tasks.readers import _members
from cuvee.tasks.readers._bytes import Bounds

TEXTS = documents(12)
DAY = "2021-05-06T07:08:09Z"


def page(number: int, head: str = "") -> bytes:
    paragraphs = "".join(f"<p>{html.escape(part)}</p>" for part in TEXTS[number].split("\n\n"))
    links = "".join(f'<a href="/{n}.html">Page {n}</a> ' for n in range(10))
    return (
        f'<!doctype html><html><head><meta charset="utf-8"><title>Page {number}</title>{head}</head><body>'
        f"<nav>{links}</nav><article><h1>Page {number}</h1>{paragraphs}</article><footer>Imprint</footer></body></html>"
    ).encode()


PAGES = {f"/{n}.html": (200, "text/html; charset=utf-8", page(n)) for n in range(10)} | {
    "/robots.txt": (200, "text/plain", b"User-agent: *\nAllow: /\n"),
    "/logo.png": (200, "image/png", b"\x89PNG\r\n\x1a\n" + bytes(range(256))),
    "/gone.html": (404, "text/html", b"<p>gone</p>"),
    "/old.html": (301, "text/html", b""),
}


class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        status, kind, body = PAGES.get(self.path, (404, "text/html", b"<p>nothing here</p>"))
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        if status == 301:
            self.send_header("Location", "/1.html")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def site() -> Iterator[tuple[str, int]]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server.server_address[0], server.server_address[1]
    server.shutdown()
    server.server_close()
    thread.join()


class Read:
    """All that a reader gives."""

    def __init__(self, content: bytes, name: str = "x.warc.gz", row_mb: int = 64) -> None:
        format, compression = readers.detect(name)
        batches = list(readers.read(name, io.BytesIO(content), format, compression, {}, row_mb=row_mb))
        self.rows = pl.concat([readers.SCHEMA.to_frame(), *(batch.rows for batch in batches)])
        self.bad = [bad for batch in batches for bad in batch.bad]
        self.skipped: dict[str, int] = {}
        for batch in batches:
            for kind, count in batch.skipped.items():
                self.skipped[kind] = self.skipped.get(kind, 0) + count

    @property
    def urls(self) -> list[str]:
        return self.rows["url"].to_list()

    @property
    def records(self) -> int:
        return self.rows.height + len(self.bad) + sum(self.skipped.values())


def record(block: bytes, kind: str = "response", url: str = "http://a.example/", **headers: str) -> bytes:
    """One WARC record, written by hand."""
    fields = {
        "WARC-Type": kind,
        "WARC-Record-ID": "<urn:uuid:00000000-0000-4000-8000-000000000000>",
        "WARC-Date": DAY,
        "WARC-Target-URI": url,
        "Content-Type": "application/http; msgtype=response",
        "Content-Length": str(len(block)),
    } | {name.replace("_", "-"): value for name, value in headers.items()}
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items() if value)
    return f"WARC/1.0\r\n{lines}\r\n".encode() + block + b"\r\n\r\n"


def response(body: bytes, *headers: str, status: str = "HTTP/1.1 200 OK", kind: str = "text/plain") -> bytes:
    return "\r\n".join([status, *([f"Content-Type: {kind}"] if kind else []), *headers, "", ""]).encode() + body


def archive(count: int, noise: int = 1500) -> list[bytes]:
    """Records of text that does not compress well, so that a byte anywhere matters."""
    draw = random.Random(7)
    return [
        record(response(f"text {n} ".encode() + draw.randbytes(noise).hex().encode()), url=f"http://a.example/{n}")
        for n in range(count)
    ]


def addresses(*numbers: int) -> list[str]:
    return [f"http://a.example/{n}" for n in numbers]


COMPRESS = {
    "x.warc.gz": gzip.compress,
    "x.warc.zst": zstandard.ZstdCompressor(write_checksum=True).compress,
    "x.warc": bytes,
}


# --- what public tools write -----------------------------------------------------------------------------------------


def written_by_warcio(site: tuple[str, int], gzipped: bool) -> bytes:
    out = io.BytesIO()
    writer = WARCWriter(out, gzip=gzipped)
    writer.write_record(writer.create_warcinfo_record("x.warc.gz", {"software": "a test"}))
    for path in PAGES:
        connection = http.client.HTTPConnection(*site)
        connection.request("GET", path)
        answer = connection.getresponse()
        url = f"http://{site[0]}:{site[1]}{path}"
        head = StatusAndHeaders(f"{answer.status} {answer.reason}", answer.getheaders(), protocol="HTTP/1.1")
        asked = StatusAndHeaders(f"GET {path} HTTP/1.1", [("Host", site[0])], is_http_request=True)
        said = writer.create_warc_record(
            url, "response", payload=io.BytesIO(answer.read()), http_headers=head, warc_headers_dict={"WARC-Date": DAY}
        )
        writer.write_request_response_pair(writer.create_warc_record(url, "request", http_headers=asked), said)
        connection.close()
    return out.getvalue()


@pytest.mark.parametrize("gzipped", [True, False])
def test_all_records_that_warcio_writes_are_accounted_for(site: tuple[str, int], gzipped: bool) -> None:
    read = Read(written_by_warcio(site, gzipped), "x.warc.gz" if gzipped else "x.warc")
    assert read.bad == []
    assert read.skipped == {"warcinfo": 1, "request": 14, "response of type image/*": 1, "response 301": 1,
                            "response 404": 1}  # fmt: skip
    assert read.urls == [f"http://{site[0]}:{site[1]}{path}" for path in [*list(PAGES)[:10], "/robots.txt"]]
    first = read.rows.row(0, named=True)
    assert first["id"] == first["url"]
    assert (first["title"], first["created"], first["date_trusted"]) == ("Page 0", DAY, True)
    assert (first["content_type"], first["opt_out"]) == ("text/html", None)
    words = re.findall(r"\w+", first["text"])
    assert set(re.findall(r"\w+", TEXTS[0])) <= set(words)
    assert not {"Imprint"} & set(words)


def test_all_records_that_wget_writes_are_accounted_for(site: tuple[str, int], tmp_path: Path) -> None:
    wget = shutil.which("wget")
    if wget is None:
        pytest.skip("wget is not installed")
    urls = [f"http://{site[0]}:{site[1]}{path}" for path in PAGES]
    for attempt in range(5):
        crawl = tmp_path / f"crawl-{attempt}"
        done = subprocess.run(
            [wget, "-q", "--tries=1", "--no-http-keep-alive", "--max-redirect=0", "--warc-file", str(crawl), *urls],
            cwd=tmp_path,
            env={"PATH": "/usr/bin:/bin", "no_proxy": "127.0.0.1"},
            timeout=120,
            check=False,
        )
        if done.returncode == 8:  # a server answered with an error, and none was unreachable
            break
    assert done.returncode == 8
    read = Read(crawl.with_suffix(".warc.gz").read_bytes())
    assert read.bad == []
    assert read.urls[:11] == [f"http://{site[0]}:{site[1]}{path}" for path in [*list(PAGES)[:10], "/robots.txt"]]
    assert read.skipped["request"] == 14
    assert {"warcinfo", "response 301", "response 404", "response of type image/*"} <= read.skipped.keys()
    assert read.rows["date_trusted"].to_list()[:11] == [True] * 11


def test_the_text_of_wet_files_is_taken_as_it_stands() -> None:
    text = "Erste Zeile äöü\nzweite Zeile"
    content = record(b"software: x", "warcinfo", Content_Type="application/warc-fields")
    content += record(text.encode(), "conversion", Content_Type="text/plain")
    read = Read(b"".join([gzip.compress(content)]), "CC-MAIN-20240101-00000.warc.wet.gz")
    assert read.rows["text"].to_list() == [text]
    assert read.skipped == {"warcinfo": 1}


ARC_HEAD = b"1 0 Somebody\nURL IP-address Archive-date Content-type Archive-length\n"
ARC_HEAD = b"filedesc://a.arc 0.0.0.0 20050102030405 text/plain %d\n%s\n" % (len(ARC_HEAD), ARC_HEAD)


@pytest.mark.parametrize("name", ["x.arc", "x.arc.gz"])
def test_arc_files_of_both_versions_are_read(name: str) -> None:
    block = response(page(1), kind="text/html")
    lines = [
        b"http://a.example/1 1.2.3.4 20050102030405 text/html %d\n" % len(block),
        b"http://a.example/2 1.2.3.4 20050102030405 text/html 200 - - 0 a.arc %d\n" % len(block),
        b"dns:a.example 1.2.3.4 20050102030405 text/dns %d\n" % len(block),
    ]
    parts = [ARC_HEAD, *(line + block + b"\n" for line in lines)]
    read = Read(b"".join(map(gzip.compress if name.endswith("gz") else bytes, parts)), name)
    assert read.urls == addresses(1, 2)
    assert read.rows["created"].str.slice(0, 10).to_list() == ["2005-01-02"] * 2
    assert (read.bad, read.skipped) == ([], {"warcinfo": 1, "dns": 1})


# --- damage ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["x.warc.gz", "x.warc.zst"])
@settings(max_examples=60, deadline=None)
@given(place=st.floats(0, 1, exclude_max=True), change=st.integers(1, 255), broken=st.integers(0, 5))
def test_a_changed_byte_costs_the_record_that_holds_it_and_no_other(
    name: str, place: float, change: int, broken: int
) -> None:
    members = [COMPRESS[name](part) for part in archive(6)]
    member = bytearray(members[broken])
    member[int(place * len(member))] ^= change
    members[broken] = bytes(member)
    read = Read(b"".join(members), name)
    others = addresses(*(n for n in range(6) if n != broken))
    assert [url for url in read.urls if url != f"http://a.example/{broken}"] == others
    # Some bytes of a gzip header mean nothing: then nothing is lost. Behind a record that is whole a false byte may be
    # what is left of another, and is told as one.
    assert read.records == 6 + (len(read.urls) == 6 and bool(read.bad))


@pytest.mark.parametrize("name", list(COMPRESS))
@settings(max_examples=80, deadline=None)
@given(place=st.floats(0, 1, exclude_max=True))
def test_a_file_cut_anywhere_loses_its_last_record_and_no_other(name: str, place: float) -> None:
    members = [COMPRESS[name](part) for part in archive(4, noise=200)]
    content = b"".join(members)
    cut = int(place * len(content))
    ends = [sum(map(len, members[: n + 1])) for n in range(4)]
    whole = sum(end <= cut for end in ends)
    read = Read(content[:cut], name)
    # Of a record of which only the line ends behind it are cut nothing is lost.
    assert read.urls[:whole] == addresses(*range(whole))
    assert len(read.urls) <= whole + (name == "x.warc")
    begun = cut > (ends[whole - 1] if whole else 0)
    assert read.records == whole + begun
    assert len(read.bad) == read.records - len(read.urls)


@pytest.mark.parametrize("length", ["12", "999", "99999", "99999999999", "x", "-4", ""])
@pytest.mark.parametrize("name", list(COMPRESS))
def test_a_wrong_content_length_costs_its_own_record(length: str, name: str) -> None:
    parts = archive(5)
    parts[2] = re.sub(rb"Content-Length: \d+", f"Content-Length: {length}".encode(), parts[2])
    read = Read(b"".join(map(COMPRESS[name], parts)), name)
    assert read.urls == addresses(0, 1, 3, 4)
    assert [bad.row for bad in read.bad] == [2]
    assert f"record 2 at byte {sum(len(COMPRESS[name](part)) for part in parts[:2])}" in read.bad[0].reason


def test_rubbish_between_records_is_one_bad_row() -> None:
    parts = archive(4)
    read = Read(b"".join([*parts[:2], b"this is no record\r\n\r\n", *parts[2:]]), "x.warc")
    assert read.urls == addresses(0, 1, 2, 3)
    assert [bad.row for bad in read.bad] == [2]
    assert "no record begins here" in read.bad[0].reason


def test_missing_blank_lines_between_records_cost_nothing() -> None:
    assert Read(b"".join(part[:-4] for part in archive(5)), "x.warc").urls == addresses(*range(5))


@pytest.mark.parametrize("form", ["whole gzip", "whole zstd", "blocks"])
def test_files_that_are_not_compressed_record_by_record_are_read_too(form: str) -> None:
    plain = b"".join(archive(6))
    if form == "blocks":
        content = b"".join(gzip.compress(plain[at : at + 1000]) for at in range(0, len(plain), 1000))
    else:
        content = gzip.compress(plain) if form == "whole gzip" else zstandard.compress(plain)
    assert Read(content).urls == addresses(*range(6))
    if form == "whole gzip":
        read = Read(content[: len(content) // 2])
        assert read.urls == addresses(*range(len(read.urls)))
        assert (len(read.urls) >= 2, len(read.bad)) == (True, 1)


def test_a_file_named_for_another_compression_is_read_by_its_bytes() -> None:
    content = b"".join(gzip.compress(part) for part in archive(3))
    assert Read(content, "x.warc").urls == Read(content, "x.warc.zst").urls == addresses(0, 1, 2)
    assert Read(gzip.decompress(content), "x.warc.gz").urls == addresses(0, 1, 2)


@pytest.mark.parametrize("packed", [False, True])
def test_zstd_with_a_dictionary_frame_is_read(packed: bool) -> None:
    parts = [record(response(page(n), kind="text/html"), url=f"http://a.example/{n}") for n in range(10)]
    trained = zstandard.train_dictionary(4096, [part[at : at + 400] for part in parts for at in range(0, 4000, 100)])
    dictionary = zstandard.compress(trained.as_bytes()) if packed else trained.as_bytes()
    frame = (0x184D2A5D).to_bytes(4, "little") + len(dictionary).to_bytes(4, "little") + dictionary
    compressor = zstandard.ZstdCompressor(dict_data=trained, write_checksum=True)
    extension = (0x184D2A50).to_bytes(4, "little") + (3).to_bytes(4, "little") + b"abc"
    content = frame + b"".join(compressor.compress(part) + extension for part in parts)
    read = Read(content, "x.warc.zst")
    assert (read.urls, read.bad) == (addresses(*range(10)), [])
    broken = bytearray(frame + b"".join(map(compressor.compress, parts)))
    broken[len(frame) + len(compressor.compress(parts[0])) + 200] ^= 0x40
    assert Read(bytes(broken), "x.warc.zst").urls == addresses(0, *range(2, 10))


def test_a_record_over_the_limit_costs_itself_and_images_over_it_are_no_bad_rows() -> None:
    large = b"word " * 400_000
    parts = archive(4)
    parts[1] = record(response(large), url="http://a.example/1")
    parts[2] = record(response(large, kind="image/png"), url="http://a.example/2")
    for name, compress in COMPRESS.items():
        read = Read(b"".join(map(compress, parts)), name, row_mb=1)
        assert read.urls == addresses(0, 3)
        assert [(bad.row, "the record is over" in bad.reason) for bad in read.bad] == [(1, True)]
        assert read.skipped == {"response of type image/*": 1}


def test_memory_is_bounded_by_a_record_however_large_a_compressed_file() -> None:
    class Counting(io.RawIOBase):
        """Endless members; tells how many bytes were asked for."""

        member = gzip.compress(archive(1)[0])
        given = 0

        def read(self, size: int = -1) -> bytes:
            self.given += len(self.member)
            return self.member

    stream = Counting()
    pieces = _members.pieces(stream, lambda head: head.startswith(b"WARC/"), "gzip", Bounds())  # type: ignore[arg-type]
    for _ in range(50):
        next(pieces)
    assert stream.given < 60 * len(stream.member) + (1 << 18) * 2


# --- HTTP ------------------------------------------------------------------------------------------------------------

BODY = TEXTS[11].encode()
RAW_DEFLATE = zlib.compress(BODY)[2:-4]
CHUNKED = b"".join(
    b"%x;x=y\r\n%s\r\n" % (len(BODY[at : at + 300]), BODY[at : at + 300]) for at in range(0, len(BODY), 300)
)
CHUNKED += b"0\r\nTrailer: x\r\n\r\n"


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (gzip.compress(BODY), ["Content-Encoding: gzip"]),
        (gzip.compress(BODY[:500]) + gzip.compress(BODY[500:]), ["Content-Encoding: x-gzip"]),
        (zlib.compress(BODY), ["Content-Encoding: deflate"]),
        (RAW_DEFLATE, ["Content-Encoding: deflate"]),
        (brotli.compress(BODY), ["Content-Encoding: br"]),
        (zstandard.compress(BODY), ["Content-Encoding: zstd"]),
        (zstandard.compress(gzip.compress(BODY)), ["Content-Encoding: gzip, zstd"]),
        (BODY, ["Content-Encoding: gzip"]),
        (BODY, ["Content-Encoding: identity"]),
        (CHUNKED, ["Transfer-Encoding: chunked"]),
        (BODY, ["Transfer-Encoding: chunked"]),
    ],
)
def test_bodies_are_decoded_and_headers_that_lie_about_them_are_not_believed(body: bytes, headers: list[str]) -> None:
    read = Read(record(response(body, *headers)), "x.warc")
    assert (read.rows["text"].to_list(), read.bad) == ([BODY.decode()], [])


@pytest.mark.parametrize(
    ("body", "headers"),
    [(gzip.compress(BODY)[:-60], ["Content-Encoding: gzip"]), (CHUNKED[:-200], ["Transfer-Encoding: chunked"])],
)
def test_a_body_that_ends_early_gives_what_is_there(body: bytes, headers: list[str]) -> None:
    text = Read(record(response(body, *headers)), "x.warc").rows["text"][0]
    assert BODY.decode().startswith(text)
    assert 300 < len(text) < len(BODY)


@pytest.mark.parametrize(
    ("body", "encoding", "reason"),
    [
        (gzip.compress(BODY)[:-8] + bytes(8), "gzip", "compressed body is broken"),
        (b"no brotli at all", "br", "compressed body is broken"),
        (BODY, "compress", "content encoding 'compress'"),
        (gzip.compress(bytes(80 << 20)), "gzip", "64 MB"),
        (zstandard.compress(bytes(80 << 20)), "zstd", "64 MB"),
    ],
)
def test_a_body_that_cannot_be_decoded_is_a_bad_row(body: bytes, encoding: str, reason: str) -> None:
    read = Read(record(response(body, f"Content-Encoding: {encoding}")) + archive(1)[0], "x.warc")
    assert read.urls == addresses(0)
    assert reason in read.bad[0].reason


@pytest.mark.parametrize(
    ("block", "kept"),
    [
        (response(BODY, status="HTTP/2 200"), True),
        (response(BODY, status="HTTP/1.1 200"), True),
        (response(BODY, status="HTTP/1.0 203 Fine by me"), True),
        (response(BODY).replace(b"\r\n", b"\n"), True),
        (b"Content-Type: text/plain\r\n\r\n" + BODY, True),
        (b"<!DOCTYPE html><html><body><p>" + BODY, True),
        (response(b"", status="HTTP/1.1 204 No Content"), True),
        (response(BODY, kind="TEXT/PLAIN;charset=UTF-8"), True),
        (response(BODY, kind=""), False),
        (response(BODY, status="HTTP/1.1 404 Not Found"), False),
        (response(BODY, kind="application/pdf"), False),
    ],
)
def test_status_and_type_decide_what_is_a_document(block: bytes, kept: bool) -> None:
    read = Read(record(block), "x.warc")
    assert (read.rows.height, read.bad, read.records) == (int(kept), [], 1)


def test_a_status_line_that_is_none_is_a_bad_row() -> None:
    assert "status line" in Read(record(response(BODY, status="HTTP/1.1 OK")), "x.warc").bad[0].reason


# --- character sets --------------------------------------------------------------------------------------------------

RUSSIAN = "Река течёт мимо старого города, и люди идут по мосту. " * 6
FRENCH = "L'été dernier, la forêt était très élevée à côté du café. " * 6
JAPANESE = "川は古い町のそばを流れ、人々は橋を渡る。" * 10


@pytest.mark.parametrize(
    ("text", "encoding", "header", "meta"),
    [
        (RUSSIAN, "utf-8", None, None),
        (RUSSIAN, "utf-8", "iso-8859-1", "windows-1251"),
        (RUSSIAN, "windows-1251", "windows-1251", None),
        (RUSSIAN, "windows-1251", None, "CP1251"),
        (RUSSIAN, "koi8-r", "KOI8-R", "utf-8"),
        (RUSSIAN, "windows-1251", "utf-8", "windows-1251"),
        (RUSSIAN, "koi8-r", None, None),
        (FRENCH, "cp1252", None, None),
        (FRENCH + "“quoted” €", "cp1252", "ISO-8859-1", None),
        (FRENCH, "latin-1", "no-such-charset", "latin1"),
        (JAPANESE, "cp932", "Shift_JIS", None),
        (JAPANESE, "euc-jp", None, "x-euc-jp"),
        (JAPANESE, "iso2022_jp", "iso-2022-jp", None),
        (JAPANESE, "utf-16", None, None),
        (RUSSIAN, "utf-8-sig", "windows-1251", None),
    ],
)
def test_pages_are_decoded_as_browsers_do_and_better(
    text: str, encoding: str, header: str | None, meta: str | None
) -> None:
    head = f'<meta http-equiv="Content-Type" content="text/html; charset={meta}">' if meta else ""
    body = f"<html><head>{head}</head><body><p>{text}</p></body></html>".encode(encoding)
    kind = "text/html" + (f"; charset={header}" if header else "")
    read = Read(record(response(body, kind=kind)), "x.warc")
    assert (read.rows["text"].to_list(), read.bad) == ([text.strip()], [])


def test_half_a_character_at_the_end_of_a_cut_page_is_replaced_and_the_page_is_kept() -> None:
    text = Read(record(response(RUSSIAN.encode()[:-2], kind="text/plain; charset=utf-8")), "x.warc").rows["text"][0]
    assert text == RUSSIAN[:-2] + "\ufffd" or text == RUSSIAN[:-2]


def test_bytes_that_fit_no_character_set_are_a_bad_row() -> None:
    body = random.Random(3).randbytes(3000)
    read = Read(record(response(body, kind="text/plain; charset=utf-8")), "x.warc")
    assert read.rows.height == 0
    assert "character set" in read.bad[0].reason


# --- opt-outs --------------------------------------------------------------------------------------------------------


def test_the_opt_outs_of_headers_and_page_are_kept_raw_and_in_one_order() -> None:
    block = response(
        page(1, '<meta name="robots" content="NOAI"><meta name="tdm-policy" content="https://a.example/p.json">'),
        "X-Robots-Tag: noindex",
        "tdm-reservation: 1",
        "X-Robots-Tag: GPTBot: none",
        "Content-Signal: search=yes, ai-train=no",
        kind="text/html",
    )
    assert Read(record(block), "x.warc").rows["opt_out"].to_list() == [
        '{"header":{"content-signal":["search=yes, ai-train=no"],"tdm-reservation":["1"],'
        '"x-robots-tag":["noindex","GPTBot: none"]},"meta":{"robots":["NOAI"],'
        '"tdm-policy":["https://a.example/p.json"]}}'
    ]


def test_links_to_licences_are_kept_raw_and_other_links_are_not() -> None:
    links = '<link rel="License" type="application/rsl+xml" href="/l.xml"><link rel="license" href="/other.html">'
    block = response(
        page(1, links),
        'Link: <https://a.example/l.xml>; rel="license"; type="application/rsl+xml"',
        "Link: </style.css>; rel=preload",
        "Content-Usage: train-ai=n",
        kind="text/html",
    )
    (said,) = Read(record(block), "x.warc").rows["opt_out"].to_list()
    assert json.loads(said) == {
        "header": {
            "content-usage": ["train-ai=n"],
            "link": ['<https://a.example/l.xml>; rel="license"; type="application/rsl+xml"'],
        },
        "meta": {"rsl-license": ["/l.xml"]},
    }
    assert reservations(said) == {"ai_train", "rsl"}


@pytest.mark.parametrize(
    ("said", "found"),
    [
        ({"meta": {"robots": ["index, follow, max-snippet:-1"]}}, set()),
        ({"meta": {"robots": ["noai, noimageai"]}}, {"noai", "noimageai"}),
        ({"meta": {"robots": ["NONE"]}}, {"noindex"}),
        ({"meta": {"googlebot": ["noindex"]}}, set()),
        ({"meta": {"ccbot": ["noindex"]}}, {"ai_agent"}),
        ({"meta": {"bingbot": ["noarchive"]}}, {"noarchive"}),
        ({"meta": {"tdm-reservation": ["0"]}}, set()),
        ({"meta": {"tdm-reservation": ["0"]}, "header": {"tdm-reservation": ["1"]}}, {"tdm"}),
        ({"header": {"x-robots-tag": ["otherbot: noindex, nofollow"]}}, set()),
        ({"header": {"x-robots-tag": ["gptbot: nofollow, noindex"]}}, {"ai_agent"}),
        ({"header": {"x-robots-tag": ["unavailable_after: 25 Jun 2030, noindex"]}}, {"noindex"}),
        ({"header": {"content-signal": ["ai-train=yes"]}}, set()),
        ({"header": {"content-signal": ["search=yes;AI-Train = no"]}}, {"ai_train"}),
        ({"header": {"content-usage": ["train-ai=n"]}}, {"ai_train"}),
    ],
)
def test_a_reservation_is_told_from_an_invitation(said: dict[str, object], found: set[str]) -> None:
    assert reservations(json.dumps(said)) == found


def test_the_filter_drops_what_speaks_of_training_and_on_demand_what_does_not() -> None:
    said = ['{"meta":{"robots":["noai"]}}', '{"meta":{"robots":["noindex"]}}', None]
    shard = pl.DataFrame({"opt_out": said, "url": None, "doc_id": ["a", "b", "c"], "bytes": [1, 1, 1]})
    measured = filters.compute(shard, ["opt_out"]).with_columns(shard["doc_id"])

    def verdicts(**options: object) -> list[str | None]:
        return filters.judge(measured, [filters.parse({"kind": "opt_out", **options}, "filters.0")]).to_list()

    assert verdicts() == ["opt_out.noai", None, None]
    assert verdicts(signals=["noindex", "tdm"]) == [None, "opt_out.noindex", None]


# --- the pipeline ----------------------------------------------------------------------------------------------------

RECIPE = """
corpus: crawl
holdout: {share: 0}
sources: [{name: web, uri: '*.warc*', license: CC0-1.0, domain: news}]
filters: [{kind: opt_out}]
ingest: {max_bad_rows: 0.2}
"""


def test_a_crawl_goes_through_the_pipeline_and_every_record_is_accounted_for(tmp_path: Path) -> None:
    url = "http://a.example/{}".format
    parts = [
        record(b"software: x", "warcinfo", Content_Type="application/warc-fields"),
        *(record(response(page(n), kind="text/html"), url=url(n)) for n in range(8)),
        record(response(page(8, '<meta name="robots" content="noai">'), kind="text/html"), url=url(8)),
        record(response(b"<html><body><nav><a href='/'>Home</a></nav></body></html>", kind="text/html"), url=url(9)),
        record(response(b"gone", status="HTTP/1.1 404 Not Found"), url=url(10)),
        record(response(b"\xff\xfe"[:1] * 900 + b"\x81" * 900, kind="text/plain; charset=utf-8"), url=url(11)),
    ]
    members = list(map(gzip.compress, parts))
    members[4] = members[4][:-9] + bytes(9)
    (tmp_path / "a.warc.gz").write_bytes(b"".join(members))
    recipe = recipe_file(tmp_path, RECIPE)
    store = f"memory://{tmp_path.name}"
    begun = ingested(recipe, store)
    (record_of_work,) = begun.pool.ingested
    (file,) = record_of_work.report.files
    assert (file.rows, file.unreadable) == (9, 2)
    assert file.skipped == {"response 404": 1, "warcinfo": 1}
    assert file.records == len(parts)
    assert any("2 of 13 records hold no document: response 404 1, warcinfo 1" in told for told in begun.warnings)
    report = publish_plainly(recipe, store)
    assert report.documents == 7
    assert report.steps["ingest"].model_dump(by_alias=True) == {
        "in": 11,
        "out": 8,
        "dropped": {"unreadable": 2, "empty": 1},
    }
    assert report.steps["filter"].dropped == {"opt_out.noai": 1}


def test_the_date_of_a_capture_is_trusted_and_the_date_of_a_page_is_not(tmp_path: Path) -> None:
    (tmp_path / "a.warc").write_bytes(record(response(page(1), kind="text/html"), url="http://a.example/1"))
    meta = '<meta property="article:published_time" content="2015-06-07">'
    (tmp_path / "b.html").write_bytes(page(2, meta))
    text = RECIPE.replace("'*.warc*'", "['*.warc', '*.html']")
    rows = ingested(recipe_file(tmp_path, text), f"memory://{tmp_path.name}-dates").decide().sort("created")
    assert rows.select("created", "trusted_date").cast(pl.String).rows() == [
        ("2015-06-07", "false"),
        ("2021-05-06", "true"),
    ]
    assert rows["source_id"].to_list() == ["b.html", "http://a.example/1"]
    assert ["date" in (evidence or "") for evidence in rows["evidence"].to_list()] == [False, True]


@pytest.mark.parametrize(("day", "trusted"), [("1970-01-01", False), ("1980-01-04", False), ("1997-02-03", True)])
def test_the_date_of_a_crawler_without_a_clock_is_not_trusted(day: str, trusted: bool) -> None:
    content = record(response(b"Some words."), **{"WARC-Date": f"{day}T00:00:00Z"})
    assert Read(content, "x.warc").rows["date_trusted"].to_list() == [trusted]


def test_a_dictionary_that_promises_too_much_is_refused_before_memory_is_taken() -> None:
    # A frame header that names a content of 2 TB, and one empty block.
    promise = b"\x28\xb5\x2f\xfd\xc0\x50" + (1 << 41).to_bytes(8, "little") + b"\x01\x00\x00"
    frame = (0x184D2A5D).to_bytes(4, "little") + len(promise).to_bytes(4, "little") + promise
    read = Read(frame + zstandard.compress(record(response(b"Some words."))), "x.warc.zst")
    assert read.urls == []
    assert "dictionary of the file cannot be read: it says that it unpacks to 2,199,023,255,552 bytes" in str(read.bad)


def test_a_page_crawled_again_replaces_the_older_capture(tmp_path: Path) -> None:
    recipe, store = recipe_file(tmp_path, RECIPE), f"memory://{tmp_path.name}-again"
    (tmp_path / "a.warc").write_bytes(record(response(page(1), kind="text/html")))
    publish_plainly(recipe, store)
    (tmp_path / "b.warc").write_bytes(record(response(page(2), kind="text/html")))
    rows = ingested(recipe, store).decide()
    assert sorted(rows["verdict"].to_list(), key=str) == [None, "superseded"]
