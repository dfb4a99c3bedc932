"""The S3 store over real HTTP, with a proxy that breaks what networks and servers break."""

import hashlib
import logging
import multiprocessing
import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset as pads
import pytest
from faults import FaultProxy, Request, Rule, faults_before
from plain import publish_plainly, recipe_file
from texts import documents, write_jsonl

from cuvee.dataset import open_dataset
from cuvee.schemas.errors import ConflictError, CuveeError, IntegrityError, RecipeError, RetryableError
from cuvee.schemas.parse import parse_recipe
from cuvee.storage import corpus, s3_store
from cuvee.storage.s3 import client, listing
from cuvee.storage.s3_store import S3Store
from cuvee.storage.store import open_store
from cuvee.storage.tables import iterate_table, read_table, write_table

# Seconds that a call is tried for in these tests; answers are awaited for a third of it.
PATIENCE_S = 9.0
MB = 2**20


@pytest.fixture
def proxy(s3: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultProxy]:
    with faults_before(os.environ["AWS_ENDPOINT_URL"]) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
        monkeypatch.setenv("CUVEE_S3_PATIENCE_S", str(PATIENCE_S))
        yield proxy


@pytest.fixture
def store(s3: str, proxy: FaultProxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> S3Store:
    monkeypatch.setenv("CUVEE_SCRATCH", str(tmp_path / "scratch"))
    return S3Store(f"{s3}/cellar")


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> int:
    """Let parts be of 5 MiB, the least that S3 takes."""
    monkeypatch.setattr(s3_store, "PART_BYTES", 5 * MB)
    return 5 * MB


def blob(size: int, seed: int = 1) -> bytes:
    return random.Random(seed).randbytes(size)


def file_of(store: S3Store, content: bytes) -> Path:
    path = store.scratch() / "made"
    path.write_bytes(content)
    return path


def is_part(number: int) -> Callable[[Request], bool]:
    return lambda request: request.method == "PUT" and f"partNumber={number}&" in f"{request.path}&"


def is_(method: str, part: str = "") -> Callable[[Request], bool]:
    return lambda request: request.method == method and part in request.path


def pending_uploads(store: S3Store) -> list[Any]:
    found: list[Any] = client().list_multipart_uploads(Bucket=store.bucket).get("Uploads", [])
    return found


# --- faults that pass


def test_a_server_that_is_down_for_a_while_is_waited_for_and_the_user_told(
    store: S3Store, proxy: FaultProxy, caplog: pytest.LogCaptureFixture
) -> None:
    store.put("x", b"before")
    with caplog.at_level(logging.WARNING, "cuvee.storage"), proxy.down_for(2.5):
        store.put("x", b"during")
        assert store.get("x") == b"during"
    assert any(f"s3://{store.bucket}" in line and proxy.url in line and "again in" in line for line in caplog.messages)


def test_a_server_that_stays_down_is_a_retryable_error_with_the_endpoint_and_the_bucket(
    store: S3Store, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUVEE_S3_PATIENCE_S", "0.8")
    path = file_of(store, b"content")
    proxy.down()
    calls: list[Callable[[], Any]] = [
        lambda: store.get("x"),
        lambda: store.open("x"),
        lambda: store.put("x", b"1"),
        lambda: store.create("x", b"1"),
        lambda: store.put_file("x", path),
        lambda: store.size("x"),
        lambda: store.keys(""),
        lambda: store.delete("x"),
    ]
    for call in calls:
        began = time.monotonic()
        with pytest.raises(RetryableError, match=f"s3://{store.bucket} .{proxy.url}.*tried .* run it again"):
            call()
        assert time.monotonic() - began < 5
    assert path.read_bytes() == b"content"


def test_a_fault_while_a_table_is_read_is_not_taken_for_damage(
    store: S3Store, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    ref = write_table(store, "data", pa.table({"text": [blob(400_000).hex() for _ in range(10)]}))
    monkeypatch.setenv("CUVEE_S3_PATIENCE_S", "0.8")
    tables = iterate_table(store, ref, ["text"])
    with store.open(ref.path) as file:
        file.read(10)
        proxy.down()
        file.seek(MB)
        with pytest.raises(RetryableError):
            file.read(10)
        with pytest.raises(RetryableError):
            next(tables)
        proxy.up()


def test_a_slow_answer_is_waited_for_and_one_that_does_not_come_is_asked_for_again(
    store: S3Store, proxy: FaultProxy
) -> None:
    store.put("x", b"1")
    proxy.rules = [Rule(delay_s=1.0), Rule(delay_s=PATIENCE_S / 3 + 2)]
    before = len(proxy.seen)
    assert store.get("x") == b"1"
    assert len(proxy.seen) == before + 1
    assert store.get("x") == b"1"
    assert len(proxy.seen) == before + 3


@pytest.mark.parametrize("status", [500, 503])
def test_a_storm_of_refusals_loses_nothing(store: S3Store, proxy: FaultProxy, status: int) -> None:
    draw = random.Random(1)
    code = "SlowDown" if status in (503, 429) else "InternalError"
    proxy.rules = [Rule(when=lambda _: draw.random() < 0.4, turns=20, status=status, code=code)]

    def put_and_get(number: int) -> bytes:
        store.put(f"k/{number:02d}", blob(100, number))
        return store.get(f"k/{number:02d}")

    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(put_and_get, range(24)))
    assert found == [blob(100, number) for number in range(24)]
    assert len(store.keys("k/")) == 24
    assert proxy.rules[0].used > 10


# --- faults that do not pass


@pytest.mark.parametrize(
    ("status", "code", "advice"),
    [
        (403, "AccessDenied", "s3:PutObject"),
        (403, "InvalidAccessKeyId", "AWS_ACCESS_KEY_ID"),
        (403, "SignatureDoesNotMatch", "AWS_SECRET_ACCESS_KEY"),
        (403, "ExpiredToken", "sign in again"),
        (400, "AuthorizationHeaderMalformed", "AWS_REGION"),
        (404, "NoSuchBucket", "create it"),
        (501, "NotImplemented", "another server"),
    ],
)
def test_what_waiting_does_not_mend_is_told_at_once(
    store: S3Store, proxy: FaultProxy, status: int, code: str, advice: str
) -> None:
    path = file_of(store, b"content")
    proxy.rules = [Rule(turns=99, status=status, code=code)]
    calls: list[Callable[[], Any]] = [
        lambda: store.get("x"),
        lambda: store.open("x"),
        lambda: store.put("x", b"1"),
        lambda: store.create("x", b"1"),
        lambda: store.put_file("x", path),
        lambda: store.keys(""),
    ]
    for call in calls:
        before = len(proxy.seen)
        with pytest.raises(RecipeError) as raised:
            call()
        assert all(words in str(raised.value) for words in (f"s3://{store.bucket}", proxy.url, code, advice))
        assert len(proxy.seen) - before == 1


def test_a_refused_size_is_told_although_its_answer_has_no_words(store: S3Store, proxy: FaultProxy) -> None:
    proxy.rules = [Rule(status=403)]
    with pytest.raises(RecipeError, match="access is denied"):
        store.size("x")


def test_a_missing_bucket_and_missing_credentials_are_told_at_once(
    store: S3Store, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(RecipeError, match=r"s3://no-such-bucket .*there is no such bucket; create it"):
        open_store("s3://no-such-bucket/x").keys("")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    for call in (lambda: store.get("x"), store.access):
        with pytest.raises(RecipeError, match=r"credentials .*AWS_ACCESS_KEY_ID"):
            call()
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    with pytest.raises(RecipeError, match="nobody"):
        store.get("x")


def test_a_server_that_is_no_s3_server_is_told(store: S3Store, proxy: FaultProxy) -> None:
    proxy.rules = [Rule(status=404, code="NotFound")]
    with pytest.raises(RecipeError, match=r"no S3 server.*correct AWS_ENDPOINT_URL"):
        corpus.versions(store, "library")


@pytest.mark.parametrize("uri", ["s3://", "s3:///prefix", "ftp://host/store", "gs://bucket"])
def test_a_store_that_is_none_is_refused_by_the_recipe_and_by_the_command(uri: str) -> None:
    with pytest.raises(RecipeError, match="s3://bucket/prefix"):
        open_store(uri)
    with pytest.raises(RecipeError, match=r"library.yaml: store: .*s3://bucket/prefix"):
        parse_recipe(f"corpus: library\nstore: '{uri}'\nsources: [{{name: a, uri: a.jsonl}}]\n", "library.yaml")


def test_patience_that_is_no_number_is_refused(store: S3Store, monkeypatch: pytest.MonkeyPatch) -> None:
    for words in ("soon", "-1", "0", "inf", "nan"):
        monkeypatch.setenv("CUVEE_S3_PATIENCE_S", words)
        with pytest.raises(RecipeError, match="CUVEE_S3_PATIENCE_S"):
            store.get("x")


# --- writing


def test_a_large_file_goes_up_in_parts_with_checksums_and_is_gone_here(
    store: S3Store, proxy: FaultProxy, small_parts: int
) -> None:
    content = blob(2 * small_parts + 17)
    path = file_of(store, content)
    store.put_file("big", path)
    assert store.get("big") == content
    assert not path.exists()
    parts = [request for request in proxy.seen if "partNumber" in request.path]
    assert len(parts) == 3
    assert all("content-md5" in request.headers for request in parts)


def test_a_part_that_is_reset_is_sent_again_alone(store: S3Store, proxy: FaultProxy, small_parts: int) -> None:
    content = blob(3 * small_parts)
    proxy.rules = [Rule(when=is_part(2), cut_upload=MB), Rule(when=is_part(3), status=503, code="SlowDown")]
    store.put_file("big", file_of(store, content))
    assert store.get("big") == content
    assert [proxy.count("PUT", f"partNumber={number}") for number in (1, 2, 3)] == [1, 2, 2]
    assert pending_uploads(store) == []


def test_a_changed_part_is_refused_by_the_server_and_sent_again(store: S3Store, proxy: FaultProxy) -> None:
    proxy.rules = [Rule(when=is_("PUT"), status=400, code="BadDigest")]
    store.put("x", b"content")
    assert store.get("x") == b"content"
    assert proxy.count("PUT") == 2


def test_an_upload_that_fails_is_aborted_and_the_file_stays_here(
    store: S3Store, proxy: FaultProxy, small_parts: int
) -> None:
    path = file_of(store, blob(2 * small_parts))
    proxy.rules = [Rule(when=is_part(2), turns=99, status=403, code="AccessDenied")]
    with pytest.raises(RecipeError):
        store.put_file("big", path)
    assert pending_uploads(store) == []
    assert path.stat().st_size == 2 * small_parts
    assert store.size("big") is None


def test_a_lost_answer_to_the_end_of_an_upload_is_found_to_be_a_success(
    store: S3Store, proxy: FaultProxy, small_parts: int
) -> None:
    content = blob(2 * small_parts)
    proxy.rules = [Rule(when=lambda r: r.method == "POST" and "uploadId" in r.path, drop_answer=True)]
    store.put_file("big", file_of(store, content))
    assert store.get("big") == content


def test_an_upload_that_somebody_aborted_is_no_success(store: S3Store, proxy: FaultProxy, small_parts: int) -> None:
    path = file_of(store, blob(2 * small_parts))
    gone = Rule(when=lambda r: r.method == "POST" and "uploadId" in r.path, turns=9, status=404, code="NoSuchUpload")
    proxy.rules = [gone]
    with pytest.raises(RetryableError, match="upload"):
        store.put_file("big", path)
    assert path.exists()


# --- creating


def test_a_lost_answer_to_a_creation_is_read_back_and_ours_is_a_success(store: S3Store, proxy: FaultProxy) -> None:
    proxy.rules = [Rule(when=is_("PUT"), drop_answer=True)]
    store.create("manifest", b"ours")
    assert store.get("manifest") == b"ours"
    proxy.rules = [Rule(when=is_("PUT"), drop_answer=True)]
    with pytest.raises(ConflictError):
        store.create("manifest", b"of another run")
    assert store.get("manifest") == b"ours"


def test_a_creation_that_a_proxy_repeats_is_ours_and_another_ones_is_a_conflict(
    store: S3Store, proxy: FaultProxy
) -> None:
    for content in (b"the same", b"of another run"):
        proxy.rules = [Rule(when=is_("PUT"), twice=True)]
        if content == b"the same":
            store.create("manifest", content)
            proxy.rules = [Rule(when=is_("PUT"), twice=True)]
        with pytest.raises(ConflictError):
            store.create("manifest", content)
    assert store.get("manifest") == b"the same"


def test_a_run_whose_puts_are_all_repeated_is_published_once(store: S3Store, proxy: FaultProxy, tmp_path: Path) -> None:
    write_jsonl(tmp_path / "texts.jsonl", documents(6))
    recipe = recipe_file(tmp_path, "corpus: library\nsources: [{name: texts, uri: texts.jsonl}]\n")
    proxy.rules = [Rule(when=is_("PUT"), turns=10_000, twice=True)]
    report = publish_plainly(recipe, store.uri)
    assert (report.version, report.published, report.warnings) == (1, True, ())
    assert corpus.resolve(store, "library").version == 1


def test_a_conflict_that_may_pass_is_tried_again_and_does_not_make_the_loser_a_winner(
    store: S3Store, proxy: FaultProxy
) -> None:
    proxy.rules = [Rule(when=is_("PUT"), status=409, code="ConditionalRequestConflict")]
    store.create("manifest", b"the same")
    proxy.rules = [Rule(when=is_("PUT"), status=409, code="ConditionalRequestConflict")]
    with pytest.raises(ConflictError):
        store.create("manifest", b"the same")


def test_of_sixteen_creations_through_faults_exactly_one_wins(store: S3Store, proxy: FaultProxy) -> None:
    draw = random.Random(3)
    for turn in range(2):
        proxy.rules = [
            Rule(when=lambda _: draw.random() < 0.3, turns=4, drop_answer=True),
            Rule(when=lambda _: draw.random() < 0.3, turns=6, status=503, code="SlowDown"),
        ]
        gate, won = threading.Barrier(16), []

        def create(number: int, key: str, gate: threading.Barrier, won: list[int]) -> None:
            gate.wait()
            try:
                store.create(key, f"of {number}".encode())
                won.append(number)
            except ConflictError:
                pass

        threads = [threading.Thread(target=create, args=(n, f"v{turn}", gate, won)) for n in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        proxy.rules = []
        assert [store.get(f"v{turn}")] == [f"of {number}".encode() for number in won]


def test_a_server_that_ignores_the_condition_is_found_before_the_first_version(
    store: S3Store, proxy: FaultProxy, tmp_path: Path
) -> None:
    write_jsonl(tmp_path / "texts.jsonl", documents(12))
    recipe = recipe_file(tmp_path, "corpus: library\nsources: [{name: texts, uri: texts.jsonl}]\n")
    proxy.rules = [Rule(when=is_("PUT"), turns=10_000, without="if-none-match")]
    with pytest.raises(RecipeError, match="ignores If-None-Match"):
        publish_plainly(recipe, store.uri)
    assert corpus.versions(store, "library") == []
    proxy.rules = []
    publish_plainly(recipe, store.uri)
    assert corpus.versions(store, "library") == [1]
    assert store.keys("corpora/library/probes/") == []


# --- reading


def test_a_body_that_breaks_off_is_read_again(store: S3Store, proxy: FaultProxy) -> None:
    content = blob(MB)
    store.put("x", content)
    proxy.rules = [Rule(when=is_("GET"), turns=2, cut_download=1000)]
    assert store.get("x") == content
    assert proxy.rules[0].used == 2


def test_a_stream_that_breaks_off_goes_on_where_it_was(store: S3Store, proxy: FaultProxy) -> None:
    content = blob(6 * MB)
    store.put("x", content)
    with store.open("x") as file:
        before = proxy.bytes_down
        proxy.rules = [Rule(when=is_("GET"), turns=3, cut_download=700_000)]
        assert hashlib.file_digest(file, "sha256").digest() == hashlib.sha256(content).digest()  # type: ignore[arg-type]
    assert proxy.rules[0].used == 3
    assert proxy.bytes_down - before < 20 * MB


def test_a_whole_file_is_read_in_few_requests_and_a_place_in_it_in_one(store: S3Store, proxy: FaultProxy) -> None:
    content = blob(20 * MB)
    store.put("x", content)
    before = len(proxy.seen)
    with store.open("x") as file:
        assert file.read() == content
        assert len(proxy.seen) - before == 2
        file.seek(0)
        before, down = len(proxy.seen), proxy.bytes_down
        for start in (12 * MB, 3 * MB, 20 * MB - 100):
            file.seek(start)
            assert file.read(1000) == content[start : start + 1000]
        assert len(proxy.seen) - before == 2
        assert proxy.bytes_down - down == 2000
    with store.open("x") as file:
        before = len(proxy.seen)
        while file.read(256 * 1024):
            pass
        assert len(proxy.seen) - before <= 4


def test_a_file_that_is_replaced_while_it_is_read_is_not_mixed(store: S3Store) -> None:
    store.put("x", blob(MB, 1))
    with store.open("x") as file:
        file.read(10)
        store.put("x", blob(MB - 1, 2))
        file.seek(500_000)
        with pytest.raises(OSError, match="changed"):
            file.read(10)


def test_thin_columns_of_a_large_shard_leave_the_text_where_it_is(store: S3Store, proxy: FaultProxy) -> None:
    texts = pa.array([blob(4000, number).hex() for number in range(4000)])
    table = pa.table({"doc_id": [f"{n:032x}" for n in range(4000)], "text": texts, "words": list(range(4000))})
    ref = write_table(store, "data", table)
    assert ref.bytes > 15 * MB
    before, down = len(proxy.seen), proxy.bytes_down
    assert read_table(store, ref, ["words"])["words"].to_pylist() == list(range(4000))
    assert proxy.bytes_down - down < MB
    assert len(proxy.seen) - before <= 6
    before, down = len(proxy.seen), proxy.bytes_down
    assert pa.concat_tables(iterate_table(store, ref, ["text"]))["text"].equals(pa.chunked_array([texts]))
    assert proxy.bytes_down - down < ref.bytes * 1.1
    assert len(proxy.seen) - before <= 6


def test_a_listing_of_many_pages_is_whole(store: S3Store, proxy: FaultProxy) -> None:
    names = [f"k/{number}" for number in range(11)]
    for name in names:
        store.put(name, name.encode())
    proxy.rules = [Rule(when=is_("GET", "list-type=2"), turns=99, query="&max-keys=2")]
    before = len(proxy.seen)
    assert store.keys("k/") == sorted(names)
    assert len(proxy.seen) - before == 6
    found = list(listing(store.bucket, "cellar/k/"))
    assert [(entry.size, entry.etag) for entry in found if entry.key == "cellar/k/10"] == [
        (4, hashlib.md5(b"k/10").hexdigest())
    ]


def test_a_folder_marked_in_a_console_is_no_key(store: S3Store) -> None:
    store.put("tags/", b"")
    store.put("tags/x", b"1")
    assert store.keys("tags/") == ["tags/x"]


# --- one client for all


def test_credentials_are_those_of_the_environment_now(
    store: S3Store, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    store.put("x", b"1")
    assert "test-key/" in proxy.seen[-1].headers["authorization"]
    first = client()
    assert client() is first
    monkeypatch.setenv("AWS_SESSION_TOKEN", "the-token")
    store.get("x")
    assert proxy.seen[-1].headers["x-amz-security-token"] == "the-token"
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name)
    keys = "aws_access_key_id = key-of-the-profile\naws_secret_access_key = secret\n"
    (tmp_path / "config").write_text(f"[profile cellar]\nregion = eu-west-3\nendpoint_url = {proxy.url}\n{keys}")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_PROFILE", "cellar")
    monkeypatch.delenv("AWS_REGION")
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    assert store.get("x") == b"1"
    assert "key-of-the-profile/" in proxy.seen[-1].headers["authorization"]
    assert "eu-west-3" in proxy.seen[-1].headers["authorization"]


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_store_goes_to_child_processes_which_read_with_clients_of_their_own(store: S3Store, method: str) -> None:
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"this system has no {method}")
    store.put("x", b"for the child")
    with ProcessPoolExecutor(2, multiprocessing.get_context(method)) as children:
        found = [children.submit(store.get, "x") for _ in range(4)]
        assert [future.result(timeout=60) for future in found] == [b"for the child"] * 4
    assert store.get("x") == b"for the child"


def test_files_under_construction_are_local_and_apart_for_each_store(
    store: S3Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = S3Store(store.uri + "2")
    assert store.scratch() == S3Store(store.uri + "/").scratch()
    assert store.scratch().parent != other.scratch().parent
    assert store.scratch().is_relative_to(tmp_path / "scratch")
    monkeypatch.delenv("CUVEE_SCRATCH")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    assert store.scratch().is_relative_to(tmp_path / "tmp" / f"cuvee-{os.getuid()}")
    assert (tmp_path / "tmp" / f"cuvee-{os.getuid()}").stat().st_mode & 0o077 == 0


# --- the pipeline

RECIPE = """
corpus: library
sources: [{name: texts, uri: "texts*.jsonl", license: CC0-1.0, domain: manual}]
filters: [{kind: language, keep: [en], min_score: 0.2}]
holdout: {share: 0.05}
generate: [{name: baseline, generator: ngram, allow_baseline: true}]
mixture: {human: {min: 0.8}}
"""


def test_a_corpus_on_s3_has_the_bytes_of_a_local_one_and_every_reader_reads_it(
    s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUVEE_SCRATCH", str(tmp_path / "scratch"))
    places = [str(tmp_path / "local"), f"{s3}/pre/fix"]
    recipe = recipe_file(tmp_path, RECIPE)
    for night in (1, 2):
        write_jsonl(tmp_path / f"texts-{night}.jsonl", documents(40, night))
        for place in places:
            assert publish_plainly(recipe, place).published
    local, remote = (open_dataset("library", place) for place in places)
    assert remote.manifest.version == 2
    assert remote.manifest.files == local.manifest.files
    for file in local.manifest.files:
        assert remote.store.get(file.path) == local.store.get(file.path)
    assert all(url.startswith(f"{s3}/pre/fix/corpora/library/data/") for url in remote.files())
    assert remote.scan().collect().equals(local.scan().collect())
    assert remote.dataset().to_table().equals(local.dataset().to_table())
    assert list(remote.verify()) == []
    assert [path.name for path in remote.pull(tmp_path / "copy")] == [p.name for p in local.pull(tmp_path / "other")]
    assert not publish_plainly(recipe, places[1]).published

    victim = remote.manifest.files[0].path
    remote.store.delete(victim)
    with pytest.raises(IntegrityError, match=f"{s3}/pre/fix/{victim} is missing"):
        remote.pull(tmp_path / "third")
    assert len(list(remote.verify())) == 1


def test_readers_use_the_credentials_and_the_endpoint_of_the_store(
    store: S3Store, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    import polars as pl

    monkeypatch.setenv("AWS_SESSION_TOKEN", "the-token")
    ref = write_table(store, "data", pa.table({"number": [1, 2, 3]}))
    url = store.location(ref.path)
    proxy.seen.clear()
    access = store.access()
    assert pl.scan_parquet(url, **access.polars).collect()["number"].to_list() == [1, 2, 3]
    assert pads.dataset(url.removeprefix("s3://"), filesystem=access.arrow).to_table()["number"].to_pylist() == [
        1,
        2,
        3,
    ]
    assert len(proxy.seen) >= 2
    for request in proxy.seen:
        assert "test-key/" in request.headers["authorization"]
        assert request.headers["x-amz-security-token"] == "the-token"


def test_a_run_goes_on_by_itself_when_the_server_is_down_in_its_middle(
    store: S3Store, proxy: FaultProxy, tmp_path: Path
) -> None:
    write_jsonl(tmp_path / "texts-1.jsonl", documents(15))
    recipe = recipe_file(tmp_path, RECIPE)
    stopped = threading.Event()

    def stop_once(request: Request) -> bool:
        if len(proxy.seen) > 30 and not stopped.is_set():
            stopped.set()
            threading.Thread(target=lambda: proxy.down_for(2.0).__enter__()).start()
        return False

    proxy.rules = [Rule(when=stop_once)]
    assert publish_plainly(recipe, store.uri).published
    assert stopped.is_set()
    assert list(open_dataset("library", store.uri).verify()) == []


@pytest.mark.parametrize(
    ("status", "code"), [(418, "ImATeapot"), (301, ""), (307, ""), (400, ""), (412, ""), (404, "NoSuchUpload")]
)
def test_no_exception_of_boto_leaves_the_store(store: S3Store, proxy: FaultProxy, status: int, code: str) -> None:
    proxy.rules = [Rule(turns=99, status=status, code=code)]
    before = len(proxy.seen)
    with pytest.raises((CuveeError, FileNotFoundError)):
        store.keys("x")
    assert len(proxy.seen) == before + 1
