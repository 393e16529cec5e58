"""What can go wrong, once: wire codes, the wire struct and the exceptions, and the table between.

Exceptions are grouped by whose doing it is: the caller's (`InvalidRequest`, `PermissionDenied`),
the state's (`Conflict`, `SessionError`), the world's (`Unavailable`), the disk's (`CorruptStore`)
or ours (`InternalError`). A message carries the offending value; hints for people are attached by
the command line and the gateway.
"""

from __future__ import annotations

from enum import StrEnum
from typing import ClassVar

import msgspec

from .limits import ERROR_MESSAGE_LENGTH_MAX
from .scalars import Count, Seconds

__all__ = [
    "AgentBusy",
    "AgentTraceError",
    "Busy",
    "Conflict",
    "ConflictInfo",
    "CorruptStore",
    "ErrorCode",
    "ErrorInfo",
    "InternalError",
    "InvalidPath",
    "InvalidRequest",
    "LeaseError",
    "LeaseHeld",
    "LeaseRefusal",
    "MalformedMessage",
    "NoMatch",
    "NotFound",
    "PermissionDenied",
    "ReadOnlyStore",
    "RequestReused",
    "SessionError",
    "SessionSuperseded",
    "SessionUnknown",
    "StaleLease",
    "TooLarge",
    "TooMany",
    "Unavailable",
    "UnsupportedVersion",
    "error_from_info",
]


class ErrorCode(StrEnum):
    """The stable names of the errors on the wire."""

    MALFORMED = "malformed"
    UNSUPPORTED_VERSION = "unsupported_version"
    INVALID_REQUEST = "invalid_request"
    INVALID_PATH = "invalid_path"
    TOO_LARGE = "too_large"
    NOT_FOUND = "not_found"
    NO_MATCH = "no_match"
    PERMISSION_DENIED = "permission_denied"
    CONFLICT = "conflict"
    REQUEST_REUSED = "request_reused"
    SESSION_UNKNOWN = "session_unknown"
    SESSION_SUPERSEDED = "session_superseded"
    AGENT_BUSY = "agent_busy"
    LEASE_HELD = "lease_held"
    STALE_LEASE = "stale_lease"
    TOO_MANY = "too_many"
    BUSY = "busy"
    READ_ONLY = "read_only"
    UNAVAILABLE = "unavailable"
    CORRUPT = "corrupt"
    INTERNAL = "internal"


class ConflictInfo(msgspec.Struct, frozen=True, array_like=True, omit_defaults=True):
    """What a writer needs in order to continue after a conflict."""

    path: str
    """The document that had moved on."""
    expected: Count
    """The revision the caller based its write on."""
    current: Count
    """The revision that is current; 0 if there is no such document."""
    author: str = ""
    """Who wrote the current revision."""
    time_ms: Count = 0
    """When, UTC milliseconds."""
    diff: str = ""
    """A unified diff from `expected` to `current`, bounded; empty if `expected` never existed."""
    draft: str = ""
    """The id under which the caller's operation is kept; empty if nothing was kept."""
    merged: bool = False
    """Whether accepting the draft writes a merge in which both changes survive."""


class LeaseRefusal(msgspec.Struct, frozen=True, array_like=True, omit_defaults=True):
    """What somebody needs to know whom a lease kept from doing something."""

    path: str
    """What was to be written or leased."""
    holder: str = ""
    """The name of who holds a lease on it; empty if nobody does."""
    session: str = ""
    """The holder's session."""
    since_seq: Count = 0
    """The token of that lease: the operation that granted it; 0 if nobody holds one."""
    left_seconds: Seconds = 0.0
    """How long that lease lasts unless its holder renews it."""
    draft: str = ""
    """The id under which the refused text is kept; empty if nothing was kept."""
    deadlock: str = ""
    """Who waits for whom in a circle, if that is why nothing moved."""


class ErrorInfo(msgspec.Struct, frozen=True, array_like=True, omit_defaults=True):
    """An error as it travels."""

    code: ErrorCode
    message: str
    retryable: bool = False
    conflict: ConflictInfo | None = None
    lease: LeaseRefusal | None = None
    violation: str = ""
    """The id under which a refused write is recorded and its text kept; empty if nothing is."""


def _wire_text(message: str) -> str:
    # A message may quote a heading of megabytes or a file name that is not UTF-8. An error that can
    # not be sent would cost more than the one it reports.
    if len(message) > ERROR_MESSAGE_LENGTH_MAX:
        message = message[: ERROR_MESSAGE_LENGTH_MAX - 3] + "..."
    return message.encode("utf-8", "backslashreplace").decode("utf-8")


class AgentTraceError(Exception):
    """Base of every error that agent-trace raises on purpose."""

    code: ClassVar[ErrorCode] = ErrorCode.INTERNAL
    retryable: ClassVar[bool] = False

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message
        self.violation = ""
        """The id of the record that a refused write left; empty if it left none."""

    def to_info(self) -> ErrorInfo:
        """Return the error as it travels: any message fits into a reply."""
        return ErrorInfo(
            self.code, _wire_text(self.message), self.retryable, violation=self.violation
        )


class InvalidRequest(AgentTraceError):
    """The request can not be what the caller wants: a value is out of its range."""

    code = ErrorCode.INVALID_REQUEST


class MalformedMessage(InvalidRequest):
    """The bytes are not a message of this protocol."""

    code = ErrorCode.MALFORMED


class UnsupportedVersion(InvalidRequest):
    """The two sides have no protocol version in common."""

    code = ErrorCode.UNSUPPORTED_VERSION


class InvalidPath(InvalidRequest):
    """The path can not name a document of a store."""

    code = ErrorCode.INVALID_PATH


class TooLarge(InvalidRequest):
    """A document, message or field is over its limit."""

    code = ErrorCode.TOO_LARGE


class NotFound(AgentTraceError):
    """There is no such document, revision, session or store."""

    code = ErrorCode.NOT_FOUND


class NoMatch(InvalidRequest):
    """The text or heading an edit names is not in the document, or is there more than once."""

    code = ErrorCode.NO_MATCH


class PermissionDenied(AgentTraceError):
    """The actor may not do this; the message says who may, and how it can be granted."""

    code = ErrorCode.PERMISSION_DENIED


class Conflict(AgentTraceError):
    """The document is not at the revision the caller expected."""

    code = ErrorCode.CONFLICT

    def __init__(self, message: str, info: ConflictInfo | None = None) -> None:
        super().__init__(message)
        self.info = info

    def to_info(self) -> ErrorInfo:
        return ErrorInfo(self.code, _wire_text(self.message), self.retryable, self.info)


class LeaseError(AgentTraceError):
    """A lease stands in the way; `info` says whose."""

    code = ErrorCode.LEASE_HELD

    def __init__(self, message: str, info: LeaseRefusal | None = None) -> None:
        super().__init__(message)
        self.info = info

    def to_info(self) -> ErrorInfo:
        return ErrorInfo(
            self.code,
            _wire_text(self.message),
            self.retryable,
            lease=self.info,
            violation=self.violation,
        )


class LeaseHeld(LeaseError):
    """Somebody else holds a lease on it, or waited for one longer."""

    code = ErrorCode.LEASE_HELD


class StaleLease(LeaseError):
    """The token is not that of a lease the session holds now: it ended, or went to another."""

    code = ErrorCode.STALE_LEASE


class TooMany(AgentTraceError):
    """A table of the store is full; the message names its limit."""

    code = ErrorCode.TOO_MANY


class RequestReused(InvalidRequest):
    """A request id came again with other content, or so late that its answer is gone."""

    code = ErrorCode.REQUEST_REUSED


class SessionError(AgentTraceError):
    """The session can not act."""

    code = ErrorCode.SESSION_UNKNOWN


class SessionUnknown(SessionError):
    """The coordinator knows no live session under this key."""

    code = ErrorCode.SESSION_UNKNOWN


class SessionSuperseded(SessionError):
    """A newer session of the same agent has taken over; this one can change nothing any more."""

    code = ErrorCode.SESSION_SUPERSEDED


class AgentBusy(SessionError):
    """The agent has a live session elsewhere; the message names it."""

    code = ErrorCode.AGENT_BUSY


class Unavailable(AgentTraceError):
    """The coordinator can not be reached or can not serve just now."""

    code = ErrorCode.UNAVAILABLE
    retryable = True


class Busy(Unavailable):
    """A bounded queue is full; try again shortly."""

    code = ErrorCode.BUSY


class ReadOnlyStore(Unavailable):
    """The disk takes no more writes; reads go on, writes return when it heals."""

    code = ErrorCode.READ_ONLY


class CorruptStore(AgentTraceError):
    """Bytes on disk do not match their recorded hash; nothing wrong was served."""

    code = ErrorCode.CORRUPT


class InternalError(AgentTraceError):
    """A fault of ours."""

    code = ErrorCode.INTERNAL


_BY_CODE: dict[ErrorCode, type[AgentTraceError]] = {
    cls.code: cls
    for cls in (
        InvalidRequest,
        MalformedMessage,
        UnsupportedVersion,
        InvalidPath,
        TooLarge,
        NotFound,
        NoMatch,
        PermissionDenied,
        Conflict,
        RequestReused,
        SessionUnknown,
        SessionSuperseded,
        AgentBusy,
        LeaseHeld,
        StaleLease,
        TooMany,
        Unavailable,
        Busy,
        ReadOnlyStore,
        CorruptStore,
        InternalError,
    )
}


def error_from_info(info: ErrorInfo) -> AgentTraceError:
    """Return the exception that an `ErrorInfo` stands for."""
    if info.code is ErrorCode.CONFLICT:
        return Conflict(info.message, info.conflict)
    kind = _BY_CODE[info.code]
    error = kind(info.message, info.lease) if issubclass(kind, LeaseError) else kind(info.message)
    error.violation = info.violation
    return error
