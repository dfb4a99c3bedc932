"""Robots: what a site's robots.txt and tdmrep.json say of a path, raw.

robots.txt as of RFC 9309, with the rules Content-Usage (draft-ietf-aipref-attach-05) and Content-Signal
(contentsignals.org), each with a path or without, and the line License (RSL 1.0), which belongs to no group.
tdmrep.json as of the TDM Reservation Protocol: the first rule that matches a path counts.
"""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from urllib.parse import quote

import numpy as np
import numpy.typing as npt
import polars as pl

from cuvee.tasks.readers._batch import as_text

Bools = npt.NDArray[np.bool_]
Int64s = npt.NDArray[np.int64]

# RFC 9309: a parser reads at least this much of a file; what follows is not read here.
MOST_BYTES = 500 << 10
_SAID = ("content-usage", "content-signal")
_TOKEN = re.compile(r"\*|[A-Za-z0-9_.-]+")
_PERCENT = re.compile(r"%[0-9A-Fa-f]{2}")
_UNRESERVED = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
# As a path may hold them; all else is percent-encoded before paths are compared.
_SAFE = "/:?#[]@!$&'()*+,;=%~-._"


@dataclass
class Group:
    """The rules of some crawlers. said: name of a rule → its paths and statements; an absent path is empty."""

    allow: list[str] = field(default_factory=list)
    disallow: list[str] = field(default_factory=list)
    said: dict[str, list[tuple[str, str]]] = field(default_factory=dict)


@dataclass(frozen=True)
class Site:
    """What one capture of a site's file says. groups: by crawler, in lower case; rules: (location, reservation,
    policy) of tdmrep.json.
    """

    groups: dict[str, Group] = field(default_factory=dict)
    licenses: tuple[str, ...] = ()
    rules: tuple[tuple[str, str, str], ...] = ()

    @property
    def is_silent(self) -> bool:
        """Tell whether it says nothing of any path."""
        return not (self.licenses or self.rules or any(g.said or g.disallow for g in self.groups.values()))


def parse_robots(text: str) -> Site:
    """Read a robots.txt. Groups of one crawler are one; rules before the first group are nobody's."""
    groups: dict[str, Group] = {}
    licenses: list[str] = []
    current: list[Group] = []
    is_naming = False
    for key, value in _lines(text):
        if key == "user-agent":
            token = _TOKEN.match(value)
            if not is_naming:
                current = []
            if token:
                current.append(groups.setdefault(token[0].lower(), Group()))
            is_naming = True
        elif key == "license":
            licenses += [value] if value else []
        elif key in ("allow", "disallow", *_SAID):
            is_naming = False
            for group in current:
                _add(group, key, value)
    return Site(groups, tuple(dict.fromkeys(licenses)))


def parse_tdmrep(text: str) -> Site:
    """Read a tdmrep.json; what is no list of rules says nothing."""
    try:
        found = json.loads(text.removeprefix("\ufeff"))
    except (ValueError, RecursionError):
        return Site()
    rules = [rule for rule in found if isinstance(rule, dict)] if isinstance(found, list) else []
    return Site(
        rules=tuple(
            (normal(rule["location"]), as_text(rule["tdm-reservation"]) or "", as_text(rule.get("tdm-policy")) or "")
            for rule in rules
            if isinstance(rule.get("location"), str) and rule.get("tdm-reservation") is not None
        )
    )


def say(site: Site, paths: pl.Series, agents: Sequence[str]) -> pl.Series:
    """Return for each path, with its query, what a site says of it: the inside of a JSON object, null where nothing.

    agents: crawlers whose groups count, in lower case. Keys: robots (crawler → content-usage and content-signal, lists
    of statements, or disallow: true), license, tdm-reservation and tdm-policy (lists).
    """
    plain = _normal_paths(paths)
    by_agent = [
        pl.concat_str(pl.lit(f'"{agent}":'), pl.lit(_said(site.groups[agent], plain)))
        for agent in agents
        if agent in site.groups
    ]
    parts = [_members("robots", by_agent)] if by_agent else []
    if site.licenses:
        parts.append(pl.lit(f'"license":{json.dumps(site.licenses)}'))
    if site.rules:
        parts.append(pl.lit(_reserved(site.rules, plain)))
    if not parts:
        return pl.repeat(None, len(paths), dtype=pl.String, eager=True)
    said = pl.concat_str(parts, separator=",", ignore_nulls=True)
    return paths.to_frame("path").with_columns(said=pl.when(said != "").then(said))["said"]


def _members(name: str, values: Sequence[pl.Expr]) -> pl.Expr:
    inside = pl.concat_str(values, separator=",", ignore_nulls=True)
    return pl.when(inside != "").then(pl.concat_str(pl.lit(f'"{name}":{{'), inside, pl.lit("}")))


def _said(group: Group, paths: pl.Series) -> pl.Series:
    """Return as JSON what a group says of paths; of those that its crawlers may not fetch only that."""
    allowed, forbidden = _longest(group.allow, paths)[0], _longest(group.disallow, paths)[0]
    code = np.where(forbidden > allowed, 0, 1).astype(np.int64)
    found = {name: _longest([path for path, _ in rules], paths) for name, rules in group.said.items()}
    for _, codes, choices in found.values():
        code = np.where(code == 0, 0, code * len(choices) + codes)
    kinds, first, place = np.unique(code, return_index=True, return_inverse=True)
    written = []
    for kind, row in zip(kinds.tolist(), first.tolist(), strict=True):
        said: dict[str, object] = {"disallow": True} if kind == 0 else {}
        for name, (_, codes, choices) in found.items() if kind else ():
            if chosen := choices[codes[row]]:
                said[name] = [group.said[name][rule][1] for rule in chosen]
        written.append(json.dumps(said) if said else None)
    return pl.Series(written, dtype=pl.String)[place]


def _longest(patterns: Sequence[str], paths: pl.Series) -> tuple[Int64s, Int64s, list[tuple[int, ...]]]:
    """Find the longest patterns that match each path: their length (-1: none), and which they are, as a place in the
    list of choices; a choice holds the places of all patterns of that length that match, and the first one none.
    """
    lengths, codes = np.full(len(paths), -1, np.int64), np.zeros(len(paths), np.int64)
    choices: list[tuple[int, ...]] = [()]
    for length in sorted({len(pattern) for pattern in patterns}):
        own = sorted({pattern for pattern in patterns if len(pattern) == length})
        matches = np.stack([_matches(pattern, paths) for pattern in own], axis=1)
        some = matches.any(axis=1)
        lengths[some] = length
        kinds, place = np.unique(matches[some], axis=0, return_inverse=True)
        codes[some] = len(choices) + place.reshape(-1)
        for kind in kinds:
            hit = {pattern for pattern, is_hit in zip(own, kind, strict=True) if is_hit}
            choices.append(tuple(place for place, pattern in enumerate(patterns) if pattern in hit))
    return lengths, codes, choices


def _reserved(rules: Sequence[tuple[str, str, str]], paths: pl.Series) -> pl.Series:
    """Return as members of JSON what the first rule that matches each path reserves, null where none does."""
    code = np.full(len(paths), len(rules), np.int64)
    for place in reversed(range(len(rules))):
        code[_matches(rules[place][0], paths)] = place
    written = [
        f'"tdm-reservation":{json.dumps([reservation])}' + (f',"tdm-policy":{json.dumps([policy])}' if policy else "")
        for _, reservation, policy in rules
    ]
    return pl.Series([*written, None], dtype=pl.String)[code]


def _matches(pattern: str, paths: pl.Series) -> Bools:
    """Match paths from their beginning; * stands for any characters, $ at the end for the path's end."""
    if "*" not in pattern and not pattern.endswith("$"):
        return paths.str.starts_with(pattern).to_numpy()
    whole = pattern.endswith("$")
    inside = ".*".join(re.escape(part) for part in pattern.removesuffix("$").split("*"))
    return paths.str.contains(f"^(?s:{inside}){'$' if whole else ''}").to_numpy()


def _add(group: Group, key: str, value: str) -> None:
    if key in _SAID:
        # A path begins with a slash and ends at the first blank; without one the rule is for all paths.
        path, statement = (*re.split(r"[ \t]+", value, maxsplit=1), "")[:2] if value.startswith("/") else ("", value)
        group.said.setdefault(key, []).append((normal(path), statement.strip(" \t")))
    elif value:
        (group.allow if key == "allow" else group.disallow).append(normal(value))


def _lines(text: str) -> Iterator[tuple[str, str]]:
    for line in re.split(r"\r\n|\r|\n", text.removeprefix("\ufeff")):
        key, colon, value = line.partition("#")[0].partition(":")
        if colon:
            yield key.strip(" \t").lower(), value.strip(" \t")


def normal(path: str) -> str:
    """Give a path or a pattern one spelling: what may stand as it is is decoded, all else encoded (RFC 9309, 2.2.2)."""
    return _PERCENT.sub(_spelt, quote(path, safe=_SAFE, errors="replace"))


def _spelt(escape: re.Match[str]) -> str:
    character = chr(int(escape[0][1:], 16))
    return character if character in _UNRESERVED else escape[0].upper()


def _normal_paths(paths: pl.Series) -> pl.Series:
    """Give paths their one spelling; a star or a dollar of a path is no sign of a pattern."""
    odd = paths.str.contains(r"[^!#&'()+,\-./0-9:;=?@A-Z\[\]_a-z~]").arg_true()
    if odd.is_empty():
        return paths
    spelt = [normal(path).replace("*", "%2A").replace("$", "%24") for path in paths.gather(odd)]
    return paths.clone().scatter(odd, spelt)
