"""Plans: the deployments that a wish means, once it is checked."""

import os
import shlex
import shutil
from pathlib import Path

from cuvee.deployments import definitions
from cuvee.deployments.definitions import Definition
from cuvee.deployments.wishes import Wish
from cuvee.flows import patience
from cuvee.flows.runner import task_runner
from cuvee.flows.training_order import Order
from cuvee.schemas.base import Frozen
from cuvee.schemas.errors import RecipeError
from cuvee.tasks.begin import check

FOLDER = "cuvee-training"  # as ./cuvee-store is where versions are kept


class Plan(Frozen):
    """What a wish means. recipe: absolute path; wanted: nightly first; order: of the training command, if any."""

    corpus: str
    recipe: str
    timezone: str
    wanted: tuple[Definition, ...]
    order: Order | None


def planned(wish: Wish) -> Plan:
    """Check a wish; raises RecipeError for a wrong recipe, schedule, runner or training command."""
    task_runner(wish.runner, wish.workers)  # type: ignore[arg-type]
    cron, timezone = wish.cron or definitions.default_cron(), wish.timezone or definitions.local_timezone()
    definitions.check_schedule(cron, timezone)
    if wish.retry_until is not None:
        patience.parsed(wish.retry_until)
    command = training_command(wish.train_command) if wish.train_command is not None else ()
    run, _, _ = check(wish.recipe, (), wish.store, "check")
    path = str(Path(wish.recipe).absolute())
    # A worker runs in a folder of its own: a store named on the command line or by default is fixed here.
    store = run.store if wish.store or not run.recipe.store else None
    size = (wish.runner, wish.workers, wish.retry_until)
    wanted = definitions.definitions(run.recipe, path, store, cron, timezone, wish.name, *size)
    order = None
    if command:
        wanted.append(definitions.training(run.corpus, run.store, timezone, wish.name))
        folder = str(Path(wish.train_folder or FOLDER).absolute() / run.corpus)
        order = Order(corpus=run.corpus, store=run.store, command=command, folder=folder)
    return Plan(corpus=run.corpus, recipe=path, timezone=timezone, wanted=tuple(wanted), order=order)


def training_command(text: str) -> tuple[str, ...]:
    """Split a command as a shell would, without being one; its program becomes an absolute path.

    Raises RecipeError where there is no such program.
    """
    try:
        program, *arguments = shlex.split(text)
    except ValueError as error:
        raise RecipeError(f"--train-command {text!r}: {error}; give a program and its arguments") from None
    found = shutil.which(program)
    if found is None:
        raise RecipeError(
            f"--train-command {text!r}: there is no program {program} that can be run; name one, with an absolute path "
            "if PATH does not hold it; no shell is in between"
        )
    return os.path.abspath(found), *arguments
