"""A published corpus in the store: manifests, tags, and the commit.

corpora/<corpus>/manifests/v0007.json      the commit: one create-only put, written last
corpora/<corpus>/tags/<name>/000012.json   a create-only series, the highest wins
corpora/<corpus>/data/<aa>/<sha256>.parquet
corpora/<corpus>/reports/v0007/…
corpora/<corpus>/ledger/<aa>/<sha256>.parquet shared by runs and versions
corpora/<corpus>/runs/<run id>/run.json       how one of the last 30 runs ended, and its ledger
corpora/<corpus>/pool/<step>/<aa>/<sha256>.parquet
corpora/<corpus>/events/<receiver>.json       how far a receiver was told what happened
corpora/<corpus>/probes/<random>              made and removed when a run begins
work/<step>/<key>.json
"""

import difflib
import hashlib
import json
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

from cuvee.schemas.errors import ConflictError, IntegrityError, RecipeError
from cuvee.schemas.manifest import (
    MOST_MOVES,
    MOST_VERSIONS,
    Manifest,
    TagEntry,
    manifest_version,
    parse_ref,
    parse_version,
    version_name,
)
from cuvee.schemas.recipe import canonical_sha256
from cuvee.schemas.records import FileRef, KeptRecord, PoolState, StepRecord
from cuvee.schemas.report import RunEnd
from cuvee.storage.store import Store
from cuvee.storage.trust import (
    RESTORE,
    check_paths,
    parse_json,
    parse_manifest,
    read_bounded,
    read_json,
    read_json_of,
)

R = TypeVar("R", bound=StepRecord)

_CORPUS = re.compile("[A-Za-z0-9][A-Za-z0-9_-]*")
_TAG_ENTRY = re.compile("([A-Za-z0-9][A-Za-z0-9_-]{0,62})/([0-9]{6,18})[.]json")
_RUN_END = re.compile("[^/]+/run[.]json")

# Runs whose ends are kept: a month of nights.
RUNS_KEPT = 30
# Requests wait for answers; more at a time than this gain little against one server.
_REQUESTS_AT_ONCE = 16
# Up to so many files are asked for by name; a listing costs a request a thousand files of the whole folder.
_ASKED_ONE_BY_ONE = 4


def corpus_folder(corpus: str) -> str:
    """Return the folder of all that is one corpus's own, with its slash."""
    return f"corpora/{corpus}/"


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
    parts = (key.split("/") for key in store.keys("corpora/"))
    named = {part[1] for part in parts if part[2:3] == ["manifests"] and len(part) == 4 and manifest_version(part[3])}
    return sorted(name for name in named if _CORPUS.fullmatch(name))


def versions(store: Store, corpus: str) -> list[int]:
    """List the published versions, ascending."""
    return sorted({version for version, _ in _manifests(store, corpus)})


def load_manifest(store: Store, corpus: str, version: int) -> Manifest:
    """Read a version's manifest, the highest revision.

    Raises RecipeError when there is none; IntegrityError for one that is damaged, of another corpus or version than its
    place says, or that names a file outside the folders of its corpus.
    """
    revisions = {found: key for found, key in _manifests(store, corpus).items() if found[0] == version}
    if not revisions:
        known = ", ".join(version_name(number) for number in versions(store, corpus)) or "none"
        raise RecipeError(f"{corpus} has no version {version_name(version)} in {store.uri}; it has: {known}")
    newest = revisions[max(revisions)]
    where = store.location(newest)
    manifest = parse_manifest(read_bounded(store, newest), where)
    if (manifest.corpus, manifest.version) != (corpus, version):
        raise IntegrityError(f"{where}: it is the manifest of {manifest.ref}; {RESTORE}, or read another version")
    check_paths(manifest.files, f"{data_folder(corpus)}/", where)
    check_paths(manifest.reports, f"corpora/{corpus}/reports/", where)
    check_paths(manifest.ledger, f"{ledger_folder(corpus)}/", where)
    check_paths([manifest.pool], f"{pool_folder(corpus, 'states')}/", where)
    if len({file.path for file in manifest.files}) < len(manifest.files):
        raise IntegrityError(f"{where}: it names a published file twice; {RESTORE}, or read another version")
    return manifest


def manifest_sha256(store: Store, manifest: Manifest) -> str:
    """Return the SHA-256 of the stored file that a manifest was read from; raises IntegrityError when it is gone."""
    found = _manifests(store, manifest.corpus)
    for key in [key for (version, _), key in sorted(found.items(), reverse=True) if version == manifest.version]:
        content = read_bounded(store, key)
        if parse_manifest(content, store.location(key)) == manifest:
            return hashlib.sha256(content).hexdigest()
    raise IntegrityError(f"{manifest.ref}: its manifest was replaced meanwhile; open the version again")


def resolve(store: Store, ref: str) -> Manifest:
    """Find the version that `corpus`, `corpus@tag` or `corpus@v0007` names; raises RecipeError saying what there is.

    Raises IntegrityError where a tag names a version that is not there, and as `load_manifest` does.
    """
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
    if version is not None:
        return load_manifest(store, corpus, version)
    entry = read_tag(store, corpus, name)
    if entry is None and name != "latest":
        known_tags = ", ".join(tags(store, corpus)) or "none"
        raise RecipeError(f"{corpus} has no tag {name!r}; tags: {known_tags}; versions: v0001 and so on")
    if entry is None:
        return load_manifest(store, corpus, numbers[-1])
    check_tagged(store, corpus, name, entry)
    return load_manifest(store, corpus, entry.version)


def check_tagged(store: Store, corpus: str, name: str, entry: TagEntry) -> None:
    """Raise IntegrityError, with the remedy, where the version that a tag names has no manifest."""
    numbers = versions(store, corpus)
    if entry.version not in numbers:
        key = manifest_key(corpus, entry.version)
        instead = f", or give that version up: cuvee tag {corpus}@{version_name(numbers[-1])} {name}" if numbers else ""
        raise IntegrityError(
            f"{corpus}@{name} is {version_name(entry.version)}, whose manifest {store.location(key)} is missing; "
            f"{RESTORE}{instead}"
        )


def _manifests(store: Store, corpus: str) -> dict[tuple[int, int], str]:
    """Return the keys of a corpus's manifests by version and revision, 0 for none; other files are passed over."""
    folder = f"corpora/{corpus}/manifests/"
    named = ((manifest_version(key.removeprefix(folder)), key) for key in store.keys(folder))
    return {found: key for found, key in named if found is not None}


def manifest_key(corpus: str, version: int) -> str:
    """Return the key of a version's first manifest."""
    return f"corpora/{corpus}/manifests/{version_name(version)}.json"


def commit(store: Store, manifest: Manifest) -> None:
    """Publish: one create-only put; raises ConflictError when the number is taken."""
    key = manifest_key(manifest.corpus, manifest.version)
    try:
        store.create(key, _pretty(manifest.model_dump(mode="json")))
    except ConflictError:
        raise ConflictError(f"{manifest.ref} was published by another run meanwhile") from None


def tags(store: Store, corpus: str) -> list[str]:
    """List the names of a corpus's tags."""
    return sorted(moves(store, corpus))


def moves(store: Store, corpus: str) -> dict[str, list[int]]:
    """Return the numbers of each tag's entries, ascending."""
    folder = f"corpora/{corpus}/tags/"
    found: dict[str, list[int]] = {}
    for key in store.keys(folder):
        if entry := _TAG_ENTRY.fullmatch(key.removeprefix(folder)):
            found.setdefault(entry[1], []).append(int(entry[2]))
    return {tag: sorted(numbers) for tag, numbers in found.items()}


def read_move(store: Store, corpus: str, name: str, number: int) -> TagEntry:
    """Return one entry of a tag; raises IntegrityError where it is damaged or not there."""
    return read_json(store, _tag_key(corpus, name, number), TagEntry)


def read_tag(store: Store, corpus: str, name: str) -> TagEntry | None:
    """Return the newest entry of a tag, None if it was never set."""
    return newest_tag(store, corpus, name)[1]


def newest_tag(store: Store, corpus: str, name: str) -> tuple[int, TagEntry | None]:
    """Return the number and the content of a tag's newest entry; 0 and None if it was never set.

    Raises IntegrityError for an entry that is damaged.
    """
    folder = f"corpora/{corpus}/tags/"
    found = ((_TAG_ENTRY.fullmatch(key.removeprefix(folder)), key) for key in store.keys(f"{folder}{name}/"))
    entries = {int(entry[2]): key for entry, key in found if entry}
    if not entries:
        return 0, None
    return max(entries), read_json(store, entries[max(entries)], TagEntry)


def move_tag(store: Store, corpus: str, name: str, entry: TagEntry, after: int | None = None) -> None:
    """Append an entry to a tag's series; raises ConflictError when somebody else moved it at the same moment.

    after: number of the entry that the decision to move rests on; None: whichever is the newest now.
    """
    number = 1 + (newest_tag(store, corpus, name)[0] if after is None else after)
    if number > MOST_MOVES:  # a higher one would be no entry
        last = store.location(_tag_key(corpus, name, number - 1))
        raise IntegrityError(f"{last}: no tag was moved so often; remove it, or {RESTORE}")
    store.create(_tag_key(corpus, name, number), _pretty(entry.model_dump(mode="json")))


def _tag_key(corpus: str, name: str, number: int) -> str:
    return f"corpora/{corpus}/tags/{name}/{number:06d}.json"


def write_state(store: Store, corpus: str, state: PoolState) -> FileRef:
    """Store a pool state under its content's hash."""
    content = state.model_dump_json().encode()
    sha256 = hashlib.sha256(content).hexdigest()
    key = f"corpora/{corpus}/pool/states/{sha256}.json"
    store.put(key, content)
    return FileRef(path=key, sha256=sha256, bytes=len(content), rows=len(state.entries))


def read_state(store: Store, corpus: str) -> PoolState:
    """Return the pool state of the highest version, the empty one when nothing is published.

    Raises IntegrityError as `load_manifest` and `state_of` do, and where no version can come after that one.
    """
    numbers = versions(store, corpus)
    if numbers and numbers[-1] >= MOST_VERSIONS:
        place = store.location(manifest_key(corpus, numbers[-1]))
        raise IntegrityError(f"{place}: nobody published so many versions; remove it, or {RESTORE}")
    return state_of(store, load_manifest(store, corpus, numbers[-1])) if numbers else PoolState()


def state_of(store: Store, manifest: Manifest) -> PoolState:
    """Return the pool state of a version.

    Raises IntegrityError when it is missing, has changed, is of another version, or names a file outside the corpus's
    pool.
    """
    where = store.location(manifest.pool.path)
    state = read_json_of(store, manifest.pool, PoolState)
    if state.number != manifest.version:
        raise IntegrityError(f"{where}: it is the pool state of {version_name(state.number)}; {RESTORE}")
    files = (file for entry in state.entries for file in entry.record.files)
    check_paths(files, f"corpora/{manifest.corpus}/pool/", where)
    return state


def write_run(store: Store, end: RunEnd) -> None:
    """Keep how a run ended, and forget the runs before the last RUNS_KEPT, with ledgers that nothing names any more."""
    store.put(f"corpora/{end.corpus}/runs/{end.run_id}/run.json", _pretty(end.model_dump(mode="json", by_alias=True)))
    keys = _run_ends(store, end.corpus)
    forgotten, kept = keys[:-RUNS_KEPT], keys[-RUNS_KEPT:]
    if not forgotten:
        return
    lost = {path for key in forgotten for path in _ledger_of(store, end.corpus, key)}
    lost -= {path for key in kept for path in _ledger_of(store, end.corpus, key)}
    for number in versions(store, end.corpus) if lost else ():
        lost -= {file.path for file in load_manifest(store, end.corpus, number).ledger}
    for key in (*forgotten, *sorted(lost)):
        store.delete(key)


def newest_run(store: Store, corpus: str) -> RunEnd | None:
    """Return how the last run of a corpus ended, None where none is kept; raises IntegrityError for a damaged one."""
    keys = _run_ends(store, corpus)
    return _run_end(store, corpus, keys[-1]) if keys else None


def _run_ends(store: Store, corpus: str) -> list[str]:
    folder = f"corpora/{corpus}/runs/"
    return [key for key in store.keys(folder) if _RUN_END.fullmatch(key.removeprefix(folder))]


def _run_end(store: Store, corpus: str, key: str) -> RunEnd:
    where = store.location(key)
    end = read_json(store, key, RunEnd)
    if (end.corpus, end.run_id) != (corpus, key.split("/")[-2]):
        raise IntegrityError(f"{where}: it is the end of the run {end.run_id} of {end.corpus}; {RESTORE}")
    check_paths(end.ledger, f"{ledger_folder(corpus)}/", where)
    return end


def _ledger_of(store: Store, corpus: str, key: str) -> list[str]:
    """Return the paths of a run's ledger, none where its end cannot be read: then its files stay."""
    try:
        return [file.path for file in _run_end(store, corpus, key).ledger]
    except IntegrityError:
        return []


def read_record(store: Store, kind: type[R], step: str, key: str, below: str = "") -> R | None:
    """Return the record of finished work if its files still stand with their sizes, else None. kind: the record's."""
    return read_records(store, kind, step, [key], below)[0]


def read_records(store: Store, kind: type[R], step: str, keys: Sequence[str], below: str = "") -> list[R | None]:
    """Return the record of each piece of work, None where there is none or a file of it does not stand.

    below: the folder, with its slash, in which all files of such records lie; one that names another is none.
    """
    with ThreadPoolExecutor(_REQUESTS_AT_ONCE) as readers:
        records = list(readers.map(partial(_record, store, kind, step, below), keys))
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


def _record(store: Store, kind: type[R], step: str, below: str, key: str) -> R | None:
    where = f"work/{step}/{key}.json"
    try:
        kept = read_json(store, where, KeptRecord)
        # In the order in which it was written: a resumed run gives the same bytes as one that was not interrupted.
        record = parse_json(_pretty(kept.record), kind, where)
        check_paths(record.files, below, where)
    except IntegrityError:  # none, another cuvee's form of a record, a damaged or a forged one
        return None
    is_whole = canonical_sha256(kept.record) == kept.sha256
    return record if is_whole and (record.step, record.key) == (step, key) else None


def write_record(store: Store, record: StepRecord) -> None:
    """Store a record of finished work with its hash, as nothing else tells that it changed; its files stand already."""
    tree = record.model_dump(mode="json")
    kept = KeptRecord(sha256=canonical_sha256(tree), record=tree)
    store.put(f"work/{record.step}/{record.key}.json", kept.model_dump_json().encode())


def write_report(store: Store, corpus: str, version: int, name: str, content: bytes, rows: int = 0) -> FileRef:
    """Store one report of a version; the hash in its path keeps two runs that race for a number apart."""
    sha256 = hashlib.sha256(content).hexdigest()
    key = f"{reports_folder(corpus, version)}/{sha256[:12]}/{name}"
    store.put(key, content)
    return FileRef(path=key, sha256=sha256, bytes=len(content), rows=rows)


def _pretty(tree: object) -> bytes:
    return (json.dumps(tree, indent=1, ensure_ascii=False) + "\n").encode()
