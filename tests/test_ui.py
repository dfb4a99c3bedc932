"""Prefect's UI in Chromium: the form, what it refuses, a run's page; CUVEE_SCREENSHOTS names a folder of pictures."""

import base64
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from browser import Page, opened
from deploying import Place, deployed, eventually

pytestmark = pytest.mark.slow
SHARE = "document.querySelector('input[type=number]')"
SUBMIT = "[...document.querySelectorAll('button')].find(button => button.innerText.trim() === 'Submit')"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with deployed(tmp_path_factory.mktemp("ui")) as found:
        yield found


@pytest.fixture
def page(place: Place, tmp_path: Path) -> Iterator[Page]:
    with opened(place.api.removesuffix("/api"), tmp_path) as found:
        found.call("Emulation.setDeviceMetricsOverride", width=1400, height=1200, deviceScaleFactor=1, mobile=False)
        found.wait_for("document.querySelector('input[type=password]') !== null")
        found.type_in("input[type=password]", place.login)
        found.wait_for("document.body.innerText.includes('Flow Runs')")
        yield found


def look(page: Page, name: str, words: str) -> None:
    """Wait for words, and keep a picture where the environment says."""
    page.wait_for(f"document.body.innerText.includes({words!r})")
    folder = os.environ.get("CUVEE_SCREENSHOTS")
    if folder:
        time.sleep(1)  # what fades in
        picture = base64.b64decode(page.call("Page.captureScreenshot", format="png")["data"])
        (Path(folder) / f"{name}.png").write_bytes(picture)


def fill_in(page: Page, share: str) -> None:
    page.value(f"{SHARE}.focus(); {SHARE}.select()")
    page.call("Input.insertText", text=share)
    page.value(f"{SUBMIT}.click()")


def test_the_form_refuses_in_words_and_starts_a_run_whose_page_says_what_it_did(place: Place, page: Page) -> None:
    ui = place.api.removesuffix("/api")
    page.call("Page.navigate", url=f"{ui}/deployments/deployment/{place.deployment('ad-hoc')['id']}/run")
    page.wait_for(f"{SHARE} !== null && {SUBMIT} !== undefined")
    fill_in(page, "1.7")
    look(page, "form", "1.7 is greater than the maximum of 1")
    assert not place.ask("/flow_runs/filter", AD_HOC)
    fill_in(page, "0.7")
    started = eventually(lambda: place.ask("/flow_runs/filter", AD_HOC), "the run that the form starts")
    run = place.ended(started[0]["id"])
    assert run["name"].endswith("min=0.7")
    page.call("Page.navigate", url=f"{ui}/runs/flow-run/{run['id']}")
    look(page, "run", "Published")
    shown = {one["key"]: one["id"] for one in place.ask("/artifacts/filter", {}) if one["flow_run_id"] == run["id"]}
    for name, words in ARTIFACTS.items():
        page.call("Page.navigate", url=f"{ui}/artifacts/artifact/{shown[f'cuvee-library-{name}']}")
        look(page, name, words)
    page.wait_for("[...document.images].some(image => image.src.startsWith('data:') && image.naturalWidth > 0)")


AD_HOC = {"deployments": {"name": {"any_": ["ad-hoc"]}}}
ARTIFACTS = {
    "run": "What to do",
    "sources": "not selected",
    "steps": "dropped",
    "provenance": "Who wrote library@v0001",
}
