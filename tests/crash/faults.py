"""System calls that fail: strace lets the n-th call of a kind fail, in a coordinator that serves.

The calls are those that touch the disk. Those on which sockets and threads live (`write` to an
eventfd, `read` of a pipe) do not fail on any kernel, and ZeroMQ aborts when they do; so `read` and
`write` fail in git's process only.
"""

from __future__ import annotations

import contextlib
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Final

__all__ = ["FAULTS", "Fault", "Injector", "why_unavailable"]

_ATTACH_SECONDS: Final = 5.0


@dataclass(frozen=True, slots=True)
class Fault:
    """What happens to a system call."""

    process: str
    """Whose: the coordinator's or its git's."""
    call: str
    """Its name, or several, as strace wants them."""
    outcome: str
    """An error, or a delay, as strace wants it."""

    def __str__(self) -> str:
        return f"{self.process} {self.call} {self.outcome.partition('=')[2]}"


_SYNC: Final = "fsync,fdatasync"
_RENAME: Final = "?rename,?renameat,renameat2"
_UNLINK: Final = "?unlink,unlinkat"
_STAT: Final = "newfstatat,statx"

_ERRORS: Final[dict[str, dict[str, tuple[str, ...]]]] = {
    "coordinator": {
        "pwrite64": ("EIO", "ENOSPC", "EDQUOT"),
        "pread64": ("EIO",),
        _SYNC: ("EIO", "ENOSPC"),
        "openat": ("EMFILE", "ENFILE", "EACCES", "EIO", "ENOSPC", "EROFS"),
        _RENAME: ("EIO", "ENOSPC", "EROFS", "EACCES"),
        _UNLINK: ("EIO", "EROFS", "EACCES"),
        "ftruncate": ("EIO",),
        _STAT: ("EIO", "EACCES"),
        "mkdirat,?mkdir": ("ENOSPC", "EROFS"),
    },
    "git": {
        "write": ("EIO", "ENOSPC", "EDQUOT"),
        "read": ("EIO",),
        "pread64": ("EIO",),
        _SYNC: ("EIO", "ENOSPC"),
        "openat": ("EMFILE", "EACCES", "EIO", "ENOSPC"),
        _RENAME: ("EIO", "ENOSPC"),
        "?link,linkat": ("EIO", "ENOSPC"),
        "mmap": ("ENOMEM",),
    },
}

FAULTS: Final = tuple(
    Fault(process, call, f"error={error}")
    for process, calls in _ERRORS.items()
    for call, errors in calls.items()
    for error in errors
) + (
    Fault("coordinator", _SYNC, "delay_enter=700000"),
    Fault("git", _SYNC, "delay_enter=700000"),
)
"""Every (system call, outcome) that is tried."""


def why_unavailable() -> str:
    """Return why no call can be made to fail here; empty if it can."""
    if shutil.which("strace") is None:
        return "strace is not installed"
    tried = subprocess.run(["strace", "-qq", "true"], capture_output=True, text=True, check=False)
    return f"strace may not trace here: {tried.stderr.strip()}" if tried.returncode else ""


class Injector:
    """Lets calls of running processes fail, until it is closed."""

    def __init__(self, pids: list[int], fault: Fault, random: Random, log: Path) -> None:
        """Attach to processes and all their threads; the calls to fail are the n-th and, half of
        the time, all after it."""
        self._log = log
        first = random.choice((1, 1, 2, 3, random.randint(4, 40)))
        when = f"{first}+" if random.random() < 0.5 else str(first)
        command = ["strace", "-f", "-qq", "-o", str(log)]
        injected = f"inject={fault.call}:{fault.outcome}:when={when}"
        command += ["-e", f"trace={fault.call}", "-e", injected]
        for pid in pids:
            command += ["-p", str(pid)]
        self._process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        # Without a trace of its own strace says nothing of having attached.
        deadline = time.monotonic() + _ATTACH_SECONDS
        while not any(map(_is_traced, pids)) and time.monotonic() < deadline:
            if self._process.poll() is not None:
                return
            time.sleep(0.01)

    def close(self) -> int:
        """Detach; return how many calls were made to fail."""
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(_ATTACH_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        with contextlib.suppress(OSError):
            return self._log.read_bytes().count(b"(INJECTED)") + self._log.read_bytes().count(
                b"(DELAYED)"
            )
        return 0


def _is_traced(pid: int) -> bool:
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        return False
    for line in status.splitlines():
        if line.startswith("TracerPid:"):
            return line.split()[1] != "0"
    return False
