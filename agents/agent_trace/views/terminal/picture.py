"""What the view knows of a store: kept from listings, and from what happens after them.

No input or output and no clock: whoever asks the coordinator hands the answers in. Its law: what is
told twice changes nothing the second time, because a page of events may arrive again after a
reconnect.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from agent_trace.views.model import join_recent
from agent_trace_protocol import (
    Action,
    DocumentInfo,
    DraftInfo,
    LeaseInfo,
    LogEntry,
    SessionInfo,
    StatusReport,
    ViolationInfo,
    WaiterInfo,
)

__all__ = ["Link", "Picture"]

_DECIDING: Final = frozenset(
    {Action.REFUSE, Action.REPEAT, Action.DISCARD, Action.DRAFT, Action.MERGE}
)
"""After one of these, other things wait for a decision than before."""

_CHANGING: Final = frozenset({Action.DELETE, Action.UNTRACK, Action.RECLASSIFY, Action.ANNOTATE})
"""What changes how a document is listed without making a revision."""


class Link(Enum):
    """How the view is connected."""

    CONNECTING = "connecting"
    CONNECTED = "connected"
    LOST = "no coordinator"


@dataclass(slots=True)
class Picture:
    """A store as far as it is known."""

    link: Link = Link.CONNECTING
    trouble: str = ""
    """Why the coordinator can not be reached."""
    seq: int = 0
    """Everything up to this operation is in the picture."""
    status: StatusReport | None = None
    sessions: tuple[SessionInfo, ...] = ()
    leases: tuple[LeaseInfo, ...] = ()
    waiters: tuple[WaiterInfo, ...] = ()
    violations: tuple[ViolationInfo, ...] = ()
    drafts: tuple[DraftInfo, ...] = ()
    recent: tuple[LogEntry, ...] = ()
    """What happened last, newest first."""
    documents: dict[str, DocumentInfo] = field(default_factory=dict[str, DocumentInfo])
    """By path."""
    _paths: dict[int, str] = field(default_factory=dict[int, str])
    """Where each document is, by its id: a move tells only where it is now."""

    def list_documents(self, documents: Iterable[DocumentInfo]) -> None:
        """Take a listing of all documents in the place of what was known."""
        self.documents = {each.path: each for each in documents}
        self._paths = {each.id: each.path for each in self.documents.values()}

    def set_document(self, document: DocumentInfo) -> None:
        """Take what is known of one document, which may have been somewhere else before."""
        before = self._paths.get(document.id, document.path)
        there = self.documents.get(before)
        if before != document.path and there is not None and there.id == document.id:
            del self.documents[before]
        self.documents[document.path] = document
        self._paths[document.id] = document.path

    def drop_document(self, path: str) -> None:
        """Take that there is no document at a path."""
        gone = self.documents.pop(path, None)
        if gone is not None:
            self._paths.pop(gone.id, None)

    def take_events(self, events: Iterable[LogEntry], cursor: int) -> tuple[set[str], bool]:
        """Take what happened up to operation `cursor`, oldest first.

        Returns:
            The paths of documents that are to be asked for anew, and whether other things than
            before wait for a decision.
        """
        fresh = [event for event in events if event.seq > self.seq]
        self.recent = join_recent(self.recent, fresh)
        self.seq = max(self.seq, cursor)
        changed = {each.path for each in fresh if each.revision or each.action in _CHANGING}
        return changed, any(event.action in _DECIDING for event in fresh)
