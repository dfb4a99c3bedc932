"""Sources: what is listed and remembered, what comes from the web and from buckets, and what is refused."""

import hashlib
import ipaddress
import json
import os
import random
import time
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from plain import publish_plainly, recipe_file
from texts import documents, write_jsonl
from web_server import (
    LONG_AGO,
    Page,
    WebServer,
    answer,
    break_off,
    certificate,
    change_to,
    drip,
    drip_head,
    hang_up,
    now,
    redirect,
    stall,
    web_server,
)

import cuvee
from cuvee.schemas import address
from cuvee.schemas.errors import InputError, RecipeError, RetryableError
from cuvee.schemas.parse import parse_recipe
from cuvee.schemas.recipe import Fetch
from cuvee.schemas.records import PoolState, Run, SourceFile
from cuvee.storage import download as downloading
from cuvee.storage import web
from cuvee.storage.download import Fetched, download
from cuvee.storage.store import open_store
from cuvee.tasks.begin import begin
from cuvee.tasks.ingest import fetch, opening, sources
from cuvee.tasks.pool import pool_of

BODY = random.Random(5).randbytes(300_000)
RECIPE = "corpus: c\nsources:\n  - {name: a, uri: URI, license: PSF-2.0}\nholdout: {share: 0}\n"


@pytest.fixture
def server() -> Iterator[WebServer]:
    with web_server() as running:
        yield running


@pytest.fixture(autouse=True)
def _no_long_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(downloading, "FIRST_PAUSE_S", 0.01)
    monkeypatch.setenv("CUVEE_S3_PATIENCE_S", "3")


def got(uri: str, folder: Path, **options: Any) -> bytes | str:
    """Download a file and take it; return its bytes, or what became of it."""
    limits = Fetch(**{name: options.pop(name) for name in list(options) if name in Fetch.model_fields})
    with download(uri, limits, folder, **options) as found:
        if not isinstance(found, Fetched):
            return found
        assert found.path
        content = found.path.read_bytes()
        found.path.unlink()
    assert (found.bytes, found.sha256) == (len(content), hashlib.sha256(content).hexdigest())
    return content


def run_of(folder: Path, *uris: str, **keys: Any) -> Run:
    recipe = recipe_file(folder, RECIPE.replace("URI", json.dumps(uris)))
    changes = [f"sources.0.{name}={json.dumps(value)}" for name, value in keys.items()]
    return begin(recipe, changes, str(folder / "store"), "test")[0]


def listed(run: Run) -> tuple[list[SourceFile], list[str]]:
    """List and fetch, as a flow does."""
    pool = pool_of(PoolState())
    store = open_store(run.store)
    listing = sources.look(run, store, pool)
    fetched = [fetch.run(run, store, errand) for errand in fetch.errands(listing.asked)]
    return sources.settle(run, store, pool, listing, fetched)


def errands_of(run: Run) -> list[fetch.Errand]:
    """List what a first run would fetch."""
    return fetch.errands(sources.look(run, open_store(run.store), pool_of(PoolState())).asked)


def files_of(store: Path) -> dict[str, bytes]:
    """The published data files."""
    return {path.name: path.read_bytes() for path in (store / "corpora/c/data").rglob("*.parquet")}


def bucket_of(s3: str) -> Any:
    import boto3

    return boto3.resource("s3").Bucket(s3.removeprefix("s3://"))


PRIVATE = ["10.1.2.3", "127.0.0.1", "0.0.0.0", "100.64.0.1", "169.254.169.254", "192.168.0.1", "224.0.0.1"]
PRIVATE += ["255.255.255.255", "::1", "::", "::127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::"]
PRIVATE += ["fe80::1", "fc00::1", "fec0::1", "ff0e::1"]


# Downloads from the web


@pytest.mark.parametrize("length", ["told", "chunked"])
@pytest.mark.parametrize("validator", [{"etag": '"v1"'}, {"modified": LONG_AGO}])
def test_a_download_that_breaks_off_goes_on_where_it_was(
    server: WebServer, tmp_path: Path, length: str, validator: dict[str, str]
) -> None:
    if length == "chunked" and "modified" in validator:
        pytest.skip("a date alone, without a length, does not tell whether a file is the same")
    server.pages["/f"] = Page(BODY, **validator, length=length, tricks=[break_off(100_000), break_off(50_000)])
    assert got(f"{server.address}/f", tmp_path) == BODY
    assert server.summaries == [("/f", 200), ("/f", 206), ("/f", 206)]
    assert server.sent == len(BODY)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("page", [{"etag": '"v1"', "ranges": False}, {"etag": 'W/"v1"'}, {"modified": now()}, {}])
def test_a_download_begins_again_where_it_cannot_go_on(server: WebServer, tmp_path: Path, page: dict[str, Any]) -> None:
    server.pages["/f"] = Page(BODY, **page, tricks=[break_off(100_000)])
    assert got(f"{server.address}/f", tmp_path) == BODY


def test_a_file_that_changes_while_it_comes_is_taken_as_it_is_then(server: WebServer, tmp_path: Path) -> None:
    other = BODY[::-1]
    server.pages["/f"] = Page(BODY, '"v1"', tricks=[change_to(other, '"v2"', 100_000)])
    assert got(f"{server.address}/f", tmp_path) == other


def test_what_a_killed_process_had_fetched_is_not_fetched_again(server: WebServer, tmp_path: Path) -> None:
    server.pages["/f"] = Page(BODY, '"v1"', tricks=[break_off(200_000)] + [answer(503)] * 6)
    with pytest.raises(RetryableError, match=r"/f answers 503.*tried 6 times.*run it again"):
        got(f"{server.address}/f", tmp_path)
    (part,) = tmp_path.iterdir()
    assert part.stat().st_size == 200_000
    assert got(f"{server.address}/f", tmp_path) == BODY
    assert server.asked[-1].headers["Range"] == "bytes=200000-"
    assert server.asked[-1].sent == 100_000


def test_two_downloads_of_one_file_do_not_share_a_part(server: WebServer, tmp_path: Path) -> None:
    server.pages["/f"] = Page(BODY, '"v1"')
    uri = f"{server.address}/f"
    with download(uri, Fetch(), tmp_path) as first, download(uri, Fetch(), tmp_path) as second:
        assert isinstance(first, Fetched)
        assert isinstance(second, Fetched)
        assert first.path != second.path
        assert first.sha256 == second.sha256


def test_a_server_that_is_busy_is_asked_again_when_it_says(server: WebServer, tmp_path: Path) -> None:
    busy = [answer(429, Retry_After="1"), answer(503), answer(408), hang_up]
    server.pages["/f"] = Page(BODY, '"v1"', tricks=[*busy])
    began = time.monotonic()
    assert got(f"{server.address}/f", tmp_path) == BODY
    assert time.monotonic() - began >= 1
    assert [status for _, status in server.summaries] == [429, 503, 408, 0, 200]


def test_a_wait_longer_than_the_limit_is_told_at_once(server: WebServer, tmp_path: Path) -> None:
    server.pages["/f"] = Page(BODY, tricks=[answer(429, Retry_After="7200")])
    with pytest.raises(RetryableError, match="asks to wait 7200 s"):
        got(f"{server.address}/f", tmp_path)
    assert len(server.asked) == 1


def test_a_server_that_does_not_answer_is_told_after_a_few_attempts(tmp_path: Path) -> None:
    with web_server() as gone:
        uri = f"{gone.address}/f"
    with pytest.raises(RetryableError, match=r"/f.*Connection refused.*run it again"):
        got(uri, tmp_path)
    with pytest.raises(RetryableError, match=r"the host nowhere\.invalid is not found"):
        got("http://nowhere.invalid/f", tmp_path)


@pytest.mark.parametrize("status", [401, 403, 400, 451])
def test_a_refusal_is_told_at_once(server: WebServer, tmp_path: Path, status: int) -> None:
    server.pages["/f?page=1"] = Page(BODY, tricks=[answer(status)])
    with pytest.raises(RecipeError, match=rf"sources\.0\.uri: {server.address}/f\?… answers {status}"):
        listed(run_of(tmp_path, f"{server.address}/f?page=1"))
    assert len(server.asked) == 1


@pytest.mark.parametrize("length", ["told", "chunked", "untold"])
def test_a_file_past_the_size_limit_is_refused_by_name_and_leaves_nothing(
    server: WebServer, tmp_path: Path, length: str
) -> None:
    server.pages["/f"] = Page(BODY * 5, '"v1"', length=length)
    with pytest.raises(InputError, match=r"/f (has 1\.5 MB|goes on), past the limit of 1 MB.*raise fetch\.max_mb"):
        got(f"{server.address}/f", tmp_path, max_mb=1)
    assert list(tmp_path.iterdir()) == []


def test_a_length_that_promises_too_much_is_no_file(server: WebServer, tmp_path: Path) -> None:
    server.pages["/f"] = Page(tricks=[answer(200, Content_Length="1000")] * 6)
    with pytest.raises(RetryableError, match="breaks off before its end"):
        got(f"{server.address}/f", tmp_path)


@pytest.mark.parametrize("trick", [stall(20, after=100_000), drip_head(20)])
def test_the_time_limit_cuts_whatever_the_server_does(server: WebServer, tmp_path: Path, trick: Any) -> None:
    server.pages["/f"] = Page(BODY, '"v1"', tricks=[trick] * 9)
    began = time.monotonic()
    with pytest.raises(RetryableError, match=r"longer than the limit of 1 s \(fetch\.timeout_s of the source\)"):
        got(f"{server.address}/f", tmp_path, timeout_s=1)
    assert time.monotonic() - began < 15


def test_a_connection_that_stalls_is_given_up_and_gone_on_with(
    server: WebServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web, "STALL_S", 0.5)
    server.pages["/f"] = Page(BODY, '"v1"', tricks=[stall(20, after=100_000)])
    began = time.monotonic()
    assert got(f"{server.address}/f", tmp_path) == BODY
    assert time.monotonic() - began < 15


def test_a_body_that_was_compressed_on_the_way_is_refused(server: WebServer, tmp_path: Path) -> None:
    server.pages["/f.txt"] = Page(tricks=[answer(200, Content_Encoding="gzip")])
    with pytest.raises(RecipeError, match="is sent as gzip"):
        got(f"{server.address}/f.txt", tmp_path)


# Redirects


def test_redirects_to_private_addresses_are_followed_only_where_the_recipe_says(
    server: WebServer, tmp_path: Path
) -> None:
    server.pages |= {"/f": Page(tricks=[redirect("/g")] * 2), "/g": Page(BODY)}
    with pytest.raises(RecipeError, match=r"/f → .*/g: a redirect to 127\.0\.0\.1, .*private_addresses: true"):
        got(f"{server.address}/f", tmp_path)
    assert [path for path, _ in server.summaries] == ["/f"]
    assert got(f"{server.address}/f", tmp_path, private_addresses=True) == BODY


@pytest.mark.parametrize(
    "host", ["localhost", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0", "169.254.169.254", "2130706433"]
)
def test_no_way_of_writing_a_private_address_gets_past(server: WebServer, tmp_path: Path, host: str) -> None:
    server.pages["/f"] = Page(tricks=[redirect(f"http://{host}/latest?token=abc")])
    with pytest.raises(RecipeError, match="not a public address") as refused:
        got(f"{server.address}/f", tmp_path)
    assert "abc" not in str(refused.value)


def test_the_address_that_was_checked_is_the_one_that_is_connected_to(
    server: WebServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, asked, connected = web.socket.getaddrinfo, [], []

    def rebinding(host: str, *arguments: Any, **options: Any) -> Any:
        """Answer with a public address first, and with a private one ever after."""
        asked.append(host)
        if host == "rebinding.example":
            host = "93.184.216.34" if asked.count(host) == 1 else "127.0.0.1"
        return real(host, *arguments, **options)

    def connect(place: tuple[str, int], **options: Any) -> Any:
        connected.append(place[0])
        if place[0] == "127.0.0.1":
            return create_connection(place, **options)
        raise ConnectionRefusedError("there is no network in this test")

    create_connection = web.socket.create_connection
    monkeypatch.setattr(web.socket, "getaddrinfo", rebinding)
    monkeypatch.setattr(web.socket, "create_connection", connect)
    server.pages["/f"] = Page(tricks=[redirect(f"http://rebinding.example:{server.server_address[1]}/secret")] * 9)
    server.pages["/secret"] = Page(BODY)
    with pytest.raises(RecipeError, match=r"a redirect to 127\.0\.0\.1"):
        got(f"{server.address}/f", tmp_path)
    assert connected == ["127.0.0.1", "93.184.216.34", "127.0.0.1"]
    assert "/secret" not in [path for path, _ in server.summaries]


@pytest.mark.parametrize(
    ("target", "said"),
    [("/f", "redirects more than 5 times"), ("file:///etc/passwd", "no web address"), ("", "no web address")],
)
def test_a_redirect_that_leads_nowhere_is_refused(server: WebServer, tmp_path: Path, target: str, said: str) -> None:
    server.pages["/f"] = Page(tricks=[redirect(target)] * 9)
    with pytest.raises(RecipeError, match=said):
        got(f"{server.address}/f", tmp_path, private_addresses=True)
    assert len(server.asked) <= 6


def test_https_is_verified_and_never_left(server: WebServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = certificate(tmp_path)
    with web_server(made) as secure:
        secure.pages |= {"/f": Page(BODY), "/down": Page(tricks=[redirect(f"{server.address}/f")])}
        with pytest.raises(RecipeError, match=r"certificate is not trusted here.*SSL_CERT_FILE"):
            got(f"{secure.address}/f", tmp_path)
        monkeypatch.setenv("SSL_CERT_FILE", str(made))
        assert got(f"{secure.address}/f", tmp_path) == BODY
        assert secure.asked[-1].headers["Host"] == secure.address.removeprefix("https://")
        assert secure.asked[-1].headers["User-Agent"].startswith("cuvee")
        with pytest.raises(RecipeError, match=r"redirects from https to .*not protected"):
            got(f"{secure.address}/down", tmp_path, private_addresses=True)
    assert server.asked == []


@pytest.mark.parametrize(
    ("written", "public"),
    [
        ("8.8.8.8", True),
        ("2606:4700::1", True),
        ("64:ff9b::808:808", True),
        ("::ffff:8.8.8.8", True),
        *((written, False) for written in PRIVATE),
    ],
)
def test_only_addresses_of_the_open_internet_are_public(written: str, public: bool) -> None:
    assert web.is_public(ipaddress.ip_address(written)) == public


# Addresses in recipes


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("ftp://host/f.txt", "ftp:// is not known"),
        ("http://user:topsecret@host/f.txt", "name or password"),
        ("https://b.example/f.txt?X-Amz-Signature=topsecret", "'X-Amz-Signature' lets its holder in"),
        ("https://b.example/f.txt?sig=topsecret&x=1", "'sig' lets its holder in"),
        ("https://b.example/f.txt?accessToken=topsecret", "'accessToken' lets its holder in"),
        ("https://b.example/*.txt", "list the addresses one by one"),
        ("https:///f.txt", "the host is missing"),
        ("http://host:port/f.txt", "not an address"),
        ("s3://bucket", "this is a folder; name its files, for example s3://bucket/*"),
        ("s3://bucket/folder/", "this is a folder; name its files, for example s3://bucket/folder/*"),
        ("s3://buck*/f.txt", "name one bucket"),
    ],
)
def test_an_address_that_cannot_be_is_refused_by_key_before_anything_runs(uri: str, said: str) -> None:
    with pytest.raises(
        RecipeError, match=r"recipe: sources\.0\.uri: .*" + said.replace("?", r"\?").replace("*", r"\*")
    ) as e:
        parse_recipe(RECIPE.replace("URI", json.dumps(uri)))
    assert "topsecret" not in str(e.value)


def test_limits_are_no_part_of_what_a_recipe_decides() -> None:
    recipe = RECIPE.replace("URI", "x.jsonl")
    assert parse_recipe(recipe).sha256() == parse_recipe(recipe, overrides=["sources.0.fetch.max_mb=5"]).sha256()


def test_web_files_are_named_by_the_end_of_their_address_where_that_tells_them_apart() -> None:
    urls = ["https://h/a/one.txt", "https://h/b/t%20wo.txt?x=1", "https://h/c/t%20wo.txt", "https://h/d/"]
    assert list(address.names_of(urls).values()) == ["one.txt", "h/b/t wo.txt?x=1", "h/c/t wo.txt", "h/d/"]


# Listings


def test_an_unchanged_local_file_is_read_once_and_a_changed_one_again(tmp_path: Path) -> None:
    paths = [write_jsonl(tmp_path / f"{name}.jsonl", documents(2, seed)) for seed, name in enumerate("ab")]
    run = run_of(tmp_path, "*.jsonl")
    for path in paths:  # a file of today is read again: what was just written may be written on
        os.utime(path, (1e9, 1e9))
    time.sleep(2.1)
    first, _ = listed(run)
    memory = json.loads((tmp_path / "store/work/listings/c/a.json").read_text())
    assert sorted(memory) == sorted(map(str, paths))
    # A lie in the memory is believed, so nothing was read.
    memory[str(paths[0])]["sha256"] = "0" * 64
    (tmp_path / "store/work/listings/c/a.json").write_text(json.dumps(memory))
    assert {file.sha256 for file in listed(run)[0]} == {"0" * 64, memory[str(paths[1])]["sha256"]}
    # The same size, and the old date put back.
    paths[0].write_bytes(paths[0].read_bytes()[::-1])
    os.utime(paths[0], (1e9, 1e9))
    now_found = {file.id: file.sha256 for file in listed(run)[0]}
    assert now_found["a.jsonl"] == hashlib.sha256(paths[0].read_bytes()).hexdigest()
    (tmp_path / "store/work/listings/c/a.json").write_text("{torn")
    assert {file.id for file in listed(run)[0]} == {file.id for file in first}


def test_a_file_written_a_moment_ago_is_not_remembered(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "a.jsonl", documents(2))
    listed(run_of(tmp_path, "*.jsonl"))
    assert not (tmp_path / "store/work/listings").exists()


NAMES = st.text(st.sampled_from("ab.[*?-]"), min_size=1, max_size=4).filter(lambda name: name not in (".", ".."))


@given(
    names=st.lists(st.lists(NAMES, min_size=1, max_size=3), max_size=6),
    pattern=st.lists(
        st.sampled_from(["*", "**", "a*", "?", "[ab]", "[!a]*", "b", ".*", "a.b"]), min_size=1, max_size=3
    ),
)
def test_objects_match_a_pattern_as_local_files_do(
    tmp_path_factory: pytest.TempPathFactory, names: list[list[str]], pattern: list[str]
) -> None:
    folder = tmp_path_factory.mktemp("glob")
    for parts in names:
        path = folder.joinpath(*parts)
        if not any(parent.is_file() for parent in [path, *path.parents]) and not path.is_dir():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    if (folder / "/".join(pattern)).is_dir():
        return
    present = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
    expected = {Path(path).relative_to(folder).as_posix() for path in opening.expand("/".join(pattern), folder)}
    if "/".join(pattern) not in present:
        assert {name for name in present if sources._is_match(name.split("/"), pattern)} == expected
    assert all(fnmatch(name, "*") for name in expected)


def test_objects_are_listed_by_page_and_named_below_their_last_fixed_folder(s3: str, tmp_path: Path) -> None:
    bucket = bucket_of(s3)
    keys = ["in/a/1.jsonl", "in/a/x [b]?#%.jsonl", "in/a/deep/2.jsonl", "in/.hidden/3.jsonl", "in/a/", "inner/4.jsonl"]
    for key in keys:
        bucket.put_object(Key=key, Body=key.encode())

    def ids(uri: str) -> list[str]:
        return sorted(file.id for file in listed(run_of(tmp_path, uri))[0])

    assert ids(f"{s3}/in/*/*.jsonl") == ["a/1.jsonl", "a/x [b]?#%.jsonl"]
    assert ids(f"{s3}/in/**/*.jsonl") == ["a/1.jsonl", "a/deep/2.jsonl", "a/x [b]?#%.jsonl"]
    assert ids(f"{s3}/in/a/[0-9].jsonl") == ["1.jsonl"]
    assert ids(f"{s3}/in/a/1.jsonl") == ["1.jsonl"]
    assert ids(f"{s3}/in/a/x [b]?#%.jsonl") == ["x [b]?#%.jsonl"]
    for wrong, said in [
        ("/in/a", "is a folder; name its files"),
        ("/none/*.jsonl", r"sources\.0\.uri: .* matches no object"),
    ]:
        with pytest.raises(RecipeError, match=said):
            listed(run_of(tmp_path, s3 + wrong))
    with pytest.raises(RecipeError, match=r"sources\.0\.uri: s3://no-such-bucket .*there is no such bucket"):
        listed(run_of(tmp_path, "s3://no-such-bucket/*.jsonl"))


def test_a_format_is_told_by_the_media_type_where_the_address_has_no_suffix(server: WebServer, tmp_path: Path) -> None:
    server.pages |= {
        "/rows?all": Page(b'{"text": "Four words of text."}\n', media_type="application/x-ndjson; charset=utf-8"),
        "/about": Page(b"Plain text, here.", media_type="text/plain"),
    }
    uris = json.dumps([f"{server.address}/rows?all", f"{server.address}/about"])
    publish_plainly(recipe_file(tmp_path, RECIPE.replace("URI", uris)), str(tmp_path / "store"))
    texts = cuvee.open("c", store=str(tmp_path / "store")).scan(None).collect()["text"]
    assert set(texts) == {"Four words of text.", "Plain text, here."}


# Nights


def write_corpus(folder: Path) -> dict[str, bytes]:
    for number in range(3):
        write_jsonl(folder / f"in/{number}.jsonl", documents(4, seed=number))
    return {path.name: path.read_bytes() for path in sorted((folder / "in").iterdir())}


def test_the_same_files_give_the_same_bytes_from_disk_bucket_and_web(
    s3: str, server: WebServer, tmp_path: Path
) -> None:
    found = write_corpus(tmp_path)
    bucket = bucket_of(s3)
    for name, body in reversed(found.items()):
        bucket.put_object(Key=f"in/{name}", Body=body)
        server.pages[f"/{name}"] = Page(body, f'"{name}"')
    places = {
        "disk": ["in/*.jsonl"],
        "bucket": [f"{s3}/in/*.jsonl"],
        "web": [f"{server.address}/{name}" for name in reversed(found)],
        "all": ["in/0.jsonl", f"{s3}/in/1.jsonl", f"{server.address}/2.jsonl"],
    }
    published = {}
    for place, uris in places.items():
        recipe = recipe_file(tmp_path, RECIPE.replace("URI", json.dumps(uris)))
        assert publish_plainly(recipe, str(tmp_path / place)).documents == 12
        published[place] = files_of(tmp_path / place)
        assert not list((tmp_path / place / "work/fetched").rglob("*.*"))
        assert list((tmp_path / place / "work/tmp").iterdir()) == []
    recipe = recipe_file(tmp_path, RECIPE.replace("URI", json.dumps(places["all"])))
    publish_plainly(recipe, f"{s3}/store")
    stored = {one.key: one.get()["Body"].read() for one in bucket.objects.filter(Prefix="store/")}
    published["store"] = {key.rpartition("/")[2]: body for key, body in stored.items() if "/corpora/c/data/" in key}
    assert not [key for key in stored if "work/fetched" in key]
    assert published["disk"]
    assert all(files == published["disk"] for files in published.values())


def test_an_unchanged_night_downloads_nothing_and_a_changed_file_alone_is_fetched(
    s3: str, server: WebServer, tmp_path: Path
) -> None:
    found = write_corpus(tmp_path)
    bucket = bucket_of(s3)
    names = list(found)
    for name in names[:2]:
        server.pages[f"/{name}"] = Page(found[name], f'"{name}"')
    server.pages[f"/{names[1]}"] = Page(found[names[1]], modified=LONG_AGO, conditions=False)
    bucket.put_object(Key=names[2], Body=found[names[2]])
    uris = [f"{server.address}/{name}" for name in names[:2]] + [f"{s3}/*.jsonl"]
    recipe, store = recipe_file(tmp_path, RECIPE.replace("URI", json.dumps(uris))), str(tmp_path / "store")
    assert publish_plainly(recipe, store).documents == 12
    # If its bytes were asked for tonight, this would be noticed: the server refuses to give them.
    bucket.Object(names[2]).load()
    tag = bucket.Object(names[2]).e_tag
    sent = server.asked[0].sent

    assert not publish_plainly(recipe, store).published
    assert [status for _, status in server.summaries[2:]] == [304, 200]  # the second ignores conditions
    assert server.asked[2].sent == 0
    assert sent == len(found[names[0]])

    changed = b"".join(json.dumps({"id": "new", "text": text}).encode() + b"\n" for text in documents(1, seed=9))
    bucket.put_object(Key=names[2], Body=changed)
    assert bucket.Object(names[2]).e_tag != tag
    server.pages[f"/{names[0]}"].body, server.pages[f"/{names[0]}"].etag = changed, '"new"'
    assert publish_plainly(recipe, store, "sources.0.vanished=drop").documents == 4 + 1

    # Without its memory a night reads all again, and finds nothing new.
    for path in (tmp_path / "store/work").rglob("*.json"):
        path.unlink()
    assert not publish_plainly(recipe, store, "sources.0.vanished=drop").published


def test_an_object_is_fetched_by_one_request_and_not_again_while_it_is_the_same(
    s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cuvee.storage.s3 import client

    bucket_of(s3).put_object(Key="a/1.jsonl", Body=BODY)
    calls: list[str] = []
    client().meta.events.register("before-send.s3.*", lambda request, **_: calls.append(request.method))
    run = run_of(tmp_path, f"{s3}/a/*.jsonl")
    for _ in range(2):
        (file,) = listed(run)[0]
        assert file.sha256 == hashlib.sha256(BODY).hexdigest()
    assert calls == ["GET", "GET", "GET"]  # listing, object, listing
    fetch.clear(run, open_store(run.store))
    with fetch.opened(run, open_store(run.store), file) as stream:
        assert stream.read() == BODY


def test_an_object_whose_body_breaks_off_goes_on_where_it_was(
    s3: str, server: WebServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Our own server in the place of the bucket's: what matters here is one GET with a range.
    monkeypatch.setenv("AWS_ENDPOINT_URL", server.address)
    server.pages["/bucket/key"] = Page(BODY, '"v1"', tricks=[break_off(100_000), break_off(50_000)])
    assert got("s3://bucket/key", tmp_path, listed=f"v1 {len(BODY)}") == BODY
    assert server.summaries == [("/bucket/key", 200), ("/bucket/key", 206), ("/bucket/key", 206)]
    assert server.sent == len(BODY)
    server.pages["/bucket/key"].tricks = [change_to(BODY[::-1], '"v2"', 100_000)]
    with pytest.raises(RetryableError, match="changed after it was listed"):
        got("s3://bucket/key", tmp_path, listed=f"v1 {len(BODY)}")
    server.pages["/bucket/big"] = Page(bytes(2_000_000), '"v1"')
    with pytest.raises(InputError, match=r"s3://bucket/big has 2\.0 MB, past the limit of 1 MB"):
        got("s3://bucket/big", tmp_path, max_mb=1)


def test_one_failure_stops_the_other_downloads_of_its_task(server: WebServer, tmp_path: Path) -> None:
    server.pages |= {"/slow": Page(BODY, '"1"', tricks=[drip(20)]), "/shut": Page(tricks=[answer(403)])}
    run = run_of(tmp_path, f"{server.address}/slow", f"{server.address}/shut")
    first, second = errands_of(run)
    both = fetch.Errand(source="a", places=(*first.places, *second.places))
    began = time.monotonic()
    with pytest.raises(RecipeError, match="/shut answers 403"):
        fetch.run(run, open_store(run.store), both)
    assert time.monotonic() - began < 15


def test_what_was_fetched_before_a_crash_is_not_fetched_again(s3: str, server: WebServer, tmp_path: Path) -> None:
    server.pages |= {"/1.jsonl": Page(BODY, '"1"'), "/2.jsonl": Page(BODY[:9], tricks=[answer(403)])}
    bucket_of(s3).put_object(Key="3.jsonl", Body=BODY[:500])
    run = run_of(tmp_path, f"{server.address}/1.jsonl", f"{server.address}/2.jsonl", f"{s3}/3.jsonl")
    first, second, third = errands_of(run)
    fetch.run(run, open_store(run.store), first)
    with pytest.raises(RecipeError, match="403"):
        fetch.run(run, open_store(run.store), second)
    fetch.run(run, open_store(run.store), third)
    assert not (tmp_path / "store/work/listings").exists()
    before = server.asked[0].sent
    again = [
        place.path for place in sources.look(run, open_store(run.store), pool_of(PoolState())).places if place.content
    ]
    assert again == [f"{s3}/3.jsonl"]
    files, _ = listed(run)
    assert {file.bytes for file in files} == {len(BODY), 9, 500}
    assert before == len(BODY)


def test_an_object_that_changes_after_it_was_listed_stops_the_run(s3: str, tmp_path: Path) -> None:
    bucket_of(s3).put_object(Key="1.jsonl", Body=b"one")
    run = run_of(tmp_path, f"{s3}/*.jsonl")
    (errand,) = errands_of(run)
    bucket_of(s3).put_object(Key="1.jsonl", Body=b"two")
    with pytest.raises(RetryableError, match=r"sources\.0\.uri: .*changed after it was listed"):
        fetch.run(run, open_store(run.store), errand)
    bucket_of(s3).Object("1.jsonl").delete()
    with pytest.raises(RetryableError, match="was removed after it was listed"):
        fetch.run(run, open_store(run.store), errand)


def test_a_copy_that_is_gone_is_fetched_again_but_another_content_is_not_taken_for_it(
    server: WebServer, tmp_path: Path
) -> None:
    server.pages["/1.jsonl"] = Page(BODY, '"1"')
    run = run_of(tmp_path, f"{server.address}/1.jsonl")
    (file,) = listed(run)[0]
    store = open_store(run.store)
    store.put(file.fetched, b"damaged")
    with fetch.opened(run, open_store(run.store), file) as stream:
        assert stream.read() == BODY
    store.delete(file.fetched)
    server.pages["/1.jsonl"] = Page(BODY[::-1], '"2"')
    with (
        pytest.raises(RetryableError, match="changed after it was listed"),
        fetch.opened(run, open_store(run.store), file),
    ):
        pass


@pytest.mark.parametrize(("vanished", "documents_left"), [("keep", 8), ("drop", 4)])
def test_a_web_file_that_is_gone_is_a_vanished_file(
    server: WebServer, tmp_path: Path, vanished: str, documents_left: int
) -> None:
    for number in range(2):
        path = write_jsonl(tmp_path / "x.jsonl", documents(4, seed=number))
        server.pages[f"/{number}.jsonl"] = Page(path.read_bytes(), f'"{number}"')
    uris = json.dumps([f"{server.address}/{number}.jsonl" for number in range(2)])
    recipe, store = recipe_file(tmp_path, RECIPE.replace("URI", uris)), str(tmp_path / "store")
    publish_plainly(recipe, store)
    server.pages["/0.jsonl"].tricks = [answer(503)] * 6
    with pytest.raises(RetryableError, match="503"):  # a server that is down has lost nothing
        publish_plainly(recipe, store)
    del server.pages["/0.jsonl"]
    report = publish_plainly(recipe, store, f"sources.0.vanished={vanished}")
    assert report.documents == documents_left
    assert any("0.jsonl is not there" in warning and vanished in warning for warning in report.warnings)
    del server.pages["/1.jsonl"]
    if vanished == "drop":
        with pytest.raises(RecipeError, match=r"sources\.0\.uri: .* is not there"):
            publish_plainly(recipe, store, "sources.0.vanished=drop")


def test_a_web_file_that_is_replaced_by_an_older_one_is_fetched(server: WebServer, tmp_path: Path) -> None:
    def publish() -> int:
        return publish_plainly(recipe, str(tmp_path / "store"), "sources.0.vanished=drop").documents

    pages = [write_jsonl(tmp_path / "x.jsonl", documents(count, seed=count)).read_bytes() for count in (4, 3)]
    recipe = recipe_file(tmp_path, RECIPE.replace("URI", f"{server.address}/x.jsonl"))
    server.pages["/x.jsonl"] = Page(pages[0], modified=LONG_AGO)
    assert [publish(), publish()] == [4, 4]
    server.pages["/x.jsonl"] = Page(pages[1], modified=LONG_AGO.replace("2026", "2025").replace("Sat", "Fri"))
    assert publish() == 3


def test_a_web_file_that_never_was_is_an_error(server: WebServer, tmp_path: Path) -> None:
    with pytest.raises(
        RecipeError, match=r"sources\.0\.uri: .*/1\.jsonl is not there \(any more\); correct the address"
    ):
        listed(run_of(tmp_path, f"{server.address}/1.jsonl"))


def test_many_pages_are_few_tasks_and_each_is_asked_once(server: WebServer, tmp_path: Path) -> None:
    uris = [f"{server.address}/{number}.txt" for number in range(150)]
    server.pages |= {f"/{number}.txt": Page(b"%d" % number) for number in range(150)}
    run = run_of(tmp_path, *uris)
    errands = errands_of(run)
    assert len(errands) == 64
    assert sorted(place.path for errand in errands for place in errand.places) == sorted(uris)
    files, _ = listed(run)
    assert len(files) == len(server.asked) == 150
