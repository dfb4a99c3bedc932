"""Seeds: which documents a generator may start from, the windows in which they are shown, and their text."""

from collections.abc import Sequence

import polars as pl

from cuvee.schemas.licenses import allows_derivatives
from cuvee.schemas.recipe import Generate, Recipe
from cuvee.schemas.tables import WINDOWS
from cuvee.storage.store import Store
from cuvee.tasks.pool import Pool, Texts, frame_of, signal_rows
from cuvee.tasks.priority import held_out


def choose_seeds(recipe: Recipe, entry: Generate, rows: pl.DataFrame) -> pl.DataFrame:
    """Return the documents a generator may start from: human by the evidence, not held out, of a licence that
    allows derivatives. Columns doc_id, words, chars, domain, license, language, source, shard, position, depth.

    Synthetic documents only where depth.max lets their drafts be published, and they are shallow enough for that.
    """
    human = pl.col("provenance") == "human"
    deep = (pl.col("provenance") == "synthetic") & (pl.col("depth") < recipe.mixture.depth.max)
    allowed = human | deep if recipe.mixture.depth.max > 1 else human
    seeds = rows.filter(allowed & ~held_out(rows, recipe))
    if entry.seeds.sources:
        seeds = seeds.filter(pl.col("source").is_in(list(entry.seeds.sources)))
    if not entry.seeds.allow_unlicensed:
        free = [license for license in seeds["license"].unique() if allows_derivatives(license)]
        seeds = seeds.filter(pl.col("license").is_in(free))
    labels = ("domain", "license", "language", "source", "shard", "position", "depth")
    return seeds.select("doc_id", "words", "chars", *labels)


def windows_of(store: Store, pool: Pool) -> pl.DataFrame:
    """Return the parts in which documents are shown, WINDOWS, once a document; one that is shown whole has no row."""
    return signal_rows(store, pool, "windows", WINDOWS).drop_nulls("windows").unique("doc_id", keep="any")


def with_windows(seeds: pl.DataFrame, windows: pl.DataFrame) -> pl.DataFrame:
    """Add the column windows: the parts in which a seed is shown, null for one that is shown whole.

    windows: as `windows_of` gives them.
    """
    return seeds.join(windows, on="doc_id", how="left", maintain_order="left")


class Seeds:
    """The documents a generator may start from, and their text while the block of `with` lasts."""

    def __init__(self, store: Store, pool: Pool, table: pl.DataFrame) -> None:
        self.table = table
        self._where = table.select("doc_id", "shard", "position")
        self._texts = Texts(store, pool.shards)

    def __enter__(self) -> "Seeds":
        self._texts.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._texts.__exit__(*error)

    def fetch(self, doc_ids: Sequence[str]) -> pl.DataFrame:
        """Return doc_id and text of these seeds."""
        wanted = pl.DataFrame({"doc_id": doc_ids}, schema={"doc_id": pl.String})
        wanted = wanted.join(self._where, on="doc_id", how="inner", maintain_order="left")
        table = self._texts.take(wanted["shard"].to_numpy(), wanted["position"].to_numpy())
        return wanted.select("doc_id").hstack(frame_of(table))
