"""Export: equal mixed shards, the same after a kill, in three formats, and what other readers make of them."""

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hub import hub
from made import Files, publish

from cuvee.commands import main
from cuvee.dataset import Dataset
from cuvee.export import export
from cuvee.schemas.document import PUBLISHED
from cuvee.schemas.errors import RecipeError

STRATA = [
    Files("news", "human", [[500, 300], [400]]),
    Files("rephrased", "synthetic", [[100] * 5], (1, 3)),
    Files("letters", "human", [[5], [3]], (2,)),
    Files("news", "human", [[20]], split="validation"),
]
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return publish(str(tmp_path_factory.mktemp("made") / "store"), STRATA)


@pytest.fixture
def run(made: Dataset, capsys: pytest.CaptureFixture[str]) -> Run:
    def export_by_command(*arguments: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as end:
            main(["export", "made", *map(str, arguments), "--store", made.store.uri])
        shown = capsys.readouterr()
        return int(end.value.code or 0), shown.out, shown.err

    return export_by_command


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def order(dataset: Dataset, seed: int = 3) -> list[str]:
    return [doc_id for batch in dataset.loader(seed=seed) for doc_id in batch["doc_id"]]


def human_share(rows: list[dict[str, Any]]) -> float:
    """Return the share by amount."""
    return sum(row["tokens"] for row in rows if row["provenance"] == "human") / sum(row["tokens"] for row in rows)


def mds_rows(path: Path) -> list[dict[str, Any]]:
    """Read a shard by the format's description."""
    raw = path.read_bytes()
    count = int(np.frombuffer(raw, "<u4", 1)[0])
    offsets = np.frombuffer(raw, "<u4", count + 1, 4)
    config = json.loads(raw[4 + 4 * (count + 1) : offsets[0]])
    rows = []
    for start, end in pairwise(offsets):
        varying = [size is None for size in config["column_sizes"]]
        sizes = iter(np.frombuffer(raw, "<u4", sum(varying), start).tolist())
        at, row = int(start) + 4 * sum(varying), {}
        for name, encoding, fixed in zip(
            config["column_names"], config["column_encodings"], config["column_sizes"], strict=True
        ):
            size = fixed or next(sizes)
            value = raw[at : at + size]
            row[name] = {"str": bytes.decode, "json": json.loads, "int": lambda v: int(np.frombuffer(v, "<i8")[0])}[
                encoding
            ](value)
            at += size
        assert at == end
        rows.append(row)
    return rows


READERS: dict[str, Callable[[Path], list[dict[str, Any]]]] = {
    "parquet": lambda path: pl.read_parquet(path).to_dicts(),
    "jsonl": lambda path: [json.loads(line) for line in path.read_text().splitlines()],
    "mds": mds_rows,
}


@pytest.mark.parametrize("form", list(READERS))
def test_shards_hold_the_mixed_order_with_copies_as_rows_of_their_own(made: Dataset, form: Any, tmp_path: Path) -> None:
    paths = export(made, tmp_path / "out", 7, 3, form)
    rows = [READERS[form](path) for path in paths]
    assert [row["doc_id"] for shard in rows for row in shard] == order(made)
    sizes = list(map(len, rows))
    assert max(sizes) - min(sizes) == 1
    shares = [human_share(shard) for shard in rows]
    assert max(shares) - min(shares) < 0.05
    kept = {row["doc_id"]: row for row in pl.read_parquet(made.files()).to_dicts()}
    for row in (row for shard in rows for row in shard):
        assert row == {**kept[row["doc_id"]], "epochs": 1}
        assert list(row) == (sorted(PUBLISHED.names) if form == "mds" else PUBLISHED.names)


def test_a_killed_export_goes_on_and_ends_with_the_same_bytes(made: Dataset, run: Run, tmp_path: Path) -> None:
    arguments = ("--shards", 5, "--seed", 3, "--format", "mds")
    assert run(tmp_path / "whole", *arguments)[0] == 0
    whole = content(tmp_path / "whole")
    # The third shard is cut off while it is written: the process is gone, not told.
    code = f"""
import os
import cuvee.export.shards as module
from cuvee.commands import main
write = module.write_shard
def killed(path, tables, form):
    if "00002" in path.name:
        path.write_bytes(b"torn")
        os._exit(9)
    write(path, tables, form)
module.write_shard = killed
main(["export", "made", {str(tmp_path / "out")!r}, *{list(map(str, arguments))!r}, "--store", {made.store.uri!r}])
"""
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=120).returncode == 9
    assert {"shard.00000.mds", "shard.00001.mds"} < set(content(tmp_path / "out"))
    assert "index.json" not in content(tmp_path / "out")
    first = tmp_path / "out/shard.00000.mds"
    before = first.stat().st_mtime_ns
    (tmp_path / "out/shard.00001.mds").write_bytes(b"rotten")
    assert run(tmp_path / "out", *arguments)[0] == 0
    assert first.stat().st_mtime_ns == before
    assert content(tmp_path / "out") == whole


def test_a_folder_of_something_else_is_refused_and_left_as_it_is(made: Dataset, run: Run, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine.txt").write_text("mine")
    code, _, err = run(out, "--shards", 2)
    assert (code, content(out)) == (2, {"mine.txt": b"mine"})
    assert "choose another folder" in err
    (out / "mine.txt").unlink()
    assert run(out, "--shards", 2)[0] == 0
    before = content(out)
    for arguments in (("--shards", 3), ("--shards", 2, "--seed", 1), ("--shards", 2, "--split", "validation")):
        code, _, err = run(out, *arguments)
        assert (code, content(out)) == (2, before)
        assert "choose another folder" in err
    with pytest.raises(RecipeError, match="20 rows"):
        export(made, tmp_path / "more", 21, 0, "parquet", "validation")
    assert not (tmp_path / "more").exists()


def test_readers_that_deal_out_files_get_equal_mixed_shares(
    made: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    monkeypatch.setenv("HF_DATASETS_OFFLINE", "1")
    import datasets
    from datasets.distributed import split_dataset_by_node

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "hub-cache")
    whole = order(made, 0)
    export(made, tmp_path / "out", 24, 0, "parquet")
    stream = datasets.load_dataset(str(tmp_path / "out"), split="train", streaming=True)
    for ranks in (1, 3, 6, 8):
        dealt = [list(split_dataset_by_node(stream, rank, ranks)) for rank in range(ranks)]
        assert max(map(len, dealt)) - min(map(len, dealt)) <= 24 // ranks
        assert Counter(row["doc_id"] for rank in dealt for row in rank) == Counter(whole)
        share = human_share([row for rank in dealt for row in rank])
        assert all(abs(human_share(rank) - share) < 0.05 for rank in dealt)
    told = datasets.load_dataset(str(tmp_path / "out"), split="train")
    assert told["doc_id"][:] == whole
    pulled = [str(path) for path in made.pull(tmp_path / "pulled") if path.parent.name == "train"]
    stream = datasets.load_dataset("parquet", data_files=pulled, split="train", streaming=True)
    ids = [[row["doc_id"] for row in split_dataset_by_node(stream, rank, 3)] for rank in range(3)]
    assert Counter(doc_id for own in ids for doc_id in own) == Counter(set(whole))


def test_a_delta_log_beside_the_shards_is_read_by_others(made: Dataset, run: Run, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert run(out, "--shards", 3, "--delta")[0] == 0
    assert run(out, "--shards", 3, "--delta")[0] == 0
    whole = Counter(order(made, 0))
    import deltalake

    table = deltalake.DeltaTable(out)
    assert table.version() == 0
    assert Counter(pl.read_delta(str(out))["doc_id"]) == whole
    assert Counter(pl.scan_delta(str(out)).select("doc_id").collect()["doc_id"]) == whole
    log = (out / "_delta_log/00000000000000000000.json").read_text()
    assert "minValues" not in log
    assert run(tmp_path / "mds", "--shards", 3, "--delta", "--format", "mds")[0] == 2
    assert not (tmp_path / "mds").exists()


def test_a_push_puts_the_shards_into_one_commit_and_takes_the_old_ones_out(
    made: Dataset, tmp_path: Path, run: Run
) -> None:
    # In processes of their own: the Hub's client reads its endpoint when it is imported.
    command = "import sys; from cuvee.commands import main; main(sys.argv[1:])"
    with hub() as server:
        environment = {**os.environ, "HF_ENDPOINT": server.address, "HF_TOKEN": "hf_test", "HF_HOME": str(tmp_path)}
        environment |= {"HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}

        def push(folder: str, shards: int, to: str) -> subprocess.CompletedProcess[str]:
            arguments = ["export", "made", str(tmp_path / folder), "--shards", str(shards), "--push", to, "--json"]
            return subprocess.run(
                [sys.executable, "-c", command, *arguments, "--store", made.store.uri],
                env=environment,
                capture_output=True,
                text=True,
                timeout=120,
                check=False,
            )

        for folder, shards in (("three", 3), ("two", 2)):
            done = push(folder, shards, "hf://datasets/org/name@nightly")
            assert done.returncode == 0, done.stderr
            assert json.loads(done.stdout)["pushed"] == f"{server.address}/datasets/org/name/commit/{'2' * 40}"
            assert server.files["nightly"] == content(tmp_path / folder)
        assert server.commits == ["made@v0001, train"] * 2
        assert server.tokens == {"Bearer hf_test"}
        assert {str(asked["visibility"]) for asked in server.made} == {"private"}
        server.refuse = 403
        refused = push("two", 2, "hf://datasets/org/name")
        assert (refused.returncode, "403" in refused.stderr) == (2, True)
        assert "Traceback" not in refused.stderr
    away = push("two", 2, "hf://datasets/org/name")
    assert (away.returncode, "cannot be reached" in away.stderr) == (1, True)
    assert run(tmp_path / "four", "--shards", 2, "--push", "hf://models/org/name")[0] == 2
    assert not (tmp_path / "four").exists()
