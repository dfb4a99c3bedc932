"""The package holds what the folders hold, the lock files are complete, and nothing names a machine or a registry."""

import ast
import importlib.metadata
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

import cuvee

ROOT = Path(__file__).parents[1]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PACKAGES: list[str] = PROJECT["tool"]["setuptools"]["packages"]
PACKAGE_DATA: dict[str, list[str]] = PROJECT["tool"]["setuptools"]["package-data"]
FOLDERS = ["api", "deployments", "flows", "schemas", "storage", "tasks"]
LOCKS = ["requirements.lock", "requirements-dev.lock"]

# Import names that are not the name of their distribution.
DISTRIBUTIONS = {
    "botocore": "boto3",
    "fasttext": "fasttext-wheel",
    "fasttext_pybind": "fasttext-wheel",
    "huggingface_hub": "huggingface-hub",
    "openlineage": "openlineage-python",
    "prefect_dask": "prefect-dask",
    "prefect_email": "prefect-email",
    "prefect_ray": "prefect-ray",
    "ruamel": "ruamel-yaml",
}

# One requirement of a lock file, joined to one line: name[extras]==version ; marker --hash=… --hash=…
LOCKED = re.compile(r"([a-z0-9.-]+)(?:\[[a-z0-9_, -]+\])?==([\w.+!]+)(?: ; [^#]+?)?(?: --hash=sha256:[0-9a-f]{64})+")

REGISTRY = re.compile(r"(?:pypi|pythonhosted|anaconda|npmjs)\.(?:org|com)|(?:docker|ghcr|gcr|quay)\.io")
INDEX_OPTION = re.compile(r"--(?:extra-index|index|find|trusted)-(?:url|links|host)|(?:PIP|UV)_(?:EXTRA_)?INDEX")
MACHINE_PATH = re.compile(r"(?<![\w.$}~/-])/(?:work|root|tmp|private|Users)/\w")


def _package_of(folder: Path) -> str:
    """Return the import name of the package that `folder` (below ROOT) holds."""
    parts = folder.relative_to(ROOT).parts
    return ".".join(("cuvee", *(part for part in parts if part != "api")))


def _folder_of(package: str) -> Path:
    """Return the folder of an import name."""
    parts = package.split(".")[1:]
    return ROOT.joinpath(*parts) if parts and parts[0] in FOLDERS else ROOT.joinpath("api", *parts)


def _packaged_files() -> set[str]:
    """Return the paths that a wheel should hold, as `cuvee/…`: all modules, and what package-data matches."""
    expected = set()
    for package in PACKAGES:
        folder = _folder_of(package)
        for pattern in ["*.py", *PACKAGE_DATA.get(package, [])]:
            expected |= {
                f"{package.replace('.', '/')}/{path.relative_to(folder).as_posix()}"
                for path in folder.glob(pattern)
                if path.is_file()
            }
    return expected


def _tracked_files() -> list[Path]:
    """Return all files that git tracks, or would after `git add .`."""
    command = ["git", "-c", "safe.directory=*", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listing = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [ROOT / name for name in listing.split("\0") if name and (ROOT / name).is_file()]


def _texts() -> list[tuple[str, str]]:
    """Return path and content of each tracked file that is text, but for corpora: other people wrote those."""
    found = []
    for path in _tracked_files():
        name = path.relative_to(ROOT).as_posix()
        content = path.read_bytes()
        if b"\0" not in content and not name.startswith("examples/corpora/"):
            found.append((name, content.decode("utf-8", errors="replace")))
    return found


def _locked_lines(lock: str) -> list[str]:
    """Return the requirements of a lock file, one line each, without comments."""
    lines = (ROOT / lock).read_text(encoding="utf-8").splitlines()
    kept = " ".join(
        line.strip() if line[0] == " " else f"\n{line}" for line in lines if line.strip()[:1] not in {"", "#"}
    )
    return kept.replace(" \\", "").strip().split(" \n")


def _names_what_differs_elsewhere(line: str) -> bool:
    """Tell whether a line holds a registry's host name, an index option or a path of one machine."""
    return any(pattern.search(line) for pattern in (REGISTRY, INDEX_OPTION, MACHINE_PATH))


def _name(requirement: str) -> str:
    """Return the name in a requirement, as lock files spell it."""
    return re.split(r"[\[<>=]", requirement)[0].replace(".", "-")


def test_every_folder_with_modules_is_a_listed_package_and_every_listed_package_is_a_folder() -> None:
    folders = {path.parent for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")}
    assert sorted(PACKAGES) == sorted(map(_package_of, folders))
    assert all((folder / "__init__.py").is_file() for folder in folders)


def test_every_data_file_beside_the_modules_is_package_data() -> None:
    packaged = {path.removeprefix("cuvee/") for path in _packaged_files()}
    beside = {
        path.relative_to(ROOT).as_posix().removeprefix("api/")
        for path in _tracked_files()
        if path.relative_to(ROOT).parts[0] in FOLDERS and path.relative_to(ROOT).parts[0] != "deployments"
    }
    assert beside - packaged == set()


def test_the_installed_package_holds_the_files_of_the_folders_and_nothing_else() -> None:
    package = Path(cuvee.__file__).parent
    if not (package / "schemas").is_dir():
        pytest.skip("cuvee is an editable install here; `make test` checks the installed files")
    (distribution,) = importlib.metadata.distributions(name="cuvee", path=[str(package.parent)])
    names = {path.as_posix() for path in distribution.files or [] if path.suffix != ".pyc"}
    assert {name for name in names if name.startswith("cuvee/")} == _packaged_files()
    assert {name.partition("/")[0].partition("-")[0] for name in names if name[0] != "."} == {"cuvee"}


def test_every_import_is_the_standard_library_cuvee_or_a_declared_dependency() -> None:
    requirements = [*PROJECT["project"]["dependencies"]]
    for extra in ("dask", "ray", "delta", "lineage", "mail"):
        requirements += PROJECT["project"]["optional-dependencies"][extra]
    declared = {_name(requirement) for requirement in requirements}
    undeclared = set()
    for path in (path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
                names.append(node.module)
            for top in (name.partition(".")[0] for name in names):
                if top not in sys.stdlib_module_names and DISTRIBUTIONS.get(top, top) not in {*declared, "cuvee"}:
                    undeclared.add(f"{path.relative_to(ROOT)}: {top}")
    # An adapter to what its caller has.
    assert undeclared == {"api/loader/torch.py: torch"}


@pytest.mark.parametrize("lock", LOCKS)
def test_every_locked_requirement_has_a_version_and_hashes(lock: str) -> None:
    assert [line for line in _locked_lines(lock) if not LOCKED.fullmatch(line)] == []


def test_the_locks_hold_every_declared_dependency_in_one_version() -> None:
    project = PROJECT["project"]
    run, tools = (dict(LOCKED.findall("\n".join(_locked_lines(lock)))) for lock in LOCKS)
    pins = {pair for lock in LOCKS for pair in LOCKED.findall("\n".join(_locked_lines(lock)))}
    assert len(pins) == len(run) + len(tools) == len(run | tools)
    assert {_name(line) for line in [*project["dependencies"], *PROJECT["build-system"]["requires"]]} <= {*run}
    assert {_name(line) for line in project["optional-dependencies"]["dev"]} <= {*run, *tools}


def test_no_tracked_file_names_a_registry_an_index_or_a_path_of_one_machine() -> None:
    found = [
        f"{name}:{number}: {line.strip()[:100]}"
        for name, text in _texts()
        for number, line in enumerate(text.splitlines(), start=1)
        if _names_what_differs_elsewhere(line)
    ]
    assert found == []


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("see https://" + "pypi" + ".org/project/cuvee", True),
        ("FROM " + "docker" + ".io/library/python", True),
        ("pip install --index" + "-url=http://mirror", True),
        ("open('" + "/wo" + "rk/main/README.md')", True),
        ("cp x " + "/tm" + "p/x", True),
        ("uv pip compile --no-emit-index" + "-url", False),
        ("http://127.0.0.1:8123/work/v1 and ./tmp/x and ~/work/x", False),
    ],
)
def test_a_planted_host_name_or_path_is_found(line: str, expected: bool) -> None:
    assert _names_what_differs_elsewhere(line) is expected
