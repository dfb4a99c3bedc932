"""What commands share: options, and the two faces of an answer."""

import json
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from cuvee.schemas.visible import on_line, visible

Command = TypeVar("Command", bound=Callable[..., Any])

store_option = click.option(
    "--store", metavar="PLACE", help="A folder or s3://bucket/prefix. Default $CUVEE_STORE, ./cuvee-store."
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")
workers_option = click.option("--workers", type=click.IntRange(min=1), help="Tasks at a time; default: the CPUs.")


def runner_option(meaning: str) -> Callable[[Command], Command]:
    """Return the option of what carries the work of a run out; meaning: its help."""
    runners = click.Choice(["plain", "threads", "processes", "dask", "ray"])
    return click.option("--runner", type=runners, default="threads", show_default=True, help=meaning)


def say(text: object = "", err: bool = False) -> None:
    """Print a line or more for people; what texts of others hold for a terminal to obey is escaped."""
    click.echo(visible(str(text)), err=err)


def answer(tree: Any) -> None:
    """Print one JSON line."""
    say(json.dumps(tree, ensure_ascii=False))


def table(names: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a table for people; numbers are right-aligned with thousands separators."""
    shown = Table(box=None, pad_edge=False, header_style="bold")
    for position, name in enumerate(names):
        numeric = all(isinstance(row[position], int | float) for row in rows)
        # Only the last column may be folded: a cut number or name would mislead.
        last = position == len(names) - 1
        shown.add_column(name, justify="right" if numeric else "left", no_wrap=not last, overflow="fold")
    for row in rows:
        # As Text: a cell is no markup.
        shown.add_row(*(Text(f"{cell:,}" if isinstance(cell, int) else on_line(str(cell))) for cell in row))
    Console(highlight=False, soft_wrap=False).print(shown)


def passed_over(files: Sequence[object]) -> str:
    """Say which files of folders were not read, since their format is not known; the first three by name."""
    named = ", ".join(map(str, files[:3])) + (", …" if len(files) > 3 else "")
    return f"files passed over, since their format is not known: {len(files):,} ({named})"
