"""Card: numbers of payment cards, by issuer, length and check digit; an expiry date behind stays."""

import re
from collections.abc import Iterator
from itertools import pairwise

from cuvee.tasks.ingest.personal import BLANK, HYPHEN, SEVEN_DIGITS, Chains

TOKEN = "<CARD>"
CANDIDATES: Chains = ((SEVEN_DIGITS, rf"[0-9](?:[{BLANK}{HYPHEN}.]?[0-9]){{12}}"),)

_CARD = re.compile(
    r"[0-9](?:[0-9]{12,18}|[0-9]{3}(?:"
    r"(?P<gap>[ .-])[0-9]{4}(?P=gap)[0-9]{4}(?P=gap)[0-9]{1,4}(?P<fifth>(?P=gap)[0-9]{1,3})?"
    r"|(?P<gap2>[ -])[0-9]{6}(?P=gap2)[0-9]{4,5}))"
)
_BEFORE = re.compile(r"(?:[A-Za-z0-9_.+/]|[0-9][-,]|[A-Za-z_]-)\Z")
_BEHIND = re.compile(r"[A-Za-z0-9_]|[.,][0-9]|[-/ ][0-9]")
# 12/27, 1/27, 12/2027, 12-27, 1227, 2027-12; a card's number is seldom followed by anything else that has digits.
_EXPIRY = re.compile(
    r"[ ,;|/-]{1,3}(?:(?:0[1-9]|1[0-2])(?: ?[/.-] ?| )?(?:20)?[0-4][0-9]"
    r"|[1-9][/-](?:20)?[0-4][0-9]|20[0-4][0-9][/-](?:0[1-9]|1[0-2]))"
    r"(?![0-9]|[-/][0-9])"
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
# Groups of four that follow each other closely are a table's: 5406 5407 5408 5409
_CLOSE = 10


def spans(text: str) -> Iterator[tuple[int, int]]:
    """Yield start and end of each card's number, in order."""
    for match in _CARD.finditer(text):
        start = match.start()
        if _BEFORE.search(text[max(0, start - 2) : start]):
            continue
        # A fifth group may be the number's, or the month behind it.
        ends = [match.end()] if match["fifth"] is None else [match.end(), match.start("fifth")]
        for end in ends:
            is_alone = _EXPIRY.match(text, end) or not _BEHIND.match(text, end)
            if is_alone and _is_card(text[start:end]):
                yield start, end
                break


def _is_card(found: str) -> bool:
    digits = re.sub(r"\D", "", found)
    if not _ISSUERS.fullmatch(digits):
        return False
    groups = [int(group) for group in re.findall(r"\d+", found)]
    if sum(0 < abs(left - right) <= _CLOSE for left, right in pairwise(groups)) > 1:
        return False
    # Luhn: from the right, every second digit counts double, with its own digits added.
    total = sum(int(digit) for digit in digits[-1::-2]) + sum(
        sum(divmod(2 * int(digit), 10)) for digit in digits[-2::-2]
    )
    return total % 10 == 0
