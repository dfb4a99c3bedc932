"""Product: from labelled tables to a model with its card, in a folder and, where asked, in a store."""

from collections.abc import Sequence
from pathlib import Path

import polars as pl

from cuvee.schemas.base import Frozen
from cuvee.storage.store import Store
from cuvee.tasks import readers
from cuvee.tasks.provenance import card
from cuvee.tasks.provenance.fit import TrainingOptions
from cuvee.tasks.provenance.store import StoredModel, keep
from cuvee.tasks.provenance.train import Progress, TrainingReport, quiet, train
from cuvee.tasks.provenance.unseen import unseen


class Made(Frozen):
    """A trained model. use: what `provenance.model` of a recipe says to use it; stored: null where it was not kept."""

    out: str
    use: str
    report: TrainingReport
    stored: StoredModel | None


def labelled(paths: Sequence[str]) -> pl.DataFrame:
    """Read labelled texts from files of any format that is read; columns are those of `train`.

    Raises RecipeError for a file of another format or that is not there, InputError for one that cannot be read.
    """
    files, _ = readers.expand(paths)
    return readers.frame(part for file in files for part in readers.whole(file))


def make(
    paths: Sequence[str], out: Path, name: str, leave_out: bool, store: Store | None, progress: Progress = quiet
) -> Made:
    """Train on labelled tables, write model and card to the folder `out`, and keep them in `store` unless it is None.

    leave_out: train also without each domain and each fifth of the generators, for the card. The same tables give the
    same bytes. Raises RecipeError as `train` and `keep` do.
    """
    frame, options = labelled(paths), TrainingOptions(name=name)
    report = train(frame, out, options, progress)
    card.write(out, frame, report, unseen(frame, options, progress=progress) if leave_out else None)
    stored = keep(store, out, name) if store else None
    return Made(out=str(out), use=stored.ref if stored else str(out), report=report, stored=stored)
