"""Training order: which command a deployment of training-pull runs, as `cuvee deploy --train-command` has fixed it.

It is a file that only its owner can read and write, so neither a run's parameters nor an event have a say in it.
"""

import os
import stat
from pathlib import Path

from cuvee.flows.history import home
from cuvee.schemas.base import Frozen
from cuvee.schemas.errors import CuveeError


class Order(Frozen):
    """corpus, store: what is pulled; command: an absolute path and arguments; folder: where versions are kept."""

    corpus: str
    store: str
    command: tuple[str, ...]
    folder: str


def keep(deployment: str, order: Order) -> None:
    """Write the order of a deployment, in one step."""
    path = _path(deployment)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_suffix(".new")
    draft.unlink(missing_ok=True)
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with open(descriptor, "w", encoding="utf-8") as file:
        file.write(order.model_dump_json(indent=1))
    draft.replace(path)


def held(deployment: str) -> Order:
    """Read the order of a deployment; raises CuveeError where there is none, or others could have written it."""
    path = _path(deployment)
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with open(descriptor, encoding="utf-8") as file:
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o022:
                raise ValueError("others could have written it")
            return Order.model_validate_json(file.read())
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error).splitlines()[0]
        raise CuveeError(
            f"the training command in {path} cannot be used ({reason}); fix it again: "
            "cuvee deploy RECIPE --train-command CMD"
        ) from None


def _path(deployment: str) -> Path:
    return home() / "cuvee" / "training" / f"{deployment}.json"
