"""What must be done, decided by the core, done by the shell.

The order law: effects run in list order, and nothing that reveals a change leaves before the
`Append` that makes it durable has succeeded. So every answer names `after`, the seq that must be
durable first; an answer whose `after` is durable already may leave at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from agent_trace_protocol import (
    Blame,
    Brief,
    Diff,
    DocumentReport,
    Drafts,
    Events,
    Log,
    RecapSession,
    Reply,
    Search,
    SessionInfo,
    Sessions,
    ShowDocument,
    ShowDraft,
    Snapshot,
    Traces,
    ViolationInfo,
    Why,
)

from .records import Entry
from .state import DocumentState, DraftState, ViolationState

if TYPE_CHECKING:
    from .sight import Sight

__all__ = [
    "Addressee",
    "Answer",
    "AnswerContent",
    "AnswerDrafts",
    "AnswerEvents",
    "AnswerHistory",
    "AnswerQuery",
    "AnswerSessions",
    "AnswerSearch",
    "AnswerStatus",
    "AnswerTrace",
    "AnswerViolation",
    "Append",
    "Effect",
    "Leave",
    "PutBack",
]


class Append(msgspec.Struct, frozen=True, gc=False):
    """Make the record and its contents durable, then commit it to git and write its files."""

    entry: Entry


@dataclass(slots=True, frozen=True)
class Addressee:
    """Who waits for the answer to an earlier request."""

    peer: bytes
    number: int


class Answer(msgspec.Struct, frozen=True, gc=False):
    """Send a reply."""

    reply: Reply
    after: int
    in_git: bool = False
    """Wait until `after` is in git and on disk as well; a `Committed` then names the commit."""
    to: Addressee | None = None
    """Whose request this answers; None: the one that is being decided."""


@dataclass(slots=True, frozen=True)
class AnswerContent:
    """Look a document's content up, verify it, and send it as a `Document`."""

    document: DocumentState
    """The document as it is now."""
    revision: int
    """The revision to send; one that is not current is found in the index."""
    after: int


@dataclass(slots=True, frozen=True)
class AnswerQuery:
    """Answer from the index: history, as of `after`."""

    request: Log
    document: int
    """The document that a query about one path means; 0 if it means none."""
    after: int


@dataclass(slots=True, frozen=True)
class AnswerHistory:
    """Answer a question about history from the index, as of `after`."""

    request: Diff | Blame | ShowDocument | Snapshot | Traces
    """With every revision it leaves open filled in."""
    document: int
    """The document that is asked about; 0 if none is."""
    after: int
    report: DocumentReport | None = None
    """What is known of it in memory, to be completed."""


@dataclass(slots=True, frozen=True)
class AnswerSearch:
    """Answer from the full-text index, when it has everything up to `after`."""

    request: Search
    after: int


@dataclass(slots=True, frozen=True)
class AnswerStatus:
    """Answer how the store is, as of `after`, and how the coordinator is by then."""

    documents: int
    leases: int
    drafts: int
    violations: int
    sessions_live: int
    sessions_stale: int
    after: int


@dataclass(slots=True, frozen=True)
class AnswerDrafts:
    """Look these drafts' texts up, verify them, and send a `DraftPage` or a `DraftReport`."""

    request: Drafts | ShowDraft
    drafts: tuple[tuple[DraftState, tuple[DocumentState | None, ...]], ...]
    """Each with the documents that its texts are for, as they are now."""
    more: bool
    after: int


@dataclass(slots=True, frozen=True)
class AnswerSessions:
    """Answer with these open sessions, and those in the index that have ended, as of `after`."""

    request: Sessions
    sessions: tuple[SessionInfo, ...]
    after: int


@dataclass(slots=True, frozen=True)
class AnswerEvents:
    """Answer with what became durable after `request.since`, as soon as there is something."""

    request: Events


@dataclass(slots=True, frozen=True)
class Leave:
    """Finish the work and end the process."""

    by: str
    """The user who asked for it."""


@dataclass(slots=True, frozen=True)
class AnswerViolation:
    """Look a refused write's texts up, verify them, and send them as a `ViolationReport`."""

    violation: ViolationState
    info: ViolationInfo
    current: DocumentState | None
    """The document that the refused write was about, as it is now."""
    after: int


@dataclass(slots=True, frozen=True)
class AnswerTrace:
    """Answer from the trace: what happened, and what documents say, as of `after`."""

    request: Brief | Why | RecapSession
    sight: Sight
    after: int


@dataclass(slots=True, frozen=True)
class PutBack:
    """Let a document's file show the document again; what lies there is kept under `after`."""

    path: str
    after: int


Effect = (
    Append
    | Answer
    | AnswerContent
    | AnswerQuery
    | AnswerHistory
    | AnswerSearch
    | AnswerStatus
    | AnswerDrafts
    | AnswerSessions
    | AnswerEvents
    | AnswerViolation
    | AnswerTrace
    | Leave
    | PutBack
)
