"""The openai generator: drafts written from seeds by a model behind any OpenAI-compatible endpoint.

The plan names every request before one is sent. A request key covers everything that shapes an answer (endpoint,
model, prompt file, sampling, kind, seed texts by id and window), so that no answer is ever used for another question.
Answers go to an append-only journal first; rows are made from it in plan order. A run that was killed therefore
ends with the rows of an undisturbed one, and sends nothing again that was answered or refused for good.

The key for the endpoint is read from the environment variable that `api_key_env` names; where it is absent, as for
local servers, the word "unused" is sent.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence

import polars as pl

from cuvee.schemas.errors import RecipeError
from cuvee.schemas.recipe import Generate, canonical_json, canonical_sha256
from cuvee.tasks.generators import _prompts
from cuvee.tasks.generators._answer import CONTEXT_LENGTH, EMPTY, TRUNCATED
from cuvee.tasks.generators._ask import OUTCOME_SCHEMA, Desk, desk, host, place_of
from cuvee.tasks.generators._context import MOST_CUTS, cut
from cuvee.tasks.generators._journal import Journal
from cuvee.tasks.generators._pace import Policy
from cuvee.tasks.generators._prompts import Prompt
from cuvee.tasks.generators._purse import Purse
from cuvee.tasks.generators._turns import brief_name, briefs, token_limit, turns, window_name, windows
from cuvee.tasks.generators._types import (
    ANSWER_SCHEMA,
    FAILURE_SCHEMA,
    PLAN_SCHEMA,
    Call,
    Drafts,
    Progress,
    Texts,
    cut_to_budget,
    draft_rows,
    fetch,
)
from cuvee.tasks.generators._whole import cut_back, is_whole, was_cut_off
from cuvee.tasks.generators._wrapping import unwrap

VERSION = 1
GRADED = True
BASELINE = False

# Seed texts held at once while requests are made of them.
BATCH = 256


def plan(settings: Generate, seeds: pl.DataFrame, wanted_words: int) -> pl.DataFrame:
    """Plan one request a seed in hash-priority order, then a second for each, up to `max_per_seed`.

    A seed is a window of a document, or all of one that is shown whole. It meets the kinds in an order of its own, so
    that a kind added later moves few seeds. When it has met all of them, they come round again with another sampling
    seed. Kinds without a seed take their turns between.
    Raises RecipeError for an unknown kind, and for a base_url or model that is missing.
    """
    endpoint = place_of(settings).name
    if not settings.model:
        raise RecipeError(f"generate.{settings.name}.model: missing; give the model's name as the endpoint knows it")
    prompts = _prompts.chosen(settings.kinds)
    if not prompts:
        raise RecipeError(f"generate.{settings.name}.kinds: empty; give at least one of {', '.join(_prompts.kinds())}")
    seeded = {kind: prompt for kind, prompt in prompts.items() if prompt.is_seeded}
    free = {kind: prompt for kind, prompt in prompts.items() if not prompt.is_seeded}
    listed = pl.concat([turns(settings, windows(seeds), seeded), turns(settings, briefs(settings), free)])
    listed = listed.sort("turn", pl.col("brief").is_not_null(), maintain_order=True).drop("turn")
    rows = cut_to_budget(listed, wanted_words, settings.budget.requests)
    keyed = [
        _request(settings, endpoint, prompts[kind], [name], seed, words)
        for name, kind, seed, words in rows.select("name", "kind", "seed", "words_expected").iter_rows()
    ]
    asked = pl.DataFrame(keyed, schema=["request_key", "prompt_id", "prompt_hash", "sampling"], orient="row")
    no_seeds = pl.lit([], pl.List(pl.String))
    seed_ids = pl.when(pl.col("brief").is_null()).then(pl.concat_list("doc_id")).otherwise(no_seeds)
    rows = pl.concat([rows.with_columns(seed_ids.alias("seed_ids")), asked], how="horizontal")
    return rows.select(list(PLAN_SCHEMA)).cast(PLAN_SCHEMA)


def run(
    settings: Generate,
    seeds: pl.DataFrame,
    plan: pl.DataFrame,
    texts: Texts,
    journal: Journal,
    progress: Progress | None = None,
    purse: Purse | None = None,
    policy: Policy | None = None,
) -> Drafts:
    """Send what the journal does not answer yet; return a draft or a failure for every request of the plan.

    Failures that are not permanent are sent again by the next run with the same journal.
    Raises RecipeError if the plan was made from other settings or the endpoint refuses them, RetryableError if it
    stops answering; every answer received until then is in the journal.
    """
    asking = desk(settings, journal, policy, purse)
    _check(settings, asking.place.name, plan)
    asked, outcomes = _ask(settings, asking, plan, texts, progress)
    known = asked.select("request_key", "asked_key", "kind", "sampling")
    outcomes = known.join(outcomes.rename({"request_key": "asked_key"}), on="asked_key", how="inner")
    outcomes = as_drafts(outcomes, templates(settings))
    answers = outcomes.filter(pl.col("text").is_not_null()).select(list(ANSWER_SCHEMA))
    failed = outcomes.filter(pl.col("text").is_null()).select(list(FAILURE_SCHEMA))
    rows = draft_rows(settings, seeds, asked, answers, {"model": settings.model, "endpoint": host(asking.place)})
    return Drafts(rows, plan.select("request_key").join(failed, on="request_key", how="inner", maintain_order="left"))


def _ask(
    settings: Generate, asking: Desk, plan: pl.DataFrame, texts: Texts, progress: Progress | None
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Ask; where a request is longer than the model's context again with less of its seed. Return the plan as it was
    asked, with the keys under which it was (column asked_key), and the outcomes of these.
    """
    prompts, asked = _prompts.chosen(settings.kinds), plan.with_columns(asked_key="request_key")

    def calls(waiting: pl.Series) -> AsyncIterator[Call]:
        return _calls(settings, asked.filter(pl.col("asked_key").is_in(waiting.implode())), texts)

    for turn in range(MOST_CUTS + 1):
        outcomes = asking.ask(asked["asked_key"], calls, progress)
        refused = outcomes.filter(pl.col("reason") == CONTEXT_LENGTH)["request_key"]
        too_long = asked.filter(pl.col("asked_key").is_in(refused.implode()))
        if turn == MOST_CUTS or not too_long.height:
            break
        less = pl.concat(
            [asked.clear(), *(cut(settings, part, prompts, texts) for part in too_long.iter_slices(BATCH))]
        )
        keys = [
            request_key(
                asking.place.name,
                settings.model or "",
                prompts[kind],
                sampling,
                [window_name(ids[0], start, stop)],
                system=settings.system,
            )
            for kind, ids, start, stop, sampling in less.select(
                "kind", "seed_ids", "seed_start", "seed_stop", "sampling"
            ).iter_rows()
        ]
        less = less.with_columns(asked_key=pl.Series(keys, dtype=pl.String))
        asked = asked.update(less, on="request_key", how="left")
    return asked, outcomes


def messages(settings: Generate, plan: pl.DataFrame, texts: Texts) -> list[list[dict[str, str]]]:
    """Return the messages of each row of a plan, as they are sent, in plan order; all seed texts are held at once."""
    prompts = _prompts.chosen(settings.kinds)
    found = iter(shown(plan, texts))
    return [prompts[kind].messages(settings.system, **{_field(prompts[kind]): next(found)}) for kind in plan["kind"]]


def shown(rows: pl.DataFrame, texts: Texts) -> list[str]:
    """Return the window of its seed that each row's request shows, or its brief."""
    seeded = rows.filter(pl.col("brief").is_null())
    found = iter(fetch(texts, seeded["seed_ids"].list.first().to_list()))
    columns = rows.select("brief", "seed_start", "seed_stop").iter_rows()
    return [next(found)[start:stop].strip() if brief is None else brief for brief, start, stop in columns]


def templates(settings: Generate) -> dict[str, str]:
    """Return what each kind's template asks for, system message and all."""
    return {kind: f"{prompt.system}\n{prompt.user}" for kind, prompt in _prompts.chosen(settings.kinds).items()}


def as_drafts(outcomes: pl.DataFrame, templates: Mapping[str, str]) -> pl.DataFrame:
    """Take what models put around a draft off the texts of outcomes, and cut those back that ran into a limit.

    outcomes: also kind and sampling of the request. A text that was nothing else becomes the reason EMPTY, one of which
    nothing is whole TRUNCATED. Column stripped: also names what was taken off here.
    """
    rows = []
    for row in outcomes.iter_rows(named=True):
        text, reason, names = row["text"], row["reason"], [*(row["stripped"] or ())]
        if text is not None:
            text, around = unwrap(text, templates.get(row["kind"], ""))
            reason = None if text else EMPTY
            names += around
        if text:
            hard = was_cut_off(row["finish_reason"], row["completion_tokens"], json.loads(row["sampling"] or "{}"))
            # Servers name no end, or a wrong one, for answers that they cut off.
            bare = cut_back(text) if hard or not is_whole(text) else text
            # But a text without any sentence end may be meant so.
            bare = bare or ("" if hard else text)
            limited = hard or row["finish_reason"] is None
            names += [("cut_off" if limited else "unended")] if bare != text else []
            text, reason = bare, None if bare else TRUNCATED
        rows.append((text or None, reason, names))
    schema = {name: OUTCOME_SCHEMA[name] for name in ("text", "reason", "stripped")}
    return outcomes.with_columns(pl.DataFrame(rows, schema=schema, orient="row"))


def request_key(
    endpoint: str,
    model: str,
    prompt: Prompt,
    sampling: str,
    inputs: Sequence[str],
    purpose: str = "generate",
    turn: int = 0,
    schema: str | None = None,
    system: str = "message",
) -> str:
    """Return the sha256 of everything that shapes an answer.

    endpoint: its name, or its address; inputs: what names the texts that fill the prompt (`window_name`, or a content
    hash); purpose: what the answer is for; turn: its round; schema: a JSON schema asked of the answer; system: how the
    system's text is sent. The messages follow from prompt, inputs and RENDERING.
    """
    return canonical_sha256(
        {
            "version": [VERSION, _prompts.RENDERING],
            "base_url": endpoint,
            "model": model,
            "prompt": [prompt.id, prompt.hash],
            "kind": prompt.kind,
            "sampling": sampling,
            "inputs": list(inputs),
            "purpose": purpose,
            "turn": turn,
            "schema": schema,
            **({} if system == "message" else {"system": system}),
        }
    )


def _request(
    settings: Generate, endpoint: str, prompt: Prompt, inputs: list[str], seed: int, words_expected: int
) -> tuple[str, str, str, str]:
    """Return request_key, prompt_id, prompt_hash and sampling of one plan row."""
    limit = token_limit(settings, words_expected)
    sampling = sampled(settings, settings.sampling.temperature, limit, seed)
    key = request_key(endpoint, settings.model or "", prompt, sampling, inputs, system=settings.system)
    return key, prompt.id, prompt.hash, sampling


def sampled(settings: Generate, temperature: float, limit: int, seed: int) -> str:
    """Return the fields of a request beside model and messages, as canonical JSON: `extra` last, and none to `omit`."""
    fields = {"temperature": temperature, "max_tokens": limit, "seed": seed}
    kept = {name: value for name, value in fields.items() if name not in settings.sampling.omit}
    return canonical_json(kept | settings.sampling.extra)


def _field(prompt: Prompt) -> str:
    return "text" if prompt.is_seeded else "brief"


def _check(settings: Generate, endpoint: str, plan: pl.DataFrame) -> None:
    """Refuse rows whose key does not follow from these settings and today's prompt files."""
    prompts = _prompts.chosen(settings.kinds)
    columns = plan.select("kind", "seed_ids", "seed_start", "seed_stop", "brief", "sampling", "request_key").iter_rows()
    for kind, seed_ids, start, stop, brief, sampling, key in columns:
        inputs = [brief_name(brief)] if brief is not None else [window_name(seed_ids[0], start, stop)]
        expected = kind in prompts and request_key(
            endpoint, settings.model or "", prompts[kind], sampling, inputs, system=settings.system
        )
        if expected != key:
            raise RecipeError(f"generate.{settings.name}: the plan was made from other settings; plan again")


async def _calls(settings: Generate, waiting: pl.DataFrame, texts: Texts) -> AsyncIterator[Call]:
    """Fetch seed texts batch by batch, beside the event loop, and fill them into their prompts."""
    for batch in waiting.iter_slices(BATCH):
        filled = await asyncio.to_thread(messages, settings, batch, texts)
        columns = batch.select("request_key", "asked_key", "sampling").iter_rows()
        for (draft_key, key, sampling), asked in zip(columns, filled, strict=True):
            yield Call(key, settings.model or "", asked, json.loads(sampling), draft_key)
