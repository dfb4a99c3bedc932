"""Strata: what a partition has for the mixture: sums by stratum and bin of priority, and its documents dealt by bin.

A stratum of the plan holds documents that are alike for every bound of the recipe. Documents are taken in the order of
a hash of their id (`tasks.priority`), cut into bins of equal ranges.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import polars as pl

from cuvee.schemas.amounts import WHOLE, human_part, human_provenances, unit_amount
from cuvee.schemas.base import Frozen
from cuvee.schemas.recipe import Recipe
from cuvee.schemas.records import Run
from cuvee.schemas.tables import BINS, RANKED, SURVIVING, BinsRef, DecidedPart, SurvivingRef
from cuvee.storage.marks import read_marks
from cuvee.storage.store import Store
from cuvee.tasks.exchange import MOST, Dealt, collect, deal
from cuvee.tasks.mixture import marks
from cuvee.tasks.mixture.bounds import is_simple, label, looked_at, traits
from cuvee.tasks.mixture.lanes import Documents, Lane, Sums
from cuvee.tasks.priority import held_out, priorities
from cuvee.tasks.steps import folder_of, load, load_part, save

# The label of held-out text, which no plan takes.
APART = "apart"
# A partition is dealt into so many bins: one of them is a few percent of a task's rows.
_BINS_A_PARTITION = 4
_READ = ("shard", "position", "doc_id", "provenance", "words", "bytes", "tokens", "verdict", "suspect")


class Counted(Frozen):
    """What a partition has. number: of the partition; labels: of its strata, by `lane` of RANKED and SURVIVING; bins:
    BINS; ranked: RANKED, by bin; marked: documents that count as human and are marked human or synthetic, and those
    marked human.
    """

    number: int
    labels: tuple[str, ...]
    bins: BinsRef
    ranked: Dealt
    surviving: SurvivingRef
    marked: tuple[int, int]


class Weighed(NamedTuple):
    """Documents as the mixture sees them. rows: in the order that they were given, columns of SURVIVING but shard and
    position; labels: of the strata, by `lane`.
    """

    rows: pl.DataFrame
    labels: list[str]


def bins_of(partitions: int) -> int:
    """Return into how many bins the priorities are cut, a power of two: one where one task holds all rows."""
    return 1 if partitions == 1 else min(MOST, _BINS_A_PARTITION * partitions)


def run(run: Run, store: Store, part: DecidedPart, number: int, partitions: int) -> Counted:
    """Count a partition of the decided table; number: its place."""
    unknown_as, bins = run.recipe.provenance.unknown_as, bins_of(partitions)
    columns = dict.fromkeys([*_READ, *looked_at(run.recipe.mixture, unknown_as)])
    rows = load_part(store, part, columns).filter(pl.col("verdict").is_null())
    counted = rows.filter(pl.col("provenance").is_in(human_provenances(unknown_as)))["doc_id"]
    marked = marks.seen(counted, read_marks(store, run.corpus))
    weighed = weigh(rows, run.recipe)
    where = bin_numbers(weighed.rows, bins)
    ranked = weighed.rows.select(pl.lit(number, pl.Int32).alias("part"), *(n for n in RANKED if n != "part"))
    surviving = rows.select("shard", "position").hstack(weighed.rows)
    return Counted(
        number=number,
        labels=tuple(weighed.labels),
        bins=BinsRef(save(run, store, count(weighed, where), BINS)),
        ranked=deal(store, folder_of(run), ranked, where.to_numpy(), bins),
        surviving=SurvivingRef(save(run, store, surviving, SURVIVING)),
        marked=marked,
    )


def weigh(rows: pl.DataFrame, recipe: Recipe) -> Weighed:
    """Say what the mixture looks at of documents; rows: columns doc_id, provenance, the unit's, and those of groups."""
    unknown_as = recipe.provenance.unknown_as
    part = rows.select(part=human_part(unknown_as))["part"]
    amount = rows.select("doc_id", amount=unit_amount(recipe.mixture.unit))["amount"]
    lanes, labels = _lanes(rows, held_out(rows, recipe), recipe)
    suspect = rows["suspect"].fill_null(value=False) if "suspect" in rows.columns else pl.lit(value=False)
    found = rows.select(
        lane=lanes,
        amount=amount,
        human=amount * part,
        priority=pl.Series(priorities(rows["doc_id"], f"mixture {recipe.mixture.seed}"), dtype=pl.UInt64),
        # Priorities are a bijection of the first half of an id, so the second breaks ties as the whole id would.
        rest=pl.col("doc_id").str.slice(16, 16).str.to_integer(base=16, dtype=pl.UInt64),
        doubtful=(part > 0) & (suspect | (pl.col("provenance") == "unknown")),
    )
    return Weighed(found, labels)


def _lanes(rows: pl.DataFrame, apart: pl.Series, recipe: Recipe) -> tuple[pl.Series, list[str]]:
    """Return the number of each document's stratum, and the labels of these in their order."""
    unknown_as = recipe.provenance.unknown_as
    if is_simple(recipe):
        labels = [APART, "human", "synthetic"]
        human = rows.select(part=human_part(unknown_as))["part"] == WHOLE
        lane = pl.when(apart).then(0).when(human).then(1).otherwise(2).cast(pl.Int32)
        return rows.select(lane=lane)["lane"], labels
    found = traits(rows, recipe.mixture, unknown_as).drop("human")
    found = found.with_columns(apart=apart)
    kinds = found.unique()
    names = pl.when(kinds["apart"]).then(pl.lit(APART)).otherwise(label(kinds))
    kinds = kinds.with_columns(kinds.select(label=names)).sort("label")
    labels = kinds["label"].unique(maintain_order=True).to_list()
    kinds = kinds.with_columns(lane=pl.Series(labels, dtype=pl.String).search_sorted(kinds["label"]).cast(pl.Int32))
    return found.join(kinds, on=found.columns, how="left", maintain_order="left")["lane"], labels


def bin_numbers(rows: pl.DataFrame, bins: int) -> pl.Series:
    """Return the bin of each document, int64: the first bits of its priority. bins: a power of two."""
    if bins == 1:
        return pl.repeat(0, rows.height, dtype=pl.Int64, eager=True).alias("bin")
    shift = np.uint64(64 - (bins.bit_length() - 1))
    return pl.Series("bin", (rows["priority"].to_numpy() >> shift).astype(np.int64))


def count(weighed: Weighed, where: pl.Series) -> pl.DataFrame:
    """Add documents up by stratum and bin; where: the bin of each."""
    sums = (
        weighed.rows.select("lane", "amount", "human", bin=where)
        .group_by("lane", "bin")
        .agg(
            documents=pl.len().cast(pl.Int64),
            amount=pl.col("amount").sum(),
            human=pl.col("human").sum(),
            largest=pl.col("amount").max(),
            smallest=pl.col("amount").min(),
        )
        .sort("lane", "bin")
    )
    names = pl.Series(weighed.labels, dtype=pl.String).gather(sums["lane"].cast(pl.UInt32))
    return sums.select(names.alias("label"), *(name for name in BINS if name != "label"))


class Reader:
    """Read the documents of a bin, of all partitions, and split them by stratum. The last bin is kept."""

    def __init__(self, store: Store, counted: Sequence[Counted]) -> None:
        self._store, self._ranked = store, [one.ranked for one in counted]
        self._labels = pl.DataFrame(
            [(one.number, lane, name) for one in counted for lane, name in enumerate(one.labels)],
            schema={"part": pl.Int32, "lane": pl.Int32, "label": pl.String},
            orient="row",
        )
        self._last: tuple[int, dict[str, Documents]] | None = None

    def bin(self, number: int) -> dict[str, Documents]:
        """Return label → documents of a bin, in their order."""
        if self._last is None or self._last[0] != number:
            rows = collect(self._store, self._ranked, number, RANKED)
            self._last = number, split(rows.join(self._labels, on=["part", "lane"], how="left"))
        return self._last[1]


def split(rows: pl.DataFrame) -> dict[str, Documents]:
    """Return label → documents, in their order; rows: label, and the columns of RANKED."""
    found = {}
    for (name,), own in rows.sort("priority", "rest").partition_by("label", as_dict=True).items():
        found[str(name)] = Documents(*(own[column].to_numpy() for column in Documents._fields))
    return found


def lanes_of(sums: pl.DataFrame, read: Callable[[int], Mapping[str, Documents]]) -> dict[str, Lane]:
    """Return the lane of each stratum. sums: BINS, of all partitions; read: returns label → documents of a bin."""
    whole = sums.group_by("label", "bin").agg(
        pl.col("documents", "amount", "human").sum(), pl.col("largest").max(), pl.col("smallest").min()
    )
    found = {}
    for (label_,), own in whole.sort("label", "bin").partition_by("label", as_dict=True).items():
        name = str(label_)
        bins, documents, amount, human = (own[column].to_list() for column in ("bin", "documents", "amount", "human"))
        known = Sums(bins, documents, amount, human, max(own["largest"].to_list()), min(own["smallest"].to_list()))
        found[name] = Lane(known, partial(_of, read, name))
    return found


def _of(read: Callable[[int], Mapping[str, Documents]], name: str, number: int) -> Documents:
    return read(number)[name]


def load_bins(store: Store, counted: Sequence[Counted]) -> pl.DataFrame:
    """Read the sums of all partitions."""
    return pl.concat([load(store, one.bins) for one in counted])
