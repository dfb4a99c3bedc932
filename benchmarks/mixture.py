"""Measure what planning a mixture costs, and how much of a sample stays when its pool grows.

    python benchmarks/mixture.py [--strata 10000] [--documents 1000000]

Strata: 50 sources × 20 domains × 10 languages, each bound by groups of its own (80 in all), a cap on deep text, targets
and repetition: processor time of each goal, first anew and then near the plan of the run before. Documents: a pool of
them is planned and chosen from, with its peak memory, and again when a tenth more is there.
"""

import argparse
import random
import resource
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

from cuvee.schemas.parse import parse_recipe
from cuvee.schemas.recipe import Mixture, Recipe
from cuvee.tasks.mixture.programme import Plan, plan
from cuvee.tasks.mixture.selection import choose_of

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
    ids = draw.integers(0, 2**63, (2, count), dtype=np.uint64)
    return pl.DataFrame(
        {
            "doc_id": pl.DataFrame({"a": ids[0], "b": ids[1]}).select(
                pl.concat_str(*(pl.format("{}", name).str.zfill(20).str.slice(4) for name in "ab"))
            )["a"],
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
        rows = documents(asked.documents, 1)
        bounds = recipe(int(rows["words"].sum() * 0.6))
        before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024, time.process_time()
        first = choose_of(rows, bounds, {})
        seconds, peak = time.process_time() - began, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        print(f"{rows.height:,} documents chosen: {seconds:.1f} s of CPU, {peak:,} MB at most ({before:,} before)")
        taken = first.rows.filter(split="train")["doc_id"]
        grown = choose_of(pl.concat([rows, documents(asked.documents // 10, 2)]), bounds, first.strata)
        kept = grown.rows.filter(split="train")["doc_id"].is_in(taken.implode()).sum()
        print(f"a tenth more documents: {kept / len(taken):.1%} of the sample stays")


if __name__ == "__main__":
    main()
