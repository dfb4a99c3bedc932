"""Places for a store: those that cannot hold one are found before work begins, in words."""

import ctypes
import errno
import os
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from plain import publish_plainly, recipe_file
from texts import documents, write_jsonl

from cuvee.commands import cli
from cuvee.dataset import open_dataset
from cuvee.schemas.errors import ConflictError, RecipeError
from cuvee.storage import local
from cuvee.storage.local import LocalStore
from cuvee.tasks.ingest import reading

RECIPE = "corpus: c\nsources: [{name: a, uri: a/*.jsonl}]\nholdout: {share: 0}\n"


@pytest.fixture
def recipe(tmp_path: Path) -> str:
    write_jsonl(tmp_path / "a/x.jsonl", documents(5))
    return recipe_file(tmp_path, RECIPE)


@pytest.fixture
def no_work(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_reading(*_: object) -> None:
        raise AssertionError("a source file was read")

    monkeypatch.setattr(reading, "_ingest", no_reading)


@pytest.fixture
def mounted(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    """A small file system in memory, with the options that the test asks for."""
    folder = tmp_path / "mounted"
    folder.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", request.param, "tmpfs", str(folder)], capture_output=True, text=True, check=False
    )
    if made.returncode:
        pytest.skip(f"no file system can be mounted here: {made.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.fixture
def without_links(monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk such as exFAT: it has no hard links, no rights of files, and flushes no folders."""
    flushed = os.fsync

    def no_link(*_: object, **__: object) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    def no_rights(path: Path, mode: int) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    def no_folder(handle: int) -> None:
        if os.path.isdir(f"/proc/self/fd/{handle}"):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        flushed(handle)

    monkeypatch.setattr(os, "link", no_link)
    monkeypatch.setattr(Path, "chmod", no_rights)
    monkeypatch.setattr(os, "fsync", no_folder)


@pytest.mark.usefixtures("without_links")
def test_a_disk_without_hard_links_holds_a_store_and_gives_a_name_once(tmp_path: Path, recipe: str) -> None:
    store = LocalStore(tmp_path / "store")
    report = publish_plainly(recipe, store.uri)
    assert (report.version, report.published) == (1, True)
    assert list(open_dataset("c", store.uri).verify()) == []
    gate, won = threading.Barrier(8), []

    def create(number: int) -> None:
        gate.wait()
        try:
            store.create("corpora/c/manifests/v0009.json", str(number).encode())
            won.append(number)
        except ConflictError:
            pass

    threads = [threading.Thread(target=create, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [store.get("corpora/c/manifests/v0009.json")] == [str(number).encode() for number in won]
    assert [path for path in store.scratch().iterdir() if path.is_file()] == []


class NoSuchRename:
    """A C library whose file system knows no rename that replaces nothing."""

    def renameat2(self, *_: object) -> int:
        ctypes.set_errno(errno.EINVAL)
        return -1


@pytest.mark.usefixtures("without_links", "no_work")
def test_a_disk_that_cannot_give_a_name_once_is_refused_before_the_work(
    tmp_path: Path, recipe: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda *_, **__: NoSuchRename())
    with pytest.raises(RecipeError, match=r"neither hard links nor .*nothing is published: name another place"):
        publish_plainly(recipe, str(tmp_path / "store"))
    assert LocalStore(tmp_path / "store").keys("") == []


def test_a_link_that_was_made_though_its_answer_was_lost_is_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    linked = os.link

    def repeated(path: Path, target: Path) -> None:
        linked(path, target)
        linked(path, target)  # a network file system sends the call again

    monkeypatch.setattr(os, "link", repeated)
    store = LocalStore(tmp_path / "store")
    store.create("x", b"ours")
    with pytest.raises(ConflictError):
        store.create("x", b"ours")


@pytest.mark.usefixtures("no_work")
@pytest.mark.parametrize("mounted", ["size=1m"], indirect=True)
def test_a_full_disk_is_told_before_the_work(mounted: Path, recipe: str) -> None:
    with pytest.raises(RecipeError, match=r"has room for [01] MB, and a run needs 16 MB .*free some, or name another"):
        publish_plainly(recipe, str(mounted / "store"))


@pytest.mark.usefixtures("no_work")
@pytest.mark.parametrize("mounted", ["size=64m,nr_inodes=4"], indirect=True)
def test_a_disk_that_takes_no_more_files_is_told_before_the_work(mounted: Path, recipe: str) -> None:
    for number in range(3):
        (mounted / str(number)).touch()
    with pytest.raises(RecipeError, match="cannot hold a store: No space left on device"):
        publish_plainly(recipe, str(mounted / "store"))


@pytest.mark.usefixtures("no_work")
@pytest.mark.parametrize("mounted", ["size=64m,ro"], indirect=True)
def test_a_disk_that_can_only_be_read_is_told_before_the_work(mounted: Path, recipe: str) -> None:
    with pytest.raises(RecipeError, match=r"mounted/store cannot hold a store: Read-only file system .*grant access"):
        publish_plainly(recipe, str(mounted / "store"))


@pytest.mark.usefixtures("no_work")
def test_a_place_below_a_file_is_told_before_the_work(tmp_path: Path, recipe: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RecipeError, match=r"file/store cannot hold a store: Not a directory"):
        publish_plainly(recipe, str(tmp_path / "file/store"))


@pytest.mark.parametrize("name", ["a\0b", "a\udcff"])
def test_a_path_that_is_no_text_is_told_before_the_work(tmp_path: Path, recipe: str, name: str) -> None:
    with pytest.raises(RecipeError, match=r"store '.*a\\.*': no folder for a store"):
        publish_plainly(recipe, str(tmp_path / name))


def test_a_place_for_a_copy_that_is_a_broken_link_is_told_of(tmp_path: Path, recipe: str) -> None:
    publish_plainly(recipe, str(tmp_path / "store"))
    (tmp_path / "copy").symlink_to(tmp_path / "nowhere")
    with pytest.raises(RecipeError, match="copy is a link that leads nowhere; choose another folder"):
        open_dataset("c", str(tmp_path / "store")).pull(tmp_path / "copy")
    dataset = open_dataset("c", str(tmp_path / "store"))
    dataset.pull(tmp_path / "earlier")
    for name in ("data/train", "data"):
        kept = (tmp_path / "earlier" / name).rename(tmp_path / name.replace("/", "-"))
        (kept / "mine.txt").write_text("mine")
        (tmp_path / "earlier" / name).symlink_to(kept)
        with pytest.raises(RecipeError, match=f"earlier/{name} is a link, and a pull would write and remove files"):
            dataset.pull(tmp_path / "earlier")
        assert (kept / "mine.txt").exists()


@pytest.mark.usefixtures("no_work")
@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_access_is_told_before_the_work(tmp_path: Path, recipe: str) -> None:
    (tmp_path / "closed").mkdir(mode=0o500)
    with pytest.raises(RecipeError, match="closed/store cannot hold a store: Permission denied"):
        publish_plainly(recipe, str(tmp_path / "closed/store"))


def test_a_tag_that_differs_from_another_only_by_case_is_refused(tmp_path: Path, recipe: str) -> None:
    publish_plainly(recipe, str(tmp_path / "store"))
    result = CliRunner().invoke(cli, ["tag", "c", "Latest", "--store", str(tmp_path / "store")])
    assert isinstance(result.exception, RecipeError)
    assert "'Latest' is the tag latest but for its case" in str(result.exception)


def test_a_flush_that_fails_for_another_reason_is_no_success(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(handle: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(local.os, "fsync", failing)
    with pytest.raises(OSError, match="Input/output error"):
        LocalStore(tmp_path / "store").create("x", b"1")
