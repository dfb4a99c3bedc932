"""Exclusive: give a finished file a name that nobody has taken, in one step, on every file system that can."""

import ctypes
import errno
import os
from contextlib import suppress
from pathlib import Path

from cuvee.schemas.errors import RecipeError

# What file systems without hard links, such as exFAT, and those that forbid them answer.
_NO_LINKS = frozenset({errno.EPERM, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EMLINK})
_NO_SUCH_RENAME = frozenset({errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP})
_HERE = -100  # AT_FDCWD of Linux
_NO_REPLACE, _EXCLUSIVE = 1, 4  # RENAME_NOREPLACE of Linux, RENAME_EXCL of macOS


def claim(path: Path, target: Path) -> None:
    """Give a file a name, of many callers only to one: by a hard link, else by a rename that replaces nothing.

    `path` may be gone afterwards. Raises FileExistsError where the name is taken, and RecipeError where the file system
    can do neither.
    """
    try:
        os.link(path, target)
    except FileExistsError:
        # Over a network the link may have been made, its answer lost, and the call sent again.
        with suppress(FileNotFoundError):
            if os.path.samestat(path.stat(), target.lstat()):
                return
        raise
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        _rename(path, target)


def _rename(path: Path, target: Path) -> None:
    """Rename without replacing; raises FileExistsError, and RecipeError where the system or its disk cannot do that."""
    old, new = os.fsencode(path), os.fsencode(target)
    libc = ctypes.CDLL(None, use_errno=True)
    if hasattr(libc, "renameat2"):
        failed = libc.renameat2(_HERE, old, _HERE, new, _NO_REPLACE)
    elif hasattr(libc, "renamex_np"):
        failed = libc.renamex_np(old, new, _EXCLUSIVE)
    else:
        failed = -1
        ctypes.set_errno(errno.ENOSYS)
    if not failed:
        return
    fault = ctypes.get_errno()
    if fault in _NO_SUCH_RENAME:
        raise RecipeError(
            f"{target.parent} lies on a file system that has neither hard links nor a rename that replaces nothing, so "
            "that two runs could publish the same version and one would be lost; nothing is published: name another "
            "place (--store, or store in the recipe), on a disk of this machine, on NFS, or s3://bucket/prefix"
        )
    raise OSError(fault, os.strerror(fault), str(target))
