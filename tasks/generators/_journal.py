"""The journal: every answer that was paid for, and every failure, one JSON line each, appended and synced.

Lines: JOURNAL_SCHEMA. A line without its line end was cut off by a crash and counts as never written.
One file may hold answers to many plans; they are told apart by request key.
"""

import asyncio
import fcntl
import hashlib
import json
import logging
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import polars as pl

from cuvee.schemas.errors import IntegrityError
from cuvee.storage.store import Store

# At 400 answers a second one sync serves 20; a machine that loses power loses at most these.
SYNC_S = 0.05


@dataclass(frozen=True)
class Outcome:
    """How a request ended: with a text, or with a reason. Attempts and seconds stay here, out of every draft.

    permanent: asking again would be no use or would be paid for twice; never true of an answer.
    """

    request_key: str
    text: str | None = None
    model_returned: str | None = None
    finish_reason: str | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    reason: str | None = None
    permanent: bool = False
    detail: str | None = None
    attempts: int = 1
    seconds: float = 0.0


JOURNAL_SCHEMA = pl.Schema(
    {
        "request_key": pl.String(),
        "text": pl.String(),
        "model_returned": pl.String(),
        "finish_reason": pl.String(),
        "prompt_tokens": pl.Int64(),
        "completion_tokens": pl.Int64(),
        "reason": pl.String(),
        "permanent": pl.Boolean(),
        "detail": pl.String(),
        "attempts": pl.Int64(),
        "seconds": pl.Float64(),
    }
)


class Journal:
    """An open journal, held by one run at a time: a second one waits, and then finds the first one's answers."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        self._file = path.open("a+b")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            logging.getLogger("cuvee.tasks").warning("%s: another run asks this endpoint; waiting for its end", path)
            fcntl.flock(self._file, fcntl.LOCK_EX)
        self._cut_torn_line()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def _cut_torn_line(self) -> None:
        """Cut the file after its last line end; what follows would spoil the next line appended."""
        end = self._file.seek(0, os.SEEK_END)
        while end > 0:
            begin = max(0, end - 65_536)
            self._file.seek(begin)
            found = self._file.read(end - begin).rfind(b"\n")
            if found >= 0:
                end = begin + found + 1
                break
            end = begin
        self._file.truncate(end)

    def append(self, outcome: Outcome) -> None:
        """Append one line. From here on it survives the end of the process; after `sync`, of the machine."""
        self._file.write((json.dumps(asdict(outcome), ensure_ascii=False) + "\n").encode())
        self._file.flush()

    def add(self, lines: Sequence[bytes]) -> None:
        """Append lines of other journals, without their line ends, unless they are here; return when on the disk."""
        self._file.seek(0)
        held = set(self._file.read().splitlines())
        self._file.write(b"".join(line + b"\n" for line in dict.fromkeys(lines) if line not in held))
        self._file.flush()
        self.sync()

    def sync(self) -> None:
        """Return when every line is on the disk."""
        os.fsync(self._file.fileno())

    def read(self, keys: pl.Series) -> pl.DataFrame:
        """Return one line for each of these request keys that has any: an answer before a failure, then the latest.

        Raises IntegrityError for a line that is not one of a journal.
        """
        if self._path.stat().st_size == 0:
            return pl.DataFrame(schema=JOURNAL_SCHEMA)
        try:
            lines = pl.scan_ndjson(self._path, schema=JOURNAL_SCHEMA)
            wanted = lines.join(keys.unique().to_frame("request_key").lazy(), on="request_key", how="semi")
            found = wanted.with_row_index("line").collect()
        except pl.exceptions.PolarsError as error:
            raise IntegrityError(f"{self._path}: a line is not of a journal ({error}); move the file away") from error
        return (
            found.sort(pl.col("text").is_null(), pl.col("line"), descending=[False, True])
            .unique("request_key", keep="first", maintain_order=True)
            .drop("line")
        )


class Writer:
    """Appends outcomes to a journal from an event loop, and syncs them in batches on another thread."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._arrived = asyncio.Event()
        self._closing = False

    async def __aenter__(self) -> Self:
        self._syncing = asyncio.create_task(self._sync())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing = True
        self._arrived.set()
        await self._syncing

    def keep(self, outcome: Outcome) -> None:
        """Append an outcome; it is synced within about SYNC_S. Raises the OSError that ended the syncing."""
        if self._syncing.done():
            self._syncing.result()
        self._journal.append(outcome)
        self._arrived.set()

    async def _sync(self) -> None:
        while not self._closing:
            await self._arrived.wait()
            if not self._closing:
                await asyncio.sleep(SYNC_S)
            self._arrived.clear()
            await asyncio.to_thread(self._journal.sync)


def fetch_journal(store: Store, place: str) -> tuple[Path, list[str]]:
    """Return the local journal of `place`, with all lines of the store's journals in it, and the keys of those."""
    path = store.scratch().parent / "journal" / f"{place.rpartition('/')[2]}.jsonl"
    kept = store.keys(f"{place}/")
    if kept:
        with Journal(path) as journal:
            journal.add([line for key in kept for line in store.get(key).splitlines()])
    return path, kept


def keep_journal(store: Store, place: str, path: Path, merged: Sequence[str]) -> None:
    """Put the local journal into the store, under its content's hash, instead of those that it holds whole.

    merged: their keys. Of two machines that ask one endpoint at a time each leaves a journal, and the next run puts
    them together.
    """
    content = path.read_bytes() if path.exists() else b""
    if not content:
        return
    key = f"{place}/{hashlib.sha256(content).hexdigest()}.jsonl"
    if key not in merged:
        store.put(key, content)
    for old in merged:
        if old != key:
            store.delete(old)
