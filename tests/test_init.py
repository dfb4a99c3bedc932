"""Files as people have them: a recipe is written over them, and publishes at the first try."""

import json
import random
import zipfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from plain import publish_plainly
from texts import documents

from cuvee.commands import main
from cuvee.schemas.parse import parse_recipe
from cuvee.schemas.recipe import Source

GERMAN = (
    "Die Stadt hat im vergangenen Jahr mehr Wohnungen gebaut als jemals zuvor.",
    "Der Bürgermeister erklärte am Montag, dass die Brücke über den Fluss erst im Herbst wieder geöffnet wird.",
    "Viele Händler auf dem Markt klagen über höhere Preise für Gemüse und Obst.",
    "Nach dem Regen der letzten Wochen sind die Felder südlich der Autobahn noch immer nass.",
    "Am Abend spielte die Mannschaft vor über zweitausend Zuschauern und gewann knapp.",
    "Die Schule bekommt ein neues Dach, und die Arbeiten sollen bis zum Sommer dauern.",
    "Ein Zug blieb am Dienstag wegen eines Schadens an der Leitung zwei Stunden lang stehen.",
    "Forscher der Universität untersuchen, wie sich Bienen in großen Städten verhalten.",
    "Das Museum zeigt bis Oktober Bilder aus dem achtzehnten Jahrhundert.",
    "Wer im Winter mit dem Fahrrad fährt, sollte auf Licht und gute Reifen achten.",
)
CHINESE = (
    "这座城市去年修建的住房比以往任何时候都多，许多家庭终于搬进了新家。",
    "市长星期一表示，河上的大桥要到秋天才能重新开放，居民需要绕道行走。",
    "市场上的许多商贩抱怨蔬菜和水果的价格越来越高，生意也越来越难做。",
    "连续几个星期下雨之后，高速公路南边的田地仍然很湿，农民无法播种。",
    "晚上球队在两千多名观众面前比赛，最后以微弱的优势赢得了胜利。",
    "学校将要换一个新的屋顶，工程预计会持续到夏天结束的时候。",
    "大学的研究人员正在研究蜜蜂在大城市里怎样生活和寻找食物。",
    "博物馆展出十八世纪的绘画作品，展览将一直持续到十月底。",
)
PAGE = """<?xml version="1.0"?><html xmlns="http://www.w3.org/1999/xhtml"><head><title>{n}</title></head>
<body><h1>Chapter {n}</h1>{body}</body></html>"""


def made_of(sentences: tuple[str, ...], count: int, join: str, seed: int) -> str:
    return join.join(random.Random(seed).choices(sentences, k=count))


def epub(path: Path, chapters: list[str]) -> None:
    """A small book: container, package with a spine, and its chapters."""
    names = [f"c{number}.xhtml" for number in range(len(chapters))]
    kind = "application/xhtml+xml"
    items = "".join(f'<item id="i{n}" href="{name}" media-type="{kind}"/>' for n, name in enumerate(names))
    spine = "".join(f'<itemref idref="i{n}"/>' for n in range(len(names)))
    with zipfile.ZipFile(path, "w") as book:
        book.writestr("mimetype", "application/epub+zip")
        book.writestr(
            "META-INF/container.xml",
            '<container xmlns="urn:oasis:names:tc:opendocument:xmlns:container" version="1.0"><rootfiles>'
            '<rootfile full-path="OEBPS/book.opf" media-type="application/oebps-package+xml"/></rootfiles></container>',
        )
        book.writestr(
            "OEBPS/book.opf",
            '<package xmlns="http://www.idpf.org/2007/opf" version="3.0"><metadata '
            'xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:title>A book</dc:title></metadata>'
            f"<manifest>{items}</manifest><spine>{spine}</spine></package>",
        )
        for number, (name, chapter) in enumerate(zip(names, chapters, strict=True)):
            body = "".join(f"<p>{part}</p>" for part in chapter.split("\n\n"))
            book.writestr(f"OEBPS/{name}", PAGE.format(n=number, body=body))


@pytest.fixture
def eight(tmp_path: Path) -> Path:
    """Eight sets in the shapes in which people publish them."""
    folder = tmp_path / "sets"
    folder.mkdir()
    texts = documents(140)
    english = [
        {"instruction": f"Explain the matter number {n} in a few words.", "input": "", "output": text}
        for n, text in enumerate(texts[:20])
    ]
    chinese = [
        {"instruction": f"请写一篇关于第{n}件事情的短文。", "input": "", "output": made_of(CHINESE, 6, "", n)}
        for n in range(20)
    ]
    (folder / "alpaca.json").write_text(json.dumps(english + chinese, ensure_ascii=False, indent=1))
    chats = [
        [{"role": "user", "content": f"What do you know of case {n}?"}, {"role": "assistant", "content": text}]
        for n, text in enumerate(texts[20:50])
    ]
    (folder / "chats.jsonl").write_text("".join(json.dumps({"messages": chat}) + "\n" for chat in chats[:15]))
    turns = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))
    pq.write_table(pa.table({"messages": pa.array(chats[15:], turns)}), folder / "chats.parquet")
    news = [f"{n};'{made_of(GERMAN, 9, ' ', n)}';'Lokales; Kultur'\n" for n in range(40)]
    (folder / "nachrichten.csv").write_text("".join(news))
    faq = [{"question": f"What is meant by item {n}?", "answer": text} for n, text in enumerate(texts[50:70])]
    (folder / "faq.jsonl").write_text("".join(json.dumps(row) + "\n" for row in faq))
    (folder / "manual").mkdir()
    for n, text in enumerate(texts[70:80]):
        (folder / f"manual/part{n}.rst").write_text(f"Part {n}\n======\n\n{text}\n")
    (folder / "books").mkdir()
    for n in range(4):
        body = "\n\n".join([*texts[80 + 5 * n : 85 + 5 * n], "The café of the château was closed, as ever."])
        (folder / f"books/book{n}.txt").write_bytes(body.encode("latin-1", "replace"))
    (folder / "articles.txt").write_text("".join(" ".join(text.split()) + "\n" for text in texts[100:120]))
    epub(folder / "novel.epub", texts[120:140])
    return folder


def init(*arguments: object) -> int | str | None:
    with pytest.raises(SystemExit) as end:
        main(["init", *map(str, arguments)])
    return end.value.code


def test_eight_sets_as_people_have_them_publish_at_the_first_try(eight: Path, tmp_path: Path) -> None:
    out = tmp_path / "recipe.yaml"
    assert init(*sorted(eight.iterdir()), "--out", out) == 0
    report = publish_plainly(str(out), str(tmp_path / "store"))
    assert report.published
    assert len(report.sources) == 9  # chats lie in two formats
    assert {name: source.kept for name, source in report.sources.items() if not source.kept} == {}
    kept = {name: source.kept / source.rows for name, source in report.sources.items()}
    assert min(kept.values()) >= 0.7, kept
    assert sum(source.unreadable for source in report.sources.values()) == 0


def test_what_is_seen_of_the_files_stands_in_the_recipe(eight: Path, tmp_path: Path) -> None:
    out = tmp_path / "recipe.yaml"
    assert init(eight, "--out", out) == 0
    text = out.read_text()
    recipe = parse_recipe(text)
    sources = {source.name: source for source in recipe.sources}
    news = sources["nachrichten"]
    assert (news.csv.delimiter, news.csv.quote, news.csv.header) == (";", "'", False)
    assert news.fields.text == "column_2"
    assert sources["alpaca"].fields.text == ("instruction", "input", "output")
    assert {source.fields.messages for name, source in sources.items() if name.startswith("chats")} == {"messages"}
    assert [source.encoding for source in sources.values() if "books" in source.uri[0]] == ["cp1252"]
    assert sources["articles"].records == "line"
    assert recipe.filters[0].model_dump()["keep"][0] == "en"
    assert {"de", "zh"} <= set(recipe.filters[0].model_dump()["keep"])
    assert sources["faq"].origin == "human"
    assert sources["alpaca"].origin == "unknown"
    assert "  # drops " in text


def sources_of(out: Path) -> dict[str, Source]:
    return {source.name: source for source in parse_recipe(out.read_text()).sources}


def test_books_of_one_folder_are_one_source_though_few_of_their_accents_tell_the_encoding(tmp_path: Path) -> None:
    texts = documents(6)
    (tmp_path / "books").mkdir()
    for n, (accents, encoding) in enumerate([("é à ñ ô", "cp1252"), ("“so”", "cp1252"), ("", "ascii")] * 2):
        (tmp_path / f"books/{n}.txt").write_bytes(f"{texts[n]}\n{accents}\n".encode(encoding, "replace"))
    (tmp_path / "books/utf8.txt").write_text(f"{texts[0]}\nZażółć gęślą jaźń\n")
    assert init(tmp_path / "books", "--out", tmp_path / "r.yaml") == 0
    found = sources_of(tmp_path / "r.yaml").values()
    assert sorted((len(source.uri), source.encoding) for source in found) == [(1, "auto"), (6, "cp1252")]


def test_dates_licences_and_lengths_are_told(tmp_path: Path) -> None:
    texts = documents(8)
    rows = [
        {"body": text, "date": 1_500_000_000 + n, "rights": "All to the public", "link": f"http://a.example/{n}"}
        for n, text in enumerate(texts)
    ]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "long.txt").write_text("\n\n".join(documents(200, seed=4)))
    assert init(tmp_path / "a.jsonl", tmp_path / "long.txt", "--out", tmp_path / "r.yaml") == 0
    found = sources_of(tmp_path / "r.yaml")
    fields = found["a"].fields
    assert (fields.text, fields.created, fields.license, fields.url) == ("body", "date", "rights", "link")
    assert found["a"].date_format == "epoch_s"
    assert found["a"].license_map == {"All to the public": "unknown"}
    assert (found["a"].max_words, found["long"].max_words) == (None, 2000)


def test_archives_are_looked_into_past_what_lies_beside_their_files(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "many.zip", "w") as archive:
        archive.writestr("__MACOSX/._0.jsonl", "{}")
        archive.writestr("README.md", "What this is.")
        for n, text in enumerate(documents(5)):
            archive.writestr(f"{n}.jsonl", json.dumps({"body": text}) + "\n")
    assert init(tmp_path / "many.zip", "--out", tmp_path / "r.yaml") == 0
    text = (tmp_path / "r.yaml").read_text()
    assert "of 6 rows: en 100%" in text
    assert sources_of(tmp_path / "r.yaml")["many"].fields.text == "body"


def test_rows_that_cannot_be_read_are_allowed_for_and_files_of_little_else_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [f"{n}\t{' '.join(text.split())}\n" for n, text in enumerate(documents(30))]
    (tmp_path / "a.tsv").write_text("".join([*rows, "a\tb\tc\n"]))
    (tmp_path / "b.jsonl").write_text("".join(json.dumps({"text": text}) + "\n{\n{\n" for text in documents(5)))
    (tmp_path / "c.txt").touch()
    assert init(*(tmp_path / name for name in ("a.tsv", "b.jsonl", "c.txt")), "--out", tmp_path / "r.yaml") == 0
    assert parse_recipe((tmp_path / "r.yaml").read_text()).ingest.max_bad_rows == 0.07
    told = capsys.readouterr().err
    assert "b.jsonl: 67% of a sample cannot be read" in told
    assert "c.txt: nothing is in it to read" in told
    assert list(sources_of(tmp_path / "r.yaml")) == ["a"]
    report = publish_plainly(str(tmp_path / "r.yaml"), str(tmp_path / "store"))
    assert (report.sources["a"].rows, report.sources["a"].unreadable) == (31, 1)


def test_a_recipe_that_stands_is_left_alone_and_files_that_cannot_be_read_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "sets").mkdir()
    (tmp_path / "sets/a.txt").write_text(documents(1)[0])
    (tmp_path / "sets/b.parquet").write_bytes(b"PAR1 and no more")
    (tmp_path / "sets/c.unknown").write_text("x")
    out = tmp_path / "r.yaml"
    assert init(tmp_path / "sets", "--out", out) == 0
    told = capsys.readouterr().err
    assert "passed over: " in told
    assert "b.parquet" in told
    assert "c.unknown" in told
    assert list(sources_of(out)) == ["a"]
    before = out.read_text()
    assert init(tmp_path / "sets", "--out", out) == 2
    assert out.read_text() == before
    assert init(tmp_path / "sets/b.parquet", "--out", tmp_path / "other.yaml") == 2
    assert not (tmp_path / "other.yaml").exists()
