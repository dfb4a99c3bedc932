"""A published version, as its readers see it."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from cuvee.schemas.errors import IntegrityError
from cuvee.schemas.manifest import DataFile, Manifest
from cuvee.schemas.records import FileRef
from cuvee.storage.corpus import manifest_sha256, resolve
from cuvee.storage.store import Store, open_store, store_uri
from cuvee.storage.trust import read_whole

if TYPE_CHECKING:
    import polars as pl
    import pyarrow.dataset as pads

    from cuvee.loader import Loader

Split = Literal["train", "validation"]
# What a trainer reads, and what the mixture counts by.
COLUMNS = ("doc_id", "text", "provenance", "source", "tokens")


class Dataset:
    """One version of a corpus: its manifest, and the plain Parquet files that it names."""

    def __init__(self, store: Store, manifest: Manifest) -> None:
        self.store, self.manifest = store, manifest

    def __repr__(self) -> str:
        return f"<cuvee {self.manifest.ref}: {self.manifest.totals.documents:,} documents in {self.store.uri}>"

    def files(self, split: Split | None = None) -> list[str]:
        """Return absolute paths or URLs, in the manifest's order. split: train, validation, or None for all."""
        return [self.store.location(file.path) for file in self._chosen(split)]

    def scan(self, split: Split | None = "train") -> "pl.LazyFrame":
        """Return a polars LazyFrame over a split (None: all), with the store's credentials."""
        import polars as pl

        from cuvee.schemas.document import PUBLISHED

        files = self.files(split)
        if not files:
            return pl.DataFrame(PUBLISHED.empty_table()).lazy()
        return pl.scan_parquet(files, **self.store.access().polars)

    def dataset(self, split: Split | None = "train") -> "pads.Dataset":
        """Return a pyarrow dataset over a split (None: all), with the store's credentials."""
        import pyarrow.dataset as pads

        from cuvee.schemas.document import PUBLISHED

        files, system = self.files(split), self.store.access().arrow
        if system is not None:
            files = [url.partition("://")[2] for url in files]
        return pads.dataset(files, schema=PUBLISHED, format="parquet", filesystem=system)

    def report(self, name: str) -> FileRef:
        """Return the reference of a report such as ledger.parquet; raises IntegrityError when the version has none."""
        ref = self.find_report(name)
        if ref is None:
            has = ", ".join(sorted(ref.path.rsplit("/", 1)[-1] for ref in self.manifest.reports)) or "none"
            raise IntegrityError(
                f"{self.manifest.ref} has no report {name} (its reports: {has}); read another version, they are listed "
                f"by: cuvee versions {self.manifest.corpus}"
            )
        return ref

    def find_report(self, name: str) -> FileRef | None:
        """Return the reference of a report, None when the version has none of this name."""
        return next((ref for ref in self.manifest.reports if ref.path.rsplit("/", 1)[-1] == name), None)

    def read_report(self, name: str) -> bytes:
        """Return the bytes of a report; raises IntegrityError when there is none, or when its bytes have changed."""
        ref = self.report(name)
        return read_whole(self.store, ref)

    def ledger(self) -> "pl.DataFrame":
        """Read where each row of the sources and each draft ended, and why; no text. Raises IntegrityError."""
        from io import BytesIO

        import polars as pl

        from cuvee.schemas.tables import LEDGER
        from cuvee.storage.tables import read_ledger

        if self.manifest.ledger:
            return pl.DataFrame(read_ledger(self.store, self.manifest.ledger))
        content = BytesIO(self.read_report("ledger.parquet"))
        try:
            rows = pl.read_parquet(content)
            # A ledger need not have it: what is published is never written again.
            rows = rows if "path" in rows.columns else rows.with_columns(path=pl.lit(None, pl.String))
            return rows.select(LEDGER.names()).cast(LEDGER)
        except pl.exceptions.PolarsError as error:
            place = self.store.location(self.report("ledger.parquet").path)
            raise IntegrityError(f"{place} is no ledger ({str(error)[:200]}); restore it from a backup") from None

    def loader(
        self,
        rank: int = 0,
        world_size: int = 1,
        seed: int = 0,
        epoch: int = 0,
        batch: int = 32,
        pack: int = 0,
        even: bool = False,
        *,
        split: Split = "train",
        columns: Sequence[str] = COLUMNS,
        tokenizer: Any = None,
        end: int = -1,
    ) -> "Loader":
        """Return batches for a rank of a training job: strata mixed, copies spread, resumable at any batch.

        rank: 0 to world_size - 1. seed, epoch: with the version they give the order. batch: documents in a batch. pack:
        tokens in a sequence, 0 for documents as they are; then tokenizer is the path of a tokenizer.json, a
        `tokenizers.Tokenizer`, or a function from a text to token ids, and end the token put behind each document, -1
        for none. even: all ranks get equally many batches, and the last incomplete round is left out. columns: of a
        batch without pack. Raises RecipeError for an option out of range.
        """
        from cuvee.loader import Loader
        from cuvee.loader.loader import Share, Version
        from cuvee.loader.packing import Packing

        version = Version(self.store, self.manifest, manifest_sha256(self.store, self.manifest), split)
        packing = Packing(pack, tokenizer, end) if pack else None
        return Loader(version, Share(rank, world_size, even), seed, epoch, batch, columns, packing)

    def pull(self, folder: str | Path) -> list[Path]:
        """Copy the version into a folder: data/<split>/…, manifest.json, README.md; return the data files, sorted.

        The folder is new, or was pulled into before: then files that stand already are kept, and files below data/
        that the manifest does not name are removed. The manifest is written last; an interrupted pull is completed by
        the next one. Raises RecipeError, and touches nothing, when the folder's data/, manifest.json or README.md is
        not of a pull; IntegrityError when a copy does not have its recorded bytes.
        """
        from cuvee.storage.copies import CARD, copy_version

        return copy_version(self.store, self.manifest, self.find_report(CARD), Path(folder))

    def verify(self) -> Iterator[str]:
        """Yield what is wrong with the version, nothing when it is whole.

        Files and reports are hashed and counted again; the pool's files are only looked for with their sizes.
        """
        from cuvee.storage.integrity import faults

        return faults(self.store, self.manifest)

    def _chosen(self, split: Split | None) -> list[DataFile]:
        return [file for file in self.manifest.files if split in (None, file.split)]


def open_dataset(ref: str, store: str | None = None) -> Dataset:
    """Open a version. ref: corpus, corpus@latest or corpus@v0007.

    store: a folder or s3://bucket/prefix; default $CUVEE_STORE, else ./cuvee-store.
    Raises RecipeError when there is no such corpus, tag or version, saying what there is.
    """
    place = open_store(store_uri(store))
    return Dataset(place, resolve(place, ref))
