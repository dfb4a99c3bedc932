"""Export: cut a version's mixed order into shards of equal size.

The folder has the shards and `export.json`: what they were made of, and each finished shard's SHA-256. It is written
anew after every shard, so that an export that was killed goes on behind the last whole one.
"""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
from pydantic import Field, ValidationError

from cuvee.dataset import Dataset, Split
from cuvee.export.formats import Format, mds_config, shard_name, write_shard
from cuvee.loader import Loader
from cuvee.schemas.base import Frozen
from cuvee.schemas.document import PUBLISHED
from cuvee.schemas.errors import RecipeError
from cuvee.storage.trust import MOST_JSON_BYTES

INDEX = "export.json"


class Plan(Frozen):
    """What is exported, and how. manifest: SHA-256 of the version's stored manifest."""

    version: str
    manifest: str
    split: Split
    seed: int = Field(ge=0)
    shards: int = Field(ge=1, le=100_000)
    format: Format


class Shard(Frozen):
    """A finished shard."""

    name: str
    sha256: str
    bytes: int
    rows: int


class Index(Frozen):
    """What a folder of shards says of itself."""

    plan: Plan
    shards: tuple[Shard, ...] = ()


def export(dataset: Dataset, folder: Path, shards: int, seed: int, form: Format, split: Split = "train") -> list[Path]:
    """Write a split as shards into a folder, and return them, in order; shards that stand whole are kept.

    Row i of the mixed order (`Loader`, epoch 0) is in shard i·shards // rows, so sizes differ by one row at most, and
    each shard has the mixture of the whole. A document with `epochs` 3 is there three times, and its `epochs` is 1.
    Raises RecipeError, and touches nothing, for a folder that holds anything but this export; and for more shards than
    rows.
    """
    loader = dataset.loader(seed=seed, split=split, columns=PUBLISHED.names)
    told = loader.state_dict()["manifest"]
    if not 1 <= shards <= max(1, loader.documents):
        raise RecipeError(
            f"--shards {shards}: {dataset.manifest.ref} has {loader.documents:,} rows to export (split {split}, copies "
            "counted); give at least one and at most so many"
        )
    plan = Plan(version=dataset.manifest.ref, manifest=told, split=split, seed=seed, shards=shards, format=form)
    finished = _finished(folder, plan)
    folder.mkdir(parents=True, exist_ok=True)
    _write_json(folder / INDEX, Index(plan=plan, shards=tuple(finished.values())).model_dump(mode="json"))
    for name, start, end in _missing(loader, plan, finished):
        part = folder / f"{name}.part"
        write_shard(part, _unrolled(loader, start, end), form)
        finished[name] = Shard(name=name, sha256=_sha256(part), bytes=part.stat().st_size, rows=end - start)
        part.replace(folder / name)
        done = tuple(finished[name] for name in sorted(finished))
        _write_json(folder / INDEX, Index(plan=plan, shards=done).model_dump(mode="json"))
    if form == "mds":
        _write_json(folder / "index.json", _mds_index([finished[name] for name in sorted(finished)]))
    return [folder / name for name in sorted(finished)]


def _missing(loader: Loader, plan: Plan, finished: dict[str, Shard]) -> Iterator[tuple[str, int, int]]:
    """Yield name and rows of each shard that does not stand."""
    for number in range(plan.shards):
        name = shard_name(plan.split, number, plan.shards, plan.format)
        if name not in finished:
            start, end = (-(-loader.documents * at // plan.shards) for at in (number, number + 1))
            yield name, start, end


def _unrolled(loader: Loader, start: int, end: int) -> Iterator[pa.Table]:
    place = PUBLISHED.get_field_index("epochs")
    for table in loader.tables(start, end):
        ones = pa.array([1] * table.num_rows, PUBLISHED.field("epochs").type)
        yield table.set_column(place, PUBLISHED.field("epochs"), ones)


def _finished(folder: Path, plan: Plan) -> dict[str, Shard]:
    """Return the shards that an earlier export of the same plan left whole.

    Raises RecipeError when the folder holds something else.
    """
    if not folder.exists() or (folder.is_dir() and {path.name for path in folder.iterdir()} <= {f"{INDEX}.part"}):
        return {}
    index = _read_index(folder / INDEX) if folder.is_dir() else None
    if index is None:
        raise RecipeError(f"{folder} holds what no export wrote (no {INDEX} of cuvee in it); choose another folder")
    if index.plan != plan:
        own, asked = index.plan.model_dump(), plan.model_dump()
        differs = ", ".join(f"{name} {own[name]}, not {asked[name]}" for name in own if own[name] != asked[name])
        raise RecipeError(f"{folder} holds an export of {differs}; choose another folder, or remove this one")
    stand = {shard.name: shard for shard in index.shards if (folder / shard.name).is_file()}
    return {name: shard for name, shard in stand.items() if _sha256(folder / name) == shard.sha256}


def _read_index(path: Path) -> Index | None:
    try:
        return Index.model_validate_json(path.read_bytes()) if path.stat().st_size <= MOST_JSON_BYTES else None
    except (OSError, ValidationError):
        return None


def _mds_index(shards: list[Shard]) -> dict[str, object]:
    told = [
        {
            **mds_config(),
            "samples": shard.rows,
            "raw_data": {"basename": shard.name, "bytes": shard.bytes, "hashes": {"sha256": shard.sha256}},
            "zip_data": None,
        }
        for shard in shards
    ]
    return {"version": 2, "shards": told}


def _write_json(path: Path, tree: object) -> None:
    part = path.with_name(f"{path.name}.part")
    part.write_text(json.dumps(tree, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    part.replace(path)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
