"""Stored bytes: all stores through one set of tests, Parquet files, and the commit of a version."""

import errno
import hashlib
import json
import os
import threading
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plain import publish_plainly, recipe_file
from texts import documents, write_jsonl

from cuvee.dataset import Dataset, open_dataset
from cuvee.schemas.document import PUBLISHED
from cuvee.schemas.errors import ConflictError, IntegrityError, RecipeError
from cuvee.schemas.manifest import Manifest, TagEntry, Totals, parse_ref, parse_version, version_name
from cuvee.schemas.records import FileRef, PoolState, StepRecord
from cuvee.storage import corpus
from cuvee.storage.local import LocalStore, naming
from cuvee.storage.memory import MemoryStore
from cuvee.storage.s3_store import S3Store
from cuvee.storage.store import Store, open_store, store_uri
from cuvee.storage.tables import iterate_table, read_table, table_file, write_table

_numbers = count()


@pytest.fixture(params=["local", "memory", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setenv("CUVEE_SCRATCH", str(tmp_path / "scratch"))
    if request.param == "s3":
        return S3Store(f"{request.getfixturevalue('s3')}/below/a prefix")
    return LocalStore(tmp_path / "store") if request.param == "local" else MemoryStore(f"memory://{next(_numbers)}")


def at_once(work: Callable[[int], None], threads: int = 16) -> list[Exception | None]:
    """Start all threads at one moment; what each raised, or None."""
    gate = threading.Barrier(threads)
    ends: list[Exception | None] = [None] * threads

    def begin(number: int) -> None:
        gate.wait()
        try:
            work(number)
        except Exception as error:
            ends[number] = error

    running = [threading.Thread(target=begin, args=(number,)) for number in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    return ends


def under_construction(store: Store) -> list[Path]:
    return list(store.scratch().iterdir())


def test_what_is_put_is_read_back_and_replaced_as_a_whole(store: Store) -> None:
    store.put("a/b/c.json", b"one")
    assert (store.get("a/b/c.json"), store.size("a/b/c.json")) == (b"one", 3)
    store.put("a/b/c.json", b"")
    assert (store.get("a/b/c.json"), store.size("a/b/c.json")) == (b"", 0)
    store.put("a/b/c.json", b"0123456789")
    with store.open("a/b/c.json") as file:
        file.seek(4)
        assert file.read(3) == b"456"
    assert under_construction(store) == []


def test_an_absent_key_is_not_found_has_no_size_and_may_be_deleted(store: Store) -> None:
    store.put("there/x", b"1")
    for read in (store.get, store.open):
        with pytest.raises(FileNotFoundError):
            read("nowhere/x")
    assert store.size("nowhere/x") is None
    assert store.size("there/x/below") is None
    assert store.keys("nowhere/") == []
    store.delete("nowhere/x")
    store.delete("there/x")
    store.delete("there/x")
    assert store.size("there/x") is None


def test_keys_are_sorted_and_are_those_below_the_prefix(store: Store) -> None:
    names = ["a/2.json", "a/10.json", "a/b/c/d", "a/b.json", "ab/1", "b/a/1"]
    for name in names:
        store.put(name, b"x")
    assert store.keys("a/") == ["a/10.json", "a/2.json", "a/b.json", "a/b/c/d"]
    assert store.keys("a/b/") == ["a/b/c/d"]
    store.put("a/b/c/d", b"1234")
    assert store.sizes("a/b/") == {"a/b/c/d": 4}
    assert sorted(store.sizes("a/")) == store.keys("a/")
    assert [key for key in store.keys("") if not key.startswith("work/")] == sorted(names)


def test_of_sixteen_creations_exactly_one_wins_and_its_bytes_stay(store: Store) -> None:
    for round_number in range(10):
        key = f"corpora/c/manifests/v{round_number:04d}.json"
        ends = at_once(lambda number, key=key: store.create(key, f"written by {number}".encode()))  # type: ignore[misc]
        winners = [number for number, end in enumerate(ends) if end is None]
        assert len(winners) == 1
        assert all(isinstance(end, ConflictError) for end in ends if end is not None)
        assert store.get(key) == f"written by {winners[0]}".encode()
    assert under_construction(store) == []


def test_creation_refuses_the_same_bytes_too(store: Store) -> None:
    content = b"the very same object"
    store.create("x", content)
    with pytest.raises(ConflictError, match="x exists already"):
        store.create("x", content)
    store.put("y", b"put first")
    with pytest.raises(ConflictError):
        store.create("y", b"created later")
    assert store.get("y") == b"put first"


def test_a_reader_sees_the_old_bytes_or_the_new_ones_never_a_part(store: Store) -> None:
    versions = [bytes([letter]) * 200_000 for letter in b"abcdefgh"]
    store.put("x", versions[0])
    stop, torn = threading.Event(), []

    def watch() -> None:
        while not stop.wait(0.0005):
            content = store.get("x")
            if content not in versions:
                torn.append(len(content))

    readers = [threading.Thread(target=watch) for _ in range(3)]
    for reader in readers:
        reader.start()
    for turn in range(60):
        if turn % 2:
            path = store.scratch() / f"part-{turn}"
            path.write_bytes(versions[turn % len(versions)])
            store.put_file("x", path)
            assert not path.exists()
        else:
            store.put("x", versions[turn % len(versions)])
    stop.set()
    for reader in readers:
        reader.join()
    assert torn == []


def test_a_failed_write_changes_nothing_and_leaves_nothing_under_construction(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    store.put("folder/x", b"old")
    for write in (store.put, store.create):
        with pytest.raises(OSError, match="folder/x"):
            write("folder/x/y", b"below a file")
    with pytest.raises(OSError, match="folder"):
        store.put("folder", b"over a folder")
    assert store.get("folder/x") == b"old"
    assert under_construction(store) == []


def test_listing_passes_over_folders_that_vanish_meanwhile(tmp_path: Path) -> None:
    store, stop = LocalStore(tmp_path), threading.Event()
    store.put("work/a/x", b"1")

    def come_and_go() -> None:
        while not stop.is_set():
            for number in range(20):
                (tmp_path / f"work/tmp/texts-{number}/deep").mkdir(parents=True)
            for number in range(20):
                (tmp_path / f"work/tmp/texts-{number}/deep").rmdir()
                (tmp_path / f"work/tmp/texts-{number}").rmdir()

    other = threading.Thread(target=come_and_go)
    other.start()
    try:
        assert all(store.keys("work/") == ["work/a/x"] for _ in range(200))
    finally:
        stop.set()
        other.join()


def test_memory_stores_of_one_name_are_one_store_and_keep_their_scratch_to_themselves() -> None:
    one, same, other = (open_store(f"memory://{name}") for name in ("twin", "twin", "else"))
    one.put("x", b"1")
    assert same.get("x") == b"1"
    assert other.size("x") is None
    assert one.scratch() == same.scratch()
    # The journal of a generator lies beside the scratch folder: it must not be shared with other stores either.
    assert one.scratch().parent != other.scratch().parent


def test_a_store_is_named_by_option_then_environment_then_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUVEE_STORE", "from-environment")
    assert (store_uri("given"), store_uri(None)) == ("given", "from-environment")
    monkeypatch.delenv("CUVEE_STORE")
    assert store_uri(None) == "./cuvee-store"
    with pytest.raises(RecipeError, match="ftp:// is no store"):
        open_store("ftp://host/store")


def test_opening_a_store_makes_no_folder(tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "new"))
    assert corpus.corpora(store) == []
    assert not (tmp_path / "new").exists()


TEXTS = pa.table(
    {
        "doc_id": [f"{number:032x}" for number in range(3000)],
        "text": pa.array([f"Secret {number} " + "lorem ipsum " * (number % 40) for number in range(3000)], pa.string()),
        "words": pa.array(range(3000), pa.int64()),
        "p_synthetic": pa.array([number / 3000 for number in range(3000)], pa.float32()),
        "seed_ids": pa.array([[f"{number:032x}"] for number in range(3000)], pa.list_(pa.string())),
    }
)


def test_a_table_is_named_by_its_bytes_and_written_once(store: Store) -> None:
    ref = write_table(store, "corpora/c/data", TEXTS)
    assert hashlib.sha256(store.get(ref.path)).hexdigest() == ref.sha256
    assert ref.path == f"corpora/c/data/{ref.sha256[:2]}/{ref.sha256}.parquet"
    assert (ref.bytes, ref.rows) == (store.size(ref.path), 3000)
    before = store.keys("corpora/")
    assert write_table(store, "corpora/c/data", TEXTS) == ref
    assert store.keys("corpora/") == before
    assert read_table(store, ref).equals(TEXTS)
    assert read_table(store, ref, ["words"]).column_names == ["words"]
    assert under_construction(store) == []


def test_writing_again_mends_a_file_of_the_wrong_size(store: Store) -> None:
    ref = write_table(store, "data", TEXTS)
    store.put(ref.path, store.get(ref.path)[:100])
    assert write_table(store, "data", TEXTS) == ref
    assert read_table(store, ref).equals(TEXTS)


def test_sixteen_writers_of_one_table_give_one_file(store: Store) -> None:
    refs: list[FileRef] = []
    assert at_once(lambda _: refs.append(write_table(store, "data", TEXTS))) == [None] * 16
    assert len(set(refs)) == 1
    assert len(store.keys("data/")) == 1
    assert read_table(store, refs[0]).equals(TEXTS)


def test_a_block_that_fails_leaves_nothing(store: Store) -> None:
    torn = TEXTS.set_column(2, "words", pa.array(["no number"] * 3000))

    def write(*tables: pa.Table) -> None:
        with table_file(store, "data", TEXTS.schema) as writer:
            for table in tables:
                writer.write(table)

    for tables in ([torn], [TEXTS, torn]):
        with pytest.raises(pa.ArrowInvalid):
            write(*tables)
        assert under_construction(store) == []
    assert store.keys("data/") == []
    assert under_construction(store) == []


def test_a_table_written_in_pieces_holds_all_of_them_in_order(store: Store) -> None:
    with table_file(store, "data", TEXTS.schema) as writer:
        for start in range(0, 3000, 700):
            writer.write(TEXTS.slice(start, 700))
        writer.write(TEXTS.slice(0, 0))
    assert writer.ref.rows == 3000
    assert read_table(store, writer.ref).equals(TEXTS)
    assert pa.concat_tables(iterate_table(store, writer.ref, ["words"]))["words"].to_pylist() == list(range(3000))


def test_an_empty_table_keeps_its_columns(store: Store) -> None:
    ref = write_table(store, "data", PUBLISHED.empty_table())
    assert ref.rows == 0
    assert read_table(store, ref).schema.equals(PUBLISHED)


def test_band_keys_are_stored_as_they_are_and_other_hashes_compressed_without_a_dictionary(store: Store) -> None:
    hashes = [pa.array([7 * 2**28, 5], kind) for kind in (pa.uint32(), pa.uint64())]
    ref = write_table(store, "data", pa.table({"b00": hashes[0], "text_key": hashes[1], "words": [1, 2]}))
    with store.open(ref.path) as file:
        group = pq.read_metadata(file).row_group(0)
    assert [group.column(number).compression for number in range(3)] == ["UNCOMPRESSED", "ZSTD", "ZSTD"]
    assert not any(group.column(number).has_dictionary_page for number in range(2))


def test_row_groups_are_of_about_eight_mebibytes(store: Store) -> None:
    table = pa.table({"text": [f"{number:08d}" * 1000 for number in range(4000)]})  # 32 MB
    ref = write_table(store, "data", table)
    with store.open(ref.path) as file:
        footer = pq.read_metadata(file)
    sizes = [footer.row_group(group).total_byte_size for group in range(footer.num_row_groups)]
    assert len(sizes) == 4
    assert max(sizes) < 8.5 * 2**20


@pytest.mark.parametrize("level", [1, 3])
def test_footers_hold_no_text_and_every_column_has_its_page_index(store: Store, level: int) -> None:
    ref = write_table(store, "data", TEXTS, level)
    with store.open(ref.path) as file:
        footer = pq.read_metadata(file)
    for group in range(footer.num_row_groups):
        for number in range(footer.num_columns):
            column = footer.row_group(group).column(number)
            assert column.has_offset_index
            assert column.compression == "ZSTD"
            if column.path_in_schema == "text":
                assert column.statistics is None
                assert not column.has_column_index
                assert not column.has_dictionary_page
                assert not {"PLAIN_DICTIONARY", "RLE_DICTIONARY"} & set(column.encodings)
            elif "seed_ids" not in column.path_in_schema:
                assert column.statistics.has_min_max
                assert column.has_column_index
    content = store.get(ref.path)
    length = int.from_bytes(content[-8:-4], "little")
    assert b"Secret" not in content[-8 - length :]


def test_a_missing_cut_or_padded_file_is_an_integrity_error(store: Store) -> None:
    ref = write_table(store, "data", TEXTS)
    good = store.get(ref.path)
    for damaged in (b"", b"PAR1", good[: len(good) // 2], good[:-1], good[4:]):
        store.put(ref.path, damaged)
        for read in (lambda: read_table(store, ref), lambda: list(iterate_table(store, ref, ["text"]))):
            with pytest.raises(IntegrityError, match="damaged"):
                read()
    store.delete(ref.path)
    for read in (lambda: read_table(store, ref), lambda: list(iterate_table(store, ref, ["text"]))):
        with pytest.raises(IntegrityError, match="missing"):
            read()
    other = write_table(store, "data", TEXTS.slice(1))
    with pytest.raises(IntegrityError, match="has 2999 rows, recorded were 3000"):
        read_table(store, ref.model_copy(update={"path": other.path}))


GOOD = MemoryStore("memory://changed")
GOOD_REF = write_table(GOOD, "data", TEXTS)
GOOD_BYTES = GOOD.get(GOOD_REF.path)


@settings(max_examples=150, deadline=None)
@given(st.integers(4, len(GOOD_BYTES) - 9), st.integers(1, 255))
def test_a_changed_byte_is_never_read_as_another_text(place: int, change: int) -> None:
    damaged = bytearray(GOOD_BYTES)
    damaged[place] ^= change
    GOOD.put(GOOD_REF.path, bytes(damaged))
    try:
        read = read_table(GOOD, GOOD_REF)
    except IntegrityError:
        return
    assert read.equals(TEXTS)


def manifest(name: str, version: int, **more: Any) -> Manifest:
    nothing = Totals(documents=0, amount=0, counted_human=0, by_provenance={}, human_share=None)
    fields: dict[str, Any] = {
        "corpus": name,
        "version": version,
        "parent": version - 1 or None,
        "created": "2030-01-01T00:00:00+00:00",
        "run_id": "test",
        "recipe": {},
        "recipe_sha256": "0" * 64,
        "steps": {},
        "models": {},
        "pool": FileRef(path=f"corpora/{name}/pool/states/none.json", sha256="0" * 64, bytes=0, rows=0),
        "files": (),
        "totals": nothing,
        "splits": {},
        "mixture": {
            "unit": "words",
            "bounds": {"min": 0.0, "max": 1.0, "min_amount": None},
            "total": None,
            "human_share": None,
            "human_share_train": None,
            "counted_from": [],
        },
        "reports": (),
    }
    return Manifest(**fields | more)


def entry(version: int, by: Any = "publish") -> TagEntry:
    return TagEntry(version=version, by=by, created="2030-01-01T00:00:00+00:00")


def test_a_commit_is_found_by_version_by_tag_and_as_the_latest(store: Store) -> None:
    for number in (1, 2, 3):
        corpus.commit(store, manifest("library", number))
    corpus.move_tag(store, "library", "stable", entry(2))
    assert corpus.versions(store, "library") == [1, 2, 3]
    assert corpus.corpora(store) == ["library"]
    assert corpus.resolve(store, "library@v0001").version == 1
    assert corpus.resolve(store, "library@stable").version == 2
    assert corpus.resolve(store, "library").version == 3
    assert corpus.resolve(store, "library@latest") == manifest("library", 3)
    corpus.move_tag(store, "library", "latest", entry(1))
    assert corpus.resolve(store, "library").version == 1
    assert corpus.tags(store, "library") == ["latest", "stable"]


def test_what_is_not_there_is_refused_with_what_is(store: Store) -> None:
    with pytest.raises(RecipeError, match="no corpus yet"):
        corpus.resolve(store, "library")
    corpus.commit(store, manifest("library", 1))
    corpus.move_tag(store, "library", "stable", entry(1))
    with pytest.raises(RecipeError, match="did you mean library"):
        corpus.resolve(store, "libary")
    with pytest.raises(RecipeError, match=r"has no version v0009 .* it has: v0001"):
        corpus.resolve(store, "library@v0009")
    with pytest.raises(RecipeError, match=r"has no tag 'stabel'; tags: stable"):
        corpus.resolve(store, "library@stabel")
    for wrong in ("", "@latest", "a/b", "../library"):
        with pytest.raises(RecipeError, match="is not a reference"):
            corpus.resolve(store, wrong)


def test_of_sixteen_commits_of_one_number_one_is_published(store: Store) -> None:
    ends = at_once(lambda number: corpus.commit(store, manifest("library", 1, run_id=f"run {number}")))
    assert [end for end in ends if end is None] == [None]
    for end in ends:
        if end is not None:
            assert isinstance(end, ConflictError)
            assert "library@v0001 was published by another run" in str(end)
    assert corpus.resolve(store, "library").run_id == f"run {ends.index(None)}"


def test_of_sixteen_moves_of_a_tag_no_entry_is_overwritten(store: Store) -> None:
    ends = at_once(lambda number: corpus.move_tag(store, "library", "latest", entry(number + 1)))
    moved = [number + 1 for number, end in enumerate(ends) if end is None]
    assert all(isinstance(end, ConflictError) for end in ends if end is not None)
    keys = store.keys("corpora/library/tags/latest/")
    assert sorted(json.loads(store.get(key))["version"] for key in keys) == moved
    assert [key.rsplit("/", 1)[1] for key in keys] == [f"{number:06d}.json" for number in range(1, len(moved) + 1)]


def test_a_revision_takes_the_place_of_its_manifest(store: Store) -> None:
    corpus.commit(store, manifest("library", 1))
    for revision in (1, 2, 10):
        text = manifest("library", 1, run_id=f"erasure {revision}").model_dump_json().encode()
        store.create(f"corpora/library/manifests/v0001.r{revision}.json", text)
    store.put("corpora/library/manifests/v0001.json.backup", b"a stray file")
    store.put("corpora/.stray", b"another")
    assert corpus.resolve(store, "library@v0001").run_id == "erasure 10"
    assert corpus.versions(store, "library") == [1]
    assert corpus.corpora(store) == ["library"]


def test_a_manifest_of_a_newer_format_is_refused_clearly(store: Store) -> None:
    tree = manifest("library", 1).model_dump(mode="json") | {"format": 2, "unheard_of": {"by": "this cuvee"}}
    store.put("corpora/library/manifests/v0001.json", json.dumps(tree).encode())
    with pytest.raises(RecipeError, match=r"v0001\.json: written in format 2, this cuvee reads up to 1; upgrade cuvee"):
        corpus.resolve(store, "library")


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"null", b'{"corpus": "library"}', b'{"format": 1}', b'{"format": "x"}']
)
def test_what_is_no_manifest_is_an_integrity_error(store: Store, content: bytes) -> None:
    store.put("corpora/library/manifests/v0001.json", content)
    with pytest.raises(IntegrityError, match=r"v0001\.json: not a manifest"):
        corpus.resolve(store, "library")


def test_references_and_versions_are_read_as_written() -> None:
    assert [parse_ref(ref) for ref in ("a", "a@", "a@latest", "a@v0007")] == [
        ("a", "latest"),
        ("a", "latest"),
        ("a", "latest"),
        ("a", "v0007"),
    ]
    assert [parse_version(text) for text in ("v0007", "v7", "v10000", "v", "7", "vx", "v²", "latest")] == [
        7,
        7,
        10000,
        *[None] * 5,
    ]
    assert all(parse_version(version_name(number)) == number for number in (1, 9999, 10000))


def test_the_pool_state_is_that_of_the_highest_version(store: Store) -> None:
    assert corpus.read_state(store, "library") == PoolState()
    for number in (1, 2):
        state = PoolState(number=number, dates={number: "2030-01-01"})
        corpus.commit(store, manifest("library", number, pool=corpus.write_state(store, "library", state)))
    corpus.move_tag(store, "library", "latest", entry(1, "rollback"))
    assert corpus.read_state(store, "library") == state


def test_a_record_counts_only_while_its_files_stand(store: Store) -> None:
    ref = write_table(store, "pool", TEXTS)
    record = StepRecord(step="sign", key="k", files=(ref,))
    assert corpus.read_record(store, StepRecord, "sign", "k") is None
    corpus.write_record(store, record)
    assert corpus.read_record(store, StepRecord, "sign", "k") == record
    store.put(ref.path, store.get(ref.path)[:-1])
    assert corpus.read_record(store, StepRecord, "sign", "k") is None
    store.delete(ref.path)
    assert corpus.read_record(store, StepRecord, "sign", "k") is None
    for rubbish in (b"", b"{}", b'{"step": "sign", "key": "k", "unheard_of": 1}'):
        store.put("work/sign/k.json", rubbish)
        assert corpus.read_record(store, StepRecord, "sign", "k") is None


def test_of_many_records_only_those_whose_files_stand_count(store: Store) -> None:
    refs = [write_table(store, f"pool/{'ab'[number % 2]}", TEXTS.slice(number, 5)) for number in range(9)]
    records = [StepRecord(step="sign", key=f"k{number}", files=(ref,)) for number, ref in enumerate(refs)]
    for record in records:
        corpus.write_record(store, record)
    keys = [*(record.key for record in records), "never made"]
    assert corpus.read_records(store, StepRecord, "sign", keys) == [*records, None]
    store.put(refs[2].path, b"cut")
    store.delete(refs[5].path)
    expected = [None if number in (2, 5) else record for number, record in enumerate(records)]
    assert corpus.read_records(store, StepRecord, "sign", keys) == [*expected, None]
    assert corpus.read_records(store, StepRecord, "sign", []) == []


RECIPE = """
corpus: library
sources: [{name: manual, uri: texts/*.jsonl, license: PSF-2.0, domain: manual}]
ingest: {max_bad_rows: 0.5}
holdout: {share: 0.1}
"""


class Published:
    """A small version in a folder, and the words of its texts."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.texts = folder, documents(24)
        write_jsonl(folder / "texts/a.jsonl", self.texts)
        (folder / "texts/b.jsonl").write_text('{"id": 1, "text": "Confidential, and cut off\n')
        publish_plainly(recipe_file(folder, RECIPE), str(folder / "store"))
        self.store = LocalStore(folder / "store")
        self.dataset: Dataset = open_dataset("library", str(folder / "store"))


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Published:
    return Published(tmp_path_factory.mktemp("published"))


def test_no_machine_path_and_no_text_is_in_manifests_states_records_and_reports(published: Published) -> None:
    store = published.store
    told = [key for key in store.keys("") if key.endswith((".json", ".md"))]
    assert len(told) > 12
    words = [text[:40] for text in published.texts] + ["Confidential"]
    for key in told:
        content = store.get(key).decode()
        assert str(published.folder) not in content, key
        assert str(Path.home()) + "/" not in content, key
        assert os.uname().nodename not in content, key
        assert not [start for start in words if start in content], key
    ledger = published.dataset.ledger().to_dicts()
    assert len(ledger) == 25
    assert not [row for row in ledger if any(start in str(row) for start in words)]
    assert str(published.folder) not in str(ledger)


def test_published_files_are_parquet_as_promised_to_readers(published: Published) -> None:
    for file in published.dataset.manifest.files:
        footer = pq.read_metadata(published.store.location(file.path))
        assert footer.schema.to_arrow_schema().equals(PUBLISHED)
        assert footer.num_rows == file.rows
        text = footer.row_group(0).column(footer.schema.names.index("text"))
        assert (text.statistics, text.has_dictionary_page, text.has_offset_index) == (None, False, True)


def test_only_files_that_a_manifest_or_the_pool_names_are_published(published: Published) -> None:
    named = {file.path for file in published.dataset.manifest.files}
    assert set(published.store.keys("corpora/library/data/")) == named
    assert list(published.dataset.verify()) == []
    assert [path for path in under_construction(published.store) if path.is_file()] == []


def test_a_tag_that_a_rollback_moved_stays_until_a_person_moves_it(tmp_path: Path) -> None:
    place, number = str(tmp_path / "store"), count(1)
    store = LocalStore(tmp_path / "store")
    recipe = recipe_file(tmp_path, "corpus: library\nsources: [{name: manual, uri: texts/*.jsonl}]\n")

    def one_more() -> tuple[int, int, tuple[str, ...]]:
        name = next(number)
        write_jsonl(tmp_path / f"texts/{name}.jsonl", documents(3, seed=name))
        report = publish_plainly(recipe, place)
        return report.version, corpus.resolve(store, "library").version, report.warnings

    assert one_more() == (1, 1, ())
    assert one_more() == (2, 2, ())
    corpus.move_tag(store, "library", "latest", entry(1, "rollback"))
    version, latest, (warning,) = one_more()
    assert (version, latest) == (3, 1)
    assert "cuvee tag library@v0003 latest" in warning
    assert publish_plainly(recipe, place).version == 3
    assert corpus.resolve(store, "library").version == 1
    corpus.move_tag(store, "library", "latest", entry(2, "tag"))
    assert one_more() == (4, 4, ())


def test_publishing_moves_its_tag_forward_only(published: Published) -> None:
    from cuvee.tasks.begin import begin
    from cuvee.tasks.publish.commit import move_publishing_tag

    run, _, _ = begin(
        str(published.folder / "recipe.yaml"), ["publish.tag=slow"], str(published.folder / "store"), "slow"
    )
    corpus.move_tag(published.store, "library", "slow", entry(3))
    # The tag's run was overtaken: a later one has published version 3 meanwhile.
    assert move_publishing_tag(published.store, run, 2) is None
    moved = corpus.read_tag(published.store, "library", "slow")
    assert moved is not None
    assert moved.version == 3


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_full_disk_is_named_by_the_folder_of_the_file() -> None:
    with (
        pytest.raises(OSError, match=r"No space left on device: '/store/work/tmp'$") as full,
        naming(Path("/store/work/tmp/a.parquet")),
    ):
        Path("/dev/full").write_bytes(b"text")
    assert full.value.errno == errno.ENOSPC
    with pytest.raises(OSError, match=r"^elsewhere$"), naming(Path("/store/work/tmp/a.parquet")):
        raise OSError("elsewhere")
