"""A headless Chromium, driven by its DevTools protocol."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import ClientConnection, connect

NAMES = ("chromium", "chromium-browser", "google-chrome")
PROGRAM = next(filter(None, map(shutil.which, NAMES)), None)
needs_browser = pytest.mark.skipif(
    PROGRAM is None, reason=f"needs a browser on the PATH: {', '.join(NAMES)}"
)


class Page:
    """One page of a browser."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection, self._numbers = connection, count(1)
        self._events: list[dict] = []

    def send(self, method: str, **parameters: Any) -> dict:
        """Give a command of the protocol and return its result."""
        number = next(self._numbers)
        self._connection.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while True:
            said = json.loads(self._connection.recv(timeout=60))
            if said.get("id") == number:
                assert "error" not in said, said
                return said["result"]
            self._events.append(said)

    def event(self, method: str) -> dict:
        """Wait for an event of the protocol and return what it tells."""
        while True:
            for number, said in enumerate(self._events):
                if said.get("method") == method:
                    return self._events.pop(number)["params"]
            self._events.append(json.loads(self._connection.recv(timeout=60)))

    def value(self, expression: str) -> Any:
        """Return what a JavaScript expression is worth, asked as if the user had clicked."""
        told = {"expression": expression, "returnByValue": True, "userGesture": True}
        return self.send("Runtime.evaluate", **told)["result"].get("value")

    def wait_for(self, expression: str, seconds: float = 240) -> Any:
        """Wait until a JavaScript expression is true and return it."""
        until = time.monotonic() + seconds
        while not (found := self.value(expression)):
            text = self.value("document.body ? document.body.innerText : ''")
            assert time.monotonic() < until, f"{expression} is never true. The page says: {text}"
            time.sleep(0.25)
        return found

    def click(self, text: str) -> None:
        """Click the button with this text."""
        button = (
            f"[...document.querySelectorAll('button')].find(e => e.innerText.includes({text!r}))"
        )
        self.wait_for(f"!!{button}")
        self.value(f"{button}.click()")

    def choose(self, button: str, files: Sequence[Path]) -> None:
        """Click a button that opens the choice of files, and choose some."""
        self.send("Page.setInterceptFileChooserDialog", enabled=True)
        self.click(button)
        node = self.event("Page.fileChooserOpened")["backendNodeId"]
        self.send("DOM.setFileInputFiles", files=list(map(str, files)), backendNodeId=node)


@contextmanager
def opened(url: str, profile: Path) -> Iterator[Page]:
    """Open a page in a browser of its own."""
    options = ("--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-port=0")
    options += ("--disable-dev-shm-usage", "--remote-allow-origins=*")
    command = [str(PROGRAM), *options, f"--user-data-dir={profile}", "about:blank"]
    browser = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        port = _port(profile / "DevToolsActivePort")
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/json/list", timeout=60) as told:
            target = next(each for each in json.load(told) if each["type"] == "page")
        address = target["webSocketDebuggerUrl"]
        with connect(address, max_size=None, open_timeout=60) as connection:
            page = Page(connection)
            page.send("Page.enable")
            page.send("Page.navigate", url=url)
            yield page
    finally:
        browser.terminate()
        try:
            browser.wait(20)
        except subprocess.TimeoutExpired:
            browser.kill()
            browser.wait()


def _port(file: Path) -> str:
    until = time.monotonic() + 120
    while not (file.is_file() and file.read_text().strip()):
        assert time.monotonic() < until, "the browser does not start"
        time.sleep(0.1)
    return file.read_text().split()[0]
