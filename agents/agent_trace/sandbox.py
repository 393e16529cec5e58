"""Whether this process may use sockets, and whose sandbox keeps it from that.

Many agent hosts run their commands in a sandbox without a network, and some of them do it so that
a unix socket is refused as well. Which one it is can only be told from what hosts leave in the
environment; that it is so is tried out, never guessed.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Mapping
from typing import Final

__all__ = ["DENIED_ERRORS", "denies_sockets", "denies_wake_ups", "sandbox_name"]

DENIED_ERRORS: Final = frozenset({errno.EPERM, errno.EACCES})
"""What the kernel says when a policy forbids a call; everything else is an answer to the call."""

_NAMES: Final = (
    ("CODEX_SANDBOX", "the sandbox of Codex"),
    ("CODEX_SANDBOX_NETWORK_DISABLED", "the sandbox of Codex"),
    ("SANDBOX_RUNTIME", "the sandbox of Claude Code"),
    ("CURSOR_SANDBOX", "the sandbox of Cursor"),
    ("SANDBOX", "the sandbox of Gemini CLI"),
)

# Nothing is ever there, so a connection that is allowed ends with "no such file".
_NOWHERE: Final = "/proc/agent-trace-nowhere"


def denies_sockets() -> bool:
    """Return whether connecting by a unix socket is forbidden to this process."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.connect(_NOWHERE)
    except OSError as error:
        return error.errno in DENIED_ERRORS
    return False


def denies_wake_ups() -> bool:
    """Return whether what event loops are woken by, a pair of sockets, is forbidden or mute."""
    try:
        ours, theirs = socket.socketpair()
    except OSError:
        return True
    with ours, theirs:
        try:
            ours.send(b"!")
        except OSError:
            return True
    return False


def sandbox_name(environment: Mapping[str, str] = os.environ) -> str:
    """Return what to call the sandbox that this process runs in."""
    for variable, name in _NAMES:
        if environment.get(variable):
            return f"{name} ({variable}={environment[variable][:40]})"
    return "a sandbox that this command runs in"
