"""Files as people have them: a recipe is written over them, and publishes at the first try."""

import json
import random
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from plain import publish_plainly
from texts import documents

from cuvee.commands import main
from cuvee.schemas.parse import parse_recipe

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


def made_of(sentences: tuple[str, ...], count: int, join: str, seed: int) -> str:
    return join.join(random.Random(seed).choices(sentences, k=count))


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
    return folder


def init(*arguments: object) -> None:
    with pytest.raises(SystemExit) as end:
        main(["init", *map(str, arguments)])
    assert end.value.code == 0


def test_eight_sets_as_people_have_them_publish_at_the_first_try(eight: Path, tmp_path: Path) -> None:
    out = tmp_path / "recipe.yaml"
    init(*sorted(eight.iterdir()), "--out", out)
    report = publish_plainly(str(out), str(tmp_path / "store"))
    assert report.published
    assert len(report.sources) == 8  # chats lie in two formats
    assert {name: source.kept for name, source in report.sources.items() if not source.kept} == {}
    kept = {name: source.kept / source.rows for name, source in report.sources.items()}
    assert min(kept.values()) >= 0.7, kept
    assert sum(source.unreadable for source in report.sources.values()) == 0


def test_what_is_seen_of_the_files_stands_in_the_recipe(eight: Path, tmp_path: Path) -> None:
    out = tmp_path / "recipe.yaml"
    init(eight, "--out", out)
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
    assert "# drops 0% of" in text
