"""How fast and how often an endpoint is asked: slots, waits, and when to stop."""

import asyncio
import email.utils
import math
import random
import time
from collections import deque
from collections.abc import Mapping

from pydantic import Field

from cuvee.schemas.base import Frozen

# Lengths of answers differ by less than this; waiting in a queue soon makes more of a difference.
SLOWER = 3.0


class Policy(Frozen):
    """Limits of patience. The defaults suit a model server; tests shorten them."""

    timeout_s: float = Field(300.0, gt=0, description="Longest wait for one answer; slow local models need minutes.")
    attempts: int = Field(6, ge=1, description="Times one request is sent before it counts as failed.")
    first_wait_s: float = Field(0.5, gt=0, description="Wait before the second attempt; doubled each time.")
    longest_wait_s: float = Field(30.0, gt=0, description="Bound of the doubled wait.")
    longest_retry_after_s: float = Field(300.0, gt=0, description="A server that asks for more ends the run.")
    faults_in_a_row: int = Field(20, ge=1, description="Faults without one answer that make an endpoint unwell.")


class Slots:
    """Places for requests in flight: a quarter fewer after a 429, one more for each 25 answers.

    From `most` down to an eighth of it: endpoints that answer 429 at random, whatever the load, would otherwise end
    at one request at a time, and every hanging one would stop the run for its whole timeout.

    begin: places at first, by default all; until the first reduction each answer adds one, as long as answers take no
    more than SLOWER times the quickest: those of a server that queues its requests take longer the more there are.
    """

    def __init__(self, most: int, begin: int | None = None) -> None:
        self._most = most
        self._least = max(1.0, most / 8)
        self._limit = float(most if begin is None else min(begin, most))
        self._quickest = math.inf
        self._busy = 0
        self._answers = 0
        self._era = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    @property
    def limit(self) -> int:
        """How many requests may be in flight now, from an eighth of `most` to `most`, at least 1."""
        return int(self._limit)

    async def take(self) -> int:
        """Wait for a place; return the era it belongs to, for `shrink`."""
        while self._busy >= self.limit:
            turn = asyncio.get_running_loop().create_future()
            self._waiting.append(turn)
            await turn
        self._busy += 1
        return self._era

    def free(self) -> None:
        """Give a place back."""
        self._busy -= 1
        self._wake()

    def grow(self, seconds: float = 0.0) -> None:
        """Count an answer that took so many seconds."""
        self._quickest = min(self._quickest, seconds)
        if seconds > SLOWER * self._quickest:
            return
        self._answers += 1
        if (self._era == 0 or self._answers % 25 == 0) and self._limit < self._most:
            self._limit = min(float(self._most), self._limit + 1)
            self._wake()

    def shrink(self, era: int) -> None:
        """Count a 429 or a time-out. Requests sent before the last reduction do not reduce again: a burst is one."""
        if era == self._era:
            self._era += 1
            self._limit = max(self._least, self._limit * 0.75)

    def _wake(self) -> None:
        for _ in range(self.limit - self._busy):
            if not self._waiting:
                return
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)


class Health:
    """Whether the endpoint answers at all. While it is unwell, no new request is begun; those begun go on trying."""

    def __init__(self, faults_in_a_row: int) -> None:
        self._most = faults_in_a_row
        self._faults = 0
        self._well = asyncio.Event()
        self._well.set()

    @property
    def well(self) -> bool:
        """False after `faults_in_a_row` faults without an answer between them."""
        return self._well.is_set()

    def answered(self) -> None:
        """Count an answer."""
        self._faults = 0
        self._well.set()

    def faulted(self) -> None:
        """Count a fault."""
        self._faults += 1
        if self._faults >= self._most:
            self._well.clear()

    async def wait_until_well(self) -> None:
        """Return at the first answer."""
        await self._well.wait()


def backoff_s(attempt: int, policy: Policy) -> float:
    """Draw the wait after the given attempt (1 or more): doubled each time, and between half and all of that."""
    longest = min(policy.longest_wait_s, policy.first_wait_s * 2.0 ** min(attempt - 1, 30))
    return longest * random.uniform(0.5, 1.0)


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Read how long a server asks to be left alone: `retry-after-ms`, or `Retry-After` in seconds or as a date."""
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        try:
            return max(0.0, float(headers[name]) * unit)
        except (KeyError, ValueError):
            continue
    try:
        moment = email.utils.parsedate_to_datetime(headers["retry-after"])
    except (KeyError, ValueError):
        return None
    return max(0.0, moment.timestamp() - time.time())
