"""The readable mirror of the document table on disk: gathered, replaced as a whole, not synced."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Final

import anyio
import anyio.to_thread

from agent_trace_coordinator.core.manifest import Manifest, render
from agent_trace_coordinator.core.records import Entry

from .mirror_stage import replace_file

__all__ = ["ManifestStage"]

_log = logging.getLogger("agent_trace.coordinator.manifest")

GATHER_SECONDS: Final = 1.0
"""How long changes are gathered: writing 10,000 documents takes some 20 ms of a thread."""


class ManifestStage:
    """Durable records in, a file out."""

    def __init__(self, manifest: Manifest, path: Path, temporary: Path) -> None:
        """`temporary` is a directory on the same file system."""
        self._manifest = manifest
        self._path = path
        self._temporary = temporary / path.name
        self._limiter = anyio.CapacityLimiter(1)
        self._wake = anyio.Event()
        self._behind = True
        self._failure = ""

    def add(self, batch: list[Entry]) -> None:
        """Take durable operations."""
        changed = [self._manifest.take(entry.record) for entry in batch]
        if any(changed):
            self._behind = True
            self._wake.set()

    async def run(self) -> None:
        """Write the file until cancelled; a write that was begun is finished first."""
        while True:
            self._wake, self._behind = anyio.Event(), False
            parts = self._manifest.snapshot()
            await anyio.to_thread.run_sync(self._write, parts, limiter=self._limiter)
            await self._wake.wait()
            await anyio.sleep(GATHER_SECONDS)

    def finish(self) -> None:
        """Write what is not in the file yet; nothing comes any more."""
        if self._behind:
            self._write(self._manifest.snapshot())

    def _write(self, parts: list[tuple[str, str]]) -> None:
        failure = replace_file(self._path, self._temporary, render(parts))
        if failure and failure != self._failure:
            _log.warning("the mirror of the documents can not be written: %s", failure)
        self._failure = failure
