"""Begin: check everything that can be checked before work starts, and fix what a run starts from."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

from cuvee.schemas.errors import RecipeError
from cuvee.schemas.parse import nearest
from cuvee.schemas.recipe import Budget, Recipe
from cuvee.schemas.records import PoolState, Run
from cuvee.storage.corpus import check_tagged, read_state, read_tag, versions
from cuvee.storage.store import Store, check_place
from cuvee.tasks import filters, generators
from cuvee.tasks.dedup.pairs import choose_bands, known_pairs
from cuvee.tasks.generate import grade, rounds
from cuvee.tasks.ingest import captures
from cuvee.tasks.ingest.reading import reading_key
from cuvee.tasks.look import look, place_of, pooled
from cuvee.tasks.measure import signals, tokens
from cuvee.tasks.steps import restore, sweep

# As of every name in a recipe.
_LONGEST_NAME = 63


def begin(
    path: str, overrides: Sequence[str], store: str | None, run_id: str, limit: int | None = None
) -> tuple[Run, Store, PoolState]:
    """Check everything, and return what the run starts from: its store, and the highest version's pool state.

    The arguments and errors are those of `check`, and of `check_place` for a store that cannot be written; what the
    work folder of the store lacks or has too much is mended.
    """
    run, place, state = check(path, overrides, store, run_id, limit)
    if not (place.remote and run.parent):  # a server that held a version once holds the next
        check_place(place, run.corpus)
    restore(place, state)
    sweep(place)
    return run, place, state


def check(
    path: str, overrides: Sequence[str], store: str | None, run_id: str, limit: int | None = None
) -> tuple[Run, Store, PoolState]:
    """Read the recipe and the store's standing state, and write nothing.

    store: overrides the recipe's; a relative path in the recipe is below the recipe's folder. limit: rows to read of
    each source, for a trial, which starts from an empty pool.
    Raises RecipeError for anything wrong in the recipe or its sources, filters, generators, bands, model, benchmarks;
    IntegrityError where the standing version, its tag or its pool state is damaged.
    """
    recipe = look(path, overrides, lambda recipe: pooled(recipe, path, store))
    folder, name = Path(path).absolute().parent, Path(path).name
    _check_parts(recipe, folder, name)
    place = place_of(recipe, path, store)
    if limit is not None:
        recipe = trial(recipe, limit)
    tagged = read_tag(place, recipe.corpus, recipe.publish.tag)
    if tagged:  # a version that was published once keeps its number
        check_tagged(place, recipe.corpus, recipe.publish.tag, tagged)
    published = versions(place, recipe.corpus)
    parent = published[-1] if published else 0
    state = PoolState() if limit is not None else read_state(place, recipe.corpus)
    run = Run(
        recipe=recipe,
        store=place.uri,
        folder=str(folder),
        run_id=run_id,
        version=parent + 1,
        parent=parent,
        day=datetime.now(UTC).date().isoformat(),
        bands=choose_bands(recipe, known_pairs(state)),
        readings=_readings(recipe),
        limit=limit,
    )
    _check_files(run, name)
    return run, place, state


def trial(recipe: Recipe, limit: int) -> Recipe:
    """Return what a trial of a recipe runs: a corpus of its own, without amounts that a few rows cannot have, and with
    no more requests to a generator than rows of a source.

    Raises RecipeError where the name is too long for that.
    """
    corpus = f"{recipe.corpus}-trial"
    if len(corpus) > _LONGEST_NAME:
        raise RecipeError(f"corpus: {corpus!r}, of a trial, has over {_LONGEST_NAME} letters; shorten the name")
    human = recipe.mixture.human.model_copy(update={"min_amount": None})
    generate = tuple(entry.model_copy(update={"budget": _bounded(entry.budget, limit)}) for entry in recipe.generate)
    mixture = recipe.mixture.model_copy(update={"human": human})
    return recipe.model_copy(update={"corpus": corpus, "mixture": mixture, "generate": generate})


def _bounded(budget: Budget, requests: int) -> Budget:
    asked = requests if budget.requests is None else min(budget.requests, requests)
    return budget.model_copy(update={"requests": asked})


def _readings(recipe: Recipe) -> dict[str, str]:
    found = {source.name: reading_key(source, recipe.ingest) for source in recipe.sources}
    for entry in recipe.generate:
        found[entry.name] = grade.drafting_key(recipe, entry, generators.find(entry.generator).GRADED)
    return found


def new_run_id(name: str = "") -> str:
    """Return an id that no other run has, and that sorts by the run's beginning; name: what its runner calls it."""
    return f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{name or uuid4().hex}"


def _check_parts(recipe: Recipe, folder: Path, name: str) -> None:
    """Check what a recipe names of the readers, filters and generators that there are."""
    named = [*(source.name for source in recipe.sources), *(entry.name for entry in recipe.generate)]
    for position, spec in enumerate(recipe.filters):
        options = filters.parse(spec.model_dump(), f"{name}: filters.{position}", folder)
        for source in options.sources:
            if source not in named:
                raise RecipeError(
                    f"{name}: filters.{position}.sources: no source is called {source!r}; {nearest(source, named)}"
                )
    for position, entry in enumerate(recipe.generate):
        generators.check(entry, f"{name}: generate.{position}")
    if recipe.generate:
        rounds.check(recipe, str(folder))


def _check_files(run: Run, name: str) -> None:
    """Check the captures of sites, the model and the benchmarks, which a recipe brings."""
    for position, source in enumerate(run.recipe.sources):
        if source.robots:
            captures.paths(run, position)
    model = signals.provenance_model(run)
    model.threshold(run.recipe.provenance.max_false_positive_rate)
    for path in signals.benchmark_paths(run):
        if not path.is_file():
            raise RecipeError(f"{name}: decontaminate.benchmarks: {path} is not a file; correct the path")
    tokenizer = tokens.tokenizer_path(run)
    if tokenizer:
        if not tokenizer.is_file():
            raise RecipeError(f"{name}: mixture.tokenizer: {tokenizer} is not a file; correct the path")
        tokens.load(tokenizer)
