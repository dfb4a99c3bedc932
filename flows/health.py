"""Health: whether Prefect can carry a run out: the package, and the server that a run would use."""

import base64
import os
import urllib.error
import urllib.request
from importlib import metadata

from cuvee.flows import embedded
from cuvee.schemas.errors import CuveeError

PATIENCE_S = 10.0


def standing() -> str:
    """Say which Prefect is there, and which server a run uses; raises CuveeError where that is not well."""
    version = metadata.version("prefect")
    embedded.prepare()
    if not embedded.server_is_configured():
        return f"{version}; a run brings a server of its own"
    from prefect.settings import get_current_settings

    api = str(get_current_settings().api.url)
    request = urllib.request.Request(f"{api}/version")
    login = os.environ.get("PREFECT_API_AUTH_STRING")
    if login:
        request.add_header("Authorization", f"Basic {base64.b64encode(login.encode()).decode()}")
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
            served = answer.read(200).decode(errors="replace").strip().strip('"')
    except urllib.error.HTTPError as error:
        what = "wants its login in PREFECT_API_AUTH_STRING" if error.code == 401 else f"answers {error.code}"
        raise CuveeError(f"{version}; the server at {api} {what}; correct that, or unset PREFECT_API_URL") from None
    except OSError as error:
        what = f"no server answers at {api} ({error})"
        raise CuveeError(f"{version}; {what}; start it, or unset PREFECT_API_URL") from None
    return f"{version}; the server at {api} answers, Prefect {served}"
