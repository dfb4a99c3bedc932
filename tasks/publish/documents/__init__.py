"""Documents: what a version tells people; one module a document, found by its presence here."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

from cuvee.schemas.manifest import Manifest
from cuvee.schemas.records import Run
from cuvee.schemas.report import Accounts, Guarded
from cuvee.schemas.tables import DecidedRef
from cuvee.storage.store import Store
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
    accounts: Accounts
    guarded: Guarded


class Document(Protocol):
    """What a module of this package holds."""

    def write(self, told: Told) -> Mapping[str, bytes]:
        """Return the content of each file of the document by its name; none where there is nothing to tell."""
