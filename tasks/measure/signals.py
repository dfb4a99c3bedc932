"""Attributes: what each shard's text tells, measured once, in a thin table with a row for each row of the shard.

filter         doc_id, and the signals of every filter kind of the recipe (see cuvee.tasks.filters); always language
classify       doc_id, p_model (float64 or null), phrase (string or null)
sign           doc_id, text_key (uint64); beside it doc_id, b00, b01, … (uint32): MinHash band keys
decontaminate  doc_id, overlap (float32), benchmark (string or null)
lines          doc_id, line_words (int64); beside it position (in the shard), line (uint64), words: every line of some
               length, for the filter `boilerplate`

The first file of a record has a row for each row of the shard, in its order, and is what decisions read. What only one
step reads stands beside it, in a second file. No threshold is applied here, so a changed threshold needs no text.
"""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import polars as pl

from cuvee.schemas.errors import RecipeError
from cuvee.schemas.recipe import Recipe
from cuvee.schemas.records import Run, StepRecord, step_key
from cuvee.storage.corpus import pool_folder, read_records
from cuvee.storage.store import Store, open_store
from cuvee.storage.tables import iterate_table, write_table
from cuvee.tasks import filters
from cuvee.tasks.filters import boilerplate
from cuvee.tasks.measure import decontaminate
from cuvee.tasks.pool import Shard, frame_of
from cuvee.tasks.provenance import classify
from cuvee.tasks.provenance.model import Model, load
from cuvee.tasks.provenance.store import is_ref, load_named
from cuvee.tasks.steps import Outcome, once
from cuvee.tasks.words import SIGN_VERSION
from cuvee.tasks.words.kernel import sketch

# From a piece of a shard (position, doc_id, text and what the step needs beside) to its columns, row by row, and to
# what stands beside them.
Measure: TypeAlias = Callable[[pl.DataFrame], Sequence[pl.DataFrame]]

STEPS = ("filter", "classify", "sign", "decontaminate", "lines")
VERSIONS = {
    "filter": 1,
    "classify": classify.VERSION,
    "sign": SIGN_VERSION,
    "decontaminate": decontaminate.VERSION,
    "lines": boilerplate.LINES_VERSION,
}


def key(run: Run, step: str, shard: Shard) -> str:
    """Name the work of one step on one shard, by the shard's content and the options that matter."""
    return _key(step, shard, _options(run, step))


def _key(step: str, shard: Shard, options: Any) -> str:
    return step_key(step, VERSIONS[step], shard=shard.file.sha256, options=options)


def found(run: Run, step: str, shards: Sequence[Shard]) -> list[StepRecord | None]:
    """Return what is known of each shard already, None where the step has to measure it."""
    store, options = open_store(run.store), _options(run, step)
    return read_records(store, step, [_key(step, shard, options) for shard in shards])


def run(run: Run, step: str, shard: Shard) -> StepRecord:
    """Measure one shard for one step."""

    def build(store: Store) -> Outcome:
        columns = ["doc_id", "text", *(["url", "words", "chars", "bytes", "opt_out"] if step == "filter" else [])]
        measure = _MEASURES[step](run)
        # Row group by row group: 8 MiB of text and its copies, not a whole shard's.
        pieces, position = [], 0
        for group in map(frame_of, iterate_table(store, shard.file, columns)):
            found, *beside = measure(group.with_row_index("position", position))
            pieces.append([group.select("doc_id").hstack(found), *beside])
            position += group.height
        folder = pool_folder(run.corpus, step)
        return [write_table(store, folder, pl.concat(parts).to_arrow()) for parts in zip(*pieces, strict=True)], {}

    return once(run, step, key(run, step, shard), build)


def filter_kinds(recipe: Recipe) -> list[str]:
    """List the filter kinds whose signals a recipe needs: always language; gates where text may be synthetic."""
    declared = any(source.origin == "synthetic" or source.origin_field for source in recipe.sources)
    return sorted({"language", *(["synthetic"] if declared else []), *(spec.kind for spec in recipe.filters)})


def provenance_model(run: Run) -> Model:
    """Load the recipe's classifier: builtin, name@v0001 of the run's store, or a folder relative to the recipe's."""
    where = run.recipe.provenance.model
    if is_ref(where):
        return load_named(run.store, where)
    return load(where if where == "builtin" else str(Path(run.folder, where)))


def steps(recipe: Recipe) -> list[str]:
    """List the steps that measure shards for a recipe: all but those whose result no part of it asks for."""
    idle = set() if recipe.decontaminate.benchmarks else {"decontaminate"}
    idle |= set() if any(spec.kind == "boilerplate" for spec in recipe.filters) else {"lines"}
    return [step for step in STEPS if step not in idle]


def benchmark_paths(run: Run) -> list[Path]:
    """Return the benchmark files, relative to the recipe's folder resolved."""
    return [Path(run.folder, path) for path in run.recipe.decontaminate.benchmarks]


def _options(run: Run, step: str) -> Any:
    recipe = run.recipe
    if step == "filter":
        return filters.versions(filter_kinds(recipe))
    if step == "classify":
        return provenance_model(run).sha256
    if step == "sign":
        options = recipe.dedup
        return [options.ngram, options.permutations, options.seed, run.bands]
    if step == "lines":
        return boilerplate.FEWEST_WORDS
    return [[_content_hash(path) for path in benchmark_paths(run)], recipe.decontaminate.ngram]


def _signals(run: Run) -> Measure:
    kinds = filter_kinds(run.recipe)
    # No signal depends on the licence; the filter of that name judges the declared one later.
    return lambda frame: [filters.compute(frame.with_columns(license=pl.lit("unknown")), kinds)]


def _scores(run: Run) -> Measure:
    model = provenance_model(run)
    # The language is weighed later: it may be declared, and a changed declaration needs no text.
    return lambda frame: [classify.score_shard(frame["text"], None, model)]


def _band_keys(run: Run) -> Measure:
    options, (bands, rows) = run.recipe.dedup, run.bands

    def measure(frame: pl.DataFrame) -> Sequence[pl.DataFrame]:
        text = frame["text"].to_arrow()
        keys = sketch(text, options.ngram, options.permutations, options.seed, bands, rows)
        columns = {band_name(band): keys.band_keys[:, band] for band in range(bands)}
        return [pl.DataFrame({"text_key": keys.text_key}), frame.select("doc_id").with_columns(**columns)]

    return measure


def _overlaps(run: Run) -> Measure:
    index = decontaminate.build(decontaminate.read_benchmarks(benchmark_paths(run)), run.recipe.decontaminate.ngram)
    return lambda frame: [decontaminate.scan(frame["text"].to_arrow(), index).rename({"item": "benchmark"})]


def _lines(_: Run) -> Measure:
    def measure(frame: pl.DataFrame) -> Sequence[pl.DataFrame]:
        found = boilerplate.list_lines(frame["text"].to_arrow())
        position = frame["position"].gather(found.position)
        beside = pl.DataFrame({"position": position, "line": found.line, "words": found.words})
        return [pl.DataFrame({"line_words": found.total}), beside]

    return measure


def _content_hash(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise RecipeError(f"decontaminate.benchmarks: {path}: {error.strerror}; correct the path") from None


def band_name(band: int) -> str:
    """Name the column of a band's keys."""
    return f"b{band:02d}"


_MEASURES: dict[str, Callable[[Run], Measure]] = {
    "filter": _signals,
    "classify": _scores,
    "sign": _band_keys,
    "decontaminate": _overlaps,
    "lines": _lines,
}
