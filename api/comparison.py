"""Comparison: what changed from one version to another."""

from typing import TYPE_CHECKING, Any

from cuvee.dataset import Dataset
from cuvee.schemas.manifest import Manifest

if TYPE_CHECKING:
    import polars as pl


def compare(before: Dataset, after: Dataset) -> dict[str, Any]:
    """Compare two versions, of one corpus or of two.

    Returns documents (added, removed, same), files (shared, bytes_shared, bytes_new), and amounts (by source) and
    recipe (by dotted key): name → (was, becomes) of what differs, None where there is none. Of the published files only
    those are read that the versions do not share, and of them only the column doc_id.
    """
    shared = {file.sha256 for file in before.manifest.files} & {file.sha256 for file in after.manifest.files}
    sizes = {file.sha256: file.bytes for file in after.manifest.files}
    bytes_shared = sum(sizes[sha256] for sha256 in shared)
    return {
        "documents": _compared(before, after, shared),
        "files": {
            "shared": len(shared),
            "bytes_shared": bytes_shared,
            "bytes_new": sum(sizes.values()) - bytes_shared,
        },
        "amounts": _changes(_by_source(before.manifest), _by_source(after.manifest)),
        "recipe": _changes(_flat(before.manifest.recipe), _flat(after.manifest.recipe)),
    }


def _compared(before: Dataset, after: Dataset, shared: set[str]) -> dict[str, int]:
    """Count documents by what became of them; those of shared files are in both versions, and are not read."""
    old, new = (_doc_ids(dataset, shared) for dataset in (before, after))
    gone, come, moved = old.height, new.height, new.join(old, on="doc_id", how="semi").height
    same = sum(file.rows for file in after.manifest.files if file.sha256 in shared)
    return {"added": come - moved, "removed": gone - moved, "same": same + moved}


def _doc_ids(dataset: Dataset, shared: set[str]) -> "pl.DataFrame":
    """Read the ids of the files that are not shared; a version holds each once."""
    import polars as pl

    from cuvee.storage.tables import read_tables

    own = [file for file in dataset.manifest.files if file.sha256 not in shared]
    tables = [pl.DataFrame(table) for table in read_tables(dataset.store, own, ["doc_id"])]
    return pl.concat([pl.DataFrame(schema={"doc_id": pl.String}), *tables])


def _by_source(manifest: Manifest) -> dict[str, int]:
    sums: dict[str, int] = {}
    for file in manifest.files:
        sums[file.stratum.source] = sums.get(file.stratum.source, 0) + file.amount
    return sums


def _flat(tree: Any, path: str = "") -> dict[str, Any]:
    if isinstance(tree, dict | list) and tree:
        pairs = tree.items() if isinstance(tree, dict) else enumerate(tree)
        return {key: value for name, node in pairs for key, value in _flat(node, f"{path}.{name}".lstrip(".")).items()}
    return {path: tree}


def _changes(old: dict[str, Any], new: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    names = sorted(old.keys() | new.keys())
    return {name: (old.get(name), new.get(name)) for name in names if old.get(name) != new.get(name)}
