"""Texts: find the texts of a ledger's rows again, whatever became of them, in the shards of the pool."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from cuvee.schemas.records import DraftRecord, FileRef, IngestRecord, PoolState, ShardsRecord
from cuvee.storage.corpus import corpus_folder, read_records
from cuvee.storage.store import Store
from cuvee.storage.tables import read_table, take_rows


def find(store: Store, corpus: str, state: PoolState, rows: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Return doc_id → text of rows of a ledger (doc_id, source, file).

    state: of the version that the ledger is of or that stood when its run ended. What that run read and did not publish
    is looked for among finished work, of which `work/` may hold nothing any more: such a row is left out.
    """
    wanted = {str(row["doc_id"]): (str(row["source"]), str(row["file"])) for row in rows if row["doc_id"]}
    pooled = [entry.record for entry in state.entries if isinstance(entry.record, ShardsRecord)]
    found = _read(store, pooled, wanted)
    lacking = {doc_id: place for doc_id, place in wanted.items() if doc_id not in found}
    return found | (_read(store, _unpublished(store, corpus), lacking) if lacking else {})


def _unpublished(store: Store, corpus: str) -> Iterable[ShardsRecord]:
    """Yield the records of shards that finished work of a corpus left."""
    kinds: tuple[tuple[str, type[ShardsRecord]], ...] = (("ingest", IngestRecord), ("generate", DraftRecord))
    for step, kind in kinds:
        keys = [key.removeprefix(f"work/{step}/").removesuffix(".json") for key in store.keys(f"work/{step}/")]
        named = [key for key in keys if "/" not in key]
        yield from (record for record in read_records(store, kind, step, named, corpus_folder(corpus)) if record)


def _read(store: Store, records: Iterable[ShardsRecord], wanted: Mapping[str, tuple[str, str]]) -> dict[str, str]:
    found: dict[str, str] = {}
    for record in records:
        here = [doc_id for doc_id, place in wanted.items() if doc_id not in found and _may_hold(record, *place)]
        for shard in record.shards if here else ():
            found |= _texts(store, shard, here)
    return found


def _may_hold(record: ShardsRecord, source: str, file: str) -> bool:
    if record.report.source != source:
        return False
    return not isinstance(record, IngestRecord) or any(read.sha256 == file for read in record.report.files)


def _texts(store: Store, shard: FileRef, wanted: Sequence[str]) -> dict[str, str]:
    ids = read_table(store, shard, ["doc_id"])["doc_id"].to_numpy(zero_copy_only=False)
    rows = np.flatnonzero(np.isin(ids, np.array(wanted, dtype=object)))
    if not len(rows):
        return {}
    table = take_rows(store, shard, ["doc_id", "text"], rows)
    return dict(zip(table["doc_id"].to_pylist(), table["text"].to_pylist(), strict=True))
