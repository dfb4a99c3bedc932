"""Generators: one module each, found by name in this folder; a new file is a new generator.

A generator turns human documents (seeds) into drafts in two steps that never mix: `plan` decides every request
before anything is sent, `run` carries the plan out and returns one draft or one failure a request.
"""

from typing import cast

from cuvee.schemas.errors import RecipeError
from cuvee.schemas.recipe import Generate
from cuvee.tasks import shelf
from cuvee.tasks.generators._ask import place_of
from cuvee.tasks.generators._types import Asking, Drafts, Generator, Progress, Texts

__all__ = ["Asking", "Drafts", "Generator", "Progress", "Texts", "check", "find", "names"]


def names() -> list[str]:
    """List the generators in this folder, sorted; modules whose name starts with an underscore are their parts."""
    return shelf.names(__name__)


def find(name: str, where: str = "generate.generator") -> Generator:
    """Load one generator by the name a recipe gives it; only then is its engine library imported.

    where: the key of the recipe, for messages. Raises RecipeError for an unknown name, with the nearest known one.
    """
    return cast(Generator, shelf.find(__name__, name, where))


def check(entry: Generate, where: str) -> None:
    """Raise RecipeError for an unknown generator, and for what does not fit what it says of itself.

    where: the entry's place in the recipe, for messages.
    """
    generator = find(entry.generator, f"{where}.generator")
    if generator.BASELINE and not entry.allow_baseline:
        raise RecipeError(
            f"{where}.generator: the {entry.generator} baseline writes nonsense and is for trying the pipeline out, "
            "not for training; set allow_baseline: true if that is meant"
        )
    if entry.grade.judge_model and not generator.GRADED:
        kind = "baseline" if generator.BASELINE else "generator"
        raise RecipeError(
            f"{where}.grade.judge_model: the {entry.generator} {kind} has no endpoint to ask; leave it null"
        )
    if entry.grade.judge_model:
        place_of(entry)
