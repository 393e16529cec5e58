"""Questions about how documents came to be what they are, and their answers.

All of them are answered from the index, as of an operation that is durable; none walks git.
"""

from __future__ import annotations

import msgspec

from .messages import ReplyMessage, RequestMessage
from .model import Action, Actor, DocumentInfo, GrantInfo, LeaseInfo, LogEntry
from .scalars import Count

__all__ = [
    "Blame",
    "BlameRange",
    "BlameReport",
    "Diff",
    "DiffReport",
    "DocumentReport",
    "ShowDocument",
    "Snapshot",
    "SnapshotDocument",
    "SnapshotPage",
    "TouchInfo",
    "Trace",
    "TraceFile",
    "TracePage",
    "TraceRange",
    "Traces",
]

# ---- requests -------------------------------------------------------------------------------


class Diff(RequestMessage, frozen=True, tag="diff"):
    """Return what makes one revision of a document of another, or a given text of a revision."""

    path: str
    """A document's, or that of one that was deleted."""
    old: Count = 0
    """The revision before; 0: the one before `new`, or the newest if `content` is given."""
    new: Count = 0
    """The revision after; 0: the newest."""
    content: bytes | None = None
    """The text after, in the place of a revision."""


class Blame(RequestMessage, frozen=True, tag="blame"):
    """Return which revision brought each line of a document."""

    path: str
    """A document's, or that of one that was deleted."""
    revision: Count = 0
    """The revision to explain; 0 for the newest."""
    first_line: Count = 1
    last_line: Count = 0
    """0 for the last one there is."""


class ShowDocument(RequestMessage, frozen=True, tag="show"):
    """Return all that is known of a document except its content."""

    path: str
    """A document's, or that of one that was deleted."""


class Snapshot(RequestMessage, frozen=True, tag="snapshot"):
    """Return a page of the documents as they were, ordered by id.

    The pages of one `seq` are a consistent picture: what was is not changed by what comes.
    """

    seq: Count = 0
    """As of this operation; 0: as of `time_ms`, and if that is 0 too as of now."""
    time_ms: Count = 0
    """As of the last operation at this time, UTC milliseconds, or before."""
    after: Count = 0
    """Only documents with a greater id: the last one of the page before."""
    limit: Count = 1000
    contents: bool = False
    """Whether contents are returned as well; a page then ends before they are too much."""
    path: str = ""
    """Only the document that was at this path."""


class Traces(RequestMessage, frozen=True, tag="traces"):
    """Return a page of operations that changed documents, oldest first, with the lines each one
    brought."""

    after: Count = 0
    """Only operations with a greater seq: the cursor of the page before."""
    until: Count = 0
    """Only operations up to this one; 0 for no bound."""
    limit: Count = 100


# ---- what replies are made of ---------------------------------------------------------------


class BlameRange(msgspec.Struct, frozen=True, array_like=True):
    """Neighbouring lines that one revision brought."""

    first_line: Count
    """From 1."""
    last_line: Count
    revision: Count
    """The revision that brought them, or if they are not `found` the oldest that was looked at."""
    found: bool


class TouchInfo(msgspec.Struct, frozen=True, array_like=True):
    """What one session did to a document."""

    session: str
    """Empty for what no session did, such as a change in the file itself."""
    author: str
    """Of the last of its revisions."""
    revisions: Count
    """How many it made."""
    last_revision: Count
    last_seq: Count


class SnapshotDocument(msgspec.Struct, frozen=True, array_like=True):
    """One document as it was."""

    info: DocumentInfo
    """Tags and description are those of the time, too."""
    content: bytes | None = None
    """None if contents were not asked for."""


class TraceRange(msgspec.Struct, frozen=True, array_like=True):
    """Neighbouring lines that an operation brought."""

    first_line: Count
    """In the revision that it made, from 1."""
    last_line: Count
    digest: bytes
    """SHA-256 of these lines."""


class TraceFile(msgspec.Struct, frozen=True, array_like=True):
    """What an operation brought to one document."""

    path: str
    revision: Count
    action: Action
    ranges: tuple[TraceRange, ...]


class Trace(msgspec.Struct, frozen=True, array_like=True):
    """One operation that changed documents."""

    seq: Count
    time_ms: Count
    """UTC milliseconds."""
    actor: Actor
    author: str
    session: str
    program: str
    """What its session said it is; empty if that is not known."""
    model: str
    """The language model that its session named."""
    commit: str
    files: tuple[TraceFile, ...]


# ---- replies --------------------------------------------------------------------------------


class DiffReport(ReplyMessage, frozen=True, tag="diff"):
    """What makes one text of another."""

    old_path: str
    """The document's path at the old revision."""
    old_revision: Count
    """0: the document did not exist."""
    new_path: str
    new_revision: Count
    """0: the text that was given."""
    diff: str
    """A unified diff without the lines that name files; empty if the texts are the same."""
    added: Count
    """Lines added."""
    removed: Count
    """Lines removed."""
    left_out: Count
    """Lines of the diff that were too much for a reply: one with any is not to be applied."""


class BlameReport(ReplyMessage, frozen=True, tag="blame"):
    """Which revision brought each line."""

    path: str
    revision: Count
    content: bytes
    """Of the revision that is explained."""
    ranges: tuple[BlameRange, ...]
    """In the order of the lines, without gaps."""
    entries: tuple[LogEntry, ...]
    """The entries of the revisions in `ranges`, oldest first."""


class DocumentReport(ReplyMessage, frozen=True, tag="show"):
    """All that is known of a document except its content."""

    document: DocumentInfo
    deleted: bool
    created_seq: Count
    created_ms: Count
    """UTC milliseconds."""
    created_by: str
    lines: Count
    """Of the current content."""
    sessions: tuple[TouchInfo, ...]
    """The sessions that touched it, the last one first."""
    sessions_complete: bool
    """Whether all of its revisions were looked at for `sessions`, or only the newest."""
    leases: tuple[LeaseInfo, ...]
    """Those that cover it."""
    grants: tuple[GrantInfo, ...]
    """The unlocks that hold."""
    drafts: tuple[str, ...]
    """The drafts of it that wait."""
    violations: tuple[str, ...]
    """The refused writes to it that wait."""


class SnapshotPage(ReplyMessage, frozen=True, tag="snapshot"):
    """A page of the documents as they were."""

    seq: Count
    """The operation as of which this is."""
    time_ms: Count
    """When that was, UTC milliseconds."""
    documents: tuple[SnapshotDocument, ...]
    after: Count
    """The `after` of the next page."""
    more: bool


class TracePage(ReplyMessage, frozen=True, tag="traces"):
    """A page of operations with the lines that each one brought."""

    store: str
    """The store's id."""
    traces: tuple[Trace, ...]
    cursor: Count
    """Everything up to this operation was looked at: the `after` of the next page."""
    more: bool
