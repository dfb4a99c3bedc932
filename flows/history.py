"""History: the SQLite file in which a Prefect server of our own keeps what ran, and which one program can lock."""

import os
import sqlite3
from contextlib import closing
from pathlib import Path

from cuvee.flows import door
from cuvee.schemas.errors import CuveeError

PATIENCE_S = 30.0  # a first start elsewhere holds it while it migrates: 25 s on a busy machine
_ADDRESS = ("PREFECT_SERVER_DATABASE_CONNECTION_URL", "PREFECT_API_DATABASE_CONNECTION_URL")


def check(settings_text: str = "") -> None:
    """Raise CuveeError if another program holds the database of the server that is about to start.

    settings_text: Prefect's settings files in lower case; a database that they name is left to the server.
    """
    path = database(settings_text)
    if path is None or not path.exists():
        return
    try:
        with closing(sqlite3.connect(path, timeout=PATIENCE_S, isolation_level=None)) as history:
            history.execute("BEGIN IMMEDIATE")
            history.execute("ROLLBACK")
    except sqlite3.OperationalError as error:
        if "locked" in str(error):
            raise CuveeError(locked(path)) from None
    except sqlite3.DatabaseError:
        return  # the server says what is wrong with it


def database(settings_text: str = "") -> Path | None:
    """Return the file that the environment names, or the default; None for another database or one not known here."""
    named = next((os.environ[name] for name in _ADDRESS if os.environ.get(name)), None)
    if named is not None:
        scheme, _, place = named.partition(":///")
        return Path(place.partition("?")[0]) if scheme.startswith("sqlite") and place else None
    if "database" in settings_text:
        return None
    return home() / "prefect.db"


def home() -> Path:
    """Return Prefect's home, absolute."""
    return Path(os.environ.get("PREFECT_HOME", "~/.prefect")).expanduser().absolute()


def is_unavailable(error: BaseException) -> bool:
    """Tell whether a Prefect server has answered that it cannot reach its database."""
    return door.status_of(error) == 503


def locked(path: Path | None) -> str:
    """Say which database is locked, and what to do."""
    return (
        f"the Prefect database {path or ''} is locked by another program; end what holds it "
        f"(`fuser {path or 'FILE'}` names it), or keep another history: PREFECT_HOME=FOLDER"
    )
