"""IBAN: account numbers of the form that their country has, with right check digits (ISO 13616, ISO 7064 mod 97)."""

import re
from collections.abc import Iterator, Mapping

from cuvee.tasks.ingest.personal import BLANK, HYPHEN, SEVEN_DIGITS, Chains

TOKEN = "<IBAN>"

# Country → what follows its check digits, as the SWIFT IBAN Registry writes it: n digits, a letters, c either. The last
# two lines are countries that use the form without being registered.
_FORMS = """
    11n NO; 12n BE; 14n AX DK FI FO GL SD; 2a12n FK; 4a10n NL; 3n10c2n MK; 15n SI; 16n AT BA EE LT MN XK; 3n13c KZ LU
    5n12c CH LI; 17n HR; 4a13c LV; 4a6n8c BG; 4a14c BH; 18n CR DE ME RS VA; 4a14n GB GG IE IM JE; 2a16n GE
    19n AE IL SO TL; 4a15c GI; 4a15n IQ; 3n16c OM; 8n12c AD; 20n CZ ES SE SK TN; 20c MD; 4a16c PK RO; 2n18c SA; 4a16n VG
    21n LY PT ST; 22n IS; 6n16c TR; 23n BI DJ MR; 10n11c2n BL FR GF GP MC MF MQ NC PF PM RE TF WF YT; 7n16c GR
    1a10n12c IT SM; 8n16c AL CY; 4a20c AZ; 4c4n16c BY; 4c20n DO; 4c20c GT; 4a20n HN NI SV; 24n HU PL; 4n20c LB
    23n1a1c BR; 25n EG; 4a21c PS QA; 6n19c UA; 4a4n18c JO YE; 4a22c KW; 4a19n3a MU; 4a5n18c MT; 4a20n3a SC; 4a24c LC
    14n15c RU
    21n AO CV MZ; 2c22n BF BJ ML; 23n CF CG CM GA GQ KM MG NE TD; 2a22n CI SN TG; 22n DZ IR; 2c19n GW; 24n MA
"""
_CLASSES = {"n": "[0-9]", "a": "[A-Z]", "c": "[A-Z0-9]"}


def _accounts() -> Mapping[str, tuple[int, re.Pattern[str]]]:
    """Map each country to the length of its numbers, and to the form of the whole number without blanks."""
    found = {}
    for form, *countries in (line.split() for line in _FORMS.replace("\n", ";").split(";") if line.strip()):
        parts = re.findall(r"(\d+)([nac])", form)
        pattern = "".join(f"{_CLASSES[kind]}{{{count}}}" for count, kind in parts)
        length = 4 + sum(int(count) for count, _ in parts)
        for country in countries:
            found[country] = length, re.compile(f"{country}[0-9]{{2}}{pattern}")
    return found


_ACCOUNTS = _accounts()
# Numbers of all countries have some digits in a row, and rows without are passed over fast.
CANDIDATES: Chains = ((SEVEN_DIGITS, rf"(?i-u:{'|'.join(_ACCOUNTS)})[0-9]{{2}}[{BLANK}{HYPHEN}.]?[A-Za-z0-9]{{2}}"),)
_SOME = re.compile(r"[A-Za-z]{2}[0-9]{2}(?:[ .-]?[A-Za-z0-9]){11,30}")


def spans(text: str) -> Iterator[tuple[int, int]]:
    """Yield start and end of each account number, in order."""
    place = 0
    while match := _SOME.search(text, place):
        before = text[max(0, match.start() - 5) : match.start()].upper()
        is_inside = before[-1:].isascii() and before[-1:].isalnum() and before[-4:] != "IBAN"
        length = 0 if is_inside else _length(match[0])
        # What is no number may hold one behind its first letters: IBANDE89…
        place = match.start() + (length or 1)
        if length:
            yield match.start(), place


def _length(found: str) -> int:
    """Return how many of the characters are an account number, 0 for none."""
    wanted, form = _ACCOUNTS.get(found[:2].upper(), (0, None))
    places = [place for place, character in enumerate(found) if character.isalnum()]
    if form is None or len(places) < wanted:
        return 0
    end = places[wanted - 1] + 1
    compact = "".join(found[place] for place in places[:wanted]).upper()
    separators = set(found[:end]) & set(" .-")
    if len(separators) > 1 or found[end : end + 1].isalnum() or not form.fullmatch(compact):
        return 0
    return end if int("".join(str(int(character, 36)) for character in compact[4:] + compact[:4])) % 97 == 1 else 0
