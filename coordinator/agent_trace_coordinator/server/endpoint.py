"""Where the coordinator listens, and how clients find it.

A unix socket's path ends at about 107 bytes, so a deep store's socket lies in a private directory
elsewhere; the endpoint file in the store says where.
"""

from __future__ import annotations

import hashlib
import os
import stat
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from agent_trace_coordinator.errors import StoreInvalid
from agent_trace_protocol.layout import (
    ENDPOINT_FILE,
    SOCKET_PATH_BYTES_MAX,
    STORE_DIRECTORY,
    EndpointInfo,
)

__all__ = ["announce", "private_umask", "socket_path", "withdraw"]


def socket_path(root: Path) -> Path:
    """Return the path for a store's socket, short enough, in a directory only we can enter.

    Raises:
        StoreInvalid: the directory exists and is not ours alone.
    """
    near = root / STORE_DIRECTORY / "run" / "coordinator.sock"
    # ZeroMQ addresses are text, file names need not be.
    if len(os.fsencode(near)) <= SOCKET_PATH_BYTES_MAX and _is_text(near):
        return near
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    if runtime:
        directory = Path(runtime) / "agent-trace"
    else:
        directory = Path(tempfile.gettempdir()) / f"agent-trace-{os.getuid()}"
    name = hashlib.blake2b(os.fsencode(root), digest_size=16).hexdigest()
    far = directory / f"{name}.sock"
    if len(os.fsencode(far)) > SOCKET_PATH_BYTES_MAX:
        raise StoreInvalid(
            f"no short enough place for a socket: {near} and {far} are both over "
            f"{SOCKET_PATH_BYTES_MAX} bytes; set XDG_RUNTIME_DIR to a short path"
        )
    directory.mkdir(mode=0o700, exist_ok=True)
    status = directory.lstat()
    if (
        not stat.S_ISDIR(status.st_mode)
        or status.st_uid != os.getuid()
        or stat.S_IMODE(status.st_mode) & 0o077
    ):
        raise StoreInvalid(f"{directory} is not a directory that only you can enter; remove it")
    return far


def _is_text(path: Path) -> bool:
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return False
    return True


@contextmanager
def private_umask() -> Generator[None]:
    """What is created inside can be used by our own user only: umask decides a socket's mode."""
    before = os.umask(0o077)
    try:
        yield
    finally:
        os.umask(before)


def announce(root: Path, info: EndpointInfo) -> None:
    """Write the endpoint file, atomically. It is found by clients only after the bind."""
    target = root / ENDPOINT_FILE
    temporary = target.with_suffix(".tmp")
    temporary.write_bytes(msgspec.json.encode(info))
    temporary.replace(target)


def withdraw(root: Path, socket: Path) -> None:
    """Remove the endpoint file and the socket: nobody listens there any more."""
    (root / ENDPOINT_FILE).unlink(missing_ok=True)
    socket.unlink(missing_ok=True)
