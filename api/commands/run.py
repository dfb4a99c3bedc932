"""Commands that make versions: init, demo, run."""

import os
import re
import shlex
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cuvee.commands.progress import display
from cuvee.commands.shared import answer, json_option, runner_option, say, store_option, table, workers_option
from cuvee.schemas.errors import RecipeError
from cuvee.schemas.manifest import version_name
from cuvee.storage.store import open_store, store_uri

if TYPE_CHECKING:
    from cuvee.schemas.report import RunReport

STARTER = """\
# A recipe of cuvee. Every key and its default: docs/recipe.md
corpus: {corpus}
sources:
  - name: articles
    uri: texts/*.jsonl          # also csv, parquet, txt, html, each also .gz or .zst
    origin: human               # human | synthetic | unknown
    license: CC0-1.0            # where a row has none of its own
filters:
  - {{kind: language, keep: [en], min_score: 0.65}}
  - {{kind: gopher_quality}}
  - {{kind: gopher_repetition}}
mixture:
  human: {{min: 0.7}}             # at least 70% of the words are human
"""


@click.command()
@click.argument("files", nargs=-1)
@click.option("--out", type=click.Path(path_type=Path), default="recipe.yaml", show_default=True, help="Its file.")
def init(files: tuple[str, ...], out: Path) -> None:
    """Look at FILES, and write a commented recipe that runs as it is; without FILES a starter to fill in.

    FILES are files, folders or patterns, one source each or more: format, encoding, dialect, columns, language and
    licence are told from what is in them, and which filters fit from a sample.
    """
    if out.exists():
        raise RecipeError(f"{out} exists; give another path with --out, or edit it")
    corpus = re.sub("[^a-z0-9]+", "-", Path(os.path.abspath(out)).parent.name.lower()).strip("-")[:50] or "corpus"
    if files:
        from cuvee.tasks.starter.recipe import write

        text = write(files, out, corpus, lambda told: say(f"passed over: {told}", err=True))
        then = "read it"
    else:
        text, then = STARTER.format(corpus=corpus), "name your files in `sources`"
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(text, encoding="utf-8")
    say(f"wrote {out}; {then}, then: cuvee run {out}")


@click.command()
@click.argument("recipe")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Change a key, as mixture.human.min=0.7.")
@click.option("--plan", is_flag=True, help="Work everything out; send no request, publish nothing.")
@click.option("--limit", type=click.IntRange(min=1), help="A trial: the first rows of each source, into CORPUS-trial.")
@runner_option("What carries the work out; plain: this process, without Prefect and its history of runs.")
@workers_option
@click.option("--verbose", is_flag=True, help="Show Prefect's own log.")
@store_option
@json_option
def run(
    recipe: str,
    overrides: tuple[str, ...],
    plan: bool,
    limit: int | None,
    runner: str,
    workers: int | None,
    verbose: bool,
    store: str | None,
    as_json: bool,
) -> None:
    """Run the recipe at path RECIPE, and publish a version if it says something new."""
    report = execute(recipe, overrides, store, plan, runner, workers, verbose, as_json, limit)
    _tell(report, as_json)


@click.command()
@click.option(
    "--folder", type=click.Path(path_type=Path), default="cuvee-demo", show_default=True, help="For its texts."
)
@store_option
@json_option
def demo(folder: Path, store: str | None, as_json: bool) -> None:
    """Gather real human text of this machine, and run the whole pipeline on it."""
    from cuvee.tasks.demo import texts

    say(f"Gathering text that every Python machine has, into {folder}/ …", err=True)
    gathered = texts.gather(folder)
    if not as_json:
        table(["source", "documents", "words"], [[s.name, s.documents, s.words] for s in gathered.sources])
        say()
    texts.recipe(folder, gathered)
    report = execute(str(folder / "demo.yaml"), (), store, False, "threads", None, False, as_json)
    _tell(report, as_json)
    if not as_json:
        say(f"  change and repeat  {_program()} run {folder / 'demo.yaml'} --set mixture.human.min=0.9")


def execute(
    recipe: str,
    overrides: tuple[str, ...],
    store: str | None,
    plan: bool,
    runner: str,
    workers: int | None,
    verbose: bool,
    quiet: bool,
    limit: int | None = None,
) -> "RunReport":
    """Run a recipe: plainly, or as a flow on an embedded Prefect API or the one that is configured."""
    started = time.monotonic()
    _look(recipe, overrides, store)
    if runner == "plain":
        report = _plainly(recipe, overrides, store, plan, workers, quiet, limit)
    else:
        report = _as_flow(recipe, overrides, store, plan, runner, workers, verbose, quiet, limit)
    return report.model_copy(update={"seconds": round(time.monotonic() - started, 1)})


def _look(recipe: str, overrides: tuple[str, ...], store: str | None) -> None:
    """Tell all that is wrong with the recipe and its sources before anything else is imported or started."""
    from cuvee.tasks.look import look, pooled

    look(recipe, overrides, lambda read: pooled(read, recipe, store))


def _plainly(
    recipe: str,
    overrides: tuple[str, ...],
    store: str | None,
    plan: bool,
    workers: int | None,
    quiet: bool,
    limit: int | None,
) -> "RunReport":
    if workers is not None:
        raise RecipeError(f"--workers {workers}: the plain runner works alone; leave --workers out, or use threads")
    from cuvee.flows import pipeline
    from cuvee.flows.hands import PlainHands
    from cuvee.tasks.begin import new_run_id

    with display(quiet), _compiling_told(quiet):
        return pipeline.carry_out(recipe, overrides, store, plan, new_run_id(), PlainHands(), limit)


def _as_flow(
    recipe: str,
    overrides: tuple[str, ...],
    store: str | None,
    plan: bool,
    runner: str,
    workers: int | None,
    verbose: bool,
    quiet: bool,
    limit: int | None,
) -> "RunReport":
    """Check the recipe before Prefect starts, then run the flow."""
    from cuvee.flows import embedded
    from cuvee.schemas.report import RunReport

    embedded.prepare(verbose)
    from cuvee.tasks.begin import check

    check(recipe, overrides, store, "check", limit)
    if not quiet:
        say("Starting Prefect …", err=True)
    with embedded.api(verbose) as ready:
        from cuvee.flows.curate import curate
        from cuvee.flows.runner import task_runner

        flow = curate.with_options(task_runner=task_runner(runner, workers))  # type: ignore[arg-type]
        ready()
        # Prefect's import closes all logging handlers: the display comes after it.
        with display(quiet), _compiling_told(quiet):
            report = flow(recipe=recipe, overrides=list(overrides), store=store, plan=plan, limit=limit)
    assert isinstance(report, RunReport)
    return report


@contextmanager
def _compiling_told(quiet: bool) -> Iterator[None]:
    """Say why the body takes longer than it will another time, when this process compiles a kernel."""
    from cuvee.flows import compiling

    with compiling.heard(lambda: None if quiet else say(compiling.TOLD, err=True)):
        yield


def _outlooks(report: "RunReport") -> dict[str, object]:
    return {name: outlook.model_dump(mode="json") for name, outlook in report.outlooks.items()}


def _tell(report: "RunReport", as_json: bool) -> None:
    name = version_name(report.version) if report.version else None
    if as_json:
        answer(
            {
                "corpus": report.corpus,
                "version": name,
                **({"plan": True, "requests": report.requests, "outlooks": _outlooks(report)} if report.plan else {}),
                "published": report.published,
                "documents": report.documents,
                "amount": report.amount,
                "unit": report.unit,
                "human_share": report.human_share,
                "steps": {step: figures.model_dump(by_alias=True) for step, figures in report.steps.items()},
                "sources": {name: source.model_dump() for name, source in report.sources.items()},
                "mixture": list(report.mixture),
                "findings": [finding.message for finding in report.findings],
                "warnings": list(report.warnings),
            }
        )
        return
    steps = [[step, s.into, s.out, _counts(s.dropped)] for step, s in report.steps.items()]
    table(["step", "in", "out", "dropped by reason"], steps)
    say()
    sources = [
        [name, s.rows, s.kept, s.pooled, s.unreadable, _counts(_by_rule(s.dropped))]
        for name, s in report.sources.items()
    ]
    table(["source", "rows", "would keep" if report.plan else "published", "pooled", "unreadable", "dropped"], sources)
    say()
    for warning in report.warnings:
        say(f"warning: {warning}", err=True)
    for finding in report.findings:
        say(f"finding: {finding.message}")
    share = "none counted" if report.human_share is None else f"{report.human_share:.4f}"
    amounts = f"{report.documents:,} documents, {report.amount:,} {report.unit}, human share {share}"
    if report.plan:
        for generator, outlook in report.outlooks.items():
            say("\n".join(outlook.as_lines(generator)))
        for sentence in report.mixture:
            say(f"mixture: {sentence}")
        say(f"a plan, nothing was sent or published: without new drafts {amounts} (floor {report.floor:g})")
        return
    ref = f"{report.corpus}@{name}"
    at = "" if report.store == open_store(store_uri(None)).uri else f" --store {shlex.quote(report.store)}"
    state = f"{ref} published" if report.published else f"nothing new; {ref} stands"
    say(f"{state}: {amounts} (floor {report.floor:g}), {report.seconds:.1f} s")
    say(f"  its files          {_program()} files {ref}{at}    (in {report.store}/corpora/{report.corpus}/data)")
    say(f"  check every byte   {_program()} verify {ref}{at}")
    say(f"  what is in it      {_program()} show {ref}{at}")
    say(f"  why, by document   {_program()} explain {report.corpus} {report.example or 'DOC_ID'}{at}")


def _by_rule(dropped: dict[str, int]) -> dict[str, int]:
    """Add up the reasons of each filter: gopher_quality.min_words and the like are gopher_quality."""
    sums: dict[str, int] = {}
    for reason, count in dropped.items():
        rule = reason.partition(".")[0]
        sums[rule] = sums.get(rule, 0) + count
    return dict(sorted(sums.items(), key=lambda entry: (-entry[1], entry[0])))


def _counts(found: dict[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in found.items())


def _program() -> str:
    """Return what to type for this command: its name, or the path it was called by where the shell does not know it."""
    return "cuvee" if shutil.which("cuvee") else os.path.relpath(sys.argv[0])


COMMANDS = [init, demo, run]
