"""Blocklist: drop documents by the host or the words of their address.

Signal columns: blocklist_host, the host in lower case without user, port and final dot; blocklist_address, the address
in lower case (both string; null for a document without a url, which always passes).
The lists stand in the recipe (`hosts`, `addresses`), in a text file (`file`), or in both. A line of the file is one
host or, when it holds a "/", a part of an address; blank lines and lines that start with "#" are passed over.
"""

import re
from collections import defaultdict
from pathlib import Path
from typing import Any, Literal

import polars as pl
from pydantic import Field, ValidationInfo, model_validator

from cuvee.tasks.filters import FilterOptions, Rule, Verdict, first_reason

VERSION = 1
READS = ("url",)
SIGNALS: dict[str, pl.DataType] = {"blocklist_host": pl.String(), "blocklist_address": pl.String()}

# Scheme, user and password are passed over; an IPv6 address keeps its brackets.
_HOST = r"^(?:[a-z][a-z0-9+.\-]*:)?(?://)?(?:[^/?#]*@)?(\[[^\]]*\]|[^/?#:]+)"


class Options(FilterOptions):
    """Hosts and parts of addresses; `file` is read once and becomes part of the other two."""

    kind: Literal["blocklist"] = "blocklist"
    hosts: tuple[str, ...] = Field((), description="Hosts or domains; their sub-domains are blocked too.")
    addresses: tuple[str, ...] = Field((), description="Parts of addresses, plain text in any case.")
    file: str = Field("", description="A text file of both, relative to the recipe's folder.")

    @model_validator(mode="before")
    @classmethod
    def _read_file(cls, given: Any, info: ValidationInfo) -> Any:
        """Put the entries of `file` into the lists: the options, and so the key of a step, hold their content."""
        if not isinstance(given, dict) or not given.get("file"):
            return given
        folder = Path((info.context or {}).get("folder", "."))
        try:
            entries = (folder / str(given["file"])).read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise ValueError(f"cannot read the file {given['file']} in the folder {folder}: {error}") from error
        named = [entry.strip() for entry in entries if entry.strip() and not entry.lstrip().startswith("#")]
        found = {
            "hosts": [entry for entry in named if "/" not in entry],
            "addresses": [entry for entry in named if "/" in entry],
        }
        for name, more in found.items():
            listed = given.get(name, ())
            # What is no list is left as it is, for pydantic to refuse.
            found[name] = [*listed, *more] if isinstance(listed, list | tuple) else listed
        return {**given, **found, "file": ""}

    @model_validator(mode="after")
    def _check_entries(self) -> "Options":
        for host in self.hosts:
            if not re.fullmatch(r"\[[^\]]*\]|[^\s/?#:@]+", host) or not _plain_host(host):
                raise ValueError(f"hosts: {host!r} is not a host; give one like example.com, and parts in addresses")
        if not all(part.strip() for part in self.addresses):
            raise ValueError("addresses: an empty part would block every address")
        return self


def signals(shard: pl.DataFrame) -> pl.DataFrame:
    """Return SIGNALS for each document of the shard (column url), in its order."""
    address = pl.col("url").str.to_lowercase()
    host = address.str.extract(_HOST).str.strip_chars_end(".")
    return shard.select(blocklist_host=host, blocklist_address=address)


def verdict(options: Options) -> Verdict:
    """Object with blocklist.host or blocklist.address."""
    domains: dict[int, list[str]] = defaultdict(list)
    for domain in sorted({_plain_host(host) for host in options.hosts}):
        domains[domain.count(".") + 1].append(domain)
    labels = pl.col("blocklist_host").str.split(".")
    # A host lies in a domain of n labels when its last n labels are that domain.
    blocked = [
        labels.list.tail(n).list.join(".").is_in(pl.lit(pl.Series(names)).implode()) for n, names in domains.items()
    ]
    parts = sorted({part.lower() for part in options.addresses})
    return first_reason(
        options.kind,
        {
            "host": Rule(pl.any_horizontal([pl.lit(False), *blocked]), pl.col("blocklist_host")),
            "address": pl.col("blocklist_address").str.contains_any(parts) if parts else pl.lit(False),
        },
    )


def _plain_host(host: str) -> str:
    return host.lower().removeprefix("*.").strip(".")
