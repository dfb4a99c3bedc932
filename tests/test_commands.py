"""The command line: help, docs, exit codes, and what goes to stdout and stderr."""

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import click
import polars as pl
import pytest
from plain import publish_plainly, recipe_file
from texts import documents, write_jsonl

from cuvee.commands import cli, main
from cuvee.schemas import errors
from cuvee.schemas.document import PUBLISHED

ROOT = Path(__file__).parents[1]
DOCS = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
RECIPE = """
corpus: library
sources: [{name: manual, uri: texts/*.jsonl, license: PSF-2.0, domain: manual}]
ingest: {max_bad_rows: 0.5}
filters: [{kind: length, min_words: 60}]
holdout: {share: 0.3}
"""


def commands(group: click.Group, path: tuple[str, ...] = ()) -> Iterator[tuple[str, click.Command]]:
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))
        else:
            yield " ".join((*path, name)), command


COMMANDS = dict(commands(cli))


class Answer(NamedTuple):
    code: int
    out: str
    err: str

    def json(self) -> object:
        """The one line of the answer."""
        assert self.out.count("\n") == 1
        return json.loads(self.out)


Ask = Callable[..., Answer]


@pytest.fixture
def ask(capsys: pytest.CaptureFixture[str]) -> Ask:
    def run(*arguments: object) -> Answer:
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            main([str(argument) for argument in arguments])
        shown = capsys.readouterr()
        assert isinstance(end.value.code, int)
        return Answer(end.value.code, shown.out, shown.err)

    return run


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a recipe, texts, and a store with library@v0001 and library@v0002."""
    folder = tmp_path_factory.mktemp("commands")
    texts = documents(30)
    write_jsonl(folder / "texts/a.jsonl", [*texts[:20], texts[0], "Too short to stay."])
    (folder / "texts/a.jsonl").open("a").write("{torn\n")
    recipe = recipe_file(folder, RECIPE)
    publish_plainly(recipe, str(folder / "store"))
    write_jsonl(folder / "texts/b.jsonl", texts[20:])
    publish_plainly(recipe, str(folder / "store"))
    return folder


def section(name: str) -> str:
    """The part of the docs about one command."""
    found = re.split(rf"^## `{re.escape(name)}`$", DOCS, flags=re.M)
    assert len(found) == 2, f"docs/commands.md has {len(found) - 1} sections about {name}"
    return re.split(r"^## ", found[1], flags=re.M)[0]


def options(command: click.Command) -> set[str]:
    return {name for option in command.params if isinstance(option, click.Option) for name in option.opts}


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_and_option_has_help_and_a_place_in_the_docs(name: str, ask: Ask) -> None:
    command = COMMANDS[name]
    answer = ask(*name.split(), "--help")
    assert (answer.code, answer.err) == (0, "")
    assert command.help
    assert " ".join(command.help.split())[:40] in " ".join(answer.out.split())
    for option in command.params:
        if isinstance(option, click.Option) and not isinstance(option.type, click.Choice):
            assert option.help, f"{name} {option.opts[0]} has no help"
    documented = set(re.findall(r"^\| `(--?[a-z-]+)", section(name), flags=re.M))
    assert documented == options(command)
    for option in command.params:
        row = re.search(rf"^\| `{option.opts[0]}[ `].*$", section(name), flags=re.M)
        if isinstance(option, click.Option) and row and option.show_default and option.default is not None:
            assert f"`{option.default}`" in row.group(), f"{name} {option.opts[0]}: another default in the docs"
    assert f"](#{name.replace(' ', '-')})" in DOCS


def test_the_docs_speak_of_no_other_commands() -> None:
    assert re.findall(r"^## `(.*)`$", DOCS, flags=re.M) == [*COMMANDS] or set(
        re.findall(r"^## `(.*)`$", DOCS, flags=re.M)
    ) == set(COMMANDS)
    not_built = re.findall(r"`(\w+)`", DOCS.split("## Not built yet")[1])
    assert "gc" in not_built
    assert not set(not_built) & set(cli.commands)


EXAMPLES = [
    line
    for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
    for block in re.findall(r"```(?:bash|sh)\n(.*?)```", path.read_text(encoding="utf-8"), flags=re.S)
    for line in block.splitlines()
    if line.startswith("cuvee ")
]


@pytest.mark.parametrize("line", EXAMPLES)
def test_every_example_of_the_docs_is_a_command_that_parses(line: str) -> None:
    words: list[str] = shlex.split(line.split(" > ")[0].split(" | ")[0], comments=True)[1:]
    command: click.Command = cli
    while isinstance(command, click.Group):
        assert words[0] in command.commands, line
        command = command.commands[words.pop(0)]
    command.make_context("cuvee", words)


def test_every_command_has_an_example() -> None:
    for name in COMMANDS:
        assert [line for line in EXAMPLES if f"{line} ".startswith(f"cuvee {name} ")], name


def test_the_version_is_told_and_nothing_is_imported_for_help() -> None:
    script = (
        "import sys; from cuvee.commands import main\n"
        "try: main(['run', '--help'])\n"
        "except SystemExit: print([m for m in ('prefect', 'numba', 'polars', 'fasttext') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert done.stdout.splitlines()[-1] == "[]"
    version = subprocess.run(
        [sys.executable, "-c", "from cuvee.commands import main; main(['--version'])"], capture_output=True, text=True
    )
    assert re.search(r"cuvee, version \d+\.\d+\.\d+", version.stdout)


def test_errors_end_with_the_code_of_their_kind() -> None:
    codes = {
        name: error.exit_code
        for name, error in vars(errors).items()
        if isinstance(error, type) and issubclass(error, errors.CuveeError)
    }
    assert codes == {
        "CuveeError": 1,
        "RecipeError": 2,
        "InputError": 1,
        "RetryableError": 1,
        "ConflictError": 1,
        "IntegrityError": 1,
        "GateError": 3,
    }


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["brew"], "No such command 'brew'"),
        (["run"], "Missing argument 'RECIPE'"),
        (["run", "nowhere.yaml"], "nowhere.yaml cannot be read"),
        (["run", "nowhere.yaml", "--wrokers", "2"], "No such option"),
        (["run", "nowhere.yaml", "--workers", "0"], "--workers"),
        (["run", "{recipe}", "--set", "mixture.human.mni=1"], "mixture.human.mni: unknown key; did you mean 'min'?"),
        (["run", "{recipe}", "--set", "mixture.human.min=2"], "mixture.human.min: 2"),
        (["run", "{recipe}", "--set", "mixture.unit=tokens"], "give the path of a tokenizer.json"),
        (["versions", "libary", "--store", "{store}"], "did you mean library?"),
        (["show", "library@v0009", "--store", "{store}"], "it has: v0001, v0002"),
        (["files", "library@nightly", "--store", "{store}"], "tags: latest"),
        (["files", "a/b", "--store", "{store}"], "is not a reference"),
        (["verify", "library", "--store", "ftp://bucket"], "ftp:// is no store"),
        (["tag", "library", "v0003", "--store", "{store}"], "is not a tag"),
        (["rollback", "library", "v0001", "--tag", "../../x", "--store", "{store}"], "is not a tag"),
        (["explain", "library", "ffffffffff", "--store", "{store}"], "is in no row"),
        (["dedup", "nowhere/*.jsonl", "--out", "{folder}/out"], "nowhere/*.jsonl"),
        (["classify", "{recipe}", "--model", "nowhere"], "nowhere"),
        (["provenance", "eval", "builtin", "--data", "nowhere.parquet"], "nowhere.parquet"),
        (["init", "--out", "{recipe}"], "exists"),
    ],
)
def test_wrong_use_ends_with_2_and_says_so_on_stderr_only(
    arguments: list[str], told: str, house: Path, ask: Ask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    names = {"recipe": house / "recipe.yaml", "store": house / "store", "folder": tmp_path}
    answer = ask(*(argument.format(**names) for argument in arguments))
    assert (answer.code, answer.out) == (2, "")
    assert told in answer.err
    assert "Traceback" not in answer.err
    assert [path for path in tmp_path.iterdir() if path.name != "out"] == []


def test_reading_commands_answer_people_on_stdout_and_say_nothing_on_stderr(house: Path, ask: Ask) -> None:
    store = ["--store", house / "store"]
    row = pl.read_parquet(json.loads(ask("files", "library", "--json", *store).out)[0]).row(0, named=True)
    asked = {
        "versions": ask("versions", "library", *store),
        "show": ask("show", "library", *store),
        "files": ask("files", "library@v0001", *store),
        "diff": ask("diff", "library@v0001", "library@v0002", *store),
        "verify": ask("verify", "library", *store),
        "explain": ask("explain", "library", row["doc_id"], *store),
    }
    for name, answer in asked.items():
        assert (answer.code, answer.err) == (0, ""), name
        assert answer.out.strip(), name
    assert "v0001" in asked["versions"].out
    assert "library@v0002 is whole" in asked["verify"].out
    assert f"{row['doc_id']} from source manual" in asked["explain"].out
    assert all(Path(line).is_file() for line in asked["files"].out.splitlines())
    assert "10 added, 0 removed" in asked["diff"].out


SUMMARY = {"corpus", "version", "created", "documents", "amount", "unit", "human_share"}


def test_json_answers_are_one_line_of_the_promised_shape(house: Path, ask: Ask, tmp_path: Path) -> None:
    end = ["--store", house / "store", "--json"]
    versions = ask("versions", "library", *end).json()
    assert isinstance(versions, list)
    assert [set(entry) for entry in versions] == [SUMMARY | {"tags"}] * 2
    assert [(entry["version"], entry["tags"]) for entry in versions] == [("v0001", []), ("v0002", ["latest"])]

    manifest = ask("show", "library@v0001", *end).json()
    assert isinstance(manifest, dict)
    promised = {"format", "corpus", "version", "parent", "created", "recipe", "recipe_sha256", "steps", "run_id"}
    promised |= {"pool", "files", "totals", "mixture", "review", "reports"}
    assert promised <= set(manifest)
    fields = {"path", "sha256", "bytes", "rows", "amounts", "stratum", "split"}
    assert all(fields <= set(file) for file in manifest["files"])

    train, validation, both = (
        ask("files", "library", *split, *end).json() for split in (["--split", "train"], ["--split", "validation"], [])
    )
    assert isinstance(train, list)
    assert isinstance(validation, list)
    assert isinstance(both, list)
    assert sorted(train + validation) == sorted(both)
    assert train
    assert validation

    diff = ask("diff", "library@v0001", "library", *end).json()
    assert isinstance(diff, dict)
    assert set(diff) == {"from", "to", "documents", "files", "amounts", "recipe"}
    assert set(diff["documents"]) == {"added", "removed", "same"}
    assert set(diff["files"]) == {"shared", "bytes_shared", "bytes_new"}

    assert ask("verify", "library", *end).json() == {
        "version": "library@v0002",
        "files": len(both),
        "ok": True,
        "faults": [],
    }
    pulled = ask("pull", "library", tmp_path / "pulled", *end).json()
    assert isinstance(pulled, dict)
    assert set(pulled) == {"version", "files"}
    assert len(pulled["files"]) == len(both)
    assert {path.name for path in (tmp_path / "pulled").iterdir()} == {"data", "manifest.json", "README.md"}

    identity = json.loads((house / "texts/a.jsonl").read_text().splitlines()[0])["id"]
    explained = ask("explain", "library", identity, *end).json()
    assert isinstance(explained, dict)
    assert [row["outcome"] for row in explained["rows"]] == ["kept", "dropped"] or len(explained["rows"]) == 2
    assert {row["reason"] for row in explained["rows"]} == {None, "duplicate_exact"}


def test_the_store_of_the_environment_is_read_where_no_other_is_named(
    house: Path, ask: Ask, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    assert ask("versions", "library").code == 2
    monkeypatch.setenv("CUVEE_STORE", str(house / "store"))
    assert ask("versions", "library").code == 0


def test_files_feed_a_reader_that_knows_nothing_of_cuvee(house: Path, ask: Ask) -> None:
    paths = ask("files", "library", "--store", house / "store").out.splitlines()
    frame = pl.read_parquet(paths)
    assert frame.columns == PUBLISHED.names
    assert frame.height == 30


def test_damage_ends_with_1_and_json_says_it_too(house: Path, ask: Ask, tmp_path: Path) -> None:
    import shutil

    store = Path(shutil.copytree(house / "store", tmp_path / "store"))
    victim = Path(ask("files", "library", "--store", store).out.splitlines()[0])
    victim.write_bytes(victim.read_bytes()[:-1] + b"?")
    plain = ask("verify", "library", "--store", store)
    assert (plain.code, plain.out) == (1, "")
    assert str(victim) in plain.err
    told = ask("verify", "library", "--store", store, "--json")
    assert told.code == 1
    answer = told.json()
    assert isinstance(answer, dict)
    assert answer["ok"] is False
    assert len(answer["faults"]) == 1
    assert ask("pull", "library", tmp_path / "pulled", "--store", store).code == 1


def test_init_writes_a_recipe_that_is_right(ask: Ask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from cuvee.tasks.look import load_recipe

    folder = tmp_path / "My Ärchive (2)"
    folder.mkdir()
    monkeypatch.chdir(folder)
    answer = ask("init")
    assert (answer.code, answer.err) == (0, "")
    recipe = load_recipe("recipe.yaml")
    assert recipe.mixture.human.min == 0.7
    assert ask("init").code == 2


def test_dedup_writes_what_stayed_and_what_went_in_favour_of_what(ask: Ask, tmp_path: Path) -> None:
    texts = documents(6, seed=3)
    write_jsonl(tmp_path / "b.jsonl", [texts[0] + " A longer copy.", *texts[1:3]], lang="en")
    write_jsonl(tmp_path / "a.jsonl", [texts[3], texts[0], texts[3]])
    answer = ask("dedup", tmp_path / "b.jsonl", tmp_path / "a.jsonl", "--out", tmp_path / "out", "--json")
    assert (answer.code, answer.err) == (0, "")
    report = answer.json()
    assert isinstance(report, dict)
    assert {"files", "rows", "kept", "duplicates", "candidates", "pairs"} <= set(report)
    assert (report["rows"], report["kept"], report["duplicates"]) == (6, 4, 2)
    duplicates = pl.read_parquet(tmp_path / "out/duplicates.parquet")
    # Paths are sorted: a.jsonl has rows 0 to 2. The longer text stays, then the smaller row.
    assert duplicates.select("row", "keeper_row").rows() == [(1, 3), (2, 0)]
    assert pl.read_parquet(tmp_path / "out/kept.parquet")["text"].to_list() == [
        texts[3],
        texts[0] + " A longer copy.",
        *texts[1:3],
    ]


def test_classify_answers_with_a_line_a_document(ask: Ask, tmp_path: Path) -> None:
    (tmp_path / "essay.txt").write_text(documents(1)[0])
    write_jsonl(tmp_path / "rows.jsonl", [documents(2)[1], "Short."], origin="synthetic", provenance="synthetic")
    answer = ask("classify", tmp_path / "essay.txt", tmp_path / "rows.jsonl", "--json")
    assert answer.code == 0
    lines = [json.loads(line) for line in answer.out.splitlines()]
    assert [set(line) for line in lines] == [{"id", "p_synthetic", "provenance", "evidence"}] * 3
    assert lines[0]["id"] == str(tmp_path / "essay.txt")
    assert lines[2] | {"id": ""} == {"id": "", "p_synthetic": None, "provenance": "unknown", "evidence": []}
    assert all(0 <= line["p_synthetic"] <= 1 for line in lines[:2])
    missing = ask("classify", tmp_path / "nowhere.txt", tmp_path / "essay.txt", "--json")
    assert (missing.code, missing.out) == (1, answer.out.splitlines()[0] + "\n")
    assert "nowhere.txt" in missing.err


RUN_KEYS = {"corpus", "version", "published", "documents", "amount", "unit", "human_share", "steps", "sources"}


@pytest.mark.usefixtures("prefect_api")
def test_a_run_ends_with_the_code_of_how_it_ended_and_one_line_of_json(house: Path, ask: Ask, tmp_path: Path) -> None:
    recipe, store = house / "recipe.yaml", tmp_path / "store"
    end = ["--store", store, "--json"]
    first = ask("run", recipe, *end)
    assert first.code == 0
    report = first.json()
    assert isinstance(report, dict)
    assert set(report) >= RUN_KEYS
    assert (report["corpus"], report["version"], report["published"]) == ("library", "v0001", True)
    for figures in report["steps"].values():
        assert set(figures) == {"in", "out", "dropped"}
        assert figures["in"] == figures["out"] + sum(figures["dropped"].values())
    assert report["steps"]["mixture"]["out"] == report["documents"] == 30
    (source,) = report["sources"].values()
    assert source["rows"] == source["kept"] + source["pooled"] + sum(source["dropped"].values()) + source["unreadable"]
    assert (source["kept"], source["unreadable"], source["dropped"]["length.min_words"]) == (30, 1, 1)
    shown = ask("show", "library", *end).json()
    assert isinstance(shown, dict)
    assert shown["sources"] == report["sources"]
    assert re.search(r"\| manual \| 33 \| 30 \| 0 \| 1 \| ", ask("show", "library", *end[:2]).out)
    assert any("a.jsonl: line 23" in warning for warning in report["warnings"])

    again = ask("run", recipe, *end)
    assert again.code == 0
    repeated = again.json()
    assert isinstance(repeated, dict)
    assert (repeated["version"], repeated["published"], repeated["documents"]) == ("v0001", False, 30)

    gate = ask("run", recipe, "--set", "mixture.total=900000", "--set", "mixture.shortage=fail", *end)
    assert (gate.code, gate.out) == (3, "")
    assert re.search(r"shortage: [\d,]+ words .* are missing", gate.err)
    failed = ask("run", recipe, "--set", "ingest.max_bad_rows=0.001", *end)
    assert (failed.code, failed.out) == (1, "")
    assert "a.jsonl: line 23" in failed.err
    wrong = ask("run", recipe, "--set", "sources.0={name: other, uri: none/*.jsonl}", *end)
    assert (wrong.code, wrong.out) == (2, "")
    for answer in (gate, failed, wrong):
        assert "Traceback" not in answer.err
    assert [path.name for path in (store / "corpora/library/manifests").iterdir()] == ["v0001.json"]
