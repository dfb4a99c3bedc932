"""Open shelves: one new file each makes a reader, a filter, a generator, a metric of the guard and a document.

The files are the examples of docs/extending.md. They stand in a copy of the package, and one run uses them all.
"""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl
import pytest
from guide import ROOT, examples
from plain import recipe_file
from texts import documents, paragraphs, write_jsonl

import cuvee
from cuvee.schemas.errors import RecipeError
from cuvee.schemas.manifest import Manifest
from cuvee.schemas.recipe import Generate
from cuvee.tasks import generators
from cuvee.tasks.begin import check
from cuvee.tasks.generators import ngram

RECIPE = """
corpus: shelves
sources:
  - {name: pages, uri: pages.jsonl, license: CC0-1.0, domain: web}
  - {name: mirrors, uri: mirrors.jsonl, license: CC0-1.0, domain: web}
  - {name: notes, uri: '*.lines', domain: notes}
  - {name: letters, uri: letters.bin, format: lines, domain: notes}
filters:
  - {kind: address, max_parameters: 2}
  - {kind: opening, max_documents: 3}
holdout: {share: 0}
provenance: {suspects: keep, unknown_as: human}
generate:
  - {name: exercises, generator: cloze, seeds: {sources: [pages]}, budget: {amount: 1500}}
  - {name: chatter, generator: babble, allow_baseline: true, seeds: {sources: [pages]}, budget: {amount: 500}}
"""
# Far shorter than the documents that drafts are made of.
*NOTES, LETTER = paragraphs()[:25]
GREETING = "Welcome to the mirror of this manual, dear reader.\n"


class Published(NamedTuple):
    """What the run said, and the version that it published."""

    report: dict[str, Any]
    rows: pl.DataFrame
    manifest: Manifest
    store: Path

    def document(self, name: str) -> bytes:
        """Return a file of the version's reports, which has that name once."""
        (ref,) = (ref for ref in self.manifest.reports if ref.path.endswith(f"/{name}"))
        return (self.store / ref.path).read_bytes()

    def dropped(self, step: str) -> dict[str, int]:
        """Return what a step dropped, by reason."""
        found: dict[str, int] = self.report["steps"][step]["dropped"]
        return found


def copy_package(folder: Path, added: Mapping[str, str]) -> None:
    """Make folder/cuvee of links to the files of the package, and write files into it, text by path."""
    source = Path(cuvee.__file__).parent
    for here, below, files in os.walk(source, followlinks=True):
        target = folder / "cuvee" / Path(here).relative_to(source)
        target.mkdir(parents=True)
        # What was compiled before is found again.
        linked = [name for name in below if name == "__pycache__"]
        for name in [*files, *linked]:
            (target / name).symlink_to(Path(here, name))
        below[:] = [name for name in below if name not in linked]
    for path, text in added.items():
        (folder / "cuvee" / path).write_text(text, encoding="utf-8")


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Published:
    folder = tmp_path_factory.mktemp("shelves")
    baseline = (ROOT / "tasks/generators/ngram.py").read_text(encoding="utf-8")
    copy_package(folder, {**examples(), "tasks/generators/babble.py": baseline})
    rows = [
        {"id": str(number), "text": text, "url": f"https://example.org/page?{'&'.join('abcd'[: number % 5])}"}
        for number, text in enumerate(documents(30))
    ]
    (folder / "pages.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    texts = documents(6, seed=1)
    write_jsonl(folder / "mirrors.jsonl", [*(GREETING + text for text in texts[:4]), *texts[4:]])
    (folder / "first.lines").write_text("\n".join(NOTES))
    (folder / "letters.bin").write_bytes(b"\n".join([LETTER.encode(), b"\xff is no text", b"And so on."]))
    program = ["-c", "from cuvee.commands import main; main()"]
    options = ["--runner", "plain", "--store", "store", "--json", "--set", "ingest.max_bad_rows=0.5"]
    ended = subprocess.run(
        [sys.executable, *program, "run", recipe_file(folder, RECIPE), *options],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    version = cuvee.open("shelves", store=str(folder / "store"))
    return Published(json.loads(ended.stdout), version.scan().collect(), version.manifest, folder / "store")


def test_a_reader_is_found_by_the_name_of_its_file_and_by_its_suffix(published: Published) -> None:
    texts = dict(published.rows.group_by("source").agg(pl.col("text").sort()).iter_rows())
    assert texts["notes"] == sorted(NOTES)
    assert texts["letters"] == sorted([LETTER, "And so on."])
    assert published.dropped("ingest") == {"unreadable": 1}


def test_a_filter_gets_the_columns_that_it_names(published: Published) -> None:
    # Of every five addresses two have more than two parameters.
    assert published.dropped("filter")["address.parameters"] == 12
    kept = published.rows.filter(source="pages")
    assert set(kept["url"].str.count_matches("[?&]")) == {1, 2}


def test_a_filter_looks_across_the_documents_of_a_source(published: Published) -> None:
    assert published.dropped("filter")["opening.common"] == 4
    mirrors = published.rows.filter(source="mirrors")
    assert mirrors.height == 2
    assert not mirrors["text"].str.starts_with(GREETING).any()


def test_a_generator_is_graded_and_allowed_as_its_file_says(published: Published) -> None:
    exercises = published.rows.filter(source="exercises")
    assert exercises.height > 0
    assert exercises["text"].str.contains("____", literal=True).all()
    assert set(exercises.select("generator", "kind", "provenance").rows()) == {("cloze", "cloze", "synthetic")}
    assert exercises["groundedness"].null_count() == 0
    chatter = published.rows.filter(source="chatter")
    assert set(chatter.select("generator", "kind", "provenance").rows()) == {("babble", "baseline", "synthetic")}
    assert chatter["groundedness"].null_count() == chatter.height > 0


def test_a_metric_of_the_guard_tells_its_figures_and_findings(published: Published) -> None:
    told = json.loads(published.document("findings.json"))
    words = told["figures"]["length"]["words"]
    assert set(words) == {"human", "synthetic"}
    (finding,) = (finding for finding in told["findings"] if finding["kind"] == "length")
    assert finding["figures"] == words
    assert finding["message"] in published.report["findings"]


def test_a_document_stands_among_the_reports_of_a_version(published: Published) -> None:
    table = pl.read_csv(published.document("strata.csv"))
    assert table["documents"].sum() == published.manifest.totals.documents == published.rows.height
    assert set(table["source"]) == set(published.rows["source"])


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("sources.0.format=jsonll", "line 2: sources.0.format: no reader is called 'jsonll'; did you mean 'jsonl'?"),
        ("sources.0.format=autp", "line 2: sources.0.format: no reader is called 'autp'; did you mean 'auto'?"),
        ("sources.0.format=zzz", "line 2: sources.0.format: no reader is called 'zzz'; known here: auto, csv, "),
        ("generate.0.generator=opnai", "generate.0.generator: no generator is called 'opnai'; did you mean 'openai'?"),
        ("generate.0.allow_baseline=false", "generate.0.generator: the ngram baseline writes nonsense"),
        ("generate.0.grade.judge_model=j", "generate.0.grade.judge_model: the ngram baseline has no endpoint to ask"),
    ],
)
def test_a_name_that_no_file_has_is_refused_before_anything_runs(tmp_path: Path, override: str, told: str) -> None:
    writer = "generate: [{name: w, generator: ngram, allow_baseline: true, budget: {amount: 1}}]\n"
    recipe = recipe_file(tmp_path, "corpus: c\nsources: [{name: gov, uri: a.jsonl}]\n" + writer)
    (tmp_path / "a.jsonl").write_text('{"text": "a"}\n')
    with pytest.raises(RecipeError) as refusal:
        check(recipe, [override], str(tmp_path / "store"), "check")
    assert str(refusal.value).startswith(f"recipe.yaml: {told}")
    assert not (tmp_path / "store").exists()


def test_a_judge_of_drafts_that_no_endpoint_wrote_needs_an_address(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ngram, "GRADED", True)
    entry = {"name": "w", "generator": "ngram", "allow_baseline": True, "budget": {"amount": 1}}
    generators.check(Generate.model_validate(entry), "generate.0")
    entry["grade"] = {"judge_model": "j"}
    with pytest.raises(RecipeError, match=r"generate\.w\.base_url: '' is no URL"):
        generators.check(Generate.model_validate(entry), "generate.0")
    generators.check(Generate.model_validate(entry | {"base_url": "http://127.0.0.1:1/v1"}), "generate.0")


def test_looking_for_a_generator_loads_no_other(tmp_path: Path) -> None:
    program = "import sys; from cuvee.tasks import generators; generators.find('openai'); print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "cuvee.tasks.generators.openai" in loaded.stdout.split()
    assert not {"openai", "cuvee.tasks.generators.ngram"} & set(loaded.stdout.split())
