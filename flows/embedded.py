"""Embedded: a Prefect API of our own for the length of one command.

Without a configured server, Prefect starts a temporary one inside the first flow call: the command imports the
server's code itself, waits, and then the child imports it again. Here the child starts first, on a socket that
already listens, and becomes ready while the command imports its own libraries. It ends when its standard input
closes, which the kernel does for any end of the command, `kill -9` included.

`python -m cuvee.flows.embedded FD` is that child. The history stays in `$PREFECT_HOME/prefect.db`, where
`prefect server start` shows it.
"""

import contextlib
import gc
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import FrameType
from typing import IO

from cuvee.flows import door, history
from cuvee.schemas.errors import CuveeError

START_TIMEOUT_S = 120  # a first start migrates a new database: 5 s of CPU, 25 s on a busy machine
DRAIN_TIMEOUT_S = 30  # 600 events of 200 tasks of no length took 5 s on a busy machine
OWN = "CUVEE_OWN_SERVER"  # set while the server is a command's own, where nobody listens to events
# Names under which a server's address may stand in a settings file, in lower case.
ADDRESS_WORDS = ("api_url", "[api]", "api.url", "tool.prefect")


def private() -> dict[str, str]:
    """Give the settings that hold always: nothing is reported to anybody."""
    return {"DO_NOT_TRACK": "1", "PREFECT_SERVER_ANALYTICS_ENABLED": "false"}


def quiet() -> dict[str, str]:
    """Give the settings of a calm console: warnings only; the run's own log still goes to the API whole."""
    return {
        "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "WARNING",
        # A failed task is raised to the command, which reports it once; Prefect would print its traceback twice.
        "PREFECT_LOGGING_HANDLERS_CONSOLE_CLASS": "cuvee.flows.console.CalmConsole",
        # A log line outside a run is no reason for a warning about the logger.
        "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
    }


def settings() -> dict[str, str]:
    """Give the settings of the embedded server, and of its clients, as environment variables.

    CPU time was measured with Prefect 3.8.8 on two cores. Triggers, streams and the log sent to the API stay on: the
    first two cost nothing that can be measured, the log 3 ms a mapped task.
    """
    return {
        # Prefect waits 20 s; the first start took 22 s while other work filled both cores.
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": str(START_TIMEOUT_S),
        "PREFECT_API_REQUEST_TIMEOUT": str(START_TIMEOUT_S),
        # One transaction an event, Prefect's default, costs 14 ms a mapped task, and what is not written when the
        # server ends is lost: of 300 tasks of no length Prefect's own server kept 11, this one keeps 300.
        "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_BATCH_SIZE": "500",
        "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_FLUSH_INTERVAL": "1",
        # The event feed repeats the task runs, three rows each: 2 ms a mapped task.
        "PREFECT_SERVER_SERVICES_EVENT_PERSISTER_ENABLED": "false",
    }


def prepare(verbose: bool = False) -> None:
    """Put the private and, unless verbose, the quiet settings into the environment, where the user set nothing.

    Call it before Prefect is imported.
    """
    os.environ.update(_unset(private() if verbose else private() | quiet()))


@contextlib.contextmanager
def api(verbose: bool = False) -> Iterator[Callable[[], None]]:
    """Run the body with a Prefect API: the configured one, else an embedded one that ends with the body.

    verbose: let Prefect and the embedded server write their logs to stderr.
    Yields a function that waits for the embedded server; import the flows first, then call it. It raises CuveeError
    with the server's last words when that does not start within PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS
    (120). Flows may run without calling it: requests queue at the socket until the server is ready.
    Raises CuveeError where a configured server wants a login, or another program holds the embedded one's database.
    Ctrl-C ends the body when the tasks in hand are done, a second one ends everything at once.
    The environment is as before when the body ends.
    """
    with _two_interrupts(), _environment(_unset(private() if verbose else private() | quiet())):
        if server_is_configured():
            with door.with_login():
                yield _nothing
            return
        history.check(settings_text())
        with _environment(_unset(settings())), tempfile.TemporaryFile() as words:
            login = door.new_login()
            port, child = _spawn(None if verbose else words, login)
            try:
                with _connected(port, login):
                    yield lambda: _await(port, child, words)
            except Exception as error:
                if history.is_unavailable(error):
                    raise CuveeError(history.locked(history.database(settings_text()))) from error
                raise
            finally:
                _stop(child)


def server_is_configured() -> bool:
    """Tell whether Prefect knows the address of a server, from the environment, a settings file or the active profile.

    Importing Prefect to ask costs a second of CPU, so it is asked only when a file mentions an address.
    """
    if "prefect" not in sys.modules:
        if os.environ.get("PREFECT_API_URL"):
            return True
        if not any(word in settings_text() for word in ADDRESS_WORDS):
            return False
    from prefect.settings import get_current_settings

    return get_current_settings().api.url is not None


def serve(descriptor: int) -> None:
    """Serve the Prefect API on a listening socket until standard input closes; the child's main function.

    descriptor: an inherited file descriptor.
    """
    os.environ |= {"PREFECT_UI_ENABLED": "0", "PREFECT__SERVER_EPHEMERAL": "1", "PREFECT__SERVER_FINAL": "1"}
    gc.disable()  # 1.5 s less of CPU: every full collection walks what the imports have built, at exit too
    import uvicorn

    application = door.app()
    gc.freeze()
    gc.enable()
    server = uvicorn.Server(uvicorn.Config(application, log_level="error", lifespan="on", timeout_graceful_shutdown=1))

    def follow_the_parent() -> None:
        sys.stdin.buffer.read()
        _drain_events()
        server.should_exit = True

    threading.Thread(target=follow_the_parent, daemon=True).start()
    with socket.socket(fileno=descriptor) as listening:
        server.run(sockets=[listening])


def _drain_events() -> None:
    """Wait until the server has stored the task runs that were reported to it."""
    from prefect.server.utilities.messaging.memory import METRICS

    deadline = time.monotonic() + DRAIN_TIMEOUT_S
    calm = 0
    while calm < 2 and time.monotonic() < deadline:
        waiting = any(topic["published"] > topic["consumed"] for topic in list(METRICS.values()))
        calm = 0 if waiting else calm + 1
        time.sleep(0.05)


def _spawn(words: IO[bytes] | None, login: str) -> tuple[int, subprocess.Popen[bytes]]:
    """Start the server on a free port of 127.0.0.1; a session of its own keeps the terminal's Ctrl-C from it."""
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listening:
        port = listening.getsockname()[1]
        child = subprocess.Popen(
            [sys.executable, "-m", "cuvee.flows.embedded", str(listening.fileno())],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=words,
            env=os.environ | door.server_settings(login, port),
            pass_fds=[listening.fileno()],
            start_new_session=True,
        )
        return port, child


def _await(port: int, child: subprocess.Popen[bytes], words: IO[bytes]) -> None:
    timeout_s = int(os.environ["PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS"])
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        opener.open(f"http://127.0.0.1:{port}/api/health", timeout=timeout_s).close()
    except OSError as error:
        child.kill()
        words.seek(0)
        last = words.read().decode(errors="replace").strip().rpartition("\n")[2]
        raise CuveeError(
            f"the embedded Prefect server did not start ({last or error}); try again with --verbose, "
            "or set PREFECT_API_URL to a running server"
        ) from error


def _stop(child: subprocess.Popen[bytes]) -> None:
    """Send what the clients still hold, then let the server store it and end, or kill it."""
    if "prefect.events.worker" in sys.modules:
        from prefect.events.worker import EventsWorker
        from prefect.logging.handlers import APILogWorker

        EventsWorker.drain_all(timeout=DRAIN_TIMEOUT_S)
        APILogWorker.drain_all(timeout=DRAIN_TIMEOUT_S)
    try:
        child.communicate(timeout=2 * DRAIN_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


def _unset(wanted: Mapping[str, str]) -> dict[str, str]:
    """Leave out what the environment, the .env file or a profile already says."""
    text = settings_text()
    return {name: value for name, value in wanted.items() if name not in os.environ and name.lower() not in text}


def settings_text() -> str:
    """Read the files in which Prefect looks for settings, in lower case; a missing one is empty."""
    home = Path(os.environ.get("PREFECT_HOME", "~/.prefect")).expanduser()
    profiles = Path(os.environ.get("PREFECT_PROFILES_PATH", home / "profiles.toml"))
    text = ""
    for path in (profiles, Path(".env"), Path("prefect.toml"), Path("pyproject.toml")):
        with contextlib.suppress(OSError):
            text += path.read_text(errors="replace").lower()
    return text


@contextlib.contextmanager
def _connected(port: int, login: str) -> Iterator[None]:
    """Let Prefect, imported before or not, and the processes it starts, find the embedded server."""
    # httpx would ask a configured proxy for our own port.
    proxies = {name: f"{os.environ.get(name, '')},127.0.0.1".lstrip(",") for name in ("NO_PROXY", "no_proxy")}
    address = {"PREFECT_API_URL": f"http://127.0.0.1:{port}/api", OWN: "1"}
    with _environment(address | door.client_settings(login) | proxies):
        from prefect.context import refresh_global_settings_context
        from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

        refresh_global_settings_context()
        # A heartbeat thread naps for whole seconds and the flow joins it: 1 s of waiting, and nobody listens.
        # Prefect reads no "none" from the environment.
        with temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
            yield
    refresh_global_settings_context()


@contextlib.contextmanager
def _two_interrupts() -> Iterator[None]:
    """Turn a second Ctrl-C into an immediate end: a thread cannot be stopped, and a shard may take a minute.

    Nothing is lost by it: step outputs are renamed into place when whole, and the server and worker processes follow
    their parent.
    """
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or before is not signal.default_int_handler:
        yield
        return

    def interrupt(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGINT, lambda *_: os._exit(128 + signal.SIGINT))
        print("\nstopping when the tasks in hand are done; Ctrl-C again stops at once", file=sys.stderr)
        signal.default_int_handler(number, frame)

    signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextlib.contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables for the length of the body."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _nothing() -> None:
    """Wait for nothing: the configured server is somebody else's."""


if __name__ == "__main__":
    serve(int(sys.argv[1]))
