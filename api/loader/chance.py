"""Chance that is the same everywhere: hashes of 64 bits, on arrays.

NumPy's generators may give other numbers in another version; an order that is to be resumed must not change.
"""

import hashlib

import numpy as np
import numpy.typing as npt

Hashes = npt.NDArray[np.uint64]

_STEP = np.uint64(0x9E3779B97F4A7C15)


def key_of(*parts: object) -> int:
    """Return 64 bits that follow from the parts' texts."""
    return int.from_bytes(hashlib.sha256("\n".join(map(str, parts)).encode()).digest()[:8], "little")


def hashes(key: int, numbers: npt.NDArray[np.integer]) -> Hashes:
    """Return a hash of each number, of the order that `key` stands for (SplitMix64, Steele et al. 2014)."""
    mixed = np.asarray(numbers).astype(np.uint64) * _STEP + np.array([key], np.uint64)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))


def fractions(found: Hashes) -> npt.NDArray[np.float64]:
    """Return each hash as a fraction in [0, 1)."""
    return (found >> np.uint64(11)).astype(np.float64) * 2.0**-53


def shuffled(key: int, count: int) -> npt.NDArray[np.int64]:
    """Return the numbers below `count` in random order."""
    return np.argsort(hashes(key, np.arange(count)), kind="stable")
