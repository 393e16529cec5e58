"""One coordinator per store: an exclusive `flock` on a file that stays.

The kernel gives the lock up when its holder dies, however it dies, so a leftover file means nothing
and nobody has to guess from process ids. The file names the holder for the one who is refused.
"""

from __future__ import annotations

import fcntl
import os
import socket
import time
from pathlib import Path
from types import TracebackType
from typing import Final

import msgspec

from agent_trace_coordinator.errors import AlreadyRunning, StoreInvalid

__all__ = ["LockHolder", "StoreLock"]

ATTEMPTS_MAX: Final = 100
"""Lock files that may vanish under us before something is plainly deleting them all the time."""

HOLDER_BYTES_MAX: Final = 1024
"""Bytes that are read of what a lock file says."""


class LockHolder(msgspec.Struct, frozen=True):
    """What the lock file says of the process that holds it."""

    pid: int
    host: str
    started_ms: int
    """When it took the lock, UTC milliseconds."""


class StoreLock:
    """The right to write to a store, from `acquire` to `release`. A context manager does both."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None

    def acquire(self) -> None:
        """Take the lock, without waiting.

        Raises:
            AlreadyRunning: another process has it; the message names it.
            StoreInvalid: the lock file is not a file, or can not be kept.
        """
        assert self._descriptor is None, "the lock is taken once"
        for _ in range(ATTEMPTS_MAX):
            descriptor = self._open()
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                refusal = self._refusal(descriptor)
                os.close(descriptor)
                raise refusal from None
            if self._is_at_path(descriptor):
                self._descriptor = descriptor
                self._write_holder(descriptor)
                return
            # Somebody removed the file between our open and our lock; a lock on a file that has no
            # name keeps nobody out.
            os.close(descriptor)
        raise StoreInvalid(f"{self._path} does not stay where it is; what deletes it?")

    def still_ours(self) -> bool:
        """Return whether the lock still keeps others out: false once its file was replaced."""
        if self._descriptor is None:
            return False
        try:
            return self._is_at_path(self._descriptor)
        except OSError:
            # A disk that can not be looked at has not replaced anything.
            return True

    def release(self) -> None:
        """Give the lock up. The file stays: removing it would race with the next holder."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.ftruncate(descriptor, 0)
            os.close(descriptor)

    def __enter__(self) -> StoreLock:
        self.acquire()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.release()

    def _open(self) -> int:
        # O_NONBLOCK: a FIFO in its place must not hang us.
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        try:
            return os.open(self._path, flags, 0o600)
        except OSError as error:
            raise StoreInvalid(f"the lock {self._path} can not be opened: {error}") from error

    def _is_at_path(self, descriptor: int) -> bool:
        try:
            there = os.lstat(self._path)
        except (FileNotFoundError, NotADirectoryError):
            return False
        ours = os.fstat(descriptor)
        return (there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino)

    def _write_holder(self, descriptor: int) -> None:
        holder = LockHolder(os.getpid(), socket.gethostname(), time.time_ns() // 1_000_000)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, msgspec.json.encode(holder) + b"\n", 0)

    def _refusal(self, descriptor: int) -> AlreadyRunning:
        store = self._path.parent.parent.parent
        try:
            data = os.pread(descriptor, HOLDER_BYTES_MAX, 0)
            holder = msgspec.json.decode(data, type=LockHolder)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            # It has the lock but has not written yet.
            return AlreadyRunning(f"another coordinator holds {store}")
        return AlreadyRunning(
            f"another coordinator (pid {holder.pid} on {holder.host}) holds {store}"
        )
