"""Judge: which rows of a partition count, and which of them the recipe's filters drop.

Output: a partition's DECLARED and AMOUNTS; HEARD, what the next steps need of a row beside these; and KNOWN_HUMAN, how
often each probability occurs among the texts of each source that are known to be human. All rows of a partition lie in
the order of doc_id, shard and position.
"""

from collections.abc import Sequence
from typing import Any

import polars as pl

from cuvee.schemas.base import Frozen
from cuvee.schemas.records import Run
from cuvee.schemas.tables import AMOUNTS, DECLARED, HEARD, KNOWN_HUMAN, AmountsRef, DeclaredRef, HeardRef, KnownHumanRef
from cuvee.storage.store import Store
from cuvee.tasks import filters
from cuvee.tasks.decide import gather, rights, told
from cuvee.tasks.decide.current import gone
from cuvee.tasks.decide.ended import Verdicts
from cuvee.tasks.decide.patches import current
from cuvee.tasks.exchange import Dealt
from cuvee.tasks.filters import opt_out
from cuvee.tasks.measure.signals import filter_options, provenance_model
from cuvee.tasks.provenance.conclude import known_human
from cuvee.tasks.steps import save

_RENAMED = {"phrase": "classify.phrase", "overlap": "decontaminate.overlap", "benchmark": "decontaminate.benchmark"}


class Judged(Frozen):
    """The tables of a partition."""

    declared: DeclaredRef
    amounts: AmountsRef
    heard: HeardRef
    known_human: KnownHumanRef


def run(
    run: Run,
    store: Store,
    dealt: Sequence[Dealt],
    patches: Sequence[Dealt],
    gathered: Sequence[Dealt],
    partition: int,
) -> Judged:
    """Judge a partition. dealt, patches: its rows, and what is known of them from others; gathered: what filters see
    across the documents of a source.
    """
    rows = current(run, store, dealt, patches, partition)
    verdicts = Verdicts(rows.height)
    verdicts.object("ingest", gone(run, rows), detail=told.tell(rows, told.of_dates(run.recipe)))
    verdicts.object("generate", rows["gate"])
    _filter(run, gather.with_values(run, store, rows, gathered, partition), verdicts)
    speaks = pl.col("language").is_in(list(provenance_model(run).languages))
    heard = rows.select(
        "own_copy",
        "c2pa",
        "marking",
        "depth",
        "near_key",
        p_model=pl.when(speaks).then(pl.col("classify.p_model")),
        **{name: pl.col(named) if named in rows.columns else pl.lit(None) for name, named in _RENAMED.items()},
    ).hstack(verdicts.table.select("step", "verdict", "detail"))
    dated = rows.select("source", "doc_id", "words", "trusted_date", "created", own_draft="generated")
    human = known_human(dated.hstack(heard.select("p_model", "own_copy")).filter(verdicts.alive))
    return Judged(
        declared=DeclaredRef(save(run, store, rows, DECLARED)),
        amounts=AmountsRef(save(run, store, _with_tokens(rows), AMOUNTS)),
        heard=HeardRef(save(run, store, heard, HEARD)),
        known_human=KnownHumanRef(save(run, store, human, KNOWN_HUMAN)),
    )


def _with_tokens(rows: pl.DataFrame) -> pl.DataFrame:
    """Add how many tokens a row has, null where the recipe counts none."""
    return rows.with_columns(tokens="tokens.tokens" if "tokens.tokens" in rows.columns else pl.lit(None, pl.Int64))


def _filter(run: Run, rows: pl.DataFrame, verdicts: Verdicts) -> None:
    """Let the recipe's filters object, in their order, each by the signals of its own kind."""
    for entry in filter_options(run):
        prefix = f"{filters.step(entry)}."
        signals = [name for name in rows.columns if name.startswith(prefix)]
        named = {name: name.removeprefix(prefix) for name in signals}
        # What is declared of a row, as its language, stands before what was found in its text.
        frame = rows.rename({name: plain for name, plain in named.items() if plain not in rows.columns})
        let_object(run, frame, entry, verdicts)


def let_object(run: Run, frame: pl.DataFrame, entry: Any, verdicts: Verdicts) -> None:
    """Let one filter object. frame: the rows, with the signals of the filter's kind; entry: its options."""
    is_of_rights = isinstance(entry, opt_out.Options)
    if is_of_rights:
        frame = frame.hstack(rights.sites(run, frame, entry))
    verdict = filters.judge(frame, [entry])
    detail = filters.tell(frame, entry, verdict)
    if is_of_rights:
        detail = frame["opt_out_told"].fill_null(detail)
    verdicts.object("filter", verdict, detail=detail)
