"""A peer that asks and does not read: its replies are dropped, and are not even made."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
import zmq

from agent_trace_coordinator.core.inputs import NO_FACTS, Facts
from agent_trace_coordinator.server import sockets
from agent_trace_coordinator.server.file_stage import FileStage
from agent_trace_coordinator.server.git_stage import GitStage
from agent_trace_coordinator.server.journal_stage import JournalStage
from agent_trace_coordinator.server.lookup import Lookup
from agent_trace_coordinator.server.queries import Queries
from agent_trace_coordinator.server.runtime import Runtime
from agent_trace_coordinator.server.sockets import Router
from agent_trace_coordinator.storage.base import FileSigns
from agent_trace_protocol import (
    PROTOCOL_VERSION,
    Document,
    Put,
    Read,
    RequestEnvelope,
    decode_reply,
    encode,
)
from agent_trace_protocol.limits import KIB, MIB
from support.core import Desk

# pyright: reportPrivateUsage=false

LARGE = b"x" * MIB


@pytest.fixture
def router(monkeypatch: pytest.MonkeyPatch) -> Iterator[Router]:
    monkeypatch.setattr(sockets, "UNREAD_BYTES_MAX", 4 * MIB)
    monkeypatch.setattr(sockets, "UNREAD_BYTES_ALL_MAX", 6 * MIB)
    router = Router(lambda peer, frames: None, lambda: False)
    yield router
    router.close()


def connect(router: Router, endpoint: str, name: bytes) -> zmq.Socket[bytes]:
    """Return the socket of a peer that the router knows, and that hardly reads ahead."""
    peer = router._context.socket(zmq.SocketType.DEALER)
    peer.set(zmq.SocketOption.IDENTITY, name)
    peer.set(zmq.SocketOption.RCVHWM, 1)
    peer.set(zmq.SocketOption.LINGER, 0)
    peer.connect(endpoint)
    peer.send(b"")
    assert router._socket.poll(5000)
    assert router._socket.recv_multipart() == [name, b""]
    return peer


def test_a_peer_gets_so_much_unread_and_more_once_it_has_read(
    router: Router, tmp_path: Path
) -> None:
    endpoint = f"ipc://{tmp_path}/s"
    router.bind(endpoint)
    ann, ben = (connect(router, endpoint, name) for name in (b"ann", b"ben"))
    sent = 0
    while router.has_room(b"ann", len(LARGE)):
        router.send(b"ann", b"", LARGE)
        sent += 1
    # What the system itself holds for a peer is on its way.
    assert 4 <= sent < 10 and router.dropped_count == 1
    router.send(b"ann", b"", LARGE)
    assert router.dropped_count == 2
    # Small replies and those of others are not affected; all peers together have a limit, too.
    assert router.has_room(b"ann", 4 * KIB)
    others = 0
    while router.has_room(b"ben", len(LARGE)):
        router.send(b"ben", b"", LARGE)
        others += 1
    assert 1 <= others < sent

    trackers = [tracker for tracker, _ in router._unread._by_peer[b"ann"]]
    for _ in range(sent):
        assert ann.poll(5000)
        ann.recv_multipart()
    for tracker in trackers:
        tracker.wait(5)
    assert router.has_room(b"ann", len(LARGE)) and router.has_room(b"ben", len(LARGE))
    for peer in (ann, ben):
        peer.close()


class _Sender:
    """Keeps what is sent, as long as there is room."""

    def __init__(self) -> None:
        self.room = True
        self.replies: list[bytes] = []

    def has_room(self, peer: bytes, size: int) -> bool:
        return self.room or size < 1000

    def send(self, peer: bytes, envelope: bytes, body: bytes) -> None:
        self.replies.append(body)

    def sent(self) -> None:
        pass


def _no_facts(*_: object) -> Facts:
    return NO_FACTS


def _nothing(*_: object) -> None:
    return None


def test_a_large_document_is_not_looked_up_for_who_has_no_room_for_it() -> None:
    desk = Desk()
    agent = desk.member()
    agent.do(Put("large.md", LARGE[:-1]), Put("small.md", b"small"))
    agent.do(Put("large.md", LARGE[:-2]))
    looked_up: list[int] = []

    def content(key: int, digest: bytes) -> bytes:
        looked_up.append(key)
        return desk.contents[key]

    lookup = SimpleNamespace(facts=_no_facts, content=content, record_of=desk.change)
    journal = SimpleNamespace(durable_seq=desk.state.seq, hold_while=_nothing)
    sender = _Sender()
    runtime = Runtime(
        desk.state,
        cast(Lookup, lookup),
        cast(JournalStage, journal),
        cast(GitStage, SimpleNamespace(behind=_nothing)),
        cast(FileStage, SimpleNamespace(written_seq=desk.state.seq)),
        cast(Queries, SimpleNamespace(records_after=None)),
        sender,
        desk.now,
        reload=lambda: desk.state,
        git_lag_records_max=1,
        idle_seconds=None,
        signs=cast(FileSigns, None),
    )

    def read(number: int, path: str, revision: int = 0) -> None:
        envelope = RequestEnvelope(PROTOCOL_VERSION, agent.key, number)
        runtime.receive(b"peer", [encode(envelope), encode(Read(path, revision))])

    sender.room = False
    for number in range(100):
        read(number + 10, "large.md")
        read(number + 200, "large.md", 1)
    assert (looked_up, sender.replies) == ([], [])
    read(300, "small.md")
    sender.room = True
    read(301, "large.md", 1)
    documents = [decode_reply(reply) for reply in sender.replies]
    assert [each.content for each in documents if isinstance(each, Document)] == [
        b"small",
        LARGE[:-1],
    ]
