"""The one seam to stored bytes. A key is a relative path with forward slashes."""

import os
from pathlib import Path
from typing import BinaryIO, Protocol

from cuvee.schemas.errors import RecipeError

DEFAULT_STORE = "./cuvee-store"


class Store(Protocol):
    """Keyed bytes; a key is either absent or whole, never half-written."""

    uri: str

    def get(self, key: str) -> bytes:
        """Return the bytes; raises FileNotFoundError."""

    def open(self, key: str) -> BinaryIO:
        """Open for reading, seekable, without loading the whole; raises FileNotFoundError."""

    def put(self, key: str, content: bytes) -> None:
        """Write or replace."""

    def create(self, key: str, content: bytes) -> None:
        """Write only if the key is absent: of many callers one wins; raises ConflictError for the others."""

    def put_file(self, key: str, path: Path) -> None:
        """Move a local file into the store; `path` is gone afterwards."""

    def size(self, key: str) -> int | None:
        """Return the bytes under the key, None if it is absent."""

    def keys(self, prefix: str) -> list[str]:
        """List the keys below a prefix that ends with a slash, sorted."""

    def delete(self, key: str) -> None:
        """Remove the key; absent is no error."""

    def location(self, key: str) -> str:
        """Return what other tools read: an absolute path or a URL."""

    def scratch(self) -> Path:
        """Return a local folder for files under construction, on the store's own file system where it has one."""


def open_store(uri: str) -> Store:
    """Open a store: a folder, or memory://NAME for tests. The folder is made at the first write."""
    if uri.startswith("memory://"):
        from cuvee.storage.memory import MemoryStore

        return MemoryStore.named(uri)
    if "://" in uri:
        raise RecipeError(f"store {uri}: only folders are built yet; name a folder")
    from cuvee.storage.local import LocalStore

    return LocalStore(Path(uri))


def store_uri(given: str | None) -> str:
    """Choose the store: the one given, else $CUVEE_STORE, else ./cuvee-store."""
    return given or os.environ.get("CUVEE_STORE") or DEFAULT_STORE
