"""Shards: give rows the columns of cuvee.schemas.document.SHARD, and write them in files of bounded size."""

from collections.abc import Iterator

import polars as pl
import pyarrow as pa

from cuvee.schemas.document import SHARD
from cuvee.schemas.recipe import Ingest
from cuvee.schemas.records import FileRef
from cuvee.storage.store import Store
from cuvee.storage.tables import table_file
from cuvee.tasks.ingest import normalise
from cuvee.tasks.ingest.mask import mask

MB = 10**6


def shape(rows: pl.DataFrame, options: Ingest, masked: dict[str, int]) -> pa.Table:
    """Give a batch of rows, whose `created` is a date, the columns of a shard."""
    clean = normalise.normalise(rows["text"])
    text, counts = mask(clean["text"], options.mask)
    for kind, count in counts.items():
        masked[kind] += count
    frame = rows.with_columns(
        normalise.measure(text),
        text=text,
        doc_id=normalise.doc_ids(text),
        c2pa=clean["c2pa"],
        source_id=pl.col("id"),
        origin=pl.col("origin").str.to_lowercase(),
    )
    return _complete(frame)


def _complete(frame: pl.DataFrame) -> pa.Table:
    table = frame.select(name for name in SHARD.names if name in frame.columns).to_arrow()
    columns = [
        table[field.name].cast(field.type) if field.name in table.column_names else pa.nulls(len(table), field.type)
        for field in SHARD
    ]
    return pa.table(columns, schema=SHARD)


def write_shards(store: Store, folder: str, tables: Iterator[pa.Table], limit: int) -> Iterator[FileRef]:
    """Write tables of SHARD's columns, in order, a file for every `limit` bytes of text; yield each when it stands."""
    tables = (table for table in tables if table.num_rows)
    table = next(tables, None)
    while table is not None:
        with table_file(store, folder, SHARD, small_pages=True) as shard:
            held = 0
            while table is not None and (held == 0 or held + table["text"].nbytes <= limit):
                shard.write(table)
                held += table["text"].nbytes
                table = next(tables, None)
        yield shard.ref


def draft_shards(store: Store, folder: str, frame: pl.DataFrame, limit: int) -> list[FileRef]:
    """Write drafts as shards like any other. frame: the columns of a shard that drafts have; limit: bytes of text."""
    pieces = (_complete(piece) for piece in frame.iter_slices(10_000))
    return list(write_shards(store, folder, pieces, limit))
