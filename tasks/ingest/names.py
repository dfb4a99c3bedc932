"""Names: a row's id, address, licence and the like stand in tables of many rows, so none may be as long as a text; and
an id that holds what is masked is put away.
"""

from collections.abc import Sequence
from dataclasses import replace

import polars as pl

from cuvee.schemas.document import hidden_id
from cuvee.tasks.ingest.mask import mask
from cuvee.tasks.readers import BadRow, Batch

NAMES = ("id", "url", "license", "generator", "model", "origin")
# Addresses of people stay under 2,000; servers refuse those over 8,000.
MOST_NAME_BYTES = 8192


def without_long(batch: Batch) -> Batch:
    """Make bad rows of those that have a name of over MOST_NAME_BYTES."""
    if all(batch.rows[name].estimated_size() <= MOST_NAME_BYTES for name in NAMES):
        return batch
    lengths = batch.rows.select("row", *(pl.col(name).str.len_bytes().fill_null(0) for name in NAMES))
    long = lengths.filter(pl.max_horizontal(NAMES) > MOST_NAME_BYTES)
    if long.is_empty():
        return batch
    bad = [_fault(row["row"], max(NAMES, key=row.__getitem__), row) for row in long.to_dicts()]
    rows = batch.rows.filter(~pl.col("row").is_in(long["row"].to_list()))
    return replace(batch, rows=rows, bad=sorted([*batch.bad, *bad], key=lambda fault: fault.row))


def hide_ids(ids: pl.Series, kinds: Sequence[str]) -> pl.Series:
    """Put `hidden_id` in the place of each id (string, no nulls) in which something of these kinds is masked."""
    changed = (mask(ids, kinds)[0] != ids).arg_true()
    return ids.clone().scatter(changed, list(map(hidden_id, ids.gather(changed)))) if len(changed) else ids


def _fault(row: int, name: str, lengths: dict[str, int]) -> BadRow:
    told = f"its {name} has {lengths[name]:,} bytes, over the {MOST_NAME_BYTES:,} of a name"
    return BadRow(row, None, f"{told}; name another field (sources[].fields)")
