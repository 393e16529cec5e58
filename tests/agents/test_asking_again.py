"""A request whose answer was lost while the connection was not: it is asked again."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest

from agent_trace import Agent
from agent_trace.client import connect_with
from agent_trace.config import Settings, find_identity
from agent_trace.session import UNANSWERED_HEARTBEATS_MAX
from agent_trace.testing import ScriptedCoordinator, connect_scripted
from agent_trace.transport import Transport
from agent_trace.transport.zmq import ZmqTransport
from agent_trace_coordinator.server import sockets
from agent_trace_coordinator.server.sockets import Router
from agent_trace_protocol import (
    PROTOCOL_VERSION,
    Document,
    DocumentType,
    Done,
    Heartbeat,
    Open,
    Opened,
    Read,
    Reply,
    ReplyEnvelope,
    Request,
    Transact,
    decode_request,
    decode_request_envelope,
    encode,
    session_id_of,
)

BEAT_SECONDS = 0.05


async def test_a_request_whose_answer_was_lost_is_asked_again_under_its_number() -> None:
    with anyio.fail_after(5):
        async with ScriptedCoordinator(heartbeat_seconds=BEAT_SECONDS) as coordinator:
            async with connect_scripted(coordinator) as agent:
                await agent.ping()
                coordinator.lost_answers.add(2)
                written = await agent.write("plan.md", "text")
            asked = [each for each in coordinator.received if isinstance(each[1], Transact)]
            beats = [each for each in coordinator.received if isinstance(each[1], Heartbeat)]
    assert str(written) == "plan.md@1"
    # The same number, the same request, carried out once, over the same connection.
    assert asked == [asked[0], asked[0]] and asked[0][0] == 2
    assert coordinator.connections_count == 1
    assert len(beats) >= UNANSWERED_HEARTBEATS_MAX - 1


async def test_a_sign_of_life_whose_answer_was_lost_does_not_end_the_session() -> None:
    with anyio.fail_after(5):
        async with ScriptedCoordinator(heartbeat_seconds=BEAT_SECONDS) as coordinator:
            async with connect_scripted(coordinator) as agent:
                coordinator.lost_answers.add(1)
                await coordinator.wait_received(2)
                while not coordinator.received.count((1, Heartbeat())) > 1:
                    # Others are answered meanwhile: the connection is not lost.
                    await agent.ping()
    assert coordinator.connections_count == 1


class CrowdedRouter:
    """The coordinator's real socket, with room for so few answers that it drops some."""

    TEXT = b"x" * 131_072

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint
        self.asked: list[int] = []
        self.router = Router(self.handle, lambda: False)

    async def connect(self) -> Transport:
        return ZmqTransport(self.endpoint)

    def handle(self, peer: bytes, frames: list[bytes]) -> None:
        head, body = frames
        envelope, request = decode_request_envelope(head), decode_request(body)
        reply = self.answer(envelope.key, envelope.number, request)
        answer = encode(ReplyEnvelope(PROTOCOL_VERSION, envelope.number, 1, 1))
        self.router.send(peer, answer, encode(reply))

    def answer(self, key: bytes, number: int, request: Request) -> Reply:
        if isinstance(request, Open):
            return Opened(
                session=session_id_of(key),
                protocol=PROTOCOL_VERSION,
                epoch=1,
                store="crowded",
                heartbeat_seconds=BEAT_SECONDS,
                stale_seconds=60.0,
                document_bytes_max=len(self.TEXT),
                next_number=1,
            )
        if not isinstance(request, Read):
            return Done()
        self.asked.append(number)
        return Document(request.path, DocumentType.SCRATCH, 1, self.TEXT, 1, 0, "anna")


async def test_answers_that_the_socket_had_no_room_for_come_when_they_are_asked_for_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sockets, "QUEUED_MESSAGES_MAX", 2)
    crowded = CrowdedRouter(f"ipc://{tmp_path}/s")
    sizes: list[int] = []

    async def read(agent: Agent, number: int) -> None:
        sizes.append(len((await agent.read(f"{number}.md")).content))

    try:
        crowded.router.bind(crowded.endpoint)
        settings = Settings(identity=find_identity("anna"), root=None, reconnect_seconds=5.0)
        with anyio.fail_after(20):
            async with anyio.create_task_group() as serving:
                serving.start_soon(crowded.router.serve)
                async with connect_with(settings, crowded) as agent:
                    async with anyio.create_task_group() as readers:
                        for number in range(32):
                            readers.start_soon(read, agent, number)
                serving.cancel_scope.cancel()
    finally:
        crowded.router.close()
    assert sizes == [len(CrowdedRouter.TEXT)] * 32
    assert crowded.router.dropped_count
    assert len(crowded.asked) > len(set(crowded.asked)) == 32
