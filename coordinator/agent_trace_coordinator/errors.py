"""What only the coordinator itself meets: faults of its store and its machine."""

from __future__ import annotations

from agent_trace_protocol import AgentTraceError, CorruptStore, ErrorCode, Unavailable

__all__ = [
    "AlreadyRunning",
    "BackupInvalid",
    "CorruptStore",
    "GitFailed",
    "JournalFailed",
    "JournalFull",
    "JournalGone",
    "StoreInvalid",
    "StoreNewer",
    "StoreNested",
]


class StoreInvalid(AgentTraceError):
    """The directory is not a store, or not one this version can open."""

    code = ErrorCode.NOT_FOUND


class StoreNewer(StoreInvalid):
    """A newer version of the program wrote the store. Nothing of it is judged or changed."""

    code = ErrorCode.UNSUPPORTED_VERSION


class StoreNested(StoreInvalid):
    """The new store would lie inside another one."""


class AlreadyRunning(Unavailable):
    """Another coordinator holds the store; the message names it."""


class BackupInvalid(CorruptStore):
    """A file is no backup of a store, or a damaged one; nothing of it was put in place."""


class JournalFull(Unavailable):
    """The journal can not grow: the disk is full or read-only. Nothing of the batch is durable."""

    code = ErrorCode.READ_ONLY


class JournalFailed(AgentTraceError):
    """The disk failed under the journal. Nobody knows what it holds; the process must end."""

    code = ErrorCode.CORRUPT


class JournalGone(JournalFailed):
    """Somebody took the open journal away. The process must end; what it holds is put back."""


class GitFailed(Unavailable):
    """A git process died or refused; the journal has everything, the history is behind."""
