"""Store: keep trained models in a store, numbered and content-addressed, and load them by name.

models/provenance/<name>/v0001/<sha256>     a file of the model, or its card
models/provenance/<name>/v0001/model.json   what the version is, a `StoredModel`: written last, by one create-only put
"""

import hashlib
import re
from functools import lru_cache
from pathlib import Path

from pydantic import ValidationError

from cuvee.schemas.base import Frozen
from cuvee.schemas.errors import ConflictError, RecipeError
from cuvee.schemas.manifest import parse_version, version_name
from cuvee.storage.store import Store, open_store
from cuvee.tasks.provenance.model import CALIBRATION_FILE, WEIGHT_FILES, Model, assemble, load

FOLDER = "models/provenance"
RECORD = "model.json"
CARD = "CARD.md"
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]*")


class StoredModel(Frozen):
    """A version of a model. sha256: the model's content hash; files: name → SHA-256 of its bytes, its key here."""

    name: str
    version: int
    sha256: str
    files: dict[str, str]

    @property
    def ref(self) -> str:
        """What a recipe says to use it, such as `essays@v0002`."""
        return f"{self.name}@{version_name(self.version)}"


def keep(store: Store, folder: Path, name: str) -> StoredModel:
    """Put the model of a folder, with its card if it has one, into a store as the next version of a name.

    A model that a version holds already gets no other: that version is returned. Raises RecipeError for a folder
    without a usable model, and for a name of other characters than a-z, 0-9, _ and -.
    """
    if not _NAME.fullmatch(name):
        raise RecipeError(f"the model name {name!r} does not fit; use a-z, 0-9, _ and -")
    model = load(str(folder))
    paths = [folder / file for file in (*WEIGHT_FILES, CALIBRATION_FILE, CARD) if (folder / file).exists()]
    contents = {path.name: path.read_bytes() for path in paths}
    files = {file: hashlib.sha256(content).hexdigest() for file, content in contents.items()}
    while True:
        known = versions(store, name)
        for version in known:
            if version.sha256 == model.sha256:
                return version
        stored = StoredModel(
            name=name, version=max((v.version for v in known), default=0) + 1, sha256=model.sha256, files=files
        )
        for file, sha256 in files.items():
            store.put(_key(stored, sha256), contents[file])
        try:
            store.create(_key(stored, RECORD), stored.model_dump_json(indent=1).encode() + b"\n")
        except ConflictError:  # somebody else took the number
            continue
        return stored


def versions(store: Store, name: str) -> list[StoredModel]:
    """List the versions of a model, ascending."""
    keys = [key for key in store.keys(f"{FOLDER}/{name}/") if key.endswith(f"/{RECORD}")]
    return sorted((_read(store, key) for key in keys), key=lambda version: version.version)


def load_named(uri: str, ref: str) -> Model:
    """Load `name@v0001` from the store at a place, checking each file against its hash.

    Raises RecipeError when there is no such version, or a file is missing or differs.
    """
    return _load_named(uri, ref)


# A version never changes, and each shard's task asks for it.
@lru_cache(maxsize=4)
def _load_named(uri: str, ref: str) -> Model:
    store = open_store(uri)
    name, version = ref.split("@")
    known = {entry.version: entry for entry in versions(store, name)}
    stored = known.get(parse_version(version) or 0)
    if stored is None:
        has = ", ".join(entry.ref for entry in known.values()) or "none of that name"
        raise RecipeError(f"provenance.model: {store.uri} has no model {ref}; it has: {has}")
    contents = {}
    for file in (*WEIGHT_FILES, CALIBRATION_FILE):
        try:
            contents[file] = store.get(_key(stored, stored.files[file]))
        except (FileNotFoundError, KeyError):
            raise RecipeError(f"provenance.model: {ref} lacks {file} in {store.uri}; put it there again") from None
        if hashlib.sha256(contents[file]).hexdigest() != stored.files[file]:
            raise RecipeError(f"provenance.model: {file} of {ref} is damaged in {store.uri}; put it there again")
    return assemble(contents, ref)


def _read(store: Store, key: str) -> StoredModel:
    try:
        return StoredModel.model_validate_json(store.get(key))
    except ValidationError as error:
        raise RecipeError(f"provenance.model: {key} in {store.uri} is damaged: {error}") from None


def _key(stored: StoredModel, file: str) -> str:
    return f"{FOLDER}/{stored.name}/{version_name(stored.version)}/{file}"
