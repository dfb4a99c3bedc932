"""A published version, as its readers see it."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from cuvee.schemas.errors import IntegrityError
from cuvee.schemas.manifest import DataFile, Manifest
from cuvee.schemas.records import FileRef
from cuvee.storage.corpus import resolve
from cuvee.storage.store import Store, open_store, store_uri

if TYPE_CHECKING:
    import polars as pl
    import pyarrow.dataset as pads

Split = Literal["train", "validation"]


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
        """Return a polars LazyFrame over a split (None: all)."""
        import polars as pl

        from cuvee.schemas.document import PUBLISHED

        files = self.files(split)
        return pl.scan_parquet(files) if files else pl.DataFrame(PUBLISHED.empty_table()).lazy()

    def dataset(self, split: Split | None = "train") -> "pads.Dataset":
        """Return a pyarrow dataset over a split (None: all)."""
        import pyarrow.dataset as pads

        from cuvee.schemas.document import PUBLISHED

        return pads.dataset(self.files(split), schema=PUBLISHED, format="parquet")

    def report(self, name: str) -> FileRef:
        """Return the reference of a report such as ledger.parquet; raises IntegrityError when the version has none."""
        for ref in self.manifest.reports:
            if ref.path.rsplit("/", 1)[1] == name:
                return ref
        raise IntegrityError(f"{self.manifest.ref} has no report {name}; publish it again with this cuvee")

    def pull(self, folder: str | Path) -> list[Path]:
        """Copy the version into a folder: data/<split>/…, manifest.json, README.md; return the data files.

        Files that stand already are kept, files below data/ that the manifest does not name are removed, and the
        manifest is written last. Raises IntegrityError when a copy does not have its recorded bytes.
        """
        target = Path(folder)
        names = {target / "data" / file.split / file.path.rsplit("/", 1)[1]: file for file in self.manifest.files}
        for path, file in names.items():
            if not (path.is_file() and path.stat().st_size == file.bytes and _sha256(path) == file.sha256):
                self._copy(file, path)
        self._copy(self.report("README.md"), target / "README.md")
        for path in sorted((target / "data").rglob("*.parquet")):
            if path not in names:
                path.unlink()
        part = target / "manifest.json.part"
        part.write_text(json.dumps(self.manifest.model_dump(mode="json"), indent=1) + "\n", encoding="utf-8")
        part.replace(target / "manifest.json")
        return sorted(names)

    def verify(self) -> Iterator[str]:
        """Yield what is wrong with the version: missing or changed files and reports, counts that do not add up."""
        for ref in [*self.manifest.files, *self.manifest.reports, self.manifest.pool]:
            yield from self._faults(ref)
        rows = sum(file.rows for file in self.manifest.files)
        if rows != self.manifest.totals.documents:
            yield f"the files have {rows} documents, the manifest counts {self.manifest.totals.documents}"

    def _chosen(self, split: Split | None) -> list[DataFile]:
        return [file for file in self.manifest.files if split in (None, file.split)]

    def _copy(self, ref: FileRef, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(path.name + ".part")
        try:
            with self.store.open(ref.path) as source, part.open("wb") as copy:
                shutil.copyfileobj(source, copy, 2**20)
        except FileNotFoundError:
            raise IntegrityError(f"{self.store.location(ref.path)} is missing; restore it from a backup") from None
        if _sha256(part) != ref.sha256:
            part.unlink()
            raise IntegrityError(f"{self.store.location(ref.path)} is not what the manifest names; see: cuvee verify")
        part.replace(path)

    def _faults(self, ref: FileRef) -> Iterator[str]:
        import hashlib

        place = self.store.location(ref.path)
        try:
            with self.store.open(ref.path) as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]
        except FileNotFoundError:
            yield f"{place} is missing"
            return
        if digest != ref.sha256:
            yield f"{place} has changed: its SHA-256 is {digest[:12]}…, published was {ref.sha256[:12]}…"
        elif isinstance(ref, DataFile):
            yield from self._miscounts(ref, place)

    def _miscounts(self, file: DataFile, place: str) -> Iterator[str]:
        """Recount documents and amounts from a file's own columns."""
        import pyarrow.compute as pc
        import pyarrow.parquet as pq

        unit = self.manifest.mixture["unit"]
        columns = ["provenance", "tokens", "epochs", *(["text"] if unit == "bytes" else [])]
        with self.store.open(file.path) as source:
            table: Any = pq.ParquetFile(source).read(columns)
        copies = pc.cast(table["epochs"], "int64")
        if unit == "bytes":
            copies = pc.multiply(copies, pc.cast(pc.binary_length(table["text"]), "int64"))
        elif unit != "documents":
            copies = pc.multiply(copies, table["tokens"])
        sums = (
            table.select(["provenance"])
            .append_column("amount", copies)
            .group_by("provenance")
            .aggregate([("amount", "sum")])
        )
        counted = dict(zip(sums["provenance"].to_pylist(), sums["amount_sum"].to_pylist(), strict=True))
        if counted != file.amounts or table.num_rows != file.rows:
            yield f"{place} holds {counted} in {table.num_rows} rows, the manifest says {file.amounts} in {file.rows}"


def open_dataset(ref: str, store: str | None = None) -> Dataset:
    """Open a version. ref: corpus, corpus@latest or corpus@v0007. store: a folder; default $CUVEE_STORE, ./cuvee-store.

    Raises RecipeError when there is no such corpus, tag or version, saying what there is.
    """
    place = open_store(store_uri(store))
    return Dataset(place, resolve(place, ref))


def _sha256(path: Path) -> str:
    import hashlib

    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
