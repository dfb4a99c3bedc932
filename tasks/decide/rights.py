"""Rights: what the sites of pages said of them when they were captured, beside what the pages say themselves.

Joined anew in every run, from the pages' addresses and days and from the captures given beside a source
(`sources[].robots`), without reading text. Of several captures of a host the latest not later than the page counts;
where there is none the next one does, and for a page without a day the last one, and the row's detail says so.
"""

import logging
from collections.abc import Sequence

import polars as pl

from cuvee.schemas.records import Run
from cuvee.tasks.filters import opt_out
from cuvee.tasks.ingest import captures, robots

_logger = logging.getLogger(__name__)

# How a capture was chosen, from the surest to the least sure.
_AT_THE_TIME, _LATER, _LAST = 0, 1, 2
_TOLD = {
    _AT_THE_TIME: "{} of {}",
    _LATER: "{} of {}, the first that is known, captured after the page",
    _LAST: "{} of {}, the last that is known; the page has no day",
}
_FILES = {"robots": "robots.txt", "tdmrep": "tdmrep.json"}


def sites(run: Run, rows: pl.DataFrame, options: opt_out.Options) -> pl.DataFrame:
    """Return opt_out_site, what a row's site says of its path (JSON or null), and opt_out_told, which captures say so.

    rows: source, created (null possible), opt_out_url (null possible); the result has a row for each, in their order.
    Raises RecipeError for a pattern of `robots` that matches nothing.
    """
    pages = rows.select(
        "source",
        day="created",
        authority=pl.col("opt_out_url").str.extract(captures.ADDRESS, 1),
        path=pl.col("opt_out_url").str.extract(captures.ADDRESS, 2),
    ).with_row_index("place")
    found = [_EMPTY.to_frame()]
    for position, source in enumerate(run.recipe.sources):
        own = pages.filter((pl.col("source") == source.name) & pl.col("authority").is_not_null())
        if source.robots and own.height:
            found.append(_of_source(run, position, own, opt_out.agents(options)))
    said = pl.concat(found)
    return pages.join(said, on="place", how="left", maintain_order="left").select("opt_out_site", "opt_out_told")


_EMPTY = pl.Schema({"place": pl.UInt32(), "opt_out_site": pl.String(), "opt_out_told": pl.String()})


def _of_source(run: Run, position: int, pages: pl.DataFrame, agents: Sequence[str]) -> pl.DataFrame:
    """Return place, opt_out_site and opt_out_told of one source's pages that a capture speaks of."""
    authorities = pages["authority"].unique()
    spelt = pl.DataFrame({"authority": authorities, "host": [captures.host_of(one) for one in authorities]})
    path = pl.col("path")
    rooted = pl.when(path.str.starts_with("/")).then(path).otherwise(pl.concat_str(pl.lit("/"), path))
    pages = pages.join(spelt, on="authority", maintain_order="left").with_columns(path=rooted)
    known = captures.read(run, position, set(spelt["host"]))
    if known.unread:
        _logger.warning(
            "sources.%d.robots (%s): %d captures of robots.txt or tdmrep.json tell nothing: their answers are neither"
            " 200 to 299 nor 400 to 499, or cannot be read; another capture of the host counts, where there is one",
            position, run.recipe.sources[position].name, known.unread,
        )  # fmt: skip
    parts = []
    for kind, file in _FILES.items():
        chosen = _choose(pages, known.captures.filter(kind=kind))
        parts.append(_say(chosen, known.sites, agents, file))
    said = pl.concat(parts).group_by("place", maintain_order=True).agg("said", "told")
    return said.select(
        "place",
        opt_out_site=pl.concat_str(pl.lit("{"), pl.col("said").list.join(","), pl.lit("}")),
        opt_out_told=pl.col("told").list.join("; "),
    )


def _choose(pages: pl.DataFrame, known: pl.DataFrame) -> pl.DataFrame:
    """Return place, path, host, site (place in the list), its day, and how it was chosen, for pages that have one.

    A host's own captures come before those of no host.
    """
    own = known.filter(pl.col("host") != captures.ANY_HOST)
    anybody = known.filter(pl.col("host") == captures.ANY_HOST).drop("host")
    hosts = pages.join(own.select("host").unique(), on="host", how="anti").select("host").unique()
    # Of a day's captures the last one counts; equal ones are equal.
    captured = pl.concat([own, hosts.join(anybody, how="cross").select(own.columns)])
    captured = captured.sort("host", "day", "moment", "site").unique(["host", "day"], keep="last", maintain_order=True)
    captured = captured.select("host", "site", "day", captured="day").sort("day")
    dated = pages.filter(pl.col("day").is_not_null()).sort("day").drop("source", "authority")
    before = dated.join_asof(captured, on="day", by="host", strategy="backward", check_sortedness=False)
    late = before.filter(pl.col("site").is_null()).select(dated.columns)
    after = late.join_asof(captured, on="day", by="host", strategy="forward", check_sortedness=False)
    last = captured.unique("host", keep="last", maintain_order=True).drop("day")
    undated = pages.filter(pl.col("day").is_null()).drop("source", "authority").join(last, on="host", how="left")
    return pl.concat(
        frame.select("place", "path", "host", "site", "captured", how=pl.lit(how, pl.Int8))
        for how, frame in ((_AT_THE_TIME, before), (_LATER, after), (_LAST, undated))
    ).filter(pl.col("site").is_not_null())


def _say(chosen: pl.DataFrame, sites: Sequence[robots.Site], agents: Sequence[str], file: str) -> pl.DataFrame:
    """Return place, said (the inside of a JSON object) and told, of the pages of which their capture says something."""
    parts = [pl.Schema({"place": pl.UInt32(), "said": pl.String(), "told": pl.String()}).to_frame()]
    for (number,), group in chosen.sort("site", "place").group_by("site", maintain_order=True):
        site = sites[int(str(number))]
        if not site.is_silent:
            said = group.select("place", told=_told(file), said=robots.say(site, group["path"], agents))
            parts.append(said.filter(pl.col("said").is_not_null()).select("place", "said", "told"))
    return pl.concat(parts)


def _told(file: str) -> pl.Expr:
    day = pl.col("captured").dt.to_string("%Y-%m-%d")
    when = pl.when(day == captures.NO_DAY).then(pl.lit("an unknown day")).otherwise(day)
    name = pl.format("{} ({})", pl.lit(file), "host")
    choice = pl.lit(None, pl.String)
    for how, sentence in _TOLD.items():
        choice = pl.when(pl.col("how") == how).then(pl.format(sentence, name, when)).otherwise(choice)
    return choice
