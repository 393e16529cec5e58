"""Commands about a store's coordinator and sessions, with a scripted one that a store announces."""

from __future__ import annotations

import json
import os
from collections.abc import Generator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Protocol

import msgspec
import pytest
from click.testing import CliRunner, Result

from agent_trace import client
from agent_trace.cli.kept import open_kept
from agent_trace.cli.main import cli
from agent_trace.client import new_key
from agent_trace.config import login_identity
from agent_trace.testing import Script, accept_all
from agent_trace_protocol import (
    Action,
    Actor,
    Busy,
    Committed,
    DiscardDraft,
    Log,
    LogEntry,
    LogPage,
    NotFound,
    Reply,
    Request,
    SessionInfo,
    SessionKind,
    SessionList,
    Sessions,
    SessionState,
    ShowDraft,
    Status,
    StatusReport,
    Stop,
    Transact,
    WriteResult,
    session_id_of,
)
from agent_trace_protocol.layout import CONFIG_FILE, ENDPOINT_FILE, EndpointInfo
from support.serving import serving

KEY = new_key()


class Serve(Protocol):
    """Serves the store by a script; see `serving`."""

    def __call__(
        self, script: Script = ..., *, leaves_at: type[Request] | None = None
    ) -> AbstractContextManager[None]: ...


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store that nobody serves, as the current directory."""
    for name in ("AGENT_TRACE_AGENT", "AGENT_TRACE_STORE", "AGENT_TRACE_NO_START"):
        monkeypatch.delenv(name, raising=False)
    root = (tmp_path / "store").resolve()
    (root / ENDPOINT_FILE).parent.mkdir(parents=True)
    (root / CONFIG_FILE).touch()
    monkeypatch.chdir(root)
    monkeypatch.setattr(client, "new_key", lambda: KEY)
    return root


@pytest.fixture
def serve(store: Path, tmp_path: Path) -> Serve:
    """Serve the store by a script."""

    @contextmanager
    def served(
        script: Script = accept_all, *, leaves_at: type[Request] | None = None
    ) -> Generator[None]:
        with serving(tmp_path / "s", script, leaves_at=leaves_at) as address:
            info = EndpointInfo(address, 77, 1, "0")
            (store / ENDPOINT_FILE).write_bytes(msgspec.json.encode(info))
            yield

    return served


def _run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, arguments)


def _session(id: str, state: SessionState = SessionState.LIVE) -> SessionInfo:
    return SessionInfo(
        *(id, Actor.AGENT, "ann", SessionKind.LIBRARY, state, 0, 1.0, "program", "host", 5, "")
    )


def _sessions(*others: SessionInfo) -> Script:
    def script(request: Request) -> Reply | None:
        if isinstance(request, Sessions):
            return SessionList((_session(session_id_of(KEY)), *others))
        return accept_all(request)

    return script


def _status(*, trouble: str = "", packs: int = 1, seq: int = 9) -> Reply:
    return StatusReport(
        store="id",
        root="/store",
        version="0",
        pid=77,
        epoch=1,
        uptime_seconds=5.0,
        endpoint="ipc:///s",
        seq=seq,
        git_seq=9,
        head="c0ffee" * 6,
        documents=1,
        sessions_live=3,
        sessions_stale=0,
        read_only="",
        rss_bytes=1024,
        repository_bytes=1024,
        journal_bytes=1024,
        packs=packs,
        maintenance="",
        trouble=trouble,
    )


def _reports(request: Request) -> Reply | None:
    return _status() if isinstance(request, Status) else accept_all(request)


# ---- stop -----------------------------------------------------------------------------------


def test_a_coordinator_that_leaves_without_an_answer_has_stopped(serve: Serve) -> None:
    with serve(_sessions(), leaves_at=Stop):
        result = _run("stop")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == "the coordinator (pid 77) has stopped\n"


def test_a_coordinator_that_left_before_it_was_asked_has_stopped(serve: Serve) -> None:
    with serve(_sessions(), leaves_at=Sessions):
        result = _run("stop", "--json")
    assert json.loads(result.stdout) == {"stopped": True, "pid": 77, "sessions": 0}


@pytest.mark.parametrize(
    ("others", "told"),
    [
        ((_session("b"),), "1 other session was live"),
        (
            (_session("b"), _session("c"), _session("d", SessionState.STALE)),
            "2 other sessions were",
        ),
    ],
)
def test_stop_says_how_many_others_were_live(
    serve: Serve, others: tuple[SessionInfo, ...], told: str
) -> None:
    with serve(_sessions(*others), leaves_at=Stop):
        last = _run("stop").stdout.splitlines()[-1]
    assert last.startswith(told)
    assert last.endswith("they wait for you to start it again (agent-trace serve)")


def test_stopping_what_does_not_run_is_no_failure(store: Path) -> None:
    result = _run("stop")
    assert (result.exit_code, result.stdout) == (0, "no coordinator is running\n")


# ---- status and sessions --------------------------------------------------------------------


def test_status_does_not_count_its_own_session(serve: Serve) -> None:
    with serve(_reports):
        printed = _run("status").stdout
        assert json.loads(_run("status", "--json").stdout)["sessions_live"] == 2
    assert "sessions     2 live, 0 stale\n" in printed


def test_status_counts_a_session_that_outlives_it(store: Path, serve: Serve) -> None:
    with open_kept(store, login_identity(), create=True) as kept:
        assert kept is not None
        kept.keep(new_key())
    with serve(_reports):
        assert "sessions     3 live, 0 stale\n" in _run("status").stdout


def test_status_says_what_does_not_work(serve: Serve) -> None:
    report = _status()

    def script(request: Request) -> Reply | None:
        return report if isinstance(request, Status) else accept_all(request)

    with serve(script):
        assert "health       good\n" in _run("status").stdout
        report = _status(trouble="git is\ngone")
        assert "health       git is gone\n" in _run("status").stdout


def test_one_pack_is_not_several(serve: Serve) -> None:
    packs = 1

    def script(request: Request) -> Reply | None:
        return _status(packs=packs) if isinstance(request, Status) else accept_all(request)

    with serve(script):
        assert " in 1 pack, " in _run("status").stdout
        packs = 2
        assert " in 2 packs, " in _run("status").stdout


def test_sessions_does_not_show_its_own_session(serve: Serve) -> None:
    with serve(_sessions(_session("other"))):
        lines = _run("sessions", "--json").stdout.splitlines()
    assert [json.loads(line)["id"] for line in lines] == ["other"]


def test_nobody_else_is_said_in_words(serve: Serve) -> None:
    with serve(_sessions()):
        result = _run("sessions")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "no sessions\n")


# ---- not starting a coordinator -------------------------------------------------------------


@pytest.mark.parametrize("arguments", [("status", "--no-start"), ("status",), ("ls",)])
def test_a_coordinator_that_is_not_to_be_started_is_missed_in_clear_words(
    store: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]
) -> None:
    if "--no-start" not in arguments:
        monkeypatch.setenv("AGENT_TRACE_NO_START", "1")
    result = _run(*arguments)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith(f"error: no coordinator is running for {store}")
    assert "--no-start" in result.stderr.splitlines()[-1]


def test_one_that_runs_is_used_without_starting_any(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AGENT_TRACE_NO_START", "1")
    with serve(_reports):
        assert _run("status", "--no-start").exit_code == 0


# ---- git is behind --------------------------------------------------------------------------


def _behind(request: Request) -> Reply | None:
    """Answer as a coordinator does whose git does not follow."""
    if isinstance(request, Transact):
        return Committed(9, (WriteResult("a.md", 1, Action.PUT, 1, 0),), "")
    if isinstance(request, Log):
        entry = LogEntry(9, 0, Actor.USER, "you", "s", Action.PUT, "a.md", 1, 1, 0, "put", "")
        return LogPage((entry,), False)
    return _status(trouble="the disk of git is full") if isinstance(request, Status) else None


def test_a_write_that_git_lacks_is_said_to_be_durable_and_why(serve: Serve) -> None:
    with serve(_scripted(_behind)):
        result = _run("write", "a.md", "--text", "x")
    assert (result.exit_code, result.stdout) == (0, "put a.md@1 (+1 -0)\n")
    assert result.stderr == (
        "note: it is durable in the journal, and git follows when it can: the disk of git is full\n"
    )


def test_a_write_that_did_not_wait_for_git_says_nothing(serve: Serve) -> None:
    with serve(_scripted(_behind)):
        assert _run("write", "a.md", "--text", "x", "--durability", "journal").stderr == ""
        assert _run("write", "a.md", "--text", "x", "--json").stderr == ""


def test_a_write_is_no_failure_when_nobody_can_say_why_git_lacks_it(serve: Serve) -> None:
    def script(request: Request) -> Reply | None:
        if isinstance(request, Status):
            raise Busy("too many queries wait")
        return _behind(request) or accept_all(request)

    with serve(script):
        result = _run("write", "a.md", "--text", "x")
    assert result.exit_code == 0
    assert result.stderr == "note: it is durable in the journal, and git follows when it can\n"


def test_log_says_why_commits_are_missing(serve: Serve) -> None:
    with serve(_scripted(_behind)):
        result = _run("log")
    assert result.exit_code == 0
    assert result.stderr == (
        "note: entries without a commit are durable in the journal; git follows when it can: "
        "the disk of git is full\n"
    )


def _scripted(script: Script) -> Script:
    return lambda request: script(request) or accept_all(request)


# ---- hints ----------------------------------------------------------------------------------


def test_a_draft_that_is_none_names_a_command_that_lists_drafts(store: Path, serve: Serve) -> None:
    def script(request: Request) -> Reply | None:
        if isinstance(request, Transact | ShowDraft | DiscardDraft):
            raise NotFound("there is no draft 'nope'")
        return accept_all(request)

    with serve(script):
        for command in (("accept", "nope"), ("drafts", "show", "x"), ("drafts", "discard", "x")):
            hint = _run(*command).stderr.splitlines()[-1]
            assert hint == "hint: list the drafts there are with: agent-trace drafts"


@pytest.mark.parametrize(
    ("place", "error", "hint"),
    [
        ("inner", "lies inside the store", "agent-trace init --nested"),
        ("/proc/none", "No such file or directory", "choose another path"),
        ("/dev/null/none", "Not a directory", "a file is in the way"),
    ],
)
def test_init_says_what_fits_the_cause(store: Path, place: str, error: str, hint: str) -> None:
    result = _run("init", place)
    assert (result.exit_code, result.stdout) == (1, "")
    first, last = result.stderr.splitlines()
    assert error in first and "Errno" not in first
    assert last.startswith("hint: ") and hint in last


# ---- completion -----------------------------------------------------------------------------


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_of_a_shell_ends_with_how_to_install_it(shell: str) -> None:
    script = _run("completion", shell).stdout
    assert "_AGENT_TRACE_COMPLETE" in script
    last = script.splitlines()[-1]
    assert last.startswith("# install: ") and f"agent-trace completion {shell}" in last


def test_the_script_of_bash_completes_commands() -> None:
    if not Path("/bin/bash").exists():
        pytest.skip("there is no bash here")
    environment = {
        **os.environ,
        "COMP_WORDS": "agent-trace sta",
        "COMP_CWORD": "1",
        "_AGENT_TRACE_COMPLETE": "bash_complete",
    }
    result = CliRunner(env=environment).invoke(cli, prog_name="agent-trace")
    assert result.stdout == "plain,status\n"


@pytest.mark.parametrize(
    ("shell", "says"),
    [
        ("zsh", "plain\nstatus\nShow how the coordinator and the store are.\n"),
        ("fish", "plain,status\tShow how the coordinator and the store are.\n"),
    ],
)
def test_the_scripts_of_other_shells_show_what_a_command_is_for(shell: str, says: str) -> None:
    environment = {
        **os.environ,
        "COMP_WORDS": "agent-trace sta",
        "COMP_CWORD": "1" if shell == "zsh" else "sta",
        "_AGENT_TRACE_COMPLETE": f"{shell}_complete",
    }
    result = CliRunner(env=environment).invoke(cli, prog_name="agent-trace")
    assert result.stdout == says
