"""Small files that ask for much: each costs a message, and neither the memory nor the time of a machine."""

import io
import json
import subprocess
import sys
from pathlib import Path

import pytest

from cuvee.schemas.errors import RecipeError
from cuvee.schemas.parse import parse_recipe
from cuvee.tasks import readers
from cuvee.tasks.ingest.names import without_long
from tests.bombs import BOMBS, Taken, run

# A bomb may take this much, and a slow machine a little longer than the ten seconds of a good one.
MOST_MB, MOST_CPU_S = 1000, 10


@pytest.fixture(scope="module")
def taken(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Taken]:
    """What each bomb that is quick to make took, measured in a process that holds nothing else."""
    script = """
import json, sys
from pathlib import Path
from tests.bombs import BOMBS, measure
quick = [bomb for bomb in BOMBS if not bomb.large]
print(json.dumps(measure(quick, Path(sys.argv[1]))))
"""
    folder = str(tmp_path_factory.mktemp("bombs"))
    command = [sys.executable, "-c", script, folder]
    root = Path(__file__).parents[1]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True, timeout=300)
    return {name: Taken(*values) for name, values in json.loads(done.stdout).items()}


@pytest.mark.slow
@pytest.mark.parametrize("bomb", [bomb for bomb in BOMBS if not bomb.large], ids=lambda bomb: bomb.name)
def test_a_bomb_is_told_of_and_takes_neither_memory_nor_time(bomb, taken):
    found = taken[bomb.name]
    assert any(bomb.told in reason for reason in found.reasons) or (not bomb.told and found.rows)
    assert found.peak_mb < MOST_MB
    assert found.cpu_s < MOST_CPU_S


@pytest.mark.slow
def test_rows_of_sixty_megabytes_take_no_gigabyte_in_a_whole_run(tmp_path):
    bomb = next(bomb for bomb in BOMBS if bomb.name == "long_dictionary.parquet")
    path = tmp_path / bomb.name
    path.write_bytes(bomb.make())
    code, said, used = run(path, tmp_path)
    assert code == 1
    assert bomb.told in said
    assert used.ru_maxrss / 1024 < MOST_MB


def test_a_row_whose_id_is_as_long_as_a_text_is_told_of():
    rows = b'{"text": "a", "id": "b"}\n{"text": "a", "id": "%s"}\n{"text": "c"}\n{"id": 1}\n' % (b"i" * 8193)
    read = list(map(without_long, readers.read("a.jsonl", io.BytesIO(rows), "jsonl", None, {})))
    assert [batch.rows["text"].to_list() for batch in read] == [["a", "c"]]
    assert [fault.row for fault in read[0].bad] == [1, 3]
    assert read[0].bad[0].reason.startswith("its id has 8,193 bytes, over the 8,192 of a name")


def test_what_is_told_of_a_file_is_told_though_a_row_of_it_has_a_long_name():
    rows = b"id;text\n%s;a\nb;c\n" % (b"i" * 8193)
    read = readers.read("a.csv", io.BytesIO(rows), "csv", None, {})
    assert [batch.told for batch in map(without_long, read)] == ["the delimiter is ';', as its first lines show"]


def test_a_number_that_is_none_in_deep_brackets_that_are_kept_costs_its_row():
    rows = b'{"text": "a", "k": [NaN, %s%s]}\n{"text": "b", "k": [NaN]}\n' % (b"[" * 900, b"]" * 900)
    read = list(readers.read("a.jsonl", io.BytesIO(rows), "jsonl", None, {}, keep=["k"]))
    assert [(batch.rows["extra"].to_list(), [fault.row for fault in batch.bad]) for batch in read] == [
        (['{"k": [null]}'], [0])
    ]


def test_a_dictionary_of_which_rows_make_gigabytes_is_told_of_by_cuvee_dedup(tmp_path):
    bomb = next(bomb for bomb in BOMBS if bomb.name == "dictionary.parquet")
    path = tmp_path / bomb.name
    path.write_bytes(bomb.make())
    script = "import resource, sys; from cuvee.commands import main\n"
    script += "resource.setrlimit(resource.RLIMIT_AS, (8 << 30, 8 << 30))\nmain(sys.argv[1:])"
    command = [sys.executable, "-c", script, "dedup", str(path), "--out", str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 1
    assert "ingest.max_expansion" in done.stderr


RECIPE = "corpus: a\nsources: [{name: a, uri: a.jsonl}]\n"
LAUGHS = "".join(f"a{n + 1}: &a{n + 1} [{', '.join([f'*a{n}'] * 9)}]\n" for n in range(8))
MERGED = "".join(f"m{n + 1}: &m{n + 1} {{<<: [*m{n}, *m{n}]}}\n" for n in range(30))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a0: &a0 [x]\n" + LAUGHS, "line 6: with its aliases written out the text has over 100,000 values"),
        ("m0: &m0 {x: 1}\n" + MERGED, "over 100,000 values"),
        ("a: &a [x, *a]\n", "line 1: the alias \\*a stands inside its own anchor"),
        ("a: " + "[" * 50_000, "line 1: lists and mappings nest over 50 deep"),
        ("".join(" " * n + "a:\n" for n in range(1000)), "nest over 50 deep"),
        ("a: " + "9" * 10**6, "line 1: a number of 1,000,000 digits"),
        ("a: 0x" + "f" * 10**5, "line 1: a number of 100,002 digits"),
        ("a: !!bool maybe", "not YAML"),
    ],
    ids=["aliases", "merges", "own anchor", "deep", "indented", "digits", "hexadecimal", "no boolean"],
)
def test_a_recipe_that_grows_or_nests_without_end_is_refused(text, told):
    with pytest.raises(RecipeError, match=told):
        parse_recipe(text + "\n" + RECIPE)
    with pytest.raises(RecipeError, match=told):
        parse_recipe(RECIPE, overrides=[f"guard={text}"])


def test_aliases_of_a_recipe_are_read():
    recipe = parse_recipe("corpus: a\nsources:\n  - &a {name: a, uri: a.jsonl}\n  - {<<: *a, name: b}\n")
    assert [(source.name, source.uri) for source in recipe.sources] == [("a", ("a.jsonl",)), ("b", ("a.jsonl",))]
