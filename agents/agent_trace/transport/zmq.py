"""A DEALER socket driven by `anyio.wait_readable`, on asyncio and trio alike.

`zmq.asyncio` would bind the client to asyncio and is half as fast. In return three rules hold:

1. The socket's descriptor is edge-triggered: it says that something happened, once. So everything
   is read until `EVENTS` says that there is nothing, right before every wait.
2. A send processes the socket's commands and can consume the edge of an arrived message. So after
   each send `EVENTS` is looked at, and what has arrived is delivered by the sender.
3. One task receives. Whoever delivers does it without an `await`, so order is kept.

libzmq hides the loss of a connection and would reconnect by itself, silently dropping what was
under way. Here reconnecting is the session's business, which knows what to send again: libzmq's
own is turned off, and a monitor socket says at once when the connection is gone.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, cast

import anyio
import anyio.lowlevel
import zmq
import zmq.utils.monitor

from agent_trace.errors import ConnectionLost, KeyRefused
from agent_trace_protocol import AgentTraceError
from agent_trace_protocol.limits import BODY_BYTES_MAX, IN_FLIGHT_REQUESTS_MAX

from .base import Deliver

__all__ = ["Curve", "ZmqTransport"]

_QUEUE_MESSAGES_MAX: Final = 4 * IN_FLIGHT_REQUESTS_MAX
"""Messages that may wait in one direction. No session has so many requests under way, so a full
queue means that nobody reads at the other end."""

_DELIVER_MESSAGES_MAX: Final = 256
"""Messages delivered before other tasks get a turn."""

_SOCKETS_MAX: Final = 60_000
"""Sockets of one process; libzmq's default of 1,023 ends at 340 agents (three sockets each)."""

_NEVER_MS: Final = 3_600_000
"""An interval that no connection without a peer lives to see the end of. libzmq's own "never" (-1)
would end the pipe with the connection, and drop replies that arrived and were not read yet."""

_LOSS_EVENTS: Final = (
    zmq.Event.DISCONNECTED
    | zmq.Event.CLOSED
    | zmq.Event.CONNECT_RETRIED
    | zmq.Event.HANDSHAKE_FAILED_NO_DETAIL
    | zmq.Event.HANDSHAKE_FAILED_PROTOCOL
    | zmq.Event.HANDSHAKE_FAILED_AUTH
)


def _context() -> zmq.Context[zmq.Socket[bytes]]:
    """Return the process's context: one thread of libzmq serves all agents of a process."""
    context = cast("zmq.Context[zmq.Socket[bytes]]", zmq.Context.instance())
    limit = min(_SOCKETS_MAX, int(context.get(zmq.ContextOption.SOCKET_LIMIT)))
    if int(context.get(zmq.ContextOption.MAX_SOCKETS)) < limit:
        context.set(zmq.ContextOption.MAX_SOCKETS, limit)
    return context


# pyzmq's Python layer turns every option and flag into an enumeration and back, which costs more
# than the call: the methods of its C layer are used for what happens with each message.
_Socket: Final = zmq.backend.Socket
_NOBLOCK: Final = int(zmq.Flag.NOBLOCK)
_SEND_MORE: Final = int(zmq.Flag.SNDMORE) | _NOBLOCK
_EVENTS: Final = int(zmq.SocketOption.EVENTS)
_MORE: Final = int(zmq.SocketOption.RCVMORE)
_POLLIN: Final = int(zmq.PollEvent.POLLIN)


def _has_input(socket: zmq.Socket[bytes]) -> bool:
    return bool(int(_Socket.get(socket, _EVENTS)) & _POLLIN)


def _take(socket: zmq.Socket[bytes]) -> list[bytes]:
    """Return the frames of a message that has arrived."""
    frames = [_Socket.recv(socket, _NOBLOCK)]
    while _Socket.get(socket, _MORE):
        frames.append(_Socket.recv(socket, _NOBLOCK))
    return frames


@dataclass(frozen=True, slots=True)
class Curve:
    """Keys for an encrypted connection on which both sides prove who they are."""

    server: str
    """The coordinator's public key: nobody else is spoken to."""
    secret: str = field(repr=False)
    """Our own secret key."""


class ZmqTransport:
    """A connection to a ROUTER socket at a ZeroMQ address."""

    def __init__(self, endpoint: str, curve: Curve | None = None) -> None:
        """Begin to connect to `endpoint`, such as `ipc:///run/x.sock`; `run` says if it fails.

        Raises:
            ConnectionLost: no socket can be made for this address.
        """
        self._scope = anyio.CancelScope()
        try:
            socket = self._socket = _context().socket(zmq.SocketType.DEALER)
        except zmq.ZMQError as error:
            raise ConnectionLost(f"no socket can be made: {error}") from error
        self._monitor: zmq.Socket[bytes] | None = None
        self._deliver: Deliver | None = None
        self._draining = False
        self._lost = ""
        self._refused: AgentTraceError | None = None
        try:
            socket.set(zmq.SocketOption.LINGER, 0)
            socket.set(zmq.SocketOption.RECONNECT_IVL, _NEVER_MS)
            socket.set(zmq.SocketOption.MAXMSGSIZE, BODY_BYTES_MAX)
            socket.set(zmq.SocketOption.SNDHWM, _QUEUE_MESSAGES_MAX)
            socket.set(zmq.SocketOption.RCVHWM, _QUEUE_MESSAGES_MAX)
            socket.set(zmq.SocketOption.HANDSHAKE_IVL, 5_000)
            if curve is not None:
                secret = curve.secret.encode()
                socket.set(zmq.SocketOption.CURVE_SERVERKEY, curve.server.encode())
                socket.set(zmq.SocketOption.CURVE_SECRETKEY, secret)
                socket.set(zmq.SocketOption.CURVE_PUBLICKEY, zmq.curve_public(secret))
                # A machine that vanished sends no end of its connections.
                socket.set(zmq.SocketOption.HEARTBEAT_IVL, 5_000)
                socket.set(zmq.SocketOption.HEARTBEAT_TIMEOUT, 15_000)
                socket.set(zmq.SocketOption.IPV6, int(endpoint.startswith("tcp://[")))
            self._monitor = socket.get_monitor_socket(_LOSS_EVENTS)
            self._monitor.set(zmq.SocketOption.LINGER, 0)
            socket.connect(endpoint)
        except zmq.ZMQError as error:
            self.close()
            raise ConnectionLost(f"can not connect to {endpoint}: {error}") from error
        self._endpoint = endpoint

    def send_nowait(self, envelope: bytes, body: bytes) -> None:
        if self._lost:
            raise self._loss()
        socket = self._socket
        try:
            _Socket.send(socket, envelope, _SEND_MORE)
            _Socket.send(socket, body, _NOBLOCK)
            if (
                self._deliver is not None
                # While draining, the loop that does so reads on until nothing is left.
                and not self._draining
                and _has_input(socket)
            ):
                self._drain(self._deliver)
        except zmq.Again as error:
            self._lose("it takes no more messages")
            raise self._loss() from error
        except zmq.ZMQError as error:
            self._lose(str(error))
            raise self._loss() from error

    async def run(self, deliver: Deliver) -> None:
        self._deliver = deliver
        try:
            if not self._lost:
                async with anyio.create_task_group() as group:
                    self._scope = group.cancel_scope
                    group.start_soon(self._watch)
                    await self._receive(deliver)
        finally:
            self._deliver = None
        raise self._refused or self._loss()

    async def _receive(self, deliver: Deliver) -> None:
        socket = self._socket
        descriptor = int(socket.get(zmq.SocketOption.FD))
        while True:
            while self._drain(deliver):
                await anyio.lowlevel.checkpoint()
            # `EVENTS` was read last: there is nothing.
            await anyio.wait_readable(descriptor)

    def _drain(self, deliver: Deliver) -> bool:
        """Deliver what has arrived; return whether there may be more."""
        socket = self._socket
        self._draining = True
        try:
            for _ in range(_DELIVER_MESSAGES_MAX):
                # To ask first takes less time than the exception that says that there is nothing.
                if not _has_input(socket):
                    return False
                deliver(_take(socket))
        finally:
            self._draining = False
        return True

    async def _watch(self) -> None:
        """Wait until the monitor reports anything: every event it was asked for is a loss."""
        monitor = self._monitor
        assert monitor is not None
        descriptor = int(monitor.get(zmq.SocketOption.FD))
        while not _has_input(monitor):
            await anyio.wait_readable(descriptor)
        event = zmq.utils.monitor.recv_monitor_message(monitor, zmq.Flag.NOBLOCK)
        if event["event"] == zmq.Event.HANDSHAKE_FAILED_AUTH:
            self._refused = KeyRefused(
                f"{self._endpoint} does not know this key: it was revoked, or is of another store; "
                "ask whoever owns the store for a new one (agent-trace keys add)"
            )
        # What the coordinator said before it left may still lie in the queue.
        if self._deliver is not None:
            while self._drain(self._deliver):
                await anyio.lowlevel.checkpoint()
        self._lose("the coordinator closed it or is not there")

    def _lose(self, why: str) -> None:
        self._lost = self._lost or why
        self._scope.cancel()

    def _loss(self) -> ConnectionLost:
        return ConnectionLost(f"the connection to {self._endpoint} was lost: {self._lost}")

    def close(self) -> None:
        self._lost = self._lost or "it was closed here"
        if self._monitor is not None:
            self._socket.disable_monitor()
            self._monitor.close(0)
            self._monitor = None
        self._socket.close(0)
