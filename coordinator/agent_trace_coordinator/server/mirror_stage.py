"""The readable mirror of sessions and leases on disk: gathered, replaced as a whole, not synced."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

import anyio
import anyio.to_thread

from agent_trace_coordinator.core.records import (
    Entry,
    LeaseExtended,
    LeaseGranted,
    LeaseReleased,
    SessionClosed,
    SessionOpened,
)

__all__ = ["MIRROR_NAME", "MirrorStage", "replace_file"]

_log = logging.getLogger("agent_trace.coordinator.mirror")

MIRROR_NAME: Final = "agent-lock.toml"
"""The file's name in the directory of locks."""

GATHER_SECONDS: Final = 0.5
"""How long changes are gathered: sessions that come and go in between are not written."""

REFRESH_SECONDS: Final = 10.0
"""How often the file is written for the heartbeats alone."""

_SHOWN: Final = (SessionOpened, SessionClosed, LeaseGranted, LeaseExtended, LeaseReleased)


class MirrorStage:
    """Durable records in, a file out."""

    def __init__(self, directory: Path, temporary: Path, render: Callable[[], str]) -> None:
        """`temporary` is a directory on the same file system; `render` returns the text."""
        self._path = directory / MIRROR_NAME
        self._temporary = temporary / MIRROR_NAME
        self._render = render
        self._limiter = anyio.CapacityLimiter(1)
        self._wake = anyio.Event()
        self._failure = ""

    def add(self, batch: list[Entry]) -> None:
        """Take durable operations."""
        if any(isinstance(entry.record.body, _SHOWN) for entry in batch):
            self._wake.set()

    async def run(self) -> None:
        """Write the file until cancelled; a write that was begun is finished first."""
        while True:
            self._wake = anyio.Event()
            text = self._render()
            await anyio.to_thread.run_sync(self._write, text, limiter=self._limiter)
            with anyio.move_on_after(REFRESH_SECONDS):
                await self._wake.wait()
            await anyio.sleep(GATHER_SECONDS)

    def _write(self, text: str) -> None:
        failure = replace_file(self._path, self._temporary, text)
        if failure and failure != self._failure:
            _log.warning("the mirror of sessions can not be written: %s", failure)
        self._failure = failure


def replace_file(path: Path, temporary: Path, text: str) -> str:
    """Let a file hold a text, whole at every instant; return why it does not, or nothing."""
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with open(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        temporary.replace(path)
    except OSError as error:
        return str(error)
    return ""
