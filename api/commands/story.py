"""The story of a document, from the ledger of a version."""

from collections.abc import Iterator
from typing import Any

import polars as pl

from cuvee.dataset import Dataset
from cuvee.schemas.errors import RecipeError

_STEPS = ("ingest", "filter", "dedup_exact", "classify", "dedup_near", "decontaminate", "mixture")
# Fewer digits of an id could name many documents.
_FEWEST_DIGITS = 6


def rows_of(dataset: Dataset, name: str) -> list[dict[str, Any]]:
    """Return the ledger's rows of a document; raises RecipeError when there are none."""
    with dataset.store.open(dataset.report("ledger.parquet").path) as file:
        ledger = pl.read_parquet(file)
    named = pl.col("source_id") == name
    if len(name) >= _FEWEST_DIGITS:
        named |= pl.col("doc_id").str.starts_with(name)
    rows = ledger.filter(named.fill_null(value=False))
    if rows.is_empty():
        raise RecipeError(
            f"{name!r} is in no row of {dataset.manifest.ref}; give a doc_id (or its first {_FEWEST_DIGITS} digits or "
            "more) or a source's own id; published doc_ids: cuvee files, then the column doc_id"
        )
    return rows.to_dicts()


def tell(dataset: Dataset, rows: list[dict[str, Any]]) -> Iterator[str]:
    """Yield the lines of the story of each row."""
    for row in rows:
        place = f"row {row['row']} of file {(row['file'] or '')[:12]}" if row["row"] is not None else row["source_id"]
        yield f"{row['doc_id'] or 'no document'} from source {row['source']}, {place}, id {row['source_id']}"
        if row["provenance"]:
            p = row["p_synthetic"]
            probability = "not scored" if p is None else f"P(synthetic) {p:.3f}"
            yield f"  provenance     {row['provenance']} ({row['evidence'] or 'no evidence'}; {probability})"
        last = row["step"] if row["outcome"] == "dropped" else "mixture"
        for step in _STEPS[: _STEPS.index(last)] if last in _STEPS else ():
            yield f"  {step:<14} passed"
        yield f"  {row['step'] or 'mixture':<14} {_end(dataset, row)}"


def _end(dataset: Dataset, row: dict[str, Any]) -> str:
    if row["outcome"] == "kept":
        return f"kept: published in {dataset.manifest.ref}"
    if row["outcome"] == "pooled":
        return "pooled: it survived, and the mixture did not take it (its hash priority came after the amount was full)"
    if row["outcome"] in ("unreadable", "failed"):
        return f"{row['outcome']}: {row['detail']}"
    because = f"dropped: {row['reason']}"
    if row["keeper"]:
        because += f", in favour of {row['keeper']} (Jaccard {row['jaccard']:.3f})"
    return because + (f", {row['detail']}" if row["detail"] else "")
