"""Current: which rows of the pool a recipe speaks of, what is declared of them, and which of them do not count."""

from collections.abc import Sequence
from datetime import date
from typing import TypeAlias

import polars as pl

from cuvee.schemas.licenses import spdx
from cuvee.schemas.records import Run
from cuvee.tasks.steps import look_up

_REPLACED = ("origin", "license", "license_spdx", "domain", "language", "trusted_date", "date_trusted")
# Printing from movable type begins then: an earlier date is one of what the text tells, or a fault.
_FIRST_EVIDENCE = date(1450, 1, 1)
# (generator's name, request key)
Drafts: TypeAlias = Sequence[tuple[str, str]]


def declare(run: Run, rows: pl.DataFrame) -> pl.DataFrame:
    """Apply what the recipe declares of its sources, where a row does not say itself.

    rows: columns of ROWS, and language, as found in the text. Adds trusted_date; the date a row's reader vouches for is
    trusted too, and none before 1450 is.
    """
    sources = pl.DataFrame(
        [
            {
                "source": source.name,
                "origin_declared": source.origin,
                "license_declared": source.license,
                "domain_declared": source.domain,
                "language_declared": None if source.language == "auto" else source.language,
                "trusted_date": source.dates == "trusted",
            }
            for source in run.recipe.sources
        ],
        schema_overrides={"license_declared": pl.String, "language_declared": pl.String},
    )
    named = pl.col("origin").is_in(["human", "synthetic"])
    rows = look_up(rows, ["source"], sources)
    rows = look_up(rows, ["source", "license"], _licenses(run, rows))
    return rows.select(
        *(name for name in rows.columns if name not in _REPLACED and not name.endswith("_declared")),
        origin=pl.when("generated")
        .then(pl.lit("synthetic"))
        .when(pl.col("origin").is_null())
        .then(pl.col("origin_declared"))
        # A row that declares something else than human or synthetic declares nothing.
        .otherwise(pl.when(named).then(pl.col("origin")).otherwise(pl.lit("unknown"))),
        license=pl.coalesce("license_spdx", "license_declared", pl.lit("unknown")),
        domain=pl.coalesce("domain", "domain_declared", pl.lit("unknown")),
        language=pl.coalesce("language_declared", "language"),
        # Trusted as the source declares, or as the reader of the row vouches.
        trusted_date=(
            (pl.col("trusted_date") | pl.col("date_trusted")) & (pl.col("created") >= _FIRST_EVIDENCE)
        ).fill_null(value=False),
    )


def own_copies(rows: pl.DataFrame, pairs: pl.DataFrame, dates: dict[int, str]) -> pl.Series:
    """Tell which rows equal or nearly equal a draft of ours accepted before them.

    The seed of the draft is no copy of it, nor is a text that came in before it, nor one that a trusted date shows to
    be older.
    """
    rows = rows.with_row_index("index")
    drafts = rows.filter("generated").select("doc_id", "text_key", draft_accepted="accepted", draft_seeds="seed_ids")
    if drafts.is_empty():
        return pl.Series([False]).new_from_index(0, rows.height)
    near = pl.concat([pairs.select("a", "b"), pairs.select(a="b", b="a")])
    through = drafts.join(near, left_on="text_key", right_on="a").select(
        pl.all().exclude("text_key", "b"), text_key="b"
    )
    others = (
        rows.filter(~pl.col("generated"))
        .with_columns(pl.col("accepted").min().over("doc_id"))
        .filter(pl.col("origin") != "synthetic")
        .select("index", "accepted", "created", "trusted_date", "text_key", "doc_id")
    )
    keys = pl.concat(
        [drafts.select(pl.all().exclude("doc_id")), through.select(pl.all().exclude("doc_id"))], how="diagonal"
    )
    days = pl.DataFrame(
        {"draft_accepted": list(dates), "draft_day": list(dates.values())},
        schema={"draft_accepted": pl.Int32, "draft_day": pl.String},
    ).with_columns(pl.col("draft_day").str.to_date("%Y-%m-%d"))
    copies = (
        others.join(keys, on="text_key")
        .join(days, on="draft_accepted", how="left")
        .filter(
            (pl.col("draft_accepted") < pl.col("accepted"))
            & ~pl.col("draft_seeds").list.contains(pl.col("doc_id"))
            & ~(pl.col("trusted_date") & (pl.col("created") < pl.col("draft_day"))).fill_null(value=False)
        )
    )
    return rows["index"].is_in(copies["index"].implode())


def gone(run: Run, rows: pl.DataFrame) -> pl.Series:
    """Tell why rows do not count: vanished, superseded, min_date, empty, or null where they do.

    rows: source, generated, created, words; present: the row's file is on disk; superseded: a newer row has the same
    declared id.
    """
    dropping = [source.name for source in run.recipe.sources if source.vanished == "drop"]
    min_date = run.recipe.ingest.min_date
    reason = (
        pl.when(~pl.col("generated") & pl.col("source").is_in(dropping) & ~pl.col("present"))
        .then(pl.lit("vanished"))
        .when("superseded")
        .then(pl.lit("superseded"))
        .when(pl.col("created") < min_date if min_date else pl.lit(value=False))
        .then(pl.lit("min_date"))
        .when(pl.col("words") == 0)
        .then(pl.lit("empty"))
    )
    return rows.select(reason.alias("gone"))["gone"]


def _licenses(run: Run, rows: pl.DataFrame) -> pl.DataFrame:
    """Map each distinct licence text of a source to SPDX; null where the row says nothing."""
    maps = {source.name: source.license_map for source in run.recipe.sources}
    distinct = rows.select("source", "license").unique().sort("source", "license")
    found = []
    for source, raw in distinct.iter_rows():
        mapped = maps.get(source, {}).get(raw or "", raw)
        found.append(spdx(mapped) if mapped else None)
    return distinct.with_columns(license_spdx=pl.Series(found, dtype=pl.String))
