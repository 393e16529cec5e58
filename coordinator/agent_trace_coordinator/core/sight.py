"""What a question about the trace needs to know of the state, taken at one moment.

The question is answered later, in a thread of its own, while the state goes on changing; so this is
a copy, made at a price that does not grow with history: a copy of the table of documents, and of
everything else a bounded number.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from typing import Final

from agent_trace_protocol import (
    Actor,
    Brief,
    InvalidRequest,
    LeaseInfo,
    NotFound,
    RecapSession,
    SessionInfo,
    Why,
    parse_path,
)
from agent_trace_protocol.limits import BRIEFING_BYTES_MAX, BRIEFING_BYTES_MIN

from .effects import AnswerTrace
from .inputs import Now
from .lease_views import lease_info
from .reads import begin_briefing
from .records import BasedOn
from .sessions import info_of
from .state import DocumentState, DraftState, SessionEntry, State, ViolationState
from .trace_state import Statement

__all__ = ["Sight", "ask_trace"]

SESSIONS_SHOWN_MAX: Final = 12
LEASES_SHOWN_MAX: Final = 24
KEPT_SHOWN_MAX: Final = 16
"""Drafts, and refused writes, of the asker: the newest."""

RECAP_PARTS_MAX: Final = 64


@dataclass(slots=True, frozen=True)
class Sight:
    """The state as one asker sees it."""

    seq: int
    time_ms: int
    actor: Actor
    name: str
    session: str
    documents: dict[int, DocumentState]
    """By id, deleted ones too."""
    sessions: tuple[SessionInfo, ...]
    """Open ones, those seen last; without the asker's own."""
    session_count: int
    leases: tuple[LeaseInfo, ...]
    """The asker's own first."""
    lease_count: int
    own_tokens: frozenset[int]
    """The leases that the asker's session holds."""
    drafts: tuple[DraftState, ...]
    """The asker's, that wait, newest first."""
    draft_count: int
    violations: tuple[ViolationState, ...]
    """The asker's refused writes that wait, newest first."""
    violation_count: int
    reads: tuple[BasedOn, ...]
    """What the session has read since its last record."""
    statements: tuple[Statement, ...]
    """What users said about where things go, that stands, newest first."""
    looked: int
    """As of when this session was briefed before; 0 if it was not."""
    document: DocumentState | None = None
    """The document that the question is about."""


def ask_trace(
    state: State, session: SessionEntry, request: Brief | Why | RecapSession, number: int, now: Now
) -> AnswerTrace:
    """Return what a question about the trace is answered from.

    Raises:
        InvalidRequest: the budget, the line or the number of parts is out of its range.
        NotFound: there is no such document or revision.
    """
    document: DocumentState | None = None
    looked = 0
    match request:
        case Brief():
            if not BRIEFING_BYTES_MIN <= request.budget <= BRIEFING_BYTES_MAX:
                raise InvalidRequest(
                    f"a briefing has {BRIEFING_BYTES_MIN} to {BRIEFING_BYTES_MAX} bytes, not "
                    f"{request.budget}"
                )
            looked = begin_briefing(session, number, state.seq)
        case Why():
            document = _document(state, request)
        case RecapSession():
            if not 1 <= request.parts <= RECAP_PARTS_MAX:
                raise InvalidRequest(
                    f"a recap has 1 to {RECAP_PARTS_MAX} parts, not {request.parts}"
                )
    return AnswerTrace(request, _look(state, session, looked, document, now), state.seq)


def _document(state: State, request: Why) -> DocumentState:
    path = parse_path(request.path)
    document = state.document_at(path) or state.deleted_at(path)
    if document is None:
        raise NotFound(f"there is no document {path}, and none was deleted from there")
    if request.revision > document.revision:
        raise NotFound(f"{path} has revisions 1 to {document.revision}, not {request.revision}")
    return document


def _look(
    state: State, session: SessionEntry, looked: int, document: DocumentState | None, now: Now
) -> Sight:
    others = [each for each in state.sessions.values() if each.id != session.id]
    shown = heapq.nlargest(SESSIONS_SHOWN_MAX, others, key=lambda each: (each.seen, each.id))
    shown.sort(key=lambda each: (each.name, each.id))
    own = state.leases.held_by(session.id)
    tokens = frozenset(lease.token for lease in own)
    leases = own[:LEASES_SHOWN_MAX]
    for token, lease in state.leases.by_token.items():
        if len(leases) == LEASES_SHOWN_MAX:
            break
        if token not in tokens:
            leases.append(lease)
    drafts = [
        each
        for each in state.drafts.values()
        if each.author == session.name and each.actor is session.actor
    ]
    violations = [
        each
        for each in state.violations.values()
        if each.author == session.name and each.actor is session.actor
    ]
    return Sight(
        seq=state.seq,
        time_ms=state.time_ms,
        actor=session.actor,
        name=session.name,
        session=session.id,
        documents=dict(state.documents),
        sessions=tuple(info_of(state, each, now) for each in shown),
        session_count=len(others),
        leases=tuple(lease_info(state, each, now) for each in leases),
        lease_count=len(state.leases.by_token),
        own_tokens=tokens,
        drafts=tuple(drafts[: -KEPT_SHOWN_MAX - 1 : -1]),
        draft_count=len(drafts),
        violations=tuple(violations[: -KEPT_SHOWN_MAX - 1 : -1]),
        violation_count=len(violations),
        reads=tuple(session.reads.values()),
        statements=tuple(reversed(state.trace.statements.values())),
        looked=looked,
        document=document,
    )
