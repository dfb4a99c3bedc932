"""Marks: published files say what they hold, and are known again when they come back as a source."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from plain import publish_plainly, recipe_file
from texts import documents, write_jsonl

import cuvee
from cuvee.flows.curate import curate
from cuvee.schemas.marking import KEY, MOST_GENERATORS, mark_of, read_mark, write_mark

RECIPE = """
corpus: words
sources:
  - {name: manual, uri: a.jsonl, license: PSF-2.0}
holdout: {share: 0}
generate:
  - {name: baseline, generator: ngram, allow_baseline: true}
mixture: {human: {min: 0.7}}
"""
AGAIN = """
corpus: again
sources:
  - {name: found, uri: "*.parquet", license: PSF-2.0}
holdout: {share: 0}
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a store in which `words` is published, human text and drafts."""
    folder = tmp_path_factory.mktemp("made")
    write_jsonl(folder / "a.jsonl", documents(40))
    publish_plainly(recipe_file(folder, RECIPE), str(folder / "store"))
    return folder


def files_of(folder: Path, store: str = "store", ref: str = "words") -> dict[str, bytes]:
    """Return the data files of a version by their SHA-256."""
    dataset = cuvee.open(ref, store=str(folder / store))
    return {file.sha256: (folder / store / file.path).read_bytes() for file in dataset.manifest.files}


def marks(folder: Path, store: str = "store") -> list[dict[str, Any] | None]:
    found = (pq.ParquetFile(pa.BufferReader(content)).metadata.metadata for content in files_of(folder, store).values())
    return [json.loads(metadata[KEY.encode()]) if KEY.encode() in metadata else None for metadata in found]


def again(folder: Path, tables: Mapping[str, bytes], *overrides: str) -> tuple[pl.DataFrame, list[str]]:
    """Use files as a source that is declared human; return the ledger and the warnings."""
    folder.mkdir(exist_ok=True)
    for name, content in tables.items():
        (folder / f"{name[:12]}.parquet").write_bytes(content)
    report = publish_plainly(recipe_file(folder, AGAIN), str(folder / "store"), *overrides)
    return cuvee.open("again", store=str(folder / "store")).ledger(), list(report.warnings)


def remarked(content: bytes, mark: bytes | None, rows: slice = slice(None)) -> bytes:
    """Write rows of a file again with another mark, or none."""
    table = pq.read_table(pa.BufferReader(content))
    sink = pa.BufferOutputStream()
    pq.write_table(table[rows].replace_schema_metadata({KEY: mark} if mark is not None else None), sink)
    return bytes(sink.getvalue())


def synthetic_file(folder: Path) -> bytes:
    dataset = cuvee.open("words", store=str(folder / "store"))
    of_drafts = next(file for file in dataset.manifest.files if file.stratum.provenance == "synthetic")
    return (folder / "store" / of_drafts.path).read_bytes()


def test_every_published_file_says_what_its_rows_are(made: Path) -> None:
    frame = cuvee.open("words", store=str(made / "store")).scan().collect()
    found = sorted((mark for mark in marks(made) if mark), key=lambda mark: str(mark["provenance"]))
    assert len(found) == len(files_of(made)) == 2
    counts = dict(frame.group_by("provenance").len().iter_rows())
    plain = {"published_by": "cuvee", "format": 1, "corpus": "words", "more_generators": 0}
    assert found[0] == {
        **plain, "provenance": "human", "synthetic_share": 0.0, "rows": counts["human"], "generators": []
    }  # fmt: skip
    (model,) = frame.filter(pl.col("provenance") == "synthetic")["model"].unique()
    assert found[1] == {
        **plain, "provenance": "synthetic", "synthetic_share": 1.0, "rows": counts["synthetic"],
        "generators": [{"generator": "ngram", "model": model}],
    }  # fmt: skip


def test_published_files_that_come_back_as_human_are_known_again(made: Path, tmp_path: Path) -> None:
    ledger, warnings = again(tmp_path, files_of(made))
    written = cuvee.open("words", store=str(made / "store")).scan().select("doc_id", "provenance").collect()
    rows = ledger.join(written, on="doc_id", suffix="_written")
    assert rows.height == written.height
    assert rows.filter(pl.col("provenance") != pl.col("provenance_written")).is_empty()
    spoken = rows.group_by("provenance").agg(pl.col("evidence").str.split(",").list.head(2).unique())
    assert dict(spoken.iter_rows()) == {
        "human": [["declared:human", "marking:human"]],
        "synthetic": [["declared:human", "marking:synthetic"]],
    }
    assert not any("mark" in line for line in warnings)


def test_an_undeclared_file_is_synthetic_by_its_mark(made: Path, tmp_path: Path) -> None:
    ledger, _ = again(tmp_path, {"drafts": synthetic_file(made)}, "sources.0.origin=unknown")
    assert set(ledger["provenance"]) == {"synthetic"}
    assert set(ledger["evidence"].str.split(",").list.first()) == {"marking:synthetic"}


def test_a_mark_that_is_forged_or_damaged_is_ignored_in_words(made: Path, tmp_path: Path) -> None:
    content = synthetic_file(made)
    own = pq.ParquetFile(pa.BufferReader(content)).metadata.metadata[KEY.encode()]
    odd = {"bytes": b"\xff\xfe", "brief": b'{"published_by":"cuvee"}', "deep": b"[" * 200_000, "long": b" " * 300_000}
    files = {"plain": remarked(content, None, slice(0, 1)), "joined": remarked(content, own, slice(1, 2))}
    for place, (name, mark) in enumerate(odd.items(), 2):
        files[name] = remarked(content, mark, slice(place, place + 1))
    ledger, warnings = again(tmp_path, files)
    assert ledger["provenance"].to_list() == ["human"] * 6
    assert not ledger["evidence"].str.contains("marking").any()
    (told,) = (line for line in warnings if "mark" in line)
    lines = dict(line.removeprefix("source found: ").strip().split(": ", 1) for line in told.splitlines())
    start, end = "cuvee's mark in its metadata is not believed: ", "; its rows are taken as declared"
    rows = json.loads(own)["rows"]
    assert lines == {
        "joined.parquet": f"{start}it speaks of {rows} rows, and the file has 1{end}",
        **{f"{name}.parquet": f"{start}it is not as cuvee writes it{end}" for name in odd},
    }


def test_a_mark_whose_share_contradicts_it_is_not_read() -> None:
    mark = mark_of("a", "synthetic", 3, [])
    assert read_mark(write_mark(mark).encode(), 3) == mark
    with pytest.raises(ValueError, match="contradicts"):
        read_mark(write_mark(mark).replace("1.0", "0.0").encode(), 3)
    with pytest.raises(ValueError, match="3 rows, and the file has 1,000"):
        read_mark(write_mark(mark).encode(), 1000)


def test_a_mark_names_so_many_generators_and_counts_the_rest() -> None:
    pairs = [(f"g{number:03d}", None) for number in range(100)] + [("long" * 100, "m"), (None, None)]
    mark = mark_of("a", "synthetic", 101, reversed(pairs))
    assert [one.generator for one in mark.generators] == [f"g{number:03d}" for number in range(MOST_GENERATORS)]
    assert mark.more_generators == 101 - MOST_GENERATORS
    assert mark_of("a", "unknown", 1, []).synthetic_share is None


def test_marking_none_writes_no_mark_and_the_card_says_so(made: Path, tmp_path: Path) -> None:
    shutil.copy(made / "a.jsonl", tmp_path)
    publish_plainly(recipe_file(tmp_path, RECIPE), str(tmp_path / "store"), "publish.marking=none")
    assert set(map(str, marks(tmp_path))) == {"None"}
    stripped = {remarked(content, None) for content in files_of(made).values()}
    assert {remarked(content, None) for content in files_of(tmp_path).values()} == stripped
    assert "The data files carry no mark (`publish.marking: none`)." in card(tmp_path)


def test_the_card_names_share_and_generators(made: Path) -> None:
    frame = cuvee.open("words", store=str(made / "store")).scan().collect()
    synthetic = frame.filter(pl.col("provenance") == "synthetic")["tokens"].sum() / frame["tokens"].sum()
    assert f"Synthetic share of the version: {synthetic:.4f} of the words." in card(made)
    assert "Generators of this corpus: baseline (ngram, model none)." in card(made)
    assert "under the key `cuvee`" in card(made)


def card(folder: Path) -> str:
    (path,) = (folder / "store/corpora/words/reports").rglob("README.md")
    return path.read_text(encoding="utf-8")


@pytest.mark.usefixtures("prefect_api")
def test_marked_files_are_the_same_whoever_carries_the_run_out(made: Path, tmp_path: Path) -> None:
    shutil.copy(made / "a.jsonl", tmp_path)
    curate(recipe=recipe_file(tmp_path, RECIPE), store=str(tmp_path / "store"))
    assert files_of(tmp_path) == files_of(made)
