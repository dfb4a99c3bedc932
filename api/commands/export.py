"""The command that writes a version for readers that deal out files: export."""

from pathlib import Path
from typing import Any

import click

from cuvee.commands.shared import answer, json_option, say, store_option
from cuvee.dataset import open_dataset
from cuvee.schemas.errors import RecipeError


@click.command()
@click.argument("ref")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--shards", type=click.IntRange(min=1), required=True, help="How many files.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of the order.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["parquet", "jsonl", "mds"]),
    default="parquet",
    show_default=True,
    help="Of the files.",
)
@click.option(
    "--split", type=click.Choice(["train", "validation"]), default="train", show_default=True, help="Which one."
)
@click.option("--push", "repository", metavar="hf://datasets/ORG/NAME[@BRANCH]", help="Then upload the files there.")
@click.option("--delta", is_flag=True, help="Then write a Delta log beside the files; needs cuvee[delta].")
@store_option
@json_option
def export(
    ref: str,
    folder: Path,
    shards: int,
    seed: int,
    form: Any,
    split: Any,
    repository: str | None,
    delta: bool,
    store: str | None,
    as_json: bool,
) -> None:
    """Write REF into FOLDER as files of equal size, strata mixed and epochs unrolled, for readers that deal out files.

    The same REF, seed and number give the same bytes. An export that was stopped goes on with the same command; files
    that stand whole are kept. A FOLDER that holds anything else is refused and left as it is.
    """
    from cuvee.export import delta as table_log
    from cuvee.export import export as write
    from cuvee.export import hub

    target = hub.parse_repository(repository) if repository else None
    if delta:
        if form != "parquet":
            raise RecipeError(f"--delta with --format {form}: a Delta table is of Parquet files")
        table_log.check_delta()
    dataset = open_dataset(ref, store)
    paths = write(dataset, folder, shards, seed, form, split)
    if delta:
        table_log.write_log(folder, paths, dataset.manifest.corpus)
    beside = ["export.json", *(["index.json"] if form == "mds" else [])]
    names = [*(path.name for path in paths), *beside]
    pushed = hub.push(folder, names, target, f"{dataset.manifest.ref}, {split}") if target else None
    if as_json:
        answer({"version": dataset.manifest.ref, "files": [str(path) for path in paths], "pushed": pushed})
    else:
        say(f"{dataset.manifest.ref}: {len(paths)} files in {folder}{f', pushed: {pushed}' if pushed else ''}")


COMMANDS = [export]
