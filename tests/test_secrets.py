"""Secrets of the environment and of addresses: in no store, no database, no log and no message."""

import base64
import html
import json
import logging
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import polars as pl
import pytest
from stub_endpoint import Reply, completion, rephrase, stub
from texts import documents, write_jsonl

from cuvee.commands import main
from cuvee.schemas import address
from cuvee.schemas.errors import CuveeError, RecipeError
from cuvee.schemas.parse import parse_recipe
from cuvee.storage import secrets
from cuvee.storage.store import open_store

CANARIES = {
    name: f"canary-{name.lower().replace('_', '/')}+0123456789"
    for name in ("OPENAI_API_KEY", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "HF_TOKEN", "DB_PASSWORD", "ODD_NAME")
}
RECIPE = """
corpus: words
sources: [{name: texts, uri: texts.jsonl, license: CC-BY-SA-4.0, domain: manual, language: en}]
holdout: {share: 0}
generate:
  - {name: rephrased, generator: openai, base_url: "${PLACE}", model: tiny, api_key_env: ODD_NAME, concurrency: 4,
     budget: {amount: 9000}, seeds: {max_per_seed: 2}, headers: {X-Team: "Token ${DB_PASSWORD}", X-Own: canary-own}}
mixture: {human: {min: 0.5}}
"""


@pytest.fixture
def canaries(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    for name, value in CANARIES.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv(secrets.NAMED, "ODD_NAME")
    return CANARIES


@pytest.fixture
def hidden_logs() -> Iterator[None]:
    factory = logging.getLogRecordFactory()
    secrets.guard_logs()
    yield
    logging.setLogRecordFactory(factory)


def test_values_give_way_to_names_however_they_are_escaped(canaries: dict[str, str], monkeypatch: pytest.MonkeyPatch):
    for name, value in canaries.items():
        assert secrets.hide(f"Bearer {value}!") == f"Bearer {name}!"
    key = canaries["HF_TOKEN"]
    assert secrets.hide(f"https://a/?k={key.replace('/', '%2F').replace('+', '%2B')}&b") == "https://a/?k=HF_TOKEN&b"
    escaped = key.replace("/", "\\/").replace("c", "\\u0063")
    assert json.loads(secrets.hide_in_body(f'{{"a": ["{escaped}"]}}')) == {"a": ["HF_TOKEN"]}
    untouched = '{"a":  "b\\u00e9"}'
    assert secrets.hide_in_body(untouched) == untouched
    monkeypatch.setenv("LONGER_TOKEN", key + "-and-more")
    monkeypatch.setenv("SHORT_TOKEN", "elevenchars")
    assert secrets.hide(f"{key}-and-more {key} elevenchars") == "LONGER_TOKEN HF_TOKEN elevenchars"


@pytest.mark.parametrize(
    "written",
    [
        quote,
        lambda value: (
            quote(value, safe="")
            .replace("%2F", "%2f")
            .replace("%2B", "%2b")
            .replace("%3C", "%3c")
            .replace("%3E", "%3e")
        ),
        html.escape,
        lambda value: html.escape(value, quote=False),
        lambda value: json.dumps(value).replace("/", "\\/"),
        lambda value: base64.b64encode(f"me:{value}".encode()).decode(),
        lambda value: base64.urlsafe_b64encode(f"you:{value} and more".encode()).decode(),
    ],
)
def test_values_give_way_in_addresses_html_and_base64(written: Callable[[str], str], monkeypatch: pytest.MonkeyPatch):
    value = 'canary/+<a>"0123456789'
    monkeypatch.setenv("FOO_PASSWORD", value)
    found = secrets.hide(f"it says {written(value)}!")
    assert found.startswith("it says ")
    assert "FOO_PASSWORD" in found
    assert "0123" not in found + base64.urlsafe_b64decode(found[8:12] + "==").decode(errors="replace")


class TellingError(Exception):
    def __str__(self) -> str:
        return f"it tells {CANARIES['DB_PASSWORD']}"


@pytest.mark.parametrize(
    "cause",
    [TellingError(), ValueError({"key": CANARIES["DB_PASSWORD"]}), ValueError(CANARIES["DB_PASSWORD"].encode())],
)
def test_causes_and_notes_of_errors_lose_secrets_too(canaries: dict[str, str], cause: Exception):
    cause.add_note(f"with {canaries['DB_PASSWORD']}")
    with pytest.raises(RecipeError, match="clean") as found, secrets.kept():
        raise RecipeError("clean") from cause
    assert canaries["DB_PASSWORD"] not in "".join(traceback.format_exception(found.value))


def test_variables_that_a_recipe_names_are_secret_but_for_texts(canaries: dict[str, str], monkeypatch):
    monkeypatch.setenv("PLAIN", "a value of some length")
    monkeypatch.setenv("OPAQUE", "aValueOfSomeLength")
    assert secrets.hide("aValueOfSomeLength") == "aValueOfSomeLength"
    secrets.remember(["PLAIN", "OPAQUE"])
    assert secrets.hide("aValueOfSomeLength: a value of some length") == "OPAQUE: a value of some length"


def test_errors_lose_secrets_with_their_causes_and_keep_their_type(canaries: dict[str, str]):
    key = canaries["OPENAI_API_KEY"]
    with pytest.raises(RecipeError, match="refused OPENAI_API_KEY") as found, secrets.kept():
        raise RecipeError(f"refused {key}") from ValueError(f"401 {key}")
    assert str(found.value.__cause__) == "401 OPENAI_API_KEY"
    with pytest.raises(CuveeError, match=r"FileNotFoundError.*OPENAI_API_KEY"), secrets.kept():
        Path(f"/nowhere/{key}").read_bytes()


def test_logs_lose_secrets_with_their_arguments_and_tracebacks(
    canaries: dict[str, str], hidden_logs: None, caplog: pytest.LogCaptureFixture
):
    key = canaries["DB_PASSWORD"]
    logger = logging.getLogger("cuvee.test")
    try:
        raise ValueError(f"no entry with {key}")
    except ValueError:
        logger.exception("it says %s of %d", key, 1)
    assert "it says DB_PASSWORD of 1" in caplog.text
    assert "no entry with DB_PASSWORD" in caplog.text
    assert key not in caplog.text


PARAMETERS = """jwt code sas access pass hmac session bearer jsessionid sig signature token key X-Amz-Signature
X-Amz-Credential X-Goog-Signature accessToken api_key apikey client_secret PHPSESSID session_id auth_code
sv_sig id_token refresh-token passwd pwd sid"""


@pytest.mark.parametrize("name", PARAMETERS.split())
def test_addresses_with_a_secret_parameter_are_refused_and_not_repeated(name: str):
    refused(f"https://a.example/file.jsonl?page=2&{name}=canary-0123456789")


@pytest.mark.parametrize(
    "uri",
    [
        "https://me:canary-0123456789@a.example/file.jsonl",
        "https://canary-0123456789@a.example/file.jsonl",
        "https://a.example/file.jsonl#access_token=canary-0123456789",
        "https://a.example/file.jsonl;jsessionid=canary-0123456789",
        "https://a.example/file.jsonl?a=1;token=canary-0123456789",
        "https://a.example/file.jsonl?t%6Fken=canary-0123456789",
        "https://a.example/file.jsonl?t%25252525256Fken=canary-0123456789",
        "https://a.example/file.jsonl;t%25256Fken=canary-0123456789",
        "https://a.example/file.jsonl?state=eyJhbGciOiJIUzI1NiJ9.eyJjYW5hcnkiOjF9.canary-0123456789",
    ],
)
def test_addresses_with_a_secret_elsewhere_are_refused_and_not_repeated(uri: str):
    refused(uri)


def refused(uri: str) -> None:
    for text in (
        f"sources: [{{name: a, uri: '{uri}'}}]",
        f"store: '{uri}'\nsources: [{{name: a, uri: a.jsonl}}]",
        f"sources: [{{name: a, uri: a.jsonl}}]\ngenerate: [{{name: g, generator: openai, base_url: '{uri}'}}]",
        f"sources: [{{name: a, uri: a.jsonl}}]\nguard: '{uri}'",
        f"sources: [{{name: a, uri: a.jsonl}}]\nguard: {{compare_with: '{uri}'}}",
        f"sources: [{{name: a, uri: a.jsonl}}]\ndecontaminate: {{benchmarks: [a.txt, '{uri}']}}",
        f"sources: [{{name: a, uri: a.jsonl}}]\nprovenance: {{model: '{uri}'}}",
        f"sources: [{{name: a, uri: a.jsonl, robots: '{uri}'}}]",
    ):
        with pytest.raises(RecipeError) as found:
            parse_recipe(f"corpus: c\n{text}")
        assert "canary" not in str(found.value)
    with pytest.raises(RecipeError) as found:
        open_store(uri)
    assert "canary" not in str(found.value)


@pytest.mark.parametrize(
    "override",
    [
        "sources.9.uri=https://a.example/?token=canary-0123456789",
        "sources.٣.uri=canary-0123456789",
        f"sources.{'9' * 5000}.uri=canary-0123456789",
        "corpus.x=canary-0123456789",
        "sources.0.uri=[https://canary-0123456789@a.example/x",
        "generate.0.api_key_env=sk-canary-0123456789",
        "generate.0.api_key_env=hf_canary0123456789abcdef",
    ],
)
def test_overrides_that_are_refused_are_not_repeated(override: str):
    text = "corpus: c\nsources: [{name: a, uri: a.jsonl}]\ngenerate: [{name: g, generator: openai}]"
    with pytest.raises(RecipeError) as found:
        parse_recipe(text, overrides=[override])
    assert "canary" not in str(found.value)


@pytest.mark.parametrize("header", ['{X: "canary\\n: y"}', "{X: [canary]}", '{"canary: ": y, X: canaryé}'])
def test_headers_that_cannot_be_sent_are_refused_and_not_repeated(header: str):
    generate = f"[{{name: g, generator: openai, headers: {header}}}]"
    text = f"corpus: c\nsources: [{{name: a, uri: a.jsonl}}]\ngenerate: {generate}"
    with pytest.raises(RecipeError) as found:
        parse_recipe(text)
    assert "generate.0.headers" in str(found.value)
    assert "canary" not in str(found.value).replace("headers.canary: ", "")


@pytest.mark.parametrize(
    "written",
    [
        "generate: [{name: g, generator: openai, sampling: {extra: {user: 'a ${HF_TOKEN}'}}}]",
        "guard: {terms: '${hf_token}'}",
    ],
)
def test_variables_that_are_secret_by_name_stand_nowhere_but_in_headers(written: str):
    text = f"corpus: c\nsources: [{{name: a, uri: a.jsonl}}]\n{written}"
    given = {"HF_TOKEN": "canary-0123456789", "hf_token": "canary-0123456789"}
    with pytest.raises(
        RecipeError, match=r"recipe.*\.(user|terms): (HF_TOKEN|hf_token) is a secret by its name"
    ) as found:
        parse_recipe(text, environment=given)
    assert "canary" not in str(found.value)


def test_a_header_that_changes_gives_no_other_version():
    generate = "[{name: g, generator: ngram, headers: {X: %s}, budget: {amount: 1}}]"
    text = f"corpus: c\nsources: [{{name: a, uri: a.jsonl}}]\ngenerate: {generate}"
    assert parse_recipe(text % "a").sha256() == parse_recipe(text % "b").sha256()


def test_ordinary_parameters_are_not_refused():
    for uri in ("https://a.example/x.jsonl?page=2&country_code=de&monkey=1", "s3://bucket/a?b/*.jsonl", "texts/*.csv"):
        assert address.fault(uri) is None


@pytest.mark.parametrize("uri", ["s3://key:canary-0123456789@bucket/prefix", "s3://bucket/p?X-Amz-Signature=canary-0"])
def test_a_bucket_with_a_secret_is_refused_and_not_repeated(uri: str, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit, match="2"):
        main(["versions", "words", "--store", uri])
    told = capsys.readouterr()
    assert "AWS_SECRET_ACCESS_KEY" in told.err
    assert "canary" not in told.err + told.out


def held(folder: Path) -> str:
    """Return all that lies in a folder, the texts of Parquet files too."""
    found = []
    for path in folder.rglob("*"):
        if path.is_file():
            found.append(path.read_bytes().decode("latin-1"))
            if path.suffix == ".parquet":
                found.append(str(pl.read_parquet(path).to_dicts()))
    return "\n".join(found)


def known_to_prefect() -> str:
    """Return the rows of Prefect's database, logs that are under way included."""
    import sqlite3

    from prefect.logging.handlers import APILogWorker
    from prefect.settings import PREFECT_API_DATABASE_CONNECTION_URL

    APILogWorker.drain_all(timeout=30)
    place = str(PREFECT_API_DATABASE_CONNECTION_URL.value()).partition(":///")[2]
    database = sqlite3.connect(place)
    tables = [name for (name,) in database.execute("select name from sqlite_master where type = 'table'")]
    rows = {name: database.execute(f'select * from "{name}"').fetchall() for name in tables}
    database.close()
    return str(rows)


def test_what_an_endpoint_echoes_is_told_nowhere(
    canaries: dict[str, str],
    hidden_logs: None,
    prefect_api: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
):
    from cuvee.flows.curate import curate

    write_jsonl(tmp_path / "texts.jsonl", documents(60))
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    everything = "; ".join(canaries.values())
    refuses = False

    def echo(request: dict[str, Any], nth: int) -> Reply | str:
        told = f"{' '.join(endpoint.keys)} {everything}"
        if refuses or len(endpoint.requests) == 1:
            padding = "x" * (0 if refuses else 280)
            return 422, {}, json.dumps({"error": {"message": f"{padding} {told}"}}).encode()
        if len(endpoint.requests) == 2:
            return 200, {}, completion(None).replace(b"null", json.dumps({"odd": told}).encode())
        return f"{rephrase(request)} The key is {told}."

    def run(**options: Any) -> Any:
        return curate(recipe=str(tmp_path / "recipe.yaml"), store=str(tmp_path / "store"), **options)

    with stub(echo) as endpoint:
        monkeypatch.setenv("PLACE", endpoint.base_url)
        report = run()
        refuses = True
        with pytest.raises(CuveeError) as found:
            run(overrides=["generate.0.model=other"])
    assert report.published
    assert any("ODD_NAME" in key or canaries["ODD_NAME"] in key for key in endpoint.keys)
    assert "refused" in str(found.value)
    stored = held(tmp_path / "store")
    assert "The key is Bearer ODD_NAME" in stored
    (manifest,) = (tmp_path / "store").glob("corpora/words/manifests/*.json")
    assert json.loads(manifest.read_text())["recipe"]["generate"][0]["headers"] == {"X-Team": "…", "X-Own": "…"}
    assert "canary-own" not in stored
    places = {"store": stored, "database": known_to_prefect(), "log": caplog.text, "message": repr(found.value)}
    places["home"] = held(prefect_api)
    for place, text in places.items():
        for name, value in canaries.items():
            assert value not in text, (place, name)
    assert "refused" in places["database"]
