"""Events: bring what happened to a corpus to a Prefect server, whose automations start what waits for it."""

import hashlib
import os
import socket
import sys
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from cuvee.flows import embedded
from cuvee.schemas.event import Event
from cuvee.storage import notify
from cuvee.storage.outbox import Channel


def channel(api: str, headers: dict[str, str]) -> Channel:
    """Return the way to the Prefect server whose API is at `api`. headers: with the login, where it wants one."""
    place = api.rstrip("/")
    # A server on 127.0.0.1 is another one on each machine.
    where = socket.gethostname() if urlsplit(place).hostname in ("127.0.0.1", "localhost") else ""
    name = f"prefect-{hashlib.sha256(f'{where} {place}'.encode()).hexdigest()[:16]}"
    shown = f"the Prefect server at {place}"
    return Channel(name, shown, lambda event: notify.post(f"{place}/events", [as_prefect(event)], headers))


def as_prefect(event: Event) -> dict[str, Any]:
    """Write an event as Prefect's API takes it; it is dated now, since triggers look at recent ones."""
    payload = event.model_dump(mode="json", exclude={"id", "event", "resource"})
    resource = {"prefect.resource.id": event.resource, "prefect.resource.name": event.corpus}
    moment = datetime.now(UTC).isoformat()
    return {
        "id": event.id,
        "event": event.event,
        "occurred": moment,
        "resource": resource,
        "related": [],
        "payload": payload,
    }


def configured() -> list[Channel]:
    """Return the way to the server that Prefect is set up to use, none where it is a command's own or there is none.

    Prefect is imported only where a settings file names the server.
    """
    if os.environ.get(embedded.OWN):
        return []
    address = os.environ.get("PREFECT_API_URL")
    if "prefect" in sys.modules or (not address and embedded.server_is_configured()):
        from prefect.settings import get_current_settings

        api = get_current_settings().api
        key = api.key.get_secret_value() if api.key else None
        login = api.auth_string.get_secret_value() if api.auth_string else None
        address = str(api.url) if api.url else None
    else:
        key, login = os.environ.get("PREFECT_API_KEY"), os.environ.get("PREFECT_API_AUTH_STRING")
    if not address:
        return []
    return [channel(address, _authorization(key, login))]


def _authorization(key: str | None, login: str | None) -> dict[str, str]:
    if key:
        return {"Authorization": f"Bearer {key}"}
    return {"Authorization": notify.basic(login)} if login else {}


def login_headers(login: str | None) -> dict[str, str]:
    """Return the headers by which a server of ours lets in who has its login."""
    return _authorization(None, login)
