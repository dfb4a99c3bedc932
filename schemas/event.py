"""Events: what programs that wait for a corpus are told of it, and what each of them was told already."""

from typing import Literal
from uuid import UUID, uuid5

from pydantic import Field

from cuvee.schemas.base import Frozen

Action = Literal["published", "tagged", "rolled_back"]

# Of the ids of events; a constant of its own, so that they are nobody else's.
_IDS = UUID("6c1f6b5e-5a52-4f0b-9f0e-3f6a6d2c7b11")


class Event(Frozen):
    """Something that happened to a corpus.

    id: the same whenever and by whomever it is sent. event: `cuvee.version.` and the action. occurred: UTC. resource:
    `cuvee.corpus.` and the name. tag: of a published version the recipe's tag, null where a rollback holds it
    elsewhere; else the one that was moved. manifest: its path or URL. amount: in `unit`.
    """

    id: str
    event: str
    occurred: str
    resource: str
    corpus: str
    ref: str
    version: str
    tag: str | None
    store: str
    manifest: str
    documents: int
    amount: int
    unit: str
    human_share: float | None
    parent: str | None


class Sent(Frozen):
    """How far a receiver was told: the highest version, and of each tag the number of the highest entry."""

    published: int = 0
    moved: dict[str, int] = Field({})


def event_id(store: str, corpus: str, version: int, action: Action, move: str = "") -> str:
    """Make the id of an event. store: its URI; move: which entry of which tag, as a tag may come back to a version."""
    return str(uuid5(_IDS, "\n".join((store, corpus, str(version), action, move))))
