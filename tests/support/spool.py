"""The coordinator's side of a spool that a test scripts: the other end of the client's files."""

from __future__ import annotations

from pathlib import Path

import anyio

from agent_trace.errors import ConnectionLost
from agent_trace_coordinator.server.spool_directory import Message, SpoolDirectory


class SpoolPeer:
    """Speaks to the one client that last sent something."""

    def __init__(self, path: Path) -> None:
        self.path = path
        temporary = path.parent / "aside"
        temporary.mkdir(exist_ok=True)
        self._directory = SpoolDirectory(path, temporary)
        self._directory.open()
        self._found: list[Message] = []
        self._client = b""

    async def receive(self) -> tuple[bytes, bytes]:
        """Return the next message; raises `ConnectionLost` after `close`."""
        while not self._found:
            if not self._directory.is_open:
                raise ConnectionLost("closed")
            self._found = self._directory.turn((), taking=True)
            if not self._found:
                await anyio.wait_readable(self._directory.bell)
        self._client, frames = self._found.pop(0)
        return frames[0], frames[1]

    def send(self, *frames: bytes) -> None:
        """Send one message of any shape."""
        self._directory.turn([(self._client, list(frames))], taking=False)

    def close(self) -> None:
        """Let go of every connection. Idempotent."""
        self._directory.close()
