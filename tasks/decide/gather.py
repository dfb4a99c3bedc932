"""Gather: what a filter sees only across the documents of a source, as a column of each current row.

Documents of a source are its current rows, each text once, and of near copies those that are left when they are
visited in the order of their doc_ids, each removed when one before it is left that it is near to: a page that stands
there in forty versions counts once, so that the near-duplicate step finds its keeper. All this depends on the current
rows and their pairs alone, so an incremental run counts what a rebuild counts.

Memory, for one source at a time: the counts of KEYS_AT_A_TIME keys, and the parts of one shard.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import polars as pl

from cuvee.schemas.records import StepRecord
from cuvee.storage.store import Store
from cuvee.storage.tables import read_table
from cuvee.tasks.dedup.resolve import SURVIVOR, resolve
from cuvee.tasks.filters import Gathering
from cuvee.tasks.pool import frame_of

# Where a source may have more keys, its parts are read once for each range of so many: 12 bytes a key and its count,
# some 600 MB while they are added up.
KEYS_AT_A_TIME = 1 << 24


def gather(
    store: Store, records: Sequence[StepRecord], kind: Gathering, options: Any, rows: pl.DataFrame, first: pl.DataFrame
) -> pl.Series:
    """Return the column that `kind.gathered` names, a value for each of `rows`.

    records: of the kind's signals, one a shard. rows: shard, position, source; a shard holds one source. first: what
    `representatives` gives of them.
    """
    placed = rows.select("shard", "position", "source").with_row_index("row")
    counted = placed.join(first, on=["shard", "position"], how="semi")
    found: list[pl.DataFrame] = []
    for source in placed["source"].unique().sort():
        shards = placed.filter(source=source)["shard"].unique().sort().to_list()
        documents = counted.filter(source=source)
        chosen = pl.concat(_chosen(store, records, kind, options, shards, documents))
        for shard in shards:
            signals, parts = (frame_of(read_table(store, file)) for file in records[shard].files)
            column = kind.gather(signals, parts, chosen, options)
            here = placed.filter(shard=shard)
            found.append(here.select("row", value=column.gather(here["position"])))
    if not found:
        return pl.Series([], dtype=pl.Float64)
    return pl.concat(found).sort("row")["value"].alias(kind.gathered(options))


def representatives(rows: pl.DataFrame, pairs: pl.DataFrame) -> pl.DataFrame:
    """Return shard and position of the rows that are counted.

    rows: current rows; columns shard, position, source, doc_id, text_key. pairs: the near copies, PAIRS.
    """
    ordered = rows.select("shard", "position", "source", "doc_id", "text_key").sort("doc_id", "shard", "position")
    texts = ordered.unique(["source", "text_key"], keep="first", maintain_order=True).with_row_index("rank")
    ranks = texts.select("source", "rank", "text_key")
    linked = pairs.join(ranks, left_on="a", right_on="text_key")
    linked = linked.join(ranks, left_on=["b", "source"], right_on=["text_key", "source"], suffix="_b")
    a, b = (linked[name].to_numpy().astype(np.int64) for name in ("rank", "rank_b"))
    keeper = resolve(np.arange(texts.height), a, b, linked["jaccard"].to_numpy(), 0.0).keeper
    return texts.filter(keeper == SURVIVOR).select("shard", "position")


def _chosen(
    store: Store,
    records: Sequence[StepRecord],
    kind: Gathering,
    options: Any,
    shards: Sequence[int],
    documents: pl.DataFrame,
) -> Iterator[pl.Series]:
    """Yield the keys that a source's counts choose, a range of keys at a time."""
    bits = max(0, (sum(records[shard].files[1].rows for shard in shards) - 1) // KEYS_AT_A_TIME).bit_length()
    for part in range(1 << bits):
        counts = []
        for shard in shards:
            parts = frame_of(read_table(store, records[shard].files[1]))
            own = parts.filter(_among(documents.filter(shard=shard)["position"], records[shard].files[0].rows, parts))
            one = kind.count(own, options)
            counts.append(one.filter(pl.col("key") // pl.lit(2 ** (64 - bits), pl.UInt64) == part) if bits else one)
        yield kind.choose(pl.concat(counts).group_by("key").agg(pl.col("documents").sum()), options)


def _among(positions: pl.Series, height: int, parts: pl.DataFrame) -> pl.Series:
    """Tell which parts are of the documents at these positions of a shard of `height` rows."""
    counts = np.zeros(height, np.bool_)
    counts[positions.to_numpy()] = True
    return pl.Series(counts[parts["position"].to_numpy()], dtype=pl.Boolean)
