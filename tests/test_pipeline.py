"""The whole pipeline on real text, through the real flow, with its store in a folder and on an S3 server."""

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import polars as pl
import pytest
from texts import documents, paragraphs, write_jsonl

import cuvee
from cuvee.flows.curate import curate
from cuvee.schemas.document import PUBLISHED
from cuvee.schemas.errors import GateError, InputError, IntegrityError, RecipeError
from cuvee.schemas.report import RunReport
from cuvee.storage.corpus import versions
from cuvee.storage.store import open_store

RECIPE = """
corpus: words
sources:
  - {name: first, uri: first/*.jsonl, license: PSF-2.0, domain: manual}
  - {name: second, uri: second/*.jsonl, license: PSF-2.0, domain: reference}
filters:
  - {kind: language, keep: [en], min_score: 0.3}
  - {kind: length, min_words: 60}
holdout: {share: 0.02}
generate:
  - {name: baseline, generator: ngram, allow_baseline: true}
mixture: {human: {min: 0.7}}
publish: {shard_mb: 1}
"""

pytestmark = pytest.mark.usefixtures("prefect_api")
Run = Callable[..., RunReport]


@pytest.fixture(params=["local", pytest.param("s3", marks=pytest.mark.slow)])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    (tmp_path / "place").write_text(str(tmp_path) if request.param == "local" else request.getfixturevalue("s3"))
    texts = documents(120)
    write_jsonl(tmp_path / "first/a.jsonl", texts[:50])
    write_jsonl(tmp_path / "first/b.jsonl", [*texts[50:70], texts[0], texts[1] + " And one more line at the end."])
    write_jsonl(tmp_path / "second/c.jsonl", [*texts[70:], "Too short to keep."])
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    return tmp_path


@pytest.fixture
def run(folder: Path) -> Run:
    def run_with(*overrides: str, store: str = "store", plan: bool = False) -> RunReport:
        recipe = str(folder / "recipe.yaml")
        report = curate(recipe=recipe, overrides=list(overrides), store=where(folder, store), plan=plan)
        assert isinstance(report, RunReport)
        return report

    return run_with


def where(folder: Path, store: str = "store") -> str:
    return f"{(folder / 'place').read_text()}/{store}"


def keys(folder: Path, prefix: str) -> set[str]:
    return set(open_store(where(folder)).keys(prefix))


def published(folder: Path, store: str = "store", ref: str = "words") -> pl.DataFrame:
    return cuvee.open(ref, store=where(folder, store)).scan(None).collect()


def shas(folder: Path, store: str = "store", ref: str = "words") -> list[str]:
    return sorted(file.sha256 for file in cuvee.open(ref, store=where(folder, store)).manifest.files)


def ledger(folder: Path, store: str = "store") -> pl.DataFrame:
    return cuvee.open("words", store=where(folder, store)).ledger()


def share(frame: pl.DataFrame) -> float:
    human = frame.filter(pl.col("provenance") == "human")["tokens"].sum()
    return float(human / frame["tokens"].sum())


def test_every_row_is_accounted_for_and_the_published_columns_are_the_promised_ones(run: Run, folder: Path) -> None:
    report = run()
    frame, rows = published(folder), ledger(folder)
    assert frame.schema.to_arrow() == PUBLISHED or list(frame.columns) == PUBLISHED.names
    assert report.published
    assert report.documents == frame.height
    counts = dict(rows.group_by("source").len().iter_rows())
    assert counts["first"] == 72
    assert counts["second"] == 51
    kept = rows.filter(pl.col("outcome") == "kept")
    assert sorted(kept["doc_id"]) == sorted(frame["doc_id"])
    assert report.steps["dedup_exact"].dropped == {"duplicate_exact": 1}
    assert report.steps["dedup_near"].dropped["duplicate_near"] >= 1
    assert report.steps["filter"].dropped == {"length.min_words": 1}
    near = rows.filter(pl.col("reason") == "duplicate_near").row(0, named=True)
    assert near["keeper"] in set(rows["doc_id"])
    assert 0.8 <= near["jaccard"] < 1
    for step in report.steps.values():
        assert step.into == step.out + sum(step.dropped.values())


def test_the_shards_validation_split_is_human_and_apart_from_training_and_seeds(run: Run, folder: Path) -> None:
    run("holdout.share=0.2")
    dataset = cuvee.open("words", store=where(folder))
    validation, train = dataset.scan("validation").collect(), dataset.scan("train").collect()
    assert validation.height > 5
    assert set(validation["provenance"]) == {"human"}
    assert not set(validation["doc_id"]) & set(train["doc_id"])
    assert not set(validation["doc_id"]) & set(train["seed_ids"].explode())


@pytest.mark.parametrize("floor", [0.0, 0.3, 0.6, 0.9, 1.0])
def test_the_human_share_counted_from_the_files_meets_the_floor(run: Run, folder: Path, floor: float) -> None:
    # At most four drafts a seed: the baseline can write three times the human text, enough for a share of 0.3.
    options = ["generate.0.budget.amount=60000", "generate.0.seeds.max_per_seed=4"]
    report = run(*options, f"mixture.human.min={floor}", store=f"store-{floor}")
    frame = published(folder, f"store-{floor}")
    assert share(frame) >= floor
    assert report.human_share == pytest.approx(share(frame), abs=1e-6)
    train = cuvee.open("words", store=where(folder, f"store-{floor}")).scan("train").collect()
    assert share(train) >= floor
    if floor == 1.0:
        assert set(frame["provenance"]) == {"human"}
    if floor == 0.9:
        assert share(train) < 0.95, "the floor should be used, not passed by far"


def test_a_plan_publishes_nothing_and_counts_the_requests_that_the_run_then_makes(run: Run, folder: Path) -> None:
    plan = run(plan=True)
    assert (plan.plan, plan.published, plan.version) == (True, False, 0)
    assert versions(open_store(where(folder)), "words") == []
    wanted = plan.requests["baseline"]
    assert wanted > 0
    assert plan.steps["generate"].dropped == {"not_sent": wanted}
    assert plan.human_share == 1.0
    report = run()
    assert report.steps["generate"].into == wanted
    assert report.steps["ingest"] == plan.steps["ingest"]
    assert run(plan=True).requests == {"baseline": 0}


def test_a_shortage_that_must_fail_stops_at_the_gate_and_says_how_much_is_missing(run: Run, folder: Path) -> None:
    with pytest.raises(GateError, match=r"[\d,]+ words .* missing"):
        run("mixture.total=1000000", "mixture.shortage=fail")
    with pytest.raises(GateError, match=r"mixture\.human\.min_amount: 900,000 .* are missing"):
        run("mixture.human.min_amount=900000")
    assert versions(open_store(where(folder)), "words") == []


def test_without_human_text_a_floor_stops_the_run(run: Run, folder: Path) -> None:
    with pytest.raises(GateError, match="no human text survived"):
        run("sources.0.origin=synthetic", "sources.1.origin=synthetic", "generate=[]")


def test_an_unchanged_second_run_publishes_nothing_and_measures_nothing(
    run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = run()
    before = keys(folder, "corpora/")
    second = run()
    assert not second.published
    assert second.version == first.version
    changed = {key for key in keys(folder, "corpora/") ^ before if "/states/" not in key}
    assert all(key.startswith("corpora/words/runs/") for key in changed)
    assert len(changed) == 1


def test_one_more_file_equals_a_rebuild_and_reads_only_the_new_file(run: Run, folder: Path) -> None:
    run()
    write_jsonl(folder / "second/d.jsonl", documents(30, seed=5))
    shards_before = keys(folder, "corpora/words/pool/ingest/")
    grown = run()
    rebuilt = run(store="rebuilt")
    assert grown.version == 2
    new = keys(folder, "corpora/words/pool/ingest/") - shards_before
    assert [pl.read_parquet(open_store(where(folder)).get(key)).height for key in new] == [30]
    columns = PUBLISHED.names
    left, right = (published(folder, store).select(columns).sort("doc_id") for store in ("store", "rebuilt"))
    assert left.equals(right)
    assert grown.steps == rebuilt.steps


def test_a_deleted_work_folder_costs_nothing_but_its_records(run: Run, folder: Path) -> None:
    run()
    for key in keys(folder, "work/"):
        open_store(where(folder)).delete(key)
    before = {key for key in keys(folder, "corpora/words/pool/") if key.endswith(".parquet")}
    assert not run().published
    assert {key for key in keys(folder, "corpora/words/pool/") if key.endswith(".parquet")} == before


def test_a_raised_threshold_brings_documents_back(run: Run, folder: Path) -> None:
    dropped = run().steps["dedup_near"].dropped["duplicate_near"]
    again = run("dedup.threshold=1.0")
    assert again.published
    assert again.steps["dedup_near"].dropped.get("duplicate_near", 0) < dropped


def test_our_own_draft_does_not_become_human_when_it_comes_back(run: Run, folder: Path) -> None:
    run()
    draft = published(folder).filter(pl.col("kind") == "baseline").row(0, named=True)
    write_jsonl(folder / "second/returned.jsonl", [draft["text"]])
    run()
    rows = ledger(folder).filter(pl.col("doc_id") == draft["doc_id"])
    returned = rows.filter(pl.col("source") == "second").row(0, named=True)
    assert returned["provenance"] == "synthetic"
    assert "lineage" in returned["evidence"]
    assert returned["outcome"] == "dropped"


def test_a_newer_row_replaces_the_older_one_of_its_id(run: Run, folder: Path) -> None:
    run()
    old, new = documents(2, seed=9)
    for text in (old, new):
        (folder / "first/page.jsonl").write_text(f'{{"id": "page", "text": {json.dumps(text)}}}\n')
        run()
    rows = ledger(folder).filter(pl.col("source_id") == "page").sort("outcome")
    assert rows.select("outcome", "reason").rows() == [("dropped", "superseded"), ("kept", None)]


def test_rows_of_a_vanished_file_stay_or_go_as_the_recipe_says(run: Run, folder: Path) -> None:
    run("generate=[]")
    kept = published(folder).height
    (folder / "first/a.jsonl").unlink()
    assert not run("generate=[]").published
    report = run("generate=[]", "sources.0.vanished=drop")
    assert report.steps["ingest"].dropped["vanished"] == 50
    assert report.documents < kept


def test_benchmark_text_is_dropped_with_the_name_of_the_item(run: Run, folder: Path) -> None:
    leaked = documents(120)[3]
    (folder / "benchmark.txt").write_text(" ".join(leaked.split()[:60]) + "\n")
    run("decontaminate.benchmarks=[benchmark.txt]", "generate=[]")
    row = ledger(folder).filter(pl.col("reason") == "benchmark").row(0, named=True)
    assert row["outcome"] == "dropped"
    assert "benchmark.txt" in row["detail"]


def test_documents_of_unknown_provenance_are_published_only_when_asked_for(run: Run, folder: Path) -> None:
    # Of so few words the classifier says nothing.
    short = [text for text in paragraphs() if 60 <= len(text.split()) < 80]
    write_jsonl(folder / "first/short.jsonl", short[:5])
    hidden = ["sources.0.origin=unknown", "provenance.max_false_positive_rate=0.005", "generate=[]"]
    excluded = run(*hidden)
    unknown = ledger(folder).filter(pl.col("reason") == "unknown_provenance").height
    assert unknown > 0
    assert "unknown" not in set(published(folder)["provenance"])
    included = run(*hidden, "provenance.unknown_as=human")
    assert included.documents == excluded.documents + unknown


def test_too_many_unreadable_rows_stop_the_run_before_publishing(run: Run, folder: Path) -> None:
    (folder / "first/broken.jsonl").write_text('{"id": 1, "text": \n' * 3)
    with pytest.raises(InputError, match=r"(?s)broken\.jsonl: line 1: .*max_bad_rows 0\.01"):
        run()
    assert versions(open_store(where(folder)), "words") == []
    report = run("ingest.max_bad_rows=0.1")
    assert report.steps["ingest"].dropped["unreadable"] == 3
    assert any("broken.jsonl: line 1" in warning for warning in report.warnings)


def test_a_pattern_that_matches_nothing_is_named(run: Run) -> None:
    with pytest.raises(RecipeError, match=r"sources\.0\.uri: 'nowhere/\*\.jsonl' matches no file"):
        run("sources.0.uri=nowhere/*.jsonl")


def test_verify_names_a_changed_file_and_pull_refuses_it(run: Run, folder: Path) -> None:
    run()
    dataset = cuvee.open("words", store=where(folder))
    assert list(dataset.verify()) == []
    target = folder / "pulled"
    dataset.pull(target)
    (target / "data/train/old.parquet").write_bytes(b"left by an older pull")
    assert len(dataset.pull(target)) == len(dataset.manifest.files)
    assert not (target / "data/train/old.parquet").exists()
    assert pl.read_parquet(target / "data/**/*.parquet").height == dataset.manifest.totals.documents
    victim = dataset.manifest.files[0].path
    content = bytearray(dataset.store.get(victim))
    content[len(content) // 2] ^= 1
    dataset.store.put(victim, bytes(content))
    assert [fault for fault in dataset.verify() if dataset.files()[0] in fault]
    with pytest.raises(IntegrityError, match="not what the manifest names"):
        dataset.pull(folder / "other")


class Writer(BaseHTTPRequestHandler):
    """An endpoint whose answer is a function of the request: its seed's words, in other sentences."""

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        words = asked["messages"][-1]["content"].split()
        draw = random.Random(" ".join(words))
        text = " ".join(draw.choice(words) for _ in range(150)).capitalize() + "."
        choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}
        body = {"id": "1", "object": "chat.completion", "created": 0, "model": "stub-1", "choices": [choice]}
        answer = json.dumps(body).encode()
        self.server.asked.append(asked)  # type: ignore[attr-defined]
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def test_drafts_of_an_endpoint_are_published_with_their_lineage_and_asked_for_once(run: Run, folder: Path) -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Writer)
    server.asked = []  # type: ignore[attr-defined]
    threading.Thread(target=server.serve_forever, daemon=True).start()
    entry = f"{{name: rephrased, generator: openai, model: stub, base_url: 'http://127.0.0.1:{server.server_port}/v1'}}"
    options = [f"generate=[{entry}]", "generate.0.budget.requests=6", "filters=[]"]
    report = run(*options)
    sent = len(server.asked)  # type: ignore[attr-defined]
    assert sent == 6
    assert report.steps["generate"].into == 6
    drafts = published(folder).filter(pl.col("source") == "rephrased")
    human = published(folder).filter(pl.col("provenance") == "human")
    assert drafts.height > 0
    assert set(drafts["model"]) == {"stub-1"}
    assert set(drafts["provenance"]) == {"synthetic"}
    assert set(drafts["depth"]) == {1}
    assert set(drafts["license"]) == {"PSF-2.0"}
    assert set(drafts["seed_ids"].explode()) <= set(human["doc_id"])
    assert not run(*options).published
    assert len(server.asked) == sent  # type: ignore[attr-defined]
    server.shutdown()


def command(folder: Path, store: str, *more: str, seed: str = "0") -> list[str]:
    code = "from cuvee.commands import main; main()"
    return [
        sys.executable,
        "-c",
        code,
        "run",
        str(folder / "recipe.yaml"),
        "--store",
        where(folder, store),
        "--json",
        *more,
    ]


def environment(seed: str) -> dict[str, str]:
    # The command starts its own server: the session's must not be seen.
    return {k: v for k, v in os.environ.items() if not k.startswith("PREFECT_API")} | {"PYTHONHASHSEED": seed}


def test_workers_order_and_hash_seed_change_no_byte(run: Run, folder: Path) -> None:
    run()
    names = sorted((folder / "first").glob("*.jsonl"))
    for position, path in enumerate(reversed(names)):
        path.rename(path.with_name(f"z{position}.jsonl"))
    (folder / "recipe.yaml").write_text(RECIPE.replace("first/*.jsonl", "[first/z1.jsonl, first/z0.jsonl]"))
    arguments = command(folder, "other", "--workers", "1")
    done = subprocess.run(arguments, env=environment("77"), capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert shas(folder) == shas(folder, "other")


def test_a_killed_run_leaves_nothing_half_made_and_its_repetition_gives_the_same_bytes(run: Run, folder: Path) -> None:
    run(store="undisturbed")
    draw = random.Random(11)
    for _ in range(3):
        process = subprocess.Popen(command(folder, "store"), env=environment("0"), stdout=-3, stderr=-3)
        deadline = time.monotonic() + 60
        # From the first file of the store on, the run is at work: kill it somewhere in the seconds after.
        while (
            not keys(folder, "corpora/") | keys(folder, "work/")
            and process.poll() is None
            and time.monotonic() < deadline
        ):
            time.sleep(0.02)
        time.sleep(draw.uniform(0.0, 2.5))
        process.send_signal(signal.SIGKILL)
        process.wait()
        if versions(open_store(where(folder)), "words"):
            assert list(cuvee.open("words", store=where(folder)).verify()) == []
    run()
    assert shas(folder) == shas(folder, "undisturbed")
    assert list(cuvee.open("words", store=where(folder)).verify()) == []
