"""Generate: fill the shortage of synthetic text with drafts grounded in licensed human documents.

It goes in rounds. A round's list of requests is complete before one is sent, and depends only on recorded outcomes:
the first round expects every draft to survive, the next ones ask for what is short at the yield that was measured.
What becomes of the requests stands in `drafting`, how many there are in `budget`.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import polars as pl

from cuvee.schemas.base import Frozen
from cuvee.schemas.errors import CuveeError, RecipeError, RetryableError
from cuvee.schemas.generation import Asked, Outlook
from cuvee.schemas.recipe import Generate, Recipe
from cuvee.schemas.records import DraftRecord, Run, step_key
from cuvee.schemas.tables import DecidedRef
from cuvee.storage.corpus import corpus_folder, read_record
from cuvee.storage.store import Store
from cuvee.storage.tables import read_table
from cuvee.tasks import generators
from cuvee.tasks.generate import budget, drafting
from cuvee.tasks.generate.habits import rejected
from cuvee.tasks.generate.outlook import outlook
from cuvee.tasks.generate.seeds import choose_seeds, windows_of, with_windows
from cuvee.tasks.generators._journal import paid
from cuvee.tasks.generators._purse import Purse
from cuvee.tasks.generators._tally import Tally
from cuvee.tasks.pool import Pool
from cuvee.tasks.steps import load_decided

STEP = drafting.STEP
VERSION = 2
FAILED = "failed"
NOT_SENT = "not_sent"
UNANSWERED = "endpoint"
# What a plan depends on: how much survives, and of what seeds may be.
_READ = (
    *("shard", "position", "doc_id", "source", "domain", "language", "license", "provenance", "depth"),
    *("words", "chars", "bytes", "tokens", "verdict"),
)
MOST_ROUNDS = 3
# More than any corpus has.
_ALL_WORDS = 2**62

_FREE = (
    "kind free writes without a seed, so nothing it says can be checked against one; text of this kind has led to "
    "patterns like those of model collapse (Kang et al. 2025, arXiv 2510.01631)"
)
_NEXT = "cuvee report and cuvee explain show drafts with their reasons; change the model, kinds, gates or sampling"
_OWN_JUDGE = "the judge is the generator: models favour their own text; name another grade.judge_model"


class Generated(Frozen):
    """What one generator did in all rounds so far.

    planned: its request keys in order; failed: request key → reason; record: of the last round, null where it had
    nothing to draft; warning: what a person should know, or null. wanted, expected: words asked of it, and expected of
    its plan. outlook: what would be sent, where nothing is. fault: why its endpoint could not be asked, or null.
    asked: what this run was answered, or null for nothing.
    """

    name: str
    planned: tuple[str, ...]
    failed: dict[str, str]
    record: DraftRecord | None
    warning: str | None = None
    wanted: int = 0
    expected: int = 0
    outlook: Outlook | None = None
    fault: str | None = None
    asked: Asked | None = None


def check(recipe: Recipe, folder: str) -> None:
    """Raise RecipeError for what is wrong with the generators of a recipe: kinds, templates, endpoint."""
    no_seeds = pl.DataFrame(schema={"doc_id": pl.String, "words": pl.Int64, "language": pl.String})
    for entry in recipe.generate:
        generators.find(entry.generator).plan(_located(entry, folder), no_seeds, 0)


def run(
    run: Run, store: Store, pool: Pool, decided: DecidedRef, send: bool = True, earlier: Sequence[Generated] = ()
) -> list[Generated]:
    """Plan and carry out the next round of every generator of the recipe.

    decided: all current rows, with the drafts of the rounds before. earlier: what those rounds returned, in the order
    of the recipe; empty for the first. send: False only plans; a request without a draft then fails with the reason
    NOT_SENT. Nothing more was planned when the planned requests are those of `earlier` (see `is_over`).
    Where the endpoint of one entry fails, its requests do with the reason UNANSWERED, and the others go on; raises what
    the first one raised when no other entry planned anything.
    """
    is_draft = pl.col("source").is_in([entry.name for entry in run.recipe.generate])
    read = load_decided(store, decided, _READ, is_draft | pl.col("verdict").is_null())
    drafts, sources = read.filter(is_draft), read.filter(~is_draft)
    windows = windows_of(store, pool)
    found: list[Generated] = []
    faults: dict[str, CuveeError] = {}
    for position, entry in enumerate(run.recipe.generate):
        entry = _located(entry, run.folder)
        seeds = with_windows(choose_seeds(run.recipe, entry, sources), windows)
        if earlier:
            before = earlier[position]
        else:
            wanted = budget.wanted_words(run.recipe, entry, sources)
            before = Generated(name=entry.name, planned=(), failed={}, record=None, wanted=wanted)
        own = drafts.filter(pl.col("source") == entry.name)
        survived = int(own.filter(pl.col("verdict").is_null())["words"].sum())
        now = _round(run, store, pool, entry, seeds, before, survived, send, faults)
        if before.planned and not survived and send:
            now = now.model_copy(update={"warning": _nothing_survived(entry, own, now)})
        found.append(now)
    if faults and not any(entry.planned for entry in found if not entry.fault):
        raise next(iter(faults.values()))
    return found


def is_over(earlier: Sequence[Generated], now: Sequence[Generated]) -> bool:
    """Tell whether a round planned nothing that was not planned before it."""
    return sum(len(entry.planned) for entry in now) == sum(len(entry.planned) for entry in earlier)


def _round(
    run: Run,
    store: Store,
    pool: Pool,
    entry: Generate,
    seeds: pl.DataFrame,
    before: Generated,
    survived: int,
    send: bool,
    faults: dict[str, CuveeError],
) -> Generated:
    words = budget.more_words(before.wanted, before.expected, survived) if before.planned else before.wanted
    if before.fault or (before.planned and (words == before.expected or NOT_SENT in before.failed.values())):
        return before.model_copy(update={"record": None})
    bought = paid(store, drafting.payer(run, entry))
    plan = _plan(entry, seeds, words, bought)
    new = plan.filter(~pl.col("request_key").is_in(list(before.planned)))
    new = budget.affordable(entry, new, bought, drafting.carried_out(store, pool, entry))
    held = _held(run, store, pool, entry)
    todo = new.filter(~pl.col("request_key").is_in(list(held)))
    tally = Tally(partial(budget.cost_of, entry))
    purse = budget.purse(entry, bought)
    try:
        record, failed = _outcome(run, store, pool, entry, seeds, todo, send, tally, purse)
    except (RecipeError, RetryableError) as error:
        record, failed = None, dict.fromkeys(todo["request_key"], UNANSWERED)
        faults[entry.name] = error
    fault = faults.get(entry.name)
    warnings = [before.warning if before.planned else _warning(entry, seeds, before.wanted, new)]
    warnings += [f"generator {entry.name}: {fault}; {len(failed):,} requests are left to the next run"] if fault else []
    return Generated(
        name=entry.name,
        planned=(*before.planned, *new["request_key"]),
        failed=before.failed | failed,
        record=record,
        warning="; ".join(filter(None, warnings)) or None,
        wanted=before.wanted,
        expected=before.expected + int(new["words_expected"].sum()),
        outlook=None if send else outlook(store, pool, entry, seeds, todo),
        fault=str(fault) if fault else None,
        asked=tally.asked.plus(before.asked) if tally.asked.requests else before.asked,
    )


def _outcome(
    run: Run,
    store: Store,
    pool: Pool,
    entry: Generate,
    seeds: pl.DataFrame,
    todo: pl.DataFrame,
    send: bool,
    tally: Tally,
    purse: Purse | None,
) -> tuple[DraftRecord | None, dict[str, str]]:
    """Find what became of requests that have no draft in the pool, or carry them out."""
    missing = todo["request_key"].to_list()
    if not missing:
        return None, {}
    options = [entry.name, run.readings[entry.name]]
    key = step_key(STEP, VERSION, options=options, requests=missing, corpus=run.corpus)
    record = read_record(store, DraftRecord, STEP, key, corpus_folder(run.corpus))
    if record is not None:
        return record, record.report.failed
    if not send:
        return None, dict.fromkeys(missing, NOT_SENT)
    return drafting.draft(run, store, pool, entry, seeds, todo, key, tally, purse)


def _held(run: Run, store: Store, pool: Pool, entry: Generate) -> set[str]:
    """Return the request keys whose drafts the pool has under the entry's name, cleaned and graded as now."""
    wanted = (entry.name, run.readings[entry.name])
    shards = [shard for shard in pool.shards if shard.generated and (shard.source, shard.reading) == wanted]
    return {key for shard in shards for key in read_table(store, shard.file, ["source_id"])["source_id"].to_pylist()}


def _plan(entry: Generate, seeds: pl.DataFrame, words: int, bought: pl.DataFrame) -> pl.DataFrame:
    """Plan requests for so many words, those first that were ever asked for the entry in its corpus."""
    generator = generators.find(entry.generator)
    if not generator.GRADED:
        return generator.plan(entry, seeds, words)
    unbounded = entry.model_copy(update={"budget": entry.budget.model_copy(update={"requests": None})})
    plan = generator.plan(unbounded, seeds, words)
    asked = bought.filter(pl.col("draft_key") == pl.col("request_key"))["request_key"]
    missing = asked.filter(~asked.is_in(plan["request_key"].implode()))
    outside = plan.clear()
    if len(missing):
        everything = generator.plan(unbounded, seeds, _ALL_WORDS)
        outside = everything.filter(pl.col("request_key").is_in(missing.implode()))
    return budget.first_answered(entry, plan, outside, bought, words)


def _warning(entry: Generate, seeds: pl.DataFrame, wanted: int, planned: pl.DataFrame) -> str | None:
    """Tell what a person should know of a plan, or nothing."""
    found = []
    if wanted and not planned.height and entry.budget.requests != 0 and entry.budget.cost_usd is None:
        found.append(
            f"{wanted:,} words are wanted, {seeds.height:,} documents may be seeds: nothing is planned; add human "
            "sources whose licence allows derivatives, or set seeds.allow_unlicensed"
        )
    if wanted and not planned.height and entry.budget.cost_usd is not None:
        found.append(
            f"budget.cost_usd {entry.budget.cost_usd:g}, less what was spent, does not pay for one request; nothing is "
            "planned"
        )
    if "free" in entry.kinds:
        found.append(_FREE)
    if entry.grade.judge_model and entry.grade.judge_model == entry.model:
        found.append(_OWN_JUDGE)
    return f"generator {entry.name}: {'; '.join(found)}" if found else None


def _nothing_survived(entry: Generate, drafts: pl.DataFrame, made: Generated) -> str:
    """Say that nothing of a generator is left, and why. drafts: all current ones of it."""
    reasons = rejected(drafts, made.failed)
    told = ", ".join(f"{reason} {count:,}" for reason, count in reasons.items())
    before = f"{made.warning}; " if made.warning else f"generator {entry.name}: "
    return f"{before}nothing of {len(made.planned):,} drafts survived ({told}); {_NEXT}"


def _located(entry: Generate, folder: str) -> Generate:
    """Resolve templates of the recipe's own against its folder."""
    kinds = tuple(str(Path(folder, kind)) if kind.endswith(".md") else kind for kind in entry.kinds)
    missing = [kind for kind in kinds if kind.endswith(".md") and not Path(kind).is_file()]
    if missing:
        raise RecipeError(f"generate.{entry.name}.kinds: {missing[0]} is not a file; correct the path")
    return entry.model_copy(update={"kinds": kinds})
