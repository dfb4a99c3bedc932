"""The command that shows texts: of rows that were dropped, kept or pooled."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import click

from cuvee.commands.shared import answer, json_option, say, store_option
from cuvee.schemas.errors import RecipeError
from cuvee.schemas.manifest import parse_ref
from cuvee.schemas.parse import nearest

if TYPE_CHECKING:
    import polars as pl

# About a screen; --json gives all of a text.
MOST_CHARS = 2000
_TOLD = ("source", "path", "row", "source_id", "doc_id", "outcome", "step", "reason", "detail", "provenance")


@click.command()
@click.argument("ref")
@click.option("--source", help="Rows of this source or generator.")
@click.option("--reason", help="What became of them: a reason, a filter, or kept, pooled, dropped, unreadable.")
@click.option("--provenance", type=click.Choice(["human", "synthetic", "unknown"]), help="As concluded.")
@click.option("-n", "count", type=click.IntRange(min=1), default=5, show_default=True, help="Texts to show.")
@store_option
@json_option
def texts(
    ref: str,
    source: str | None,
    reason: str | None,
    provenance: str | None,
    count: int,
    store: str | None,
    as_json: bool,
) -> None:
    """Show texts of REF, and what became of each: of a corpus of its last run, also one that published nothing.

    The first by doc_id, which is a random sample and the same each time. What a text says for a terminal to obey is
    escaped.
    """
    from cuvee.commands.story import ledger_of, tell
    from cuvee.storage.store import open_store, store_uri
    from cuvee.tasks.publish.texts import find

    ledger = ledger_of(ref, store)
    chosen = select(ledger.rows, source, reason, provenance)
    rows = chosen.sort("doc_id", "source", "file", "row", nulls_last=True).head(count).to_dicts()
    place, corpus = open_store(store_uri(store)), parse_ref(ref)[0]
    found = find(place, corpus, ledger.state(place), rows)
    shown = [{**{name: row[name] for name in _TOLD}, "text": found.get(row["doc_id"])} for row in rows]
    if as_json:
        answer({"version": ledger.ref, "rows": chosen.height, "texts": shown})
        return
    for row, entry in zip(rows, shown, strict=True):
        for line in tell(ledger, [row]):
            say(line)
        for line in _lines(entry["text"], row):
            say(line)
    say(f"{len(rows)} of {chosen.height:,} rows; more: -n, whole texts: --json", err=True)


def select(rows: "pl.DataFrame", source: str | None, reason: str | None, provenance: str | None) -> "pl.DataFrame":
    """Choose rows of a ledger; raises RecipeError, with what there is, where none is left."""
    import polars as pl

    known = sorted(rows["source"].drop_nulls().unique())
    if source is not None and source not in known:
        raise RecipeError(f"--source {source}: no row is of it; {nearest(source, known)}")
    chosen = rows if source is None else rows.filter(pl.col("source") == source)
    if reason is not None:
        exact = (pl.col("reason") == reason) | (pl.col("outcome") == reason)
        named = chosen.filter((exact | pl.col("reason").str.starts_with(f"{reason}.")).fill_null(value=False))
        if named.is_empty():
            ends = {*chosen["outcome"].drop_nulls(), *chosen["reason"].drop_nulls()}
            raise RecipeError(f"--reason {reason}: no row ended so; {nearest(reason, ends)}")
        chosen = named
    if provenance is not None:
        chosen = chosen.filter(pl.col("provenance") == provenance)
        if chosen.is_empty():
            raise RecipeError(f"--provenance {provenance}: none of these rows is concluded so; leave it out")
    return chosen


def _lines(text: str | None, row: dict[str, Any]) -> Iterator[str]:
    if text is None and row["doc_id"]:
        yield "  (its text is not kept any more: it was never published, and work/ was emptied)"
    if text is None:
        return
    for line in text[:MOST_CHARS].split("\n"):
        yield f"  | {line}"
    if len(text) > MOST_CHARS:
        yield f"  | … ({len(text):,} characters; all: --json)"
    yield ""


COMMANDS: Sequence[click.Command] = [texts]
