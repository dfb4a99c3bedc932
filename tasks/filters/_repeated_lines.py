"""Repeated lines: which lines of a source are boilerplate, and how much of each document they are.

Output of `add_shares`, a column an entry of the filter `boilerplate`: float64, 0 to 1, six decimals, the share of a
row's words that stand in lines of at least `min_words` words which more than `max_documents` documents of its source
hold.

Documents of a source are its current rows, each text once, and of texts that near copies link the one of smallest
doc_id: a page that stands there in forty versions counts once, so that the near-duplicate step finds its keeper. All
this depends on the current rows and their pairs alone, so an incremental run counts what a rebuild counts.

Each run reads the stored lines three times, about 1 s for a million documents, and measures the lines of new text only.
Memory, for one source at a time: 4 bytes a line, at most 128 MB, 8 bytes for each place where a boilerplate line
stands, and the lines of one shard, 20 bytes each. A document of 220 words has 3 to 15 lines.
"""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import polars as pl

from cuvee.schemas.records import StepRecord
from cuvee.storage.store import Store
from cuvee.storage.tables import read_table
from cuvee.tasks.filters.boilerplate import Options, share_column
from cuvee.tasks.pool import frame_of
from cuvee.tasks.words.kernel import Int64s, Uint64s
from cuvee.tasks.words.union_find import components

# Lines that share a counter are told apart later: more of them than counters cost time, not truth.
MOST_COUNTERS = 1 << 25


def add_shares(
    rows: pl.DataFrame, pairs: pl.DataFrame, store: Store, records: Sequence[StepRecord], options: Sequence[Options]
) -> pl.DataFrame:
    """Add the column of each entry of `options`.

    rows: columns shard, position, source, doc_id, text_key, gone (null: the row is current), line_words; a shard holds
    one source. pairs: columns a, b, the near copies by text key. records: of the step lines, one a shard.
    """
    counted = rows.select("shard", "position", "source", "line_words").with_row_index("row")
    first = _representatives(rows, pairs)
    counted = counted.join(first, on=["shard", "position"], how="left", maintain_order="left")
    found = {share_column(entry): np.zeros(rows.height, np.float64) for entry in options}
    for source in counted["source"].unique().sort():
        here = counted.filter(pl.col("source") == source).partition_by("shard", as_dict=True)
        shards = {int(number): here[number,] for (number,) in sorted(here)}
        for entry in options:
            for number, words in words_in_boilerplate(store, records, shards, entry):
                part = shards[number]
                # Of a text without words nothing is boilerplate.
                share = words[part["position"].to_numpy()] / np.maximum(part["line_words"].to_numpy(), 1)
                found[share_column(entry)][part["row"].to_numpy()] = np.round(share, 6)
    return rows.with_columns(pl.Series(name, values) for name, values in found.items())


def words_in_boilerplate(
    store: Store, records: Sequence[StepRecord], shards: Mapping[int, pl.DataFrame], options: Options
) -> Iterator[tuple[int, Int64s]]:
    """Yield for each shard of one source its number, and the words in boilerplate lines by position.

    shards: the rows of each shard, by its number; columns position and counts (true: the row's lines are counted).
    """
    bits = 10
    while (1 << bits) < min(MOST_COUNTERS, sum(records[number].files[1].rows for number in shards)):
        bits += 1
    counters, shift = np.zeros(1 << bits, np.uint32), np.uint64(64 - bits)
    for number, rows in shards.items():
        line = _counted(store, records[number], rows, options)["line"].to_numpy()
        np.add.at(counters, line >> shift, np.uint32(1))
    places: list[Uint64s] = [np.empty(0, np.uint64)]
    for number, rows in shards.items():
        lines = _counted(store, records[number], rows, options)
        often = counters[lines["line"].to_numpy() >> shift] > options.max_documents
        # A line counts once a document.
        places.append(lines.filter(often).unique(["position", "line"])["line"].to_numpy())
    held, documents = np.unique(np.concatenate(places), return_counts=True)
    boilerplate = pl.Series(held[documents > options.max_documents])
    for number, rows in shards.items():
        lines = _lines(store, records[number], options).filter(pl.col("line").is_in(boilerplate.implode()))
        words = np.bincount(lines["position"], lines["words"], minlength=_height(rows))
        yield number, words.astype(np.int64)


def _representatives(rows: pl.DataFrame, pairs: pl.DataFrame) -> pl.DataFrame:
    """Return shard and position of the rows whose lines are counted, and `counts`, true."""
    current = rows.filter(pl.col("gone").is_null()).select("shard", "position", "source", "doc_id", "text_key")
    keys = current.select("text_key").unique().sort("text_key").with_row_index("key")
    linked = pairs.join(keys, left_on="a", right_on="text_key")
    linked = linked.join(keys, left_on="b", right_on="text_key", suffix="_b")
    a, b = (linked[name].to_numpy().astype(np.int64) for name in ("key", "key_b"))
    groups = keys.select("text_key", group=pl.Series(components(keys.height, a, b), dtype=pl.Int64))
    ordered = current.join(groups, on="text_key").sort("doc_id", "shard", "position")
    first = ordered.unique(["source", "group"], keep="first", maintain_order=True)
    return first.select("shard", "position", counts=pl.lit(value=True))


def _lines(store: Store, record: StepRecord, options: Options) -> pl.DataFrame:
    """Read the lines of a shard that are long enough: columns position, line, words."""
    return frame_of(read_table(store, record.files[1])).filter(pl.col("words") >= options.min_words)


def _counted(store: Store, record: StepRecord, rows: pl.DataFrame, options: Options) -> pl.DataFrame:
    """Read the lines of the rows that are counted."""
    counts = np.zeros(record.files[0].rows, np.bool_)
    counts[rows.filter(pl.col("counts"))["position"].to_numpy()] = True
    lines = _lines(store, record, options)
    return lines.filter(counts[lines["position"].to_numpy()])


def _height(rows: pl.DataFrame) -> int:
    return int(rows["position"].to_numpy().max(initial=-1)) + 1
