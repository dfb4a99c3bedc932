"""Phone: numbers that are written as some country writes them, and any behind a word for a telephone.

A run of digits is taken as a whole, with the blanks, hyphens, dots, slashes and brackets between them, and is a number
where all of it has one of the forms. Digits alone are a number only as a Chinese mobile's, with a plus, or behind a
word. docs/masks.md names each form.
"""

import re
from collections.abc import Iterator
from itertools import pairwise

from cuvee.tasks.ingest.personal import BLANK, HYPHEN, SEVEN_DIGITS, Chains, _labels

TOKEN = "<PHONE>"

_GAP = rf"[{BLANK}{HYPHEN}./()]"
# The forms below, wider.
CANDIDATES: Chains = (
    (SEVEN_DIGITS, rf"\+[ (]?[1-9](?:{_GAP}{{0,3}}[0-9]){{6}}"),
    (SEVEN_DIGITS, rf"0(?:0{_GAP}?|11{_GAP})[1-9](?:{_GAP}{{0,3}}[0-9]){{6}}"),
    (SEVEN_DIGITS, rf"[2-9][0-9]{{2}}{_GAP}{{1,2}}[0-9]{{3}}{_GAP}[0-9]{{4}}"),
    (SEVEN_DIGITS, rf"(?:^|[^0-9.,/:\-])0[1-9](?:{_GAP}{{0,3}}[0-9]){{7}}"),
    (SEVEN_DIGITS, rf"8{_GAP}{{0,2}}[3489][0-9]{{2}}{_GAP}{{0,2}}[0-9]{{3}}{_GAP}?[0-9]{{2}}"),
    (SEVEN_DIGITS, rf"\([1-9][0-9]{{1,2}}\) ?[0-9]{{3,5}}{_GAP}[0-9]{{2}}"),
    (SEVEN_DIGITS, rf"1[3-9][0-9]{_GAP}?[0-9]{{4}}{_GAP}?[0-9]{{4}}"),
    (SEVEN_DIGITS, rf"(?:1[38]|[48]0)00?{_GAP}[0-9]{{3}}{_GAP}[0-9]{{3}}"),
    (SEVEN_DIGITS, _labels.CANDIDATE),
)

# Two numbers between which a slash stands are one run, until they are looked at.
_RUN = re.compile(r"[+(0-9](?<!\((?=\())[0-9]*(?:(?:\)[ .\-/]?\(?|[ .\-/]\(?|\(| / ?| ?/ )[0-9]+)*")
_SLASH = re.compile(r" ?/ ?")
_BEFORE = re.compile(r"(?:[A-Za-z0-9_+.\-/=#$€£~@%&{]|[0-9][(:])\Z")
_BEHIND = re.compile(r"[A-Za-z0-9_]|:[0-9]|[-/][A-Za-z0-9]")

# Country codes of ITU-T E.164 with the digits that follow them, fewest and most; all others 6 to 11.
_COUNTRY = re.compile(
    r"1|7|2[07]|3[0-469]|4[013-9]|5[1-8]|6[0-6]|8[1246]|9[0-58]"
    r"|2[1-69]\d|3[578]\d|42\d|5[09]\d|6[7-9]\d|8[058]\d|9[679]\d"
)
_LENGTHS = {
    "1": (10, 10), "7": (10, 10), "20": (8, 10), "27": (9, 9), "30": (10, 10), "31": (9, 11), "32": (8, 9),
    "33": (9, 9), "34": (9, 9), "36": (8, 9), "39": (6, 12), "40": (9, 9), "41": (9, 9), "43": (4, 13), "44": (9, 10),
    "45": (8, 8), "46": (7, 10), "47": (8, 8), "48": (9, 9), "49": (6, 13), "51": (8, 9), "52": (10, 11),
    "54": (10, 11), "55": (10, 11), "56": (9, 9), "57": (8, 10), "58": (10, 10), "60": (8, 10), "61": (9, 9),
    "62": (7, 12), "63": (8, 10), "64": (8, 10), "65": (8, 8), "66": (8, 9), "81": (9, 10), "82": (8, 10),
    "84": (9, 10), "86": (9, 11), "90": (10, 10), "91": (10, 10), "92": (9, 10), "93": (9, 9), "94": (9, 9),
    "98": (10, 10),
}  # fmt: skip
_NORTH_AMERICA = re.compile(r"1[2-9]\d\d[2-9]\d{6}")
_TRUNK = re.compile(r"\(0\)")

_NATIONAL = re.compile(
    # North America: (202) 555-0123, 1-202-555-0123
    r"(?:1[ .-])?(?:\([2-9]\d\d\)[ -]?|[2-9]\d\d(?P<gap>[ .-]))[2-9]\d\d(?(gap)(?P=gap)|[ .-])\d{4}"
    # An area code in brackets: (020) 7946 0958, (02) 9999 9999, (010) 12345678, (0532) 123 45 67
    r"|\(0[1-9]\d{0,3}\)[ -]?\d{2,8}(?:[ -]\d{2,5}){0,3}"
    # Brazil and Mexico: (11) 91234-5678, (55) 1234 5678
    r"|\([1-9]\d\)[ -]?\d{4,5}[ -]\d{4}"
    # Russia and its neighbours: 8 (495) 123-45-67, 8 916 123 45 67, (495) 123-45-67
    r"|8[ -]?(?:\([3489]\d\d\)|(?<=[ -])[3489]\d\d)[ -]?\d{3}[ -]?\d\d[ -]?\d\d|\([3489]\d\d\)[ -]?\d{3}-\d\d-\d\d"
    # Five pairs: 01 23 45 67 89
    r"|0[1-9](?P<pair>[ .-])\d\d(?:(?P=pair)\d\d){3}"
    # Blanks. Of three groups by length: 020 7946 0958, 090 1234 5678; 082 123 4567; 0412 345 678; 0161 496 0000
    r"|0(?:2\d|[789]0) \d{4} \d{4}|0[2-9] \d{4} \d{4}|0[1-9]\d \d{3} \d{4}|0[1-9]\d\d \d{3} \d{3,4}"
    # of four and more: 044 668 18 00, 0532 123 45 67, 0470 12 34 56, 081 12 34 56, 02 123 45 67, 06 20 123 4567
    r"|0[1-9]\d{1,2} \d{3} \d\d \d\d|0[1-9]\d{1,2} \d\d \d\d \d\d|0[1-9] \d{3} \d\d \d\d|06 \d{1,2} \d{3} \d{3,4}"
    # of two: 06 12345678, 030 1234567, 07700 900123, 098765 43210
    r"|0[1-9] \d{8}|0[1-9]\d \d{7,8}|0[1-9]\d{2,3} \d{6,8}|0[6-9]\d{4}[ -]\d{5}"
    # Hyphens: 03-1234-5678, 02-312-3456, 090-1234-5678, 045-123-4567, 0123-45-6789, 0912-345-678, 0812-3456-7890,
    # 011 2345-6789
    r"|0[1-9]-\d{3,4}-\d{4}|0[1-9]\d-\d{3,4}-\d{4}|0[1-9]\d\d-\d\d-\d{4}|0[1-9]\d\d-\d{3}-\d{3,4}"
    r"|0[1-9]\d\d-\d{4}-\d{3,4}|0[1-9]\d{3}-\d-\d{4}|0[1-9]\d{0,2} \d{3,4}-\d{4}"
    # a hyphen or a slash behind the area code: 030-1234567, 06-12345678, 089 / 1234567, 070-123 45 67, 030/12 34 56 78
    r"|0[1-9]\d{0,3}(?:-| ?/ ?)\d{6,8}|0[1-9]\d{0,2}(?:-| ?/ ?)\d{2,4}(?:[ -]\d{2,4}){1,3}"
    # Without an area: 1300 123 456, 400-123-4567
    r"|1[38]00[ -]\d{3}[ -]\d{3}|[48]00-\d{3}-\d{4}"
    # Chinese mobiles: 13800138000, 138 0013 8000
    r"|(?P<mobile>1(?:3\d|4[5-9]|5[0-35-9]|6[25-7]|7[0-8]|8\d|9[0-35-9])(?P<gap4>[ -]?)\d{4}(?P=gap4)\d{4})"
)
_DATE = re.compile(
    r"(?:19|20)\d\d[-./ ](?:\d{1,2}[-./]|(?:19|20)\d\d)|\d{1,2}[-./]\d{1,2}[-./](?:19|20)?\d\d(?![-./\d])"
    r"|.*\D(?:19|20)\d\d[ -](?:19|20)\d\d\Z|.*\D(?:19|20)\d\d(?:0\d|1[0-2])[0-3]\d\Z"
)
# Behind such words groups of digits are amounts and places: bytes 010 2030 4050
_MEASURE = re.compile(
    r"\b(?:bytes?|octets?|octal|hex|bits?|buffer|offsets?|address(?:es)?|lines?|pages?|pp?|rows?|columns?|ranges?|sizes?"
    r"|blocks?|sectors?|tests?|codes?|ids?|isbn|issn|versions?|chapters?|sections?|figures?|tables?|items?|units?|of"
    r"|values?|colou?rs?|ports?|uid|gid|pid|inode|values|counts?|samples?|frames?|ticks?|years?|dates?)[.:=]? ?\Z",
    re.IGNORECASE,
)
_BLANKS_ONLY = re.compile(r"[\d ]+")
# E.164 has at most 15 digits; a prefix such as 0011 comes before.
_SHORTEST, _LONGEST = 7, 18
# An article's, behind the number of an issue: (12) 1234-1240
_MOST_PAGES = 200
# What follows an amount where no blank stands between.
_UNIT = re.compile(r"[元円圓원万萬億亿千百%％]")


def spans(text: str) -> Iterator[tuple[int, int]]:
    """Yield start and end of each number, in order."""
    for match in _RUN.finditer(text):
        start, end = match.span()
        # A bracket that does not close here is the text's, and what stands before it no part of the number.
        opened = text.rfind("(", start, end) + 1
        if opened and ")" not in text[opened:end]:
            start = opened
        if end - start < _SHORTEST or _BEHIND.match(text, end) or _BEFORE.search(text[max(0, start - 2) : start]):
            continue
        if _is_number(text, start, end):
            yield start, end
        elif "/" in match[0]:
            cuts = [cut.span() for cut in _SLASH.finditer(text, start, end)]
            starts, ends = [start, *(cut for _, cut in cuts)], [*(cut for cut, _ in cuts), end]
            yield from (piece for piece in zip(starts, ends, strict=True) if _is_number(text, *piece))


def _is_number(text: str, start: int, end: int) -> bool:
    run = text[start:end]
    digits = re.sub(r"\D", "", run)
    if not _SHORTEST <= len(digits) <= _LONGEST or _DATE.match(run) or _UNIT.match(text, end):
        return False
    # An amount goes on behind a comma, as 1,234 567 8901 does; what has other gaps than blanks is none.
    if _is_series(run, len(digits)) or (_is_amount(text, start, end) and _BLANKS_ONLY.fullmatch(run)):
        return False
    before = text[max(0, start - _labels.REACH) : start]
    return (
        _is_international(run, digits) or _is_national(run, digits, before) or _labels.names_number(before, run, digits)
    )


def _is_amount(text: str, start: int, end: int) -> bool:
    behind, before = text[end : end + 2], text[max(0, start - 2) : start]
    return (behind[:1] == "," and behind[1:].isdigit()) or (before[-1:] == "," and before[:1].isdigit())


def _is_series(run: str, digits: int) -> bool:
    """Tell digits one by one, and pairs that count on: 01 02 03 04 05."""
    groups = re.findall(r"\d+", run)
    if 2 * (len(groups) - 1) > digits:
        return True
    steps = {int(right) - int(left) for left, right in pairwise(groups)}
    return len(groups) > 2 and len(steps) == 1 and abs(steps.pop()) <= 10


def _is_international(run: str, digits: str) -> bool:
    """Tell +49 30 123456, 0049 30 123456 and 011 49 30 123456."""
    if run[0] == "+":
        gaps = len(re.findall(r"\d\D+(?=\d)", run))
        # Without separators, a short signed number is arithmetic.
        return _is_plan(_TRUNK.sub("", run), has_trunk="(0)" in run) and len(digits) >= (8 if gaps else 10)
    prefix = re.match(r"00[ .-]?(?=[1-9])|011[ .-](?=[1-9])", run)
    if prefix is None:
        return False
    rest = run[prefix.end() :]
    country = _COUNTRY.match(rest)
    # With zeros instead of a plus, the country's code must stand by itself: 0041 0042 0043 are others' codes.
    if country is None or rest[country.end() : country.end() + 1] not in tuple(" .-/("):
        return False
    # Four digits a group are a table's, but in Singapore: 0065 6123 4567
    if re.fullmatch(r"00\d\d(?: \d{4}){2,}", run) and country[0] != "65":
        return False
    return _is_plan(_TRUNK.sub("", rest), has_trunk="(0)" in rest)


def _is_plan(run: str, *, has_trunk: bool) -> bool:
    """Tell whether country and length are a number's. A trunk's 0 behind the country is Italy's, or in brackets."""
    digits = re.sub(r"\D", "", run)
    country = _COUNTRY.match(digits)
    if country is None:
        return False
    fewest, most = _LENGTHS.get(country[0], (6, 11))
    if country[0] == "1":
        return _NORTH_AMERICA.fullmatch(digits) is not None
    national = digits[country.end() :]
    if national[0] == "0" and country[0] not in ("39", "225", "242", "378") and not has_trunk:
        national = national[1:]
        if national[:1] == "0":
            return False
    return fewest <= len(national) <= most


def _is_national(run: str, digits: str, before: str) -> bool:
    match = _NATIONAL.fullmatch(run)
    if match is None or not 9 <= len(digits) <= 12:
        return False
    if match["mobile"]:
        # 2³⁴ is 17179869184: sizes of memory are multiples of 1,024, and amounts end in zeros.
        return int(digits) % 1024 != 0 and int(digits) % 10**6 != 0 and not _MEASURE.search(before)
    groups = [int(group) for group in re.findall(r"\d+", run)]
    if run[0] == "(" and run[1] != "0" and len(groups) == 3 and 0 <= groups[2] - groups[1] < _MOST_PAGES:
        return False
    return not (_BLANKS_ONLY.fullmatch(run) and _MEASURE.search(before))
