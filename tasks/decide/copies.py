"""Copies: which rows are the same text as another, or nearly, and which row stands for them.

Human text comes first in keeper order, then what was accepted earlier: a copy that a machine made of human text is
called by its own name, for a generator may copy what it was shown.
"""

from collections.abc import Collection

import numpy as np
import polars as pl

from cuvee.tasks.dedup.resolve import SURVIVOR, Resolution, collapse, expand, resolve

_EXACT_ORDER = ["rank", "suspect", "row_accepted", "source", "file", "row"]
_NEAR_ORDER = ["rank", "accepted", "longer_first", "doc_id"]
_RANK = {"human": 0, "unknown": 1, "synthetic": 2}


def exact(rows: pl.DataFrame, alive: pl.Series) -> pl.Series:
    """Object to all but the first, in keeper order, of the rows alive with one doc_id: duplicate_exact, copy_of_human.

    rows: doc_id, provenance, suspect, row_accepted, source, file, row.
    """
    ordered = _alive(rows, alive, "doc_id", *_EXACT_ORDER[1:]).sort(_EXACT_ORDER, maintain_order=True)
    first = ordered.unique("doc_id", keep="first", maintain_order=True)
    later = ordered.join(first.select("place"), on="place", how="anti")
    # Human text comes first in the order, so where there is any the first is human.
    of_human = later.join(first.filter(pl.col("rank") == 0).select("doc_id"), on="doc_id", how="semi")["place"]
    machines = later.filter(pl.col("rank") == _RANK["synthetic"])["place"]
    reason = pl.when(pl.col("place").is_in(of_human.implode()) & pl.col("place").is_in(machines.implode()))
    named = later.select("place", reason=reason.then(pl.lit("copy_of_human")).otherwise(pl.lit("duplicate_exact")))
    return _spread(named, rows.height)["reason"]


def near(
    rows: pl.DataFrame, alive: pl.Series, pairs: pl.DataFrame, threshold: float, apart: Collection[str] = ()
) -> pl.DataFrame:
    """Object to documents alive that a survivor before them, in keeper order, nearly equals.

    rows: doc_id, text_key, source, provenance, accepted, chars; doc_ids alive are distinct. pairs: PAIRS, of any
    Jaccard. apart: sources whose rows are no near copies of each other, only of other sources' rows.
    Returns reason (duplicate_near, copy_of_human), keeper and jaccard, all null where there is no objection.
    """
    told = _alive(rows, alive, "doc_id", "text_key", "source", "accepted", "chars")
    told = told.with_columns(
        longer_first=-pl.col("chars"),
        # Rows of one source that stay apart share a number from 1 on; all others have 0.
        apart=pl.col("source").replace_strict({name: n for n, name in enumerate(sorted(apart), 1)}, default=0),
    )
    linked = pl.concat([pairs["a"], pairs["b"]]).unique()
    # A text without a twin or a near copy has nobody to fear.
    key = pl.col("text_key")
    told = told.filter(key.is_duplicated() | key.is_in(linked.implode())).sort(_NEAR_ORDER)
    if told.is_empty():
        return _spread(pl.DataFrame(schema={"place": pl.UInt32, **_NEAR}), rows.height)
    resolved = _resolved(told, pairs, threshold)
    gone = np.flatnonzero(resolved.keeper != SURVIVOR)
    keeper = resolved.keeper[gone]
    by_machine = (told["rank"].gather(gone) == _RANK["synthetic"]) & (told["rank"].gather(keeper) == _RANK["human"])
    found = pl.DataFrame(
        {
            "place": told["place"].gather(gone),
            "keeper": told["doc_id"].gather(keeper),
            "jaccard": resolved.jaccard[gone],
            "by_machine": by_machine,
        }
    )
    reason = pl.when("by_machine").then(pl.lit("copy_of_human")).otherwise(pl.lit("duplicate_near"))
    return _spread(found.with_columns(reason=reason).select("place", *_NEAR), rows.height)


def _resolved(told: pl.DataFrame, pairs: pl.DataFrame, threshold: float) -> Resolution:
    """Find the keepers of documents in keeper order.

    Documents of one text key, and of one source where its rows stay apart, are at the same Jaccard to all others, so
    they are one group; pairs within a source that stays apart fall away, and so do those of texts without survivors.
    """
    numbers = told.select(pl.struct("text_key", "apart").rank("dense").cast(pl.UInt64)).to_series()
    groups = collapse(numbers.to_numpy(), np.arange(told.height))
    # `collapse` numbers groups by their first documents.
    keys = told.select("text_key", "apart")[groups.representative].with_row_index("group")
    twins = keys.join(keys, on="text_key", suffix="_b").filter(pl.col("group") < pl.col("group_b"))
    linked = pairs.join(keys, left_on="a", right_on="text_key")
    linked = linked.join(keys, left_on="b", right_on="text_key", suffix="_b")
    columns = ["group", "group_b", "jaccard", "apart", "apart_b"]
    linked = pl.concat([linked.select(columns), twins.with_columns(jaccard=1.0).select(columns)])
    linked = linked.filter((pl.col("apart") == 0) | (pl.col("apart") != pl.col("apart_b")))
    found = resolve(
        groups.representative.astype(np.int64),
        linked["group"].to_numpy().astype(np.int64),
        linked["group_b"].to_numpy().astype(np.int64),
        linked["jaccard"].to_numpy(),
        threshold,
    )
    resolved = expand(groups, found)
    spared = (found.keeper == SURVIVOR)[groups.group] & (told["apart"] > 0).to_numpy()
    return Resolution(np.where(spared, SURVIVOR, resolved.keeper), np.where(spared, 0.0, resolved.jaccard))


_NEAR = {"reason": pl.String(), "keeper": pl.String(), "jaccard": pl.Float64()}


def _alive(rows: pl.DataFrame, alive: pl.Series, *columns: str) -> pl.DataFrame:
    """Return columns of the rows alive, with their place and the rank of their provenance."""
    rank = pl.col("provenance").replace_strict(_RANK, return_dtype=pl.Int8)
    return rows.select(*columns, rank=rank).with_row_index("place").filter(alive)


def _spread(found: pl.DataFrame, height: int) -> pl.DataFrame:
    """Put what was found at some places among all of them, null elsewhere."""
    places = pl.DataFrame({"place": pl.int_range(height, dtype=pl.UInt32, eager=True)})
    return places.join(found, on="place", how="left", maintain_order="left").drop("place")
