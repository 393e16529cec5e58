"""Running a command as an agent's sandbox does: the kernel refuses it what has to do with sockets.

A seccomp filter is put on this process, which then becomes the command:

    python -m support.sandbox all COMMAND ...        every socket call fails
    python -m support.sandbox connections COMMAND ...   unix sockets can be made, never connected
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

__all__ = ["available", "deny", "sandboxed"]

_PR_SET_NO_NEW_PRIVS: Final = 38
_PR_SET_SECCOMP: Final = 22
_SECCOMP_MODE_FILTER: Final = 2
_ALLOW: Final = 0x7FFF0000
_REFUSE: Final = 0x00050000 | errno.EPERM
_LOAD: Final = 0x20
_JUMP_EQUAL: Final = 0x15
_RETURN: Final = 0x06

# The numbers of the system calls: x86_64, then aarch64.
_CALLS: Final = {
    "socket": (41, 198),
    "connect": (42, 203),
    "accept": (43, 202),
    "sendto": (44, 206),
    "sendmsg": (46, 211),
    "shutdown": (48, 210),
    "bind": (49, 200),
    "listen": (50, 201),
    "getsockname": (51, 204),
    "socketpair": (53, 199),
    "setsockopt": (54, 208),
    "getsockopt": (55, 209),
    "accept4": (288, 242),
}
_MACHINES: Final = {"x86_64": 0, "aarch64": 1}

DENIED: Final[dict[str, tuple[str, ...]]] = {
    "all": tuple(_CALLS),
    # What the sandboxes do that leave a program its socket pairs, but neither connections nor
    # what is sent by `send`, so that an event loop can be made and can not be woken.
    "connections": tuple(name for name in _CALLS if name not in ("socket", "socketpair")),
}


def available() -> bool:
    """Return whether this system has such filters."""
    if sys.platform != "linux" or platform.machine() not in _MACHINES:
        return False
    return Path("/proc/sys/kernel/seccomp/actions_avail").exists()


def deny(calls: Sequence[str]) -> None:
    """Refuse these system calls to this process and all its children, for ever."""
    column = _MACHINES[platform.machine()]
    numbers = [_CALLS[name][column] for name in calls]
    code = [(_LOAD, 0, 0, 0)]
    code += [(_JUMP_EQUAL, len(numbers) - index, 0, number) for index, number in enumerate(numbers)]
    code += [(_RETURN, 0, 0, _ALLOW), (_RETURN, 0, 0, _REFUSE)]
    filters = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *each) for each in code))
    program = ctypes.create_string_buffer(
        struct.pack("@HP", len(code), ctypes.addressof(filters)), 16
    )
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    for arguments in (
        (_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0),
        (_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, program, 0, 0),
    ):
        if prctl(*arguments) != 0:
            raise OSError(ctypes.get_errno(), "no filter can be set")


def sandboxed(kind: str, *command: str) -> list[str]:
    """Return the command line that runs a command in a sandbox of this kind."""
    return [sys.executable, str(Path(__file__)), kind, *command]


if __name__ == "__main__":
    deny(DENIED[sys.argv[1]])
    os.execvp(sys.argv[2], sys.argv[2:])
