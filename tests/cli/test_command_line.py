"""The command line as a person or a script meets it, before any store and with a scripted one."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from agent_trace import __version__
from agent_trace.cli.main import cli
from agent_trace.testing import accept_all
from agent_trace_protocol import (
    Action,
    Actor,
    Append,
    Committed,
    Conflict,
    ConflictInfo,
    DocumentInfo,
    DocumentType,
    ListDocuments,
    Log,
    LogEntry,
    LogPage,
    Open,
    Operation,
    Page,
    PermissionDenied,
    Put,
    Read,
    Reply,
    Request,
    SectionEdit,
    SectionMode,
    Transact,
    WriteResult,
)
from agent_trace_protocol import replies as wire
from support.serving import serving


@pytest.fixture(autouse=True)
def _surroundings(  # pyright: ignore[reportUnusedFunction] - pytest uses it
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[None]:
    monkeypatch.delenv("AGENT_TRACE_AGENT", raising=False)
    monkeypatch.delenv("AGENT_TRACE_STORE", raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def _run(*arguments: str, input: str | None = None) -> Result:
    return CliRunner().invoke(cli, arguments, input=input)


_CONFLICTS = {
    "overlap.md": ConflictInfo("overlap.md", 1, 3, "bob", 5, "-a\n+b\n", "draft-2", False),
    "file.md": ConflictInfo("file.md", 0, 0),
    "taken.md": ConflictInfo("taken.md", 0, 4, "bob", 5),
    "gone.md": ConflictInfo("gone.md", 2, 0),
    "moved on.md": ConflictInfo("moved on.md", 2, 3, "bob", 5),
}


def _log_page(request: Log) -> LogPage:
    """A log of 300 sessions that began, below the first write and the one that ended last."""
    if request.action is Action.DRAFT:
        return LogPage((), False)
    rows = [
        (302, Action.CLOSE, "", "closed"),
        (301, Action.PUT, "plan.md", "put +2 -1"),
        *((seq, Action.OPEN, "", "connected") for seq in range(300, 1, -1)),
        (1, Action.CREATE, "plan.md", "create +1 -0"),
    ]
    entries = [
        LogEntry(
            *(seq, 0, Actor.AGENT, "ann", "s", action, path),
            *((3, 2, 1) if path else (0, 0, 0)),
            summary,
            "c0ffee" * 6,
        )
        for seq, action, path, summary in rows
        if (not request.before or seq < request.before) and request.action in (None, action)
    ]
    return LogPage(tuple(entries[: request.limit]), len(entries) > request.limit)


def _script(request: Request) -> Reply | None:
    if isinstance(request, ListDocuments):
        plan = DocumentInfo(1, "plan.md", DocumentType.PLAN, 3, 2048, 7, 0, "ann")
        evil = DocumentInfo(2, "\x1b[31mx.md", DocumentType.SCRATCH, 1, 5, 8, 0, "bob")
        return Page((plan, evil), False)
    if isinstance(request, Log):
        return _log_page(request)
    if isinstance(request, Read):
        content = b"\xff\xfe" if request.path == "binary" else "é\n".encode()
        return wire.Document("plan.md", DocumentType.PLAN, 3, content, 7, 0, "ann")
    if isinstance(request, Transact):
        operation = request.operations[0]
        assert isinstance(operation, Put)
        if operation.path == "reference.md":
            raise PermissionDenied("an agent may not write reference.md")
        if operation.path in _CONFLICTS:
            raise Conflict("no", _CONFLICTS[operation.path])
        if operation.if_revision == 1:
            info = ConflictInfo("plan.md", 1, 3, "bob", 5, "-old\n+new\n", "draft-1", True)
            raise Conflict("plan.md is at revision 3, not 1", info)
        result = WriteResult(operation.path, 1, Action.CREATE, 1, 0)
        return Committed(1, (result,), "c0ffee" * 6 + request.durability.value)
    return accept_all(request)


@pytest.fixture
def endpoint(tmp_path: Path) -> Iterator[str]:
    with serving(tmp_path / "s", _script) as address:
        yield address


def test_the_version_is_told() -> None:
    assert _run("--version").stdout.startswith("agent-trace 0.")


def test_the_version_is_told_as_json() -> None:
    for arguments in (("--version", "--json"), ("--json", "--version")):
        result = _run(*arguments)
        assert (result.exit_code, result.stdout) == (0, f'{{"version":"{__version__}"}}\n')


def test_a_group_without_a_command_is_a_wrong_use_as_json_too() -> None:
    result = _run("--json", "lease")
    assert (result.exit_code, result.stdout) == (2, "")
    error = json.loads(result.stderr)["error"]
    assert error["code"] == "usage"
    assert error["message"].endswith(" lease needs a command: acquire, ls, release, renew, steal")
    assert error["hint"].endswith(" lease --help")


def test_help_lists_every_command() -> None:
    listed = _run("--help").stdout
    for command in (
        *("init", "status", "stop", "connect", "disconnect", "sessions", "completion"),
        *("add", "write", "append", "edit", "section", "rm", "mv", "restore", "accept"),
        *("read", "ls", "log", "serve"),
    ):
        assert f"\n  {command} " in listed


def test_no_line_of_the_help_is_cut() -> None:
    assert "..." not in _run("--help").stdout.replace("[ARGS]...", "")


def test_help_has_every_command_once_in_the_section_that_it_belongs_to() -> None:
    listed = _run("--help").stdout.partition("\nBegin:\n")[2]
    names = re.findall(r"^  ([a-z]\S*)", listed, re.MULTILINE)
    assert len(names) == len(set(names))
    # Only a plugin's commands may be in none.
    assert "\nMore:\n" not in listed
    context = click.Context(cli)
    commands = {name: cli.get_command(context, name) for name in cli.list_commands(context)}
    assert set(names) == {name for name, each in commands.items() if each and not each.hidden}


def test_a_command_that_does_not_exist_is_a_wrong_use() -> None:
    result = _run("frobnicate")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "No such command 'frobnicate'" in result.stderr
    assert "Did you mean sessions?" in _run("sesions").stderr


def test_without_a_command_the_help_is_shown_as_a_wrong_use() -> None:
    result = _run()
    assert (result.exit_code, result.stdout) == (2, "")
    assert "Usage:" in result.stderr


def test_outside_of_a_store_the_next_step_is_told(tmp_path: Path) -> None:
    result = _run("ls")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == (
        f"error: {tmp_path.resolve()} is not in a store, nor is any directory above it; "
        "run agent-trace init to make one\nhint: or name the store with --store DIR\n"
    )


@pytest.mark.parametrize("arguments", [("--json", "ls"), ("ls", "--json")])
def test_errors_are_json_on_stderr_when_json_is_asked_for(arguments: tuple[str, str]) -> None:
    result = _run(*arguments)
    assert (result.exit_code, result.stdout) == (1, "")
    error = json.loads(result.stderr)["error"]
    assert (error["code"], set(error)) == ("not_found", {"code", "message", "hint"})


def test_a_wrong_use_is_json_as_well() -> None:
    result = _run("write", "--json")
    assert result.exit_code == 2
    assert json.loads(result.stderr) == {
        "error": {
            "code": "usage",
            "message": "Missing argument 'PATH'.",
            "hint": "see: cli write --help",
        }
    }


@pytest.mark.parametrize(
    "arguments",
    [("--store", "E", "--agent", "ann", "ls"), ("ls", "--store", "E", "--agent", "ann")],
)
def test_global_options_may_stand_before_and_after_the_command(
    endpoint: str, arguments: tuple[str, ...]
) -> None:
    result = _run(*(endpoint if each == "E" else each for each in arguments))
    assert (result.exit_code, result.stderr) == (0, "")


def test_a_name_that_is_none_is_refused(endpoint: str) -> None:
    result = _run("ls", "--store", endpoint, "--agent", "Ann Smith")
    assert result.exit_code == 2
    assert "'Ann Smith' is not a name" in result.stderr


def test_ls_prints_a_table_that_can_not_steer_the_terminal(endpoint: str) -> None:
    result = _run("ls", "--store", endpoint)
    assert result.stdout == (
        "PATH       TYPE     REV  SIZE     AUTHOR  CHANGED              TAGS\n"
        "plan.md    plan     3    2.0 KiB  ann     1970-01-01 00:00:00\n"
        "\N{REPLACEMENT CHARACTER}[31mx.md  scratch  1    5 B      bob     1970-01-01 00:00:00\n"
    )


def test_lists_are_one_json_object_a_line(endpoint: str) -> None:
    lines = _run("ls", "--store", endpoint, "--json").stdout.splitlines()
    assert json.loads(lines[0]) == {
        "id": 1,
        "path": "plan.md",
        "type": "plan",
        "revision": 3,
        "size": 2048,
        "seq": 7,
        "time_ms": 0,
        "author": "ann",
        "tags": [],
        "description": "",
    }
    assert len(lines) == 2


def test_log_leaves_sessions_out_however_many_there_are(endpoint: str) -> None:
    assert _run("log", "--store", endpoint).stdout == (
        "SEQ  TIME                 AUTHOR  ACTION  DOCUMENT   LINES  COMMIT\n"
        "301  1970-01-01 00:00:00  ann     put     plan.md@3  +2 -1  c0ffeec0ff  put +2 -1\n"
        "1    1970-01-01 00:00:00  ann     create  plan.md@3  +2 -1  c0ffeec0ff  create +1 -0\n"
    )
    first = _run("log", "--store", endpoint, "-n", "1").stdout.splitlines()
    assert [line.split()[0] for line in first] == ["SEQ", "301"]


@pytest.mark.parametrize(
    "more", [("--all",), ("--session", "s"), ("--action", "close"), ("--json",)]
)
def test_log_has_sessions_when_they_are_asked_for(endpoint: str, more: tuple[str, ...]) -> None:
    printed = _run("log", "--store", endpoint, "-n", "2", *more).stdout
    assert "closed" in printed


def test_nothing_that_matches_is_not_nothing_at_all(endpoint: str) -> None:
    result = _run("log", "--store", endpoint, "--action", "draft")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "no entries match\n")


def test_read_prints_the_document_and_nothing_else(endpoint: str) -> None:
    assert _run("read", "plan.md", "--store", endpoint).stdout_bytes == "é\n".encode()
    assert _run("read", "binary", "--store", endpoint).stdout_bytes == b"\xff\xfe"


def test_read_as_json_says_text_or_for_what_is_none_base64(endpoint: str) -> None:
    told = json.loads(_run("read", "plan.md@3", "--store", endpoint, "--json").stdout)
    assert told == {
        "path": "plan.md",
        "type": "plan",
        "revision": 3,
        "seq": 7,
        "time_ms": 0,
        "author": "ann",
        "text": "é\n",
    }
    told = json.loads(_run("read", "binary", "--store", endpoint, "--json").stdout)
    assert told["content_base64"] == "//4="


def test_a_write_waits_for_git_unless_told_otherwise(endpoint: str) -> None:
    result = _run("write", "a.md", "--text", "x", "--store", endpoint, "--json")
    assert json.loads(result.stdout)["commit"].endswith("git")
    result = _run(
        *("write", "a.md", "--text", "x", "--store", endpoint, "--json"),
        *("--durability", "journal"),
    )
    assert json.loads(result.stdout)["commit"].endswith("journal")


def test_a_text_of_the_command_line_ends_its_last_line(tmp_path: Path) -> None:
    written: list[bytes] = []

    def script(request: Request) -> Reply | None:
        if isinstance(request, Transact):
            operation = request.operations[0]
            assert isinstance(operation, Put | Append | SectionEdit)
            written.append(operation.content)
        return accept_all(request)

    (tmp_path / "content").write_bytes(b"exactly")
    with serving(tmp_path / "t", script) as address:
        for text in ("# Plan", "# Plan\n", ""):
            _run("write", "a.md", "--store", address, "--text", text)
        _run("append", "a.md", "--store", address, "--text", "more")
        _run("section", "a.md", "Plan", "--store", address, "--text", "body")
        _run("write", "a.md", "--store", address, "--file", "content")
        _run("write", "a.md", "--store", address, input="piped")
    assert written == [
        *(b"# Plan\n", b"# Plan\n", b"", b"more\n", b"body\n"),
        *(b"exactly", b"piped"),
    ]


def test_section_replaces_or_adds(tmp_path: Path) -> None:
    asked: list[Operation] = []

    def script(request: Request) -> Reply | None:
        if isinstance(request, Transact):
            asked.extend(request.operations)
        return accept_all(request)

    with serving(tmp_path / "t", script) as address:
        arguments = ("section", "a.md", "## Next", "--text", "x", "--store", address)
        assert _run(*arguments, "--if-revision", "4").exit_code == 0
        assert _run(*arguments, "--append").exit_code == 0
    assert asked == [
        SectionEdit("a.md", "## Next", b"x\n", SectionMode.REPLACE, 4),
        SectionEdit("a.md", "## Next", b"x\n", SectionMode.APPEND),
    ]


def test_content_comes_from_text_file_or_standard_input(endpoint: str, tmp_path: Path) -> None:
    (tmp_path / "content").write_text("from a file", encoding="utf-8")
    for more in (("--text", "x"), ("--file", "content"), ("--file", "-"), ()):
        result = _run("write", "a.md", "--store", endpoint, *more, input="piped")
        assert (result.exit_code, result.stdout) == (0, "create a.md@1 (+1 -0) c0ffeec0ff\n")
    result = _run("write", "a.md", "--store", endpoint, "--text", "x", "--file", "content")
    assert result.exit_code == 2


def test_nothing_on_standard_input_does_not_empty_a_document(endpoint: str) -> None:
    result = _run("write", "a.md", "--store", endpoint, input="")
    assert result.exit_code == 2 and "standard input is empty" in result.stderr


def test_an_empty_agent_name_is_not_the_user(endpoint: str) -> None:
    result = _run("write", "a.md", "--store", endpoint, "--text", "x", "--agent", "")
    assert result.exit_code == 2 and "--agent is empty" in result.stderr


def test_a_refusal_says_why_and_what_to_do(endpoint: str) -> None:
    result = _run("write", "reference.md", "--text", "x", "--store", endpoint, "--agent", "ann")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == (
        "error: an agent may not write reference.md\n"
        "hint: a person does it or grants it; as an agent, ask for that\n"
    )


def test_a_conflict_shows_the_change_and_how_to_keep_both(endpoint: str) -> None:
    arguments = ("write", "plan.md", "--text", "x", "--if-revision", "1", "--store", endpoint)
    result = _run(*arguments)
    assert result.exit_code == 1
    assert result.stderr == (
        "error: plan.md is at revision 3, not 1\n-old\n+new\n"
        "hint: the two changes merge; keep both with: agent-trace accept draft-1\n"
    )
    error = json.loads(_run(*arguments, "--json").stderr)["error"]
    assert error["conflict"]["draft"] == "draft-1"


@pytest.mark.parametrize(
    ("path", "hint"),
    [
        (
            "overlap.md",
            "the two changes do not merge as they are: repeat yours on what it says now, or see "
            "both with: agent-trace drafts show draft-2",
        ),
        (
            "file.md",
            "agent-trace add file.md makes the file a document; else choose another path, or move "
            "the file away",
        ),
        (
            "taken.md",
            "work with what is there (agent-trace read taken.md), or choose another path",
        ),
        (
            "gone.md",
            "it was removed or never there (agent-trace log gone.md); to make it anew, write it "
            "without --if-revision",
        ),
        (
            "moved on.md",
            "read it again (agent-trace read 'moved on.md'), and repeat the change on what it "
            "says now",
        ),
    ],
)
def test_the_hint_of_a_conflict_is_the_step_that_fits(endpoint: str, path: str, hint: str) -> None:
    result = _run("write", path, "--text", "x", "--store", endpoint)
    assert result.exit_code == 1
    assert result.stderr.splitlines()[-1] == f"hint: {hint}"


def test_a_command_that_needs_the_directory_says_so_of_an_address(endpoint: str) -> None:
    result = _run("stop", "--store", endpoint)
    assert result.exit_code == 1
    assert "is an address" in result.stderr


def test_the_agent_of_the_environment_acts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names: list[tuple[Actor, str]] = []

    monkeypatch.setenv("AGENT_TRACE_AGENT", "planner")
    with serving(tmp_path / "t", _script, opened=lambda each: names.append(_who(each))) as address:
        monkeypatch.setenv("AGENT_TRACE_STORE", address)
        assert _run("ls").exit_code == 0
        assert _run("ls", "--agent", "coder").exit_code == 0
    assert names == [(Actor.AGENT, "planner"), (Actor.AGENT, "coder")]


def _who(opening: Open) -> tuple[Actor, str]:
    return opening.actor, opening.name


def test_a_reader_that_has_seen_enough_is_no_error(endpoint: str) -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    command = [sys.executable, "-m", "agent_trace", "read", "plan.md", "--store", endpoint]
    done = subprocess.run(command, stdout=write_end, stderr=subprocess.PIPE, check=False)
    os.close(write_end)
    assert (done.returncode, done.stderr) == (0, b"")


def test_no_command_imports_what_only_another_needs() -> None:
    program = "import sys, agent_trace.cli.setup, agent_trace.cli.reading; print(*sys.modules)"
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, check=True, encoding="utf-8")
    loaded = set(done.stdout.split())
    assert not loaded & {"mcp", "rich", "git", "importlib.metadata", "agent_trace_coordinator"}
