"""Versions made without a run: files of given strata, documents and row groups, and a manifest over them."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

import cuvee
from cuvee.dataset import Dataset
from cuvee.schemas.amounts import totals
from cuvee.schemas.document import PUBLISHED
from cuvee.schemas.manifest import Bounds, DataFile, Manifest, Proof, Stratum
from cuvee.schemas.records import PoolState
from cuvee.storage.corpus import commit, data_folder, versions, write_state
from cuvee.storage.store import Store, open_store
from cuvee.storage.tables import table_file


class Files(NamedTuple):
    """A stratum's files. rows: of each row group, a list a file; epochs: of the rows, repeated as often as needed;
    words: of a document, about.
    """

    source: str
    provenance: str
    rows: Sequence[Sequence[int]]
    epochs: Sequence[int] = (1,)
    words: int = 20
    split: str = "train"


def publish(uri: str, strata: Iterable[Files], corpus: str = "made") -> Dataset:
    """Publish a version of made documents, and open it."""
    store = open_store(uri)
    chance = np.random.default_rng(1)
    files = [_file(store, corpus, held, at, chance) for held in strata for at in range(len(held.rows))]
    told = totals(files, "exclude")
    proof = {"total": None, "human_share": told.human_share, "human_share_train": None, "counted_from": ()}
    number = max(versions(store, corpus), default=0) + 1
    manifest = Manifest(
        corpus=corpus,
        version=number,
        parent=number - 1 or None,
        created="2026-01-01T00:00:00+00:00",
        run_id="made",
        recipe={},
        recipe_sha256="0" * 64,
        steps={},
        models={},
        pool=write_state(store, corpus, PoolState()),
        files=tuple(files),
        totals=told,
        splits={},
        mixture=Proof.model_validate({**proof, "unit": "words", "bounds": Bounds(min=0, max=1, min_amount=None)}),
        reports=(),
    )
    commit(store, manifest)
    return cuvee.open(f"{corpus}@v{number:04d}", store=uri)


def _file(store: Store, corpus: str, held: Files, at: int, chance: np.random.Generator) -> DataFile:
    amount = 0
    with table_file(store, data_folder(corpus), PUBLISHED, level=3) as writer:
        start = sum(map(sum, held.rows[:at]))
        for rows in held.rows[at]:
            table, counted = _rows(held, start, rows, chance)
            writer.write(table)
            start, amount = start + rows, amount + counted
    depth = int(held.provenance == "synthetic")
    stratum = Stratum(source=held.source, domain="web", language="en", provenance=held.provenance, depth=depth)
    told = {"split": held.split, "stratum": stratum, "accepted": 1, "amounts": {held.provenance: amount}}
    return DataFile.model_validate({**writer.ref.model_dump(), **told})


def _rows(held: Files, start: int, rows: int, chance: np.random.Generator) -> tuple[pa.Table, int]:
    """Return rows, and their amount, copies counted."""
    words = chance.integers(1, 2 * held.words, rows)
    numbers = range(start, start + rows)
    epochs = [held.epochs[number % len(held.epochs)] for number in numbers]
    columns: dict[str, Any] = {
        "doc_id": [f"{held.source}-{held.split}-{number}" for number in numbers],
        "text": [f"{number} " * int(count) for number, count in zip(numbers, words, strict=True)],
        "tokens": words,
        "epochs": epochs,
        "depth": [0] * rows,
    }
    columns |= {name: [held.provenance] * rows for name in ("provenance", "origin")}
    columns |= {"source": [held.source] * rows, "license": ["CC0-1.0"] * rows, "language": ["en"] * rows}
    columns |= {"source_id": columns["doc_id"], "domain": ["web"] * rows, "seed_ids": [[]] * rows}
    arrays = [pa.array(columns.get(field.name, [None] * rows), field.type) for field in PUBLISHED]
    return pa.Table.from_arrays(arrays, schema=PUBLISHED), int((words * np.array(epochs)).sum())
