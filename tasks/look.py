"""Look: open every source before anything starts, and tell all faults of all of them at once.

Local files are looked at: whether a pattern names any, whether their format is known, and whether the first block of
some of them can be read, with the columns, the encoding and the dialect that the recipe says. Addresses are looked at
when they are fetched. Nothing here imports what measures or decides: a fault is told in under 2 s.
"""

import json
import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from cuvee.schemas.address import is_remote
from cuvee.schemas.errors import CuveeError, InputError, RecipeError
from cuvee.schemas.parse import parse_recipe, readable_sources, variables
from cuvee.schemas.places import lines_of
from cuvee.schemas.recipe import Ingest, Recipe, Source
from cuvee.schemas.records import IngestRecord
from cuvee.storage import secrets
from cuvee.storage.corpus import read_state
from cuvee.storage.store import Store, open_store, store_uri
from cuvee.tasks import readers
from cuvee.tasks.ingest import opening

# Of a source's files, evenly spread; its other files count as bad rows where they cannot be read.
MOST_FILES = 4
BLOCK_BYTES = 256 << 10
# A file of which more is unreadable is not what the recipe says it is; less may be damage, and is counted by the run.
MOST_BAD = 0.5
# What a reader's message speaks of → the key that mends it.
_MENDS = (
    ("not UTF-8", "encoding"),
    ("no character there", "encoding"),
    ("a quote", "csv.quote"),
    ("where the header has", "csv.delimiter"),
    ("header line", "csv.header"),
    ("JSON array", "format"),
    ("holds text", "fields.text"),
)
_COLUMN = re.compile('(?:column|field) "([^"]+)"')
# The one column that a table has when it is parted by another sign.
_UNPARTED = re.compile("the columns are: (?:[^,]*[;|\t][^,]*|[^,]*(?:,[^, ][^,]*)+)")
# What was found in files that this process has looked at.
_seen: dict[tuple[object, ...], list["Fault"]] = {}


class Fault(NamedTuple):
    """What is wrong with a source, and the path of the key that mends it."""

    path: tuple[int | str, ...]
    told: str


def load_recipe(path: str, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe file with the environment's variables, whose values count as secrets from now on.

    Raises RecipeError.
    """
    return _parsed(_text(path, overrides), path, overrides)


def look(path: str, overrides: Sequence[str], known: Callable[[Recipe], frozenset[str]]) -> Recipe:
    """Read a recipe and open its sources.

    known: gives the sources whose rows are in the pool, which a file that has gone does not stop; asked if need be.
    Raises RecipeError with a line for each fault, of the recipe and of the sources that can be understood alone.
    """
    text, name, folder = _text(path, overrides), Path(path).name, Path(path).absolute().parent
    line = lines_of(text)
    recipe, problems = None, list[str]()
    try:
        recipe = _parsed(text, path, overrides)
        sources, limits = dict(enumerate(recipe.sources)), recipe.ingest
    except RecipeError as error:
        problems += [_with_line(told, name, line) for told in str(error).splitlines()]
        sources, limits = readable_sources(text, name, os.environ, overrides), Ingest()
    for position, source in sources.items():
        for fault in faults(source, limits, folder, lambda: known(recipe) if recipe else frozenset()):
            key = ".".join(map(str, ("sources", position, *fault.path)))
            problems.append(_with_line(f"{name}: {key}: {fault.told}", name, line))
    if problems or recipe is None:
        raise RecipeError("\n".join(problems))
    return recipe


def pooled(recipe: Recipe, path: str, store: str | None) -> frozenset[str]:
    """Name the sources that have rows in the corpus of the recipe at `path`; store: overrides the recipe's."""
    state = read_state(place_of(recipe, path, store), recipe.corpus)
    return frozenset(entry.record.report.source for entry in state.entries if isinstance(entry.record, IngestRecord))


def place_of(recipe: Recipe, path: str, store: str | None) -> Store:
    """Open the store of the recipe at `path`, below whose folder a relative one is; store: overrides the recipe's."""
    own = recipe.store
    if own and "://" not in own:
        own = os.path.normpath(Path(path).absolute().parent / own)
    return open_store(store_uri(store or own))


def faults(source: Source, limits: Ingest, folder: Path, known: Callable[[], frozenset[str]]) -> Iterator[Fault]:
    """Yield what is wrong with a source; known: as for `look`."""
    try:
        readers.check(source.format, "format")
    except RecipeError as error:
        yield Fault(("format",), str(error).removeprefix("format: "))
        return
    files: dict[str, str] = {}
    for pattern in source.uri:
        if is_remote(pattern):
            continue
        try:
            found = opening.expand(pattern, folder)
        except RecipeError as error:
            yield Fault(("uri",), str(error))
            continue
        if not found and (source.vanished == "drop" or source.name not in known()):
            told = f"{pattern!r} matches no file below {folder}; correct the pattern, or remove the source"
            yield Fault(("uri",), told)
        files |= found
    yield from _unread(source, limits, files)


def _unread(source: Source, limits: Ingest, files: dict[str, str]) -> Iterator[Fault]:
    """Yield the first fault of some files, where most of them cannot be read as the recipe says."""
    paths = sorted(files)
    step = max(1, -(-len(paths) // MOST_FILES))
    looked = paths[::step]
    found = [fault for path in looked for fault in _seen_fault(source, limits, path, files[path])]
    if 2 * len(found) > len(looked):
        yield found[0]


def _seen_fault(source: Source, limits: Ingest, path: str, name: str) -> list[Fault]:
    """Return what `_first_fault` does, without opening a file again that is as it was."""
    try:
        found = os.stat(path)
    except OSError:
        return _first_fault(source, limits, path, name)
    stands = (found.st_ino, found.st_size, found.st_mtime_ns, found.st_mode)
    key = (source.model_dump_json(), limits.model_dump_json(), path, name, *stands)
    if key not in _seen:
        _seen[key] = _first_fault(source, limits, path, name)
    return _seen[key]


def _first_fault(source: Source, limits: Ingest, path: str, name: str) -> list[Fault]:
    """Read the first block of a file; return what is wrong where most of it is unreadable, else nothing."""
    try:
        with open(path, "rb") as stream:
            found = opening.parts(source, limits, path, name, stream)
            part = next((part for part in found if isinstance(part, readers.Part)), None)
            read = part and opening.read(source, limits, part, BLOCK_BYTES)
            for batch in read or ():
                rows, bad = batch.rows.height, batch.bad
                if bad and len(bad) > max(MOST_BAD, limits.max_bad_rows) * (rows + len(bad)):
                    place = f"row {bad[0].row}" if bad[0].line is None else f"line {bad[0].line}"
                    told = f"{name}: {place}: {bad[0].reason}" if name not in bad[0].reason else bad[0].reason
                    return [_fault(source, path, told)]
                if rows or bad:
                    break
    except RecipeError as error:
        return [Fault(("format",), str(error))]
    except InputError as error:
        return [_fault(source, path, str(error))]
    except OSError as error:
        return [Fault(("uri",), f"{path} cannot be read ({error.strerror}); grant access, or remove it")]
    return []


def _fault(source: Source, path: str, told: str) -> Fault:
    """Name the key of a source that mends what a reader says of a file, its files where none does."""
    key = next((key for words, key in _MENDS if words in told), None) or _key_of_column(source, told) or "uri"
    if key.startswith("fields."):
        with suppress(CuveeError):
            found = readers.guess(Path(path)).fields
            named = {name: list(column) if isinstance(column, tuple) else column for name, column in found.items()}
            told += f"; perhaps fields: {json.dumps(named, ensure_ascii=False)}" if named else ""
    return Fault(tuple(key.split(".")), told)


def _key_of_column(source: Source, told: str) -> str | None:
    """Name the key that names the column that a message is about."""
    column = _COLUMN.search(told)
    if column is None:
        return None
    if _UNPARTED.fullmatch(told.partition("; ")[2]):
        return "csv.delimiter"
    for key, named in [*source.fields.model_dump().items(), ("origin_field", source.origin_field)]:
        if column[1] in ((named,) if isinstance(named, str) else named or ()):
            return key if key == "origin_field" else f"fields.{key}"
    return None


def _with_line(told: str, name: str, line: Callable[[Sequence[int | str]], int | None]) -> str:
    """Put the line of the key that a message begins with behind the name of the recipe."""
    begins = re.match(rf"{re.escape(name)}: ([a-z_]+(?:\.[\w-]+)*): ", told)
    path = [int(part) if part.isdecimal() else part for part in begins[1].split(".")] if begins else []
    at = line(path) if path else None
    return f"{name}: line {at}{told[len(name) :]}" if at else told


def _parsed(text: str, path: str, overrides: Sequence[str]) -> Recipe:
    recipe = parse_recipe(text, Path(path).name, os.environ, overrides)
    secrets.remember(entry.api_key_env for entry in recipe.generate if entry.api_key_env)
    return recipe


def _text(path: str, overrides: Sequence[str]) -> str:
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise RecipeError(
            f"{path} cannot be read: {reason}; give the path of a recipe, or make one: cuvee init"
        ) from None
    secrets.remember(set().union(*map(variables, (text, *overrides))))
    return text
