"""Deployed: a run that a server starts has the recipe, store and size that were deployed, whoever asks for it."""

from collections.abc import Mapping, Sequence
from typing import Any

from prefect.client.orchestration import get_client
from prefect.runtime import deployment

from cuvee.flows.names import TIMEZONE
from cuvee.flows.patience import RETRY_UNTIL
from cuvee.flows.runner import RUNNER, WORKERS
from cuvee.schemas.errors import RecipeError

# Parameters that have the deployed value and no other.
FIXED = ("recipe", "store", "corpus")
_VARIABLES = {"timezone": TIMEZONE, "runner": RUNNER, "workers": WORKERS, "retry-until": RETRY_UNTIL}


def parameters() -> dict[str, Any]:
    """Return the parameters that the current run's deployment was registered with; none outside a deployment."""
    if deployment.id is None:
        return {}
    with get_client(sync_client=True) as client:
        return dict(client.read_deployment(deployment.id).parameters)


def check(registered: Mapping[str, Any], recipe: str, store: str | None, overrides: Sequence[str] = ()) -> None:
    """Raise RecipeError where a run would read another recipe or write another store than its deployment names.

    registered: the deployment's parameters, empty for a run without one. The server checks the same by `schema`, but
    only what is asked of it, and a deployment by other means than `cuvee deploy` has no such schema.
    """
    check_fixed(registered, {"recipe": recipe, "store": store})
    if not registered:
        return
    for override in overrides:
        if override.partition("=")[0].partition(".")[0] == "store":
            raise RecipeError(f"{override}: a deployed run writes where it was deployed to; leave the store out")


def check_fixed(registered: Mapping[str, Any], asked: Mapping[str, Any]) -> None:
    """Raise RecipeError where a parameter that is fixed by a deployment is asked to be another."""
    for name, value in asked.items() if registered else ():
        own = registered.get(name)
        if value != own:
            raise RecipeError(
                f"{name} {value}: this deployment is for {own or 'the store that its recipe names'}; "
                f"make one for the other: cuvee deploy {asked.get('recipe', 'RECIPE')} --name NAME"
                f"{' --store PLACE' * (name == 'store')}"
            )


def schema(form: Mapping[str, Any], registered: Mapping[str, Any]) -> dict[str, Any]:
    """Narrow a form, a JSON schema, to what `check` lets through, with bounds that the server can put into words.

    A field that may be empty is not required, rather than "this or null": of a choice between two the server says that
    neither fits, not which bound was broken. Other parameters than those of the form are refused.
    """
    fixed: dict[str, Any] = {name: {"enum": [registered.get(name)]} for name in FIXED}
    narrow = fixed | {"overrides": {"items": {"type": "string", "pattern": r"^(?!store[=.])"}}}
    fields = {name: {**_plain(field), **narrow.get(name, {})} for name, field in form["properties"].items()}
    return {**form, "properties": fields, "additionalProperties": False}


def _plain(field: Mapping[str, Any]) -> dict[str, Any]:
    """Write "X or null" as X."""
    choices = field.get("anyOf", [])
    kinds = [choice for choice in choices if choice.get("type") != "null"]
    if len(kinds) != 1 or len(kinds) == len(choices):
        return dict(field)
    rest = {key: value for key, value in field.items() if key != "anyOf" and (key, value) != ("default", None)}
    return {**rest, **kinds[0]}


def tags(
    timezone: str, runner: str | None = None, workers: int | None = None, retry_until: str | None = None
) -> list[str]:
    """Return the tags by which a deployment says how its runs are carried out; None leaves a choice out."""
    chosen = {"timezone": timezone, "runner": runner, "workers": workers, "retry-until": retry_until}
    return [f"{name}:{value}" for name, value in chosen.items() if value is not None]


def environment_of(tags: Sequence[str]) -> dict[str, str]:
    """Return what such tags say, as the environment variables of a run."""
    found = dict(tag.split(":", 1) for tag in tags if ":" in tag)
    return {variable: found[name] for name, variable in _VARIABLES.items() if name in found}
