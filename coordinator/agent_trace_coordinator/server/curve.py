"""The second way in: TCP, for clients that prove a key the store knows.

Every connection is encrypted and authenticated by CURVE; without it there is no TCP at all. ZeroMQ
asks for each handshake whether the client's key is known (ZAP, answered here), and every message
says by which key its connection was made. Law: nothing passes in either direction by a key that is
not on the store's list at that moment, so a revoked key ends the connections that stand, too.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

import anyio
import zmq
import zmq.utils.z85

from agent_trace_coordinator.core.inputs import Credential
from agent_trace_coordinator.storage.keys import KeyRing, ServerKeys
from agent_trace_protocol import (
    PROTOCOL_VERSION,
    InvalidRequest,
    Refused,
    ReplyEnvelope,
    SessionSuperseded,
    decode_request_envelope,
    encode,
)
from agent_trace_protocol.keys import KeyInfo

from .sockets import Router

__all__ = ["CurveRouter", "is_curve_peer", "make_key_pair"]

_PEER: Final = b"\0tcp:"
"""In front of the names of TCP's peers, then the client's public key, then ZeroMQ's own name of the
connection. No peer of the unix socket is called so: what a client chooses as its name does not
begin with NUL, and what ZeroMQ chooses has 5 bytes."""

_KEY_BYTES: Final = 40
_ZAP_ENDPOINT: Final = "inproc://zeromq.zap.01"
_ZAP_VERSION: Final = b"1.0"
_DOMAIN: Final = b"agent-trace"

_log = logging.getLogger("agent_trace.coordinator.curve")

Handle = Callable[[bytes, list[bytes], Credential], None]
"""Takes a message: the peer, its frames, and what the key of its connection allows."""


def is_curve_peer(peer: bytes) -> bool:
    """Return whether a peer came over TCP."""
    return peer.startswith(_PEER)


def make_key_pair() -> tuple[str, str]:
    """Return a new public key and its secret."""
    public, secret = zmq.curve_keypair()
    return public.decode(), secret.decode()


def _credential(key: KeyInfo) -> Credential:
    return Credential(key.name, key.role, key.id)


class CurveRouter(Router):
    """The coordinator's TCP socket."""

    def __init__(
        self,
        handle: Handle,
        crowded: Callable[[], bool],
        flooded: Callable[[], bool],
        ring: KeyRing,
        keys: ServerKeys,
    ) -> None:
        super().__init__(self._refuse, crowded, flooded)
        self._handle_known = handle
        self._ring = ring
        # Before the bind: without somebody to ask, ZeroMQ would let everybody in.
        self._zap = self._context.socket(zmq.SocketType.REP)
        self._zap.set(zmq.SocketOption.LINGER, 0)
        self._zap.bind(_ZAP_ENDPOINT)
        socket = self._socket
        socket.set(zmq.SocketOption.ZAP_DOMAIN, _DOMAIN)
        socket.set(zmq.SocketOption.ZAP_ENFORCE_DOMAIN, 1)
        socket.set(zmq.SocketOption.CURVE_SERVER, 1)
        socket.set(zmq.SocketOption.CURVE_SECRETKEY, keys.secret.encode())
        # A machine that vanished sends no end of its connections.
        socket.set(zmq.SocketOption.HEARTBEAT_IVL, 5_000)
        socket.set(zmq.SocketOption.HEARTBEAT_TIMEOUT, 15_000)
        self.refused_count = 0
        """Handshakes with keys that were not known."""

    async def serve(self) -> None:
        """Hand over messages, and answer who may connect, until cancelled."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._authenticate)
            await super().serve()

    def _take(self) -> None:
        """Handle one message; raises `zmq.Again` if there is none."""
        socket = self._socket
        identity = socket.recv(zmq.Flag.NOBLOCK)
        frames: list[bytes] = []
        public = ""
        while socket.get(zmq.SocketOption.RCVMORE):
            # Only frames that are not copied yet say whose they are.
            frame = socket.recv(zmq.Flag.NOBLOCK, copy=False)
            user = frame.get("User-Id")
            public = user if isinstance(user, str) else ""
            frames.append(frame.bytes)
        key = self._ring.find(public)
        if key is None:
            self._refuse(identity, frames)
        else:
            self._handle_known(_PEER + public.encode() + identity, frames, _credential(key))

    def _refuse(self, identity: bytes, frames: list[bytes]) -> None:
        """Tell a client whose key was revoked that it is over."""
        try:
            number = decode_request_envelope(frames[0]).number if frames else 0
        except InvalidRequest:
            number = 0
        gone = SessionSuperseded("the key of this connection was revoked; ask for another one")
        envelope = ReplyEnvelope(PROTOCOL_VERSION, number, 0, 0)
        super().send(identity, encode(envelope), encode(Refused(gone.to_info())))

    def has_room(self, peer: bytes, size: int) -> bool:
        """Return whether a reply of so many bytes would not be dropped for its size."""
        return self._has_room(peer[len(_PEER) + _KEY_BYTES :], size)

    def send(self, peer: bytes, envelope: bytes, body: bytes) -> None:
        """Send a reply, or drop it if the peer is gone, does not read, or may not know it."""
        start = len(_PEER) + _KEY_BYTES
        if self._ring.find(peer[len(_PEER) : start].decode()) is not None:
            super().send(peer[start:], envelope, body)

    async def _authenticate(self) -> None:
        zap = self._zap
        descriptor = int(zap.get(zmq.SocketOption.FD))
        while True:
            while int(zap.get(zmq.SocketOption.EVENTS)) & zmq.POLLIN:
                zap.send_multipart(self._judge(zap.recv_multipart(zmq.Flag.NOBLOCK)))
            await anyio.wait_readable(descriptor)

    def _judge(self, question: list[bytes]) -> list[bytes]:
        """Return the answer to one question of ZAP (ZeroMQ's RFC 27)."""
        version, sequence, domain, address, _, mechanism, *proofs = question
        public = ""
        known = None
        if (version, domain, mechanism, len(proofs)) == (_ZAP_VERSION, _DOMAIN, b"CURVE", 1):
            public = zmq.utils.z85.encode(proofs[0]).decode()
            known = self._ring.find(public)
        if known is None:
            self.refused_count += 1
            shown = address.decode("ascii", "replace")
            _log.warning("an unknown key from %s was refused", shown)
            return [_ZAP_VERSION, sequence, b"400", b"this key is not known", b"", b""]
        return [_ZAP_VERSION, sequence, b"200", b"OK", public.encode(), b""]
