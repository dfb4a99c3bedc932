"""Opt-out: drop web pages that are reserved from training, by what they and their sites say, judged anew in every run.

Signal columns (string, null possible), raw: opt_out_url, the page's address; opt_out_said, what the page and its
server say of it, as JSON (see cuvee.tasks.readers._signals). Beside them the run joins opt_out_site: what the site says
of the page's path in robots.txt and tdmrep.json (see cuvee.tasks.decide.rights).

A page is dropped for one reservation, whatever it permits elsewhere: of several statements the most restrictive wins.
docs/rights.md tells where each comes from, what it means, and what of it is law.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import polars as pl
from pydantic import Field

from cuvee.tasks.filters import FilterOptions, Verdict
from cuvee.tasks.filters._preferences import combine, preferences

VERSION = 2
READS = ("url", "opt_out")
SIGNALS: dict[str, pl.DataType] = {"opt_out_url": pl.String(), "opt_out_said": pl.String()}

# The first four speak of training. ai_use and search speak of other uses, ai_disallow of fetching, rsl of terms,
# noindex and noarchive of search results, noimageai of pictures: dropping for them is caution, to be asked for.
Name = Literal[
    "noai", "tdm", "ai_train", "ai_agent", "ai_use", "search", "ai_disallow", "rsl", "noindex", "noarchive", "noimageai"
]
NAMES: tuple[Name, ...] = (
    "noai", "tdm", "ai_train", "ai_agent", "ai_use", "search", "ai_disallow", "rsl", "noindex", "noarchive", "noimageai"
)  # fmt: skip
# Labels of Content-Usage, and those of Content-Signal for the same uses.
_LABELS: dict[str, Name] = {"train-ai": "ai_train", "ai-use": "ai_use", "search": "search"}
_SIGNALS: dict[str, Name] = {"ai-train": "ai_train", "ai-input": "ai_use", "search": "search"}

AI_AGENTS = frozenset({
    "ai2bot", "amazonbot", "anthropic-ai", "applebot-extended", "bytespider", "ccbot", "claudebot", "cohere-ai",
    "cohere-training-data-crawler", "diffbot", "facebookbot", "google-extended", "gptbot", "meta-externalagent",
    "omgili", "omgilibot", "pangubot", "timpibot", "webzio-extended"
})  # fmt: skip
_ALL_AGENTS = "robots"
# Directives with a value of their own, which is no agent's name before a colon.
_VALUED = ("unavailable_after", "max-snippet", "max-image-preview", "max-video-preview")


class Options(FilterOptions):
    """Which signals drop a page, and whose rules count."""

    kind: Literal["opt_out"] = "opt_out"
    signals: tuple[Name, ...] = Field(
        ("noai", "tdm", "ai_train", "ai_agent"), min_length=1, description="Signals for which a page is dropped."
    )
    crawlers: tuple[str, ...] = Field(
        (),
        description="Names of the crawlers that fetched the pages, for groups of robots.txt; empty: all that gather"
        " training text, and one without a group of its own.",
    )


def agents(options: Options) -> tuple[str, ...]:
    """Return the crawlers whose groups in robots.txt are looked at, in lower case; "*" is the group of all others."""
    return ("*", *sorted({name.lower() for name in options.crawlers} or AI_AGENTS))


def signals(shard: pl.DataFrame) -> pl.DataFrame:
    """Keep address and raw signals; tomorrow's rules judge them too."""
    return shard.select(opt_out_url="url", opt_out_said="opt_out")


def verdict(options: Options) -> Verdict:
    """Object with "opt_out.<signal>", the first of NAMES that the options hold and page or site say."""

    def judge(said: pl.Series) -> pl.Series:
        # A crawl has few distinct statements: each is judged once.
        distinct = said.unique()
        return said.to_frame("said").join(
            pl.DataFrame(
                {"said": distinct, "verdict": [_reason(row, options) for row in distinct]},
                {"said": distinct.dtype, "verdict": pl.String},
            ),
            on="said",
            how="left",
            maintain_order="left",
            nulls_equal=True,
        )["verdict"]

    # A run joins the second where a source gives captures of its sites.
    said = pl.struct("^opt_out_(?:said|site)$").map_batches(judge, return_dtype=pl.String)
    return Verdict(said, pl.col("opt_out_said"))


def _reason(row: Mapping[str, str | None], options: Options) -> str | None:
    said, site = row.get("opt_out_said"), row.get("opt_out_site")
    found = reservations(said or "{}", site or "{}", options.crawlers) if said or site else frozenset[str]()
    name = next((name for name in NAMES if name in found and name in options.signals), None)
    return f"{options.kind}.{name}" if name else None


def reservations(page: str, site: str = "{}", crawlers: Sequence[str] = ()) -> frozenset[str]:
    """Return the names of the signals that a page and its site say, as JSON; crawlers: as the option."""
    said, around = json.loads(page), json.loads(site)
    header, meta = said.get("header", {}), said.get("meta", {})
    found: set[str] = set()
    for value in header.get("x-robots-tag", []):
        for agent, directive in _directives(value):
            found |= _of_directive(agent, directive)
    for agent, values in meta.items():
        if not agent.startswith("tdm-"):
            for directive in ",".join(values).lower().split(","):
                found |= _of_directive(agent, directive.strip())
    # A page's own reservation, or that it makes none, comes before its site's (TDM Reservation Protocol).
    tdm = [*header.get("tdm-reservation", []), *meta.get("tdm-reservation", [])] or around.get("tdm-reservation", [])
    if any(value.strip(' "') == "1" for value in tdm):
        found.add("tdm")
    groups = _groups(around.get("robots", {}), crawlers)
    usage = [header.get("content-usage", [])] + [[one] for group in groups for one in group.get("content-usage", [])]
    # The lines of a header are one dictionary; each rule of robots.txt is a statement of its own.
    allowed = combine(preferences(", ".join(lines)) for lines in usage)
    found |= {_LABELS[label] for label, is_allowed in allowed.items() if not is_allowed}
    for value in (
        *header.get("content-signal", []),
        *(one for group in groups for one in group.get("content-signal", [])),
    ):
        pairs = (part.partition("=") for part in value.lower().replace(" ", "").replace(";", ",").split(","))
        found |= {_SIGNALS[label] for label, _, answer in pairs if label in _SIGNALS and answer == "no"}
    if any(group.get("disallow") for group in groups):
        found.add("ai_disallow")
    if around.get("license") or header.get("link") or meta.get("rsl-license"):
        found.add("rsl")
    return frozenset(found)


def _groups(robots: Mapping[str, Mapping[str, Any]], crawlers: Sequence[str]) -> list[Mapping[str, Any]]:
    """Return what the groups of these crawlers say; one without a group of its own is in the group of all others."""
    everybody = robots.get("*", {})
    if not crawlers:
        own = [group for agent, group in robots.items() if agent in AI_AGENTS]
        # That all are kept out is said to crawlers of every kind.
        return [*own, {key: value for key, value in everybody.items() if key != "disallow"}]
    return [robots.get(name.lower(), everybody) for name in crawlers]


def _directives(value: str) -> list[tuple[str, str]]:
    """Split an X-Robots-Tag into (agent, directive); an agent's name holds for what follows it."""
    agent, found = _ALL_AGENTS, []
    for part in value.lower().split(","):
        name, colon, rest = part.partition(":")
        if colon and name.strip() not in _VALUED:
            agent, part = name.strip().replace("*", _ALL_AGENTS), rest
        found.append((agent, part.strip()))
    return found


def _of_directive(agent: str, directive: str) -> set[str]:
    found = {directive} & {"noai", "noimageai"}
    if agent in AI_AGENTS and directive in ("noindex", "none", "noai"):
        found.add("ai_agent")
    if agent == _ALL_AGENTS and directive in ("noindex", "none"):
        found.add("noindex")
    if agent in (_ALL_AGENTS, "bingbot", "msnbot") and directive in ("noarchive", "nocache"):
        found.add("noarchive")
    return found
