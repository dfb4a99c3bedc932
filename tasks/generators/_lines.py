"""Lines: the servers of an endpoint, each with a pace, a clock and a health of its own, and who takes what is next."""

import asyncio
import itertools
import logging
import os
import ssl
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

import httpx2
import openai

from cuvee.tasks.generators._pace import Clock, Policy, Slots
from cuvee.tasks.generators._types import Place

# Reasons of faults.
TIMEOUT, CONNECTION = "timeout", "connection"
# The library looks at all connections of a client for each request: with 256 that is half of its work.
_CONNECTIONS = 32


class Line:
    """One server: a replica, or all that there is."""

    def __init__(self, base_url: str, clients: Sequence[openai.AsyncOpenAI], concurrency: int, policy: Policy) -> None:
        self.base_url = base_url
        self._clients = itertools.cycle(clients)
        self.slots = Slots(concurrency, max(4, concurrency // 4))
        self.clock = Clock(policy.timeout_s)
        self._policy = policy
        self._faults = 0
        self.tried = 0.0

    async def create(self, body: Mapping[str, Any]) -> httpx2.Response:
        """Ask for a completion; the answer comes as it was sent, with a status below 400. Raises the SDK's errors.

        The SDK's own method walks through all messages by their types first: a sixth of the work of an answer.
        """
        return await next(self._clients).post("/chat/completions", cast_to=httpx2.Response, body=body)

    @property
    def is_well(self) -> bool:
        """False after `faults_in_a_row` faults without an answer between them, until the next answer."""
        return self._faults < self._policy.faults_in_a_row

    @property
    def is_due(self) -> bool:
        """Whether it is time to try a server that is not well once more."""
        return time.monotonic() - self.tried > self._policy.longest_wait_s

    def answered(self) -> None:
        """Count an answer, whatever it says."""
        self._faults = 0

    def faulted(self, reason: str) -> None:
        """Count a fault."""
        self._faults += 1
        if self._faults == self._policy.faults_in_a_row:
            told = "%s: %d faults in a row (%s); no new requests until it answers"
            logging.getLogger("cuvee.tasks").warning(told, self.base_url, self._faults, reason)

    def ailment(self, reason: str) -> str:
        """Say what a fault with this reason means here: a server that is slow is not one that is gone."""
        answers = self.clock.answers
        if reason == TIMEOUT:
            slowest = f"after {answers:,} answers, the last of which took up to {self.clock.slowest_s:.1f} s, "
            return f"accepts requests, and {slowest if answers else ''}answers none in time: it is slow or hangs"
        if reason == CONNECTION and not answers:
            return "cannot be reached"
        return "has stopped answering" if answers else "does not answer"


class Turn(NamedTuple):
    """A place at a line, and the era of its slots when it was taken."""

    line: Line
    era: int


class Lines:
    """The lines of an endpoint. A new request waits until one of them is well; one that is repeated goes on trying."""

    def __init__(self, lines: Sequence[Line]) -> None:
        self._lines = lines
        self._new: deque[asyncio.Future[None]] = deque()
        self._repeated: deque[asyncio.Future[None]] = deque()
        self._is_closed = False
        self._idle = asyncio.Event()

    @property
    def are_well(self) -> bool:
        """Whether any of them is."""
        return any(line.is_well for line in self._lines)

    async def take(self, last: Line | None = None) -> Turn:
        """Wait for a place and take it; last: the line at which a repeated request failed, null for a new one.

        After `close` nobody gets a place any more.
        """
        waiting = self._repeated if last else self._new
        while self._is_closed or not (free := self._free(last is None, last)):
            turn = asyncio.get_running_loop().create_future()
            waiting.append(turn)
            await turn
        line = min(free, key=lambda one: one.slots.busy / one.slots.limit)
        line.slots.busy += 1
        line.tried = time.monotonic()
        return Turn(line, line.slots.era)

    def give_back(self, line: Line) -> None:
        """Free a place."""
        line.slots.busy -= 1
        if not any(line.slots.busy for line in self._lines):
            self._idle.set()
        self.wake()

    def wake(self) -> None:
        """Let as many go on as there are places, repeated requests first."""
        if self._is_closed:
            return
        for waiting, is_new in ((self._repeated, False), (self._new, True)):
            for _ in range(sum(line.slots.free for line in self._free(is_new))):
                if not waiting:
                    break
                turn = waiting.popleft()
                if not turn.done():
                    turn.set_result(None)

    async def close(self, seconds: float) -> None:
        """Give no more places, and return when nothing is in flight any more, or after so many seconds."""
        self._is_closed = True
        if any(line.slots.busy for line in self._lines):
            self._idle.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._idle.wait()

    def _free(self, is_new: bool, last: Line | None = None) -> list[Line]:
        """List the lines that have a place: a new request also tries one that is due, a repeated one goes elsewhere."""
        if self.are_well:
            usable = [line for line in self._lines if line.is_well or (is_new and line.is_due)]
        else:
            usable = [] if is_new else list(self._lines)
        usable = [line for line in usable if line is not last] or usable
        return [line for line in usable if line.slots.free > 0]


def clients_of(base_url: str, place: Place, concurrency: int, policy: Policy) -> Iterator[openai.AsyncOpenAI]:
    """Yield as many of the SDK's clients for one server of an endpoint as so many requests at once need."""
    count = -(-concurrency // _CONNECTIONS)
    certificates = _certificates()
    for _ in range(count):
        yield _client_of(base_url, place, -(-concurrency // count), policy, certificates)


def _client_of(
    base_url: str, place: Place, connections: int, policy: Policy, certificates: ssl.SSLContext | bool
) -> openai.AsyncOpenAI:
    # An answer's clock is ours; the library's would start again with every byte, and knows nothing of a queue.
    patience = openai.Timeout(None, connect=policy.timeout_s)
    limits = type(openai.DEFAULT_CONNECTION_LIMITS)(max_connections=None, max_keepalive_connections=connections)
    return openai.AsyncOpenAI(
        base_url=base_url,
        api_key=place.api_key,
        max_retries=0,
        timeout=patience,
        default_headers=place.headers,
        http_client=openai.DefaultAsyncHttpxClient(
            follow_redirects=False, trust_env=False, verify=certificates, timeout=patience, limits=limits
        ),
    )


def _certificates() -> ssl.SSLContext | bool:
    """Return the certificates of SSL_CERT_FILE, the one variable that still counts: proxies and .netrc do not."""
    path = os.environ.get("SSL_CERT_FILE")
    return ssl.create_default_context(cafile=path) if path else True
