"""Amounts in tokens: counted by the recipe's own tokenizer, published, and counted again by a stranger."""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from plain import publish_plainly, recipe_file
from texts import documents, write_jsonl
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

import cuvee
from cuvee.schemas.errors import RecipeError
from cuvee.storage.store import open_store

RECIPE = """corpus: c
holdout: {share: 0}
sources:
  - {name: people, uri: people.jsonl, origin: human}
  - {name: machine, uri: machine.jsonl, origin: synthetic}
provenance: {suspects: keep}
mixture: {unit: tokens, tokenizer: tokenizer.json, human: {min: 0.7}}
"""


def train(path: Path, size: int) -> Path:
    """A byte-level BPE that asks for truncation and padding, as those of models do."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(
        documents(20), trainers.BpeTrainer(vocab_size=size, initial_alphabet=alphabet, show_progress=False)
    )
    tokenizer.enable_truncation(16)
    tokenizer.enable_padding(length=16)
    tokenizer.save(str(path))
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    texts = documents(60, seed=1)
    write_jsonl(tmp_path / "people.jsonl", [*texts[:20], "我用Python3写代码。\n" * 40], language="en")
    write_jsonl(tmp_path / "machine.jsonl", texts[20:])
    train(tmp_path / "tokenizer.json", 800)
    recipe_file(tmp_path, RECIPE)
    return tmp_path


def recount(folder: Path, files: list[str]) -> dict[str, int]:
    """Tokens by provenance, by nothing but Parquet and the tokenizer."""
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    found: dict[str, int] = {}
    for file in files:
        rows = pq.read_table(file, columns=["text", "provenance", "tokens", "epochs"]).to_pylist()  # type: ignore[no-untyped-call]
        for row in rows:
            assert row["tokens"] == len(tokenizer.encode(row["text"]).ids)
            found[row["provenance"]] = found.get(row["provenance"], 0) + row["tokens"] * row["epochs"]
    return found


def test_a_stranger_counts_the_tokens_that_the_manifest_has(folder: Path) -> None:
    store = str(folder / "store")
    report = publish_plainly(str(folder / "recipe.yaml"), store)
    version = cuvee.open("c", store=store)
    counted = recount(folder, version.files())
    assert counted == version.manifest.totals.by_provenance
    assert report.unit == "tokens"
    assert report.amount == sum(counted.values())
    share = counted["human"] / report.amount
    # A document more would break the floor; 300 tokens of 20,000 are what one may leave over.
    assert 0.7 <= share < 0.72
    assert set(version.manifest.models) == {"provenance", "tokenizer"}


def test_another_tokenizer_counts_anew_and_nothing_else(folder: Path) -> None:
    store, recipe = str(folder / "store"), str(folder / "recipe.yaml")
    first = publish_plainly(recipe, store)

    def measured() -> dict[str, int]:
        found: dict[str, int] = {}
        for key in open_store(store).keys("work/"):
            step = key.split("/")[1]
            found[step] = found.get(step, 0) + 1
        return {step: found[step] for step in ("ingest", "classify", "sign", "filter-language", "tokens")}

    before = measured()
    assert not publish_plainly(recipe, store).published
    assert measured() == before
    train(folder / "tokenizer.json", 400)
    second = publish_plainly(recipe, store)
    assert measured() == before | {"tokens": 2 * before["tokens"]}
    assert second.published
    assert second.amount > first.amount
    assert recount(folder, cuvee.open("c", store=store).files())


def test_words_stay_words_where_tokens_are_not_the_unit(folder: Path) -> None:
    store = str(folder / "store")
    report = publish_plainly(str(folder / "recipe.yaml"), store, "mixture.unit=words")
    assert report.unit == "words"
    rows = cuvee.open("c", store=store).scan().collect()
    assert rows["tokens"].sum() == report.amount < sum(recount_all(folder, list(rows["text"])))


def recount_all(folder: Path, texts: list[str]) -> list[int]:
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return [len(tokenizer.encode(text).ids) for text in texts]


def test_a_tokenizer_that_is_none_stops_the_run_before_it_starts(folder: Path) -> None:
    recipe, store = str(folder / "recipe.yaml"), str(folder / "store")
    with pytest.raises(RecipeError, match=r"mixture.*tokenizer: tokens are counted by a tokenizer; give the path"):
        publish_plainly(recipe, store, "mixture.tokenizer=null")
    with pytest.raises(RecipeError, match=r"mixture\.tokenizer: .*absent\.json is not a file"):
        publish_plainly(recipe, store, "mixture.tokenizer=absent.json")
    (folder / "wrong.json").write_text(json.dumps({"model": 1}))
    with pytest.raises(RecipeError, match=r"mixture\.tokenizer: .*wrong\.json: .*give a tokenizer\.json"):
        publish_plainly(recipe, store, "mixture.tokenizer=wrong.json")
