"""Normalise: one form for each text, and what C2PA manifests leave behind."""

import hashlib
import unicodedata

import polars as pl
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cuvee.tasks.ingest import c2pa
from cuvee.tasks.ingest.normalise import _PERHAPS_NOT_NFC, doc_ids, measure, normalise
from cuvee.tasks.words.counts import list_words


def selectors(content: bytes) -> str:
    return "".join(chr(0xFE00 + byte if byte < 16 else 0xE0100 + byte - 16) for byte in content)


def encode(payload: bytes, version: int = 1, padding: bytes = b"") -> str:
    """Wrap a manifest store as C2PA 2.4 A.8 says."""
    header = b"C2PATXT\0" + bytes([version]) + len(payload).to_bytes(4, "big")
    return "\ufeff" + selectors(header + payload + padding)


def store(content: bytes) -> bytes:
    """Make a JUMBF superbox; its inside matters to nobody here."""
    return (len(content) + 8).to_bytes(4, "big") + b"jumb" + content


SOURCE_TYPE = b"http://cv.iptc.org/newscodes/digitalsourcetype/"
SYNTHETIC = store(b"c2pa.actions digitalSourceType" + SOURCE_TYPE + b"trainedAlgorithmicMedia")
COMPOSITE = store(b"digitalSourceType" + SOURCE_TYPE + b"compositeWithTrainedAlgorithmicMedia")
HUMAN = store(b"digitalSourceType" + SOURCE_TYPE + b"humanEdits" + bytes(range(256)))

# Text made of what normalisation looks for, so that its rules meet each other.
PIECES = [
    "\ufeff", " ", "\n", "\r", "\t", "\x00", "\x0b", "\x0c", "\x1f", "\x7f", "\x85", "\u00a0", "\u2028", "\u3000", "e",
    "\u0301", "\u0323", "\u2000", "\u212b", "\u1161", "\u1100", "\u11a8", "\ufe0f", "\u200d", "word", "\U0001d15e",
    "\u0958", "\uf900", encode(HUMAN), encode(HUMAN)[:14], encode(HUMAN)[14:], encode(HUMAN)[:40],
]  # fmt: skip
texts = st.one_of(
    st.lists(st.sampled_from(PIECES), max_size=12).map("".join), st.text(st.characters(codec="utf-8"), max_size=60)
)


@given(st.lists(texts, max_size=8))
@example([encode(HUMAN)[:14] + encode(HUMAN) + encode(HUMAN)[14:]])
@settings(max_examples=300, deadline=None)
def test_normalising_twice_changes_nothing(rows):
    once = normalise(pl.Series(rows, dtype=pl.String))
    twice = normalise(once["text"])
    assert twice["text"].to_list() == once["text"].to_list()
    assert twice["c2pa"].null_count() == len(rows)
    for before, text, counts in zip(rows, once["text"], measure(once["text"]).iter_rows(), strict=True):
        assert unicodedata.is_normalized("NFC", text)
        assert {character for character in text if character < " " or character == "\x7f"} <= {"\n", "\t"}
        assert counts == (len(list(list_words(text))), len(text), len(text.encode()))
        assert len(text) <= 4 * len(before)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("a\r\nb\rc\x0cd\x0be", "a\nb\nc\nd\ne"),
        ("\x00a\x1b[1m\x7fb\tc", "a[1mb\tc"),
        ("e\x00\u0301", "é"),
        ("\ufeff\n  \n\ufeff  indented  \n\n\n  end \u3000\n\n", "  indented\n\n\n  end"),
        ("a\u200bb\u00a0c\x85d\u200d", "a\u200bb\u00a0c\x85d\u200d"),
        ("mid\ufeffdle", "mid\ufeffdle"),
        ("   \n\t\n", ""),
        ("", ""),
        ("A\u030angstro\u0308m \u212b", "Ångström Å"),
        ("plain ASCII text.", "plain ASCII text."),
    ],
)
def test_what_is_changed_is_what_is_documented(before, after):
    assert normalise(pl.Series([before]))["text"].to_list() == [after]


def test_every_character_that_nfc_touches_is_looked_at():
    characters = [chr(code) for code in range(0x110000) if not 0xD800 <= code < 0xE000]
    touched = {one for one in characters if unicodedata.combining(one) or unicodedata.normalize("NFC", one) != one}
    for one in characters:  # the second of a pair that composes
        pair = unicodedata.normalize("NFD", one)
        if len(pair) > 1 and unicodedata.normalize("NFC", pair) == one:
            touched.update(pair[1:])
    missed = pl.Series(sorted(touched)).to_frame("one").filter(~pl.col("one").str.contains(_PERHAPS_NOT_NFC))
    assert missed["one"].to_list() == []


def test_the_columns_are_those_promised():
    frame = normalise(pl.Series(["two words", "ein Wört"]))
    assert frame.schema == {"text": pl.String, "c2pa": pl.String}
    assert frame.rows() == [("two words", None), ("ein Wört", None)]
    assert measure(frame["text"]).rows() == [(2, 9, 9), (2, 8, 9)]
    assert normalise(pl.Series([], dtype=pl.String)).schema == frame.schema


def test_an_id_is_the_start_of_the_sha_256_of_the_text():
    rows = ["", "abc", "Zwölf"]
    assert doc_ids(pl.Series(rows)).to_list() == [hashlib.sha256(row.encode()).hexdigest()[:32] for row in rows]
    assert doc_ids(pl.Series(["abc"])).to_list() == ["ba7816bf8f01cfea414140de5dae2223"]


# --- C2PA ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("hidden", "expected"),
    [
        ("", None),
        (encode(SYNTHETIC), "synthetic"),
        (encode(COMPOSITE), "synthetic"),
        (encode(HUMAN), "present"),
        (encode(HUMAN, padding=bytes(9) + b"\x10"), "present"),
        (encode(HUMAN) + encode(SYNTHETIC), "synthetic"),
        (encode(SYNTHETIC)[:-1], "damaged"),
        (encode(SYNTHETIC, version=2), "damaged"),
        (encode(b"no box at all, only trainedAlgorithmicMedia"), "damaged"),
        (encode(b""), "damaged"),
        (encode(SYNTHETIC)[:10], "damaged"),
        (encode(SYNTHETIC)[1:], None),
        ("\ufeff" + selectors(b"C2PATXX\0" + SYNTHETIC), None),
        ("\ufeff", None),
        ("❤\ufe0f", None),
    ],
)
def test_a_manifest_is_noted_for_what_it_says(hidden, expected):
    text = pl.Series(["A sentence" + hidden + " goes on.", "nothing here"])
    assert c2pa.note(text).to_list() == [expected, None]
    frame = normalise(text)
    assert frame["c2pa"].to_list() == [expected, None]
    if expected:
        assert frame["text"][0] == "A sentence goes on."


def test_a_control_in_a_manifest_damages_it_and_both_go():
    hidden = encode(SYNTHETIC)
    frame = normalise(pl.Series(["Text." + hidden[:60] + "\x00" + hidden[60:]]))
    assert frame.select("text", "c2pa").rows() == [("Text.", "damaged")]


@given(st.binary(max_size=60), st.integers(0, 80))
@settings(max_examples=100, deadline=None)
def test_no_manifest_makes_the_notes_fail_or_survives_stripping(payload, cut):
    hidden = encode(payload)[: max(cut, 9)]
    text = pl.Series(["before" + hidden + "after"])
    assert c2pa.note(text)[0] in ("synthetic", "present", "damaged")
    assert c2pa.strip(text).to_list() == ["beforeafter"]
