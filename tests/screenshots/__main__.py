"""`make screenshots`: a store in which something goes on, seen by a real browser, as PNG files.

It takes about a minute: what the pictures show happens in real time.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import anyio
import anyio.to_thread

from support.chromium import Browser, chromium, chromium_path
from support.coordinator import running
from support.scene import Scene, scene

IMAGES: Final = Path(__file__).resolve().parents[2] / "docs" / "images"

WIDE: Final = (1280, 860)
NARROW: Final = (360, 740)

PAUSE_SECONDS: Final = 2.5


@contextmanager
def web_view(root: Path) -> Generator[str]:
    """Serve the view as its command does, and yield the link that lets a browser in."""
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "agent_trace", "web", "--port", "0", "--json"),
            *("--store", str(root)),
        ],
        stdout=subprocess.PIPE,
        env={**os.environ, "LOGNAME": "ada", "USER": "ada"},
    )
    assert process.stdout is not None
    try:
        yield str(json.loads(process.stdout.readline())["link"])
    finally:
        process.send_signal(signal.SIGTERM)
        process.stdout.close()
        process.wait(10)


def take(browser: Browser, link: str, violation: str) -> None:
    """Take all pictures."""
    base = link.partition("/enter")[0]
    browser.show_as(*WIDE)
    browser.open(link)
    browser.wait_for("location.pathname === '/' && document.querySelector('.live.good')")
    pictures = (
        ("web-now", "/", WIDE, False),
        ("web-now-dark", "/", WIDE, True),
        ("web-now-narrow", "/", NARROW, False),
        ("web-documents", "/documents", (1280, 640), False),
        ("web-diff", "/diff?path=plan.md&old=1&new=3", (1280, 820), False),
        ("web-blame", "/blame?path=notes/rows.md", (1280, 480), True),
        ("web-refused", f"/violation?id={violation}", (1280, 720), False),
    )
    for name, path, size, dark in pictures:
        browser.show_as(*size, dark=dark)
        browser.open(base + path)
        if path == "/":
            browser.wait_for("document.querySelector('.live.good')")
        file = IMAGES / f"{name}.png"
        browser.picture(file)
        sys.stderr.write(f"{file.name}: {file.stat().st_size / 1000:.0f} kB\n")


async def main() -> None:
    """Make the store and take the pictures."""
    with tempfile.TemporaryDirectory() as directory, running(Path(directory) / "release") as store:
        root = store.root

        def browse(violation: str) -> None:
            with web_view(root) as link, chromium() as browser:
                take(browser, link, violation)

        async with scene(root, pause_seconds=PAUSE_SECONDS) as there:
            violation = await _refused(there)
            await anyio.to_thread.run_sync(browse, violation)


async def _refused(there: Scene) -> str:
    return (await there.ada.violations())[0].id


if chromium_path() is None:
    sys.exit("chromium is not installed; on Debian: apt-get install chromium")
os.environ["AGENT_TRACE_GENERATED"] = "0"
IMAGES.mkdir(exist_ok=True)
anyio.run(main)
