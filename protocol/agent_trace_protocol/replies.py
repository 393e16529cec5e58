"""What the coordinator answers, one struct per kind of request.

A client ignores trailing elements it does not know, so that a newer coordinator may say more.
"""

from __future__ import annotations

import msgspec

from .errors import ErrorInfo
from .model import Action, DocumentInfo, DocumentType, LogEntry, SessionInfo
from .scalars import Count, Seconds

__all__ = [
    "Committed",
    "Done",
    "Document",
    "LogPage",
    "Opened",
    "Page",
    "Refused",
    "Reply",
    "SessionList",
    "StatusReport",
    "WriteResult",
]


class _Message(msgspec.Struct, frozen=True, array_like=True, tag=True, tag_field="$"):
    """Shape of all replies."""


class Opened(_Message, frozen=True, tag="opened"):
    """The session is open."""

    session: str
    protocol: Count
    epoch: Count
    """Counts the coordinator's lives on this store."""
    store: str
    """The store's id."""
    heartbeat_seconds: Seconds
    stale_seconds: Seconds
    document_bytes_max: Count
    next_number: Count
    """The smallest request number not yet used in this session, for one that comes back."""
    predecessor: str = ""


class Done(_Message, frozen=True, tag="done"):
    """It is done; there is nothing more to say."""


class WriteResult(msgspec.Struct, frozen=True, array_like=True):
    """What one operation made."""

    path: str
    revision: Count
    action: Action
    added: Count
    removed: Count


class Committed(_Message, frozen=True, tag="committed"):
    """The transaction is durable."""

    seq: Count
    results: tuple[WriteResult, ...]
    commit: str = ""
    """The git commit id; only with `durability="git"`."""


class Document(_Message, frozen=True, tag="document"):
    """A document's content. Its hash was verified when it was read."""

    path: str
    type: DocumentType
    revision: Count
    content: bytes
    seq: Count
    time_ms: Count
    author: str


class Page(_Message, frozen=True, tag="page"):
    """A page of documents."""

    documents: tuple[DocumentInfo, ...]
    more: bool


class LogPage(_Message, frozen=True, tag="log"):
    """A page of the log, newest first."""

    entries: tuple[LogEntry, ...]
    more: bool


class SessionList(_Message, frozen=True, tag="sessions"):
    """The sessions."""

    sessions: tuple[SessionInfo, ...]


class StatusReport(_Message, frozen=True, tag="status"):
    """How the coordinator and the store are."""

    store: str
    root: str
    version: str
    pid: Count
    epoch: Count
    uptime_seconds: Seconds
    endpoint: str
    seq: Count
    """The last operation in the journal."""
    git_seq: Count
    """The last operation in git."""
    head: str
    """The commit at which the branch stands."""
    documents: Count
    sessions_live: Count
    sessions_stale: Count
    read_only: str
    """Why writes are refused; empty if they are not."""
    rss_bytes: Count
    """Memory of the coordinator process."""
    repository_bytes: Count
    journal_bytes: Count
    packs: Count
    maintenance: str
    """What history maintenance last did."""
    trouble: str = ""
    """What does not work at present: disk, git or files; empty if all is well."""


class Refused(_Message, frozen=True, tag="refused"):
    """The request was not carried out, or not to the end."""

    error: ErrorInfo


Reply = Opened | Done | Committed | Document | Page | LogPage | SessionList | StatusReport | Refused
