"""Models of fastText, read by cuvee: the same labels and scores as fastText's own, whatever the model, and any damaged
file refused.
"""

import random
import struct
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import fasttext
import fasttext_pybind
import polars as pl
import pytest

from cuvee.schemas.errors import RecipeError
from cuvee.tasks.filters import _fasttext

KINDS: dict[str, dict[str, Any]] = {
    "softmax": {"loss": "softmax"},
    "one-vs-all": {"loss": "ova"},
    "negative sampling": {"loss": "ns"},
    "hierarchical": {"loss": "hs"},
    "two words": {"loss": "softmax", "wordNgrams": 2, "bucket": 5000},
    "three words, hierarchical": {"loss": "hs", "wordNgrams": 3, "bucket": 777},
    "parts of words": {"loss": "softmax", "minn": 2, "maxn": 4, "bucket": 3000},
    "parts and runs of words": {"loss": "ova", "minn": 1, "maxn": 3, "wordNgrams": 2, "bucket": 4096, "dim": 7},
    "a rare label": {"loss": "softmax", "minCount": 3, "minn": 3, "maxn": 3, "bucket": 100},
}
QUANTISED: dict[str, tuple[str, dict[str, Any]]] = {
    "quantised": ("parts of words", {}),
    "quantised, with norms": ("softmax", {"qnorm": True, "dsub": 3}),
    "pruned": ("parts of words", {"cutoff": 900, "qnorm": True}),
    "pruned runs": ("three words, hierarchical", {"cutoff": 700}),
    "pruned words": ("softmax", {"cutoff": 300}),
    "quantised labels": ("many labels", {"qout": True, "qnorm": True}),
}
NAMES = [*KINDS, *QUANTISED, "many labels"]
_SYLLABLES = ["ba", "ké", "lo", "мир", "中", "文", "ni", "ß", "ra", "to", "한", "zu", "x", "🙂", "e\u0301"]


def _words(draw: random.Random, label: int, count: int) -> str:
    """Draw words that lean to the syllables of a label."""
    own = _SYLLABLES[label % len(_SYLLABLES) :] + _SYLLABLES[: label % 4]
    return " ".join("".join(draw.choices(own[:7], k=draw.randrange(1, 5))) for _ in range(count))


def _examples(path: Path, labels: int) -> Path:
    draw = random.Random(5)
    numbers = [draw.randrange(labels) if row >= labels else row for row in range(500)]
    lines = (f"__label__n{label} {_words(draw, label, draw.randrange(3, 15))}" for label in numbers)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Train each model once, when it is asked for; gives its file."""
    folder = tmp_path_factory.mktemp("models")

    def train(name: str) -> Any:
        examples = _examples(folder / f"{name}.txt", 300 if name == "many labels" else 5)
        options = {"dim": 12, "epoch": 5, "lr": 0.5, **KINDS.get(name, {"loss": "softmax"})}
        return fasttext.train_supervised(input=str(examples), thread=1, verbose=0, **options), examples

    @cache
    def model(name: str) -> Path:
        base, options = QUANTISED.get(name, (name, None))
        trained, examples = train(base)
        if options is not None:
            trained.quantize(input=str(examples), thread=1, verbose=0, **options)
        path = folder / f"{name}.bin"
        trained.save_model(str(path))
        return path

    return model


def _texts() -> list[str]:
    draw = random.Random(9)
    known = [_words(draw, label, draw.randrange(1, 60)) for label in range(5) for _ in range(30)]
    odd = [
        "",
        " ",
        "\n\n",
        "a",
        "</s>",
        "ba </s> ké lo",
        "__label__n1 ba",
        "__label__zz ba",
        "ba\tké\x0blo\x0cra\x00to\r\nni",
    ]
    unseen = [
        "".join(chr(draw.choice((65, 0xE9, 0x4E2D, 0x1F600)) + draw.randrange(20)) for _ in range(40)) for _ in range(9)
    ]
    return [*known, *odd, *unseen, " ".join(known), "ba" * 9000]


def _tolerance(text: str) -> float:
    """Return how far scores may be apart: fastText adds the rows of long texts one by one, in 32 bits."""
    return 1e-5 if len(text) < 10_000 else 1e-4


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("written_out", [True, False])
def test_labels_and_scores_are_those_of_fasttext(
    made: Any, name: str, written_out: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, texts = made(name), _texts()
    if not written_out:  # as a model that is too large for it
        monkeypatch.setattr(_fasttext, "PLAIN_BYTES", 0)
        monkeypatch.setattr(_fasttext, "MAPPED_BYTES", 0)
    model = _fasttext._load(path, (written_out,))
    native = fasttext_pybind.fasttext()
    native.loadModel(str(path))
    expected = [
        {label.removeprefix("__label__"): score for score, label in native.predict(f"{line}\n", -1, 0.0, "strict")}
        for line in (text.replace("\n", " ") for text in texts)
    ]
    assert (model.mapped_bytes > 0) is not written_out
    found = model.likeliest(pl.Series(texts))
    for text, label, score, answers in zip(texts, found["label"], found["score"], expected, strict=True):
        if not answers:
            assert (label, score) == (None, 0.0)
            continue
        assert score == pytest.approx(max(answers.values()), abs=_tolerance(text))
        assert answers[label] == pytest.approx(max(answers.values()), abs=_tolerance(text))
    for label in model.labels[:6]:
        scores = model.scores(pl.Series(texts), label)
        for text, score, answers in zip(texts, scores, expected, strict=True):
            assert score == pytest.approx(answers.get(label, 0.0), abs=_tolerance(text))


def test_a_text_scores_the_same_alone_and_among_others(made: Any) -> None:
    model, texts = _fasttext.load(made("parts and runs of words")), pl.Series(_texts())
    alone = [model.likeliest(texts[place : place + 1]).row(0) for place in range(len(texts))]
    assert model.likeliest(texts).rows() == alone
    assert model.likeliest(texts[:0]).rows() == []


def test_a_model_is_read_anew_when_its_file_changes(made: Any, tmp_path: Path) -> None:
    path = tmp_path / "model.bin"
    path.write_bytes(made("softmax").read_bytes())
    first = _fasttext.load(path), _fasttext.content_hash(path)
    assert _fasttext.load(path) is first[0]
    other = tmp_path / "other.bin"
    other.write_bytes(made("many labels").read_bytes())
    other.replace(path)
    assert len(_fasttext.load(path).labels) == 300
    assert _fasttext.content_hash(path) != first[1]


def _damaged(content: bytes) -> Iterator[bytes]:
    """Give a file cut at many places, with bytes after its end, and with numbers and bytes of its beginning changed."""
    draw = random.Random(4)
    yield from (content[:size] for size in [*range(0, 300, 7), *(draw.randrange(len(content)) for _ in range(40))])
    yield content + b"\0"
    for place in range(0, 92, 4):
        for value in (-1, 0, 1, 1 << 20, 2**31 - 1):
            yield content[:place] + struct.pack("<i", value) + content[place + 4 :]
    for place in [*range(92, 900), *(draw.randrange(900, len(content)) for _ in range(200))]:
        yield content[:place] + bytes([content[place] ^ 1 << draw.randrange(8)]) + content[place + 1 :]


@pytest.mark.parametrize("name", ["hierarchical", "pruned", "quantised, with norms"])
def test_a_damaged_file_is_refused_or_gives_scores(made: Any, tmp_path: Path, name: str) -> None:
    content, refused = made(name).read_bytes(), 0
    texts = pl.Series(_texts()[:40])
    path = tmp_path / "damaged.bin"
    for number, damaged in enumerate(_damaged(content)):
        path.write_bytes(damaged)
        try:
            scores = _fasttext._load(path, (number,)).likeliest(texts)["score"]
            assert scores.is_between(0, 1.001).all()
        except RecipeError:
            refused += 1
    assert refused > 120
    _fasttext._load.cache_clear()


def test_sizes_are_checked_before_memory_is_taken(made: Any, tmp_path: Path) -> None:
    content = bytearray(made("softmax").read_bytes())
    struct.pack_into("<3i", content, 64, 2**31 - 1, 2**31 - 6, 5)  # two thousand million words
    path = tmp_path / "large.bin"
    path.write_bytes(content)
    with pytest.raises(RecipeError, match=r"ends early: 21,474,836,470 bytes should follow"):
        _fasttext.load(path)


@pytest.mark.parametrize(
    ("content", "told"),
    [(b"", "ends early"), (b"PK\x03\x04" + bytes(200), "does not begin"), (b"\0" * 7, "ends early")],
)
def test_what_is_no_model_is_refused(tmp_path: Path, content: bytes, told: str) -> None:
    path = tmp_path / "model.bin"
    path.write_bytes(content)
    with pytest.raises(RecipeError, match=told):
        _fasttext.load(path)
    with pytest.raises(RecipeError, match="cannot be read"):
        _fasttext.load(tmp_path / "absent.bin")


def test_word_vectors_are_no_classifier(tmp_path: Path) -> None:
    examples = _examples(tmp_path / "examples.txt", 5)
    trained = fasttext.train_unsupervised(str(examples), dim=4, epoch=1, minCount=1, thread=1, verbose=0, bucket=50)
    trained.save_model(str(tmp_path / "vectors.bin"))
    with pytest.raises(RecipeError, match="word vectors, and no classifier"):
        _fasttext.load(tmp_path / "vectors.bin")
