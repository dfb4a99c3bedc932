"""A store in a folder."""

import ctypes
import errno
import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from cuvee.schemas.errors import ConflictError, IntegrityError, RecipeError
from cuvee.storage.store import Access

# What file systems without hard links, such as exFAT, and those that forbid them answer.
_NO_LINKS = frozenset({errno.EPERM, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EMLINK})
_NO_SUCH_RENAME = frozenset({errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP})
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_HERE = -100  # AT_FDCWD of Linux
_NO_REPLACE, _EXCLUSIVE = 1, 4  # RENAME_NOREPLACE of Linux, RENAME_EXCL of macOS


class LocalStore:
    """Files below a folder. Writes go to a temporary name, are flushed to disk, and then renamed.

    A link at or above the folder is followed. Every method raises IntegrityError for a key that leads out of it, by
    `..` or by a link, and for what is no plain file: reading a device or a pipe might never end.
    """

    remote = False

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()
        self.uri = str(self.root)

    def get(self, key: str) -> bytes:
        """Return the bytes; raises FileNotFoundError."""
        with self.open(key) as file:
            return file.read()

    def open(self, key: str) -> BinaryIO:
        """Open for reading; raises FileNotFoundError."""
        path = self._at(key)
        if _bytes_of(path) is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
        return path.open("rb")

    def put(self, key: str, content: bytes) -> None:
        """Write or replace in one rename."""
        with self._written(content) as path:
            self._place(path, key)

    def create(self, key: str, content: bytes) -> None:
        """Write only if absent: the finished file gets its name only if that is not taken."""
        target = self._at(key)
        with self._written(content) as path:
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                _claim(path, target)
            except FileExistsError:
                raise ConflictError(f"{key} exists already: another run wrote it first; read again and redo") from None
        _flush(target.parent)

    def put_file(self, key: str, path: Path) -> None:
        """Move a local file into the store."""
        _flush(path)
        self._place(path, key)

    def size(self, key: str) -> int | None:
        """Return the bytes under the key, None if absent."""
        return _bytes_of(self._at(key))

    def keys(self, prefix: str) -> list[str]:
        """List the keys below a prefix, sorted."""
        # Unlike rglob, os.walk passes over a folder that another run removes meanwhile.
        found = (Path(folder, name) for folder, _, names in os.walk(self._at(prefix)) for name in names)
        return sorted(path.relative_to(self.root).as_posix() for path in found)

    def sizes(self, prefix: str) -> dict[str, int]:
        """Return the bytes under each key below a prefix."""
        found = ((key, self._plain_bytes(key)) for key in self.keys(prefix))
        return {key: size for key, size in found if size is not None}

    def delete(self, key: str) -> None:
        """Remove the key; absent is no error."""
        self._at(key).unlink(missing_ok=True)

    def location(self, key: str) -> str:
        """Return the absolute path."""
        path = self._at(key)
        _bytes_of(path)
        return str(path)

    def access(self) -> Access:
        """Return that nothing is needed."""
        return Access({}, None)

    def scratch(self) -> Path:
        """Return the folder for files under construction."""
        folder = self._at("work/tmp")
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def _at(self, key: str) -> Path:
        """Return the path of a key; raises IntegrityError when it leads out of the store's folder."""
        path = self.root / key
        root = os.path.realpath(self.root)
        found = os.path.realpath(path)
        if found != root and not found.startswith(root.rstrip("/") + "/"):
            raise IntegrityError(f"{path} leads out of the store, to {found}; put the file itself there")
        return path

    def _plain_bytes(self, key: str) -> int | None:
        """Return the bytes under a listed key; None where there is no plain file of the store."""
        # A listing enters no folder by a link, so only the last part can be one.
        with suppress(IntegrityError):
            return self.size(key) if (self.root / key).is_symlink() else _bytes_of(self.root / key)
        return None

    @contextmanager
    def _written(self, content: bytes) -> Iterator[Path]:
        """Write a temporary file, which is gone when the block ends."""
        handle, name = tempfile.mkstemp(dir=self.scratch())
        path = Path(name)
        try:
            with naming(path), os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            readable(path)
            yield path
        finally:
            path.unlink(missing_ok=True)

    def _place(self, path: Path, key: str) -> None:
        target = self._at(key)
        target.parent.mkdir(parents=True, exist_ok=True)
        os.replace(path, target)
        _flush(target.parent)


def _claim(path: Path, target: Path) -> None:
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


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Let the error of a full disk, or of a user's quota, name the folder of the file that was written."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            error.filename = error.filename or str(path.parent)
        raise


def readable(path: Path) -> None:
    """Let others read a file; where the file system knows no such rights, it is as the mount says."""
    with suppress(PermissionError):
        path.chmod(0o644)


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        # Some file systems, on networks and of other systems, flush no folders.
        if error.errno not in (errno.EINVAL, errno.EBADF, errno.ENOTSUP) or not path.is_dir():
            raise
    finally:
        os.close(handle)


def _bytes_of(path: Path) -> int | None:
    """Return the bytes of a plain file, None if absent; raises IntegrityError for a folder, a device or a pipe."""
    try:
        found = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        if error.errno not in (errno.ELOOP, errno.ENAMETOOLONG):
            raise
        return None
    if not stat.S_ISREG(found.st_mode):
        raise IntegrityError(f"{path} is no plain file; restore it from a backup")
    return found.st_size
