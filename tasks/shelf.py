"""Shelf: the modules of an open folder, found by their presence: a new file needs no register."""

import functools
import importlib
import pkgutil
from collections.abc import Mapping
from types import ModuleType


@functools.cache
def modules(package: str) -> Mapping[str, ModuleType]:
    """Return the modules of a package by name, sorted; those whose name starts with "_" are parts of the others."""
    return {name: importlib.import_module(f"{package}.{name}") for name in names(package)}


def names(package: str) -> list[str]:
    """List the names of a package's modules without importing them, sorted."""
    folders = importlib.import_module(package).__path__
    return sorted(module.name for module in pkgutil.iter_modules(folders) if not module.name.startswith("_"))
