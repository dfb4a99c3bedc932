"""Tokens: how many a text has by the recipe's own tokenizer, where amounts are counted in them.

A tokenizer is a `tokenizer.json` of the tokenizers library, known by the SHA-256 of the file. A text's tokens are what
`encode` gives of it whole, without the special tokens that a model wants around it; truncation and padding, which a
file may ask for, are left out.
"""

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from cuvee.schemas.errors import RecipeError
from cuvee.schemas.records import Run

if TYPE_CHECKING:
    from tokenizers import Tokenizer

# A change of what is counted makes stored counts void: raise it.
VERSION = 1
# An encoding holds some 100 bytes a token: 25 MB for this much text.
_SLICE_BYTES = 1 << 20


def tokenizer_path(run: Run) -> Path | None:
    """Return the tokenizer's file, relative to the recipe's folder resolved; None where no tokens are counted."""
    mixture = run.recipe.mixture
    return Path(run.folder, mixture.tokenizer) if mixture.unit == "tokens" and mixture.tokenizer else None


def tokenizer_hash(path: Path) -> str:
    """Return the SHA-256 of a tokenizer's file; raises RecipeError where it cannot be read."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise RecipeError(f"mixture.tokenizer: {path}: {error.strerror}; correct the path") from None


def load(path: Path) -> "Tokenizer":
    """Load a tokenizer.json; raises RecipeError for what is none."""
    # Takes 30 MB of memory, and only recipes with this unit need it.
    from tokenizers import Tokenizer

    content = path.read_bytes()
    try:
        tokenizer = Tokenizer.from_buffer(content)
    # The library raises Exception itself.
    except Exception as error:
        raise RecipeError(
            f"mixture.tokenizer: {path}: {error}; give a tokenizer.json as the tokenizers library writes it"
        ) from None
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def count_tokens(text: pl.Series, tokenizer: "Tokenizer") -> pl.Series:
    """Count the tokens of each text (string), int64."""
    ends = text.str.len_bytes().cum_sum().to_numpy()
    counts: list[int] = []
    start = 0
    while start < len(text):
        before = ends[start - 1] if start else 0
        stop = max(start + 1, int(ends.searchsorted(before + _SLICE_BYTES, side="right")))
        encoded = tokenizer.encode_batch_fast(text[start:stop].to_list(), add_special_tokens=False)
        counts += [len(one) for one in encoded]
        start = stop
    return pl.Series("tokens", counts, dtype=pl.Int64)
