"""The one seam to stored bytes, and whether a place can hold them. A key is a relative path with forward slashes."""

import os
import shutil
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, Protocol
from uuid import uuid4

from cuvee.schemas.address import secret_in, shown
from cuvee.schemas.errors import ConflictError, RecipeError

DEFAULT_STORE = "./cuvee-store"
# Less holds no shard that is being written.
LEAST_FREE_MB = 16


class Access(NamedTuple):
    """What other readers need beside locations.

    polars: keyword arguments of `scan_parquet`. arrow: a pyarrow file system, whose paths are the locations without
    s3://; None where locations are paths.
    """

    polars: dict[str, Any]
    arrow: Any


class Store(Protocol):
    """Keyed bytes; a key is either absent or whole, never half-written."""

    uri: str
    remote: bool  # whether each read waits for an answer of the network

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

    def sizes(self, prefix: str) -> dict[str, int]:
        """Return the bytes under each key below a prefix that ends with a slash, without opening any."""

    def delete(self, key: str) -> None:
        """Remove the key; absent is no error."""

    def location(self, key: str) -> str:
        """Return what other tools read: an absolute path or a URL."""

    def access(self) -> Access:
        """Return what polars and pyarrow need to read the locations."""

    def scratch(self) -> Path:
        """Return a local folder for files under construction, on the store's own file system where it has one."""


def open_store(uri: str) -> Store:
    """Open a store: a folder, s3://bucket/prefix, or memory://NAME for tests. Nothing is made before the first write.

    Raises RecipeError for another scheme, for an s3:// address without a bucket, and for a path that is not UTF-8.
    """
    secret = secret_in(uri)
    if secret:
        raise RecipeError(
            f"store {shown(uri)}: {secret} would be told in messages and kept with every run; put it into the "
            "environment, as AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        )
    if uri.startswith("memory://"):
        from cuvee.storage.memory import MemoryStore

        return MemoryStore.named(uri)
    if uri.startswith("s3://"):
        from cuvee.storage.s3_store import S3Store

        return S3Store(uri)
    if "://" in uri:
        raise RecipeError(
            f"store {shown(uri)}: {uri.partition('://')[0]}:// is no store; name a folder or s3://bucket/prefix"
        )
    if "\0" in uri or uri != uri.encode("utf-8", "replace").decode():  # Arrow writes to no other path
        raise RecipeError(f"store {uri!r}: no folder for a store has a NUL, or bytes that are not UTF-8, in its path")
    from cuvee.storage.local import LocalStore

    return LocalStore(Path(uri))


def store_uri(given: str | None) -> str:
    """Choose the store: the one given, else $CUVEE_STORE, else ./cuvee-store."""
    return given or os.environ.get("CUVEE_STORE") or DEFAULT_STORE


def check_place(store: Store, corpus: str) -> None:
    """Try a store out, by a file that is created twice and removed.

    Raises RecipeError, with what to do: where nothing can be written; where there is hardly any room, in the store or
    in the folder for files under construction; and where two runs could both take one version's number.
    """
    # A name of its own: another run that probes the same key would remove it meanwhile.
    probe = f"corpora/{corpus}/probes/{uuid4().hex}"
    try:
        scratch = store.scratch()
        free = shutil.disk_usage(scratch).free // 2**20
        if free < LEAST_FREE_MB:
            raise RecipeError(
                f"{scratch} has room for {free} MB, and a run needs {LEAST_FREE_MB} MB and what it publishes; free "
                "some, or name another place (--store, or store in the recipe)"
            )
        _check_creation(store, probe)
    except OSError as error:
        raise RecipeError(
            f"{store.uri} cannot hold a store: {error.strerror or error} ({error.filename or probe}); grant access, "
            "free some room, or name another place (--store, or store in the recipe)"
        ) from None


def _check_creation(store: Store, key: str) -> None:
    """Create a key twice, and remove it; raises RecipeError when the second does not fail."""
    try:
        store.create(key, b"first")
        store.create(key, b"second")
    except ConflictError:
        return
    finally:
        store.delete(key)
    raise RecipeError(
        f"the server of {store.uri} ignores If-None-Match, so that two runs could publish the same version and one "
        "would be lost; nothing is published: use a server with conditional puts (docs/storage.md)"
    )
