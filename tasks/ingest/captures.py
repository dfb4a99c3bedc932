"""Captures: the robots.txt and tdmrep.json of sites, as files or as crawlers stored them, beside a source.

A WARC or ARC file may hold many sites' captures; those of /robots.txt and /.well-known/tdmrep.json count. An answer of
200 to 299 is what the site says; 400 to 499 means that it says nothing (RFC 9309, 2.3.1.3); others tell nothing.
A plain file is named for its site, and may name the day: HOST.txt, HOST.2026-08-19.txt, HOST/robots.txt,
HOST/2026-08-19/robots.txt, HOST/tdmrep.json; one that names no host speaks for all hosts of its source.
Read in every run, so that a file that was added or changed holds for what was read before.
"""

import re
from collections.abc import Iterator, Mapping, Set
from pathlib import Path
from typing import BinaryIO, NamedTuple

import polars as pl

from cuvee.schemas.address import is_remote
from cuvee.schemas.errors import InputError, RecipeError
from cuvee.schemas.records import Run
from cuvee.tasks.ingest import robots
from cuvee.tasks.ingest.opening import expand
from cuvee.tasks.readers import _http, _records, compression_of
from cuvee.tasks.readers._batch import InvalidRowError
from cuvee.tasks.readers._bytes import Bounds, EndsEarlyError, pieces, size_of, whole
from cuvee.tasks.readers._dates import iso_day

# Columns: host, with its port where it is not the scheme's, or ANY_HOST; kind: robots | tdmrep; day, date.min where a
# file names none; moment: orders the captures of a day; site: place in the list of what was said.
CAPTURES = pl.Schema(
    {"host": pl.String(), "kind": pl.String(), "day": pl.Date(), "moment": pl.String(), "site": pl.Int32()}
)
ANY_HOST = "*"
NO_DAY = "0001-01-01"

_KINDS = {"/robots.txt": "robots", "/.well-known/tdmrep.json": "tdmrep"}
# In polars' syntax: host with port, and path with query, of an address; user and password are passed over.
ADDRESS = r"^[hH][tT][tT][pP][sS]?://(?:[^/?#@]*@)?([^/?#@]+)([^#]*)"
_DEFAULT_PORT = re.compile(r":(?:80|443)?$")
_DAY = re.compile(r"(\d{4})-?(\d\d)-?(\d\d)")
_NAMED_DAY = re.compile(r"[._@-]?(\d{4}-\d\d-\d\d|\d{8})$")
_HOST = re.compile(r"(?:[\w-]+\.)+[^\W\d_][\w-]+|localhost|\d{1,3}(?:\.\d{1,3}){3}", re.IGNORECASE)
_SUFFIX = re.compile(r"\.(?:robots\.txt|tdmrep\.json|txt|json)$", re.IGNORECASE)
_ARCHIVES = (".warc", ".arc")


class Captures(NamedTuple):
    """Captures, and what their sites said, which `captures` refers to by place. unread: captures that tell nothing."""

    captures: pl.DataFrame
    sites: list[robots.Site]
    unread: int


def paths(run: Run, position: int) -> list[str]:
    """List the files of a source's `robots`, sorted; raises RecipeError for a pattern that matches none."""
    found: dict[str, str] = {}
    for pattern in run.recipe.sources[position].robots:
        key = f"sources.{position}.robots"
        if is_remote(pattern):
            raise RecipeError(f"{key}: {pattern!r} is not on this machine; copy the files beside the recipe")
        matches = expand(pattern, Path(run.folder))
        if not matches:
            raise RecipeError(f"{key}: {pattern!r} matches no file below {run.folder}; correct the pattern")
        found.update(matches)
    return sorted(found)


def read(run: Run, position: int, hosts: Set[str]) -> Captures:
    """Read the captures of these hosts from the files of a source's `robots`; the same text is parsed once.

    Raises RecipeError as `paths` does, and InputError for a plain file that is too long or ends early.
    """
    rows: list[tuple[str, str, str, str, int]] = []
    sites: dict[tuple[str, bytes], int] = {}
    parsed: list[robots.Site] = []
    unread = 0
    for path in paths(run, position):
        with open(path, "rb") as stream:
            for host, kind, moment, body in _captures(path, stream, compression_of(path)):
                if host != ANY_HOST and host not in hosts:
                    continue
                if body is None:
                    unread += 1
                    continue
                known = sites.setdefault((kind, body), len(parsed))
                if known == len(parsed):
                    text = body[: robots.MOST_BYTES].decode("utf-8", "replace")
                    parsed.append(robots.parse_robots(text) if kind == "robots" else robots.parse_tdmrep(text))
                rows.append((host, kind, _day(moment), moment, known))
    frame = pl.DataFrame(rows, {**CAPTURES, "day": pl.String()}, orient="row")
    return Captures(frame.with_columns(pl.col("day").str.to_date("%Y-%m-%d")), parsed, unread)


def _day(moment: str) -> str:
    """Give the day of a moment; NO_DAY where it names none, such as 2026-13-45."""
    found = _DAY.match(moment)
    return iso_day("-".join(found.groups())) or NO_DAY if found else NO_DAY


def host_of(authority: str) -> str:
    """Give the host of an address one spelling: lower case, in Punycode, without a scheme's own port."""
    name = _DEFAULT_PORT.sub("", authority.lower()).rstrip(".")
    try:
        return name if name.isascii() else name.encode("idna").decode()
    except UnicodeError:
        return name


def _captures(path: str, stream: BinaryIO, compression: str | None) -> Iterator[tuple[str, str, str, bytes | None]]:
    """Yield host, kind, moment (ISO, from the day on) and content of each capture; content null where not known."""
    bounds = Bounds(stored=size_of(stream))
    name = Path(path).name.lower().removesuffix(".gz").removesuffix(".zst")
    if not name.endswith(_ARCHIVES):
        host, kind, day = named(path)
        try:
            yield host, kind, day, whole(pieces(stream, compression, bounds), bounds)
        except InvalidRowError as error:
            raise InputError(f"{path}: {error}") from None
        return
    for record in _records.records(stream, compression, bounds):
        if isinstance(record, _records.Record) and record.block is not None:
            address = re.match(ADDRESS, record.headers.get("warc-target-uri", "").strip("<> "))
            if address and (wanted := _KINDS.get(address[2].partition("?")[0])):
                moment = record.headers.get("warc-date", "")
                yield host_of(address[1]), wanted, moment, _content(record.headers, record.block, bounds)


def _content(headers: Mapping[str, str], block: bytes, bounds: Bounds) -> bytes | None:
    if headers.get("warc-type") == "resource":
        return block
    if headers.get("warc-type") != "response":
        return None
    try:
        response = _http.parse(block)
        if 400 <= response.status < 500:
            return b""
        return _http.content(response, bounds) if 200 <= response.status < 300 else None
    except (InvalidRowError, EndsEarlyError):
        return None


def named(path: str) -> tuple[str, str, str]:
    """Tell host, kind and day of a plain file from its name and its folders."""
    parts = [*Path(path).parts]
    name = parts.pop().removesuffix(".gz").removesuffix(".zst")
    kind = "tdmrep" if name.lower().endswith(".json") else "robots"
    stem = _SUFFIX.sub("", name)
    day, host = NO_DAY, ANY_HOST
    # From the file's name outwards, until a host is found: example.org/2026-08-19/robots.txt
    for part in (stem, *[folder for folder in reversed(parts) if folder != ".well-known"][:2]):
        dated = _NAMED_DAY.search(part)
        if dated and day == NO_DAY:
            day, part = dated[1], part[: dated.start()]
        if _HOST.fullmatch(part):
            return host_of(part), kind, day
        if part and part.lower() not in ("robots", "tdmrep") and not dated:
            break
    return host, kind, day
