"""Waiting until a coordinator that was asked to leave is gone, with all that it writes.

It stops listening long before it has closed its journal. It is gone when its lock says so, which it
empties last, and its process has ended; only then may somebody take the store's directory away.
"""

from __future__ import annotations

import os
import re
import select
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import anyio

from agent_trace_protocol.layout import LOCK_FILE, EndpointInfo

from .launch import listening

__all__ = ["Leaving"]

_POLL_SECONDS: Final = 0.02

_HOLDER_BYTES_MAX: Final = 1024

_COORDINATOR: Final = re.compile(rb"agent[-_]trace")


class Leaving:
    """One life of a coordinator, from before it is asked to leave."""

    def __init__(self, root: Path, endpoint: EndpointInfo, process: int | None) -> None:
        self._root = root
        self._endpoint = endpoint
        self._process = process
        self._lock = self._holder()

    @classmethod
    @contextmanager
    def of(cls, root: Path, endpoint: EndpointInfo) -> Generator[Leaving]:
        """Look at a coordinator while it is there, so that its number is nobody else's yet."""
        process = _open_process(endpoint.pid)
        try:
            yield cls(root, endpoint, process)
        finally:
            if process is not None:
                os.close(process)

    async def wait(self) -> None:
        """Wait until that life is over; whoever waits sets the bound."""
        while self._listens() or (self._holds() and not self._ended()):  # noqa: ASYNC110 - it is
            # another process, and only its end is told
            await anyio.sleep(_POLL_SECONDS)
        if self._process is not None:
            await anyio.wait_readable(self._process)

    def _listens(self) -> bool:
        now = listening(self._root)
        return now is not None and now.epoch == self._endpoint.epoch

    def _holder(self) -> bytes:
        """Return what the lock says of its holder; a lock is never tried for, that could keep the
        next coordinator out."""
        try:
            with open(self._root / LOCK_FILE, "rb") as file:
                return file.read(_HOLDER_BYTES_MAX)
        except OSError:
            return b""

    def _holds(self) -> bool:
        return bool(self._lock) and self._holder() == self._lock

    def _ended(self) -> bool:
        """Return whether its process is known to have ended; one that is killed keeps the lock."""
        if self._process is None:
            return False
        return bool(select.select([self._process], [], [], 0)[0])


def _open_process(pid: int) -> int | None:
    """Return a descriptor that is readable when the coordinator's process has ended.

    None where the system has none, and for a process of another container or machine.
    """
    try:
        descriptor = os.pidfd_open(pid)
    except (AttributeError, OSError):
        return None
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        command = b""
    if not _COORDINATOR.search(command):
        os.close(descriptor)
        return None
    return descriptor
