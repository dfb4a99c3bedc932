"""Licences: one spelling each, as SPDX expressions, and what they allow.

Everything that names a licence is read here: rows, recipes and filters. A name is looked up by its words: case, word
order, "The", "License", "Version" and the like do not count, so that "The Apache License, Version 2.0", "apache-2.0"
and "Apache 2" are one key. All else counts: what the tables do not hold as a whole is `unknown`, and so is what
restricts or negates a licence, names two without saying how they go together, or stands for several (BSD, Apache,
CC BY). A licence is never guessed. Spellings: those of SPDX, the trove classifiers, the licence tags of model and data
hubs, and the names that licence texts give themselves.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from itertools import product

from cuvee.schemas.errors import RecipeError
from cuvee.schemas.spdx_list import EXCEPTIONS, LICENSES, REPLACED

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
    CC-BY-SA-3.0-IGO CC0-1.0 CC-PDDC CC-PDM-1.0 0BSD AFL-2.1 AFL-3.0 Apache-1.1 Apache-2.0 Artistic-1.0 Artistic-2.0
    BlueOak-1.0.0 BSD-1-Clause BSD-2-Clause BSD-3-Clause BSD-3-Clause-Clear BSD-4-Clause BSL-1.0 BUSL-1.1 CDDL-1.0
    CDDL-1.1 CDLA-Permissive-1.0 CDLA-Permissive-2.0 CDLA-Sharing-1.0 CECILL-2.1 CECILL-B CECILL-C CNRI-Python CPL-1.0
    ECL-2.0     Elastic-2.0 EPL-1.0 EPL-2.0 etalab-2.0 EUPL-1.1 EUPL-1.2 FSFAP FTL HPND ICU IJG ISC JSON Libpng MIT
    MIT-0 MIT-CMU     MPL-1.0 MPL-1.1 MPL-2.0 MS-PL MS-RL MulanPSL-2.0 NCSA ODbL-1.0 ODC-By-1.0 OFL-1.1 OGL-UK-1.0
    OGL-UK-2.0 OGL-UK-3.0     OGL-Canada-2.0 OGC-1.0 OpenSSL OSL-3.0 PDDL-1.0 PHP-3.01 PolyForm-Noncommercial-1.0.0
    PostgreSQL PSF-2.0 Python-2.0     Python-2.0.1 QPL-1.0 Ruby SISSL SSPL-1.0 TCL Unicode-3.0 Unicode-DFS-2016
    Unlicense UPL-1.0 Vim W3C WTFPL X11     Xnet Zlib zlib-acknowledgement ZPL-1.1 ZPL-2.0 ZPL-2.1"""
# Those whose terms were looked up: all of them allow derivatives, but for ND. Others of SPDX's list may not.
_REVIEWED = frozenset((*_CREATIVE_COMMONS, *_GNU, *_OTHERS.split()))

# Spelling → identifier, where the words differ from the identifier's own.
_ALIASES = {
    "MIT": ("Expat", "MIT Expat", "MIT/X11"),
    "Apache-2.0": ("ASL 2.0", "AL 2.0", "Apache Software 2.0", "Apache Software Foundation 2.0", "ALv2",
                   "Apache License, Version 2.0, January 2004"),
    "BSD-3-Clause": ("New BSD", "Modified BSD", "Revised BSD", "BSD 3", "BSD New", "BSD (3-clause)"),
    "BSD-2-Clause": ("Simplified BSD", "FreeBSD", "BSD 2", "BSD (2-clause)"),
    "BSD-4-Clause": ("Original BSD", "BSD 4"),
    "0BSD": ("Zero-Clause BSD", "Free Public License 1.0.0"),
    "ISC": ("ISCL",),
    "MIT-0": ("MIT No Attribution",),
    "Zlib": ("zlib/libpng",),
    "PSF-2.0": ("PSF", "PSFL", "Python Software Foundation", "PSF License Version 2"),
    # "If the Program does not specify a version number, you may choose any version": GPL-2.0 §9, GPL-3.0 §14,
    # AGPL-3.0 §14, GFDL-1.1 §10.
    "GPL-1.0-or-later": ("GPL",),
    "LGPL-2.0-or-later": ("LGPL",),
    "AGPL-3.0-or-later": ("AGPL",),
    "GFDL-1.1-or-later": ("GFDL", "FDL"),
    "EUPL-1.2": ("European Union Public Licence 1.2",),
    "EUPL-1.1": ("European Union Public Licence 1.1",),
    "EPL-2.0": ("Eclipse Public License 2.0",),
    "EPL-1.0": ("Eclipse Public License 1.0",),
    "Beerware": ("Beer-ware",),
    "CDDL-1.0": ("Common Development and Distribution License 1.0",),
    "ECL-2.0": ("Educational Community License 2.0",),
    "OSL-3.0": ("Open Software License 3.0",),
    "MulanPSL-2.0": ("Mulan Permissive Software License 2",),
    "BSL-1.0": ("Boost Software License 1.0", "Boost"),
    "BUSL-1.1": ("Business Source License 1.1",),
    "AFL-3.0": ("Academic Free License 3.0",),
    "Artistic-2.0": ("Artistic License 2.0", "Perl Artistic 2.0"),
    "ZPL-2.1": ("Zope Public License 2.1",),
    "UPL-1.0": ("Universal Permissive License", "Universal Permissive License 1.0", "UPL"),
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
    "etalab-2.0": ("Licence Ouverte 2.0", "Etalab Open License 2.0"),
    "CC0-1.0": ("CC0", "CC Zero", "Creative Commons Zero", "CC0 1.0 Universal Public Domain Dedication",
                "CC0 Public Domain Dedication", "Creative Commons Public Domain Dedication 1.0",
                "Creative Commons Zero v1.0 Universal", "Creative Commons CC0"),
    "CC-PDM-1.0": ("Public Domain Mark 1.0", "Creative Commons Public Domain Mark 1.0", "PDM 1.0"),
    PUBLIC_DOMAIN: ("Public domain", "US public domain", "Public domain in the USA", "PD",
                    "United States public domain", "US government work", "Work of the United States Government",
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
        # The title of the legal code.
        (r"\binternational public\b(?= license)", "international"),
    )
]
_FILLERS = frozenset(["the", "license", "licence", "licensed", "under", "version", "v", "only"])
_FILLERS_OF_CC = frozenset(["international", "universal", "unported", "generic"])
# The jurisdictions that Creative Commons ported its licences to, up to version 3.0.
_PORTS = (
    "ar|at|au|az|be|bg|br|ca|ch|cl|cn|co|cr|cz|de|dk|ec|ee|eg|es|fi|fr|ge|gr|gt|hk|hr|hu|ie|igo|il|in|it|jp|kr|lu|mk|mt"
    "|mx|my|ng|nl|no|nz|pe|ph|pl|pr|pt|ro|rs|scotland|se|sg|si|th|tw|ug|uk|us|ve|vn|za"
)
_CC_WITH_PORT = re.compile(rf"(cc-[a-z-]+-[123]\.\d)-(?:{_PORTS})", re.IGNORECASE)
_ADDRESS = re.compile(r"(?:https?://)?(?:www\.)?([a-z0-9.-]+\.[a-z]+/[^\s?#]*?)/?(?:[?#]\S*)?", re.IGNORECASE)
_CC_ADDRESS = re.compile(
    rf"creativecommons\.org/(licenses|publicdomain)/([a-z-]+)/(\d\.\d)(?:/({_PORTS}))?"
    r"(?:/(?:deed|legalcode)(?:[.-][a-z_-]+)?)?"
)
_ADDRESSES = {
    "opensource.org/licenses/": "",
    "opensource.org/license/": "",
    "spdx.org/licenses/": "",
    "choosealicense.com/licenses/": "",
    "apache.org/licenses/license-": "apache-",
    "gnu.org/licenses/old-licenses/": "",
    "gnu.org/licenses/": "",
    "opendatacommons.org/licenses/": "",
}
_CLASSIFIER = re.compile(r"License ::(?: OSI Approved ::)? ([^:]+)")
_LABEL = re.compile(r"^(?:SPDX-License-Identifier|licen[sc]e) ?: ", re.IGNORECASE)
# A name may hold letters, digits and these. A sign such as ! or ≥ may turn what it stands at into its opposite.
_NAME = re.compile(r"[\w .,:;/()+'\"’“”–-]+")
# A comma before a version parts nothing; any other parts two names.
_COMMA = re.compile(r", ?(?=(?:version |v\.? ?)?\d)")
_REFERENCE = re.compile(r"(?:DocumentRef-[A-Za-z0-9.-]+:)?LicenseRef-[A-Za-z0-9.-]+")
# What a remark in brackets behind a name may say, beside the name once more: where it stands, who approves of it.
_REMARK_WORDS = frozenset(
    ["per", "pep", "spdx", "osi", "approved", "see", "the", "license", "licence", "file", "txt", "md", "for", "details"]
)
_REMARK = re.compile(r" ?\(([^()]*)\)")
_TOKENS = re.compile(r"(\(|\)|(?<![\w-])(?:OR|AND|WITH)(?![\w-]))")
_LOWER_OPERATOR = re.compile(r"(?<![\w-])(?:or(?! (?:any )?(?:later|newer))|and|with)(?![\w-])")
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
    words = _COMMA.sub(" ", name.lower().replace("+", " or later "))
    # Marks that part names stay as words of their own.
    words = re.sub(r"[,:;/()]|(?<!\bv)\.(?= )", r" \g<0> ", words)
    words = re.sub(r"[^\w.,:;/()]+|_", " ", words)
    words = re.sub(r"\b(a?l?gpl|gfdl|apache|mpl|alv|epl|eupl)v?(?=\d)", r"\1 ", words)
    words = re.sub(r"\bv(?=\d)", "", words)
    words = " ".join(words.replace("licence", "license").split())
    for pattern, short in _PHRASES:
        words = pattern.sub(short, words)
    found = [re.sub(r"^(\d+)(?:\.0)+$", r"\1", re.sub(r"\b\.$", "", word)) for word in words.split()]
    fillers = _FILLERS - {"only"} if "later" in found else _FILLERS
    fillers |= _FILLERS_OF_CC if "cc" in found or "cc0" in found else frozenset()
    return " ".join(sorted(word for word in found if word not in fillers))


_BY_KEY = {_key(spelling): name for name, spellings in _ALIASES.items() for spelling in spellings} | {
    _key(name): name for name in _REVIEWED
}
_BY_ID = {name.lower(): name for name in LICENSES} | {name.lower(): known for name, known in REPLACED.items()}
_EXCEPTION_BY_ID = {name.lower(): name for name in EXCEPTIONS}


def _from_address(name: str) -> str | None:
    """Turn the address of a licence into a name; None for what is no address, or not that of a licence."""
    found = _ADDRESS.fullmatch(name)
    if found is None:
        return None
    address = found[1].lower()
    if common := _CC_ADDRESS.fullmatch(address):
        area, terms, version, port = common.groups()
        if area == "publicdomain":
            return {"zero": "CC0-1.0", "mark": "CC-PDM-1.0"}.get(terms)
        return f"cc-{terms}-{version}" + (f"-{port}" if port else "")
    for prefix, replacement in _ADDRESSES.items():
        rest = re.sub(r"(?:\.(?:html|txt|en|php))+$", "", address.removeprefix(prefix))
        if address.startswith(prefix) and "/" not in rest:
            # The address of the newest version names no version.
            return replacement + rest if "gnu" not in prefix or re.search(r"\d", rest) else None
    return None


def _resolve(name: str) -> str | None:
    """Give the identifier of one licence name, or None when the tables do not hold it."""
    if classified := _CLASSIFIER.fullmatch(name):
        name = classified[1]
    name = _from_address(name) or name
    if found := _BY_ID.get(name.lower()):
        return found
    if not _NAME.fullmatch(name):
        return None
    if found := _BY_KEY.get(_key(name)):
        return found
    if _REFERENCE.fullmatch(name):
        return name
    if ported := _CC_WITH_PORT.fullmatch(name):
        # The terms (BY, NC, SA, ND) of a port that SPDX does not list are those of the licence it ports.
        return _BY_KEY.get(_key(ported[1]))
    if name.endswith("+") and (stem := _BY_ID.get(name[:-1].lower())) and stem not in _GNU:
        return f"{stem}+"
    remarks = _REMARK.findall(name)
    found = _resolve(_REMARK.sub("", name)) if remarks else None
    return found if found and all(_adds_nothing(remark, found) for remark in remarks) else None


def _adds_nothing(remark: str, name: str) -> bool:
    """Tell whether a remark in brackets behind a licence says no more than its name."""
    words = remark.lower().replace(".", " ").split()
    return _resolve(remark.strip()) == name or (bool(words) and all(word in _REMARK_WORDS for word in words))


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

    def remarks() -> str:
        """Take what stands in brackets behind a name."""
        nonlocal position
        start = position
        while peek() == "(" and ")" in tokens[position:]:
            position = tokens.index(")", position) + 1
        return " ".join(["", *tokens[start:position]]).replace("( ", "(").replace(" )", ")")

    def atom() -> _Node | None:
        token = advance()
        if token == "(":
            inner = chain("OR")
            return inner if inner and advance() == ")" else None
        name = None if token in ("", ")", "OR", "AND", "WITH") else resolve(token + remarks())
        if name and peek() == "WITH":
            advance()
            exception = _EXCEPTION_BY_ID.get(advance().lower())
            name = f"{name} WITH {exception}" if exception and " " not in name else None
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

    Identifiers, classifiers, names, addresses of licences (alone, not in a sentence) and expressions are understood;
    "A / B" is read as a choice. `unknown` stands for empty fields, licence texts, names that stand for several
    licences, and expressions of which one part is unknown. `spdx(spdx(x)) == spdx(x)`.
    """
    name = _LABEL.sub("", " ".join((text or "").split()), count=1) if text else ""
    if not name or len(name) > _MAX_LENGTH:
        return UNKNOWN
    if known := _resolve(name):
        return known
    if "://" in name:
        return UNKNOWN
    # Operators are upper case in SPDX; lower case is tried second, for "GPL-3.0 or later OR MIT".
    spellings = (name, _LOWER_OPERATOR.sub(lambda word: word[0].upper(), name))
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
    """Tell whether a licence is known to allow derivatives; an exception only adds permissions."""
    base = name.split(" WITH ")[0].removesuffix("+")
    return base == PUBLIC_DOMAIN or (base in _REVIEWED and "-ND" not in base)


def allows_derivatives(expression: str) -> bool:
    """Tell whether text may be rewritten: one choice at least holds only licences known to allow derivatives."""
    return any(all(_is_open(name) for name in choice) for choice in alternatives(expression))


# What may be done with a text under a licence: anything; anything, if its author is named; if what comes of it has the
# same licence; something else, or less; not known.
LICENCE_CLASSES = ("open", "attribution", "share_alike", "restricted", "unknown")
_WITHOUT_CONDITIONS = frozenset(
    {PUBLIC_DOMAIN, "CC-PDDC", "0BSD", "MIT-0", "Unlicense", "WTFPL", "CC0-1.0", "CC-PDM-1.0", "PDDL-1.0"}
)
_ALIKE = re.compile(
    r"CC-BY-SA|(?:A|L)?GPL|GFDL|MPL|EUPL|EPL|CPL|CDDL|CDLA-Sharing|CECILL-[2C]|ODbL|OSL|MS-RL|QPL|SISSL|Sleepycat|OFL"
)
_LESS = re.compile(r"-NC|-ND|Noncommercial|BUSL|SSPL|Elastic|^JSON$")


def licence_class(expression: str) -> str:
    """Return the class of what an expression allows (LICENCE_CLASSES): of choices the freest, of licences that hold
    together the strictest. A licence whose terms are not known here is restricted; expression: as `spdx` gives it.
    """
    choices = [max(LICENCE_CLASSES.index(_class_of(name)) for name in choice) for choice in alternatives(expression)]
    return LICENCE_CLASSES[min(choices)]


def _class_of(name: str) -> str:
    base = name.split(" WITH ")[0].removesuffix("+")
    if base == UNKNOWN:
        return "unknown"
    if base in _WITHOUT_CONDITIONS:
        return "open"
    if base not in _REVIEWED or _LESS.search(base):
        return "restricted"
    return "share_alike" if _ALIKE.match(base) else "attribution"
