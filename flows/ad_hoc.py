"""Ad hoc: a run of a recipe from the form in the Prefect UI, with the few keys that one changes by hand.

Everything that can be wrong with the form is found before a step is imported or a source file is read.
"""

import json
import os
from pathlib import Path
from typing import Annotated, Any

from prefect import flow
from pydantic import Field

from cuvee.flows import deployed, outcome
from cuvee.flows.names import run_name
from cuvee.flows.runner import chosen
from cuvee.schemas.errors import RecipeError
from cuvee.schemas.parse import parse_recipe
from cuvee.schemas.recipe import Recipe
from cuvee.schemas.report import RunReport

# The fields that stand for a key of the recipe.
KEYS = {"human_share": "mixture.human.min", "total": "mixture.total", "tag": "publish.tag"}

# Prefect keeps the bounds of a parameter only inside Annotated, and its description only from the docstring.
Share = Annotated[float, Field(ge=0.0, le=1.0)]
Total = Annotated[int, Field(ge=1)]
Tag = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")]


@flow(name="curate", flow_run_name=run_name, task_runner=chosen(), persist_result=False)
def ad_hoc(
    recipe: Annotated[str, Field(min_length=1)],
    human_share: Share | None = None,
    total: Total | None = None,
    generate: bool = True,
    plan_only: bool = False,
    tag: Tag | None = None,
    store: str | None = None,
) -> RunReport:
    """Run a recipe once, with another human share, size or tag than it says.

    Args:
        recipe: Path of the deployed recipe on the worker's machine.
        human_share: At least this share of the published text is human, 0 to 1. None: as the recipe says.
        total: At most this much is published, in the recipe's unit (words, if it names none). None: as the recipe says.
        generate: Off: no generator is asked, and the version holds no text of this recipe's generators.
        plan_only: Work out what would be published; ask no generator, publish nothing.
        tag: The name that will point at the new version: lower-case letters, digits, - and _. None: as the recipe says.
        store: The deployed store. None: as the recipe says.
    """

    def work() -> RunReport:
        registered = deployed.parameters()
        deployed.check(registered, recipe, store)
        shown = {"human_share": human_share, "total": total, "tag": tag}
        overrides = checked(recipe, shown, generate, plan_only, registered)
        from cuvee.flows.curate import carry_out  # every engine that steps use comes with it

        return carry_out(recipe, overrides, store, plan_only)

    return outcome.told(work, outcome.of_report)


def defaults(recipe: Recipe) -> dict[str, Any]:
    """Return what the form of a recipe shows at first; what the recipe leaves open is left out."""
    values = {field: _value_in(recipe, field) for field in KEYS}
    return {field: value for field, value in values.items() if value is not None} | {"generate": bool(recipe.generate)}


def checked(
    path: str, form: dict[str, Any], generate: bool, plan_only: bool, registered: dict[str, Any] | None = None
) -> list[str]:
    """Turn a form into overrides of the recipe at `path`, as `key.path=value`.

    form: human_share, total and tag; None leaves the key as it is. registered: the parameters of the deployment that
    shows the form, for finding values that nobody chose.
    Raises RecipeError for what the recipe itself forbids and for fields that contradict each other.
    """
    name = Path(path).name
    text = _read(path)
    recipe = parse_recipe(text, name, os.environ)
    _not_stale(recipe, name, form, registered or {})
    # In JSON, which is YAML too, a tag such as 2026 or null stays a string.
    overrides = [f"{KEYS[field]}={json.dumps(value)}" for field, value in form.items() if value is not None]
    if not generate:
        overrides.append("generate=[]")
    chosen = parse_recipe(text, name, os.environ, overrides)
    if plan_only and chosen.publish.tag != recipe.publish.tag:
        raise RecipeError(
            f"plan_only and tag {chosen.publish.tag!r}: a plan publishes nothing that a tag could point at; "
            "switch plan_only off, or leave the tag as it was"
        )
    total, human = chosen.mixture.total, chosen.mixture.human
    if total is not None and human.min_amount is not None and total < human.min_amount:
        raise RecipeError(
            f"total {total:g} is less than the {human.min_amount:g} of human text that {name} asks for "
            "(mixture.human.min_amount); give a larger total"
        )
    drafting = [entry.name for entry in chosen.generate if entry.budget.amount not in ("auto", 0)]
    if human.min == 1.0 and drafting:
        raise RecipeError(
            f"human_share 1 leaves no room for what generator {drafting[0]} would write; switch generate off"
        )
    return overrides


def _read(path: str) -> str:
    if not Path(path).is_absolute():
        raise RecipeError(f"recipe {path}: give an absolute path; a worker runs in a folder of its own")
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise RecipeError(f"recipe {path} cannot be read on the worker's machine: {reason}") from None


def _not_stale(recipe: Recipe, name: str, form: dict[str, Any], registered: dict[str, Any]) -> None:
    """Refuse a value that the form was deployed with and the recipe no longer has.

    Nobody chose it, and it would silently win over the recipe: a human share that was raised there would fall back.
    """
    for field, key in KEYS.items():
        now = _value_in(recipe, field)
        if form[field] is not None and form[field] == registered.get(field) and form[field] != now:
            raise RecipeError(
                f"{field} {form[field]} is the form's default, and {name} says {key}: {now}; "
                f"bring the form up to date with `cuvee deploy {name}`, or choose another {field}"
            )


def _value_in(recipe: Recipe, field: str) -> Any:
    if field == "total":
        total = recipe.mixture.total
        return int(total) if total is not None and total == int(total) else None
    return recipe.mixture.human.min if field == "human_share" else recipe.publish.tag
