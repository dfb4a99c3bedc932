"""Sources: find the files that a recipe declares, and name each by its content.

What was found at a place is remembered in the store, one small object a source, work/listings/<corpus>/<source>.json:
a file that still has its validator is not read again. Deleting it costs reading, and changes nothing else. Of two
runs at once the later writes what it found: both are true.
"""

import hashlib
import os
import re
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from fnmatch import fnmatchcase
from pathlib import Path

from pydantic import TypeAdapter

from cuvee.schemas.address import bucket_and_key, is_bucket, is_remote, is_web, names_of, shown
from cuvee.schemas.base import Frozen
from cuvee.schemas.errors import RecipeError
from cuvee.schemas.recipe import Source, canonical_json
from cuvee.schemas.records import Content, Place, Run, SourceFile
from cuvee.storage import remote
from cuvee.storage.store import Store
from cuvee.tasks.ingest import fetch, opening
from cuvee.tasks.pool import Pool
from cuvee.tasks.steps import progress

# A file that was changed within this time before it was read may change once more and keep its dates: the coarsest
# file system counts in two seconds.
RACY_NS = 2 * 10**9
# Local files are looked at in lots: a few large ones by all threads, many small ones without a wait for each.
_FEWEST_LOTS, _MOST_IN_LOT = 64, 500
_MEMORY = TypeAdapter(dict[str, Content])

# What is known of a source's files: path or address → content.
Memory = dict[str, Content]


class Listing(Frozen):
    """The places that a recipe's patterns name. warnings: of patterns that match nothing any more."""

    places: tuple[Place, ...]
    warnings: tuple[str, ...]

    @property
    def asked(self) -> list[Place]:
        """The places whose content is not known, or that must be asked whether it is still the same."""
        return [place for place in self.places if place.content is None or is_web(place.path)]


def look(run: Run, store: Store, pool: Pool) -> Listing:
    """List the places of all sources: local files with their content, others with what is known of them.

    Where a source that keeps the rows of vanished files has rows in the pool, a pattern that matches nothing is a
    warning. A file that two patterns of a source match is listed once. Raises RecipeError naming the key, the pattern
    and where it was looked for.
    """
    found, warnings = list[Place](), list[str]()
    copies: dict[str, str] | None = None
    for position, source in enumerate(run.recipe.sources):
        places: dict[str, Place] = {}
        for pattern in source.uri:
            matches = _matches(run, source, pattern)
            if not matches:
                where = "no object" if is_bucket(pattern) else f"no file below {run.folder}"
                problem = f"sources.{position}.uri: {pattern!r} matches {where}"
                _excuse(source, pool, f"{problem}; correct the pattern, or remove the source")
                warnings.append(f"{problem}; the rows read before stay, as vanished: keep says")
            places.update((place.path, place) for place in matches)
        if run.limit is not None:  # a file has a row at least
            places = dict(sorted(places.items(), key=lambda entry: entry[1].id)[: run.limit])
        if any(is_bucket(path) for path in places) and copies is None:
            copies = fetch.copies(run, store)
        memory = _remembered(store, run, source)
        found += _local(source, [p for p in places.values() if not is_remote(p.path)], memory)
        found += [_known(run, store, p, memory, copies or {}) for p in places.values() if is_remote(p.path)]
    return Listing(places=tuple(found), warnings=tuple(warnings))


def settle(
    run: Run, store: Store, pool: Pool, listing: Listing, fetched: Iterable[Sequence[Place]]
) -> tuple[list[SourceFile], list[str]]:
    """Put together what was listed and what was fetched, remember it, and name the files and the warnings.

    Files are sorted by source, content and id, whatever order the disk, the servers or the recipe give. A web address
    that has no file any more is a vanished file if its source has rows in the pool. Raises RecipeError if it has none,
    and if a source that drops such rows would be left without any file.
    """
    now = {(place.source, place.path): place for places in fetched for place in places}
    places = [now.get((place.source, place.path), place) for place in listing.places]
    warnings = [*listing.warnings]
    for position, source in enumerate(run.recipe.sources):
        own = [place for place in places if place.source == source.name]
        is_empty = not any(place.content for place in own)
        for place in own:
            if place.content is None:
                problem = f"sources.{position}.uri: {shown(place.path)} is not there (any more)"
                if is_empty or not _was_there(pool, place):
                    _excuse(source, pool, f"{problem}; correct the address, or remove it")
                stay = "stay" if source.vanished == "keep" else "are dropped"
                warnings.append(f"{problem}; the rows read before {stay}, as vanished: {source.vanished} says")
        _remember(store, run, source, own)
    files = [_file(run, place, place.content) for place in places if place.content]
    return sorted(files, key=lambda file: (file.source, file.sha256, file.id)), warnings


def _excuse(source: Source, pool: Pool, problem: str) -> None:
    """Raise RecipeError unless the rows that a source had stay in the corpus."""
    if source.name not in pool.sources or source.vanished == "drop":
        raise RecipeError(problem)


def _was_there(pool: Pool, place: Place) -> bool:
    own = (record.report for record in pool.ingested if record.report.source == place.source)
    return any(file.id == place.id for report in own for file in report.files)


def _file(run: Run, place: Place, content: Content) -> SourceFile:
    return SourceFile(
        source=place.source,
        path=place.path,
        id=place.id,
        sha256=content.sha256,
        bytes=content.bytes,
        media_type=content.media_type,
        fetched=fetch.copy_key(run, place, content) if is_remote(place.path) else "",
    )


def _matches(run: Run, source: Source, pattern: str) -> list[Place]:
    if is_web(pattern):
        names = names_of([uri for uri in dict.fromkeys(source.uri) if is_web(uri)])
        return [Place(source=source.name, path=pattern, id=names[pattern])]
    if is_bucket(pattern):
        with fetch.named(run.recipe, source.name):
            return _objects(source.name, pattern)
    found = opening.expand(pattern, Path(run.folder))
    return [Place(source=source.name, path=path, id=name) for path, name in found.items()]


def _objects(source: str, pattern: str) -> list[Place]:
    """List the objects that a pattern matches, as local files are matched; the server is asked for its fixed start."""
    bucket, wanted = bucket_and_key(pattern)
    parts = wanted.split("/")
    fixed = next((i for i, part in enumerate(parts) if opening.WILDCARDS & set(part)), len(parts) - 1)
    root = "".join(f"{part}/" for part in parts[:fixed])
    if not opening.WILDCARDS & set(wanted):
        exact = remote.find_object(bucket, wanted)
        if exact is None and next(remote.objects(bucket, f"{wanted}/"), None):
            raise RecipeError(f"{pattern!r} is a folder; name its files, for example {pattern}/*")
        found = [exact] if exact else []
    else:
        listed = list(remote.objects(bucket, re.split(r"[*?[]", wanted, maxsplit=1)[0]))
        # A name may hold brackets itself, as a local file's may.
        found = [one for one in listed if one.key == wanted] or [
            one
            for one in listed
            if not one.key.endswith("/") and _is_match(one.key.removeprefix(root).split("/"), parts[fixed:])
        ]
    return [
        Place(source=source, path=f"s3://{bucket}/{one.key}", id=one.key.removeprefix(root), listed=one.validator)
        for one in found
    ]


def _is_match(name: list[str], pattern: list[str]) -> bool:
    """Match the parts of a path as glob does: * stays within a part, ** crosses them, both pass over hidden ones."""
    if not pattern:
        return not name
    if pattern == ["**"]:
        return bool(name) and not any(part.startswith(".") for part in name)
    if pattern[0] == "**":
        is_inside = bool(name) and not name[0].startswith(".")
        return _is_match(name, pattern[1:]) or (is_inside and _is_match(name[1:], pattern))
    if not name or (name[0].startswith(".") and not pattern[0].startswith(".")):
        return False
    return fnmatchcase(name[0], pattern[0]) and _is_match(name[1:], pattern[1:])


def _known(run: Run, store: Store, place: Place, memory: Memory, copies: dict[str, str]) -> Place:
    """Add what is known of a remote place: of an object if it is still the same, of an address to ask about."""
    content = memory.get(place.path)
    if place.listed and (content is None or content.validator != place.listed):
        content = fetch.standing(run, store, place, place.listed, copies)
    return place.model_copy(update={"content": content})


def _local(source: Source, places: Sequence[Place], memory: Memory) -> list[Place]:
    """Add the content of local files, reading those that are not as they were."""
    found: list[Place] = []
    size = min(_MOST_IN_LOT, len(places) // _FEWEST_LOTS + 1)
    lots = [places[start : start + size] for start in range(0, len(places), size)]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for lot in pool.map(lambda lot: [_identify(place, memory.get(place.path)) for place in lot], lots):
            found += lot
            progress(f"list {source.name}", len(found), len(places))
    return found


def _identify(place: Place, known: Content | None) -> Place:
    """Name a local file by its bytes, which are read unless size, dates and inode are those of the known content."""
    try:
        with open(place.path, "rb") as file:
            began = time.time_ns()
            found = os.fstat(file.fileno())
            # The date of the last change of the inode cannot be set by who keeps the date of the text.
            validator = f"{found.st_size} {found.st_mtime_ns} {found.st_ctime_ns} {found.st_ino}"
            if known is None or known.validator != validator:
                sha256 = hashlib.file_digest(file, "sha256").hexdigest()
                is_old = max(found.st_mtime_ns, found.st_ctime_ns) < began - RACY_NS
                known = Content(sha256=sha256, bytes=file.tell(), validator=validator if is_old else "")
    except OSError as error:
        raise RecipeError(
            f"sources: {place.path} cannot be read ({error.strerror}); grant access, or remove it"
        ) from None
    return place.model_copy(update={"content": known})


def _remembered(store: Store, run: Run, source: Source) -> Memory:
    try:
        return _MEMORY.validate_json(store.get(_memory_key(run, source)))
    except (FileNotFoundError, ValueError):  # ValueError: a damaged one, or another cuvee's
        return {}


def _remember(store: Store, run: Run, source: Source, places: Iterable[Place]) -> None:
    """Write down what was found where a validator can tell that it is still the same."""
    found = {place.path: place.content for place in places if place.content and place.content.validator}
    if found != _remembered(store, run, source):
        content = {path: found[path].model_dump() for path in sorted(found)}
        store.put(_memory_key(run, source), canonical_json(content).encode())


def _memory_key(run: Run, source: Source) -> str:
    return f"work/listings/{run.corpus}/{source.name}.json"
