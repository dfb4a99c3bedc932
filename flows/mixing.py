"""Mixing: which survivors a version keeps.

a partition's strata and bins ─ the plan and its borders ─ a partition's choice. No task holds more than a partition, or
the documents of the bins into which borders fall.
"""

from cuvee.flows.hands import Hands
from cuvee.schemas.records import Run
from cuvee.schemas.tables import DecidedRef, PlannedRef
from cuvee.storage.store import Store
from cuvee.tasks.mixture import selection, strata


def mix(run: Run, store: Store, decided: DecidedRef, hands: Hands) -> PlannedRef:
    """Plan the mixture and choose its documents; raises GateError as `selection.run` does."""
    parts = decided.partitions
    counted = hands.each("strata", strata.run, [(run, store, part, n, len(parts)) for n, part in enumerate(parts)])
    bordered = hands.one("mixture", selection.run, run, store, counted)
    took = hands.each("choice", selection.take, [(run, store, one, bordered) for one in counted])
    return selection.finish(took, bordered)
