"""IP: addresses that name a host on the internet.

What stays on purpose: private, loopback, link-local, documentation, multicast and other addresses that name no host of
a person; four-part versions and section numbers.
"""

import ipaddress
import re
from collections.abc import Iterator

from cuvee.tasks.ingest.personal import Chains

TOKEN = "<IP>"
CANDIDATES: Chains = ((r"[0-9]\.[0-9]{1,3}\.[0-9]{1,3}\.[0-9]",), (r"[23][0-9A-Fa-f]{3}:[0-9A-Fa-f]{0,4}:",))

# IANA special-purpose address registries, without the blocks that route to hosts; 224.0.0.0/3: multicast and reserved.
_SPECIAL_V4_BLOCKS = """
    0.0.0.0/8 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 169.254.0.0/16 172.16.0.0/12 192.0.0.0/24 192.0.2.0/24
    192.88.99.0/24 192.168.0.0/16 198.18.0.0/15 198.51.100.0/24 203.0.113.0/24 224.0.0.0/3"""
_SPECIAL_V4 = [ipaddress.IPv4Network(block) for block in _SPECIAL_V4_BLOCKS.split()]
# Unicast addresses are 2000::/3; the rest of the space is local, multicast or unassigned.
_SPECIAL_V6 = [ipaddress.IPv6Network(block) for block in ("2001:db8::/32", "3fff::/20", "2001::/23", "2002::/16")]
_GLOBAL_V6 = ipaddress.IPv6Network("2000::/3")

_V4 = re.compile(r"[0-9]{1,3}(?:\.[0-9]{1,3}){3}")
_V6 = re.compile(r"[23][0-9A-Fa-f]{3}:(?:[0-9A-Fa-f]{0,4}:){1,6}[0-9A-Fa-f]{0,4}")
_V4_BEFORE = re.compile(r"(?:[A-Za-z0-9_.§]|§ |[=<>~!]= ?|[A-Za-z][-/])\Z")
_V4_BEHIND = re.compile(r"[A-Za-z0-9_]|\.[A-Za-z0-9_]|-[A-Za-z]")
_V6_BEFORE = re.compile(r"[A-Za-z0-9_:.]\Z")
_V6_BEHIND = re.compile(r"[A-Za-z0-9_:]|\.\d")
_YEAR = re.compile(r"[0-9]{4}::")  # 25 October 2000::

# In texts, four numbers of which the first is small are versions ("Git 1.7.9.5") and numbers of sections far more
# often than addresses: of 1,500 such in a Debian machine's documentation 20 were. So these need a sign of an address:
# a port or a prefix length behind, what stands right before in addresses of the web and of mail, or such a word.
_SMALL = 20
_CONTEXT = 40
_ADDRESS_BEHIND = re.compile(r":[0-9]{2,5}(?![0-9.])|/(?:1[6-9]|2[0-9]|3[0-2])(?![0-9.])")
_ADDRESS_BEFORE = re.compile(
    r"(?:://|[@\[])\Z"
    r"|(?:(?<![a-z.])(?:ips?|ipv4|addr|address(?:es)?|hosts?|nameservers?|dns|gateway|netmask|subnets?|proxy|ping"
    r"|traceroute|whois|peer|resolvers?)(?![a-z])|地址|адрес|アドレス|주소|عنوان)[^\n.]{0,25}\Z",
    re.IGNORECASE,
)
# Resolvers that everybody asks; what is masked of them tells nothing, and a text without signs may name them.
_RESOLVERS = frozenset(("8.8.8.8", "8.8.4.4", "9.9.9.9"))
_VERSION_BEFORE = re.compile(
    r"\b(?:versions?|v8|npm|rfc ?[0-9]+|oids?|objectidentifier"
    r"|§|(?:sub)?sections?|chapters?|clauses?|figures?|annex|appendix|abschnitt|kapitel|chapitre|secci[oó]n|se[cç][aã]o"
    r"|sezione|раздел[а-я]*)[^\w\n]{0,4}\n?\Z",
    re.IGNORECASE,
)


def spans(text: str) -> Iterator[tuple[int, int]]:
    """Yield start and end of each address, in order."""
    found = [match.span() for match in _V4.finditer(text) if _is_v4(text, match.start(), match.end())]
    found += [match.span() for match in _V6.finditer(text) if _is_v6(text, match.start(), match.end())]
    yield from sorted(found)


def _is_v4(text: str, start: int, end: int) -> bool:
    if _V4_BEHIND.match(text, end) or _V4_BEFORE.search(text[max(0, start - 3) : start]):
        return False
    try:
        address = ipaddress.IPv4Address(text[start:end])
    except ValueError:
        return False
    if any(address in block for block in _SPECIAL_V4):
        return False
    before = text[max(0, start - _CONTEXT) : start]
    if _VERSION_BEFORE.search(before):
        return False
    if address.packed[0] >= _SMALL or str(address) in _RESOLVERS:
        return True
    return bool(_ADDRESS_BEHIND.match(text, end) or _ADDRESS_BEFORE.search(before))


def _is_v6(text: str, start: int, end: int) -> bool:
    if _V6_BEHIND.match(text, end) or _V6_BEFORE.search(text[max(0, start - 1) : start]):
        return False
    try:
        address = ipaddress.IPv6Address(text[start:end])
    except ValueError:
        return False
    return (
        _YEAR.fullmatch(text, start, end) is None
        and address in _GLOBAL_V6
        and not any(address in block for block in _SPECIAL_V6)
    )
