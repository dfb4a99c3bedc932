"""Drafting: carry out a round's requests, grade the answers, and write what came of them.

Output: shards like those of ingest, with the generator's name as source, the request key as source_id, and lineage:
kind, depth (1 + the largest depth of the seeds), seed_ids, grade, groundedness, gate. Drafts are normalised and masked
as any text; rejected ones are rows too, with their reason in `gate`.
Beside them one table of all rounds, the rejected and the failed ones too: LINEAGE_SCHEMA; seed_start, seed_stop:
what the draft was shown of its seed, characters.
"""

from collections.abc import Iterator
from functools import partial

import polars as pl

from cuvee.schemas.licenses import UNKNOWN
from cuvee.schemas.recipe import Generate
from cuvee.schemas.records import DraftRecord, DraftReport, Run
from cuvee.storage.corpus import pool_folder, write_record
from cuvee.storage.store import Store
from cuvee.storage.tables import write_table
from cuvee.tasks import generators
from cuvee.tasks.generate import grade, judge
from cuvee.tasks.generate.seeds import Seeds
from cuvee.tasks.generators._ask import desk, folder_of
from cuvee.tasks.generators._journal import Journal, journal_of
from cuvee.tasks.generators._purse import Purse
from cuvee.tasks.generators._tally import Tally, Telling
from cuvee.tasks.ingest import normalise
from cuvee.tasks.ingest.mask import mask
from cuvee.tasks.ingest.reading import MB, draft_shards
from cuvee.tasks.pool import Pool, read_declared
from cuvee.tasks.steps import progress

STEP = "generate"
# Drafts and their seeds held at once while they are measured: about 10 MB of text.
BATCH = 1_000

LINEAGE_SCHEMA = pl.Schema(
    {
        **judge.ROUND_SCHEMA,
        "generator": pl.String(),
        "kind": pl.String(),
        "model": pl.String(),
        "endpoint": pl.String(),
        "prompt_id": pl.String(),
        "prompt_hash": pl.String(),
        "sampling": pl.String(),
        "judge_model": pl.String(),
        "words_expected": pl.Int64(),
        "prompt_words": pl.Int64(),
        "seed_ids": pl.List(pl.String()),
        "seed_start": pl.Int64(),
        "seed_stop": pl.Int64(),
        "seed_licenses": pl.List(pl.String()),
        "brief": pl.String(),
        "depth": pl.Int64(),
    }
)


def payer(run: Run, entry: Generate) -> str:
    """Name who pays for an entry's answers: the entry in its corpus, whatever else of the recipe changes."""
    return f"{run.corpus}/{entry.name}"


def draft(
    run: Run,
    store: Store,
    pool: Pool,
    entry: Generate,
    table: pl.DataFrame,
    plan: pl.DataFrame,
    key: str,
    tally: Tally,
    purse: Purse | None,
) -> tuple[DraftRecord, dict[str, str]]:
    """Carry out a plan; return the record of its shards and rounds, and the requests that failed, with reasons.

    table: the seeds, as `generate.choose_seeds` gives them. A record with failures that may pass is not kept as done.
    tally: counts what is asked, also where this raises; purse: what asking may cost, null for no bound.
    """
    paid_by = payer(run, entry)
    with Seeds(store, pool, table) as seeds, journal_of(store, folder_of(entry), paid_by, tally.count) as journal:
        told = Telling(partial(progress, f"generate {entry.name}"), tally)
        drafts = generators.find(entry.generator).run(entry, table, plan, seeds.fetch, journal, told, purse)
        failed = dict(drafts.failures.select("request_key", "reason").iter_rows())
        of_plan = plan.drop(set(drafts.rows.columns) - {"request_key"}, strict=False)
        asked = of_plan.join(drafts.rows, on="request_key", how="inner").sort("position")
        rounds, later = _graded(run, entry, seeds, asked, journal, tally, purse)
    failed |= later
    frame = _shape(entry, asked.filter(~pl.col("request_key").is_in(list(later))), rounds, table)
    folder = pool_folder(run.corpus, STEP)
    shards = draft_shards(store, folder, frame, run.recipe.ingest.shard_mb * MB)
    sidecar = write_table(store, folder, _lineage(entry, plan, asked, rounds, failed, table).to_arrow())
    reading = run.readings[entry.name]
    report = DraftReport(source=entry.name, reading=reading, shards=len(shards), failed=failed)
    record = DraftRecord(key=key, files=(*shards, sidecar), report=report)
    if drafts.failures["permanent"].all() and not later:  # else the next run asks again
        write_record(store, record)
    return record, failed


def rounds_of(store: Store, pool: Pool, run: Run, entry: Generate) -> pl.DataFrame:
    """Return all rounds of an entry that the pool has as the recipe reads them, LINEAGE_SCHEMA; of a request that
    failed and was asked again the latest.
    """
    reading = run.readings[entry.name]
    own = [r for r in pool.drafted if (r.report.source, r.report.reading) == (entry.name, reading)]
    lineage = [file for record in own for file in record.beside]
    rounds = read_declared(store, lineage, LINEAGE_SCHEMA, ["request_key"]).with_row_index("age")
    latest = rounds.sort(pl.col("text").is_not_null(), "age", descending=True)
    return latest.unique(["request_key", "round"], keep="first", maintain_order=True).sort("age").drop("age")


def carried_out(store: Store, pool: Pool, entry: Generate) -> set[str]:
    """Return the request keys of all rounds of an entry that are in the pool, however their drafts were graded."""
    records = [record for record in pool.drafted if record.report.source == entry.name]
    lineage = [file for record in records for file in record.beside]
    return set(read_declared(store, lineage, LINEAGE_SCHEMA, ["request_key"])["request_key"])


def _graded(
    run: Run,
    entry: Generate,
    seeds: Seeds,
    asked: pl.DataFrame,
    journal: Journal,
    tally: Tally,
    purse: Purse | None,
) -> tuple[pl.DataFrame, dict[str, str]]:
    """Pass the answers through gates and judge; return all rounds, and drafts that must wait for another run."""
    gate = partial(_gate, run, entry, seeds)
    drafts = asked.drop("text").hstack(gate(asked))
    if not entry.grade.judge_model:
        return judge.choose(judge.first(drafts)), {}
    told = Telling(partial(progress, f"grade {entry.name}"), tally)
    rounds, faults = judge.assess(entry, desk(entry, journal, purse=purse), seeds.fetch, drafts, gate, told)
    return rounds, {fault.request_key: fault.reason for fault in faults}


def _gate(run: Run, entry: Generate, seeds: Seeds, rows: pl.DataFrame) -> pl.DataFrame:
    """Clean answers as any text, measure them, and name what they are rejected for: text, gate and grade.MEASURES."""
    labels = seeds.table.select("doc_id", seed_language="language")
    parts = [pl.DataFrame(schema={"text": pl.String, "gate": pl.String, **grade.MEASURES})]
    for batch in rows.iter_slices(BATCH):
        text, _ = mask(normalise.normalise(batch["text"].fill_null(""))["text"], run.recipe.ingest.mask)
        clean = batch.select(
            "words_expected",
            "brief",
            "seed_ids",
            "seed_start",
            "seed_stop",
            doc_id=pl.col("seed_ids").list.first(),
        ).with_columns(normalise.measure(text), text=text)
        clean = clean.join(labels, on="doc_id", how="left", maintain_order="left")
        parts.append(_measured(entry, seeds, clean).with_columns(_null_where(batch["text"].is_null())))
    return pl.concat(parts)


def _measured(entry: Generate, seeds: Seeds, clean: pl.DataFrame) -> pl.DataFrame:
    if not generators.find(entry.generator).GRADED:
        absent = [pl.lit(None, kind).alias(name) for name, kind in {"gate": pl.String(), **grade.MEASURES}.items()]
        return clean.select("text", *absent).with_columns(clean["words"])
    seed = pl.Series("seed", _shown(entry, clean, seeds), dtype=pl.String)
    seen = clean.with_columns(pl.when(pl.col("brief").is_null()).then(seed).alias("seed"))
    measures = grade.measure(seen)
    reason = measures.with_columns(seed_language=clean["seed_language"]).select(gate=grade.gate(entry.gates))
    return clean.select("text").hstack(reason).hstack(measures)


def _shown(entry: Generate, rows: pl.DataFrame, seeds: Seeds) -> pl.Series | list[str]:
    """Return what each draft was made of: what its request showed of its seed, or the whole of that; null for none."""
    generator = generators.find(entry.generator)
    if isinstance(generator, generators.Asking):
        return generator.shown(rows, seeds.fetch)
    found = seeds.fetch(rows["doc_id"].drop_nulls().unique().to_list())
    return rows.join(found.select("doc_id", seed="text"), on="doc_id", how="left", maintain_order="left")["seed"]


def _null_where(absent: pl.Series) -> Iterator[pl.Expr]:
    """Leave nothing of rows that have no text."""
    for name in ("text", "gate", *grade.MEASURES):
        yield pl.when(~absent).then(pl.col(name)).alias(name)


def _shape(entry: Generate, drafts: pl.DataFrame, rounds: pl.DataFrame, seeds: pl.DataFrame) -> pl.DataFrame:
    """Give the best round of each draft the columns of a shard."""
    best = rounds.filter("chosen").select("request_key", "text", "gate", "model_returned", "grade", "groundedness")
    rows = drafts.drop("text", "model_returned").join(best, on="request_key", how="inner", maintain_order="left")
    low = pl.col("grade") < (entry.grade.min_score or 0)
    # Its judgement could not be read, or the budget did not pay for one.
    unread = pl.col("grade").is_null() & pl.lit(entry.grade.judge_model is not None and entry.gates.ungraded == "drop")
    gate = pl.coalesce("gate", pl.when(low).then(pl.lit("low_grade")), pl.when(unread).then(pl.lit("ungraded")))
    return (
        rows.with_columns(normalise.measure(rows["text"]), doc_id=normalise.doc_ids(rows["text"]), gate=gate)
        .join(_depths(rows, seeds), on="request_key", how="left", maintain_order="left")
        .with_columns(
            row=pl.col("position"),
            file=pl.lit(entry.name),
            source_id=pl.col("request_key"),
            generator=pl.lit(entry.generator),
            model=pl.coalesce("model_returned", "model"),
            origin=pl.lit("synthetic"),
        )
    )


def _depths(rows: pl.DataFrame, seeds: pl.DataFrame) -> pl.DataFrame:
    """Return request_key and depth: 1 + the largest depth of the seeds, 1 where there is none."""
    return (
        rows.select("request_key", doc_id="seed_ids")
        .explode("doc_id")
        .join(seeds.select("doc_id", "depth"), on="doc_id", how="left")
        .group_by("request_key")
        .agg((pl.col("depth").fill_null(0).max() + 1).alias("depth"))
    )


def _lineage(
    entry: Generate,
    plan: pl.DataFrame,
    asked: pl.DataFrame,
    rounds: pl.DataFrame,
    failed: dict[str, str],
    seeds: pl.DataFrame,
) -> pl.DataFrame:
    """Put beside every round what its draft came from, with the requests that failed, in plan order."""
    unanswered = [key for key in plan["request_key"] if key in failed and key not in set(rounds["request_key"])]
    nothing = judge.first(
        pl.DataFrame(
            {"request_key": unanswered, "reason": [failed[key] for key in unanswered]},
            schema={"request_key": pl.String, "reason": pl.String},
        )
    )
    from_seeds = (
        plan.select("request_key", doc_id="seed_ids")
        .explode("doc_id")
        .join(seeds.select("doc_id", "license", "chars"), on="doc_id", how="left", maintain_order="left")
        .group_by("request_key", maintain_order=True)
        .agg(pl.col("chars").first(), seed_licenses=pl.col("license").fill_null(UNKNOWN))
    )
    whole = pl.when(pl.col("seed_start").is_null() & pl.col("brief").is_null())
    as_asked = ("sampling", "words_expected", "prompt_words", "seed_start", "seed_stop")
    plan = plan.update(asked.select("request_key", *as_asked), on="request_key", how="left")
    of_plan = ("position", "kind", "prompt_id", "prompt_hash", "sampling", "words_expected", "prompt_words")
    shared = (
        plan.select("request_key", *of_plan, "seed_ids", "seed_start", "seed_stop", "brief")
        .join(from_seeds, on="request_key", how="left")
        .with_columns(whole.then(0).otherwise("seed_start").alias("seed_start"), pl.coalesce("seed_stop", "chars"))
        .join(_depths(plan, seeds), on="request_key", how="left")
        .join(asked.select("request_key", "model", "endpoint"), on="request_key", how="left")
        .with_columns(generator=pl.lit(entry.name), judge_model=pl.lit(entry.grade.judge_model, pl.String))
    )
    return (
        pl.concat([rounds, nothing])
        .join(shared, on="request_key", how="inner")
        .sort("position", "round")
        .select(list(LINEAGE_SCHEMA))
        .cast(LINEAGE_SCHEMA)
    )
