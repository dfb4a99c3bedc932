"""Generators: one module each, found by name in this folder; a new file is a new generator.

A generator turns human documents (seeds) into drafts in two steps that never mix: `plan` decides every request
before anything is sent, `run` carries the plan out and returns one draft or one failure a request.
"""

import importlib
import pkgutil
from typing import cast

from cuvee.schemas.errors import RecipeError
from cuvee.schemas.parse import nearest
from cuvee.tasks.generators._types import Drafts, Generator, Progress, Settings, Texts

__all__ = ["Drafts", "Generator", "Progress", "Settings", "Texts", "find", "names"]


def names() -> list[str]:
    """List the generators in this folder, sorted; modules whose name starts with an underscore are their parts."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_"))


def find(name: str) -> Generator:
    """Load one generator by the name a recipe gives it; only then is its engine library imported.

    Raises RecipeError for an unknown name, with the nearest known one.
    """
    if name not in names():
        raise RecipeError(f"generate.generator: {name!r} is not known; {nearest(name, names())}")
    return cast(Generator, importlib.import_module(f"{__name__}.{name}"))
