"""A published corpus in the store: manifests, tags, and the commit.

corpora/<corpus>/manifests/v0007.json      the commit: one create-only put, written last
corpora/<corpus>/tags/<name>/000012.json   a create-only series, the highest wins
corpora/<corpus>/data/<aa>/<sha256>.parquet
corpora/<corpus>/reports/v0007/…
corpora/<corpus>/ledger/<aa>/<sha256>.parquet shared by runs and versions
corpora/<corpus>/runs/<run id>/run.json       how one of the last 30 runs ended, and its ledger
corpora/<corpus>/pool/<step>/<aa>/<sha256>.parquet
corpora/<corpus>/probes/<random>              made and removed before the first version
work/<step>/<key>.json
"""

import difflib
import hashlib
import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar
from uuid import uuid4

from cuvee.schemas.errors import ConflictError, RecipeError
from cuvee.schemas.manifest import Manifest, TagEntry, parse_ref, parse_version, read_manifest, version_name
from cuvee.schemas.records import FileRef, PoolState, StepRecord
from cuvee.schemas.report import RunEnd
from cuvee.storage.store import Store

R = TypeVar("R", bound=StepRecord)

# Runs whose ends are kept: a month of nights.
RUNS_KEPT = 30
# Requests wait for answers; more at a time than this gain little against one server.
_REQUESTS_AT_ONCE = 16
# Up to so many files are asked for by name; a listing costs a request a thousand files of the whole folder.
_ASKED_ONE_BY_ONE = 4


def data_folder(corpus: str) -> str:
    """Return the folder of a corpus's published files."""
    return f"corpora/{corpus}/data"


def pool_folder(corpus: str, step: str) -> str:
    """Return the folder of one step's files in a corpus's pool."""
    return f"corpora/{corpus}/pool/{step}"


def ledger_folder(corpus: str) -> str:
    """Return the folder of a corpus's ledgers."""
    return f"corpora/{corpus}/ledger"


def reports_folder(corpus: str, version: int) -> str:
    """Return the folder of a version's reports."""
    return f"corpora/{corpus}/reports/{version_name(version)}"


def corpora(store: Store) -> list[str]:
    """List the corpora that have a version."""
    return sorted({key.split("/")[1] for key in store.keys("corpora/") if key.split("/")[2:3] == ["manifests"]})


def versions(store: Store, corpus: str) -> list[int]:
    """List the published versions, ascending."""
    keys = store.keys(f"corpora/{corpus}/manifests/")
    found = {parse_version(key.rsplit("/", 1)[1].split(".")[0]) for key in keys}
    return sorted(version for version in found if version is not None)


def load_manifest(store: Store, corpus: str, version: int) -> Manifest:
    """Read a version's manifest, the highest revision; raises RecipeError when there is none."""
    stem = f"corpora/{corpus}/manifests/{version_name(version)}"
    revisions = [
        key
        for key in store.keys(f"corpora/{corpus}/manifests/")
        if key.startswith(f"{stem}.") and key.endswith(".json")
    ]
    if not revisions:
        known = ", ".join(version_name(number) for number in versions(store, corpus)) or "none"
        raise RecipeError(f"{corpus} has no version {version_name(version)} in {store.uri}; it has: {known}")
    newest = max(revisions, key=lambda key: (len(key), key))
    return read_manifest(store.get(newest), store.location(newest))


def resolve(store: Store, ref: str) -> Manifest:
    """Find the version that `corpus`, `corpus@tag` or `corpus@v0007` names; raises RecipeError saying what there is."""
    corpus, name = parse_ref(ref)
    numbers = versions(store, corpus)
    if not numbers:
        known = corpora(store)
        close = difflib.get_close_matches(corpus, known, n=1)
        hint = f"did you mean {close[0]}?" if close else f"it has: {', '.join(known) or 'no corpus yet'}"
        raise RecipeError(
            f"no corpus {corpus!r} in the store {store.uri}; {hint} (another store: --store, or store= in Python)"
        )
    version = parse_version(name)
    if version is None:
        entry = read_tag(store, corpus, name)
        if entry is None and name != "latest":
            known_tags = ", ".join(tags(store, corpus)) or "none"
            raise RecipeError(f"{corpus} has no tag {name!r}; tags: {known_tags}; versions: v0001 and so on")
        version = entry.version if entry else numbers[-1]
    return load_manifest(store, corpus, version)


def commit(store: Store, manifest: Manifest) -> None:
    """Publish: one create-only put; raises ConflictError when the number is taken.

    Before a corpus's first version: raises RecipeError when the store lets two runs take the same number.
    """
    if manifest.version == 1:
        # A name of its own: another run that probes the same key would remove it meanwhile.
        _check_creation(store, f"corpora/{manifest.corpus}/probes/{uuid4().hex}")
    key = f"corpora/{manifest.corpus}/manifests/{version_name(manifest.version)}.json"
    try:
        store.create(key, _pretty(manifest.model_dump(mode="json")))
    except ConflictError:
        raise ConflictError(f"{manifest.ref} was published by another run meanwhile") from None


def tags(store: Store, corpus: str) -> list[str]:
    """List the names of a corpus's tags."""
    return sorted({key.split("/")[3] for key in store.keys(f"corpora/{corpus}/tags/")})


def read_tag(store: Store, corpus: str, name: str) -> TagEntry | None:
    """Return the newest entry of a tag, None if it was never set."""
    return newest_tag(store, corpus, name)[1]


def newest_tag(store: Store, corpus: str, name: str) -> tuple[int, TagEntry | None]:
    """Return the number and the content of a tag's newest entry; 0 and None if it was never set."""
    keys = store.keys(f"corpora/{corpus}/tags/{name}/")
    if not keys:
        return 0, None
    number = int(keys[-1].rsplit("/", 1)[1].removesuffix(".json"))
    return number, TagEntry.model_validate_json(store.get(keys[-1]))


def move_tag(store: Store, corpus: str, name: str, entry: TagEntry, after: int | None = None) -> None:
    """Append an entry to a tag's series; raises ConflictError when somebody else moved it at the same moment.

    after: number of the entry that the decision to move rests on; None: whichever is the newest now.
    """
    number = 1 + (newest_tag(store, corpus, name)[0] if after is None else after)
    store.create(f"corpora/{corpus}/tags/{name}/{number:06d}.json", _pretty(entry.model_dump(mode="json")))


def write_state(store: Store, corpus: str, state: PoolState) -> FileRef:
    """Store a pool state under its content's hash."""
    content = state.model_dump_json().encode()
    sha256 = hashlib.sha256(content).hexdigest()
    key = f"corpora/{corpus}/pool/states/{sha256}.json"
    store.put(key, content)
    return FileRef(path=key, sha256=sha256, bytes=len(content), rows=len(state.entries))


def read_state(store: Store, corpus: str) -> PoolState:
    """Return the pool state of the highest version, the empty one when nothing is published."""
    numbers = versions(store, corpus)
    if not numbers:
        return PoolState()
    return PoolState.model_validate_json(store.get(load_manifest(store, corpus, numbers[-1]).pool.path))


def write_run(store: Store, end: RunEnd) -> None:
    """Keep how a run ended, and forget the runs before the last RUNS_KEPT, with ledgers that nothing names any more."""
    folder = f"corpora/{end.corpus}/runs/"
    store.put(f"{folder}{end.run_id}/run.json", _pretty(end.model_dump(mode="json", by_alias=True)))
    keys = store.keys(folder)
    forgotten, kept = keys[:-RUNS_KEPT], keys[-RUNS_KEPT:]
    if not forgotten:
        return
    lost = {file.path for key in forgotten for file in _run_end(store, key).ledger}
    lost -= {file.path for key in kept for file in _run_end(store, key).ledger}
    for number in versions(store, end.corpus) if lost else ():
        lost -= {file.path for file in load_manifest(store, end.corpus, number).ledger}
    for key in (*forgotten, *sorted(lost)):
        store.delete(key)


def newest_run(store: Store, corpus: str) -> RunEnd | None:
    """Return how the last run of a corpus ended, None where none is kept."""
    keys = store.keys(f"corpora/{corpus}/runs/")
    return _run_end(store, keys[-1]) if keys else None


def _run_end(store: Store, key: str) -> RunEnd:
    return RunEnd.model_validate_json(store.get(key))


def read_record(store: Store, kind: type[R], step: str, key: str) -> R | None:
    """Return the record of finished work if its files still stand with their sizes, else None. kind: the record's."""
    return read_records(store, kind, step, [key])[0]


def read_records(store: Store, kind: type[R], step: str, keys: Sequence[str]) -> list[R | None]:
    """Return the record of each piece of work, None where there is none or a file of it does not stand."""
    with ThreadPoolExecutor(_REQUESTS_AT_ONCE) as readers:
        records = list(readers.map(partial(_record, store, kind, step), keys))
    sizes = sizes_of(store, [file.path for record in records if record for file in record.files])
    return [
        record if record and all(sizes.get(file.path) == file.bytes for file in record.files) else None
        for record in records
    ]


def sizes_of(store: Store, paths: Sequence[str]) -> dict[str, int | None]:
    """Return the bytes under each of the paths, None where one is absent; many are looked up by listing their folders.

    paths: content-addressed, as folder/<aa>/<name>.
    """
    distinct = sorted(set(paths))
    if len(distinct) > _ASKED_ONE_BY_ONE:
        folders = {path.rsplit("/", 2)[0] for path in distinct}
        found = {path: size for folder in sorted(folders) for path, size in store.sizes(f"{folder}/").items()}
        return {path: found.get(path) for path in distinct}
    return {path: store.size(path) for path in distinct}


def _record(store: Store, kind: type[R], step: str, key: str) -> R | None:
    try:
        return kind.model_validate_json(store.get(f"work/{step}/{key}.json"))
    except (FileNotFoundError, ValueError):  # ValueError: another cuvee's form of a record, or a damaged one
        return None


def write_record(store: Store, record: StepRecord) -> None:
    """Store a record of finished work; its files stand already."""
    store.put(f"work/{record.step}/{record.key}.json", record.model_dump_json().encode())


def write_report(store: Store, corpus: str, version: int, name: str, content: bytes, rows: int = 0) -> FileRef:
    """Store one report of a version; the hash in its path keeps two runs that race for a number apart."""
    sha256 = hashlib.sha256(content).hexdigest()
    key = f"{reports_folder(corpus, version)}/{sha256[:12]}/{name}"
    store.put(key, content)
    return FileRef(path=key, sha256=sha256, bytes=len(content), rows=rows)


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


def _pretty(tree: object) -> bytes:
    return (json.dumps(tree, indent=1, ensure_ascii=False) + "\n").encode()
