"""Hands: who carries a step out. The pipeline names the work; whether it is done in this process or by a task runner is
not its concern.
"""

from collections.abc import Callable, Sequence
from typing import ParamSpec, Protocol, TypeVar, TypeVarTuple

from cuvee.tasks.steps import progress

P = ParamSpec("P")
R = TypeVar("R")
Ts = TypeVarTuple("Ts")


class Hands(Protocol):
    """Carry work out. step: what the work is called where a person follows the run."""

    def one(self, step: str, work: Callable[P, R], *arguments: P.args, **named: P.kwargs) -> R:
        """Do one piece of work, and return what it returns; raises what it raises."""

    def each(self, step: str, work: Callable[[*Ts], R], arguments: Sequence[tuple[*Ts]]) -> list[R]:
        """Do a piece of work for each tuple of arguments, and return the results in their order.

        Raises the first failure as the work raised it; pieces that have not begun are not begun any more.
        """


class PlainHands:
    """Do the work here and now, one piece after another."""

    def one(self, step: str, work: Callable[P, R], *arguments: P.args, **named: P.kwargs) -> R:
        """Do one piece of work, and return what it returns."""
        progress(step, 0, 1)
        result = work(*arguments, **named)
        progress(step, 1, 1)
        return result

    def each(self, step: str, work: Callable[[*Ts], R], arguments: Sequence[tuple[*Ts]]) -> list[R]:
        """Do a piece of work for each tuple of arguments, and return the results in their order."""
        results = []
        for done, one in enumerate(arguments):
            progress(step, done, len(arguments))
            results.append(work(*one))
        progress(step, len(arguments), len(arguments))
        return results
