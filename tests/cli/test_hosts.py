"""The commands setup and hook, as a person and as an agent host run them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from agent_trace.hosts import HOSTS
from support.coordinator import running

AGENT_TRACE = str(Path(sys.executable).with_name("agent-trace"))


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    for name in ("XDG_CONFIG_HOME", "XDG_STATE_HOME", "CLAUDE_CONFIG_DIR", "CODEX_HOME"):
        monkeypatch.delenv(name, raising=False)
    return home


def run(
    directory: Path, *arguments: str, given: str | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [AGENT_TRACE, *arguments],
        cwd=directory,
        # No host's own program is found.
        env={**os.environ, "PATH": "/usr/bin:/bin"},
        input=given,
        stdin=subprocess.DEVNULL if given is None else None,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=60,
        check=False,
    )


def test_setup_shows_checks_does_and_undoes(home: Path, tmp_path: Path) -> None:
    assert run(tmp_path, "setup", "claude", "--check").returncode == 1
    shown = run(tmp_path, "setup", "claude", "codex", "--dry-run")
    assert shown.returncode == 0
    assert '+        "agent-trace": {' not in shown.stdout  # two blanks for a level
    assert '+    "agent-trace": {' in shown.stdout
    assert "+[mcp_servers.agent-trace]" in shown.stdout
    assert list(home.iterdir()) == []
    done = run(tmp_path, "setup", "claude", "codex", "--instructions", "--json")
    assert done.returncode == 0, done.stderr
    reports = json.loads(done.stdout)
    assert [(each["host"], each["what"], each["state"]) for each in reports] == [
        (host, what, "written")
        for host in ("claude", "codex")
        for what in ("server", "hook", "instructions")
    ]
    assert run(tmp_path, "setup", "claude", "codex", "--instructions", "--check").returncode == 0
    again = run(tmp_path, "setup", "claude", "codex", "--instructions")
    assert again.stdout.count("in place") == 6
    assert "trusted it" in again.stderr
    overview = run(tmp_path, "setup").stdout
    assert overview.count("in place") == 4
    removed = run(tmp_path, "setup", "claude", "codex", "--remove")
    assert removed.stdout.count("removed") == 6
    assert [path for path in home.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize(
    "arguments",
    [("nobody",), ("--remove",), ("claude", "--check", "--remove"), ("claude", "--scope", "all")],
)
def test_a_setup_that_can_not_be_meant_is_a_usage_error(
    tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    assert run(tmp_path, "setup", *arguments).returncode == 2


def test_a_file_that_can_not_be_parsed_is_refused(home: Path, tmp_path: Path) -> None:
    (home / ".claude.json").write_text("{\n  a: 1\n}\n", encoding="utf-8")
    refused = run(tmp_path, "setup", "cursor", "claude")
    assert refused.returncode == 1
    assert f"{home / '.claude.json'}: line 2, column 3" in refused.stderr
    assert not (home / ".cursor").exists()


def test_the_hook_briefs_a_new_session_in_the_words_of_its_host(tmp_path: Path) -> None:
    with running(tmp_path / "store") as coordinator:
        root = coordinator.root
        assert run(root, "write", "plan.md", "--text", "# Plan").returncode == 0
        inside = root / "deep"
        inside.mkdir()
        event = json.dumps({"session_id": "s-1", "cwd": str(inside), "source": "startup"})
        for name in HOSTS:
            told = run(tmp_path, "hook", name, given=event)
            assert (told.returncode, told.stderr) == (0, "")
            if name in ("vscode", "windsurf"):
                text = told.stdout
            elif name == "cursor":
                text = json.loads(told.stdout)["additional_context"]
            else:
                said = json.loads(told.stdout)["hookSpecificOutput"]
                assert said["hookEventName"] == "SessionStart"
                text = said["additionalContext"]
            assert "plan.md" in text
        # It is no session of its own.
        listed = run(root, "sessions", "--json").stdout
        assert "hook" not in listed


@pytest.mark.parametrize(
    "given", [None, "", "not json", "[]", '{"cwd": "/nowhere/at/all"}', '{"cwd": 1}', "\ud800"]
)
def test_the_hook_says_nothing_where_there_is_no_store(tmp_path: Path, given: str | None) -> None:
    if given == "\ud800":
        given = '{"cwd": "\\ud800"}'
    told = run(tmp_path, "hook", "claude", given=given)
    assert (told.returncode, told.stdout, told.stderr) == (0, "", "")


IMPATIENT = """
from agent_trace.cli import hosts, main
hosts.HOOK_SECONDS_MAX = 0.2
main()
"""
"""The command, with less patience for an answer than a host has."""


def test_the_hook_neither_waits_for_an_open_input_nor_for_a_store_that_does_not_answer(
    tmp_path: Path,
) -> None:
    with running(tmp_path / "store") as coordinator:
        # It takes connections and never answers.
        os.kill(coordinator.process.pid, 19)
        started = time.monotonic()
        with subprocess.Popen(
            [sys.executable, "-c", IMPATIENT, "hook", "claude"],
            cwd=coordinator.root,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        ) as process:
            assert process.stdout is not None
            assert process.stdout.read() == b""
            assert process.wait(60) == 0
        # Far more than it may take, far less than a host's patience.
        assert time.monotonic() - started < 60
