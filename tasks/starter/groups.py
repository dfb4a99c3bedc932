"""Groups: which files are one source: those of one folder that are read alike."""

import codecs
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

from cuvee.schemas.errors import CuveeError, InputError, RecipeError
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


def _guess(file: Path) -> readers.Guess:
    """Tell how a file is read; an archive as most bytes of its first members are, each by the format of its name."""
    if not readers.is_archive(str(file)):
        return readers.guess(file)
    with TemporaryDirectory() as folder:
        copies = list(islice(readers.copies(file, Path(folder)), MOST_LOOKED_AT))
        alike = _alike(copies, lambda told: None)
        if not alike:
            raise InputError(f"{file} has no member that can be read")
        guess, _ = max(alike, key=lambda each: sum(copy.stat().st_size for copy in each[1]))
        return replace(guess, format=readers.AUTO)


def _alike(files: Sequence[Path], passed: Callable[[str], None]) -> Iterable[tuple[readers.Guess, list[Path]]]:
    """Part files by how they are read; one that lacks columns beside the text is like the others."""
    looked = files[:: -(-len(files) // MOST_LOOKED_AT)]
    parts: dict[object, dict[str, list[Path]]] = {}
    guesses: dict[object, readers.Guess] = {}
    for file in looked:
        try:
            guess = _guess(file)
        except CuveeError as error:
            passed(str(error))
            continue
        key = (guess.format, guess.csv, guess.records, guess.fields.get("messages"), guess.fields.get("text"))
        known = guesses.setdefault(key, guess)
        guesses[key] = replace(known, fields={**guess.fields, **known.fields})
        parts.setdefault(key, {}).setdefault(guess.encoding, []).append(file)
    found = [
        (replace(guesses[key], encoding=encoding), alike)
        for key, by_encoding in parts.items()
        for encoding, alike in _one_encoding(by_encoding).items()
    ]
    rest = [file for file in files if file not in set(looked)]
    most = max(range(len(found)), key=lambda place: len(found[place][1]), default=None)
    return [
        (guess, sorted([*alike, *(rest if place == most else [])], key=os.fsencode))
        for place, (guess, alike) in enumerate(found)
    ]


def _one_encoding(files: dict[str, list[Path]]) -> dict[str, list[Path]]:
    """Join files of several encodings that one of them reads: few accents do not tell Western from Central Europe, and
    ASCII is of any. UTF-8 and what it does not read stay apart.
    """
    others = sorted((name for name in files if name != "auto"), key=lambda name: (-len(files[name]), name != "cp1252"))
    if not others:
        return files
    most, joined = others[0], {others[0]: list(files[others[0]])}
    for name in (*others[1:], *(["auto"] if "auto" in files else [])):
        for file in files[name]:
            fits = _is_ascii(file) if name == "auto" else _is_in(file, most)
            joined.setdefault(most if fits else name, []).append(file)
    return joined


def _is_in(file: Path, encoding: str) -> bool:
    content = b"".join(islice(readers.decoded(file, readers.compression_of(str(file))), 16))
    try:
        codecs.getincrementaldecoder(encoding)().decode(content)
    except UnicodeDecodeError:
        return False
    return True


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
