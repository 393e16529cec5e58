"""Rights and refused writes from the command line, against a real coordinator."""

from __future__ import annotations

import json
from collections.abc import Generator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from agent_trace.cli.main import cli
from support.coordinator import running

pytestmark = pytest.mark.integration


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[Path]:
    monkeypatch.delenv("AGENT_TRACE_AGENT", raising=False)
    monkeypatch.delenv("AGENT_TRACE_STORE", raising=False)
    with running(tmp_path / "store") as coordinator:
        monkeypatch.chdir(coordinator.root)
        run("write", "api.md", "--text", "one", "--type", "reference")
        yield coordinator.root


def run(*arguments: str, code: int = 0) -> Result:
    result = CliRunner().invoke(cli, arguments)
    assert result.exit_code == code, (arguments, result.output, result.stderr)
    return result


def test_a_refused_write_is_listed_shown_and_applied(store: Path) -> None:
    refused = run("write", "api.md", "--text", "two", "--agent", "planner", code=1)
    assert "agent-trace unlock api.md --for agent" in refused.stderr
    (listed,) = map(json.loads, run("violations", "--json").stdout.splitlines())
    assert (listed["author"], listed["path"], listed["count"]) == ("planner", "api.md", 1)
    assert listed["id"] in refused.stderr
    again = run("write", "api.md", "--text", "two", "--agent", "planner", "--json", code=1)
    assert json.loads(again.stderr)["error"]["violation"] == listed["id"]
    assert listed["id"] in run("violations").stdout
    assert "-one\n+two" in run("violations", "show", listed["id"]).stdout
    report = json.loads(run("violations", "show", listed["id"], "--json").stdout)
    assert report["texts"][0]["kept"] is True
    assert "put api.md@2" in run("violations", "apply", listed["id"]).stdout
    assert run("read", "api.md").stdout == "two\n"
    assert run("violations").stdout == ""


def test_a_refused_write_is_known_by_its_number_and_put_over_a_revision(store: Path) -> None:
    run("write", "api.md", "--text", "two", "--agent", "planner", code=1)
    run("write", "api.md", "--text", "three")
    (listed,) = map(json.loads, run("violations", "--json").stdout.splitlines())
    number = listed["id"].removeprefix("violation-")
    assert listed["id"] in run("violations", "show", number).stdout
    assert f"those that wait: {listed['id']}" in run("violations", "show", "1", code=1).stderr
    late = run("violations", "apply", number, code=1)
    assert "violations apply ID --if-revision N" in late.stderr
    run("violations", "apply", number, "--if-revision", "1", code=1)
    assert "put api.md@3" in run("violations", "apply", number, "--if-revision", "2").stdout
    assert run("read", "api.md").stdout == "two\n"


def test_what_needs_a_confirmation_says_which_violation_to_apply_with_it(store: Path) -> None:
    run("write", "context.md", "--text", "mine", "--agent", "planner", code=1)
    (listed,) = map(json.loads, run("violations", "--json").stdout.splitlines())
    refused = run("violations", "apply", listed["id"], code=1)
    assert f"agent-trace violations apply {listed['id']} --confirm" in refused.stderr
    run("violations", "apply", listed["id"], "--confirm")
    assert run("violations").stdout == ""


@pytest.mark.parametrize("path", ["../x.md", "/etc/agent-trace.md", ":/../x.md"])
def test_a_write_outside_of_the_store_is_refused_on_record(store: Path, path: str) -> None:
    refused = run("write", path, "--text", "two", "--agent", "planner", "--json", code=1)
    error = json.loads(refused.stderr)["error"]
    assert error["code"] == "invalid_path"
    assert "two" in run("violations", "show", error["violation"]).stdout
    assert run("read", path, "--json", code=1).stderr.count("outside of the store") == 1


def test_a_refused_write_is_discarded(store: Path) -> None:
    run("write", "api.md", "--text", "two", "--agent", "planner", code=1)
    (listed,) = map(json.loads, run("violations", "--json").stdout.splitlines())
    run("violations", "discard", listed["id"], "--agent", "planner", code=1)
    told = json.loads(run("violations", "discard", listed["id"], "--json").stdout)
    assert told == {"violation": listed["id"], "discarded": True}
    left = [json.loads(line)["id"] for line in run("violations", "--json").stdout.splitlines()]
    assert listed["id"] not in left


def test_an_unlock_opens_and_a_lock_closes(store: Path) -> None:
    run("unlock", "api.md", "--for", "agent:planner", "--duration", "10m")
    run("write", "api.md", "--text", "two", "--agent", "planner")
    run("write", "api.md", "--text", "three", "--agent", "coder", code=1)
    told = json.loads(run("permissions", "api.md", "--agent", "planner", "--json").stdout)
    assert told["grants"][0]["agent"] == "planner"
    assert 590 < told["grants"][0]["seconds_left"] <= 600
    assert "unlocked for planner" in run("permissions", "api.md").stdout
    run("lock", "api.md")
    run("write", "api.md", "--text", "three", "--agent", "planner", code=1)
    run("unlock", "api.md", "--for", "everybody", code=2)
    run("unlock", "api.md", "--duration", "soon", code=2)


def test_a_confirmation_overrides_and_a_type_can_be_changed(store: Path) -> None:
    assert "--confirm" in run("write", "context.md", "--text", "x", code=1).stderr
    run("write", "context.md", "--text", "x", "--confirm")
    run("reclassify", "api.md", "plan", "--agent", "planner", code=1)
    assert "reclassify api.md@2" in run("reclassify", "api.md", "plan").stdout
    run("write", "api.md", "--text", "two", "--agent", "planner")


def test_permissions_show_the_table_and_why_not(store: Path) -> None:
    table = run("permissions", "--agent", "planner").stdout
    assert "as agent, documents of each type:" in table
    rows = {line.split()[0]: line.split()[1:] for line in table.splitlines()[2:7]}
    assert rows["plan"] == ["yes"] * 5 + ["no"] and rows["reference"] == ["no"] * 6


def test_a_reader_sees_everything_and_changes_nothing(store: Path) -> None:
    assert run("read", "api.md", "--reader", "eve").stdout == "one\n"
    assert "as reader" in run("--reader", "eve", "permissions", "api.md").stdout
    refused = run("write", "plan.md", "--text", "mine", "--reader", "eve", code=1)
    assert "a reader may create nothing" in refused.stderr
    run("lease", "acquire", "plan.md", "--reader", "eve", code=1)
    run("stop", "--reader", "eve", code=1)
    assert {each.split()[3] for each in run("violations").stdout.splitlines()[1:]} == {"reader"}
    assert run("ls", "--json").stdout.count("\n") == 1
    run("ls", "--reader", "", code=2)
    both = run("ls", "--reader", "eve", "--agent", "planner", code=2)
    assert "acts alone" in both.stderr


def test_a_reader_may_keep_a_session_beside_a_user_of_the_same_name(store: Path) -> None:
    first = json.loads(run("connect", "--reader", "eve", "--json").stdout)
    again = json.loads(run("connect", "--reader", "eve", "--json").stdout)
    assert (first["actor"], first["session"]) == ("reader", again["session"])
    assert again["resumed"] is True
    run("disconnect", "--reader", "eve")


def test_events_show_what_one_agent_did(store: Path) -> None:
    run("write", "a.md", "--text", "one", "--agent", "planner")
    run("write", "b.md", "--text", "one", "--agent", "coder")
    told = run("events", "--agent", "coder", "--json").stdout.splitlines()
    assert {json.loads(line)["author"] for line in told} == {"coder"}
    assert told == run("events", "--author", "coder", "--json").stdout.splitlines()
    assert json.loads(run("wait", "--agent", "coder", "--since", "1", "--json").stdout)["cursor"]


def test_an_unlock_that_lasts_too_long_says_how_long_it_may(store: Path) -> None:
    refused = run("unlock", "api.md", "--duration", "9999h", code=2)
    assert "an unlock lasts 1 s to 24h, not 9999h" in refused.stderr


def test_what_is_not_found_is_looked_for_in_its_own_list(store: Path) -> None:
    for command, listing in (
        (("violations", "show", "violation-9"), "agent-trace violations"),
        (("drafts", "show", "draft-9"), "agent-trace drafts"),
        (("read", "nope.md"), "agent-trace ls"),
    ):
        assert run(*command, code=1).stderr.rstrip().endswith(f"with: {listing}")


def test_a_connected_agent_goes_on_after_a_refusal(store: Path) -> None:
    run("write", "plan.md", "--text", "# Plan", "--type", "plan")
    run("connect", "--agent", "planner")
    for _ in range(2):
        failed = run("edit", "plan.md", "--old", "no", "--new", "x", "--agent", "planner", code=1)
        assert "is not in plan.md" in failed.stderr
        run("write", "api.md", "--text", "mine", "--agent", "planner", code=1)
    run("append", "plan.md", "--text", "- [ ] go on", "--agent", "planner")
    run("disconnect", "--agent", "planner")
