"""Events of a corpus: each receiver is told each of them at least once, in order, under ids that stay."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from plain import publish_plainly, recipe_file
from receiving import Receiver, receiving
from texts import documents, write_jsonl

from cuvee.commands import cli
from cuvee.flows import events as prefect_events
from cuvee.schemas.event import Event, event_id
from cuvee.schemas.parse import parse_recipe
from cuvee.storage import notify
from cuvee.storage.store import open_store
from cuvee.tasks.publish import commit

RECIPE = """corpus: c
holdout: {share: 0}
sources: [{name: a, uri: a/*.jsonl}]
provenance: {unknown_as: human, suspects: keep}
"""


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    monkeypatch.setattr(notify, "PAUSES_S", (0.0, 0.0))
    with receiving() as server:
        yield server


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, str]:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    write_jsonl(tmp_path / "a/x.jsonl", documents(5))
    return recipe_file(tmp_path, RECIPE + "publish: {notify: [told.jsonl]}\n"), str(tmp_path / "store")


def told(folder: Path) -> list[Event]:
    file = folder / "told.jsonl"
    return [Event.model_validate_json(line) for line in file.read_text().splitlines()] if file.exists() else []


def command(*arguments: str) -> None:
    cli.main(list(arguments), standalone_mode=False)


def test_each_version_and_each_move_of_a_tag_is_told_once(tmp_path: Path, house: tuple[str, str]) -> None:
    recipe, store = house
    publish_plainly(recipe, store)
    publish_plainly(recipe, store)  # nothing new
    write_jsonl(tmp_path / "a/y.jsonl", documents(9)[5:])
    publish_plainly(recipe, store)
    command("tag", "c@v0002", "good", "--store", store)
    command("rollback", "c", "v0001", "--store", store)
    found = told(tmp_path)
    assert [(one.event, one.ref, one.tag) for one in found] == [
        ("cuvee.version.published", "c@v0001", "latest"),
        ("cuvee.version.published", "c@v0002", "latest"),
        ("cuvee.version.tagged", "c@v0002", "good"),
        ("cuvee.version.rolled_back", "c@v0001", "latest"),
    ]
    second = found[1]
    assert (second.resource, second.parent, second.documents) == ("cuvee.corpus.c", "c@v0001", 9)
    assert (second.unit, second.human_share, second.store) == ("words", 1.0, open_store(store).uri)
    assert json.loads(Path(second.manifest).read_text())["version"] == 2
    assert len({one.id for one in found}) == 4


def test_what_an_end_after_the_commit_left_unsent_is_sent_by_the_next_run(
    tmp_path: Path, house: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe, store = house

    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(commit, "move_publishing_tag", killed)
        with pytest.raises(KeyboardInterrupt):
            publish_plainly(recipe, store)
    assert told(tmp_path) == []
    assert not publish_plainly(recipe, store).published
    (event,) = told(tmp_path)
    assert event.ref == "c@v0001"
    # One whose file of receivers is lost is told again, under the same id.
    place = open_store(store)
    for key in place.keys("corpora/c/events/"):
        place.delete(key)
    publish_plainly(recipe, store)
    assert [one.id for one in told(tmp_path)] == [event.id] * 2


def test_a_new_receiver_is_told_the_newest_version(tmp_path: Path, house: tuple[str, str]) -> None:
    recipe, store = house
    for count in (5, 7, 9):
        write_jsonl(tmp_path / "a/x.jsonl", documents(count))
        publish_plainly(recipe, store, "publish.notify=[]")
    publish_plainly(recipe, store)
    assert [one.ref for one in told(tmp_path)] == ["c@v0003"]


def test_a_receiver_that_was_away_gets_all_and_the_others_nothing_twice(
    tmp_path: Path, house: tuple[str, str], receiver: Receiver
) -> None:
    recipe, store = house
    both = f'publish.notify=["told.jsonl", "{receiver.address}"]'
    receiver.answers = [500] * 100
    report = publish_plainly(recipe, store, both)
    assert report.published
    (warning,) = report.warnings
    assert f"{receiver.address} was not told (it answers 500 Internal Server Error)" in warning
    write_jsonl(tmp_path / "a/y.jsonl", documents(9)[5:])
    # A redirect is not followed, and no reason to ask again.
    receiver.answers = [302] * 2
    assert "it answers 302" in publish_plainly(recipe, store, both).warnings[0]
    receiver.answers = [503]
    assert publish_plainly(recipe, store, both).warnings == ()
    assert [body["ref"] for body in receiver.got] == ["c@v0001", "c@v0002"]
    assert [one.ref for one in told(tmp_path)] == ["c@v0001", "c@v0002"]
    receiver.answers = [500] * 3
    command("tag", "c@v0001", "good", "--store", store)
    command("tag", "c@v0002", "good", "--store", store)
    assert [(body["event"], body["ref"]) for body in receiver.got[2:]] == [
        ("cuvee.version.tagged", "c@v0001"),
        ("cuvee.version.tagged", "c@v0002"),
    ]


def test_whom_a_recipe_tells_changes_no_version_and_stays_out_of_the_store(
    tmp_path: Path, house: tuple[str, str], receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe, store = house
    publish_plainly(recipe, store)
    monkeypatch.setenv("HOOK_TOKEN", "a-secret-of-some-length")
    assert not publish_plainly(
        recipe, store, f"publish.notify=['{receiver.address}?a-secret-of-some-length']"
    ).published
    assert len(receiver.got) == 1
    kept = [open_store(store).get(key) for key in open_store(store).keys("corpora/c/") if key.endswith("json")]
    assert not any(b"told.jsonl" in content or b"/hook" in content for content in kept)
    assert notify.known(open_store(store).uri, "c") == []  # it holds a secret


def test_a_trial_and_a_plan_tell_nobody(tmp_path: Path, house: tuple[str, str]) -> None:
    from cuvee.flows import pipeline
    from cuvee.flows.hands import PlainHands

    recipe, store = house
    pipeline.carry_out(recipe, (), store, False, "trial", PlainHands(), limit=3)
    pipeline.carry_out(recipe, (), store, True, "plan", PlainHands())
    assert told(tmp_path) == []


@pytest.mark.parametrize("address", ["ftp://host/file", "s3://bucket/told.jsonl", ""])
def test_an_address_of_another_kind_is_refused(address: str) -> None:
    with pytest.raises(Exception, match="give an http or https address, or a file's path"):
        parse_recipe(RECIPE + f"publish: {{notify: ['{address}']}}\n")


def test_a_server_of_prefect_keeps_the_event(
    tmp_path: Path, house: tuple[str, str], prefect_api: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe, store = house
    (channel,) = prefect_events.configured()
    from cuvee.flows import pipeline
    from cuvee.flows.hands import PlainHands

    for run in ("first", "again"):
        report = pipeline.carry_out(recipe, (), store, False, run, PlainHands(), None, [channel])
        assert report.warnings == ()
    (event,) = told(tmp_path)
    sent = prefect_events.as_prefect(event)
    assert sent["payload"]["ref"] == "c@v0001"
    assert sent["resource"]["prefect.resource.id"] == "cuvee.corpus.c"
    # Prefect's own words for what is no event; ours was taken.
    with pytest.raises(OSError, match="it answers 422"):
        channel.send(event.model_copy(update={"id": "no id"}))
    monkeypatch.setenv("CUVEE_OWN_SERVER", "1")
    assert prefect_events.configured() == []


def test_the_id_of_an_event_is_made_of_corpus_version_and_action() -> None:
    assert event_id("s", "c", 1, "published") == event_id("s", "c", 1, "published")
    others = [
        event_id("s", "c", 1, "published"),
        event_id("s", "c", 2, "published"),
        event_id("s", "d", 1, "published"),
        event_id("t", "c", 1, "published"),
        event_id("s", "c", 1, "tagged", "a/1"),
        event_id("s", "c", 1, "tagged", "a/2"),
    ]
    assert len(set(others)) == 6
