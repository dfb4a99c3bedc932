"""The story of a document, from the ledger of a version or of a run."""

import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import polars as pl

from cuvee.dataset import open_dataset
from cuvee.schemas.document import hidden_id
from cuvee.schemas.errors import RecipeError
from cuvee.schemas.manifest import parse_ref, version_name
from cuvee.schemas.records import FileRef, PoolState
from cuvee.schemas.report import STEPS, RunEnd
from cuvee.schemas.visible import on_line
from cuvee.storage.corpus import newest_run, resolve, state_of
from cuvee.storage.store import Store, open_store, store_uri
from cuvee.storage.tables import read_ledger

_DOC_ID = re.compile("[0-9a-f]{32}")
# Fewer digits of an id could name many documents.
_FEWEST_DIGITS = 6
# What is published as the id of a row that has none of its own.
_PUBLISHED_ROW = re.compile("([0-9a-f]{64}):([0-9]{1,18})")
# A screen or two; a name of a file may find millions.
MOST_ROWS_TOLD = 20
_ENDED = {"nothing_new": "found nothing new", "stopped": "was stopped, and published nothing"}


class Ledger(NamedTuple):
    """Where rows ended. ref: the version in which kept rows are published; end: how the run ended whose ledger it is,
    null for the ledger of a version.
    """

    rows: pl.DataFrame
    ref: str
    end: RunEnd | None = None

    def state(self, store: Store) -> PoolState:
        """Return the pool state of the version, the empty one where nothing was published yet."""
        return state_of(store, resolve(store, self.ref)) if "@" in self.ref else PoolState()


def ledger_of(ref: str, store: str | None, doc_id: str = "") -> Ledger:
    """Read the ledger of a version, or, for a corpus without a tag or version, of its last run, published or not.

    doc_id: where it is one, and the ledger has it, its file alone is read.
    Raises RecipeError when there is neither, IntegrityError when a file of the ledger is missing or damaged.
    """
    place = open_store(store_uri(store))
    corpus, _ = parse_ref(ref)
    end = newest_run(place, corpus) if ref == corpus else None
    if end is None:
        dataset = open_dataset(ref, store)
        manifest = dataset.manifest
        rows = _near_by(place, manifest.ledger, manifest.ledger_partitions, doc_id)
        return Ledger(dataset.ledger() if rows is None else rows, manifest.ref)
    standing = f"{corpus}@{version_name(end.version)}" if end.version else corpus
    rows = _near_by(place, end.ledger, end.partitions, doc_id)
    rows = pl.DataFrame(read_ledger(place, end.ledger)) if rows is None else rows
    return Ledger(rows, standing, None if end.outcome == "published" else end)


def _near_by(store: Store, files: Sequence[FileRef], partitions: int, doc_id: str) -> pl.DataFrame | None:
    """Return the rows of the file in which a document stands, None where it is no doc_id or stands nowhere."""
    if not _DOC_ID.fullmatch(doc_id) or not 0 < partitions <= len(files):
        return None
    number = int(doc_id, 16) * partitions >> 4 * len(doc_id)
    rows = pl.DataFrame(read_ledger(store, [files[number]]))
    return rows if doc_id in rows["doc_id"] else None


def rows_of(ledger: Ledger, name: str) -> list[dict[str, Any]]:
    """Return the ledger's rows that a name finds, in the ledger's order; raises RecipeError when there are none.

    name: a source's own id, or what is published in its place (file:row), the name of a source file, or the first
    digits (6 or more) of a doc_id or of the SHA-256 of a source file.
    """
    named = pl.col("source_id").is_in([name, hidden_id(name)]) | (pl.col("path") == name)
    if found := _PUBLISHED_ROW.fullmatch(name):
        named |= (pl.col("file") == found[1]) & (pl.col("row") == int(found[2]))
    if len(name) >= _FEWEST_DIGITS:
        named |= pl.col("doc_id").str.starts_with(name) | pl.col("file").str.starts_with(name)
    rows = ledger.rows.filter(named)
    if rows.is_empty():
        raise RecipeError(
            f"{name!r} is in no row of {ledger.ref}; give a doc_id or the SHA-256 of a source file (the "
            f"first {_FEWEST_DIGITS} digits do), a source's own id, or a file below the recipe's pattern, such as "
            "part-1.jsonl; all rows are in the ledger, whose files are named by: cuvee show --json"
        )
    return rows.to_dicts()


def tell(ledger: Ledger, rows: Sequence[dict[str, Any]]) -> Iterator[str]:
    """Yield the lines of the story of each row, of 20 rows at most, then how many more there are."""
    if ledger.end:
        yield f"as of run {ledger.end.run_id}, which {_ENDED[ledger.end.outcome]}"
    for row in rows[:MOST_ROWS_TOLD]:
        yield from _story(ledger.ref, row)
    if len(rows) > MOST_ROWS_TOLD:
        yield f"{len(rows) - MOST_ROWS_TOLD:,} more rows; all of them: --json"


def _story(ref: str, row: dict[str, Any]) -> Iterator[str]:
    row = {name: on_line(value) if isinstance(value, str) else value for name, value in row.items()}
    yield f"{row['doc_id'] or 'no document'} from source {row['source']}{_place(row)}"
    if row["provenance"]:
        p = row["p_synthetic"]
        probability = "not scored" if p is None else f"P(synthetic) {p:.3f}"
        yield f"  provenance     {row['provenance']} ({row['evidence'] or 'no evidence'}; {probability})"
    last = "mixture" if row["outcome"] in ("kept", "pooled") else row["step"]
    for step in STEPS[: STEPS.index(last)] if last in STEPS else ():
        yield f"  {step:<14} passed"
    yield f"  {row['step'] or 'mixture':<14} {_end(ref, row)}"


def _place(row: dict[str, Any]) -> str:
    """Say where a row stood: in a file, counted from 0, or for a draft in the answers to its request."""
    file = row["path"] or f"file {(row['file'] or '')[:12]}"
    stood = "" if row["row"] is None else f", row {row['row']} of {file}"
    return stood + (f", id {row['source_id']}" if row["source_id"] else "")


def _end(ref: str, row: dict[str, Any]) -> str:
    if row["outcome"] == "kept":
        return f"kept: published in {ref}"
    if row["outcome"] == "pooled":
        return "pooled: it survived, and the mixture did not take it (its hash priority came after the amount was full)"
    if row["outcome"] in ("unreadable", "failed"):
        return f"{row['outcome']}: {row['detail']}"
    because = f"dropped: {row['reason']}"
    if row["keeper"] and row["keeper"] == row["doc_id"]:
        because += ", the same text stands in a row that comes before this one (the rows with this doc_id tell which)"
    elif row["keeper"]:
        because += f", in favour of {row['keeper']}"
        because += "" if row["jaccard"] is None else f"; Jaccard {row['jaccard']:.3f}"
        return because + (f", {row['detail']}" if row["detail"] else "")
    return because + (f": {row['detail']}" if row["detail"] else "")
