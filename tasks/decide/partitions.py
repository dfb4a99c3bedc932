"""Partitions: which part of a pool a row belongs to, so that no task holds more than a part of it.

Rows are dealt by the first bits of their doc_id, so equal texts land together. What texts that are near each other, or
rows of one declared id, have to do with each other is worked out in partitions by other keys, and comes back as patches
by row address (shard, position) and doc_id. How many partitions there are changes nothing in the result.
"""

from collections.abc import Sequence

import numba
import numpy as np
import polars as pl

from cuvee.schemas.base import Frozen
from cuvee.schemas.records import FileRef, IngestRecord, PoolEntry, ReadFile, Run, SourceFile
from cuvee.schemas.tables import LINKS, LinksRef
from cuvee.storage.store import Store
from cuvee.tasks.dedup.pairs import read_pairs
from cuvee.tasks.exchange import Dealt, Numbers, deal
from cuvee.tasks.pool import Pool, Shard
from cuvee.tasks.steps import folder_of, save
from cuvee.tasks.words.union_find import components

# A decided row takes about 1.2 KB while it is decided on: 300 MB a partition.
ROWS_A_PARTITION = 1 << 18
# Rows of the shards that one task deals, a shard at a time.
ROWS_A_BATCH = 1 << 20


class Known(Frozen):
    """A source file that the pool has. present: whether it exists now; path_id: of a file that is one document, the
    path it has now, or had last; accepted: number of the pool state that first held it.
    """

    source: str
    file: str
    present: bool
    path_id: str | None
    accepted: int


class Batch(Frozen):
    """Some shards of a pool that one task deals. number: of the batch; first: place of the first shard in the pool;
    signals: kind → the files of each shard's record; files: the source files whose rows these shards hold.
    """

    number: int
    first: int
    shards: tuple[Shard, ...]
    signals: dict[str, tuple[tuple[FileRef, ...], ...]]
    files: tuple[Known, ...]


class Linked(Frozen):
    """What near pairs link: the table LINKS, and the pairs themselves, dealt by near key."""

    links: LinksRef
    pairs: Dealt


def partitions_of(pool: Pool) -> int:
    """Return how many partitions a pool has: a power of two, the fewest with ROWS_A_PARTITION rows on average."""
    rows = sum(shard.file.rows for shard in pool.shards)
    return 1 << max(0, (rows - 1) // ROWS_A_PARTITION).bit_length()


def by_doc_id(doc_ids: pl.Series, partitions: int) -> Numbers:
    """Return the partition of each document: the first bits of its id."""
    return _first_bits(doc_ids.str.slice(0, 8).str.to_integer(base=16, dtype=pl.UInt64).to_numpy(), 32, partitions)


def by_key(keys: pl.Series, partitions: int) -> Numbers:
    """Return the partition of each key (uint64, which may be the smallest of many, so its bits are mixed)."""
    return _first_bits(keys.to_numpy() * np.uint64(0x9E3779B97F4A7C15), 64, partitions)


def by_declared_id(sources: pl.Series, ids: pl.Series, partitions: int) -> Numbers:
    """Return the partition of each declared id of a source."""
    named = pl.select(pl.concat_str(sources, pl.lit("\0"), ids)).to_series().to_arrow()
    offsets, content = np.frombuffer(named.buffers()[1], np.int64), np.frombuffer(named.buffers()[2], np.uint8)
    return _first_bits(_hashes(offsets[named.offset :][: len(named) + 1], content), 64, partitions)


@numba.njit(nogil=True, cache=True)
def _hashes(offsets, content):  # type: ignore[no-untyped-def]
    """Return a hash of each string: FNV-1a of its bytes, mixed by a multiplication."""
    found = np.empty(len(offsets) - 1, np.uint64)
    for place in range(len(found)):
        hashed = np.uint64(0xCBF29CE484222325)
        for at in range(offsets[place], offsets[place + 1]):
            hashed = (hashed ^ np.uint64(content[at])) * np.uint64(0x100000001B3)
        found[place] = (hashed ^ (hashed >> np.uint64(29))) * np.uint64(0xBF58476D1CE4E5B9)
    return found


def _first_bits(numbers: Numbers, bits: int, partitions: int) -> Numbers:
    taken = partitions.bit_length() - 1
    return np.zeros(len(numbers), np.uint64) if not taken else numbers >> np.uint64(bits - taken)


def batches(pool: Pool, files: Sequence[SourceFile]) -> list[Batch]:
    """Cut a pool's shards into batches of about ROWS_A_BATCH rows. files: the source files that exist now."""
    shards, known = pool.shards, _known(pool, files)
    held = [_files_of(entry, known) for entry in pool.entries for _ in getattr(entry.record, "shards", ())]
    found: list[Batch] = []
    start = rows = 0
    for place, shard in enumerate(shards):
        rows += shard.file.rows
        if rows < ROWS_A_BATCH and place + 1 < len(shards):
            continue
        own = slice(start, place + 1)
        found.append(
            Batch(
                number=len(found),
                first=start,
                shards=tuple(shards[own]),
                signals={kind: tuple(one.files for one in records[own]) for kind, records in pool.signals.items()},
                files=tuple(dict.fromkeys(file for files_of_one in held[own] for file in files_of_one)),
            )
        )
        start, rows = place + 1, 0
    return found


def _known(pool: Pool, files: Sequence[SourceFile]) -> dict[tuple[str, str], Known]:
    """Return what is known of each source file, by source and SHA-256."""
    present: dict[tuple[str, str], str] = {}
    for found in files:  # of several paths with one content, the first
        present.setdefault((found.source, found.sha256), found.id)
    known: dict[tuple[str, str], Known] = {}
    for entry in pool.entries:
        for source, file in _named(entry):
            key = (source, file.sha256)
            before = known.get(key)
            is_document = file.document or (before is not None and before.path_id is not None)
            known[key] = Known(
                source=source,
                file=file.sha256,
                present=key in present,
                path_id=present.get(key, file.id) if is_document else None,
                accepted=min(entry.accepted, before.accepted) if before else entry.accepted,
            )
    return known


def _named(entry: PoolEntry) -> list[tuple[str, ReadFile]]:
    """List the source files of a record, with their source."""
    record = entry.record
    return [(record.report.source, file) for file in record.report.files] if isinstance(record, IngestRecord) else []


def _files_of(entry: PoolEntry, known: dict[tuple[str, str], Known]) -> list[Known]:
    return [known[source, file.sha256] for source, file in _named(entry)]


def link(run: Run, store: Store, pool: Pool, partitions: int) -> Linked:
    """Find which texts near pairs link, and deal the pairs at the recipe's threshold by near key."""
    pairs = read_pairs(store, pool.known_pairs).filter(pl.col("jaccard") >= run.recipe.dedup.threshold)
    keys = pl.concat([pairs["a"], pairs["b"]]).unique().sort()
    a, b = (keys.search_sorted(pairs[name]).cast(pl.Int64).to_numpy() for name in ("a", "b"))
    # Without pairs no kernel: a process that loads its first one spends half a second.
    near = keys.gather(components(len(keys), a, b)) if len(keys) else keys
    links = pl.DataFrame({"text_key": keys, "near_key": near})
    dealt = deal(store, folder_of(run), pairs, by_key(near.gather(a), partitions), partitions)
    return Linked(links=LinksRef(save(run, store, links, LINKS)), pairs=dealt)
