"""A ROUTER socket that a test scripts: the other end of the client's real transport."""

from __future__ import annotations

from pathlib import Path

import anyio
import zmq

from agent_trace.errors import ConnectionLost


class RouterPeer:
    """Speaks to the one client that last sent something."""

    def __init__(self, path: Path) -> None:
        self.endpoint = f"ipc://{path}"
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._socket = self._context.socket(zmq.ROUTER)
        self._socket.bind(self.endpoint)
        self._client = b""

    async def receive(self) -> tuple[bytes, bytes]:
        """Return the next message; raises `ConnectionLost` after `close`."""
        while True:
            if self._socket.closed:
                raise ConnectionLost("closed")
            try:
                self._client, envelope, body = self._socket.recv_multipart(zmq.NOBLOCK)
                return envelope, body
            except zmq.Again:
                pass
            if not int(self._socket.get(zmq.EVENTS)) & zmq.POLLIN:
                await anyio.wait_readable(int(self._socket.get(zmq.FD)))

    def send(self, *frames: bytes) -> None:
        """Send one message of any shape."""
        self._socket.send_multipart([self._client, *frames])

    def close(self) -> None:
        """Let go of every connection. Idempotent."""
        self._context.destroy(linger=1000)
