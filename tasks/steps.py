"""Steps: every piece of work is named by what decides its output, done once, and found again by that name."""

import logging
import shutil
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import TypeVar

import polars as pl

from cuvee.schemas.records import FileRef, PoolState, Run, StepRecord
from cuvee.schemas.tables import AMOUNTS, CONCLUDED, DECLARED, VERDICTS, DecidedPart, DecidedRef, KeptRef, PlannedRef
from cuvee.storage.corpus import corpus_folder, read_record, write_record
from cuvee.storage.store import Store
from cuvee.storage.tables import read_table, write_table
from cuvee.tasks.pool import declared

STALE_S = 24 * 3600
STALE_DAYS = 7
TABLES = "work/tables"

R = TypeVar("R", bound=StepRecord)


def once(run: Run, store: Store, kind: type[R], step: str, key: str, build: Callable[[], R]) -> R:
    """Return the record of this work, doing it only where no record verifies.

    build: writes the output files and returns the record; it may be interrupted anywhere and started again.
    """
    record = read_record(store, kind, step, key, corpus_folder(run.corpus))
    if record is None:
        record = build()
        write_record(store, record)
    return record


def folder_of(run: Run) -> str:
    """Return the folder of what tasks of the run hand on; `clear` removes it."""
    return f"{TABLES}/{run.run_id}"


def save(run: Run, store: Store, frame: pl.DataFrame, schema: pl.Schema) -> FileRef:
    """Put a thin table where other tasks of the run can read it."""
    return write_table(store, folder_of(run), declared(frame, schema).to_arrow())


def load(store: Store, ref: FileRef, columns: Sequence[str] | None = None) -> pl.DataFrame:
    """Read a thin table that another task of the run saved, or some of its columns: memory is what is read."""
    return pl.DataFrame(read_table(store, ref, columns))


def load_part(store: Store, part: DecidedPart, columns: Iterable[str]) -> pl.DataFrame:
    """Read columns of a partition of the decided table, whichever part they stand in.

    Raises ValueError for a column that none declares.
    """
    wanted = list(dict.fromkeys(columns))
    parts: list[tuple[FileRef, pl.Schema]] = [(part.declared, DECLARED), (part.concluded, CONCLUDED)]
    parts += [(part.verdicts, VERDICTS), (part.amounts, AMOUNTS)]
    found = [(ref, [name for name in wanted if name in schema]) for ref, schema in parts]
    missing = set(wanted).difference(*(names for _, names in found))
    if missing:
        raise ValueError(f"the decided table declares no column {', '.join(sorted(missing))}")
    return pl.concat([load(store, ref, names) for ref, names in found if names], how="horizontal").select(wanted)


def load_decided(
    store: Store, decided: DecidedRef, columns: Iterable[str], where: pl.Expr | bool = True
) -> pl.DataFrame:
    """Read columns of the rows of the decided table of which an expression over these columns holds, by default of all.

    Memory: these rows, and all rows of one partition. Raises ValueError as `load_part`.
    """
    wanted = list(columns)
    return pl.concat([load_part(store, part, wanted).filter(where) for part in decided.partitions])


def load_published(store: Store, planned: PlannedRef, decided: DecidedRef, columns: Iterable[str]) -> pl.DataFrame:
    """Read what the mixture publishes, in sampling order, with columns of the decided table beside it.

    Memory: the rows that are published, and those of one partition.
    """
    parts = zip(decided.partitions, planned.kept, strict=True)
    # Partitions are in the order of doc_ids, and so are documents of one priority.
    return pl.concat(part_published(store, *one, columns) for one in parts).sort("priority", maintain_order=True)


def part_published(store: Store, part: DecidedPart, kept: KeptRef, columns: Iterable[str]) -> pl.DataFrame:
    """Read what is published of a partition, in sampling order: PLANNED, with columns of the decided table."""
    where = ["shard", "position"]
    return look_up(load(store, kept), where, load_part(store, part, [*where, *columns]))


def clear(run: Run, store: Store) -> None:
    """Remove the tables that the run's tasks handed on; a run that was killed leaves them to `sweep`."""
    for key in store.keys(f"{TABLES}/{run.run_id}/"):
        store.delete(key)


def look_up(rows: pl.DataFrame, on: Sequence[str], table: pl.DataFrame) -> pl.DataFrame:
    """Add to each row what a table says of its key, null where it says nothing; each key is in the table once at most.

    A left join would give the same, and copy every column of the rows on the way.
    """
    found = rows.select(on).join(table, on=on, how="left", nulls_equal=True, maintain_order="left").drop(on)
    return rows.hstack(found)


def progress(step: str, done: int, total: int, note: str = "") -> None:
    """Tell whoever listens to the logger `cuvee.progress` how far a step is; note: its pace, where it has one."""
    logging.getLogger("cuvee.progress").info(
        "%s %d of %d", step, done, total, extra={"step": step, "done": done, "total": total, "note": note}
    )


def sweep(store: Store) -> None:
    """Remove what killed runs left: files under construction a day after they last touched them, tables by the day on
    which the run began, a week after it.
    """
    oldest = f"{datetime.now(UTC) - timedelta(days=STALE_DAYS):%Y%m%d}"
    for key in store.keys(f"{TABLES}/"):
        began = key.removeprefix(f"{TABLES}/")[:8]
        if began.isdigit() and began < oldest:
            store.delete(key)
    for path in store.scratch().iterdir():
        with suppress(FileNotFoundError):  # another run has finished with it, or sweeps too
            if time.time() - path.stat().st_mtime > STALE_S:
                is_folder = path.is_dir() and not path.is_symlink()
                shutil.rmtree(path) if is_folder else path.unlink(missing_ok=True)


def restore(store: Store, state: PoolState) -> None:
    """Write back the records of a pool whose work folder was deleted, so that its steps are found as done."""
    present = set(store.keys("work/"))
    for entry in state.entries:
        if f"work/{entry.record.step}/{entry.record.key}.json" not in present:
            write_record(store, entry.record)
