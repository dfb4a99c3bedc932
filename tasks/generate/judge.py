"""Judge: let a model mark drafts against their seeds, quote what has no support, and revise with the quotes.

A mark counts only when the whole answer, a fence aside, is one JSON object of the form asked for; anything else is
unknown, and never becomes a score. The grade is the smallest of the four marks: a text is as good as its worst side.
Quotes that are not in the draft, white space aside, are ignored and counted.

Rounds (`rounds`): one row a round of a draft, round 0 being the first answer; columns of ROUND_SCHEMA.
"""

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Callable
from typing import Any, NamedTuple

import polars as pl

from cuvee.schemas.recipe import Generate, Sampling, canonical_json
from cuvee.tasks.generate.grade import MEASURES
from cuvee.tasks.generators import Texts, _prompts
from cuvee.tasks.generators._ask import Desk, judge_of
from cuvee.tasks.generators._purse import SPENT
from cuvee.tasks.generators._turns import window_name
from cuvee.tasks.generators._types import Call, Progress
from cuvee.tasks.generators._wrapping import unwrap
from cuvee.tasks.generators.openai import BATCH, as_drafts, request_key, sampled, shown

MARKS = ("faithful", "complete", "useful", "safe")
SCHEMA = canonical_json({**dict.fromkeys(MARKS, "integer 1 to 5"), "unsupported": ["string"]})
# Four marks and five short quotes.
JUDGE_TOKENS = 512
MOST_QUOTES = 5
# What may stand around a judgement: no words of the judge's own.
_AROUND_JSON = ("tokens", "fence")

ROUND_SCHEMA = pl.Schema(
    {
        "request_key": pl.String(),
        "round": pl.Int64(),
        "asked_key": pl.String(),
        "text": pl.String(),
        "reason": pl.String(),
        "gate": pl.String(),
        "model_returned": pl.String(),
        "finish_reason": pl.String(),
        "prompt_tokens": pl.Int64(),
        "completion_tokens": pl.Int64(),
        "stripped": pl.List(pl.String()),
        **MEASURES,
        "judge_key": pl.String(),
        "judge_returned": pl.String(),
        "judge_prompt_tokens": pl.Int64(),
        "judge_completion_tokens": pl.Int64(),
        **{mark: pl.Int64() for mark in MARKS},
        "grade": pl.Int64(),
        "quotes": pl.List(pl.String()),
        "quotes_ignored": pl.Int64(),
        "unreadable": pl.Boolean(),
        "chosen": pl.Boolean(),
    }
)


class Judgement(NamedTuple):
    """What a judge said. marks: null when the answer is of no use; quotes: those that stand in the draft."""

    marks: dict[str, int] | None
    quotes: tuple[str, ...] = ()
    ignored: int = 0

    @property
    def grade(self) -> int | None:
        """The smallest mark."""
        return min(self.marks.values()) if self.marks else None


def read_judgement(answer: str, draft: str) -> Judgement:
    """Read an answer; whatever is not exactly what was asked for has no marks."""
    try:
        found = json.loads(answer)
    except (ValueError, RecursionError):
        return Judgement(None)
    if not isinstance(found, dict):
        return Judgement(None)
    marks = {mark: found.get(mark) for mark in MARKS}
    quotes = found.get("unsupported")
    if not isinstance(quotes, list) or not all(isinstance(quote, str) for quote in quotes):
        return Judgement(None)
    if not all(type(mark) is int and 1 <= mark <= 5 for mark in marks.values()):
        return Judgement(None)
    plain = " ".join(draft.split())
    said = [" ".join(quote.split()) for quote in quotes]
    real = tuple(dict.fromkeys(quote for quote in said if quote and quote in plain))
    return Judgement({name: int(str(mark)) for name, mark in marks.items()}, real[:MOST_QUOTES], len(said) - len(real))


class Fault(NamedTuple):
    """A draft whose judgement or revision was not answered, and may be another time."""

    request_key: str
    reason: str


Gate = Callable[[pl.DataFrame], pl.DataFrame]
"""Takes the plan's columns and `text` as answered or null; returns row by row: text as stored, gate (a reason or null)
and MEASURES."""


def assess(
    entry: Generate, desk: Desk, texts: Texts, drafts: pl.DataFrame, gate: Gate, progress: Progress | None = None
) -> tuple[pl.DataFrame, list[Fault]]:
    """Judge and revise; return all rounds (see the head of this file) and the drafts that must wait for another run.

    drafts: plan rows that were answered, and text, gate, MEASURES, model_returned, finish_reason, prompt_tokens,
    completion_tokens. The rounds do not depend on the clock or on interruptions: they are functions of the answers.
    """
    rounds = [first(drafts)]
    faults: list[Fault] = []
    candidates = drafts.filter(pl.col("gate").is_null())
    for turn in range(entry.grade.revise + 1):
        if not (entry.grade.judge_model and candidates.height):
            break
        judged, failed = _judge(entry, desk, texts, candidates, turn, progress)
        faults += failed
        rounds[-1] = rounds[-1].update(judged, on="request_key", how="left")
        weak = judged.filter(pl.col("grade") < (entry.grade.min_score or 0))
        if turn == entry.grade.revise or not weak.height:
            break
        candidates = candidates.drop("quotes", strict=False).join(
            weak.select("request_key", "quotes"), on="request_key", how="inner", maintain_order="left"
        )
        revised, failed = _revise(entry, desk, texts, candidates, turn + 1, gate, progress)
        faults += failed
        rounds.append(_complete(revised.with_columns(pl.lit(turn + 1, pl.Int64).alias("round"))))
        candidates = candidates.drop("text").join(
            revised.filter(pl.col("gate").is_null() & pl.col("text").is_not_null()).select("request_key", "text"),
            on="request_key",
            how="inner",
            maintain_order="left",
        )
    return choose(pl.concat(rounds)), faults


def choose(rounds: pl.DataFrame) -> pl.DataFrame:
    """Mark the best round of each draft: of those that pass the gates the highest grade, then the earliest."""
    rank = [pl.col("gate").is_not_null() | pl.col("text").is_null(), -pl.col("grade").fill_null(0), pl.col("round")]
    best = rounds.sort(rank).unique("request_key", keep="first", maintain_order=True).select("request_key", "round")
    marked = rounds.drop("chosen").join(
        best.with_columns(chosen=pl.lit(value=True)), on=["request_key", "round"], how="left", maintain_order="left"
    )
    return marked.with_columns(pl.col("chosen").fill_null(value=False)).select(list(ROUND_SCHEMA))


def first(drafts: pl.DataFrame) -> pl.DataFrame:
    """Return round 0 of each draft; columns that `drafts` does not have are null."""
    keys = [] if "asked_key" in drafts.columns else [pl.col("request_key").alias("asked_key")]
    return _complete(drafts.with_columns(pl.lit(0, pl.Int64).alias("round"), *keys))


def _complete(rows: pl.DataFrame) -> pl.DataFrame:
    """Give rows the columns of ROUND_SCHEMA, null where they have none."""
    present = rows.select(name for name in ROUND_SCHEMA if name in rows.columns)
    absent = {name: pl.lit(None, kind) for name, kind in ROUND_SCHEMA.items() if name not in rows.columns}
    return present.with_columns(**absent).select(list(ROUND_SCHEMA)).cast(ROUND_SCHEMA)


def _judge(
    entry: Generate, desk: Desk, texts: Texts, drafts: pl.DataFrame, turn: int, progress: Progress | None
) -> tuple[pl.DataFrame, list[Fault]]:
    """Ask for a judgement of each draft; return its columns of ROUND_SCHEMA for those that were answered."""
    prompt = _prompts.grading("judge", ["text", "draft"])
    model = entry.grade.judge_model or ""
    # Fields of the generator's endpoint are not those of another one.
    settings = entry if entry.grade.base_url is None else entry.model_copy(update={"sampling": Sampling()})
    sampling = sampled(settings, 0.0, JUDGE_TOKENS, entry.sampling.seed)
    desk = judge_of(entry, desk)
    keys = [
        request_key(
            desk.place.name,
            model,
            prompt,
            sampling,
            [*_sources(row), _hash(row["text"])],
            "judge",
            turn,
            SCHEMA,
            entry.system,
        )
        for row in drafts.iter_rows(named=True)
    ]
    asked = drafts.with_columns(judge_key=pl.Series(keys, dtype=pl.String))
    outcomes = desk.ask(asked["judge_key"], _calls(entry, model, prompt, sampling, asked, "judge_key", texts), progress)
    answered, faults = _settle(asked, outcomes, "judge_key", "judge")
    found = [
        Judgement(None) if said is None else read_judgement(unwrap(said, names=_AROUND_JSON)[0], draft)
        for said, draft in answered.select("said", "text").iter_rows()
    ]
    rows: list[dict[str, Any]] = [
        {
            **dict.fromkeys(MARKS),
            **(one.marks or {}),
            "grade": one.grade,
            "quotes": list(one.quotes),
            "quotes_ignored": one.ignored,
            "unreadable": one.marks is None,
        }
        for one in found
    ]
    names = [*MARKS, "grade", "quotes", "quotes_ignored", "unreadable"]
    columns = pl.DataFrame(rows, schema={name: ROUND_SCHEMA[name] for name in names})
    judged = answered.select(
        "request_key",
        "judge_key",
        judge_returned="model_said",
        judge_prompt_tokens="prompt_said",
        judge_completion_tokens="completion_said",
    )
    return judged.hstack(columns), faults


def _revise(
    entry: Generate,
    desk: Desk,
    texts: Texts,
    drafts: pl.DataFrame,
    turn: int,
    gate: Gate,
    progress: Progress | None,
) -> tuple[pl.DataFrame, list[Fault]]:
    """Ask for another version of each draft (column quotes), and pass it through the gates."""
    prompt = _prompts.grading("revise", ["text", "draft", "quotes"])
    keys = [
        request_key(
            desk.place.name,
            entry.model or "",
            prompt,
            row["sampling"],
            [*_sources(row), _hash(row["text"]), _hash(canonical_json(row["quotes"]))],
            "revise",
            turn,
            system=entry.system,
        )
        for row in drafts.iter_rows(named=True)
    ]
    asked = drafts.with_columns(asked_key=pl.Series(keys, dtype=pl.String))
    calls = _calls(entry, entry.model or "", prompt, None, asked, "asked_key", texts)
    asked_for = asked.select("sampling", request_key="asked_key", kind=pl.lit("revise")).unique("request_key")
    outcomes = desk.ask(asked["asked_key"], calls, progress).join(asked_for, on="request_key", how="left")
    outcomes = as_drafts(outcomes, {"revise": f"{prompt.system}\n{prompt.user}"})
    answered, faults = _settle(asked, outcomes, "asked_key", "revise")
    answered = answered.with_columns(
        text="said",
        reason="reason_said",
        model_returned="model_said",
        finish_reason="finish_said",
        prompt_tokens="prompt_said",
        completion_tokens="completion_said",
        stripped="stripped_said",
    ).drop("gate", "quotes", *MEASURES)
    return answered.drop("text").hstack(gate(answered)), faults


def _settle(asked: pl.DataFrame, outcomes: pl.DataFrame, key: str, purpose: str) -> tuple[pl.DataFrame, list[Fault]]:
    """Join the outcomes (columns said, …_said) to what was asked; take out what may be answered another time.

    What the budget does not pay for is taken out, too, and is no fault: its draft was paid for, and stays as it is.
    """
    said = outcomes.select(
        pl.col("request_key").alias(key),
        "permanent",
        said="text",
        reason_said="reason",
        model_said="model_returned",
        finish_said="finish_reason",
        prompt_said="prompt_tokens",
        completion_said="completion_tokens",
        stripped_said="stripped",
    )
    joined = asked.join(said, on=key, how="left", maintain_order="left")
    later = pl.col("said").is_null() & ~pl.col("permanent")
    faults = [
        Fault(name, f"{purpose}: {reason}")
        for name, reason in joined.filter(later).select("request_key", "reason_said").iter_rows()
        if reason != SPENT
    ]
    return joined.filter(~later), faults


def _calls(
    entry: Generate,
    model: str,
    prompt: _prompts.Prompt,
    sampling: str | None,
    asked: pl.DataFrame,
    key: str,
    texts: Texts,
) -> Callable[[pl.Series], AsyncIterator[Call]]:
    """Make the requests of these rows (columns text, and quotes where the prompt has them) batch by batch."""

    async def calls(waiting: pl.Series) -> AsyncIterator[Call]:
        rows = asked.filter(pl.col(key).is_in(waiting.implode())).unique(key, keep="first", maintain_order=True)
        for batch in rows.iter_slices(BATCH):
            seeds = await asyncio.to_thread(shown, batch, texts)
            for seed, row in zip(seeds, batch.iter_rows(named=True), strict=True):
                fields = {"text": seed, "draft": row["text"], "quotes": _quoted(row.get("quotes"))}
                asked_of = json.loads(sampling or row["sampling"])
                yield Call(row[key], model, prompt.messages(entry.system, **fields), asked_of, row["request_key"])

    return calls


def _quoted(quotes: list[str] | None) -> str:
    if not quotes:
        return "nothing in particular; look for it yourself."
    return "".join(f'\n  - "{quote}"' for quote in quotes)


def _sources(row: dict[str, Any]) -> list[str]:
    if row["seed_ids"]:
        return [window_name(row["seed_ids"][0], row["seed_start"], row["seed_stop"])]
    return [_hash(row["brief"] or "")]


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
