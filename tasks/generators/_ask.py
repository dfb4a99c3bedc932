"""Asking an endpoint what a journal does not answer yet."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

import polars as pl

from cuvee.schemas.errors import RecipeError
from cuvee.schemas.recipe import Generate
from cuvee.tasks.generators import _answer
from cuvee.tasks.generators._journal import JOURNAL_SCHEMA, Journal, Outcome, Writer
from cuvee.tasks.generators._pace import Policy
from cuvee.tasks.generators._purse import SPENT, Purse
from cuvee.tasks.generators._types import Call, Place, Progress

Calls = Callable[[pl.Series], AsyncIterator[Call]]
"""Makes the requests of these keys, one by one as they can be sent."""

_READ_AGAIN = ("text", "reason", "model_returned", "finish_reason", "prompt_tokens", "completion_tokens", "stripped")
_COUNTS = ("prompt_tokens", "completion_tokens")
_KEPT = [name for name in JOURNAL_SCHEMA if name not in ("body", "draft_key", "payer")]
OUTCOME_SCHEMA = pl.Schema({**{name: JOURNAL_SCHEMA[name] for name in _KEPT}, "stripped": pl.List(pl.String())})


@dataclass(frozen=True)
class Desk:
    """Where answers come from: an endpoint, and the journal with what it said before. purse: what asking may cost."""

    place: Place
    journal: Journal
    concurrency: int
    policy: Policy
    purse: Purse | None = None

    def ask(self, keys: pl.Series, calls: Calls, progress: Progress | None = None) -> pl.DataFrame:
        """Return the outcome of each request key, OUTCOME_SCHEMA in no particular order, sending what has none.

        A failure that is not permanent is sent again. When the purse is empty nothing more is sent, and what has no
        outcome then fails as SPENT. Raises RecipeError if the endpoint refuses the settings,
        RetryableError if it stops answering; every answer received until then is in the journal.
        """
        before = read_again(self.journal.read(keys))
        ended = before.filter(pl.col("text").is_not_null() | pl.col("permanent"))["request_key"]
        waiting = keys.filter(~keys.is_in(ended.implode())).unique(maintain_order=True)
        done, planned = keys.n_unique() - len(waiting), keys.n_unique()
        if progress:
            progress(done, planned)
        if not len(waiting):
            return before
        # What a second run cannot read either is not worth a third.
        was_read = bool((before["text"].is_not_null() | (before["reason"] == _answer.UNREADABLE)).any())
        asyncio.run(self._send(self._affordable(calls(waiting)), done, planned, progress, was_read))
        found = read_again(self.journal.read(keys))
        unsent = waiting.filter(~waiting.is_in(found["request_key"].implode()))
        spent = pl.DataFrame({"request_key": unsent}).with_columns(reason=pl.lit(SPENT), permanent=pl.lit(value=False))
        return pl.concat([found, spent], how="diagonal")

    async def _affordable(self, calls: AsyncIterator[Call]) -> AsyncIterator[Call]:
        async for call in calls:
            if self.purse is not None and self.purse.is_empty:
                return
            yield call

    async def _send(
        self, calls: AsyncIterator[Call], done: int, planned: int, progress: Progress | None, was_read: bool
    ) -> None:
        # The SDK takes most of a second to load, and most runs send nothing.
        from cuvee.tasks.generators._client import ask_all

        async with Writer(self.journal) as writer:
            ended: set[str] = set()

            def keep(outcome: Outcome) -> None:
                writer.keep(outcome)
                if self.purse is not None:
                    self.purse.pay(outcome)
                ended.add(outcome.request_key)
                if progress:
                    progress(done + len(ended), planned)

            await ask_all(self.place, calls, keep, self.concurrency, self.policy, was_read)


def read_again(outcomes: pl.DataFrame) -> pl.DataFrame:
    """Read the answers of outcomes of a journal, OUTCOME_SCHEMA: bodies, and texts of before bodies were kept."""
    failed = pl.col("body").is_null() & pl.col("text").is_null()
    # Texts without a body were paid for, whatever they are found to be now.
    answered = outcomes.filter(~failed).with_columns(pl.col("permanent") | pl.col("body").is_null())
    readings = (
        _answer.read_text(row["text"], row) if row["body"] is None else _answer.read(row["body"])
        for row in answered.iter_rows(named=True)
    )
    rows = [tuple(getattr(reading, name) for name in _READ_AGAIN) for reading in readings]
    read = pl.DataFrame(rows, schema={name: OUTCOME_SCHEMA[name] for name in _READ_AGAIN}, orient="row")
    # Counts as they were kept also hold answers that could not be read.
    read = read.with_columns(pl.coalesce(answered[name], read[name]).alias(name) for name in _COUNTS)
    return pl.concat(
        [
            OUTCOME_SCHEMA.to_frame(),
            outcomes.filter(failed).select(_KEPT).with_columns(stripped=pl.lit([], pl.List(pl.String))),
            answered.select(name for name in _KEPT if name not in _READ_AGAIN).hstack(read),
        ],
        how="diagonal",
    )


def desk(settings: Generate, journal: Journal, policy: Policy | None = None, purse: Purse | None = None) -> Desk:
    """Open the desk of a recipe's entry. Raises RecipeError for a base_url that is no http(s) URL."""
    policy = policy or Policy(timeout_s=settings.timeout_s)
    return Desk(place_of(settings), journal, settings.concurrency, policy, purse)


def place_of(settings: Generate) -> Place:
    """Read where to send, with the key of the environment; raises RecipeError for a base_url that is no http(s) URL."""
    base_urls = tuple(dict.fromkeys(url.rstrip("/") for url in settings.base_urls or ("",)))
    for url in base_urls:
        if urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).hostname:
            raise RecipeError(f"generate.{settings.name}.base_url: {url!r} is no URL; give http(s)://HOST/v1")
    key = os.environ.get(settings.api_key_env, "") if settings.api_key_env else ""
    return Place(
        name=(settings.endpoint or base_urls[0]).rstrip("/"),
        base_urls=base_urls,
        api_key=key or "unused",
        api_key_env=settings.api_key_env,
        headers=settings.headers,
    )


def folder_of(settings: Generate) -> str:
    """Return the folder of an endpoint's answers in the store, or of a generator's that asks none."""
    name = place_of(settings).name.split("://")[-1] if settings.base_url else settings.generator
    return "generation/" + "".join(letter if letter.isalnum() or letter in ".-" else "_" for letter in name)


def judge_of(settings: Generate, asking: Desk) -> Desk:
    """Return the desk that the judge sits at: the generator's, unless the entry names another endpoint for it.

    The generator's headers are not sent to another endpoint; `endpoint` stands for its address in keys, too. Raises
    RecipeError for a base_url that is no http(s) URL.
    """
    if settings.grade.base_url is None and settings.grade.api_key_env is None:
        return asking
    is_own = settings.grade.base_url is None
    changes = {
        "base_url": settings.grade.base_url or settings.base_url,
        "api_key_env": settings.grade.api_key_env or (settings.api_key_env if is_own else None),
        "headers": settings.headers if is_own else {},
    }
    return replace(asking, place=place_of(settings.model_copy(update=changes)))


def host(place: Place) -> str:
    """Return what drafts say of their endpoint: its name, or host and port without a name or password."""
    return urlsplit(place.name).netloc.rpartition("@")[2] if "://" in place.name else place.name
