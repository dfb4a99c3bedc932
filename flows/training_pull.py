"""Training pull: bring a published version to the training command of this machine, once."""

from pathlib import Path
from typing import Annotated

from prefect import flow
from prefect.runtime import deployment, flow_run
from pydantic import Field

from cuvee.flows import deployed, outcome, training_order
from cuvee.schemas.errors import RecipeError
from cuvee.storage import secrets
from cuvee.storage.store import open_store
from cuvee.tasks import training
from cuvee.tasks.training import Trained

Ref = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*@[a-z0-9][a-z0-9_-]*$")]


def _name() -> str:
    return f"{flow_run.parameters.get('ref') or flow_run.parameters.get('corpus')} training"


@flow(name="training-pull", flow_run_name=_name, persist_result=False)
def training_pull(corpus: str, store: str, ref: Ref | None = None) -> Trained:
    """Pull a version, verify it, and run the training command that was deployed, unless it has finished that version.

    Args:
        corpus: The deployed corpus.
        store: The deployed store.
        ref: One of its versions, such as library@v0007. None: the newest that readers get.
    """

    def work() -> Trained:
        secrets.guard_logs()
        deployed.check_fixed(deployed.parameters(), {"corpus": corpus, "store": store})
        if not deployment.name:
            raise RecipeError("this flow runs as a deployment: cuvee deploy RECIPE --train-command CMD")
        order = training_order.held(deployment.name)
        if (order.corpus, order.store) != (corpus, store):
            raise RecipeError(f"the training command is for {order.corpus} in {order.store}; deploy it again")
        return training.run(open_store(store), ref or corpus, corpus, order.command, Path(order.folder))

    return outcome.told(work, _said)


def _said(trained: Trained) -> tuple[str, str]:
    if not trained.done:
        return "Trained before", f"Nothing to do: {trained.ref} was trained on before"
    figures = f"{trained.documents:,} documents, {trained.amount:,} {trained.unit}"
    return "Trained", f"Trained on {trained.ref}: {figures}, in {trained.folder}"
