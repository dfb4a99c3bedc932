"""The outbox: events of a corpus, each sent to each receiver at least once.

Nothing is queued. What happened stands in the store, as manifests and entries of tags; how far a receiver was told
stands beside it, in corpora/<corpus>/events/<receiver>.json. What lies between is owed, whoever finds it: an end
between a commit and its event loses nothing. Two commands that send at the same moment send the same ids.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import NamedTuple

from cuvee.schemas.errors import CuveeError, IntegrityError
from cuvee.schemas.event import Action, Event, Sent, event_id
from cuvee.schemas.manifest import TagEntry, version_name
from cuvee.storage.corpus import load_manifest, manifest_key, moves, newest_tag, read_move, versions
from cuvee.storage.store import Store
from cuvee.storage.trust import read_json


class Channel(NamedTuple):
    """A way to a receiver. name: a file's name, its own for each; shown: in messages; send: raises OSError."""

    name: str
    shown: str
    send: Callable[[Event], None]


class Owed(NamedTuple):
    """What a receiver was not told. sent: how far it was told when it has this event; None: nobody is told of it."""

    occurred: str
    sent: Sent
    event: Event | None


def send_owed(store: Store, corpus: str, channels: Sequence[Channel]) -> list[str]:
    """Send each receiver what it was not told, in the order in which it happened; return a warning for each fault.

    A receiver that is new is told the newest version, and of a tag that somebody moved where it points.
    """
    return [warning for channel in channels for warning in _send(store, corpus, channel)]


def _send(store: Store, corpus: str, channel: Channel) -> Iterator[str]:
    try:
        sent = _sent(store, corpus, channel.name)
        for owed in sorted(_owed(store, corpus, sent), key=lambda one: one.occurred):
            if owed.event is not None:
                channel.send(owed.event)
            sent = Sent(published=max(sent.published, owed.sent.published), moved={**sent.moved, **owed.sent.moved})
            _remember(store, corpus, channel.name, sent)
    except (CuveeError, OSError) as error:
        yield f"{channel.shown} was not told ({error}); the next run, tag or rollback of {corpus} tells it"


def _owed(store: Store, corpus: str, sent: Sent) -> Iterator[Owed]:
    for version in versions(store, corpus):
        if version > sent.published:
            event = _event(store, corpus, version, "published")
            yield Owed(event.occurred, Sent(published=version), event)
    for tag, entries in moves(store, corpus).items():
        for number in entries:
            if number > sent.moved.get(tag, 0):
                entry = read_move(store, corpus, tag, number)
                yield Owed(entry.created, Sent(moved={tag: number}), _moved(store, corpus, tag, number, entry))


def _moved(store: Store, corpus: str, tag: str, number: int, entry: TagEntry) -> Event | None:
    """Return the event of an entry of a tag; None for a publishing one, which the version's own event tells."""
    if entry.by == "publish":
        return None
    action: Action = "tagged" if entry.by == "tag" else "rolled_back"
    event = _event(store, corpus, entry.version, action, f"{tag}/{number}")
    return event.model_copy(update={"tag": tag, "occurred": entry.created})


def _event(store: Store, corpus: str, version: int, action: Action, move: str = "") -> Event:
    manifest = load_manifest(store, corpus, version)
    publish = manifest.recipe.get("publish", {})
    tag = publish.get("tag", "latest") if isinstance(publish, dict) else "latest"
    _, entry = newest_tag(store, corpus, tag)
    totals = manifest.totals
    return Event(
        id=event_id(store.uri, corpus, version, action, move),
        event=f"cuvee.version.{action}",
        occurred=manifest.created,
        resource=f"cuvee.corpus.{corpus}",
        corpus=corpus,
        ref=manifest.ref,
        version=version_name(version),
        tag=tag if entry is not None and entry.version == version else None,
        store=store.uri,
        manifest=store.location(manifest_key(corpus, version)),
        documents=totals.documents,
        amount=totals.amount,
        unit=manifest.mixture.unit,
        human_share=totals.human_share,
        parent=f"{corpus}@{version_name(manifest.parent)}" if manifest.parent else None,
    )


def _sent(store: Store, corpus: str, name: str) -> Sent:
    """Return how far a receiver was told; of one that is new, that it knows all but the newest, which is kept too."""
    with suppress(IntegrityError):  # none, or a damaged one
        return read_json(store, _key(corpus, name), Sent)
    moved = {tag: entries[-1] - 1 for tag, entries in moves(store, corpus).items()}
    sent = Sent(published=max([0, *versions(store, corpus)[:-1]]), moved=moved)
    _remember(store, corpus, name, sent)
    return sent


def _remember(store: Store, corpus: str, name: str, sent: Sent) -> None:
    store.put(_key(corpus, name), sent.model_dump_json(indent=1).encode())


def _key(corpus: str, name: str) -> str:
    return f"corpora/{corpus}/events/{name}.json"
