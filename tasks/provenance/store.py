"""Store: keep trained models in a store, numbered and content-addressed, and load them by name.

models/provenance/<name>/v0001/<sha256>     a file of the model, or its card
models/provenance/<name>/v0001/model.json   what the version is, a `StoredModel`: written last, by one create-only put
"""

import hashlib
import re
from functools import lru_cache
from pathlib import Path

from cuvee.schemas.base import Frozen
from cuvee.schemas.errors import ConflictError, IntegrityError, RecipeError
from cuvee.schemas.manifest import Version, parse_version, version_name
from cuvee.schemas.records import Sha256
from cuvee.storage.store import Store, open_store
from cuvee.storage.trust import RESTORE, read_bounded, read_json
from cuvee.tasks.provenance.model import CALIBRATION_FILE, WEIGHT_FILES, Model, assemble, load

FOLDER = "models/provenance"
RECORD = "model.json"
CARD = "CARD.md"
# A file of the builtin one has 2 MB at most.
MOST_BYTES = 2**28
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]*")


class StoredModel(Frozen):
    """A version of a model. sha256: the model's content hash; files: name → SHA-256 of its bytes, its key here."""

    name: str
    version: Version
    sha256: str
    files: dict[str, Sha256]

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
    """List the versions of a model, ascending; raises IntegrityError for a record that is damaged or of another one."""
    folder = f"{FOLDER}/{name}/"
    records = (key.removeprefix(folder) for key in store.keys(folder) if key.endswith(f"/{RECORD}"))
    numbers = {parse_version(record.removesuffix(f"/{RECORD}")) for record in records}
    return [_read(store, name, number) for number in sorted(number for number in numbers if number)]


def load_named(uri: str, ref: str) -> Model:
    """Load `name@v0001` from the store at a place, checking each file against its hash.

    Raises RecipeError when there is no such version, or a file is missing or differs; IntegrityError for a damaged
    record.
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
            contents[file] = read_bounded(store, _key(stored, stored.files[file]), MOST_BYTES)
        except (IntegrityError, KeyError):
            raise RecipeError(f"provenance.model: {ref} lacks {file} in {store.uri}; put it there again") from None
        if hashlib.sha256(contents[file]).hexdigest() != stored.files[file]:
            raise RecipeError(f"provenance.model: {file} of {ref} is damaged in {store.uri}; put it there again")
    return assemble(contents, ref)


def _read(store: Store, name: str, version: int) -> StoredModel:
    key = f"{FOLDER}/{name}/{version_name(version)}/{RECORD}"
    stored = read_json(store, key, StoredModel)
    if (stored.name, stored.version) != (name, version):
        raise IntegrityError(f"{store.location(key)}: it is the record of {stored.ref}; {RESTORE}")
    return stored


def _key(stored: StoredModel, file: str) -> str:
    return f"{FOLDER}/{stored.name}/{version_name(stored.version)}/{file}"
