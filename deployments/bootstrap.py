"""Bootstrap: server, work pool, worker and deployments on this machine, in one call, and stopped by another."""

import os
import time
from collections.abc import Callable
from datetime import datetime

from cuvee.deployments import daemons, environment, programs
from cuvee.deployments import login as logins
from cuvee.deployments.daemons import LAST_S, Standing
from cuvee.deployments.programs import KEEPER
from cuvee.deployments.wishes import Wish
from cuvee.schemas.base import Frozen
from cuvee.schemas.errors import CuveeError

GRACE_S = 30.0  # for the run in hand; it keeps its finished steps, and the next run goes on from there
DAEMON_S = 20.0  # a worker without runs ends in 3 s, a server in 2 s


class Deployed(Frozen):
    """What now stands. ui, api: addresses; started: names of the programs that this call has started.

    login: what the UI asks for, only where this call has made it; login_file: where it is kept, None on a server of
    others. warnings: what cannot be vouched for there.
    names, ids: of the deployments, nightly first; next_run: when the next nightly run is due, with its timezone.
    told: the blocks by which somebody is told of runs that need it.
    """

    ui: str
    api: str
    started: tuple[str, ...]
    names: tuple[str, ...]
    ids: tuple[str, ...]
    next_run: datetime | None
    told: tuple[str, ...]
    logs: str
    login: str | None
    login_file: str | None
    warnings: tuple[str, ...]


def check(wish: Wish) -> None:
    """Check a wish, and start nothing; raises RecipeError."""
    os.environ.update(programs.settings())
    from cuvee.deployments.plans import planned

    planned(wish)


def deploy(wish: Wish, tell: Callable[[str], None]) -> Deployed:
    """Check everything, start what does not run yet, and make or update the deployments. tell: takes progress lines.

    A configured Prefect server is used and only the worker started. What is started lives on when the caller ends;
    when this raises, what it has started is stopped again.
    Raises RecipeError for a wrong recipe, schedule, name or port, and CuveeError where a program does not start.
    """
    os.environ.update(programs.settings())
    from cuvee.deployments.plans import planned

    plan = planned(wish)
    named = environment.named_by(plan.recipe)
    with daemons.one_at_a_time():
        known_login = logins.path().exists()
        before = _running()
        standing = before
        try:
            programs.check_given(before, named, plan.recipe)
            standing = programs.with_server(before, wish.port, tell)
            with programs.client(standing) as client:
                from cuvee.deployments import definitions, register, telling

                made = register.register(client, plan, standing.has_server)
                told = telling.apply(client, made.pool)
                if made.pool.type == "process":
                    others = register.recipes(client, definitions.POOL) if standing.has_server else []
                    named = named.union(*map(environment.named_by, others))
                    standing = programs.with_worker(standing, client, named, tell)
                    standing = programs.with_keeper(standing)
        except BaseException:
            _stop_since(before, standing)
            raise
    known = {daemon.name for daemon in before.daemons}
    return Deployed(
        ui=_ui(standing.api),
        api=standing.api,
        started=tuple(daemon.name for daemon in standing.daemons if daemon.name not in known),
        names=tuple(definition.name for definition in plan.wanted),
        ids=made.ids,
        next_run=_local(made.next_run, plan.timezone),
        told=told,
        logs=str(daemons.home()),
        login=None if known_login or not standing.has_server else logins.held(),
        login_file=str(logins.path()) if standing.has_server else None,
        warnings=() if standing.has_server else _doubts(standing.api, made.pool.is_fixed),
    )


def _doubts(api: str, is_fixed: bool) -> tuple[str, ...]:
    """Say what is not known of a server that somebody else has started."""
    doubts = [
        f"cuvee did not start the server at {api} and cannot vouch for it: who has a login there, which web pages and "
        "host names it answers, and who may change deployments and so run code as the worker's user"
    ]
    if programs.is_open(api):
        doubts.append(f"the server at {api} answers without a login: whoever reaches it can run commands there")
    if not is_fixed:
        doubts.append(
            "its work pool lets a run choose its own command and environment, in which PYTHONPATH is code too; give "
            "the pool a job template without variables, or delete it and deploy again"
        )
    return tuple(doubts)


def stop(grace_s: float = GRACE_S) -> list[str]:
    """Stop the keeper, the worker, then the server; return the names of what was alive.

    The runs in hand have `grace_s` seconds to end; those that do not are shown as crashed, with the reason. Nothing to
    stop is no error.
    """
    with daemons.one_at_a_time():
        standing = daemons.recall()
        if standing is None:
            return []
        stopped = [daemon.name for daemon in standing.daemons if daemon.name == KEEPER and daemons.stop(daemon, LAST_S)]
        stopped += _stop_runs(standing, grace_s)
        stopped += [daemon.name for daemon in reversed(standing.daemons) if daemons.stop(daemon, DAEMON_S)]
        daemons.forget()
        return stopped


def _stop_runs(standing: Standing, grace_s: float) -> list[str]:
    """Stop the worker without leaving a run that seems to run; on a server of others its automation sees to that."""
    alive = {daemon.name: daemon for daemon in standing.alive}
    if not {"server", "worker"} <= alive.keys() or not programs.is_healthy(standing.api) or not logins.is_fit():
        return []
    os.environ.update(programs.settings())
    from cuvee.deployments import runs
    from cuvee.deployments.definitions import POOL

    with programs.client(standing) as client, runs.paused(client, POOL):
        runs.await_end(client, POOL, grace_s)
        daemons.stop(alive["worker"], DAEMON_S)
        runs.mark_stopped(client, POOL)
    return ["worker"]


def follow() -> None:
    """Return when what was started has been stopped by another command.

    Raises CuveeError when the keeper has given up a program that died again and again; all else is stopped then.
    """
    while (standing := daemons.recall()) is not None:
        daemons.reap()
        keeper = next((daemon for daemon in standing.daemons if daemon.name == KEEPER), None)
        if keeper and not keeper.is_alive and not daemons.is_locked() and daemons.recall() == standing:
            stop(0.0)
            raise CuveeError(f"{programs.last_words(keeper)}; the logs are in {daemons.home()}")
        time.sleep(0.5)


def _running() -> Standing:
    """Return what runs by our own start; what is of no use without a part that died is stopped."""
    standing = daemons.recall() or Standing(api="", daemons=())
    alive = {daemon.name: daemon for daemon in standing.alive}
    if ("server" if standing.has_server else "worker") in alive:
        return standing.model_copy(update={"daemons": standing.alive})
    for daemon in reversed(standing.alive):
        daemons.stop(daemon, GRACE_S)
    return Standing(api="", daemons=())


def _stop_since(before: Standing, now: Standing) -> None:
    standing = daemons.recall() or now
    for daemon in reversed(standing.daemons):
        if daemon not in before.daemons:
            daemons.stop(daemon, 0.0)
    if before.daemons:
        daemons.remember(before)
    else:
        daemons.forget()


def _ui(api: str) -> str:
    return os.environ.get("PREFECT_UI_URL") or api.removesuffix("/").removesuffix("/api")


def _local(moment: datetime | None, timezone: str) -> datetime | None:
    from zoneinfo import ZoneInfo

    return moment.astimezone(ZoneInfo(timezone)) if moment else None
