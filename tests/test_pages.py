"""Single rows of a Parquet file: only the pages that hold them are decompressed, and damage never passes for text."""

import io
import itertools
import random
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cuvee.schemas.errors import IntegrityError
from cuvee.schemas.records import FileRef
from cuvee.storage import pages, tables
from cuvee.storage.memory import MemoryStore
from cuvee.storage.store import Store, open_store

_stores = itertools.count()
TEXT = st.one_of(st.text(max_size=40), st.integers(0, 90_000).map(lambda size: "é" * size))


def written(texts: Sequence[str | None], optional: bool = True, small_pages: bool = True) -> tuple[Store, FileRef]:
    store = open_store(f"memory://pages-{next(_stores)}")
    schema = pa.schema([("row", pa.int64()), pa.field("text", pa.large_string(), nullable=optional)])
    with tables.table_file(store, "texts", schema, small_pages=small_pages) as file:
        file.write(pa.table({"row": range(len(texts)), "text": pa.array(texts, pa.large_string())}, schema))
    return store, file.ref


def take(store: Store, ref: FileRef, rows: Sequence[int]) -> pa.Table:
    return tables.take_rows(store, ref, ["text", "row"], np.array(rows, np.int64))


@pytest.fixture(autouse=True, scope="module")
def always() -> Iterator[None]:
    """However many rows are wanted of a few, their texts are read by pages."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tables, "FEW", 0)
        yield


@pytest.fixture
def sizes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of the pages that are decompressed."""
    found: list[int] = []

    class Codec:
        def __init__(self, name: str) -> None:
            self._codec = pa.Codec(name)

        def decompress(self, body: Any, size: int) -> pa.Buffer:
            found.append(size)
            return self._codec.decompress(body, size)

    class Arrow:
        def __getattr__(self, name: str) -> Any:
            return Codec if name == "Codec" else getattr(pa, name)

    monkeypatch.setattr(pages, "pa", Arrow())
    return found


@given(st.lists(TEXT, min_size=1, max_size=120), st.booleans(), st.booleans(), st.integers(2000, 1 << 23), st.data())
@settings(max_examples=60, deadline=None)
def test_rows_are_those_that_arrow_reads(
    texts: list[str], optional: bool, small_pages: bool, group_bytes: int, draw: st.DataObject
) -> None:
    rows = sorted(draw.draw(st.lists(st.integers(0, len(texts) - 1), min_size=1, max_size=30)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tables, "ROW_GROUP_BYTES", group_bytes)
        patch.setattr(MemoryStore, "remote", draw.draw(st.booleans()))
        store, ref = written(texts, optional, small_pages)
        patch.setattr(pq.ParquetFile, "read_row_group", only_rows(pq.ParquetFile.read_row_group))
        table = take(store, ref, rows)
    assert table.to_pydict() == {"text": [texts[row] for row in rows], "row": rows}
    assert table.schema.field("text").type == pa.large_string()


def test_a_group_of_which_most_rows_are_wanted_is_read_whole(sizes: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "FEW", 2)
    store, ref = written([f"{row}" for row in range(9)])
    assert take(store, ref, [0, 2, 3, 5, 8])["text"].to_pylist() == ["0", "2", "3", "5", "8"]
    assert sizes == []
    take(store, ref, [0, 2, 3, 8])
    assert len(sizes) == 1


def only_rows(read: Any) -> Any:
    """Refuse to read texts through Arrow."""

    def reading(file: pq.ParquetFile, group: int, columns: list[str]) -> pa.Table:
        assert columns == ["row"]
        return read(file, group, columns=columns)

    return reading


def test_only_the_pages_of_wanted_rows_are_decompressed(sizes: list[int]) -> None:
    store, ref = written([f"{row} " * 300 for row in range(5000)])
    assert take(store, ref, [7, 8, 4000])["row"].to_pylist() == [7, 8, 4000]
    assert len(sizes) == 2
    assert sum(sizes) < 120_000


@pytest.mark.parametrize(("hole", "reads"), [(0, 2), (30_000, 2), (10_000_000, 1)])
def test_what_lies_between_two_pages_is_read_where_that_is_cheaper_than_a_request(hole: int, reads: int) -> None:
    draw = random.Random(1)
    store, ref = written([draw.randbytes(600).hex() for _ in range(5000)])
    content = CountedFile(store.get(ref.path))
    column = pages.StringPages(content, pq.read_metadata(content), "text", hole)
    content.sizes.clear()
    texts = column.take(0, np.array([7, 8, 4000]))
    assert texts is not None
    assert len(content.sizes) == 1 + reads  # the index of pages, and the pages
    # 16 texts of 600 random bytes, or 32, are a page.
    assert (sum(content.sizes) < 80_000) == (reads == 2)


class CountedFile(io.BytesIO):
    """A file that notes how much is read."""

    def __init__(self, content: bytes) -> None:
        super().__init__(content)
        self.sizes: list[int] = []

    def readinto(self, buffer: Any) -> int:
        self.sizes.append(len(buffer))
        return super().readinto(buffer)


def test_texts_with_nulls_and_of_other_writers_are_left_to_arrow(sizes: list[int]) -> None:
    store, ref = written(["a", None, "b", None])
    assert take(store, ref, [1, 2])["text"].to_pylist() == [None, "b"]
    sizes.clear()
    other = pa.table({"text": ["a", "b", "a", "c"], "row": range(4)})
    usual = {"compression": "zstd", "use_dictionary": ["row"]}
    for options in ({"compression": "snappy"}, {"use_dictionary": ["text"]}, {"data_page_version": "2.0"}):
        pq.write_table(other, store.scratch() / "other", **{**usual, **options})
        store.put_file("other", store.scratch() / "other")
        assert take(store, ref.model_copy(update={"path": "other"}), [2, 3])["text"].to_pylist() == ["a", "c"]
    assert sizes == []


def test_a_changed_byte_never_passes_for_text() -> None:
    texts = [f"{row} " * 40 for row in range(400)]
    store, ref = written(texts)
    content = store.get(ref.path)
    chunk = pq.ParquetFile(pa.BufferReader(content)).metadata.row_group(0).column(1)
    refused = 0
    for place in range(chunk.data_page_offset, chunk.data_page_offset + chunk.total_compressed_size):
        for bit in (0, 6):
            damaged = bytearray(content)
            damaged[place] ^= 1 << bit
            store.put(ref.path, bytes(damaged))
            with suppress(IntegrityError):
                assert take(store, ref, [0, 150, 399])["text"].to_pylist() == [texts[row] for row in (0, 150, 399)]
                continue
            refused += 1
    assert refused > chunk.total_compressed_size


def test_a_changed_byte_of_index_or_footer_is_an_error_or_does_no_harm() -> None:
    texts = [f"{row} " * 40 for row in range(400)]
    store, ref = written(texts)
    content = store.get(ref.path)
    chunk = pq.ParquetFile(pa.BufferReader(content)).metadata.row_group(0).column(1)
    # A prime, so that in time each bit of a byte has its turn.
    for bit in range(8 * (chunk.data_page_offset + chunk.total_compressed_size), 8 * len(content), 5):
        damaged = bytearray(content)
        damaged[bit // 8] ^= 1 << bit % 8
        store.put(ref.path, bytes(damaged))
        with suppress(IntegrityError):
            found = [
                text.encode() if isinstance(text, str) else text
                for text in take(store, ref, [0, 399])["text"].to_pylist()
            ]
            assert found == [texts[0].encode(), texts[399].encode()]


@pytest.mark.parametrize("sizes", [(-(10**12), 10**12), (0, 0)])
def test_an_index_of_impossible_sizes_is_not_believed(sizes: tuple[int, int]) -> None:
    store, ref = written([f"{row} " * 300 for row in range(5000)])
    content = io.BytesIO(store.get(ref.path))
    column = pages.StringPages(content, pq.read_metadata(content), "text", 0)
    believed = pages._list_pages

    def crafted(index: np.ndarray) -> tuple[np.ndarray, ...]:
        places, given, firsts = believed(index)
        given[1] += sizes[0]
        given[2] += sizes[1]
        places[2] += sizes[0]
        return places, given, firsts

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pages, "_list_pages", crafted)
        assert (column.take(0, np.array([0, 4000])) is None) == (sizes != (0, 0))


def test_a_file_that_is_cut_off_is_an_error() -> None:
    store, ref = written([f"{row} " * 40 for row in range(400)])
    store.put(ref.path, store.get(ref.path)[:-1000])
    with pytest.raises(IntegrityError, match="is damaged"):
        take(store, ref, [3])


def test_a_file_of_another_number_of_rows_is_an_error() -> None:
    store, ref = written(["a"] * 400)
    with pytest.raises(IntegrityError, match="has 400 rows, recorded were 300"):
        take(store, ref.model_copy(update={"rows": 300}), [3])
