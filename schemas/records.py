"""What steps leave behind: references to files, records of finished work, and the state of a pool."""

from typing import Any

from pydantic import Field

from cuvee.schemas.base import Frozen
from cuvee.schemas.recipe import Recipe, Source, canonical_sha256


class FileRef(Frozen):
    """A stored, immutable file. path: key in the store; bytes and sha256 of its content; rows of its table."""

    path: str
    sha256: str
    bytes: int
    rows: int


class Content(Frozen):
    """What was found at a place. validator: tells without reading whether it is still the same, empty if nothing does;
    media_type: as the web declares it.
    """

    sha256: str
    bytes: int
    validator: str = ""
    media_type: str = ""


class Place(Frozen):
    """Where a source file is or was. source: its name in the recipe; path: absolute, or an address; id: path below the
    part of the pattern without wildcards; listed: the validator it has now, where a listing tells it; content: null
    until it is known.
    """

    source: str
    path: str
    id: str
    listed: str = ""
    content: Content | None = None


class SourceFile(Frozen):
    """A source file as found. source, path, id: as of its place; fetched: key of a remote file's copy in the store,
    which stands until the file is ingested.
    """

    source: str
    path: str
    id: str
    sha256: str
    bytes: int
    media_type: str = ""
    fetched: str = ""


class StepRecord(Frozen):
    """One finished piece of work: `key` names its input, options and version; `files` is its output.

    A record is written after its files, so its existence means done. report: small figures and, for ingest, what
    became of each source file.
    """

    step: str
    key: str
    files: tuple[FileRef, ...] = ()
    report: dict[str, Any] = Field({})


class PoolEntry(Frozen):
    """A record that belongs to a pool. accepted: number of the pool state that first held it."""

    accepted: int
    record: StepRecord


class PoolState(Frozen):
    """Everything ever ingested or generated for a corpus, as an immutable list of files.

    number: the version that committed it, 0 for none. dates: ISO day on which each state was committed.
    """

    number: int = 0
    entries: tuple[PoolEntry, ...] = ()
    dates: dict[int, str] = Field({})


class Run(Frozen):
    """What every task of a run needs to know; small enough to pass by value.

    store: its URI. folder: the recipe's, relative paths resolve against it. version: the number it would publish.
    parent: the standing version's number, 0 for none. day: the UTC day of its start, ISO. bands: how signatures are
    cut, as (bands, rows). readings: name of each source and generator → what decides the text that is kept of its files
    or answers (`cuvee.tasks.keys`).
    """

    recipe: Recipe
    store: str
    folder: str
    run_id: str
    version: int
    parent: int
    day: str
    bands: tuple[int, int]
    readings: dict[str, str]

    @property
    def corpus(self) -> str:
        """The corpus's name."""
        return self.recipe.corpus

    def source(self, name: str) -> Source:
        """Return the recipe's source of this name, which it has."""
        return next(source for source in self.recipe.sources if source.name == name)


def step_key(step: str, version: int, **inputs: Any) -> str:
    """Name a piece of work by all that decides its output: 64 hex digits."""
    return canonical_sha256({"step": step, "version": version, **inputs})
