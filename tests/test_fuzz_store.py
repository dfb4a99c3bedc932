"""Stores that were tampered with: any change to a manifest, tag, state, record, report or table ends a command in
words, also where whoever changed it made all that names the file fit.

CUVEE_FUZZ=2000 tries so many changes, `make fuzz` does that; the suite tries a few, always the same ones.
"""

import copy
import hashlib
import io
import json
import os
import resource
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from plain import publish_plainly, recipe_file
from texts import documents, write_jsonl

from cuvee.commands import cli
from cuvee.schemas.errors import CuveeError
from cuvee.schemas.recipe import canonical_sha256

EXAMPLES = int(os.environ.get("CUVEE_FUZZ", "20"))
MOST_S, MOST_MB = 10.0, 500
RECIPE = """
corpus: c
sources: [{name: a, uri: ../texts/*.jsonl, license: PSF-2.0}]
holdout: {share: 0.2}
filters: [{kind: length, min_words: 5}]
mixture: {human: {min: 0.5}}
generate: [{name: drafts, generator: ngram, allow_baseline: true}]
"""

KINDS = {
    "manifest": "corpora/c/manifests/*.json",
    "tag": "corpora/c/tags/latest/*.json",
    "state": "corpora/c/pool/states/*.json",
    "run": "corpora/c/runs/*/run.json",
    "record": "work/*/*.json",
    "report": "corpora/c/reports/*/*/*",
    "table": "corpora/c/*/**/*.parquet",
}
COMMANDS = {
    "manifest": ["versions", "show", "files", "verify", "pull", "explain", "diff", "run"],
    "tag": ["versions", "show", "files", "run"],
    "state": ["verify", "run", "run", "run"],
    "run": ["explain", "run"],
    "record": ["run"],
    "report": ["show", "show", "explain", "diff", "verify", "run"],
    "table": ["verify", "pull", "explain", "texts", "diff", "run", "run"],
}


class World:
    """A published store, and what lies beside it and must be left alone."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("secret.json", "secret.parquet", "below/secret.txt"):
            (folder / "canary" / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / "canary" / name).write_text(f'{{"secret": "{name}"}}')
        texts = documents(20, seed=5)
        for number in (1, 2):
            near = [text + " One more sentence stands here." for text in texts[:number]]
            write_jsonl(folder / f"texts/{number}.jsonl", texts[number * 10 - 10 : number * 10] + near)
            (folder / "recipe").mkdir(exist_ok=True)
            recipe = recipe_file(folder / "recipe", RECIPE)
            publish_plainly(recipe, str(folder / "whole"))
        self.outside = self.listing()

    def listing(self) -> dict[str, str]:
        """Return the content of every file beside the copy of the store and what is pulled from it."""
        found = sorted(path for path in self.folder.rglob("*") if path.is_file())
        return {
            str(path): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in found
            if path.relative_to(self.folder).parts[0] not in ("store", "pulled")
        }

    def fresh(self) -> Path:
        """Return a copy of the store. Its files are the same ones: nothing is written but by a new name."""
        for name in ("store", "pulled"):
            shutil.rmtree(self.folder / name, ignore_errors=True)
        shutil.copytree(self.folder / "whole", self.folder / "store", copy_function=os.link)
        return self.folder / "store"

    def arguments(self, command: str) -> list[str]:
        """Return the command line of a command over the copy."""
        more = {
            "show": ["c"],
            "files": ["c"],
            "verify": ["c"],
            "versions": ["c"],
            "pull": ["c", str(self.folder / "pulled")],
            "explain": ["c", "1.jsonl"],
            "texts": ["c", "--reason", "none"],
            "diff": ["c@v0001", "c@v0002"],
            "run": [str(self.folder / "recipe/recipe.yaml"), "--runner", "plain"],
        }
        return [command, *more[command], "--store", str(self.folder / "store")]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("fuzz"))


NASTY: list[Any] = [
    *(None, True, False, 0, 1, -1, 2, 7, 127, 128, 2**31, 2**53, 2**63, 2**64, 10**30, 10**5000, 0.5, -0.5, 1e308),
    *(float("nan"), float("inf"), "", "x", "..", ".", "/", "../canary/secret.json", "../../canary/secret.parquet"),
    *("/dev/zero", "/etc/passwd", "corpora/c/data/../../../../canary/secret.parquet", "corpora/d/data/x.parquet"),
    *("a\x00b", "a\\b", "\ud800", "é" * 300, "v0001", "1", "0" * 64, "human", "2030-01-01", "CANARY"),
    *([], {}, [[]], {"a": 1}, [None], ["x"]),
]
PUT_IN = [b"", b"\xff", b"\x00", b"{", b"]", b",", b'"', b"[" * 5000, b"9" * 5000, b"\\ud800"]


def places(tree: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """List every path in a tree, the root's first."""
    found = [path]
    nodes = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for name, node in nodes:
        found += places(node, (*path, name))
    return found


def mutated(draw: Callable[[Any], Any], tree: Any, canary: str) -> Any:
    """Change one place of a tree: another value, none, twice, a value from elsewhere in it, a number beside it."""
    tree = copy.deepcopy(tree)
    all_places = places(tree)
    path = all_places[draw(st.integers(0, len(all_places) - 1))]
    if not path:
        return draw(st.sampled_from(NASTY))
    node = tree
    for name in path[:-1]:
        node = node[name]
    last = path[-1]
    how = draw(st.sampled_from(["value", "value", "near", "elsewhere", "gone", "twice", "renamed"]))
    if how == "value":
        value = draw(st.sampled_from(NASTY))
        node[last] = canary if value == "CANARY" else value
    elif how == "near" and isinstance(node[last], int):
        node[last] += draw(st.sampled_from([-1, 1, 1000, -(10**6)]))
    elif how == "elsewhere":
        other = tree
        for name in all_places[draw(st.integers(0, len(all_places) - 1))]:
            other = other[name]
        node[last] = copy.deepcopy(other)
    elif how == "gone":
        del node[last]
    elif isinstance(node, list):
        node.insert(last, copy.deepcopy(node[last]))
    elif how == "renamed":
        node[f"{last}x"] = node.pop(last)
    return tree


def as_bytes(tree: Any) -> bytes:
    with no_limit_of_digits():
        return json.dumps(tree).encode()


@contextmanager
def no_limit_of_digits() -> Iterator[None]:
    limit = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(0)
    try:
        yield
    finally:
        sys.set_int_max_str_digits(limit)


def broken(draw: Callable[[Any], Any], content: bytes) -> bytes:
    """Change bytes: cut, doubled, something put in."""
    at = draw(st.integers(0, len(content)))
    put_in = draw(st.sampled_from(PUT_IN))
    how = draw(st.sampled_from(["cut", "put in", "instead", "all"]))
    ends = {"cut": content[:at], "put in": content[:at] + put_in + content[at:], "all": put_in}
    return ends.get(how, content[:at] + put_in + content[at + len(put_in) :])


def replaced(path: Path, content: bytes) -> None:
    path.unlink()
    path.write_bytes(content)


def tamper(draw: Callable[[Any], Any], world: World, store: Path, kind: str) -> Path:
    """Change one file of a kind; what names its hash is made to name the new one, most of the time."""
    found = sorted(store.glob(KINDS[kind]))
    in_use = json.loads((store / "corpora/c/manifests/v0002.json").read_text())["pool"]["path"]
    newest = {"state": store / in_use, "manifest": found[-1], "tag": found[-1], "run": found[-1]}.get(kind)
    path = newest if newest and draw(st.integers(0, 3)) else found[draw(st.integers(0, len(found) - 1))]
    canary = world.folder / "canary"
    how = draw(st.sampled_from(["tree"] * 8 + ["bytes", "link"]))
    if how == "link":
        path.unlink()
        path.symlink_to(draw(st.sampled_from([canary, canary / "secret.json", Path("/dev/zero"), path, store])))
        return path
    before = path.read_bytes()
    after = broken(draw, before)
    if how == "tree" and path.suffix == ".json":
        tree = json.loads(before)
        is_kept = kind == "record" and "record" in tree and bool(draw(st.integers(0, 3)))
        changed = mutated(draw, tree["record"] if is_kept else tree, str(canary / "secret.json"))
        after = as_bytes(kept(changed) if is_kept else changed)
    elif how == "tree" and path.suffix == ".parquet":
        after = rewritten(draw, path, store)
    replaced(path, after)
    if kind in ("state", "report", "table") and draw(st.integers(0, 3)):
        made_to_fit(store, path.relative_to(store).as_posix(), after)
    return path


def kept(record: Any) -> Any:
    """Give a changed record of work the hash that it should have."""
    with no_limit_of_digits():
        try:
            return {"sha256": canonical_sha256(record), "record": record}
        except ValueError:  # half of a surrogate pair
            return {"sha256": "0" * 64, "record": record}


def rewritten(draw: Callable[[Any], Any], path: Path, store: Path) -> bytes:
    """Put another table in the place of one: another file's, fewer rows, a column of nulls, of texts, or under another
    name.
    """
    table = pq.read_table(path)
    how = draw(st.sampled_from(["other", "fewer", "nulls", "texts", "renamed", "gone", "twice"]))
    if how == "other":
        found = sorted(store.rglob("*.parquet"))
        return found[draw(st.integers(0, len(found) - 1))].read_bytes()
    at = draw(st.integers(0, table.num_columns - 1))
    name, length = table.column_names[at], table.num_rows
    if how == "fewer":
        table = table.slice(0, length // 2)
    elif how == "twice":
        table = pa.concat_tables([table, table])
    elif how == "gone":
        table = table.drop_columns([name])
    elif how == "renamed":
        table = table.rename_columns([*table.column_names[:at], f"{name}x", *table.column_names[at + 1 :]])
    else:
        value = None if how == "nulls" else draw(st.sampled_from(["", "..", "x\x1b[2J", "human", "0" * 64]))
        column = pa.nulls(length, table.field(at).type) if value is None else pa.array([value] * length)
        table = table.set_column(at, name, column)
    sink = io.BytesIO()
    pq.write_table(table, sink)
    return sink.getvalue()


def made_to_fit(store: Path, key: str, content: bytes) -> None:
    """Make all that names a file name its new bytes: states and records, and then the manifests that name these."""
    named = {key: {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}}
    with suppress(Exception):
        named[key]["rows"] = pq.read_metadata(io.BytesIO(content)).num_rows
    for pattern in ("work/*/*.json", KINDS["run"], KINDS["state"], KINDS["manifest"]):
        for path in sorted(store.glob(pattern)):
            before = path.read_bytes()
            if not any(name.encode() in before for name in named):
                continue
            tree = json.loads(before)
            _name_anew(tree, named)
            after = json.dumps(kept(tree["record"]) if "record" in tree else tree).encode()
            if after != before:
                replaced(path, after)
                own = path.relative_to(store).as_posix()
                named[own] = {"bytes": len(after), "sha256": hashlib.sha256(after).hexdigest()}


def _name_anew(tree: Any, named: dict[str, Any]) -> None:
    for node in tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else ():
        _name_anew(node, named)
    if isinstance(tree, dict):
        tree |= named.get(tree.get("path"), {}) if isinstance(tree.get("path"), str) else {}


_opened: list[str] = []
_watching = False


def _watch(event: str, arguments: tuple[Any, ...]) -> None:
    if _watching and event == "open" and isinstance(arguments[0], str | bytes):
        _opened.append(os.fsdecode(arguments[0]))


sys.addaudithook(_watch)


@settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize="CUVEE_FUZZ" not in os.environ,
    database=None,
    phases=[Phase.generate],  # a smaller change would take many more commands to find
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(data=st.data())
def test_a_store_that_was_tampered_with_ends_a_command_in_words(world: World, data: st.DataObject) -> None:
    global _watching
    store = world.fresh()
    kind = data.draw(st.sampled_from(sorted(KINDS)))
    path = tamper(data.draw, world, store, kind)
    command = data.draw(st.sampled_from(COMMANDS[kind]))
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began, _watching = time.process_time(), True
    try:
        result = CliRunner().invoke(cli, world.arguments(command))
    finally:
        _watching = False
    seconds = time.process_time() - began
    error = result.exception
    if error is not None and not isinstance(error, CuveeError):
        raise AssertionError(f"{command} after a change of {path}: {error!r}") from error
    assert seconds < MOST_S
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - most) // 1024 < MOST_MB
    canary = str(world.folder / "canary")
    read = [name for name in _opened if os.path.realpath(name).startswith((canary, "/dev/zero", "/etc/passwd"))]
    _opened.clear()
    assert read == []
    with suppress(FileNotFoundError):
        (world.folder / "pulled/manifest.json").unlink()
    assert world.listing() == world.outside
