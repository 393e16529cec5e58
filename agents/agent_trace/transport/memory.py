"""A pair of connected ends in memory: the transport and the coordinator's side of it.

For tests, and for whatever wants a session without sockets. The order, the loss and the errors
are those of the real transport; the same conformance tests run on both.
"""

from __future__ import annotations

import math

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from agent_trace.errors import ConnectionLost
from agent_trace_protocol import MalformedMessage

from .base import Deliver

__all__ = ["MemoryPeer", "MemoryTransport", "memory_pair"]


class MemoryTransport:
    """The client's end."""

    def __init__(
        self,
        outgoing: MemoryObjectSendStream[list[bytes]],
        incoming: MemoryObjectReceiveStream[list[bytes]],
    ) -> None:
        self._outgoing = outgoing
        self._incoming = incoming

    def send_nowait(self, envelope: bytes, body: bytes) -> None:
        try:
            self._outgoing.send_nowait([envelope, body])
        except (anyio.BrokenResourceError, anyio.ClosedResourceError) as error:
            raise ConnectionLost("the connection in memory was lost") from error

    async def run(self, deliver: Deliver) -> None:
        try:
            async for frames in self._incoming:
                deliver(frames)
        except anyio.ClosedResourceError as error:
            raise ConnectionLost("the connection in memory was closed here") from error
        raise ConnectionLost("the connection in memory was lost")

    def close(self) -> None:
        self._outgoing.close()
        self._incoming.close()


class MemoryPeer:
    """The coordinator's end."""

    def __init__(
        self,
        outgoing: MemoryObjectSendStream[list[bytes]],
        incoming: MemoryObjectReceiveStream[list[bytes]],
    ) -> None:
        self._outgoing = outgoing
        self._incoming = incoming

    async def receive(self) -> tuple[bytes, bytes]:
        """Return the next message: envelope and body.

        Raises:
            ConnectionLost: the client has let go.
            MalformedMessage: it is not two frames.
        """
        try:
            frames = await self._incoming.receive()
        except (anyio.EndOfStream, anyio.ClosedResourceError) as error:
            raise ConnectionLost("the client has let go of the connection") from error
        if len(frames) != 2:
            raise MalformedMessage(f"a message has two frames, not {len(frames)}")
        return frames[0], frames[1]

    def send(self, *frames: bytes) -> None:
        """Send one message; it is dropped if the client has let go, as a ROUTER does."""
        try:
            self._outgoing.send_nowait(list(frames))
        except (anyio.BrokenResourceError, anyio.ClosedResourceError):
            return

    def close(self) -> None:
        """Break the connection; the client receives what was sent before. Idempotent."""
        self._outgoing.close()
        self._incoming.close()


def memory_pair() -> tuple[MemoryTransport, MemoryPeer]:
    """Return the two ends of a new connection; each must be closed."""
    to_peer, from_client = anyio.create_memory_object_stream[list[bytes]](math.inf)
    to_client, from_peer = anyio.create_memory_object_stream[list[bytes]](math.inf)
    return MemoryTransport(to_peer, from_peer), MemoryPeer(to_client, from_client)
