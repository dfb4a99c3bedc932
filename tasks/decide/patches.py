"""Patches: what rows of other partitions mean for a row, worked out where these rows lie together.

A patch names a row by its address (shard, position), and goes to the partition of the row's doc_id.
"""

from collections.abc import Sequence

import polars as pl

from cuvee.schemas.records import Run
from cuvee.schemas.tables import ADDRESSES, BY_ID, BY_NEAR_KEY, PAIRS, PATCHES
from cuvee.storage.store import Store
from cuvee.tasks.decide import deal
from cuvee.tasks.decide.current import own_copies
from cuvee.tasks.decide.partitions import Linked, by_doc_id
from cuvee.tasks.exchange import Dealt, collect
from cuvee.tasks.exchange import deal as dealt
from cuvee.tasks.steps import folder_of, look_up

# A newer row has the same declared id; another draft answers the same request; a draft of ours was there before.
SUPERSEDED, SECOND, OWN_COPY = "superseded", "second", "own_copy"


def by_id(run: Run, store: Store, files: Sequence[Dealt], partition: int, partitions: int) -> Dealt:
    """Find rows that a newer one of the same declared id supersedes, and all but the first draft of a request."""
    rows = collect(store, files, partition, BY_ID)
    # A file on disk is newer than one that is gone; of two on disk, or two gone, the one that came in later.
    age, same = pl.struct("present", "file_accepted").rank("dense"), ["source", "source_id"]
    superseded = rows.filter(~pl.col("generated")).filter(age.over(same) < age.max().over(same))
    drafts = rows.filter("generated").sort("shard", "position")
    second = drafts.filter(pl.int_range(pl.len()).over(same) > 0)
    found = [superseded.with_columns(what=pl.lit(SUPERSEDED)), second.with_columns(what=pl.lit(SECOND))]
    return _dealt(run, store, pl.concat(found), partitions)


def by_near_key(
    run: Run,
    store: Store,
    files: Sequence[Dealt],
    linked: Linked,
    dates: dict[int, str],
    partition: int,
    partitions: int,
) -> Dealt:
    """Find rows that equal or nearly equal a draft of ours accepted before them; dates: as `own_copies` says."""
    rows = collect(store, files, partition, BY_NEAR_KEY)
    pairs = collect(store, [linked.pairs], partition, PAIRS)
    copies = rows.filter(own_copies(rows, pairs, dates))
    return _dealt(run, store, copies.with_columns(what=pl.lit(OWN_COPY)), partitions)


def current(
    run: Run,
    store: Store,
    dealt: Sequence[Dealt],
    patches: Sequence[Dealt],
    partition: int,
    columns: Sequence[str] | None = None,
) -> pl.DataFrame:
    """Return a partition's current rows, or some of their columns, with superseded and own_copy; accepted is that of
    the text, row_accepted that of the row.
    """
    needed = ("doc_id", "shard", "position", "accepted", "current")
    read = None if columns is None else list(dict.fromkeys([*needed, *columns]))
    rows = collect(store, dealt, partition, deal.columns(run), read).sort("doc_id", "shard", "position")
    rows = rows.with_columns(row_accepted="accepted", accepted=pl.col("accepted").min().over("doc_id"))
    return _patched(store, rows.filter("current"), patches, partition)


def _patched(store: Store, rows: pl.DataFrame, files: Sequence[Dealt], partition: int) -> pl.DataFrame:
    """Add superseded and own_copy (Boolean) to a partition's rows, and leave out the second drafts of a request."""
    patches = collect(store, files, partition, PATCHES)
    told = rows.select(
        *(_has(rows, patches.filter(what=what)).alias(what) for what in (SUPERSEDED, OWN_COPY, SECOND)),
    )
    return rows.hstack(told).filter(~pl.col(SECOND)).drop(SECOND)


def _has(rows: pl.DataFrame, patches: pl.DataFrame) -> pl.Series:
    """Tell which rows a patch names."""
    if patches.is_empty():
        return pl.repeat(False, rows.height, dtype=pl.Boolean, eager=True)
    named = patches.select(ADDRESSES.names()).unique().with_columns(named=pl.lit(value=True))
    return look_up(rows.select(ADDRESSES.names()), ADDRESSES.names(), named)["named"].fill_null(value=False)


def _dealt(run: Run, store: Store, rows: pl.DataFrame, partitions: int) -> Dealt:
    where = by_doc_id(rows["doc_id"], partitions)
    return dealt(store, folder_of(run), rows.select(PATCHES.names()), where, partitions)
