"""Environment: what the server and the worker get of the variables of the command that starts them.

A process worker hands all it has to every run, so it gets what runs need and no more.
"""

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from cuvee.schemas.errors import RecipeError
from cuvee.schemas.parse import parse_recipe, variables

_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")
_CERTIFICATES = ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
_CLUSTERS = ("DASK_SCHEDULER_ADDRESS", "RAY_ADDRESS")
_SYSTEM = ("PATH", "HOME", "LANG", "TZ", "TMPDIR", "XDG_CACHE_HOME", "DO_NOT_TRACK")
_NAMES = {*_SYSTEM, *_PROXIES, *(name.lower() for name in _PROXIES), *_CERTIFICATES, *_CLUSTERS}
_BEGINNINGS = ("LC_", "PREFECT_", "CUVEE_", "AWS_", "OPENLINEAGE_")
_ENDS = ("_NUM_THREADS", "_MAX_THREADS")


def handed_on(named: Iterable[str] = ()) -> dict[str, str]:
    """Return the variables to hand on: the fixed ones, and those that recipes name."""
    wanted = _NAMES.union(named)
    return {
        name: value
        for name, value in os.environ.items()
        if name in wanted or name.startswith(_BEGINNINGS) or name.endswith(_ENDS)
    }


def named_by(recipe: str) -> set[str]:
    """Return the variables that the recipe at this path names; none where it cannot be read.

    They are those of `${NAME}`, and `api_key_env` of what asks an endpoint.
    """
    try:
        text = Path(recipe).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return set()
    names = variables(text)
    with suppress(RecipeError):
        names |= {entry.api_key_env for entry in parse_recipe(text, recipe, os.environ).generate if entry.base_url}
    return names
