"""Download: fetch one file from the web or from S3, once, whole, within limits, going on after interruptions."""

import fcntl
import hashlib
import os
import random
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from io import BufferedRandom
from pathlib import Path
from typing import Literal, NamedTuple

from cuvee.schemas.address import is_bucket, shown
from cuvee.schemas.errors import InputError, RetryableError
from cuvee.schemas.recipe import Fetch
from cuvee.storage.remote import Answer, ask_bucket, ask_web
from cuvee.storage.web import PassingError

MB = 10**6
PIECE_BYTES = 2**18
# Attempts in a row that bring no byte: with the pauses between them half a minute, as long as a restart takes.
MOST_ATTEMPTS = 6
FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 30.0

# The SHA-256 and the bytes of the copy of a content, by its validator.
Held = Callable[[str], tuple[str, int] | None]


class Fetched(NamedTuple):
    """A file that was fetched. path: where it lies, None where a copy stood already."""

    validator: str
    media_type: str
    sha256: str
    bytes: int
    path: Path | None


@contextmanager
def download(
    uri: str,
    limits: Fetch,
    scratch: Path,
    known: str = "",
    listed: str = "",
    held: Held = lambda validator: None,
    over: threading.Event | None = None,
) -> Iterator[Fetched | Literal["unchanged", "gone"]]:
    """Fetch a file into the folder `scratch`, going on where this or an earlier process was interrupted.

    The file belongs to the block, which moves it away; what it leaves is found again by the next attempt.

    known: validator of the content that is known; a file that still has it is "unchanged". listed: the validator that
    a listing gave. held: tells SHA-256 and bytes of a copy that stands already, by validator.
    over: when it is set, the download stops.
    Raises InputError past the size; RetryableError when the time is over, the server is down, or the file is no
    longer as listed; RecipeError for what waiting does not mend.
    """
    with _Download(uri, limits, scratch, known, listed, held, over or threading.Event()) as running:
        yield running.run()


class _Download:
    """One file on its way: what there is of it, and how long it may still take."""

    def __init__(
        self, uri: str, limits: Fetch, scratch: Path, known: str, listed: str, held: Held, over: threading.Event
    ) -> None:
        self.uri, self.limits, self.scratch = uri, limits, scratch
        self.known, self.listed, self.held, self.over = known, listed, held, over
        self.deadline = time.monotonic() + limits.timeout_s
        self.attempts, self.most_bytes = 0, 0

    def __enter__(self) -> "_Download":
        self.part = _Part(self.scratch, self.uri, "")
        return self

    def __exit__(self, *_: object) -> None:
        self.part.close()

    def run(self) -> Fetched | Literal["unchanged", "gone"]:
        while True:
            try:
                done = self._attempt()
            except PassingError as fault:
                self._pause(fault)
            else:
                if done is not None:
                    return done

    def _attempt(self) -> Fetched | Literal["unchanged", "gone"] | None:
        """Ask once, and read what comes; None when it is to be asked again, for another part."""
        if not self.part.validator:
            self.part.empty()
        start = self.part.bytes
        with self._ask(start) as answer:
            # The rest of a file may come without its validator: If-Range has seen to it.
            same = answer.validator == self.part.validator or (start and not answer.validator)
            if answer.status == "bytes" and answer.start == start and same:
                return self._receive(answer)
            if start:  # another content, or a server that cannot go on in the middle
                self.part.empty()
                return None
            if answer.status in ("unchanged", "gone"):
                return "unchanged" if answer.status == "unchanged" else "gone"
            if answer.status == "past" or answer.start:
                raise PassingError(f"{shown(self.uri)} sends another part than was asked for")
            if self.listed not in ("", answer.validator):
                raise RetryableError(f"{shown(self.uri)} changed after it was listed; run again when it is written")
            copy = self.held(answer.validator)
            if copy:
                return Fetched(answer.validator, answer.media_type, *copy, None)
            self.part.close()
            self.part = _Part(self.scratch, self.uri, answer.validator)
            is_begun = self.part.bytes not in (0, answer.size)
            return None if is_begun else self._receive(answer)

    def _receive(self, answer: Answer) -> Fetched:
        limit = self.limits.max_mb * MB
        size = answer.size or 0
        while max(size, self.part.bytes) <= limit:
            piece = answer.read(PIECE_BYTES) if self.part.bytes != answer.size else b""
            if piece:
                self.part.write(piece)
            elif answer.size in (None, self.part.bytes):
                return self.part.finish(answer.media_type)
            if not piece or time.monotonic() > self.deadline or self.over.is_set():
                raise PassingError(f"{shown(self.uri)} breaks off before its end")
        self.part.empty()
        told = f"has {size / MB:,.1f} MB" if size else "goes on"
        raise InputError(
            f"{shown(self.uri)} {told}, past the limit of {self.limits.max_mb:,} MB; nothing is published; "
            "raise fetch.max_mb of the source, or leave the file out"
        )

    def _ask(self, start: int) -> AbstractContextManager[Answer]:
        if is_bucket(self.uri):
            return ask_bucket(self.uri, start)
        seconds = self.deadline - time.monotonic()
        return ask_web(self.uri, self.known, start, self.part.validator, seconds, self.limits.private_addresses)

    def _pause(self, fault: PassingError) -> None:
        """Wait before the next attempt; raises RetryableError when there is to be none."""
        self.attempts = 1 if self.part.bytes > self.most_bytes else self.attempts + 1
        self.most_bytes = max(self.most_bytes, self.part.bytes)
        longest = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2 ** (self.attempts - 1))
        pause = fault.wait_s if fault.wait_s is not None else random.uniform(0.5, 1.0) * longest
        left = self.deadline - time.monotonic()
        advice = "nothing is published, and what has come is kept; run it again"
        if left <= 0:
            limit = f"the limit of {self.limits.timeout_s:,} s (fetch.timeout_s of the source)"
            raise RetryableError(f"{shown(self.uri)} took longer than {limit}; {advice}, or raise the limit")
        if self.attempts >= MOST_ATTEMPTS or pause > left:
            asks = f", and asks to wait {pause:.0f} s" if pause > left else f" (tried {self.attempts} times)"
            raise RetryableError(f"{fault}{asks}; {advice} when the server is well")
        if self.over.wait(pause):
            raise RetryableError(f"{shown(self.uri)} was stopped, as another file failed; {advice}")


class _Part:
    """What has come of a file, on this disk. One with a validator can be gone on with, also by a later process."""

    def __init__(self, scratch: Path, uri: str, validator: str) -> None:
        self.validator = validator
        self.path, self._file = _claimed(scratch, uri, validator)
        self._digest = hashlib.file_digest(self._file, "sha256")
        self.bytes = self._file.tell()

    def write(self, piece: bytes) -> None:
        """Append."""
        self._file.write(piece)
        self._digest.update(piece)
        self.bytes += len(piece)

    def empty(self) -> None:
        """Begin again."""
        self._file.seek(0)
        self._file.truncate()
        self._digest = hashlib.sha256()
        self.bytes = 0

    def finish(self, media_type: str) -> Fetched:
        """Return the whole file, which now belongs to the caller."""
        self._file.flush()
        path, self.path = self.path, None
        return Fetched(self.validator, media_type, self._digest.hexdigest(), self.bytes, path)

    def close(self) -> None:
        """Let go of the file; it stays where a later attempt can go on with it."""
        if self.path and not (self.validator and self.bytes):
            self.path.unlink(missing_ok=True)
        self._file.close()


def _claimed(scratch: Path, uri: str, validator: str) -> tuple[Path | None, BufferedRandom]:
    """Open the part of this content, locked; another file where a process that lives has it."""
    if validator:
        path = scratch / f"fetch-{hashlib.sha256(f'{uri} {validator}'.encode()).hexdigest()[:32]}.part"
        file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o644), "r+b")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Until it was locked, its owner may have finished it and moved it away.
            if os.path.samestat(os.fstat(file.fileno()), os.stat(path)):
                return path, file
        except (BlockingIOError, FileNotFoundError):
            pass
        file.close()
    handle, name = tempfile.mkstemp(dir=scratch, prefix="fetch-", suffix=".part")
    return Path(name), os.fdopen(handle, "r+b")
