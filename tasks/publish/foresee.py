"""Foresee: what a run would publish from what is there now, with no request sent and nothing written."""

from collections.abc import Sequence

from cuvee.schemas.amounts import WHOLE, human_part
from cuvee.schemas.records import Run
from cuvee.schemas.report import Accounts, RunReport
from cuvee.schemas.tables import DecidedRef, PlannedRef
from cuvee.storage.store import Store
from cuvee.tasks.generate.rounds import Generated
from cuvee.tasks.steps import load_published


def run(
    run: Run,
    store: Store,
    decided: DecidedRef,
    planned: PlannedRef,
    accounts: Accounts,
    generated: Sequence[Generated],
    warnings: Sequence[str],
) -> RunReport:
    """Report on a plan: the mixture without the drafts that are not there yet, and the requests to be sent for them.

    The arguments are those of `publish.run`.
    """
    kept = load_published(store, planned, decided, ["provenance", "p_synthetic"])
    amount = int((kept["amount"] * kept["epochs"]).sum())
    human = kept["amount"] * kept["epochs"] * kept.select(part=human_part(run.recipe.provenance.unknown_as))["part"]
    return RunReport(
        corpus=run.corpus,
        version=run.parent,
        published=False,
        documents=kept.height,
        amount=amount,
        unit=run.recipe.mixture.unit,
        human_share=round(int(human.sum()) / WHOLE / amount, 6) if amount else None,
        floor=run.recipe.mixture.human.min,
        steps=accounts.steps,
        sources=accounts.sources,
        warnings=(*warnings, *(entry.warning for entry in generated if entry.warning)),
        store=store.uri,
        plan=True,
        mixture=planned.why,
        requests={entry.name: entry.outlook.requests for entry in generated if entry.outlook},
        outlooks={entry.name: entry.outlook for entry in generated if entry.outlook},
    )
