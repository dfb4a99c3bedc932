"""Personal data: how each kind of it is found in a text, one file a kind. docs/masks.md lists the forms of each."""

from collections.abc import Iterator
from typing import Protocol, TypeAlias

Chains: TypeAlias = tuple[tuple[str, ...], ...]

# Blanks and hyphens that typesetters put into numbers; the candidates' regexes know them by these classes.
BLANK = r" \x{a0}\x{2000}-\x{200a}\x{202f}\x{205f}\x{3000}"
HYPHEN = r"\-\x{2010}-\x{2013}\x{2212}\x{fe63}"
# What no number is without.
SEVEN_DIGITS = rf"(?:[0-9][{BLANK}{HYPHEN}./()]{{0,3}}){{6}}[0-9]"


class Kind(Protocol):
    """What a kind's file holds.

    TOKEN: what stands in its place. CANDIDATES: chains of Rust regexes over the column; a row in which all regexes of
    one chain are found is worth a look. They are wider than the forms, never narrower.
    """

    TOKEN: str
    CANDIDATES: Chains

    def spans(self, text: str) -> Iterator[tuple[int, int]]:
        """Yield start and end of what is masked, in order; text: as `mask` folds it."""
