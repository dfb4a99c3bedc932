"""Marks: what a Parquet file that cuvee published says of its rows."""

import pyarrow.parquet as pq

from cuvee.schemas.marking import KEY, read_mark


def marking_of(metadata: pq.FileMetaData) -> tuple[str | None, str | None]:
    """Return the provenance that cuvee's mark gives all rows, and why a mark is not believed; None for either."""
    written = (metadata.metadata or {}).get(KEY.encode())
    if written is None:
        return None, None
    try:
        return read_mark(written, metadata.num_rows).provenance, None
    except ValueError as error:
        return None, f"cuvee's mark in its metadata is not believed: {error}; its rows are taken as declared"
