"""A scripted coordinator in memory, for tests of programs that use the client.

It keeps the part of the contract that clients build on (opening comes first, a repeated number
gets its first answer) and leaves everything else to the script.

    async with ScriptedCoordinator() as coordinator:
        async with connect_scripted(coordinator, agent="planner") as agent:
            await agent.write("plan.md", "text")
    assert coordinator.requests == [...]
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from types import TracebackType

import anyio
from anyio.abc import TaskGroup

from agent_trace_protocol import (
    AcceptDraft,
    Action,
    AgentTraceError,
    ApplyViolation,
    Close,
    Committed,
    Done,
    Heartbeat,
    Move,
    NotFound,
    Open,
    Opened,
    Ping,
    Refused,
    Reply,
    ReplyEnvelope,
    Request,
    SessionUnknown,
    Stop,
    Transact,
    WriteResult,
    decode_request,
    decode_request_envelope,
    encode,
    session_id_of,
)
from agent_trace_protocol.limits import DOCUMENT_BYTES_DEFAULT

from .client import Agent, connect_with
from .config import Settings, find_identity
from .errors import ConnectionLost
from .transport.base import Transport
from .transport.memory import MemoryPeer, memory_pair

__all__ = ["Script", "ScriptedCoordinator", "accept_all", "connect_scripted"]

Script = Callable[[Request], Reply | None]
"""Answers a request; None leaves it unanswered. Errors it raises become refusals."""


def accept_all(request: Request) -> Reply | None:
    """The default script: every write makes revision 1, and there is nothing to read."""
    if isinstance(request, Transact):
        results: list[WriteResult] = []
        for operation in request.operations:
            if isinstance(operation, AcceptDraft | ApplyViolation):
                path = "draft.md"
            else:
                path = operation.path
            path = operation.new_path if isinstance(operation, Move) else path
            results.append(WriteResult(path, 1, Action.PUT, 1, 0))
        return Committed(1, tuple(results))
    if isinstance(request, Heartbeat | Close | Ping | Stop):
        return Done()
    raise NotFound("the script has no answer to this")


class ScriptedCoordinator:
    """Serves sessions in memory by a script. It is the connector of those sessions as well."""

    def __init__(self, script: Script = accept_all, *, heartbeat_seconds: float = 60.0) -> None:
        self.script = script
        self.heartbeat_seconds = heartbeat_seconds
        self.received: list[tuple[int, Request]] = []
        """All that arrived, repetitions too, with the request numbers; `Open` has number 0."""
        self.opening_answers: deque[Reply] = deque()
        """Answers to the next `Open`s, instead of opening the session."""
        self.next_number = 1
        """What a session that is opened is told to go on with."""
        self.connections_count = 0
        self.forget = False
        """Whether sessions are unknown until they are opened once more."""
        self.lost_answers: set[int] = set()
        """Numbers of requests that are carried out, and whose next answer gets lost on its way."""
        self._answers: dict[tuple[bytes, int], Reply] = {}
        self._peers: list[MemoryPeer] = []
        self._arrived = anyio.Event()
        self._group: TaskGroup | None = None

    @property
    def requests(self) -> list[Request]:
        """The requests that arrived, without what keeps the session itself."""
        kept = (Open, Heartbeat, Close)
        return [request for _, request in self.received if not isinstance(request, kept)]

    async def __aenter__(self) -> ScriptedCoordinator:
        self._group = anyio.create_task_group()
        await self._group.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool | None:
        assert self._group is not None
        self.drop()
        self._group.cancel_scope.cancel()
        return await self._group.__aexit__(kind, error, trace)

    async def connect(self) -> Transport:
        """Return a new connection to this coordinator."""
        assert self._group is not None, "enter it with `async with` first"
        self.connections_count += 1
        transport, peer = memory_pair()
        self._peers.append(peer)
        self._group.start_soon(self._serve, peer)
        return transport

    def drop(self) -> None:
        """Break all connections, as a coordinator that is killed does."""
        while self._peers:
            self._peers.pop().close()

    async def wait_received(self, count: int) -> None:
        """Wait until so many messages have arrived in all."""
        while len(self.received) < count:
            await self._arrived.wait()

    async def _serve(self, peer: MemoryPeer) -> None:
        while True:
            try:
                head, body = await peer.receive()
            except ConnectionLost:
                return
            envelope = decode_request_envelope(head)
            request = decode_request(body)
            self.received.append((envelope.number, request))
            reply = self._answer(envelope.key, envelope.number, request)
            if envelope.number in self.lost_answers:
                self.lost_answers.remove(envelope.number)
            elif reply is not None:
                peer.send(encode(ReplyEnvelope(1, envelope.number, 1, 1)), encode(reply))
            arrived, self._arrived = self._arrived, anyio.Event()
            arrived.set()

    def _answer(self, key: bytes, number: int, request: Request) -> Reply | None:
        if isinstance(request, Open):
            return self._open(key)
        if self.forget:
            return Refused(SessionUnknown("the script has forgotten this session").to_info())
        if (key, number) in self._answers:
            return self._answers[key, number]
        try:
            reply = self.script(request)
        except AgentTraceError as error:
            reply = Refused(error.to_info())
        if reply is not None:
            self._answers[key, number] = reply
        return reply

    def _open(self, key: bytes) -> Reply:
        if self.opening_answers:
            return self.opening_answers.popleft()
        self.forget = False
        return Opened(
            session=session_id_of(key),
            protocol=1,
            epoch=1,
            store="scripted",
            heartbeat_seconds=self.heartbeat_seconds,
            stale_seconds=4 * self.heartbeat_seconds,
            document_bytes_max=DOCUMENT_BYTES_DEFAULT,
            next_number=self.next_number,
        )


@asynccontextmanager
async def connect_scripted(
    coordinator: ScriptedCoordinator,
    *,
    agent: str = "tester",
    reconnect_seconds: float = 5.0,
) -> AsyncGenerator[Agent, None]:
    """Open a session of `agent` at a scripted coordinator; `connect` for tests."""
    settings = Settings(
        identity=find_identity(agent), root=None, reconnect_seconds=reconnect_seconds
    )
    async with connect_with(settings, coordinator) as connected:
        yield connected
