"""Fetch: bring files of the web and of buckets into the store, once, under the SHA-256 of their bytes.

A copy lies under work/fetched/<corpus>/<source>/<hash of address and validator>-<sha256> until its rows are ingested.
A run that was interrupted finds the copies of files that are still the same, and goes on with begun ones, which lie in
the store's scratch folder.
"""

import hashlib
import tempfile
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import BinaryIO

from cuvee.schemas.address import shown
from cuvee.schemas.base import Frozen
from cuvee.schemas.errors import CuveeError, RetryableError
from cuvee.schemas.recipe import Recipe, canonical_sha256
from cuvee.schemas.records import Content, Place, Run, SourceFile
from cuvee.storage.download import Fetched, download
from cuvee.storage.store import Store

FOLDER = "work/fetched"
# A task costs 6 to 400 ms: a thousand pages are not a thousand tasks.
MOST_ERRANDS = 64
# At once, in a task: pages are small, and a server answers after 20 to 200 ms.
CONNECTIONS = 4
PIECE_BYTES = 2**20


class Errand(Frozen):
    """Places of one source that are asked by one task."""

    source: str
    places: tuple[Place, ...]


def errands(places: Sequence[Place]) -> list[Errand]:
    """Share out the places that must be asked for what they hold, by source."""
    asked: dict[str, list[Place]] = {}
    for place in places:
        asked.setdefault(place.source, []).append(place)
    return [
        Errand(source=source, places=tuple(found[start::MOST_ERRANDS]))
        for source, found in asked.items()
        for start in range(min(MOST_ERRANDS, len(found)))
    ]


def run(run: Run, store: Store, errand: Errand) -> list[Place]:
    """Fetch what is new; return the places with what is there now, content null where nothing is any more.

    Raises RetryableError when a server is down, RecipeError when it refuses, InputError past a limit; files that came
    before that are found again by the next run.
    """
    over, found = threading.Event(), copies(run, store)
    with ThreadPoolExecutor(CONNECTIONS) as connections:
        coming = [connections.submit(_ask, run, store, place, found, over) for place in errand.places]
        try:
            for answer in wait(coming, return_when=FIRST_EXCEPTION).done:
                answer.result()
            return [answer.result() for answer in coming]
        except BaseException:
            over.set()
            connections.shutdown(cancel_futures=True)
            raise


def copy_key(run: Run, place: Place, content: Content) -> str:
    """Name the copy of a content in the store."""
    return f"{_stem(run, place, content.validator)}-{content.sha256}"


def copies(run: Run, store: Store) -> dict[str, str]:
    """List the copies that stand: key up to the SHA-256 → SHA-256."""
    keys = [key.rpartition("-") for key in store.keys(f"{FOLDER}/{run.corpus}/")]
    return {stem: sha256 for stem, _, sha256 in keys}


def standing(run: Run, store: Store, place: Place, validator: str, found: dict[str, str]) -> Content | None:
    """Return what was fetched of a place when it had a validator. found: as of `copies`."""
    sha256 = found.get(_stem(run, place, validator)) if validator else None
    size = store.size(f"{_stem(run, place, validator)}-{sha256}") if sha256 else None
    return Content(sha256=sha256, bytes=size, validator=validator) if sha256 and size is not None else None


def drop(store: Store, files: Sequence[SourceFile]) -> None:
    """Remove the copies of files that are ingested."""
    for file in files:
        if file.fetched:
            store.delete(file.fetched)


def clear(run: Run, store: Store) -> None:
    """Remove what copies of a corpus are left when all is ingested: of files that changed, or whose bytes were known.

    Another run that wants one of them fetches it again.
    """
    for key in store.keys(f"{FOLDER}/{run.corpus}/"):
        store.delete(key)


@contextmanager
def opened(run: Run, store: Store, file: SourceFile) -> Iterator[BinaryIO]:
    """Open a fetched source file for reading, from a whole and verified copy on this disk."""
    with tempfile.TemporaryFile(dir=store.scratch()) as local:
        if not _copied(store, file, local):
            _fetch_again(run, store, file)
            if not _copied(store, file, local):
                raise RetryableError(f"{store.location(file.fetched)} was removed or damaged meanwhile; run again")
        yield local


def _ask(run: Run, store: Store, place: Place, found: dict[str, str], over: threading.Event) -> Place:
    name, known = place.source, place.content

    def held(validator: str) -> tuple[str, int] | None:
        copy = standing(run, store, place, validator, found)
        return (copy.sha256, copy.bytes) if copy else None

    limits, validator = run.source(name).fetch, known.validator if known else ""
    with (
        named(run.recipe, name),
        download(place.path, limits, store.scratch(), validator, place.listed, held, over) as came,
    ):
        if isinstance(came, Fetched):
            return place.model_copy(update={"content": _keep(run, store, place, came)})
        if came == "gone" and place.listed:
            raise RetryableError(f"{shown(place.path)} was removed after it was listed; run again")
        return place.model_copy(update={"content": known if came == "unchanged" else None})


def _keep(run: Run, store: Store, place: Place, found: Fetched) -> Content:
    content = Content(sha256=found.sha256, bytes=found.bytes, validator=found.validator, media_type=found.media_type)
    if found.path:
        store.put_file(copy_key(run, place, content), found.path)
    return content


def _fetch_again(run: Run, store: Store, file: SourceFile) -> None:
    with named(run.recipe, file.source), download(file.path, run.source(file.source).fetch, store.scratch()) as found:
        if not isinstance(found, Fetched) or found.sha256 != file.sha256:
            raise RetryableError(f"{shown(file.path)} changed after it was listed; run again when it is written")
        if found.path:
            store.put_file(file.fetched, found.path)


def _copied(store: Store, file: SourceFile, local: BinaryIO) -> bool:
    """Copy a fetched file to this disk, and tell whether it is whole: a reader jumps about, and reads parts twice."""
    digest = hashlib.sha256()
    local.seek(0)
    local.truncate()
    try:
        with store.open(file.fetched) as stored:
            while piece := stored.read(PIECE_BYTES):
                digest.update(piece)
                local.write(piece)
    except FileNotFoundError:
        return False
    local.seek(0)
    return digest.hexdigest() == file.sha256


@contextmanager
def named(recipe: Recipe, name: str) -> Iterator[None]:
    """Put the source's place in the recipe before what is wrong with a file of it."""
    try:
        yield
    except CuveeError as error:
        position = [source.name for source in recipe.sources].index(name)
        error.args = (f"sources.{position}.uri: {error}",)
        raise


def _stem(run: Run, place: Place, validator: str) -> str:
    return f"{FOLDER}/{run.corpus}/{place.source}/{canonical_sha256([place.path, validator])[:32]}"
