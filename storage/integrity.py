"""Integrity: what is wrong with a published version, if anything."""

from collections.abc import Iterator

import polars as pl
import pyarrow as pa

from cuvee.schemas.amounts import count, count_unknown, counted_columns, totals
from cuvee.schemas.document import PUBLISHED
from cuvee.schemas.errors import IntegrityError
from cuvee.schemas.manifest import DataFile, Manifest, Proof
from cuvee.schemas.records import FileRef
from cuvee.storage.corpus import sizes_of, state_of
from cuvee.storage.store import Store
from cuvee.storage.tables import read_table
from cuvee.storage.trust import changed


def faults(store: Store, manifest: Manifest) -> Iterator[str]:
    """Yield one line for each fault of a version; a whole version yields none.

    Published files, reports, the ledger and the pool state are read whole and hashed, and the amounts of each file are
    counted again from its columns. Totals and splits are added up from the manifest's files. The pool's files are not
    hashed, only looked for with their recorded sizes: they hold every row ever ingested, and readers do without them.
    """
    for ref in [*manifest.files, *manifest.reports, *manifest.ledger]:
        fault = changed(store, ref)
        if fault:
            yield fault
        elif isinstance(ref, DataFile):
            yield from _miscounts(store, ref, manifest.mixture)
    yield from _wrong_sums(manifest)
    fault = changed(store, manifest.pool)
    if fault:
        yield fault
    else:
        yield from _pool_faults(store, manifest)


def pool_files(store: Store, manifest: Manifest) -> list[FileRef]:
    """Return the files that the version's pool state names, each once; raises IntegrityError as `state_of` does."""
    entries = state_of(store, manifest).entries
    return list({file.path: file for entry in entries for file in entry.record.files}.values())


def _miscounts(store: Store, file: DataFile, proof: Proof) -> Iterator[str]:
    """Recount documents and amounts from a file's own columns."""
    columns = pa.schema([PUBLISHED.field(name) for name in counted_columns(proof.unit, proof.unknown_as)])
    try:
        published = pl.DataFrame(read_table(store, file, columns.names).cast(columns))
    except (IntegrityError, pa.ArrowException) as error:
        yield str(error)
        return
    fault = miscount(published, file, proof, store.location(file.path))
    if fault:
        yield fault


def miscount(published: pl.DataFrame, file: DataFile, proof: Proof, place: str) -> str | None:
    """Say what rows of a data file hold, if it is not what the manifest says; place: of the file, in the message.

    published: the columns of `counted_columns`; proof: the version's.
    """
    counted = count(published, proof.unit)
    if counted != file.amounts or published.height != file.rows:
        return f"{place} holds {counted} in {published.height} rows, the manifest says {file.amounts} in {file.rows}"
    human = count_unknown(published, proof.unit, proof.unknown_as)
    if human == file.human_of_unknown:
        return None
    return f"{place} holds unknown text of {human} millionths human, the manifest says {file.human_of_unknown}"


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
    try:
        files = pool_files(store, manifest)
    except IntegrityError as error:
        yield str(error)
        return
    sizes = sizes_of(store, [file.path for file in files])
    for file in files:
        size = sizes[file.path]
        place = store.location(file.path)
        if size is None:
            yield f"{place} is missing; readers do without it, the next run of {manifest.corpus} does not"
        elif size != file.bytes:
            yield f"{place} has {size} bytes, the pool recorded {file.bytes}"
