"""Pairs: verified near-duplicates among all texts of the pool, each pair compared once in the pool's life.

Output columns: a, b (uint64: text keys, a < b), jaccard (float64, six decimals, at least the floor).
Texts of one text key have the same shingles. Which documents are current, and who keeps its place, is decided later
from these pairs, so pairs(old) and pairs(new against all) together equal a rebuild. Of texts with very many near copies
some are set aside (`cuvee.tasks.dedup.crowd`): the record's last file names them in a column text_key. Where one of
them survives nevertheless, `resolve` has it compared again.
"""

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from cuvee.schemas.errors import RecipeError
from cuvee.schemas.recipe import Recipe
from cuvee.schemas.records import FileRef, PoolState, Run, StepRecord, step_key
from cuvee.storage.corpus import pool_folder
from cuvee.storage.store import Store
from cuvee.storage.tables import read_table, read_tables, write_table
from cuvee.tasks.band_index import BAND_BYTES, BandIndex
from cuvee.tasks.dedup import PAIRS_VERSION
from cuvee.tasks.dedup.bands import Bands, choose, found
from cuvee.tasks.dedup.candidates import CROWD, first_of_each
from cuvee.tasks.dedup.kernel import KEY_BYTES, Int64s, Uint64s
from cuvee.tasks.dedup.pairs import near_pairs
from cuvee.tasks.dedup.verify import BATCH_BYTES, Comparison
from cuvee.tasks.pool import Pool, Texts, frame_of
from cuvee.tasks.steps import Outcome, once

STEP = "pairs"
# Of the pairs at the threshold, the share that is compared at least.
LEAST_RECALL = 0.999
SCHEMA = pa.schema([("a", pa.uint64()), ("b", pa.uint64()), ("jaccard", pa.float64())])

_logger = logging.getLogger("cuvee.tasks")


def known_pairs(state: PoolState) -> StepRecord | None:
    """Return the near-duplicates that the standing version knew."""
    return next((entry.record for entry in state.entries if entry.record.step == STEP), None)


def run(run: Run, pool: Pool, previous: StepRecord | None, again: Sequence[int] = ()) -> StepRecord:
    """Compare what is new in the pool with everything in it.

    again: text keys, ascending, of those that were set aside and survive: they are compared again, at the threshold of
    now, which then is the least that the pairs are good for.
    previous: the pairs known so far; used when they were made with these options, of texts that are still there, and
    with a threshold no higher. Else all is compared anew, and the record's `work` says why.
    The report's `work`: of the run whose version it names, the documents compared, candidates, pairs, large buckets,
    documents in the largest, the estimate made before, anew (why all was compared, or null), and the text with most
    near copies (text_key, copies).
    """
    signed = [record.key for record in pool.attributes["sign"]]
    options = pair_options(run.recipe, run.bands)
    anew = _objection(previous, run, options, signed) if previous else None
    before = previous.report.get("work", {}) if previous else {}
    if anew:
        previous = None
    covered = previous.report["signed"] if previous else []
    floor = previous.report["floor"] if previous and not again else run.recipe.dedup.threshold
    if previous and set(covered) == set(signed) and not again:
        return previous
    names = {"signed": sorted(signed), "covered": sorted(covered)}
    redo = {"again": list(again), "previous": previous.key} if again and previous else {}
    key = step_key(STEP, PAIRS_VERSION, options=options, floor=floor, **names, **redo)

    def build(store: Store) -> Outcome:
        aside = read_aside(store, previous) if previous else np.empty(0, np.uint64)
        near, aside, work = _near(run, pool, set(covered), floor, store, aside, np.array(again, np.uint64))
        files = list(previous.files[:-1]) if previous else []
        if again and previous:  # what is compared again finds also what was known
            near = (
                frame_of(near)
                .join(read_pairs(store, previous), on=["a", "b"], how="anti", maintain_order="left")
                .to_arrow()
            )
        folder = pool_folder(run.corpus, STEP)
        if near.num_rows:
            files.append(write_table(store, folder, near))
        files.append(write_table(store, folder, pa.table({"text_key": aside})))
        earlier = before if before.get("version") == run.version else {}
        work = _together(earlier, {"version": run.version, "anew": anew, **work})
        return files, {"signed": sorted(signed), "floor": floor, "options": options, "work": work}

    return once(run, STEP, key, build)


def pair_options(recipe: Recipe, bands: tuple[int, int]) -> list[Any]:
    """Return all but the threshold that decides which pairs are found."""
    options = recipe.dedup
    return [options.ngram, options.permutations, options.seed, list(bands)]


def choose_bands(recipe: Recipe, known: StepRecord | None) -> tuple[int, int]:
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
        bands, rows = known.report["options"][-1]
        same = known.report["options"] == pair_options(recipe, (bands, rows))
        if same and found(Bands(bands=bands, rows=rows), options.threshold) >= LEAST_RECALL:
            return bands, rows
    chosen = choose(options.threshold, options.permutations, LEAST_RECALL)
    return chosen.bands, chosen.rows


def read_pairs(store: Store, record: StepRecord) -> pl.DataFrame:
    """Read all pairs: columns a, b, jaccard."""
    tables = [read_table(store, file) for file in record.files[:-1]]
    return frame_of(pa.concat_tables([SCHEMA.empty_table(), *tables]))


def read_aside(store: Store, record: StepRecord) -> Uint64s:
    """Read the keys of the texts that were set aside, uint64, ascending."""
    keys: Uint64s = read_table(store, record.files[-1])["text_key"].to_numpy()
    return keys


def _objection(previous: StepRecord, run: Run, options: list[Any], signed: list[str]) -> str | None:
    """Say why known pairs cannot be used, or return None."""
    report, threshold = previous.report, run.recipe.dedup.threshold
    names = ("ngram", "permutations", "seed", "bands")
    changed = [
        f"dedup.{name} changed from {old} to {new}"
        for name, old, new in zip(names, report["options"], options, strict=True)
        if old != new
    ]
    if changed:
        return ", ".join(changed)
    if report["floor"] > threshold:
        return f"dedup.threshold fell from {report['floor']:g} to {threshold:g}"
    if not set(report["signed"]) <= set(signed):
        return "texts that were compared are no longer in the pool, or were measured by another version of cuvee"
    return None


def _together(earlier: dict[str, Any], work: dict[str, Any]) -> dict[str, Any]:
    """Add up what two calls of one run did, its sources first and its drafts after."""
    if not earlier:
        return work
    added = {
        name: earlier[name] + work[name] for name in ("documents", "candidates", "pairs", "large_buckets", "aside")
    }
    larger = max(earlier, work, key=lambda part: part["most_copies"]["copies"])
    most = {"largest_bucket": max(earlier["largest_bucket"], work["largest_bucket"]), "anew": earlier["anew"]}
    return {**work, **added, **most, "most_copies": larger["most_copies"]}


def _near(
    run: Run, pool: Pool, covered: set[str], floor: float, store: Store, aside: Uint64s, again: Uint64s
) -> tuple[pa.Table, Uint64s, dict[str, Any]]:
    """Return the pairs with a new member, the keys of all texts that are set aside now, and what finding them took.

    aside: the keys of those that were; again: of these, the ones to compare again.
    """
    records, shards = pool.attributes["sign"], pool.shards
    counts = np.array([record.files[0].rows for record in records], np.int64)
    starts = np.concatenate(([0], np.cumsum(counts)))
    fresh = np.repeat([record.key not in covered for record in records], counts)
    keys = _column(store, [record.files[0] for record in records], "text_key", np.uint64)
    # One row a text key: an old one where there is one, else any.
    rows = np.flatnonzero(first_of_each(keys, fresh))
    still_aside = np.setdiff1d(aside, again)
    rows = rows[~np.isin(keys[rows], still_aside)]
    fresh |= np.isin(keys, again)
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

        accepted = np.array([shard.accepted for shard in shards], np.int64)

        def in_order(ids: Int64s) -> Int64s:  # as keepers are chosen where provenance is equal
            shard = np.searchsorted(starts, rows[ids], side="right") - 1
            ordered: Int64s = ids[np.lexsort((keys[ids], -sizes[ids], accepted[shard]))]
            return ordered

        pairs = near_pairs(index, run.bands[0], new, comparison, in_order, again=len(again) > 0)
    copies = np.bincount(np.concatenate((pairs.a, pairs.b)), minlength=1)
    most = int(copies.argmax())
    work = {
        "documents": int(new.sum()),
        "candidates": pairs.candidates,
        "pairs": len(pairs.a),
        "large_buckets": pairs.large_buckets,
        "largest_bucket": pairs.largest_bucket,
        "most_copies": {"text_key": int(keys[most]) if len(keys) else 0, "copies": int(copies[most])},
        "aside": int(pairs.aside.sum()),
        "estimate": estimate,
    }
    ends = np.sort(np.stack((keys[pairs.a], keys[pairs.b])), axis=0)
    order = np.lexsort((ends[1], ends[0]))
    columns = [ends[0][order], ends[1][order], pairs.jaccard[order]]
    near = pa.table([pa.array(values) for values in columns], schema=SCHEMA)
    return near, np.union1d(still_aside, keys[pairs.aside]), work


def _estimate(documents: int, new: int, text: int, bands: int) -> dict[str, int]:
    """Tell, before work begins, the memory and disk that comparing takes, in MB; documents: distinct texts."""
    # Measured: keys, sizes, flags and the rows of a band being sorted; the bands read at a time; a batch of texts.
    memory = 150 * documents + max(BAND_BYTES, 12 * new) + 5 * BATCH_BYTES
    estimate = {"memory_mb": memory >> 20, "disk_mb": text >> 20, "read_mb": KEY_BYTES * bands * documents >> 20}
    _logger.info(
        "pairs: comparing %d new texts with all %d: about %d MB of memory, and up to 8 KB for each text in a bucket of "
        "more than %d; up to %d MB of disk for a while; %d MB of band keys to read",
        new,
        documents,
        estimate["memory_mb"],
        CROWD,
        estimate["disk_mb"],
        estimate["read_mb"],
    )
    return estimate


def _column(store: Store, files: Sequence[FileRef], name: str, kind: Any) -> Any:
    parts = [table[name].to_numpy() for table in read_tables(store, files, [name])]
    return np.concatenate([np.empty(0, kind), *parts]).astype(kind, copy=False)
