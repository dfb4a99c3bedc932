"""Licences: one spelling each, as SPDX expressions, and what they allow.

A name is looked up by its words: case, punctuation, "The", "License", "Version" and the like do not count, so that
"The Apache License, Version 2.0", "apache-2.0" and "Apache 2" are one key. What is not in the tables is `unknown`:
a licence is never guessed. Identifiers: SPDX License List 3.x. Spellings: the trove classifiers, the licence tags of
model and data hubs, and the names that licence texts give themselves.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from itertools import product

from cuvee.schemas.errors import RecipeError

UNKNOWN = "unknown"
PUBLIC_DOMAIN = "LicenseRef-Public-Domain"
PROPRIETARY = "LicenseRef-Proprietary"

_CREATIVE_COMMONS = [
    f"CC-{terms}-{version}"
    for terms in ("BY", "BY-SA", "BY-NC", "BY-NC-SA", "BY-ND", "BY-NC-ND")
    for version in ("1.0", "2.0", "2.5", "3.0", "4.0")
]
_VERSIONS_OF_GNU = "GPL-1.0 GPL-2.0 GPL-3.0 LGPL-2.0 LGPL-2.1 LGPL-3.0 AGPL-1.0 AGPL-3.0 GFDL-1.1 GFDL-1.2 GFDL-1.3"
_GNU = [f"{name}-{ending}" for name in _VERSIONS_OF_GNU.split() for ending in ("only", "or-later")]
_OTHERS = """
    CC-BY-2.5-AU CC-BY-3.0-AT CC-BY-3.0-AU CC-BY-3.0-DE CC-BY-3.0-IGO CC-BY-3.0-NL CC-BY-3.0-US CC-BY-NC-3.0-DE
    CC-BY-NC-ND-3.0-DE CC-BY-NC-ND-3.0-IGO CC-BY-NC-SA-2.0-DE CC-BY-NC-SA-2.0-FR CC-BY-NC-SA-2.0-UK CC-BY-NC-SA-3.0-DE
    CC-BY-NC-SA-3.0-IGO CC-BY-ND-3.0-DE CC-BY-SA-2.0-UK CC-BY-SA-2.1-JP CC-BY-SA-3.0-AT CC-BY-SA-3.0-DE
    CC-BY-SA-3.0-IGO CC0-1.0 CC-PDDC 0BSD AFL-2.1 AFL-3.0 Apache-1.1 Apache-2.0 Artistic-1.0 Artistic-2.0 BlueOak-1.0.0
    BSD-1-Clause BSD-2-Clause BSD-3-Clause BSD-3-Clause-Clear BSD-4-Clause BSL-1.0 BUSL-1.1 CDDL-1.0 CDDL-1.1
    CDLA-Permissive-1.0 CDLA-Permissive-2.0 CDLA-Sharing-1.0 CECILL-2.1 CECILL-B CECILL-C CNRI-Python CPL-1.0 ECL-2.0
    Elastic-2.0 EPL-1.0 EPL-2.0 etalab-2.0 EUPL-1.1 EUPL-1.2 FSFAP FTL HPND ICU IJG ISC JSON Libpng MIT MIT-0 MIT-CMU
    MPL-1.0 MPL-1.1 MPL-2.0 MS-PL MS-RL MulanPSL-2.0 NCSA ODbL-1.0 ODC-By-1.0 OFL-1.1 OGL-UK-1.0 OGL-UK-2.0 OGL-UK-3.0
    OGL-Canada-2.0 OGC-1.0 OpenSSL OSL-3.0 PDDL-1.0 PHP-3.01 PolyForm-Noncommercial-1.0.0 PostgreSQL PSF-2.0 Python-2.0
    Python-2.0.1 QPL-1.0 Ruby SISSL SSPL-1.0 TCL Unicode-3.0 Unicode-DFS-2016 Unlicense UPL-1.0 Vim W3C WTFPL X11
    Xnet Zlib zlib-acknowledgement ZPL-1.1 ZPL-2.0 ZPL-2.1"""
_IDS = [*_CREATIVE_COMMONS, *_GNU, *_OTHERS.split()]

# Spelling → identifier, where the words differ from the identifier's own.
_ALIASES = {
    "MIT": ("Expat", "MIT Expat", "MIT/X11", "MIT X", "MIT/Expat", "X Consortium"),
    "Apache-2.0": ("Apache", "Apache Software", "ASL 2.0", "AL 2.0", "Apache Software Foundation 2.0", "ALv2"),
    # The conditions of BSD-3-Clause contain those of BSD-2-Clause: who keeps the former keeps either.
    "BSD-3-Clause": ("BSD", "New BSD", "Modified BSD", "Revised BSD", "BSD 3", "BSD New", "BSD Style"),
    "BSD-2-Clause": ("Simplified BSD", "FreeBSD", "BSD 2", "BSD-2-Clause-FreeBSD", "BSD-2-Clause-NetBSD"),
    "BSD-4-Clause": ("Original BSD", "BSD 4"),
    "0BSD": ("Zero-Clause BSD", "Free Public License 1.0.0"),
    "ISC": ("ISCL",),
    "MIT-0": ("MIT No Attribution",),
    "Zlib": ("zlib/libpng",),
    "PSF-2.0": ("PSF", "PSFL", "Python Software Foundation", "PSF License Version 2"),
    "Python-2.0": ("Python",),
    "MPL-2.0": ("MPL",),
    # "If the Program does not specify a version number, you may choose any version": GPL-2.0 §9, GPL-3.0 §14.
    "GPL-1.0-or-later": ("GPL", "GNU"),
    "LGPL-2.0-or-later": ("LGPL",),
    "AGPL-3.0-only": ("AGPL",),
    "GFDL-1.1-or-later": ("GFDL",),
    "EUPL-1.2": ("European Union Public Licence 1.2",),
    "EUPL-1.1": ("European Union Public Licence 1.1",),
    "EPL-2.0": ("Eclipse Public License 2.0",),
    "EPL-1.0": ("Eclipse Public License 1.0",),
    "BSL-1.0": ("Boost Software License 1.0", "Boost"),
    "BUSL-1.1": ("Business Source License 1.1",),
    "AFL-3.0": ("Academic Free License 3.0",),
    "Artistic-2.0": ("Artistic License 2.0", "Perl Artistic 2.0"),
    "ZPL-2.1": ("Zope Public License 2.1",),
    "UPL-1.0": ("Universal Permissive License", "UPL"),
    "HPND": ("Historical Permission Notice and Disclaimer",),
    "NCSA": ("University of Illinois/NCSA Open Source",),
    "OFL-1.1": ("SIL Open Font License 1.1", "SIL OFL 1.1"),
    "WTFPL": ("Do What The Fuck You Want To Public License",),
    "W3C": ("W3C Software Notice and License", "W3C Software"),
    "PostgreSQL": ("PostgreSQL License",),
    "MS-PL": ("Microsoft Public License",),
    "ODbL-1.0": ("ODbL", "Open Database License", "Open Data Commons Open Database License 1.0"),
    "ODC-By-1.0": ("ODC-By", "Open Data Commons Attribution License 1.0", "Open Data Commons Attribution"),
    "PDDL-1.0": ("PDDL", "Open Data Commons Public Domain Dedication and License 1.0"),
    "OGL-UK-3.0": ("Open Government Licence v3.0", "OGL v3"),
    "OGL-UK-2.0": ("Open Government Licence v2.0", "OGL v2"),
    "etalab-2.0": ("Licence Ouverte 2.0", "Etalab Open License 2.0"),
    "CC0-1.0": ("CC0", "CC Zero", "Creative Commons Zero", "CC0 1.0 Universal Public Domain Dedication",
                "Creative Commons Zero v1.0 Universal", "Creative Commons CC0"),
    PUBLIC_DOMAIN: ("Public domain", "US public domain", "Public domain in the USA", "PD", "Public Domain Mark 1.0",
                    "Creative Commons Public Domain Mark 1.0", "CC-PDM-1.0", "PDM 1.0", "United States public domain",
                    "US government work", "Work of the United States Government",
                    "LicenseRef-scancode-public-domain"),
    PROPRIETARY: ("Proprietary", "Other/Proprietary", "Commercial", "All rights reserved", "Closed source",
                  "Copyrighted", "LicenseRef-scancode-proprietary-license"),
}  # fmt: skip

_PHRASES = [
    (re.compile(pattern), short)
    for pattern, short in (
        (r"(?:gnu )?affero (?:general )?public", "agpl"),
        (r"(?:gnu )?(?:lesser|library|library or lesser) general public", "lgpl"),
        (r"(?:gnu )?free documentation", "gfdl"),
        (r"(?:gnu )?general public", "gpl"),
        (r"mozilla public", "mpl"),
        (r"gnu (?=a?l?gpl|gfdl)", ""),
        (r"creative commons", "cc"),
        (r"non ?commercial", "nc"),
        (r"no ?deriv(?:ative)?(?: ?work)?s?", "nd"),
        (r"share ?alike", "sa"),
        (r"\b(?:cc )?attribution\b(?= (?:nc|nd|sa|\d))", "cc by"),
        (r"\bcc by(?=\d)", "cc by "),
        (r"\bany later\b", "later"),
        (r"\bor newer\b", "or later"),
    )
]
_FILLER_WORDS = "the license licence licensed under version v only international universal unported generic"
_FILLERS = frozenset(_FILLER_WORDS.split())
_CC_URL = re.compile(r"creativecommons\.org/(licenses|publicdomain)/([a-z-]+)/(\d\.\d)(?:/([a-z]{2,3})\b)?")
_CC_WITH_PORT = re.compile(r"(cc-[a-z-]+-\d\.\d)-[a-z]{2,5}", re.IGNORECASE)
_URLS = {
    "opensource.org/licenses/": "",
    "opensource.org/license/": "",
    "spdx.org/licenses/": "",
    "choosealicense.com/licenses/": "",
    "apache.org/licenses/license-": "apache-",
    "gnu.org/licenses/": "",
    "opendatacommons.org/licenses/": "",
}
_REFERENCE = re.compile(r"(?:DocumentRef-[A-Za-z0-9.-]+:)?LicenseRef-[A-Za-z0-9.-]+")
_EXCEPTION = re.compile(r"[A-Za-z0-9.-]*exception[A-Za-z0-9.-]*", re.IGNORECASE)
# A remark such as "(per PEP)" or "(GPLv3+)" follows a name; a group follows an operator or another parenthesis.
_REMARK = re.compile(r"(?<=[\w.+-])(?<!\bor)(?<!\band)(?<!\bwith)\s*\([^()]*\)", re.IGNORECASE)
_TOKENS = re.compile(r"(\(|\)|\bOR\b|\bAND\b|\bWITH\b)")
# Longer values are licence texts, not names; the bounds also keep the parser's recursion and products small.
_MAX_LENGTH = 200
_MAX_GROUPS = 20


@dataclass(frozen=True)
class _Node:
    """An operator over two or more parts, or (operator "") one licence, with its exception if it has one."""

    operator: str
    parts: tuple["_Node", ...] = ()
    name: str = ""


def _key(name: str) -> str:
    """Reduce a name to its sorted words, so that spelling and word order do not count."""
    words = re.sub(r"[^a-z0-9.+]+", " ", name.lower().replace("+", " or later "))
    words = re.sub(r"\b(a?l?gpl|gfdl|apache|mpl|alv|epl|eupl)v?(?=\d)", r"\1 ", words)
    words = re.sub(r"\bv(?=\d)", "", words)
    words = " ".join(words.replace("licence", "license").split())
    for pattern, short in _PHRASES:
        words = pattern.sub(short, words)
    kept = {re.sub(r"^(\d+)(?:\.0)+$", r"\1", word.strip(".")) for word in words.split() if word not in _FILLERS}
    return " ".join(sorted(kept))


_BY_KEY = {_key(spelling): name for name, spellings in _ALIASES.items() for spelling in spellings} | {
    _key(name): name for name in _IDS
}


def _from_url(name: str) -> str:
    """Turn the address of a licence into a name; anything else is returned as it is."""
    address = re.sub(r"^https?://(?:www\.)?", "", name.strip().lower()).rstrip("/")
    if found := _CC_URL.search(address):
        area, terms, version, port = found.groups()
        if area == "publicdomain":
            return {"zero": "CC0-1.0", "mark": PUBLIC_DOMAIN}.get(terms, name)
        return f"cc-{terms}-{version}" + (f"-{port}" if port else "")
    for prefix, replacement in _URLS.items():
        if address.startswith(prefix):
            return replacement + re.sub(r"(?:\.(?:html|txt|en|php))+$", "", address.removeprefix(prefix))
    return name


def _resolve(name: str) -> str | None:
    """Give the identifier of one licence name, or None when the tables do not hold it."""
    name = _from_url(name.rsplit("::", 1)[-1].strip())
    found = _BY_KEY.get(_key(name)) or _BY_KEY.get(_key(_REMARK.sub("", name)))
    if found is None and _REFERENCE.fullmatch(name):
        return name
    if found is None and (ported := _CC_WITH_PORT.fullmatch(name)):
        # The terms (BY, NC, SA, ND) of a port that SPDX does not list are those of the licence it ports.
        return _BY_KEY.get(_key(ported[1]))
    return found


def _parse(text: str, resolve: Callable[[str], str | None]) -> _Node | None:
    """Parse an SPDX expression (AND binds before OR); None when it is malformed or `resolve` refuses a name."""
    if len(text) > _MAX_LENGTH or text.count("(") > _MAX_GROUPS:
        return None
    tokens = [token.strip() for token in _TOKENS.split(text) if token.strip()]
    position = 0

    def peek() -> str:
        return tokens[position] if position < len(tokens) else ""

    def advance() -> str:
        nonlocal position
        position += 1
        return tokens[position - 1] if position <= len(tokens) else ""

    def atom() -> _Node | None:
        token = advance()
        if token == "(":
            inner = chain("OR")
            return inner if inner and advance() == ")" else None
        name = None if token in ("", ")", "OR", "AND", "WITH") else resolve(token)
        if name and peek() == "WITH":
            advance()
            exception = advance()
            name = f"{name} WITH {exception}" if _EXCEPTION.fullmatch(exception) else None
        return _Node("", name=name) if name else None

    def chain(operator: str) -> _Node | None:
        parts: list[_Node] = []
        while True:
            part = chain("AND") if operator == "OR" else atom()
            if part is None:
                return None
            parts += part.parts if part.operator == operator else [part]
            if peek() != operator:
                break
            advance()
        parts = list(dict.fromkeys(parts))
        return parts[0] if len(parts) == 1 else _Node(operator, tuple(parts))

    tree = chain("OR")
    return tree if position == len(tokens) else None


def _render(node: _Node, inside: str = "") -> str:
    if not node.operator:
        return node.name
    text = f" {node.operator} ".join(_render(part, node.operator) for part in node.parts)
    return f"({text})" if inside == "AND" and node.operator == "OR" else text


@lru_cache(maxsize=4096)
def spdx(text: str | None) -> str:
    """Give the SPDX expression that a licence field means, or `unknown`.

    Classifiers, common names, addresses of licences and expressions are understood; "A / B" is read as a choice.
    `unknown` stands for empty fields, licence texts, names without a version where versions differ (CC BY), and
    expressions of which one part is unknown. `spdx(spdx(x)) == spdx(x)`.
    """
    name = " ".join((text or "").split())
    if not name or len(name) > _MAX_LENGTH:
        return UNKNOWN
    if known := _resolve(name):
        return known
    expression = _REMARK.sub("", name)
    # Operators are upper case in SPDX; lower case is tried second, for "GPL-3.0 or later OR MIT".
    spellings = (expression, re.sub(r"\b(?:or|and|with)\b", lambda word: word[0].upper(), expression))
    for spelling in (*spellings, *(each.replace("/", " OR ") for each in spellings)):
        tree = _parse(spelling, _resolve)
        if tree and len(_render(tree)) <= _MAX_LENGTH:
            return _render(tree)
    return UNKNOWN


def alternatives(expression: str) -> list[frozenset[str]]:
    """List the choices that an expression leaves: each is a set of licences that hold together.

    expression: as `spdx` gives it; names are taken as they are, with "WITH exception" kept on the name.
    Choices come in the order written, without repeats. Raises RecipeError for a malformed expression.
    """
    tree = _parse(expression, lambda name: name if re.fullmatch(r"[A-Za-z0-9.+:-]+", name) else None)
    if tree is None:
        raise RecipeError(f"{expression!r} is not a licence expression; write it like MIT or MIT OR Apache-2.0")

    def expand(node: _Node) -> list[frozenset[str]]:
        if not node.operator:
            return [frozenset([node.name])]
        parts = [expand(part) for part in node.parts]
        if node.operator == "OR":
            return [choice for part in parts for choice in part]
        return [frozenset().union(*choice) for choice in product(*parts)]

    return list(dict.fromkeys(expand(tree)))


def _is_open(name: str) -> bool:
    """Tell whether a licence is known to allow derivatives; the terms of a foreign LicenseRef are not known."""
    if name == UNKNOWN or "-ND" in name:
        return False
    return name == PUBLIC_DOMAIN or "LicenseRef-" not in name


def allows_derivatives(expression: str) -> bool:
    """Tell whether text may be rewritten: one choice at least holds only licences known to allow derivatives."""
    return any(all(_is_open(name) for name in choice) for choice in alternatives(expression))


_SHARE_ALIKE = ("GPL-", "LGPL-", "AGPL-", "GFDL-", "ODbL-", "MPL-", "EPL-", "EUPL-", "OSL-", "CDLA-Sharing", "SSPL-",
                "CECILL-2", "OFL-", "MS-RL", "QPL-", "CDDL-", "CPL-")  # fmt: skip


def _terms(name: str) -> frozenset[str]:
    noncommercial = (name.startswith("CC-") and "-NC" in name) or "Noncommercial" in name
    share_alike = (name.startswith("CC-") and "-SA" in name) or name.startswith(_SHARE_ALIKE)
    return frozenset(["NC"] * noncommercial + ["SA"] * share_alike)


def obligations(expression: str) -> frozenset[str]:
    """Give the terms that no choice avoids: NC (no commercial use), SA (derivatives under the same licence; copyleft).

    `unknown` has none here: it is not a promise, see `allows_derivatives`.
    """
    terms = [frozenset().union(*map(_terms, choice)) for choice in alternatives(expression)]
    return frozenset.intersection(*terms)
