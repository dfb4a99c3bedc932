"""What is told of sources before anything starts: all faults of all of them at once, each with the key to mend."""

import resource
import subprocess
import sys
from pathlib import Path

import pytest
from plain import publish_plainly, recipe_file
from texts import documents, write_jsonl

from cuvee.schemas.errors import RecipeError
from cuvee.tasks.look import look

RECIPE = """
corpus: six
sources:
  - name: table
    uri: a.csv
  - {name: lines, uri: b.jsonl}
  - {name: latin, uri: c.txt}
  - {name: parquet, uri: d.parquet}
  - {name: packed, uri: e.jsonl.gz}
  - {name: nowhere, uri: nowhere/*.jsonl}
"""


@pytest.fixture
def six(tmp_path: Path) -> Path:
    """A recipe with one fault in each of six sources."""
    (tmp_path / "a.csv").write_text("id,body\n1,hello there\n")
    (tmp_path / "b.jsonl").write_text('{"content": "x"}\n{"content": "y"}\n')
    (tmp_path / "c.txt").write_bytes("café crème".encode("latin-1"))
    (tmp_path / "d.parquet").write_bytes(b"PAR1 is how it begins")
    (tmp_path / "e.jsonl.gz").write_bytes(b"as it is")
    return Path(recipe_file(tmp_path, RECIPE))


def told(recipe: Path | str, *overrides: str) -> list[str]:
    with pytest.raises(RecipeError) as error:
        look(str(recipe), overrides, lambda recipe: frozenset())
    return str(error.value).splitlines()


def test_all_faults_of_all_sources_are_told_at_once_with_file_line_and_key(six: Path) -> None:
    table, lines, latin, parquet, packed, nowhere = told(six)
    assert table == (
        'recipe.yaml: line 4: sources.0.fields.text: a.csv: no column "text"; the columns are: id, body; '
        'perhaps fields: {"text": "body"}'
    )
    assert lines.startswith('recipe.yaml: line 6: sources.1.fields.text: b.jsonl: line 1: no field "text"')
    assert latin.startswith("recipe.yaml: line 7: sources.2.encoding: c.txt: row 0: not UTF-8")
    assert parquet.startswith("recipe.yaml: line 8: sources.3.uri: d.parquet is not a whole Parquet file")
    assert packed.startswith("recipe.yaml: line 9: sources.4.uri: e.jsonl.gz: line 1: file ends early")
    assert nowhere.startswith("recipe.yaml: line 10: sources.5.uri: 'nowhere/*.jsonl' matches no file below")


def test_a_run_tells_them_before_it_starts_or_imports_anything_large(six: Path) -> None:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    modules = "import atexit, sys; atexit.register(lambda: print(*sys.modules))"
    program = f"{modules}; from cuvee.commands import main; main()"
    ended = subprocess.run([sys.executable, "-c", program, "run", six], capture_output=True, text=True, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert ended.returncode == 2
    assert ended.stderr.count("sources.") == 6
    assert not {"prefect", "numba", "pandas", "boto3"} & set(ended.stdout.split())
    # On an idle machine that is the time that it takes: 1.2 s.
    assert after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime < 3
    assert not (six.parent / "cuvee-store").exists()


def test_faults_of_the_recipe_itself_stand_beside_those_of_the_files(six: Path) -> None:
    text = six.read_text().replace("uri: b.jsonl", "uri: b.jsonl, license: Nonsense 7").replace("c.txt", "c.tex7")
    (six.parent / "c.tex7").write_text("a text")
    six.write_text(text)
    found = told(six)
    assert len(found) == 6
    assert found[0].startswith("recipe.yaml: line 6: sources.1.license: 'Nonsense 7': not an SPDX expression")
    assert any(line.startswith("recipe.yaml: line 7: sources.2.format: ") and "c.tex7" in line for line in found)


def test_a_format_a_folder_and_a_file_that_cannot_be_opened_are_faults(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "texts/a.jsonl", documents(2))
    recipe = recipe_file(tmp_path, "corpus: c\nsources: [{name: a, uri: texts/a.jsonl}]\n")
    look(recipe, (), lambda recipe: frozenset())
    assert "line 2: sources.0.format: no reader is called 'jsonk'" in told(recipe, "sources.0.format=jsonk")[0]
    assert "is a folder; name its files" in told(recipe, "sources.0.uri=texts")[0]


def test_the_key_that_mends_a_column_is_the_one_that_names_it_and_what_may_be_meant_is_told(tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_text("a;text\n1;hello\n")
    (tmp_path / "open.csv").write_text('text\n"never closed\nb\nc\n')
    (tmp_path / "nested.jsonl").write_text('{"doc": {"body": "hello"}}\n')
    (tmp_path / "chat.jsonl").write_text('{"turns": [{"role": "user", "content": "hi"}]}\n')
    recipe = recipe_file(
        tmp_path,
        "corpus: c\nsources:\n- {name: a, uri: table.csv, csv: {delimiter: ','}}\n- {name: b, uri: open.csv}\n"
        "- {name: c, uri: nested.jsonl, fields: {text: doc.text}}\n- {name: d, uri: chat.jsonl}\n"
        "- {name: e, uri: table.csv, encoding: klingon}\n",
    )
    codec, table, quote, nested, chat = told(recipe)
    assert codec.startswith("recipe.yaml: line 7: sources.4.encoding: 'klingon'")
    assert table.startswith("recipe.yaml: line 3: sources.0.csv.delimiter: ")
    assert quote.startswith("recipe.yaml: line 4: sources.1.csv.quote: open.csv: line 2: a quote is not closed")
    assert nested.startswith('recipe.yaml: line 5: sources.2.fields.text: nested.jsonl: line 1: no field "doc.text"')
    assert nested.endswith('; perhaps fields: {"text": "doc.body"}')
    assert chat.endswith('; perhaps fields: {"messages": "turns"}')


def test_damage_in_a_part_of_a_source_is_left_to_the_run_which_counts_it(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "texts/a.jsonl", documents(3))
    (tmp_path / "texts/b.jsonl").write_text("{torn\n")
    (tmp_path / "texts/c.jsonl").write_text("")
    recipe = recipe_file(tmp_path, "corpus: c\nsources: [{name: a, uri: texts/*.jsonl}]\n")
    look(recipe, (), lambda recipe: frozenset())
    # Rows that may all be bad are no fault.
    look(recipe, ("sources.0.uri=texts/b.jsonl", "ingest.max_bad_rows=1"), lambda recipe: frozenset())
    assert "line 1: " in told(recipe, "sources.0.uri=texts/b.jsonl")[0]


def test_a_pattern_that_matches_nothing_any_more_is_no_fault_where_its_rows_stay(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "texts/a.jsonl", documents(9))
    recipe = recipe_file(tmp_path, "corpus: c\nsources: [{name: a, uri: texts/*.jsonl, license: CC0-1.0}]\n")
    store = str(tmp_path / "store")
    publish_plainly(recipe, store)
    (tmp_path / "texts/a.jsonl").unlink()
    assert publish_plainly(recipe, store).documents == 9
    with pytest.raises(RecipeError, match=r"line 2: sources.0.uri: 'texts/\*.jsonl' matches no file"):
        publish_plainly(recipe, store, "sources.0.vanished=drop")
