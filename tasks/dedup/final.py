"""Final: near pairs and who keeps its place, at once, where all texts are there and keeper order is final."""

from collections.abc import Callable

import numpy as np

from cuvee.tasks.dedup.index import BandKeys
from cuvee.tasks.dedup.near import Pairs, near_pairs
from cuvee.tasks.dedup.resolve import SURVIVOR, Resolution, resolve
from cuvee.tasks.dedup.verify import Comparison
from cuvee.tasks.words.kernel import Int64s, Uint32s


def keepers(
    band_column: Callable[[int], Uint32s],
    n_bands: int,
    comparison: Comparison,
    rank: Int64s,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Pairs, Resolution]:
    """Return the pairs that were needed, and keeper and Jaccard of each document.

    The resolution is that of all pairs with a common band key; of documents with very many near copies few pairs are
    needed (`crowd`). band_column: gives the uint32[n] keys of one band. rank: int64[n], unique, smaller first.
    progress: called with (steps done, steps), from the start again where documents are compared once more.
    """
    new, listed = np.ones(len(rank), np.bool_), np.arange(len(rank))
    found: Pairs | None = None
    while True:
        more = near_pairs(
            lambda band, listed=listed: BandKeys(listed, band_column(band)[listed]),  # type: ignore[misc]
            n_bands,
            new,
            comparison,
            progress,
            final_order=lambda ids: ids[np.argsort(rank[ids])],
            again=found is not None,
        )
        found = found.joined(more, new) if found else more
        resolved = resolve(rank, found.a, found.b, found.jaccard, comparison.floor)
        new = found.aside & (resolved.keeper == SURVIVOR)
        if not new.any():
            return found, resolved
        listed = np.flatnonzero(new | ~found.aside)
