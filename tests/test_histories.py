"""Random histories: what came in on which night decides, and nothing else that happened before."""

import json
import random
import shutil
from pathlib import Path
from typing import NamedTuple

import polars as pl
import pytest
from plain import publish_plainly, recipe_file
from texts import documents, write_jsonl

from cuvee.dataset import Dataset, open_dataset
from cuvee.schemas.errors import GateError

RECIPE = """
corpus: c
sources:
  - {name: a, uri: a/*.jsonl}
  - {name: b, uri: b/*.jsonl, origin: unknown, vanished: drop}
ingest: {max_bad_rows: 1}
filters: [{kind: length, min_words: 40}]
holdout: {share: 0.1}
provenance: {unknown_as: synthetic}
mixture: {human: {min: 0.4}, total: 6000}
"""
# What a night before the last may have been run with, though the last night is not.
OTHER = (
    "filters=[]",
    "filters=[{kind: length, min_words: 150}]",
    "dedup.threshold=0.6",
    "holdout.share=0.3",
    "mixture={seed: 1}",
    "mixture={human: {min: 0.9}, total: 2000}",
    "provenance.unknown_as=exclude",
    "publish.shard_mb=1",
    "sources.1.vanished=keep",
)


class History:
    """Files that come and go from night to night: new texts, exact and near copies, newer rows of an id, torn rows."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder, self.draw = folder, random.Random(seed)
        self.fresh = iter(documents(200, seed=seed))
        self.known: list[str] = []
        self.files: list[Path] = []
        self.recipe = recipe_file(folder, RECIPE)

    def night(self, is_stable: bool = False) -> None:
        """Write one night's files, and rename or remove one of an earlier night; is_stable: only write."""
        if self.files and not is_stable and self.draw.random() < 0.5:
            path = self.files.pop(self.draw.randrange(len(self.files)))
            if self.draw.random() < 0.5:
                path.unlink()
            else:
                self.files.append(path.rename(path.with_name(f"renamed-{path.name}")))
        for source in ("a", "b"):
            texts = [self._text() for _ in range(self.draw.randint(2, 8))]
            number = len(list(self.folder.rglob("*.jsonl")))
            path = write_jsonl(self.folder / f"{source}/{number}-{self.draw.randrange(100)}.jsonl", texts)
            with path.open("a") as file:
                file.write(json.dumps({"id": "page", "text": next(self.fresh)}) + "\n")
                file.write("{torn\n" * self.draw.randint(0, 2))
            self.files.append(path)

    def _text(self) -> str:
        how = self.draw.random() if self.known else 1.0
        text = next(self.fresh) if how > 0.4 else self.draw.choice(self.known)
        if how < 0.25:
            text += " And one more sentence stands here" + " at the end" * self.draw.randint(0, 2) + "."
        self.known.append(text)
        return text


class Ended(NamedTuple):
    """All that the last night published, and what became of each row."""

    files: list[tuple[str, str]]
    ledger: list[str]
    totals: object


def ended(store: Path) -> Ended:
    manifest = open_dataset("c", str(store)).manifest
    files = sorted((file.split, file.sha256) for file in manifest.files)
    return Ended(files, sorted(file.sha256 for file in manifest.ledger), manifest.totals)


@pytest.mark.parametrize("seed", range(2))
def test_a_rebuild_that_is_given_the_same_nights_publishes_the_same_bytes(tmp_path: Path, seed: int) -> None:
    history, draw = History(tmp_path, seed), random.Random(seed + 100)
    straight, disturbed = tmp_path / "straight", tmp_path / "disturbed"
    nights = 2 + seed % 2
    for night in range(nights):
        history.night()
        publish_plainly(history.recipe, str(straight))
        if night < nights - 1:
            # Other thresholds, another mixture, a night that is stopped or published twice, work that is deleted.
            for _ in range(draw.randint(1, 2)):
                try:
                    publish_plainly(history.recipe, str(disturbed), *draw.sample(OTHER, 2))
                except GateError:
                    publish_plainly(history.recipe, str(disturbed))
            if draw.random() < 0.5:
                shutil.rmtree(disturbed / "work")
        else:
            publish_plainly(history.recipe, str(disturbed))
    assert ended(disturbed) == ended(straight)


def published(dataset: Dataset) -> pl.DataFrame:
    return dataset.scan(None).collect().sort("doc_id")


@pytest.mark.parametrize("seed", range(3, 4))
def test_nights_differ_from_one_night_by_keepers_and_superseding_only(tmp_path: Path, seed: int) -> None:
    history = History(tmp_path, seed)
    for _ in range(2):
        history.night(is_stable=True)
        publish_plainly(history.recipe, str(tmp_path / "nights"), "mixture={}")
    publish_plainly(history.recipe, str(tmp_path / "one"), "mixture={}")
    both = [open_dataset("c", str(tmp_path / name)) for name in ("nights", "one")]
    rows = [published(dataset) for dataset in both]
    for own, other, ledger in ((0, 1, both[1].ledger()), (1, 0, both[0].ledger())):
        only = rows[own].join(rows[other], on="doc_id", how="anti")
        fate = ledger.join(only, on="doc_id", how="semi")
        assert set(fate["doc_id"]) == set(only["doc_id"])
        assert set(fate["reason"]) <= {"duplicate_exact", "duplicate_near", "superseded"}
    same = [frame.join(rows[1 - number], on="doc_id", how="semi") for number, frame in enumerate(rows)]
    told = ["text", "provenance", "language", "tokens", "epochs", "depth", "p_synthetic"]
    assert same[0].select(told).equals(same[1].select(told))
    assert same[0].height > 5
