"""A store in memory, the twin of the local one for tests."""

import tempfile
import threading
from io import BytesIO
from pathlib import Path
from typing import BinaryIO, ClassVar

from cuvee.schemas.errors import ConflictError
from cuvee.storage.store import Access


class MemoryStore:
    """A dictionary of bytes; stores of one name in one process are one store."""

    remote = False
    _stores: ClassVar[dict[str, "MemoryStore"]] = {}

    def __init__(self, uri: str = "memory://") -> None:
        self.uri = uri
        self.content: dict[str, bytes] = {}
        self._creating = threading.Lock()
        self._scratch = tempfile.TemporaryDirectory(prefix="cuvee-")

    @classmethod
    def named(cls, uri: str) -> "MemoryStore":
        """Return the store of this name, made at the first call."""
        if uri not in cls._stores:
            cls._stores.setdefault(uri, cls(uri))
        return cls._stores[uri]

    def get(self, key: str) -> bytes:
        """Return the bytes; raises FileNotFoundError."""
        try:
            return self.content[key]
        except KeyError:
            raise FileNotFoundError(key) from None

    def open(self, key: str) -> BinaryIO:
        """Open for reading; raises FileNotFoundError."""
        return BytesIO(self.get(key))

    def put(self, key: str, content: bytes) -> None:
        """Write or replace."""
        self.content[key] = content

    def create(self, key: str, content: bytes) -> None:
        """Write only if absent; raises ConflictError."""
        with self._creating:
            if key in self.content:
                raise ConflictError(f"{key} exists already: another run wrote it first; read again and redo")
            self.content[key] = content

    def put_file(self, key: str, path: Path) -> None:
        """Move a local file into the store."""
        self.put(key, path.read_bytes())
        path.unlink()

    def size(self, key: str) -> int | None:
        """Return the bytes under the key, None if absent."""
        return len(self.content[key]) if key in self.content else None

    def keys(self, prefix: str) -> list[str]:
        """List the keys below a prefix, sorted."""
        return sorted(key for key in list(self.content) if key.startswith(prefix))

    def sizes(self, prefix: str) -> dict[str, int]:
        """Return the bytes under each key below a prefix."""
        return {key: len(content) for key, content in list(self.content.items()) if key.startswith(prefix)}

    def delete(self, key: str) -> None:
        """Remove the key; absent is no error."""
        self.content.pop(key, None)

    def location(self, key: str) -> str:
        """Return the key under the store's name; other tools cannot read it."""
        return f"{self.uri}/{key}"

    def access(self) -> Access:
        """Return that nothing is needed."""
        return Access({}, None)

    def scratch(self) -> Path:
        """Return a temporary folder, in one of this store's own."""
        folder = Path(self._scratch.name) / "tmp"
        folder.mkdir(exist_ok=True)
        return folder
