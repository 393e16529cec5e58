"""Making a store, and starting its coordinator in the background when nobody serves it yet.

The coordinator is a process of its own that outlives whoever started it. Several processes may
start one at once: the store's lock lets one through, and the others exit and their starters use
the winner.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import anyio
import anyio.to_thread
import msgspec

from agent_trace_protocol.layout import (
    COORDINATOR_LOG,
    ENDPOINT_FILE,
    EXIT_ALREADY_RUNNING,
    EXIT_DISK_FAILED,
    SPOOL_DIRECTORY,
    STOPPED_FILE,
    STOPPED_SECONDS,
    STORE_DIRECTORY,
    EndpointInfo,
    StoppedInfo,
)

from .errors import CoordinatorFailed, StoreNotCreated
from .sandbox import denies_sockets
from .transport.spool import is_served

__all__ = [
    "START_SECONDS_MAX",
    "coordinator_command",
    "create_store",
    "ensure_coordinator",
    "listening",
    "read_endpoint",
    "read_stopped",
    "told",
]

START_SECONDS_MAX: Final = 15.0
"""How long a start may take: interpreter, recovery of the journal, and the old one's leaving."""

_POLL_SECONDS_MIN: Final = 0.01
_POLL_SECONDS_MAX: Final = 0.1
_START_LOCK: Final = f"{STORE_DIRECTORY}/run/start.lock"
_ENDPOINT_BYTES_MAX: Final = 64 * 1024
_LOG_BYTES_SHOWN: Final = 4096
KILLED_STARTS_MAX: Final = 3
"""So many coordinators that are killed while they start are followed by another one."""

_LOG_LINES_SHOWN: Final = 8

_ROOM_BYTES_MIN: Final = 1024 * 1024
"""With less on its disk a coordinator can not be expected to start."""

# How the coordinator's command line marks what it says before it ends.
_ERROR: Final = "error: "
_HINT: Final = "hint: "
# -P: without it Python would look for modules in the current directory first, and that is a store,
# in which agents may put any file under any name.
_PYTHON: Final = (sys.executable, "-P", "-m")
_MODULE: Final = "agent_trace_coordinator"


def coordinator_command(*arguments: str) -> list[str]:
    """Return the command line that has the coordinator's package do something."""
    return [*_PYTHON, _MODULE, *arguments]


def read_endpoint(root: Path) -> EndpointInfo | None:
    """Return where the store's coordinator said it listens; None if it did not say, or badly."""
    try:
        with open(root / ENDPOINT_FILE, "rb") as file:
            return msgspec.json.decode(file.read(_ENDPOINT_BYTES_MAX), type=EndpointInfo)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
        return None


def read_stopped(root: Path) -> StoppedInfo | None:
    """Return who stopped the store's coordinator, if a user did so a short while ago."""
    try:
        with open(root / STOPPED_FILE, "rb") as file:
            info = msgspec.json.decode(file.read(_ENDPOINT_BYTES_MAX), type=StoppedInfo)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
        return None
    # A clock that was set back meanwhile must not make it last.
    return info if abs(time.time() - info.time_ms / 1000) < STOPPED_SECONDS else None


def listening(root: Path) -> EndpointInfo | None:
    """Return the endpoint at which a coordinator accepts connections, or None.

    The file alone proves nothing: a killed coordinator leaves it behind. A connection to the unix
    socket is answered by the kernel at once, whatever the process behind it does. Where sockets are
    denied, the bell of the spool tells whether somebody is there to hear it.
    """
    info = read_endpoint(root)
    if info is None or not info.endpoint.startswith("ipc://"):
        return info
    if denies_sockets():
        return info if is_served(root / SPOOL_DIRECTORY) else None
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(info.endpoint.removeprefix("ipc://"))
        except BlockingIOError:
            # The queue of connections is full, so somebody is there to work it off.
            return info
        except OSError:
            return None
    return info


def create_store(root: Path, *, nested: bool = False) -> None:
    """Make `root` a store; `nested` allows one inside another.

    Raises:
        StoreNotCreated: it could not be done; the message is the coordinator's.
    """
    command = coordinator_command("init", str(root))
    if nested:
        command.append("--nested")
    try:
        done = subprocess.run(command, capture_output=True, check=False, stdin=subprocess.DEVNULL)
    except OSError as error:
        raise StoreNotCreated(f"the coordinator's init can not be run: {error}") from error
    if done.returncode != 0:
        said = done.stderr.decode("utf-8", "replace").strip()
        lines = said.splitlines()[-_LOG_LINES_SHOWN:]
        message, hint = told(lines)
        raise StoreNotCreated(message or f"init ended with exit code {done.returncode}", hint)


async def ensure_coordinator(root: Path) -> EndpointInfo:
    """Return the endpoint of the store's coordinator, starting one if nobody listens.

    Cancellation leaves a coordinator that was started running; it leaves by itself when idle.

    Raises:
        CoordinatorFailed: none came up; the message quotes the end of its log.
    """
    info = listening(root)
    if info is not None:
        return info
    with _StartLock(root) as lock, anyio.move_on_after(START_SECONDS_MAX):
        return await _start_and_wait(root, lock)
    raise CoordinatorFailed(
        f"no coordinator listens for {root} after {START_SECONDS_MAX:.0f} s"
        f"; see {root / COORDINATOR_LOG}, or run agent-trace serve"
    )


async def _start_and_wait(root: Path, lock: _StartLock) -> EndpointInfo:
    """Start a coordinator, or wait for the one that somebody else starts, until one listens."""
    process: subprocess.Popen[bytes] | None = None
    log_start = killed = 0
    wait_seconds = _POLL_SECONDS_MIN
    while True:
        if process is None and lock.acquire():
            log_start = _log_size(root)
            process = await anyio.to_thread.run_sync(_start, root)
        await anyio.sleep(wait_seconds)
        wait_seconds = min(2 * wait_seconds, _POLL_SECONDS_MAX)
        info = listening(root)
        if info is not None:
            return info
        code = process.poll() if process is not None else None
        if code == EXIT_ALREADY_RUNNING:
            # Somebody holds the store but does not listen: it is leaving, so a later start
            # succeeds, or it was started by hand and will listen soon.
            process = None
        elif code is not None and code < 0 and killed < KILLED_STARTS_MAX:
            # Somebody killed it, perhaps when it served already: that says nothing of the next.
            killed += 1
            process = None
        elif code is not None:
            raise CoordinatorFailed(_why(root, log_start, code))


class _StartLock:
    """Lets one of many clients start the coordinator while the others only wait for it.

    Not needed for safety, which the store's own lock gives: without it, every client that lost the
    coordinator would start an interpreter just to be told that it came too late.
    """

    def __init__(self, root: Path) -> None:
        self._path = root / _START_LOCK
        self._descriptor = -1

    def __enter__(self) -> _StartLock:
        return self

    def __exit__(self, *_: object) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def acquire(self) -> bool:
        """Return whether it is ours, taking it if it is free. A dead holder's lock is free."""
        if self._descriptor >= 0:
            return True
        try:
            self._path.parent.mkdir(mode=0o700, exist_ok=True)
            flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
            descriptor = os.open(self._path, flags, 0o600)
        except OSError as error:
            raise _cannot_start(self._path, error) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return False
        self._descriptor = descriptor
        return True


def _start(root: Path) -> subprocess.Popen[bytes]:
    """Start a coordinator that belongs to no terminal; its words go to the store's log."""
    log_path = root / COORDINATOR_LOG
    command = coordinator_command("serve", "--store", str(root), "--background")
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(log_path, flags, 0o600)
    except OSError as error:
        raise _cannot_start(log_path, error) from error
    try:
        process = subprocess.Popen(
            command,
            cwd=root,
            stdin=subprocess.DEVNULL,
            stdout=descriptor,
            stderr=descriptor,
            start_new_session=True,
        )
    except OSError as error:
        raise CoordinatorFailed(f"no coordinator can be started: {error}") from error
    finally:
        os.close(descriptor)
    # Without a waiter a coordinator that ends before us would stay a zombie. A daemon thread,
    # because it must outlive this call and must not keep the program alive.
    threading.Thread(target=process.wait, name="agent-trace-reaper", daemon=True).start()
    return process


def _cannot_start(path: Path, error: OSError) -> CoordinatorFailed:
    return CoordinatorFailed(
        f"no coordinator can be started: {error.strerror} ({path}); "
        "check that the store belongs to you and its disk can be written"
    )


def _why(root: Path, log_start: int, code: int) -> str:
    how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
    said, hint = told(_log_tail(root, log_start))
    free = shutil.disk_usage(root).free
    if hint:
        step = hint
    elif not said and code > 0 and free < _ROOM_BYTES_MIN:
        # It could not even write its log.
        step = f"only {free} bytes are free on the store's disk: make room, then try again"
    elif code == EXIT_DISK_FAILED:
        step = "free or repair the disk, then try again"
    else:
        step = "run agent-trace serve to watch it start"
    return f"the coordinator of {root} {how}{' and said: ' if said else ''}{said}; {step}"


def told(lines: Sequence[str]) -> tuple[str, str]:
    """Return what a coordinator said when it ended, and its hint, which may be empty."""
    said = [line.removeprefix(_ERROR) for line in lines if not line.startswith(_HINT)]
    hints = [line.removeprefix(_HINT) for line in lines if line.startswith(_HINT)]
    return "\n".join(said), "; ".join(hints)


def _log_size(root: Path) -> int:
    try:
        return os.stat(root / COORDINATOR_LOG).st_size
    except OSError:
        return 0


def _log_tail(root: Path, start: int) -> list[str]:
    """Return what was written to the log since `start`: its last lines."""
    try:
        with open(root / COORDINATOR_LOG, "rb") as file:
            file.seek(max(start, _log_size(root) - _LOG_BYTES_SHOWN))
            text = file.read(_LOG_BYTES_SHOWN).decode("utf-8", "replace")
    except OSError:
        return []
    return [line for line in text.splitlines() if line.strip()][-_LOG_LINES_SHOWN:]
