"""Place: whether a folder or a bucket can hold a store, found out before work begins."""

import shutil
from uuid import uuid4

from cuvee.schemas.errors import ConflictError, RecipeError
from cuvee.storage.store import Store

# Less holds no shard that is being written.
LEAST_FREE_MB = 16


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
