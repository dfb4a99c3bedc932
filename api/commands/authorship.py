"""Commands on who wrote a text: classify, provenance train and eval."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from cuvee.commands.progress import display
from cuvee.commands.shared import answer, json_option, passed_over, say, store_option
from cuvee.schemas.errors import InputError
from cuvee.schemas.visible import on_line

if TYPE_CHECKING:
    import polars as pl

    from cuvee.tasks.provenance.conclude import Thresholds
    from cuvee.tasks.provenance.model import Model
    from cuvee.tasks.provenance.protocol import ProvenanceModel

_MODEL_HELP = "builtin, the folder of a trained model, or name@v0001 of the store."


@click.command()
@click.argument("paths", nargs=-1, required=True)
@click.option("--model", default="builtin", show_default=True, help=_MODEL_HELP)
@store_option
@click.option("--text", default="text", show_default=True, help="Column of the text.")
@click.option(
    "--max-false-positive-rate",
    "rate",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    default=0.005,
    show_default=True,
    help="Share of human texts that may be called synthetic.",
)
@click.option(
    "--audit",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Table of id and label (human, synthetic) of a random sample that people read.",
)
@json_option
def classify(
    paths: tuple[str, ...],
    model: str,
    store: str | None,
    text: str,
    rate: float,
    audit: Path | None,
    as_json: bool,
) -> None:
    """Tell who wrote the documents of PATHS, from their text alone; declared fields are ignored.

    PATHS are files of any format that is read, or folders, of which other files are passed over. A line a document:
    provenance, P(synthetic) (- where the text is too short or in another language), id, evidence; then, on stderr, the
    share that machines wrote. Rows that cannot be read are named on stderr, the rest goes on, and the exit code is 1.
    """
    import polars as pl

    from cuvee.tasks.provenance.classify import classify_files, read_audit

    loaded = _load(model, store)
    labels = read_audit(audit) if audit else None
    judged = [pl.DataFrame(schema={"id": pl.String, "p_model": pl.Float64, "provenance": pl.String})]
    bad = 0
    passed: list[Path] = []

    def tell(line: str) -> None:
        nonlocal bad
        bad += 1
        say(line, err=True)

    with display(as_json):
        for found in classify_files(paths, loaded, _thresholds(loaded, rate), text, _language, tell, passed.append):
            judged.append(found.select(judged[0].columns))
            for row in found.drop("p_model").iter_rows(named=True):
                if as_json:
                    answer(row)
                else:
                    p = "    -" if row["p_synthetic"] is None else f"{row['p_synthetic']:.3f}"
                    say(f"{row['provenance']:<9} {p}  {on_line(row['id'])}  {on_line(', '.join(row['evidence']))}")
    if passed:
        say(passed_over(passed), err=True)
    for line in _summary(pl.concat(judged), loaded, labels):
        say(line, err=True)
    if bad:
        raise InputError(f"{bad:,} rows or files cannot be read; they are named above, all others are classified")


@click.group()
def provenance() -> None:
    """Train provenance models on labelled texts, and measure them."""


@provenance.command()
@click.option(
    "--data", "paths", multiple=True, required=True, help="Files with text, label, and group, domain, generator."
)
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), required=True, help="Folder of the model.")
@click.option("--name", default="model", show_default=True, help="Name of the model, for its card and its answers.")
@click.option("--leave-out", is_flag=True, help="Also train without each domain and generator, for the card; minutes.")
@click.option("--keep", is_flag=True, help="Also put the model into the store, as the next version of its name.")
@store_option
@json_option
def train(
    paths: tuple[str, ...], out: Path, name: str, leave_out: bool, keep: bool, store: str | None, as_json: bool
) -> None:
    """Train a model on labelled texts, and write its card; the same texts give the same bytes.

    Texts whose column `slice` ends in "valid" are kept for the card's figures.
    """
    from cuvee.storage.store import open_store, store_uri
    from cuvee.tasks.provenance.product import make

    with display(as_json):
        made = make(paths, out, name, leave_out, open_store(store_uri(store)) if keep else None, _percent)
    if as_json:
        answer(made.model_dump(mode="json"))
    else:
        say(f"{out}: model {name}, with its card CARD.md; use it: provenance: {{model: {made.use}}} in a recipe")


@provenance.command(name="eval")
@click.argument("model")
@click.option("--data", "paths", multiple=True, required=True, help="Files with text, label, domain, generator.")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="Also write the card to this file.")
@click.option(
    "--leave-out",
    is_flag=True,
    help="Also train without each domain and generator of the texts, for the card; minutes.",
)
@store_option
@json_option
def evaluate(
    model: str, paths: tuple[str, ...], out: Path | None, leave_out: bool, store: str | None, as_json: bool
) -> None:
    """Measure MODEL on labelled texts that it was not trained on, and print its card.

    MODEL is builtin, the folder of a trained model, or name@v0001 of the store.
    """
    from cuvee.tasks.provenance.card import card
    from cuvee.tasks.provenance.evaluate import evaluate as measure
    from cuvee.tasks.provenance.product import labelled
    from cuvee.tasks.provenance.unseen import unseen

    frame = labelled(paths)
    found = measure(_load(model, store), frame)
    with display(as_json):
        left_out = unseen(frame, progress=_percent) if leave_out else None
    text = card(found, None, left_out)
    if out:
        out.write_text(text, encoding="utf-8")
    if as_json:
        answer(found.model_dump(mode="json"))
        return
    say(text)


def _load(model: str, store: str | None) -> "Model":
    from cuvee.storage.store import store_uri
    from cuvee.tasks.provenance.model import is_ref, load
    from cuvee.tasks.provenance.store import load_named

    return load_named(store_uri(store), model) if is_ref(model) else load(model)


def _thresholds(model: "ProvenanceModel", rate: float) -> "Thresholds":
    from cuvee.tasks.provenance.conclude import Thresholds

    return Thresholds(synthetic=model.threshold(rate), human=model.human_threshold())


def _language(text: "pl.Series") -> "pl.Series":
    from cuvee.tasks.filters import language

    return language.signals(text.alias("text").to_frame())["language"]


def _summary(documents: "pl.DataFrame", model: "ProvenanceModel", labels: "pl.DataFrame | None") -> list[str]:
    from cuvee.tasks.provenance.classify import prevalence_of
    from cuvee.tasks.provenance.prevalence import Estimate

    counts = documents.group_by("provenance").len().sort("provenance").iter_rows()
    told = ", ".join(f"{count:,} {name}" for name, count in counts) or "no documents"
    lines = [f"{told} (model {model.name} {model.version})"]
    found = prevalence_of(documents, model, labels)

    def line(name: str, estimate: Estimate | None, of: str) -> None:
        if estimate:
            interval = f"{estimate.low:.1%} to {estimate.high:.1%}"
            lines.append(f"machine-written, {name}: {estimate.share:.1%} ({interval}) of {of}")

    judged = f"the {found.judged:,} documents with a probability"
    line("adjusted count", found.adjusted_count, judged)
    line("EMQ", found.emq, judged)
    line(f"by {found.audit_sample:,} audited documents", found.audited, f"all {found.documents:,}: use this one")
    if found.warning:
        lines.append(f"warning: {found.warning}")
    return lines


def _percent(_: str, share: float) -> None:
    from cuvee.tasks.steps import progress

    progress("training, percent", round(share * 100), 100)


COMMANDS = [classify, provenance]
