"""Generators: plans that are prefixes of longer plans, drafts that are functions of their keys, no paid answer lost."""

import contextlib
import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import cast

import polars as pl
import pytest
from stub_endpoint import Reply, Stub, stub

from cuvee.schemas.base import Frozen
from cuvee.schemas.errors import IntegrityError, RecipeError, RetryableError
from cuvee.schemas.recipe import Free
from cuvee.storage.local import LocalStore
from cuvee.storage.memory import MemoryStore
from cuvee.tasks.generators import _prompts, find, names, openai
from cuvee.tasks.generators._answer import UNREADABLE, Reading, read
from cuvee.tasks.generators._journal import MOST_SMALL_PARTS, Journal, Outcome, Parts, journal_of
from cuvee.tasks.generators._pace import Policy, Slots, retry_after_s
from cuvee.tasks.generators._types import DRAFT_SCHEMA, PLAN_SCHEMA, Progress


class Sampling(Frozen):
    temperature: float = 0.7
    max_tokens: int = 512
    seed: int = 1
    extra: dict[str, object] = {}  # noqa: RUF012
    omit: tuple[str, ...] = ()


class Seeds(Frozen):
    max_per_seed: int = 2


class Budget(Frozen):
    requests: int | None = None


class Entry(Frozen):
    """A `generate` entry as a recipe would type it."""

    name: str = "rephrased"
    generator: str = "ngram"
    base_url: str | tuple[str, ...] | None = None
    endpoint: str | None = None
    model: str | None = None
    api_key_env: str | None = None
    kinds: list[str] = ["encyclopedic"]  # noqa: RUF012
    seeds: Seeds = Seeds()
    sampling: Sampling = Sampling()
    free: Free = Free()
    concurrency: int = 8
    timeout_s: float = 2.0
    headers: dict[str, str] = {}  # noqa: RUF012
    system: str = "message"
    budget: Budget = Budget()

    @property
    def base_urls(self) -> tuple[str, ...]:
        return (self.base_url,) if isinstance(self.base_url, str) else self.base_url or ()


# Patience for tests: every wait is short, every other rule is the shipped one.
QUICK = Policy(timeout_s=2.0, first_wait_s=0.01, longest_wait_s=0.05)

SUBJECTS = ["The river", "A committee", "Every harbour", "Our neighbour", "The old library", "The northern road"]
VERBS = ["carries", "describes", "replaced", "measured", "opened in 1912 with", "sold", "remembers"]
OBJECTS = ["two hundred boats", "the annual report", "a narrow bridge", "nine maps", "the wooden gate", "its records"]


def prose(number: int, sentences: int = 12) -> str:
    """Write sentences that differ from document to document."""

    def choose(words: list[str], salt: int) -> str:
        return words[hashlib.sha256(f"{number} {salt}".encode()).digest()[0] % len(words)]

    lines = [
        f"{choose(SUBJECTS, 3 * n)} {choose(VERBS, 3 * n + 1)} {choose(OBJECTS, 3 * n + 2)}." for n in range(sentences)
    ]
    half = len(lines) // 2
    return f"Note {number}.\n\n" + " ".join(lines[:half]) + "\n\n" + " ".join(lines[half:])


SEED_SCHEMA = dict.fromkeys(["doc_id", "words", "domain", "license", "language", "source"], pl.String()) | {
    "words": pl.Int64()
}


def library(texts: Sequence[str], language: str = "en") -> tuple[pl.DataFrame, Callable[[Sequence[str]], pl.DataFrame]]:
    """Return the seed table of these texts and what fetches them."""
    stored = {hashlib.sha256(text.encode()).hexdigest()[:32]: text for text in texts}
    seeds = pl.DataFrame(
        {
            "doc_id": list(stored),
            "words": [len(text.split()) for text in stored.values()],
            "domain": [f"domain-{number % 3}" for number in range(len(stored))],
            "license": ["CC0-1.0"] * len(stored),
            "language": [language] * len(stored),
            "source": ["notes"] * len(stored),
        },
        schema=SEED_SCHEMA,
    )

    def fetch(doc_ids: Sequence[str]) -> pl.DataFrame:
        found = sorted(set(doc_ids) & set(stored))
        return pl.DataFrame({"doc_id": found, "text": [stored[doc_id] for doc_id in found]})

    return seeds, fetch


# The baseline costs nothing and keeps no journal.
UNUSED = cast(Journal, None)
SEEDS, TEXTS = library([prose(number) for number in range(60)])


def answer_to(request: dict[str, object]) -> str:
    """Answer as a function of the request alone, so that two runs can be compared."""
    digest = hashlib.sha256(json.dumps(request, sort_keys=True).encode()).hexdigest()
    return f"The article {digest[:12]} has one sentence."


def completion(text: str | None, finish_reason: str = "stop") -> bytes:
    return json.dumps(
        {
            "id": "x",
            "object": "chat.completion",
            "created": 1,
            "model": "tiny-2026-01",
            "choices": [
                {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": finish_reason}
            ],
            "usage": {"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12},
        }
    ).encode()


def serving(
    fault: Callable[[dict[str, object], int], Reply | None] = lambda request, nth: None, wait_s: float = 0.0
) -> AbstractContextManager[Stub]:
    """Serve `answer_to`; fault may replace the nth answer to a request."""
    return stub(lambda request, nth: fault(request, nth) or (200, {}, completion(answer_to(request))), wait_s)


def entry_for(endpoint: Stub, **changes: object) -> Entry:
    return Entry(generator="openai", base_url=endpoint.base_url, model="tiny").model_copy(update=changes)


def bucket(request: dict[str, object]) -> int:
    """Sort requests into a hundred buckets, the same ones every time."""
    return hashlib.sha256(json.dumps(request["messages"], sort_keys=True).encode()).digest()[0] % 100


# The folder


def test_a_generator_is_a_file_and_an_unknown_name_is_answered_with_the_nearest() -> None:
    assert names() == ["ngram", "openai"]
    with pytest.raises(RecipeError, match="did you mean 'openai'"):
        find("opena")


# The ngram baseline


def baseline(entry: Entry, seeds: pl.DataFrame = SEEDS, wanted_words: int = 4_000) -> pl.DataFrame:
    ngram = find("ngram")
    plan = ngram.plan(entry, seeds, wanted_words)
    return ngram.run(entry, seeds, plan, TEXTS, UNUSED).rows


def test_the_baseline_gives_the_same_bytes_twice_whatever_the_order_of_its_seeds() -> None:
    first = baseline(Entry())
    assert first.schema == DRAFT_SCHEMA
    assert first.equals(baseline(Entry(), SEEDS.sample(fraction=1.0, shuffle=True, seed=5)))
    checksum = hashlib.sha256("\x00".join(first["text"]).encode()).hexdigest()
    assert checksum[:16] == "229817cd3c083878"


def test_a_plan_for_more_words_begins_with_the_plan_for_fewer() -> None:
    for name in names():
        entry = Entry(generator=name, base_url="http://127.0.0.1:1/v1", model="tiny")
        short, long = (find(name).plan(entry, SEEDS, words) for words in (1_000, 5_000))
        assert 0 < len(short) < len(long)
        assert long.head(len(short)).equals(short)
        assert short.schema == PLAN_SCHEMA
        assert long["request_key"].n_unique() == len(long)
        assert short["words_expected"].sum() >= 1_000 > short["words_expected"].head(len(short) - 1).sum()


def test_a_draft_does_not_depend_on_which_others_are_planned() -> None:
    few, many = baseline(Entry(), wanted_words=800), baseline(Entry(), wanted_words=8_000)
    assert many.head(len(few)).equals(few)


def test_no_seed_opens_more_drafts_than_allowed_and_the_request_budget_holds() -> None:
    ngram = find("ngram")
    plan = ngram.plan(Entry(), SEEDS, 10**9)
    assert Counter(plan["seed_ids"].list.first()) == dict.fromkeys(SEEDS["doc_id"], 2)
    assert len(ngram.plan(Entry(budget=Budget(requests=7)), SEEDS, 10**9)) == 7
    assert len(ngram.plan(Entry(), SEEDS, 0)) == 0


def test_another_seed_or_another_corpus_gives_other_drafts() -> None:
    keys = set(baseline(Entry())["request_key"])
    assert keys.isdisjoint(baseline(Entry(sampling=Sampling(seed=2)))["request_key"])
    assert keys.isdisjoint(find("ngram").plan(Entry(), SEEDS.head(59), 4_000)["request_key"])


def test_baseline_drafts_are_marked_and_carry_the_labels_of_the_seed_that_opens_them() -> None:
    rows = baseline(Entry())
    assert set(rows["kind"]) == {"baseline"}
    assert set(rows["model"]) == {"cuvee-ngram-baseline"}
    labels = SEEDS.select(pl.col("doc_id"), pl.col("domain").alias("expected"))
    joined = rows.with_columns(pl.col("seed_ids").list.first().alias("doc_id")).join(labels, on="doc_id")
    assert len(joined) == len(rows)
    assert joined["domain"].equals(joined["expected"].alias("domain"))
    opened = TEXTS(rows["seed_ids"].list.first().to_list()).rows_by_key("doc_id", unique=True)
    for seed_id, text in zip(rows["seed_ids"].list.first(), rows["text"], strict=True):
        assert text.split()[:2] == opened[seed_id][0].split()[:2]


def test_baseline_text_has_sentences_capitals_paragraphs_and_bounded_length() -> None:
    rows = baseline(Entry(), wanted_words=8_000)
    for text in rows["text"]:
        assert 80 <= len(text.split()) <= 860
        assert text[-1] in ".!?"
        for paragraph in text.split("\n\n"):
            assert paragraph == paragraph.strip()
            assert paragraph[0].isupper()
        sentences = text.replace("\n\n", " ").split(". ")
        assert all(sentence[0].isupper() or sentence[0].isdigit() for sentence in sentences)
    assert any("\n\n" in text for text in rows["text"])


def test_a_sentence_begins_with_a_capital_even_if_no_document_ever_does() -> None:
    seeds, fetch = library([prose(number).lower() for number in range(20)])
    ngram = find("ngram")
    for text in ngram.run(Entry(), seeds, ngram.plan(Entry(), seeds, 1_000), fetch, UNUSED).rows["text"]:
        sentences = text.replace("\n\n", " ").split(". ")
        assert not any(sentence[0].islower() for sentence in sentences)
        assert any(" " + word in text for word in ("river", "committee", "harbour", "library"))


def test_a_fit_is_bounded_for_each_language(monkeypatch: pytest.MonkeyPatch) -> None:
    ngram = find("ngram")
    monkeypatch.setattr(ngram, "FIT_DOCUMENTS", 10)
    german, _ = library([prose(number) for number in range(100, 150)], "de")
    plan = ngram.plan(Entry(), pl.concat([SEEDS, german]), 10**9)
    is_german = set(german["doc_id"])
    assert Counter(seed_id in is_german for seed_id in plan["seed_ids"].list.first()) == {True: 20, False: 20}


def test_the_baseline_does_not_copy_its_documents() -> None:
    # Every word is the only one of its kind: whoever follows the longest context alone copies to the end.
    seeds, fetch = library([". ".join(f"N{number}x{word}" for word in range(200)) + "." for number in range(20)])
    humans = [set(shingles(text)) for text in fetch(seeds["doc_id"].to_list())["text"]]
    ngram = find("ngram")
    for text in ngram.run(Entry(), seeds, ngram.plan(Entry(), seeds, 4_000), fetch, UNUSED).rows["text"]:
        draft = set(shingles(text))
        assert max(len(draft & human) / len(draft | human) for human in humans) < 0.3


def shingles(text: str) -> list[tuple[str, ...]]:
    words = text.lower().split()
    return [tuple(words[place : place + 5]) for place in range(len(words) - 4)]


@pytest.mark.parametrize("texts", [["Only three words."], ["", "One."], []])
def test_a_corpus_of_a_few_words_plans_nothing(texts: list[str]) -> None:
    seeds, fetch = library(texts)
    ngram = find("ngram")
    plan = ngram.plan(Entry(), seeds, 1_000)
    assert len(plan) == 0
    assert ngram.run(Entry(), seeds, plan, fetch, UNUSED).rows.schema == DRAFT_SCHEMA


def test_one_document_is_enough_for_a_baseline() -> None:
    seeds, fetch = library([prose(1, sentences=40)])
    ngram = find("ngram")
    rows = ngram.run(Entry(), seeds, ngram.plan(Entry(), seeds, 10**6), fetch, UNUSED).rows
    assert len(rows) == 2
    assert rows["text"].n_unique() == 2


def test_languages_are_not_mixed_and_scripts_without_spaces_stay_without() -> None:
    german = [
        f"Über {number} Brücken führt der Weg. Die Straße „Am Ufer“ ist länger, älter und schöner als gedacht. " * 4
        for number in range(30)
    ]
    passage = "河水流过第{}座桥。\n\n图书馆在1912年开放，保存了九张地图。每年的报告都很长！"
    chinese = [passage.format(number) * 6 for number in range(60)]
    tables = [library(german, "de"), library(chinese, "zh"), (SEEDS, TEXTS)]
    seeds = pl.concat([table for table, _ in tables])
    stored = pl.concat([fetch(table["doc_id"].to_list()) for table, fetch in tables])
    ngram = find("ngram")
    plan = ngram.plan(Entry(), seeds, 10**6)
    rows = ngram.run(Entry(), seeds, plan, lambda ids: stored.filter(pl.col("doc_id").is_in(list(ids))), UNUSED).rows
    assert rows["request_key"].equals(plan["request_key"])
    alone = ngram.plan(Entry(), tables[0][0], 10**6)["request_key"]
    assert set(alone) <= set(plan["request_key"])
    written = {language: " ".join(rows.filter(language=language)["text"]) for language in ("de", "zh", "en")}
    assert "Brücken" in written["de"]
    assert "river" not in written["de"]
    assert "图书馆在" in written["zh"]
    assert "Note" in written["en"]
    assert "Brücken" not in written["en"]
    assert max(len(text) for text in rows.filter(language="zh")["text"]) < 4_000


def test_a_plan_of_other_seeds_is_refused() -> None:
    ngram = find("ngram")
    plan = ngram.plan(Entry(), SEEDS, 1_000)
    with pytest.raises(RecipeError, match="plan again"):
        ngram.run(Entry(), SEEDS.head(20), plan, TEXTS, UNUSED)


def test_a_seed_without_text_is_an_integrity_error() -> None:
    ngram = find("ngram")
    plan = ngram.plan(Entry(), SEEDS, 1_000)
    with pytest.raises(IntegrityError, match="not in the pool"):
        ngram.run(Entry(), SEEDS, plan, lambda ids: TEXTS(list(ids)[:-1]), UNUSED)


# Prompts


def test_a_seed_is_cut_after_its_last_whole_sentence() -> None:
    text = 'He said "no." Then he left. Nobody knew why he had gone.'
    assert _prompts.cut_at_sentence(text, words=7) == 'He said "no." Then he left.'
    assert _prompts.cut_at_sentence(text, words=5) == 'He said "no."'
    assert _prompts.cut_at_sentence(text, words=100) == text
    assert _prompts.cut_at_sentence("no sentence ends in here at all", words=3) == "no sentence ends"
    assert _prompts.cut_at_sentence("河水流过。图书馆开放。", characters=7) == "河水流过。"
    assert _prompts.cut_at_sentence("unbroken" * 10, characters=9) == "unbrokenu"


def test_every_template_in_the_folder_can_be_read_and_filled() -> None:
    assert "encyclopedic" in _prompts.kinds()
    for kind in _prompts.kinds():
        prompt = _prompts.find(kind)
        filled = prompt.messages(text="A {text} with {braces}.", brief="A {brief} with {braces}.")
        assert [message["role"] for message in filled] == ["system", "user"]
        assert filled[1]["content"].count(" with {braces}.") == 1
    with pytest.raises(RecipeError, match="did you mean 'encyclopedic'"):
        _prompts.find("encyclopedia")


def test_a_template_without_a_place_for_the_seed_is_refused(tmp_path: Path) -> None:
    (tmp_path / "own.md").write_text("version: 1\nwords: 1\n---\nsystem\n---\nno seed\n")
    with pytest.raises(RecipeError, match="not a prompt template"):
        _prompts.find("own", tmp_path)


# The openai generator


def ask(entry: Entry, journal: Path, wanted_words: int = 3_000, policy: Policy = QUICK) -> openai.Drafts:
    return carry_out(entry, openai.plan(entry, SEEDS, wanted_words), journal, policy=policy)


def carry_out(
    entry: Entry, plan: pl.DataFrame, journal: Path, progress: Progress | None = None, policy: Policy = QUICK
) -> openai.Drafts:
    with Journal(journal) as kept:
        return openai.run(entry, SEEDS, plan, TEXTS, kept, progress, policy=policy)


def test_rows_come_in_plan_order_with_lineage_and_what_the_server_returned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEST_KEY", "secret-of-the-test")
    seen: list[tuple[int, int]] = []
    with serving() as endpoint:
        entry = entry_for(endpoint, api_key_env="TEST_KEY")
        plan = openai.plan(entry, SEEDS, 3_000)
        drafts = carry_out(entry, plan, tmp_path / "j", lambda done, all_: seen.append((done, all_)))
    assert drafts.rows.schema == DRAFT_SCHEMA
    assert drafts.rows["request_key"].equals(plan["request_key"])
    assert len(drafts.failures) == 0
    first = drafts.rows.row(0, named=True)
    assert (first["model"], first["model_returned"]) == ("tiny", "tiny-2026-01")
    assert (first["finish_reason"], first["prompt_tokens"], first["completion_tokens"]) == ("stop", 7, 5)
    assert first["endpoint"] == endpoint.base_url.removeprefix("http://").removesuffix("/v1")
    assert json.loads(first["sampling"]) == {"temperature": 0.7, "max_tokens": 256, "seed": 1}
    assert endpoint.keys == {"Bearer secret-of-the-test"}
    assert endpoint.most_at_once <= entry.concurrency
    assert seen[-1] == (len(plan), len(plan))
    asked = {request["messages"][1]["content"] for request in endpoint.requests}  # type: ignore[index]
    assert any(prose(3) in content for content in asked)


def test_without_a_key_the_word_unused_is_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TEST_KEY", raising=False)
    with serving() as endpoint:
        ask(entry_for(endpoint, api_key_env="TEST_KEY"), tmp_path / "j", 100)
    assert endpoint.keys == {"Bearer unused"}


def faults(request: dict[str, object], nth: int) -> Reply | None:
    """Fail as endpoints do: some requests once, some for ever."""
    number = bucket(request)
    if number < 4:
        return 400, {}, b'{"error": {"message": "content filter"}}'
    if number < 8:
        return 200, {}, completion("  ")
    if number < 10:
        return 503, {}, b"never"
    if nth == 1 and number < 30:
        return 429, {"retry-after": "0.02"}, b"{}"
    if nth == 1 and number < 40:
        return 500, {}, b"oops"
    if nth == 1 and number < 50:
        return 200, {}, completion("cut off")[:40]
    if nth == 1 and number == 50:
        time.sleep(3.0)
    if number < 60:
        return 200, {}, completion("A whole sentence. An answer that ran into its", "length")
    return None


def test_under_every_fault_each_request_ends_once_as_a_row_or_a_failure(tmp_path: Path) -> None:
    with serving(faults) as endpoint:
        entry = entry_for(endpoint)
        plan = openai.plan(entry, SEEDS, 10**6)
        drafts = carry_out(entry, plan, tmp_path / "j")
        outcome = {name: bucket(json.loads(name)) for name in endpoint.sent}
        ended = [*drafts.rows["request_key"], *drafts.failures["request_key"]]
        assert sorted(ended) == sorted(plan["request_key"])
        assert len(outcome) == len(plan) == 120
        expected = Counter(
            ("http_400", True) if n < 4 else ("empty_answer", True) if n < 8 else ("http_503", False)
            for n in outcome.values()
            if n < 10
        )
        assert Counter(drafts.failures.select("reason", "permanent").iter_rows()) == expected
        assert len(expected) == 3
        assert 50 in outcome.values()
        assert drafts.rows.filter(finish_reason="length").height == sum(10 <= n < 60 for n in outcome.values())
        for name, number in outcome.items():
            assert endpoint.sent[name] == (1 if number < 8 else 6 if number < 10 else 2 if number <= 50 else 1)
        before = endpoint.sent.total()
        again = carry_out(entry, plan, tmp_path / "j")
        assert again.rows.equals(drafts.rows)
        assert endpoint.sent.total() - before == 6 * expected["http_503", False]


def test_an_endpoint_that_limits_us_gets_fewer_requests_at_once(tmp_path: Path) -> None:
    at_once: list[int] = []

    def limit_the_first_sixty(request: dict[str, object], nth: int) -> Reply | None:
        at_once.append(endpoint.at_once)
        return (429, {"retry-after": "0.01"}, b"{}") if nth == 1 and len(endpoint.sent) <= 60 else None

    with serving(limit_the_first_sixty, wait_s=0.03) as endpoint:
        drafts = ask(entry_for(endpoint, concurrency=16), tmp_path / "j", 10**6)
    assert len(drafts.rows) == 120
    # 16 shrinks to its floor of 2, and each 25 answers bring one back.
    assert max(at_once[-60:]) <= 2 + 120 // 25


def test_retry_after_is_obeyed_and_other_requests_go_on_meanwhile(tmp_path: Path) -> None:
    asked_at: dict[str, list[float]] = {}
    limited: list[str] = []

    def limit_one(request: dict[str, object], nth: int) -> Reply | None:
        name = json.dumps(request, sort_keys=True)
        asked_at.setdefault(name, []).append(time.monotonic())
        if not limited:
            limited.append(name)
            return 429, {"Retry-After": "0.5"}, b"{}"
        return None

    with serving(limit_one) as endpoint:
        drafts = ask(entry_for(endpoint, concurrency=1), tmp_path / "j", 600)
    first, second = asked_at[limited[0]]
    assert second - first >= 0.5
    assert sum(first < moments[0] < second for moments in asked_at.values()) == len(drafts.rows) - 1 > 3


@pytest.mark.parametrize("status", [401, 403, 404, 307])
def test_wrong_settings_stop_the_run_and_are_named(tmp_path: Path, status: int) -> None:
    with serving(lambda request, nth: (status, {"location": "http://127.0.0.1:9/v1"}, b"{}")) as endpoint:
        entry = entry_for(endpoint, api_key_env="TEST_KEY")
        with pytest.raises(RecipeError, match=rf"{endpoint.base_url}.*{status}.*tiny.*TEST_KEY"):
            ask(entry, tmp_path / "j")
    assert endpoint.sent.total() <= entry.concurrency
    assert (tmp_path / "j").read_bytes() == b""


def test_no_request_leaves_the_configured_host_by_a_proxy_or_another_address(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving() as endpoint, serving() as elsewhere:
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
            monkeypatch.setenv(name, elsewhere.base_url.removesuffix("/v1"))
        monkeypatch.delenv("NO_PROXY", raising=False)
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.setenv("OPENAI_BASE_URL", elsewhere.base_url)
        assert len(ask(entry_for(endpoint), tmp_path / "j").failures) == 0
        assert endpoint.sent.total() > 0
    assert elsewhere.sent.total() == 0
    assert elsewhere.connections == 0


def test_a_redirect_is_not_followed_even_to_a_server_that_would_answer(tmp_path: Path) -> None:
    with serving() as elsewhere:
        moved = {"location": f"{elsewhere.base_url}/chat/completions"}
        with serving(lambda request, nth: (308, moved, b"")) as endpoint, pytest.raises(RecipeError, match="redirects"):
            ask(entry_for(endpoint), tmp_path / "j")
    assert elsewhere.connections == 0


def test_refusals_alone_stop_the_run_and_leave_nothing_that_would_never_be_asked_again(tmp_path: Path) -> None:
    with serving(lambda request, nth: (422, {}, b'{"error": {"message": "seed is not allowed"}}')) as endpoint:
        with pytest.raises(RecipeError, match="seed is not allowed"):
            ask(entry_for(endpoint), tmp_path / "j", 10**6)
        assert (tmp_path / "j").read_bytes() == b""
        few = ask(entry_for(endpoint), tmp_path / "j", 300)
    assert set(few.failures["reason"]) == {"http_422"}


def test_an_endpoint_that_dies_stops_the_run_with_the_answers_kept(tmp_path: Path) -> None:
    def die_after_thirty(request: dict[str, object], nth: int) -> Reply | None:
        return (500, {}, b"dead") if endpoint.sent.total() > 30 else None

    with serving(die_after_thirty) as endpoint:
        entry = entry_for(endpoint)
        with pytest.raises(RetryableError, match="stopped answering"):
            ask(entry, tmp_path / "j", 10**6)
    answered = (tmp_path / "j").read_text().count("\n")
    assert 20 <= answered <= 30
    assert endpoint.sent.total() < 400


def test_nothing_listening_is_a_retryable_error(tmp_path: Path) -> None:
    with serving() as endpoint:
        entry = entry_for(endpoint)
    with pytest.raises(RetryableError, match="connection"):
        ask(entry, tmp_path / "j", 10**6)


def test_a_server_that_asks_for_an_hour_ends_the_run(tmp_path: Path) -> None:
    busy = (429, {"retry-after": "3600"}, b"{}")
    with serving(lambda request, nth: busy) as endpoint, pytest.raises(RetryableError, match="3600 s"):
        ask(entry_for(endpoint), tmp_path / "j")


KILLED_RUN = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from test_generators import Entry, ask
ask(Entry.model_validate_json(sys.argv[2]), Path(sys.argv[3]), 10**6)
"""


def test_a_killed_run_resumes_to_the_same_rows_and_pays_for_no_answer_twice(tmp_path: Path) -> None:
    with serving(lambda request, nth: faults(request, nth + 1)) as endpoint:
        undisturbed = ask(entry_for(endpoint), tmp_path / "undisturbed", 10**6)
    # The same answers from a slower server, so that the kill falls into the run; the URL is part of every key.
    with serving(lambda request, nth: faults(request, nth + 1), wait_s=0.05) as endpoint:
        entry, journal = entry_for(endpoint, concurrency=4), tmp_path / "killed"
        command = [sys.executable, "-c", KILLED_RUN, str(Path(__file__).parent), entry.model_dump_json(), str(journal)]
        killed_at = []
        for more in (10, 25):
            running = subprocess.Popen(command, env={**os.environ, "PYTHONHASHSEED": str(more)})
            lines = len(whole_lines(journal)) + more
            while len(whole_lines(journal)) < lines and running.poll() is None:
                time.sleep(0.005)
            running.send_signal(signal.SIGKILL)
            assert running.wait() == -signal.SIGKILL
            time.sleep(0.2)
            killed_at.append(set(whole_lines(journal)))
            with journal.open("ab") as torn:
                torn.write(b'{"request_key": "torn')
        sent = endpoint.sent.copy()
        resumed = ask(entry, journal, 10**6)
    shown = ["text", "seed_ids", "kind", "prompt_id", "prompt_hash", "sampling", "finish_reason", "domain"]
    assert resumed.rows.select(shown).equals(undisturbed.rows.select(shown))
    assert resumed.failures.select("reason", "permanent").equals(undisturbed.failures.select("reason", "permanent"))
    assert killed_at[0] < killed_at[1]
    assert Counter(whole_lines(journal)).most_common(1)[0][1] == 1
    # Requests that fail for the moment are sent again by design; all others only if a kill met them in flight.
    answered = [name for name in endpoint.sent if bucket(json.loads(name)) >= 10]
    assert sum(endpoint.sent[name] - 1 for name in answered) <= 2 * entry.concurrency
    assert sent.total() < endpoint.sent.total()


def whole_lines(journal: Path) -> list[str]:
    """List the request keys of the journal's whole lines."""
    whole = journal.read_bytes().split(b"\n")[:-1] if journal.exists() else []
    return [json.loads(line)["request_key"] for line in whole]


def test_a_changed_setting_changes_the_keys_it_shapes_and_no_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("encyclopedic", "plain"):
        template = (_prompts.FOLDER / "encyclopedic.md").read_text()
        (tmp_path / f"{name}.md").write_text(template)
    monkeypatch.setattr(_prompts, "find", partial(_prompts.find, folder=tmp_path))
    entry = Entry(base_url="http://127.0.0.1:1/v1", model="tiny", kinds=["plain", "encyclopedic"])

    def keys(entry: Entry, seeds: pl.DataFrame = SEEDS) -> dict[tuple[str, str], str]:
        rows = openai.plan(entry, seeds, 10**6).select(pl.col("seed_ids").list.first(), "kind", "request_key")
        return {(seed_id, kind): key for seed_id, kind, key in rows.iter_rows()}

    before = keys(entry)
    assert len(before) == 120
    assert keys(entry.model_copy(update={"kinds": ["encyclopedic", "plain"]})) == before
    for change in (
        {"model": "tinier"},
        {"base_url": "http://127.0.0.1:2/v1"},
        {"sampling": Sampling(temperature=0.8)},
        {"sampling": Sampling(max_tokens=100)},
        {"sampling": Sampling(seed=2)},
    ):
        assert set(keys(entry.model_copy(update=change)).values()).isdisjoint(before.values())
    replaced, _ = library([prose(number) for number in range(59)] + [prose(99)])
    after = keys(entry, replaced)
    assert {seed_id for (seed_id, _), _ in set(before.items()) - set(after.items())} == {SEEDS["doc_id"][59]}
    (tmp_path / "plain.md").write_text(template.replace("neutral", "Neutral"))
    changed = set(keys(entry).items()) ^ set(before.items())
    assert {kind for (_, kind), _ in changed} == {"plain"}
    assert len(changed) == 120


def test_a_kind_added_later_leaves_most_first_requests_as_they_were(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    template = (_prompts.FOLDER / "encyclopedic.md").read_text()
    for kind in ("a", "b", "c"):
        (tmp_path / f"{kind}.md").write_text(template)
    monkeypatch.setattr(_prompts, "find", partial(_prompts.find, folder=tmp_path))
    two, three = (
        openai.plan(
            Entry(base_url="http://127.0.0.1:1/v1", model="tiny", kinds=kinds, seeds=Seeds(max_per_seed=1)),
            SEEDS,
            10**6,
        )
        for kinds in (["a", "b"], ["a", "b", "c"])
    )
    kept = set(two["request_key"]) & set(three["request_key"])
    assert len(kept) == len(three.filter(pl.col("kind") != "c")) >= 30
    assert min(Counter(three["kind"]).values()) >= 10


def test_a_seed_used_more_often_than_there_are_kinds_gets_another_sampling_seed() -> None:
    entry = Entry(base_url="http://127.0.0.1:1/v1", model="tiny", seeds=Seeds(max_per_seed=3))
    plan = openai.plan(entry, SEEDS, 10**6)
    assert plan["request_key"].n_unique() == 180
    assert Counter(json.loads(sampling)["seed"] for sampling in plan["sampling"]) == {1: 60, 2: 60, 3: 60}


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"base_url": None}, "base_url"),
        ({"base_url": "127.0.0.1:8"}, "base_url"),
        ({"model": None}, "model"),
        ({"kinds": []}, "kinds"),
        ({"kinds": ["encyclopedics"]}, "did you mean 'encyclopedic'"),
    ],
)
def test_settings_that_cannot_work_are_refused_at_planning(change: dict[str, object], named: str) -> None:
    entry = Entry(base_url="http://127.0.0.1:1/v1", model="tiny").model_copy(update=change)
    with pytest.raises(RecipeError, match=named):
        openai.plan(entry, SEEDS, 1_000)


def test_a_plan_of_other_settings_is_refused_before_anything_is_sent(tmp_path: Path) -> None:
    with serving() as endpoint:
        plan = openai.plan(entry_for(endpoint), SEEDS, 1_000)
        with pytest.raises(RecipeError, match="plan again"):
            carry_out(entry_for(endpoint, model="other"), plan, tmp_path / "j")
    assert endpoint.sent.total() == 0


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b'{"choices": []}',
        b'{"choices": [{"message": null}]}',
        b'{"choices": [{"message": {"content": [1, 2]}}]}',
        b'{"error": {}}',
        b"\xff\xfe",
    ],
)
def test_whatever_is_not_a_completion_is_a_fault(body: bytes) -> None:
    assert read(body.decode("utf-8", "replace")).reason == UNREADABLE


def test_odd_fields_of_a_completion_become_null_and_never_spoil_the_text() -> None:
    body = '{"choices": [{"message": {"content": " caf\\ud800e "}}], "usage": {"prompt_tokens": "x"}, "model": 3}'
    assert read(body) == Reading(text="caf?e")
    empty = read('{"choices": [{"message": {"content": null}, "finish_reason": "stop"}]}')
    assert empty == Reading(reason="empty_answer", finish_reason="stop")


# Journal and pace


def test_a_torn_line_is_forgotten_and_the_next_line_stands_alone(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "journal"
    keys = pl.Series(["a", "b", "c", "d"])
    with Journal(path) as journal:
        journal.append(Outcome("a", text="line\nend \u2028"))
        journal.append(Outcome("b", reason="timeout"))
    path.write_bytes(path.read_bytes() + b'{"request_key": "c", "te' + b"x" * 70_000)
    with Journal(path) as journal:
        journal.append(Outcome("b", text="later"))
        journal.append(Outcome("d", reason="http_400", permanent=True))
        journal.append(Outcome("b", reason="timeout"))
        found = journal.read(keys).select("request_key", "text", "reason").sort("request_key").rows()
    assert found == [("a", "line\nend \u2028", None), ("b", "later", None), ("d", None, "http_400")]


def test_a_journal_with_a_foreign_line_in_it_is_not_trusted(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    path.write_text("not json\n")
    with Journal(path) as journal, pytest.raises(IntegrityError, match="journal"):
        journal.read(pl.Series(["a"]))


def test_of_two_runs_with_one_journal_the_second_waits_and_finds_the_answers_of_the_first(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    found: list[int] = []

    def second() -> None:
        with Journal(path) as journal:
            found.append(journal.read(pl.Series(["a"])).height)

    waiting = threading.Thread(target=second)
    with Journal(path) as journal:
        waiting.start()
        waiting.join(0.3)
        assert waiting.is_alive()
        journal.append(Outcome("a", text="An answer."))
    waiting.join(60)
    assert found == [1]


def test_journals_of_two_machines_are_put_together_and_lose_no_answer(tmp_path: Path) -> None:
    store = MemoryStore()
    for machine in ("one", "two"):
        with Journal(tmp_path / machine, Parts(store, "generation/endpoint")) as journal:
            journal.append(Outcome("both", text=f"As {machine} was told."))
            journal.append(Outcome(machine, text="An answer."))
            journal.append(Outcome("limited", reason="http_429"))
            journal.put_away()
    assert len(store.keys("generation/endpoint/")) == 2
    keys = pl.Series(["one", "two", "both", "limited"])
    with Journal(tmp_path / "three", Parts(store, "generation/endpoint")) as journal:
        found = journal.read(keys).sort("request_key")
        assert found["request_key"].to_list() == ["both", "limited", "one", "two"]
        assert found["text"].to_list() == ["As one was told.", None, "An answer.", "An answer."]
        journal.append(Outcome("limited", text="At last."))
        assert journal.read(keys).filter(request_key="limited")["text"].to_list() == ["At last."]


def test_a_finished_run_leaves_parquet_in_the_store_and_an_empty_local_file(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    for night in range(MOST_SMALL_PARTS + 3):
        with journal_of(store, "generation/host_8000_v1") as journal:
            assert journal.read(pl.Series([f"key {night - 1}"])).height == (night > 0)
            journal.append(Outcome(f"key {night}", text="An answer."))
    local = tmp_path / "work" / "journal" / "host_8000_v1.jsonl"
    assert local.read_bytes() == b""
    parts = list((tmp_path / "generation/host_8000_v1").rglob("*.parquet"))
    assert 1 <= len(parts) <= 3
    assert sorted(pl.read_parquet(parts)["request_key"]) == sorted(f"key {n}" for n in range(MOST_SMALL_PARTS + 3))


def test_after_a_fault_what_was_answered_is_in_the_store(tmp_path: Path) -> None:
    store = MemoryStore()
    with contextlib.suppress(RuntimeError), journal_of(store, "generation/e") as journal:
        journal.append(Outcome("a", text="Paid for."))
        raise RuntimeError
    with journal_of(store, "generation/e") as journal:
        assert journal.read(pl.Series(["a"]))["text"].to_list() == ["Paid for."]


def test_a_damaged_part_is_named_and_not_passed_over(tmp_path: Path) -> None:
    store = MemoryStore()
    with journal_of(store, "generation/e") as journal:
        journal.append(Outcome("a", text="Paid for."))
    (part,) = store.keys("generation/e/")
    store.put(part, store.get(part)[:-9])
    with journal_of(store, "generation/e") as journal, pytest.raises(IntegrityError, match="is damaged"):
        journal.read(pl.Series(["a"]))


def test_slots_shrink_once_a_burst_and_grow_with_every_25_answers() -> None:
    slots = Slots(16)
    for _ in range(16):
        slots.shrink(0)
    assert slots.limit == 12
    slots.shrink(1)
    assert slots.limit == 9
    for _ in range(25):
        slots.grow()
    assert slots.limit == 10
    for _ in range(1_000):
        slots.grow()
    assert slots.limit == 16
    for era in range(2, 40):
        slots.shrink(era)
    assert slots.limit == 2
    assert Slots(1).limit == 1


def test_retry_after_is_read_in_all_its_forms() -> None:
    assert retry_after_s({"retry-after": "1.5"}) == 1.5
    assert retry_after_s({"retry-after-ms": "250", "retry-after": "9"}) == 0.25
    assert retry_after_s({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}) == 0.0
    assert retry_after_s({"retry-after": "soon"}) is None
    assert retry_after_s({}) is None


# Kinds, templates and free drafts


def test_every_kind_of_the_folder_can_be_planned_together_and_each_gets_its_share() -> None:
    kinds = [kind for kind in _prompts.kinds() if kind != "free"]
    assert {"distilled", "question_answer", "list", "table", "faq", "tutorial", "dialogue"} <= set(kinds)
    entry = Entry(base_url="http://127.0.0.1:1/v1", model="tiny", kinds=kinds, seeds=Seeds(max_per_seed=len(kinds)))
    plan = openai.plan(entry, SEEDS, 10**6)
    assert set(Counter(plan["kind"]).values()) == {60}
    assert plan["prompt_words"].min() > 100  # type: ignore[operator]
    first = plan.head(60)
    assert first["seed_ids"].list.first().n_unique() == 60
    assert first["kind"].n_unique() == len(kinds)


def test_free_drafts_take_turns_with_the_others_and_a_longer_plan_begins_with_the_shorter() -> None:
    free = Free(topics=[f"topic {n}" for n in range(10)], audiences=["pupils", "experts"], styles=["a letter"])
    entry = Entry(
        base_url="http://127.0.0.1:1/v1", model="tiny", kinds=["encyclopedic", "list", "free"], free=free, seeds=Seeds()
    )
    plan = openai.plan(entry, SEEDS, 10**6)
    assert Counter(plan["kind"])["free"] == 40
    assert Counter(plan.head(30)["kind"])["free"] == 10
    assert plan["request_key"].n_unique() == len(plan) == 160
    assert plan.filter(kind="free")["seed_ids"].list.len().sum() == 0
    short = openai.plan(entry, SEEDS, 2_000)
    assert 0 < len(short) < len(plan)
    assert plan.head(len(short)).equals(short)
    more = entry.model_copy(update={"free": free.model_copy(update={"topics": (*free.topics, "another")})})
    kept = set(openai.plan(more, SEEDS, 10**6)["request_key"]) & set(plan["request_key"])
    assert len(kept) == 160


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("Mine.md", "version: 1\nwords: 1\n---\ns\n---\n{text}\n", "lower-case"),
        ("mine.md", "version: one\nwords: 1\n---\ns\n---\n{text}\n", "not a prompt template"),
        ("mine.md", "version: 1\nwords: 1\n---\ns\n---\n{text} {text}\n", "once"),
        ("mine.md", "version: 1\nwords: 0\n---\ns\n---\n{text}\n", "above 0"),
        ("encyclopedic.md", "version: 1\nwords: 1\n---\ns\n---\n{text}\n", "two templates are called 'encyclopedic'"),
        ("absent.md", None, "No such file"),
    ],
)
def test_a_template_that_cannot_work_is_refused_with_the_reason(
    tmp_path: Path, name: str, text: str | None, told: str
) -> None:
    if text is not None:
        (tmp_path / name).write_text(text)
    entry = Entry(base_url="http://127.0.0.1:1/v1", model="tiny", kinds=["encyclopedic", str(tmp_path / name)])
    with pytest.raises(RecipeError, match=told):
        openai.plan(entry, SEEDS, 1_000)


def test_no_one_ingredient_of_a_request_key_can_change_without_changing_the_key(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("version: 1\nwords: 1\n---\ns\n---\n{text}\n")
    (tmp_path / "b").mkdir()
    (tmp_path / "b/a.md").write_text("version: 1\nwords: 1\n---\nS\n---\n{text}\n")
    base = {
        "endpoint": "http://127.0.0.1:1/v1",
        "model": "m",
        "prompt": _prompts.read(tmp_path / "a.md"),
        "sampling": '{"temperature":0.7}',
        "inputs": ["0" * 32],
        "purpose": "generate",
        "turn": 0,
        "schema": None,
    }
    changes = {
        "endpoint": "http://127.0.0.1:1/v2",
        "model": "n",
        "prompt": _prompts.read(tmp_path / "b/a.md"),
        "sampling": '{"temperature":0.8}',
        "inputs": ["0" * 31 + "1"],
        "purpose": "revise",
        "turn": 1,
        "schema": "{}",
    }
    assert set(changes) == set(base)
    keys = [openai.request_key(**base | {name: value}) for name, value in changes.items()]  # type: ignore[arg-type]
    assert len({openai.request_key(**base), *keys}) == len(changes) + 1  # type: ignore[arg-type]
