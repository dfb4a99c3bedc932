"""A store in a folder."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from cuvee.schemas.errors import ConflictError
from cuvee.storage.store import Access


class LocalStore:
    """Files below a folder. Writes go to a temporary name, are flushed to disk, and then renamed."""

    remote = False

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()
        self.uri = str(self.root)

    def get(self, key: str) -> bytes:
        """Return the bytes; raises FileNotFoundError."""
        return (self.root / key).read_bytes()

    def open(self, key: str) -> BinaryIO:
        """Open for reading; raises FileNotFoundError."""
        return (self.root / key).open("rb")

    def put(self, key: str, content: bytes) -> None:
        """Write or replace in one rename."""
        with self._written(content) as path:
            self._place(path, key)

    def create(self, key: str, content: bytes) -> None:
        """Write only if absent: a hard link to the finished file fails when the name is taken."""
        target = self.root / key
        with self._written(content) as path:
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                os.link(path, target)
            except FileExistsError:
                raise ConflictError(f"{key} exists already: another run wrote it first; read again and redo") from None
        _flush(target.parent)

    def put_file(self, key: str, path: Path) -> None:
        """Move a local file into the store."""
        _flush(path)
        self._place(path, key)

    def size(self, key: str) -> int | None:
        """Return the bytes under the key, None if absent."""
        try:
            return (self.root / key).stat().st_size
        except (FileNotFoundError, NotADirectoryError):
            return None

    def keys(self, prefix: str) -> list[str]:
        """List the keys below a prefix, sorted."""
        # Unlike rglob, os.walk passes over a folder that another run removes meanwhile.
        found = (Path(folder, name) for folder, _, names in os.walk(self.root / prefix) for name in names)
        return sorted(path.relative_to(self.root).as_posix() for path in found)

    def sizes(self, prefix: str) -> dict[str, int]:
        """Return the bytes under each key below a prefix."""
        found = ((key, self.size(key)) for key in self.keys(prefix))
        return {key: size for key, size in found if size is not None}

    def delete(self, key: str) -> None:
        """Remove the key; absent is no error."""
        (self.root / key).unlink(missing_ok=True)

    def location(self, key: str) -> str:
        """Return the absolute path."""
        return str(self.root / key)

    def access(self) -> Access:
        """Return that nothing is needed."""
        return Access({}, None)

    def scratch(self) -> Path:
        """Return the folder for files under construction."""
        folder = self.root / "work" / "tmp"
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    @contextmanager
    def _written(self, content: bytes) -> Iterator[Path]:
        """Write a temporary file, which is gone when the block ends."""
        handle, name = tempfile.mkstemp(dir=self.scratch())
        path = Path(name)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            path.chmod(0o644)
            yield path
        finally:
            path.unlink(missing_ok=True)

    def _place(self, path: Path, key: str) -> None:
        target = self.root / key
        target.parent.mkdir(parents=True, exist_ok=True)
        os.replace(path, target)
        _flush(target.parent)


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
