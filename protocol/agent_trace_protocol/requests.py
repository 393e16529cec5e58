"""What a client may ask: operations on documents, and the requests that carry them.

All structs are arrays on the wire: no keys, so no duplicate keys and no unknown names, and
half the bytes. Unknown trailing elements are refused; a newer client negotiates first.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import msgspec

from .history import Blame, Diff, ShowDocument, Snapshot, Traces
from .limits import (
    BRIEFING_BYTES_DEFAULT,
    LEASE_SECONDS_DEFAULT,
    OPERATIONS_MAX,
    TAGS_MAX,
    UNLOCK_SECONDS_MAX,
)
from .messages import RequestMessage as _Message
from .model import Action, Actor, DocumentType, SessionKind
from .scalars import Count, Seconds
from .version import PROTOCOL_VERSION, PROTOCOL_VERSION_MIN

__all__ = [
    "AcceptDraft",
    "AcquireLease",
    "Add",
    "Annotate",
    "Append",
    "ApplyViolation",
    "Brief",
    "CancelLease",
    "Close",
    "Delete",
    "DiscardDraft",
    "DiscardViolation",
    "DropStatement",
    "Drafts",
    "Durability",
    "Edit",
    "Events",
    "EvictSession",
    "Heartbeat",
    "Leases",
    "ListDocuments",
    "ListStatements",
    "Lock",
    "Log",
    "Move",
    "Open",
    "Operation",
    "Permissions",
    "Ping",
    "Put",
    "Read",
    "RecapSession",
    "Reclassify",
    "RefreshDocuments",
    "ReleaseLease",
    "RenewLease",
    "Request",
    "Restore",
    "Search",
    "SectionEdit",
    "SectionMode",
    "Sessions",
    "ShowDraft",
    "ShowViolation",
    "Status",
    "Steer",
    "Stop",
    "Transact",
    "Unlock",
    "Untrack",
    "Violations",
    "Why",
]


# ---- operations: what one change of one document may be -------------------------------------


class Put(_Message, frozen=True, tag="put"):
    """Make the document's content exactly this; create the document if there is none."""

    path: str
    content: bytes
    if_revision: Count | None = None
    """Only if the document is at this revision; 0: only if there is no such document."""
    type: DocumentType | None = None
    """The type of a document that this creates; scratch if not given."""


class Append(_Message, frozen=True, tag="append"):
    """Add to the end of the document; create it if there is none."""

    path: str
    content: bytes
    if_revision: Count | None = None
    type: DocumentType | None = None


class Edit(_Message, frozen=True, tag="edit"):
    """Replace exact text by other text."""

    path: str
    old: bytes
    """Must occur exactly once, unless `all` is set: then at least once."""
    new: bytes
    all: bool = False
    if_revision: Count | None = None


class SectionMode(StrEnum):
    """What a section edit does with the text it brings."""

    REPLACE = "replace"
    APPEND = "append"


class SectionEdit(_Message, frozen=True, tag="section"):
    """Replace the text under a Markdown heading, or add to its end."""

    path: str
    heading: str
    """The heading's text, or its line with the leading `#`s to name the level as well."""
    content: bytes
    mode: SectionMode = SectionMode.REPLACE
    if_revision: Count | None = None


class Delete(_Message, frozen=True, tag="delete"):
    """Remove the document; its history stays and `Restore` brings it back under the same id."""

    path: str
    if_revision: Count | None = None


class Move(_Message, frozen=True, tag="move"):
    """Rename the document; it keeps its id, type and history."""

    path: str
    new_path: str
    if_revision: Count | None = None


class Restore(_Message, frozen=True, tag="restore"):
    """Make an earlier revision's content the newest revision."""

    path: str
    revision: Count
    if_revision: Count | None = None


class Add(_Message, frozen=True, tag="add"):
    """Make a file that lies in the store's directory a document, with the content it has."""

    path: str
    type: DocumentType = DocumentType.SCRATCH


class AcceptDraft(_Message, frozen=True, tag="accept"):
    """Write what a draft keeps, joined with what has changed since. Alone in its transaction."""

    draft: str
    if_revision: Count | None = None
    """Write the draft's text as it is, in the place of this revision, which its writer has seen; 0:
    there is no such document. Only for a draft of one text."""


class Reclassify(_Message, frozen=True, tag="reclassify"):
    """Change the document's type, and with it who may write it. Users only."""

    path: str
    type: DocumentType
    if_revision: Count | None = None


class Annotate(_Message, frozen=True, tag="annotate"):
    """Give a document tags or a description; its content stays as it is."""

    path: str
    add: Annotated[tuple[str, ...], msgspec.Meta(max_length=TAGS_MAX)] = ()
    """Tags that it gets."""
    remove: Annotated[tuple[str, ...], msgspec.Meta(max_length=TAGS_MAX)] = ()
    """Tags that it loses."""
    description: str | None = None
    """What it is for, on one line; empty: none. Not given: it stays as it is."""
    if_revision: Count | None = None


class Untrack(_Message, frozen=True, tag="untrack"):
    """End the document and leave its file where it is: from then on it is nobody's business."""

    path: str
    if_revision: Count | None = None


class ApplyViolation(_Message, frozen=True, tag="apply"):
    """Write what was refused, joined with what has changed since. Users only."""

    violation: str
    """`violation` of the refusal, or the number in it."""
    if_revision: Count | None = None
    """Write its text as it is, in the place of this revision, which whoever applies it has seen; 0:
    there is no such document. Only for a refusal of one text."""


Operation = (
    Put
    | Append
    | Edit
    | SectionEdit
    | Delete
    | Move
    | Restore
    | Add
    | AcceptDraft
    | Reclassify
    | Annotate
    | Untrack
    | ApplyViolation
)


# ---- requests -------------------------------------------------------------------------------


class Durability(StrEnum):
    """How far a write has got before it is acknowledged. Both survive a power cut."""

    JOURNAL = "journal"
    """Synced in the journal."""
    GIT = "git"
    """Also committed to git and written to the working tree; the answer names the commit."""


class Open(_Message, frozen=True, tag="open"):
    """Begin a session, or come back to it: the first message of every connection."""

    name: str
    """The agent's or user's name."""
    actor: Actor
    kind: SessionKind
    protocol_min: Count = PROTOCOL_VERSION_MIN
    protocol_max: Count = PROTOCOL_VERSION
    program: str = ""
    model: str = ""
    host: str = ""
    pid: Count = 0
    pid_started: Count = 0
    """The process's start time in clock ticks since boot, so that a reused pid is not mistaken."""
    takeover: bool = False
    """Supersede a live session of the same agent."""
    ephemeral: bool = False
    """A one-shot: it leaves no trace of its own unless it changes something."""
    transport: str = ""
    """By what the client is connected, such as `ipc` or `tcp`; only shown."""


class Heartbeat(_Message, frozen=True, tag="heartbeat"):
    """Say that the session is alive."""


class Close(_Message, frozen=True, tag="close"):
    """End the session."""

    reason: str = ""


class Transact(_Message, frozen=True, tag="transact"):
    """Do the operations in order, all or nothing: one journal record, one commit."""

    operations: Annotated[tuple[Operation, ...], msgspec.Meta(max_length=OPERATIONS_MAX)]
    durability: Durability = Durability.JOURNAL
    message: str = ""
    """One line about why, kept in the commit; may be empty."""
    leases: Annotated[tuple[Count, ...], msgspec.Meta(max_length=OPERATIONS_MAX)] = ()
    """Tokens of the leases under which this is done. With any, the transaction is refused unless
    all of them are current leases of the session, and no document of it is under a lease that is
    not among them."""
    confirm: bool = False
    """Override what only needs a user's confirmation, on record. Users only."""


class Read(_Message, frozen=True, tag="read"):
    """Return one document's content."""

    path: str
    revision: Count = 0
    """0 for the current one."""


class ListDocuments(_Message, frozen=True, tag="list"):
    """Return a page of the documents, ordered by path."""

    after: str = ""
    """Only paths greater than this one: the last path of the page before."""
    limit: Count = 1000
    type: DocumentType | None = None
    prefix: str = ""
    tag: str = ""
    """Only documents with this tag."""


class Log(_Message, frozen=True, tag="log"):
    """Return a page of what happened, newest first."""

    path: str = ""
    """Only this document, followed through its moves."""
    limit: Count = 50
    before: Count = 0
    """Only entries with a smaller seq; 0 for no bound."""
    author: str = ""
    session: str = ""
    action: Action | None = None
    type: DocumentType | None = None
    """Only what was done to documents that were of this type then."""
    after: Count = 0
    """Only entries with a greater seq."""
    since_ms: Count = 0
    """Only entries of this time or later, UTC milliseconds; 0 for no bound."""
    until_ms: Count = 0
    """Only entries of this time or earlier; 0 for no bound."""


class Status(_Message, frozen=True, tag="status"):
    """Return how the coordinator and the store are."""


class Sessions(_Message, frozen=True, tag="sessions"):
    """Return sessions: the open ones, those seen last first, then ended ones, newest first."""

    id: str = ""
    """Only sessions whose id begins with this."""
    name: str = ""
    """Only this agent's or user's."""
    ended: bool = False
    """Also those that have ended."""
    limit: Count = 1000


class EvictSession(_Message, frozen=True, tag="evict"):
    """End another session: its leases are free, and its process can change nothing. Users only."""

    session: str
    """The whole id."""
    reason: str = ""


class AcquireLease(_Message, frozen=True, tag="acquire_lease"):
    """Ask for a lease on a path or a glob. The session holds it as long as it lives, and renews it
    with every sign of life. A session that has this lease already gets it again."""

    path: str
    shared: bool = False
    """Whether others may hold shared leases on the same documents."""
    ttl_seconds: Seconds = LEASE_SECONDS_DEFAULT
    """How long it lasts after the session's last sign of life."""
    wait_seconds: Seconds = 0.0
    """How long to wait behind others; 0: be refused at once if it is not free."""
    steal: bool = False
    """End the leases that are in the way. Users only."""


class RenewLease(_Message, frozen=True, tag="renew_lease"):
    """Let a lease last for its whole duration from here on, or for another one."""

    token: Count
    ttl_seconds: Seconds = 0.0
    """Its duration from here on; 0: as before."""


class ReleaseLease(_Message, frozen=True, tag="release_lease"):
    """End a lease of this session."""

    token: Count


class CancelLease(_Message, frozen=True, tag="cancel_lease"):
    """Undo a request for a lease whose answer nobody waits for any more: it stops waiting, or what
    it was granted is released."""

    number: Count
    """The number of the `AcquireLease`."""


class Leases(_Message, frozen=True, tag="leases"):
    """Return a page of the leases, in the order in which they were granted, and who waits."""

    path: str = ""
    """Only leases that cover this path, or overlap this glob."""
    session: str = ""
    after: Count = 0
    """Only leases with a higher token: the last one of the page before."""
    limit: Count = 1000


class Events(_Message, frozen=True, tag="events"):
    """Return what happened after an operation, oldest first; wait for it if nothing has yet.

    Whoever goes on from the cursor of each page sees everything, once, however long it was away.
    """

    since: Count
    """Only events with a greater seq."""
    limit: Count = 100
    """Events of a page; those of one operation are never parted, so it may be a few more."""
    wait_seconds: Seconds = 0.0
    """How long to wait for the first one."""
    path: str = ""
    """Only what concerns this path, or paths that this glob matches."""
    author: str = ""
    actions: Annotated[tuple[Action, ...], msgspec.Meta(max_length=32)] = ()
    """Only these; all if none is given."""


class Ping(_Message, frozen=True, tag="ping"):
    """Do nothing, and say so: measures the way there and back."""


class Permissions(_Message, frozen=True, tag="permissions"):
    """Return what the asker may do, and why not the rest."""

    path: str = ""
    """One document, or a path where there is none; empty: all types."""


class Unlock(_Message, frozen=True, tag="unlock"):
    """Let agents write a protected document for a while. Users only."""

    path: str
    agent: str = ""
    """The agent; empty: every agent."""
    seconds: Annotated[int, msgspec.Meta(ge=1, le=UNLOCK_SECONDS_MAX)] = 600


class Lock(_Message, frozen=True, tag="lock"):
    """End unlocks before their time. Users only."""

    path: str
    agent: str = ""
    """Only the unlock for this agent; empty: all unlocks of the document."""


class Violations(_Message, frozen=True, tag="violations"):
    """Return a page of refused writes that wait, newest first; an agent sees its own."""

    before: Count = 0
    """Only those with a smaller seq; 0 for no bound."""
    limit: Count = 50


class ShowViolation(_Message, frozen=True, tag="violation"):
    """Return one refused write with its text, and what it would change. Users only."""

    violation: str


class DiscardViolation(_Message, frozen=True, tag="discard"):
    """Throw a refused write's text away; that it was refused stays on record. Users only."""

    violation: str


class RefreshDocuments(_Message, frozen=True, tag="refresh"):
    """Write the generated documents now, as far as they have changed; else it happens in a
    moment."""


class Steer(_Message, frozen=True, tag="steer"):
    """Say where things go: it stands in context.md until it is superseded or dropped. Users
    only."""

    text: str
    """One line."""
    replaces: str = ""
    """The id of the statement that it supersedes, such as `update-17`."""


class DropStatement(_Message, frozen=True, tag="unsteer"):
    """Let a steering statement stand no more. Users only."""

    id: str


class ListStatements(_Message, frozen=True, tag="statements"):
    """Return the steering statements that stand, oldest first."""


class Drafts(_Message, frozen=True, tag="drafts"):
    """Return a page of the writes that did not fit and wait, newest first; an agent sees its
    own."""

    before: Count = 0
    """Only those with a smaller seq; 0 for no bound."""
    limit: Count = 50
    """Entries of a page, at most 100: whether each merges is found out."""
    author: str = ""
    """Only this agent's or user's."""
    path: str = ""
    """Only those with a text of the document at this path, or that was there."""


class ShowDraft(_Message, frozen=True, tag="draft"):
    """Return one draft with its texts, what each would change, and what others changed."""

    draft: str


class DiscardDraft(_Message, frozen=True, tag="discard_draft"):
    """Throw a draft's texts away; that there was one stays on record."""

    draft: str


class Search(_Message, frozen=True, tag="search"):
    """Return what matches some words, the best first; the documents that the coordinator writes
    are left out, for they only quote the others."""

    query: str
    """Words that must all occur; `"several words"`, `begin*`, `-not`, `this OR that`."""
    type: DocumentType | None = None
    author: str = ""
    """Only what this agent or user wrote."""
    since_ms: Count = 0
    """Only what was written at this time or later, UTC milliseconds."""
    until_ms: Count = 0
    """Only what was written before this time; 0 for no bound."""
    limit: Count = 20
    """At most so many, up to 100."""
    history: bool = False
    """Also what was added and removed in the past, late texts, refusals and messages."""


class Brief(_Message, frozen=True, tag="brief"):
    """Return where the asker stands: what the work is about, what is open, what it did last, what
    happened to it, and what others changed."""

    budget: Count = BRIEFING_BYTES_DEFAULT
    """Bytes of the text, at most."""
    since_last: bool = False
    """Only what changed since the asker was briefed last."""
    fresh: bool = False
    """Read every document anew instead of trusting what is remembered of it."""


class Why(_Message, frozen=True, tag="why"):
    """Return the operation that made a line, or a revision, and what its writer had read."""

    path: str
    line: Count = 0
    """Counted from 1; 0: the revision as a whole."""
    revision: Count = 0
    """0 for the current one."""


class RecapSession(_Message, frozen=True, tag="recap"):
    """Return what a session did in substance, newest stretch first."""

    session: str
    """The whole id."""
    parts: Count = 8
    """Stretches, at most."""


class Stop(_Message, frozen=True, tag="stop"):
    """Ask the coordinator to finish its work and leave. Users only."""


Request = (
    Open
    | Heartbeat
    | Close
    | Transact
    | Read
    | ListDocuments
    | Log
    | Status
    | Sessions
    | EvictSession
    | AcquireLease
    | RenewLease
    | ReleaseLease
    | CancelLease
    | Leases
    | Events
    | Ping
    | Stop
    | Permissions
    | Unlock
    | Lock
    | Violations
    | ShowViolation
    | DiscardViolation
    | Diff
    | Blame
    | ShowDocument
    | Snapshot
    | Traces
    | Drafts
    | ShowDraft
    | DiscardDraft
    | RefreshDocuments
    | Steer
    | DropStatement
    | ListStatements
    | Search
    | Brief
    | Why
    | RecapSession
)
