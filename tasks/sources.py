"""Sources: find the files that a recipe declares, and name each by its content."""

import glob
import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from cuvee.schemas.errors import RecipeError
from cuvee.schemas.recipe import Recipe, Source
from cuvee.schemas.records import SourceFile

_WILDCARDS = set("*?[")


def list_files(recipe: Recipe, folder: str, known: frozenset[str] = frozenset()) -> tuple[list[SourceFile], list[str]]:
    """List the source files, sorted by source, content and path, whatever order the disk or the recipe gives.

    known: names of sources that have rows in the pool. Where one of these keeps the rows of files that are gone, a
    pattern that matches nothing is a warning, returned beside the files. A file that two patterns of a source match
    is listed once. Raises RecipeError naming the key, the pattern and where it was looked for.
    """
    found, warnings = [], []
    for position, source in enumerate(recipe.sources):
        paths: dict[str, str] = {}
        for pattern in source.uri:
            matches = _expand(pattern, Path(folder))
            if not matches:
                problem = f"sources.{position}.uri: {pattern!r} matches no file below {folder}"
                if source.name not in known or source.vanished == "drop":
                    raise RecipeError(f"{problem}; correct the pattern, or remove the source")
                warnings.append(f"{problem}; the rows read before stay, as vanished: keep says")
            paths.update(matches)
        found += [(source, path, name) for path, name in paths.items()]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        files = list(pool.map(lambda entry: _identify(*entry), found))
    return sorted(files, key=lambda file: (file.source, file.sha256, file.id)), warnings


def _expand(pattern: str, folder: Path) -> dict[str, str]:
    """Return absolute path → id, the path below the last folder that has no wildcard."""
    written = Path(os.path.normpath(os.path.expanduser(pattern)))
    if (folder / written).is_dir():
        raise RecipeError(f"{pattern!r} is a folder; name its files, for example {pattern.rstrip('/')}/*")
    # Only the pattern has wildcards; a folder's own name may hold brackets.
    fixed = next((i for i, part in enumerate(written.parts) if _WILDCARDS & set(part)), len(written.parts) - 1)
    root = Path(os.path.normpath(folder.joinpath(*written.parts[:fixed])))
    name = os.path.join(*written.parts[fixed:])
    matches = [name] if (root / name).exists() else glob.glob(name, root_dir=root, recursive=True)
    return {str(root / match): Path(match).as_posix() for match in matches if (root / match).is_file()}


def _identify(source: Source, path: str, name: str) -> SourceFile:
    try:
        with open(path, "rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
            size = file.tell()
    except OSError as error:
        raise RecipeError(f"sources: {path} cannot be read ({error.strerror}); grant access, or remove it") from None
    return SourceFile(source=source.name, path=path, id=name, sha256=sha256, bytes=size)
