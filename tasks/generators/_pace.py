"""How fast and how often an endpoint is asked: slots, waits, and when to stop."""

import asyncio
import email.utils
import random
import time
from collections import deque
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from pydantic import Field

from cuvee.schemas.base import Frozen

# Lengths of answers differ by less than this; waiting in a queue soon makes more of a difference.
SLOWER = 3.0
# A few answers that are cut short or cached do not make the others look slow.
USUAL_OF = 16
# A queue that grows lets the next one wait longer than any before it.
PATIENCE = 3.0
SLOWEST_OF = 64


class Policy(Frozen):
    """Limits of patience. The defaults suit a model server; tests shorten them."""

    timeout_s: float = Field(300.0, gt=0, description="Wait for an answer while none was slow; see Clock.")
    attempts: int = Field(6, ge=1, description="Times one request is sent before it counts as failed.")
    first_wait_s: float = Field(0.5, gt=0, description="Wait before the second attempt; doubled each time.")
    longest_wait_s: float = Field(30.0, gt=0, description="Bound of the doubled wait.")
    longest_retry_after_s: float = Field(300.0, gt=0, description="A server that asks for more ends the run.")
    faults_in_a_row: int = Field(20, ge=1, description="Faults without one answer that make a server unwell.")
    last_answers_s: float = Field(10.0, gt=0, description="Wait for answers under way when a run ends early.")


class Slots:
    """Places for requests in flight: a quarter fewer after a 429, one more for each 25 answers.

    From `most` down to an eighth of it: endpoints that answer 429 at random, whatever the load, would otherwise end
    at one request at a time, and every hanging one would stop the run for its whole timeout.

    begin: places at first, by default all; until the first reduction each answer adds two. No places are added while
    the quicker quarter of the last USUAL_OF answers takes more than SLOWER times what that of the first ones took (of
    the first ones: one of them more than the quickest): answers of a server that queues its requests take longer the
    more there are.
    """

    def __init__(self, most: int, begin: int | None = None) -> None:
        self._most = most
        self._least = max(1.0, most / 8)
        self._limit = float(most if begin is None else min(begin, most))
        self._usual = 0.0
        self._last: deque[float] = deque(maxlen=USUAL_OF)
        self._answers = 0
        self.busy = 0
        self.era = 0

    @property
    def limit(self) -> int:
        """How many requests may be in flight now, from an eighth of `most` to `most`, at least 1."""
        return int(self._limit)

    @property
    def free(self) -> int:
        """How many more may be sent now; below 0 while those sent before a reduction are under way."""
        return self.limit - self.busy

    def grow(self, seconds: float = 0.0) -> None:
        """Count an answer that took so many seconds."""
        if self._is_slower(seconds):
            return
        self._answers += 1
        if self.era == 0 or self._answers % 25 == 0:
            self._limit = min(float(self._most), self._limit + (1 if self.era else 2))

    def shrink(self, era: int) -> None:
        """Count a 429 or a time-out. Requests sent before the last reduction do not reduce again: a burst is one."""
        if era == self.era:
            self.era += 1
            self._limit = max(self._least, self._limit * 0.75)

    def _is_slower(self, seconds: float) -> bool:
        self._last.append(seconds)
        if len(self._last) < USUAL_OF:
            return seconds > SLOWER * min(self._last)
        now = sorted(self._last)[USUAL_OF // 4 - 1]
        self._usual = self._usual or now
        return now > SLOWER * self._usual


class Clock:
    """How long to wait for an answer: `timeout_s`, or PATIENCE times the slowest of the last answers if that is more.

    A request that waits in the queue of a server which answers others is slow, and not lost.
    """

    def __init__(self, timeout_s: float) -> None:
        self._least = self.patience_s = timeout_s
        self._last: deque[float] = deque(maxlen=SLOWEST_OF)
        self._running: dict[asyncio.Timeout, tuple[float, int]] = {}
        self.answers = 0

    @property
    def slowest_s(self) -> float:
        """Seconds that the slowest of the last answers took; 0 before the first."""
        return max(self._last, default=0.0)

    @asynccontextmanager
    async def bound(self, times: int = 1) -> AsyncIterator[None]:
        """End the body with a TimeoutError when its answer has not come in time; patience that grows counts for it.

        times: how often that long to wait; a request sent again queues behind those that were given up.
        """
        begun = asyncio.get_running_loop().time()
        async with asyncio.timeout_at(begun + times * self.patience_s) as timeout:
            self._running[timeout] = begun, times
            try:
                yield
            finally:
                del self._running[timeout]

    def answered(self, seconds: float) -> None:
        """Count an answer that took so many seconds."""
        self.answers += 1
        self._last.append(seconds)
        before, self.patience_s = self.patience_s, max(self._least, PATIENCE * self.slowest_s)
        if self.patience_s > before:
            for timeout, (begun, times) in self._running.items():
                if not timeout.expired():
                    timeout.reschedule(begun + times * self.patience_s)


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
