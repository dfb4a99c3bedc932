"""Marks: what reviewers say of single documents, and what that says of text that counts as human."""

from typing import Annotated, Literal

from pydantic import Field

from cuvee.schemas.base import Frozen
from cuvee.schemas.records import Sha256


class Mark(Frozen):
    """What a reviewer says of one document. keep and drop say nothing of who wrote it."""

    doc_id: Annotated[str, Field(pattern="^[0-9a-f]{32}$")]
    verdict: Literal["keep", "drop", "human", "synthetic"]
    note: str = ""


class Marks(Frozen):
    """A file of marks, as a store keeps it."""

    marks: tuple[Mark, ...]


class Marked(Frozen):
    """What marks say of documents that count as human. documents: those marked human or synthetic; human: of them,
    those marked human; low: share of such documents that are human, at least, with 95% confidence, 0 to 1; files:
    SHA-256 of the files of marks.
    """

    documents: Annotated[int, Field(gt=0)]
    human: Annotated[int, Field(ge=0)]
    low: Annotated[float, Field(ge=0, le=1)]
    files: tuple[Sha256, ...]
