import datetime as dt
import gzip
import json
import shutil
import zipfile
from itertools import pairwise
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cuvee.schemas.errors import InputError, RecipeError
from cuvee.tasks.provenance import layout
from cuvee.tasks.provenance.calibrate import platt
from cuvee.tasks.provenance.card import card
from cuvee.tasks.provenance.classify import classify_files
from cuvee.tasks.provenance.conclude import PATTERNS, Thresholds, conclude, phrase, score
from cuvee.tasks.provenance.evaluate import auroc, calibration_error, evaluate, true_positive_rate
from cuvee.tasks.provenance.fit import TrainingOptions
from cuvee.tasks.provenance.kernel import LENGTH_POWER
from cuvee.tasks.provenance.model import BUILTIN, Model, Weights, load
from cuvee.tasks.provenance.tokens import tokenize, word_hash
from cuvee.tasks.provenance.train import prepare, train
from cuvee.tasks.provenance.unseen import unseen

SHARED = Path(__file__).parents[2] / "shared"
DEVELOPMENT = SHARED / "provenance" / "provenance_dev.parquet"
SMALL = TrainingOptions(name="small", folds=2, buckets=5_000, min_texts=50)
THRESHOLDS = Thresholds(synthetic=0.9, human=0.1)

HUMAN_WORDS = [
    "barn",
    "mud",
    "grinned",
    "dunno",
    "fetched",
    "crooked",
    "supper",
    "cart",
    "muttered",
    "rain",
    "dog",
    "fence",
    "whistle",
    "boots",
    "lantern",
]
MACHINE_WORDS = [
    "furthermore",
    "crucial",
    "tapestry",
    "delve",
    "comprehensive",
    "insights",
    "leverage",
    "overall",
    "essential",
    "vital",
]
SHARED_WORDS = ["the", "of", "and", "a", "to", "in", "it", "was", "for", "on", "with", "at", "by", "from"]


@pytest.fixture(scope="session")
def labelled() -> pl.DataFrame:
    """400 texts in two vocabularies that overlap, in groups of two."""
    random = np.random.default_rng(5)
    rows = []
    for number in range(400):
        label = ("human", "synthetic")[number % 2]
        own, other = (HUMAN_WORDS, MACHINE_WORDS) if label == "human" else (MACHINE_WORDS, HUMAN_WORDS)
        share = random.uniform(0.05, 0.5)
        words = random.choice([*SHARED_WORDS, *own, *other], 110, p=_odds(own, other, share))
        rows.append((" ".join(words), label, f"document {number // 4}", ("farm", "office")[number // 4 % 2]))
    frame = pl.DataFrame(rows, schema=["text", "label", "group", "domain"], orient="row")
    return frame.with_columns(
        generator=pl.when(pl.col("label") == "human")
        .then(pl.lit("human"))
        .otherwise(pl.concat_str(pl.lit("machine "), pl.int_range(pl.len()) % 7))
    )


def _odds(own: list[str], other: list[str], share: float) -> list[float]:
    weights = [0.5 / len(SHARED_WORDS)] * len(SHARED_WORDS)
    weights += [0.5 * (1 - share) / len(own)] * len(own) + [0.5 * share / len(other)] * len(other)
    return weights


@pytest.fixture(scope="session")
def small(labelled: pl.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("small")
    train(labelled, folder, SMALL)
    return folder


@pytest.fixture(scope="session")
def builtin() -> Model:
    return load()


def _files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


# Layout and kernel


def test_layout_hides_lines_markup_and_typography_and_keeps_case_and_marks() -> None:
    text = "# A title\n\n* one **bold** “thing”\n2. don’t\t`stop` — 1,234…"
    (line,) = pl.DataFrame({"t": [text]}).select(layout.normalise(pl.col("t")))["t"]
    assert line.split() == ["A", "title", "one", "bold", '"', "thing", '"', "don't", "stop", *"-0,0..."]


@settings(max_examples=60, deadline=None)
@given(st.text())
def test_normalising_leaves_no_line_break_and_no_control_character(text: str) -> None:
    (line,) = pl.DataFrame({"t": [text]}, schema={"t": pl.String}).select(layout.normalise(pl.col("t")))["t"]
    assert not any(ord(character) < 32 or character in "\u2028\u2029*_`#" for character in line)


def _tokens(texts: list[str]) -> list[list[int]]:
    tokens, ends = tokenize(pl.Series(texts, dtype=pl.String))
    return [(tokens[first:end] & 0xFFFFFFFF).tolist() for first, end in pairwise(ends)]


def _defined(texts: list[str]) -> list[list[int]]:
    lines = pl.DataFrame({"t": texts}, schema={"t": pl.String}).select(layout.normalise(pl.col("t")))["t"]
    return [[word_hash(token) for token in line.split(" ") if token] for line in lines]


TRICKY = st.one_of(
    st.text(),
    st.text(st.sampled_from("aZé١\u0301 \t\n\r.)-+•*>#'\"“’—…«12\u200b\u2028\u00a0中😀ǅⅧ"), max_size=60),
    st.lists(st.sampled_from(["\n", "1. ", "- ", "  * ", "###### ", "1234) ", "''", "aB", "x", "a\u0301B"])).map(
        "".join
    ),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(TRICKY, max_size=8))
def test_the_compiled_reading_gives_the_tokens_that_the_layout_defines(texts: list[str]) -> None:
    assert _tokens(texts) == _defined(texts)


@pytest.mark.parametrize("size", [layout.MAX_CHARACTERS - 1, layout.MAX_CHARACTERS, layout.MAX_CHARACTERS + 1])
@pytest.mark.parametrize("ending", ["1. end", "’’'' x", "— y", "\n- z", "…"])
def test_the_compiled_reading_ends_where_the_layout_does(size: int, ending: str) -> None:
    text = "é" * (size - len(ending) // 2 - 1) + "\n" + ending
    assert _tokens([text, "after"]) == _defined([text, "after"])


def test_each_code_point_has_the_class_of_the_regular_expressions() -> None:
    sample = [chr(point) for point in range(0, 0x110000, 37) if not 0xD800 <= point < 0xE000]
    texts = [f"x{character}Y" for character in sample]
    assert _tokens(texts) == _defined(texts)


def test_a_weight_is_the_sum_of_words_and_pairs_by_their_number() -> None:
    words = sorted(word_hash(word) for word in ("a", "b"))
    weights = Weights(np.array(words, np.uint32), np.array([1, 1], np.float32), np.full(64, 0.5, np.float32))
    # Two known words, one unknown, two pairs.
    assert weights.weigh(pl.Series(["a b c"])).weight[0] == pytest.approx(3 / 4**LENGTH_POWER)


def test_a_text_weighs_the_same_alone_and_among_others(builtin: Model, labelled: pl.DataFrame) -> None:
    texts = labelled["text"].head(20)
    together = builtin.weights.weigh(texts)[0]
    alone = [builtin.weights.weigh(texts.slice(index, 1))[0][0] for index in range(20)]
    assert together.tolist() == alone


# Training


def test_the_same_texts_in_another_order_give_the_same_bytes(
    labelled: pl.DataFrame, small: Path, tmp_path: Path
) -> None:
    train(labelled.sample(fraction=1, shuffle=True, seed=3), tmp_path, SMALL)
    assert _files(tmp_path) == _files(small)


def test_other_texts_give_another_version(labelled: pl.DataFrame, small: Path, tmp_path: Path) -> None:
    train(labelled.head(380), tmp_path, SMALL)
    assert load(str(tmp_path)).version != load(str(small)).version


def test_texts_of_the_evaluation_slice_and_base_continuations_are_not_trained_on(
    labelled: pl.DataFrame, small: Path, tmp_path: Path
) -> None:
    more = pl.concat(
        [
            labelled.with_columns(slice=pl.lit("dev_train"), generator_kind=pl.lit("")),
            labelled.head(9).with_columns(pl.col("text") + " x", slice=pl.lit("dev_valid"), generator_kind=pl.lit("")),
            labelled.head(5).with_columns(
                pl.col("text") + " y", slice=pl.lit("dev_train"), generator_kind=pl.lit("base_lm")
            ),
        ]
    )
    report = train(more, tmp_path, SMALL)
    assert (report.kept_for_evaluation, report.base_continuations_left_out) == (9, 5)
    assert _files(tmp_path) == _files(small)


def test_training_refuses_unknown_labels_and_missing_columns(labelled: pl.DataFrame, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="'robot' is unknown"):
        train(labelled.with_columns(label=pl.lit("robot")), tmp_path, SMALL)
    with pytest.raises(RecipeError, match="no column text"):
        train(labelled.drop("text"), tmp_path, SMALL)
    with pytest.raises(RecipeError, match="both human and synthetic"):
        train(labelled.filter(pl.col("label") == "human"), tmp_path, SMALL)


def test_a_path_shared_by_many_texts_is_no_document() -> None:
    frame = pl.DataFrame({"text": [f"text {n}" for n in range(204)], "label": "human"})
    frame = frame.with_columns(source_path=pl.when(pl.int_range(pl.len()) < 3).then(pl.lit("a")).otherwise(pl.lit("b")))
    groups = prepare(frame).group_by("group").len()["len"].sort(descending=True).to_list()
    assert groups == [3] + [1] * 201


def test_platt_recovers_a_known_slope_whatever_the_share_of_each_label() -> None:
    random = np.random.default_rng(0)
    # Normal weights of one variance v, means m apart, are told apart by log-odds of slope m / v; here 2.8 / 4.
    weight = np.concatenate([random.normal(2, 2, 10_000), random.normal(-0.8, 2, 40_000)])
    slope, intercept = platt(weight, np.arange(50_000) < 10_000)
    assert abs(slope - 0.7) < 0.03
    assert abs(intercept + 0.7 * 0.6) < 0.03


# The model


def test_thresholds_bound_the_rate_on_the_held_out_texts_of_each_domain(small: Path) -> None:
    model = load(str(small))
    assert model.threshold(0.02) >= model.threshold(0.1)
    assert model.human_threshold(0.02) <= model.human_threshold(0.1) <= 0.5
    with pytest.raises(RecipeError, match=r"cannot support 0\.001"):
        model.threshold(0.001)
    with pytest.raises(RecipeError, match="not a rate"):
        model.threshold(0)


@pytest.mark.parametrize("name", ["words.npy", "calibration.json", "pair_weights.npy"])
def test_a_missing_or_damaged_model_is_refused(small: Path, tmp_path: Path, name: str) -> None:
    folder = tmp_path / "model"
    shutil.copytree(small, folder)
    (folder / name).write_bytes((folder / name).read_bytes()[:40])
    with pytest.raises(RecipeError, match="damaged"):
        load(str(folder))
    (folder / name).unlink()
    with pytest.raises(RecipeError, match="cuvee provenance train"):
        load(str(folder))


def test_the_hash_of_a_model_changes_with_any_of_its_files(small: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(small, folder)
    (folder / "CARD.md").write_text("prose")
    assert load(str(folder)).sha256 == load(str(small)).sha256
    text = (folder / "calibration.json").read_text()
    (folder / "calibration.json").write_text(text.replace('"name": "small"', '"name": "other"'))
    assert load(str(folder)).sha256 != load(str(small)).sha256


ODD_TEXTS = {
    "empty": "",
    "one word": "word",
    "one long line": "lorem ipsum dolor sit amet " * 40_000,
    "one long word": "a" * 1_000_000,
    "control characters": "\x00\x01\x02\x1f \x7f" * 200,
    "right to left": "‏שלום עולם זה טקסט " * 60,
    "punctuation": "!? ... ;;; -- " * 100,
    "numbers": "1234 5678.90 " * 200,
    "joiners": "\u200b\ufeff\u2028\ufe0f " * 100,
    "template": "__label__human </s> " * 100,
}


@pytest.mark.parametrize("text", ODD_TEXTS.values(), ids=ODD_TEXTS)
def test_odd_texts_get_a_probability_or_none_and_never_an_error(builtin: Model, text: str) -> None:
    (p,) = score(pl.Series([text]), None, builtin)["p_model"]
    assert p is None or 0 <= p <= 1


@pytest.mark.parametrize("name", ["empty", "one word", "one long word", "right to left", "punctuation", "numbers"])
def test_texts_the_model_cannot_read_get_no_probability(builtin: Model, name: str) -> None:
    assert score(pl.Series([ODD_TEXTS[name]]), None, builtin)["p_model"].to_list() == [None]


def test_the_model_is_silent_under_80_words_outside_its_languages_and_on_null(builtin: Model) -> None:
    text = pl.Series(["the cat sat on a mat with it " * 10, "the cat sat on a mat with it " * 9 + "the cat", None] * 2)
    language = pl.Series(["en", "en", "en", "fr", None, "en"])
    scored = score(text, language, builtin)["p_model"].is_not_null().to_list()
    assert scored == [True, False, False, False, False, False]
    assert score(text.head(0), None, builtin).schema == {"p_model": pl.Float64, "phrase": pl.String}
    nothing = score(pl.Series([None, None], dtype=pl.String), None, builtin)
    assert nothing["p_model"].null_count() == 2


def test_other_languages_are_recognised_by_their_words(builtin: Model) -> None:
    french = "Les habitants du village se sont réunis hier soir pour discuter du nouveau projet de route qui doit "
    assert score(pl.Series([french * 8]), None, builtin)["p_model"].to_list() == [None]


# Phrases


@pytest.mark.parametrize(
    ("text", "slug"),
    [
        ("As an AI language model, I do not have feelings.", "self-description"),
        ("Sure. As an AI developed by OpenAI, I cannot do this.", "self-description"),
        ("I'm sorry, but I cannot assist with that request.", "refusal"),
        ("I cannot fulfill that request as an AI.", "refusal"),
        ("As of my last knowledge update in 2021, it was.", "knowledge-cutoff"),
        ("The answer is 4.<|im_end|>\n", "template-token"),
        ("<|im_start|>assistant\nHello", "template-token"),
        ("See [1]:contentReference[oaicite:0]{index=0}.", "citation-mark"),
        ("Prices rose. turn0search0", "citation-mark"),
        ("https://example.org/?utm_source=chatgpt.com", "tracking-link"),
        ('He wrote: "As an AI language model, I cannot", and everybody laughed.', None),
        ("The chat template puts `<|im_start|>user` before each turn of the user and so on.", None),
        ("as an aid to sailors, I gave language lessons; the model was sorry, but I was not", None),
        ("", None),
        (None, None),
    ],
)
def test_assistant_phrases_are_named_and_talk_about_them_is_not(text: str | None, slug: str | None) -> None:
    assert phrase(pl.Series([text], dtype=pl.String)).to_list() == [slug]


def test_phrases_keep_the_order_of_the_texts() -> None:
    texts = pl.Series(["a", "As an AI language model, I am", None, "b<|endoftext|>"])
    assert phrase(texts).to_list() == [None, "self-description", None, "template-token"]
    assert set(phrase(texts).drop_nulls()) <= set(PATTERNS)


# Conclusions

EVIDENCE = {
    "origin": "unknown",
    "own_draft": False,
    "own_copy": False,
    "c2pa": None,
    "marking": None,
    "phrase": None,
    "created": None,
    "trusted_date": False,
    "words": 100,
    "p_model": None,
}
NOTES = dict.fromkeys(["marking", "c2pa", "phrase"], pl.String)
TYPES = {**NOTES, "created": pl.Date, "words": pl.Int64, "p_model": pl.Float64}
OLD = {"created": dt.date(2022, 11, 29), "trusted_date": True}


def _conclude(thresholds: Thresholds = THRESHOLDS, **evidence: object) -> dict[str, object]:
    frame = pl.DataFrame([EVIDENCE | evidence], schema_overrides=TYPES)
    return conclude(frame, thresholds).row(0, named=True)


@pytest.mark.parametrize(
    ("evidence", "provenance", "suspect"),
    [
        ({}, "unknown", False),
        ({"p_model": 0.9}, "synthetic", False),
        ({"p_model": 0.899999}, "unknown", False),
        ({"p_model": 0.1}, "human", False),
        ({"p_model": 0.95, "words": 79}, "unknown", False),
        ({"p_model": 0.05, "words": 79}, "unknown", False),
        ({"p_model": float("nan")}, "unknown", False),
        ({"phrase": "refusal", "words": 9}, "synthetic", False),
        ({"phrase": "refusal", "p_model": 0.000001}, "synthetic", False),
        ({"c2pa": "synthetic", "p_model": 0.01}, "synthetic", False),
        ({"c2pa": "present", "p_model": 0.01}, "human", False),
        ({"origin": "human"}, "human", False),
        ({"origin": "human", "p_model": 0.5}, "human", False),
        ({"origin": "human", "p_model": 0.9}, "synthetic", True),
        ({"origin": "human", "c2pa": "synthetic"}, "synthetic", True),
        ({"origin": "human", "phrase": "refusal"}, "synthetic", True),
        ({"origin": "human", "marking": "synthetic"}, "synthetic", True),
        ({"origin": "human", "marking": "synthetic", "p_model": 0.01, **OLD}, "synthetic", True),
        ({"origin": "human", "marking": "human", "p_model": 0.95}, "synthetic", True),
        ({"marking": "synthetic", "p_model": 0.01}, "synthetic", False),
        ({"marking": "human"}, "unknown", False),
        ({"marking": "unknown", "p_model": 0.01}, "human", False),
        ({"origin": "human", "own_copy": True, "marking": "synthetic"}, "synthetic", False),
        ({"origin": "human", "p_model": 0.95, "words": 79}, "human", False),
        ({"origin": "human", "own_copy": True, "p_model": 0.01}, "synthetic", False),
        ({"origin": "human", "p_model": 1.0, **OLD}, "human", False),
        ({"origin": "human", "phrase": "refusal", "c2pa": "synthetic", **OLD}, "human", False),
        ({"origin": "synthetic", "p_model": 0.0}, "synthetic", False),
        ({"origin": "synthetic", **OLD}, "synthetic", False),
        ({"own_draft": True, "p_model": 0.0}, "synthetic", False),
        ({"p_model": 1.0, **OLD}, "unknown", False),
        ({"phrase": "refusal", "p_model": 0.2, **OLD}, "unknown", False),
        ({"c2pa": "synthetic", "p_model": 0.2, **OLD}, "unknown", False),
        ({"p_model": 0.95, **OLD}, "human", False),
        ({"p_model": 0.95, **OLD, "trusted_date": False}, "synthetic", False),
        ({"p_model": 0.95, **OLD, "created": dt.date(2022, 11, 30)}, "synthetic", False),
        ({**OLD}, "unknown", False),
    ],
)
def test_evidence_leads_to_a_conclusion(evidence: dict[str, object], provenance: str, suspect: bool) -> None:
    concluded = _conclude(**evidence)
    assert (concluded["provenance"], concluded["suspect"]) == (provenance, suspect)


@pytest.mark.parametrize(
    ("suspects", "calibrated", "elsewhere"),
    [
        ("auto", "synthetic", "human"),
        ("relabel", "synthetic", "synthetic"),
        ("drop", "synthetic", "synthetic"),
        ("keep", "human", "human"),
    ],
)
def test_what_becomes_of_a_suspect_is_an_option(suspects: str, calibrated: str, elsewhere: str) -> None:
    thresholds = THRESHOLDS.model_copy(update={"suspects": suspects})
    for own, provenance in ((True, calibrated), (False, elsewhere)):
        concluded = _conclude(thresholds, origin="human", p_model=0.97, threshold=0.9, calibrated=own)
        assert (concluded["provenance"], concluded["suspect"]) == (provenance, True)
    # A phrase does not depend on the model's error.
    phrased = _conclude(thresholds, origin="human", phrase="refusal", threshold=0.9, calibrated=False)
    assert phrased["provenance"] == calibrated
    # Nor does cuvee's own mark.
    marked = _conclude(thresholds, origin="human", marking="synthetic", threshold=0.9, calibrated=False)
    assert marked["provenance"] == calibrated


def test_an_undeclared_document_is_called_synthetic_where_the_model_is_not_calibrated_too() -> None:
    assert _conclude(p_model=0.97, threshold=0.9, calibrated=False)["provenance"] == "synthetic"


def test_a_declaration_never_moves_the_probability() -> None:
    for evidence in ({"p_model": 0.7}, {"p_model": 0.7, **OLD}, {"p_model": 0.7, "phrase": "refusal"}, {"words": 3}):
        probabilities = {
            _conclude(origin=origin, own_copy=own, c2pa=c2pa, **evidence)["p_synthetic"]
            for origin in ("human", "synthetic", "unknown")
            for own in (False, True)
            for c2pa in (None, "present", "synthetic")
        }
        assert len(probabilities) == 1


def test_a_trusted_date_lowers_the_odds_by_the_stated_prior_and_a_phrase_raises_them() -> None:
    assert _conclude(p_model=0.5, **OLD)["p_synthetic"] == pytest.approx(0.001, abs=1e-6)
    assert _conclude(p_model=0.5, phrase="refusal")["p_synthetic"] == pytest.approx(0.999, abs=1e-6)
    assert _conclude(p_model=0.5)["p_synthetic"] == 0.5


def test_evidence_is_listed_with_the_weightiest_first() -> None:
    notes = {"marking": "synthetic", "c2pa": "present", "phrase": "refusal"}
    concluded = _conclude(origin="human", own_copy=True, p_model=0.0312, **notes, **OLD)
    assert concluded["evidence"] == (
        "lineage:own_copy,declared:human,marking:synthetic,c2pa:present,phrase:refusal:+6.9,date:-6.9,model:0.031"
    )
    assert _conclude()["evidence"] == ""


# Files


def test_files_of_each_format_are_classified_by_text_alone(builtin: Model, tmp_path: Path) -> None:
    machine = "Sure! As an AI language model, I do not have opinions. " + "It is important to note that. " * 20
    rows = [{"id": "a", "text": machine, "origin": "human"}, {"id": 7, "text": "short"}, {"text": "no id"}]
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (tmp_path / "b.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
    pl.DataFrame({"id": ["p"], "text": [machine], "provenance": ["human"]}).write_parquet(tmp_path / "a.parquet")
    (tmp_path / "c.txt").write_text("only a few words", encoding="utf-8")
    with zipfile.ZipFile(tmp_path / "d.zip", "w") as archive:
        for name, content in {"x/e.jsonl": '{"text": "of a member"}\n', "f.md": "a page", "LICENSE": "no text"}.items():
            archive.writestr(name, content)
    answers = pl.concat(classify_files([tmp_path], builtin, THRESHOLDS))
    assert answers.schema == {
        "id": pl.String, "p_synthetic": pl.Float32, "provenance": pl.String, "evidence": pl.List(pl.String),
        "p_model": pl.Float64,
    }  # fmt: skip
    others = ["b.jsonl.gz:2", "c.txt", "d.zip/x/e.jsonl:0", "d.zip/f.md"]
    assert answers["id"].to_list() == ["p", "a", "7", *(f"{tmp_path}/{name}" for name in others)]
    assert answers["provenance"].to_list() == ["synthetic"] * 2 + ["unknown"] * 5
    assert answers["evidence"].list.first().to_list() == ["phrase:self-description:+6.9"] * 2 + [None] * 5


def test_a_bad_line_is_named_after_the_lines_before_it(builtin: Model, tmp_path: Path) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_text('{"text": "good"}\n{"text": \n', encoding="utf-8")
    answers = classify_files([path], builtin, THRESHOLDS)
    assert len(next(answers)) == 1
    with pytest.raises(InputError, match=r"bad\.jsonl, line 2"):
        next(answers)
    with pytest.raises(InputError, match=r"absent\.txt"):
        list(classify_files([tmp_path / "absent.txt"], builtin, THRESHOLDS))


# Figures


def test_figures_of_a_small_ranking_are_right() -> None:
    p, synthetic = np.array([0.1, 0.2, 0.2, 0.9]), np.array([False, True, False, True])
    assert auroc(p, synthetic) == 0.875
    assert true_positive_rate(p, synthetic, 0.01) == 0.5
    assert calibration_error(np.array([0.25, 0.25, 0.25, 0.25]), synthetic) == 0.25


def test_the_card_says_what_was_measured(labelled: pl.DataFrame, small: Path) -> None:
    evaluation = evaluate(load(str(small)), labelled, max_false_positive_rate=0.05)
    text = card(evaluation, None, unseen(labelled, SMALL, rate=0.05))
    assert f"| AUROC | {evaluation.auroc:.4f} |" in text
    assert f"{evaluation.threshold:.6f}" in text
    assert "| farm |" in text
    assert "generators, part 1" in text


def test_an_evaluation_needs_both_kinds(labelled: pl.DataFrame, small: Path) -> None:
    with pytest.raises(RecipeError, match="needs human and synthetic"):
        evaluate(load(str(small)), labelled.filter(pl.col("label") == "human"), 0.05)


# The built-in model


def test_the_built_in_card_agrees_with_the_model_beside_it(builtin: Model) -> None:
    text = (BUILTIN / "CARD.md").read_text(encoding="utf-8")
    assert builtin.sha256 in text
    assert f"| {builtin.threshold(0.005):.6f} |" in text
    assert f"| {builtin.human_threshold():.6f} |" in text
    assert builtin.languages == ("en",)
    assert sum(path.stat().st_size for path in BUILTIN.iterdir()) < 4_000_000


@pytest.mark.skipif(not DEVELOPMENT.exists(), reason="the shared development texts are not here")
def test_the_built_in_model_tells_held_out_texts_apart(builtin: Model) -> None:
    evaluation = evaluate(builtin, pl.read_parquet(DEVELOPMENT))
    assert evaluation.auroc >= 0.985
    assert evaluation.tpr_at_fpr_001 >= 0.85
    assert evaluation.ece <= 0.015
    assert all(rate.rate <= 0.01 for rate in evaluation.false_positives)


@pytest.mark.skipif(not DEVELOPMENT.exists(), reason="the shared corpora are not here")
def test_known_human_corpora_are_not_called_synthetic(builtin: Model) -> None:
    thresholds = Thresholds(synthetic=builtin.threshold(), human=builtin.human_threshold())
    paths = [SHARED / "corpora" / name for name in ("standards", "mixed_parquet", "csv", "txt")]
    answers = pl.concat(classify_files(paths, builtin, thresholds))
    assert len(answers) > 3_000
    assert (answers["provenance"] == "synthetic").mean() <= 0.005


def test_nobody_mutates_the_weights(builtin: Model) -> None:
    assert isinstance(builtin.weights, Weights)
    before = builtin.weights.pairs.sum()
    builtin.score(pl.Series(["the cat sat on a mat " * 40]))
    assert builtin.weights.pairs.sum() == before
