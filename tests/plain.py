"""The pipeline without Prefect: the steps of flows/curate.py as plain functions, in the order of the DAG."""

from pathlib import Path
from typing import NamedTuple

import polars as pl

from cuvee.schemas.records import PoolState, Run, SourceFile, StepRecord
from cuvee.schemas.report import RunReport
from cuvee.storage.store import open_store
from cuvee.tasks import guard
from cuvee.tasks.begin import begin
from cuvee.tasks.decide import current, verdicts
from cuvee.tasks.dedup import pairs
from cuvee.tasks.generate import rounds
from cuvee.tasks.generate.rounds import Generated
from cuvee.tasks.ingest import fetch, reading, sources
from cuvee.tasks.ingest.bad_rows import check_bad_rows
from cuvee.tasks.measure import signals
from cuvee.tasks.mixture import selection
from cuvee.tasks.pool import Pool, pool_of
from cuvee.tasks.publish import assemble, commit, ledger
from cuvee.tasks.steps import save


class Described(NamedTuple):
    """A pool whose shards are measured and compared."""

    run: Run
    state: PoolState
    pool: Pool
    files: list[SourceFile]
    warnings: list[str]

    def decide(self, drafts: current.Drafts = ()) -> pl.DataFrame:
        return verdicts.decide(self.run, self.pool, self.files, drafts, self.state.dates)


def recipe_file(folder: Path, text: str) -> str:
    path = folder / "recipe.yaml"
    path.write_text(text, encoding="utf-8")
    return str(path)


def ingested(recipe: str, store: str, *overrides: str) -> Described:
    """Begin a run, and ingest, measure and compare what is new."""
    run, state = begin(recipe, overrides, store, "plain")
    pool = pool_of(state)
    listing = sources.look(run, pool)
    fetched = [fetch.run(run, errand) for errand in fetch.errands(listing.places)]
    files, warnings = sources.settle(run, pool, listing, fetched)
    batches = reading.batches(run, files, pool.known_files)
    pool = pool.plus([reading.run(run, batch) for batch in batches], run.version)
    fetch.clear(run)
    warnings += check_bad_rows(run, files, pool.read_as(run.readings))
    return Described(run, state, described(run, pool, pairs.known_pairs(state)), files, warnings)


def described(run: Run, pool: Pool, known: StepRecord | None) -> Pool:
    shards = pool.shards
    for step in signals.steps(run.recipe):
        pool = pool.with_attributes(step, [signals.run(run, step, shard) for shard in shards])
    return pool.with_pairs(pairs.run(run, pool, known))


class Candidate(NamedTuple):
    """All that publish takes."""

    begun: Described
    rows: pl.DataFrame
    plan: pl.DataFrame
    drafts: list[Generated]

    def publish(self) -> RunReport:
        run, pool = self.begun.run, self.begun.pool
        decided, planned = save(run, self.rows), save(run, self.plan)
        guarded = guard.run(run, pool, decided, planned)
        files = assemble.run(run, pool, decided, planned)
        dates, warnings = self.begun.state.dates, self.begun.warnings
        return commit.run(run, pool, self.begun.files, dates, decided, planned, self.drafts, guarded, files, warnings)

    def ledger(self) -> pl.DataFrame:
        run, pool, files = self.begun.run, self.begun.pool, self.begun.files
        return ledger.build(run, open_store(run.store), pool, files, self.rows, self.plan, self.drafts)


def candidate(recipe: str, store: str, *overrides: str) -> Candidate:
    """Do all of a run but publish it."""
    begun = ingested(recipe, store, *overrides)
    run = begun.run
    rows, drafts = begun.decide(), []
    for _ in range(rounds.MOST_ROUNDS):
        earlier, drafts = drafts, rounds.run(run, begun.pool, save(run, rows), True, drafts)
        if rounds.is_over(earlier, drafts):
            break
        drafted = begun.pool.plus([entry.record for entry in drafts if entry.record], run.version)
        begun = begun._replace(pool=described(run, drafted, begun.pool.pairs))
        rows = begun.decide([(entry.name, key) for entry in drafts for key in entry.planned])
    return Candidate(begun, rows, selection.plan(verdicts.survivors(rows), run.recipe), drafts)


def publish_plainly(recipe: str, store: str, *overrides: str) -> RunReport:
    """Run a recipe from its sources to its version."""
    return candidate(recipe, store, *overrides).publish()
