"""The nouns both sides share: actors, document types, actions, and what a listing shows."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from .scalars import Count, Seconds

__all__ = [
    "Action",
    "Actor",
    "DocumentInfo",
    "DocumentType",
    "LogEntry",
    "SessionInfo",
    "SessionKind",
    "SessionState",
]


class Actor(StrEnum):
    """Who acts: the column of the permission table."""

    USER = "user"
    AGENT = "agent"
    SYSTEM = "system"


class DocumentType(StrEnum):
    """What a document is for: the row of the permission table."""

    PLAN = "plan"
    CONTEXT = "context"
    LOG = "log"
    REFERENCE = "reference"
    SCRATCH = "scratch"


class SessionKind(StrEnum):
    """How a session reaches the coordinator; it sets the grace before a stale session expires."""

    LIBRARY = "library"
    MCP = "mcp"
    CLI = "cli"


class SessionState(StrEnum):
    """Where a session is in its life."""

    LIVE = "live"
    STALE = "stale"
    ENDED = "ended"


class Action(StrEnum):
    """What an accepted operation did to a document."""

    CREATE = "create"
    PUT = "put"
    APPEND = "append"
    EDIT = "edit"
    DELETE = "delete"
    MOVE = "move"
    RESTORE = "restore"
    MERGE = "merge"
    DRAFT = "draft"
    """A write came too late; nothing changed, its text is kept."""
    OPEN = "open"
    """A session began (no document)."""
    CLOSE = "close"
    """A session ended (no document)."""


class DocumentInfo(msgspec.Struct, frozen=True, array_like=True):
    """One document as a listing shows it."""

    id: Count
    """The same for the document's whole life, through moves, deletion and restoring."""
    path: str
    type: DocumentType
    revision: Count
    """The n-th state of the document, from 1."""
    size: Count
    """Bytes of the current content."""
    seq: Count
    """The operation that made the current revision."""
    time_ms: Count
    """When, UTC milliseconds."""
    author: str


class LogEntry(msgspec.Struct, frozen=True, array_like=True):
    """One operation's effect on one document, or a session's begin or end."""

    seq: Count
    time_ms: Count
    """UTC milliseconds."""
    actor: Actor
    author: str
    session: str
    action: Action
    path: str
    """The document's path after the operation; empty for entries about a session."""
    revision: Count
    """The revision made; 0 for entries about a session."""
    added: Count
    """Lines added."""
    removed: Count
    """Lines removed."""
    summary: str
    """One line, made from the real change."""
    commit: str
    """The git commit id, 40 hexadecimal digits; empty while git has not got it yet."""


class SessionInfo(msgspec.Struct, frozen=True, array_like=True):
    """One session as a listing shows it."""

    id: str
    actor: Actor
    name: str
    kind: SessionKind
    state: SessionState
    started_ms: Count
    """UTC milliseconds."""
    idle_seconds: Seconds
    """Seconds since the last sign of life, by the coordinator's own clock."""
    program: str
    host: str
    pid: Count
    predecessor: str
    """The session of the same agent that this one followed, or empty."""
