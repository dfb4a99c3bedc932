"""A training command gets each version once, whole and counted, and only the command that was deployed."""

import json
import os
import sys
from pathlib import Path

import pytest
from plain import publish_plainly, recipe_file
from texts import documents, write_jsonl

from cuvee.deployments import definitions, plans
from cuvee.flows import training_order
from cuvee.flows.training_order import Order
from cuvee.schemas.errors import CuveeError, IntegrityError, RecipeError
from cuvee.storage.store import Store, open_store
from cuvee.tasks import training

RECIPE = """corpus: c
holdout: {share: 0}
sources: [{name: a, uri: a/*.jsonl}]
provenance: {unknown_as: human, suspects: keep}
"""
# Notes the folder, the count of its files, and whether it knows the login; ends with the code in the file `code`.
COMMAND = """import json, os, pathlib, sys
folder = pathlib.Path(sys.argv[-1])
files = [str(path) for path in folder.rglob("*.parquet")]
with open("calls", "a") as calls:
    calls.write(json.dumps([sys.argv[1:], len(files), "PREFECT_API_AUTH_STRING" in os.environ]) + "\\n")
print("learning")
code = pathlib.Path("code")
sys.exit(int(code.read_text()) if code.exists() else 0)
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setenv("PREFECT_API_AUTH_STRING", "cuvee:secret")
    (tmp_path / "learn.py").write_text(COMMAND)
    publish(tmp_path, 5)
    return open_store(str(tmp_path / "store"))


def publish(folder: Path, count: int) -> None:
    write_jsonl(folder / f"a/{count}.jsonl", documents(count))
    assert publish_plainly(recipe_file(folder, RECIPE), str(folder / "store")).published


def trained(place: Store, folder: Path, ref: str) -> training.Trained:
    command = (sys.executable, str(folder / "learn.py"), "a b; touch x")
    return training.run(place, ref, "c", command, folder / "home")


def calls(folder: Path) -> list[list[object]]:
    return [json.loads(line) for line in (folder / "home" / "calls").read_text().splitlines()]


def test_a_version_is_trained_on_once_and_its_folder_is_an_argument(place: Store, tmp_path: Path) -> None:
    first = trained(place, tmp_path, "c@v0001")
    assert (first.done, first.documents, first.unit) == (True, 5, "words")
    assert not trained(place, tmp_path, "c@v0001").done
    assert not trained(place, tmp_path, "c@latest").done
    assert calls(tmp_path) == [[["a b; touch x", str(tmp_path / "home" / "v0001")], 1, False]]
    assert not (tmp_path / "home" / "x").exists()
    with pytest.raises(RecipeError, match="this is for d"):
        training.run(place, "c@v0001", "d", ("true",), tmp_path / "home")


def test_a_command_that_fails_is_told_and_tried_again(place: Store, tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "code").write_text("3")
    with pytest.raises(CuveeError, match=r"ended with 3 for c@v0001 \(learning\)"):
        trained(place, tmp_path, "c@v0001")
    (tmp_path / "home" / "code").unlink()
    assert trained(place, tmp_path, "c@v0001").done
    assert len(calls(tmp_path)) == 2
    with pytest.raises(CuveeError, match="cannot be started"):
        training._call(["/nowhere/learn"], tmp_path, tmp_path / "log", (tmp_path / "lock").open("w"), "c@v0001")


def test_the_folders_of_the_last_two_versions_stay_and_share_equal_files(place: Store, tmp_path: Path) -> None:
    for count in (7, 9, 11):
        assert trained(place, tmp_path, "c").done
        publish(tmp_path, count)
    assert trained(place, tmp_path, "c@latest").done
    home = tmp_path / "home"
    assert sorted(one.name for one in home.glob("v*") if one.is_dir()) == ["v0003", "v0004"]
    assert sorted(one.name for one in (home / "finished").iterdir()) == [f"v000{n}.json" for n in (1, 2, 3, 4)]
    nodes = [{path.stat().st_ino for path in (home / name).rglob("*.parquet")} for name in ("v0003", "v0004")]
    manifests = [json.loads((home / name / "manifest.json").read_text()) for name in ("v0003", "v0004")]
    shared = [{file["path"] for file in manifest["files"]} for manifest in manifests]
    assert len(nodes[0] & nodes[1]) == len(shared[0] & shared[1]) > 0


def test_files_that_are_not_what_was_published_reach_no_command(place: Store, tmp_path: Path) -> None:
    (file,) = (tmp_path / "store").rglob("data/*/*.parquet")
    file.chmod(0o600)
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    with pytest.raises(IntegrityError, match="is not what the manifest names"):
        trained(place, tmp_path, "c@v0001")
    assert not (tmp_path / "home" / "calls").exists()


def test_only_its_owner_says_which_command_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path))
    order = Order(corpus="c", store="/s", command=("/bin/true",), folder="/f")
    with pytest.raises(CuveeError, match="No such file"):
        training_order.held("training-pull")
    training_order.keep("training-pull", order)
    assert training_order.held("training-pull") == order
    path = tmp_path / "cuvee" / "training" / "training-pull.json"
    assert path.stat().st_mode & 0o777 == 0o600
    path.chmod(0o666)
    with pytest.raises(CuveeError, match="others could have written it"):
        training_order.held("training-pull")
    assert "command" not in definitions.training("c", "/s", "UTC", None).parameters


def test_a_command_is_split_without_a_shell_and_must_exist() -> None:
    program = os.path.realpath(sys.executable)
    assert plans.training_command(f"{program} -m 'my train' $HOME") == (program, "-m", "my train", "$HOME")
    for wrong in ("no-such-program x", "'unfinished", ""):
        with pytest.raises(RecipeError, match="--train-command"):
            plans.training_command(wrong)


def test_the_automation_starts_the_deployment_of_its_corpus_with_what_the_event_names() -> None:
    definition = definitions.training("news", "/s", "UTC", "news")
    tree = definitions.training_automation(definition, "0b9f2f5e-4f0e-4a52-9f0e-3f6a6d2c7b11")
    assert tree["name"] == "cuvee-training-pull-news"
    assert tree["trigger"]["match"] == {"prefect.resource.id": "cuvee.corpus.news"}
    assert set(tree["actions"][0]["parameters"]) == {"ref", "store"}
    assert definition.queue == "training"
