"""Doctor: try out all that a run needs of its surroundings, and say of each whether it is well, and what to do.

Nothing is left behind: a probe in a store is removed, a local store that is not there yet is not made, and an endpoint
is asked for its list of models, which costs nothing.
"""

import json
import os
import shutil
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal, NamedTuple
from uuid import uuid4

import polars as pl

from cuvee.schemas.address import is_bucket, shown
from cuvee.schemas.errors import CuveeError, RecipeError
from cuvee.schemas.recipe import Generate, Recipe
from cuvee.storage import remote
from cuvee.storage.store import LEAST_FREE_MB, Store, check_place, open_store, store_uri
from cuvee.tasks.look import look, place_of, pooled

# A server that does not answer a small question in this time would not answer a large one.
PATIENCE_S = 10.0
_DENIED = (401, 403)


class Check(NamedTuple):
    """What was found of one thing. state: well; open, where nobody can tell from here; or wrong, with what to do."""

    name: str
    state: Literal["well", "open", "wrong"]
    told: str


def examine(path: str | None, store: str | None) -> Iterator[Check]:
    """Yield what is found, one thing after the other; path: of a recipe, whose sources and endpoints are tried too."""
    yield _tried("python", _python)
    yield _tried("language model", _language_model)
    recipe: Recipe | None = None
    if path is not None:
        checks, recipe = _recipe(path, store)
        yield from checks
    yield _tried("provenance model", lambda: _provenance_model(recipe, path, store))
    place = _place(recipe, path, store)
    yield place if isinstance(place, Check) else _tried("store", lambda: _store(place))
    yield _tried("disk", lambda: _disk(place))
    if recipe is not None:
        yield from _sources(recipe)
        for entry in recipe.generate:
            yield from _endpoints(entry)


def _tried(name: str, find: Callable[[], str]) -> Check:
    try:
        return Check(name, "well", find())
    except (CuveeError, OSError) as error:
        return Check(name, "wrong", str(error))


def _python() -> str:
    version = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info[:2] not in ((3, 11), (3, 12)):
        raise CuveeError(f"{version}: cuvee is made for 3.11 and 3.12; install it with one of these")
    return version


def _language_model() -> str:
    from cuvee.tasks.filters import language

    path = language.path()
    text = pl.DataFrame({"text": ["This sentence is written in English, as everybody can see."]})
    found = language.signals(text)["language"].item()
    if found != "en":
        raise CuveeError(f"{path} takes English for {found}; get it again: cuvee models fetch")
    return str(path)


def _provenance_model(recipe: Recipe | None, path: str | None, store: str | None) -> str:
    from cuvee.tasks.provenance.model import is_ref, load
    from cuvee.tasks.provenance.store import load_named

    name = recipe.provenance.model if recipe else "builtin"
    if recipe and path and is_ref(name):
        model = load_named(place_of(recipe, path, store).uri, name)
    else:
        model = load(name if name == "builtin" or not path else str(Path(path).absolute().parent / name))
    return f"{model.name} {model.version}"


def _recipe(path: str, store: str | None) -> tuple[list[Check], Recipe | None]:
    try:
        recipe = look(path, (), lambda read: pooled(read, path, store))
    except RecipeError as error:
        return [Check("recipe", "wrong", line) for line in str(error).splitlines()], None
    return [Check("recipe", "well", f"{path}: {len(recipe.sources)} sources, each looked at")], recipe


def _place(recipe: Recipe | None, path: str | None, store: str | None) -> Store | Check:
    try:
        return place_of(recipe, path, store) if recipe and path else open_store(store_uri(store))
    except CuveeError as error:
        return Check("store", "wrong", str(error))


def _store(place: Store) -> str:
    """Write, read, list and remove a probe, and see that nothing can be written twice."""
    if not place.remote and not Path(place.uri).exists():
        above = next(folder for folder in Path(place.uri).parents if folder.exists())
        if not os.access(above, os.W_OK):
            raise RecipeError(f"{place.uri} is not there, and {above} cannot be written; grant access, or name another")
        return f"{place.uri} is not there yet; the first run makes it"
    check_place(place, "doctor")
    key = f"corpora/doctor/probes/{uuid4().hex}"
    try:
        place.put(key, b"probe")
        if place.get(key) != b"probe" or key not in place.keys("corpora/doctor/probes/"):
            raise RecipeError(f"{place.uri}: what is written is not read or listed as it is; use another store")
    finally:
        place.delete(key)
    return f"{place.uri} can be written once and twice told apart, read, listed and cleaned"


def _disk(place: Store | Check) -> str:
    """Tell the room where files are put together."""
    folder = Path.cwd() if isinstance(place, Check) or place.remote else Path(place.uri)
    folder = next(one for one in (folder, *folder.parents) if one.exists())
    free = shutil.disk_usage(folder).free // 2**20
    if free < LEAST_FREE_MB:
        raise CuveeError(f"{folder} has room for {free:,} MB, and a run needs {LEAST_FREE_MB:,} at least; free some")
    return f"{free / 1024:,.1f} GB free at {folder}"


def _sources(recipe: Recipe) -> Iterator[Check]:
    """Try to list and read what sources have in buckets: the first object of each pattern."""
    for source in recipe.sources:
        for uri in filter(is_bucket, source.uri):
            yield _tried(f"source {source.name}", lambda uri=uri: _object(uri))  # type: ignore[misc]


def _object(uri: str) -> str:
    bucket, _, pattern = uri.removeprefix("s3://").partition("/")
    start = pattern.split("*")[0].split("?")[0].split("[")[0]
    first = next(iter(remote.objects(bucket, start)), None)
    if first is None:
        raise RecipeError(f"{uri} matches no object; correct the pattern")
    with remote.ask_bucket(f"s3://{bucket}/{first.key}", 0):
        return f"{uri}: listed, and {first.key} can be read"


def _endpoints(entry: Generate) -> Iterator[Check]:
    """Ask each server of a generator, and of its judge, for the list of its models."""
    for url in entry.base_urls:
        yield _asked(f"endpoint {entry.name}", url, entry.api_key_env, entry.model, entry.headers)
    judge = entry.grade
    if judge.base_url:
        key_env = judge.api_key_env or entry.api_key_env
        yield _asked(f"judge of {entry.name}", judge.base_url, key_env, judge.judge_model)


def _asked(name: str, url: str, key_env: str | None, model: str | None, headers: dict[str, str] | None = None) -> Check:
    key = os.environ.get(key_env or "")
    request = urllib.request.Request(f"{url.rstrip('/')}/models", headers=dict(headers or {}))
    if key:
        request.add_header("Authorization", f"Bearer {key}")
    told = shown(url)
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
            listed = _models(answer.read(1 << 20))
    except urllib.error.HTTPError as error:
        if error.code in _DENIED:
            known = f"{key_env} is not set" if not key else f"it does not take the key in {key_env}"
            return Check(name, "wrong", f"{told} answers {error.code}: {known}; set it to a key of this server")
        return Check(name, "open", f"{told} answers, and lists no models ({error.code}); try a run with --limit 5")
    except (OSError, ValueError) as error:
        return Check(name, "wrong", f"{told} does not answer ({error}); start it, or correct base_url")
    if model and listed and model not in listed:
        few = ", ".join(listed[:5])
        return Check(name, "wrong", f"{told} has no model {model!r}; it lists {few}: name one of them in model")
    return Check(name, "well", f"{told} answers" + (f", and lists {model}" if model in listed else ""))


def _models(content: bytes) -> list[str]:
    tree = json.loads(content)
    entries = tree.get("data") if isinstance(tree, dict) else None
    return [str(entry.get("id")) for entry in entries or () if isinstance(entry, dict)]
