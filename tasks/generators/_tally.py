"""Tally: what this process was answered for an entry, what it cost, and how fast it came; never part of a draft."""

import time
from collections.abc import Callable

from cuvee.schemas.generation import Asked
from cuvee.tasks.generators._journal import Outcome


class Tally:
    """Counts outcomes as they are kept; its clock begins now."""

    def __init__(self, cost: Callable[[int | None, int | None], float | None]) -> None:
        self._cost = cost
        self._begun = self._last = time.monotonic()
        self._requests = 0
        self._tokens: list[int | None] = [0, 0]

    def count(self, outcome: Outcome) -> None:
        """Count an outcome; tokens are unknown once an answer did not count them."""
        self._requests += 1
        self._last = time.monotonic()
        if outcome.body is None:
            return
        for side, found in enumerate((outcome.prompt_tokens, outcome.completion_tokens)):
            before = self._tokens[side]
            self._tokens[side] = None if before is None or found is None else before + found

    @property
    def asked(self) -> Asked:
        """What was asked so far."""
        sent, received = self._tokens
        return Asked(
            requests=self._requests,
            prompt_tokens=sent,
            completion_tokens=received,
            cost_usd=self._cost(sent, received),
            seconds=round(self._last - self._begun, 3),
        )


class Telling:
    """Tells whoever watches how far the requests of a step are, with pace, money and time left."""

    def __init__(self, tell: Callable[[int, int, str], None], tally: Tally) -> None:
        self._tell, self._tally = tell, tally
        self._begun: tuple[float, int] | None = None

    def __call__(self, done: int, planned: int) -> None:
        """Take (requests ended, requests planned); `Progress`."""
        begun, before = self._begun = self._begun or (time.monotonic(), done)
        asked = self._tally.asked
        note = asked.as_line() if asked.requests else ""
        if before < done < planned:
            note += f", {_lasting((planned - done) * (time.monotonic() - begun) / (done - before))} left"
        self._tell(done, planned, note)


def _lasting(seconds: float) -> str:
    """Tell a time in its largest unit."""
    for unit, size in (("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
