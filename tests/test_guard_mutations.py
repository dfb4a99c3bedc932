"""Mutations of the guard: whatever is changed in a metric, a test of it fails."""

import dis
from collections.abc import Callable
from types import CodeType

import pytest
import test_guard
from mutants import mutants, survivors

from cuvee.tasks import guard, shelf

MODULES = {"guard": guard, **shelf.modules(guard.__name__)}
_IN_ORDER = "columns are read in their order, not by name"
_ONE_TO_ONE = "three ids still make a number of their own"
_MORE_READ = "another lot of documents is read, and the same blocks are cut"
# Mutants that find what the module finds, and why.
EQUIVALENT = {
    "compared": {"findings: ''.join → 'not '.join": "at most one row is named"},
    "copies_of_human": {
        "count: copied.sum().alias('copies') → copied.sum().alias('not copies')": _IN_ORDER,
        "count: of_seed.sum().alias('of_seeds') → of_seed.sum().alias('not of_seeds')": _IN_ORDER,
    },
    "diversity": {
        "_blocks: len(words) >= wanted → len(words) > wanted": _MORE_READ,
        "_blocks: range(0, int(rows['words'].sum()), wanted) → range(-1, int(rows['words'].sum()), wanted)": _MORE_READ,
        "trigram_entropy: int(ids.max()) + 1 → int(ids.max()) + 2": _ONE_TO_ONE,
        "trigram_entropy: ids[:-2] * size + ids[1:-1] → ids[:-2] * size - ids[1:-1]": _ONE_TO_ONE,
        "trigram_entropy: (ids[:-2] * size + ids[1:-1]) * size + ids[2:] → "
        "(ids[:-2] * size + ids[1:-1]) * size - ids[2:]": _ONE_TO_ONE,
    },
    "losses": {"findings: (None, 0) → (None, -1)": "neither is above a share of the rows"},
}


def _tests_of(name: str) -> list[Callable[[], None]]:
    """List the tests that name a module and take no fixture, in their order."""
    tests = [test for title, test in vars(test_guard).items() if title.startswith("test_")]
    return [test for test in tests if name in _named(test.__code__) and not test.__code__.co_argcount]


def _named(code: CodeType) -> set[str]:
    inner = [constant for constant in code.co_consts if isinstance(constant, CodeType)]
    loaded = {one.argval for one in dis.get_instructions(code) if one.opname == "LOAD_GLOBAL"}
    return loaded.union(*map(_named, inner))


@pytest.mark.parametrize("name", MODULES)
def test_every_mutant_of_a_module_is_killed_by_its_tests(name: str) -> None:
    tests = _tests_of(name)
    assert tests, f"no test of tests/test_guard.py names {name}"
    assert sorted(survivors(MODULES[name], tests)) == sorted(EQUIVALENT.get(name, {}))


def test_a_mutant_that_no_test_looks_for_survives_and_the_module_comes_back() -> None:
    module, whole = MODULES["duplicates"], dict(vars(MODULES["duplicates"]))
    left = survivors(module, [test_guard.test_a_source_loses_every_kind_of_copy_and_nothing_else])
    assert "module: MOST_LOST = 0.3 → MOST_LOST = 0.27" in left
    assert "findings: returns nothing" in left
    assert "figures: returns nothing" not in left
    assert vars(module) == whole


def test_a_module_is_changed_in_every_place_and_in_one_at_a_time() -> None:
    source = """
MOST: float = 2
SHARE = 0.5

def judged(rows: list[int], note: int | None = None) -> bool:
    "Say."
    return rows is not None and not max(rows) + 1 < MOST

def told(name: str) -> str:
    return f"{name} is {len(name):.2f} long" if name != "a" else "b"

def said(self) -> None:
    "Nothing."
"""
    assert [mutant.name for mutant in mutants(source)] == [
        "module: MOST: float = 2 → MOST: float = 1",
        "module: MOST: float = 2 → MOST: float = 3",
        "module: SHARE = 0.5 → SHARE = 0.45",
        "module: SHARE = 0.5 → SHARE = 0.55",
        "judged: returns nothing",
        "judged: rows is not None and (not max(rows) + 1 < MOST) → rows is not None or not max(rows) + 1 < MOST",
        "judged: rows is not None → rows is None",
        "judged: not max(rows) + 1 < MOST → max(rows) + 1 < MOST",
        "judged: max(rows) + 1 < MOST → max(rows) + 1 <= MOST",
        "judged: max(rows) + 1 → max(rows) - 1",
        "judged: max(rows) → min(rows)",
        "judged: max(rows) + 1 → max(rows) + 0",
        "judged: max(rows) + 1 → max(rows) + 2",
        "told: returns nothing",
        "told: name != 'a' → name == 'a'",
        "told: name != 'a' → name != 'not a'",
        "told: f'{name} is {len(name):.2f} long' if name != 'a' else 'b' → "
        "f'{name} is {len(name):.2f} long' if name != 'a' else 'not b'",
    ]
