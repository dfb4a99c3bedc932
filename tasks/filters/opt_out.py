"""Opt-out: drop web pages whose authors reserve them from training, by the raw signals that their reader kept.

Signal columns (boolean, false where a page says nothing):
opt_out_noai        robots meta tag or X-Robots-Tag with noai, for any agent
opt_out_tdm         tdm-reservation 1, in a header or meta tag (W3C TDM Reservation Protocol)
opt_out_ai_train    Content-Signal ai-train=no (contentsignals.org), or Content-Usage train-ai=n (IETF AI preferences)
opt_out_ai_agent    noindex, none or noai for a crawler that gathers training text, by its name
opt_out_noindex     noindex or none, for all robots
opt_out_noarchive   noarchive or nocache, for all robots or Bing, which reads these as an answer on training
opt_out_noimageai   noimageai, for any agent

A page is dropped for one reservation, whatever it permits elsewhere. robots.txt is not seen here: a crawler obeys it.
"""

import json
from typing import Literal

import polars as pl
from pydantic import Field

from cuvee.tasks.filters._rules import FilterOptions, first_reason

VERSION = 1
READS = ("opt_out",)

# The first four speak of training. noindex and noarchive speak of search results, and noimageai of pictures: dropping
# for them is caution, to be asked for.
NAMES = ("noai", "tdm", "ai_train", "ai_agent", "noindex", "noarchive", "noimageai")
SIGNALS: dict[str, pl.DataType] = {f"opt_out_{name}": pl.Boolean() for name in NAMES}
Name = Literal["noai", "tdm", "ai_train", "ai_agent", "noindex", "noarchive", "noimageai"]

AI_AGENTS = frozenset({
    "ai2bot", "amazonbot", "anthropic-ai", "applebot-extended", "bytespider", "ccbot", "claudebot", "cohere-ai",
    "cohere-training-data-crawler", "diffbot", "facebookbot", "google-extended", "gptbot", "meta-externalagent",
    "omgili", "omgilibot", "pangubot", "timpibot", "webzio-extended"
})  # fmt: skip
_ALL_AGENTS = "robots"
# Directives with a value of their own, which is no agent's name before a colon.
_VALUED = ("unavailable_after", "max-snippet", "max-image-preview", "max-video-preview")


class Options(FilterOptions):
    """Which signals drop a page."""

    kind: Literal["opt_out"] = "opt_out"
    signals: tuple[Name, ...] = Field(
        ("noai", "tdm", "ai_train", "ai_agent"), min_length=1, description="Signals for which a page is dropped."
    )


def signals(shard: pl.DataFrame) -> pl.DataFrame:
    """Read the column opt_out (JSON or null)."""
    said = shard["opt_out"]
    # A crawl has few distinct signals: each is parsed once.
    distinct = said.drop_nulls().unique()
    found = [reservations(text) for text in distinct]
    table = pl.DataFrame(
        {"opt_out": distinct, **{f"opt_out_{name}": [name in one for one in found] for name in NAMES}},
        schema={"opt_out": pl.String, **SIGNALS},
    )
    joined = said.to_frame("opt_out").join(table, on="opt_out", how="left", maintain_order="left")
    return joined.select(pl.col(name).fill_null(value=False) for name in SIGNALS)


def verdict(options: Options) -> pl.Expr:
    """Object with "opt_out.<signal>", the first of NAMES that the options hold and the page says."""
    return first_reason(options.kind, {name: pl.col(f"opt_out_{name}") for name in NAMES if name in options.signals})


def reservations(text: str) -> frozenset[str]:
    """Return the names of the signals in the JSON of a row's opt_out."""
    said = json.loads(text)
    header, meta = said.get("header", {}), said.get("meta", {})
    found: set[str] = set()
    for value in header.get("x-robots-tag", []):
        for agent, directive in _directives(value):
            found |= _of_directive(agent, directive)
    for agent, values in meta.items():
        if not agent.startswith("tdm-"):
            for directive in ",".join(values).lower().split(","):
                found |= _of_directive(agent, directive.strip())
    if any(
        value.strip(' "') == "1" for value in (*header.get("tdm-reservation", []), *meta.get("tdm-reservation", []))
    ):
        found.add("tdm")
    usage = ",".join((*header.get("content-signal", []), *header.get("content-usage", [])))
    pairs = {part.replace(" ", "") for part in usage.lower().replace(";", ",").split(",")}
    if pairs & {"ai-train=no", "train-ai=n", "train-genai=n"}:
        found.add("ai_train")
    return frozenset(found)


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
