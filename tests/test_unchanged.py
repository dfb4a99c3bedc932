"""A run that has all that the run before it had decides nothing, and says what that one said."""

import itertools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import ParamSpec, TypeVar

import pytest
from plain import recipe_file
from texts import documents, write_jsonl

import cuvee
from cuvee.flows import pipeline
from cuvee.flows.hands import PlainHands
from cuvee.schemas.marks import Mark, Marks
from cuvee.schemas.report import RunReport
from cuvee.storage.corpus import newest_run
from cuvee.storage.local import LocalStore
from cuvee.storage.marks import write_marks
from cuvee.tasks.begin import new_run_id
from cuvee.tasks.publish import unchanged

P, R = ParamSpec("P"), TypeVar("R")
_runs = itertools.count()
RECIPE = """
corpus: c
sources: [{name: a, uri: "*.jsonl"}]
filters: [{kind: gopher_quality}]
"""
ENTRY = """
mixture: {human: {min: 0.5}}
generate: [{name: g, generator: ngram, allow_baseline: true, kinds: [encyclopedic]}]
"""


class Watched(PlainHands):
    """Remember whether anything was decided."""

    decided = False

    def one(self, step: str, work: Callable[P, R], *arguments: P.args, **named: P.kwargs) -> R:
        """Do the work."""
        self.decided |= step == "link"
        return super().one(step, work, *arguments, **named)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_jsonl(tmp_path / "a.jsonl", documents(40))
    write_jsonl(tmp_path / "b.jsonl", documents(60)[40:])
    return tmp_path


def carried_out(folder: Path, *overrides: str, text: str = RECIPE, plan: bool = False) -> tuple[RunReport, bool]:
    """Run a recipe; tell what it said, and whether it decided anything."""
    hands = Watched()
    recipe = recipe_file(folder, text)
    report = pipeline.carry_out(recipe, overrides, str(folder / "store"), plan, new_run_id(f"{next(_runs):03}"), hands)
    return report.model_copy(update={"seconds": 0}), hands.decided


@pytest.mark.parametrize("text", [RECIPE, RECIPE + ENTRY])
def test_a_run_with_the_same_inputs_decides_nothing_and_says_the_same(folder: Path, text: str) -> None:
    first, decided = carried_out(folder, text=text)
    assert (first.published, decided) == (True, True)
    assert carried_out(folder, text=text) == (first.model_copy(update={"published": False}), False)
    store = LocalStore(folder / "store")
    last = newest_run(store, "c")
    assert last is not None
    assert (last.outcome, last.version) == ("nothing_new", 1)
    assert len(store.sizes("corpora/c/runs/")) == 2
    assert cuvee.open("c", store=str(folder / "store")).ledger().height == sum(x.rows for x in first.sources.values())
    assert carried_out(folder, text=text, plan=True)[1], "a plan is asked for to be worked out"


def removed(folder: Path) -> Sequence[str]:
    (folder / "b.jsonl").unlink()
    return ()


def added(folder: Path) -> Sequence[str]:
    write_jsonl(folder / "c.jsonl", documents(70)[60:])
    return ()


def recoded(folder: Path) -> Sequence[str]:
    unchanged.code_sha256.cache_clear()
    return ()


def damaged(folder: Path) -> Sequence[str]:
    Path(cuvee.open("c", store=str(folder / "store")).files()[0]).unlink()
    return ()


def damaged_end(folder: Path) -> Sequence[str]:
    (end,) = (folder / "store/corpora/c/runs").glob("*/run.json")
    end.write_text("{")
    return ()


def marked(folder: Path) -> Sequence[str]:
    write_marks(LocalStore(folder / "store"), "c", Marks(marks=(Mark(doc_id="0" * 32, verdict="human"),)))
    return ()


def other_bounds(folder: Path) -> Sequence[str]:
    return ("mixture.total=500",)


@pytest.mark.parametrize("change", [removed, added, recoded, damaged, damaged_end, marked, other_bounds])
def test_whatever_changes_is_decided_on(
    folder: Path, change: Callable[[Path], Sequence[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    carried_out(folder)
    overrides = change(folder)
    if change is recoded:
        monkeypatch.setattr(unchanged, "code_sha256", lambda: "of another cuvee")
    assert carried_out(folder, *overrides)[1]
    assert not carried_out(folder, *overrides)[1]
