"""What a run's page in the Prefect UI says: what was published, dropped and found, and what to do."""

import base64
import logging
import xml.etree.ElementTree as ET

import pytest
from plain import publish_plainly, recipe_file
from texts import documents, write_jsonl

from cuvee.flows import charts, page, watched
from cuvee.schemas.errors import GateError, RecipeError
from cuvee.schemas.manifest import Manifest
from cuvee.schemas.report import Finding, RunReport, SourceReport
from cuvee.storage.corpus import load_manifest
from cuvee.storage.store import open_store
from cuvee.tasks.steps import progress

RECIPE = """corpus: c
holdout: {share: 0}
sources: [{name: a, uri: a/*.jsonl}, {name: b, uri: b/*.jsonl}]
provenance: {unknown_as: human, suspects: keep}
mixture: {human: {min: 0.5}}
"""


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> tuple[RunReport, list[Manifest]]:
    folder = tmp_path_factory.mktemp("page")
    texts = documents(12)
    write_jsonl(folder / "a/1.jsonl", texts[:6])
    write_jsonl(folder / "b/1.jsonl", texts[6:8])
    recipe = recipe_file(folder, RECIPE)
    publish_plainly(recipe, str(folder / "store"))
    write_jsonl(folder / "b/2.jsonl", texts[8:])
    report = publish_plainly(recipe, str(folder / "store"))
    store = open_store(str(folder / "store"))
    return report, [load_manifest(store, "c", version) for version in (1, 2)]


def test_the_page_of_a_version_says_what_it_is_what_changed_and_what_to_type(
    published: tuple[RunReport, list[Manifest]],
) -> None:
    report, (first, second) = published
    finding = Finding(kind="prevalence", subject="a", message="2 of 9 look <b>machine-written</b>")
    told = page.of_report(report.model_copy(update={"findings": (finding,)}), second, first)
    assert told.startswith("## Published c@v0002\n\n12 documents, ")
    assert "**100.0% human** (floor 50%)" in told
    assert "- Look at the findings below." in told
    assert "**prevalence**, a: 2 of 9 look &lt;b&gt;machine-written" in told
    before, after = (sum(sum(own.values()) for own in page.by_source(one).values()) for one in (first, second))
    assert f"| **all** | {before:,} | {after:,} | {after - before:+,} |" in told
    assert f"cuvee pull c@v0002 ./c --store {report.store}" in told
    standing = page.of_report(report.model_copy(update={"published": False}), second, first)
    assert standing.startswith("## Nothing new: c@v0002 stands")
    assert "- Nothing." in standing


def test_a_stopped_and_a_failed_run_say_why_and_what_to_do() -> None:
    stopped = page.of_error("c", GateError("too little human text\nadd a source"))
    assert stopped.startswith("## Stopped: nothing of c was published")
    assert "- too little human text\n- add a source" in stopped
    assert "tables" in stopped
    failed = page.of_error("c", RecipeError("no such key"))
    assert failed.startswith("## Failed")
    assert "tables" not in failed


def test_reasons_are_listed_by_their_counts_and_the_rest_is_counted() -> None:
    dropped = {f"reason_{n}": n for n in range(1, 12)}
    assert page.why(dropped).startswith("reason_11 11, reason_10 10")
    assert page.why(dropped).endswith("reason_4 4, 3 more reasons 6")
    (row,) = page.sources({"a": SourceReport(rows=9, kept=4, pooled=1, dropped={"language": 3}, unreadable=1)})
    assert row["rows"] == sum(int(row[name]) for name in ("published", "not selected", "unreadable", "dropped"))


def test_charts_are_images_in_which_a_name_is_a_text(published: tuple[RunReport, list[Manifest]]) -> None:
    manifest = published[1][1]
    named = {"<script>x</script>": {"human": 3, "unknown": 1}, **page.by_source(manifest)}
    for svg in (charts.provenance(named), charts.bounds(page.bounds(manifest))):
        tree = ET.fromstring(base64.b64decode(charts.address(svg).partition(",")[2]))
        assert not list(tree.iter("{http://www.w3.org/2000/svg}script"))
        assert any((text.text or "").strip() for text in tree.iter("{http://www.w3.org/2000/svg}text"))
    widths = [float(one.get("width", "0")) for one in ET.fromstring(charts.bounds([("human.min", 0.5, 0.25)])).iter()
              if one.get("fill") == "#009E73"]  # fmt: skip
    assert widths == [(760 - 220 - 150) * 0.25]
    assert "none (bound 0.500)" in charts.bounds([("human.min", 0.5, None)])


def test_a_step_is_shown_with_pace_and_time_left_once_it_takes_long() -> None:
    watch, told = watched.Watch(), logging.getLogger("cuvee.progress")
    level = told.level
    told.setLevel(logging.INFO)
    told.addHandler(watch)
    try:
        progress("measure", 0, 20)
        progress("measure", 5, 20)
        assert watch.seen() is None
        watch.begun -= 10
        seen = watch.seen()
        assert seen is not None
        assert seen[0] == 25.0
        assert seen[1] == "measure: 5 of 20, 0.5 a second, about 30 s left"
        progress("pairs", 0, 1)
        assert watch.seen() is None
    finally:
        told.removeHandler(watch)
        told.setLevel(level)
