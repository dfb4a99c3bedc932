"""The openai generator: drafts rephrased from seeds by a model behind any OpenAI-compatible endpoint.

The plan names every request before one is sent. A request key covers everything that shapes an answer (endpoint,
model, prompt file, sampling, kind, seed texts by their ids), so that no answer is ever used for another question.
Answers go to an append-only journal first; rows are made from it in plan order. A run that was killed therefore
ends with the rows of an undisturbed one, and sends nothing again that was answered or refused for good.

The key for the endpoint is read from the environment variable that `api_key_env` names; where it is absent, as for
local servers, the word "unused" is sent.
"""

import asyncio
import json
import os
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import polars as pl

from cuvee.schemas.errors import RecipeError
from cuvee.schemas.recipe import canonical_json, canonical_sha256
from cuvee.tasks.generators import _prompts
from cuvee.tasks.generators._client import Call, Place, ask_all
from cuvee.tasks.generators._journal import Journal, Outcome, Writer
from cuvee.tasks.generators._pace import Policy
from cuvee.tasks.generators._types import (
    ANSWER_SCHEMA,
    FAILURE_SCHEMA,
    PLAN_SCHEMA,
    Drafts,
    Progress,
    Settings,
    Texts,
    by_priority,
    cut_to_budget,
    draft_rows,
    fetch,
    seed_priority,
)

VERSION = 1

# English prose: about 100 tokens for 75 words, so an answer cannot hold more words than this of its token limit.
WORDS_A_TOKEN = 0.75
# Seed texts held at once while requests are made of them.
_BATCH = 256


def plan(settings: Settings, seeds: pl.DataFrame, wanted_words: int) -> pl.DataFrame:
    """Plan one request a seed in hash-priority order, then a second for each, up to `max_per_seed`.

    A document meets the kinds in an order of its own, so that a kind added later moves few documents. When it has
    met all of them, they come round again with another sampling seed.
    Raises RecipeError for an unknown kind, and for a base_url or model that is missing.
    """
    place = _place(settings)
    prompts = {kind: _prompts.find(kind) for kind in dict.fromkeys(settings.kinds)}
    if not prompts:
        raise RecipeError(f"generate.{settings.name}.kinds: empty; give at least one of {', '.join(_prompts.kinds())}")
    ordered = by_priority(seeds.filter(pl.col("words") > 0), settings.sampling.seed)
    order_of_kinds = np.argsort([seed_priority(ordered["doc_id"], kind) for kind in sorted(prompts)], axis=0)
    kinds, shares = pl.Series(sorted(prompts)), [prompts[kind].words for kind in sorted(prompts)]
    rounds = [
        ordered.select(
            "doc_id",
            kinds.gather(order_of_kinds[use % len(prompts)]).alias("kind"),
            pl.lit(settings.sampling.seed + use // len(prompts)).alias("seed"),
            _words_expected(settings, pl.col("words"), [shares[place] for place in order_of_kinds[use % len(prompts)]]),
        )
        for use in range(settings.seeds.max_per_seed)
    ]
    chosen = cut_to_budget(pl.concat(rounds), wanted_words, settings.budget.requests)
    keyed = [
        _request(settings, place, prompts[kind], [doc_id], seed)
        for doc_id, kind, seed in chosen.select("doc_id", "kind", "seed").iter_rows()
    ]
    asked = pl.DataFrame(keyed, schema=["request_key", "prompt_id", "prompt_hash", "sampling"], orient="row")
    rows = pl.concat([chosen.with_columns(pl.concat_list("doc_id").alias("seed_ids")), asked], how="horizontal")
    return rows.select(list(PLAN_SCHEMA)).cast(PLAN_SCHEMA)


def run(
    settings: Settings,
    seeds: pl.DataFrame,
    plan: pl.DataFrame,
    texts: Texts,
    journal: Path,
    progress: Progress | None = None,
    policy: Policy | None = None,
) -> Drafts:
    """Send what the journal does not answer yet; return a draft or a failure for every request of the plan.

    Failures that are not permanent are sent again by the next run with the same journal.
    Raises RecipeError if the plan was made from other settings or the endpoint refuses them, RetryableError if it
    stops answering or another run holds the journal; every answer received until then is in the journal.
    """
    place = _place(settings)
    with Journal(journal) as kept:
        before = kept.read(plan["request_key"])
        ended = before.filter(pl.col("text").is_not_null() | pl.col("permanent"))
        waiting = plan.join(ended, on="request_key", how="anti", maintain_order="left")
        _check(settings, place, waiting)
        if progress:
            progress(len(ended), len(plan))
        if len(waiting):
            asyncio.run(_send(settings, place, waiting, texts, kept, (len(ended), len(plan), progress), policy))
        outcomes = kept.read(plan["request_key"])
    answers = outcomes.filter(pl.col("text").is_not_null()).select(list(ANSWER_SCHEMA))
    failed = outcomes.filter(pl.col("text").is_null()).select(list(FAILURE_SCHEMA))
    rows = draft_rows(settings, seeds, plan, answers, {"model": place.model, "endpoint": _host(place)})
    return Drafts(rows, plan.select("request_key").join(failed, on="request_key", how="inner", maintain_order="left"))


def request_key(
    place: Place,
    prompt: _prompts.Prompt,
    sampling: str,
    inputs: list[str],
    purpose: str = "generate",
    turn: int = 0,
    schema: str | None = None,
) -> str:
    """Return the sha256 of everything that shapes an answer.

    inputs: content hashes of the texts that fill the prompt (a doc_id is one); purpose: what the answer is for;
    turn: its round; schema: a JSON schema asked of the answer. The messages follow from prompt, inputs and RENDERING.
    """
    return canonical_sha256(
        {
            "version": [VERSION, _prompts.RENDERING],
            "base_url": place.base_url,
            "model": place.model,
            "prompt": [prompt.id, prompt.hash],
            "kind": prompt.kind,
            "sampling": sampling,
            "inputs": inputs,
            "purpose": purpose,
            "turn": turn,
            "schema": schema,
        }
    )


def _request(
    settings: Settings, place: Place, prompt: _prompts.Prompt, seed_ids: list[str], seed: int
) -> tuple[str, str, str, str]:
    """Return request_key, prompt_id, prompt_hash and sampling of one plan row."""
    asked = {"temperature": settings.sampling.temperature, "max_tokens": settings.sampling.max_tokens, "seed": seed}
    sampling = canonical_json(asked)
    return request_key(place, prompt, sampling, seed_ids), prompt.id, prompt.hash, sampling


def _words_expected(settings: Settings, words: pl.Expr, shares: Sequence[float]) -> pl.Expr:
    expected = (words.clip(upper_bound=_prompts.SEED_WORDS) * pl.lit(pl.Series(shares, dtype=pl.Float64))).round(0)
    most = max(1, int(settings.sampling.max_tokens * WORDS_A_TOKEN))
    return expected.clip(1, most).cast(pl.Int64).alias("words_expected")


def _place(settings: Settings) -> Place:
    """Read where to send. Raises RecipeError for a base_url that is no http(s) URL, or a missing model."""
    base_url = (settings.base_url or "").rstrip("/")
    if urlsplit(base_url).scheme not in ("http", "https") or not urlsplit(base_url).hostname:
        raise RecipeError(f"generate.{settings.name}.base_url: {base_url!r} is no URL; give http(s)://HOST/v1")
    if not settings.model:
        raise RecipeError(f"generate.{settings.name}.model: missing; give the model's name as the endpoint knows it")
    key = os.environ.get(settings.api_key_env, "") if settings.api_key_env else ""
    return Place(base_url, settings.model, key or "unused", settings.api_key_env)


def _host(place: Place) -> str:
    """Return host and port, without a name or password that the URL may carry."""
    return urlsplit(place.base_url).netloc.rpartition("@")[2]


def _check(settings: Settings, place: Place, waiting: pl.DataFrame) -> None:
    """Refuse to send rows whose key does not follow from these settings and today's prompt files."""
    prompts = {kind: _prompts.find(kind) for kind in waiting["kind"].unique()}
    for kind, inputs, sampling, key in waiting.select("kind", "seed_ids", "sampling", "request_key").iter_rows():
        if request_key(place, prompts[kind], sampling, inputs) != key:
            raise RecipeError(f"generate.{settings.name}: the plan was made from other settings; plan again")


async def _send(
    settings: Settings,
    place: Place,
    waiting: pl.DataFrame,
    texts: Texts,
    kept: Journal,
    counted: tuple[int, int, Progress | None],
    policy: Policy | None,
) -> None:
    """Ask everything in `waiting` and keep every outcome in the journal."""
    done, planned, progress = counted
    async with Writer(kept) as writer:

        def keep(outcome: Outcome) -> None:
            nonlocal done
            writer.keep(outcome)
            done += 1
            if progress:
                progress(done, planned)

        await ask_all(place, _calls(waiting, texts), keep, settings.concurrency, policy or Policy())


async def _calls(waiting: pl.DataFrame, texts: Texts) -> AsyncIterator[Call]:
    """Fetch seed texts batch by batch, beside the event loop, and fill them into their prompts."""
    for batch in waiting.iter_slices(_BATCH):
        prompts = {kind: _prompts.find(kind) for kind in batch["kind"].unique()}
        found = await asyncio.to_thread(fetch, texts, batch["seed_ids"].list.first().to_list())
        columns = batch.select("request_key", "kind", "sampling").iter_rows()
        for (key, kind, sampling), text in zip(columns, found, strict=True):
            yield Call(key, prompts[kind].messages(text), json.loads(sampling))
