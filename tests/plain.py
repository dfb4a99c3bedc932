"""The pipeline in this process, whole and in parts."""

import itertools
from pathlib import Path
from typing import NamedTuple

import polars as pl

from cuvee.flows import pipeline
from cuvee.flows.accounting import account
from cuvee.flows.deciding import decide
from cuvee.flows.hands import PlainHands
from cuvee.flows.mixing import mix
from cuvee.schemas.records import PoolState, Run, SourceFile
from cuvee.schemas.report import RunReport
from cuvee.schemas.tables import (
    AMOUNTS,
    CONCLUDED,
    DECLARED,
    VERDICTS,
    AmountsRef,
    ConcludedRef,
    DecidedPart,
    DecidedRef,
    DeclaredRef,
    PlannedRef,
    VerdictsRef,
)
from cuvee.storage.store import Store
from cuvee.storage.tables import read_ledger
from cuvee.tasks import guard
from cuvee.tasks.begin import begin
from cuvee.tasks.decide.current import Drafts
from cuvee.tasks.dedup import pairs
from cuvee.tasks.generate import rounds
from cuvee.tasks.generate.rounds import Generated
from cuvee.tasks.pool import Pool, pool_of
from cuvee.tasks.publish import assemble, commit, unchanged
from cuvee.tasks.steps import load_decided, load_published, save

_runs = itertools.count()
# All columns of the decided table.
ALL = [name for schema in (DECLARED, CONCLUDED, VERDICTS, AMOUNTS) for name in schema]


class Described(NamedTuple):
    """A pool whose shards are measured and compared."""

    run: Run
    store: Store
    state: PoolState
    pool: Pool
    files: list[SourceFile]
    warnings: list[str]

    def decide(self, drafts: Drafts = (), partitions: int | None = None) -> pl.DataFrame:
        """Return all columns of the decided table."""
        return load_decided(self.store, self.decided(drafts, partitions), ALL)

    def decided(self, drafts: Drafts = (), partitions: int | None = None) -> DecidedRef:
        """Decide, and save the tables."""
        run, store, state, pool, files, _ = self
        return decide(run, store, pool, files, drafts, state.dates, PlainHands(), partitions)


def drafting_recipe(
    url: str,
    *lines: str,
    uri: str = "texts.jsonl",
    kinds: str = "[encyclopedic, distilled]",
    human: float = 0.5,
    more: str = "",
) -> str:
    """Write a recipe whose only generator asks the endpoint at `url`; lines: further keys of it, more: of the recipe.

    uri: the texts, human: their least share.
    """
    entry = "".join(f"    {line}\n" for line in lines)
    return f"""
corpus: words
sources: [{{name: texts, uri: "{uri}", license: CC-BY-SA-4.0, domain: manual, language: en}}]
holdout: {{share: 0}}
mixture: {{human: {{min: {human}}}}}
{more}
generate:
  - name: rephrased
    generator: openai
    base_url: {url}
    model: tiny
    kinds: {kinds}
{entry}"""


def recipe_file(folder: Path, text: str) -> str:
    path = folder / "recipe.yaml"
    path.write_text(text, encoding="utf-8")
    return str(path)


def ingested(recipe: str, store: str, *overrides: str) -> Described:
    """Begin a run, and ingest, measure and compare what is new."""
    run, place, state = begin(recipe, overrides, store, f"plain-{next(_runs)}")
    files, pool, warnings = pipeline.take_in(run, place, pool_of(state), PlainHands())
    pool = pipeline.describe(run, place, pool, pairs.known_pairs(state), PlainHands())
    return Described(run, place, state, pool, files, warnings)


class Candidate(NamedTuple):
    """What a run has decided and planned."""

    begun: Described
    decided: DecidedRef
    planned: PlannedRef
    drafts: list[Generated]

    @property
    def rows(self) -> pl.DataFrame:
        """All columns of the decided table."""
        return load_decided(self.begun.store, self.decided, ALL)

    @property
    def plan(self) -> pl.DataFrame:
        """The mixture's choice, with columns of the decided table beside it."""
        columns = ["doc_id", "source", "provenance", "words"]
        return load_published(self.begun.store, self.planned, self.decided, columns)

    def with_rows(self, rows: pl.DataFrame) -> "Candidate":
        """Put other rows in the place of the decided ones."""
        run, store = self.begun.run, self.begun.store
        part = DecidedPart(
            declared=DeclaredRef(save(run, store, rows, DECLARED)),
            concluded=ConcludedRef(save(run, store, rows, CONCLUDED)),
            verdicts=VerdictsRef(save(run, store, rows, VERDICTS)),
            amounts=AmountsRef(save(run, store, rows, AMOUNTS)),
        )
        return self._replace(decided=DecidedRef(partitions=(part,)))

    def publish(self) -> RunReport:
        """Judge, write and commit it."""
        run, store, state, pool, files, warnings = self.begun
        guarded = guard.run(run, store, pool, self.decided, self.planned)
        written = assemble.run(run, store, pool, self.decided, self.planned)
        accounts = account(run, store, pool, files, self.decided, self.planned, self.drafts, PlainHands())
        told = (self.drafts, guarded, written, accounts, warnings)
        inputs = unchanged.inputs(run, store, pool, state.dates, files)
        return commit.run(run, store, pool, state.dates, self.decided, self.planned, *told, inputs)

    def ledger(self) -> pl.DataFrame:
        run, store, _, pool, files, _ = self.begun
        told = account(run, store, pool, files, self.decided, self.planned, self.drafts, PlainHands())
        return pl.DataFrame(read_ledger(store, told.ledger))


def candidate(recipe: str, store: str, *overrides: str) -> Candidate:
    """Do all of a run that comes before guard and publish."""
    begun = ingested(recipe, store, *overrides)
    run, place = begun.run, begun.store
    decided, drafts = begun.decided(), list[Generated]()
    for _ in range(rounds.MOST_ROUNDS):
        earlier, drafts = drafts, rounds.run(run, place, begun.pool, decided, True, drafts)
        if rounds.is_over(earlier, drafts):
            break
        drafted = begun.pool.plus([entry.record for entry in drafts if entry.record], run.version)
        begun = begun._replace(pool=pipeline.describe(run, place, drafted, begun.pool.pairs, PlainHands()))
        decided = begun.decided([(entry.name, key) for entry in drafts for key in entry.planned])
    return Candidate(begun, decided, mix(run, place, decided, PlainHands()), drafts)


def publish_plainly(recipe: str, store: str, *overrides: str) -> RunReport:
    """Run a recipe from its sources to its version."""
    return pipeline.carry_out(recipe, overrides, store, False, f"plain-{next(_runs)}", PlainHands())
