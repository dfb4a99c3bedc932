"""The import rules: schemas ← storage ← tasks ← flows ← deployments, the order of the rooms inside tasks, and what
`import cuvee` must not load.
"""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# What each folder may import of cuvee; "api" is `cuvee` itself.
ALLOWED = {
    "schemas": {"schemas"},
    "storage": {"schemas", "storage"},
    "tasks": {"schemas", "storage", "tasks"},
    "flows": {"schemas", "storage", "tasks", "flows"},
    "deployments": {"schemas", "storage", "tasks", "flows", "deployments"},
    "api": {"schemas", "storage", "api"},
}
LAZILY_IN_COMMANDS = {"tasks", "flows", "deployments"}
# Distributions by the start of their name, and the folders that may import them.
CONFINED = {"prefect": {"flows", "deployments"}, "boto": {"storage"}}
# The rooms of tasks/, in the order of the pipeline; a room may import itself and those before it. Rooms in a row are of
# one stage.
ROOMS = [
    {"pool", "steps", "shelf", "exchange", "priority", "phrases", "tombstones", "words"},
    {"ingest", "readers"},
    {"measure", "filters", "provenance"},
    {"dedup"},
    {"decide"},
    {"generate", "generators"},
    {"mixture"},
    {"guard"},
    {"review"},
    {"publish"},
    {"erase"},
    {"begin", "look", "starter", "doctor", "training", "demo", "drill"},
]
STAGE = {room: stage for stage, rooms in enumerate(ROOMS) for room in rooms}
# Modules that reach the file system, the network, the clock, the environment or chance.
IMPURE_MODULES = {"glob", "os", "random", "secrets", "shutil", "socket", "subprocess", "tempfile", "time"}
IMPURE_CALLS = {"is_file", "mkdir", "now", "open", "print", "read_bytes", "read_text", "today", "unlink", "write_text"}


def broken_rules(root: Path) -> list[str]:
    """Return one line for each import or call under `root` that the rule forbids, as `file:line: reason`."""
    found = []
    for folder in ALLOWED:
        for path in sorted((root / folder).rglob("*.py")):
            tree = ast.parse(path.read_text(encoding="utf-8"))
            place = path.relative_to(root)
            for line, target, is_lazy in _imports(tree, _package_of(place)):
                reason = _forbidden(place, target, is_lazy)
                if reason:
                    found.append(f"{place}:{line}: {reason}")
            if folder == "schemas":
                found.extend(f"{place}:{line}: {reason}" for line, reason in _impure_calls(tree))
    return found


def _package_of(place: Path) -> tuple[str, ...]:
    """Return the parts of the package that relative imports in the file at `place` start from."""
    return ("cuvee", *(part for part in place.parent.parts if part != "api"))


def _imports(tree: ast.AST, package: tuple[str, ...], is_lazy: bool = False) -> Iterator[tuple[int, str, bool]]:
    """Yield line, absolute name and whether it waits for a call, for each imported name, also by import_module.

    What is imported for type checkers only counts as waiting: it is never loaded.
    """
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name, is_lazy) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = package[: len(package) - node.level + 1] if node.level else ()
            base = ".".join((*start, *([node.module] if node.module else [])))
            yield from ((node.lineno, f"{base}.{alias.name}", is_lazy) for alias in node.names)
        elif isinstance(node, ast.Call) and _called(node) in {"import_module", "__import__"} and node.args:
            name = node.args[0]
            if isinstance(name, ast.Constant) and isinstance(name.value, str):
                yield node.lineno, name.value, is_lazy
        inside = is_lazy or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) or _is_for_types(node)
        yield from _imports(node, package, inside)


def _is_for_types(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def _forbidden(place: Path, target: str, is_lazy: bool) -> str:
    """Return why the file at `place` must not import `target`, or an empty string."""
    folder, top = place.parts[0], target.partition(".")[0]
    if top in ALLOWED:
        return f"{target} is found in a checkout only; import cuvee.{target}"
    for start, folders in CONFINED.items():
        if top.startswith(start) and folder not in folders:
            return f"{top} may be imported only in {', '.join(sorted(folders))}"
    if folder == "schemas" and top in IMPURE_MODULES:
        return f"schemas must not import {top}"
    if top != "cuvee":
        return ""
    part = target.partition(".")[2].partition(".")[0]
    layer = part if part in ALLOWED else "api"
    if folder == layer == "tasks":
        return _climbs(place, target)
    is_command = place.parts[:2] == ("api", "commands")
    if layer in ALLOWED[folder] or (is_command and is_lazy and layer in LAZILY_IN_COMMANDS):
        return ""
    if is_command and layer in LAZILY_IN_COMMANDS:
        return f"{target} may be imported only inside a function here"
    return f"{folder} must not import {target}"


def _climbs(place: Path, target: str) -> str:
    """Return why a file of one room must not import from another."""
    own, names = place.with_suffix("").parts[1], target.split(".")[2:]
    if own == "__init__":
        return f"tasks/__init__.py must not import {target}"
    if own not in STAGE:
        return f"{own} is no room of the pipeline; name its stage in ROOMS"
    if not names or names[0] not in STAGE:
        return f"{target} is in no room of the pipeline"
    return f"{own} comes before {names[0]}, and must not import it" if STAGE[own] < STAGE[names[0]] else ""


def _impure_calls(tree: ast.AST) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and _called(node) in IMPURE_CALLS:
            yield node.lineno, f"schemas must not call {_called(node)}()"


def _called(call: ast.Call) -> str:
    return getattr(call.func, "attr", "") or getattr(call.func, "id", "")


def test_every_import_follows_the_layers() -> None:
    assert broken_rules(ROOT) == []


def test_the_layers_are_the_folders_of_the_repository() -> None:
    assert all(list((ROOT / folder).glob("*.py")) for folder in ALLOWED)


@pytest.mark.parametrize(
    ("place", "source", "reason"),
    [
        ("schemas/planted.py", "from cuvee.storage import store", "must not import cuvee.storage"),
        ("schemas/planted.py", "from ..tasks import dedup", "must not import cuvee.tasks"),
        ("schemas/planted.py", "import os.path", "must not import os"),
        ("schemas/planted.py", "from random import shuffle", "must not import random"),
        ("schemas/planted.py", "import datetime\nx = datetime.datetime.now()", "must not call now()"),
        ("schemas/planted.py", "from pathlib import Path\nx = Path('x').read_text()", "must not call read_text()"),
        ("schemas/planted.py", "x = open('x')", "must not call open()"),
        ("storage/planted.py", "import cuvee.tasks.dedup", "must not import cuvee.tasks.dedup"),
        ("storage/planted.py", "import cuvee", "must not import cuvee"),
        ("storage/planted.py", "import prefect", "prefect may be imported only in"),
        ("tasks/pool.py", "from cuvee import flows", "must not import cuvee.flows"),
        ("tasks/pool.py", "from cuvee import open", "must not import cuvee.open"),
        ("tasks/pool.py", "def f():\n    import boto3", "boto3 may be imported only in"),
        ("tasks/pool.py", "def f():\n    from botocore.config import Config", "botocore may be imported only in"),
        ("tasks/pool.py", "if True:\n    from prefect import task", "prefect may be imported only in"),
        ("tasks/pool.py", "from schemas.base import Frozen", "import cuvee.schemas.base"),
        ("tasks/pool.py", "from cuvee.tasks.ingest import reading", "pool comes before ingest"),
        ("tasks/words/planted.py", "from cuvee.tasks import dedup", "words comes before dedup"),
        (
            "tasks/ingest/planted.py",
            "def f():\n    from cuvee.tasks.measure import signals",
            "ingest comes before measure",
        ),
        ("tasks/filters/planted.py", "from ..generate.grade import measure", "filters comes before generate"),
        ("tasks/decide/planted.py", "import cuvee.tasks.mixture.selection", "decide comes before mixture"),
        ("tasks/guard/planted.py", "from cuvee.tasks.publish import ledger", "guard comes before publish"),
        ("tasks/publish/planted.py", "from cuvee.tasks.begin import begin", "publish comes before begin"),
        ("tasks/planted.py", "import polars\nfrom cuvee.tasks.pool import Pool", "planted is no room of the pipeline"),
        ("tasks/dedup/planted.py", "from cuvee.tasks import attic", "is in no room of the pipeline"),
        ("tasks/__init__.py", "from cuvee.tasks import pool", "tasks/__init__.py must not import"),
        ("tasks/readers/planted.py", "from ...flows import curate", "must not import cuvee.flows"),
        ("tasks/readers/planted.py", "import importlib\nimportlib.import_module('cuvee.flows')", "must not import"),
        ("flows/planted.py", "from cuvee.deployments import bootstrap", "must not import cuvee.deployments"),
        ("flows/planted.py", "import cuvee.commands", "must not import cuvee.commands"),
        ("deployments/planted.py", "from cuvee import commands", "must not import cuvee.commands"),
        ("api/planted.py", "from cuvee.tasks import dedup", "must not import cuvee.tasks"),
        ("api/planted.py", "def f():\n    from .tasks import dedup", "must not import cuvee.tasks"),
        ("api/commands/planted.py", "from cuvee.tasks import dedup", "only inside a function"),
        ("api/commands/planted.py", "from ..flows import curate", "only inside a function"),
        ("api/planted.py", "if TYPE_CHECKING:\n    from cuvee.tasks import dedup", "must not import cuvee.tasks"),
        ("api/commands/planted.py", "def f():\n    import prefect", "prefect may be imported only in"),
    ],
)
def test_a_planted_import_is_found(tmp_path: Path, place: str, source: str, reason: str) -> None:
    _plant(tmp_path, place, source)
    (found,) = broken_rules(tmp_path)
    assert found.startswith(f"{place}:")
    assert reason in found


@pytest.mark.parametrize(
    ("place", "source"),
    [
        ("schemas/planted.py", "from datetime import date\nfrom .errors import RecipeError"),
        ("storage/planted.py", "import boto3\nfrom cuvee.schemas import manifest\nfrom . import store"),
        ("tasks/readers/planted.py", "import polars\nfrom ...schemas.base import Frozen\nfrom ._batch import Batch"),
        ("flows/planted.py", "import prefect\nfrom cuvee.tasks import dedup"),
        ("deployments/planted.py", "import prefect\nfrom ..flows import curate"),
        ("api/planted.py", "from . import commands\nfrom cuvee.storage import store"),
        ("api/commands/planted.py", "def f():\n    from cuvee.flows import curate\n    from .. import tasks"),
        ("api/commands/planted.py", "if TYPE_CHECKING:\n    from cuvee.tasks import dedup"),
        ("api/commands/planted.py", "async def f():\n    if True:\n        import cuvee.tasks.dedup"),
    ],
)
def test_a_permitted_import_is_not_reported(tmp_path: Path, place: str, source: str) -> None:
    _plant(tmp_path, place, source)
    assert broken_rules(tmp_path) == []


def _plant(root: Path, place: str, source: str) -> None:
    (root / place).parent.mkdir(parents=True)
    (root / place).write_text(source + "\n", encoding="utf-8")


LIST_MODULES = "import sys; print('loaded:', *sorted(sys.modules))"
NOT_FOR_READING = {"prefect", "numba", "boto3"}


def _loaded_by(source: str, folder: Path) -> set[str]:
    """Run `source` in a fresh interpreter; return the names of all modules that it loaded."""
    command = [sys.executable, "-c", f"{source}\n{LIST_MODULES}"]
    outcome = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)
    assert outcome.returncode == 0, outcome.stderr
    assert "Traceback" not in outcome.stderr
    return set(outcome.stdout.rpartition("loaded:")[2].split())


def test_importing_cuvee_loads_neither_prefect_nor_numba(tmp_path: Path) -> None:
    loaded = _loaded_by("import cuvee", tmp_path)
    assert "cuvee" in loaded
    assert not loaded & NOT_FOR_READING


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--help"], "cuvee.commands"),
        (["versions", "--help"], "cuvee.commands"),
        (["versions", "library", "--store", "empty"], "cuvee.storage"),
    ],
)
def test_a_command_that_reads_loads_neither_prefect_nor_numba(
    tmp_path: Path, arguments: list[str], expected: str
) -> None:
    run_command = f"""
import sys
from cuvee.commands import main
sys.argv = ["cuvee", *{arguments!r}]
try:
    main()
except SystemExit:
    pass
"""
    loaded = _loaded_by(run_command, tmp_path)
    assert expected in loaded
    assert not loaded & NOT_FOR_READING
