"""A real coordinator process: what it takes, what it refuses, and what it has after its end."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path

import msgspec
import pytest

from agent_trace_protocol import (
    Action,
    Actor,
    Append,
    Document,
    Done,
    Durability,
    ErrorCode,
    EvictSession,
    Heartbeat,
    Log,
    LogPage,
    Open,
    Opened,
    Ping,
    Put,
    Read,
    Refused,
    Reply,
    RequestEnvelope,
    SessionKind,
    Status,
    StatusReport,
    Stop,
    Transact,
    encode,
)
from agent_trace_protocol.ids import session_id_of
from agent_trace_protocol.layout import (
    EXIT_ALREADY_RUNNING,
    EXIT_DISK_FAILED,
    SOCKET_PATH_BYTES_MAX,
)
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


def code(reply: Reply) -> ErrorCode:
    assert isinstance(reply, Refused), reply
    return reply.error.code


def git(root: Path, *arguments: str) -> str:
    return subprocess.run(
        ["git", f"--git-dir={root}/.agent-trace/repo", *arguments],
        check=True,
        capture_output=True,
        text=True,
    ).stdout


def test_a_write_is_answered_read_back_committed_and_on_disk(
    coordinator: Coordinator, peer: Peer
) -> None:
    done = peer.do(Put("plans/a.md", b"one\n"), durability=Durability.GIT)
    read = peer.ask(Read("plans/a.md"))
    assert isinstance(read, Document)
    assert (read.content, read.revision, read.author) == (b"one\n", 1, "planner")
    root = coordinator.root
    assert git(root, "show", f"{done.commit}:plans/a.md") == "one\n"
    assert git(root, "show", "-s", "--format=%an", done.commit) == "planner\n"
    assert (root / "plans" / "a.md").read_bytes() == b"one\n"


GARBAGE = {
    "an empty message": [b"", b""],
    "one frame": [b"\x00"],
    "three frames": [b"", b"", b""],
    "no msgpack": [b"\xc1\xc1", b"\xc1"],
    "a key that is too short": [encode(RequestEnvelope(1, b"short", 1)), encode(Ping())],
    "an unknown message type": [
        encode(RequestEnvelope(1, bytes(16), 1)),
        msgspec.msgpack.encode(["dance"]),
    ],
    "a field of the wrong type": [
        encode(RequestEnvelope(1, bytes(16), 1)),
        msgspec.msgpack.encode(["read", 7]),
    ],
    "deep nesting": [encode(RequestEnvelope(1, bytes(16), 1)), b"\x91" * 100_000 + b"\xc0"],
    "an envelope that is too long": [bytes(5000), b""],
}


@pytest.mark.parametrize("what", GARBAGE)
def test_garbage_gets_a_typed_error_and_the_next_request_is_served(peer: Peer, what: str) -> None:
    _, reply = peer.exchange(GARBAGE[what])
    assert code(reply) in {ErrorCode.MALFORMED, ErrorCode.TOO_LARGE}
    assert peer.ask(Ping()) == Done()


def test_a_message_in_another_version_is_told_which_are_spoken(peer: Peer) -> None:
    _, reply = peer.exchange([encode(RequestEnvelope(9, peer.key, 1)), encode(Ping())])
    assert code(reply) is ErrorCode.UNSUPPORTED_VERSION
    assert isinstance(reply, Refused) and "protocol 9" in reply.error.message


def test_a_newer_client_is_told_that_the_coordinator_is_older(coordinator: Coordinator) -> None:
    with Peer(coordinator.endpoint) as newer:
        reply = newer.ask_as(
            0, Open("x", Actor.AGENT, SessionKind.MCP, protocol_min=7, protocol_max=9)
        )
    assert code(reply) is ErrorCode.UNSUPPORTED_VERSION
    assert isinstance(reply, Refused) and "upgrade and restart" in reply.error.message


def test_a_session_that_was_not_opened_can_do_nothing(coordinator: Coordinator) -> None:
    with Peer(coordinator.endpoint) as stranger:
        assert code(stranger.ask(Transact((Put("a.md", b"x"),)))) is ErrorCode.SESSION_UNKNOWN
        assert code(stranger.ask(Read("a.md"))) is ErrorCode.SESSION_UNKNOWN


@pytest.mark.parametrize(
    "path", ["../a.md", "/etc/passwd", ".agent-trace/x", ".git/config", "a//b"]
)
def test_a_path_outside_the_store_is_refused(
    coordinator: Coordinator, peer: Peer, path: str
) -> None:
    assert code(peer.ask(Transact((Put(path, b"x"),)))) is ErrorCode.INVALID_PATH
    assert code(peer.ask(Read(path))) is ErrorCode.INVALID_PATH
    assert sorted(os.listdir(coordinator.root)) == [".agent-trace"]


def test_an_oversized_frame_ends_that_connection_only(coordinator: Coordinator, peer: Peer) -> None:
    with Peer(coordinator.endpoint, "loud") as loud:
        loud.opened()
        loud.socket.send_multipart([encode(RequestEnvelope(1, loud.key, 1)), bytes(9 << 20)])
        assert peer.ask(Ping()) == Done()
        # The connection was cut; a new one takes the session up again.
        loud.connect()
        loud.opened()
        assert loud.ask(Ping()) == Done()


def test_a_document_over_the_limit_is_refused_with_both_sizes(peer: Peer) -> None:
    reply = peer.ask(Transact((Put("a.md", b"x" * (1 << 20) + b"y"),)))
    assert code(reply) is ErrorCode.TOO_LARGE
    assert isinstance(reply, Refused) and "1048577" in reply.error.message


def test_a_store_deeper_than_a_socket_path_can_be_works(tmp_path: Path) -> None:
    root = tmp_path.joinpath(*["a-rather-long-directory-name"] * 5)
    with running(root) as coordinator, Peer(coordinator.endpoint) as peer:
        assert len(os.fsencode(root)) > SOCKET_PATH_BYTES_MAX
        peer.opened().do(Put("a.md", b"one\n"))
        socket = Path(coordinator.endpoint.removeprefix("ipc://"))
        assert socket.stat().st_mode & 0o077 == 0
        assert coordinator.end() == 0
        assert not socket.exists()


def test_a_second_coordinator_refuses_and_names_the_first(coordinator: Coordinator) -> None:
    second = subprocess.run(
        [
            *(sys.executable, "-m", "agent_trace_coordinator", "serve"),
            *("--store", str(coordinator.root)),
        ],
        capture_output=True,
        text=True,
        timeout=10,
        check=False,
    )
    assert second.returncode == EXIT_ALREADY_RUNNING
    assert str(coordinator.process.pid) in second.stderr
    with Peer(coordinator.endpoint) as peer:
        assert peer.opened().ask(Ping()) == Done()


def test_what_was_acknowledged_is_there_after_a_kill_exactly_once(
    coordinator: Coordinator, peer: Peer
) -> None:
    for number in range(50):
        peer.do(Append("notes.md", f"{number}\n".encode()))
    last = Transact((Append("notes.md", b"last\n"),))
    first_answer = peer.ask(last)
    coordinator.end(signal.SIGKILL)
    coordinator.start()
    peer.connect()
    opened = peer.open()
    assert isinstance(opened, Opened) and (opened.epoch, opened.next_number) == (2, 52)
    assert peer.ask_as(51, last) == first_answer
    read = peer.ask(Read("notes.md"))
    assert isinstance(read, Document)
    assert read.content.decode().split() == [*map(str, range(50)), "last"]
    root = coordinator.root
    assert git(root, "show", "main:notes.md").encode() == read.content
    assert (root / "notes.md").read_bytes() == read.content
    assert git(root, "rev-list", "--count", "main").strip() == "52"


def test_a_lost_git_directory_is_made_again_with_the_same_commits(
    coordinator: Coordinator, peer: Peer
) -> None:
    commits = [
        peer.do(Put("a.md", f"{number}\n".encode()), durability=Durability.GIT).commit
        for number in range(5)
    ]
    assert coordinator.end() == 0
    shutil.rmtree(coordinator.root / ".agent-trace" / "repo")
    coordinator.start()
    ids = git(coordinator.root, "rev-list", "--reverse", "main").split()
    assert ids[1:6] == commits


def test_files_that_are_missing_or_were_edited_are_put_right_and_nothing_is_lost(
    coordinator: Coordinator, peer: Peer
) -> None:
    root = coordinator.root
    for name in ("a.md", "b.md", "c.md"):
        peer.do(Put(name, b"old\n"))
    peer.do(Put("c.md", b"new\n"))
    assert coordinator.end() == 0
    (root / "a.md").unlink()
    (root / "b.md").write_bytes(b"by hand\n")
    (root / "c.md").write_bytes(b"old\n")
    coordinator.start()
    assert [(root / name).read_bytes() for name in ("a.md", "b.md", "c.md")] == [
        b"old\n",
        b"by hand\n",
        b"new\n",
    ]
    assert list((root / ".agent-trace" / "quarantine").iterdir()) == []


def test_the_log_names_the_commit_of_everything_the_asker_was_told(peer: Peer) -> None:
    seqs = [peer.do(Put("a.md", f"{number}\n".encode())).seq for number in range(20)]
    page = peer.ask(Log(limit=100))
    assert isinstance(page, LogPage)
    assert [entry.seq for entry in page.entries] == list(range(seqs[-1], 0, -1))
    assert all(entry.commit for entry in page.entries)
    assert page.entries[-1].action is Action.OPEN


def test_status_says_where_journal_and_git_are(coordinator: Coordinator, peer: Peer) -> None:
    peer.do(Put("a.md", b"one\n"), durability=Durability.GIT)
    status = peer.ask(Status())
    assert isinstance(status, StatusReport)
    assert (status.seq, status.git_seq, status.documents, status.sessions_live) == (2, 2, 1, 1)
    assert (status.pid, status.root) == (coordinator.process.pid, str(coordinator.root))


def test_sigterm_finishes_what_was_accepted_and_leaves_nothing_behind(
    coordinator: Coordinator, peer: Peer
) -> None:
    for number in range(200):
        peer.do(Put(f"{number % 7}.md", f"{number}\n".encode()))
    assert coordinator.end(signal.SIGTERM) == 0
    root = coordinator.root
    assert git(root, "rev-list", "--count", "main").strip() == "201"
    assert git(root, "fsck", "--full", "--strict") == ""
    assert (root / "3.md").read_bytes() == b"199\n"
    assert sorted(os.listdir(root / ".agent-trace" / "run")) == ["coordinator.lock", "tmp"]


def test_stop_is_answered_and_then_the_process_leaves(coordinator: Coordinator) -> None:
    with Peer(coordinator.endpoint, "ann", Actor.USER) as user:
        assert user.opened().ask(Stop()) == Done()
        assert coordinator.process.wait(10) == 0


def test_a_coordinator_that_nobody_needs_leaves_by_itself(tmp_path: Path) -> None:
    with running(tmp_path / "store", "--idle-seconds", "1") as coordinator:
        assert coordinator.process.wait(10) == 0


def test_a_coordinator_whose_store_was_deleted_ends(coordinator: Coordinator, peer: Peer) -> None:
    peer.do(Put("a.md", b"one\n"))
    # First out of its way: what it still writes would be in that of who removes.
    gone = coordinator.root.rename(coordinator.root.with_name("gone"))
    shutil.rmtree(gone)
    assert coordinator.process.wait(10) == EXIT_DISK_FAILED


def test_a_successor_of_a_dead_process_gets_its_name_at_once(
    coordinator: Coordinator, tmp_path: Path
) -> None:
    script = (
        "import os, socket, sys; from support.coordinator import Peer;"
        "from agent_trace_protocol import *;"
        "started = int(open('/proc/self/stat').read().rpartition(')')[2].split()[19]);"
        "peer = Peer(sys.argv[1]);"
        "peer.ask_as(0, Open('planner', Actor.AGENT, SessionKind.LIBRARY,"
        " host=socket.gethostname(), pid=os.getpid(), pid_started=started));"
        "print('open', flush=True); sys.stdin.read()"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", script, coordinator.endpoint],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
    )
    assert holder.stdout is not None and holder.stdin is not None
    assert holder.stdout.readline() == b"open\n"
    with Peer(coordinator.endpoint) as successor:
        assert code(successor.open()) is ErrorCode.AGENT_BUSY
        holder.kill()
        holder.communicate()
        opened = successor.open()
        assert isinstance(opened, Opened) and opened.predecessor
        assert successor.ask(Heartbeat()) == Done()


def test_an_eviction_that_is_repeated_is_answered_as_it_was(coordinator: Coordinator) -> None:
    with (
        Peer(coordinator.endpoint, "mad").opened() as mad,
        Peer(coordinator.endpoint, "mia", Actor.USER).opened() as mia,
    ):
        evict = EvictSession(session_id_of(mad.key), "it went mad")
        assert [mia.ask(evict), mia.ask(evict)] == [Done(), Done()]
        assert code(mia.ask(EvictSession(evict.session, "another reason"))) is ErrorCode.NOT_FOUND
        coordinator.end()
        coordinator.start()
    with Peer(coordinator.endpoint, "mia", Actor.USER).opened() as mia:
        assert mia.ask(evict) == Done()
