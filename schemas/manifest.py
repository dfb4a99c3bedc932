"""The manifest: the commit of a version. A reader needs nothing but this and plain Parquet."""

import re
from typing import Annotated, Any, Literal

from pydantic import Field

from cuvee.schemas.base import Frozen
from cuvee.schemas.errors import RecipeError
from cuvee.schemas.marks import Marked
from cuvee.schemas.recipe import Name
from cuvee.schemas.records import Accepted, Count, FileRef

FORMAT = 1

# Versions and pool states are numbered alike; a tag moves more often.
MOST_VERSIONS, MOST_MOVES = 2**31 - 1, 10**18 - 1
Version = Annotated[int, Field(ge=1, le=MOST_VERSIONS)]


class Stratum(Frozen):
    """Documents that are alike for the mixture."""

    source: str
    domain: str
    language: str
    provenance: str
    depth: Annotated[int, Field(ge=0, lt=2**7)]


class DataFile(FileRef):
    """A published file: one stratum, one night, one split.

    amounts: provenance → Σ amount · epochs, in the recipe's unit. accepted: the pool state that first held its rows.
    human_of_unknown: what of unknown text counts as human by its probability, Σ amount · epochs · (1 - p_synthetic), in
    millionths of the unit; null where the recipe counts it whole.
    """

    split: Literal["train", "validation"]
    stratum: Stratum
    accepted: Accepted
    amounts: dict[str, int]
    human_of_unknown: Count | None = None

    @property
    def amount(self) -> int:
        """All of it, in the recipe's unit."""
        return sum(self.amounts.values())


class Totals(Frozen):
    """Documents and amounts (Σ amount · epochs) by provenance; human_share is null when nothing counts.

    counted_human: what the ratio counts as human, with six decimals where it counts documents in part; all else in
    `amount` it counts as synthetic.
    """

    documents: int
    amount: int
    counted_human: int | float
    by_provenance: dict[str, int]
    human_share: float | None


class Bounds(Frozen):
    """What the recipe asks of the human share, 0 to 1, and of the amount of human text."""

    min: float
    max: float
    min_amount: float | None


class Constraint(Frozen):
    """A bound of the recipe and what was counted of the published files. key: of the recipe; asked: its value there;
    counted: the share or amount that was found.
    """

    key: str
    asked: float
    counted: float | None


class Proof(Frozen):
    """The mixture, counted again from the published files. total: the recipe's, null for none; human_share: of all
    files, human_share_train: of the train split; null where nothing counts. counted_from: SHA-256 of the files.
    constraints: each bound, with what was counted; guaranteed: the share of the train split, 0 to 1, with all suspects
    and unknown documents counted against it; strata: of the plan, with their amounts; why: what it runs into. marked:
    what reviewers' marks say of text that counts as human: the floor is held with `marked.low` of it; null for none.
    """

    unit: str
    bounds: Bounds
    total: float | None
    unknown_as: str = "exclude"
    human_share: float | None
    human_share_train: float | None
    counted_from: tuple[str, ...]
    constraints: tuple[Constraint, ...] = ()
    guaranteed: float | None = None
    strata: dict[str, int] = Field({})
    why: tuple[str, ...] = ()
    marked: Marked | None = None


class Manifest(Frozen):
    """All that a version is. ledger_partitions: how many files of the ledger, the first, hold the rows of documents by
    the first bits of their doc_id, 0 where one file holds all; the others hold what has no document.
    """

    format: int = FORMAT
    corpus: Name
    version: Version
    parent: Version | None
    created: str
    run_id: str
    recipe: dict[str, Any]
    recipe_sha256: str
    steps: dict[str, int]
    models: dict[str, str]
    pool: FileRef
    files: tuple[DataFile, ...]
    totals: Totals
    splits: dict[str, Totals]
    mixture: Proof
    review: dict[str, Any] | None = None
    reports: tuple[FileRef, ...]
    ledger: tuple[FileRef, ...] = ()
    ledger_partitions: Count = 0

    @property
    def ref(self) -> str:
        """The version's full name, such as `library@v0007`."""
        return f"{self.corpus}@{version_name(self.version)}"


class TagEntry(Frozen):
    """One move of a tag. by: what moved it; after `rollback` it stays until `cuvee tag` moves it."""

    version: Version
    by: Literal["publish", "tag", "rollback"]
    created: str


def version_name(version: int) -> str:
    """Write 7 as `v0007`."""
    return f"v{version:04d}"


def parse_version(text: str) -> int | None:
    """Read `v0007` as 7; None for anything else."""
    return int(text[1:]) if re.fullmatch("v[0-9]{1,18}", text) else None


def manifest_version(name: str) -> tuple[int, int] | None:
    """Read the name of a manifest, `v0007.json` or `v0007.r2.json`, as (7, 0) or (7, 2); None for any other name."""
    found = re.fullmatch(r"(v[0-9]{4,18})(?:\.r([1-9][0-9]{0,17}))?\.json", name)
    version = parse_version(found[1]) if found else None
    # v00007.json and v0000.json are no name that a version has.
    if found is None or not version or version_name(version) != found[1]:
        return None
    return version, int(found[2] or 0)


def parse_ref(ref: str) -> tuple[str, str]:
    """Split `corpus`, `corpus@latest` or `corpus@v0007`; the name after @ defaults to latest."""
    corpus, _, name = ref.partition("@")
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*(@([A-Za-z0-9][A-Za-z0-9_-]*)?)?", ref):
        raise RecipeError(f"{ref!r} is not a reference; write corpus, corpus@latest or corpus@v0007")
    return corpus, name or "latest"
