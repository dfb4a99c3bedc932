"""Pairs: verified near-duplicates among all texts of the pool, each pair compared once in the pool's life.

Output columns: a, b (uint64: text keys, a < b), jaccard (float64, six decimals, at least the floor).
Texts of one text key have the same shingles. Which documents are current, and who keeps its place, is decided later
from these pairs, so pairs(old) and pairs(new against all) together equal a rebuild. For the same reason every pair is
kept, however many near copies a text has.
"""

import logging
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from cuvee.schemas.errors import GateError, RecipeError
from cuvee.schemas.recipe import Recipe
from cuvee.schemas.records import (
    Estimate,
    FileRef,
    MostCopies,
    PairsRecord,
    PairsReport,
    PairsWork,
    PoolState,
    Run,
    step_key,
)
from cuvee.schemas.tables import PAIRS
from cuvee.storage.corpus import pool_folder
from cuvee.storage.store import Store
from cuvee.storage.tables import read_table, read_tables, write_table
from cuvee.tasks.dedup import PAIRS_VERSION
from cuvee.tasks.dedup.index import BAND_BYTES, CROWD, BandIndex, Bands, choose, first_of_each, found
from cuvee.tasks.dedup.near import BYTES_A_PAIR, TooManyPairsError, near_pairs
from cuvee.tasks.dedup.verify import BATCH_BYTES, Comparison
from cuvee.tasks.pool import Pool, Texts, read_declared
from cuvee.tasks.steps import once
from cuvee.tasks.words.kernel import KEY_BYTES, Int64s

STEP = "pairs"
# Of the pairs at the threshold, the share that is compared at least.
LEAST_RECALL = 0.999
_SCHEMA = PAIRS.to_frame().to_arrow().schema

_logger = logging.getLogger("cuvee.tasks")


def known_pairs(state: PoolState) -> PairsRecord | None:
    """Return the near-duplicates that the standing version knew."""
    return next((entry.record for entry in state.entries if isinstance(entry.record, PairsRecord)), None)


def run(run: Run, store: Store, pool: Pool, previous: PairsRecord | None) -> PairsRecord:
    """Compare what is new in the pool with everything in it.

    previous: the pairs known so far; used when they were made with these options, of texts that are still there, and
    with a threshold no higher. Else all is compared anew, and the record's `work` says why.
    Raises GateError where near copies of each other are so many that their pairs do not
    fit into memory.
    """
    if same := standing(run, pool, previous):
        return same
    signed = [record.key for record in pool.signals["sign"]]
    options = pair_options(run.recipe, run.bands)
    anew = _objection(previous, run, options, signed) if previous else None
    before = previous.report.work if previous and previous.report.work.version == run.version else None
    if anew:
        previous = None
    covered = previous.report.signed if previous else ()
    floor = previous.report.floor if previous else run.recipe.dedup.threshold
    key = step_key(STEP, PAIRS_VERSION, options=options, floor=floor, signed=sorted(signed), covered=sorted(covered))

    def build() -> PairsRecord:
        near, work = _near(run, store, pool, set(covered), floor, anew)
        files = previous.files if previous else ()
        if near.num_rows:
            files = (*files, write_table(store, pool_folder(run.corpus, STEP), near))
        work = _together(before, work) if before else work
        report = PairsReport(signed=tuple(sorted(signed)), floor=floor, options=options, work=work)
        return PairsRecord(key=key, files=files, report=report)

    return once(run, store, PairsRecord, STEP, key, build)


def standing(run: Run, pool: Pool, previous: PairsRecord | None) -> PairsRecord | None:
    """Return the pairs known so far where they are those of all texts of the pool, and nothing is to be compared."""
    signed = [record.key for record in pool.signals["sign"]]
    if previous is None or set(previous.report.signed) != set(signed):
        return None
    return None if _objection(previous, run, pair_options(run.recipe, run.bands), signed) else previous


def pair_options(recipe: Recipe, bands: tuple[int, int]) -> tuple[int, int, int, tuple[int, int]]:
    """Return all but the threshold that decides which pairs are found."""
    options = recipe.dedup
    return options.ngram, options.permutations, options.seed, bands


def choose_bands(recipe: Recipe, known: PairsRecord | None) -> tuple[int, int]:
    """Decide how signatures are cut.

    known: the pairs of the standing pool. With bands: auto its cut is kept as long as it finds pairs at the threshold
    as well as a new one would, so that a raised threshold reads no text. Raises RecipeError when the permutations do
    not suffice.
    """
    options = recipe.dedup
    if options.bands != "auto":
        bands, rows = options.bands
        if bands * rows > options.permutations:
            raise RecipeError(
                f"dedup.bands: {bands} bands of {rows} need {bands * rows} permutations, and there are "
                f"{options.permutations}; raise dedup.permutations or use fewer"
            )
        return bands, rows
    if known is not None:
        bands, rows = known.report.options[-1]
        same = known.report.options == pair_options(recipe, (bands, rows))
        if same and found(Bands(bands=bands, rows=rows), options.threshold) >= LEAST_RECALL:
            return bands, rows
    chosen = choose(options.threshold, options.permutations, LEAST_RECALL)
    return chosen.bands, chosen.rows


def read_pairs(store: Store, record: PairsRecord) -> pl.DataFrame:
    """Read all pairs: PAIRS."""
    return read_declared(store, record.files, PAIRS)


def _objection(
    previous: PairsRecord, run: Run, options: tuple[int, int, int, tuple[int, int]], signed: list[str]
) -> str | None:
    """Say why known pairs cannot be used, or return None."""
    report, threshold = previous.report, run.recipe.dedup.threshold
    names = ("ngram", "permutations", "seed", "bands")
    before, now = ([*values[:3], list(values[3])] for values in (report.options, options))
    changed = {
        name: f"dedup.{name} changed from {old} to {new}"
        for name, old, new in zip(names, before, now, strict=True)
        if old != new
    }
    if report.floor > threshold:
        changed["threshold"] = f"dedup.threshold fell from {report.floor:g} to {threshold:g}"
    if len(changed) > 1 and run.recipe.dedup.bands == "auto":
        changed.pop("bands", None)  # they followed from the others
    if changed:
        return ", ".join(changed.values())
    if not set(report.signed) <= set(signed):
        return "texts that were compared are no longer in the pool, or were measured by another version of cuvee"
    return None


def _together(earlier: PairsWork, work: PairsWork) -> PairsWork:
    """Add up what two calls of one run did, its sources first and its drafts after."""
    summed = {
        name: getattr(earlier, name) + getattr(work, name)
        for name in ("documents", "candidates", "pairs", "large_buckets")
    }
    largest = max(earlier.largest_bucket, work.largest_bucket)
    most = max(earlier.most_copies, work.most_copies, key=lambda copies: copies.copies)
    return work.model_copy(update={**summed, "largest_bucket": largest, "most_copies": most, "anew": earlier.anew})


def _near(
    run: Run, store: Store, pool: Pool, covered: set[str], floor: float, anew: str | None
) -> tuple[pa.Table, PairsWork]:
    """Return the pairs with a new member, and what finding them took."""
    records, shards = pool.signals["sign"], pool.shards
    counts = np.array([record.files[0].rows for record in records], np.int64)
    starts = np.concatenate(([0], np.cumsum(counts)))
    fresh = np.repeat([record.key not in covered for record in records], counts)
    keys = _column(store, [record.files[0] for record in records], "text_key", np.uint64)
    # One row a text key: an old one where there is one, else any.
    rows = np.flatnonzero(first_of_each(keys, fresh))
    new, keys = fresh[rows], keys[rows]
    sizes = _column(store, [shard.file for shard in shards], "bytes", np.int64)[rows]
    estimate = _estimate(len(rows), int(new.sum()), int(sizes.sum()), run.bands[0])

    with Texts(store, shards) as texts:

        def fetch(ids: Int64s) -> pa.ChunkedArray:
            shard = np.searchsorted(starts, rows[ids], side="right") - 1
            return texts.take(shard, rows[ids] - starts[shard])["text"]

        index = BandIndex(store, [record.files[1] for record in records], fresh, rows, run.bands[0])
        # Batches bounded by bytes alone: each costs reading a part of many shards.
        comparison = Comparison(fetch, run.recipe.dedup.ngram, floor, batch=max(1, len(rows)), sizes=sizes)
        try:
            pairs = near_pairs(index, run.bands[0], new, comparison, most=_room_for_pairs())
        except TooManyPairsError as error:
            number = int(np.searchsorted(starts, rows[error.document], side="right")) - 1
            place = int(rows[error.document] - starts[number])
            doc_id = read_table(store, shards[number].file, ["doc_id"])["doc_id"][place]
            raise GateError(
                f"source {shards[number].source}: document {doc_id} is one of many thousand copies of a form, of which "
                f"any two may be near-duplicates: over {error.pairs:,} pairs, too many for this machine's memory; take "
                "such copies out of the source first (cuvee dedup removes them from files)"
            ) from None
    copies = np.bincount(np.concatenate((pairs.a, pairs.b)), minlength=1)
    most = int(copies.argmax())
    work = PairsWork(
        version=run.version,
        anew=anew,
        documents=int(new.sum()),
        candidates=pairs.candidates,
        pairs=len(pairs.a),
        large_buckets=pairs.large_buckets,
        largest_bucket=pairs.largest_bucket,
        most_copies=MostCopies(text_key=int(keys[most]) if len(keys) else 0, copies=int(copies[most])),
        estimate=estimate,
    )
    ends = np.sort(np.stack((keys[pairs.a], keys[pairs.b])), axis=0)
    order = np.lexsort((ends[1], ends[0]))
    columns = [ends[0][order], ends[1][order], pairs.jaccard[order]]
    return pa.table(columns, schema=_SCHEMA), work


def _room_for_pairs() -> int:
    """Return how many pairs fit into half of the machine's memory."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2 // BYTES_A_PAIR


def _estimate(documents: int, new: int, text: int, bands: int) -> Estimate:
    """Tell, before work begins, the memory and disk that comparing takes, in MB; documents: distinct texts."""
    # Measured: keys, sizes, flags and the rows of a band being sorted; the bands read at a time; a batch of texts.
    memory = 150 * documents + max(BAND_BYTES, 12 * new) + 5 * BATCH_BYTES
    read = KEY_BYTES * bands * documents
    estimate = Estimate(memory_mb=memory >> 20, disk_mb=text >> 20, read_mb=read >> 20)
    _logger.info(
        "pairs: comparing %d new texts with all %d: about %d MB of memory, and 2 KB for each text in a bucket of more "
        "than %d; up to %d MB of disk for a while; %d MB of band keys to read",
        new,
        documents,
        estimate.memory_mb,
        CROWD,
        estimate.disk_mb,
        estimate.read_mb,
    )
    return estimate


def _column(store: Store, files: Sequence[FileRef], name: str, kind: Any) -> Any:
    parts = [table[name].to_numpy() for table in read_tables(store, files, [name])]
    return np.concatenate([np.empty(0, kind), *parts]).astype(kind, copy=False)
