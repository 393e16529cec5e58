"""System calls that fail: strace lets the n-th call of a kind fail, in a coordinator that serves.

The calls are those that touch the disk. Those on which sockets and threads live (`write` to an
eventfd, `read` of a pipe) do not fail on any kernel, and ZeroMQ aborts when they do; so `read` and
`write` fail in git's process only.
"""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Final

__all__ = [
    "ANY_PROCESS",
    "FAULTS",
    "Fault",
    "Injector",
    "Recorder",
    "pairs_of",
    "why_unavailable",
]

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

_SHORT: Final[dict[str, dict[str, tuple[str, ...]]]] = {
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
    for process, calls in _SHORT.items()
    for call, errors in calls.items()
    for error in errors
) + (
    Fault("coordinator", _SYNC, "delay_enter=700000"),
    Fault("git", _SYNC, "delay_enter=700000"),
)
"""What `crash fault` draws from: the calls and errors that matter most."""


def why_unavailable() -> str:
    """Return why no call can be made to fail here; empty if it can."""
    if shutil.which("strace") is None:
        return "strace is not installed"
    tried = subprocess.run(["strace", "-qq", "true"], capture_output=True, text=True, check=False)
    return f"strace may not trace here: {tried.stderr.strip()}" if tried.returncode else ""


_OPEN: Final = ("EMFILE", "ENFILE", "ENOMEM", "EIO", "ENOSPC", "EDQUOT", "EROFS", "EACCES", "EINTR")
_NAME: Final = ("EIO", "ENOSPC", "EDQUOT", "EROFS", "EACCES", "ENOMEM")
_LOOK: Final = ("EIO", "EACCES", "ENOMEM")
_FLUSH: Final = ("EIO", "ENOSPC", "EDQUOT", "EINTR")
_STORE: Final = ("EIO", "ENOSPC", "EDQUOT", "EINTR")

ANY_PROCESS: Final[dict[str, tuple[str, ...]]] = {
    "openat": _OPEN,
    "pwrite64": _STORE,
    "pread64": ("EIO", "EINTR", "ENOMEM"),
    **dict.fromkeys(("fsync", "fdatasync"), _FLUSH),
    **dict.fromkeys(("rename", "renameat", "renameat2", "link", "linkat"), _NAME),
    **dict.fromkeys(("mkdir", "mkdirat"), _NAME),
    **dict.fromkeys(("unlink", "unlinkat", "rmdir"), ("EIO", "EROFS", "EACCES", "ENOMEM", "EBUSY")),
    **dict.fromkeys(("stat", "lstat", "newfstatat", "statx", "fstat"), _LOOK),
    **dict.fromkeys(("access", "faccessat", "faccessat2"), _LOOK),
    **dict.fromkeys(("readlink", "readlinkat"), _LOOK),
    "getdents64": ("EIO", "ENOMEM"),
    **dict.fromkeys(("ftruncate", "fallocate"), _STORE),
    **dict.fromkeys(("chmod", "fchmod", "fchmodat", "utimensat"), ("EIO", "EROFS")),
    "flock": ("EINTR", "ENOLCK"),
    "inotify_add_watch": ("ENOSPC", "ENOMEM", "EACCES"),
}
"""What a file system, a quota, a limit or a want of memory makes of a call, by the manual."""

_GIT_ONLY: Final[dict[str, tuple[str, ...]]] = {
    "write": _STORE,
    "read": ("EIO", "EINTR"),
    "mmap": ("ENOMEM",),
    "lseek": ("EIO",),
    "execve": ("EIO", "EACCES", "ENOMEM", "EMFILE"),
}
"""In the coordinator these carry sockets, threads and memory, where no disk makes them fail."""

_COORDINATOR_ONLY: Final[dict[str, tuple[str, ...]]] = {
    "pipe2": ("EMFILE", "ENFILE"),
    "vfork": ("EAGAIN", "ENOMEM"),
}
"""By which it starts git."""


def pairs_of(recorded: Mapping[str, Counter[str]]) -> Iterator[Fault]:
    """Yield each call of a recording with each error that it can have, and slow syncs."""
    for process, calls in sorted(recorded.items()):
        own = _GIT_ONLY if process == "git" else _COORDINATOR_ONLY
        for call in sorted(calls):
            for error in (ANY_PROCESS | own).get(call, ()):
                yield Fault(process, call, f"error={error}")
            if call in ("fsync", "fdatasync"):
                yield Fault(process, call, "delay_enter=700000")


_CALL: Final = re.compile(r"([a-z_][a-z0-9_]*)\(")


class Recorder:
    """Notes which calls a coordinator and the gits that it starts make, until it has ended."""

    def __init__(self, pid: int, directory: Path) -> None:
        """Attach; each process gets a file of its own in `directory`."""
        self._directory = directory
        command = ["strace", "-ff", "-qq", "-o", str(directory / "calls"), "-e", "signal=none"]
        self._process = subprocess.Popen(
            [*command, "-p", str(pid)], stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        deadline = time.monotonic() + _ATTACH_SECONDS
        while not _is_traced(pid) and time.monotonic() < deadline:
            time.sleep(0.002)

    def close(self) -> dict[str, Counter[str]]:
        """Return how often the coordinator and its gits made which calls."""
        self._process.wait(10 * _ATTACH_SECONDS)
        calls = {"coordinator": Counter[str](), "git": Counter[str]()}
        for path in self._directory.glob("calls.*"):
            text = path.read_text("utf-8", "replace")
            process = "git" if 'execve("' in text and "/git" in text else "coordinator"
            calls[process].update(_CALL.findall("\n".join(map(_head, text.splitlines()))))
        return calls


def _head(line: str) -> str:
    """Return the part of a line that names the call; nothing of what a call was given."""
    found = _CALL.match(line)
    return found[0] if found else ""


class Injector:
    """Lets calls of running processes fail, until it is closed."""

    def __init__(self, pids: list[int], fault: Fault, random: Random, log: Path) -> None:
        """Attach to processes and all their threads; the calls to fail are the n-th and, half of
        the time, all after it."""
        self._log = log
        log.unlink(missing_ok=True)
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

    def failed(self, but_of: Collection[int] = ()) -> int:
        """Return how many calls were made to fail so far, but those of some processes."""
        try:
            lines = self._log.read_text("utf-8", "replace").splitlines()
        except OSError:
            return 0
        return sum(
            line.partition(" ")[0] not in map(str, but_of)
            for line in lines
            if "(INJECTED)" in line or "(DELAYED)" in line
        )

    def close(self) -> int:
        """Detach; return how many calls were made to fail."""
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(_ATTACH_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        return self.failed()


def _is_traced(pid: int) -> bool:
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        return False
    for line in status.splitlines():
        if line.startswith("TracerPid:"):
            return line.split()[1] != "0"
    return False
