"""Decisions and ledgers by partition are those of one table of all rows, whatever the partitions and the hands."""

import itertools
import json
import random
from contextlib import suppress
from pathlib import Path

import one_table
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plain import ALL, Described, ingested, publish_plainly, recipe_file
from polars.testing import assert_frame_equal
from texts import paragraphs

from cuvee.commands.story import ledger_of, rows_of
from cuvee.dataset import open_dataset
from cuvee.flows.accounting import account
from cuvee.flows.hands import PlainHands
from cuvee.flows.mixing import mix
from cuvee.flows.pipeline import describe
from cuvee.schemas.errors import GateError, IntegrityError
from cuvee.schemas.manifest import DataFile
from cuvee.schemas.records import DraftRecord, DraftReport
from cuvee.schemas.report import Guarded, RunReport
from cuvee.storage.corpus import pool_folder
from cuvee.storage.store import open_store
from cuvee.storage.tables import read_ledger, read_table
from cuvee.tasks import guard
from cuvee.tasks.decide import gather, partitions
from cuvee.tasks.generate.rounds import Generated
from cuvee.tasks.ingest import normalise
from cuvee.tasks.ingest.reading import draft_shards
from cuvee.tasks.publish import assemble, foresee

_numbers = itertools.count()
RECIPE = """
corpus: c
sources:
  - {{name: old, uri: old/*.jsonl, dates: trusted, license: CC0-1.0}}
  - {{name: web, uri: web/*.jsonl, origin: {origin}, vanished: {vanished}, domain: web, near_duplicates: {near}}}
  - {{name: made, uri: made/*.jsonl, origin: synthetic, license: CC0-1.0}}
ingest: {{max_bad_rows: 1{min_date}}}
filters: {filters}
holdout: {{share: 0.1}}
dedup: {{threshold: {threshold}}}
decontaminate: {{benchmarks: [items.jsonl]}}
provenance: {{max_false_positive_rate: 0.2, suspects: {suspects}, unknown_as: {unknown_as}}}
generate: [{{name: writer, generator: ngram, allow_baseline: true, budget: {{amount: 0}}}}]
mixture: {{depth: {{max: 2}}}}
"""
FILTERS = (
    "[]",
    "[{kind: length, min_words: 30, sources: [web]}]",
    "\n  - {kind: length, max_words: 300}\n  - {kind: boilerplate, max_documents: 2, max_share: 0.2}"
    "\n  - {kind: boilerplate, max_documents: 1, max_share: 0.7}",
)


class Pool:
    """Random nights of three sources, and drafts of ours."""

    def __init__(self, folder: Path, draw: random.Random) -> None:
        self.folder, self.draw = folder, draw
        self.known: list[str] = ["", "word " * 90]
        self.files: list[Path] = []
        folder.mkdir(parents=True)
        (folder / "items.jsonl").write_text(json.dumps({"text": paragraphs()[3]}) + "\n")
        options = {
            "origin": draw.choice(["human", "unknown", "synthetic"]),
            "vanished": draw.choice(["keep", "drop"]),
            "min_date": draw.choice(["", ", min_date: 2001-01-01"]),
            "filters": draw.choice(FILTERS),
            "threshold": draw.choice([0.5, 0.8]),
            "near": draw.choice(["true", "false"]),
            "suspects": draw.choice(["auto", "relabel", "drop", "keep"]),
            "unknown_as": draw.choice(["exclude", "human", "synthetic"]),
        }
        self.recipe = recipe_file(folder, RECIPE.format(**options))

    def night(self) -> None:
        """Write new files, and remove or change some of an earlier night."""
        if self.files and self.draw.random() < 0.5:
            self.files.pop(self.draw.randrange(len(self.files))).unlink()
        for source in ("old", "web", "made"):
            path = self.folder / source / f"{next(_numbers)}.jsonl"
            path.parent.mkdir(exist_ok=True)
            rows = [self._row() for _ in range(self.draw.randint(1, 14))]
            path.write_text("".join(json.dumps(row) + "\n" for row in rows) + "{torn\n" * self.draw.randint(0, 1))
            self.files.append(path)

    def drafts(self, begun: Described) -> tuple[Described, list[tuple[str, str]]]:
        """Put drafts into the pool, one request twice, as of an earlier night."""
        keys = [f"request{n}" for n in range(self.draw.randint(1, 5))]
        records = []
        for number in range(2):
            text = pl.Series([self._text() or "a draft" for _ in keys])
            frame = pl.DataFrame({"text": text, "doc_id": normalise.doc_ids(text), "source_id": keys}).with_columns(
                normalise.measure(text),
                file=pl.lit("writer"),
                row=pl.int_range(pl.len()),
                depth=pl.lit(1),
                kind=pl.lit("list"),
                gate=pl.when(pl.int_range(pl.len()) == 3).then(pl.lit("gate.copied")),
                seed_ids=pl.lit([normalise.doc_ids(pl.Series([self._text()]))[0]], pl.List(pl.String)),
            )
            files = draft_shards(begun.store, pool_folder("c", "generate"), frame, 10**6)
            report = DraftReport(source="writer", reading=begun.run.readings["writer"], shards=len(files), failed={})
            records.append(DraftRecord(key=f"draft{number}", files=tuple(files), report=report))
        accepted = self.draw.randint(1, begun.run.version)
        pool = begun.pool.plus(records, accepted)
        pool = describe(begun.run, begun.store, pool, begun.pool.pairs, PlainHands())
        days = {number: f"2024-05-{number:02d}" for number in range(1, begun.run.version + 1)}
        state = begun.state.model_copy(update={"dates": days})
        return begun._replace(pool=pool, state=state), [("writer", key) for key in keys[: self.draw.randint(0, 5)]]

    def _row(self) -> dict[str, object]:
        row: dict[str, object] = {"text": self._text()}
        if self.draw.random() < 0.4:
            row["id"] = f"page{self.draw.randint(0, 6)}"
        if self.draw.random() < 0.7:
            row["created"] = f"{self.draw.choice([1999, 2019, 2024, 2025])}-05-0{self.draw.randint(1, 9)}"
        return row

    def _text(self) -> str:
        how = self.draw.random()
        fresh = "\n\n".join(self.draw.sample(paragraphs(), self.draw.randint(1, 5)))
        text = self.draw.choice(self.known) if how < 0.5 else fresh
        if how < 0.3:  # chains and stars of near copies, and texts of equal shingles
            text += self.draw.choice(["!", " And more", " and one more sentence stands here."])
        self.known.append(text)
        return text


def assert_same(begun: Described, drafts: list[tuple[str, str]], counts: tuple[int, ...]) -> None:
    run, store, state, pool, files, _ = begun
    expected = one_table.decide(run, store, pool, files, drafts, state.dates)
    for count in counts:
        found = begun.decide(drafts, count)
        assert found["doc_id"].is_sorted()
        assert_frame_equal(found, expected.select(ALL))
    (first, judged), *others = [accounts_of(begun, drafts, count) for count in counts]
    for other, judged_too in others:
        assert_frame_equal(first, other)
        assert judged == judged_too


def accounts_of(
    begun: Described, drafts: list[tuple[str, str]], count: int
) -> tuple[pl.DataFrame, tuple[list[DataFile], Guarded, RunReport] | None]:
    """Return the ledger by source, file and row, each file of which holds its part of the doc_ids in order; and the
    files, the guard's and the plan's words where something can be published.
    """
    run, store, _, pool, files, _ = begun
    decided = begun.decided(drafts, count)
    planned = None
    with suppress(GateError):  # where nothing can be trained on
        planned = mix(run, store, decided, PlainHands())
    generated = Generated(name="writer", planned=tuple(key for _, key in drafts), failed={}, record=None)
    told = account(run, store, pool, files, decided, planned, [generated], PlainHands())
    assert told.partitions == count
    assert len(told.ledger) - count in (0, 1)
    for number, ref in enumerate(told.ledger):
        doc_ids = pl.DataFrame(read_table(store, ref, ["doc_id"]))["doc_id"]
        if number < count:
            assert doc_ids.is_sorted()
            assert set(partitions.by_doc_id(doc_ids, count)) <= {number}
        else:
            assert doc_ids.is_null().all()
    rows = pl.DataFrame(read_ledger(store, told.ledger))
    assert rows.height == sum(source.rows for source in told.sources.values()) + len(drafts)
    if planned is None:
        return rows, None
    files = assemble.run(run, store, pool, decided, planned)
    said = guard.run(run, store, pool, decided, planned), foresee.run(run, store, decided, planned, told, (), ())
    return rows, (files, *said)


@settings(max_examples=4)
@given(seed=st.integers(0, 10**6))
def test_the_partitioned_decision_is_that_of_one_table(seed: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    decide_each_way(random.Random(seed), tmp_path_factory.mktemp("pool"), (1, 2, 8))


def test_many_partitions_of_few_rows_decide_the_same(tmp_path: Path) -> None:
    decide_each_way(random.Random(3), tmp_path, (1, 64))


def test_a_document_is_explained_from_the_one_file_of_the_ledger_that_holds_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(partitions, "ROWS_A_PARTITION", 4)
    texts = "".join(json.dumps({"text": text, "id": str(n)}) + "\n" for n, text in enumerate(paragraphs()[:12]))
    (tmp_path / "texts.jsonl").write_text(texts)
    store = str(tmp_path / "store")
    publish_plainly(recipe_file(tmp_path, "corpus: c\nsources: [{name: texts, uri: texts.jsonl}]\n"), store)
    manifest = open_dataset("c", store).manifest
    assert len(manifest.ledger) == manifest.ledger_partitions == 4
    whole = read_ledger(open_store(store), manifest.ledger).to_pylist()
    held = read_table(open_store(store), manifest.ledger[2], ["doc_id"])["doc_id"][0].as_py()
    for ref in (*manifest.ledger[:2], manifest.ledger[3]):
        Path(store, ref.path).unlink()
    assert rows_of(ledger_of("c@v0001", store, held), held) == [row for row in whole if row["doc_id"] == held]
    with pytest.raises(IntegrityError, match="is missing"):
        ledger_of("c@v0001", store, held[:8])


def decide_each_way(draw: random.Random, folder: Path, counts: tuple[int, ...]) -> None:
    pool = Pool(folder / "c", draw)
    store = f"memory://partitions-{next(_numbers)}"
    for _ in range(draw.randint(0, 2)):
        pool.night()
        with suppress(GateError):  # where nothing could be trained on that night
            publish_plainly(pool.recipe, store)
    pool.night()
    begun, drafts = pool.drafts(ingested(pool.recipe, store))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(partitions, "ROWS_A_BATCH", draw.choice([1, 20, 1 << 20]))
        patch.setattr(gather, "KEYS_AT_A_TIME", draw.choice([50, 1 << 24]))
        patch.setattr(assemble, "ROWS_A_BATCH", draw.choice([1, 5, 1 << 18]))
        assert_same(begun, drafts, counts)
