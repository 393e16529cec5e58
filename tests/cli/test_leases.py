"""Leases of a session whose commands are processes of their own, against a real coordinator."""

from __future__ import annotations

import json
from collections.abc import Generator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from agent_trace.cli.kept import LEASES_KEPT_MAX, open_kept
from agent_trace.cli.main import cli
from agent_trace.client import new_key
from agent_trace.config import Identity
from agent_trace_protocol import Actor, AgentName
from support.coordinator import running

pytestmark = pytest.mark.integration


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[Path]:
    monkeypatch.delenv("AGENT_TRACE_AGENT", raising=False)
    monkeypatch.delenv("AGENT_TRACE_STORE", raising=False)
    with running(tmp_path / "store") as coordinator:
        monkeypatch.chdir(coordinator.root)
        yield coordinator.root


def run(*arguments: str, code: int = 0) -> Result:
    result = CliRunner().invoke(cli, arguments)
    assert result.exit_code == code, (arguments, result.output, result.stderr)
    return result


def planner(*arguments: str, code: int = 0) -> Result:
    return run("--agent", "planner", *arguments, code=code)


def test_the_first_command_after_its_lease_was_taken_away_is_refused_and_told(store: Path) -> None:
    planner("lease", "acquire", "plan.md")
    planner("write", "plan.md", "--text", "one")
    run("lease", "steal", "plan.md")
    run("write", "plan.md", "--text", "theirs")
    late = planner("write", "plan.md", "--text", "mine", "--json", code=1)
    error = json.loads(late.stderr)["error"]
    assert error["code"] == "stale_lease" and error["lease"]["draft"]
    assert run("read", "plan.md").stdout == "theirs\n"
    assert planner("drafts", "show", error["lease"]["draft"]).exit_code == 0
    # Whoever was told writes knowingly, and is warned.
    assert "agree before you go on" in planner("write", "plan.md", "--text", "mine").stderr


def test_what_is_released_or_taken_anew_is_held_to_no_more(store: Path) -> None:
    planner("lease", "acquire", "a.md")
    planner("lease", "acquire", "b.md")
    run("lease", "steal", "a.md")
    run("lease", "release", "a.md")
    planner("lease", "acquire", "a.md")
    planner("lease", "release", "b.md")
    for path in ("a.md", "b.md", "c.md"):
        planner("write", path, "--text", "one")


def test_the_file_of_a_session_keeps_its_key_whatever_it_holds(tmp_path: Path) -> None:
    identity, key = Identity(Actor.AGENT, AgentName("planner")), new_key()
    with open_kept(tmp_path, identity, create=True) as kept:
        assert kept is not None and kept.key is None and kept.leases == {}
        kept.hold_to({1: "a.md"})
        assert kept.key is None
        kept.keep(key)
        many = dict.fromkeys(range(LEASES_KEPT_MAX + 7), "é" * 500)
        kept.hold_to(many)
        assert kept.key == key
        assert sorted(kept.leases) == list(range(7, LEASES_KEPT_MAX + 7))
        kept.hold_to({3: "a.md"})
        assert (kept.key, kept.leases) == (key, {3: "a.md"})
        kept.keep(key)
        assert (kept.key, kept.leases) == (key, {})
