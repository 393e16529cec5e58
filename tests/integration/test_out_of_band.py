"""Files that are changed past a real coordinator: adopted or put back, and never lost."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import time
from collections.abc import Callable, Generator
from pathlib import Path

import pytest

from agent_trace_protocol import (
    Action,
    Actor,
    Committed,
    DiscardViolation,
    Document,
    DocumentType,
    Done,
    Durability,
    Log,
    LogPage,
    Ping,
    Put,
    Read,
    Refused,
    ShowViolation,
    Transact,
    ViolationInfo,
    ViolationPage,
    ViolationReport,
    Violations,
)
from support.coordinator import Coordinator, Peer, running

pytestmark = pytest.mark.integration

PATIENCE_SECONDS = 10.0


@pytest.fixture
def coordinator(tmp_path: Path) -> Generator[Coordinator]:
    with running(tmp_path / "store") as coordinator:
        yield coordinator


@pytest.fixture
def user(coordinator: Coordinator) -> Generator[Peer]:
    with Peer(coordinator.endpoint, "ann", Actor.USER) as peer:
        yield peer.opened()


def until(peer: Peer, condition: Callable[[], bool]) -> None:
    """Ask the coordinator for nothing until something has come about."""
    end = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < end, "it did not come about"
        assert isinstance(peer.ask(Ping()), Done)


def text(peer: Peer, path: str) -> bytes:
    reply = peer.ask(Read(path))
    assert isinstance(reply, Document), reply
    return reply.content


def made(peer: Peer, path: str, content: bytes, type: DocumentType) -> None:
    confirm = peer.actor is Actor.USER
    reply = peer.ask(Transact((Put(path, content, type=type),), Durability.GIT, confirm=confirm))
    assert isinstance(reply, Committed), reply


def refused(peer: Peer) -> tuple[ViolationInfo, ...]:
    reply = peer.ask(Violations())
    assert isinstance(reply, ViolationPage), reply
    return reply.violations


def quarantined(root: Path) -> dict[str, bytes]:
    folder = root / ".agent-trace" / "quarantine"
    for path in folder.glob("[!.]*"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    names = [path for path in folder.iterdir() if not path.name.startswith(".")]
    return {path.name: path.read_bytes() for path in names}


def in_place(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def by_rename(path: Path, content: bytes) -> None:
    new = path.with_name(f".{path.name}.swp")
    new.write_bytes(content)
    new.replace(path)


def by_backup(path: Path, content: bytes) -> None:
    path.rename(path.with_name(f"{path.name}~"))
    path.write_bytes(content)


def by_deletion(path: Path, content: bytes) -> None:
    path.unlink()
    path.write_bytes(content)


def in_pieces(path: Path, content: bytes) -> None:
    with path.open("wb", buffering=0) as file:
        for start in range(0, len(content), 3):
            file.write(content[start : start + 3])


@pytest.mark.parametrize("save", [in_place, by_rename, by_backup, by_deletion, in_pieces])
def test_however_an_editor_saves_it_is_one_new_revision(
    coordinator: Coordinator, user: Peer, save: Callable[[Path, bytes], None]
) -> None:
    made(user, "plans/a.md", b"one\n", DocumentType.PLAN)
    written = b"\xef\xbb\xbfby hand\r\nin an editor\r\n" * 20
    save(coordinator.root / "plans" / "a.md", written)
    until(user, lambda: text(user, "plans/a.md") == written)
    page = user.ask(Log("plans/a.md"))
    assert isinstance(page, LogPage)
    assert [(entry.action, entry.author) for entry in page.entries] == [
        (Action.PUT, "user"),
        (Action.CREATE, "ann"),
    ]
    assert (coordinator.root / "plans" / "a.md").read_bytes() == written
    assert refused(user) == ()


def test_a_change_of_what_is_generated_is_kept_and_put_back(
    coordinator: Coordinator, user: Peer
) -> None:
    made(user, "context.md", b"made\n", DocumentType.CONTEXT)
    file = coordinator.root / "context.md"
    file.write_bytes(b"by hand\n")
    until(user, lambda: bool(refused(user)) and file.read_bytes() == b"made\n")
    (violation,) = refused(user)
    assert (violation.author, violation.rule) == ("unknown", "context-not-in-files")
    report = user.ask(ShowViolation(violation.id))
    assert isinstance(report, ViolationReport)
    assert [each.content for each in report.texts] == [b"by hand\n"]
    until(user, lambda: len(quarantined(coordinator.root)) == 1)
    ((name, kept),) = quarantined(coordinator.root).items()
    assert name == f"{violation.id}-context.md.txt" and kept.endswith(b":\nby hand\n\n")
    made(user, "other.md", b"git has everything before this\n", DocumentType.PLAN)
    git = ["git", f"--git-dir={coordinator.root}/.agent-trace/repo"]
    objects = subprocess.run(
        [*git, "log", "-p", "--all", "--format=%B"], capture_output=True, check=True
    ).stdout
    assert b"by hand" not in objects and violation.rule.encode() in objects


def test_a_refused_write_survives_a_kill_and_its_file_is_made_again(
    coordinator: Coordinator, user: Peer
) -> None:
    made(user, "api.md", b"one\n", DocumentType.REFERENCE)
    with Peer(coordinator.endpoint) as agent:
        reply = agent.opened().ask(Transact((Put("api.md", b"mine\n"),)))
        assert isinstance(reply, Refused) and reply.error.violation
    coordinator.process.kill()
    coordinator.end()
    folder = coordinator.root / ".agent-trace" / "quarantine"
    shutil.rmtree(folder)
    coordinator.start()
    with Peer(coordinator.endpoint, "ann", Actor.USER) as again:
        again.opened()
        assert [each.id for each in refused(again)] == [reply.error.violation]
        until(again, lambda: bool(quarantined(coordinator.root)))
        assert isinstance(again.ask(DiscardViolation(reply.error.violation)), Done)
        until(again, lambda: not quarantined(coordinator.root))


def test_what_was_changed_while_nobody_served_is_judged_at_the_start(
    coordinator: Coordinator, user: Peer
) -> None:
    made(user, "plan.md", b"one\n", DocumentType.PLAN)
    made(user, "context.md", b"made\n", DocumentType.CONTEXT)
    made(user, "gone.md", b"here\n", DocumentType.PLAN)
    assert coordinator.end() == 0
    for name in ("plan.md", "context.md"):
        (coordinator.root / name).write_bytes(b"by hand\n")
    (coordinator.root / "gone.md").unlink()
    coordinator.start()
    with Peer(coordinator.endpoint, "ann", Actor.USER) as again:
        again.opened()
        until(again, lambda: text(again, "plan.md") == b"by hand\n" and bool(refused(again)))
        assert [each.path for each in refused(again)] == ["context.md"]
        file = coordinator.root / "context.md"
        until(again, lambda: file.read_bytes() == b"made\n")
        assert (coordinator.root / "gone.md").read_bytes() == b"here\n"


def test_what_is_no_document_is_left_alone(coordinator: Coordinator, user: Peer) -> None:
    made(user, "plan.md", b"one\n", DocumentType.PLAN)
    root = coordinator.root
    (root / "src").mkdir()
    others = {"src/main.py": b"x = 1\n", ".env": b"KEY=1\n", "notes.md": b"untracked\n"}
    for name, content in others.items():
        (root / name).write_bytes(content)
    (root / "plan.md").write_bytes(b"two\n")
    until(user, lambda: text(user, "plan.md") == b"two\n")
    assert {name: (root / name).read_bytes() for name in others} == others
    tracked = subprocess.run(
        ["git", f"--git-dir={root}/.agent-trace/repo", "ls-tree", "-r", "--name-only", "main"],
        capture_output=True,
        check=True,
        text=True,
    ).stdout.split()
    assert tracked == ["plan.md"]


def history(peer: Peer, path: str) -> list[tuple[Action, str]]:
    page = peer.ask(Log(path))
    assert isinstance(page, LogPage), page
    return [(entry.action, entry.path) for entry in page.entries]


def test_a_renamed_file_keeps_its_document_and_history(coordinator: Coordinator) -> None:
    # No user is live: a rename loses nothing, so unlike a deletion it needs none.
    with Peer(coordinator.endpoint) as peer:
        peer.opened()
        for name in ("a.md", "old/b.md", "old/deep/c.md"):
            made(peer, name, f"{name}\n".encode(), DocumentType.PLAN)
        root = coordinator.root
        (root / "a.md").rename(root / "z.md")
        until(peer, lambda: isinstance(peer.ask(Read("z.md")), Document))
        assert history(peer, "z.md") == [(Action.MOVE, "z.md"), (Action.CREATE, "a.md")]
        (root / "old").rename(root / "new")
        until(peer, lambda: isinstance(peer.ask(Read("new/deep/c.md")), Document))
        assert history(peer, "new/b.md") == [(Action.MOVE, "new/b.md"), (Action.CREATE, "old/b.md")]
        # What comes next goes to the new file, and nothing comes back under the old name.
        made(peer, "new/b.md", b"more\n", DocumentType.PLAN)
        assert (root / "new/b.md").read_bytes() == b"more\n"
        assert sorted(each.name for each in root.iterdir()) == [".agent-trace", "new", "z.md"]
        assert refused(peer) == () and quarantined(root) == {}


def test_what_may_be_a_rename_and_may_not_is_a_deletion_and_a_stranger(
    coordinator: Coordinator, user: Peer
) -> None:
    made(user, "a.md", b"one\n", DocumentType.PLAN)
    root = coordinator.root
    (root / "b.md").hardlink_to(root / "a.md")
    (root / "c.md").hardlink_to(root / "a.md")
    (root / "a.md").unlink()
    until(user, lambda: isinstance(user.ask(Read("a.md")), Refused))
    page = user.ask(Log("a.md"))
    assert isinstance(page, LogPage)
    assert page.entries[0].action is Action.DELETE
    assert isinstance(user.ask(Read("b.md")), Refused)
    assert (root / "b.md").read_bytes() == (root / "c.md").read_bytes() == b"one\n"


def test_a_symlink_in_the_place_of_a_document_is_recorded_and_replaced(
    coordinator: Coordinator, user: Peer, tmp_path: Path
) -> None:
    made(user, "plan.md", b"one\n", DocumentType.PLAN)
    outside = tmp_path / "outside"
    outside.write_bytes(b"not ours\n")
    file = coordinator.root / "plan.md"
    file.unlink()
    file.symlink_to(outside)
    until(user, lambda: bool(refused(user)) and not file.is_symlink())
    assert [each.rule for each in refused(user)] == ["file-in-the-way"]
    assert file.read_bytes() == b"one\n" and outside.read_bytes() == b"not ours\n"
    assert text(user, "plan.md") == b"one\n"


def test_a_burst_of_a_thousand_changes_is_adopted_in_few_transactions(
    coordinator: Coordinator, user: Peer
) -> None:
    names = [f"notes/{number % 10}/{number}.md" for number in range(1000)]
    for start in range(0, 1000, 50):
        user.do(*(Put(name, b"one\n") for name in names[start : start + 50]))
    user.do(Put("last.md", b"x\n"), durability=Durability.GIT)
    before = user.do(Put("last.md", b"y\n")).seq
    for name in names:
        (coordinator.root / name).write_bytes(f"{name}\n".encode())
    until(user, lambda: all(text(user, name) == f"{name}\n".encode() for name in names[::97]))
    until(user, lambda: all(text(user, name) == f"{name}\n".encode() for name in names))
    assert user.do(Put("last.md", b"z\n")).seq - before < 100
    assert refused(user) == ()


def test_a_checkout_in_the_surrounding_repository_is_adopted(
    coordinator: Coordinator, user: Peer
) -> None:
    root = coordinator.root

    def git(*arguments: str) -> None:
        environment = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull}
        command = ["git", "-c", "user.name=x", "-c", "user.email=x@example.org", *arguments]
        subprocess.run(command, cwd=root, check=True, capture_output=True, env=environment)

    for name in ("a.md", "b.md"):
        made(user, name, b"one\n", DocumentType.PLAN)
    git("init", "-q")
    git("add", "a.md", "b.md")
    git("commit", "-q", "-m", "one")
    git("checkout", "-q", "-b", "other")
    for name in ("a.md", "b.md"):
        made(user, name, b"two\n", DocumentType.PLAN)
    git("commit", "-q", "-a", "-m", "two")
    git("checkout", "-q", "-")
    git("checkout", "-q", "HEAD~0")
    git("checkout", "-q", "other~1")
    until(user, lambda: text(user, "a.md") == b"one\n" and text(user, "b.md") == b"one\n")
    git("checkout", "-q", "other")
    until(user, lambda: text(user, "a.md") == b"two\n" and text(user, "b.md") == b"two\n")
    assert refused(user) == ()


def test_a_program_that_rewrites_a_protected_file_in_a_loop_leaves_one_violation(
    coordinator: Coordinator, user: Peer
) -> None:
    made(user, "context.md", b"made\n", DocumentType.CONTEXT)
    file = coordinator.root / "context.md"
    for _ in range(3):
        file.write_bytes(b"again\n")
        until(user, lambda: file.read_bytes() == b"made\n")
    assert [each.rule for each in refused(user)] == ["context-not-in-files"]
    assert refused(user)[0].count >= 3


def test_our_own_writes_are_never_taken_for_foreign_ones(
    coordinator: Coordinator, user: Peer
) -> None:
    for number in range(300):
        user.do(Put(f"d{number % 3}/{number % 7}.md", f"{number}\n".encode()))
    user.do(Put("last.md", b"x\n"), durability=Durability.GIT)
    (coordinator.root / "last.md").write_bytes(b"by hand\n")
    until(user, lambda: text(user, "last.md") == b"by hand\n")
    page = user.ask(Log(limit=1000, author="user"))
    assert isinstance(page, LogPage)
    assert [entry.path for entry in page.entries] == ["last.md"]
    assert refused(user) == ()


def test_edits_one_after_the_other_are_all_adopted_and_none_is_taken_back(
    coordinator: Coordinator, user: Peer
) -> None:
    made(user, "plan.md", b"start\n", DocumentType.PLAN)
    file = coordinator.root / "plan.md"
    for number in range(12):
        # The same two contents in turn: what was there before looks like what is there now.
        content = b"one\n" if number % 2 else b"two\n"
        file.write_bytes(content)
        until(user, lambda content=content: text(user, "plan.md") == content)  # type: ignore[misc]
    assert file.read_bytes() == b"one\n"
    assert refused(user) == ()


def test_a_file_that_is_edited_while_an_agent_writes_loses_neither_change(
    coordinator: Coordinator, user: Peer
) -> None:
    lines = [f"{number}\n" for number in range(60)]
    made(user, "plan.md", "".join(lines).encode(), DocumentType.PLAN)
    file = coordinator.root / "plan.md"
    with Peer(coordinator.endpoint) as agent:
        agent.opened()
        for number in range(20):
            user.ask(Read("plan.md"))
            current = text(user, "plan.md").decode().splitlines(keepends=True)
            current[0] = f"agent {number}\n"
            mine = f"person {number}\n"
            shown = file.read_text(encoding="utf-8").splitlines(keepends=True)
            shown[-1] = mine
            agent.do(Put("plan.md", "".join(current).encode()))
            file.write_text("".join(shown), encoding="utf-8")

            def is_there(mine: str = mine) -> bool:
                if mine.encode() in text(user, "plan.md"):
                    return True
                reports = [user.ask(ShowViolation(each.id)) for each in refused(user)]
                return any(
                    mine.encode() in each.content
                    for report in reports
                    if isinstance(report, ViolationReport)
                    for each in report.texts
                )

            until(user, is_there)
            assert f"agent {number}\n".encode() in text(user, "plan.md")
            until(user, lambda: file.read_bytes() == text(user, "plan.md"))
