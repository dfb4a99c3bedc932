"""What a text says stays text: in terminals, in documents, in artifacts; and nothing is unpickled."""

import json
import logging
import pickle
from pathlib import Path

import pytest
from texts import documents

from cuvee.commands import main
from cuvee.commands.shared import say, table
from cuvee.flows import page, pipeline
from cuvee.flows.artifacts import table as table_artifact
from cuvee.flows.hands import PlainHands
from cuvee.schemas.report import RunReport, StepReport
from cuvee.schemas.visible import markdown, on_line, visible
from cuvee.storage import secrets
from cuvee.tasks.begin import new_run_id

ESCAPES = {
    "clear": "\x1b[2J\x1b[H",
    "title": "\x1b]0;owned\x07",
    "link": "\x1b]8;;http://evil.example\x1b\\text\x1b]8;;\x1b\\",
    "c1": "\x9b31m",
    "back": "safe\b\b\b\bevil",
    "return": "kept\rdropped",
    "delete": "a\x7fb",
    "nul": "a\x00b",
    "override": "gpj.\u202eexe",
    "isolate": "\u2066a\u2069",
    "lines": "a\u2028b\u2029c\x85d\x0be",
    "surrogate": "a\udcffb",
}


@pytest.mark.parametrize("text", ESCAPES.values(), ids=ESCAPES)
def test_what_a_terminal_would_obey_is_shown_escaped(text: str, capsys: pytest.CaptureFixture[str]):
    shown = visible(text)
    assert shown != text
    assert shown.isprintable()
    assert json.loads(f'"{on_line("a b")}"') == "a b"
    say(text)
    table(["id"], [[text]])
    assert all(line.isprintable() for line in capsys.readouterr().out.split("\n"))


def test_ordinary_text_is_shown_as_it_is():
    for text in ("Ça va? 日本語 עברית العربية 👩‍👩‍👧 \n\ttabs and lines", ""):
        assert visible(text) == text
    assert on_line("a\nb\tc") == "a\\u000ab\\u0009c"


@pytest.mark.parametrize(
    "text", ["<script>alert(1)</script>", "[a](javascript:b)", "a|b", "`a`", "**a**", "a\n# b", "&lt;"]
)
def test_a_text_in_markdown_is_no_markup(text: str):
    shown = markdown(text)
    assert "<" not in shown
    assert "\n" not in shown
    for sign in "[]|`*":
        assert shown.count(sign) == shown.count(f"\\{sign}")
    assert shown != text
    assert markdown("gov_blog: 3 of 10 (0.5%), c4-en v1.0") == "gov_blog: 3 of 10 (0.5%), c4-en v1.0"


def test_a_table_takes_no_markup_from_its_cells(capsys: pytest.CaptureFixture[str]):
    table(["id"], [["[red]a[/red] [/]"]])
    assert "[red]a[/red] [/]" in capsys.readouterr().out


def test_logs_hold_no_escape_sequences(caplog: pytest.LogCaptureFixture):
    factory = logging.getLogRecordFactory()
    secrets.guard_logs()
    try:
        logging.getLogger("cuvee.test").warning("file %s", "a\x1b[2J")
    finally:
        logging.setLogRecordFactory(factory)
    assert "file a\\u001b[2J" in caplog.text


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    texts = documents(30)
    ids = [*ESCAPES.values()][:-1]
    rows = [{"id": f"{ids[n % len(ids)]}\n{n}", "text": text} for n, text in enumerate(texts)]
    (tmp_path / "texts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    source = {"name": "texts", "uri": "texts.jsonl", "domain": "a|<img src=x onerror=b>\x1b[2J", "language": "en"}
    (tmp_path / "recipe.yaml").write_text(json.dumps({"corpus": "words", "sources": [source]}))
    return tmp_path


def test_commands_and_cards_show_ids_and_domains_as_texts(folder: Path, capsys: pytest.CaptureFixture[str]):
    store = str(folder / "store")
    report = pipeline.carry_out(str(folder / "recipe.yaml"), (), store, False, new_run_id(), PlainHands())
    assert report.published
    for command in (
        ["show", "words"],
        ["explain", "words", "texts.jsonl"],
        ["explain", "words", "\x1b[2Jnowhere"],
        ["explain", "words", "texts.jsonl", "--json"],
        ["versions", "words", "--store", store + "\x1b[2J"],
    ):
        with pytest.raises(SystemExit):
            main([*command, *([] if "--store" in command else ["--store", store])])
        told = capsys.readouterr()
        assert told.out + told.err
        assert all(line.isprintable() for line in (told.out + told.err).split("\n"))
        if command[0] == "show":
            assert "a\\|&lt;img src=x onerror=b&gt;" in told.out


def test_a_run_s_page_shows_findings_as_texts():
    report = RunReport(
        corpus="words", version=1, published=True, documents=1, amount=1, unit="words", human_share=1.0, floor=0.0,
        steps={}, warnings=("<b>a</b>\n\n# b [c](d)",),
    )  # fmt: skip
    assert "warning: &lt;b&gt;a&lt;/b&gt; # b \\[c\\](d)" in page.of_report(report, None, None)


def test_the_table_of_a_run_s_steps_shows_names_as_texts(monkeypatch: pytest.MonkeyPatch):
    shown = []
    monkeypatch.setattr("prefect.artifacts.create_table_artifact", lambda table, **_: shown.extend(table))
    dropped = {"[a](http://b.example)\x1b": 1, "<img src=x>": 2}
    rows = page.steps({"read": StepReport(into=5, out=2, dropped=dropped)})
    table_artifact("words", "steps", rows, "Steps")
    why = "&lt;img src=x&gt; 2, \\[a\\](http://b.example)\\\\u001b 1"
    assert shown == [{"step": "read", "in": 5, "out": 2, "dropped": 3, "why": why}]


class _Opened:
    """What unpickling this does can be seen: it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return open, (str(self.path), "w")


def test_a_pickle_in_a_store_is_damage_and_is_not_opened(folder: Path, capsys: pytest.CaptureFixture[str]):
    store, canary = folder / "store", folder / "canary"
    recipe = str(folder / "recipe.yaml")
    pipeline.carry_out(recipe, (), str(store), False, new_run_id(), PlainHands())
    planted = pickle.dumps(_Opened(canary))
    pickle.loads(planted).close()
    canary.unlink()
    # The commit last: what it names is read as long as it stands.
    for kind in ("work", "corpora/words/data", "corpora/words/pool", "corpora/words/ledger", "corpora/words/manifests"):
        found = [path for path in (store / kind).rglob("*") if path.is_file()]
        assert found
        for path in found:
            path.chmod(0o644)
            path.write_bytes(planted)
        for command in (["run", recipe, "--runner", "plain"], ["verify", "words"], ["explain", "words", "texts.jsonl"]):
            with pytest.raises(SystemExit):
                main([*command, "--store", str(store)])
            assert "Traceback" not in capsys.readouterr().err
    assert not canary.exists()


def test_results_are_never_kept_so_that_no_pickle_is_read(prefect_api: Path, folder: Path):
    from prefect.settings import (
        PREFECT_LOCAL_STORAGE_PATH,
        PREFECT_RESULTS_PERSIST_BY_DEFAULT,
        temporary_settings,
    )

    from cuvee.flows.curate import curate

    kept = folder / "results"
    with temporary_settings({PREFECT_RESULTS_PERSIST_BY_DEFAULT: True, PREFECT_LOCAL_STORAGE_PATH: kept}):
        report = curate(recipe=str(folder / "recipe.yaml"), store=str(folder / "store"))
    assert report.published
    assert not kept.exists() or not [path for path in kept.rglob("*") if path.is_file()]
