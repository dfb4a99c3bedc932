"""A page in a headless Chromium, driven over its DevTools protocol; the browser is ended by its process."""

import json
import re
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import ClientConnection, connect

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")


class Page:
    """An open page."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._asked = 0

    def call(self, method: str, **parameters: Any) -> Any:
        self._asked += 1
        self._socket.send(json.dumps({"id": self._asked, "method": method, "params": parameters}))
        while (answer := json.loads(self._socket.recv(60))).get("id") != self._asked:
            pass  # an event
        return answer["result"]

    def value(self, expression: str) -> Any:
        return self.call("Runtime.evaluate", expression=expression, returnByValue=True)["result"].get("value")

    def wait_for(self, expression: str, seconds: float = 60) -> None:
        deadline = time.monotonic() + seconds
        while not self.value(expression):
            assert time.monotonic() < deadline, f"{expression} stays false: {self.value('document.body.innerText')}"
            time.sleep(0.2)

    def type_in(self, selector: str, text: str) -> None:
        self.value(f"document.querySelector({json.dumps(selector)}).focus()")
        self.call("Input.insertText", text=text)
        for kind in ("keyDown", "keyUp"):
            key = {"key": "Enter", "code": "Enter", "windowsVirtualKeyCode": 13, "text": "\r"}
            self.call("Input.dispatchKeyEvent", type=kind, **key)


@contextmanager
def opened(address: str, profile: Path) -> Iterator[Page]:
    """Open a page; skips the test where there is no Chromium. profile: a folder for the browser."""
    program = next(filter(None, map(shutil.which, NAMES)), None)
    if program is None:
        pytest.skip(f"none of {', '.join(NAMES)} is installed")
    options = ["--headless=new", "--no-sandbox", "--disable-gpu", "--remote-debugging-port=0"]
    child = subprocess.Popen(
        [program, *options, f"--user-data-dir={profile}", "about:blank"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert child.stderr is not None
        listening = next(filter(None, (re.search(r"ws://([0-9.:]+)/", line) for line in child.stderr)))
        pages = json.load(urllib.request.urlopen(f"http://{listening[1]}/json", timeout=60))
        contact = next(page["webSocketDebuggerUrl"] for page in pages if page["type"] == "page")
        with connect(contact, max_size=None, proxy=None) as socket:
            page = Page(socket)
            page.call("Page.navigate", url=address)
            yield page
    finally:
        child.kill()
        child.wait()
