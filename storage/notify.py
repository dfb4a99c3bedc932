"""Notify: bring an event to an address by HTTP, or to the end of a file.

Whom the runs of a corpus tell is kept in the user's own state folder, for the commands that know no recipe. It is not
in the store: who can write there must not choose where those commands write and send.
"""

import base64
import hashlib
import json
import os
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from cuvee.schemas.address import is_web, secret_in, shown
from cuvee.schemas.event import Event
from cuvee.storage import secrets
from cuvee.storage.outbox import Channel

TIMEOUT_S = 10.0
PAUSES_S = (1.0, 4.0)  # a receiver that restarts is back within seconds; a longer fault is for the next command
_LOCAL = ("127.0.0.1", "localhost", "::1")


def channel(address: str, folder: Path) -> Channel:
    """Return the way to an entry of publish.notify; a relative path is below `folder`."""
    place = address if is_web(address) else str((folder / address).absolute())
    name = f"notify-{hashlib.sha256(place.encode()).hexdigest()[:16]}"
    if is_web(address):
        return Channel(name, shown(place), lambda event: _post(place, event))
    return Channel(name, place, lambda event: _append(Path(place), event))


def remember(store: str, corpus: str, addresses: Sequence[str], folder: Path) -> None:
    """Keep for this user whom runs of a corpus tell; addresses that hold a secret are left out."""
    places = [address if is_web(address) else str((folder / address).absolute()) for address in addresses]
    kept = [place for place in places if secret_in(place) is None and secrets.hide(place) == place]
    if kept == known(store, corpus):
        return
    path = _state(store, corpus)
    with suppress(OSError):  # without a home the next run tells what such commands could not
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        draft = path.with_suffix(f".{os.getpid()}")
        draft.write_text(json.dumps(kept), encoding="utf-8")
        draft.replace(path)


def known(store: str, corpus: str) -> list[str]:
    """Return whom this user's runs of a corpus told last."""
    try:
        found = json.loads(_state(store, corpus).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    return [place for place in found if isinstance(place, str)] if isinstance(found, list) else []


def _state(store: str, corpus: str) -> Path:
    home = Path(os.environ.get("XDG_STATE_HOME") or "~/.local/state").expanduser()
    return home / "cuvee" / "receivers" / f"{hashlib.sha256(f'{store} {corpus}'.encode()).hexdigest()[:32]}.json"


def post(address: str, body: Any, headers: Mapping[str, str]) -> None:
    """Send a JSON body; raises OSError where the receiver does not answer with a 2xx in three attempts.

    A redirect is a failure: it would make another request of it. Proxies are not asked for this machine's own servers.
    """
    handlers: list[urllib.request.BaseHandler] = [_NoRedirect()]
    if urlsplit(address).hostname in _LOCAL:
        handlers.append(urllib.request.ProxyHandler({}))
    opener = urllib.request.build_opener(*handlers)
    content = json.dumps(body, ensure_ascii=False).encode()
    named = {"Content-Type": "application/json", "User-Agent": "cuvee", **headers}
    for pause in (*PAUSES_S, None):
        request = urllib.request.Request(address, content, named, method="POST")
        try:
            opener.open(request, timeout=TIMEOUT_S).close()
            return
        except urllib.error.HTTPError as error:
            if pause is None or (error.code < 500 and error.code not in (408, 425, 429)):
                raise OSError(f"it answers {error.code} {error.reason}") from None
        except OSError:
            if pause is None:
                raise
        time.sleep(pause)


def basic(login: str) -> str:
    """Write a login of the form name:password as HTTP's basic scheme does."""
    return "Basic " + base64.b64encode(login.encode()).decode()


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        """Follow none."""


def _post(address: str, event: Event) -> None:
    post(address, event.model_dump(mode="json"), {"Idempotency-Key": event.id})


def _append(path: Path, event: Event) -> None:
    line = json.dumps(event.model_dump(mode="json"), ensure_ascii=False) + "\n"
    with path.open("ab") as file:
        file.write(line.encode())
        file.flush()
        os.fsync(file.fileno())
