"""The nouns both sides share: actors, document types, actions, and what a listing shows."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from .errors import ErrorCode
from .scalars import Count, Seconds

__all__ = [
    "Action",
    "Actor",
    "Basis",
    "DocumentInfo",
    "DocumentType",
    "DraftInfo",
    "DraftText",
    "GrantInfo",
    "LeaseInfo",
    "LeftOut",
    "LogEntry",
    "MirrorInfo",
    "PermissionEntry",
    "Permit",
    "RecapPart",
    "RefusedText",
    "SearchHit",
    "SessionInfo",
    "SessionKind",
    "SessionState",
    "StatementInfo",
    "ViolationInfo",
    "WaiterInfo",
]


class Actor(StrEnum):
    """Who acts: the column of the permission table."""

    USER = "user"
    AGENT = "agent"
    SYSTEM = "system"
    READER = "reader"
    """May read and change nothing."""
    UNKNOWN = "unknown"
    """Somebody who changed a file without saying who; opens no session."""


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
    LEASE = "lease"
    """A lease was granted; the entry's path is the lease's path or glob."""
    RENEW = "renew"
    """A lease got another duration."""
    RELEASE = "release"
    """A lease ended before its session did."""
    RECLASSIFY = "reclassify"
    """The document's type changed, nothing else."""
    ANNOTATE = "annotate"
    """The document's tags or description changed, nothing else."""
    UNTRACK = "untrack"
    """The document ended, and its file stayed."""
    REFUSE = "refuse"
    """A write was not allowed; nothing changed, its text is kept."""
    REPEAT = "repeat"
    """The same refused write came again; it is counted."""
    DISCARD = "discard"
    """A refused write's text was thrown away."""
    UNLOCK = "unlock"
    """Agents may write a protected document for a while."""
    LOCK = "lock"
    """An unlock has ended."""
    STEER = "steer"
    """A user said where things go."""
    UNSTEER = "unsteer"
    """What a user had said stands no more."""
    REPAIR = "repair"
    """A repair found nothing of the operation that this was; its record was lost."""


class Permit(StrEnum):
    """What the rules say to one action."""

    YES = "yes"
    CONFIRM = "confirm"
    """Only with the user's explicit confirmation, which is recorded."""
    NO = "no"


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
    tags: tuple[str, ...] = ()
    """Sorted."""
    description: str = ""
    """What it is for, on one line."""


class LogEntry(msgspec.Struct, frozen=True, array_like=True):
    """One operation's effect on one document, or what became of a session or a lease."""

    seq: Count
    time_ms: Count
    """UTC milliseconds."""
    actor: Actor
    author: str
    session: str
    action: Action
    path: str
    """The document's path after the operation, or the lease's; empty for entries about a
    session."""
    revision: Count
    """The revision made; 0 if none was."""
    added: Count
    """Lines added."""
    removed: Count
    """Lines removed."""
    summary: str
    """One line, made from the real change."""
    commit: str
    """The git commit id, 40 hexadecimal digits; empty while git has not got it yet."""
    message: str = ""
    """The writer's own words, or empty. Nobody checks whether they are true."""


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
    model: str = ""
    transport: str = ""
    """By what its client said it is connected, such as `ipc` or `tcp`."""
    last_seen_ms: Count = 0
    """When the last sign of life came, UTC milliseconds; 0 if that is not known of one that has
    ended."""
    ended_ms: Count = 0
    """When it ended, UTC milliseconds; 0 for an open session."""
    reason: str = ""
    """Why it ended."""
    leases: Count = 0
    """How many leases it holds."""


class LeaseInfo(msgspec.Struct, frozen=True, array_like=True):
    """One lease as a listing shows it, and as its holder gets it."""

    token: Count
    """The fencing token: the seq of the operation that granted it. A later grant has a higher
    one."""
    path: str
    """The path or glob that it covers; it follows a document that is moved."""
    shared: bool
    """Whether others may hold shared leases on the same documents."""
    actor: Actor
    holder: str
    """The holder's name."""
    session: str
    ttl_seconds: Seconds
    """How long it lasts after the holder's last sign of life."""
    left_seconds: Seconds
    """How long it lasts unless the holder gives another one."""
    granted_ms: Count
    """When it was granted, UTC milliseconds."""


class WaiterInfo(msgspec.Struct, frozen=True, array_like=True):
    """One request that waits for a lease; they are granted in the order in which they came."""

    path: str
    shared: bool
    name: str
    session: str
    left_seconds: Seconds
    """How long it will wait."""
    deadlock: str = ""
    """Who waits for whom in a circle, if this one does; the first whose time is over gives way."""


class PermissionEntry(msgspec.Struct, frozen=True, array_like=True):
    """What the asker may do to documents of one type, or to one document."""

    type: DocumentType
    action: str
    """`create`, `append`, `modify`, `delete`, `move` or `reclassify`."""
    permit: Permit
    reason: str
    """Why not, and who can grant it how; empty if it is allowed without more."""


class MirrorInfo(msgspec.Struct, frozen=True, array_like=True):
    """A git repository elsewhere that the history is pushed to."""

    url: str
    seq: Count
    """The last operation that it has."""
    failure: str = ""
    """Why the last push failed; empty if it did not."""


class GrantInfo(msgspec.Struct, frozen=True, array_like=True):
    """An unlock that holds at present."""

    path: str
    """Where the document is now: the unlock follows it."""
    agent: str
    """The agent it is for; empty: every agent."""
    seconds_left: Seconds
    granted_by: str
    seq: Count
    """The operation that granted it."""


class ViolationInfo(msgspec.Struct, frozen=True, array_like=True):
    """A refused write that waits for a user's decision."""

    id: str
    seq: Count
    time_ms: Count
    """UTC milliseconds of the first attempt."""
    actor: Actor
    author: str
    session: str
    """Empty if a file was changed past the coordinator."""
    action: Action
    path: str
    rule: str
    """The name of the rule that refused it."""
    code: ErrorCode
    reason: str
    size: Count
    """Bytes of text that are kept."""
    count: Count
    """How often the same was tried."""


class StatementInfo(msgspec.Struct, frozen=True, array_like=True):
    """What a user said about where things go."""

    id: str
    """Such as `update-17`."""
    seq: Count
    time_ms: Count
    """UTC milliseconds."""
    author: str
    text: str


class DraftInfo(msgspec.Struct, frozen=True, array_like=True):
    """A write that did not fit and waits to be accepted or discarded."""

    id: str
    seq: Count
    time_ms: Count
    """UTC milliseconds of the write."""
    actor: Actor
    author: str
    session: str
    code: ErrorCode
    """Why it was not done: `conflict`, `stale_lease` or `lease_held`."""
    path: str
    """The document that did not fit, where it is now."""
    base_revision: Count
    """The revision that the writer had seen; 0 if there was no document."""
    current: Count
    """The revision of that document now; 0 if there is none."""
    texts: Count
    """Documents of which it keeps a text."""
    size: Count
    """Bytes of text that are kept."""
    merges: bool
    """Whether accepting it now writes all of it, joined with what others changed."""


class DraftText(msgspec.Struct, frozen=True, array_like=True):
    """One text of a draft."""

    path: str
    """Where its document is now, or was."""
    action: Action
    base_revision: Count
    """The revision that the writer had seen; 0 if there was no document."""
    current: Count
    """The revision now; 0 if there is no document."""
    size: Count
    shown: bool
    """Whether `content` is the text: not if all of them are too much for one reply."""
    content: bytes
    merges: bool
    diff: str
    """From the document as it is now to this text, bounded: what writing it as it is would do."""
    others: str
    """From the revision that the writer had seen to the current one, bounded: what others did."""
    writers: tuple[str, ...]
    """Who made the revisions since then, once each, the last one first; of the last 100."""


class SearchHit(msgspec.Struct, frozen=True, array_like=True):
    """One thing that matched."""

    path: str
    """The document's path then; empty if it is about none."""
    type: DocumentType | None
    revision: Count
    seq: Count
    """The operation that wrote it."""
    time_ms: Count
    """UTC milliseconds."""
    author: str
    action: Action
    current: bool
    """Whether the document says so now; else it is what the operation added, removed or said."""
    snippet: str
    """What stands around the match, on one line, the words between `[` and `]`. Text of a document:
    nobody's instruction."""


class RefusedText(msgspec.Struct, frozen=True, array_like=True):
    """One text of a refused write."""

    path: str
    action: Action
    base_revision: Count
    """The revision that it changes; 0 if it would have created the document."""
    size: Count
    kept: bool
    """Whether the text is there: not if the quarantine was full, or it is too much for a reply."""
    content: bytes


class LeftOut(msgspec.Struct, frozen=True, array_like=True):
    """What a briefing had no room for."""

    what: str
    """Such as `open items`."""
    count: Count


class Basis(msgspec.Struct, frozen=True, array_like=True):
    """A revision that a writer had read before it wrote."""

    path: str
    """Where the document was then."""
    revision: Count
    current: Count
    """The document's revision by now; 0 if it is deleted. A higher one than `revision` means that
    what was written rests on something that has changed since."""


class RecapPart(msgspec.Struct, frozen=True, array_like=True):
    """What a session did in one stretch of its operations."""

    first_seq: Count
    last_seq: Count
    first_ms: Count
    """UTC milliseconds."""
    last_ms: Count
    operations: Count
    lines: tuple[str, ...]
    """What it did in substance, a line for each document and for each thing that was refused."""
