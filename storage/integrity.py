"""Integrity: what is wrong with a published version, if anything."""

import hashlib
from collections.abc import Iterator

import polars as pl

from cuvee.schemas.amounts import count, counted_columns, totals
from cuvee.schemas.manifest import DataFile, Manifest
from cuvee.schemas.records import FileRef, PoolState
from cuvee.storage.corpus import sizes_of
from cuvee.storage.store import Store
from cuvee.storage.tables import read_table


def faults(store: Store, manifest: Manifest) -> Iterator[str]:
    """Yield one line for each fault of a version; a whole version yields none.

    Published files, reports, the ledger and the pool state are read whole and hashed, and the amounts of each file are
    counted again from its columns. Totals and splits are added up from the manifest's files. The pool's files are not
    hashed, only looked for with their recorded sizes: they hold every row ever ingested, and readers do without them.
    """
    for ref in [*manifest.files, *manifest.reports, *manifest.ledger]:
        fault = _changed(store, ref)
        if fault:
            yield fault
        elif isinstance(ref, DataFile):
            yield from _miscounts(store, ref, manifest.mixture.unit)
    yield from _wrong_sums(manifest)
    fault = _changed(store, manifest.pool)
    if fault:
        yield fault
    else:
        yield from _pool_faults(store, manifest)


def pool_files(store: Store, manifest: Manifest) -> list[FileRef]:
    """Return the files that the version's pool state names, each once; raises FileNotFoundError without the state."""
    state = PoolState.model_validate_json(store.get(manifest.pool.path))
    return list({file.path: file for entry in state.entries for file in entry.record.files}.values())


def _changed(store: Store, ref: FileRef) -> str | None:
    place = store.location(ref.path)
    try:
        with store.open(ref.path) as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]
    except FileNotFoundError:
        return f"{place} is missing"
    if digest != ref.sha256:
        return f"{place} has changed: its SHA-256 is {digest[:12]}…, published was {ref.sha256[:12]}…"
    return None


def _miscounts(store: Store, file: DataFile, unit: str) -> Iterator[str]:
    """Recount documents and amounts from a file's own columns."""
    published = pl.DataFrame(read_table(store, file, counted_columns(unit)))
    counted = count(published, unit)
    if counted != file.amounts or published.height != file.rows:
        place = store.location(file.path)
        yield f"{place} holds {counted} in {published.height} rows, the manifest says {file.amounts} in {file.rows}"


def _wrong_sums(manifest: Manifest) -> Iterator[str]:
    recorded = {"totals": (manifest.totals, manifest.files)}
    for name in sorted({"train", "validation", *manifest.splits}):
        own = tuple(file for file in manifest.files if file.split == name)
        recorded[f"splits.{name}"] = (manifest.splits.get(name, totals((), "exclude")), own)
    for name, (said, files) in recorded.items():
        added = totals(files, manifest.mixture.unknown_as)
        for figure, value in added.model_dump().items():
            if value != getattr(said, figure):
                yield f"{name}.{figure}: the manifest says {getattr(said, figure)}, its files add up to {value}"


def _pool_faults(store: Store, manifest: Manifest) -> Iterator[str]:
    files = pool_files(store, manifest)
    sizes = sizes_of(store, [file.path for file in files])
    for file in files:
        size = sizes[file.path]
        place = store.location(file.path)
        if size is None:
            yield f"{place} is missing; readers do without it, the next run of {manifest.corpus} does not"
        elif size != file.bytes:
            yield f"{place} has {size} bytes, the pool recorded {file.bytes}"
