"""A real headless browser, spoken to by its own protocol over a pair of pipes."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

__all__ = ["Browser", "chromium", "chromium_path"]

_FLAGS: Final = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--hide-scrollbars", "--force-color-profile=srgb", "--disable-dev-shm-usage"),
)


_NAVIGATED: Final = -32000


class Navigated(Exception):
    """The page that was asked is not there any more: another one has taken its place."""


def chromium_path() -> str | None:
    """Return where the browser is; None if it is not installed."""
    return shutil.which("chromium") or shutil.which("chromium-browser")


class Browser:
    """One page of a browser."""

    def __init__(self, to: int, of: int) -> None:
        self._to = to
        self._of = of
        self._number = 0
        self._rest = b""
        self._events: list[dict[str, Any]] = []
        self._session = ""
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        attached = self.ask("Target.attachToTarget", targetId=target, flatten=True)
        self._session = str(attached["sessionId"])
        self.ask("Page.enable")
        self.ask("Runtime.enable")
        self.ask("Log.enable")

    def ask(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Ask the browser for something, and return its answer."""
        self._number += 1
        request: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            request["sessionId"] = self._session
        data = json.dumps(request).encode() + b"\0"
        while data:
            data = data[os.write(self._to, data) :]
        while True:
            message = self._message()
            if message.get("id") == self._number:
                if message.get("error", {}).get("code") == _NAVIGATED:
                    raise Navigated(message["error"]["message"])
                assert "error" not in message, message["error"]
                result: dict[str, Any] = message["result"]
                return result
            self._events.append(message)

    def _message(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            read = os.read(self._of, 1 << 16)
            assert read, "the browser has gone"
            self._rest += read
        said, _, self._rest = self._rest.partition(b"\0")
        message: dict[str, Any] = json.loads(said)
        return message

    def close(self) -> None:
        """Have the browser leave."""
        self._session = ""
        self.ask("Browser.close")

    def wait_event(self, method: str) -> dict[str, Any]:
        """Wait until the browser tells of something, and return it."""
        while True:
            for index, event in enumerate(self._events):
                if event["method"] == method:
                    return self._events.pop(index)
            self._events.append(self._message())

    def open(self, url: str) -> None:
        """Go to an address, and wait until its page is there."""
        self._forget("Page.loadEventFired")
        self.ask("Page.navigate", url=url)
        self.wait_event("Page.loadEventFired")

    def _forget(self, method: str) -> None:
        self._events = [each for each in self._events if each["method"] != method]

    def wait_load(self, script: str) -> None:
        """Do something that leads to another page, and wait until that is there."""
        self._forget("Page.loadEventFired")
        self.run(script)
        self.wait_event("Page.loadEventFired")

    def run(self, script: str) -> Any:
        """Return what an expression is in the page; a promise is waited for."""
        found = self.ask(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def wait_for(self, condition: str) -> None:
        """Wait until an expression is true in the page, which looks at each change of it."""
        watching = (
            "new Promise((done) => { const look = () => { if (" + condition + ") { watch.disconnect"
            "(); done(true); } }; const watch = new MutationObserver(look); watch.observe(document,"
            " {subtree: true, childList: true, attributes: true, characterData: true}); look(); })"
        )
        while True:
            try:
                self.run(watching)
                return
            except Navigated:
                # What is waited for is perhaps on the next page.
                continue

    def complaints(self) -> list[str]:
        """Return what the page logged as errors, such as what its policy forbade."""
        self.ask("Runtime.evaluate", expression="0")
        return [
            str(event["params"])
            for event in self._events
            if event["method"] in ("Log.entryAdded", "Runtime.exceptionThrown")
        ]

    def show_as(self, width: int, height: int, *, dark: bool = False) -> None:
        """Give the page a size and a colour scheme."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.ask("Emulation.setDeviceMetricsOverride", **metrics)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        still = {"name": "prefers-reduced-motion", "value": "reduce"}
        self.ask("Emulation.setEmulatedMedia", features=[scheme, still])

    def picture(self, file: Path) -> None:
        """Write what is seen to a PNG file."""
        data = self.ask("Page.captureScreenshot", format="png", optimizeForSpeed=False)["data"]
        file.write_bytes(base64.b64decode(data))


@contextmanager
def chromium() -> Generator[Browser]:
    """Run a browser for the length of a block."""
    path = chromium_path()
    assert path is not None
    to_read, to_write = os.pipe()
    of_read, of_write = os.pipe()
    with tempfile.TemporaryDirectory() as profile:
        # The browser reads descriptor 3 and writes descriptor 4.
        script = f'exec "$@" 3<&{to_read} 4>&{of_write}'
        arguments = [path, *_FLAGS, "--remote-debugging-pipe", f"--user-data-dir={profile}"]
        process = subprocess.Popen(
            ["/bin/bash", "-c", script, "chromium", *arguments],
            pass_fds=(to_read, of_write),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(to_read)
        os.close(of_write)
        try:
            browser = Browser(to_write, of_read)
            yield browser
            browser.close()
        finally:
            os.close(to_write)
            os.close(of_read)
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
