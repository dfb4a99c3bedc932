"""Words: the unit of amounts and bounds, and what texts are compared by, as their definitions say, in every script."""

import itertools
import random
import unicodedata

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cuvee.tasks import filters
from cuvee.tasks.generators._prompts import cut_at_sentence
from cuvee.tasks.ingest.normalise import measure
from cuvee.tasks.words import counts
from cuvee.tasks.words.counts import count_words, list_words
from cuvee.tasks.words.kernel import shingle_sets, word_hashes
from cuvee.tasks.words.words import SPACELESS, split_words

PIECES = ("a", "Wört", "3", "我", "ガ", "ｶﾞ", "々", "〇", "ไท", "ย์", "ខ្មែរ", "မြန်", "ກີບ", "ꆈ", "𠀀", "འ", "한", "ﬁ")
MARKS = ("。", "—", "...", "\u0301", "\u200b", "😀", "❤\ufe0f", " ", "\u3000", "\n", "\u00a0", "(", "₤")
TEXTS = st.one_of(st.lists(st.sampled_from((*PIECES, *MARKS)), max_size=30).map("".join), st.text(max_size=20))


def stands_alone(character: str) -> bool:
    letter = unicodedata.category(character)[0] == "L" or unicodedata.category(character) == "Nl"
    return letter and any(first <= ord(character) <= last for first, last in SPACELESS)


def plain_count(text: str) -> int:
    total = 0
    for piece in text.split():
        runs = [(alone, list(run)) for alone, run in itertools.groupby(piece, stands_alone)]
        if not any(alone for alone, _ in runs):
            total += 1
        for alone, run in runs if any(alone for alone, _ in runs) else []:
            total += len(run) if alone else any(unicodedata.category(mark)[0] in "LN" for mark in run)
    return total


def is_known(text: str) -> bool:
    return not any(unicodedata.category(mark) in ("Cn", "Co") or "\x1c" <= mark <= "\x1f" for mark in text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", 0),
        (" \u3000\n", 0),
        ("plain words, with marks — and\u00a0blanks", 7),
        ("我用Python3写代码。", 6),
        ("我 用 Python3", 3),
        ("二〇〇八年", 5),
        ("（2024）年", 2),
        ("。", 1),
        ("「」、。", 1),
        ("時々コーヒーを飲む", 9),
        ("ｶﾞｽ", 3),
        ("ภาษาไทย", 7),
        ("กี่๑๒", 2),
        ("ภาษา ๑๒", 5),
        ("ພາສາລາວ", 7),
        ("ភាសាខ្មែរ", 5),
        ("မြန်မာဘာသာ", 5),
        ("ꆈꌠꉙ", 3),
        ("ㄅㄆㄇ", 3),
        ("𠀀𪜀", 2),
        ("ꦗꦮ ᬩᬮᬶ", 4),
        ("한국어 문장입니다.", 2),
        ("བོད་སྐད་", 1),
        ("हिन्दी में लिखा है।", 4),
        ("Ｐｙｔｈｏｎ", 1),
        ("❤️ 😀", 2),
    ],
)
def test_the_words_of_a_text_are_those_counted_by_hand(text: str, words: int) -> None:
    assert count_words(pl.Series([text])).to_list() == [words]
    assert len(list(list_words(text))) == words


@settings(max_examples=200, deadline=None)
@given(st.lists(TEXTS.filter(is_known), max_size=6))
def test_the_kernel_counts_what_the_definition_counts(texts: list[str]) -> None:
    expected = list(map(plain_count, texts))
    assert count_words(pl.Series(texts, dtype=pl.String)).to_list() == expected
    assert [len(list(list_words(text))) for text in texts] == expected


def test_counting_takes_null_slices_and_chunks() -> None:
    series = pl.Series(["a b", None, "我们 c", "", "d"])
    assert count_words(series).to_list() == [2, None, 3, 0, 1]
    assert count_words(series[2:]).to_list() == [3, 0, 1]
    assert count_words(pl.concat([series[3:], series[:1]], rechunk=False)).to_list() == [0, 1, 2]
    assert count_words(pl.Series([], dtype=pl.String)).to_list() == []
    assert measure(series[2:3]).row(0) == (3, 4, 8)


def test_letters_and_digits_are_those_of_unicode() -> None:
    kinds = counts.kinds()
    for point in (*range(0xD800), *range(0xE000, 0x20000, 3)):
        category = unicodedata.category(chr(point))
        if category != "Cn":
            assert (kinds[point] >= counts.DIGIT) == (category[0] in "LN"), hex(point)
    assert np.count_nonzero(kinds == counts.ALONE) > 90_000


def test_chinese_prose_passes_the_rules_for_prose() -> None:
    chance = random.Random(7)
    lines = ["第3天，" + "".join(chr(chance.randrange(0x4E00, 0x5E00)) for _ in range(96)) + "。" for _ in range(16)]
    text = "\n".join(lines)
    shard = pl.DataFrame({"text": [text, text[:40], "我们 " * 60 + "ab " * 200]}).with_columns(source=pl.lit("s"))
    shard = shard.hstack(measure(shard["text"]))
    kinds = ["gopher_quality", "gopher_repetition", "fineweb", "c4", "length"]
    specs = [{"kind": kind} for kind in kinds] + [{"kind": "length", "min_words": 1584, "max_words": 1584}]
    specs[0]["min_stop_words"] = 0
    options = [filters.parse(spec, "filters") for spec in specs]
    measured = shard.hstack(filters.compute(shard, kinds))
    assert filters.judge(measured, options[:1]).to_list() == [
        None,
        "gopher_quality.min_words",
        "gopher_quality.mean_word_length",
    ]
    assert filters.judge(measured[:1], options).to_list() == [None]


def test_endings_are_no_repetition_and_sentences_are() -> None:
    subjects = "古い橋の欄干 夏に摘んだ葡萄 三冊目の帳簿 駅前の大時計 父が残した鉋 港へ続く坂道 雪の夜の足音 祖母の手紙"
    between = "霧が川面を覆う 蔵の鍵は錆びた 風鈴が三度鳴る 猫は屋根で眠る 薪を割る音がした 沖に帆が立つ 犬が走る 青空"
    pairs = zip(subjects.split(), between.split(), strict=True)
    prose = "".join(f"{subject}を調べることができます。{sentence}。" for subject, sentence in pairs)
    spam = "今日だけの特別な割引を逃さないように、ここを押して会員の登録を済ませてください。"
    shard = pl.DataFrame({"text": [prose, prose + spam * 20]})
    shard = shard.hstack(measure(shard["text"]))
    found = shard.hstack(filters.compute(shard, ["gopher_repetition"]))
    options = [filters.parse({"kind": "gopher_repetition"}, "filters")]
    assert filters.judge(found.with_columns(source=pl.lit("s")), options).to_list() == [
        None,
        "gopher_repetition.repeated_5",
    ]


def test_a_seed_without_spaces_is_cut_at_its_words() -> None:
    text = "河水流过。图书馆开放。" * 400
    assert cut_at_sentence(text, words=9) == "河水流过。图书馆开放。"
    assert sum(1 for _ in list_words(cut_at_sentence(text))) == 999
    assert cut_at_sentence("河水 流过图书馆开放", characters=6) == "河水 流过图"
    assert cut_at_sentence("河水 unbroken", characters=6) == "河水"


# ---- what texts are compared by

COMPARED = [
    ("हिन्दी में लिखा है।", ["हिन्दी", "में", "लिखा", "है"]),
    ("தமிழ் மொழி", ["தமிழ்", "மொழி"]),
    ("বাংলা ভাষা", ["বাংলা", "ভাষা"]),
    ("اللُّغَةُ العَرَبِيَّةُ", ["اللُّغَةُ", "العَرَبِيَّةُ"]),
    ("שָׁלוֹם עוֹלָם", ["שָׁלוֹם", "עוֹלָם"]),
    ("ที่นี่", ["ที่", "นี่"]),
    ("น้ำ", ["น้ํ", "า"]),
    ("ກິນເຂົ້າ", ["ກິ", "ນ", "ເ", "ຂົ້", "າ"]),
    ("ភាសាខ្មែរ", ["ភា", "សា", "ខ្", "មែ", "រ"]),
    ("မြန်မာ", ["မြ", "န်", "မာ"]),
    ("日本語のPython3コード", ["日", "本", "語", "の", "python3", "コ", "ー", "ド"]),
    ("か\u3099く", ["が", "く"]),
    ("葛\U000e0100城", ["葛\U000e0100", "城"]),
    ("tiếng Việt", ["tiếng", "việt"]),
    (unicodedata.normalize("NFD", "Tiếng Việt"), ["tiếng", "việt"]),
    ("I ❤\ufe0f you", ["i", "\ufe0f", "you"]),
    ("1\ufe0f\u20e3 x", ["1\ufe0f\u20e3", "x"]),
    ("२०२६ में", ["२०२६", "में"]),
    ("๒๐ ปี", ["๒", "๐", "ปี"]),
    ("İstanbul ILIK", ["i\u0307stanbul", "ilik"]),
    ("STRASSE Straße ẞ", ["strasse", "straße", "ß"]),
    ("ΟΔΟΣ ΣΟΦΟΣ", ["οδος", "σοφος"]),
    ("МОСКВА ЁЖ", ["москва", "ёж"]),
    ("x\u0303\u0323y_z", ["x\u0323\u0303y_z"]),
    ("\u0301a", ["\u0301a"]),
    ("बहु\u200dत", ["बहु", "त"]),
    ("don´t", ["don", "\u0301t"]),
    ("漢a\u0301字\u0301b", ["漢", "á", "字\u0301", "b"]),
]


@pytest.mark.parametrize(("text", "words"), COMPARED)
def test_a_combining_mark_continues_its_word(text: str, words: list[str]) -> None:
    expected = [unicodedata.normalize("NFC", word) for word in words]
    assert [unicodedata.normalize("NFC", word) for word in split_words(text)] == expected
    assert word_hashes(pa.array([text])).hashes.tolist() == word_hashes(pa.array([" ".join(words)])).hashes.tolist()


MARKED = st.lists(
    st.sampled_from(
        [
            *"aÉ_3कषहไทย漢かㄅကក ,\n",
            *"ािी्ँ़\u0e33\u0e35\u0e48\u3099\u0301\u0323\u064e\u05b8\u17d2\ufe0f",
            "\U000e0100",
            "´",
        ]
    )
)


@settings(max_examples=200, deadline=None)
@given(st.lists(MARKED.map("".join), max_size=5))
def test_the_kernel_splits_as_the_definition_does_at_marks(texts: list[str]) -> None:
    found, plain = word_hashes(pa.array(texts, pa.large_string())), [split_words(text) for text in texts]
    assert np.diff(found.offsets).tolist() == list(map(len, plain))
    words = pa.array([word for words in plain for word in words], pa.large_string())
    assert found.hashes.tolist() == [word_hashes(words[place : place + 1]).hashes[0] for place in range(len(words))]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("काका काकी चाचा चाची मामा मामी", "किकि कूकू चोचे चूची मूमी मेमे"),
        ("மகன் மகள் மரம் மலர் மழை மனம்", "முகன் மூகள் மிரம் மாலர் மேழை மொனம்"),
        ("কাকা কাকি চাচা চাচি মামা মামি", "কিকি কুকু চোচে চূচি মূমি মেমে"),
        ("عَلِمَ كَتَبَ ذَهَبَ رَجُلٌ قَلَمٌ مَلِكٌ", "عُلِمَ كُتِبَ ذُهِبَ رِجْلٌ قَلَّمَ مَلَكٌ"),
        ("คา ปา มา นา ลา ทา", "ค่า ป้า ม้า น่า ล้า ท่า"),
    ],
)
def test_texts_that_differ_in_marks_are_not_near(one: str, other: str) -> None:
    hashes, ends = shingle_sets(pa.array([one, other]), 2)
    assert len(set(hashes[: ends[1]]) & set(hashes[ends[1] :])) / len(set(hashes)) < 0.5
