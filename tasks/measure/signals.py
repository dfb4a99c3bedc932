"""Signals: what each shard's text tells, measured once a kind, in a thin table with a row for each row of the shard.

Every kind of signal is a record of its own, so a filter added to a recipe measures itself alone; all that a shard lacks
is measured in one reading of its text. No threshold is applied here, so a changed threshold needs no text.

filter-<kind>  doc_id, and the signals of a filter that the recipe names (see cuvee.tasks.filters); language always;
               of kinds with a model, -<name of the model and what is asked of it> behind
classify       SCORES
sign           TEXT_KEYS; beside it doc_id, b00, b01, … (uint32): MinHash band keys
decontaminate  OVERLAPS
windows        WINDOWS, where the recipe has generators
tokens         TOKENS, where the mixture counts tokens; keyed by its tokenizer

The first file of a record is what decisions read. What only one step reads stands beside it, in a second file.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import polars as pl

from cuvee.schemas.errors import RecipeError
from cuvee.schemas.recipe import Recipe
from cuvee.schemas.records import Run, StepRecord, step_key
from cuvee.schemas.tables import OVERLAPS, SCORES, TEXT_KEYS, TOKENS, WINDOWS
from cuvee.storage.corpus import corpus_folder, pool_folder, read_records, write_record
from cuvee.storage.store import Store
from cuvee.storage.tables import iterate_table, write_table
from cuvee.tasks import filters
from cuvee.tasks.filters import synthetic
from cuvee.tasks.measure import decontaminate, tokens, windows
from cuvee.tasks.pool import Shard, frame_of
from cuvee.tasks.provenance import conclude
from cuvee.tasks.provenance.model import is_ref, load
from cuvee.tasks.provenance.protocol import ProvenanceModel
from cuvee.tasks.provenance.store import load_named
from cuvee.tasks.words import SIGN_VERSION
from cuvee.tasks.words.kernel import sketch

# From a piece of a shard (position, doc_id, text and what the kind reads) to its columns, row by row, and to what
# stands beside them.
Measure: TypeAlias = Callable[[pl.DataFrame], Sequence[pl.DataFrame]]


class Kind(NamedTuple):
    """A kind of signal. version, options: what decides its values beside the text; schema: of its table; reads: columns
    of a shard beside doc_id and text; prepare: gives what measures, once a shard; files: of a record.
    """

    version: int
    options: Any
    schema: pl.Schema
    reads: tuple[str, ...]
    prepare: Callable[[], Measure]
    files: int = 1


def kinds(run: Run) -> dict[str, Kind]:
    """Return the kinds of signal that a run's recipe asks for, by name."""
    dedup = run.recipe.dedup
    measured = (entry for entry in _filters(run) if filters.is_measured(entry.kind))
    found = {filters.step(entry): _of_filter(entry) for entry in measured}
    found["classify"] = Kind(conclude.SCORE_VERSION, provenance_model(run).sha256, SCORES, (), lambda: _scores(run))
    cut = [dedup.ngram, dedup.permutations, dedup.seed, run.bands]
    found["sign"] = Kind(SIGN_VERSION, cut, TEXT_KEYS, (), lambda: _band_keys(run), files=2)
    if run.recipe.decontaminate.benchmarks:
        content = [[_content_hash(path) for path in benchmark_paths(run)], run.recipe.decontaminate.ngram]
        found["decontaminate"] = Kind(decontaminate.VERSION, content, OVERLAPS, (), lambda: _overlaps(run))
    if run.recipe.generate:
        cut = [windows.WORDS, windows.CHARACTERS]
        reads = ("words", "chars")
        found["windows"] = Kind(windows.VERSION, cut, WINDOWS, reads, lambda: lambda rows: [windows.divide(rows)])
    path = tokens.tokenizer_path(run)
    if path:
        found["tokens"] = Kind(tokens.VERSION, tokens.tokenizer_hash(path), TOKENS, (), lambda: _tokens(path))
    return found


def versions(run: Run) -> dict[str, int]:
    """Return the version of each kind of signal that a run looks at."""
    return {name: kind.version for name, kind in kinds(run).items()}


def found(run: Run, store: Store, shards: Sequence[Shard]) -> dict[str, list[StepRecord | None]]:
    """Return by kind of signal what is known of each shard already, None where it has to be measured."""
    known: dict[str, list[StepRecord | None]] = {}
    for name, kind in kinds(run).items():
        keys = [_key(run, name, kind, shard) for shard in shards]
        records = read_records(store, StepRecord, name, keys, corpus_folder(run.corpus))
        # A record of other tables is none: each row of a shard has its signals.
        known[name] = [
            record if record and len(record.files) == kind.files and record.files[0].rows == shard.file.rows else None
            for record, shard in zip(records, shards, strict=True)
        ]
    return known


def lacking(known: Mapping[str, Sequence[StepRecord | None]]) -> list[tuple[int, tuple[str, ...]]]:
    """Return the place of each shard that has to be read, and the kinds of signal that it lacks."""
    missing: dict[int, list[str]] = {}
    for name, records in known.items():
        for place, record in enumerate(records):
            if record is None:
                missing.setdefault(place, []).append(name)
    return [(place, tuple(names)) for place, names in sorted(missing.items())]


def complete(
    known: Mapping[str, Sequence[StepRecord | None]], places: Sequence[int], measured: Sequence[Sequence[StepRecord]]
) -> dict[str, list[StepRecord]]:
    """Put what was measured of the shards at `places` into what was known: a record a shard for each kind."""
    new = {(record.step, place): record for place, records in zip(places, measured, strict=True) for record in records}
    return {
        name: [record or new[name, place] for place, record in enumerate(records)] for name, records in known.items()
    }


def run(run: Run, store: Store, shard: Shard, names: Sequence[str]) -> list[StepRecord]:
    """Measure some kinds of signal of one shard, in one reading of its text; return a record a kind."""
    chosen = {name: kind for name, kind in kinds(run).items() if name in names}
    measures = {name: kind.prepare() for name, kind in chosen.items()}
    columns = dict.fromkeys(["doc_id", "text", *(column for kind in chosen.values() for column in kind.reads)])
    pieces: dict[str, list[list[pl.DataFrame]]] = {name: [] for name in chosen}
    position = 0
    # Row group by row group: 8 MiB of text and its copies, not a whole shard's.
    for group in map(frame_of, iterate_table(store, shard.file, list(columns))):
        rows = group.with_row_index("position", position)
        for name, measure in measures.items():
            own, *beside = measure(rows)
            pieces[name].append([group.select("doc_id").hstack(own), *beside])
        position += group.height
    records = []
    for name, parts in pieces.items():
        folder = pool_folder(run.corpus, name)
        files = tuple(write_table(store, folder, pl.concat(part).to_arrow()) for part in zip(*parts, strict=True))
        records.append(StepRecord(step=name, key=_key(run, name, chosen[name], shard), files=files))
        write_record(store, records[-1])
    return records


def filter_kinds(recipe: Recipe) -> list[str]:
    """List the filter kinds whose signals a recipe needs: always language; gates where text may be synthetic."""
    declared = any(source.origin == "synthetic" or source.origin_field for source in recipe.sources)
    return sorted({"language", *(["synthetic"] if declared else []), *(spec.kind for spec in recipe.filters)})


def filter_options(run: Run) -> list[filters.FilterOptions]:
    """Return the recipe's filters in their order, and then the gates of synthetic text that it has without saying so:
    for sources that it says nothing of.
    """
    found = _given(run)
    said = [entry for entry in found if isinstance(entry, synthetic.Options)]
    if "synthetic" not in filter_kinds(run.recipe) or any(not entry.sources for entry in said):
        return found
    named = {name for entry in said for name in entry.sources}
    others = tuple(source.name for source in run.recipe.sources if source.name not in named) if said else ()
    return [*found, synthetic.Options(sources=others)] if others or not said else found


def provenance_model(run: Run) -> ProvenanceModel:
    """Load the recipe's classifier: builtin, name@v0001 of the run's store, or a folder relative to the recipe's."""
    where = run.recipe.provenance.model
    if is_ref(where):
        return load_named(run.store, where)
    return load(where if where == "builtin" else str(Path(run.folder, where)))


def benchmark_paths(run: Run) -> list[Path]:
    """Return the benchmark files, relative to the recipe's folder resolved."""
    return [Path(run.folder, path) for path in run.recipe.decontaminate.benchmarks]


def band_name(band: int) -> str:
    """Name the column of a band's keys."""
    return f"b{band:02d}"


def _key(run: Run, name: str, kind: Kind, shard: Shard) -> str:
    return step_key(name, kind.version, shard=shard.file.sha256, options=kind.options, corpus=run.corpus)


def _filters(run: Run) -> list[filters.FilterOptions]:
    """List the entries of the recipe, and one of each other kind whose signals it needs, by their signals' names."""
    given = _given(run)
    others = set(filter_kinds(run.recipe)) - {entry.kind for entry in given}
    return sorted([*given, *(filters.kinds()[name].Options(kind=name) for name in others)], key=filters.step)


def _given(run: Run) -> list[filters.FilterOptions]:
    return [
        filters.parse(spec.model_dump(), f"filters.{position}", Path(run.folder))
        for position, spec in enumerate(run.recipe.filters)
    ]


def _of_filter(entry: filters.FilterOptions) -> Kind:
    module = filters.kinds()[entry.kind]
    reads, files = (*module.READS, "bytes"), 2 if isinstance(module, filters.Gathering) else 1
    return Kind(module.VERSION, None, filters.table(entry.kind), reads, lambda: _signals_of(entry), files)


def _signals_of(entry: filters.FilterOptions) -> Measure:
    return lambda rows: filters.measure(rows, entry.kind, int(rows["position"][0]), entry)


def _scores(run: Run) -> Measure:
    model = provenance_model(run)
    # The language is weighed later: it may be declared, and a changed declaration needs no text.
    return lambda rows: [conclude.score(rows["text"], None, model)]


def _band_keys(run: Run) -> Measure:
    options, (bands, rows_a_band) = run.recipe.dedup, run.bands

    def measure(rows: pl.DataFrame) -> Sequence[pl.DataFrame]:
        text = rows["text"].to_arrow()
        keys = sketch(text, options.ngram, options.permutations, options.seed, bands, rows_a_band)
        columns = {band_name(band): keys.band_keys[:, band] for band in range(bands)}
        return [pl.DataFrame({"text_key": keys.text_key}), rows.select("doc_id").with_columns(**columns)]

    return measure


def _overlaps(run: Run) -> Measure:
    index = decontaminate.build(decontaminate.read_benchmarks(benchmark_paths(run)), run.recipe.decontaminate.ngram)
    return lambda rows: [decontaminate.scan(rows["text"].to_arrow(), index).rename({"item": "benchmark"})]


def _tokens(path: Path) -> Measure:
    tokenizer = tokens.load(path)
    return lambda rows: [tokens.count_tokens(rows["text"], tokenizer).to_frame()]


def _content_hash(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise RecipeError(f"decontaminate.benchmarks: {path}: {error.strerror}; correct the path") from None
