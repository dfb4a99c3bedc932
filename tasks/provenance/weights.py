"""Weights: a linear classifier over words and hashed pairs of neighbours, and what a pass over texts tells."""

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import polars as pl

from cuvee.tasks.provenance.characters import classes
from cuvee.tasks.provenance.kernel import Floats, Hashes, Singles, Tokens, fill, weigh_all
from cuvee.tasks.provenance.layout import MAX_CHARACTERS
from cuvee.tasks.provenance.reading import buffers


class Weighed(NamedTuple):
    """What a pass over texts tells of each: its weight, the share of known words among those with a letter, words."""

    weight: Floats
    known: Floats
    words: Tokens


@dataclass(frozen=True)
class Weights:
    """One weight for each word of a vocabulary (ascending hashes) and each bucket of pairs; positive: synthetic."""

    hashes: Hashes
    words: Singles
    pairs: Singles

    @cached_property
    def table(self) -> Tokens:
        """The places of the vocabulary's hashes; see `places`."""
        return places(self.hashes)

    @cached_property
    def joined(self) -> Singles:
        """The weights of all terms, by term number."""
        return np.concatenate([self.words, self.pairs])

    def weigh(self, text: pl.Series) -> Weighed:
        """Return weight, known words and words of each text, in order; null counts as empty. Releases the GIL."""
        weight, known, words = np.zeros(len(text)), np.zeros(len(text)), np.zeros(len(text), np.int64)
        if len(text):
            offsets, characters = buffers(text.cast(pl.String).fill_null(""))
            kinds, terms = classes(), (self.table, self.hashes, self.joined)
            weigh_all(offsets, characters, MAX_CHARACTERS, kinds, *terms, weight, known, words)
        return Weighed(weight, known, words)


def places(hashes: Hashes) -> Tokens:
    """Return an open-addressing table, at most half full: slot → index into `hashes`, -1 where empty."""
    size = 2 << int(np.ceil(np.log2(max(2, hashes.size))))
    return fill(hashes, np.full(size, -1, np.int64))
