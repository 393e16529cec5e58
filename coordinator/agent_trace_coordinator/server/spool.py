"""The spool: requests and answers as files, for clients whose sandbox denies them sockets.

One more way into the same runtime, beside the ROUTER socket: messages come in order, answers leave
when the runtime says so, and a lost connection costs only what its client then asks again. The
files are no record of anything, so they are not synced, and each life of the coordinator begins
with an empty spool. All work on them happens in one thread at a time, never in the event loop.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Final

import anyio
import anyio.lowlevel
import anyio.to_thread

from .spool_directory import Message, SpoolDirectory

__all__ = ["Spool"]

_log = logging.getLogger("agent_trace.coordinator.spool")

LOOK_SECONDS_MIN: Final = 0.02
LOOK_SECONDS_MAX: Final = 1.0
"""Between two looks when no bell is heard: the first after something was found, each time twice
the one before, up to the second."""


class Spool:
    """Hands over what clients write into the spool, and writes the answers."""

    def __init__(
        self, path: Path, temporary: Path, handle: Callable[[bytes, list[bytes]], None]
    ) -> None:
        """`handle` is called with each message: the peer and its frames. What an earlier life left
        at `path` is moved to `temporary` and removed there."""
        self._directory = SpoolDirectory(path, temporary)
        self._handle = handle
        self._answers: list[Message] = []
        self._waiting: anyio.CancelScope | None = None
        self._taking = False

    def open(self) -> None:
        """Make an empty spool. Without one the coordinator serves by its socket only."""
        try:
            self._directory.open()
        except OSError as error:
            _log.warning("no spool for clients without sockets: %s", error)
            self._directory.close()

    def close(self) -> None:
        """Write the answers that wait, and let go of all connections. Not while `run` runs."""
        self._directory.close(self._answers)

    @contextmanager
    def taking(self) -> Generator[None]:
        """Take requests inside the block; outside of it only answers leave."""
        self._taking = True
        self._wake()
        try:
            yield
        finally:
            self._taking = False

    def send(self, peer: bytes, envelope: bytes, body: bytes) -> None:
        """Send a reply, or drop it if the peer is gone or does not read."""
        self._answers.append((peer, [envelope, body]))
        self._wake()

    def _wake(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()

    async def run(self) -> None:
        """Exchange messages until cancelled."""
        if not self._directory.is_open:
            return
        seconds = LOOK_SECONDS_MIN
        while True:
            if not self._answers:
                await self._wait(seconds)
            answers, self._answers = self._answers, []
            turn = partial(self._directory.turn, answers, taking=self._taking)
            # A turn that has begun is finished: the answers it was given are nowhere else.
            found: list[Message] = []
            with anyio.CancelScope(shield=True):
                found = await anyio.to_thread.run_sync(turn)
            for peer, frames in found:
                self._handle(peer, frames)
            await anyio.lowlevel.checkpoint()
            seconds = LOOK_SECONDS_MIN if found else min(2 * seconds, LOOK_SECONDS_MAX)

    async def _wait(self, seconds: float) -> None:
        """Wait until a bell rings, an answer is to be written, or the time is over."""
        with anyio.move_on_after(seconds) as self._waiting:
            if self._directory.bell >= 0:
                await anyio.wait_readable(self._directory.bell)
            else:
                await anyio.sleep_forever()
        self._waiting = None
