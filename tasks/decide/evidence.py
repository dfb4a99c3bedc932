"""Evidence: who wrote each row of a partition, and which of its rows stand for those of the same text.

Output: a partition's CONCLUDED; VERDICTS as far as they go; and its survivors, dealt by near key.
"""

from collections.abc import Sequence

import polars as pl

from cuvee.schemas.base import Frozen
from cuvee.schemas.records import Run
from cuvee.schemas.tables import (
    CONCLUDED,
    KNOWN_HUMAN,
    SURVIVORS,
    THRESHOLDS,
    VERDICTS,
    ConcludedRef,
    KnownHumanRef,
    ThresholdsRef,
    VerdictsRef,
)
from cuvee.storage.store import Store
from cuvee.tasks.decide import copies, told
from cuvee.tasks.decide.ended import Verdicts
from cuvee.tasks.decide.judge import Judged
from cuvee.tasks.decide.partitions import by_key
from cuvee.tasks.exchange import Dealt, deal
from cuvee.tasks.measure.signals import provenance_model
from cuvee.tasks.pool import read_declared
from cuvee.tasks.provenance.conclude import Thresholds, conclude, of_known
from cuvee.tasks.steps import folder_of, load, look_up, save

_WEIGHED = ("doc_id", "source", "file", "row", "generated", "origin", "created", "trusted_date", "accepted")
_READ = (*_WEIGHED, "row_accepted", "text_key")


class Concluded(Frozen):
    """The tables of a partition. ended: how its rows ended so far; survivors: SURVIVORS by near key."""

    concluded: ConcludedRef
    ended: VerdictsRef
    survivors: Dealt


def thresholds(run: Run, store: Store, known_human: Sequence[KnownHumanRef]) -> ThresholdsRef:
    """Save the threshold of each source that has its own: THRESHOLDS. known_human: KNOWN_HUMAN of all partitions.

    A source that brings text known to be human is judged by how that text scores.
    """
    options = run.recipe.provenance
    known = read_declared(store, known_human, KNOWN_HUMAN)
    default = provenance_model(run).threshold(options.max_false_positive_rate)
    found = of_known(known, known.select("source").unique(), default, options.max_false_positive_rate)
    return ThresholdsRef(save(run, store, found, THRESHOLDS))


def run(run: Run, store: Store, judged: Judged, own: ThresholdsRef, partitions: int) -> Concluded:
    """Conclude a partition. own: THRESHOLDS."""
    heard = load(store, judged.heard)
    verdicts = Verdicts(heard.height, heard.select("step", "verdict", "detail"))
    rows = pl.concat(
        [load(store, judged.declared, _READ), load(store, judged.amounts), heard.drop("step", "verdict", "detail")],
        how="horizontal",
    )
    rows = weigh(run, rows, load(store, own))
    ones = pl.repeat(1.0, rows.height, dtype=pl.Float64, eager=True)
    verdicts.object("dedup_exact", copies.exact(rows, verdicts.alive), keeper=rows["doc_id"], jaccard=ones)
    if run.recipe.provenance.suspects == "drop":
        suspect = rows.select(pl.when("suspect").then(pl.lit("suspect"))).to_series()
        verdicts.object("classify", suspect, detail=told.tell(rows, told.of_suspects()))
    survivors = rows.filter(verdicts.alive)
    where = by_key(survivors["near_key"], partitions)
    return Concluded(
        concluded=ConcludedRef(save(run, store, rows, CONCLUDED)),
        ended=VerdictsRef(save(run, store, verdicts.table, VERDICTS)),
        survivors=deal(store, folder_of(run), survivors.select(SURVIVORS.names()), where, partitions),
    )


def weigh(run: Run, rows: pl.DataFrame, own: pl.DataFrame) -> pl.DataFrame:
    """Add the columns of CONCLUDED. rows: columns of DECLARED, AMOUNTS and HEARD; own: THRESHOLDS."""
    options, model = run.recipe.provenance, provenance_model(run)
    thresholds = Thresholds(
        synthetic=model.threshold(options.max_false_positive_rate),
        human=model.human_threshold(),
        suspects=options.suspects,
    )
    rows = look_up(rows, ["source"], own).with_columns(
        own_draft=pl.col("generated"),
        threshold=pl.col("threshold").fill_null(thresholds.synthetic),
        calibrated=pl.col("calibrated").fill_null(value=False),
    )
    rows = conclude(rows, thresholds)
    counted_human = ["human", "unknown"] if options.unknown_as == "human" else ["human"]
    depth = pl.when(pl.col("provenance").is_in(counted_human)).then(0).otherwise(pl.coalesce("depth", pl.lit(1)))
    return rows.with_columns(depth=depth)
