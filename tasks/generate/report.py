"""Generation report: what each generator was asked for, what came of it, and ten drafts beside their seeds.

Diversity compares a kind's drafts with the seeds that they were made of on equally many words, because every such
figure depends on size (Shaib et al. 2024, arXiv 2403.00553): entropy of the word trigrams in bits, and the number of
distinct ones ÷ all. Null below LEAST_WORDS words on either side.
"""

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

from cuvee.schemas.recipe import Generate
from cuvee.schemas.records import Run
from cuvee.schemas.tables import DecidedRef
from cuvee.schemas.visible import markdown
from cuvee.storage.store import Store
from cuvee.tasks.generate import budget, drafting, judge
from cuvee.tasks.generate.habits import rejected
from cuvee.tasks.generate.rounds import Generated
from cuvee.tasks.generators._journal import paid
from cuvee.tasks.pool import Pool, Texts, frame_of
from cuvee.tasks.priority import priorities
from cuvee.tasks.steps import load_decided
from cuvee.tasks.words.counts import list_words

SAMPLES = 10
_READ = ("shard", "position", "doc_id", "source", "kind", "words", "verdict")
SHOWN_CHARACTERS = 1_500
MOST_WORDS = 100_000
LEAST_WORDS = 2_000


def build(
    run: Run, store: Store, pool: Pool, decided: DecidedRef, generated: Sequence[Generated]
) -> tuple[dict[str, Any], str]:
    """Return the report as a JSON tree, and as Markdown for people; the same for the same pool and recipe, but for what
    this run asked.

    decided: every current row with its verdict, drafts included.
    """
    of_entries = [
        (entry, made, _rounds(run, store, pool, entry, made))
        for entry, made in zip(run.recipe.generate, generated, strict=True)
    ]
    seed_ids = pl.concat(rounds["seed_ids"].explode().drop_nulls() for _, _, rounds in of_entries).unique()
    is_draft = pl.col("source").is_in([entry.name for entry in run.recipe.generate])
    rows = load_decided(store, decided, _READ, is_draft | pl.col("doc_id").is_in(seed_ids.implode()))
    tree: dict[str, Any] = {}
    with Texts(store, pool.shards) as texts:
        for entry, made, rounds in of_entries:
            tree[entry.name] = _entry(run, store, entry, made, rounds, rows, texts)
    return tree, "\n\n".join(["# Generation", *(_markdown(name, found) for name, found in tree.items())]) + "\n"


def _rounds(run: Run, store: Store, pool: Pool, entry: Generate, made: Generated) -> pl.DataFrame:
    rounds = drafting.rounds_of(store, pool, run, entry)
    return rounds.filter(pl.col("request_key").is_in(list(made.planned)))


def _entry(
    run: Run,
    store: Store,
    entry: Generate,
    made: Generated,
    rounds: pl.DataFrame,
    rows: pl.DataFrame,
    texts: Texts,
) -> dict[str, Any]:
    drafts = rows.filter(pl.col("source") == entry.name)
    answers, sent, received = budget.totals(paid(store, drafting.payer(run, entry)))
    shown = rounds.filter("chosen").drop_nulls("text")
    seeds = _seed_texts(rows, shown, texts)
    return {
        "model": entry.model,
        "judge_model": entry.grade.judge_model,
        "warning": made.warning,
        "planned": len(made.planned),
        "words": {"wanted": made.wanted, "expected": made.expected, "survived": _survived(drafts)},
        "kinds": {kind: _kind(kind, rounds, drafts, shown, seeds) for kind in sorted(set(rounds["kind"].drop_nulls()))},
        "rejected": rejected(drafts, made.failed),
        "unsupported": _counted(shown["unsupported"].explode().struct.field("kind")),
        "stripped": _counted(shown["stripped"].explode()),
        "windows_cut": rounds.filter((pl.col("round") == 0) & (pl.col("asked_key") != pl.col("request_key"))).height,
        "answers": answers,
        "tokens": {"sent": sent, "received": received},
        "cost_usd": budget.cost_of(entry, sent, received),
        "this_run": made.asked and made.asked.model_dump() | {"tokens_a_second": made.asked.tokens_a_second},
        "judge": _judged(rounds) if entry.grade.judge_model else None,
        "samples": _samples(shown, seeds),
    }


def _kind(
    kind: str, rounds: pl.DataFrame, drafts: pl.DataFrame, shown: pl.DataFrame, seeds: dict[str, str]
) -> dict[str, Any]:
    """Return the yield and the measures of one kind; shares and means are null where there is nothing to share."""
    asked = rounds.filter(kind=kind, round=0)
    own, current = shown.filter(kind=kind), drafts.filter(kind=kind)
    survivors = current.filter(pl.col("verdict").is_null())
    # Two drafts of one seed do not make it weigh twice.
    seed_ids = own["seed_ids"].explode().drop_nulls().unique(maintain_order=True).to_list()
    return {
        "planned": asked.height,
        "answered": current.height,
        "survived": survivors.height,
        "yield": round(survivors.height / asked.height, 6) if asked.height else None,
        "words_survived": int(survivors["words"].sum()),
        "copied": _mean(own["copied"]),
        "groundedness": _mean(own["groundedness"]),
        "facts": _mean(own["facts"]),
        "diversity": diversity(own["text"].to_list(), [seeds[seed_id] for seed_id in seed_ids if seed_id in seeds]),
    }


def diversity(drafts: Sequence[str], seeds: Sequence[str]) -> dict[str, float | int | None]:
    """Compare drafts with seeds on equally many words, from the beginning of each list."""
    sides = [
        [word[0] for word in itertools.islice(list_words(" ".join(texts).lower()), MOST_WORDS)]
        for texts in (drafts, seeds)
    ]
    words = min(map(len, sides))
    if words < LEAST_WORDS:
        return dict.fromkeys(["entropy", "entropy_of_seeds", "distinct", "distinct_of_seeds"]) | {"words": words}
    (entropy, distinct), (entropy_of_seeds, distinct_of_seeds) = (_trigrams(side[:words]) for side in sides)
    return {
        "entropy": entropy,
        "entropy_of_seeds": entropy_of_seeds,
        "distinct": distinct,
        "distinct_of_seeds": distinct_of_seeds,
        "words": words,
    }


def _trigrams(words: list[str]) -> tuple[float, float]:
    """Return the Shannon entropy of the word trigrams, bits, and the share of distinct ones."""
    ids = np.unique(np.array(words, dtype=object), return_inverse=True)[1].astype(np.int64)
    size = int(ids.max()) + 1
    # Below 2^21 distinct words three ids fit one integer; MOST_WORDS has fewer.
    counts = np.unique((ids[:-2] * size + ids[1:-1]) * size + ids[2:], return_counts=True)[1]
    shares = counts / counts.sum()
    return round(float(-(shares * np.log2(shares)).sum()), 6), round(len(counts) / (len(ids) - 2), 6)


def _counted(names: pl.Series) -> dict[str, int]:
    """Count how often each name is there, the most frequent first; nulls are none."""
    counted = names.drop_nulls().alias("name").value_counts()
    return dict(counted.sort(["count", "name"], descending=[True, False]).iter_rows())


def _judged(rounds: pl.DataFrame) -> dict[str, Any]:
    judged = rounds.filter(pl.col("judge_key").is_not_null())
    final = rounds.filter("chosen").drop_nulls("judge_key")
    later = rounds.filter(pl.col("round") > 0)
    grades = final["grade"].drop_nulls()
    return {
        "judgements": judged.height,
        "unreadable": int(judged["unreadable"].sum()),
        "marks": {mark: _mean(judged[mark]) for mark in judge.MARKS},
        "grades": {str(grade): int((grades == grade).sum()) for grade in range(1, 6)},
        "quotes": int(judged["quotes"].list.len().sum()),
        "quotes_ignored": int(judged["quotes_ignored"].sum()),
        "revised": later["request_key"].n_unique(),
        "revisions": later.height,
        "revision_chosen": int((final["round"] > 0).sum()),
    }


def _samples(shown: pl.DataFrame, seeds: dict[str, str]) -> list[dict[str, Any]]:
    """Choose drafts by a hash of their request, so that a larger run shows the same ones."""
    order = pl.Series("priority", priorities(shown["request_key"], "samples"))
    chosen = shown.with_columns(order).sort("priority").head(SAMPLES)
    return [
        {
            "kind": row["kind"],
            "request_key": row["request_key"],
            "gate": row["gate"],
            "grade": row["grade"],
            "groundedness": row["groundedness"],
            "unsupported": [row["text"][span["start"] : span["stop"]][:200] for span in row["unsupported"] or ()],
            "draft": row["text"][:SHOWN_CHARACTERS],
            "seed_ids": row["seed_ids"],
            "seed_start": row["seed_start"],
            "seed_stop": row["seed_stop"],
            "seed": _seen(row, seeds)[:SHOWN_CHARACTERS],
        }
        for row in chosen.iter_rows(named=True)
    ]


def _seen(row: dict[str, Any], seeds: dict[str, str]) -> str:
    """Return the window or brief that a draft was made of; nothing where its seed is no longer current."""
    if not row["seed_ids"]:
        return row["brief"] or ""
    return seeds.get(row["seed_ids"][0], "")[row["seed_start"] : row["seed_stop"]].strip()


def _seed_texts(rows: pl.DataFrame, shown: pl.DataFrame, texts: Texts) -> dict[str, str]:
    """Fetch seeds of the first drafts of each kind, as many as diversity and samples look at."""
    order = pl.Series("priority", priorities(shown["request_key"], "samples"))
    by_kind = shown.group_by("kind", maintain_order=True).head(500).select(shown.columns)
    some = pl.concat([by_kind, shown.sort(order).head(SAMPLES)])
    wanted = some["seed_ids"].explode().drop_nulls().unique(maintain_order=True).to_frame("doc_id")
    found = rows.unique("doc_id", keep="first", maintain_order=True).select("doc_id", "shard", "position")
    where = wanted.join(found, on="doc_id", how="inner", maintain_order="left")
    if where.is_empty():
        return {}
    table = frame_of(texts.take(where["shard"].to_numpy(), where["position"].to_numpy()))
    return dict(zip(where["doc_id"], table["text"], strict=True))


def _survived(drafts: pl.DataFrame) -> int:
    return int(drafts.filter(pl.col("verdict").is_null())["words"].sum())


def _mean(values: pl.Series) -> float | None:
    mean = values.cast(pl.Float64).mean()
    return None if mean is None else round(float(str(mean)), 6)


def _markdown(name: str, found: dict[str, Any]) -> str:
    cost = "unknown" if found["cost_usd"] is None else f"{found['cost_usd']:.4f} USD"
    words = found["words"]
    lines = [
        f"## {name}",
        f"{found['planned']:,} drafts planned, {words['survived']:,} words survived of {words['wanted']:,}",
        f"Paid for in all nights so far: {found['answers']:,} answers, cost {cost}",
        *([_this_run(found["this_run"])] if found["this_run"] else []),
        *([f"**Warning:** {markdown(found['warning'])}"] if found["warning"] else []),
        "| kind | planned | answered | survived | copied | groundedness | entropy, seeds' | distinct, seeds' |\n"
        "|---|---|---|---|---|---|---|---|\n"
        + "\n".join(
            f"| {kind} | {one['planned']} | {one['answered']} | {one['survived']} | {_told(one['copied'])} | "
            f"{_told(one['groundedness'])} | {_pair(one['diversity'], 'entropy')} | "
            f"{_pair(one['diversity'], 'distinct')} |"
            for kind, one in found["kinds"].items()
        ),
        "Rejected: " + (", ".join(f"{reason} {count}" for reason, count in found["rejected"].items()) or "nothing"),
        "Not in their seeds: "
        + (", ".join(f"{kind} {count}" for kind, count in found["unsupported"].items()) or "nothing"),
        "Taken off: " + (", ".join(f"{name} {count}" for name, count in found["stripped"].items()) or "nothing"),
    ]
    if found["windows_cut"]:
        lines.append(
            f"Shown less of their seeds than planned, for the model's context: {found['windows_cut']:,} drafts"
        )
    if found["judge"]:
        judged = found["judge"]
        lines.append(
            f"Judge {markdown(found['judge_model'])}: {judged['judgements']} judgements, "
            f"{judged['unreadable']} unreadable, grades {judged['grades']}, {judged['revised']} drafts revised, "
            f"{judged['quotes_ignored']} quotes not in the draft"
        )
    for number, sample in enumerate(found["samples"], 1):
        grade = "not graded" if sample["grade"] is None else f"grade {sample['grade']}"
        state = sample["gate"] or "passed the gates"
        lines.append(
            f"### {number}. {sample['kind']}: {state}, {grade}, groundedness {_told(sample['groundedness'])}\n\n"
            f"| seed | draft |\n|---|---|\n| {_cell(sample['seed'])} | {_cell(sample['draft'])} |"
        )
    return "\n\n".join(lines)


def _this_run(asked: dict[str, Any]) -> str:
    pace = "unknown" if asked["tokens_a_second"] is None else f"{asked['tokens_a_second']:,.0f}"
    cost = "unknown" if asked["cost_usd"] is None else f"{asked['cost_usd']:.4f} USD"
    return f"This run: {asked['requests']:,} requests in {asked['seconds']:,.0f} s, tokens a second {pace}, cost {cost}"


def _told(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _pair(found: dict[str, Any], name: str) -> str:
    return f"{_told(found[name])}, {_told(found[f'{name}_of_seeds'])}"


def _cell(text: str) -> str:
    """Put a text into one cell of a table."""
    return "<br>".join(map(markdown, text.split("\n")))
