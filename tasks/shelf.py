"""Shelf: the modules of an open folder, found by their presence: a new file needs no register."""

import functools
import importlib
import pkgutil
from collections.abc import Mapping, Sequence
from types import ModuleType

from cuvee.schemas.errors import RecipeError
from cuvee.schemas.parse import nearest


@functools.cache
def modules(package: str) -> Mapping[str, ModuleType]:
    """Return the modules of a package by name, sorted; those whose name starts with "_" are parts of the others."""
    return {name: importlib.import_module(f"{package}.{name}") for name in names(package)}


def names(package: str) -> list[str]:
    """List the names of a package's modules without importing them, sorted."""
    folders = importlib.import_module(package).__path__
    return sorted(module.name for module in pkgutil.iter_modules(folders) if not module.name.startswith("_"))


def find(package: str, name: str, where: str) -> ModuleType:
    """Import one module of a package, and no other.

    where: the key of the recipe that names it, for messages. Raises RecipeError with the nearest known name.
    """
    if name not in names(package):
        raise unknown(package, name, where)
    return importlib.import_module(f"{package}.{name}")


def unknown(package: str, name: str, where: str, also: Sequence[str] = ()) -> RecipeError:
    """Say that no module has a name, and which is nearest; where: as for `find`; also: what else may stand there."""
    kind = package.rpartition(".")[2].removesuffix("s")
    return RecipeError(f"{where}: no {kind} is called {name!r}; {nearest(name, [*also, *names(package)])}")
