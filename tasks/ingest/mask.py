"""Mask: put fixed tokens in the place of personal numbers and addresses.

Kinds and tokens: email <EMAIL>, ip <IP>, iban <IBAN>, card <CARD>, phone <PHONE>.
A token never holds what a pattern finds, and texts are searched again until nothing is found: masking twice changes
nothing. What stays on purpose: private, loopback, link-local, documentation, multicast and other addresses that name no
host of a person; four-part versions and section numbers; numbers that fail their checksum.
"""

import ipaddress
import operator
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce

import polars as pl

from cuvee.schemas.errors import RecipeError


@dataclass(frozen=True)
class _Kind:
    """How one kind is found.

    candidates: Rust regexes over the column; a row that one of them finds is worth a look. pattern: its outer group
    (`found` or `other`) is what may be masked. length: how many characters of that group are, 0 for none.
    """

    token: str
    candidates: tuple[str, ...]
    pattern: re.Pattern[str]
    length: Callable[[re.Match[str]], int]


def _found(match: re.Match[str]) -> str:
    return match[match.lastgroup or 0]  # the outer group closes last


# --- email -----------------------------------------------------------------------------------------------------------

_EMAIL = re.compile(
    r"(?<![A-Za-z0-9À-ɏ._%+-])(?P<found>[A-Za-z0-9À-ɏ_%+-][A-Za-z0-9À-ɏ._%+-]{0,63}"
    r"@(?:[A-Za-z0-9À-ɏ](?:[A-Za-z0-9À-ɏ-]{0,61}[A-Za-z0-9À-ɏ])?\.)+[A-Za-z]{2,24})(?![A-Za-z0-9_])"
)
# An ending such as "logo@2x.png" names a file; "git@host.org:path" is an account of a service, not of a person.
_NOT_EMAIL = re.compile(
    r"^git@|\.(?:png|jpe?g|gif|svg|webp|js|ts|css|py|html?|json|ya?ml|md|txt|zip|gz)$", re.IGNORECASE
)


def _email_length(match: re.Match[str]) -> int:
    found = _found(match)
    return 0 if _NOT_EMAIL.search(found) else len(found)


# --- ip --------------------------------------------------------------------------------------------------------------

# IANA special-purpose address registries, without the blocks that route to hosts; 224.0.0.0/3: multicast and reserved.
_SPECIAL_V4_BLOCKS = """
    0.0.0.0/8 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 169.254.0.0/16 172.16.0.0/12 192.0.0.0/24 192.0.2.0/24
    192.88.99.0/24 192.168.0.0/16 198.18.0.0/15 198.51.100.0/24 203.0.113.0/24 224.0.0.0/3"""
_SPECIAL_V4 = [ipaddress.IPv4Network(block) for block in _SPECIAL_V4_BLOCKS.split()]
# Unicast addresses are 2000::/3; the rest of the space is local, multicast or unassigned.
_SPECIAL_V6 = [ipaddress.IPv6Network(block) for block in ("2001:db8::/32", "3fff::/20", "2001::/23", "2002::/16")]
_GLOBAL_V6 = ipaddress.IPv6Network("2000::/3")
# In texts, four numbers of which the first is small are more often a version ("V8 4.5.103.35") or the number of a
# section than an address, where such a word or the place at the start of a heading says so.
_SMALL = 20
_CONTEXT = 60
_VERSION_WORD = re.compile(
    r"\b(?:versions?|v8|npm|upgrad\w+|updat\w+|releas\w+|builds?|kernel|sections?|chapters?"
    r"|rfc ?[0-9]+|oids?|objectidentifier)\b",
    re.IGNORECASE,
)
_HEADING = re.compile(r"(?m)^[ #*]*(?:[0-9]{1,2}\.){3}[0-9]{1,2} +[A-Z]")

_IP = re.compile(
    r"(?<![\w.§])(?<!§ )(?<![=<>~!]=)(?<![=<>~!]= )(?<![A-Za-z][-/])"
    r"(?P<found>(?:[0-9]{1,3}\.){3}[0-9]{1,3})(?!\w|\.\w|-[A-Za-z])"
    r"|(?<![\w:.])(?P<other>[23][0-9A-Fa-f]{3}:(?:[0-9A-Fa-f]{0,4}:){1,6}[0-9A-Fa-f]{0,4})(?![\w:]|\.\d)"
)


def _is_version(match: re.Match[str], first: int) -> bool:
    """Tell whether four numbers read as a version or a section; first: the first of them."""
    start = max(0, match.start() - _CONTEXT)
    line = max(start, match.string.rfind("\n", start, match.start()) + 1)
    return first < _SMALL and bool(
        _VERSION_WORD.search(match.string, start, match.start()) or _HEADING.match(match.string, line)
    )


def _ip_length(match: re.Match[str]) -> int:
    found = _found(match)
    try:
        address = ipaddress.ip_address(found)
    except ValueError:
        return 0
    if isinstance(address, ipaddress.IPv6Address):
        stays = address not in _GLOBAL_V6 or any(address in block for block in _SPECIAL_V6)
    else:
        stays = any(address in block for block in _SPECIAL_V4) or _is_version(match, address.packed[0])
    return 0 if stays else len(found)


# --- iban ------------------------------------------------------------------------------------------------------------

# Country → length, SWIFT IBAN Registry.
_IBAN_LENGTHS = {
    country: length
    for length, countries in {
        15: "NO", 16: "BE", 18: "DK FI FK FO GL NL SD", 19: "MK SI", 20: "AT BA EE KZ LT LU MN XK", 21: "CH HR LI LV",
        22: "BG BH CR DE GB GE IE ME RS VA", 23: "AE GI IL IQ OM SO TL", 24: "AD CZ ES MD PK RO SA SE SK TN VG",
        25: "LY PT ST", 26: "IS TR", 27: "BI DJ FR GR IT MC MR SM", 28: "AL AZ BY CY DO GT HN HU LB NI PL SV",
        29: "BR EG PS QA UA", 30: "JO KW MU YE", 31: "MT SC", 32: "LC", 33: "RU",
    }.items()
    for country in countries.split()
}  # fmt: skip
_IBAN = re.compile(r"(?<![A-Za-z0-9])(?P<found>[A-Z]{2}[0-9]{2}(?: ?[A-Z0-9]){11,30})")


def _iban_length(match: re.Match[str]) -> int:
    """Find the account number at the start of what was found: its country's length, and ISO 7064 mod 97 equal to 1."""
    found = _found(match)
    wanted = _IBAN_LENGTHS.get(found[:2], 0)
    places = [place for place, character in enumerate(found) if character != " "]
    if not wanted or len(places) < wanted:
        return 0
    end = places[wanted - 1] + 1
    if end < len(found) and found[end] != " ":
        return 0
    compact = found[:end].replace(" ", "")
    return end if int("".join(str(int(character, 36)) for character in compact[4:] + compact[:4])) % 97 == 1 else 0


# --- card ------------------------------------------------------------------------------------------------------------

_CARD = re.compile(
    r"(?<![\w.+])(?<![0-9][-/,])(?P<found>[0-9]{13,19}|[0-9]{4}(?P<gap>[ -])[0-9]{4}(?P=gap)[0-9]{4}(?P=gap)[0-9]{1,4}"
    r"(?:(?P=gap)[0-9]{1,3})?|[0-9]{4}(?P<gap2>[ -])[0-9]{6}(?P=gap2)[0-9]{4,5})(?!\w|[.,][0-9]|[-/ ][0-9])"
)
# Issuer prefixes of ISO/IEC 7812 as the networks publish them, each with its lengths.
_ISSUERS = re.compile(
    r"4(?:\d{12}|\d{15}|\d{18})"  # Visa
    r"|(?:5[1-5]\d{2}|222[1-9]|22[3-9]\d|2[3-6]\d{2}|27[01]\d|2720)\d{12}"  # Mastercard
    r"|3[47]\d{13}"  # American Express
    r"|(?:6011|64[4-9]\d|65\d{2})\d{12}(?:\d{3})?"  # Discover
    r"|35(?:2[89]|[3-8]\d)\d{12}(?:\d{3})?"  # JCB
    r"|3(?:0[0-5]|[68]\d)\d{11}"  # Diners Club
    r"|62\d{14}(?:\d{3})?"  # UnionPay
    r"|(?:5018|5020|5038|5893|6304|6759|676[1-3])\d{9,15}"  # Maestro
)


def _card_length(match: re.Match[str]) -> int:
    found = _found(match)
    digits = re.sub(r"\D", "", found)
    if not _ISSUERS.fullmatch(digits):
        return 0
    # Luhn: from the right, every second digit counts double, with its own digits added.
    total = sum(int(digit) for digit in digits[-1::-2]) + sum(
        sum(divmod(2 * int(digit), 10)) for digit in digits[-2::-2]
    )
    return len(found) if total % 10 == 0 else 0


# --- phone -----------------------------------------------------------------------------------------------------------

# Country codes of ITU-T E.164.
_COUNTRY = re.compile(
    r"1|7|2[07]|3[0-469]|4[013-9]|5[1-8]|6[0-6]|8[1246]|9[0-58]|2[1-69]\d|3[578]\d|42\d|5[09]\d|6[7-9]\d|8[058]\d|9[679]\d"
)
_NORTH_AMERICA = re.compile(r"1[2-9]\d\d[2-9]\d{6}")
_LABEL = (
    r"(?:[Tt]el(?:ephone)?|TEL|[Pp]hone|PHONE|[Ff]ax|FAX|[Mm]obile|[Cc]ell|[Cc]all|Ph|[Hh]otline)\b"
    r"\.?(?: (?:us|at|on|no\.?|number|toll[- ]free))*:? ?"
)
_PHONE = re.compile(
    r"(?<![\w+.\-/=#$€£])(?<![0-9][(, :])(?P<found>"
    r"\+[1-9](?:[ .\-/\u00a0]?(?:\([0-9]{1,4}\)|[0-9])){6,14}"  # +49 (0)30 123456
    # (202) 555-0123, 1-202-555-0123
    r"|(?:\+?1[ .\-])?(?:\([2-9][0-9]{2}\)[ \-]?|[2-9][0-9]{2}(?P<gap>[.\- ]))[2-9][0-9]{2}"
    r"(?(gap)(?P=gap)|[.\- ])[0-9]{4}"
    r"|\(0[1-9][0-9]{0,3}\) ?[0-9]{3,4}[ -]?[0-9]{3,4}"  # (02) 9999 9999
    r"|0[1-9](?P<pair>[ .\-])[0-9]{2}(?:(?P=pair)[0-9]{2}){3}"  # 01 23 45 67 89
    r"|0[1-9][0-9]{1,3} [0-9]{3,4} [0-9]{3,4}"  # 020 7946 0958, 0412 345 678
    r"|0[1-9][0-9]{2,3} [0-9]{6,8}"  # 07700 900123
    r"|0[1-9][0-9]{1,3}(?:-| ?/ ?)[0-9]{6,8}"  # 030/1234567
    r"|1[38]00 [0-9]{3} [0-9]{3}"  # 1300 123 456
    r")(?!\w|[.,\-/:][0-9]|[ ][0-9])"
    r"|\b"
    + _LABEL
    + r"(?P<other>(?:\([0-9]{1,4}\)|\+?[0-9])(?:[ .\-/]?(?:\([0-9]{1,4}\)|[0-9])){6,14})(?!\w|[.,\-/:][0-9]|[ ][0-9])"
)
# The same shapes, wider, in the syntax of Rust. Apart they run at 200–3,000 MB/s, as one expression at 5.
_PHONE_CANDIDATES = (
    r"\+[1-9][0-9 .\-/\x{a0}()]{6}",
    r"[2-9][0-9]{2}[.\-) ][ \-]?[2-9][0-9]{2}[.\- ][0-9]{4}",
    r"(?:^|[^0-9.,\-/:])0[1-9][0-9]{0,3}[ .\-/)][ /]{0,2}[0-9]{2}",
    r"1[38]00 [0-9]{3} [0-9]{3}",
    _LABEL + r"[(+]{0,2}[0-9]",
)
_DATE = re.compile(r"(?:19|20)\d\d[-./ ](?:\d{1,2}[-./]|(?:19|20)\d\d)|\d{1,2}[-./]\d{1,2}[-./](?:19|20)?\d\d")


def _phone_length(match: re.Match[str]) -> int:
    found = _found(match)
    digits = re.sub(r"\D", "", found)
    if not 7 <= len(digits) <= 15 or _DATE.match(found):
        return 0
    gaps = len(re.findall(r"\d[^\d]+(?=\d)", found))
    if 2 * gaps > len(digits):  # digits one by one are a series, not a number
        return 0
    if found.startswith("+"):
        sound = _NORTH_AMERICA.fullmatch(digits) if digits[0] == "1" else _COUNTRY.match(digits)
        # Without separators, a short signed number is arithmetic.
        if not sound or len(digits) < (8 if gaps else 10):
            return 0
    return len(found)


_KINDS = {
    "email": _Kind("<EMAIL>", (r"@[A-Za-z0-9À-ɏ-]+\.[A-Za-z]",), _EMAIL, _email_length),
    "ip": _Kind(
        "<IP>",
        (r"[0-9]\.[0-9]{1,3}\.[0-9]{1,3}\.[0-9]", r"[23][0-9A-Fa-f]{3}:[0-9A-Fa-f]{0,4}:"),
        _IP,
        _ip_length,
    ),
    "iban": _Kind("<IBAN>", (r"[A-Z]{2}[0-9]{2} ?[A-Z0-9]{2}",), _IBAN, _iban_length),
    "card": _Kind("<CARD>", (r"[0-9](?:[ -]?[0-9]){12}",), _CARD, _card_length),
    "phone": _Kind("<PHONE>", _PHONE_CANDIDATES, _PHONE, _phone_length),
}
KINDS = tuple(_KINDS)


def _candidates(text: pl.Series, kind: _Kind) -> pl.Series:
    """Find the places of the texts that may hold the kind."""
    found = [text.str.contains(candidate) for candidate in kind.candidates]
    return reduce(operator.or_, found).arg_true()


def _mask_text(text: str, kind: _Kind) -> tuple[str, int]:
    """Mask one text once; give it with the number of tokens put in."""
    count = 0

    def replace(match: re.Match[str]) -> str:
        nonlocal count
        length = kind.length(match)
        if not length:
            return match[0]
        count += 1
        start = match.start(match.lastgroup or 0) - match.start()
        return match[0][:start] + kind.token + match[0][start + length :]

    return kind.pattern.sub(replace, text), count


def mask(text: pl.Series, kinds: Sequence[str]) -> tuple[pl.Series, dict[str, int]]:
    """Mask what `kinds` names (see `KINDS`; their order does not count) in each text (string, no nulls).

    Gives the texts in the same order, and the number of tokens put in, by kind, also where it is 0. Only rows with a
    candidate are looked at in Python. Raises RecipeError for an unknown kind.
    """
    for name in kinds:
        if name not in _KINDS:
            raise RecipeError(f"ingest.mask: {name!r} is not known; the kinds are {', '.join(KINDS)}")
    counts = {name: 0 for name in KINDS if name in kinds}
    places = pl.int_range(len(text), eager=True)
    # A token may part what stood too close to be a number of its own, so changed rows are searched again.
    while len(places):
        rows = text.gather(places)
        changed: set[int] = set()
        for name in counts:
            kind = _KINDS[name]
            for index in _candidates(rows, kind):
                masked, count = _mask_text(rows[index], kind)
                if count:
                    rows[index] = masked
                    changed.add(index)
                    counts[name] += count
        text = text.clone().scatter(places, rows) if changed else text
        places = places.gather(sorted(changed))
    return text, counts
