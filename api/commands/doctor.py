"""The command that says whether a run would find what it needs: doctor."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import click

from cuvee.commands.shared import answer, json_option, say, store_option
from cuvee.schemas.errors import CuveeError
from cuvee.storage import secrets

if TYPE_CHECKING:
    from cuvee.tasks.doctor import Check


@click.command()
@click.argument("recipe", required=False)
@store_option
@json_option
def doctor(recipe: str | None, store: str | None, as_json: bool) -> None:
    """Check what a run needs: Python, models, store, disk, Prefect; with RECIPE its sources, buckets and endpoints.

    Of each: well, open (nobody can tell from here) or wrong, with what to do. Exit 1 where something is wrong.
    """
    wrong = 0
    for check in _checks(recipe, store):
        told = secrets.hide(check.told)
        wrong += check.state == "wrong"
        if as_json:
            answer({"check": check.name, "state": check.state, "told": told})
        else:
            say(f"{check.state:<6} {check.name}: {told}")
    if wrong:
        raise CuveeError(f"{wrong} things are wrong; each line says what to do" if wrong > 1 else "one thing is wrong")


def _checks(recipe: str | None, store: str | None) -> Iterator["Check"]:
    from cuvee.flows import health
    from cuvee.tasks.doctor import Check, examine

    yield from examine(recipe, store)
    try:
        yield Check("prefect", "well", health.standing())
    except CuveeError as error:
        yield Check("prefect", "wrong", str(error))


COMMANDS: Sequence[click.Command] = [doctor]
