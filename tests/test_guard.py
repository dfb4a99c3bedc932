"""Guard: what each metric measures and finds, with its borders, and what a gate, a version and a name make of it.

A test that names a module of the guard and takes no argument judges its mutants too (test_guard_mutations.py).
"""

import json
import math
import random
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import plain
import polars as pl
import pyarrow as pa
import pytest
from texts import documents, write_jsonl

import cuvee
from cuvee.schemas.document import SHARD
from cuvee.schemas.errors import GateError, RecipeError
from cuvee.schemas.parse import parse_recipe
from cuvee.schemas.records import (
    DraftRecord,
    DraftReport,
    Estimate,
    IngestRecord,
    IngestReport,
    MostCopies,
    PairsRecord,
    PairsReport,
    PairsWork,
    PoolEntry,
    Run,
)
from cuvee.schemas.report import Figures, Finding, RunReport
from cuvee.schemas.tables import CONCLUDED, DECLARED, PLANNED, VERDICTS, DecidedRef, PlannedRef
from cuvee.storage.memory import MemoryStore
from cuvee.storage.store import Store
from cuvee.storage.tables import write_table
from cuvee.tasks import guard
from cuvee.tasks.guard import (
    ceiling,
    compared,
    copies_of_human,
    diversity,
    duplicates,
    generation,
    losses,
    provenance,
    units,
)
from cuvee.tasks.pool import Pool
from cuvee.tasks.provenance import prevalence
from cuvee.tasks.provenance.sources import SourceFigures

ROWS = pl.Schema({**DECLARED, **CONCLUDED, **VERDICTS})
TRAINED = pl.Schema(
    {**PLANNED, **{name: ROWS[name] for name in ("source", "doc_id", "origin", "provenance", "language")}}
)


def candidate(
    rows: Sequence[dict[str, Any]] = (),
    trained: Sequence[dict[str, Any]] = (),
    pool: Pool | None = None,
    store: MemoryStore | None = None,
    recipe: str = "",
    published: Mapping[str, int] | None = None,
) -> guard.Candidate:
    """A candidate of version 2 of a few rows, of which only what a metric looks at is told."""
    run = Run(
        recipe=parse_recipe(f"corpus: c\nsources: [{{name: a, uri: a.jsonl}}]\n{recipe}"),
        store="memory://guard",
        folder="",
        run_id="guard",
        version=2,
        parent=1,
        day="2026-01-01",
        bands=(25, 5),
        readings={},
    )
    told, chosen = pl.DataFrame(list(rows), ROWS), pl.DataFrame(list(trained), {**TRAINED, "words": pl.Int64})
    # Partitions: the copies of a document lie in one.
    number = pl.int_range(pl.len(), dtype=pl.UInt64)
    dealt = told.select(pl.when(pl.col("doc_id").is_null()).then(number).otherwise(pl.col("doc_id").hash()) % 2)

    def parts(columns: Sequence[str]) -> Iterator[pl.DataFrame]:
        return (told.filter(dealt.to_series() == part).select(columns) for part in (0, 1))

    return guard.Candidate(run, store or MemoryStore(), pool or Pool(entries=()), parts, chosen, published or {})


# ---- units


def test_words_of_scripts_with_and_without_spaces_are_no_common_measure() -> None:
    def found(spaced: int, spaceless: int, unit: str = "words") -> Sequence[Finding]:
        trained = [{"language": "en", "words": spaced - 1}, {"language": None, "words": 1}]
        without = ["gan", "ja", "km", "lo", "my", "th", "wuu", "yue", "zh"]
        trained += [{"language": language, "words": spaceless - 8 if language == "zh" else 1} for language in without]
        tried = candidate((), trained, recipe=f"mixture: {{unit: {unit}}}")
        assert units.figures(tried) == units.Units(spaced=spaced, spaceless=spaceless)
        return units.findings(tried, units.figures(tried))

    assert not found(9901, 100)
    assert not found(100, 9901)
    assert not found(50, 50, "bytes")
    assert not units.findings(candidate(), units.Units(spaced=0, spaceless=0))
    assert found(1000, 9000)
    (finding,) = found(9900, 100)
    assert finding == Finding(
        kind="unit",
        subject="mixture",
        message="the mixture is in words and holds languages with spaces between words (9,900 words) and without (100, "
        "where each letter is one): these are not alike, and a share of words is not one of what a model reads; set "
        "mixture.unit to tokens, and mixture.tokenizer",
        figures={"spaced": 9900, "spaceless": 100},
    )


# ---- duplicates


def test_a_source_loses_every_kind_of_copy_and_nothing_else() -> None:
    ended = ["duplicate_exact", "duplicate_near", "copy_of_human", "length.min_words", None, None, None]
    rows = [{"source": "b", "verdict": verdict} for verdict in ended] + [{"source": "a"}, {"source": "a"}]
    found = duplicates.figures(candidate(rows))
    assert list(found.sources.items()) == [
        ("a", duplicates.Losses(rows=2, share=0.0)),
        ("b", duplicates.Losses(rows=7, share=0.428571)),
    ]
    exact = [{"source": "a", "verdict": verdict} for verdict in ["duplicate_exact", "duplicate_near"]]
    assert duplicates.figures(candidate(exact)).sources["a"].share == 1


def test_a_source_is_named_from_20_rows_on_when_it_lost_more_than_three_tenths() -> None:
    def named(rows: int, share: float) -> Sequence[Finding]:
        losses = {"a": duplicates.Losses(rows=rows, share=share)}
        return duplicates.findings(candidate(), duplicates.Duplicates(sources=losses))

    assert not named(1000, 0.3)
    assert not named(19, 0.9)
    (finding,) = named(20, 0.300001)
    assert finding == Finding(
        kind="duplicates",
        subject="a",
        message="source a lost 30% of its 20 rows to duplicates; look at a few of the pairs (cuvee explain), or raise "
        "dedup.threshold",
        figures={"share": 0.300001, "rows": 20},
    )


# ---- losses


def lost(module: ModuleType, rows: Sequence[dict[str, Any]], published: Mapping[str, int]) -> Sequence[Finding]:
    tried = candidate(rows, published=published)
    found: Sequence[Finding] = module.findings(tried, module.figures(tried))
    return found


def ended(*verdicts: str | None) -> list[dict[str, Any]]:
    return [{"source": "a", "verdict": verdict} for verdict in verdicts]


def test_a_source_that_publishes_nothing_is_named_with_where_its_rows_ended() -> None:
    (finding,) = lost(losses, ended("language", "language", "empty", None), {"b": 3})
    assert (finding.kind, finding.subject, finding.note) == ("nothing_published", "a", False)
    assert finding.message == (
        "source a publishes none of its 4 readable rows: 2 dropped by language, 1 dropped by empty, 1 pooled, since "
        "the mixture had no room; look at some: cuvee texts c --source a --reason language"
    )
    assert finding.figures == {"rows": 4, "published": 0}
    (empty,) = lost(losses, [], {})
    assert empty.message == "source a publishes none of its 0 readable rows"
    (pooled,) = lost(losses, ended(None), {})
    assert pooled.message.endswith("the mixture had no room; look at some: cuvee texts c --source a")
    (even,) = lost(losses, ended("language", "empty"), {})
    assert "1 dropped by empty, 1 dropped by language" in even.message


def test_a_source_is_named_above_six_tenths_lost_to_one_reason() -> None:
    assert not lost(losses, ended("language", "language", "language", None, None), {"a": 2})
    assert not lost(losses, ended("language", "language", "empty", "empty", None), {"a": 1})
    assert lost(losses, ended(*["language"] * 13, *[None] * 7), {"a": 7})
    (finding,) = lost(losses, ended("language", "language", None), {"a": 1})
    assert finding.kind == "lost_to_one_reason"
    assert finding.message == (
        "source a loses 2 of its 3 readable rows (67%) to language; look at some: cuvee texts c --source a "
        "--reason language"
    )


def test_what_newer_editions_replace_and_what_duplicates_tells_is_no_loss() -> None:
    assert not lost(losses, ended(*["superseded"] * 9, *["vanished"] * 9, None), {"a": 1})
    assert not lost(losses, ended(*["duplicate_near"] * 19, None), {"a": 1})
    assert lost(losses, ended(*["duplicate_near"] * 18, None), {"a": 1})


# ---- generation


def test_the_habits_of_generators_that_ask_an_endpoint_are_measured_and_told() -> None:
    place = MemoryStore()
    entry = "{name: g, generator: openai, base_url: 'http://127.0.0.1:9/v1', model: m}"
    baseline = "{name: n, generator: ngram, allow_baseline: true}"
    drafts = [{"source": "g", "verdict": "refusal"}, {"source": "g"}, {"source": "a"}, {"source": "n"}]
    begun = candidate(drafts, store=place, recipe=f"generate: [{entry}, {baseline}]\nmixture: {{human: {{min: 0.5}}}}")
    begun = begun._replace(run=begun.run.model_copy(update={"readings": {"g": "r", "n": "r"}}))
    rounds = pl.DataFrame(
        {"request_key": ["a", "b"], "round": [0, 0], "text": ["One.", "Two."], "model_returned": ["m1", "m2"]}
    )
    sidecar = write_table(place, "pool", rounds.to_arrow())
    report = DraftReport(source="g", reading="r", shards=0, failed={})
    record = DraftRecord(key="0" * 64, files=(sidecar,), report=report)
    begun = begun._replace(pool=Pool(entries=(PoolEntry(accepted=1, record=record),)))
    found = generation.figures(begun)
    assert list(found.generators) == ["g"]
    assert found.generators["g"].models == ("m1", "m2")
    assert (found.generators["g"].survived, found.generators["g"].rejected) == (1, {"refusal": 1})
    (told,) = generation.findings(begun, found)
    assert (told.kind, told.subject, told.figures) == ("generation_model_changed", "g", {"models": 2})
    assert told.message.startswith("generator g: the endpoint's answers name 2 models (m1, m2) for one model;")


# ---- copies of human text


def test_human_text_that_is_too_large_for_the_ceiling_is_told() -> None:
    rows = [
        {"doc_id": f"{number:032x}", "provenance": provenance, "verdict": verdict}
        for number, (provenance, verdict) in enumerate(
            [("human", None), ("human", None), ("human", "c4.x"), ("unknown", None), ("synthetic", None)]
        )
    ]
    recipe = "mixture: {human: {max: 0.3}}\nholdout: {share: 0}\nprovenance: {unknown_as: synthetic}"
    told = ceiling.figures(candidate(rows, [{"provenance": "synthetic"}, {"provenance": "human"}], recipe=recipe))
    assert told == ceiling.Ceiling(there=2, trained=1)
    # What is held out, by hash, is no text that could be trained on.
    many = [{"doc_id": f"{number * 7919:016x}" * 2, "provenance": "human"} for number in range(40)]
    assert 0 < ceiling.figures(candidate(many, recipe="holdout: {share: 0.5}")).there < 40
    here = candidate(recipe=recipe)
    assert ceiling.findings(here, told) == []
    assert ceiling.findings(here, ceiling.Ceiling(there=0, trained=0)) == []
    assert ceiling.findings(candidate(recipe="mixture: {human: {max: 0}}"), ceiling.Ceiling(there=1, trained=0)) == []
    message = (
        "no human text is trained on: each human document is larger than the bounds leave room for (mixture.human.max "
        "0.3); add smaller ones or more synthetic text, or widen the bounds"
    )
    assert ceiling.findings(here, ceiling.Ceiling(there=1, trained=0)) == [
        Finding(kind="no_human_text", subject="mixture", message=message, figures={"documents": 1})
    ]


def test_copies_of_human_text_are_counted_of_synthetic_rows_and_told_from_copies_of_seeds() -> None:
    copy = {"origin": "synthetic", "source": "g", "verdict": "copy_of_human", "keeper": "x"}
    rows = [
        {**copy, "seed_ids": ["w", "x"]},
        {**copy, "seed_ids": ["w"]},
        {**copy, "seed_ids": None},
        {**copy, "keeper": None, "seed_ids": ["x"]},
        {**copy, "verdict": "duplicate_near", "seed_ids": ["x"]},
        {**copy, "verdict": None, "seed_ids": ["x"]},
        {**copy, "source": "f", "verdict": None},
        {**copy, "source": "h", "origin": "human"},
        {**copy, "source": "u", "origin": "unknown"},
    ]
    found = copies_of_human.figures(candidate(rows))
    assert list(found.sources.items()) == [
        ("f", copies_of_human.Copies(rows=1, copies=0, of_seeds=0)),
        ("g", copies_of_human.Copies(rows=6, copies=4, of_seeds=1)),
    ]


def test_a_generator_is_named_when_more_than_one_in_a_hundred_copies_human_text() -> None:
    def named(rows: int, copies: int) -> Sequence[Finding]:
        sources = {"g": copies_of_human.Copies(rows=rows, copies=copies, of_seeds=7)}
        return copies_of_human.findings(candidate(), copies_of_human.CopiesOfHuman(sources=sources))

    assert not named(1000, 10)
    assert named(1, 1)
    (finding,) = named(1000, 11)
    assert finding == Finding(
        kind="copies_of_human",
        subject="g",
        message="source g: 11 of 1000 documents are copies or near-copies of human text, 7 of them of their own seeds; "
        "they were dropped; raise the temperature, ask for another kind, or use another model",
        figures={"documents": 1000, "copies": 11, "of_seeds": 7},
    )


# ---- what comparing took


def worked(version: int = 2, anew: str | None = None, copies: int = 0) -> Pool:
    """A pool whose pairs were found by the run of a version."""
    work = PairsWork(
        version=version,
        anew=anew,
        documents=4321,
        candidates=77,
        pairs=1234,
        large_buckets=0,
        largest_bucket=0,
        most_copies=MostCopies(text_key=2**64 - 5, copies=copies),
        estimate=Estimate(memory_mb=1, disk_mb=1, read_mb=1),
    )
    report = PairsReport(signed=(), floor=0.8, options=(5, 128, 1, (25, 5)), work=work)
    return Pool(entries=()).with_pairs(PairsRecord(step="pairs", key="k", report=report))


def test_what_comparing_took_is_told_of_the_run_that_compared() -> None:
    pool = worked(version=2)
    assert compared.figures(candidate(pool=pool)) == compared.Compared(work=pool.known_pairs.report.work)
    assert compared.figures(candidate(pool=worked(version=1))) == compared.Compared(work=None)
    assert compared.findings(candidate(), compared.Compared(work=None)) == []


def test_a_comparison_of_all_texts_anew_is_a_note_with_its_reason() -> None:
    def noted(pool: Pool) -> Sequence[Finding]:
        return compared.findings(candidate(), compared.Compared(work=pool.known_pairs.report.work))

    assert noted(worked()) == []
    (finding,) = noted(worked(anew="dedup.seed changed from 1 to 2"))
    assert finding == Finding(
        kind="compared_anew",
        subject="dedup",
        message="all 4,321 texts of the pool were compared anew: dedup.seed changed from 1 to 2; the next run compares "
        "only what is new",
        figures={"documents": 4321, "candidates": 77},
        note=True,
    )


def test_a_text_with_two_thousand_near_copies_is_a_note_that_names_one_of_its_rows() -> None:
    rows = [
        {"text_key": 1, "doc_id": "0", "source": "a"},
        {"text_key": 2**64 - 5, "doc_id": "7", "source": "b"},
        {"text_key": 2**64 - 5, "doc_id": "3", "source": "a"},
    ]

    def noted(copies: int) -> Sequence[Finding]:
        work = worked(copies=copies).known_pairs.report.work
        return compared.findings(candidate(rows), compared.Compared(work=work))

    assert noted(1999) == []
    (finding,) = noted(2000)
    assert finding == Finding(
        kind="many_near_copies",
        subject="dedup",
        message="one text (3 of source a) has 2,000 near copies that are near copies of each other: comparing them and "
        "keeping their pairs (1,234 in this run) grows with the square of their number; keep such forms out at the "
        "source",
        figures={"copies": 2000, "pairs": 1234},
        note=True,
    )


# ---- diversity


def entropy_of(words: Sequence[str]) -> float:
    """The definition: bits a trigram."""
    counts = Counter(zip(words, words[1:], words[2:], strict=False))
    shares = [count / counts.total() for count in counts.values()]
    return -math.fsum(share * math.log2(share) for share in shares)


def written(texts: Sequence[str], **columns: Any) -> guard.Candidate:
    """A candidate that trains on texts in their order, which is not that of the shard."""
    store, backwards = MemoryStore(), len(texts) - 1
    table = pa.table({"text": pa.array(texts[::-1], SHARD.field("text").type)})
    report = IngestReport(source="a", reading="r", shards=1, files=(), masked={}, faults=())
    record = IngestRecord(key="k", files=(write_table(store, "shards", table),), report=report)
    told = {"source": "a", "origin": "human", "provenance": "human", **columns}
    rows = [
        {name: value[place] if isinstance(value, list) else value for name, value in told.items()}
        | {"shard": 0, "position": backwards - place, "words": len(text.split())}
        for place, text in enumerate(texts)
    ]
    return candidate(trained=rows, pool=Pool(entries=(PoolEntry(accepted=1, record=record),)), store=store)


def prose(words: int, seed: int = 0, vocabulary: int = 9) -> list[str]:
    draw = random.Random(seed)
    return [f"w{draw.randrange(vocabulary)}" for _ in range(words)]


def test_trigram_entropy_is_that_of_its_definition() -> None:
    def entropy(words: Sequence[str]) -> float:
        numbers = {word: 2**64 - 1 - hash_of for hash_of, word in enumerate(dict.fromkeys(words))}
        return diversity.trigram_entropy(np.array([numbers[word] for word in words], np.uint64))

    assert entropy(["a"] * 9) == 0
    assert entropy([f"w{number}" for number in range(10)]) == 3
    assert entropy(["a", "b", "c"] * 3 + ["a", "b"]) == 1.584963
    for seed in range(20):
        words = prose(40, seed, vocabulary=2 + seed % 4)
        assert entropy(words) == pytest.approx(entropy_of(words), abs=6e-7)


def test_equal_blocks_are_cut_in_sampling_order_and_only_as_many_as_a_reference_needs() -> None:
    words = prose(123)
    texts = [" ".join(words[start : start + 7]) for start in range(0, 123, 7)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(diversity, "BLOCK_WORDS", 10)
        for most, blocks in [(3, 3), (12, 12), (20, 12)]:
            patch.setattr(diversity, "REFERENCE_BLOCKS", most)
            entropies = [round(entropy_of(words[start : start + 10]), 6) for start in range(0, 10 * blocks, 10)]
            human = diversity.figures(written(texts)).human
            assert human == diversity.Group(
                documents=18,
                mean_words=6.8,
                blocks=blocks,
                entropy_mean=round(math.fsum(entropies) / blocks, 6),
                entropy_lowest=min(entropies),
            )


def test_words_that_are_none_to_compare_do_not_leave_blocks_empty() -> None:
    words = prose(90)
    texts = ["| " + " | ".join(words[start : start + 9]) + " |" for start in range(0, 90, 9)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(diversity, "BLOCK_WORDS", 10)
        patch.setattr(diversity, "REFERENCE_BLOCKS", 8)
        human = diversity.figures(written(texts)).human
    entropies = [round(entropy_of(words[start : start + 10]), 6) for start in range(0, 80, 10)]
    assert human is not None
    assert (human.blocks, human.entropy_lowest) == (8, min(entropies))
    assert human.entropy_mean == round(math.fsum(entropies) / 8, 6)


def test_human_text_is_one_group_whatever_sources_and_generators_are_called() -> None:
    told = [
        ("human", "synthetic", "synthetic"),
        ("a", "human", "human"),
        ("human", "synthetic", "unknown"),
        ("other", "synthetic", "synthetic"),
        ("b", "unknown", "human"),
        ("a", "human", "synthetic"),
        ("b", "unknown", "unknown"),
        ("stamped", "synthetic", "human"),
    ]
    source, origin, evidence = (list(column) for column in zip(*told, strict=True))
    texts = [" ".join(prose(2 + place, place)) for place in range(len(told))]
    found = diversity.figures(written(texts, source=source, origin=origin, provenance=evidence))
    assert found.human is not None
    assert (found.human.documents, found.human.mean_words) == (3, 6.0)
    assert [(name, group.documents, group.mean_words) for name, group in found.sources.items()] == [
        ("human", 2, 3.0),
        ("other", 1, 5.0),
    ]
    machines = diversity.figures(written(["x y"], source="human", origin="synthetic", provenance="synthetic"))
    assert machines.human is None
    assert list(machines.sources) == ["human"]


def test_text_below_all_twenty_blocks_is_named_and_text_at_the_lowest_is_not() -> None:
    def named(own: float | None, human: tuple[int, float | None] | None) -> Sequence[Finding]:
        def group(blocks: int, mean: float | None, lowest: float | None) -> Any:
            return diversity.Group(documents=9, mean_words=1.0, blocks=blocks, entropy_mean=mean, entropy_lowest=lowest)

        people = group(human[0], 12.0, human[1]) if human else None
        sources = {"g": group(1, own, own)}
        return diversity.findings(candidate(), diversity.Diversity(human=people, sources=sources))

    assert not named(9.5, (20, 9.5))
    assert named(9.499999, (20, 9.5)) == [
        Finding(
            kind="low_entropy",
            subject="g",
            message="source g: trigram entropy 9.50 bits, below all 20 blocks of human text (lowest 9.50); it repeats "
            "itself: raise the temperature, use more seeds",
            figures={"entropy_mean": 9.499999, "human_lowest": 9.5},
        )
    ]
    for own, human in [(8.0, (19, 9.5)), (None, (20, 9.5)), (8.0, None), (10.0, None)]:
        assert named(own, human) == [
            Finding(
                kind="not_judged",
                subject="g",
                message="source g: its diversity was not judged; that takes 10,000 words of it, and 200,000 words of "
                "human text to compare with",
                figures={"entropy_mean": own, "human_lowest": 9.5 if human == (20, 9.5) else None},
                note=True,
            )
        ]


def test_a_block_has_ten_thousand_words_and_a_reference_twenty_blocks() -> None:
    def blocks(words: int) -> tuple[int, float | None, float | None]:
        group = diversity.figures(written([" ".join(prose(words))])).human
        assert group is not None
        return group.blocks, group.entropy_mean, group.entropy_lowest

    assert blocks(9_999) == (0, None, None)
    assert blocks(10_000)[0] == 1
    assert blocks(9_999 + 20 * 10_000)[0] == 20


# ---- provenance


def test_only_what_came_as_far_as_the_classifier_is_counted_and_drafts_are_not_asked() -> None:
    row = {"source": "a", "origin": "human", "provenance": "human", "suspect": False, "generated": False}
    row |= {"calibrated": False, "threshold": 0.9, "p_model": 0.1, "p_synthetic": 0.1, "own_copy": False}
    steps = ["ingest", "filter", None, "dedup_near", "provenance", "mixture"]
    rows = [{**row, "doc_id": f"{place}", "step": step} for place, step in enumerate(steps)]
    rows += [{**row, "source": "g", "doc_id": f"{place}", "generated": place > 1} for place in range(25)]
    found = provenance.figures(candidate(rows))
    assert list(found.sources) == ["a", "g"]
    assert (found.sources["a"].documents, found.sources["a"].prevalence.documents) == (4, 4)
    assert (found.sources["g"].documents, found.sources["g"].prevalence.documents) == (25, 2)
    assert found.share is None


def test_the_model_is_named_and_the_share_is_that_of_all_sources() -> None:
    row = {"source": "a", "origin": "human", "provenance": "human", "suspect": False, "generated": False}
    row |= {"calibrated": False, "threshold": 0.9, "own_copy": False}
    scores = [0.02] * 20 + [0.999] * 4
    rows = [{**row, "doc_id": f"{n}", "p_model": p, "p_synthetic": p} for n, p in enumerate(scores)]
    looked_at = candidate(rows, recipe="provenance: {max_false_positive_rate: 0.01}")
    found = provenance.figures(looked_at)
    model = provenance.provenance_model(looked_at.run)
    assert found.model == provenance.Classifier(name=model.name, version=model.version, sha256=model.sha256)
    assert found.share == found.sources["a"].prevalence.best
    assert found.share is not None
    assert found.share.low > 0
    assert found.sources["a"].expected_wrong == round(24 * (1 - found.share.share) * 0.01, 1)


def judged(documents: int, suspects: int, calibrated: bool = False, best: prevalence.Estimate | None = None) -> Any:
    """What the evidence says of one source."""
    share = prevalence.Prevalence(
        documents=documents,
        judged=documents,
        known_human=0,
        adjusted_count=None,
        emq=best,
        audited=None,
        audit_sample=0,
        best=best,
        method="emq",
        distance=None,
        warning=None,
    )
    return SourceFigures(
        documents=documents + 5,
        judged=documents,
        known_human=0,
        calibrated=calibrated,
        threshold=0.9,
        declared={},
        concluded={},
        moved={},
        suspects=suspects,
        expected_wrong=2.5,
        prevalence=share,
    )


def test_more_suspects_than_the_rate_explains_and_more_than_one_are_named() -> None:
    def named(documents: int, suspects: int) -> Sequence[Finding]:
        classifier = provenance.Classifier(name="m", version="1", sha256="0")
        sources = {"a": judged(documents, suspects)}
        found = provenance.Provenance(model=classifier, share=None, sources=sources)
        return provenance.findings(candidate(), found)

    assert not named(10, 0)
    assert not named(10, 1)
    assert named(10, 2)
    assert not named(1000, 5)
    (finding,) = named(1000, 6)
    assert (finding.kind, finding.subject, finding.note) == ("suspects", "a", False)
    assert finding.figures == {"suspects": 6, "documents": 1000, "expected_wrong": 2.5}


def test_a_finding_of_suspects_says_what_became_of_them_and_whether_to_trust_it() -> None:
    def told(suspects: str, calibrated: bool, best: prevalence.Estimate | None) -> str:
        classifier = provenance.Classifier(name="m", version="1", sha256="0")
        sources = {"a": judged(1000, 60, calibrated, best)}
        found = provenance.Provenance(model=classifier, share=None, sources=sources)
        (finding,) = provenance.findings(candidate(recipe=f"provenance: {{suspects: {suspects}}}"), found)
        return finding.message

    start = "source a: 60 of 1000 documents look machine-written though declared human, where the classifier's rate "
    sure = "the classifier was calibrated on its dated human text"
    unsure = (
        "the classifier is not calibrated for this source, and it may be a kind of text that it does not know; 199 "
        "documents of it with a trusted date before 2022-11-30 would calibrate it"
    )
    share = prevalence.Estimate(share=0.051, low=0.02, high=0.0833)
    assert told("relabel", False, None) == (
        f"{start}explains 5; they count as synthetic (provenance.suspects); look at some (cuvee explain): {unsure}"
    )
    assert told("drop", True, share) == (
        f"{start}explains 5; about 5.1% of it may be (2.0% to 8.3%); they are dropped (provenance.suspects); look at "
        f"some (cuvee explain): {sure}"
    )
    assert "; they count as human (provenance.suspects)" in told("keep", True, None)
    assert "; they count as synthetic (provenance.suspects)" in told("auto", True, None)
    # Where the classifier's error is not known, no interval is claimed.
    assert told("auto", False, share) == (
        f"{start}explains 5; those that only the classifier found count as human, as declared (provenance.suspects); "
        f"look at some (cuvee explain): {unsure}"
    )


# ---- the whole, under names that mislead

NAMES = """
corpus: c
holdout: {share: 0.3}
sources:
  - {name: synthetic, uri: people.jsonl, origin: human, language: en, license: CC0-1.0}
  - {name: train, uri: machines.jsonl, origin: synthetic, language: en}
generate:
  - {name: human, generator: ngram, allow_baseline: true}
mixture: {human: {min: 0.5}}
"""

SWAPPED = """
corpus: c
sources: [{{name: {source}, uri: people.jsonl, license: CC0-1.0, language: en}}]
generate: [{{name: {generator}, generator: ngram, allow_baseline: true}}]
mixture: {{human: {{min: 0.5}}}}
"""


@cache
def misnamed() -> tuple[plain.Candidate, RunReport]:
    """A version whose sources and generator are called by what they are not, and the candidate that it was."""
    with tempfile.TemporaryDirectory() as folder:
        people = documents(16)
        write_jsonl(Path(folder, "people.jsonl"), people)
        write_jsonl(Path(folder, "machines.jsonl"), [*documents(3, seed=1), people[0]])
        made = plain.candidate(plain.recipe_file(Path(folder), NAMES), "memory://guard-misnamed")
        return made, made.publish()


def under(made: plain.Candidate, **options: str | None) -> tuple[Run, Store, Pool, DecidedRef, PlannedRef]:
    """Return what the guard judges, under options of its own."""
    run, store, _, pool, *_ = made.begun
    recipe = run.recipe.model_copy(update={"guard": run.recipe.guard.model_copy(update=options)})
    return run.model_copy(update={"recipe": recipe}), store, pool, made.decided, made.planned


def test_every_metric_measures_and_what_it_finds_is_told() -> None:
    found = guard.run(*under(misnamed()[0]))
    assert {"compared", "copies_of_human", "diversity", "duplicates", "provenance"} <= found.figures.keys()
    copied = found.figures["copies_of_human"].model_dump()["sources"]["train"]
    assert copied == {"rows": 4, "copies": 1, "of_seeds": 0}
    assert [(finding.kind, finding.subject) for finding in found.findings] == [
        ("copies_of_human", "train"),
        ("not_judged", "human"),
        ("not_judged", "train"),
    ]
    told = [finding.message.partition(":")[0] for finding in found.findings]
    assert told == ["source train", "generator human", "source train"]


def test_findings_stop_the_run_where_the_recipe_says_so_and_notes_never_do() -> None:
    made = misnamed()[0]
    suspected = made.with_rows(made.rows.with_columns(suspect=pl.lit(value=True)))
    findings = guard.run(*under(suspected)).findings
    judged = [finding.message for finding in findings if not finding.note]
    assert len(judged) == 4
    with pytest.raises(GateError) as stopped:
        guard.run(*under(suspected, action="block"))
    start = "the guard has findings, and guard.action is block; nothing is published:"
    assert str(stopped.value).split("\n  ") == [start, *judged]
    clean = made.with_rows(made.rows.filter(pl.col("verdict").is_null()))
    assert [finding.note for finding in guard.run(*under(clean, action="block")).findings] == [True, True]


def test_only_what_is_trained_on_is_compared_in_sampling_order() -> None:
    made = misnamed()[0]
    trained = made.plan.filter(split="train")
    assert {*made.plan["split"]} == {"train", "validation"}
    looked_at: list[guard.Candidate] = []
    with pytest.MonkeyPatch.context() as patch:
        # A metric that measures nothing, and keeps what it is shown.
        shown = SimpleNamespace(figures=lambda seen: looked_at.append(seen) or Figures(), findings=lambda *_: [])
        patch.setattr(guard.shelf, "modules", lambda _: {"shown": shown})
        guard.run(*under(made))
    assert looked_at[0].trained["doc_id"].to_list() == trained["doc_id"].to_list()
    assert trained["priority"].is_sorted()
    (part,) = looked_at[0].parts(ROWS.names())
    assert part.equals(made.rows.select(ROWS.names()))


def test_the_figures_of_the_version_that_is_compared_with_stand_beside_the_candidates() -> None:
    made, report = misnamed()
    assert report.version == 1
    for name in ("latest", "v0001"):
        found = guard.run(*under(made, compare_with=name))
        figures = {of: found.figures[of].model_dump(mode="json") for of in ("duplicates", "diversity")}
        assert found.earlier == {"version": 1, **figures}
    assert guard.run(*under(made, compare_with="approved")).earlier is None
    assert guard.run(*under(made, compare_with=None)).earlier is None
    with pytest.raises(RecipeError, match=r"c has no version v0007 in .*; it has: v0001"):
        guard.run(*under(made, compare_with="v0007"))


def test_a_generator_called_human_and_a_source_called_synthetic_are_what_their_rows_say() -> None:
    made, report = misnamed()
    store = made.begun.store
    dataset = cuvee.open("c", store=store.uri)
    rows = pl.concat(pl.read_parquet(store.open(file.path)) for file in dataset.manifest.files)
    ways = rows.select("source", "origin", "provenance", "depth").unique().sort("source").rows()
    assert ways == [
        ("human", "synthetic", "synthetic", 1),
        ("synthetic", "human", "human", 0),
        ("train", "synthetic", "synthetic", 1),
    ]
    words = {name: int(part["tokens"].sum()) for (name,), part in rows.group_by("provenance")}
    assert dataset.manifest.totals.by_provenance == words
    assert report.human_share == round(words["human"] / sum(words.values()), 6)
    assert set(dataset.manifest.splits) == {"train", "validation"}
    for file in dataset.manifest.files:
        assert file.stratum.provenance == ("human" if file.stratum.source == "synthetic" else "synthetic")
    # The guard's own reference, and every report that speaks of sources by name.
    reports = {Path(ref.path).name: store.get(ref.path) for ref in dataset.manifest.reports}
    figures = json.loads(reports["findings.json"])["figures"]
    trained = made.plan.filter(split="train").group_by("source").len()
    count = dict(trained.iter_rows())
    assert figures["diversity"]["human"]["documents"] == count["synthetic"]
    assert {name: group["documents"] for name, group in figures["diversity"]["sources"].items()} == {
        "human": count["human"],
        "train": count["train"],
    }
    assert set(figures["copies_of_human"]["sources"]) == {"human", "train"}
    assert set(json.loads(reports["generation.json"])) == {"human"}
    steps = json.loads(reports["steps.json"])
    assert (steps["ingest"]["in"], steps["generate"]["in"]) == (20, made.rows.filter(source="human").height)
    card = reports["README.md"].decode()
    assert "| human | synthetic | unknown | en | 1 |" in card
    assert "| synthetic | human | unknown | en | 0 |" in card


def test_a_generator_that_takes_a_sources_name_takes_none_of_its_rows() -> None:
    with tempfile.TemporaryDirectory() as folder:
        write_jsonl(Path(folder, "people.jsonl"), documents(16))
        for version, (source, generator) in enumerate([("human", "rephrased"), ("rephrased", "human")], 1):
            recipe = SWAPPED.format(source=source, generator=generator)
            report = plain.publish_plainly(plain.recipe_file(Path(folder), recipe), "memory://guard-swapped")
            assert (report.version, report.steps["ingest"].into) == (version, 16)
            manifest = cuvee.open("c", store="memory://guard-swapped").manifest
            sources = {(file.stratum.source, file.stratum.provenance, file.stratum.depth) for file in manifest.files}
            assert sources == {(source, "human", 0), (generator, "synthetic", 1)}
            assert sum(file.rows for file in manifest.files if file.stratum.source == source) == 16
