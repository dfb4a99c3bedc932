"""Verdicts: how each row of a partition ends, when its near copies are known.

Output: the four parts of the decided table (cuvee.schemas.tables: DECLARED, CONCLUDED, VERDICTS, AMOUNTS), one row a
current row of the recipe's sources and generators.

Survival is a verdict: it is worked out again in every run, from the stored signals, scores and pairs.
"""

from collections.abc import Sequence

import polars as pl

from cuvee.schemas.records import Run
from cuvee.schemas.tables import NEAR, PAIRS, SURVIVORS, VERDICTS, DecidedPart, VerdictsRef
from cuvee.storage.store import Store
from cuvee.tasks.decide import copies, told
from cuvee.tasks.decide.ended import Verdicts
from cuvee.tasks.decide.evidence import Concluded
from cuvee.tasks.decide.judge import Judged
from cuvee.tasks.decide.partitions import Linked, by_doc_id
from cuvee.tasks.exchange import Dealt, collect, deal
from cuvee.tasks.steps import folder_of, load, look_up, save


def near(run: Run, store: Store, survivors: Sequence[Dealt], linked: Linked, partition: int, partitions: int) -> Dealt:
    """Find the near copies among the survivors of a partition by near key: NEAR, by doc_id.

    Texts of one near key lie together, with the pairs among them.
    """
    rows = collect(store, survivors, partition, SURVIVORS)
    pairs = collect(store, [linked.pairs], partition, PAIRS)
    alive = pl.repeat(True, rows.height, dtype=pl.Boolean, eager=True)
    apart = [source.name for source in run.recipe.sources if not source.near_duplicates]
    found = copies.near(rows, alive, pairs, run.recipe.dedup.threshold, apart)
    gone = rows.select("doc_id").hstack(found).filter(pl.col("reason").is_not_null()).select(NEAR.names())
    return deal(store, folder_of(run), gone, by_doc_id(gone["doc_id"], partitions), partitions)


def run(
    run: Run, store: Store, judged: Judged, concluded: Concluded, near: Sequence[Dealt], partition: int
) -> DecidedPart:
    """End the rows of a partition. near: NEAR."""
    ended = load(store, concluded.ended)
    verdicts = Verdicts(ended.height, ended)
    doc_ids = load(store, judged.declared, ["doc_id"])
    found = look_up(doc_ids, ["doc_id"], collect(store, near, partition, NEAR))
    bound = told.tell(found, told.of_near_copies(run.recipe))
    verdicts.object("dedup_near", found["reason"], keeper=found["keeper"], jaccard=found["jaccard"], detail=bound)
    rows = load(store, concluded.concluded, ["provenance", "depth", "p_synthetic"])
    overlaps = load(store, judged.heard, ["overlap", "benchmark"])
    over = pl.col("overlap").cast(pl.Float64).round(6) >= run.recipe.decontaminate.overlap
    reason = overlaps.select(pl.when(over).then(pl.lit("benchmark"))).to_series()
    verdicts.object("decontaminate", reason, detail=told.tell(overlaps, told.of_overlaps(run.recipe)))
    verdicts.object("mixture", excluded(run, rows), detail=told.tell(rows, told.of_depth(run.recipe)))
    return DecidedPart(
        declared=judged.declared,
        concluded=concluded.concluded,
        verdicts=VerdictsRef(save(run, store, verdicts.table, VERDICTS)),
        amounts=judged.amounts,
    )


def excluded(run: Run, rows: pl.DataFrame) -> pl.Series:
    """Object to what the mixture may not hold: documents of unknown provenance that the recipe excludes
    or cannot weigh, and those too far from human text.
    """
    unknown_as = run.recipe.provenance.unknown_as
    without = pl.col("p_synthetic").is_null() if unknown_as == "by_probability" else pl.lit(unknown_as == "exclude")
    unknown = (pl.col("provenance") == "unknown") & without
    deep = pl.col("depth") > run.recipe.mixture.depth.max
    reason = pl.when(unknown).then(pl.lit("unknown_provenance")).when(deep).then(pl.lit("depth"))
    return rows.select(reason.alias("reason"))["reason"]
