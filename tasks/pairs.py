"""Pairs: verified near-duplicates among all texts of the pool, each pair compared once in the pool's life.

Output columns: a, b (uint64: text keys, a < b), jaccard (float64, six decimals, at least the floor).
Texts of one text key have the same shingles. Which documents are current, and who keeps its place, is decided later
from these pairs, so pairs(old) and pairs(new against all) together equal a rebuild.
"""

from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from cuvee.schemas.errors import RecipeError
from cuvee.schemas.recipe import Recipe
from cuvee.schemas.records import PoolState, Run, StepRecord, step_key
from cuvee.storage.corpus import pool_folder
from cuvee.storage.store import Store
from cuvee.storage.tables import read_table, write_table
from cuvee.tasks.attributes import band_name
from cuvee.tasks.dedup import PAIRS_VERSION
from cuvee.tasks.dedup.bands import Bands, choose, found
from cuvee.tasks.dedup.kernel import Int64s, Uint64s
from cuvee.tasks.dedup.pairs import near_pairs
from cuvee.tasks.pool import Pool, Texts, frame_of
from cuvee.tasks.steps import Outcome, once

STEP = "pairs"
# Of the pairs at the threshold, the share that is compared at least.
LEAST_RECALL = 0.999
SCHEMA = pa.schema([("a", pa.uint64()), ("b", pa.uint64()), ("jaccard", pa.float64())])


def known_pairs(state: PoolState) -> StepRecord | None:
    """Return the near-duplicates that the standing version knew."""
    return next((entry.record for entry in state.entries if entry.record.step == STEP), None)


def run(run: Run, pool: Pool, previous: StepRecord | None) -> StepRecord:
    """Compare what is new in the pool with everything in it.

    previous: the pairs known so far; used when they were made with these options and a threshold no higher.
    """
    signed = [record.key for record in pool.attributes["sign"]]
    options = pair_options(run.recipe, run.bands)
    if previous is not None and not _usable(previous, run, options, signed):
        previous = None
    covered = previous.report["signed"] if previous else []
    floor = previous.report["floor"] if previous else run.recipe.dedup.threshold
    if previous and set(covered) == set(signed):
        return previous
    key = step_key(STEP, PAIRS_VERSION, options=options, floor=floor, signed=sorted(signed), covered=sorted(covered))

    def build(store: Store) -> Outcome:
        near, candidates = _near(run, pool, set(covered), floor, store)
        files = list(previous.files) if previous else []
        if near.num_rows:
            files.append(write_table(store, pool_folder(run.corpus, STEP), near))
        return files, {"signed": sorted(signed), "floor": floor, "options": options, "candidates": candidates}

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
    tables = [read_table(store, file) for file in record.files]
    return frame_of(pa.concat_tables([SCHEMA.empty_table(), *tables]))


def _usable(previous: StepRecord, run: Run, options: Any, signed: list[str]) -> bool:
    report = previous.report
    same = report["options"] == options and report["floor"] <= run.recipe.dedup.threshold
    return same and set(report["signed"]) <= set(signed)


def _near(run: Run, pool: Pool, covered: set[str], floor: float, store: Store) -> tuple[pa.Table, int]:
    records = pool.attributes["sign"]

    def column(name: str) -> Uint64s:
        parts = [read_table(store, record.files[0], [name])[name].to_numpy() for record in records]
        return np.concatenate([np.empty(0, np.uint64), *parts]).astype(np.uint64, copy=False)

    # One text a text key: of the rows with a key any will do, the first is taken.
    text_key, first, row_key = np.unique(column("text_key"), return_index=True, return_inverse=True)
    sizes = [record.files[0].rows for record in records]
    old_rows = np.repeat([record.key in covered for record in records], sizes)
    new = np.ones(len(text_key), np.bool_)
    new[row_key[old_rows]] = False
    shard = np.repeat(np.arange(len(records)), sizes)[first]
    position = np.concatenate([np.empty(0, np.int64), *(np.arange(size) for size in sizes)])[first]

    with Texts(store, pool.shards) as texts:

        def fetch(ids: Int64s) -> pa.ChunkedArray:
            return texts.take(shard[ids], position[ids])["text"]

        bands = run.bands[0]
        pairs = near_pairs(
            lambda band: column(band_name(band))[first], bands, new, fetch, run.recipe.dedup.ngram, floor
        )
    columns = [text_key[pairs.a], text_key[pairs.b], pairs.jaccard]
    return pa.table([pa.array(values) for values in columns], schema=SCHEMA), pairs.candidates
