"""The ROUTER socket on anyio, without `zmq.asyncio`, so that any backend of anyio will do.

Three rules, because libzmq's descriptor is edge-triggered and stands for the whole socket:

1. It says "something happened", not "readable": read until `zmq.Again` before every wait.
2. A send can consume the edge of a message that arrived meanwhile: after sends outside the
   receiving task, look at `EVENTS` and wake that task.
3. One task receives.
"""

from __future__ import annotations

import errno
import logging
import time
from collections import deque
from collections.abc import Callable
from itertools import islice
from typing import Final

import anyio
import zmq

from agent_trace_coordinator.errors import StoreInvalid
from agent_trace_protocol.limits import BODY_BYTES_MAX, KIB, MIB

__all__ = ["Router"]

# pyzmq's Python layer turns every option and flag into an enumeration and back, which costs more
# than the call: the methods of its C layer are used for what happens with each message.
_Socket = zmq.backend.Socket
_NOBLOCK: Final = int(zmq.Flag.NOBLOCK)
_SEND_MORE: Final = int(zmq.Flag.SNDMORE) | _NOBLOCK
_EVENTS: Final = int(zmq.SocketOption.EVENTS)
_MORE: Final = int(zmq.SocketOption.RCVMORE)
_POLLIN: Final = int(zmq.PollEvent.POLLIN)

_log = logging.getLogger("agent_trace.coordinator.sockets")

DRAIN_SECONDS_MAX: Final = 0.001
"""How long messages are handled before other tasks get a turn. In a flood every write waits for a
few such turns: with 256 messages in each it was 65 ms, for others than who floods as well."""

GATHER_SECONDS: Final = 0.001
"""How long messages gather in a crowd before they are read together. To be woken for each one costs
as much as to read four; what waits for the disk anyway does not notice a millisecond."""

QUEUED_MESSAGES_MAX: Final = 1000
"""Messages queued to and from one peer; beyond it, its requests wait and its replies are dropped
(a client repeats what was not answered)."""


LARGE_BYTES: Final = 32 * KIB
"""Bytes of a reply from which on it is counted until it has left."""

UNREAD_BYTES_MAX: Final = 32 * MIB
"""Bytes of such replies to one peer that have not left; beyond it, its replies are dropped."""

UNREAD_BYTES_ALL_MAX: Final = 128 * MIB
"""The same for all peers together: beyond it, a peer that has not read one gets no second one."""

SWEPT_PEERS: Final = 16
"""Peers of which it is looked what has left, when there seems to be no room for all of them."""


class _Unread:
    """What was handed to ZeroMQ and has not left: a peer that does not read must not fill us.

    What goes to one peer leaves in its order, so only the oldest is looked at.
    """

    def __init__(self) -> None:
        self._by_peer: dict[bytes, deque[tuple[zmq.MessageTracker, int]]] = {}
        self._sizes: dict[bytes, int] = {}
        self._size = 0

    def has_room(self, peer: bytes, size: int) -> bool:
        """Return whether one more reply may wait for a peer."""
        self._sweep(peer)
        own = self._sizes.get(peer, 0)
        if not own:
            return True
        if own + size > UNREAD_BYTES_MAX:
            return False
        if self._size + size > UNREAD_BYTES_ALL_MAX:
            # A few of them each time, in turn: there may be thousands.
            for other in list(islice(self._by_peer, SWEPT_PEERS)):
                self._by_peer[other] = self._by_peer.pop(other)
                self._sweep(other)
        return self._size + size <= UNREAD_BYTES_ALL_MAX

    def add(self, peer: bytes, tracker: zmq.MessageTracker, size: int) -> None:
        """A reply was handed over."""
        self._by_peer.setdefault(peer, deque()).append((tracker, size))
        self._sizes[peer] = self._sizes.get(peer, 0) + size
        self._size += size

    def _sweep(self, peer: bytes) -> None:
        waiting = self._by_peer.get(peer)
        if waiting is None:
            return
        while waiting and waiting[0][0].done:
            _, size = waiting.popleft()
            self._sizes[peer] -= size
            self._size -= size
        if not waiting:
            del self._by_peer[peer], self._sizes[peer]


class Router:
    """The coordinator's listening socket."""

    def __init__(
        self,
        handle: Callable[[bytes, list[bytes]], None],
        crowded: Callable[[], bool],
        flooded: Callable[[], bool] = bool,
        pressing: Callable[[], bool] = bool,
    ) -> None:
        """`handle` is called with each message: the peer and the frames after its identity;
        `crowded` tells whether so many wait for the disk that one more may be read later, `flooded`
        whether somebody was refused for asking too much since it was asked last, `pressing` whether
        another task has something to do that many wait for."""
        self._flooded = flooded
        self._pressing = pressing
        self._handle = handle
        self._crowded = crowded
        self._handled_count = 0
        self._context = zmq.Context(io_threads=1)
        self._context.set(zmq.ContextOption.MAX_SOCKETS, 16)
        socket = self._socket = self._context.socket(zmq.SocketType.ROUTER)
        socket.set(zmq.SocketOption.LINGER, 1000)
        socket.set(zmq.SocketOption.MAXMSGSIZE, BODY_BYTES_MAX)
        socket.set(zmq.SocketOption.RCVHWM, QUEUED_MESSAGES_MAX)
        socket.set(zmq.SocketOption.SNDHWM, QUEUED_MESSAGES_MAX)
        socket.set(zmq.SocketOption.HANDSHAKE_IVL, 3000)
        socket.set(zmq.SocketOption.BACKLOG, 1024)
        # Without it a reply to a peer that is gone, or full, vanishes without a word.
        socket.set(zmq.SocketOption.ROUTER_MANDATORY, 1)
        self._waiting: anyio.CancelScope | None = None
        self._draining = False
        self.dropped_count = 0
        """Replies that could not be delivered."""
        self._unread = _Unread()

    def bind(self, endpoint: str) -> str:
        """Listen at a ZeroMQ address; return it with the port that the system chose, if it did.

        Raises:
            StoreInvalid: the system does not let us.
        """
        try:
            self._socket.bind(endpoint)
        except zmq.ZMQError as error:
            denied = error.errno in (errno.EPERM, errno.EACCES)
            step = "; start the coordinator outside of the sandbox that denies it" if denied else ""
            raise StoreInvalid(f"can not listen at {endpoint}: {error.strerror}{step}") from error
        bound = self._socket.get(zmq.SocketOption.LAST_ENDPOINT)
        assert isinstance(bound, bytes)
        return bound.rstrip(b"\0").decode()

    def close(self) -> None:
        """Close the socket after the replies that are under way have left, or after a second."""
        self._context.destroy(linger=1000)

    async def serve(self) -> None:
        """Hand over messages until cancelled."""
        descriptor = int(self._socket.get(zmq.SocketOption.FD))
        while True:
            self._handled_count = 0
            while self._drain():
                if self._flooded():
                    # The threads that do the work get a turn, and the flood waits in its own queue.
                    await anyio.sleep(GATHER_SECONDS)
                else:
                    await anyio.lowlevel.checkpoint()
            if self._handled_count and self._crowded():
                await anyio.sleep(GATHER_SECONDS)
                continue
            with anyio.CancelScope() as self._waiting:
                if not self._readable():
                    await anyio.wait_readable(descriptor)

    def _readable(self) -> bool:
        return bool(int(_Socket.get(self._socket, _EVENTS)) & _POLLIN)

    def _drain(self) -> bool:
        """Handle what has arrived; return whether there may be more."""
        self._draining = True
        try:
            end = time.monotonic() + DRAIN_SECONDS_MAX
            while time.monotonic() < end and not self._pressing():
                try:
                    self._take()
                except zmq.Again:
                    return False
                self._handled_count += 1
        finally:
            self._draining = False
        return True

    def _take(self) -> None:
        """Handle one message; raises `zmq.Again` if there is none."""
        socket = self._socket
        receive, get = _Socket.recv, _Socket.get
        identity = receive(socket, _NOBLOCK)
        # Behind the identity there is always a frame.
        frames: list[bytes] = [receive(socket, _NOBLOCK)]
        while get(socket, _MORE):
            frames.append(receive(socket, _NOBLOCK))
        self._handle(identity, frames)

    def has_room(self, peer: bytes, size: int) -> bool:
        """Return whether a reply of so many bytes would not be dropped; it is counted if it would,
        for whoever asks does without making it."""
        return self._has_room(peer, size)

    def _has_room(self, peer: bytes, size: int) -> bool:
        if size < LARGE_BYTES or self._unread.has_room(peer, size):
            return True
        self.dropped_count += 1
        _log.debug("reply dropped: what was sent before is not read")
        return False

    def send(self, peer: bytes, envelope: bytes, body: bytes) -> None:
        """Send a reply, or drop and count it if the peer is gone or does not read."""
        if not self._has_room(peer, len(body)):
            return
        large = len(body) >= LARGE_BYTES
        try:
            send, socket = _Socket.send, self._socket
            send(socket, peer, _SEND_MORE)
            send(socket, envelope, _SEND_MORE)
            if large:
                # Not copied, and so it is known when it has left.
                frame = zmq.Frame(body, track=True, copy=False)
                send(socket, frame, _NOBLOCK, copy=False)
                assert frame.tracker is not None
                self._unread.add(peer, frame.tracker, len(body))
            else:
                send(socket, body, _NOBLOCK)
        except (zmq.Again, zmq.ZMQError) as error:
            self.dropped_count += 1
            _log.debug("reply dropped: %s", error)

    def sent(self) -> None:
        """Call after sends from outside `handle`: they may have eaten the edge."""
        if self._waiting is not None and not self._draining and self._readable():
            self._waiting.cancel()
