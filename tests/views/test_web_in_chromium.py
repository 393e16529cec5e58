"""The web view in a real browser: getting in, seeing what happens as it happens, deciding."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path

import pytest

from agent_trace import connect_sync
from support.chromium import Browser, chromium, chromium_path
from support.coordinator import running
from support.scene import HOSTILE

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(
        chromium_path() is None,
        reason="needs chromium (on Debian: apt-get install chromium); pages are tested without",
    ),
]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Generator[Path]:
    root = tmp_path_factory.mktemp("release")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AGENT_TRACE_GENERATED", "0")
        with running(root):
            yield root


@pytest.fixture(scope="module")
def link(root: Path) -> Generator[str]:
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "agent_trace", "web", "--port", "0", "--json"),
            *("--store", str(root)),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None and process.stderr is not None
    yield str(json.loads(process.stdout.readline())["link"])
    # A page is still open, and its stream must not keep the process from leaving.
    process.send_signal(signal.SIGTERM)
    said = process.stderr.read().decode()
    process.stdout.close()
    process.stderr.close()
    assert process.wait(20) in (0, -signal.SIGTERM)
    assert said == ""


@pytest.fixture(scope="module")
def browser(link: str) -> Generator[Browser]:
    with chromium() as browser:
        browser.show_as(1280, 800)
        browser.open(link)
        browser.wait_for("location.pathname === '/' && document.getElementById('workers')")
        yield browser


def test_what_happens_is_seen_as_it_happens(root: Path, browser: Browser, link: str) -> None:
    browser.open(link.partition("/enter")[0] + "/")
    browser.wait_for("document.querySelector('.live.good')")
    assert "Nobody is at work." in browser.run("document.getElementById('workers').innerText")
    with connect_sync(root, agent="planner") as planner:
        planner.write("plan.md", f"# Plan\n{HOSTILE}\n", type="plan", message=HOSTILE[:47])
        browser.wait_for("document.getElementById('recent').innerText.includes('plan.md@1')")
        browser.wait_for("document.querySelector('#workers .card .name')")
        assert browser.run("document.querySelector('#workers .name').innerText") == "planner"
        planner.append("plan.md", "more\n")
        browser.wait_for("document.getElementById('recent').innerText.includes('plan.md@2')")
        assert browser.run("document.querySelectorAll('#lanes .mark').length") >= 1
    browser.wait_for("document.getElementById('workers').innerText.includes('Nobody')")
    assert browser.run("document.title.includes('owned')") is False
    assert browser.complaints() == []


def test_no_page_is_wider_than_the_window(root: Path, browser: Browser, link: str) -> None:
    with connect_sync(root, user="ada") as ada:
        ada.write("long.md", "word " * 200 + "\n" + "x" * 600 + "\n")
    pages = ("/", "/sessions", "/activity", "/documents", "/health", "/search?q=word")
    for page in (*pages, "/document?path=long.md", "/diff?path=long.md", "/blame?path=long.md"):
        browser.open(link.partition("/enter")[0] + page)
        for width in (360, 1280, 1600):
            browser.show_as(width, 800)
            assert browser.run("window.innerWidth") == width
            assert browser.run("document.documentElement.scrollWidth") <= width, page
        assert browser.complaints() == [], page


def test_a_refused_write_is_applied_in_two_steps(root: Path, browser: Browser, link: str) -> None:
    with connect_sync(root, user="ada") as ada:
        ada.write("guide.md", "old\n", type="reference")
        with connect_sync(root, agent="hasty") as agent, pytest.raises(Exception, match="refer"):
            agent.write("guide.md", "new\n")
        id = ada.violations()[0].id
    browser.show_as(1280, 800)
    browser.open(f"{link.partition('/enter')[0]}/violation?id={id}")
    form = "document.querySelector('form[action=\"/violation/apply\"]')"
    # Without its box ticked the browser does not even send it.
    assert browser.run(f"{form}.checkValidity()") is False
    browser.run("document.querySelector('.decision summary').click()")
    browser.run(f"{form}.querySelector('[name=sure]').click()")
    browser.wait_load(f"{form}.querySelector('button').click()")
    assert "applied guide.md@2" in browser.run("document.body.innerText")
    with connect_sync(root, user="ada") as ada:
        assert ada.read("guide.md").text == "new\n"


def test_the_search_field_is_a_key_away(browser: Browser, link: str) -> None:
    browser.open(link.partition("/enter")[0] + "/documents")
    for kind in ("keyDown", "keyUp"):
        browser.ask("Input.dispatchKeyEvent", type=kind, key="/", text="/")
    assert browser.run("document.activeElement.name") == "q"


def test_a_browser_without_the_link_enters_with_the_token(browser: Browser, link: str) -> None:
    browser.ask("Network.clearBrowserCookies")
    browser.open(link.partition("/enter")[0] + "/health")
    browser.run("document.querySelector('[name=token]').value = 'wrong'")
    browser.wait_load("document.querySelector('form button').click()")
    assert "That is not the token." in browser.run("document.body.innerText")
