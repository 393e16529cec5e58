"""What every transport promises, checked on the one in memory and on the real ones."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import TypeAlias

import anyio
import pytest

from agent_trace.errors import ConnectionLost
from agent_trace.transport import Transport
from agent_trace.transport.memory import MemoryPeer, memory_pair
from agent_trace.transport.spool import SpoolTransport
from agent_trace.transport.zmq import ZmqTransport
from support.router import RouterPeer
from support.spool import SpoolPeer

Peer: TypeAlias = MemoryPeer | RouterPeer | SpoolPeer
Ends: TypeAlias = tuple[Transport, Peer]


class _Inbox:
    """Collects what is delivered."""

    def __init__(self) -> None:
        self.messages: list[list[bytes]] = []
        self._arrived = anyio.Event()

    def deliver(self, frames: Sequence[bytes]) -> None:
        self.messages.append(list(frames))
        arrived, self._arrived = self._arrived, anyio.Event()
        arrived.set()

    async def wait(self, count: int) -> list[list[bytes]]:
        while len(self.messages) < count:
            await self._arrived.wait()
        return self.messages


@pytest.fixture(params=["memory", "zmq", "spool"])
def kind(request: pytest.FixtureRequest) -> str:
    chosen: str = request.param
    return chosen


@pytest.fixture
async def ends(kind: str, tmp_path: Path) -> AsyncIterator[Ends]:
    transport: Transport
    peer: Peer
    if kind == "memory":
        transport, peer = memory_pair()
    elif kind == "spool":
        peer = SpoolPeer(tmp_path / "s")
        transport = SpoolTransport(peer.path)
    else:
        peer = RouterPeer(tmp_path / "s")
        transport = ZmqTransport(peer.endpoint)
    yield transport, peer
    transport.close()
    peer.close()


async def test_messages_arrive_in_order_on_both_sides(ends: Ends) -> None:
    transport, peer = ends
    inbox = _Inbox()
    sent = [(b"%d" % each, b"body %d" % each) for each in range(100)]
    with anyio.fail_after(5):
        async with anyio.create_task_group() as group:
            group.start_soon(transport.run, inbox.deliver)
            for envelope, body in sent:
                transport.send_nowait(envelope, body)
            for envelope, body in sent:
                assert await peer.receive() == (envelope, body)
                peer.send(envelope, body)
            assert await inbox.wait(100) == [list(pair) for pair in sent]
            group.cancel_scope.cancel()


async def test_what_is_sent_before_run_is_not_lost(ends: Ends) -> None:
    transport, peer = ends
    with anyio.fail_after(5):
        transport.send_nowait(b"early", b"bird")
        assert await peer.receive() == (b"early", b"bird")


async def test_a_message_of_any_shape_is_delivered_as_it_came(ends: Ends) -> None:
    transport, peer = ends
    inbox = _Inbox()
    with anyio.fail_after(5):
        async with anyio.create_task_group() as group:
            group.start_soon(transport.run, inbox.deliver)
            transport.send_nowait(b"a", b"b")
            await peer.receive()
            peer.send(b"one")
            peer.send(b"1", b"2", b"3")
            assert await inbox.wait(2) == [[b"one"], [b"1", b"2", b"3"]]
            group.cancel_scope.cancel()


async def test_a_lost_connection_is_noticed_at_once_after_the_last_message(ends: Ends) -> None:
    transport, peer = ends
    inbox = _Inbox()
    with anyio.fail_after(5):
        transport.send_nowait(b"a", b"b")
        await peer.receive()
        peer.send(b"last", b"words")
        peer.close()
        with pytest.raises(ConnectionLost):
            await transport.run(inbox.deliver)
    assert inbox.messages == [[b"last", b"words"]]


async def test_sending_after_the_loss_says_that_the_connection_is_lost(ends: Ends) -> None:
    transport, peer = ends
    with anyio.fail_after(5):
        transport.send_nowait(b"a", b"b")
        await peer.receive()
        peer.close()
        with pytest.raises(ConnectionLost):
            await transport.run(_Inbox().deliver)
        with pytest.raises(ConnectionLost):
            transport.send_nowait(b"c", b"d")


async def test_closing_twice_does_no_harm(ends: Ends) -> None:
    transport, _ = ends
    transport.close()
    transport.close()


async def test_a_closed_transport_neither_sends_nor_runs(ends: Ends) -> None:
    transport, _ = ends
    transport.close()
    with anyio.fail_after(5):
        with pytest.raises(ConnectionLost):
            transport.send_nowait(b"a", b"b")
        with pytest.raises(ConnectionLost):
            await transport.run(_Inbox().deliver)


async def test_run_can_be_cancelled(ends: Ends) -> None:
    transport, _ = ends
    with anyio.fail_after(5):
        async with anyio.create_task_group() as group:
            group.start_soon(transport.run, _Inbox().deliver)
            await anyio.lowlevel.checkpoint()
            group.cancel_scope.cancel()


async def test_an_address_where_nobody_listens_is_a_lost_connection(tmp_path: Path) -> None:
    transport = ZmqTransport(f"ipc://{tmp_path / 'nobody'}")
    try:
        with anyio.fail_after(5), pytest.raises(ConnectionLost, match="not there"):
            await transport.run(_Inbox().deliver)
    finally:
        transport.close()


@pytest.mark.parametrize("endpoint", ["nonsense", "ipc://" + "x" * 200, "tcp://nowhere"])
async def test_an_address_that_can_not_be_one_is_a_lost_connection(endpoint: str) -> None:
    with pytest.raises(ConnectionLost, match="can not connect"):
        ZmqTransport(endpoint)


async def test_requests_and_answers_that_cross_are_never_left_lying(tmp_path: Path) -> None:
    """A send can consume the edge that announces an answer; the sender then delivers it."""
    peer = RouterPeer(tmp_path / "s")
    transport = ZmqTransport(peer.endpoint)
    inbox = _Inbox()

    async def answer() -> None:
        while True:
            envelope, body = await peer.receive()
            peer.send(envelope, body)

    with anyio.fail_after(20):
        async with anyio.create_task_group() as group:
            group.start_soon(transport.run, inbox.deliver)
            group.start_soon(answer)
            for count in range(1, 2001):
                transport.send_nowait(b"%d" % count, b"x")
                if count % 3 == 0:
                    await inbox.wait(count)
            await inbox.wait(2000)
            group.cancel_scope.cancel()
    transport.close()
    peer.close()
    assert [frames[0] for frames in inbox.messages] == [b"%d" % each for each in range(1, 2001)]
