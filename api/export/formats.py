"""The formats that a shard is written in: Parquet, JSON lines, and MDS."""

import json
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from cuvee.schemas.document import PUBLISHED
from cuvee.schemas.errors import RecipeError
from cuvee.storage.tables import ROW_GROUP_BYTES, TableWriter

Format = Literal["parquet", "jsonl", "mds"]

# Columns of MDS: texts and numbers as such, all that may be null or nested as JSON.
_MDS_TEXT = ("doc_id", "text", "provenance", "origin", "source", "source_id", "license", "domain", "language")
_MDS_NUMBER = ("tokens", "epochs", "depth")
_MDS_ENCODINGS = {
    name: "str" if name in _MDS_TEXT else "int" if name in _MDS_NUMBER else "json" for name in sorted(PUBLISHED.names)
}
_MOST_OFFSET = 2**32 - 1


def shard_name(split: str, number: int, shards: int, form: Format) -> str:
    """Name a shard as its readers expect it: train-00003-of-00008.parquet, or shard.00003.mds."""
    return f"shard.{number:05d}.mds" if form == "mds" else f"{split}-{number:05d}-of-{shards:05d}.{form}"


def write_shard(path: Path, tables: Iterable[pa.Table], form: Format) -> None:
    """Write tables, with the columns of PUBLISHED, as one file; the same rows give the same bytes.

    Raises RecipeError for a shard that the format cannot hold.
    """
    {"parquet": _write_parquet, "jsonl": _write_jsonl, "mds": _write_mds}[form](path, tables)


def _write_parquet(path: Path, tables: Iterable[pa.Table]) -> None:
    writer = TableWriter(path, PUBLISHED, level=3, small_pages=False)
    try:
        held: list[pa.Table] = []
        for table in tables:
            held.append(table)
            if sum(part.nbytes for part in held) >= ROW_GROUP_BYTES:
                writer.write(pa.concat_tables(held))
                held = []
        if held:
            writer.write(pa.concat_tables(held))
    finally:
        writer.close()


def _write_jsonl(path: Path, tables: Iterable[pa.Table]) -> None:
    with path.open("w", encoding="utf-8", newline="\n") as file:
        for row in _rows(tables):
            file.write(f"{_json(row)}\n")


def _write_mds(path: Path, tables: Iterable[pa.Table]) -> None:
    """Write Mosaic Data Shards, version 2 (mosaicml-streaming): uint32 count, uint32 offsets of each sample and of the
    end, the configuration as JSON, then the samples: uint32 sizes of the columns that vary in size, then the values.
    """
    rest, sizes = path.with_name(path.name + ".rest"), []
    with rest.open("wb") as file:
        for row in _rows(tables):
            sizes.append(file.write(_mds_sample(row)))
    config = json.dumps(mds_config(), sort_keys=True).encode()
    start = 4 + 4 * (len(sizes) + 1) + len(config)
    offsets = start + np.cumsum([0, *sizes], dtype=np.int64)
    if offsets[-1] > _MOST_OFFSET:
        rest.unlink()
        raise RecipeError(
            f"{path.name}: a shard of MDS holds less than 4 GiB, this one has {offsets[-1]:,}; use more --shards"
        )
    with path.open("wb") as file, rest.open("rb") as samples:
        file.write(np.uint32(len(sizes)).tobytes() + offsets.astype("<u4").tobytes() + config)
        shutil.copyfileobj(samples, file, 2**20)
    rest.unlink()


def mds_config() -> dict[str, Any]:
    """Return what a shard of MDS and its index say of the columns; column_sizes: bytes, null where they vary."""
    return {
        "version": 2,
        "format": "mds",
        "compression": None,
        "hashes": ["sha256"],
        "size_limit": None,
        "column_names": list(_MDS_ENCODINGS),
        "column_encodings": list(_MDS_ENCODINGS.values()),
        "column_sizes": [8 if encoding == "int" else None for encoding in _MDS_ENCODINGS.values()],
    }


def _mds_sample(row: dict[str, Any]) -> bytes:
    values = []
    for name, encoding in _MDS_ENCODINGS.items():
        if encoding == "int":
            values.append(np.int64(row[name]).tobytes())
        else:
            values.append((row[name] if encoding == "str" else _json(row[name])).encode())
    sizes = [len(value) for value, name in zip(values, _MDS_ENCODINGS, strict=True) if _MDS_ENCODINGS[name] != "int"]
    return b"".join([np.array(sizes, "<u4").tobytes(), *values])


def _rows(tables: Iterable[pa.Table]) -> Iterator[dict[str, Any]]:
    for table in tables:
        yield from table.to_pylist()


def _json(tree: Any) -> str:
    return json.dumps(tree, ensure_ascii=False, default=str)
