"""What readers of a store meet: commands that find, check, copy and explain versions, and what they refuse."""

import json
import shutil
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import BinaryIO, NamedTuple

import polars as pl
import pytest
from texts import documents, write_jsonl

import cuvee
from cuvee.commands import main, story
from cuvee.dataset import Dataset
from cuvee.flows.curate import curate
from cuvee.schemas.errors import InputError, IntegrityError, RecipeError
from cuvee.schemas.manifest import Manifest, TagEntry
from cuvee.schemas.records import PoolState
from cuvee.storage.corpus import commit, move_tag, state_of, write_report, write_state
from cuvee.storage.local import LocalStore
from cuvee.storage.store import open_store
from cuvee.tasks.provenance.classify import read_audit
from cuvee.tasks.provenance.product import labelled

RECIPE = """
corpus: words
sources:
  - {name: manual, uri: manual/*.jsonl, license: PSF-2.0, domain: manual}
  - {name: notes, uri: notes/*.jsonl, license: PSF-2.0, domain: notes}
ingest: {max_bad_rows: 0.5}
holdout: {share: 0.0}
"""


class Answer(NamedTuple):
    code: int
    out: str
    err: str


Ask = Callable[..., Answer]


@pytest.fixture(scope="module")
def published(prefect_api: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with words@v0001, words@v0002 (one more file, one less) and other@v0001."""
    folder = tmp_path_factory.mktemp("reading")
    texts = documents(60)
    write_jsonl(folder / "manual/part-1.jsonl", texts[:30])
    with (folder / "manual/part-1.jsonl").open("a") as file:
        file.write('{"id": "torn", "text": \n')
    write_jsonl(folder / "notes/part-2.jsonl", texts[30:50])
    (folder / "recipe.yaml").write_text(RECIPE)
    store = str(folder / "store")
    curate(recipe=str(folder / "recipe.yaml"), store=store)
    (folder / "notes/part-2.jsonl").unlink()
    write_jsonl(folder / "notes/part-3.jsonl", texts[45:60])
    curate(recipe=str(folder / "recipe.yaml"), overrides=["sources.1.vanished=drop"], store=store)
    curate(recipe=str(folder / "recipe.yaml"), overrides=["corpus=other"], store=store)
    return folder / "store"


@pytest.fixture
def place(published: Path, tmp_path: Path) -> Path:
    """A copy of the store, to be damaged."""
    return Path(shutil.copytree(published, tmp_path / "nest/store"))


@pytest.fixture
def ask(capsys: pytest.CaptureFixture[str]) -> Ask:
    def run(*arguments: object) -> Answer:
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            main([str(argument) for argument in arguments])
        shown = capsys.readouterr()
        return Answer(int(end.value.code or 0), shown.out, shown.err)

    return run


def everything(folder: Path) -> dict[str, bytes]:
    return {
        str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file() and "tmp" not in p.parts
    }


def opened(place: Path, ref: str = "words") -> Dataset:
    return cuvee.open(ref, store=str(place))


def altered(dataset: Dataset, **changes: object) -> Dataset:
    return Dataset(dataset.store, dataset.manifest.model_copy(update=changes))


def without_reports(place: Path) -> Manifest:
    """Commit words@v0003, the same as v0002 without any report."""
    store = open_store(str(place))
    manifest = opened(place).manifest
    pool = write_state(store, "words", state_of(store, manifest).model_copy(update={"number": 3}))
    manifest = manifest.model_copy(update={"version": 3, "parent": 2, "pool": pool, "reports": (), "ledger": ()})
    commit(store, manifest)
    move_tag(store, "words", "latest", TagEntry(version=3, by="tag", created="2026-01-01T00:00:00+00:00"))
    return manifest


# Tags


@pytest.mark.parametrize("name", ["../../../../esc", "a/b", "..", ".", "v0001", "", "a b", "x" * 64, "-x"])
@pytest.mark.parametrize("command", ["rollback", "tag"])
def test_a_name_that_is_no_tag_writes_nothing_anywhere(place: Path, ask: Ask, command: str, name: str) -> None:
    before = everything(place.parent)
    arguments = ("words", "v0001", f"--tag={name}") if command == "rollback" else ("--", "words@v0001", name)
    options = ("--store", place)
    answer = ask(command, *options, *arguments)
    assert answer.code == 2
    assert repr(name) in answer.err
    assert everything(place.parent) == before


def test_a_rollback_moves_a_tag_that_exists_to_a_version_and_says_how_to_end_it(place: Path, ask: Ask) -> None:
    answer = ask("rollback", "words", "v0001", "--tag", "nightly", "--store", place)
    assert answer.code == 2
    assert "latest" in answer.err
    assert not (place / "corpora/words/tags/nightly").exists()
    for version in ("latest", "1", "words@v0001", ""):
        answer = ask("rollback", "words", version, "--store", place)
        assert answer.code == 2
        assert "v0001, v0002" in answer.err
    assert ask("rollback", "words@latest", "v0001", "--store", place).code == 2
    assert opened(place).manifest.version == 2
    answer = ask("rollback", "words", "v0001", "--store", place)
    assert answer.code == 0
    assert "words@latest is v0001 now" in answer.out
    assert "cuvee tag words@" in answer.out
    assert opened(place).manifest.version == 1


def test_a_tag_whose_version_is_missing_is_told_and_the_versions_are_listed(place: Path, ask: Ask) -> None:
    entry = TagEntry(version=9, by="tag", created="2026-01-01T00:00:00+00:00")
    for name in ("latest", "candidate"):
        move_tag(open_store(str(place)), "words", name, entry)
    answer = ask("versions", "words", "--store", place)
    assert answer.code == 0
    assert "v0001" in answer.out
    assert "v0002" in answer.out
    assert "words@latest points to v0009" in answer.err
    assert "words@candidate points to v0009" in answer.err
    assert "cuvee tag words@v0002 latest" in answer.err
    listed = json.loads(ask("versions", "words", "--json", "--store", place).out)
    assert [(entry["version"], entry["tags"]) for entry in listed] == [("v0001", []), ("v0002", [])]
    assert ask("versions", "word", "--store", place).code == 2


# Verify


def test_verify_finds_a_pool_file_that_is_missing_or_of_another_size(place: Path, ask: Ask) -> None:
    dataset = opened(place)
    assert list(dataset.verify()) == []
    answer = ask("verify", "words", "--store", place)
    assert answer.code == 0
    state = PoolState.model_validate_json(dataset.store.get(dataset.manifest.pool.path))
    paths = sorted({file.path for entry in state.entries for file in entry.record.files})
    assert f"{len(paths)} files of its pool" in answer.out
    assert "not hashed" in answer.out
    (place / paths[0]).unlink()
    with (place / paths[-1]).open("ab") as file:
        file.write(b"x")
    faults = list(dataset.verify())
    assert len(faults) == 2
    assert any(f"{place / paths[0]} is missing" in fault for fault in faults)
    assert any(str(place / paths[-1]) in fault and "bytes" in fault for fault in faults)
    assert ask("verify", "words", "--store", place).code == 1


@pytest.mark.parametrize(
    "change",
    [{"documents": 1}, {"amount": 1}, {"by_provenance": {"human": 1}}, {"counted_human": 1}, {"human_share": 0.5}],
)
def test_verify_adds_up_the_totals_of_the_version_and_of_its_splits(published: Path, change: dict[str, object]) -> None:
    dataset = opened(published)
    totals, splits = dataset.manifest.totals, dataset.manifest.splits
    (name,) = change
    (fault,) = altered(dataset, totals=totals.model_copy(update=change)).verify()
    assert fault.startswith(f"totals.{name}")
    train = splits["train"].model_copy(update=change)
    (fault,) = altered(dataset, splits={**splits, "train": train}).verify()
    assert fault.startswith(f"splits.train.{name}")


# Pull


def test_a_pull_never_touches_a_folder_that_no_pull_wrote(published: Path, tmp_path: Path, ask: Ask) -> None:
    own = {
        "parquet": "data/own.parquet",
        "deep": "data/train/own.parquet",
        "notes": "data/notes.txt",
        "card": "README.md",
        "manifest": "manifest.json",
        "list": "manifest.json",
    }
    for name, path in own.items():
        target = tmp_path / name / path
        target.parent.mkdir(parents=True)
        target.write_text("[1]" if name == "list" else "mine")
        before = everything(tmp_path / name)
        answer = ask("pull", "words", tmp_path / name, "--store", published)
        assert answer.code == 2, name
        assert "choose another folder" in answer.err
        assert everything(tmp_path / name) == before
    (tmp_path / "project").mkdir()
    (tmp_path / "project/train.py").write_text("mine")
    assert ask("pull", "words", tmp_path / "project", "--store", published).code == 0
    assert (tmp_path / "project/train.py").read_text() == "mine"
    assert ask("pull", "words", tmp_path / "project/train.py", "--store", published).code == 2


def test_a_pull_of_another_version_leaves_just_its_files(published: Path, tmp_path: Path) -> None:
    target = tmp_path / "pulled"
    for ref in ("words@v0002", "words@v0001", "words@v0001"):
        (target / "data").mkdir(parents=True, exist_ok=ref != "words@v0002")
        for stray in ("data/stray.parquet", "data/stray.txt") if ref != "words@v0002" else ():
            (target / stray).write_text("planted")
        dataset = opened(published, ref)
        paths = dataset.pull(target)
        assert sorted(path for path in (target / "data").rglob("*") if path.is_file()) == paths
        assert len(paths) == len(dataset.manifest.files)
        assert json.loads((target / "manifest.json").read_text()) == dataset.manifest.model_dump(mode="json")
        assert pl.read_parquet(target / "data/**/*.parquet").height == dataset.manifest.totals.documents


class FailingStore(LocalStore):
    """A store whose reading breaks in the middle of the n-th file."""

    def __init__(self, root: Path, reads: int) -> None:
        super().__init__(root)
        self.reads = reads

    def open(self, key: str) -> BinaryIO:
        self.reads -= 1
        if self.reads >= 0:
            return super().open(key)
        content = super().open(key).read()

        class Breaking(BytesIO):
            def read(self, size: int | None = -1) -> bytes:
                if piece := super().read(100):
                    return piece
                raise OSError("the line is cut")

        return Breaking(content[: len(content) // 2])


def test_an_interrupted_pull_is_completed_by_its_repetition(published: Path, tmp_path: Path) -> None:
    old, new = opened(published, "words@v0001"), opened(published, "words@v0002")
    whole = tmp_path / "whole"
    new.pull(whole)
    copies = len(new.manifest.files) + 1
    for start in ("empty", "older"):
        for reads in range(copies):
            target = tmp_path / f"{start}-{reads}"
            if start == "older":
                old.pull(target)
            standing = (target / "manifest.json").read_bytes() if start == "older" else None
            cut = Dataset(FailingStore(published, reads), new.manifest)
            try:
                cut.pull(target)
            except OSError:
                manifest = target / "manifest.json"
                assert (manifest.read_bytes() if manifest.exists() else None) == standing
                assert json.loads((target / "manifest.json.part").read_text())["version"] == 2
            else:
                assert start == "older", "an empty folder needs every copy"
            new.pull(target)
            assert everything(target) == everything(whole)


# Files, diff, show


def test_files_prints_nothing_where_there_is_no_file(published: Path, ask: Ask) -> None:
    assert ask("files", "words", "--split", "validation", "--store", published) == Answer(0, "", "")
    lines = ask("files", "words", "--store", published).out.splitlines()
    assert lines == opened(published).files()
    assert len(lines) > 1


def test_a_diff_counts_documents_and_names_each_side(published: Path, ask: Ask) -> None:
    answer = ask("diff", "words@v0001", "other@v0001", "--store", published)
    assert answer.code == 0
    assert "words@v0001: " in answer.out
    assert "other@v0001: " in answer.out
    tree = json.loads(ask("diff", "words@v0001", "words@v0002", "--json", "--store", published).out)
    old, new = (set(opened(published, f"words@v000{n}").scan(None).collect()["doc_id"]) for n in (1, 2))
    assert tree["documents"] == {"added": len(new - old), "removed": len(old - new), "same": len(old & new)}
    assert min(tree["documents"].values()) > 0
    assert tree["files"]["shared"] >= 1
    assert tree["recipe"] == {"sources.1.vanished": ["keep", "drop"]}
    same = json.loads(ask("diff", "words", "words", "--json", "--store", published).out)
    assert same["documents"] == {"added": 0, "removed": 0, "same": len(new)}


def test_a_version_without_reports_can_be_read(place: Path, ask: Ask, tmp_path: Path) -> None:
    manifest = without_reports(place)
    answer = ask("show", "words", "--store", place)
    assert answer.code == 0
    assert "words@v0003" in answer.out
    assert f"{manifest.totals.documents:,}" in answer.out
    assert ask("verify", "words", "--store", place).code == 0
    assert ask("pull", "words@v0002", tmp_path / "pulled", "--store", place).code == 0
    assert ask("pull", "words@v0003", tmp_path / "pulled", "--store", place).code == 0
    assert not (tmp_path / "pulled/README.md").exists(), "the card of another version would mislead"
    answer = ask("explain", "words@v0003", "torn", "--store", place)
    assert answer.code == 1
    assert "no report ledger.parquet" in answer.err


def test_a_card_that_is_lost_is_named(place: Path, ask: Ask) -> None:
    dataset = opened(place)
    card = place / dataset.report("README.md").path
    card.unlink()
    answer = ask("show", "words", "--store", place)
    assert answer.code == 1
    assert str(card) in answer.err


# Explain


def test_an_unreadable_row_is_found_by_its_file(published: Path, ask: Ask) -> None:
    rows = opened(published).ledger()
    torn = rows.filter(pl.col("outcome") == "unreadable").row(0, named=True)
    for name in ("part-1.jsonl", torn["file"], torn["file"][:6]):
        found = json.loads(ask("explain", "words", name, "--json", "--store", published).out)["rows"]
        assert len(found) == 31
        assert torn in found
    lines = list(story.tell(story.ledger_of("words", str(published)), [torn]))
    assert "row 30 of part-1.jsonl" in lines[0]
    assert "None" not in lines[0]
    assert torn["detail"] in lines[-1]
    assert not [line for line in lines if "passed" in line], "an unreadable row passes no step"


def test_an_exact_copy_is_not_said_to_go_in_favour_of_itself(published: Path) -> None:
    row = {"doc_id": "ab12", "source": "a", "path": "x.jsonl", "file": "f", "row": 3, "source_id": None, "detail": None}
    row |= {"provenance": "human", "p_synthetic": None, "evidence": None, "outcome": "dropped", "step": "dedup_exact"}
    row |= {"reason": "duplicate_exact", "keeper": "ab12", "jaccard": 1.0}
    *_, last = story.tell(story.ledger_of("words", str(published)), [row])
    assert "the same text stands in a row that comes before this one" in last
    *_, last = story.tell(
        story.ledger_of("words", str(published)), [row | {"keeper": "cd34", "reason": "duplicate_near"}]
    )
    assert "in favour of cd34; Jaccard 1.000" in last


def test_many_rows_are_told_in_part_and_counted(published: Path, ask: Ask) -> None:
    answer = ask("explain", "words", "part-1.jsonl", "--store", published)
    assert answer.code == 0
    assert answer.out.count("from source manual") == 20
    assert "11 more rows" in answer.out
    assert ask("explain", "words", "part-1.jsonl"[:6], "--store", published).code == 2


def test_a_ledger_without_paths_is_still_told(place: Path) -> None:
    dataset = opened(place)
    rows = dataset.ledger()
    sink = BytesIO()
    rows.drop("path", strict=False).write_parquet(sink)
    ledger = write_report(dataset.store, "words", 2, "ledger.parquet", sink.getvalue(), rows.height)
    older = altered(dataset, reports=(ledger,), ledger=())
    told = story.Ledger(older.ledger(), "words@v0002")
    row = rows.filter(pl.col("outcome") == "kept").row(0, named=True)
    (found,) = story.rows_of(told, row["doc_id"])
    assert row["file"][:12] in next(story.tell(told, [found]))
    with pytest.raises(RecipeError, match="is in no row"):
        story.rows_of(told, "part-1.jsonl")


# Classify and dedup


def test_classify_goes_on_after_bad_rows_and_counts_them_at_the_end(tmp_path: Path, ask: Ask) -> None:
    good = [json.dumps({"id": str(n), "text": text}) for n, text in enumerate(documents(3))]
    (tmp_path / "a.jsonl").write_text("\n".join([good[0], '{"text": ', good[1], '{"id": 1}', good[2]]) + "\n")
    (tmp_path / "b.parquet").write_bytes(b"not Parquet")
    (tmp_path / "c.txt").write_text("A short text.")
    answer = ask("classify", tmp_path, "--json")
    assert answer.code == 1
    assert [json.loads(line)["id"] for line in answer.out.splitlines()] == ["0", "1", "2", str(tmp_path / "c.txt")]
    for place in ("a.jsonl, line 2", "a.jsonl, line 4", "b.parquet"):
        assert place in answer.err
    assert answer.err.splitlines()[-1].startswith("cuvee: 3 rows or files cannot be read")
    (tmp_path / "b.parquet").unlink()
    (tmp_path / "a.jsonl").unlink()
    assert ask("classify", tmp_path).code == 0


def test_classify_refuses_an_unknown_format_before_it_answers(tmp_path: Path, ask: Ask) -> None:
    (tmp_path / "a.txt").write_text("A short text.")
    (tmp_path / "b.docx").write_text("?")
    answer = ask("classify", tmp_path / "a.txt", tmp_path / "b.docx", "--json")
    assert (answer.code, answer.out) == (2, "")
    assert "b.docx" in answer.err


@pytest.mark.parametrize("command", ["classify", "dedup"])
def test_files_of_a_folder_that_no_reader_knows_are_passed_over_and_told(
    tmp_path: Path, ask: Ask, command: str
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a.txt").write_text("A short text.")
    for name in ("b.docx", "c", "d.pdf", "e.png"):
        (folder / name).write_text("?")
    answer = ask(command, folder, "--json", *(["--out", tmp_path / "out"] if command == "dedup" else []))
    assert answer.code == 0
    named = ", ".join(str(folder / name) for name in ("b.docx", "c", "d.pdf"))
    assert f"files passed over, since their format is not known: 4 ({named}, …)" in answer.err.splitlines()


def test_an_audit_and_labelled_texts_are_read_from_any_table(tmp_path: Path) -> None:
    rows = [{"id": 7, "label": "human", "text": "a"}, {"id": "x", "label": "synthetic", "text": "b"}]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (tmp_path / "b.tsv").write_text("id\tlabel\ttext\n7\thuman\ta\nx\tsynthetic\tb\n")
    pl.DataFrame({"doc_id": ["7", "x"], "label": ["human", "synthetic"], "text": ["a", "b"]}).write_parquet(
        tmp_path / "c.parquet"
    )
    for name in ("a.jsonl", "b.tsv", "c.parquet"):
        assert read_audit(tmp_path / name).rows() == [("7", "human"), ("x", "synthetic")]
    everything = labelled([str(tmp_path / name) for name in ("a.jsonl", "b.tsv", "c.parquet")])
    assert everything["text"].to_list() == ["a", "b"] * 3
    assert everything["id"].to_list() == ["7", "x", "7", "x", None, None]
    (tmp_path / "d.jsonl").write_text('{"id": 1')
    with pytest.raises(InputError, match=r"d\.jsonl:1"):
        read_audit(tmp_path / "d.jsonl")


@pytest.mark.parametrize(
    "option",
    ["--ngram=0", "--ngram=-1", "--ngram=33", "--threshold=2", "--threshold=0", "--threshold=nan", "--threshold=0.01"],
)
def test_dedup_refuses_an_option_out_of_range_before_it_reads(tmp_path: Path, ask: Ask, option: str) -> None:
    answer = ask("dedup", tmp_path / "absent.jsonl", "--out", tmp_path / "out", option)
    assert answer.code == 2
    assert option.split("=")[0] in answer.err
    assert "absent" not in answer.err
    assert not (tmp_path / "out").exists()


def test_a_missing_file_of_the_version_is_named_when_it_is_pulled(place: Path, tmp_path: Path) -> None:
    dataset = opened(place)
    Path(dataset.files()[0]).unlink()
    with pytest.raises(IntegrityError, match="is missing"):
        dataset.pull(tmp_path / "pulled")
    assert not (tmp_path / "pulled/manifest.json").exists()
