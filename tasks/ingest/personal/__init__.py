"""Personal data: how each kind of it is found in a text, one file a kind. docs/masks.md lists the forms of each."""

from collections.abc import Iterator
from typing import Protocol, TypeAlias

Chains: TypeAlias = tuple[tuple[str, ...], ...]


class Kind(Protocol):
    """What a kind's file holds.

    TOKEN: what stands in its place. CANDIDATES: chains of Rust regexes over the column; a row in which all regexes of
    one chain are found is worth a look. They are wider than the forms, never narrower.
    """

    TOKEN: str
    CANDIDATES: Chains

    def spans(self, text: str) -> Iterator[tuple[int, int]]:
        """Yield start and end of what is masked, in order; text: as `plain` folds it."""
