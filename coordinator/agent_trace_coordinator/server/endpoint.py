"""Where the coordinator listens, and how clients find it.

A unix socket's path ends at about 107 bytes, so a deep store's socket lies in a private directory
elsewhere; the endpoint file in the store says where. Beside such a socket lies a link to its store:
whoever starts a coordinator removes the sockets of those that were killed and never started again.
"""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
import stat
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec

from agent_trace_coordinator.errors import StoreInvalid
from agent_trace_protocol.layout import (
    ENDPOINT_FILE,
    SOCKET_PATH_BYTES_MAX,
    STOPPED_FILE,
    STORE_DIRECTORY,
    EndpointInfo,
    StoppedInfo,
)

__all__ = [
    "announce",
    "check_private",
    "forget_stop",
    "mark_stopped",
    "private_umask",
    "socket_path",
    "sweep_sockets",
    "withdraw",
]

_log = logging.getLogger("agent_trace.coordinator.endpoint")

_LINK_SUFFIX: Final = ".store"
"""Of the symbolic link beside a socket that leads to its store."""

_LOCK_FLAGS: Final = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def socket_path(root: Path) -> Path:
    """Return the path for a store's socket, short enough, in a directory only we can enter.

    Raises:
        StoreInvalid: the directory exists and is not ours alone.
    """
    near = root / STORE_DIRECTORY / "run" / "coordinator.sock"
    # ZeroMQ addresses are text, file names need not be.
    if len(os.fsencode(near)) <= SOCKET_PATH_BYTES_MAX and _is_text(near):
        _check_directory(near.parent)
        return near
    directory = _far_directory()
    name = hashlib.blake2b(os.fsencode(root), digest_size=16).hexdigest()
    far = directory / f"{name}.sock"
    if len(os.fsencode(far)) > SOCKET_PATH_BYTES_MAX:
        raise StoreInvalid(
            f"no short enough place for a socket: {near} and {far} are both over "
            f"{SOCKET_PATH_BYTES_MAX} bytes; set XDG_RUNTIME_DIR to a short path"
        )
    directory.mkdir(mode=0o700, exist_ok=True)
    _check_directory(directory)
    link = far.with_suffix(_LINK_SUFFIX)
    link.unlink(missing_ok=True)
    link.symlink_to(root)
    return far


def _check_directory(directory: Path) -> None:
    status = directory.lstat()
    if (
        not stat.S_ISDIR(status.st_mode)
        or status.st_uid != os.geteuid()
        or stat.S_IMODE(status.st_mode) & 0o077
    ):
        raise StoreInvalid(f"{directory} is not a directory that only you can enter; remove it")


def check_private(socket: Path) -> None:
    """Make sure, after the bind, that nobody but us can reach a socket.

    Its directory decides: not every system heeds the mode of a socket itself.

    Raises:
        StoreInvalid: the directory is not ours alone, or the socket is not ours, or not private.
    """
    _check_directory(socket.parent)
    status = socket.lstat()
    if (
        not stat.S_ISSOCK(status.st_mode)
        or status.st_uid != os.geteuid()
        or stat.S_IMODE(status.st_mode) & 0o077
    ):
        raise StoreInvalid(f"{socket} is not a socket that only you can use; remove it")


def _far_directory() -> Path:
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    if runtime:
        return Path(runtime) / "agent-trace"
    return Path(tempfile.gettempdir()) / f"agent-trace-{os.getuid()}"


def sweep_sockets() -> None:
    """Remove the sockets, outside of their stores, of coordinators that run no more.

    Only with the lock of their store in hand, so none is taken from a coordinator that starts at
    this moment; it is left alone if there is any doubt. Never raises.
    """
    try:
        links = [each for each in _far_directory().iterdir() if each.suffix == _LINK_SUFFIX]
    except OSError:
        return
    for link in links:
        try:
            root = Path(os.readlink(link))
            with _nobody_serves(root) as free:
                if free:
                    link.with_suffix(".sock").unlink(missing_ok=True)
                    link.unlink(missing_ok=True)
        except OSError as error:
            _log.info("%s is left as it is: %s", link, error)


@contextmanager
def _nobody_serves(root: Path) -> Generator[bool]:
    """Return whether a store has no coordinator; none can begin to serve it in the block."""
    try:
        descriptor = os.open(root / STORE_DIRECTORY / "run" / "coordinator.lock", _LOCK_FLAGS)
    except (FileNotFoundError, NotADirectoryError):
        # Without the file there is no lock to hold: a coordinator whose store is gone ends.
        yield True
        return
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True
    finally:
        os.close(descriptor)


def _is_text(path: Path) -> bool:
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return False
    return True


@contextmanager
def private_umask() -> Generator[None]:
    """What is created inside can be used by our own user only: umask decides a socket's mode."""
    before = os.umask(0o177)
    try:
        yield
    finally:
        os.umask(before)


def announce(root: Path, info: EndpointInfo) -> None:
    """Write the endpoint file, atomically. It is found by clients only after the bind."""
    _replace(root / ENDPOINT_FILE, msgspec.json.encode(info))


def _replace(target: Path, data: bytes) -> None:
    """Replace a file whole; what lies in the way, a link perhaps, is removed and not followed."""
    temporary = target.with_suffix(".tmp")
    temporary.unlink(missing_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with open(os.open(temporary, flags, 0o600), "wb") as file:
        file.write(data)
    temporary.replace(target)


def mark_stopped(root: Path, info: StoppedInfo) -> None:
    """Say that a user stopped the coordinator, so that clients do not start it again at once."""
    try:
        _replace(root / STOPPED_FILE, msgspec.json.encode(info))
    except OSError as error:
        _log.warning("that it was stopped can not be written down: %s", error)


def forget_stop(root: Path) -> None:
    """Whoever starts a coordinator ends what a stop asked for."""
    (root / STOPPED_FILE).unlink(missing_ok=True)


def withdraw(root: Path, socket: Path) -> None:
    """Remove the endpoint file and the socket: nobody listens there any more."""
    (root / ENDPOINT_FILE).unlink(missing_ok=True)
    socket.unlink(missing_ok=True)
    if socket.parent != (root / ENDPOINT_FILE).parent:
        socket.with_suffix(_LINK_SUFFIX).unlink(missing_ok=True)
