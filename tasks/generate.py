"""Generate: fill the shortage of synthetic text with drafts grounded in licensed human documents.

Output: shards like those of ingest, with the generator's name as source, the request key as source_id, and lineage:
kind, depth (1 + the largest depth of the seeds), seed_ids. Drafts are normalised and masked as any text.
Failures: request_key, reason, permanent.
"""

import math
from collections.abc import Sequence
from functools import partial

import polars as pl

from cuvee.schemas.base import Frozen
from cuvee.schemas.licenses import allows_derivatives
from cuvee.schemas.recipe import Generate, Recipe
from cuvee.schemas.records import FileRef, Run, StepRecord, step_key
from cuvee.storage.corpus import pool_folder, read_record, write_record
from cuvee.storage.store import Store, open_store
from cuvee.storage.tables import read_table
from cuvee.tasks import generators, normalise
from cuvee.tasks.generators._journal import fetch_journal, keep_journal
from cuvee.tasks.ingest import MB, draft_shards, drafting_key
from cuvee.tasks.mask import mask
from cuvee.tasks.mixture import counts_as_human, held_out, unit_amount
from cuvee.tasks.pool import Pool, Texts, frame_of
from cuvee.tasks.resolve import survivors
from cuvee.tasks.steps import load, progress

STEP = "generate"
VERSION = 1
NOT_SENT = "not_sent"


class Generated(Frozen):
    """What one generator did.

    planned: its request keys in order; failed: request key → reason; warning: why it could plan nothing, or null.
    """

    name: str
    planned: tuple[str, ...]
    failed: dict[str, str]
    record: StepRecord | None
    warning: str | None = None


def run(run: Run, pool: Pool, decided: FileRef, send: bool = True) -> list[Generated]:
    """Plan and carry out every generator of the recipe.

    decided: all current rows after the first pass. send: False only plans; a request without a draft then fails with
    the reason NOT_SENT.
    """
    store, rows = open_store(run.store), survivors(load(run, decided))
    found = []
    for entry in run.recipe.generate:
        wanted = wanted_words(run.recipe, entry, rows)
        seeds = choose_seeds(run.recipe, entry, rows)
        found.append(_generate(run, store, pool, entry, seeds, wanted, send))
    return found


def wanted_amount(recipe: Recipe, entry: Generate, rows: pl.DataFrame) -> float:
    """Return how much text an entry should draft, in the recipe's unit.

    auto: min(total, human ÷ human.min) - human - synthetic text that is there, shared equally by the entries with auto.
    """
    if entry.budget.amount != "auto":
        return entry.budget.amount
    rows = rows.with_columns(amount=unit_amount(recipe.mixture.unit), human=counts_as_human(recipe))
    # Held-out text does not count: the floor holds in the train split alone.
    train = rows.filter(~held_out(rows, recipe))
    human, synthetic = (int(train.filter(where)["amount"].sum()) for where in (pl.col("human"), ~pl.col("human")))
    floor, total = recipe.mixture.human.min, recipe.mixture.total
    room = min(total or math.inf, human / floor if floor else math.inf)
    sharing = sum(other.budget.amount == "auto" for other in recipe.generate)
    return max(room - human - synthetic, 0.0) / sharing


def wanted_words(recipe: Recipe, entry: Generate, rows: pl.DataFrame) -> int:
    """Return the wanted amount in words, at the survivors' mean words a document or bytes a word."""
    amount, words = wanted_amount(recipe, entry, rows), max(int(rows["words"].sum()), 1)
    unit = {"words": words, "bytes": int(rows["bytes"].sum()), "documents": rows.height}[recipe.mixture.unit]
    return math.ceil(amount * words / max(unit, 1))


def choose_seeds(recipe: Recipe, entry: Generate, rows: pl.DataFrame) -> pl.DataFrame:
    """Return the documents a generator may start from: human by the evidence, not held out, of a licence that
    allows derivatives. Columns doc_id, words, domain, license, language, source, shard, position, depth.
    """
    human = rows.filter((pl.col("provenance") == "human") & ~held_out(rows, recipe))
    if entry.seeds.sources:
        human = human.filter(pl.col("source").is_in(list(entry.seeds.sources)))
    if not entry.seeds.allow_unlicensed:
        free = [license for license in human["license"].unique() if allows_derivatives(license)]
        human = human.filter(pl.col("license").is_in(free))
    return human.select("doc_id", "words", "domain", "license", "language", "source", "shard", "position", "depth")


def _generate(
    run: Run,
    store: Store,
    pool: Pool,
    entry: Generate,
    seeds: pl.DataFrame,
    wanted: int,
    send: bool,
) -> Generated:
    generator = generators.find(entry.generator)
    plan = generator.plan(entry, seeds, wanted)
    planned = tuple(plan["request_key"])
    held = _held(run.recipe, store, pool, entry)
    missing = [key for key in planned if key not in held]
    options = [entry.name, drafting_key(run.recipe)]
    key = step_key(STEP, VERSION, options=options, requests=missing)
    record = read_record(store, STEP, key) if missing else None
    failed: dict[str, str] = {}
    if missing and record is None and not send:
        failed = dict.fromkeys(missing, NOT_SENT)
    elif missing and record is None:
        todo = plan.filter(pl.col("request_key").is_in(missing))
        record, failed = _draft(run, store, pool, entry, seeds, todo, key)
    elif record is not None:
        failed = record.report["failed"]
    warning = None
    if wanted and not planned and entry.budget.requests != 0:
        warning = (
            f"generator {entry.name}: {wanted:,} words are wanted, {seeds.height:,} documents may be seeds: nothing "
            "is planned; add human sources whose licence allows derivatives, or set seeds.allow_unlicensed"
        )
    return Generated(name=entry.name, planned=planned, failed=failed, record=record, warning=warning)


def _draft(
    run: Run,
    store: Store,
    pool: Pool,
    entry: Generate,
    seeds: pl.DataFrame,
    plan: pl.DataFrame,
    key: str,
) -> tuple[StepRecord, dict[str, str]]:
    where = seeds.select("doc_id", "shard", "position")
    with Texts(store, pool.shards) as texts:

        def fetch(doc_ids: Sequence[str]) -> pl.DataFrame:
            wanted = pl.DataFrame({"doc_id": doc_ids}).join(where, on="doc_id", how="inner", maintain_order="left")
            table = texts.take(wanted["shard"].to_numpy(), wanted["position"].to_numpy())
            return wanted.select("doc_id").hstack(frame_of(table))

        generator = generators.find(entry.generator)
        place = f"generation/{_endpoint(entry)}"
        journal, merged = fetch_journal(store, place)
        try:
            drafts = generator.run(entry, seeds, plan, fetch, journal, partial(progress, f"generate {entry.name}"))
        finally:
            # Answers are paid for, also those before a fault.
            keep_journal(store, place, journal, merged)
    failed = dict(drafts.failures.select("request_key", "reason").iter_rows())
    frame = _shape(run.recipe, entry, drafts.rows, seeds, plan)
    files = draft_shards(store, pool_folder(run.corpus, STEP), frame, run.recipe.ingest.shard_mb * MB)
    reading = drafting_key(run.recipe)
    report = {"source": entry.name, "reading": reading, "shards": len(files), "failed": failed}
    record = StepRecord(step=STEP, key=key, files=tuple(files), report=report)
    if drafts.failures["permanent"].all():  # else the next run asks again
        write_record(store, record)
    return record, failed


def _held(recipe: Recipe, store: Store, pool: Pool, entry: Generate) -> set[str]:
    """Return the request keys whose drafts the pool has under the entry's name, masked as the recipe says."""
    wanted = (entry.name, drafting_key(recipe))
    shards = [shard for shard in pool.shards if shard.generated and (shard.source, shard.reading) == wanted]
    return {key for shard in shards for key in read_table(store, shard.file, ["source_id"])["source_id"].to_pylist()}


def _shape(
    recipe: Recipe, entry: Generate, drafts: pl.DataFrame, seeds: pl.DataFrame, plan: pl.DataFrame
) -> pl.DataFrame:
    text, _ = mask(normalise.normalise(drafts["text"])["text"], recipe.ingest.mask)
    depth = (
        drafts.select("request_key", doc_id="seed_ids")
        .explode("doc_id")
        .join(seeds.select("doc_id", "depth"), on="doc_id", how="left")
        .group_by("request_key")
        .agg((pl.col("depth").fill_null(0).max() + 1).alias("depth"))
    )
    return (
        drafts.with_columns(normalise.measure(text), text=text, doc_id=normalise.doc_ids(text))
        .join(plan.select("request_key", row="position"), on="request_key", how="left", maintain_order="left")
        .join(depth, on="request_key", how="left", maintain_order="left")
        .with_columns(
            file=pl.lit(entry.name),
            source_id=pl.col("request_key"),
            generator=pl.lit(entry.generator),
            model=pl.coalesce("model_returned", "model"),
            origin=pl.lit("synthetic"),
        )
    )


def _endpoint(entry: Generate) -> str:
    host = (entry.base_url or entry.generator).split("://")[-1]
    return "".join(letter if letter.isalnum() or letter in ".-" else "_" for letter in host)
