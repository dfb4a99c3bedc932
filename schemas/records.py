"""What steps leave behind: references to files, records of finished work, and the state of a pool."""

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from cuvee.schemas.base import Frozen
from cuvee.schemas.recipe import Recipe, Source, canonical_sha256

Count = Annotated[int, Field(ge=0, lt=2**63)]
Accepted = Annotated[int, Field(ge=0, lt=2**31)]
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class FileRef(Frozen):
    """A stored, immutable file. path: key in the store; bytes and sha256 of its content; rows of its table."""

    path: str
    sha256: Sha256
    bytes: Count
    rows: Count


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


class Report(Frozen):
    """What a piece of work tells of itself beside its files: nothing, unless the kind of its record says more."""


class ReadFile(Frozen):
    """What became of a source file. document: it is one document, whose id is the file's; rows: readable ones;
    skipped: records without a document, by kind; undated: rows whose date is not understood. archive, member: of a file
    that is a member, SHA-256 of its archive and its name in it; members: how many of an archive were read.
    """

    sha256: str
    id: str
    document: bool
    rows: int
    unreadable: int
    skipped: dict[str, int] = Field({})
    undated: int = 0
    archive: str = ""
    member: str = ""
    members: int = 0

    @property
    def records(self) -> int:
        """All records of the file, whatever became of them."""
        return self.rows + self.unreadable + sum(self.skipped.values())


class ShardsReport(Report):
    """What shards hold. source: of their rows, for drafts the generator's name; reading: how they were read
    (`Run.readings`); shards: how many of the record's files are shards, the others lie beside them.
    """

    source: str
    reading: str
    shards: Count


class IngestReport(ShardsReport):
    """masked: replacements by kind of personal data; faults: the first unreadable rows, by file, line and reason;
    undated: the first dates that are not understood, by file and row; filled: the fields that some row has a value of;
    told: what was found out of how the first files are to be read, by file.
    """

    files: tuple[ReadFile, ...]
    masked: dict[str, int]
    faults: tuple[str, ...]
    undated: tuple[str, ...] = ()
    filled: tuple[str, ...] = ()
    told: tuple[str, ...] = ()


class DraftReport(ShardsReport):
    """failed: request key → why it has no draft."""

    failed: dict[str, str]


class MostCopies(Frozen):
    """The text with most near copies, 0 where there are none."""

    text_key: int
    copies: int


class Estimate(Frozen):
    """What comparing was expected to take, MB: memory, disk for a while, band keys to read."""

    memory_mb: int
    disk_mb: int
    read_mb: int


class PairsWork(Frozen):
    """What finding pairs took in the run that would publish `version`.

    anew: why all texts were compared again, or null. documents: texts compared; large_buckets, largest_bucket: band
    keys that very many texts share, and the texts of the largest.
    """

    version: int
    anew: str | None
    documents: int
    candidates: int
    pairs: int
    large_buckets: int
    largest_bucket: int
    most_copies: MostCopies
    estimate: Estimate


class PairsReport(Report):
    """signed: keys of the records whose texts were compared; floor: the lowest Jaccard of a pair; options: n-gram,
    permutations, seed, and how signatures are cut (bands, rows).
    """

    signed: tuple[str, ...]
    floor: float
    options: tuple[int, int, int, tuple[int, int]]
    work: PairsWork


class CountReport(Report):
    """amounts: provenance → Σ amount · epochs of a published file, in the recipe's unit; human_of_unknown: as of
    `DataFile`.
    """

    amounts: dict[str, int]
    human_of_unknown: Count | None = None


class StepRecord(Frozen):
    """One finished piece of work: `key` names its input, options and version; `files` is its output.

    A record is written after its files, so its existence means done.
    """

    step: Annotated[str, Field(pattern="^[a-z][a-z0-9_-]*$")]
    key: Annotated[str, Field(pattern="^[a-z0-9]+$")]
    files: tuple[FileRef, ...] = ()
    report: Report = Report()


class KeptRecord(Frozen):
    """A record as it lies below work/, with the hash of its canonical JSON."""

    sha256: Sha256
    record: dict[str, Any]


class ShardsRecord(StepRecord):
    """Shards, and the tables beside them."""

    report: ShardsReport

    @property
    def shards(self) -> tuple[FileRef, ...]:
        """The files that are shards."""
        return self.files[: self.report.shards]

    @property
    def beside(self) -> tuple[FileRef, ...]:
        """The other files: unreadable rows of sources, lineage of drafts."""
        return self.files[self.report.shards :]


class IngestRecord(ShardsRecord):
    """A batch of source files that was read."""

    step: Literal["ingest"] = "ingest"
    report: IngestReport


class DraftRecord(ShardsRecord):
    """A round of requests that was carried out."""

    step: Literal["generate"] = "generate"
    report: DraftReport


class PairsRecord(StepRecord):
    """All verified near-duplicate pairs of a pool."""

    step: Literal["pairs"] = "pairs"
    report: PairsReport


class FileRecord(StepRecord):
    """A published file, counted."""

    step: Literal["assemble"] = "assemble"
    files: tuple[FileRef, ...] = Field(min_length=1, max_length=1)
    report: CountReport


def _kind(record: Any) -> str:
    step = record.get("step") if isinstance(record, dict) else getattr(record, "step", None)
    return step if step in ("ingest", "generate", "pairs") else "signals"


PoolRecord = Annotated[
    Annotated[IngestRecord, Tag("ingest")]
    | Annotated[DraftRecord, Tag("generate")]
    | Annotated[PairsRecord, Tag("pairs")]
    | Annotated[StepRecord, Tag("signals")],
    Discriminator(_kind),
]
"""A record as a pool state holds it, of the kind that its step says."""


class PoolEntry(Frozen):
    """A record that belongs to a pool. accepted: number of the pool state that first held it."""

    accepted: Accepted
    record: PoolRecord


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
    or answers (`reading_key` and `drafting_key`). limit: of a trial, the rows that are read of each source.
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
    limit: int | None = None

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
