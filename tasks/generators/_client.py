"""Asking one OpenAI-compatible endpoint many things, with a policy of our own around the plain SDK.

Retried: 408, 409, 429, 5xx, timeouts and broken connections, each after a wait without a slot, and an answer that
cannot be read, once, since it was paid for. Not retried: any other 4xx, which fails its request at once; 401, 403 and
404 end the run, as do redirects, because only the configured host is ever contacted, whatever proxies the environment
names. Every body of an answer is kept, whatever it says, but for secrets of this machine that it repeats.
"""

import asyncio
import os
import random
import ssl
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from typing import Any

import openai

from cuvee.schemas.errors import RecipeError, RetryableError
from cuvee.storage.secrets import hide, hide_in_body
from cuvee.tasks.generators import _answer
from cuvee.tasks.generators._journal import Outcome
from cuvee.tasks.generators._pace import Health, Policy, Slots, backoff_s, retry_after_s
from cuvee.tasks.generators._types import Call, Place

_RETRIED = frozenset({408, 409, 429})
_WRONG_SETTINGS = {401: "the key is refused", 403: "access is refused", 404: "the URL or the model is not there"}
_DETAIL_CHARACTERS = 300
# An answer that cannot be read was paid for: it is asked for once more, and no oftener.
_READINGS = 2
_TIMEOUT = "timeout"
# What a server did not answer twice may still be in its queue.
_TIMEOUTS = 2


@dataclass(frozen=True)
class Fault:
    """An attempt that may go better later; `wait_s` is what the server asked for."""

    reason: str
    detail: str = ""
    wait_s: float | None = None
    body: str | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None


async def ask_all(
    place: Place,
    calls: AsyncIterator[Call],
    keep: Callable[[Outcome], None],
    concurrency: int,
    policy: Policy,
    was_read: bool = False,
) -> None:
    """Send every call; each ends in exactly one outcome given to `keep`, in any order.

    was_read: whether an answer that cannot be read is kept for good, since others can. Calls are drawn as slots come
    free. Raises RecipeError when the endpoint refuses the settings, and RetryableError when it stops answering; what
    was kept until then stays kept, and the other calls have no outcome.
    """
    async with openai.AsyncOpenAI(
        base_url=place.base_url,
        api_key=place.api_key,
        max_retries=0,
        timeout=policy.timeout_s,
        default_headers=place.headers,
        http_client=openai.DefaultAsyncHttpxClient(
            follow_redirects=False, trust_env=False, verify=_certificates(), timeout=policy.timeout_s
        ),
    ) as client:
        conversation = _Conversation(client, place, keep, concurrency, policy, was_read)
        try:
            await conversation.hold(calls)
        except BaseExceptionGroup as group:
            # The first cause is what a caller can act on; the others are its echo in neighbouring requests.
            raise group.exceptions[0] from None


def _certificates() -> ssl.SSLContext | bool:
    """Return the certificates of SSL_CERT_FILE, the one variable that still counts: proxies and .netrc do not."""
    path = os.environ.get("SSL_CERT_FILE")
    return ssl.create_default_context(cafile=path) if path else True


class _Conversation:
    def __init__(
        self,
        client: openai.AsyncOpenAI,
        place: Place,
        keep: Callable[[Outcome], None],
        concurrency: int,
        policy: Policy,
        was_read: bool,
    ) -> None:
        self._client = client
        self._place = place
        self._keep = keep
        self._policy = policy
        self._slots = Slots(concurrency, max(4, concurrency // 4))
        self._health = Health(policy.faults_in_a_row)
        # Requests begun and not ended, asleep between attempts or not; bounds memory when most of them sleep.
        self._begun = asyncio.Semaphore(4 * concurrency)
        self._refused: list[Outcome] = []
        self._unread: list[Outcome] = []
        self._was_read = was_read

    async def hold(self, calls: AsyncIterator[Call]) -> None:
        async with asyncio.TaskGroup() as asking:
            async for call in calls:
                await self._begun.acquire()
                await self._health.wait_until_well()
                era = await self._slots.take()
                asking.create_task(self._ask(call, era))
        self._keep_refused()
        self._keep_unread(at_the_end=True)

    async def _ask(self, call: Call, era: int) -> None:
        """Send one call until it ends; the first attempt comes with its slot."""
        begun = time.monotonic()
        unreadable = late = 0
        for attempt in range(1, self._policy.attempts + 1):
            if attempt > 1:
                era = await self._slots.take()
            try:
                reply = await self._send(call)
            finally:
                self._slots.free()
            if isinstance(reply, Outcome):
                seconds = round(time.monotonic() - begun, 3)
                self._end(replace(reply, attempts=attempt, seconds=seconds, draft_key=call.draft_key))
                break
            if reply.body is None or not unreadable:  # the second time it is the request's fault
                self._health.faulted()
            if reply.reason in ("http_429", _TIMEOUT):  # a server that queues what it is sent needs fewer at once
                self._slots.shrink(era)
            late += reply.reason == _TIMEOUT
            unreadable += reply.body is not None
            failed = _failed(call, reply, attempt, round(time.monotonic() - begun, 3))
            if attempt == self._policy.attempts or unreadable == _READINGS or late == _TIMEOUTS:
                self._give_up(reply, failed)
                break
            if reply.body is not None:  # it was paid for, whatever comes
                self._keep(failed)
            await asyncio.sleep(self._wait_s(reply, attempt))
        self._begun.release()

    def _end(self, outcome: Outcome) -> None:
        self._health.answered()
        if outcome.reason is not None and outcome.reason.startswith("http_"):
            self._refuse(outcome)
            return
        self._was_read = True
        # With its waits between attempts an answer only looks slow.
        self._slots.grow(outcome.seconds)
        self._keep_refused()
        self._keep_unread()
        self._keep(outcome)

    def _refuse(self, outcome: Outcome) -> None:
        """Hold a refusal back until another request is answered: refusals alone mean wrong settings, not bad seeds."""
        self._refused.append(outcome)
        if len(self._refused) >= self._policy.faults_in_a_row:
            raise RecipeError(
                f"generate: {self._place.base_url} refused {len(self._refused)} requests in a row "
                f"({outcome.reason}: {outcome.detail}); check model and sampling"
            )

    def _keep_refused(self) -> None:
        for outcome in self._refused:
            self._keep(outcome)
        self._refused.clear()

    def _give_up(self, fault: Fault, outcome: Outcome) -> None:
        if fault.body is not None:
            self._unread.append(outcome)
            self._keep_unread()
        if self._health.well:
            if fault.body is None:
                self._keep(outcome)
            return
        for unread in self._unread:
            self._keep(unread)
        what = "answers what cannot be read" if fault.body is not None else "has stopped answering"
        raise RetryableError(
            f"generate: {self._place.base_url} {what} ({fault.reason}: {fault.detail}); "
            "the answers so far are kept: run again when it is well"
        )

    def _keep_unread(self, at_the_end: bool = False) -> None:
        """Keep answers that cannot be read, for good once another can be: then the fault is not the endpoint's."""
        if self._was_read or at_the_end:
            for outcome in self._unread:
                self._keep(replace(outcome, permanent=self._was_read))
            self._unread.clear()

    def _wait_s(self, fault: Fault, attempt: int) -> float:
        if fault.wait_s is None:
            return backoff_s(attempt, self._policy)
        if fault.wait_s > self._policy.longest_retry_after_s:
            raise RetryableError(
                f"generate: {self._place.base_url} asks to be left alone for {fault.wait_s:.0f} s; "
                "the answers so far are kept: run again then"
            )
        # Never earlier than asked, and not all at the same moment.
        return fault.wait_s + random.uniform(0.0, min(self._policy.first_wait_s, 0.1 * fault.wait_s + 0.01))

    async def _send(self, call: Call) -> Outcome | Fault:
        create: Any = self._client.chat.completions.with_raw_response.create
        try:
            # The SDK's timeout starts again with every byte; this one bounds the whole answer.
            async with asyncio.timeout(self._policy.timeout_s):
                response = await create(model=call.model, messages=call.messages, extra_body=call.sampling)
        except openai.APIStatusError as error:
            return self._judge_status(call, error)
        except (TimeoutError, openai.APITimeoutError):
            told = f"no answer within timeout_s {self._policy.timeout_s:g}, {self._slots.limit} requests at once"
            return Fault(_TIMEOUT, f"{told}; a slow server needs a lower concurrency or a longer timeout_s")
        except openai.APIConnectionError as error:
            return Fault("connection", hide(str(error.__cause__ or error))[:_DETAIL_CHARACTERS])
        return _outcome(call.request_key, hide_in_body(response.content.decode("utf-8", "replace")))

    def _judge_status(self, call: Call, error: openai.APIStatusError) -> Outcome | Fault:
        status, place = error.status_code, self._place
        if status in _WRONG_SETTINGS or 300 <= status < 400:
            why = _WRONG_SETTINGS.get(status, "it redirects to another address, which is not followed")
            raise RecipeError(
                f"generate: {place.base_url} answers {status}: {why}; check base_url, model ({call.model}) "
                f"and the key in api_key_env ({place.api_key_env})"
            ) from error
        detail = hide(error.message)[:_DETAIL_CHARACTERS]
        if status in _RETRIED or status >= 500:
            return Fault(f"http_{status}", detail, retry_after_s(error.response.headers))
        return Outcome(call.request_key, reason=f"http_{status}", permanent=True, detail=detail)


def _outcome(request_key: str, body: str) -> Outcome | Fault:
    """Return an answer as it is kept, or the fault that its body is."""
    found = _answer.read(body)
    if found.reason == _answer.UNREADABLE:
        return Fault(found.reason, found.detail or "", None, body, found.prompt_tokens, found.completion_tokens)
    return Outcome(
        request_key,
        model_returned=found.model_returned,
        finish_reason=found.finish_reason,
        prompt_tokens=found.prompt_tokens,
        completion_tokens=found.completion_tokens,
        reason=found.reason,
        permanent=True,
        detail=found.detail,
        body=body,
    )


def _failed(call: Call, fault: Fault, attempts: int, seconds: float) -> Outcome:
    return Outcome(
        call.request_key,
        reason=fault.reason,
        detail=fault.detail,
        attempts=attempts,
        seconds=seconds,
        body=fault.body,
        prompt_tokens=fault.prompt_tokens,
        completion_tokens=fault.completion_tokens,
        draft_key=call.draft_key,
    )
