"""Where things lie in a store: the names a client must know to find its coordinator.

Strings only. All paths are relative to the store's root, the directory that holds the documents.
"""

from __future__ import annotations

from typing import Final

import msgspec

__all__ = [
    "CONFIG_FILE",
    "COORDINATOR_LOG",
    "ENDPOINT_FILE",
    "LOCK_FILE",
    "EXIT_ALREADY_RUNNING",
    "EXIT_DISK_FAILED",
    "SESSIONS_DIRECTORY",
    "SOCKET_PATH_BYTES_MAX",
    "SPOOL_DIRECTORY",
    "STOPPED_FILE",
    "STOPPED_SECONDS",
    "STORE_DIRECTORY",
    "EndpointInfo",
    "StoppedInfo",
]

STORE_DIRECTORY: Final = ".agent-trace"
"""The directory that makes its parent a store."""

CONFIG_FILE: Final = ".agent-trace/config.toml"
"""Settings; its existence marks a complete store (it is the last thing `init` writes)."""

ENDPOINT_FILE: Final = ".agent-trace/run/endpoint.json"
"""Where the coordinator listens: an `EndpointInfo` as JSON, replaced atomically after each bind."""

LOCK_FILE: Final = ".agent-trace/run/coordinator.lock"
"""Whose lock makes a process the coordinator; says who holds it, and nothing when nobody does."""

STOPPED_FILE: Final = ".agent-trace/run/stopped.json"
"""That a user has stopped the coordinator: a `StoppedInfo` as JSON. Any start removes it."""

STOPPED_SECONDS: Final = 600.0
"""For how long a stop keeps the clients that were connected, and agents, from starting another
coordinator: long enough for a copy or an upgrade, and nobody has to undo it the next day."""

COORDINATOR_LOG: Final = ".agent-trace/run/coordinator.log"
"""What a coordinator that was started in the background says."""

SESSIONS_DIRECTORY: Final = ".agent-trace/run/sessions"
"""Keys of sessions that outlive one command of the command line, one file per name, mode 0600."""

SPOOL_DIRECTORY: Final = ".agent-trace/run/spool"
"""Messages as files, for clients that may use no sockets; there while the coordinator runs."""

SOCKET_PATH_BYTES_MAX: Final = 100
"""Bytes of a unix socket's path: the kernel's field has 108, some systems 104, one is the NUL."""

EXIT_ALREADY_RUNNING: Final = 3
"""Exit code of a coordinator that found another one on the store."""

EXIT_DISK_FAILED: Final = 74
"""Exit code of a coordinator whose journal could not be synced (EX_IOERR)."""


class EndpointInfo(msgspec.Struct, frozen=True):
    """The contents of the endpoint file."""

    endpoint: str
    """A ZeroMQ address, such as `ipc:///srv/notes/.agent-trace/run/coordinator.sock`."""
    pid: int
    epoch: int
    version: str
    """The coordinator's own version."""
    tcp: str = ""
    """Where it listens for clients with keys, such as `tcp://127.0.0.1:7117`; empty: nowhere."""
    metrics: str = ""
    """Where it serves metrics, such as `http://127.0.0.1:9464/metrics`; empty: nowhere."""


class StoppedInfo(msgspec.Struct, frozen=True):
    """The contents of the file that says that a user stopped the coordinator."""

    by: str
    time_ms: int
    """When, UTC milliseconds."""
