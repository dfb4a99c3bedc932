"""Paths: the files that paths, folders and globs name."""

import glob
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from cuvee.schemas.errors import RecipeError


def expand(paths: Sequence[str], is_known: Callable[[str], bool]) -> tuple[list[Path], list[Path]]:
    """Return the files that paths, folders (to any depth) and globs name, each once, sorted by the bytes of their
    paths; then those of the folders that are passed over, since their format is not known.

    is_known: whether a path's format is. Raises RecipeError for a path that names no file, and for a file that a path
    or glob names itself and whose format is not known.
    """
    files: set[str] = set()
    passed: set[str] = set()
    for path in paths:
        if os.path.isdir(path):
            named = [str(file) for file in Path(path).rglob("*") if file.is_file()]
            passed.update(file for file in named if not is_known(file))
            named = [file for file in named if is_known(file)]
        else:
            named = (
                [path] if os.path.isfile(path) else [f for f in glob.glob(path, recursive=True) if os.path.isfile(f)]
            )
        if not named:
            raise RecipeError(f"{path}: no such file, or a folder or pattern without a file of a known format")
        files.update(str(Path(file)) for file in named)  # ./a is a
    # Of two names of one file the first.
    once = {os.path.realpath(file): file for file in sorted(files, key=os.fsencode, reverse=True)}
    return _sorted(once.values()), _sorted(passed - files)


def _sorted(files: Iterable[str]) -> list[Path]:
    return [Path(file) for file in sorted(files, key=os.fsencode)]
