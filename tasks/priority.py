"""Priority: a number that a document keeps for ever, to sample by and to hold out by.

Taking the documents below a threshold is a uniform sample; when a corpus grows by 10%, 91% of it stays, the optimum.
"""

import hashlib

import numpy as np
import numpy.typing as npt
import polars as pl

from cuvee.schemas.recipe import Recipe


def priorities(doc_ids: pl.Series, purpose: str) -> npt.NDArray[np.uint64]:
    """Return pseudo-random numbers, uniform over uint64, that depend on the id and the purpose alone (splitmix64).

    doc_ids: lower-case hex, at least 16 digits. purpose: such as "mixture 7"; other purposes give unrelated numbers.
    """
    mixed: npt.NDArray[np.uint64]
    mixed = doc_ids.str.slice(0, 16).str.to_integer(base=16, dtype=pl.UInt64).to_numpy().copy()
    # The purpose is hashed on its own first: neighbouring seeds then give unrelated orders.
    mixed ^= np.uint64(int.from_bytes(hashlib.sha256(purpose.encode()).digest()[:8], "big"))
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    mixed ^= mixed >> np.uint64(31)
    return mixed


def below(doc_ids: pl.Series, purpose: str, share: float) -> pl.Series:
    """Tell which documents belong to the share (0 to 1) of lowest priority."""
    return pl.Series("below", priorities(doc_ids, purpose) < np.uint64(min(share * 2.0**64, 2.0**64 - 2.0**11)))


def held_out(rows: pl.DataFrame, recipe: Recipe) -> pl.Series:
    """Tell which documents are kept for validation: human by the evidence, by hash, for ever the same."""
    return below(rows["doc_id"], "holdout", recipe.holdout.share) & (rows["provenance"] == "human")
