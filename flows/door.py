"""Door: who gets into a Prefect server of our own: who has its login, by its own name, and pages of its own UI.

A server on 127.0.0.1 is open to every user of the machine, and to web pages whose name is made to mean 127.0.0.1.
"""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from cuvee.schemas.errors import CuveeError

HOSTS = ("127.0.0.1", "localhost")


def new_login() -> str:
    """Make a login of 256 random bits, as the one field of the UI and HTTP's basic scheme take it."""
    return f"cuvee:{secrets.token_urlsafe(32)}"


def server_settings(login: str, port: int) -> dict[str, str]:
    """Give the environment of a server on `port` that lets in nobody without the login, and no other pages."""
    origins = ",".join(f"http://{host}:{port}" for host in HOSTS)
    return {"PREFECT_SERVER_API_AUTH_STRING": login, "PREFECT_SERVER_CORS_ALLOWED_ORIGINS": origins}


def client_settings(login: str) -> dict[str, str]:
    """Give the environment of a program that such a server lets in."""
    return {"PREFECT_API_AUTH_STRING": login}


def app() -> Any:
    """Make the server's application; a request that calls it by a name of others is answered with 400."""
    from fastapi.middleware.trustedhost import TrustedHostMiddleware
    from prefect.server.api.server import create_app

    return TrustedHostMiddleware(create_app(), allowed_hosts=list(HOSTS))


def status_of(error: BaseException) -> int | None:
    """Return the HTTP status that a Prefect server has answered with, for an error of Prefect's client; else None."""
    if not type(error).__module__.startswith("prefect."):
        return None
    return getattr(getattr(error, "response", None), "status_code", None)


@contextmanager
def with_login() -> Iterator[None]:
    """Raise CuveeError, instead of what Prefect raises, where a server does not take the login of the body."""
    try:
        yield
    except Exception as error:
        if status_of(error) != 401:
            raise
        from prefect.settings import get_current_settings

        raise CuveeError(
            f"the Prefect server at {get_current_settings().api.url} wants its login in PREFECT_API_AUTH_STRING; "
            "that of cuvee deploy is the line in $PREFECT_HOME/cuvee/login"
        ) from error
