"""Announce: tell whoever waits for a corpus, after a command has moved one of its tags."""

from collections.abc import Iterator
from pathlib import Path

from cuvee.commands.shared import say
from cuvee.storage import notify, outbox
from cuvee.storage.outbox import Channel
from cuvee.storage.store import Store


def announce(place: Store, corpus: str) -> None:
    """Send what was not sent to those whom this user's runs of the corpus tell, and to the Prefect server there is."""
    channels = [notify.channel(address, Path()) for address in notify.known(place.uri, corpus)]
    for warning in outbox.send_owed(place, corpus, [*channels, *_server()]):
        say(f"warning: {warning}", err=True)


def _server() -> Iterator[Channel]:
    """Yield the way to the configured server, else to the one that `cuvee deploy` has started and that is alive."""
    from cuvee.deployments import daemons, login
    from cuvee.flows import events

    found = events.configured()
    yield from found
    standing = daemons.recall()
    if not found and standing and login.is_fit() and any(daemon.name == "server" for daemon in standing.alive):
        yield events.channel(standing.api, events.login_headers(login.held()))
