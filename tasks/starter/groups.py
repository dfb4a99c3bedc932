"""Groups: which files are one source: those of one folder that are read alike."""

import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from cuvee.schemas.errors import CuveeError, RecipeError
from cuvee.tasks import readers
from cuvee.tasks.ingest.opening import expand

# Of the files of a folder with one suffix, evenly spread; the others are taken to be like most of these.
MOST_LOOKED_AT = 40
_LONGEST_NAME = 40


@dataclass(frozen=True)
class Group:
    """Files of one source. root: the deepest folder that they all lie in; guess: how they are read."""

    name: str
    root: Path
    files: tuple[Path, ...]
    guess: readers.Guess

    def uri(self, folder: Path) -> list[str]:
        """Write the files as a recipe in `folder` names them: by a pattern where it names these and no others."""
        wanted = {str(file.absolute()) for file in self.files}
        if len(self.files) > 1:
            suffixes = self.files[0].suffixes[-2 if readers.compression_of(str(self.files[0])) else -1 :]
            suffix = "".join(suffixes)
            for pattern in (f"*{suffix}", f"**/*{suffix}"):
                written = os.path.relpath(self.root / pattern, folder)
                if set(expand(written, folder)) == wanted:
                    return [written]
        return [os.path.relpath(file, folder) for file in self.files]


def groups(paths: Sequence[str], passed: Callable[[str], None]) -> list[Group]:
    """Return the sources that files, folders and patterns make, in the order of their files' names.

    passed: is told each file that is left out, and why. Raises RecipeError where none is left.
    """
    found, unknown = readers.expand(paths)
    for file in unknown:
        passed(f"{file}: its format is not known")
    folders = [Path(path) for path in paths if os.path.isdir(path)]
    by_kind: dict[tuple[Path, str], list[Path]] = {}
    for file in found:
        root = next((folder for folder in folders if folder in file.parents), file.parent)
        by_kind.setdefault((root, "".join(file.suffixes[-2:]).lower()), []).append(file)
    made: list[Group] = []
    for files in by_kind.values():
        for guess, alike in _alike(files, passed):
            made.append(Group("", Path(os.path.commonpath([file.parent for file in alike])), tuple(alike), guess))
    if not made:
        raise RecipeError(f"{', '.join(map(str, paths))}: none of these files can be read")
    return _named(sorted(made, key=lambda group: os.fsencode(group.files[0])))


def _alike(files: Sequence[Path], passed: Callable[[str], None]) -> Iterable[tuple[readers.Guess, list[Path]]]:
    """Part files by how they are read; one in ASCII is of any encoding, and one that lacks columns of any fields."""
    looked = files[:: -(-len(files) // MOST_LOOKED_AT)]
    parts: dict[object, tuple[readers.Guess, list[Path]]] = {}
    plain: list[Path] = []
    for file in looked:
        try:
            guess = readers.guess(file)
        except CuveeError as error:
            passed(str(error))
            continue
        body = guess.fields.get("messages"), guess.fields.get("text")
        key = (guess.format, guess.encoding, guess.csv, guess.records, body)
        known = parts.setdefault(key, (guess, []))
        parts[key] = replace(known[0], fields={**guess.fields, **known[0].fields}), [*known[1], file]
        plain += [file] if guess.encoding == "auto" and guess.format == "text" and _is_ascii(file) else []
    _join_plain(parts, plain)
    rest = [file for file in files if file not in set(looked)]
    if parts and rest:
        most = max(parts, key=lambda key: len(parts[key][1]))
        parts[most] = parts[most][0], sorted([*parts[most][1], *rest], key=os.fsencode)
    return parts.values()


def _join_plain(parts: dict[object, tuple[readers.Guess, list[Path]]], plain: Sequence[Path]) -> None:
    """Put ASCII files to those of the one other encoding that the files of their folder have."""
    others = [key for key, (guess, files) in parts.items() if guess.encoding != "auto"]
    for key, (guess, files) in list(parts.items()):
        moved = [file for file in files if file in plain]
        same = [other for other in others if parts[other][0].records == guess.records]
        if key in others or len(same) != 1 or len(moved) < len(files):
            continue
        parts[same[0]] = parts[same[0]][0], sorted([*parts[same[0]][1], *moved], key=os.fsencode)
        del parts[key]


def _is_ascii(file: Path) -> bool:
    return all(piece.isascii() for piece in readers.decoded(file, readers.compression_of(str(file))))


def _named(groups: Sequence[Group]) -> list[Group]:
    """Name each group after its file, or the folder of its files; a second one of a name gets its number."""
    names: Counter[str] = Counter()
    made = []
    for group in groups:
        stem = group.files[0].name.partition(".")[0] if len(group.files) == 1 else group.root.absolute().name
        name = slug(stem) or group.guess.format
        names[name] += 1
        made.append(replace(group, name=name if names[name] == 1 else f"{name}-{names[name]}"))
    return made


def slug(text: str) -> str:
    """Make a name of a recipe from a file's; empty where no letter or digit of ASCII is in it."""
    return re.sub("[^a-z0-9]+", "-", text.lower()).strip("-")[:_LONGEST_NAME].strip("-")
