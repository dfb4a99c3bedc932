"""Containers: archives and their members, compressions, books and notebooks, and formats that are not read."""

import bz2
import gzip
import io
import json
import lzma
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import polars as pl
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from cuvee.schemas.errors import InputError, RecipeError
from cuvee.schemas.recipe import Ingest, Source
from cuvee.tasks import readers
from cuvee.tasks.ingest import opening
from tests.plain import candidate, recipe_file

PACK = {".bz2": bz2.compress, ".xz": lzma.compress, ".gz": gzip.compress, ".zst": zstandard.compress}
LINES = b'{"text": "a"}\n{"text": "b"}\n'


def read(content: bytes, path: str) -> tuple[list[str], list[str]]:
    """Return the texts and the reasons of bad rows."""
    batches = list(readers.read(path, io.BytesIO(content), *readers.detect(path), {}))
    texts = [text for batch in batches for text in batch.rows["text"]]
    return texts, [bad.reason for batch in batches for bad in batch.bad]


# --- compressions ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", PACK)
def test_all_streams_of_a_compressed_file_are_read(suffix: str) -> None:
    pack = PACK[suffix]
    assert read(pack(LINES) + pack(LINES), f"x.jsonl{suffix}") == (["a", "b"] * 2, [])
    assert read(b"", f"x.jsonl{suffix}") == ([], [])


@pytest.mark.parametrize("suffix", [".bz2", ".xz"])
def test_a_truncated_or_false_file_keeps_what_came_before_and_is_told(suffix: str) -> None:
    content = PACK[suffix](LINES * 1000)
    for false in (content[:-20], LINES):
        texts, bad = read(false, f"x.jsonl{suffix}")
        assert len(bad) == 1
        assert bad[0].startswith("file ends early: ")
        assert len(texts) <= 2000


def test_warc_files_may_be_compressed_as_a_whole() -> None:
    record = (
        b"WARC/1.0\r\nWARC-Type: resource\r\nWARC-Target-URI: http://a/\r\nContent-Type: text/plain\r\n"
        b"Content-Length: 3\r\n\r\nabc\r\n\r\n"
    )
    for suffix in (".bz2", ".xz"):
        assert read(PACK[suffix](record * 2), f"x.warc{suffix}") == (["abc"] * 2, [])


# --- archives --------------------------------------------------------------------------------------------------------

FILES = {"b/x.jsonl": LINES, "a.txt": b"one", "c.jsonl.gz": gzip.compress(LINES), "é/long" + "n" * 150 + ".md": b"two"}


def zipped(files: dict[str, bytes]) -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.mkdir("b")
        for name, content in files.items():
            archive.writestr(name, content)
    return sink.getvalue()


def tarred(files: dict[str, bytes], form: int = tarfile.PAX_FORMAT) -> bytes:
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w", format=form) as archive:
        folder = tarfile.TarInfo("b")
        folder.type = tarfile.DIRTYPE
        archive.addfile(folder)
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return sink.getvalue()


def parts(content: bytes, path: str, **said: object) -> Iterator[tuple[str, list[str]] | str]:
    source = Source.model_validate({"name": "s", "uri": "x", **said})
    for part in opening.parts(source, Ingest(), path, path, io.BytesIO(content)):
        if isinstance(part, readers.Part):
            read = opening.read(source, Ingest(), part)
            yield part.name, [text for batch in read for text in batch.rows["text"]]
        else:
            yield part if isinstance(part, str) else part.reason


ARCHIVES: dict[str, Callable[[dict[str, bytes]], bytes]] = {
    "x.zip": zipped,
    "x.tar": tarred,
    "x.TGZ": lambda files: gzip.compress(tarred(files)),
    "x.tar.zst": lambda files: zstandard.compress(tarred(files, tarfile.GNU_FORMAT)),
    "x.tar.bz2": lambda files: bz2.compress(tarred(files)),
    "x.txz": lambda files: lzma.compress(tarred(files)),
}


@pytest.mark.parametrize("path", ARCHIVES)
def test_the_members_of_an_archive_are_files_in_its_order(path: str) -> None:
    wanted = [["a", "b"], ["one"], ["a", "b"], ["two"]]
    assert list(parts(ARCHIVES[path](FILES), path)) == [
        (f"{path}/{name}", texts) for name, texts in zip(FILES, wanted, strict=True)
    ]
    named = list(parts(ARCHIVES[path]({"README": b"all text"}), path, format="text"))
    assert named == [(f"{path}/README", ["all text"])]


@pytest.mark.parametrize("path", ["x.zip", "x.tar"])
def test_members_that_are_no_documents_are_counted_and_those_that_cannot_be_read_named(path: str) -> None:
    files = {
        "a.png": b"x",
        ".hidden.txt": b"x",
        "__MACOSX/a.txt": b"x",
        "b.pdf": b"x",
        "in.tar.gz": b"x",
        "a.txt": b"a",
    }
    assert list(parts(ARCHIVES[path](files), path)) == [
        "file of another format (.png)",
        "hidden file",
        "hidden file",
        f"{path}/b.pdf: PDF is not read here; make text of it first, for example with pdftotext (of poppler)",
        f"{path}/in.tar.gz is an archive within an archive",
        (f"{path}/a.txt", ["a"]),
    ]


def test_links_sparse_and_encrypted_members_are_named_and_not_read() -> None:
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w") as archive:
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.GNUTYPE_SPARSE):
            info = tarfile.TarInfo("../../etc/passwd")
            info.type, info.linkname = kind, "/etc/passwd"
            archive.addfile(info)
        info = tarfile.TarInfo("a.txt")
        info.size = 1
        archive.addfile(info, io.BytesIO(b"a"))
    told = list(parts(sink.getvalue(), "x.tar"))
    assert [str(one).rpartition(" is ")[2] for one in told[:-1]] == ["a link", "a link", "no file", "a sparse file"]
    assert told[-1] == ("x.tar/a.txt", ["a"])
    content = bytearray(zipped({"a.txt": b"a"}))
    for magic, at in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        content[content.rfind(magic) + at] |= 1
    assert list(parts(bytes(content), "x.zip")) == ["x.zip/a.txt is encrypted"]
    linked = zipfile.ZipInfo("l.txt")
    linked.external_attr = 0o120777 << 16
    with zipfile.ZipFile(sink := io.BytesIO(), "w") as made:
        made.writestr(linked, "/etc/passwd")
    assert list(parts(sink.getvalue(), "x.zip")) == ["x.zip/l.txt is a link"]


def test_a_directory_that_names_a_place_before_the_file_costs_its_members(tmp_path: Path) -> None:
    content = zipped({"a.txt": b"one"})
    (tmp_path / "x.zip").write_bytes(content[40:])
    with (tmp_path / "x.zip").open("rb") as stream:
        (member,) = readers.members("x.zip", stream)
    assert (member.name, member.content) == ("a.txt", None)
    assert "is damaged" in str(member.fault)


def test_a_damaged_member_costs_itself_and_a_broken_archive_its_rest() -> None:
    content = bytearray(zipped({"a.txt": b"a" * 50, "b.txt": b"b" * 50, "c.txt": b"c" * 50}))
    content[content.find(b"b.txt") + 6] ^= 0xFF
    told = list(parts(bytes(content), "x.zip"))
    assert [isinstance(one, str) for one in told] == [False, True, False]
    assert "x.zip/b.txt is damaged: " in str(told[1])
    with pytest.raises(InputError, match=r"x\.zip: not a whole zip file"):
        list(parts(bytes(content[:-30]), "x.zip"))
    cut = list(parts(tarred({"a.txt": b"a", "b.txt": b"b" * 5000})[:3000], "x.tar"))
    assert cut[0] == ("x.tar/a.txt", ["a"])
    assert "the rest of the archive file ends early: within a member" in str(cut[1])


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(["x.zip", "x.tar", "x.tar.gz", "x.tar.xz"]), st.data())
def test_no_bytes_make_an_archive_raise_anything_but_an_input_error(path: str, data: st.DataObject) -> None:
    plain = zipped(FILES) if path == "x.zip" else tarred(FILES)
    content = bytearray(plain)
    for _ in range(data.draw(st.integers(0, 6))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    content = content[: data.draw(st.integers(0, len(content)))]
    packed = {"x.tar.gz": gzip.compress, "x.tar.xz": lzma.compress}.get(path, bytes)(bytes(content))
    with suppress(InputError):
        for part in parts(packed, path):
            assert part


def test_rows_of_members_are_published_and_counted_and_an_archive_is_known_the_next_night(tmp_path: Path) -> None:
    prose = "The committee met in the old town hall and discussed the plan for the new bridge over the river. "
    texts = {f"t{n}.txt": (f"{prose} Number {n}. " + prose * n).encode() for n in range(3)}
    rows = json.dumps({"text": f"{prose} in lines", "id": "i"}).encode() + b"\n{\n"
    files = {**texts, "copy.txt": texts["t0.txt"], "rows.jsonl": rows, "x.png": b"x", "y.zip": b"x"}
    (tmp_path / "x.zip").write_bytes(zipped(files))
    recipe = recipe_file(
        tmp_path,
        "corpus: a\nholdout: {share: 0}\ndedup: {threshold: 1.0}\ningest: {max_bad_rows: 0.5}\n"
        "sources: [{name: s, uri: '*.zip', license: CC0-1.0}]\n",
    )
    first = candidate(recipe, str(tmp_path / "store"))
    report = first.publish()
    told = "\n".join(report.warnings)
    assert "x.zip/y.zip is an archive within an archive" in told
    assert "copy of another file 1" in told
    assert "file of another format (.png) 1" in told
    assert report.sources["s"].rows == report.sources["s"].kept + 2 == 6
    assert "x.zip/rows.jsonl: line 2" in told
    kept = first.rows.filter(pl.col("verdict").is_null())
    assert set(kept["source_id"]) == {"x.zip/t0.txt", "x.zip/t1.txt", "x.zip/t2.txt", "i"}
    (tmp_path / "x.zip").rename(tmp_path / "z.zip")
    again = candidate(recipe, str(tmp_path / "store"))
    assert set(again.rows["source_id"]) == {"z.zip/t0.txt", "z.zip/t1.txt", "z.zip/t2.txt", "i"}
    assert len(again.begun.pool.ingested) == 1


# --- books and notebooks ---------------------------------------------------------------------------------------------

PACKAGE = """<?xml version="1.0"?><package xmlns="http://www.idpf.org/2007/opf" xmlns:dc="http://purl.org/dc/elements/1.1/">
<metadata><dc:title>A  Book</dc:title><dc:date>1999-12-31T00:00:00Z</dc:date></metadata>
<manifest><item id="n" href="nav.xhtml" properties="nav" media-type="application/xhtml+xml"/>
<item id="b" href="text/b%20c.xhtml" media-type="application/xhtml+xml"/>
<item id="a" href="../a.xhtml" media-type="application/xhtml+xml"/>
<item id="i" href="i.png" media-type="image/png"/></manifest>
<spine><itemref idref="n"/><itemref idref="b"/><itemref idref="i"/><itemref idref="a"/></spine></package>"""
PAGE = '<?xml version="1.0"?><html xmlns="http://www.w3.org/1999/xhtml"><head><title/></head><body>{}</body></html>'
BOOK = {
    "mimetype": b"application/epub+zip",
    "META-INF/container.xml": b'<container><rootfiles><rootfile full-path="in/p.opf"/></rootfiles></container>',
    "in/p.opf": PACKAGE.encode(),
    "in/nav.xhtml": PAGE.format("<nav>contents</nav>").encode(),
    "in/text/b c.xhtml": PAGE.format("<h1>One</h1><p>Caf\u00e9 <i>au</i> lait.</p>").encode(),
    "a.xhtml": PAGE.format("<h1>Two</h1><p>End.</p>").encode(),
}


def test_a_book_is_its_spine() -> None:
    (batch,) = readers.read("x.epub", io.BytesIO(zipped(BOOK)), "epub", None, {})
    row = batch.rows.row(0, named=True)
    assert row["text"] == "One\n\nCafé au lait.\n\nTwo\n\nEnd."
    assert (row["id"], row["title"], row["created"]) == ("x.epub", "A Book", "1999-12-31")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"META-INF/container.xml": b"<a/>"}, "it has no file ''"),
        ({"in/p.opf": b"<package/>"}, "its spine names no chapter"),
        ({"in/p.opf": b'<!DOCTYPE a [<!ENTITY a "b">]><package/>'}, "declares entities"),
        ({"in/p.opf": PACKAGE.replace("../a", "../gone").encode()}, "it has no file 'gone.xhtml'"),
        ({"META-INF/encryption.xml": b'<e><CipherReference URI="a.xhtml"/></e>'}, "is encrypted"),
        ({"a.xhtml": b" " * (65 * 10**6)}, "max_row_mb"),
    ],
)
def test_what_is_wrong_with_a_book_is_told(change: dict[str, bytes], said: str) -> None:
    texts, bad = read(zipped({**BOOK, **change}), "x.epub")
    assert (texts, len(bad)) == ([], 1)
    assert said in bad[0]


def test_a_notebook_is_its_markdown_and_its_code() -> None:
    cells = [
        {"cell_type": "markdown", "source": ["# Title\n", "Text."]},
        {"cell_type": "code", "source": "print(1)\n", "outputs": [{"text": "SECRET"}]},
        {"cell_type": "code", "source": "'''\n```\n'''"},
        {"cell_type": "raw", "source": "raw"},
        {"cell_type": "code", "source": []},
    ]
    notebook = {"cells": cells, "metadata": {"language_info": {"name": "python"}, "title": "T"}, "nbformat": 4}
    (batch,) = readers.read("x.ipynb", io.BytesIO(json.dumps(notebook).encode()), "ipynb", None, {})
    row = batch.rows.row(0, named=True)
    assert row["text"] == "# Title\nText.\n\n```python\nprint(1)\n```\n\n````python\n'''\n```\n'''\n````"
    assert (row["id"], row["title"]) == ("x.ipynb", "T")
    old = {"worksheets": [{"cells": [{"cell_type": "code", "input": ["1"]}]}], "nbformat": 3}
    assert read(json.dumps(old).encode(), "x.ipynb") == (["```\n1\n```"], [])
    assert read(b"{}", "x.ipynb") == ([], ["no notebook: it has no cells"])
    assert read(b"[]", "x.ipynb") == ([], ["the file holds an array, not an object"])


# --- what is not read ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("path", "tool"), [("a.pdf", "pdftotext"), ("b/c.DOCX", "pandoc"), ("a.7z", "7z x")])
def test_a_format_that_is_not_read_is_named_with_a_tool(path: str, tool: str) -> None:
    with pytest.raises(RecipeError, match=rf"{path}: \w+ is not read here; .*{tool}"):
        readers.detect(path)
    with pytest.raises(RecipeError, match=rf"here: \w+ is not read here; .*{tool}"):
        readers.check(path.rpartition(".")[2].lower(), "here")
