"""The command that runs a recipe every night: deploy."""

import os
import shlex
import shutil
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cuvee.commands.shared import answer, json_option, runner_option, say, store_option, workers_option
from cuvee.schemas.errors import RecipeError

if TYPE_CHECKING:
    from cuvee.deployments.bootstrap import Deployed
    from cuvee.deployments.wishes import Wish


@click.command()
@click.argument("recipe", required=False)
@click.option("--cron", metavar="TEXT", help="When: minute, hour, day, month, weekday. Default '0 4 * * *'.")
@click.option("--timezone", metavar="NAME", help="Of the schedule, as Europe/Berlin. Default this machine's.")
@click.option("--name", metavar="TEXT", help="A pair of its own, nightly-TEXT and ad-hoc-TEXT, for a second corpus.")
@click.option("--port", type=click.IntRange(1, 65535), help="Of the server. Default that of the last start, or 4200.")
@runner_option("What carries each run out; plain: the run's own process.")
@workers_option
@click.option("--retry-until", metavar="HH:MM", help="A night waits out an outage until then. Default three hours.")
@click.option("--train-command", metavar="CMD", help="Run CMD FOLDER on each new version, once, without a shell.")
@click.option("--train-folder", metavar="DIR", help="Where it finds the versions. Default ./cuvee-training.")
@click.option(
    "--systemd", is_flag=True, help="Write a unit that does this with the machine's start, and start nothing."
)
@click.option("--detach", is_flag=True, help="Leave it running, until --stop.")
@click.option("--stop", is_flag=True, help="Stop the server and the worker.")
@store_option
@json_option
def deploy(
    recipe: str | None,
    cron: str | None,
    timezone: str | None,
    name: str | None,
    port: int | None,
    runner: str,
    workers: int | None,
    retry_until: str | None,
    train_command: str | None,
    train_folder: str | None,
    systemd: bool,
    detach: bool,
    stop: bool,
    store: str | None,
    as_json: bool,
) -> None:
    """Run RECIPE every night on this machine, and on demand from a form, until Ctrl-C."""
    if stop:
        if recipe or detach:
            raise RecipeError("--stop stops all that cuvee deploy has started; give it alone")
        _stop(as_json)
        return
    if not recipe:
        raise RecipeError("give the path of a recipe, or --stop")
    from cuvee.deployments import bootstrap
    from cuvee.deployments.wishes import Wish

    wish = Wish(
        recipe=recipe,
        store=store,
        cron=cron,
        timezone=timezone,
        name=_checked(name),
        port=port,
        runner=runner,
        workers=workers,
        retry_until=retry_until,
        train_command=train_command,
        train_folder=train_folder,
    )
    if systemd:
        _write_unit(wish)
        return
    deployed = bootstrap.deploy(wish, lambda line: say(line, err=True))
    for warning in deployed.warnings:
        say(f"warning: {warning}", err=True)
    if as_json:
        answer(deployed.model_dump(mode="json"))
    else:
        _tell(deployed, detach)
    if deployed.started and not detach:
        _stay()


def _write_unit(wish: "Wish") -> None:
    from cuvee.deployments import bootstrap, units

    bootstrap.check(wish)
    given = wish.model_dump(exclude={"recipe"}, exclude_defaults=True)
    options = [f"--{name.replace('_', '-')}={value}" for name, value in given.items()]
    path = units.write(wish.recipe, options, wish.name)
    say(f"  unit       {path}")
    say(f"  secrets    {units.secrets()}    (NAME=value lines for its environment, if you write one: chmod 600)")
    say(f"  start      systemctl --user daemon-reload && systemctl --user enable --now {path.name}")
    say("  at boot    loginctl enable-linger")


def _checked(name: str | None) -> str | None:
    if name is not None and not (name.isascii() and name.replace("-", "").isalnum()):
        raise RecipeError(f"--name {name!r}: use letters, digits and dashes")
    return name


def _tell(deployed: "Deployed", detach: bool) -> None:
    if not deployed.started:
        say("It runs already; the deployments are up to date.")
    due = f"{deployed.next_run:%a %d %b %Y %H:%M %Z}" if deployed.next_run else "none: the schedule is paused"
    prefect = shlex.quote(_prefect())
    key = f'PREFECT_API_AUTH_STRING="$(cat {shlex.quote(deployed.login_file)})" ' if deployed.login_file else ""
    form = f"{deployed.ui}/deployments/deployment/{deployed.ids[1]}"
    say(f"  UI                 {deployed.ui}")
    if deployed.login_file:
        login = f"{deployed.login}    (shown this once; kept in {deployed.login_file})"
        say(f"  login              {login if deployed.login else deployed.login_file}")
    say(f"  next nightly run   {due} ({deployed.names[0]})")
    say(f"  told of faults     {', '.join(deployed.told) or 'nobody: make a block, docs/nightly.md'}")
    say(f"  ad-hoc form        {form}    (Run, Custom run)")
    say(
        f"  from here          PREFECT_API_URL={deployed.api} {key}"
        f"{prefect} deployment run curate/{deployed.names[1]} --param plan_only=true"
    )
    say(f"  logs               {deployed.logs}")
    say(f"  stop               {'Ctrl-C, or ' if deployed.started and not detach else ''}cuvee deploy --stop")


def _stop(as_json: bool) -> None:
    from cuvee.deployments import bootstrap, daemons

    if daemons.recall():
        say(f"stopping; a run in hand has {bootstrap.GRACE_S:.0f} s to end, Ctrl-C stops it at once", err=True)
    try:
        stopped = bootstrap.stop()
    except KeyboardInterrupt:
        stopped = bootstrap.stop(0.0)
    if as_json:
        answer({"stopped": stopped})
    else:
        say(f"stopped: {', '.join(stopped)}" if stopped else "nothing was running")


def _stay() -> None:
    """Wait for Ctrl-C or a termination signal, then stop what was started; a second Ctrl-C stops it at once."""
    from cuvee.deployments import bootstrap

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        bootstrap.follow()
    except KeyboardInterrupt:
        _stop(as_json=False)


def _prefect() -> str:
    """Return what to type for Prefect's own command."""
    beside = Path(sys.argv[0]).parent / "prefect"
    return "prefect" if shutil.which("prefect") or not beside.exists() else os.path.relpath(beside)


COMMANDS = [deploy]
