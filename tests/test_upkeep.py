"""Upkeep reads what readers may ask for, and names what is damaged."""

from pathlib import Path

import pytest
from plain import publish_plainly, recipe_file
from texts import documents, write_jsonl

from cuvee.flows import upkeep
from cuvee.schemas.errors import IntegrityError, RecipeError
from cuvee.schemas.manifest import TagEntry
from cuvee.storage.corpus import move_tag
from cuvee.storage.store import open_store

pytestmark = pytest.mark.slow

RECIPE = """corpus: c
holdout: {share: 0}
sources: [{name: a, uri: a/*.jsonl}]
provenance: {unknown_as: human, suspects: keep}
"""


def test_the_newest_and_the_tagged_versions_are_read_whole(tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "store"))
    with pytest.raises(RecipeError, match="nothing to verify"):
        upkeep.verified(store, "c")
    for count in (3, 6, 9):
        write_jsonl(tmp_path / f"a/{count}.jsonl", documents(count))
        publish_plainly(recipe_file(tmp_path, RECIPE), str(tmp_path / "store"))
    move_tag(store, "c", "kept", TagEntry(version=1, by="tag", created="2026-11-30T00:00:00+00:00"))
    checked = upkeep.verified(store, "c")
    assert checked.refs == ("c@v0001", "c@v0003")
    assert upkeep._said(checked)[1].startswith("Whole: c@v0001, c@v0003; ")
    (file, *_) = sorted((tmp_path / "store").glob("corpora/c/data/*/*.parquet"))
    file.chmod(0o600)
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    with pytest.raises(IntegrityError, match=r"c is damaged, \d+ faults?.*\nc@v000"):
        upkeep.verified(store, "c")
