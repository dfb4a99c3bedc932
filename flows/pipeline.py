"""The pipeline: a document's way from source to published version, as one function that knows no engine.

find → ingest → measure → pairs → decide → generate → the same over the drafts → mixture → guard → assemble →
account → publish.
What a step does stands in the room of cuvee.tasks that bears its name. What was done before is not done again.
"""

import logging
import time
from collections.abc import Sequence
from typing import TypeVar

from cuvee.flows import lineage
from cuvee.flows.accounting import account
from cuvee.flows.deciding import decide
from cuvee.flows.hands import Hands
from cuvee.flows.mixing import mix
from cuvee.schemas.errors import ConflictError, GateError
from cuvee.schemas.manifest import version_name
from cuvee.schemas.records import PairsRecord, PoolState, Run, SourceFile
from cuvee.schemas.report import RunReport
from cuvee.storage.outbox import Channel
from cuvee.storage.store import Store
from cuvee.tasks import guard
from cuvee.tasks.begin import begin
from cuvee.tasks.dedup import pairs
from cuvee.tasks.generate import rounds
from cuvee.tasks.ingest import bad_rows, fetch, reading, sources
from cuvee.tasks.measure import signals
from cuvee.tasks.pool import Pool, pool_of
from cuvee.tasks.publish import assemble, commit, events, foresee, unchanged
from cuvee.tasks.steps import clear

# Each attempt is lost to a version that somebody else published: after this many, a person should look.
MOST_ATTEMPTS = 8

_logger = logging.getLogger("cuvee.flows")
R = TypeVar("R")


def carry_out(
    recipe: str,
    overrides: Sequence[str],
    store: str | None,
    plan: bool,
    run_id: str,
    hands: Hands,
    limit: int | None = None,
    channels: Sequence[Channel] = (),
) -> RunReport:
    """Run a recipe; where another run publishes first, take its pool and decide again.

    recipe: path of the YAML file. overrides: `key.path=value` strings. store: overrides the recipe's. plan: work
    everything out, send no request to a generator and publish nothing. limit: rows to read of each source, for a trial.
    channels: who is told of versions beside the recipe's publish.notify.
    What this run has read and measured is found as done, so only what follows from the joined pool is repeated.
    Raises ConflictError when MOST_ATTEMPTS runs in turn were faster, and what `begin` and the steps raise.
    """
    started = time.monotonic()
    told = lineage.Told()
    try:
        run, place, report = _settled(recipe, overrides, store, plan, run_id, hands, limit, channels, told)
    except BaseException as error:
        told.failed(error)
        raise
    told.ended(run, place, report)
    return report.model_copy(update={"seconds": round(time.monotonic() - started, 1)})


def _settled(
    recipe: str,
    overrides: Sequence[str],
    store: str | None,
    plan: bool,
    run_id: str,
    hands: Hands,
    limit: int | None,
    channels: Sequence[Channel],
    told: lineage.Told,
) -> tuple[Run, Store, RunReport]:
    """Follow a run until it is not overtaken by another."""
    lost: list[str] = []
    owed: list[str] = []
    while True:
        run, place, state = begin(recipe, overrides, store, run_id, limit)
        told.begun(run)
        if not plan:
            owed = events.run(run, place, channels)
        try:
            report = follow(run, place, state, plan, hands)
        except ConflictError as conflict:
            lost.append(f"{conflict}; its rows were taken, and the mixture was planned again")
            if len(lost) == MOST_ATTEMPTS:
                raise
            standing = f"{run.corpus}@{version_name(run.version)}"
            _logger.warning("%s was published by another run meanwhile: taking its pool, and planning again", standing)
            continue
        except GateError:
            clear(run, place)
            raise
        clear(run, place)
        if report.published:
            owed = events.run(run, place, channels)
        return run, place, report.model_copy(update={"warnings": (*lost, *report.warnings, *owed)})


def follow(run: Run, store: Store, state: PoolState, plan_only: bool, hands: Hands) -> RunReport:
    """Lead the documents of a run from their sources into a version, or into a plan of one."""
    files, pool, warnings = take_in(run, store, pool_of(state), hands)
    pool = describe(run, store, pool, pairs.known_pairs(state), hands)
    if not plan_only and (said := unchanged.run(run, store, pool, state.dates, files, warnings)):
        return said
    decided = decide(run, store, pool, files, (), state.dates, hands)

    drafts: list[rounds.Generated] = []
    for _ in range(rounds.MOST_ROUNDS if run.recipe.generate else 0):
        earlier, drafts = drafts, hands.one("generate", rounds.run, run, store, pool, decided, not plan_only, drafts)
        if rounds.is_over(earlier, drafts):
            break
        drafted = pool.plus([entry.record for entry in drafts if entry.record], run.version)
        pool = describe(run, store, drafted, pool.pairs, hands)
        planned = [(entry.name, key) for entry in drafts for key in entry.planned]
        decided = decide(run, store, pool, files, planned, state.dates, hands)

    try:
        plan = mix(run, store, decided, hands)
        if plan_only:
            counted = account(run, store, pool, files, decided, plan, drafts, hands, is_kept=False)
            return foresee.run(run, store, decided, plan, counted, drafts, warnings)
        guarded = hands.one("guard", guard.run, run, store, pool, decided, plan)
    except GateError as gate:
        message = "\n".join([str(gate), *(entry.warning for entry in drafts if entry.warning)])
        if not plan_only:
            accounts = account(run, store, pool, files, decided, None, drafts, hands)
            commit.stopped(run, store, accounts, message)
        raise GateError(message) from None
    written = hands.one("assemble", assemble.run, run, store, pool, decided, plan)
    accounts = account(run, store, pool, files, decided, plan, drafts, hands)
    told = (drafts, guarded, written, accounts, warnings, unchanged.inputs(run, store, pool, state.dates, files))
    return hands.one("publish", commit.run, run, store, pool, state.dates, decided, plan, *told)


def take_in(run: Run, store: Store, pool: Pool, hands: Hands) -> tuple[list[SourceFile], Pool, list[str]]:
    """Find the source files, fetch what is new of the web and of buckets, and read what is new into shards.

    Returns the files that exist now, the pool with their rows, and warnings.
    """
    listing = sources.look(run, store, pool)
    asked = [(run, store, errand) for errand in fetch.errands(listing.asked)] if listing.asked else []
    files, warnings = sources.settle(run, store, pool, listing, hands.each("fetch", fetch.run, asked) if asked else [])
    batches = reading.batches(run, files, pool.known_files)
    known = reading.found(run, store, batches)
    new = [(run, store, batch) for batch, record in zip(batches, known, strict=True) if record is None]
    read = hands.each("ingest", reading.run, new) if new else []
    if any(file.fetched for file in files):
        fetch.clear(run, store)
    pool = pool.plus(_filled(known, read), run.version)
    files = reading.with_members(files, pool.ingested)
    return files, pool, warnings + bad_rows.check_bad_rows(run, files, pool.read_as(run.readings))


def describe(run: Run, store: Store, pool: Pool, known_pairs: PairsRecord | None, hands: Hands) -> Pool:
    """Measure what shards lack, and compare what is new with everything in the pool."""
    shards = pool.shards
    known = signals.found(run, store, shards)
    lacking = signals.lacking(known)
    todo = [(run, store, shards[place], names) for place, names in lacking]
    measured = hands.each("measure", signals.run, todo) if todo else []
    pool = pool.with_signals(signals.complete(known, [place for place, _ in lacking], measured))
    same = pairs.standing(run, pool, known_pairs)
    return pool.with_pairs(same or hands.one("pairs", pairs.run, run, store, pool, known_pairs))


def _filled(known: Sequence[R | None], new: Sequence[R]) -> list[R]:
    """Put results, in their order, where none was known."""
    coming = iter(new)
    return [next(coming) if one is None else one for one in known]
