"""What generators share: tables, request keys and the order in which seeds are used.

Seeds (given, without text): doc_id, words (int64), domain, license, language, source; windows: as in WINDOWS, null for
a document that is shown whole, as all are without that column.
Plan: PLAN_SCHEMA, one row a request, in sending order; seed_start, seed_stop: the window that is shown, characters of
the seed, null where all of it is; brief: what it is about where it has no seed; prompt_words: of window and template.
Drafts: DRAFT_SCHEMA and FAILURE_SCHEMA, in plan order; asked_key: of the request that was answered, another one than
planned where the model's context held less.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
import polars as pl

from cuvee.schemas.errors import IntegrityError
from cuvee.schemas.recipe import Generate
from cuvee.tasks.generators._journal import Journal
from cuvee.tasks.generators._purse import Purse
from cuvee.tasks.priority import priorities

PLAN_SCHEMA = pl.Schema(
    {
        "position": pl.Int64(),
        "request_key": pl.String(),
        "kind": pl.String(),
        "seed_ids": pl.List(pl.String()),
        "seed_start": pl.Int64(),
        "seed_stop": pl.Int64(),
        "brief": pl.String(),
        "prompt_id": pl.String(),
        "prompt_hash": pl.String(),
        "sampling": pl.String(),
        "words_expected": pl.Int64(),
        "prompt_words": pl.Int64(),
    }
)
DRAFT_SCHEMA = pl.Schema(
    {
        "request_key": pl.String(),
        "asked_key": pl.String(),
        "text": pl.String(),
        "seed_ids": pl.List(pl.String()),
        "seed_start": pl.Int64(),
        "seed_stop": pl.Int64(),
        "words_expected": pl.Int64(),
        "prompt_words": pl.Int64(),
        "kind": pl.String(),
        "generator": pl.String(),
        "model": pl.String(),
        "model_returned": pl.String(),
        "endpoint": pl.String(),
        "prompt_id": pl.String(),
        "prompt_hash": pl.String(),
        "sampling": pl.String(),
        "finish_reason": pl.String(),
        "prompt_tokens": pl.Int64(),
        "completion_tokens": pl.Int64(),
        "stripped": pl.List(pl.String()),
        "domain": pl.String(),
        "license": pl.String(),
        "language": pl.String(),
    }
)
ANSWER_SCHEMA = pl.Schema(
    {
        "request_key": pl.String(),
        "text": pl.String(),
        "model_returned": pl.String(),
        "finish_reason": pl.String(),
        "prompt_tokens": pl.Int64(),
        "completion_tokens": pl.Int64(),
        "stripped": pl.List(pl.String()),
    }
)
FAILURE_SCHEMA = pl.Schema({"request_key": pl.String(), "reason": pl.String(), "permanent": pl.Boolean()})

Texts = Callable[[Sequence[str]], pl.DataFrame]
"""Fetches documents: doc_ids in, a frame with doc_id and text out, in any order."""

Progress = Callable[[int, int], None]
"""Called with (requests ended, requests planned); for display, never part of a result."""


@dataclass(frozen=True)
class Place:
    """Where requests go, and how the recipe calls what may be wrong with it.

    name: what stands for the address in keys and journal; base_urls: the servers, each as good as any other.
    """

    name: str
    base_urls: tuple[str, ...]
    api_key: str
    api_key_env: str | None
    headers: Mapping[str, str]


@dataclass(frozen=True)
class Call:
    """One request as it is sent. `sampling` is passed on as it is (temperature, max_tokens, seed, …).

    draft_key: request key of the draft that it is sent for, its own or the one that it judges or revises.
    """

    request_key: str
    model: str
    messages: list[dict[str, str]]
    sampling: dict[str, Any]
    draft_key: str


@dataclass(frozen=True)
class Drafts:
    """The outcome of a plan: each request is in exactly one of the two frames, both in plan order."""

    rows: pl.DataFrame
    failures: pl.DataFrame


class Generator(Protocol):
    """A generator module.

    VERSION rises when the same plan would give other drafts; it is part of every key. GRADED: whether drafts pass the
    gates, and the judge where there is one. BASELINE: whether a recipe must allow what it writes, which nobody should
    train on. One that asks an endpoint is an `Asking` too.
    """

    VERSION: int
    GRADED: bool
    BASELINE: bool

    def plan(self, settings: Generate, seeds: pl.DataFrame, wanted_words: int) -> pl.DataFrame:
        """Decide every request, reading no text and sending nothing; PLAN_SCHEMA.

        seeds: see the head of this module; only documents that may be seeds. Their order does not matter.
        wanted_words: rows are planned until their `words_expected` reach it, or the seeds or the budget end.
        A plan for fewer words is the beginning of a plan for more.
        Raises RecipeError for settings that cannot work.
        """
        ...

    def run(
        self,
        settings: Generate,
        seeds: pl.DataFrame,
        plan: pl.DataFrame,
        texts: Texts,
        journal: Journal,
        progress: Progress | None = None,
        purse: Purse | None = None,
    ) -> Drafts:
        """Carry out a plan made from the same settings and seeds.

        journal: where answers that cost something are kept; a second run with it pays for nothing twice. purse: when
        it is empty, nothing more is sent.
        The rows do not depend on the clock, on attempts, or on how often the run was interrupted.
        """
        ...


@runtime_checkable
class Asking(Protocol):
    """What a generator module holds whose drafts are answers of an endpoint, beside what a `Generator` does.

    Of another one a plan has no prompts, tokens or cost to show, and a draft is compared with the whole of its seed.
    """

    def messages(self, settings: Generate, plan: pl.DataFrame, texts: Texts) -> list[list[dict[str, str]]]:
        """Return the messages (role, content) of each row of a plan, as they are sent, in plan order."""
        ...

    def shown(self, rows: pl.DataFrame, texts: Texts) -> list[str]:
        """Return the window of its seed that each row's request shows, or its brief.

        rows: seed_ids, seed_start, seed_stop, brief.
        """
        ...


def seed_priority(doc_ids: pl.Series, seed: int | str) -> npt.NDArray[np.uint64]:
    """Give each document the number that decides when it is used as a seed (`cuvee.tasks.priority`)."""
    return priorities(doc_ids, f"seeds {seed}")


def by_priority(seeds: pl.DataFrame, seed: int, name: str = "doc_id") -> pl.DataFrame:
    """Return the seeds of distinct names in the order in which they are used; ties are broken by name."""
    distinct = seeds.unique(name, keep="any")
    priority = pl.Series("priority", seed_priority(distinct[name], seed))
    return distinct.with_columns(priority).sort("priority", name)


def cut_to_budget(rows: pl.DataFrame, wanted_words: int, most_requests: int | None) -> pl.DataFrame:
    """Keep the first rows whose `words_expected` reach the wanted words, and number them (column `position`)."""
    before = pl.col("words_expected").cum_sum() - pl.col("words_expected")
    kept = rows.filter(before < wanted_words)
    if most_requests is not None:
        kept = kept.head(most_requests)
    return kept.with_columns(pl.int_range(pl.len(), dtype=pl.Int64).alias("position"))


def fetch(texts: Texts, doc_ids: Sequence[str]) -> list[str]:
    """Fetch documents in the order asked for. Raises IntegrityError if one is missing."""
    if not doc_ids:
        return []
    found = dict(texts(list(dict.fromkeys(doc_ids))).select("doc_id", "text").iter_rows())
    missing = [doc_id for doc_id in doc_ids if doc_id not in found]
    if missing:
        raise IntegrityError(f"generate: the text of seed {missing[0]} and {len(missing) - 1} more is not in the pool")
    return [found[doc_id] for doc_id in doc_ids]


def draft_rows(
    settings: Generate, seeds: pl.DataFrame, plan: pl.DataFrame, answers: pl.DataFrame, constants: Mapping[str, Any]
) -> pl.DataFrame:
    """Join a plan with its answers and its seeds to DRAFT_SCHEMA, in plan order; requests without answer have no row.

    plan: as it was asked, and under which keys (column asked_key; without it, under its request keys).
    answers: in any order; request_key, text, and what else of ANSWER_SCHEMA an answer holds.
    Domain, license and language are those of the first seed, or of `free` and null where there is none.
    constants: `model` and `endpoint`.
    """
    labels = seeds.unique("doc_id", keep="any").select("doc_id", "domain", "license", "language")
    answers = pl.concat([ANSWER_SCHEMA.to_frame(), answers], how="diagonal")
    asked = plan if "asked_key" in plan.columns else plan.with_columns(asked_key="request_key")
    return (
        asked.with_columns(pl.col("seed_ids").list.first().alias("doc_id"))
        .join(answers, on="request_key", how="inner")
        .join(labels, on="doc_id", how="left")
        .sort("position")
        .with_columns(
            pl.when(pl.col("brief").is_null()).then(pl.col(name)).otherwise(pl.lit(declared)).alias(name)
            for name, declared in (("domain", settings.free.domain), ("license", settings.free.license))
        )
        .with_columns(pl.lit(settings.name).alias("generator"), *(pl.lit(v).alias(k) for k, v in constants.items()))
        .select(list(DRAFT_SCHEMA))
        .cast(DRAFT_SCHEMA)
    )
