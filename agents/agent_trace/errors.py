"""Errors that only a client can have, on the protocol's base. No input or output happens here."""

from __future__ import annotations

from agent_trace_protocol import (
    AgentTraceError,
    ErrorCode,
    NotFound,
    PermissionDenied,
    Unavailable,
)

__all__ = [
    "ConnectionLost",
    "CoordinatorFailed",
    "CoordinatorNotRunning",
    "CoordinatorStopped",
    "KeyMissing",
    "KeyRefused",
    "KeysNotChanged",
    "RequestTimedOut",
    "SocketsDenied",
    "StoreNotFound",
    "StoreNotCreated",
]


class ConnectionLost(Unavailable):
    """The coordinator could not be reached again in time.

    A write that was under way may or may not have been carried out; `log()` or `read()` tells.
    Not raised for a short loss: the client then reconnects and repeats what was not answered.
    """


class RequestTimedOut(Unavailable):
    """A blocking call took longer than its agent's bound; its outcome is not known.

    Not raised by the asynchronous client: there the caller's cancel scope is the bound.
    """


class StoreNotFound(NotFound):
    """Neither the directory nor any above it is a store."""


class StoreNotCreated(AgentTraceError):
    """No store could be made in the directory."""

    code = ErrorCode.INVALID_REQUEST

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint
        """What the coordinator says can be done about it; may be empty."""


class CoordinatorFailed(Unavailable):
    """No coordinator serves the store, and none could be started."""


class CoordinatorStopped(CoordinatorFailed):
    """A user stopped the coordinator a short while ago, and only a user starts it again."""


class CoordinatorNotRunning(CoordinatorFailed):
    """No coordinator serves the store, and none was to be started."""


class SocketsDenied(CoordinatorFailed):
    """A sandbox denies this process sockets, and nobody can be reached without them."""


class KeyMissing(PermissionDenied):
    """There is no key on this machine for that coordinator and that name."""


class KeyRefused(PermissionDenied):
    """The coordinator does not know our key: it was revoked, or is of another store."""


class KeysNotChanged(AgentTraceError):
    """The keys of a store could not be changed; the message says why."""

    code = ErrorCode.INVALID_REQUEST
