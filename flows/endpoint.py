"""Endpoint: runs that ask models take turns where the Prefect server has a limit for them."""

from collections.abc import Sequence

from prefect.client.orchestration import get_client
from prefect.concurrency.sync import concurrency
from prefect.exceptions import ObjectNotFound

from cuvee.schemas.records import Run
from cuvee.schemas.tables import DecidedRef
from cuvee.storage.store import Store
from cuvee.tasks.generate import rounds
from cuvee.tasks.generate.rounds import Generated
from cuvee.tasks.pool import Pool

# Made with `prefect gcl create llm-endpoint --limit 1`; without it nobody waits.
LIMIT = "llm-endpoint"


def in_turn(
    run: Run, store: Store, pool: Pool, decided: DecidedRef, send: bool = True, earlier: Sequence[Generated] = ()
) -> list[Generated]:
    """Carry out a round of generation, holding a slot of LIMIT where something may be sent; as `generate.run`."""
    if not send or not any(entry.base_url for entry in run.recipe.generate) or not _is_limited():
        return rounds.run(run, store, pool, decided, send, earlier)
    with concurrency(LIMIT, raise_on_lease_renewal_failure=False):
        return rounds.run(run, store, pool, decided, send, earlier)


def _is_limited() -> bool:
    """Tell whether the server has the limit; asking for a slot of one that it lacks would warn in every run."""
    with get_client(sync_client=True) as client:
        try:
            client.read_global_concurrency_limit_by_name(LIMIT)
        except ObjectNotFound:
            return False
    return True
