"""Files where documents were: after a deletion or a move, at once and after a crash."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Generator
from pathlib import Path

import pytest

from agent_trace_protocol import Delete, Durability, Move, Put, Untrack
from agent_trace_protocol.limits import DOCUMENT_BYTES_MAX
from support.coordinator import Coordinator, Peer, running

pytestmark = pytest.mark.integration


@pytest.fixture
def coordinator(tmp_path: Path) -> Generator[Coordinator]:
    with running(tmp_path / "store") as coordinator:
        yield coordinator


@pytest.fixture
def peer(coordinator: Coordinator) -> Generator[Peer]:
    with Peer(coordinator.endpoint) as peer:
        yield peer.opened()


def crash_and_start(coordinator: Coordinator) -> None:
    coordinator.end(signal.SIGKILL)
    coordinator.start()


def files(root: Path) -> dict[str, bytes]:
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file() and ".agent-trace" not in path.parts
    }


def quarantine(root: Path) -> list[str]:
    return os.listdir(root / ".agent-trace" / "quarantine")


def test_a_path_is_free_as_soon_as_its_document_has_left_it(peer: Peer) -> None:
    peer.do(Put("a.md", b"one\n"), Put("b.md", b"two\n"), durability=Durability.GIT)
    # Each is sent before the files can have followed the one before.
    peer.do(Delete("a.md"))
    peer.do(Put("a.md", b"three\n"))
    peer.do(Move("b.md", "c.md"))
    peer.do(Put("b.md", b"four\n"))
    peer.do(Delete("c.md"))
    peer.do(Move("b.md", "c.md"))


def test_a_document_may_become_a_folder_and_back(coordinator: Coordinator, peer: Peer) -> None:
    peer.do(Put("a", b"one\n"), durability=Durability.GIT)
    peer.do(Delete("a"))
    peer.do(Put("a/b.md", b"two\n"), durability=Durability.GIT)
    peer.do(Delete("a/b.md"))
    peer.do(Put("a", b"three\n"), durability=Durability.GIT)
    peer.do(Delete("a"), Put("a/b.md", b"four\n"), durability=Durability.GIT)
    peer.do(Delete("a/b.md"), Put("a", b"five\n"), durability=Durability.GIT)

    assert files(coordinator.root) == {"a": b"five\n"}
    assert quarantine(coordinator.root) == []


# What a crash leaves is put there by hand: the old file, or one whose bytes did not reach the disk.
@pytest.mark.parametrize("left", [b"one\n", b"", bytes(4)])
def test_a_start_removes_what_a_crash_left_of_a_document_that_is_gone(
    coordinator: Coordinator, peer: Peer, left: bytes
) -> None:
    root = coordinator.root
    peer.do(Put("notes/a.md", b"one\n"), Put("b.md", b"one\n"), durability=Durability.GIT)
    peer.do(Delete("notes/a.md"), Move("b.md", "c.md"), durability=Durability.GIT)
    coordinator.end(signal.SIGKILL)
    (root / "notes").mkdir()
    (root / "notes" / "a.md").write_bytes(left)
    (root / "b.md").write_bytes(left)
    coordinator.start()

    assert files(root) == {"c.md": b"one\n"}
    assert not (root / "notes").exists()
    assert quarantine(root) == []


def test_a_start_removes_the_empty_folders_that_a_crash_left_of_documents(
    coordinator: Coordinator, peer: Peer
) -> None:
    root = coordinator.root
    peer.do(Put("turn/deep/a.md", b"one\n"), durability=Durability.GIT)
    peer.do(Delete("turn/deep/a.md"), durability=Durability.GIT)
    coordinator.end(signal.SIGKILL)
    (root / "turn" / "deep").mkdir(parents=True)
    coordinator.start()

    assert not (root / "turn").exists()
    peer.endpoint = coordinator.endpoint
    peer.connect()
    peer.opened().do(Put("turn", b"two\n"), durability=Durability.GIT)
    assert files(root) == {"turn": b"two\n"}


@pytest.mark.parametrize("left", [b"one\n", b"", bytes(4)])
def test_a_start_brings_forward_what_a_crash_left_of_the_document_before(
    coordinator: Coordinator, peer: Peer, left: bytes
) -> None:
    root = coordinator.root
    peer.do(Put("a.md", b"one\n"))
    peer.do(Delete("a.md"))
    peer.do(Put("a.md", b"two\n"), durability=Durability.GIT)
    coordinator.end(signal.SIGKILL)
    (root / "a.md").write_bytes(left)
    coordinator.start()

    assert files(root) == {"a.md": b"two\n"}
    assert quarantine(root) == []


def test_a_start_leaves_alone_what_somebody_put_where_a_document_was(
    coordinator: Coordinator, peer: Peer
) -> None:
    root = coordinator.root
    peer.do(Put("a.md", b"one\n"))
    peer.do(Delete("a.md"), durability=Durability.GIT)
    (root / "a.md").write_bytes(b"mine\n")
    crash_and_start(coordinator)

    assert files(root) == {"a.md": b"mine\n"}


def test_a_start_leaves_alone_what_can_not_be_a_document_where_one_was(
    coordinator: Coordinator, peer: Peer
) -> None:
    root = coordinator.root
    peer.do(Put("a.md", b"one\n"), Put("b.md", b"one\n"), Put("c.md", b"one\n"))
    peer.do(Delete("a.md"), Delete("b.md"), Delete("c.md"), durability=Durability.GIT)
    (root / "a.md").symlink_to("elsewhere.md")
    with (root / "b.md").open("wb") as file:
        file.truncate(DOCUMENT_BYTES_MAX + 1)
    os.mkfifo(root / "c.md")
    crash_and_start(coordinator)

    assert os.readlink(root / "a.md") == "elsewhere.md"
    assert (root / "b.md").stat().st_size == DOCUMENT_BYTES_MAX + 1
    assert (root / "c.md").is_fifo()
    assert quarantine(root) == []


def test_a_repeated_request_is_told_its_commit_after_a_restart(
    coordinator: Coordinator, peer: Peer
) -> None:
    first = peer.do(Put("a.md", b"one\n"), durability=Durability.GIT)
    crash_and_start(coordinator)
    peer.endpoint = coordinator.endpoint
    peer.connect()
    peer.open()
    peer.number -= 1

    assert peer.do(Put("a.md", b"one\n"), durability=Durability.GIT) == first
    assert first.commit != ""


def test_an_untracked_file_is_left_alone_whatever_it_holds(
    coordinator: Coordinator, peer: Peer
) -> None:
    root = coordinator.root
    # What a document held once, and what another one at its path did, would be removed as ours.
    peer.do(Put("a.md", b"one\n"))
    peer.do(Delete("a.md"))
    peer.do(Put("a.md", b"two\n"))
    peer.do(Put("a.md", b"three\n"))
    peer.do(Untrack("a.md"), durability=Durability.GIT)
    assert files(root) == {"a.md": b"three\n"}
    for content in (b"three\n", b"two\n", b"one\n", b"mine\n"):
        (root / "a.md").write_bytes(content)
        crash_and_start(coordinator)
        assert files(root) == {"a.md": content}
    assert quarantine(root) == []
    git = subprocess.run(
        ["git", "--git-dir", str(root / ".agent-trace" / "repo"), "ls-tree", "--name-only", "main"],
        capture_output=True,
        check=True,
    )
    assert git.stdout == b""
