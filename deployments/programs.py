"""Programs: the Prefect server and the worker of this machine, each started once and awaited until it is of use."""

import os
import socket
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from cuvee.deployments import daemons, environment, login
from cuvee.deployments.daemons import Daemon, Standing
from cuvee.flows import door, embedded, history
from cuvee.schemas.errors import CuveeError, RecipeError

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient

HOST = "127.0.0.1"
PORT = 4200  # where Prefect's own server and its documentation expect the UI
START_S = 180.0  # a first start migrates a new database: 25 s on a busy machine
WORKER = "cuvee-worker"
KEEPER = "keeper"

Tell = Callable[[str], None]


def with_server(standing: Standing, port: int | None, tell: Tell) -> Standing:
    """Return what stands with a server: ours that runs, the configured one, or a new one on `port`.

    Raises RecipeError where that port cannot be had, CuveeError where a server does not answer or its database is held.
    """
    if standing.api:
        if port is not None and f":{port}/" not in standing.api:
            raise RecipeError(
                f"--port {port}: the server runs already, at {standing.api}; stop it: cuvee deploy --stop"
            )
        if standing.has_server and (is_open(standing.api) or login.held() is None):
            raise CuveeError(
                f"the server at {standing.api} was started without the login of {login.path()}; "
                "stop it first: cuvee deploy --stop"
            )
        return standing
    if embedded.server_is_configured():
        api = _configured()
        if port is not None:
            raise RecipeError(f"--port {port}: Prefect is set up to use {api}, and no server is started here")
        _answers(api, 10.0)
        tell(f"Using the Prefect server at {api}, as PREFECT_API_URL says.")
        return Standing(api=api, daemons=())
    chosen = _free_port(port)
    tell("Starting the Prefect server …")
    server = start_server(chosen)
    _remember_port(chosen)
    return Standing(api=f"http://{HOST}:{chosen}/api", daemons=(server,))


def start_server(port: int) -> Daemon:
    """Start the Prefect server on a port, wait until it answers, and write it down as all that stands, unless something
    stands there already. Raises CuveeError where it does not start or its database is held.
    """
    history.check(embedded.settings_text())
    settings = {
        "PREFECT__SERVER_FINAL": "1",
        "PREFECT_SERVER_API_HOST": HOST,
        "PREFECT_SERVER_API_PORT": str(port),
        "PREFECT_SERVER_UI_ENABLED": "true",
        "PREFECT_UI_URL": os.environ.get("PREFECT_UI_URL", f"http://{HOST}:{port}"),  # in what it tells
    }
    settings |= door.server_settings(login.held() or login.make(), port)
    # What `prefect server start` runs, behind our door and without its own process around it.
    command = ["uvicorn", "--factory", "cuvee.flows.door:app", "--host", HOST, "--port", str(port)]
    limits = ["--timeout-keep-alive", "5", "--timeout-graceful-shutdown", "1", "--log-level", "warning"]
    has = environment.handed_on() | settings
    server = daemons.start("server", [sys.executable, "-m", *command, *limits], _log("server"), has)
    api = f"http://{HOST}:{port}/api"
    before = daemons.recall()
    rest = tuple(daemon for daemon in before.daemons if daemon.name != "server") if before else ()
    daemons.remember(Standing(api=api, daemons=(server, *rest), given=before.given if before else ()))
    try:
        _await(lambda: is_healthy(api), server)
    except BaseException:
        daemons.stop(server, 0.0)
        if not rest:
            daemons.forget()
        raise
    return server


def with_worker(standing: Standing, client: "SyncPrefectClient", named: Iterable[str], tell: Tell) -> Standing:
    """Return what stands with a worker, started unless it runs, that the server has heard of.

    named: the variables that deployed recipes name; it gets those that are set.
    """
    from cuvee.deployments import register, runs
    from cuvee.deployments.definitions import POOL

    if any(daemon.name == "worker" for daemon in standing.daemons):
        return standing
    if standing.has_server:
        runs.recover(client, POOL)  # no worker runs: nothing can be in hand
    tell("Starting the worker …")
    name = f"{WORKER}-{socket.gethostname()}"
    # One run at a time: it uses all CPUs, and two of one corpus would compete for the next version. On our own server
    # the queues see to that, and the second run is a training command.
    most = "2" if standing.has_server else "1"
    command = ["prefect", "worker", "start", "--pool", POOL, "--type", "process", "--name", name, "--limit", most]
    settings = {
        "PREFECT_API_URL": standing.api,
        "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",  # the least that Prefect takes
        "PREFECT_WORKER_QUERY_SECONDS": "5",
    }
    if standing.has_server:
        settings |= door.client_settings(login.held() or "")
    given = tuple(sorted(set(named) & os.environ.keys()))
    has = environment.handed_on(given) | settings
    worker = daemons.start("worker", [sys.executable, "-m", *command], _log("worker"), has)
    standing = Standing(api=standing.api, daemons=(*standing.daemons, worker), given=given)
    daemons.remember(standing)
    _await(lambda: register.worker_is_online(client, POOL, name), worker)
    return standing


def with_keeper(standing: Standing) -> Standing:
    """Return what stands with a keeper, which starts again what dies; it has the environment of the worker."""
    if any(daemon.name == KEEPER for daemon in standing.daemons):
        return standing
    has = environment.handed_on(standing.given)
    keeper = daemons.start(KEEPER, [sys.executable, "-m", "cuvee.deployments.keeper"], _log(KEEPER), has)
    standing = standing.model_copy(update={"daemons": (*standing.daemons, keeper)})
    daemons.remember(standing)
    return standing


@contextmanager
def client(standing: Standing) -> "Iterator[SyncPrefectClient]":
    """Give a client of the server that stands."""
    from prefect.client.orchestration import get_client
    from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL, temporary_settings

    key = {PREFECT_API_AUTH_STRING: login.held()} if standing.has_server else {}
    address = temporary_settings({PREFECT_API_URL: standing.api, **key})
    with address, door.with_login(), get_client(sync_client=True) as found:
        yield found


def settings() -> dict[str, str]:
    """Give the settings, as environment variables, of this command and of what it starts."""
    # A configured proxy would be asked for our own port.
    proxies = {name: f"{os.environ.get(name, '')},{HOST}".lstrip(",") for name in ("NO_PROXY", "no_proxy")}
    return {name: value for name, value in embedded.private().items() if name not in os.environ} | proxies


def is_healthy(api: str) -> bool:
    """Tell whether a server of this machine answers."""
    return _is_answered(f"{api}/health")


def is_open(api: str) -> bool:
    """Tell whether a server answers who has no login."""
    return _is_answered(f"{api}/admin/version")


def _is_answered(url: str) -> bool:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        opener.open(url, timeout=5).close()
    except OSError:
        return False
    return True


def check_given(standing: Standing, named: Iterable[str], recipe: str) -> None:
    """Raise RecipeError if a worker runs that lacks a variable which the recipe names."""
    lacking = sorted((set(named) & os.environ.keys()) - environment.handed_on(standing.given).keys())
    if lacking and any(daemon.name == "worker" for daemon in standing.daemons):
        raise RecipeError(
            f"{recipe} names {lacking[0]}, which the worker that runs was not given; stop it with cuvee deploy --stop "
            "and deploy again, with the variables of all deployed recipes set"
        )


def last_words(daemon: Daemon) -> str:
    """Return the last line of a program's log."""
    lines = Path(daemon.log).read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return lines[-1].strip() if lines else "it said nothing"


def _configured() -> str:
    from prefect.settings import get_current_settings

    return str(get_current_settings().api.url)


def _free_port(wanted: int | None) -> int:
    """Take the wanted port, or that of the last server, or at the first start Prefect's own, or a free one.

    The port stays over restarts: addresses of the UI are kept in bookmarks, scripts and messages.
    """
    last = _last_port()
    for port in [wanted or last] if wanted or last else [PORT, 0]:
        try:
            with socket.create_server((HOST, port)) as listening:
                return int(listening.getsockname()[1])
        except OSError:
            continue
    if wanted:
        raise RecipeError(f"--port {wanted}: something else listens there; give another, or none for a free one")
    raise RecipeError(
        f"something else listens on port {last}, where the server was before; end that, or choose another: --port N"
    )


def _last_port() -> int | None:
    try:
        return int((daemons.home() / "port").read_text())
    except (OSError, ValueError):
        return None


def _remember_port(port: int) -> None:
    (daemons.home() / "port").write_text(f"{port}\n")


def _await(is_ready: Callable[[], bool], daemon: Daemon) -> None:
    deadline = time.monotonic() + START_S
    while not is_ready():
        if not daemon.is_alive or time.monotonic() > deadline:
            raise CuveeError(f"the {daemon.name} did not start ({last_words(daemon)}); its log is {daemon.log}")
        time.sleep(0.2)


def _answers(api: str, seconds: float) -> None:
    try:
        urllib.request.urlopen(f"{api}/health", timeout=seconds).close()
    except urllib.error.HTTPError:
        return  # it wants to know who asks; the client tells it
    except OSError as error:
        raise CuveeError(
            f"the Prefect server at {api} does not answer ({error}); start it, or unset PREFECT_API_URL to have one "
            "started here"
        ) from None


def _log(name: str) -> Path:
    return daemons.home() / f"{name}.log"
