"""Daemons: programs that outlive the command that starts them, and are found and ended by their identity.

A process id alone is used again some day; with the moment of its birth it names one process for ever.
"""

import fcntl
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from cuvee.flows import history
from cuvee.schemas.base import Frozen

BOOT = Path("/proc/sys/kernel/random/boot_id")
LAST_S = 5.0  # a killed group is gone within milliseconds; a disk that hangs may hold it


class Daemon(Frozen):
    """A started program, the leader of a process group that holds all its children.

    born: when it started, as the system tells it. log: the file that has its output.
    """

    name: str
    pid: int
    born: str
    log: str

    @property
    def is_alive(self) -> bool:
        """Tell whether this very program still runs."""
        return birth(self.pid) == self.born


class Standing(Frozen):
    """What `cuvee deploy` has started.

    api: address of the Prefect API; daemons: in the order of their start; given: the variables that recipes name and
    the worker has.
    """

    api: str
    daemons: tuple[Daemon, ...]
    given: tuple[str, ...] = ()

    @property
    def has_server(self) -> bool:
        """Tell whether the server is one that we have started."""
        return any(daemon.name == "server" for daemon in self.daemons)

    @property
    def alive(self) -> tuple[Daemon, ...]:
        """The daemons that still run."""
        return tuple(daemon for daemon in self.daemons if daemon.is_alive)


def start(name: str, command: Sequence[str], log: Path, environment: Mapping[str, str]) -> Daemon:
    """Start a program in a session of its own, so that no terminal's Ctrl-C or end reaches it; append to its log."""
    with log.open("ab") as out:
        child = subprocess.Popen(
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            env=dict(environment),
            cwd=log.parent,
            start_new_session=True,
        )
    return Daemon(name=name, pid=child.pid, born=birth(child.pid) or "", log=str(log))


def stop(daemon: Daemon, grace_s: float) -> bool:
    """Ask a daemon to end, and end its whole process group after `grace_s` seconds; tell whether it was alive.

    An interrupted Prefect worker takes no new run and waits for those in hand.
    """
    if not daemon.is_alive:
        return False
    with suppress(ProcessLookupError):
        os.kill(daemon.pid, signal.SIGINT)
    if not _await_end(daemon, grace_s):
        with suppress(ProcessLookupError):
            os.killpg(daemon.pid, signal.SIGTERM)
        if not _await_end(daemon, min(grace_s, LAST_S)):
            with suppress(ProcessLookupError):
                os.killpg(daemon.pid, signal.SIGKILL)
            _await_end(daemon, LAST_S)
    return True


def end_rest(daemon: Daemon) -> None:
    """End what a daemon that died has left of its process group.

    While any of it lives, the system gives the group's number to nobody else.
    """
    reap()
    if birth(daemon.pid) is None and _group_exists(daemon.pid):
        with suppress(ProcessLookupError):
            os.killpg(daemon.pid, signal.SIGKILL)
        _await_end(daemon, LAST_S)


def reap() -> None:
    """Take notice of own children that have ended; until then they seem to be there."""
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            continue


def birth(pid: int) -> str | None:
    """Return when a process was started, as text to compare; None if there is none, or only its remains."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        # proc(5): the state is the third field, the start in ticks since boot the twenty-second.
        return None if fields[0] in "ZX" else f"{BOOT.read_text().strip()} {fields[19]}"
    except (FileNotFoundError, ProcessLookupError):  # the latter when it ends between opening and reading
        if BOOT.exists():
            return None
    return _birth_by_ps(pid)


def _birth_by_ps(pid: int) -> str | None:
    """Ask ps, where there is no /proc."""
    environment = {**os.environ, "LC_ALL": "C", "TZ": "UTC"}
    command = ["ps", "-o", "stat=,lstart=", "-p", str(pid)]
    told = subprocess.run(command, env=environment, capture_output=True, text=True, check=False).stdout.split()
    return " ".join(told[1:]) if told and not told[0].startswith("Z") else None


def _await_end(daemon: Daemon, seconds: float) -> bool:
    """Wait until nothing of the daemon's process group is left, or the time is over."""
    deadline = time.monotonic() + seconds
    while True:
        with suppress(ChildProcessError):
            os.waitpid(daemon.pid, os.WNOHANG)  # our own child stays as its remains until it is asked for
        if not daemon.is_alive and not _group_exists(daemon.pid):
            return True
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)


def _group_exists(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def home() -> Path:
    """Return the folder for records and logs, below Prefect's home."""
    return history.home() / "cuvee"


def recall() -> Standing | None:
    """Read what was started last; None if it was stopped, or the record is damaged."""
    try:
        return Standing.model_validate(json.loads((home() / "deploy.json").read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return None


def remember(standing: Standing) -> None:
    """Write down what was started, in one step."""
    path = home() / "deploy.json"
    draft = path.with_suffix(".new")
    draft.write_text(standing.model_dump_json(), encoding="utf-8")
    draft.replace(path)


def forget() -> None:
    """Remove the record."""
    (home() / "deploy.json").unlink(missing_ok=True)


@contextmanager
def one_at_a_time() -> Iterator[None]:
    """Hold the lock on starting and stopping; wait for it."""
    home().mkdir(mode=0o700, parents=True, exist_ok=True)
    with (home() / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def is_locked() -> bool:
    """Tell whether somebody starts or stops just now."""
    with (home() / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False
