"""What a run tells: the figures of each step, and how it ended."""

from typing import Any, Literal

from pydantic import ConfigDict, Field, SerializeAsAny

from cuvee.schemas.base import Frozen
from cuvee.schemas.generation import Outlook
from cuvee.schemas.records import FileRef

# The steps that look at a row, in their order; the first that objects names the reason.
STEPS = ("ingest", "filter", "dedup_exact", "classify", "dedup_near", "decontaminate", "mixture")


class StepReport(Frozen):
    """Rows in and out of a step, and what it dropped, by reason; into = out + Σ dropped."""

    into: int = Field(alias="in")
    out: int
    dropped: dict[str, int] = Field({})

    model_config = ConfigDict(populate_by_name=True)


class SourceReport(Frozen):
    """Where the rows of a source ended; rows = kept + pooled + Σ dropped + unreadable.

    rows: all of its files that there are; kept: published, once whatever the epochs; dropped: by reason.
    """

    rows: int
    kept: int
    pooled: int
    dropped: dict[str, int] = Field({})
    unreadable: int


class Finding(Frozen):
    """Something a person should look at. subject: the source, stratum or generator that it is about.

    note: it is said of the run and not of its documents, and never blocks: the next run would say it again.
    """

    kind: str
    subject: str
    message: str
    figures: dict[str, float | None] = Field({})
    note: bool = False


class Accounts(Frozen):
    """Where all rows of a run ended. ledger: files with the columns of LEDGER, of which the first `partitions` hold the
    rows of documents, by the first bits of their doc_id, and the others what has none; sources: by the recipe's name,
    in its order; example: a document whose story is worth a look.
    """

    ledger: tuple[FileRef, ...]
    partitions: int
    steps: dict[str, StepReport]
    sources: dict[str, SourceReport] = Field({})
    example: str | None


class RunEnd(Frozen):
    """How a run ended, as the store keeps it. version: the one that stands, 0 for none; message: what stopped it.

    partitions: how many files of the ledger hold the rows of documents, as of Accounts, 0 where it has one file of all;
    inputs: hash of all that it followed from, of runs that were not stopped; findings, warnings of generators, mixture
    and example: as of RunReport.
    """

    run_id: str
    corpus: str
    outcome: Literal["published", "nothing_new", "stopped"]
    version: int
    message: str = ""
    steps: dict[str, StepReport]
    sources: dict[str, SourceReport] = Field({})
    ledger: tuple[FileRef, ...]
    partitions: int = 0
    inputs: str = ""
    findings: tuple[Finding, ...] = ()
    warnings: tuple[str, ...] = ()
    mixture: tuple[str, ...] = ()
    example: str | None = None


class Figures(Frozen):
    """What a metric of the guard measured; each has a type of its own."""


class Guarded(Frozen):
    """What the guard says of a candidate. figures: by metric; earlier: duplicates and diversity of the version that
    guard.compare_with names, null where there is none.
    """

    findings: tuple[Finding, ...]
    figures: dict[str, SerializeAsAny[Figures]]
    earlier: dict[str, Any] | None = None


class RunReport(Frozen):
    """How a run ended. version: the one that stands now; published: whether this run made it.

    plan: nothing was sent or published, the figures are what a run would start from; requests: of each generator,
    those that it would send; outlooks: what they look like and may cost.
    mixture: what the plan of the mixture runs into, and what more text would allow.
    example: a document whose story is worth a look; seconds: how long the run took.
    """

    corpus: str
    version: int
    published: bool
    documents: int
    amount: int
    unit: str
    human_share: float | None
    floor: float
    steps: dict[str, StepReport]
    sources: dict[str, SourceReport] = Field({})
    findings: tuple[Finding, ...] = ()
    warnings: tuple[str, ...] = ()
    store: str = ""
    plan: bool = False
    mixture: tuple[str, ...] = ()
    requests: dict[str, int] = Field({})
    outlooks: dict[str, Outlook] = Field({})
    example: str | None = None
    seconds: float = 0.0
