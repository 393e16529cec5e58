"""A connection whose messages are files, for processes that may use no sockets.

The coordinator's side is told what is here by a byte in its bell, a named pipe; this side is told
by one in its own. Where there are no named pipes, or a ring is lost, a look from time to time finds
what there is. The connection is lost when nobody has the coordinator's bell open any more, when the
coordinator has let go of ours, or when the directory is gone: a coordinator begins each life with
an empty spool.
"""

from __future__ import annotations

import errno
import os
import secrets
import select
import stat
from contextlib import suppress
from pathlib import Path
from typing import Final

import anyio
import anyio.lowlevel

from agent_trace.errors import ConnectionLost
from agent_trace_protocol import InvalidRequest
from agent_trace_protocol.limits import IN_FLIGHT_REQUESTS_MAX
from agent_trace_protocol.spool import (
    BELL,
    FILE_BYTES_MAX,
    answer_name,
    pack,
    request_name,
    unpack,
)

from .base import Deliver

__all__ = ["SpoolTransport", "is_served"]

_QUEUE_MESSAGES_MAX: Final = 4 * IN_FLIGHT_REQUESTS_MAX
"""Messages that may wait for the coordinator; a longer queue means that nobody reads."""

_DELIVER_MESSAGES_MAX: Final = 64
"""Messages delivered before other tasks get a turn."""

_LOOK_SECONDS: Final = 0.25
"""Between two looks while the bell is silent."""

_LOOK_SECONDS_MIN: Final = 0.01
_LOOK_SECONDS_MAX: Final = 0.1
"""Between two looks without a bell: the first after something came, and the longest."""

_FLAGS: Final = os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK


def is_served(path: Path) -> bool:
    """Return whether a coordinator looks into the spool at `path`, as far as can be told."""
    try:
        directory = os.open(path, os.O_DIRECTORY | _FLAGS)
    except OSError:
        return False
    try:
        bell = _open_bell(directory)
        if bell >= 0:
            os.close(bell)
    except OSError:
        return False
    finally:
        os.close(directory)
    return True


def _open_bell(directory: int) -> int:
    """Return the coordinator's bell, or -1 if the file system has none; raises OSError."""
    bell = os.open(BELL, os.O_WRONLY | _FLAGS, dir_fd=directory)
    if stat.S_ISFIFO(os.fstat(bell).st_mode):
        return bell
    # Where no pipe can be made, a plain file says that the spool is open.
    os.close(bell)
    return -1


def _hung_up(bell: int) -> bool:
    """Return whether nobody is there to hear the bell; a bell that rings is heard."""
    poll = select.poll()
    poll.register(bell, 0)
    return bool(poll.poll(0))


class SpoolTransport:
    """A connection by way of a spool directory."""

    def __init__(self, path: Path) -> None:
        """Make a connection in the spool at `path`.

        Raises:
            ConnectionLost: no coordinator looks into it, or nothing can be written there.
        """
        self._path = path
        self._name = secrets.token_hex(16)
        self._spool = self._directory = self._bell = self._ours = -1
        self._sent = 0
        self._oldest = 1
        """The first message that the coordinator had not taken when it was last looked at."""
        self._next = 1
        self._lost = ""
        self._scope = anyio.CancelScope()
        try:
            self._spool = os.open(path, os.O_DIRECTORY | _FLAGS)
            self._bell = _open_bell(self._spool)
            os.mkdir(self._name, 0o700, dir_fd=self._spool)
            self._directory = os.open(self._name, os.O_DIRECTORY | _FLAGS, dir_fd=self._spool)
            if self._bell >= 0:
                os.mkfifo(BELL, 0o600, dir_fd=self._directory)
                self._ours = os.open(BELL, os.O_RDONLY | _FLAGS, dir_fd=self._directory)
        except OSError as error:
            self.close()
            if error.errno in (errno.ENOENT, errno.ENXIO):
                why = "no coordinator looks into it"
            else:
                why = _why(error)
            raise ConnectionLost(f"can not connect by {path}: {why}") from error

    def send_nowait(self, envelope: bytes, body: bytes) -> None:
        if self._lost:
            raise self._loss()
        if not self._has_room():
            self._lose("it takes no more messages")
            raise self._loss()
        try:
            self._write(request_name(self._sent + 1), pack((envelope, body)))
            self._sent += 1
            if self._bell >= 0:
                # A full pipe rings already.
                with suppress(BlockingIOError):
                    os.write(self._bell, b"!")
        except OSError as error:
            self._lose(_why(error))
            raise self._loss() from error

    def _write(self, name: str, data: bytes) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | _FLAGS
        descriptor = os.open("q.new", flags, 0o600, dir_fd=self._directory)
        with open(descriptor, "wb") as file:
            file.write(data)
        os.rename("q.new", name, src_dir_fd=self._directory, dst_dir_fd=self._directory)

    def _has_room(self) -> bool:
        while self._sent - self._oldest >= _QUEUE_MESSAGES_MAX - 1:
            if self._exists(request_name(self._oldest), self._directory):
                return False
            self._oldest += 1
        return True

    def _exists(self, name: str, directory: int) -> bool:
        try:
            os.stat(name, dir_fd=directory, follow_symlinks=False)
        except OSError:
            return False
        return True

    async def run(self, deliver: Deliver) -> None:
        seconds = _LOOK_SECONDS_MIN
        with anyio.CancelScope() as self._scope:
            while not self._lost:
                found = False
                while self._drain(deliver):
                    found = True
                    await anyio.lowlevel.checkpoint()
                self._look_for_loss()
                if self._ours < 0:
                    seconds = _LOOK_SECONDS_MIN if found else min(2 * seconds, _LOOK_SECONDS_MAX)
                    await anyio.sleep(seconds)
                    continue
                rung = False
                with anyio.move_on_after(_LOOK_SECONDS):
                    await anyio.wait_readable(self._ours)
                    rung = True
                if rung and not self._lost:
                    self._answer_bell(deliver)
        # The last words of whoever was lost may still lie there.
        while self._directory >= 0 and self._drain(deliver):
            await anyio.lowlevel.checkpoint()
        raise self._loss()

    def _answer_bell(self, deliver: Deliver) -> None:
        try:
            if not os.read(self._ours, 1 << 12):
                self._lose("the coordinator closed it")
        except BlockingIOError:
            pass
        except OSError as error:
            self._lose(_why(error))

    def _look_for_loss(self) -> None:
        if self._bell >= 0 and _hung_up(self._bell):
            self._lose("the coordinator is gone")
        elif not self._exists(self._name, self._spool):
            self._lose("the coordinator closed it")

    def _drain(self, deliver: Deliver) -> bool:
        """Deliver what has come; return whether there was anything."""
        for count in range(_DELIVER_MESSAGES_MAX):
            try:
                frames = self._receive()
            except FileNotFoundError:
                return count > 0
            except (OSError, InvalidRequest) as error:
                self._lose(_why(error))
                return False
            deliver(frames)
        return True

    def _receive(self) -> list[bytes]:
        name = answer_name(self._next)
        descriptor = os.open(name, os.O_RDONLY | _FLAGS, dir_fd=self._directory)
        with open(descriptor, "rb") as file:
            frames = unpack(file.read(FILE_BYTES_MAX + 1))
        os.unlink(name, dir_fd=self._directory)
        self._next += 1
        return frames

    def _lose(self, why: str) -> None:
        self._lost = self._lost or why
        self._scope.cancel()

    def _loss(self) -> ConnectionLost:
        return ConnectionLost(f"the connection by {self._path} was lost: {self._lost}")

    def close(self) -> None:
        self._lose("it was closed here")
        if self._directory >= 0:
            with suppress(OSError):
                for name in os.listdir(self._directory):
                    os.unlink(name, dir_fd=self._directory)
        if self._spool >= 0:
            # What the coordinator writes at this moment it removes itself.
            with suppress(OSError):
                os.rmdir(self._name, dir_fd=self._spool)
        for descriptor in (self._ours, self._bell, self._directory, self._spool):
            if descriptor >= 0:
                os.close(descriptor)
        self._spool = self._directory = self._bell = self._ours = -1


def _why(error: OSError | InvalidRequest) -> str:
    return (error.strerror or str(error)) if isinstance(error, OSError) else error.message
