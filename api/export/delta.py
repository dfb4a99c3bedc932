"""A Delta log beside the Parquet shards of an export, which makes the folder a Delta table."""

import json
from collections.abc import Sequence
from pathlib import Path

from cuvee.schemas.errors import RecipeError


def check_delta() -> None:
    """Raise RecipeError where the package deltalake is missing."""
    try:
        import deltalake  # noqa: F401
    except ImportError:
        raise RecipeError("--delta needs the package deltalake: pip install 'cuvee[delta]'") from None


def write_log(folder: Path, paths: Sequence[Path], name: str) -> None:
    """Write version 0 of a Delta table over Parquet files of the folder, unless a log stands already.

    Statistics are row counts alone: those of columns would repeat texts. name: of the table.
    """
    import pyarrow.parquet as pq
    from deltalake import Schema
    from deltalake.transaction import AddAction, create_table_with_add_actions

    if (folder / "_delta_log").exists():
        return
    actions = [
        AddAction(
            path=path.name,
            size=path.stat().st_size,
            partition_values={},
            modification_time=int(path.stat().st_mtime * 1000),
            data_change=True,
            stats=json.dumps({"numRecords": pq.read_metadata(path).num_rows}),
        )
        for path in paths
    ]
    schema = Schema.from_arrow(pq.read_schema(paths[0]).remove_metadata())
    create_table_with_add_actions(str(folder.absolute()), schema, actions, name=name)
