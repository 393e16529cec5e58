"""All state of the core, as plain data, and the few functions that keep its maps consistent.

The state holds what rules need and no contents: documents by id and by path, open sessions, the
position in the journal. It is rebuilt at any time from the journal alone (`apply`).
"""

from __future__ import annotations

import bisect
from dataclasses import dataclass, field
from typing import Final

import msgspec

from agent_trace_protocol import Actor, DocumentType, Refused, SessionKind, fold_path

from .lease_table import LeaseTable, Waiter
from .records import CHAIN_START, Annotation, BasedOn, Drafted, Kept, Violated
from .trace_state import TraceState

__all__ = [
    "VIOLATIONS_MAX",
    "DocumentState",
    "DraftCount",
    "DraftState",
    "GrantState",
    "Rules",
    "SessionEntry",
    "State",
    "ViolationState",
]


VIOLATIONS_MAX: Final = 10_000
"""Refused writes that can wait at once. The texts of older ones stay in the journal."""


@dataclass(slots=True, frozen=True)
class Rules:
    """What the store's configuration decides."""

    document_bytes_max: int = 1 << 20
    heartbeat_seconds: float = 2.5
    stale_seconds: float = 10.0
    """Without a sign of life for this long, a session is stale and may be taken over."""
    grace_seconds: float = 30.0
    """From stale to expired, for sessions that heartbeat by themselves."""
    grace_seconds_cli: float = 1800.0
    """From stale to expired, for sessions of the command line, which live between commands."""
    leases_enforced: bool = False
    """Whether a write to what others have leased is refused; otherwise its writer is warned."""
    quarantine_bytes_max: int = 64 << 20
    """Bytes of refused texts that are kept; beyond it a refusal keeps its digest only."""
    out_of_band_author: str = "user"
    """Who counts as the author of a change in a file itself: `user` or `unknown`."""
    generated: bool = False
    """Whether the coordinator writes documents of its own: where things stand, what happened."""
    drafts_max: int = 10_000
    """Drafts that wait, of all writers. What is beyond is not kept, and its writer is told so: it
    has its text still, while the writer of an older draft may be long gone."""
    drafts_bytes_max: int = 256 << 20
    """Bytes of their texts."""
    drafts_of_writer_max: int = 1000
    """Drafts that wait of one writer, whatever its sessions: one agent can not take all there
    are."""
    drafts_of_writer_bytes_max: int = 32 << 20
    """Bytes of their texts."""


class DocumentState(msgspec.Struct, frozen=True, gc=False):
    """The current state of a document. Replaced as a whole, never changed in place."""

    id: int
    path: str
    type: DocumentType
    revision: int
    content_key: int
    digest: bytes
    size: int
    seq: int
    time_ms: int
    author: str
    deleted: bool = False


@dataclass(slots=True, frozen=True)
class DraftState:
    """Texts that did not fit and wait to be accepted."""

    seq: int
    time_ms: int
    actor: Actor
    author: str
    session: str
    body: Drafted

    @property
    def size(self) -> int:
        """Bytes of text that are kept."""
        return sum(kept.size for kept in self.body.kept)


class DraftCount(msgspec.Struct, frozen=True):
    """Drafts that wait, and the bytes of their texts."""

    drafts: int = 0
    size: int = 0

    def plus(self, drafts: int, size: int) -> DraftCount:
        """Return the count after some have come or, with negative numbers, gone."""
        return DraftCount(self.drafts + drafts, self.size + size)


@dataclass(slots=True, frozen=True)
class ViolationState:
    """A refused write that waits for a user's decision."""

    seq: int
    time_ms: int
    actor: Actor
    author: str
    session: str
    body: Violated
    count: int = 1
    """Attempts, as far as they are on record."""

    @property
    def size(self) -> int:
        """Bytes of text that are kept."""
        return sum(kept.size for kept in self.body.kept if kept.content_key)


@dataclass(slots=True, frozen=True)
class GrantState:
    """An unlock that holds."""

    seq: int
    document: int
    agent: str
    """Empty: every agent."""
    granted_by: str
    granted_ms: int
    seconds: int
    epoch: int
    """The coordinator's life that granted it."""
    until: float
    """When it ends, seconds of the coordinator's monotonic clock."""


@dataclass(slots=True)
class SessionEntry:
    """An open session."""

    id: str
    actor: Actor
    name: str
    kind: SessionKind
    started_ms: int
    seen: float
    """When it last gave a sign of life, seconds of the coordinator's monotonic clock; later, by the
    time in which the coordinator did not run."""
    heard_ms: int = 0
    """When that was, UTC milliseconds; 0 if it gave none since the coordinator started."""
    program: str = ""
    model: str = ""
    host: str = ""
    pid: int = 0
    pid_started: int = 0
    predecessor: str = ""
    transport: str = ""
    key: str = ""
    """The short name of the key by which it was opened; empty if it came by a local way."""
    ephemeral: bool = False
    """It does not hold its agent's name, and is not in the journal until it changes something."""
    journaled: bool = False
    request_high: int = 0
    """The highest number of a request of this session that is in the journal."""
    refused_high: int = 0
    """The highest number of a refusal without a record; lost with the process, as that is."""
    reads: dict[int, BasedOn] = field(default_factory=dict[int, BasedOn])
    """What it has read since its last record that says so, by document; see `reads`."""
    looked: int = 0
    """As of when it was briefed last, and is known to have got it."""
    briefing: int = 0
    """The request by which it is being briefed; 0 if none is."""
    briefing_seq: int = 0
    """As of when."""
    process: tuple[int, int] = (0, 0)
    """The process that opened it last, and when that began: of the command line each command."""
    watching: bool = False
    """It has done nothing since it last asked for events: it looks on, and edits no files."""


@dataclass(slots=True)
class State:
    """Everything the rules look at."""

    epoch: int
    store: str
    rules: Rules = field(default_factory=Rules)
    seq: int = 0
    time_ms: int = 0
    chain: bytes = CHAIN_START
    documents: dict[int, DocumentState] = field(default_factory=dict[int, DocumentState])
    by_path: dict[str, int] = field(default_factory=dict[str, int])
    """Live documents by path."""
    by_fold: dict[str, str] = field(default_factory=dict[str, str])
    """The path of the live document that owns a folded name."""
    folders: dict[str, int] = field(default_factory=dict[str, int])
    """How many live documents lie below a folder, by folded name."""
    deleted: dict[str, list[int]] = field(default_factory=dict[str, list[int]])
    """The documents that were deleted from a path and not restored, the last one last."""
    annotations: dict[int, Annotation] = field(default_factory=dict[int, Annotation])
    """Tags and descriptions, by document, deleted ones included."""
    paths: list[str] = field(default_factory=list[str])
    """The paths of the live documents, sorted."""
    drafts: dict[int, DraftState] = field(default_factory=dict[int, DraftState])
    """Drafts that wait, by seq, oldest first; bounded by the rules."""
    draft_attempts: dict[bytes, int] = field(default_factory=dict[bytes, int])
    """The draft that waits, by the digest of what its writer wanted."""
    draft_counts: dict[tuple[Actor, str], DraftCount] = field(
        default_factory=dict[tuple[Actor, str], DraftCount]
    )
    """The drafts that wait of each writer."""
    drafts_total: DraftCount = DraftCount()
    violations: dict[int, ViolationState] = field(default_factory=dict[int, ViolationState])
    """Refused writes that wait, by seq, oldest first; at most `VIOLATIONS_MAX`."""
    attempts: dict[bytes, int] = field(default_factory=dict[bytes, int])
    """The refused write that waits, by the digest of its attempt."""
    repeats: dict[int, int] = field(default_factory=dict[int, int])
    """Attempts counted since the last record about them, by violation; lost with the process."""
    refusals: dict[tuple[str, int], tuple[bytes, Refused, int]] = field(
        default_factory=dict[tuple[str, int], tuple[bytes, Refused, int]]
    )
    """Refusals of late by session and number: the request's fingerprint, the answer, and the seq it
    depends on. Bounded, and lost with the process; see `refusals`."""
    quarantine_bytes: int = 0
    """Bytes of text that the waiting violations keep."""
    grants: dict[int, GrantState] = field(default_factory=dict[int, GrantState])
    """Unlocks that hold, by seq."""
    sessions: dict[str, SessionEntry] = field(default_factory=dict[str, SessionEntry])
    """Open sessions by id."""
    holders: dict[str, str] = field(default_factory=dict[str, str])
    """The open session that holds an agent's name."""
    latest: dict[str, str] = field(default_factory=dict[str, str])
    """The last session that held an agent's name, open or not."""
    leases: LeaseTable = field(default_factory=LeaseTable)
    """The leases that are held."""
    waiters: dict[tuple[str, int], Waiter] = field(default_factory=dict[tuple[str, int], Waiter])
    """Requests that wait for a lease, by session and number, the first come first. They are in no
    record: who asked still waits after a restart and asks again."""
    trace: TraceState = field(default_factory=TraceState, compare=False)
    """What the generated documents are made from."""
    ticked: float | None = None
    """When the last tick came, by the monotonic clock."""

    def document_at(self, path: str) -> DocumentState | None:
        """Return the live document at a path."""
        id = self.by_path.get(path)
        return None if id is None else self.documents[id]

    def deleted_at(self, path: str) -> DocumentState | None:
        """Return the document that was deleted from a path last, and not restored."""
        ids = self.deleted.get(path)
        return self.documents[ids[-1]] if ids else None

    def kept_document(self, kept: Kept) -> DocumentState | None:
        """Return the live document that a text which was kept is for: itself, wherever it is by
        now, or the one that has its path."""
        document = self.documents.get(kept.document)
        if document is not None and not document.deleted:
            return document
        return self.document_at(kept.path)

    def link(self, document: DocumentState) -> None:
        """Enter a document, live or deleted, into the maps."""
        self.documents[document.id] = document
        path = document.path
        if document.deleted:
            self.deleted.setdefault(path, []).append(document.id)
            return
        self.by_path[path] = document.id
        folded = fold_path(path)
        self.by_fold[folded] = path
        bisect.insort(self.paths, path)
        for folder in _folders_of(folded):
            self.folders[folder] = self.folders.get(folder, 0) + 1

    def unlink(self, document: DocumentState) -> None:
        """Take a document out of all maps."""
        del self.documents[document.id]
        path = document.path
        if document.deleted:
            ids = self.deleted[path]
            ids.remove(document.id)
            if not ids:
                del self.deleted[path]
            return
        del self.by_path[path]
        folded = fold_path(path)
        del self.by_fold[folded]
        del self.paths[bisect.bisect_left(self.paths, path)]
        for folder in _folders_of(folded):
            left = self.folders[folder] - 1
            if left:
                self.folders[folder] = left
            else:
                del self.folders[folder]

    def enter_draft(self, draft: DraftState) -> None:
        """Enter a draft. That there is room for it was seen to before it was recorded."""
        self.drafts[draft.seq] = draft
        self.draft_attempts[draft.body.attempt] = draft.seq
        self._count_draft(draft, 1)

    def leave_draft(self, seq: int) -> None:
        """Forget a draft: it was accepted or discarded."""
        draft = self.drafts.pop(seq, None)
        if draft is None:
            return
        if self.draft_attempts.get(draft.body.attempt) == seq:
            del self.draft_attempts[draft.body.attempt]
        self._count_draft(draft, -1)

    def _count_draft(self, draft: DraftState, sign: int) -> None:
        self.drafts_total = self.drafts_total.plus(sign, sign * draft.size)
        writer = draft.actor, draft.author
        count = self.draft_counts.get(writer, DraftCount()).plus(sign, sign * draft.size)
        if count.drafts:
            self.draft_counts[writer] = count
        else:
            del self.draft_counts[writer]

    def enter_violation(self, violation: ViolationState) -> None:
        """Enter a refused write, or what is known of it anew; beyond the limit the oldest goes."""
        known = self.violations.get(violation.seq)
        self.violations[violation.seq] = violation
        self.attempts[violation.body.attempt] = violation.seq
        self.repeats.pop(violation.seq, None)
        if known is None:
            self.quarantine_bytes += violation.size
            while len(self.violations) > VIOLATIONS_MAX:
                self.leave_violation(next(iter(self.violations)))

    def leave_violation(self, seq: int) -> None:
        """Forget a refused write: it was applied or discarded."""
        violation = self.violations.pop(seq, None)
        if violation is None:
            return
        self.quarantine_bytes -= violation.size
        self.repeats.pop(seq, None)
        if self.attempts.get(violation.body.attempt) == seq:
            del self.attempts[violation.body.attempt]

    def enter_session(self, session: SessionEntry) -> None:
        """Enter a session that is in the journal; it may be known as one that was not yet."""
        session.journaled = True
        self.sessions[session.id] = session
        if session.actor is Actor.AGENT and not session.ephemeral:
            self.holders[session.name] = session.id
            self.latest[session.name] = session.id

    def replace(self, before: DocumentState | None, after: DocumentState | None) -> None:
        """Put one state of a document in the place of another; None: there is none."""
        if (
            before is not None
            and after is not None
            and before.path == after.path
            and not before.deleted
            and not after.deleted
        ):
            self.documents[after.id] = after
            return
        if before is not None:
            self.unlink(before)
        if after is not None:
            self.link(after)


def _folders_of(folded: str) -> list[str]:
    parts = folded.split("/")
    return ["/".join(parts[:end]) for end in range(1, len(parts))]
