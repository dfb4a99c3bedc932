"""A store is not trusted: what lies elsewhere, has changed or is no record is refused by name, and never used."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from plain import publish_plainly, recipe_file
from texts import documents, write_jsonl

from cuvee.commands import main
from cuvee.dataset import open_dataset
from cuvee.schemas.errors import CuveeError, IntegrityError
from cuvee.schemas.manifest import TagEntry
from cuvee.schemas.recipe import canonical_sha256
from cuvee.schemas.records import FileRef, StepRecord
from cuvee.storage import corpus
from cuvee.storage.local import LocalStore
from cuvee.storage.trust import is_key, parse_json
from cuvee.tasks.generators._journal import Journal

RECIPE = "corpus: c\nsources:\n  - {name: a, uri: ../texts/*.jsonl}\nholdout: {share: 0}\n"


@pytest.fixture(scope="module")
def standing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("standing")
    for number in (1, 2):
        write_jsonl(folder / f"texts/{number}.jsonl", documents(4, seed=number))
        (folder / "recipe").mkdir(exist_ok=True)
        publish_plainly(recipe_file(folder / "recipe", RECIPE), str(folder / "store"))
    return folder


@pytest.fixture
def place(standing: Path, tmp_path: Path) -> Path:
    """A store of two versions of its own for each test."""
    shutil.copytree(standing, tmp_path, dirs_exist_ok=True)
    return tmp_path / "store"


def again(place: Path) -> None:
    publish_plainly(str(place.parent / "recipe/recipe.yaml"), str(place))


def manifest_path(place: Path, version: int = 2) -> Path:
    return place / f"corpora/c/manifests/v{version:04d}.json"


def change(path: Path, edit: Callable[[Any], None]) -> None:
    tree = json.loads(path.read_text())
    edit(tree)
    path.write_text(json.dumps(tree))


def change_state(place: Path, edit: Callable[[Any], None]) -> None:
    """Change a pool state, and the manifest so that it names the new bytes."""
    manifest = json.loads(manifest_path(place).read_text())
    path = place / manifest["pool"]["path"]
    change(path, edit)
    content = path.read_bytes()
    manifest["pool"] |= {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    manifest_path(place).write_text(json.dumps(manifest))


OUTSIDE = [
    "../secret.parquet",
    "/etc/hostname",
    "corpora/c/data/../../other/x",
    "corpora/c/data/..\\..\\x",
    "corpora/c/data//x",
    "corpora/c/data/./x",
    "corpora/c/data/x\n",
    "corpora/c/data/",
    "corpora/other/data/x",
    "",
]


@pytest.mark.parametrize("path", OUTSIDE)
@pytest.mark.parametrize("named", ["files", "reports", "ledger", "pool"])
def test_a_manifest_that_names_a_file_outside_its_folders_is_refused(place: Path, named: str, path: str) -> None:
    def edit(tree: Any) -> None:
        ref = tree[named] if named == "pool" else tree[named][0]
        ref["path"] = path.replace("/data/", f"/{named}/") if named != "files" else path

    change(manifest_path(place), edit)
    for read in (lambda: open_dataset("c", str(place)), lambda: again(place)):
        with pytest.raises(IntegrityError, match=r"v0002\.json: it names .* which does not lie below corpora/c/"):
            read()


@pytest.mark.parametrize("path", [*OUTSIDE, "corpora/c/data/x"])
def test_a_pool_state_that_names_a_file_outside_the_pool_is_refused(place: Path, path: str) -> None:
    change_state(place, lambda tree: tree["entries"][0]["record"]["files"][0].update(path=path))
    with pytest.raises(IntegrityError, match="does not lie below corpora/c/pool/"):
        again(place)
    assert any("does not lie below corpora/c/pool/" in fault for fault in open_dataset("c", str(place)).verify())


@pytest.mark.parametrize(("step", "key"), [("../../../out", "a"), ("sign", "../../../out"), ("sign", "/out")])
def test_a_record_of_a_pool_state_is_written_nowhere_else(place: Path, step: str, key: str) -> None:
    change_state(place, lambda tree: tree["entries"][-1]["record"].update(step=step, key=key))
    before = sorted(place.parent.rglob("*"))
    with pytest.raises(IntegrityError, match=r"not a record of cuvee \(entries\."):
        again(place)
    assert [path for path in place.parent.rglob("*") if path not in before and place not in path.parents] == []


def test_a_record_of_work_that_names_other_files_or_other_work_is_not_believed(place: Path) -> None:
    store = LocalStore(place)
    (place.parent / "secret").write_bytes(b"secret")
    sha256 = hashlib.sha256(b"secret").hexdigest()
    (place / "corpora/d/pool").mkdir(parents=True)
    (place / "corpora/d/pool/secret").write_bytes(b"secret")
    for path in ("../secret", str(place.parent / "secret"), "corpora/d/pool/secret"):
        file = FileRef(path=path, sha256=sha256, bytes=6, rows=1)
        corpus.write_record(store, StepRecord(step="sign", key="k", files=(file,)))
        assert corpus.read_record(store, StepRecord, "sign", "k", "corpora/c/") is None
    corpus.write_record(store, StepRecord(step="sign", key="k"))
    store.put("work/sign/other.json", store.get("work/sign/k.json"))
    assert corpus.read_record(store, StepRecord, "sign", "other", "corpora/c/") is None


def test_amounts_in_a_changed_record_of_a_published_file_are_counted_anew(place: Path) -> None:
    write_jsonl(place.parent / "texts/3.jsonl", documents(4, seed=3))
    for path in (place / "work/assemble").glob("*.json"):
        change(path, lambda tree: tree["record"]["report"]["amounts"].update(human=1))
    again(place)
    assert list(open_dataset("c", str(place)).verify()) == []


def test_two_corpora_of_one_source_share_no_file_of_their_pools(place: Path) -> None:
    again(place)
    publish_plainly(str(place.parent / "recipe/recipe.yaml"), str(place), "corpus=d")
    store = LocalStore(place)
    for entry in corpus.read_state(store, "d").entries:
        assert all(file.path.startswith("corpora/d/pool/") for file in entry.record.files)
    both = [open_dataset(name, str(place)).scan().collect() for name in ("c", "d")]
    assert both[0]["text"].sort().equals(both[1]["text"].sort())


@pytest.mark.parametrize(("key", "value"), [("corpus", "d"), ("version", 1)])
def test_a_manifest_of_another_corpus_or_version_is_refused(place: Path, key: str, value: object) -> None:
    change(manifest_path(place), lambda tree: tree.update({key: value}))
    with pytest.raises(IntegrityError, match=r"v0002\.json: it is the manifest of "):
        open_dataset("c", str(place))


def test_a_published_file_that_is_named_twice_is_refused(place: Path) -> None:
    change(manifest_path(place), lambda tree: tree["files"].append(tree["files"][0]))
    with pytest.raises(IntegrityError, match="names a published file twice"):
        open_dataset("c", str(place))


def test_a_link_above_the_store_is_followed_and_one_below_that_leads_out_is_refused(place: Path) -> None:
    linked = place.parent / "linked"
    linked.symlink_to(place)
    again(linked)
    assert list(open_dataset("c", str(linked)).verify()) == []
    data = Path(open_dataset("c", str(place)).files()[0])
    for path in (data, data.parent, place / "corpora/c/data"):
        elsewhere = place.parent / f"elsewhere-{path.name}"
        path.rename(elsewhere)
        path.symlink_to(elsewhere)
        with pytest.raises(IntegrityError, match="leads out of the store"):
            open_dataset("c", str(place)).files()
        with pytest.raises(IntegrityError, match="leads out of the store"):
            open_dataset("c", str(place)).pull(place.parent / "pulled")
        assert any("leads out of the store" in fault for fault in open_dataset("c", str(place)).verify())
        path.unlink()
        elsewhere.rename(path)
    inside = data.with_name("inside.parquet")
    data.rename(inside)
    data.symlink_to(inside)
    assert list(open_dataset("c", str(place)).verify()) == []


def test_nothing_is_written_through_a_link_that_leads_out(place: Path) -> None:
    elsewhere = place.parent / "elsewhere"
    elsewhere.mkdir()
    store = LocalStore(place)
    (place / "corpora/c/tags/mine").symlink_to(elsewhere)
    entry = TagEntry(version=1, by="tag", created="2030-01-01T00:00:00+00:00")
    with pytest.raises(IntegrityError, match="leads out of the store"):
        corpus.move_tag(store, "c", "mine", entry)
    for write in (lambda: store.put("corpora/c/tags/mine/x", b""), lambda: store.delete("corpora/c/tags/mine/x")):
        with pytest.raises(IntegrityError, match="leads out of the store"):
            write()
    assert list(elsewhere.iterdir()) == []


@pytest.mark.parametrize("kind", ["zero", "pipe", "folder", "loop", "long"])
def test_reading_ends_where_the_recorded_bytes_end(place: Path, kind: str) -> None:
    dataset = open_dataset("c", str(place))
    for ref in (dataset.manifest.files[0], dataset.manifest.reports[0], dataset.manifest.pool):
        path = place / ref.path
        path.unlink()
        if kind == "zero":
            path.symlink_to("/dev/zero")
        elif kind == "pipe":
            os.mkfifo(path)
        elif kind == "folder":
            path.mkdir()
        elif kind == "loop":
            path.symlink_to(path)
        else:
            with path.open("wb") as file:
                file.truncate(2**40)
    faults = list(dataset.verify())
    assert len(faults) == 3
    with pytest.raises(IntegrityError):
        dataset.pull(place.parent / "pulled")
    pulled = [path for path in (place.parent / "pulled").rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in pulled) < 10**6
    with pytest.raises(IntegrityError):
        again(place)


def test_files_that_are_recorded_as_larger_than_any_are_not_read(place: Path) -> None:
    dataset = open_dataset("c", str(place))
    for ref in (dataset.report("sources.json"), dataset.report("README.md"), dataset.manifest.ledger[0]):
        with (place / ref.path).open("r+b") as file:
            file.truncate(2**40)
        for named in ("reports", "ledger"):
            change(manifest_path(place), lambda tree, path=ref.path, named=named: _grow(tree[named], path))
    for command in (["show", "c"], ["show", "c", "--json"], ["explain", "c@v0002", "000000"]):
        with pytest.raises(CuveeError, match="ended with 1"):
            main_quietly(*command, "--store", str(place))
    change_state(place, lambda tree: None)
    path = place / open_dataset("c", str(place)).manifest.pool.path
    with path.open("r+b") as file:
        file.truncate(2**40)
    change(manifest_path(place), lambda tree: tree["pool"].update(bytes=2**40))
    with pytest.raises(IntegrityError, match=f"{path.name} has 1,099,511,627,776 bytes, more than 536,870,912"):
        again(place)


def _grow(refs: Any, path: str) -> None:
    for ref in refs:
        ref["bytes"] = 2**40 if ref["path"] == path else ref["bytes"]


@pytest.mark.parametrize("value", ["[]", "0", "{}", '{"a":0}'])
def test_a_manifest_of_more_values_than_any_has_is_not_read(place: Path, value: str) -> None:
    manifest_path(place).write_text("[" + ",".join([value] * 1_000_001) + "]")
    with pytest.raises(IntegrityError, match=r"v0002\.json: not a manifest \(it has [12],000,00. values\)"):
        open_dataset("c", str(place))


def test_the_last_number_of_a_series_is_told_of(place: Path) -> None:
    tag = place / "corpora/c/tags/latest/000002.json"
    shutil.copy(tag, tag.with_name(f"{'9' * 18}.json"))
    with pytest.raises(IntegrityError, match=f"{'9' * 18}.json: no tag was moved so often; remove it"):
        corpus.move_tag(LocalStore(place), "c", "latest", TagEntry(version=1, by="tag", created=""))
    tag.with_name(f"{'9' * 18}.json").unlink()
    change_state(place, lambda tree: tree.update(number=2**31 - 1))
    change(manifest_path(place), lambda tree: tree.update(version=2**31 - 1))
    manifest_path(place).rename(manifest_path(place, 2**31 - 1))
    tag.unlink()
    with pytest.raises(IntegrityError, match=r"v2147483647\.json: nobody published so many versions; remove it"):
        again(place)
    manifest_path(place, 2**31 - 1).unlink()
    again(place)


def test_signals_of_other_rows_are_refused_by_name(place: Path) -> None:
    (place.parent / "recipe/recipe.yaml").write_text(RECIPE + "filters: [{kind: length, min_words: 2}]\n")
    records = sorted((place / "work/classify").glob("*.json"))
    trees = [json.loads(path.read_text()) for path in records]
    assert len(trees) == 2
    for path, tree, other in zip(records, trees, reversed(trees), strict=True):
        tree["record"]["files"] = list(other["record"]["files"])
        path.write_text(json.dumps({"record": tree["record"], "sha256": canonical_sha256(tree["record"])}))
        break
    with pytest.raises(IntegrityError, match=r"/classify/.*\.parquet is of other rows than its shard; remove it"):
        again(place)


@pytest.mark.parametrize("kind", ["pipe", "link", "linked folder", "folder"])
def test_a_journal_that_is_no_file_of_the_store_is_neither_read_nor_written(tmp_path: Path, kind: str) -> None:
    outside, path = tmp_path / "outside/a.jsonl", tmp_path / "journal/a.jsonl"
    outside.parent.mkdir()
    outside.write_text("not a whole line")
    if kind == "linked folder":
        path.parent.symlink_to(outside.parent)
    else:
        path.parent.mkdir()
        make = {"pipe": os.mkfifo, "link": lambda path: path.symlink_to(outside), "folder": Path.mkdir}
        make[kind](path)
    with pytest.raises(IntegrityError, match=r"a\.jsonl is no plain file of the store; remove it"):
        Journal(path)
    assert outside.read_text() == "not a whole line"


def test_an_emptied_pool_state_stops_the_run_and_the_reports(place: Path) -> None:
    path = place / open_dataset("c", str(place)).manifest.pool.path
    path.write_text('{"number":2,"entries":[],"dates":{}}')
    with pytest.raises(IntegrityError, match=f"{path.name} has changed"):
        again(place)


def test_a_changed_card_or_ledger_is_not_shown(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    manifest = open_dataset("c", str(place)).manifest
    card = place / open_dataset("c", str(place)).report("README.md").path
    card.write_text(card.read_text().replace("documents", "monuments"))
    ledger = place / manifest.ledger[0].path
    shutil.copy(place / open_dataset("c@v0001", str(place)).manifest.ledger[0].path, ledger)
    for command in (["show", "c"], ["explain", "c", "000000"], ["explain", "c@v0002", "000000"]):
        with pytest.raises(SystemExit) as end:
            main([*command, "--store", str(place)])
        assert end.value.code == 1
        said = capsys.readouterr()
        assert said.out == ""
        assert "has changed" in said.err


def test_changed_findings_are_not_compared_with(place: Path) -> None:
    dataset = open_dataset("c", str(place))
    (place / dataset.report("findings.json").path).write_text('{"figures": {}}')
    with pytest.raises(IntegrityError, match=r"findings\.json has changed"):
        again(place)


MALFORMED = {
    "empty": b"",
    "cut": b'{"version": 1, "by": "tag"',
    "null": b"null",
    "list": b"[]",
    "deep": b"[" * 100_000,
    "deep keys": b'{"a":' * 100_000,
    "not a number": b'{"version": NaN, "by": "tag", "created": ""}',
    "infinity": b'{"version": 1e999, "by": "tag", "created": ""}',
    "huge": b'{"version": ' + b"9" * 5000 + b', "by": "tag", "created": ""}',
    "large": b'{"version": ' + b"9" * 30 + b', "by": "tag", "created": ""}',
    "text for a number": b'{"version": "1", "by": "tag", "created": ""}',
    "fraction": b'{"version": 1.0, "by": "tag", "created": ""}',
    "truth": b'{"version": true, "by": "tag", "created": ""}',
    "negative": b'{"version": -1, "by": "tag", "created": ""}',
    "twice": b'{"version": 1, "version": 2, "by": "tag", "created": ""}',
    "unknown key": b'{"version": 1, "by": "tag", "created": "", "more": 1}',
    "missing key": b'{"version": 1}',
    "latin": b'{"version": 1, "by": "tag", "created": "\xe9"}',
    "surrogate": b'{"version": 1, "by": "tag", "created": "\\ud800"}',
    "utf-16": '{"version": 1, "by": "tag", "created": ""}'.encode("utf-16"),
    "mark": b'\xef\xbb\xbf{"version": 1, "by": "tag", "created": ""}',
}


@pytest.mark.parametrize("content", MALFORMED.values(), ids=MALFORMED)
def test_what_is_no_record_is_refused_by_name(place: Path, content: bytes) -> None:
    with pytest.raises(IntegrityError, match=r"there: not a record of cuvee \(.*\); restore it"):
        parse_json(content, TagEntry, "there")
    manifest = open_dataset("c", str(place)).manifest
    state, tag = place / manifest.pool.path, place / "corpora/c/tags/latest/000002.json"
    run = sorted((place / "corpora/c/runs").rglob("run.json"))[-1]
    commands: dict[Path, list[str]] = {tag: ["files", "c"], run: ["explain", "c", "000000"]}
    for path, command in (commands | {manifest_path(place): ["files", "c@v0002"]}).items():
        kept = path.read_bytes()
        path.write_bytes(content)
        with pytest.raises(SystemExit) as end:
            main([*command, "--store", str(place)])
        assert end.value.code == 1
        path.unlink()
        path.symlink_to("nowhere")
        with pytest.raises(SystemExit) as end:
            main([*command, "--store", str(place)])
        assert end.value.code == 1
        path.unlink()
        path.write_bytes(kept)
    state.write_bytes(content)
    named = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    change(manifest_path(place), lambda tree: tree["pool"].update(named))
    with pytest.raises(IntegrityError, match=state.name):
        again(place)


def test_a_damaged_record_of_work_is_done_again(place: Path) -> None:
    records = list((place / "work").rglob("*.json"))
    for number, path in enumerate(records):
        path.write_bytes(list(MALFORMED.values())[number % len(MALFORMED)])
    before = open_dataset("c", str(place)).manifest
    again(place)
    assert open_dataset("c", str(place)).manifest == before


def test_only_manifests_are_versions_and_only_entries_are_tags(place: Path) -> None:
    manifests, tags = place / "corpora/c/manifests", place / "corpora/c/tags"
    for name in (
        *("v0003.json.partial", "v0005.txt", "README", "v0006.json~", "v0007.r0.json", "v00008.json", "v٠٠٠٩.json"),
        *("v9.json", "old/v0010.json", "v0000.json", ".v0011.json.swp", "V0012.json", "v0013.rx.json"),
    ):
        (manifests / name).parent.mkdir(exist_ok=True)
        (manifests / name).write_text("{")
    for name in (
        *("README", "latest/README", "latest/000009.json.partial", "latest/old/000010.json", "latest/9.json"),
        *("spare/x.txt", "bad name/000001.json"),
    ):
        (tags / name).parent.mkdir(exist_ok=True)
        (tags / name).write_text("{")
    (place / "corpora/empty/manifests").mkdir(parents=True)
    (place / "corpora/empty/manifests/README").touch()
    store = LocalStore(place)
    assert (corpus.versions(store, "c"), corpus.tags(store, "c"), corpus.corpora(store)) == ([1, 2], ["latest"], ["c"])
    assert corpus.resolve(store, "c").version == 2
    write_jsonl(place.parent / "texts/3.jsonl", documents(4, seed=3))
    again(place)
    assert corpus.resolve(store, "c").version == 3


def test_a_missing_highest_manifest_is_told_with_its_remedy(place: Path) -> None:
    manifest_path(place).unlink()
    told = r"c@latest is v0002, whose manifest .*v0002\.json is missing; restore it.*cuvee tag c@v0001 latest"
    for read in (lambda: open_dataset("c", str(place)), lambda: again(place)):
        with pytest.raises(IntegrityError, match=told):
            read()
    main_quietly("tag", "c@v0001", "latest", "--store", str(place))
    again(place)
    assert open_dataset("c", str(place)).manifest.version == 2


def test_a_forged_end_of_a_run_removes_no_published_file(place: Path) -> None:
    store, manifest = LocalStore(place), open_dataset("c", str(place)).manifest
    end = corpus.newest_run(store, "c")
    assert end is not None
    forged = end.model_copy(update={"run_id": "0000", "ledger": (FileRef.model_validate(manifest.pool.model_dump()),)})
    for number in range(corpus.RUNS_KEPT + 1):
        corpus.write_run(store, forged.model_copy(update={"run_id": f"{number:04d}"}))
    (place / "corpora/c/runs/0005/run.json").write_text("{")
    again(place)
    assert list(open_dataset("c", str(place)).verify()) == []


def test_keys_are_told_from_other_paths() -> None:
    assert all(is_key(path) for path in ("a", "a/b.json", "a/..b", "a/b c", "a/…", "a/.b"))
    assert not any(is_key(path) for path in ("", "/a", "a/", "a//b", ".", "..", "a/..", "../a", "a\\b", "a\x00", "a\n"))


def main_quietly(*arguments: str) -> None:
    try:
        main(list(arguments))
    except SystemExit as end:
        if end.code:
            raise CuveeError(f"{arguments} ended with {end.code}") from None
