"""Begin: check everything that can be checked before work starts, and fix what a run starts from."""

import os
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

from cuvee.schemas.errors import RecipeError
from cuvee.schemas.parse import parse_recipe, variables
from cuvee.schemas.recipe import Recipe
from cuvee.schemas.records import PoolState, Run
from cuvee.storage import secrets
from cuvee.storage.corpus import check_tagged, read_state, read_tag, versions
from cuvee.storage.store import Store, check_place, open_store, store_uri
from cuvee.tasks import filters, generators, readers
from cuvee.tasks.dedup.pairs import choose_bands, known_pairs
from cuvee.tasks.generate import grade, rounds
from cuvee.tasks.ingest import captures
from cuvee.tasks.ingest.reading import reading_key
from cuvee.tasks.measure import signals
from cuvee.tasks.steps import restore, sweep


def load_recipe(path: str, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe file with the environment's variables, whose values count as secrets from now on.

    Raises RecipeError.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise RecipeError(
            f"{path} cannot be read: {reason}; give the path of a recipe, or make one: cuvee init"
        ) from None
    secrets.remember(set().union(*map(variables, (text, *overrides))))
    recipe = parse_recipe(text, Path(path).name, os.environ, overrides)
    secrets.remember(entry.api_key_env for entry in recipe.generate if entry.api_key_env)
    return recipe


def begin(path: str, overrides: Sequence[str], store: str | None, run_id: str) -> tuple[Run, Store, PoolState]:
    """Check everything, and return what the run starts from: its store, and the highest version's pool state.

    The arguments and errors are those of `check`, and of `check_place` for a store that cannot be written; what the
    work folder of the store lacks or has too much is mended.
    """
    run, place, state = check(path, overrides, store, run_id)
    if not (place.remote and run.parent):  # a server that held a version once holds the next
        check_place(place, run.corpus)
    restore(place, state)
    sweep(place)
    return run, place, state


def check(path: str, overrides: Sequence[str], store: str | None, run_id: str) -> tuple[Run, Store, PoolState]:
    """Read the recipe and the store's standing state, and write nothing.

    store: overrides the recipe's; a relative path in the recipe is below the recipe's folder.
    Raises RecipeError for anything wrong in the recipe or its formats, filters, generators, bands, model, benchmarks;
    IntegrityError where the standing version, its tag or its pool state is damaged.
    """
    recipe = load_recipe(path, overrides)
    folder, name = Path(path).absolute().parent, Path(path).name
    _check_parts(recipe, folder, name)
    chosen = store or (_below(folder, recipe.store) if recipe.store else None)
    place = open_store(store_uri(chosen))
    tagged = read_tag(place, recipe.corpus, recipe.publish.tag)
    if tagged:  # a version that was published once keeps its number
        check_tagged(place, recipe.corpus, recipe.publish.tag, tagged)
    published = versions(place, recipe.corpus)
    parent = published[-1] if published else 0
    state = read_state(place, recipe.corpus)
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
    )
    _check_files(run, name)
    return run, place, state


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
    for position, source in enumerate(recipe.sources):
        readers.check(source.format, f"{name}: sources.{position}.format")
    for position, spec in enumerate(recipe.filters):
        filters.parse(spec.model_dump(), f"{name}: filters.{position}", folder)
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


def _below(folder: Path, store: str) -> str:
    return store if "://" in store else os.path.normpath(folder / store)
