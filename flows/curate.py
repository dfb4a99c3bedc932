"""Curate: a document's way from source to published version.

ingest → filter, classify, sign, decontaminate → pairs → resolve → generate → the same over the drafts → mixture →
guard → assemble → publish. What a step does stands in the file of cuvee.tasks that bears its name; the work of one
shard is one task, and what was done before is not done again.
"""

import logging
import time
from collections.abc import Sequence
from typing import Any

from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.runtime import flow_run

from cuvee.flows import endpoint
from cuvee.flows.artifacts import mixture_markdown, step_table
from cuvee.flows.names import run_name
from cuvee.flows.runner import gather
from cuvee.schemas.errors import ConflictError
from cuvee.schemas.manifest import version_name
from cuvee.schemas.records import PoolState, Run, SourceFile, StepRecord
from cuvee.schemas.report import RunReport
from cuvee.tasks import guard
from cuvee.tasks.begin import begin
from cuvee.tasks.decide import verdicts
from cuvee.tasks.dedup import pairs
from cuvee.tasks.generate import rounds
from cuvee.tasks.ingest import fetch, reading, sources
from cuvee.tasks.ingest.bad_rows import check_bad_rows
from cuvee.tasks.measure import signals
from cuvee.tasks.mixture import selection
from cuvee.tasks.pool import Pool, pool_of
from cuvee.tasks.publish import assemble, commit, foresee

fetch_task = task(name="fetch", task_run_name="fetch {errand.source}", cache_policy=NO_CACHE)(fetch.run)
ingest_task = task(name="ingest", task_run_name="ingest {batch.source}", cache_policy=NO_CACHE)(reading.run)
measure_task = task(name="measure", task_run_name="{step} {shard.source}", cache_policy=NO_CACHE)(signals.run)
pairs_task = task(name="pairs", cache_policy=NO_CACHE)(pairs.run)
resolve_task = task(name="resolve", cache_policy=NO_CACHE)(verdicts.run)
generate_task = task(name="generate", cache_policy=NO_CACHE)(endpoint.in_turn)
mixture_task = task(name="mixture", cache_policy=NO_CACHE)(selection.run)
guard_task = task(name="guard", cache_policy=NO_CACHE)(guard.run)
assemble_task = task(name="assemble", cache_policy=NO_CACHE)(assemble.run)
publish_task = task(name="publish", cache_policy=NO_CACHE)(commit.run)

# Each attempt is lost to a version that somebody else published: after this many, a person should look.
MOST_ATTEMPTS = 8

_logger = logging.getLogger("cuvee.flows")


@flow(name="curate", flow_run_name=run_name)
def curate(recipe: str, overrides: Sequence[str] = (), store: str | None = None, plan: bool = False) -> RunReport:
    """Run a recipe.

    recipe: path of the YAML file. overrides: `key.path=value` strings. store: overrides the recipe's.
    plan: work everything out, send no request to a generator and publish nothing.
    """
    return carry_out(recipe, overrides, store, plan)


def carry_out(recipe: str, overrides: Sequence[str], store: str | None, plan: bool) -> RunReport:
    """Run a recipe inside a flow; where another run publishes first, take its pool and decide again.

    What this run has read and measured is found as done, so only what follows from the joined pool is repeated.
    Raises ConflictError when MOST_ATTEMPTS runs in turn were faster, and what `begin` and the steps raise.
    """
    started = time.monotonic()
    lost: list[str] = []
    while True:
        run, state = begin(recipe, overrides, store, str(flow_run.get_id() or "local"))
        try:
            report = follow(run, state, plan)
        except ConflictError as conflict:
            lost.append(f"{conflict}; its rows were taken, and the mixture was planned again")
            if len(lost) == MOST_ATTEMPTS:
                raise
            _logger.warning(
                "%s@%s was published by another run meanwhile: taking its pool, and planning again",
                run.corpus,
                version_name(run.version),
            )
            continue
        break
    step_table(run.corpus, [{"step": name, **figures.as_json()} for name, figures in report.steps.items()])
    mixture_markdown(run.corpus, report.as_markdown())
    seconds = round(time.monotonic() - started, 1)
    return report.model_copy(update={"seconds": seconds, "warnings": (*lost, *report.warnings)})


def follow(run: Run, state: PoolState, plan_only: bool) -> RunReport:
    """Lead the documents of a run from their sources into a version, or into a plan of one."""
    pool = pool_of(state)
    files, warnings = find(run, pool)
    batches = reading.batches(run, files, pool.known_files)
    records = each("ingest", ingest_task, reading.found(run, batches), [(run, batch) for batch in batches])
    fetch.clear(run)
    pool = pool.plus(records, run.version)
    warnings += check_bad_rows(run, files, pool.read_as(run.readings))

    pool = describe(run, pool, pairs.known_pairs(state))
    rows = one("resolve", resolve_task, run, pool, files, (), state.dates)

    drafts: list[rounds.Generated] = []
    for _ in range(rounds.MOST_ROUNDS):
        earlier, drafts = drafts, one("generate", generate_task, run, pool, rows, not plan_only, drafts)
        if rounds.is_over(earlier, drafts):
            break
        planned = [(entry.name, key) for entry in drafts for key in entry.planned]
        drafted = pool.plus([entry.record for entry in drafts if entry.record], run.version)
        pool = describe(run, drafted, pool.pairs)
        rows = one("resolve", resolve_task, run, pool, files, planned, state.dates)

    plan = one("mixture", mixture_task, run, rows)
    if plan_only:
        return foresee.run(run, pool, files, rows, plan, drafts, warnings)
    guarded = one("guard", guard_task, run, pool, rows, plan)
    published = one("assemble", assemble_task, run, pool, rows, plan)
    report: RunReport = one(
        "publish", publish_task, run, pool, files, state.dates, rows, plan, drafts, guarded, published, warnings
    )
    return report


def find(run: Run, pool: Pool) -> tuple[list[SourceFile], list[str]]:
    """List the source files, fetching those of the web and of buckets that are new; return them with warnings."""
    listing = sources.look(run, pool)
    errands = fetch.errands(listing.places)
    fetched = gather("fetch", [fetch_task.submit(run, errand) for errand in errands]) if errands else []
    return sources.settle(run, pool, listing, fetched)


def describe(run: Run, pool: Pool, known: StepRecord | None) -> Pool:
    """Measure the shards that were not measured yet, and compare what is new with everything in the pool."""
    shards = pool.shards
    for step in signals.steps(run.recipe):
        found = signals.found(run, step, shards)
        pool = pool.with_attributes(step, each(step, measure_task, found, [(run, step, shard) for shard in shards]))
    return pool.with_pairs(one("pairs", pairs_task, run, pool, known))


def each(
    step: str, work: Any, found: Sequence[StepRecord | None], arguments: Sequence[tuple[Any, ...]]
) -> list[StepRecord]:
    """Run a task for every shard that has no record yet; return all records in order."""
    todo = [position for position, record in enumerate(found) if record is None]
    if not todo:
        return [record for record in found if record is not None]
    done = dict(zip(todo, gather(step, [work.submit(*arguments[position]) for position in todo]), strict=True))
    return [done[position] if record is None else record for position, record in enumerate(found)]


def one(step: str, work: Any, *arguments: Any) -> Any:
    """Run a single task and wait for it."""
    return gather(step, [work.submit(*arguments)])[0]
