"""The journal: every answer that was paid for, and every failure, kept for ever and reused by any run.

While a run asks, outcomes are appended to a local file, one JSON line each, and synced; a line without its line end was
cut off by a crash and counts as never written. When the run is over they go to the store as Parquet parts under their
content's hash, and the local file is emptied. Columns of both: JOURNAL_SCHEMA. A journal holds answers to many plans;
they are told apart by request key.
"""

import asyncio
import fcntl
import json
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from cuvee.schemas.errors import IntegrityError
from cuvee.storage.store import Store
from cuvee.storage.tables import write_table
from cuvee.tasks.generators._answer import CONTEXT_LENGTH

# At 400 answers a second one sync serves 20; a machine that loses power loses at most these.
SYNC_S = 0.05
# A run a night leaves one part; each is looked into by every run. Larger ones are left as they are.
MOST_SMALL_PARTS = 32
SMALL_BYTES = 64 << 20


@dataclass(frozen=True)
class Outcome:
    """How a request ended: with the body of an answer, or with a reason. Attempts and seconds stay out of every draft.

    body: of the last answer, as it came; what it says is read anew each time (`_answer.read`). text: of answers that
    were kept before bodies were. permanent: asking again would be no use or would be paid for twice. payer: the corpus
    and entry that sent it, for the draft of draft_key; tokens: of all its answers, also those that could not be read.
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
    body: str | None = None
    draft_key: str | None = None
    payer: str | None = None


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
        "body": pl.String(),
        "draft_key": pl.String(),
        "payer": pl.String(),
    }
)
# What says who paid for what.
PAID_SCHEMA = pl.Schema(
    {
        "request_key": pl.String(),
        "draft_key": pl.String(),
        "prompt_tokens": pl.Int64(),
        "completion_tokens": pl.Int64(),
        "answered": pl.Boolean(),
        "ended": pl.Boolean(),
    }
)


class Parts:
    """The outcomes of an endpoint that are in a store, in Parquet files below `place`."""

    def __init__(self, store: Store, place: str) -> None:
        self._store, self._place = store, place

    def read(self, keys: pl.Series) -> pl.DataFrame:
        """Return all outcomes of these request keys, JOURNAL_SCHEMA; several of one key are possible."""
        wanted = keys.unique().implode()
        while True:
            try:
                found = [self._matching(part, wanted) for part in self._keys()]
                return pl.concat([pl.DataFrame(schema=JOURNAL_SCHEMA), *found])
            except FileNotFoundError:  # another machine put parts together meanwhile: look again
                continue

    def add(self, outcomes: pl.DataFrame) -> None:
        """Write a part, and put small parts together when there are many; what stood stands until the new one does."""
        write_table(self._store, self._place, outcomes.sort("request_key").to_arrow(), level=3)
        small = [key for key in self._keys() if (self._store.size(key) or 0) < SMALL_BYTES]
        if len(small) <= MOST_SMALL_PARTS:
            return
        with suppress(FileNotFoundError):  # another machine puts them together at this moment
            together = best(pl.concat([self._matching(key, None) for key in small]))
            ref = write_table(self._store, self._place, together.sort("request_key").to_arrow(), level=3)
            for key in small:
                if key != ref.path:
                    self._store.delete(key)

    def _keys(self) -> list[str]:
        return [key for key in self._store.keys(f"{self._place}/") if key.endswith(".parquet")]

    def _matching(self, part: str, wanted: pl.Series | None) -> pl.DataFrame:
        found = [pl.DataFrame(schema=JOURNAL_SCHEMA)]
        try:
            with self._store.open(part) as file, pq.ParquetFile(file, page_checksum_verification=True) as parquet:
                for group in range(parquet.num_row_groups):
                    keys = pl.Series(parquet.read_row_group(group, columns=["request_key"])["request_key"])
                    if wanted is None or keys.is_in(wanted).any():
                        rows = pl.DataFrame(parquet.read_row_group(group))
                        rows = pl.concat([pl.DataFrame(schema=JOURNAL_SCHEMA), rows], how="diagonal_relaxed")
                        rows = rows.select(list(JOURNAL_SCHEMA)).cast(JOURNAL_SCHEMA)
                        found.append(rows if wanted is None else rows.filter(pl.col("request_key").is_in(wanted)))
        except FileNotFoundError:
            raise
        except (pa.ArrowException, OSError, pl.exceptions.PolarsError) as error:
            where = self._store.location(part)
            raise IntegrityError(f"{where} is damaged ({error}); restore it, or move it away to ask again") from error
        return pl.concat(found)


class Journal:
    """An open journal, held by one run at a time: a second one waits, and then finds the first one's answers.

    parts: what is in the store; without it the journal is the local file alone. payer: who pays for what is appended;
    counted: is given each of these.
    """

    def __init__(
        self,
        path: Path,
        parts: Parts | None = None,
        payer: str | None = None,
        counted: Callable[[Outcome], None] | None = None,
    ) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path, self._parts, self._payer, self._counted = path, parts, payer, counted
        if path.is_symlink() or path.parent.is_symlink() or (path.exists() and not path.is_file()):
            raise IntegrityError(f"{path} is no plain file of the store; remove it")  # a pipe has no end
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
        end = size = self._file.seek(0, os.SEEK_END)
        while end > 0:
            begin = max(0, end - 65_536)
            self._file.seek(begin)
            found = self._file.read(end - begin).rfind(b"\n")
            if found >= 0:
                end = begin + found + 1
                break
            end = begin
        if end < size:
            self._file.truncate(end)

    def append(self, outcome: Outcome) -> None:
        """Append one line. From here on it survives the end of the process; after `sync`, of the machine."""
        line = asdict(outcome) | {"payer": self._payer}
        self._file.write((json.dumps(line, ensure_ascii=False) + "\n").encode())
        self._file.flush()
        if self._counted:
            self._counted(outcome)

    def sync(self) -> None:
        """Return when every line is on the disk."""
        os.fsync(self._file.fileno())

    def read(self, keys: pl.Series) -> pl.DataFrame:
        """Return one outcome for each of these request keys that has any: the best, see `best`.

        Raises IntegrityError for a line that is not one of a journal, and for a part that is damaged.
        """
        local = self._lines().filter(pl.col("request_key").is_in(keys.unique().implode()))
        return best(pl.concat([self._parts.read(keys), local]) if self._parts else local)

    def put_away(self) -> None:
        """Move what the local file holds into the store, and empty it; a crash in between loses nothing."""
        lines = self._lines()
        if self._parts and lines.height:
            self._parts.add(best(lines))
            self._file.truncate(0)
            self.sync()

    def _lines(self) -> pl.DataFrame:
        if self._path.stat().st_size == 0:
            return pl.DataFrame(schema=JOURNAL_SCHEMA)
        try:
            return pl.read_ndjson(self._path, schema=JOURNAL_SCHEMA)
        except pl.exceptions.PolarsError as error:
            raise IntegrityError(f"{self._path}: a line is not of a journal ({error}); move the file away") from error


def best(outcomes: pl.DataFrame) -> pl.DataFrame:
    """Keep one outcome a request key: an answer with a text before one without, a permanent failure before another,
    then the latest.

    Of two answers the smaller body: two machines that both asked agree, in whatever order their parts are read. The
    tokens of the others are added to it: they were paid for too.
    """
    order = [
        pl.col("text").is_null(),
        ~pl.col("permanent"),
        pl.col("reason").is_not_null(),
        pl.col("text"),
        pl.col("body"),
        -pl.col("line").cast(pl.Int64),
    ]
    ordered = outcomes.unique(maintain_order=True).with_row_index("line").sort(order, nulls_last=True)
    best = ordered.unique("request_key", keep="first", maintain_order=True).drop("line")
    if best.height == ordered.height:
        return best
    counts = ("prompt_tokens", "completion_tokens")
    counted = [pl.col(name).drop_nulls().sum().alias(name) for name in counts]
    sums = ordered.filter(pl.any_horizontal(pl.col(counts).is_not_null())).group_by("request_key").agg(counted)
    return best.update(sums, on="request_key", how="left").select(list(JOURNAL_SCHEMA))


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


def answered(store: Store, place: str, keys: pl.Series) -> int:
    """Count the request keys that have an answer, or were refused for good, holding nothing and changing nothing."""
    path = _local_path(store, place)
    whole = path.read_bytes().rpartition(b"\n")[0] if path.exists() else b""
    lines = pl.read_ndjson(whole, schema=JOURNAL_SCHEMA) if whole else pl.DataFrame(schema=JOURNAL_SCHEMA)
    found = pl.concat([Parts(store, place).read(keys), lines.filter(pl.col("request_key").is_in(keys.implode()))])
    return found.filter(pl.col("text").is_not_null() | pl.col("permanent"))["request_key"].n_unique()


def _local_path(store: Store, place: str) -> Path:
    return store.scratch().parent / "journal" / f"{place.rpartition('/')[2]}.jsonl"


def paid(store: Store, payer: str) -> pl.DataFrame:
    """List what a payer had answered, at whatever endpoint and with whatever recipe, PAID_SCHEMA: one row a request.

    answered: whether it had an answer, of whatever worth; where it had not, nothing was paid that is known of. ended:
    whether it is never sent again.
    """
    found = [pl.DataFrame(schema=PAID_SCHEMA)]
    columns = ["request_key", "draft_key", "prompt_tokens", "completion_tokens", "permanent", "reason", "payer"]
    for part in [key for key in store.keys("generation/") if key.endswith(".parquet")]:
        with suppress(FileNotFoundError), store.open(part) as file, pq.ParquetFile(file) as parquet:
            if "payer" in parquet.schema_arrow.names:
                found.append(_of_payer(pl.DataFrame(parquet.read(columns=columns)), payer))
    folder = store.scratch().parent / "journal"
    for path in sorted(folder.glob("*.jsonl")) if folder.exists() else []:
        whole = path.read_bytes().rpartition(b"\n")[0]
        if whole:
            found.append(_of_payer(pl.read_ndjson(whole, schema=JOURNAL_SCHEMA), payer))
    tokens = [_sum(name) for name in ("prompt_tokens", "completion_tokens")]
    by_request = pl.concat(found).sort("request_key").group_by("request_key", maintain_order=True)
    return by_request.agg(pl.col("draft_key").first(), *tokens, pl.col("answered", "ended").any())


def _sum(name: str) -> pl.Expr:
    """Add up the tokens of a request's answers; null where one was not counted."""
    unknown = (pl.col("answered") & pl.col(name).is_null()).any()
    return pl.when(~unknown).then(pl.col(name).sum()).alias(name)


def _of_payer(lines: pl.DataFrame, payer: str) -> pl.DataFrame:
    """Return the lines of a payer as PAID_SCHEMA."""
    refused = pl.col("reason").str.starts_with("http_") | (pl.col("reason") == CONTEXT_LENGTH)
    answered = pl.col("permanent") & ~refused.fill_null(value=False)
    counted = pl.col("completion_tokens").is_not_null() | pl.col("prompt_tokens").is_not_null()
    return lines.filter(pl.col("payer") == payer).select(
        "request_key", "draft_key", "prompt_tokens", "completion_tokens", answered=answered | counted, ended="permanent"
    )


@contextmanager
def journal_of(
    store: Store, place: str, payer: str | None = None, counted: Callable[[Outcome], None] | None = None
) -> Iterator[Journal]:
    """Hold the journal of an endpoint; at the end, also after a fault, its new outcomes are moved into the store.

    place: the endpoint's folder in the store, such as generation/127.0.0.1_8123_v1. payer: who pays for new answers;
    counted: is given each of them.
    """
    with Journal(_local_path(store, place), Parts(store, place), payer, counted) as journal:
        try:
            yield journal
        finally:
            journal.put_away()
