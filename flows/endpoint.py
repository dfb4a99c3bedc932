"""Endpoint: runs that ask models take turns where the Prefect server has a limit for them."""

from collections.abc import Sequence

from prefect.concurrency.sync import concurrency

from cuvee.schemas.records import FileRef, Run
from cuvee.tasks import generate
from cuvee.tasks.generate import Generated
from cuvee.tasks.pool import Pool

# Made with `prefect gcl create llm-endpoint --limit 1`; without it nobody waits.
LIMIT = "llm-endpoint"


def in_turn(run: Run, pool: Pool, decided: FileRef, send: bool, earlier: Sequence[Generated]) -> list[Generated]:
    """Carry out a round of generation, holding a slot of LIMIT where something may be sent; as `generate.run`."""
    if not send or not run.recipe.generate:
        return generate.run(run, pool, decided, send, earlier)
    with concurrency(LIMIT, raise_on_lease_renewal_failure=False):
        return generate.run(run, pool, decided, send, earlier)
