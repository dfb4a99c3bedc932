"""Door: who gets into a Prefect server of our own: who has its login, by its own name, and pages of its own UI.

A server on 127.0.0.1 is open to every user of the machine, and to web pages whose name is made to mean 127.0.0.1.
"""

import secrets
from typing import Any

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
