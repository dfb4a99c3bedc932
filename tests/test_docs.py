"""The examples of the docs run as they stand, on a version published from real text."""

import os
import re
from pathlib import Path

import pytest
from texts import documents, write_jsonl

from cuvee.flows.curate import curate

ROOT = Path(__file__).parents[1]
RECIPE = "corpus: library\nsources: [{name: texts, uri: texts.jsonl, domain: news}]\nholdout: {share: 0.05}\n"


@pytest.fixture(scope="module")
def library(prefect_api: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("library")
    write_jsonl(folder / "texts.jsonl", documents(80))
    (folder / "library.yaml").write_text(RECIPE)
    curate(recipe=str(folder / "library.yaml"), store=str(folder / "cuvee-store"))
    return folder


@pytest.mark.parametrize("document", ["README.md", "docs/reading.md"])
def test_every_python_example_runs(document: str, library: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(library)
    # The readers of hubs must work without a network, and leave nothing in the user's cache.
    monkeypatch.setenv("HF_HOME", str(library / "hub"))
    monkeypatch.setenv("HF_DATASETS_OFFLINE", "1")
    import datasets

    import cuvee

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", library / "hub-cache")
    Path("files.txt").write_text("\n".join(cuvee.open("library").files(split="train")) + os.linesep)
    names: dict[str, object] = {}
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / document).read_text(), flags=re.S)
    assert blocks
    for block in blocks:
        exec(compile(block, document, "exec"), names)
