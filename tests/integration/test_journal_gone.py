"""A state.db that is deleted or replaced under the coordinator that serves it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from agent_trace_coordinator.repair.examine import look
from agent_trace_coordinator.storage.store import Store
from agent_trace_protocol import Append, Committed, Document, Durability, Put, Read, Transact
from agent_trace_protocol.layout import EXIT_DISK_FAILED
from support.coordinator import Peer, running

pytestmark = pytest.mark.integration

STATE = "state.db"
FILES = (STATE, f"{STATE}-wal", f"{STATE}-shm")


def nothing(*_: object) -> None:
    """Tell nobody."""


@pytest.mark.parametrize(
    "taken",
    [(STATE,), (f"{STATE}-wal",), FILES, ()],
    ids=["the database", "its log", "both", "replaced by an older copy"],
)
def test_nothing_is_acknowledged_from_a_journal_that_is_gone_and_it_is_put_back(
    tmp_path: Path, taken: tuple[str, ...]
) -> None:
    root = tmp_path / "store"
    own = root / ".agent-trace"
    with running(root) as coordinator, Peer(coordinator.endpoint).opened() as peer:
        peer.do(Put("a.md", b"one\n"), durability=Durability.GIT)
        shutil.copyfile(own / STATE, tmp_path / "older.db")
        peer.do(Append("a.md", b"two\n"))
        for name in taken:
            (own / name).unlink()
        if not taken:
            shutil.copyfile(tmp_path / "older.db", tmp_path / "copy.db")
            (tmp_path / "copy.db").replace(own / STATE)
        peer.number += 1
        request = Transact((Append("a.md", b"three\n"),))
        peer.send(request)
        assert coordinator.process.wait(10) == EXIT_DISK_FAILED
        assert not peer.socket.poll(0), "it was acknowledged"
        coordinator.end()
        assert any("state.db was put back as it was" in line for line in coordinator.said)

        coordinator.start()
        peer.endpoint = coordinator.endpoint
        peer.connect()
        number, peer.number = peer.number, 0
        peer.opened()
        again = peer.ask_as(number, request)
        assert isinstance(again, Committed) and again.results[0].revision == 3
        read = peer.ask_as(number + 1, Read("a.md"))
        assert isinstance(read, Document) and read.content == b"one\ntwo\nthree\n"
        assert coordinator.end() == 0
    assert look(Store(root), nothing, served=False).findings == []
    if not taken:
        (found,) = (own / "damaged").iterdir()
        assert (found / STATE).read_bytes() == (tmp_path / "older.db").read_bytes()


def test_an_idle_coordinator_notices_as_well(tmp_path: Path) -> None:
    root = tmp_path / "store"
    with running(root) as coordinator, Peer(coordinator.endpoint).opened() as peer:
        peer.do(Put("a.md", b"one\n"))
        (root / ".agent-trace" / STATE).unlink()
        assert coordinator.process.wait(10) == EXIT_DISK_FAILED
    assert look(Store(root), nothing, served=False).journal.problems == []
