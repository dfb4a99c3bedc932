"""Documents: what a version tells people; one module a document, found by its presence here."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol, cast

from cuvee.schemas.manifest import Manifest
from cuvee.schemas.records import FileRef, Run
from cuvee.schemas.report import Guarded, StepReport
from cuvee.schemas.tables import DecidedRef
from cuvee.storage.corpus import write_report
from cuvee.storage.store import Store
from cuvee.tasks import shelf
from cuvee.tasks.generate.rounds import Generated
from cuvee.tasks.pool import Pool


class Told(NamedTuple):
    """What documents are made of. manifest: of the version to be, without the documents about it."""

    run: Run
    store: Store
    pool: Pool
    decided: DecidedRef
    generated: Sequence[Generated]
    manifest: Manifest
    steps: Mapping[str, StepReport]
    guarded: Guarded


class Document(Protocol):
    """What a module of this package holds."""

    def write(self, told: Told) -> Mapping[str, bytes]:
        """Return the content of each file of the document by its name; none where there is nothing to tell."""


def write(told: Told) -> list[FileRef]:
    """Write all documents of a version into its folder of reports."""
    return [
        write_report(told.store, told.run.corpus, told.run.version, name, content)
        for module in shelf.modules(__name__).values()
        for name, content in cast(Document, module).write(told).items()
    ]
