"""Login: what opens the server of `cuvee deploy`, kept in a file that only its owner can read."""

import os
import stat
from pathlib import Path

from cuvee.deployments import daemons
from cuvee.flows import door
from cuvee.schemas.errors import CuveeError


def path() -> Path:
    """Return where the login is kept."""
    return daemons.home() / "login"


def held() -> str | None:
    """Return the login; None if none was made. Raises CuveeError where others could have read or written it."""
    try:
        descriptor = os.open(path(), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _unfit(error.strerror or str(error)) from None
    with open(descriptor, encoding="utf-8", errors="replace") as file:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid():
            raise _unfit("it is not a file of this user")
        if found.st_mode & 0o077:
            raise _unfit(f"its mode is {stat.S_IMODE(found.st_mode):o}, so others may have read it")
        login = file.read().strip()
    if not login.startswith("cuvee:") or len(login) < len(door.new_login()):
        raise _unfit("it holds no login")
    return login


def is_fit() -> bool:
    """Tell whether there is a login of use."""
    try:
        return held() is not None
    except CuveeError:
        return False


def make() -> str:
    """Make a login and keep it; no other user can read the file at any moment."""
    login, draft = door.new_login(), path().with_suffix(".new")
    draft.unlink(missing_ok=True)
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with open(descriptor, "w", encoding="utf-8") as file:
        os.fchmod(descriptor, 0o600)  # the umask may have taken the owner's rights
        file.write(f"{login}\n")
    draft.replace(path())
    return login


def _unfit(reason: str) -> CuveeError:
    return CuveeError(
        f"the login in {path()} cannot be used: {reason}; stop what runs with cuvee deploy --stop, delete the file, "
        "and deploy again: a new login is made"
    )
