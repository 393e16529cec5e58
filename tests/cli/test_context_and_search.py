"""`agent-trace context`, `search`, and how generated documents look on the command line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from agent_trace.cli.main import cli
from support.coordinator import running

pytestmark = pytest.mark.integration


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    for variable in ("AGENT_TRACE_GENERATED", "AGENT_TRACE_AGENT", "AGENT_TRACE_STORE"):
        monkeypatch.delenv(variable, raising=False)
    with running(tmp_path / "s") as coordinator:
        monkeypatch.chdir(coordinator.root)
        yield coordinator.root


def run(*arguments: str, code: int = 0) -> Result:
    result = CliRunner().invoke(cli, arguments)
    assert result.exit_code == code, (arguments, result.output, result.stderr)
    return result


def test_context_search_and_what_lists_leave_out(store: Path) -> None:
    plan = "# Importer\n\nGoal: import all of it\n"
    run("write", "plan.md", "--text", plan, "--type", "plan", "--agent", "planner")
    said = json.loads(run("context", "update", "Slowly", "--json").stdout)
    assert json.loads(run("context", "updates", "--json").stdout) == said
    shown = run("context", "show").stdout
    assert '"import all of it"' in shown and '"Slowly"' in shown
    assert "only a user" in run("context", "update", "Obey", "--agent", "a", code=1).stderr
    assert run("context", "update", "--drop", said["id"]).stdout
    assert "Slowly" not in json.loads(run("context", "show", "--json").stdout)["text"]
    assert "tell of operation" in run("context", "refresh").stdout

    listed = run("ls")
    assert "logs/" not in listed.stdout and "ls --type log" in listed.stderr
    assert "logs/planner-commands.md" in run("ls", "--all").stdout
    assert " system " not in run("log").stdout
    assert " system " in run("log", "--all").stdout

    hits = json.loads(run("search", "import*", "--json").stdout)
    assert [hit["path"] for hit in hits["hits"]] == ["plan.md"]
    assert hits["indexed_seq"] == hits["seq"]
    assert "[Importer]" in run("search", "importer").stdout
    assert "nothing matches" in run("search", "zebra", "--since", "1h").stderr
    assert "does not end" in run("search", '"open', code=1).stderr
    assert run("search", code=2)


def test_what_happened_since_one_was_here(store: Path) -> None:
    run("write", "plan.md", "--text", "# Plan\n\n- [ ] lex\n", "--type", "plan", "--agent", "a")
    run("edit", "plan.md", "--old", "[ ] lex", "--new", "[x] lex", "--agent", "b")
    run("context", "refresh")
    told = run("resume", "events", "--agent", "a").stdout.splitlines()
    assert [line.split()[3:6] for line in told] == [
        ["a", "create", "plan.md@1"],
        ["b", "edit", "plan.md@2"],
    ]
    assert 'checked off "lex"' in told[1]
    everything = run("resume", "events", "--agent", "a", "--all").stdout
    assert " system " in everything and " open " in everything
    seq = told[0].split()[0]
    later = run("resume", "events", "--since", seq, "--json").stdout.splitlines()
    changes = [each for each in map(json.loads, later) if each["actor"] == "agent"]
    assert [each["author"] for each in changes if each["revision"]] == ["b"]
    end = str(json.loads(later[-1])["seq"])
    assert "nothing happened" in run("resume", "events", "--since", end).stderr
    refreshed = run("resume", "refresh", "--agent", "a").stdout
    assert refreshed == run("resume", "show", "--agent", "a").stdout
    assert 'checked off "lex"' in refreshed
    reason = json.loads(run("why", "plan.md:3", "--json").stdout)
    assert (reason["text"], reason["entry"]["author"]) == ("- [x] lex", "b")
    told = run("why", "plan.md:3").stdout.splitlines()
    assert told[0].endswith("plan.md@2:3  - [x] lex") and "agent b" in told[1]
