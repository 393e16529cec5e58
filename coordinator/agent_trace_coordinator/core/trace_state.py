"""What the generated documents are made from, besides the documents themselves.

Kept by `apply_record` like all state, so recovery has it too: which records no generated document
tells of yet, what happened lately, which plans and references changed last, and what a user said
about where things go. Each part is bounded, and entering a record costs the same however long the
history is.
"""

from __future__ import annotations

import bisect
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from agent_trace_protocol import Action, Actor, DocumentType

from .digest import Digest
from .entries import summary_of
from .generated_names import protecting_type
from .records import (
    Change,
    Changed,
    Drafted,
    Record,
    SessionClosed,
    SessionOpened,
    Steered,
    SteeringDropped,
    Violated,
)

__all__ = [
    "DIGESTED_TYPES",
    "FRESH_RECORDS_MAX",
    "GENERATED",
    "GENERATED_PART",
    "RECENT_RECORDS_MAX",
    "STATEMENTS_MAX",
    "Statement",
    "TraceState",
    "is_generated",
    "statement_of",
]

GENERATED: Final = "generated"
"""The `source` of a record that brings the generated documents up to date, as of the seq before."""

GENERATED_PART: Final = "generated-part"
"""The same, if another such record follows: one has at most `OPERATIONS_MAX` changes."""

FRESH_RECORDS_MAX: Final = 10_000
"""Records that wait for the session logs. More can only come together while documents are not
generated; the logs then say from where on they know nothing."""

RECENT_RECORDS_MAX: Final = 64
"""Records of what happened lately, for the running summary."""

STATEMENTS_MAX: Final = 100
"""Steering statements that can stand at once: an agent reads all of them."""


_CONTENT_ONLY: Final = frozenset({Action.PUT, Action.APPEND, Action.EDIT, Action.MERGE})
"""Actions after which a document has the path and the type that it had."""

DIGESTED_TYPES: Final = (DocumentType.PLAN, DocumentType.REFERENCE, DocumentType.CONTEXT)
"""Types of documents of which generated ones quote what they say."""


@dataclass(slots=True, frozen=True)
class Statement:
    """What a user said about where things go; it stands until it is superseded or dropped."""

    seq: int
    time_ms: int
    author: str
    text: str


@dataclass(slots=True)
class TraceState:
    """See above. Not compared: two states are the same if their documents and sessions are."""

    fresh: deque[Record] = field(default_factory=deque[Record])
    """The records that no generated document tells of, oldest first."""
    log_lines: dict[int, list[str]] = field(default_factory=dict[int, list[str]])
    """What session logs say of fresh records, by seq, once that was asked for: it is asked for
    several times before it is written."""
    left_out: int = 0
    """Records that would be among them, were there not too many."""
    recent: deque[Record] = field(default_factory=lambda: deque[Record](maxlen=RECENT_RECORDS_MAX))
    """The newest records that people want to hear of: changes, late texts, refusals."""
    opened: dict[str, Record] = field(default_factory=dict[str, Record])
    """How sessions began that are open, or of which fresh records tell."""
    plans: dict[int, str] = field(default_factory=dict[int, str])
    """The plans, the one that changed last at the end, each with what its last change did."""
    references: dict[int, str] = field(default_factory=dict[int, str])
    """The references and contexts that people wrote, likewise."""
    paths: dict[DocumentType, list[str]] = field(
        default_factory=lambda: {type: [] for type in DocumentType}
    )
    """The paths of all documents that people and agents wrote, by type, sorted."""
    statements: dict[int, Statement] = field(default_factory=dict[int, Statement])
    """The steering statements that stand, by seq."""
    listing: bytes = b""
    """What AGENT-TRACE.md says, as long as nothing that it lists has changed; else empty."""
    digests: dict[int, tuple[int, Digest]] = field(default_factory=dict[int, tuple[int, Digest]])
    """What the documents say that generated ones quote, by document, each with the key of the
    content that says so."""

    def note(self, record: Record, *, collect: bool = True) -> None:
        """Enter a record, after what it does to documents and sessions.

        Without `collect` only what a user said is kept: no documents are generated.
        """
        body = record.body
        if isinstance(body, Steered):
            self.statements.pop(body.replaces, None)
            self.statements[record.seq] = statement_of(record, body)
        elif isinstance(body, SteeringDropped):
            self.statements.pop(body.statement, None)
        if not collect:
            return
        if isinstance(body, Changed):
            if is_generated(record):
                if body.source == GENERATED:
                    self.settle()
                return
            for change in body.changes:
                self.place(change)
        self.keep(record)

    def keep(self, record: Record) -> None:
        """Remember what a record tells, for logs and summaries."""
        body = record.body
        if isinstance(body, SessionOpened):
            self.opened[record.session] = record
        if isinstance(body, (Changed, Drafted, Violated)):
            self.recent.append(record)
        if len(self.fresh) == FRESH_RECORDS_MAX:
            self.log_lines.pop(self.fresh.popleft().seq, None)
            self.left_out += 1
        self.fresh.append(record)

    def place(self, change: Change) -> None:
        """Note a change: its document changed last, and may have come, gone or got another name."""
        document, path, type = change.document, change.path, change.type
        known = document in self.plans or document in self.references
        if known:
            self.plans.pop(document, None)
            self.references.pop(document, None)
        ends = change.action in (Action.DELETE, Action.UNTRACK)
        elsewhere = change.action not in _CONTENT_ONLY or change.revision == 1
        if known or elsewhere:
            self.listing = b""
        if elsewhere:
            self._unlist(change.previous_path or path)
            if not ends and protecting_type(path) is None:
                bisect.insort(self.paths[type], path)
        if ends or type not in DIGESTED_TYPES or protecting_type(path) is not None:
            return
        (self.plans if type is DocumentType.PLAN else self.references)[document] = summary_of(
            change
        )

    def _unlist(self, path: str) -> None:
        for paths in self.paths.values():
            at = bisect.bisect_left(paths, path)
            if at < len(paths) and paths[at] == path:
                del paths[at]

    def begin(self, documents: Iterable[tuple[str, DocumentType]]) -> None:
        """Enter the documents that there are, in the order of their paths."""
        for path, type in documents:
            if protecting_type(path) is None:
                self.paths[type].append(path)

    def settle(self) -> None:
        """The generated documents tell of everything so far."""
        for record in self.fresh:
            if isinstance(record.body, SessionClosed):
                self.opened.pop(record.session, None)
        self.fresh.clear()
        self.log_lines.clear()
        self.left_out = 0


def is_generated(record: Record) -> bool:
    """Return whether a record is one of ours that brings generated documents up to date."""
    return (
        record.actor is Actor.SYSTEM
        and isinstance(record.body, Changed)
        and record.body.source in (GENERATED, GENERATED_PART)
    )


def statement_of(record: Record, body: Steered) -> Statement:
    """Return the steering statement that a record makes."""
    return Statement(record.seq, record.time_ms, record.author, body.text)
