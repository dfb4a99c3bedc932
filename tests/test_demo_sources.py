"""The text and the recipe of the demo, the example recipes, and the reference of the recipe."""

import csv
import gzip
import hashlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from pydantic import BaseModel
from ruamel.yaml import YAML

from cuvee.schemas import recipe as recipe_schema
from cuvee.schemas.document import PUBLISHED
from cuvee.schemas.errors import RecipeError
from cuvee.schemas.parse import parse_recipe
from cuvee.tasks import filters, generators, readers
from cuvee.tasks.demo.python_text import MIN_WORDS, declared_license, module_rows, packages, prose
from cuvee.tasks.demo.texts import Gathered, gather, recipe
from cuvee.tasks.words.counts import count_words

ROOT = Path(__file__).parents[1]
CORPORA = ROOT.parent / "shared" / "corpora"


@pytest.fixture(scope="module")
def gathered(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Gathered]:
    folder = tmp_path_factory.mktemp("demo")
    return folder, gather(folder)


def rows_of(path: Path) -> list[dict[str, Any]]:
    if path.suffix == ".parquet":
        return pl.read_parquet(path).to_dicts()
    if path.suffix == ".csv":
        csv.field_size_limit(10**9)
        with path.open(encoding="utf-8", newline="") as lines:
            return list(csv.DictReader(lines))
    return [json.loads(line) for line in gzip.decompress(path.read_bytes()).decode().splitlines()]


def words(number: int, word: str = "word") -> str:
    return " ".join(f"{word}{place}" for place in range(number))


# The text


def test_the_demo_has_enough_text_to_blend_and_says_how_much(gathered: tuple[Path, Gathered]) -> None:
    _, result = gathered
    assert sum(source.words for source in result.sources) > 100_000
    for source in result.sources:
        rows = rows_of(source.path)
        assert len(rows) == source.documents
        assert count_words(pl.Series([row["text"] for row in rows])).sum() == source.words


def test_every_document_has_an_id_of_its_own_and_enough_words_to_judge(gathered: tuple[Path, Gathered]) -> None:
    for source in gathered[1].sources:
        rows = rows_of(source.path)
        ids = [row["id"] for row in rows]
        assert ids == sorted(set(ids))
        assert min(len(row["text"].split()) for row in rows) >= MIN_WORDS


def test_another_process_with_another_hash_seed_writes_the_same_bytes(
    gathered: tuple[Path, Gathered], tmp_path: Path
) -> None:
    program = "import sys, pathlib; from cuvee.tasks.demo.texts import gather; gather(pathlib.Path(sys.argv[1]))"
    subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], check=True, env={**os.environ, "PYTHONHASHSEED": "4"}
    )
    for source in gathered[1].sources:
        again = (tmp_path / source.path.name).read_bytes()
        assert hashlib.sha256(again).hexdigest() == hashlib.sha256(source.path.read_bytes()).hexdigest(), source.name


def test_markup_goes_and_words_and_code_stay() -> None:
    readme = """<h1 align="center">Barrel</h1>

[![Build](https://example.org/badge.svg)](https://example.org)
|Build| |PyPI-Version|_
.. image:: logo.png
   :target: https://example.org

A *barrel* holds <b>wine</b> <!-- not
water --> if 2 < 3.



~~~~~~~
![logo](a.png) See [the docs](https://example.org).

```html
<b>kept as code</b>
```

[link]: https://example.org
"""
    assert prose(readme).splitlines() == [
        "Barrel",
        "",
        "A *barrel* holds wine  if 2 < 3.",
        "",
        "~~~~~~~",
        " See [the docs](https://example.org).",
        "",
        "```html",
        "<b>kept as code</b>",
        "```",
    ]


def test_cleaning_a_description_twice_changes_nothing_more() -> None:
    for row in packages():
        text = str(row["text"])
        assert prose(text) == text


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"License-Expression": ["MIT"], "License": ["BSD"]}, "MIT"),
        ({"License": ["Apache 2.0"]}, "Apache 2.0"),
        (
            {"License": [f"Copyright\n{words(200)}"], "Classifier": ["License :: OSI Approved :: MIT License"]},
            "MIT License",
        ),
        ({"Classifier": ["License :: B", "License :: OSI Approved :: A", "Topic :: C"]}, "A OR B"),
        ({"License": ["UNKNOWN"]}, None),
        ({}, None),
    ],
)
def test_the_licence_is_the_shortest_clear_statement(fields: dict[str, list[str]], expected: str | None) -> None:
    assert declared_license(lambda name: fields.get(name, [])) == expected


def install(folder: Path, name: str, description: bytes) -> None:
    metadata = folder / f"{name.replace('-', '_')}-1.0.dist-info" / "METADATA"
    metadata.parent.mkdir(parents=True)
    metadata.write_bytes(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n\n".encode() + description)


def test_the_first_of_two_installed_copies_counts_and_broken_metadata_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path / "first", "Barrel.Oak", words(100, "first").encode())
    install(tmp_path / "first", "barrel-latin", words(100).encode() + b" \xff\xfe")
    install(tmp_path / "first", "barrel-short", words(79).encode())
    install(tmp_path / "first", "cuvee", words(100).encode())
    install(tmp_path / "second", "barrel_oak", words(100, "second").encode())
    monkeypatch.setattr(sys, "path", [str(tmp_path / "first"), str(tmp_path / "second")])
    rows = packages()
    assert [(row["id"], row["text"]) for row in rows] == [("barrel-oak", words(100, "first"))]


def test_a_well_documented_class_is_a_document_and_the_rest_of_its_module_another() -> None:
    source = f'''
"""{words(60, "module")}"""
try:
    import fast
except ImportError:
    def slow():
        """{words(30, "slow")}"""
        def inner():
            """{words(500, "inner")}"""
class Large:
    """{words(50, "large")}"""
    def method(self):
        """{words(40, "method")}"""
class Small:
    """{words(5, "small")}"""
'''
    documents = {row["id"]: str(row["text"]) for row in module_rows("cellar", source.encode())}
    assert set(documents) == {"cellar", "cellar.Large"}
    assert (
        documents["cellar.Large"]
        == f"cellar.Large\n\n{words(50, 'large')}\n\ncellar.Large.method\n\n{words(40, 'method')}"
    )
    assert "slow29" in documents["cellar"]
    assert "small4" in documents["cellar"]
    assert "inner0" not in documents["cellar"]


# The recipes


def check(parsed: recipe_schema.Recipe) -> recipe_schema.Recipe:
    """Check what the recipe leaves to its readers, filters and generators."""
    for source in parsed.sources:
        readers.check(source.format, source.name)
    for draft in parsed.generate:
        generators.check(draft, draft.name)
    for place, entry in enumerate(parsed.filters):
        filters.parse(entry.model_dump(), f"filters.{place}")
    return parsed


def test_the_demo_recipe_is_valid_and_finds_its_files(gathered: tuple[Path, Gathered]) -> None:
    folder, result = gathered
    text = recipe(folder, result, environment={})
    assert (folder / "demo.yaml").read_text(encoding="utf-8") == text
    parsed = check(parse_recipe(text))
    assert [source.name for source in parsed.sources] == [source.name for source in result.sources]
    assert all((folder / uri).is_file() for source in parsed.sources for uri in source.uri)
    assert all(source.license or source.name == "packages" for source in parsed.sources)
    assert parsed.mixture.human.min == 0.7
    assert [entry.generator for entry in parsed.generate] == ["ngram"]


def test_the_demo_recipe_asks_the_server_of_the_environment_and_writes_no_address_or_key(
    gathered: tuple[Path, Gathered],
) -> None:
    folder, result = gathered
    server = {"OPENAI_BASE_URL": "http://127.0.0.1:9/v1", "OPENAI_MODEL": "small", "OPENAI_API_KEY": "secret-key"}
    text = recipe(folder, result, store="here", environment=server)
    assert "127.0.0.1" not in text
    assert "secret-key" not in text
    parsed = parse_recipe(text, environment=server)
    assert parsed.store == "here"
    assert (parsed.generate[0].base_url, parsed.generate[0].model) == ("http://127.0.0.1:9/v1", "small")
    with pytest.raises(RecipeError, match="OPENAI_MODEL"):
        recipe(folder, result, environment={"OPENAI_BASE_URL": "http://127.0.0.1:9/v1"})


@pytest.mark.parametrize("path", sorted((ROOT / "examples").glob("*.yaml")), ids=lambda path: path.name)
def test_the_example_recipes_are_valid(path: Path) -> None:
    check(parse_recipe(path.read_text(encoding="utf-8"), path.name, environment={}))


@pytest.mark.skipif(not CORPORA.is_dir(), reason="the shared corpora are not on this machine")
def test_the_library_example_takes_each_shared_file_once() -> None:
    path = ROOT / "examples" / "library.yaml"
    parsed = parse_recipe(path.read_text(encoding="utf-8"), path.name, environment={"CORPORA": str(CORPORA)})
    taken = [file for source in parsed.sources for uri in source.uri for file in Path(uri).parent.glob(Path(uri).name)]
    present = [file for file in CORPORA.glob("*/*") if file.is_file()]
    assert sorted(taken) == sorted(present)


# The reference

SECTIONS: dict[str, type[BaseModel]] = {
    "Top level": recipe_schema.Recipe,
    "`sources`": recipe_schema.Source,
    "`fields`": recipe_schema.Fields,
    "`ingest`": recipe_schema.Ingest,
    "`holdout`": recipe_schema.Holdout,
    "`generate`": recipe_schema.Generate,
    "`seeds`": recipe_schema.Seeds,
    "`sampling`": recipe_schema.Sampling,
    "`free`": recipe_schema.Free,
    "`gates`": recipe_schema.Gates,
    "`grade`": recipe_schema.Grade,
    "`budget`": recipe_schema.Budget,
    "`prices`": recipe_schema.Prices,
    "`dedup`": recipe_schema.Dedup,
    "`decontaminate`": recipe_schema.Decontaminate,
    "`provenance`": recipe_schema.Provenance,
    "`mixture`": recipe_schema.Mixture,
    "`groups`": recipe_schema.Group,
    "`guard`": recipe_schema.Guard,
    "`review`": recipe_schema.Review,
    "`publish`": recipe_schema.Publish,
    **{f"`{kind}`": module.Options for kind, module in filters.kinds().items()},
}
REFERENCE = (ROOT / "docs" / "recipe.md").read_text(encoding="utf-8")


def tables() -> dict[str, dict[str, str]]:
    """Read the reference: heading → key → the cell of its default."""
    found: dict[str, dict[str, str]] = {}
    for section in re.split(r"^##+ ", REFERENCE, flags=re.MULTILINE)[1:]:
        heading, _, body = section.partition("\n")
        table = body.partition("| key | default |")[2].partition("\n\n")[0]
        rows = [re.split(r" *\| *", line.strip("| ")) for line in table.splitlines() if line.startswith("| `")]
        if rows:
            found[heading] = {row[0].strip("`"): row[1] for row in rows}
    return found


def defaults(model: type[BaseModel], prefix: str = "") -> dict[str, Any]:
    """Return key → default as JSON has it, or "required", or "see below" for a record with a section of its own."""
    found: dict[str, Any] = {}
    for key, field in model.model_fields.items():
        if key in ("kind", "sources") and issubclass(model, filters.FilterOptions):
            continue  # the heading of a filter's section, and what all filters have
        default = field.get_default(call_default_factory=True)
        if field.is_required():
            found[prefix + key] = "*required*"
        elif isinstance(default, BaseModel) and f"`{key}`" not in SECTIONS:
            found |= defaults(type(default), f"{key}.")
        elif isinstance(default, BaseModel):
            found[prefix + key] = "see below"
        else:
            found[prefix + key] = json.loads(json.dumps(default))
    return found


@pytest.mark.parametrize("heading", SECTIONS)
def test_the_reference_names_every_key_with_its_default(heading: str) -> None:
    stated = {
        key: YAML(typ="safe").load(cell.strip("`")) if cell.startswith("`") else cell
        for key, cell in tables()[heading].items()
    }
    assert stated == defaults(SECTIONS[heading])


@pytest.mark.parametrize("example", re.findall(r"```yaml\n(.*?)```", REFERENCE, flags=re.DOTALL))
def test_the_examples_of_the_reference_are_valid(example: str) -> None:
    tree = YAML(typ="safe").load(example)
    tree = {"corpus": "notes", "sources": [{"name": "gov", "uri": "gov.jsonl"}], **tree}
    check(parse_recipe(json.dumps(tree, default=str), environment={"TRAINING_HOOK": "http://127.0.0.1:1"}))


def test_the_guide_to_reading_lists_the_published_columns() -> None:
    guide = (ROOT / "docs" / "reading.md").read_text(encoding="utf-8")
    _, _, columns = guide.partition("## Columns")
    listed = [
        name
        for line in columns.partition("\n## ")[0].splitlines()
        if line.startswith("| `")
        for name in re.findall(r"`(\w+)`", line.split("|")[1])
    ]
    assert sorted(listed) == sorted(PUBLISHED.names)


def test_the_reference_lists_the_suffixes_of_every_format() -> None:
    listed = re.findall(r"^\| `(\w+)` \| ((?:`\.\w+` ?)+) \|", REFERENCE, flags=re.MULTILINE)
    assert {name for name, _ in listed} == set(readers.names())
    for name, suffixes in listed:
        assert all(readers.detect(f"file{suffix}") == (name, None) for suffix in re.findall(r"\.\w+", suffixes))
