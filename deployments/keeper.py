"""Keeper: starts a server or a worker that has died again, `python -m cuvee.deployments.keeper`.

It pauses before each start, longer each time, and gives up what dies more than three times in ten minutes: something is
wrong that a start does not mend, and its log says what. It ends when `cuvee deploy --stop` stops it.
"""

import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from cuvee.deployments import daemons, programs
from cuvee.deployments.daemons import Daemon
from cuvee.schemas.errors import CuveeError

MOST = 3
WITHIN_S = 600.0
PAUSES_S = (1.0, 5.0, 20.0)
LOOK_S = 1.0


def keep(look_s: float = LOOK_S, pauses_s: Sequence[float] = PAUSES_S) -> str:
    """Mend until nothing stands any more, or something dies too often; return why, for the log.

    pauses_s: seconds before the first, second, … start within WITHIN_S.
    """
    starts: list[float] = []
    while (standing := daemons.recall()) is not None:
        time.sleep(look_s)
        daemons.reap()
        dead = [daemon for daemon in standing.daemons if not daemon.is_alive]
        if not dead or daemons.recall() != standing:
            continue
        if not standing.has_server and not programs.is_healthy(standing.api):
            continue  # a server of others: its worker has nothing to do until it is back
        starts = [moment for moment in starts if time.monotonic() - moment < WITHIN_S]
        names = " and ".join(daemon.name for daemon in dead)
        if len(starts) >= MOST:
            return f"the {names} died {MOST + 1} times in {WITHIN_S / 60:g} minutes ({programs.last_words(dead[0])})"
        pause = pauses_s[min(len(starts), len(pauses_s) - 1)]
        _say(f"the {names} has ended ({programs.last_words(dead[0])}); starting it again in {pause:g} s")
        time.sleep(pause)
        starts.append(time.monotonic())
        try:
            mend()
        except CuveeError as error:
            _say(str(error))
    return "stopped"


def mend() -> None:
    """Start again what is dead of what stands; runs of a dead worker are ended and shown as crashed.

    Raises CuveeError where a program does not start.
    """
    with daemons.one_at_a_time():
        standing = daemons.recall()
        if standing is None:
            return
        names = {daemon.name for daemon in standing.daemons if not daemon.is_alive}
        if "server" in names:
            _rest_of(standing.daemons, "server")
            programs.start_server(int(standing.api.rsplit(":", 1)[1].partition("/")[0]))
            standing = daemons.recall() or standing
        if "worker" in names:
            _rest_of(standing.daemons, "worker")
            rest = tuple(daemon for daemon in standing.daemons if daemon.name != "worker")
            with programs.client(standing) as client:
                lame = standing.model_copy(update={"daemons": rest})
                programs.with_worker(lame, client, standing.given, _say)


def _rest_of(standing: Sequence[Daemon], name: str) -> None:
    for daemon in standing:
        if daemon.name == name:
            daemons.end_rest(daemon)


def _say(line: str) -> None:
    print(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {line}", flush=True)


def main() -> None:
    """Keep what `cuvee deploy` has written down."""
    os.environ.update(programs.settings())
    os.chdir(Path("/"))
    try:
        reason = keep()
    except KeyboardInterrupt:  # how it is stopped
        sys.exit(0)
    if reason != "stopped":
        print(f"{reason}; it is not started again", flush=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
