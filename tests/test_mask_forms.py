"""Forms of personal data: each that docs/masks.md lists, in sentences of many scripts, and false masks on real text."""

import re
from pathlib import Path

import polars as pl
import pytest

from cuvee.tasks import readers
from cuvee.tasks.ingest.mask import KINDS, mask

DOC = Path(__file__).parents[1] / "docs" / "masks.md"
CORPORA = Path(__file__).parents[2] / "shared" / "corpora"
SECTIONS = {
    "E-mail": "email",
    "Bank accounts": "iban",
    "Cards": "card",
    "Network addresses": "ip",
    "Telephone numbers": "phone",
}


def listed():
    """Yield kind, text and what it becomes, of every example in the tables of docs/masks.md."""
    for section in DOC.read_text(encoding="utf-8").split("\n## ")[1:]:
        title, *lines = section.split("\n")
        kind = SECTIONS[title]
        for line in lines:
            cells = [re.findall(r"`([^`]+)`", cell) for cell in line.strip("|").split("|")]
            if not line.startswith("|") or not cells[1]:
                continue
            is_masked = len(cells) == 3
            becomes = (cells[2] or [f"<{kind.upper()}>"] * len(cells[1])) if is_masked else cells[1]
            yield from ((kind, text, expected) for text, expected in zip(cells[1], becomes, strict=True))


def masked(text):
    return mask(pl.Series([text]), KINDS)[0][0]


@pytest.mark.parametrize(("kind", "text", "expected"), list(listed()))
def test_every_form_of_the_docs_is_masked_and_what_it_leaves_out_is_not(kind, text, expected):
    assert masked(text) == expected
    assert masked(f"Zeile\n{text}\nZeile") == f"Zeile\n{expected}\nZeile"
    assert mask(pl.Series([text]), [kind])[0][0] == expected


def test_the_docs_list_forms_of_every_kind():
    kinds = [kind for kind, text, expected in listed() if text != expected]
    assert {kind: kinds.count(kind) > 5 for kind in KINDS} == dict.fromkeys(KINDS, True)


# A sentence a script: mailbox, telephone, card and account in the script's own letters and digits where it has them.
SCRIPTS = {
    "Latin": ("Écrivez à zoë.müller@exämple.fr, tél. 01 23 45 67 89.", "Écrivez à <EMAIL>, tél. <PHONE>."),
    "Cyrillic": ("Пишите: анна@почта.рф; телефон: 8 (495) 123-45-67!", "Пишите: <EMAIL>; телефон: <PHONE>!"),
    "Greek": ("Γράψτε στο χρήστης@παράδειγμα.ελ ή τηλ. 210 123 4567.", "Γράψτε στο <EMAIL> ή τηλ. <PHONE>."),
    "Armenian": ("Գրեք անի@օրինակ.հայ կամ հեռ. 010 123456։", "Գրեք <EMAIL> կամ հեռ. <PHONE>։"),
    "Georgian": ("მოგვწერეთ ნინო@მაგალითი.გე, ტელ. 322123456.", "მოგვწერეთ <EMAIL>, ტელ. <PHONE>."),
    "Hebrew": ("כתבו אל דנה@דוגמה.קום או טלפון: 052-123-4567.", "כתבו אל <EMAIL> או טלפון: <PHONE>."),
    "Arabic": ("راسلنا على سارة@مثال.مصر أو هاتف: ٠٥٠ ١٢٣ ٤٥٦٧.", "راسلنا على <EMAIL> أو هاتف: <PHONE>."),
    "Persian": ("بنویسید به نگار@نمونه.ایران، تلفن ۰۲۱ ۱۲۳۴ ۵۶۷۸.", "بنویسید به <EMAIL>، تلفن <PHONE>."),
    "Devanagari": ("लिखें: संपर्क@उदाहरण.भारत, फ़ोन: ०९८७६५ ४३२१०।", "लिखें: <EMAIL>, फ़ोन: <PHONE>।"),
    "Bengali": ("লিখুন: রিনা@উদাহরণ.ভারত, ফোন: ০১৭১২-৩৪৫৬৭৮।", "লিখুন: <EMAIL>, ফোন: <PHONE>।"),
    "Tamil": ("எழுதுங்கள்: கலை@எடுத்துக்காட்டு.இந்தியா, தொலைபேசி 044 2345 6789.", "எழுதுங்கள்: <EMAIL>, தொலைபேசி <PHONE>."),
    "Telugu": ("రాయండి: రవి@ఉదాహరణ.భారత్, ఫోన్: 040 2345 6789.", "రాయండి: <EMAIL>, ఫోన్: <PHONE>."),
    "Thai": ("เขียนถึง ผู้ใช้@ตัวอย่าง.ไทย หรือโทร ๐๘๑-๒๓๔-๕๖๗๘", "เขียนถึง <EMAIL> หรือโทร <PHONE>"),
    "Han": ("写信给zhang@例子.中国或拨13800138000，卡4111111111111111。", "写信给<EMAIL>或拨<PHONE>，卡<CARD>。"),
    "Kana": ("宛先は、さくら@れい.みんなまで。電話：０３－１２３４－５６７８", "宛先は、<EMAIL>まで。電話：<PHONE>"),
    "Hangul": ("문의: 민수@예시.한국으로, 전화 02-123-4567.", "문의: <EMAIL>으로, 전화 <PHONE>."),
    "Khmer": ("សូមទូរស័ព្ទ ០១២ ៣៤៥ ៦៧៨៩ ឬ sok@example.com.kh ។", "សូមទូរស័ព្ទ <PHONE> ឬ <EMAIL> ។"),
    "Ethiopic": ("ይጻፉ፦ almaz@example.et፣ ስልክ +251 91 123 4567።", "ይጻፉ፦ <EMAIL>፣ ስልክ <PHONE>።"),
}  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), list(SCRIPTS.values()), ids=list(SCRIPTS))
def test_personal_data_in_a_sentence_of_another_script_is_masked(text, expected):
    assert masked(text) == expected


@pytest.mark.parametrize(
    "digits",
    ["٠١٢٣٤٥٦٧٨٩", "۰۱۲۳۴۵۶۷۸۹", "०१२३४५६७८९", "০১২৩৪৫৬৭৮৯", "๐๑๒๓๔๕๖๗๘๙", "០១២៣៤៥៦៧៨៩", "０１２３４５６７８９"],
)
def test_numbers_in_digits_of_any_script_are_masked(digits):
    own = str.maketrans("0123456789", digits)
    for text, token in (
        ("+49 30 123456", "<PHONE>"),
        ("4111 1111 1111 1111", "<CARD>"),
        ("93.184.216.34", "<IP>"),
        ("GB82 WEST 1234 5698 7654 32", "<IBAN>"),
    ):
        assert masked(f"№: {text.translate(own)}.") == f"№: {token}."


@pytest.mark.parametrize("blank", ["\u00a0", "\u2009", "\u202f", "\u3000"])
def test_typographic_blanks_and_hyphens_stand_in_numbers_as_plain_ones_do(blank):
    assert masked(f"x +49{blank}30{blank}123456 y") == "x <PHONE> y"
    assert masked(f"x 4111{blank}1111{blank}1111{blank}1111{blank}12/27 y") == f"x <CARD>{blank}12/27 y"
    assert masked(f"x DE89{blank}3704{blank}0044{blank}0532{blank}0130{blank}00 y") == "x <IBAN> y"
    assert masked("x 202\u2011555\u20110123 y") == "x <PHONE> y"


def test_text_around_a_mask_keeps_its_own_characters():
    assert masked("１２３ ａｂｃ\u00a0jane@example.org – ٤") == "１２３ ａｂｃ\u00a0<EMAIL> – ٤"


# Real text is full of what is nearly a form; each of these stood in it.
LOOKALIKES = [
    "git.example.org/~jane/x@2x.png", "po/en@quot.po", "systemctl start getty@tty1.service", "lsof -i@host.example",
    "zip -i@include.lst foo", "pkg@1.2.3-beta.1", "memcpy@GLIBC_2.14", "Jun 6 2006:: all", "SP800-56Ar3 5.5.1.1 FFC",
    "HMAC-RIPEMD160 7.5.1.2 HMAC", "Whip post 1.5.3.4 maintenance", "dpkg (1.4.1.2) stable", "tests: 571 612 1056",
    "\\o{17777777777}", "1:10~+20191229111838+699", "ORCID 0000-0002-1825-0097", "telldir 3 2023-02-05", "041 117 132",
    "0041 0042 0043", "<final> 0639 0645 0649", "Section 22.1.4.1",
    "See Section\\ \\&24.2.2.3", "(see section\n25.1.5.1)", "Abschnitt 25.1.5.1", "Figure: 55.2.2.1",
    "https://user:pw@host.example.org:8080/", "5281 5282 5283 5284", "at12 the quick brown fox jumps over",
]  # fmt: skip


@pytest.mark.parametrize("text", LOOKALIKES)
def test_what_real_text_has_in_the_form_of_personal_data_stays(text):
    assert masked(text) == text
    assert masked(f"x {text} y") == f"x {text} y"


@pytest.mark.skipif(not CORPORA.exists(), reason="the shared corpora are not here")
def test_real_text_loses_only_addresses_and_numbers_of_telephones():
    found = dict.fromkeys(KINDS, 0)
    for path in sorted(CORPORA.glob("*/*")):
        compression = {".gz": "gzip", ".zst": "zstd"}.get(path.suffix)
        suffix = Path(path.name.removesuffix(".gz").removesuffix(".zst")).suffix
        kind = {".jsonl": "jsonl", ".parquet": "parquet", ".csv": "csv", ".txt": "text"}[suffix]
        with path.open("rb") as stream:
            for batch in readers.read(path, stream, kind, compression, {}):
                counts = mask(batch.rows["text"], KINDS)[1]
                found = {name: found[name] + counts[name] for name in KINDS}
    # Each of these was read: one mailbox is a server's login, all others are what their token says.
    assert found == {"email": 177, "ip": 1, "iban": 0, "card": 0, "phone": 8}
