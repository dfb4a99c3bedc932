"""Gather: what a filter sees only across the documents of a source, as a column of each current row.

Documents of a source are its current rows, each text once, and of near copies those that are left when they are
visited in the order of their doc_ids, each removed when one before it is left that it is near to: a page that stands
there in forty versions counts once, so that the near-duplicate step finds its keeper. All this depends on the current
rows and their pairs alone, so an incremental run counts what a rebuild counts.

It takes five steps: the rows that count, by partition; those left of near copies, by near key; their parts, by batch of
shards; the keys that their counts choose, by range of keys; and the values, by batch again.
Memory: the counts of KEYS_AT_A_TIME keys, or the parts of one shard beside the keys chosen of its sources.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from cuvee.schemas.records import Run
from cuvee.schemas.tables import ADDRESSES, CHOSEN, COUNTED, COUNTS, PAIRS, ChosenRef
from cuvee.storage.store import Store
from cuvee.storage.tables import read_table
from cuvee.tasks import filters
from cuvee.tasks.decide.current import gone
from cuvee.tasks.decide.partitions import Batch, Linked, by_doc_id, by_key
from cuvee.tasks.decide.patches import current
from cuvee.tasks.dedup.resolve import SURVIVOR, resolve
from cuvee.tasks.exchange import Dealer, Dealt, collect, deal
from cuvee.tasks.filters import Gathering
from cuvee.tasks.measure.signals import filter_options
from cuvee.tasks.pool import declared, frame_of, read_declared
from cuvee.tasks.steps import folder_of, look_up, save

# 12 bytes a key and its count, some 600 MB while they are added up.
KEYS_AT_A_TIME = 1 << 24
_GONE = ("source", "generated", "present", "created", "words")


class Asked(NamedTuple):
    """A filter that gathers. number: of the recipe's entry; step: of its signals."""

    number: int
    step: str
    kind: Gathering
    options: Any


def asked(run: Run) -> list[Asked]:
    """List the recipe's filters that gather."""
    entries = enumerate(filter_options(run))
    found = ((number, entry, filters.kinds()[entry.kind]) for number, entry in entries)
    return [Asked(n, filters.step(entry), kind, entry) for n, entry, kind in found if isinstance(kind, Gathering)]


def key_ranges(run: Run, batches: Sequence[Batch]) -> int:
    """Return in how many ranges of keys the parts are counted: a power of two."""
    steps = {one.step for one in asked(run)}
    parts = [sum(files[1].rows for batch in batches for files in batch.signals[step]) for step in steps]
    return 1 << max(0, (max(parts, default=0) - 1) // KEYS_AT_A_TIME).bit_length()


def counted(
    run: Run, store: Store, dealt: Sequence[Dealt], patches: Sequence[Dealt], partition: int, partitions: int
) -> Dealt:
    """Deal the rows of a partition that count as documents by near key: COUNTED."""
    rows = current(run, store, dealt, patches, partition, [*_GONE, *COUNTED.names(), "near_key"])
    rows = rows.filter(gone(run, rows).is_null())
    rows = rows.unique(["source", "doc_id"], keep="first", maintain_order=True)
    where = by_key(rows["near_key"], partitions)
    return deal(store, folder_of(run), rows.select(COUNTED.names()), where, partitions)


def distinct(
    run: Run, store: Store, files: Sequence[Dealt], linked: Linked, batches: Sequence[int], partition: int
) -> Dealt:
    """Deal the documents of a partition by near key that are left of near copies to their batches: ADDRESSES.

    files: COUNTED. batches: place of the first shard of each.
    """
    rows = collect(store, files, partition, COUNTED)
    left = representatives(rows, collect(store, [linked.pairs], partition, PAIRS))
    where = np.searchsorted(np.array(batches), left["shard"].to_numpy(), side="right") - 1
    return deal(store, folder_of(run), left, where, room(batches))


def room(batches: Sequence[int]) -> int:
    """Return a power of two that is no less than the number of batches."""
    return 1 << max(0, len(batches) - 1).bit_length()


def representatives(rows: pl.DataFrame, pairs: pl.DataFrame) -> pl.DataFrame:
    """Return shard and position of the rows that are counted: ADDRESSES.

    rows: current rows, COUNTED. pairs: the near copies, PAIRS.
    """
    ordered = rows.select("shard", "position", "source", "doc_id", "text_key").sort("doc_id", "shard", "position")
    texts = ordered.unique(["source", "text_key"], keep="first", maintain_order=True).with_row_index("rank")
    ranks = texts.select("source", "rank", "text_key")
    linked = pairs.join(ranks, left_on="a", right_on="text_key")
    linked = linked.join(ranks, left_on=["b", "source"], right_on=["text_key", "source"], suffix="_b")
    a, b = (linked[name].to_numpy().astype(np.int64) for name in ("rank", "rank_b"))
    keeper = resolve(np.arange(texts.height), a, b, linked["jaccard"].to_numpy(), 0.0).keeper
    return texts.filter(keeper == SURVIVOR).select("shard", "position")


def count(run: Run, store: Store, batch: Batch, documents: Sequence[Dealt], ranges: int) -> Dealt:
    """Count the parts of a batch's documents, and deal the counts by key: COUNTS. documents: ADDRESSES."""
    places = collect(store, documents, batch.number, ADDRESSES)
    dealer, filtering = Dealer(store, folder_of(run), ranges), asked(run)
    for number, shard in enumerate(batch.shards):
        own = places.filter(shard=batch.first + number)["position"]
        for one in filtering if len(own) else ():
            parts = frame_of(read_table(store, batch.signals[one.step][number][1]))
            counts = one.kind.count(parts.filter(among(own, shard.file.rows, parts)), one.options)
            told = counts.with_columns(filter=pl.lit(one.number), source=pl.lit(shard.source))
            dealer.add(declared(told, COUNTS), by_key(told["key"], ranges))
    return dealer.finish()


def choose(run: Run, store: Store, counts: Sequence[Dealt], part: int) -> ChosenRef:
    """Save the keys of a range that the counts of whole sources choose: CHOSEN."""
    same = ["filter", "source", "key"]
    summed = collect(store, counts, part, COUNTS).group_by(same).agg(pl.col("documents").sum())
    found = [CHOSEN.to_frame()]
    for one in asked(run):
        own = summed.filter(filter=one.number).sort("source", "key")
        for (source,), keys in own.group_by(["source"], maintain_order=True):
            chosen = one.kind.choose(keys.select("key", "documents"), one.options)
            named = pl.DataFrame({"key": chosen}).with_columns(filter=pl.lit(one.number), source=pl.lit(source))
            found.append(declared(named, CHOSEN))
    return ChosenRef(save(run, store, pl.concat(found), CHOSEN))


def value(run: Run, store: Store, batch: Batch, chosen: Sequence[ChosenRef], partitions: int) -> Dealt:
    """Work out what the filters see of each row of a batch, and deal it by doc_id: the columns of `values`."""
    keys = read_declared(store, chosen, CHOSEN)
    schema, filtering = values(run), asked(run)
    dealer = Dealer(store, folder_of(run), partitions)
    for number, shard in enumerate(batch.shards):
        doc_ids = frame_of(read_table(store, shard.file, ["doc_id"]))["doc_id"]
        found = []
        for one in filtering:
            signals, parts = (frame_of(read_table(store, file)) for file in batch.signals[one.step][number])
            own = keys.filter(filter=one.number, source=shard.source)["key"]
            column = one.kind.gather(signals, parts, own, one.options).cast(pl.Float64)
            found.append(column.alias(one.kind.gathered(one.options)))
        rows = pl.DataFrame({one.name: one for one in found}).with_columns(
            shard=pl.lit(batch.first + number, pl.Int32), position=pl.int_range(pl.len(), dtype=pl.Int64)
        )
        dealer.add(rows.select(schema.names()), by_doc_id(doc_ids, partitions))
    return dealer.finish()


def values(run: Run) -> pl.Schema:
    """Return the columns of what the recipe's filters gather: of each row, by its address."""
    named = (one.kind.gathered(one.options) for one in asked(run))
    return pl.Schema({**ADDRESSES, **dict.fromkeys(named, pl.Float64())})


def with_values(run: Run, store: Store, rows: pl.DataFrame, files: Sequence[Dealt], partition: int) -> pl.DataFrame:
    """Add to a partition's rows what the filters that gather see of them."""
    if not files:
        return rows
    return look_up(rows, ADDRESSES.names(), collect(store, files, partition, values(run)))


def among(positions: pl.Series, height: int, parts: pl.DataFrame) -> pl.Series:
    """Tell which parts are of the documents at these positions of a shard of `height` rows."""
    counts = np.zeros(height, np.bool_)
    counts[positions.to_numpy()] = True
    return pl.Series(counts[parts["position"].to_numpy()], dtype=pl.Boolean)
