"""Measure what planning a mixture costs, and how much of a sample stays when its pool grows.

    python benchmarks/mixture.py [--strata 10000] [--documents 1000000]

Strata: 50 sources × 20 domains × 10 languages, each bound by groups of its own (80 in all), a cap on deep text, targets
and repetition: processor time of each goal, first anew and then near the plan of the run before. Documents: a decided
table of them, partition by partition, is planned and chosen from, in a process of its own for its peak memory; and the
choice is made again when a tenth more is there, of a million at most.
"""

import argparse
import multiprocessing
import random
import resource
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from cuvee.flows.hands import PlainHands
from cuvee.flows.mixing import mix
from cuvee.schemas.parse import parse_recipe
from cuvee.schemas.recipe import Mixture, Recipe
from cuvee.schemas.records import Run
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
    VerdictsRef,
)
from cuvee.storage.local import LocalStore
from cuvee.storage.store import Store
from cuvee.tasks.decide.partitions import ROWS_A_PARTITION
from cuvee.tasks.mixture.programme import Plan, plan
from cuvee.tasks.mixture.selection import choose_of
from cuvee.tasks.steps import save

SOURCES, DOMAINS, LANGUAGES = 50, 20, 10


def strata(count: int) -> tuple[pl.DataFrame, Mixture]:
    """Make strata of every kind, and bounds on each source, domain and language."""
    draw = random.Random(1)
    rows: list[dict[str, Any]] = []
    for number in range(count):
        own = {number % SOURCES, SOURCES + number // SOURCES % DOMAINS, SOURCES + DOMAINS + number % 499 % LANGUAGES}
        row = {"label": f"s{number}", "amount": int(10 ** draw.uniform(3, 7)), "human": draw.random() < 0.6}
        row |= {"deep": draw.random() < 0.1, "epochs": draw.choice([1, 1, 4])}
        rows.append(row | {f"groups.{place}": place in own for place in range(SOURCES + DOMAINS + LANGUAGES)})
    groups: list[dict[str, Any]] = [{"where": {"source": f"s{n}"}, "max": 0.05} for n in range(SOURCES)]
    groups += [{"where": {"domain": f"d{n}"}, "min": 0.01, "target": 0.05} for n in range(DOMAINS)]
    groups += [{"where": {"language": f"l{n}"}, "min": 0.02, "max": 0.3} for n in range(LANGUAGES)]
    table = pl.DataFrame(rows)
    asked = {
        "human": {"min": 0.7},
        "total": int(table["amount"].sum() * 0.8),
        "groups": groups,
        "depth": {"max": 3, "share_over_1": 0.02},
    }
    return table, Mixture.model_validate({**asked, "shortage": "repeat", "max_epochs": 4})


def documents(count: int, seed: int) -> pl.DataFrame:
    """Make survivors of 20 to 2,000 words, three in five human."""
    draw = np.random.default_rng(seed)
    ids = draw.bytes(16 * count).hex()
    return pl.DataFrame(
        {
            "doc_id": pl.Series(ids[place : place + 32] for place in range(0, 32 * count, 32)),
            "provenance": pl.Series(np.where(draw.random(count) < 0.6, "human", "synthetic")),
            "depth": pl.zeros(count, pl.Int8, eager=True),
            "domain": pl.Series(draw.choice([f"d{number}" for number in range(DOMAINS)], count)),
            "words": draw.integers(20, 2000, count),
        }
    )


def recipe(words: int) -> Recipe:
    """Ask for 60:40 within a total, and for bounds on two domains."""
    total = f"human: {{min: 0.6}}, total: {words}"
    groups = "[{where: {domain: d1}, max: 0.03}, {where: {domain: [d2, d3]}, min: 0.12}]"
    return parse_recipe(
        f"corpus: c\nsources: [{{name: a, uri: a}}]\nholdout: {{share: 0}}\nmixture: {{{total}, groups: {groups}}}\n"
    )


def decided(store: Store, run: Run, count: int) -> DecidedRef:
    """Save a decided table of so many survivors, in as many partitions as a pool of them has."""
    many = 1 << max(0, (count - 1) // ROWS_A_PARTITION).bit_length()
    parts = []
    for number in range(many):
        rows = documents(count // many, number)
        first = pl.format("{}", pl.lit(f"{number:08x}"))
        rows = rows.with_columns(
            doc_id=pl.concat_str(first, pl.col("doc_id").str.slice(8)),
            shard=pl.lit(number),
            position=pl.int_range(pl.len()),
            source=pl.lit("a"),
            license=pl.lit("CC0-1.0"),
        )
        blank = {
            name: pl.lit(None, kind) for schema in _PARTS for name, kind in schema.items() if name not in rows.columns
        }
        rows = rows.with_columns(**blank)
        refs = [save(run, store, rows, schema) for schema in _PARTS]
        parts.append(
            DecidedPart(
                declared=DeclaredRef(refs[0]),
                concluded=ConcludedRef(refs[1]),
                verdicts=VerdictsRef(refs[2]),
                amounts=AmountsRef(refs[3]),
            )
        )
    return DecidedRef(partitions=tuple(parts))


def choose(folder: str, run: Run, table: DecidedRef) -> None:
    """Plan and choose, and print what it took."""
    before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024, time.process_time()
    mix(run, LocalStore(Path(folder)), table, PlainHands())
    seconds, peak = time.process_time() - began, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    count = sum(part.declared.rows for part in table.partitions)
    where = f"{count:,} documents in {len(table.partitions)} partitions"
    print(f"{where} planned and chosen: {seconds:.1f} s of CPU, {peak:,} MB at most ({before:,} before)", flush=True)


_PARTS = (DECLARED, CONCLUDED, VERDICTS, AMOUNTS)
_MOST_AT_ONCE = 1_000_000


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and print a line each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--strata", type=int, default=SOURCES * DOMAINS * LANGUAGES)
    parser.add_argument("--documents", type=int, default=1_000_000)
    asked = parser.parse_args(arguments)
    if asked.strata:
        table, mixture = strata(asked.strata)
        last: dict[str, int] = {}
        for name in ("anew", "near the last plan"):
            began = time.process_time()
            found = plan(table, mixture, 0, last)
            assert isinstance(found, Plan)
            print(f"{asked.strata:,} strata, {name}: {time.process_time() - began:.1f} s of CPU {found.seconds}")
            last = {label: amount + found.repeated[label] for label, amount in found.amounts.items()}
    if asked.documents:
        with tempfile.TemporaryDirectory() as folder:
            run = Run(
                recipe=recipe(asked.documents * 600),
                store=folder,
                folder=folder,
                run_id="benchmark",
                version=1,
                parent=0,
                day="2024-05-01",
                bands=(25, 5),
                readings={},
            )
            table = decided(LocalStore(Path(folder)), run, asked.documents)
            child = multiprocessing.get_context("spawn").Process(target=choose, args=(folder, run, table))
            child.start()
            child.join()
        rows = documents(min(asked.documents, _MOST_AT_ONCE), 1)
        bounds = recipe(int(rows["words"].sum() * 0.6))
        first = choose_of(rows, bounds, {})
        taken = first.rows.filter(split="train")["doc_id"]
        grown = choose_of(pl.concat([rows, documents(rows.height // 10, 2)]), bounds, first.strata)
        kept = grown.rows.filter(split="train")["doc_id"].is_in(taken.implode()).sum()
        print(f"a tenth more documents: {kept / len(taken):.1%} of the sample stays")


if __name__ == "__main__":
    main()
