"""Wishes: what `cuvee deploy` is asked for."""

from cuvee.schemas.base import Frozen


class Wish(Frozen):
    """What to deploy. recipe: path; the rest as the options of `cuvee deploy`."""

    recipe: str
    store: str | None = None
    cron: str | None = None
    timezone: str | None = None
    name: str | None = None
    port: int | None = None
    runner: str = "threads"
    workers: int | None = None
    retry_until: str | None = None
    train_command: str | None = None
    train_folder: str | None = None
