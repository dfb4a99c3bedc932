"""Compiling: the kernels are compiled when they are first called, and kept beside the package for later processes.

`python -m cuvee.flows.compiling` compiles those of a common recipe by running one over a few made texts: half a minute
of CPU that set-up spends once, so that no run and no test does. What it leaves is compiled by the run that needs it,
which says so.
"""

import json
import random
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from numba.core import event as events

from cuvee.flows import pipeline
from cuvee.flows.hands import PlainHands
from cuvee.schemas.errors import RecipeError
from cuvee.tasks.begin import new_run_id
from cuvee.tasks.filters import language

RECIPE = """corpus: compiled
sources: [{name: made, uri: rows.jsonl, license: CC0-1.0, dates: trusted}]
filters:
  - {kind: gopher_quality}
  - {kind: gopher_repetition}
  - {kind: c4}
  - {kind: fineweb}
  - {kind: boilerplate}
LANGUAGE
dedup: {threshold: 0.6}
decontaminate: {benchmarks: [benchmark.jsonl]}
generate: [{name: baseline, generator: ngram, allow_baseline: true}]
mixture: {human: {min: 0.7}}
"""
LANGUAGE = "  - {kind: language, keep: [en], min_score: 0.0}"
WORDS = (
    "the of and to in that have with be river stone market garden letter window morning evening teacher doctor harbour "
    "mountain bridge village captain history music paper summer winter question answer moment people place house night"
)
_events: Any = events  # has no types
TOLD = "compiling for this machine what was not compiled yet; later runs find it done"


class _Listener(events.Listener):
    """Call a function at the first kernel that is compiled."""

    def __init__(self, tell: Callable[[], None]) -> None:
        self._tell: Callable[[], None] | None = tell

    def on_start(self, event: Any) -> None:
        """Tell, once."""
        tell, self._tell = self._tell, None
        if tell:
            tell()

    def on_end(self, event: Any) -> None:
        """Do nothing: numba asks for it."""


@contextmanager
def heard(tell: Callable[[], None]) -> Iterator[None]:
    """Call `tell` at the first kernel that this process compiles within the body; what lies on disk is not compiled."""
    listener = _Listener(tell)
    _events.register("numba:compile", listener)
    try:
        yield
    finally:
        _events.unregister("numba:compile", listener)


def rows() -> Iterator[dict[str, str]]:
    """Make texts that lead through the kernels: distinct ones, near copies, longer characters, a short one."""
    draw, words = random.Random(3), WORDS.split()
    for number in range(60):
        lines = [" ".join(draw.choices(words, k=draw.randrange(8, 14))).capitalize() + "." for _ in range(14)]
        texts = [lines, [*lines[:13], "A last line of its own."]] if number % 6 == 0 else [lines]
        for copy, text in enumerate(texts):
            ending = " Übrigens: “naïve” 東京です ﬁn." if number % 4 == 0 else ""
            yield {"id": f"{number}-{copy}", "text": "\n".join(text) + ending, "created": "2020-01-01"}
    yield {"id": "short", "text": "Too short.", "created": "2020-01-01"}


def compile_all() -> None:
    """Run a recipe over made texts in a folder of its own, in this process."""
    try:
        language.path()
        filters = LANGUAGE
    except RecipeError:  # without the model no run has this filter
        filters = ""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        made = list(rows())
        for file, some in (("rows.jsonl", made), ("benchmark.jsonl", made[:1])):
            (folder / file).write_text("".join(json.dumps(row) + "\n" for row in some), encoding="utf-8")
        recipe = folder / "recipe.yaml"
        recipe.write_text(RECIPE.replace("LANGUAGE", filters), encoding="utf-8")
        pipeline.carry_out(str(recipe), (), str(folder / "store"), False, new_run_id(), PlainHands())


if __name__ == "__main__":
    compile_all()
