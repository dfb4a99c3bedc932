"""Opt-out signals: what a page and its server say of robots and of training, kept raw.

Kept as said, also when it is an invitation; the filter `opt_out` judges. The signals are X-Robots-Tag and the robots
meta tag, with the tags that name one crawler; tdm-reservation and tdm-policy of the TDM Reservation Protocol (W3C
community group, 2024), in headers and meta tags; Content-Signal (contentsignals.org) and Content-Usage (the AI
preferences working group of the IETF), in headers; links to licences of RSL 1.0 (rslstandard.org), in the header Link
and in the page.
"""

import json
import re
from collections.abc import Iterable

HEADERS = frozenset({"x-robots-tag", "tdm-reservation", "tdm-policy", "content-signal", "content-usage", "link"})
_LICENSE = "application/rsl+xml"
# A crawler's own tag bears its name; most names end in bot.
_META = re.compile(
    r"robots|tdm-reservation|tdm-policy|[a-z0-9.-]*bot(?:-[a-z]+)*|google-extended|anthropic-ai|cohere-ai|bytespider"
    r"|meta-externalagent|slurp|teoma|duckassistbot|omgili|timpibot|rsl-license"
)
# Both come from strangers: a page cannot fill the shard with them.
_MOST_VALUES, _MOST_CHARACTERS = 8, 300

Pairs = Iterable[tuple[str, str]]


def canonical(headers: Pairs, metas: Pairs) -> str | None:
    """Write down the signals among HTTP headers and meta tags (name, value), or return None where there are none.

    JSON with sorted keys: {"header": {name: [value, …]}, "meta": {name: [value, …]}}; names in lower case, values in
    their order, without repetition, at most 8 a name and 300 characters each.
    """
    found: dict[str, dict[str, list[str]]] = {}
    for place, pairs in (("header", headers), ("meta", metas)):
        for name, value in pairs:
            name, value = name.strip().lower(), " ".join(value.split())[:_MOST_CHARACTERS]
            wanted = name in HEADERS if place == "header" else _META.fullmatch(name)
            if name == "link" and _LICENSE not in value.lower():
                continue
            if not wanted or not value:
                continue
            values = found.setdefault(place, {}).setdefault(name, [])
            if value not in values and len(values) < _MOST_VALUES:
                values.append(value)
    return json.dumps(found, sort_keys=True, ensure_ascii=False, separators=(",", ":")) if found else None
