"""Exchange: what is dealt to partitions comes back whole, in order, in few reads, and never damaged in silence."""

from itertools import count
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cuvee.schemas.errors import IntegrityError
from cuvee.storage.local import LocalStore
from cuvee.storage.memory import MemoryStore
from cuvee.storage.s3_store import S3Store
from cuvee.storage.store import Store
from cuvee.tasks import exchange
from cuvee.tasks.exchange import Dealer, Dealt, again, collect, deal, groups

SCHEMA = pl.Schema({"id": pl.String(), "number": pl.Int64(), "seeds": pl.List(pl.String()), "day": pl.Date()})
_numbers = count()


@pytest.fixture(params=["local", "memory", pytest.param("s3", marks=pytest.mark.slow)])
def store(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setenv("CUVEE_SCRATCH", str(tmp_path / "scratch"))
    if request.param == "s3":
        return S3Store(request.getfixturevalue("s3"))
    return LocalStore(tmp_path / "store") if request.param == "local" else MemoryStore(f"memory://{next(_numbers)}")


def made(count: int, seed: int = 0) -> pl.DataFrame:
    draw = np.random.default_rng(seed)
    numbers = draw.integers(0, 10**6, count)
    rows = pl.DataFrame({"number": numbers, "id": [None if n % 7 == 0 else f"{n:x}" for n in numbers.tolist()]})
    seeds = pl.Series([None if n % 3 else [f"é{n}", ""] for n in numbers.tolist()], dtype=pl.List(pl.String))
    return rows.with_columns(seeds=seeds, day=pl.from_epoch("number", "s").cast(pl.Date)).select(SCHEMA.names())


def spread(rows: pl.DataFrame, partitions: int) -> np.ndarray:
    return (rows["number"].to_numpy() * 40503 % 65536 * partitions) >> 16


def exchanged(store: Store, parts: list[pl.DataFrame], partitions: int, most: int = 256) -> list[Dealt]:
    files = []
    for rows in parts:
        dealer = Dealer(store, "work/made", partitions, most)
        for start in range(0, rows.height, 50):
            piece = rows[start : start + 50]
            dealer.add(piece, spread(piece, partitions))
        files.append(dealer.finish())
    return [again(store, "work/made", files, first) for first in groups(files)] or files


@pytest.mark.parametrize(("partitions", "most"), [(1, 256), (8, 256), (64, 8), (512, 256)])
def test_each_partition_gets_its_rows_in_the_order_in_which_they_were_dealt(
    store: Store, partitions: int, most: int
) -> None:
    parts = [made(300, 1), made(0), made(170, 2)]
    files = exchanged(store, parts, partitions, most)
    whole = pl.concat(parts)
    where = spread(whole, partitions)
    for partition in {0, partitions // 2, partitions - 1, int(where[0]), int(where[-1])}:
        rows = collect(store, files, partition, SCHEMA)
        assert rows.equals(whole.filter(where == partition))
        assert rows.schema == SCHEMA
        some = collect(store, files, partition, SCHEMA, ["day", "id"])
        assert some.equals(rows.select("day", "id"))


@settings(max_examples=40)
@given(
    sizes=st.lists(st.integers(0, 120), max_size=4),
    bits=st.integers(0, 7),
    most=st.sampled_from([1, 2, 16, 256]),
    at_once=st.sampled_from([1, 60, 1 << 18]),
)
def test_no_row_is_lost_or_doubled(sizes: list[int], bits: int, most: int, at_once: int) -> None:
    store, partitions = MemoryStore(), 1 << bits
    parts = [made(size, seed) for seed, size in enumerate(sizes)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exchange, "_ROWS_AT_ONCE", at_once)
        files = exchanged(store, parts, partitions, most)
    assert sum(file.file.rows for file in files) == sum(sizes)
    found = [collect(store, files, partition, SCHEMA) for partition in range(partitions)]
    for partition, rows in enumerate(found):
        assert (spread(rows, partitions) == partition).all()
    assert pl.concat(found).sort("number").equals(pl.concat([SCHEMA.to_frame(), *parts]).sort("number"))


def test_the_same_rows_give_the_same_bytes(tmp_path: Path) -> None:
    one, two = LocalStore(tmp_path / "one"), LocalStore(tmp_path / "two")
    rows = made(1000)
    files = [deal(place, "work/made", rows, spread(rows, 8), 8) for place in (one, one, two)]
    assert files[0] == files[1] == files[2]
    assert one.get(files[0].file.path) == two.get(files[0].file.path)


def test_beyond_the_most_segments_a_file_grows_no_longer(tmp_path: Path) -> None:
    rows = made(2000)
    dealer = Dealer(LocalStore(tmp_path), "work/made", 1024)
    dealer.add(rows, spread(rows, 1024))
    first = dealer.finish()
    assert (first.segments, first.each) == (256, 4)
    assert groups([first]) == list(range(0, 1024, 4))
    assert groups([deal(LocalStore(tmp_path), "work/made", rows, spread(rows, 256), 256)]) == []


def test_a_partition_costs_an_open_and_one_read_of_a_file(s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from cuvee.storage import ranged

    store = S3Store(s3)
    draw = np.random.default_rng(1)
    # Noise, so that a file is longer than the tail which comes with opening it.
    rows = pl.DataFrame({"number": draw.integers(0, 2**62, 40_000)})
    where = np.arange(40_000) % 4
    files = [deal(store, "work/made", rows, where, 4) for _ in range(3)]
    asked = []
    carry_out = ranged.carry_out
    monkeypatch.setattr(ranged, "carry_out", lambda *given: (asked.append(1), carry_out(*given))[1])
    found = collect(store, files[:1], 1, pl.Schema({"number": pl.Int64()}))
    assert found["number"].to_list() == rows.filter(where == 1)["number"].to_list()
    assert len(asked) == 2


def test_damage_is_an_error_that_names_the_file(store: Store) -> None:
    rows = made(500)
    dealt = deal(store, "work/made", rows, spread(rows, 4), 4)
    content = store.get(dealt.file.path)
    flipped = bytearray(content)
    flipped[len(content) // 3] ^= 1
    for damaged in (bytes(flipped), content[:40], content[:-70] + content[-64:], b""):
        store.put(dealt.file.path, damaged)
        with pytest.raises(IntegrityError, match=dealt.file.sha256):
            pl.concat(collect(store, [dealt], partition, SCHEMA) for partition in range(4))
    store.delete(dealt.file.path)
    with pytest.raises(IntegrityError, match="is missing"):
        collect(store, [dealt], 0, SCHEMA)
