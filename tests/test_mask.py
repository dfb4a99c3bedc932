"""Mask: what is personal goes, what only looks like it stays."""

from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cuvee.schemas.errors import RecipeError
from cuvee.tasks import readers
from cuvee.tasks.ingest.mask import KINDS, mask

CORPORA = Path(__file__).parents[2] / "shared" / "corpora"


def masked(text, *kinds):
    return mask(pl.Series([text]), kinds or KINDS)[0][0]


PERSONAL = {
    "email": [
        "a@b.co", "Jane.Doe+tag@example.co.uk", "andré@exämple.fr", "x_y%z@mail.example.org", "UPPER@EXAMPLE.ORG",
    ],
    "ip": [
        "8.8.8.8", "93.184.216.34", "172.32.0.1", "2606:2800:220:1:248:1893:25c8:1946", "2a00:1450:4001::1",
        "2A00:1450:4001:82F:0:0:0:200E",
    ],
    "iban": [
        "GB82 WEST 1234 5698 7654 32", "DE89370400440532013000", "FR14 2004 1010 0505 0001 3M02 606",
        "NO9386011117947", "MT84MALT011000012345MTLCAST001S",
    ],
    "card": [
        "4111 1111 1111 1111", "4111-1111-1111-1111", "5555555555554444", "378282246310005", "3782 822463 10005",
        "6011111111111117", "30569309025904", "2223000048400011", "3530111333300000", "4222222222222",
        "6200000000000005",
    ],
    "phone": [
        "+1 (202) 555-0123", "+1-202-555-0123", "+12025550123", "(202) 555-0123", "202-555-0123", "202.555.0123",
        "202 555 0123", "1-800-555-0123", "+44 20 7946 0958", "020 7946 0958", "(020) 7946 0958", "07700 900123",
        "+49 (0)30 123456", "030/1234567", "089 / 1234567", "+33 1 23 45 67 89", "01 23 45 67 89", "+61 2 9999 9999",
        "(02) 9999 9999", "0412 345 678", "1300 123 456", "+86 138 1234 5678", "+91 98765 43210", "+358 40 1234567",
        "+971501234567",
    ],
}  # fmt: skip
HARMLESS = {
    "email": ["foo@bar", "@decorator.wraps", "logo@2x.png", "git@github.com", "a@b", "user at example.org"],
    "ip": [
        "1.2.3", "1.2.3.4.5", "v1.2.3.4", "==4.2.1.0", "version 3.0.103.5", "§ 4.2.3.1", "10.0.0.1", "127.0.0.1",
        "192.168.1.1", "192.0.2.1", "203.0.113.9", "169.254.1.1", "224.0.0.1", "0.0.0.0", "256.1.1.1", "01.02.03.04",
        "::1", "fe80::1", "2001:db8::1", "std::vec", "a::b", "12:30:45", "00:1A:2B:3C:4D:5E", "Chrome/80.0.98.149",
    ],
    "iban": ["GB82 WEST 1234 5698 7654 33", "DE8937040044053201300", "AB12 3456 7890 1234 5678"],
    "card": [
        "4111 1111 1111 1112", "1234567890123456", "0.4111111111111111", "9111111111111111", "4111 11 11 1111 1111 11",
        "20190504103000123",
    ],
    "phone": [
        "2004-10-12", "12.10.2004", "04/07/2003 1234", "978-0-306-40615-7", "0-306-40615-2", "ISBN 0306406152",
        "1234567890", "192.168.1.1", "1.2.3.4.5", "RFC 2616", "1998-2004", "call 1998-2004", "call 2004-10-12",
        "100,000,000", "3.14159265", "+100000000", "2019-01-01T00:00:00+01:00", "10:30-11:45", "1234-5678",
        "0x0123456789", "0.123 456 789", "pages 100-200", "2001 2002 2003", "10.1000/182", "000-00-0000",
        "20060102 150405", "+1 2 3 4 5 6 7 8 9 10 11", "1.800.123.456",
    ],
}  # fmt: skip


@pytest.mark.parametrize(("kind", "found"), [(kind, found) for kind, each in PERSONAL.items() for found in each])
def test_a_personal_number_is_replaced_by_its_token_wherever_it_stands(kind, found):
    token = f"<{kind.upper()}>"
    for before, after in (("", ""), ("see: ", "."), ("(", ")"), ("\n", "\n"), ("“", "”, and"), ("是 ", "。")):
        assert masked(before + found + after) == before + token + after


@pytest.mark.parametrize(("kind", "found"), [(kind, found) for kind, each in HARMLESS.items() for found in each])
def test_what_only_looks_personal_stays(kind, found):
    for text in (found, f"x {found} y.", f"{found}\n"):
        assert masked(text, kind) == text


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("<a@b.org>,c@d.org;e@f.org", "<<EMAIL>>,<EMAIL>;<EMAIL>"),
        ("http://93.184.216.34:80/x and 93.184.216.34/24", "http://<IP>:80/x and <IP>/24"),
        ("[2606:2800:220::1946]:80", "[<IP>]:80"),
        ("93.184.216.34-93.184.216.99", "<IP>-<IP>"),
        ("IBAN DE89 3704 0044 0532 0130 00 BIC COBADEFF", "IBAN <IBAN> BIC COBADEFF"),
        ("Phone: 555-0123, fax 1234567", "Phone: <PHONE>, fax <PHONE>"),
        ("call us at 1800 200 526 now", "call us at <PHONE> now"),
        ("2.1.3.4 Of headings\nThe host 8.1.3.4 answers", "2.1.3.4 Of headings\nThe host <IP> answers"),
    ],
)
def test_the_text_around_a_number_stays_as_it_is(before, after):
    assert masked(before) == after


def test_counts_are_given_for_the_kinds_asked_for():
    text = pl.Series(["a@b.org 8.8.8.8", "none", "c@d.org a@b.org"])
    rows, counts = mask(text, ["ip", "email"])
    assert rows.to_list() == ["<EMAIL> <IP>", "none", "<EMAIL> <EMAIL>"]
    assert counts == {"email": 3, "ip": 1}
    assert mask(text, [])[0].to_list() == text.to_list()
    assert mask(text, ["phone"]) [1] == {"phone": 0}  # fmt: skip
    assert mask(pl.Series([], dtype=pl.String), KINDS)[0].to_list() == []


def test_an_unknown_kind_is_refused():
    with pytest.raises(RecipeError, match=r"passport.*email, ip, iban, card, phone"):
        mask(pl.Series(["a"]), ["passport"])


EVERYTHING = [found for each in (*PERSONAL.values(), *HARMLESS.values()) for found in each]
texts = st.lists(
    st.one_of(st.sampled_from(EVERYTHING), st.sampled_from(list(" \n.,:;-+()/<>@0123456789ax"))), max_size=12
).map("".join)


@given(st.lists(texts, max_size=5), st.lists(st.sampled_from(KINDS), unique=True))
@settings(max_examples=300, deadline=None)
def test_masking_twice_changes_nothing_and_the_order_of_kinds_does_not_count(rows, kinds):
    once, counts = mask(pl.Series(rows, dtype=pl.String), kinds)
    again, none = mask(once, kinds)
    assert again.to_list() == once.to_list()
    assert not any(none.values())
    assert mask(pl.Series(rows, dtype=pl.String), kinds[::-1])[0].to_list() == once.to_list()
    tokens = sum(text.count(f"<{kind.upper()}>") for text in once for kind in kinds)
    assert tokens == sum(counts.values())
    assert len(once) == len(rows)


@pytest.mark.skipif(not CORPORA.exists(), reason="the shared corpora are not here")
def test_government_posts_lose_their_addresses_and_little_else():
    path = CORPORA / "gov_blog" / "part-000.jsonl.gz"
    with path.open("rb") as stream:
        text = pl.concat([batch.rows["text"] for batch in readers.read(path, stream, "jsonl", "gzip", {})])
    rows, counts = mask(text, KINDS)
    assert counts["email"] > 10
    assert counts["card"] == counts["iban"] == counts["ip"] == 0
    assert not rows.str.contains(r"[a-z]@[a-z]+\.gov").any()
    assert (rows != text).sum() < len(text) / 5
