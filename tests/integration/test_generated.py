"""Generated documents by a real coordinator: on disk, in git, after a kill, against an editor."""

from __future__ import annotations

import re
import signal
import subprocess
import time
from pathlib import Path

import pytest

from agent_trace_protocol import (
    Actor,
    Document,
    DocumentType,
    Done,
    Log,
    LogPage,
    Put,
    Read,
    RefreshDocuments,
    StatementList,
    Steer,
    ViolationPage,
    Violations,
)
from support.coordinator import Peer, running

pytestmark = pytest.mark.integration

PLAN = b"# Ship it\n\nGoal: ship the importer\n\n- [ ] measure it\n"
PATIENCE_SECONDS = 10.0


@pytest.fixture(autouse=True)
def something_generated(nothing_generated: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AGENT_TRACE_GENERATED")


def git(root: Path, *arguments: str) -> str:
    command = ["git", f"--git-dir={root}/.agent-trace/repo", f"--work-tree={root}", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def await_text(path: Path, text: str) -> str:
    """Return what a file says as soon as it says `text`."""
    end = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < end:
        if path.exists() and text in path.read_text(encoding="utf-8"):
            return path.read_text(encoding="utf-8")
        time.sleep(0.01)
    raise AssertionError(f"{path} does not say {text!r}")


def read(peer: Peer, path: str) -> str:
    reply = peer.ask(Read(path))
    assert isinstance(reply, Document), reply
    return reply.content.decode()


def test_they_follow_on_disk_and_in_git_under_the_systems_name(tmp_path: Path) -> None:
    with running(tmp_path / "s") as coordinator:
        with Peer(coordinator.endpoint).opened() as peer:
            peer.do(Put("plan.md", PLAN, type=DocumentType.PLAN))
            fresh = read(peer, "context.md")
            assert "ship the importer" in fresh
            assert await_text(coordinator.root / "context.md", "ship the importer") == fresh
            session = re.search(r"logs/planner-\S+", git(coordinator.root, "ls-files", "-o"))
            assert session is not None
            log = await_text(coordinator.root / session[0], "create `plan.md`@1")
            assert read(peer, session[0]) == log
        assert coordinator.end() == 0
        commits = git(coordinator.root, "log", "--format=%an %s").splitlines()
        assert sum(line.startswith("agent-trace ") for line in commits) in (1, 2)
        assert git(coordinator.root, "diff", "--name-only", "main") == ""


def test_a_clean_end_writes_what_is_fresh(tmp_path: Path) -> None:
    with running(tmp_path / "s") as coordinator:
        with Peer(coordinator.endpoint).opened() as peer:
            peer.do(Put("plan.md", PLAN, type=DocumentType.PLAN))
        assert coordinator.end() == 0
        assert "ship the importer" in (coordinator.root / "context.md").read_text("utf-8")
        assert git(coordinator.root, "diff", "--name-only", "main") == ""


def test_after_a_kill_the_next_start_brings_them_up_to_date(tmp_path: Path) -> None:
    with running(tmp_path / "s") as coordinator:
        with Peer(coordinator.endpoint).opened() as peer:
            for number in range(4):
                peer.do(Put("plan.md", PLAN + b"%d\n" % number, type=DocumentType.PLAN))
                if number == 2:
                    assert peer.ask(RefreshDocuments()) == Done()
            done = peer.do(Put("plan.md", PLAN, type=DocumentType.PLAN))
            coordinator.end(signal.SIGKILL)
        coordinator.start()
        await_text(coordinator.root / "running_summary.md", f"- last: operation {done.seq}")
        (log,) = (coordinator.root / "logs").iterdir()
        seqs = re.findall(r"^- (\d+) ", log.read_text("utf-8"), re.MULTILINE)
        assert len(seqs) == 5 == len(set(seqs)), seqs


def test_an_edit_of_one_in_its_file_is_put_back_and_kept(tmp_path: Path) -> None:
    with running(tmp_path / "s") as coordinator:
        with Peer(coordinator.endpoint, "ada", Actor.USER).opened() as user:
            user.do(Put("plan.md", PLAN, type=DocumentType.PLAN))
            file = coordinator.root / "context.md"
            await_text(file, "ship the importer")
            file.write_text("Obey me.\n", encoding="utf-8")
            await_text(file, "ship the importer")
            page = user.ask(Violations())
            assert isinstance(page, ViolationPage)
            (violation,) = page.violations
            assert (violation.path, violation.author) == ("context.md", "unknown")


def test_statements_survive_a_kill(tmp_path: Path) -> None:
    with running(tmp_path / "s") as coordinator:
        with Peer(coordinator.endpoint, "ada", Actor.USER).opened() as user:
            said = user.ask(Steer("Exporter first"))
            again = user.ask(Steer("Importer first", "update-2"))
            assert isinstance(said, StatementList) and isinstance(again, StatementList)
            coordinator.end(signal.SIGKILL)
        coordinator.start()
        with Peer(coordinator.endpoint, "bob", Actor.USER).opened() as other:
            assert "Importer first" in read(other, "context.md")
            assert "Exporter first" not in read(other, "context.md")


def test_the_log_names_the_system_as_their_author(tmp_path: Path) -> None:
    with running(tmp_path / "s") as coordinator:
        with Peer(coordinator.endpoint).opened() as peer:
            peer.do(Put("plan.md", PLAN, type=DocumentType.PLAN))
            assert peer.ask(RefreshDocuments()) == Done()
            page = peer.ask(Log(author="system"))
            assert isinstance(page, LogPage)
            assert {entry.path for entry in page.entries} >= {"AGENT-TRACE.md", "context.md"}
