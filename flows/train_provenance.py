"""Train provenance: make a provenance model of labelled texts, from the Prefect UI or on a schedule."""

from collections.abc import Sequence
from pathlib import Path

from prefect import flow

from cuvee.storage.store import open_store, store_uri
from cuvee.tasks.provenance.product import Made, make
from cuvee.tasks.steps import progress


@flow(name="train-provenance", persist_result=False)
def train_provenance(
    data: Sequence[str], out: str, name: str = "model", leave_out: bool = False, store: str | None = None
) -> Made:
    """Train a model, and keep it in the store as the next version of its name.

    data: Parquet files with text, label, and where known group, domain, generator, slice. out: folder of the model
    and its card. leave_out: train also without each domain and generator, for the card; minutes. store: default
    $CUVEE_STORE, ./cuvee-store.
    """
    place = open_store(store_uri(store))
    return make(data, Path(out), name, leave_out, place, lambda step, share: progress(step, round(share * 100), 100))
