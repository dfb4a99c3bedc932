"""The pipeline is typed through its hands: mypy accepts it, and refuses any two neighbouring arguments in each other's
place. One run of mypy checks all copies; what it finds out about the libraries stays in the cache of `make test`.
"""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from guide import ROOT, examples

PIPELINE = (ROOT / "flows" / "pipeline.py").read_text(encoding="utf-8")


def handed_on(tree: ast.Module) -> Iterator[tuple[str, list[ast.expr], int]]:
    """Yield where arguments are handed on, these, and the place of the first: in `hands.one(step, work, …)`, and in the
    tuples of `hands.each`, which begin with the run.
    """
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "hands.one":
            yield ast.unparse(node.args[1]), node.args, 2
        elif (
            isinstance(node, ast.ListComp)
            and isinstance(node.elt, ast.Tuple)
            and "run" in map(ast.unparse, node.elt.elts)
        ):
            yield f"each of {ast.unparse(node.elt)}", node.elt.elts, 0


def swapped() -> dict[str, str]:
    """Return copies of the pipeline with two neighbouring arguments swapped, by what is swapped."""
    tree, copies = ast.parse(PIPELINE), {}
    for where, arguments, first in list(handed_on(tree)):
        for place in range(first, len(arguments) - 1):
            one, other = arguments[place : place + 2]
            arguments[place : place + 2] = other, one
            name = f"{where}: {ast.unparse(other)} before {ast.unparse(one)} (line {one.lineno})"
            copies[name] = ast.unparse(tree)
            arguments[place : place + 2] = one, other
    return copies


COPIES = swapped()


@pytest.fixture(scope="module")
def complaints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """Return what mypy --strict says of the pipeline, its wrong copies, and the examples of the guide, by name."""
    folder = tmp_path_factory.mktemp("copies")
    texts = {"right": PIPELINE, **COPIES, **examples()}
    names = {f"copy{number:03d}.py": name for number, name in enumerate(texts)}
    for file, name in names.items():
        (folder / file).write_text(texts[name], encoding="utf-8")
    options = ["--strict", "--config-file", str(ROOT / "pyproject.toml"), "--cache-dir", str(ROOT / ".mypy_cache")]
    told = subprocess.run(
        [sys.executable, "-m", "mypy", *options, *names], cwd=folder, capture_output=True, text=True, check=False
    )
    assert told.returncode == 1, told.stderr
    found: dict[str, list[str]] = {name: [] for name in texts}
    for file, complaint in re.findall(r"^([^:\n]+):\d+: error: (.*)$", told.stdout, flags=re.MULTILINE):
        found[names[Path(file).name]].append(complaint)
    return found


def test_the_pipeline_as_it_stands_is_accepted(complaints: dict[str, list[str]]) -> None:
    assert complaints["right"] == []


def test_every_swapped_pair_of_arguments_is_refused(complaints: dict[str, list[str]]) -> None:
    assert len(COPIES) > 25
    assert [name for name in COPIES if not any("[arg-type]" in told for told in complaints[name])] == []


def test_the_pairs_are_of_both_kinds_of_hands() -> None:
    told = "\n".join(COPIES)
    for pair in (
        "guard.run: plan before decided",
        "commit.run: store before run",
        "each of (run, store, batch): store",
    ):
        assert pair in told


@pytest.mark.parametrize("path", examples())
def test_an_example_of_the_guide_is_typed(path: str, complaints: dict[str, list[str]]) -> None:
    assert complaints[path] == []
