"""The spool directory as the coordinator sees it: connections, requests and answers as files.

Whoever may write into it is of our own user, but may be in a sandbox that we are not in. So nothing
in it is believed: everything is opened by descriptor, following no link, and must be a plain file
of ours with one name and of bounded size. What is not ends its connection. Nothing here waits, but
for the disk; one thread uses it at a time.
"""

from __future__ import annotations

import errno
import logging
import os
import select
import shutil
import stat
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Final, TypeAlias

from agent_trace_protocol import AgentTraceError
from agent_trace_protocol.spool import (
    BELL,
    FILE_BYTES_MAX,
    answer_name,
    is_connection_name,
    pack,
    request_name,
    unpack,
)

__all__ = ["CONNECTIONS_MAX", "Message", "SpoolDirectory", "is_spool_peer"]

Message: TypeAlias = tuple[bytes, list[bytes]]
"""A peer, and the frames to or from it."""

_log = logging.getLogger("agent_trace.coordinator.spool")

CONNECTIONS_MAX: Final = 64
"""Connections at a time, two descriptors each; the next ones wait until one ends."""

ENTRIES_MAX: Final = 1000
"""Entries of the spool, besides those known, that are looked at in one go."""

TURN_MESSAGES_MAX: Final = 64
"""Messages taken from one connection before the others get a turn."""

TURN_BYTES_MAX: Final = 32 << 20
"""Bytes taken from all connections in one turn, and one message more: what lies in memory."""

UNREAD_MESSAGES_MAX: Final = 256
UNREAD_BYTES_MAX: Final = 32 << 20
"""Answers that one client may leave unread; beyond it they are dropped (a client repeats what was
not answered)."""

NO_READER_SECONDS: Final = 10.0
"""How long a new client may take to open its bell before it counts as gone."""

QUIET_SECONDS_MAX: Final = 300.0
"""How long a client without a bell may be silent before it counts as gone: many heartbeats."""

_PEER: Final = b"\0spool:"
# No client of the socket can have such a name: one of its own can not begin with a zero byte, and
# those that libzmq gives have five bytes.

_FLAGS: Final = os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK


def is_spool_peer(peer: bytes) -> bool:
    """Return whether a peer is a connection of the spool."""
    return peer.startswith(_PEER)


class _Refused(Exception):
    """A connection holds what no client of ours puts there."""


@dataclass(slots=True)
class _Connection:
    name: str
    directory: int
    heard_at: float
    bell: int = -1
    has_bell: bool = True
    next_request: int = 1
    next_answer: int = 1
    unread: deque[tuple[str, int]] = field(default_factory=deque[tuple[str, int]])
    unread_bytes: int = 0

    @property
    def peer(self) -> bytes:
        return _PEER + self.name.encode()


class SpoolDirectory:
    """The coordinator's side of the spool directory."""

    def __init__(
        self, path: Path, temporary: Path, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """What an earlier life left at `path` is moved to `temporary` and removed there."""
        self._path = path
        self._temporary = temporary
        self._clock = clock
        self._directory = -1
        self._leftovers: list[Path] = []
        self._connections: dict[str, _Connection] = {}
        self._refused: set[str] = set()
        """Directories that are no connections of ours, or could not be removed."""
        self._turns = 0
        self.bell = -1
        """The descriptor that is readable when a client has something; -1 if there is none."""
        self.dropped_count = 0
        """Answers that could not be delivered."""

    def open(self) -> None:
        """Make an empty spool; raises OSError."""
        if os.path.lexists(self._path):
            aside = self._temporary / f"spool-{os.urandom(8).hex()}"
            self._path.rename(aside)
            self._leftovers.append(aside)
        self._path.mkdir(mode=0o700)
        self._directory = os.open(self._path, os.O_DIRECTORY | _FLAGS)
        try:
            os.mkfifo(BELL, 0o600, dir_fd=self._directory)
        except OSError:
            # Some file systems have no named pipes: a plain file says that the spool is open, and
            # both sides look from time to time.
            flags = os.O_WRONLY | os.O_CREAT | _FLAGS
            os.close(os.open(BELL, flags, 0o600, dir_fd=self._directory))
        else:
            # Read and write, or it would be at its end whenever no client has it open.
            self.bell = os.open(BELL, os.O_RDWR | _FLAGS, dir_fd=self._directory)

    @property
    def is_open(self) -> bool:
        """Whether there is a spool."""
        return self._directory >= 0

    def close(self, answers: Sequence[Message] = ()) -> None:
        """Write the last answers, and let go of all connections; clients notice it."""
        if self._directory < 0:
            return
        with suppress(FileNotFoundError):
            os.unlink(BELL, dir_fd=self._directory)
        self.turn(answers, taking=False)
        for connection in list(self._connections.values()):
            # What its client has not read yet stays for it; it removes its own directory.
            self._drop(connection, remove=self._is_gone(connection))
        with suppress(OSError):
            os.rmdir(self._path)
        os.close(self._directory)
        self._directory = -1
        if self.bell >= 0:
            os.close(self.bell)
            self.bell = -1

    def turn(self, answers: Sequence[Message], *, taking: bool) -> list[Message]:
        """Write answers, then return what has come, in each client's order, if it is wanted."""
        while self._leftovers:
            _remove_tree(self._leftovers.pop())
        if self.bell >= 0:
            with suppress(BlockingIOError):
                os.read(self.bell, 1 << 16)
        self._write(answers)
        if not taking:
            return []
        try:
            self._adopt()
        except OSError as error:
            _log.warning("the spool can not be looked at: %s", error)
        found: list[Message] = []
        left_bytes = TURN_BYTES_MAX
        waiting = list(self._connections.values())
        # Another one is the first each time, for the last ones may find no room.
        self._turns += 1
        first = self._turns % len(waiting) if waiting else 0
        for connection in waiting[first:] + waiting[:first]:
            if left_bytes <= 0:
                break
            try:
                gone = self._is_gone(connection)
                taken = self._take(connection, left_bytes)
                found += ((connection.peer, frames) for frames in taken)
                left_bytes -= sum(len(frame) for frames in taken for frame in frames)
            except (OSError, AgentTraceError, _Refused) as error:
                _log.warning("connection %s is ended: %s", connection.name, error)
                self._drop(connection, remove=True)
                continue
            # What it sent before it left is taken first, as from a socket.
            if gone and not taken:
                self._drop(connection, remove=True)
        return found

    def _write(self, answers: Sequence[Message]) -> None:
        written: dict[str, _Connection] = {}
        for peer, frames in answers:
            name = peer.removeprefix(_PEER).decode()
            connection = self._connections.get(name)
            if connection is None:
                self.dropped_count += 1
                continue
            try:
                data = pack(frames)
                if not self._has_room(connection, len(data)):
                    self.dropped_count += 1
                    continue
                self._write_file(connection, data)
                written[name] = connection
            except OSError as error:
                # A full disk, perhaps. Its client notices the loss, connects anew and asks again.
                _log.warning("connection %s is lost: %s", name, error)
                self._drop(connection, remove=True)
                written.pop(name, None)
        for connection in written.values():
            self._ring(connection)

    def _has_room(self, connection: _Connection, size: int) -> bool:
        unread = connection.unread
        if not unread:
            return True
        if len(unread) < UNREAD_MESSAGES_MAX and connection.unread_bytes + size < UNREAD_BYTES_MAX:
            return True
        while unread:
            name, oldest = unread[0]
            try:
                os.stat(name, dir_fd=connection.directory, follow_symlinks=False)
                break
            except FileNotFoundError:
                unread.popleft()
                connection.unread_bytes -= oldest
            except OSError:
                # Nobody can tell: then it counts as unread.
                break
        return (
            len(unread) < UNREAD_MESSAGES_MAX and connection.unread_bytes + size < UNREAD_BYTES_MAX
        )

    def _write_file(self, connection: _Connection, data: bytes) -> None:
        directory = connection.directory
        with suppress(FileNotFoundError):
            os.unlink("a.new", dir_fd=directory)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | _FLAGS
        descriptor = os.open("a.new", flags, 0o600, dir_fd=directory)
        with open(descriptor, "wb") as file:
            file.write(data)
        name = answer_name(connection.next_answer)
        os.rename("a.new", name, src_dir_fd=directory, dst_dir_fd=directory)
        connection.next_answer += 1
        connection.unread.append((name, len(data)))
        connection.unread_bytes += len(data)

    def _ring(self, connection: _Connection) -> None:
        if connection.bell < 0:
            self._open_bell(connection)
        if connection.bell >= 0:
            # Full: it rings already. No reader: the client is gone, which the next turn sees.
            with suppress(BlockingIOError, BrokenPipeError):
                os.write(connection.bell, b"!")

    def _open_bell(self, connection: _Connection) -> None:
        flags = os.O_WRONLY | _FLAGS
        try:
            bell = os.open(BELL, flags, dir_fd=connection.directory)
        except FileNotFoundError:
            connection.has_bell = False
            return
        except OSError as error:
            if error.errno == errno.ENXIO:
                return
            raise
        if not stat.S_ISFIFO(os.fstat(bell).st_mode):
            os.close(bell)
            raise _Refused("its bell is no pipe")
        connection.bell = bell

    def _is_gone(self, connection: _Connection) -> bool:
        """Return whether nobody is there any more to read answers."""
        try:
            if connection.bell < 0:
                self._open_bell(connection)
            if connection.bell >= 0:
                poll = select.poll()
                poll.register(connection.bell, 0)
                return bool(poll.poll(0))
        except (OSError, _Refused):
            return True
        quiet = self._clock() - connection.heard_at
        return quiet > (NO_READER_SECONDS if connection.has_bell else QUIET_SECONDS_MAX)

    def _adopt(self) -> None:
        """Look for connections that clients have made, and remove what is none: it would stand
        before those who come."""
        if len(self._refused) > ENTRIES_MAX:
            self._refused.clear()
        with os.scandir(self._directory) as entries:
            unknown = (each.name for each in entries if not self._is_known(each.name))
            names = list(islice(unknown, ENTRIES_MAX))
        junk = [name for name in names if not is_connection_name(name)]
        if junk:
            _log.warning("%d entries of the spool that are no connections are removed", len(junk))
        for name in junk:
            self._clear_away(name)
        for name in names:
            if not is_connection_name(name):
                continue
            if len(self._connections) >= CONNECTIONS_MAX:
                _log.warning("more than %d clients without sockets; some wait", CONNECTIONS_MAX)
                return
            try:
                directory = os.open(name, os.O_DIRECTORY | _FLAGS, dir_fd=self._directory)
            except FileNotFoundError:
                continue
            except OSError as error:
                _log.warning("%s in the spool can not be opened: %s", name, error.strerror)
                if error.errno in (errno.ELOOP, errno.ENOTDIR):
                    self._clear_away(name)
                continue
            status = os.fstat(directory)
            if status.st_uid != os.geteuid() or status.st_mode & 0o077:
                _log.warning("%s in the spool is not its user's alone", name)
                self._refused.add(name)
                os.close(directory)
                continue
            self._connections[name] = _Connection(name, directory, self._clock())

    def _is_known(self, name: str) -> bool:
        return name == BELL or name in self._connections or name in self._refused

    def _clear_away(self, name: str) -> None:
        """Remove what lies in the spool and is nobody's, following no link."""
        try:
            os.unlink(name, dir_fd=self._directory)
        except FileNotFoundError:
            pass
        except OSError:
            if not _remove_tree(name, self._directory):
                self._refused.add(name)

    def _take(self, connection: _Connection, bytes_max: int) -> list[list[bytes]]:
        """Return the next messages of a connection, and remove their files."""
        taken: list[list[bytes]] = []
        taken_bytes = 0
        while len(taken) < TURN_MESSAGES_MAX and taken_bytes < bytes_max:
            name = request_name(connection.next_request)
            try:
                descriptor = os.open(name, os.O_RDONLY | _FLAGS, dir_fd=connection.directory)
            except FileNotFoundError:
                break
            with open(descriptor, "rb") as file:
                status = os.fstat(descriptor)
                if not stat.S_ISREG(status.st_mode) or status.st_nlink != 1:
                    raise _Refused(f"{name} is no plain file")
                if status.st_uid != os.geteuid():
                    raise _Refused(f"{name} belongs to user {status.st_uid}")
                data = file.read(FILE_BYTES_MAX + 1)
            frames = unpack(data)
            os.unlink(name, dir_fd=connection.directory)
            connection.next_request += 1
            taken.append(frames)
            taken_bytes += len(data)
        if taken:
            connection.heard_at = self._clock()
        return taken

    def _drop(self, connection: _Connection, *, remove: bool) -> None:
        """Let go of a connection; its client notices that nobody has its bell open any more."""
        del self._connections[connection.name]
        os.close(connection.directory)
        if connection.bell >= 0:
            os.close(connection.bell)
        if remove and not _remove_tree(connection.name, self._directory):
            self._refused.add(connection.name)


def _remove_tree(path: str | Path, directory: int | None = None) -> bool:
    """Remove a directory that others fill, following no links; return whether it is gone."""
    try:
        shutil.rmtree(path, dir_fd=directory)
    except FileNotFoundError:
        return True
    except NotADirectoryError:
        with suppress(OSError):
            os.unlink(path, dir_fd=directory)
    except (OSError, RecursionError) as error:
        _log.warning("%s can not be removed: %s", path, error)
        return False
    return True
