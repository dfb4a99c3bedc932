"""Accounting: where every row of a run ended, a partition at a time."""

from collections.abc import Sequence

from cuvee.flows.hands import Hands
from cuvee.schemas.records import Run, SourceFile
from cuvee.schemas.report import Accounts
from cuvee.schemas.tables import DecidedRef, PlannedRef
from cuvee.storage.store import Store
from cuvee.tasks.generate.rounds import Generated
from cuvee.tasks.pool import Pool
from cuvee.tasks.publish import ledger


def account(
    run: Run,
    store: Store,
    pool: Pool,
    files: Sequence[SourceFile],
    decided: DecidedRef,
    planned: PlannedRef | None,
    generated: Sequence[Generated],
    hands: Hands,
    is_kept: bool = True,
) -> Accounts:
    """Write the ledger of a run, and add up what became of its rows.

    planned: null where nothing can be published: then all survivors are pooled. is_kept: whether the ledger is written,
    or the rows are only counted. Errors are those of `ledger.run`.
    """
    names = hands.one("paths", ledger.paths, run, store, pool)
    kept = planned.kept if planned else (None,) * len(decided.partitions)
    parts = zip(decided.partitions, kept, strict=True)
    ended = hands.each("ledger", ledger.of_partition, [(run, store, *part, names, is_kept) for part in parts])
    return hands.one("account", ledger.run, run, store, pool, files, ended, generated, names, is_kept)
