"""Asking one OpenAI-compatible endpoint many things, with a policy of our own around the plain SDK.

Retried: 408, 409, 429, 5xx, timeouts and broken connections, each after a wait without a place, at another replica
where there is one, and an answer that cannot be read, once, since it was paid for. Not retried: any other 4xx, which
fails its request at once; a used-up quota, 401, 403 and 404 end the run, as do redirects, because only the configured
hosts are ever contacted, whatever proxies the environment names. Every body of an answer is kept, whatever it says, but
for secrets of this machine that it repeats.
"""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace

import openai

from cuvee.schemas.errors import CuveeError, RecipeError, RetryableError
from cuvee.storage.secrets import hide, hide_in_body
from cuvee.tasks.generators import _answer, _quota
from cuvee.tasks.generators._context import says_too_long
from cuvee.tasks.generators._journal import Outcome
from cuvee.tasks.generators._lines import CONNECTION, TIMEOUT, Line, Lines, Turn, clients_of
from cuvee.tasks.generators._pace import Policy, backoff_s, retry_after_s
from cuvee.tasks.generators._types import Call, Place

_RETRIED = frozenset({408, 409, 429})
_WRONG_SETTINGS = {401: "the key is refused", 403: "access is refused", 404: "the URL or the model is not there"}
_DETAIL_CHARACTERS = 300
# An answer that cannot be read was paid for: it is asked for once more, and no oftener.
_READINGS = 2
_TOO_MUCH = frozenset({"http_429", "http_503", "http_529", TIMEOUT})
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

    concurrency: requests in flight at most, at each replica. was_read: whether an answer that cannot be read is kept
    for good, since others can. Calls are drawn as places come free. Raises RecipeError when the endpoint refuses the
    settings, and RetryableError when it stops answering or its quota is used up; what was kept until then stays kept,
    and the other calls have no outcome.
    """
    async with AsyncExitStack() as stack:
        lines = []
        for url in place.base_urls:
            clients = [await stack.enter_async_context(one) for one in clients_of(url, place, concurrency, policy)]
            lines.append(Line(url, clients, concurrency, policy))
        conversation = _Conversation(Lines(lines), place, keep, concurrency * len(lines), policy, was_read)
        try:
            await conversation.hold(calls)
        except BaseExceptionGroup as group:
            # The first cause is what a caller can act on; the others are its echo in neighbouring requests.
            raise group.exceptions[0] from None


class _Conversation:
    def __init__(
        self,
        lines: Lines,
        place: Place,
        keep: Callable[[Outcome], None],
        concurrency: int,
        policy: Policy,
        was_read: bool,
    ) -> None:
        self._lines = lines
        self._place = place
        self._keep = keep
        self._policy = policy
        # Requests begun and not ended, asleep between attempts or not; bounds memory when most of them sleep.
        self._begun = asyncio.Semaphore(4 * concurrency)
        self._refused: list[Outcome] = []
        self._unread: list[Outcome] = []
        self._was_read = was_read
        self._error: CuveeError | None = None

    async def hold(self, calls: AsyncIterator[Call]) -> None:
        async with asyncio.TaskGroup() as asking:
            while True:
                await self._begun.acquire()
                turn = await self._lines.take()
                # Not before there is a place: what an answer costs may decide that no other call is made.
                call = await anext(calls, None)
                if call is None:
                    self._lines.give_back(turn.line)
                    break
                asking.create_task(self._ask(call, turn))
        self._keep_refused()
        self._keep_unread(at_the_end=True)

    async def _ask(self, call: Call, turn: Turn) -> None:
        """Send one call until it ends; where it ends all of them, what is in flight may still be answered."""
        try:
            await self._try(call, turn)
        except CuveeError as error:
            self._error = self._error or error
            await self._lines.close(self._policy.last_answers_s)
            raise self._error from None
        self._begun.release()

    async def _try(self, call: Call, turn: Turn) -> None:
        """Send one call until it ends; the first attempt comes with its place."""
        begun = time.monotonic()
        unreadable = late = 0
        for attempt in range(1, self._policy.attempts + 1):
            line, era = turn = turn if attempt == 1 else await self._lines.take(turn.line)
            sent = time.monotonic()
            try:
                reply = await self._send(call, line, late)
            finally:
                self._lines.give_back(line)
            seconds = round(time.monotonic() - begun, 3)
            if isinstance(reply, Outcome):
                outcome = replace(reply, attempts=attempt, seconds=seconds, draft_key=call.draft_key)
                self._end(outcome, line, time.monotonic() - sent)
                return
            if reply.body is None or not unreadable:  # the second time it is the request's fault
                line.faulted(reply.reason)
            if reply.reason in _TOO_MUCH:  # a server that queues what it is sent needs fewer at once
                line.slots.shrink(era)
            late += reply.reason == TIMEOUT
            unreadable += reply.body is not None
            failed = _failed(call, reply, attempt, seconds)
            if attempt == self._policy.attempts or unreadable == _READINGS or late == _TIMEOUTS:
                self._give_up(reply, failed, line)
                return
            if reply.body is not None:  # it was paid for, whatever comes
                self._keep(failed)
            await asyncio.sleep(self._wait_s(reply, attempt, line))

    def _end(self, outcome: Outcome, line: Line, seconds: float) -> None:
        """Count an answer that took so many seconds, and keep it."""
        line.answered()
        if outcome.reason is not None and outcome.reason.startswith("http_"):
            self._refuse(outcome, line)
        elif outcome.reason == _answer.CONTEXT_LENGTH:
            self._keep(outcome)
        else:
            self._was_read = True
            line.clock.answered(seconds)
            line.slots.grow(seconds)
            self._keep_refused()
            self._keep_unread()
            self._keep(outcome)
        self._lines.wake()

    def _refuse(self, outcome: Outcome, line: Line) -> None:
        """Hold a refusal back until another request is answered: refusals alone mean wrong settings, not bad seeds."""
        self._refused.append(outcome)
        if len(self._refused) >= self._policy.faults_in_a_row:
            raise RecipeError(
                f"generate: {line.base_url} refused {len(self._refused)} requests in a row "
                f"({outcome.reason}: {outcome.detail}); check model and sampling"
            )

    def _keep_refused(self) -> None:
        for outcome in self._refused:
            self._keep(outcome)
        self._refused.clear()

    def _give_up(self, fault: Fault, outcome: Outcome, line: Line) -> None:
        if fault.body is not None:
            self._unread.append(outcome)
            self._keep_unread()
        if self._lines.are_well:
            if fault.body is None:
                self._keep(outcome)
            return
        for unread in self._unread:
            self._keep(unread)
        what = "answers what cannot be read" if fault.body is not None else line.ailment(fault.reason)
        raise RetryableError(
            f"generate: {line.base_url} {what} ({fault.reason}: {fault.detail}); "
            "the answers so far are kept: run again when it is well"
        )

    def _keep_unread(self, at_the_end: bool = False) -> None:
        """Keep answers that cannot be read, for good once another can be: then the fault is not the endpoint's."""
        if self._was_read or at_the_end:
            for outcome in self._unread:
                self._keep(replace(outcome, permanent=self._was_read))
            self._unread.clear()

    def _wait_s(self, fault: Fault, attempt: int, line: Line) -> float:
        if fault.wait_s is None:
            return backoff_s(attempt, self._policy)
        if fault.wait_s > self._policy.longest_retry_after_s:
            raise RetryableError(
                f"generate: {line.base_url} asks to be left alone for {fault.wait_s:.0f} s ({fault.reason}: "
                f"{fault.detail}); the answers so far are kept: run again then"
            )
        # Never earlier than asked, and not all at the same moment.
        return fault.wait_s + random.uniform(0.0, min(self._policy.first_wait_s, 0.1 * fault.wait_s + 0.01))

    async def _send(self, call: Call, line: Line, late: int) -> Outcome | Fault:
        patience_s = (1 + late) * line.clock.patience_s
        try:
            async with line.clock.bound(1 + late):
                response = await line.create({"messages": call.messages, "model": call.model} | call.sampling)
        except openai.APIStatusError as error:
            return self._judge_status(call, error, line)
        except (TimeoutError, openai.APITimeoutError):
            told = f"no answer in {patience_s:g} s (timeout_s {self._policy.timeout_s:g}), "
            told += f"{line.slots.limit} requests at once"
            return Fault(TIMEOUT, f"{told}; a slow server needs a lower concurrency or a longer timeout_s")
        except openai.APIConnectionError as error:
            return Fault(CONNECTION, hide(str(error.__cause__ or error))[:_DETAIL_CHARACTERS])
        body = hide_in_body(response.content.decode("utf-8", "replace"))
        reply = _outcome(call.request_key, body)
        if reply.reason == _answer.UNREADABLE:
            self._check_quota(line, response.status_code, body)
        return reply

    def _judge_status(self, call: Call, error: openai.APIStatusError, line: Line) -> Outcome | Fault:
        status, place = error.status_code, self._place
        detail, wait_s = hide(error.message)[:_DETAIL_CHARACTERS], retry_after_s(error.response.headers)
        if says_too_long(status, error.message):
            return Outcome(call.request_key, reason=_answer.CONTEXT_LENGTH, permanent=True, detail=detail)
        self._check_quota(line, status, hide(error.response.text), wait_s is not None)
        if status in _WRONG_SETTINGS or 300 <= status < 400:
            why = _WRONG_SETTINGS.get(status, "it redirects to another address, which is not followed")
            raise RecipeError(
                f"generate: {line.base_url} answers {status}: {why}; check base_url, model ({call.model}) "
                f"and the key in api_key_env ({place.api_key_env}): {detail}"
            ) from error
        if status in _RETRIED or status >= 500:
            return Fault(f"http_{status}", detail, wait_s)
        return Outcome(call.request_key, reason=f"http_{status}", permanent=True, detail=detail)

    def _check_quota(self, line: Line, status: int, body: str, is_told_to_wait: bool = False) -> None:
        """End the asking where an error says that the quota is used up: no wait helps, and each attempt may cost."""
        words = _quota.words_of(status, body, is_told_to_wait)
        if words is not None:
            raise RetryableError(
                f"generate: {line.base_url} has no quota left ({status}: {words[:_DETAIL_CHARACTERS]}); the answers so "
                f"far are kept: raise the limit of the account of api_key_env ({self._place.api_key_env}), and run "
                "again"
            )


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
