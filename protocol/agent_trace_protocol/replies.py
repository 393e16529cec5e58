"""What the coordinator answers, one struct per kind of request.

A client ignores trailing elements it does not know, so that a newer coordinator may say more.
"""

from __future__ import annotations

import msgspec

from .errors import ErrorInfo
from .history import BlameReport, DiffReport, DocumentReport, SnapshotPage, TracePage
from .messages import ReplyMessage as _Message
from .model import (
    Action,
    Actor,
    Basis,
    DocumentInfo,
    DocumentType,
    DraftInfo,
    DraftText,
    GrantInfo,
    LeaseInfo,
    LeftOut,
    LogEntry,
    MirrorInfo,
    PermissionEntry,
    RecapPart,
    RefusedText,
    SearchHit,
    SessionInfo,
    StatementInfo,
    ViolationInfo,
    WaiterInfo,
)
from .scalars import Count, Seconds

__all__ = [
    "Briefing",
    "Committed",
    "Done",
    "Document",
    "DraftPage",
    "DraftReport",
    "EventPage",
    "LeaseList",
    "Leased",
    "LogPage",
    "Opened",
    "Page",
    "PermissionReport",
    "Reason",
    "Recap",
    "Refused",
    "Reply",
    "SearchPage",
    "SessionList",
    "StatementList",
    "StatusReport",
    "ViolationPage",
    "ViolationReport",
    "WriteResult",
]


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
    leases: tuple[LeaseInfo, ...] = ()
    """What the session holds: of its own if it comes back, or what its predecessor held, with new
    tokens."""


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
    warnings: tuple[LeaseInfo, ...] = ()
    """Leases of others that cover what was written, when leases are advisory. A repeated request is
    answered without them."""
    notices: tuple[str, ...] = ()
    """What was done and should be looked at, such as a line that may be a credential; one sentence
    each. A repeated request is answered without them."""


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


class Leased(_Message, frozen=True, tag="leased"):
    """The session holds the lease."""

    lease: LeaseInfo


class LeaseList(_Message, frozen=True, tag="leases"):
    """A page of the leases, and with the first page who waits for one."""

    leases: tuple[LeaseInfo, ...]
    waiters: tuple[WaiterInfo, ...]
    """In the order in which they came."""
    more: bool


class EventPage(_Message, frozen=True, tag="events"):
    """What happened, oldest first."""

    events: tuple[LogEntry, ...]
    cursor: Count
    """Everything up to this operation was looked at: the `since` of the next request."""
    more: bool
    """Whether there is more already, so that the next request need not wait."""


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
    repository_budget_bytes: Count = 0
    """What the git directory should stay below, by the store's configuration; 0 for no budget."""
    leases: Count = 0
    """Leases that are held."""
    drafts: Count = 0
    """Writes that did not fit and wait to be accepted or discarded."""
    violations: Count = 0
    """Refused writes that wait for a user's decision."""
    mirrors: tuple[MirrorInfo, ...] = ()
    """Where the history is pushed to."""


class PermissionReport(_Message, frozen=True, tag="permissions"):
    """What the asker may do, and why not the rest."""

    actor: Actor
    path: str
    """The path asked about; empty if it was about all types."""
    exists: bool
    """Whether there is a document at the path."""
    entries: tuple[PermissionEntry, ...]
    grants: tuple[GrantInfo, ...]
    """The unlocks that hold at present: of the document, or of all."""


class ViolationPage(_Message, frozen=True, tag="violations"):
    """A page of refused writes, newest first."""

    violations: tuple[ViolationInfo, ...]
    more: bool


class ViolationReport(_Message, frozen=True, tag="violation"):
    """One refused write."""

    violation: ViolationInfo
    texts: tuple[RefusedText, ...]
    """What it brought; the first one with the refused path is what was refused."""
    diff: str
    """From the document as it is now to what it would have become, bounded."""


class StatementList(_Message, frozen=True, tag="statements"):
    """Steering statements; the answer to one that was made has it alone."""

    statements: tuple[StatementInfo, ...]


class DraftPage(_Message, frozen=True, tag="drafts"):
    """A page of drafts, newest first."""

    drafts: tuple[DraftInfo, ...]
    more: bool


class DraftReport(_Message, frozen=True, tag="draft"):
    """One draft."""

    draft: DraftInfo
    texts: tuple[DraftText, ...]


class SearchPage(_Message, frozen=True, tag="found"):
    """What matched, the best first."""

    hits: tuple[SearchHit, ...]
    more: bool
    indexed_seq: Count
    """Everything up to this operation was looked at."""
    seq: Count
    """The operation up to which there was something to look at; more than `indexed_seq` while a
    large index is being made: ask again."""


class Briefing(_Message, frozen=True, tag="briefing"):
    """Where the asker stands."""

    seq: Count
    """The operation as of which it is."""
    since: Count
    """What others changed is told from the operation after this one on."""
    text: str
    """At most as many bytes of UTF-8 as were asked for; its first 2,000 stand alone. What stands
    between double quotes was written by others."""
    left_out: tuple[LeftOut, ...]
    """What there was no room for."""


class Reason(_Message, frozen=True, tag="reason"):
    """Why a line, or a revision, is as it is."""

    path: str
    revision: Count
    """The revision that was asked about."""
    line: Count
    """0 if it was asked about as a whole."""
    text: bytes
    """The line; empty if none was asked about."""
    entry: LogEntry
    """The operation that made it."""
    session: SessionInfo | None
    """The session that did it; None for what was changed in a file."""
    based_on: tuple[Basis, ...]
    """What that session had read until then, the last first."""
    found: bool = True
    """Whether the operation is known; if not, the line is older than it."""


class Recap(_Message, frozen=True, tag="recap"):
    """What a session did."""

    session: str
    operations: Count
    """Operations of the session that are on record; counted up to 100,000."""
    parts: tuple[RecapPart, ...]
    """The newest stretch first."""


class Refused(_Message, frozen=True, tag="refused"):
    """The request was not carried out, or not to the end."""

    error: ErrorInfo


Reply = (
    Opened
    | Done
    | Committed
    | Document
    | Page
    | LogPage
    | SessionList
    | Leased
    | LeaseList
    | EventPage
    | StatusReport
    | Refused
    | PermissionReport
    | ViolationPage
    | ViolationReport
    | DiffReport
    | BlameReport
    | DocumentReport
    | SnapshotPage
    | TracePage
    | DraftPage
    | DraftReport
    | StatementList
    | SearchPage
    | Briefing
    | Reason
    | Recap
)
