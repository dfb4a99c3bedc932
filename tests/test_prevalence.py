import datetime as dt
import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from one_table import of_sources

from cuvee.commands import cli
from cuvee.flows.train_provenance import train_provenance
from cuvee.schemas.errors import IntegrityError, RecipeError
from cuvee.storage.store import open_store
from cuvee.tasks.provenance.classify import prevalence_of, read_audit
from cuvee.tasks.provenance.conclude import LOWEST_THRESHOLD
from cuvee.tasks.provenance.model import BINS, BUILTIN, Model, binned, is_ref, load
from cuvee.tasks.provenance.prevalence import adjusted_count, difference, emq, prevalence
from cuvee.tasks.provenance.product import make
from cuvee.tasks.provenance.sources import by_source, overall
from cuvee.tasks.provenance.store import keep, load_named, versions
from cuvee.tasks.provenance.train import prepare

DEVELOPMENT = Path(__file__).parents[2] / "shared" / "provenance" / "provenance_dev.parquet"
OLD, NEW = dt.date(2020, 1, 1), dt.date(2024, 1, 1)


@pytest.fixture(scope="session")
def builtin() -> Model:
    return load()


def _drawn(model: Model, human: int, synthetic: int, seed: int = 3) -> pl.Series:
    """Probabilities of texts that score as the held-out texts of the model do."""
    random = np.random.default_rng(seed)
    odds = [
        random.choice(BINS, size, p=counts / counts.sum()) - BINS // 2 + random.random(size)
        for size, counts in zip((human, synthetic), model.bins(), strict=True)
    ]
    return pl.Series(1 / (1 + np.exp(-np.concatenate(odds))))


# Estimators


@settings(deadline=None)
@given(st.floats(0, 1))
def test_both_estimators_find_the_share_of_an_exact_mixture(share: float) -> None:
    human, synthetic = np.linspace(2, 0.1, BINS), np.linspace(0.1, 3, BINS)
    observed = 1e6 * (share * synthetic / synthetic.sum() + (1 - share) * human / human.sum())
    assert adjusted_count(observed, human, synthetic) == pytest.approx(share, abs=1e-6)
    assert emq(observed, human, synthetic) == pytest.approx(share, abs=0.01)


@settings(deadline=None)
@given(st.lists(st.floats(0, 1), max_size=50))
def test_every_probability_falls_into_one_bin(p: list[float]) -> None:
    counts = binned(np.array(p))
    assert counts.sum() == len(p)
    assert counts[BINS // 2 :].sum() == sum(value >= 0.5 for value in p)


@pytest.mark.parametrize("synthetic", [0, 50, 200, 500])
def test_the_share_of_a_mixture_is_estimated_within_its_interval(builtin: Model, synthetic: int) -> None:
    found = prevalence(_drawn(builtin, 1000 - synthetic, synthetic), builtin)
    assert found.best is not None
    assert abs(found.best.share - synthetic / 1000) < 0.015
    assert found.best.low <= synthetic / 1000 <= found.best.high
    assert found.warning is None
    assert found == prevalence(_drawn(builtin, 1000 - synthetic, synthetic), builtin)


def test_texts_known_to_be_human_correct_the_share_where_the_classifier_errs(builtin: Model) -> None:
    # A kind of text of which the classifier takes a third for synthetic.
    strange = np.random.default_rng(1).uniform(0.05, 0.75, 600)
    p = pl.Series(np.concatenate([strange, _drawn(builtin, 0, 100).to_numpy()]))
    known = pl.Series(np.arange(700) < 200)
    plain, anchored = prevalence(p, builtin), prevalence(p, builtin, known)
    assert plain.warning is not None
    assert plain.best is not None
    assert plain.best.share > 0.25
    assert anchored.best is not None
    assert abs(anchored.best.share - 1 / 7) < 0.03
    assert anchored.known_human == 200


def test_a_text_known_to_be_human_never_counts_as_synthetic(builtin: Model) -> None:
    found = prevalence(_drawn(builtin, 100, 100), builtin, pl.repeat(True, 200, eager=True))
    assert found.best is not None
    assert (found.best.share, found.best.high) == (0.0, 0.0)


def test_a_few_documents_get_no_share(builtin: Model) -> None:
    found = prevalence(pl.Series([0.5] * 19 + [None]), builtin)
    assert (found.best, found.method, found.documents, found.judged) == (None, "none", 20, 19)


def test_an_audit_takes_precedence_and_corrects_a_wrong_model(builtin: Model) -> None:
    truth = np.random.default_rng(2).random(2_000) < 0.3
    p = pl.Series(np.where(truth, 0.6, 0.9))  # the wrong way round
    asked = np.arange(2_000) % 8 == 0
    label = pl.select(
        pl.when(pl.Series(asked)).then(pl.when(pl.Series(truth)).then(pl.lit("synthetic")).otherwise(pl.lit("human")))
    ).to_series()
    found = prevalence(p, builtin, label=label)
    assert found.method == "difference"
    assert found.best is not None
    assert found.best.low <= truth.mean() <= found.best.high
    assert found.best.high - found.best.low < 0.16


@settings(max_examples=50, deadline=None)
@given(st.integers(2, 60), st.integers(0, 60))
def test_an_audit_of_every_document_is_exact(synthetic: int, human: int) -> None:
    label = pl.Series(["synthetic"] * synthetic + ["human"] * human)
    estimate, size = difference(pl.Series(np.linspace(0, 1, len(label))), label)
    assert estimate is not None
    share = synthetic / len(label)
    assert (size, estimate.share) == (len(label), pytest.approx(share, abs=1e-5))
    assert estimate.high - estimate.low < 1e-5


def test_an_audit_without_a_surprise_still_has_an_interval() -> None:
    label = pl.Series(["human"] * 100 + [None] * 900, dtype=pl.String)
    estimate, _ = difference(pl.Series([0.0] * 1000), label)
    assert estimate is not None
    assert (estimate.share, estimate.high) == (0.0, 0.03)
    with pytest.raises(RecipeError, match="'robot' is unknown"):
        difference(pl.Series([0.0, 0.0]), pl.Series(["robot", None]))


@pytest.mark.skipif(not DEVELOPMENT.exists(), reason="the shared development texts are not here")
def test_held_out_documents_are_counted_within_a_point_and_a_half(builtin: Model) -> None:
    texts = prepare(pl.read_parquet(DEVELOPMENT)).filter(pl.col("slice").str.ends_with("valid"))
    texts = texts.filter(pl.col("generator_kind") != "base_lm")
    texts = texts.with_columns(p=pl.Series(builtin.score(texts["text"])).fill_nan(None)).drop_nulls("p")
    human, synthetic = (texts.filter(pl.col("label") == name)["p"].to_numpy() for name in ("human", "synthetic"))
    random = np.random.default_rng(4)
    errors, held = [], []
    for share in (0.0, 0.05, 0.2, 0.5) * 3:
        machines = round(share * 800)
        p = np.concatenate([random.choice(human, 800 - machines), random.choice(synthetic, machines)])
        best = prevalence(pl.Series(p), builtin).best
        assert best is not None
        errors.append(abs(best.share - share))
        held.append(best.low <= share <= best.high)
    assert np.mean(errors) <= 0.015
    assert np.mean(held) >= 0.9


# Sources


def _rows(model: Model, source: str, p: pl.Series, created: dt.date | None, origin: str = "human") -> pl.DataFrame:
    return pl.DataFrame({"p_model": p}).select(
        source=pl.lit(source),
        doc_id=pl.concat_str(pl.lit(f"{source} {created} "), pl.int_range(pl.len())),
        origin=pl.lit(origin),
        provenance=pl.lit(origin),
        suspect=pl.lit(value=False),
        words=pl.lit(100),
        p_model="p_model",
        p_synthetic=pl.col("p_model").cast(pl.Float32),
        created=pl.lit(created, pl.Date),
        trusted_date=pl.lit(value=True),
        own_draft=pl.lit(value=False),
        own_copy=pl.lit(value=False),
    )


def test_a_source_is_calibrated_on_its_own_dated_text_when_there_is_enough(builtin: Model) -> None:
    high = pl.Series(np.linspace(0.9, 0.999, 400))
    rows = pl.concat(
        [
            _rows(builtin, "enough", high, OLD),
            _rows(builtin, "few", high.head(198), OLD),
            _rows(builtin, "new", high, NEW),
            _rows(builtin, "plain", pl.Series(np.linspace(0.0, 0.01, 400)), OLD),
        ]
    )
    found = {row["source"]: row for row in of_sources(rows, 0.97, 0.005).iter_rows(named=True)}
    assert [found[name]["calibrated"] for name in ("enough", "few", "new", "plain")] == [True, False, False, True]
    assert [found[name]["known_human"] for name in ("enough", "few", "new", "plain")] == [400, 198, 0, 400]
    assert (found["few"]["threshold"], found["new"]["threshold"]) == (0.97, 0.97)
    assert found["plain"]["threshold"] == LOWEST_THRESHOLD
    assert (high >= found["enough"]["threshold"]).mean() <= 0.005
    shuffled = of_sources(rows.sample(fraction=1, shuffle=True, seed=1), 0.97, 0.005)
    assert shuffled.equals(of_sources(rows, 0.97, 0.005))


def test_figures_tell_declared_from_concluded_and_expect_errors_among_the_human(builtin: Model) -> None:
    rows = pl.concat(
        [
            _rows(builtin, "crawl", _drawn(builtin, 300, 100), NEW),
            _rows(builtin, "crawl", _drawn(builtin, 200, 0, seed=9), OLD),
            _rows(builtin, "made", _drawn(builtin, 0, 100), NEW, "synthetic"),
        ]
    )
    found = (pl.col("p_model") > 0.99) & (pl.col("created") == NEW) & (pl.col("source") == "crawl")
    rows = rows.with_columns(
        threshold=pl.lit(0.99),
        calibrated=pl.lit(value=False),
        suspect=found,
        provenance=pl.when(found).then(pl.lit("synthetic")).otherwise("provenance"),
    )
    told = by_source([rows.sample(fraction=1, shuffle=True, seed=2)], builtin, 0.005)
    crawl = told["crawl"]
    assert crawl.declared == {"human": 600}
    assert crawl.moved == {"human > synthetic": crawl.suspects}
    assert crawl.concluded == {"human": 600 - crawl.suspects, "synthetic": crawl.suspects}
    assert crawl.expected_wrong == pytest.approx(0.005 * 300, abs=0.2)
    assert crawl.prevalence.best is not None
    assert abs(crawl.prevalence.best.share - 1 / 6) < 0.02
    assert told["made"].prevalence.judged == 0
    share = overall(told)
    assert share is not None
    assert share.share == pytest.approx(crawl.prevalence.best.share, abs=1e-6)
    # What is counted of parts adds up, in any order.
    parts = [rows.filter(pl.col("doc_id").str.slice(-1).is_in(list(digits))) for digits in ("048c", "159d26ae", "37bf")]
    assert all(part.height for part in parts)
    assert told == by_source(parts, builtin, 0.005) == by_source(parts[::-1], builtin, 0.005)


# Models in a store


def test_a_model_is_kept_under_the_next_number_once(builtin: Model, tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "store"))
    first = keep(store, BUILTIN, "essays")
    assert (first.ref, keep(store, BUILTIN, "essays")) == ("essays@v0001", first)
    other = tmp_path / "other"
    shutil.copytree(BUILTIN, other)
    calibration = json.loads((other / "calibration.json").read_text())
    (other / "calibration.json").write_text(json.dumps(calibration | {"name": "other"}))
    assert keep(store, other, "essays").ref == "essays@v0002"
    assert [version.ref for version in versions(store, "essays")] == ["essays@v0001", "essays@v0002"]
    loaded = load_named(store.uri, "essays@v0001")
    assert (loaded.sha256, loaded.name) == (builtin.sha256, builtin.name)
    assert load_named(store.uri, "essays@v0002").name == "other"
    for key in store.keys("models/provenance/essays/v0001/"):
        name = key.rsplit("/", 1)[1]
        assert name == "model.json" or hashlib.sha256(store.get(key)).hexdigest() == name


def test_a_model_that_is_not_there_or_damaged_is_refused(tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "store"))
    kept = keep(store, BUILTIN, "essays")
    with pytest.raises(RecipeError, match=r"no model essays@v0002; it has: essays@v0001"):
        load_named(store.uri, "essays@v0002")
    with pytest.raises(RecipeError, match="use a-z"):
        keep(store, BUILTIN, "Essays!")
    key = f"models/provenance/essays/v0001/{kept.files['words.npy']}"
    store.put(key, store.get(key)[:-1])
    with pytest.raises(RecipeError, match=r"words\.npy of essays@v0001 is damaged"):
        load_named(store.uri, "essays@v0001")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[" * 100_000,
        b'{"name": "essays", "version": 2, "sha256": "a", "files": {}}',
        b'{"name": "../essays", "version": 1, "sha256": "a", "files": {}}',
        b'{"name": "essays", "version": 1, "sha256": "a", "files": {"words.npy": "../../../secret"}}',
    ],
)
def test_a_record_of_a_model_is_not_believed(tmp_path: Path, content: bytes) -> None:
    store = open_store(str(tmp_path / "store"))
    keep(store, BUILTIN, "essays")
    for stray in ("README", "v0002/README", "v0001/old/model.json", "v0002.json", "v0003"):
        store.put(f"models/provenance/essays/{stray}", b"{")
    assert [version.ref for version in versions(store, "essays")] == ["essays@v0001"]
    store.put("models/provenance/essays/v0001/model.json", content)
    with pytest.raises(IntegrityError, match=r"v0001/model\.json: "):
        load_named(store.uri, "essays@v0001")


@pytest.mark.parametrize(
    ("where", "named"), [("essays@v0001", True), ("builtin", False), ("a/b@v0001", False), ("essays@latest", False)]
)
def test_a_recipe_names_a_model_of_the_store_by_its_version(where: str, named: bool) -> None:
    assert is_ref(where) == named


# Commands


def _labelled(path: Path) -> Path:
    random = np.random.default_rng(5)
    texts, labels = [], []
    for number in range(160):
        own = ["barn", "mud", "supper", "fence"] if number % 2 else ["crucial", "delve", "vital", "overall"]
        texts.append(" ".join(random.choice([*own, "the", "of", "a", "to", "in", "it"], 100)))
        labels.append(("synthetic", "human")[number % 2])
    pl.DataFrame({"text": texts, "label": labels}).write_parquet(path)
    return path


def test_training_writes_a_folder_and_keeps_it_in_the_store(tmp_path: Path) -> None:
    labelled, store = _labelled(tmp_path / "l.parquet"), open_store(str(tmp_path / "store"))
    made = make([str(labelled)], tmp_path / "model", "farm", leave_out=False, store=store)
    assert made.use == "farm@v0001"
    assert load_named(store.uri, made.use).sha256 == load(str(tmp_path / "model")).sha256 == made.report.sha256
    again = make([str(labelled)], tmp_path / "again", "farm", leave_out=False, store=store)
    assert again.use == "farm@v0001"
    names = {path.name for path in (tmp_path / "model").iterdir()}
    assert {n: (tmp_path / "model" / n).read_bytes() for n in names} == {
        n: (tmp_path / "again" / n).read_bytes() for n in names
    }


def test_the_flow_makes_what_the_command_makes(tmp_path: Path) -> None:
    labelled, store = _labelled(tmp_path / "l.parquet"), str(tmp_path / "store")
    made = train_provenance.fn([str(labelled)], str(tmp_path / "flow"), "farm", store=store)
    options = ["--data", str(labelled), "--out", str(tmp_path / "command"), "--name", "farm", "--json"]
    result = CliRunner().invoke(cli, ["provenance", "train", *options, "--keep", "--store", store])
    told = json.loads(result.stdout)
    assert told["report"]["sha256"] == made.report.sha256
    assert (told["use"], made.use) == ("farm@v0001", "farm@v0001")


def test_classify_prints_the_share_beside_the_lines_and_takes_an_audit(tmp_path: Path) -> None:
    rows = [
        {"id": f"d{n}", "text": f"It was the {n}th day of rain, and the dog would not go out. " * 9} for n in range(30)
    ]
    (tmp_path / "t.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "a.csv").write_text("doc_id,label\n" + "".join(f"d{n},human\n" for n in range(0, 30, 2)))
    runner = CliRunner()
    result = runner.invoke(cli, ["classify", str(tmp_path / "t.jsonl"), "--json"])
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert [set(line) for line in lines] == [{"id", "p_synthetic", "provenance", "evidence"}] * 30
    assert "machine-written, EMQ:" in result.stderr
    result = runner.invoke(cli, ["classify", str(tmp_path / "t.jsonl"), "--json", "--audit", str(tmp_path / "a.csv")])
    assert "by 15 audited documents" in result.stderr


def test_an_audit_that_does_not_fit_is_refused(builtin: Model, tmp_path: Path) -> None:
    documents = pl.DataFrame({"id": ["a", "b"], "p_model": [0.1, 0.2]})
    with pytest.raises(RecipeError, match="no document has the id c"):
        prevalence_of(documents, builtin, pl.DataFrame({"id": ["a", "c"], "label": ["human", "human"]}))
    path = tmp_path / "a.csv"
    path.write_text("id,label\na,human\na,synthetic\n")
    with pytest.raises(RecipeError, match="more than one label"):
        read_audit(path)
    path.write_text("name,label\na,human\n")
    with pytest.raises(RecipeError, match="needs the columns id and label"):
        read_audit(path)
