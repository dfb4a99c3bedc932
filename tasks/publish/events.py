"""Events: tell whoever waits for a corpus what became of it, at least once."""

from collections.abc import Sequence
from pathlib import Path

from cuvee.schemas.records import Run
from cuvee.storage import notify, outbox
from cuvee.storage.outbox import Channel
from cuvee.storage.store import Store


def run(run: Run, store: Store, further: Sequence[Channel] = ()) -> list[str]:
    """Send what was not sent to the receivers of publish.notify, and to further ones; return a warning for each fault.

    A trial tells nobody. A receiver that fails never fails a run: the next one tells it.
    """
    if run.limit is not None:
        return []
    folder = Path(run.folder)
    notify.remember(store.uri, run.corpus, run.recipe.publish.notify, folder)
    channels = [notify.channel(address, folder) for address in run.recipe.publish.notify]
    return outbox.send_owed(store, run.corpus, [*channels, *further])
