"""What a record does to the state: the one way the state ever changes for good.

The live path and recovery both come through here, so a state rebuilt from the journal is the state
that was. Nothing is decided here.
"""

from __future__ import annotations

from typing import assert_never

from agent_trace_protocol import Action

from .records import Change, Changed, Drafted, Record, SessionClosed, SessionOpened
from .state import DocumentState, DraftState, SessionEntry, State

__all__ = ["apply_record", "document_after", "draft_of", "session_of"]


def document_after(change: Change, record_seq: int, time_ms: int, author: str) -> DocumentState:
    """Return the document's state that a change leaves."""
    return DocumentState(
        id=change.document,
        path=change.path,
        type=change.type,
        revision=change.revision,
        content_key=change.content_key,
        digest=change.digest,
        size=change.size,
        seq=record_seq,
        time_ms=time_ms,
        author=author,
        deleted=change.action is Action.DELETE,
    )


def apply_record(state: State, record: Record, chain: bytes, now: float) -> None:
    """Apply a record: `now` (monotonic seconds) is when sessions that it opens were last seen."""
    assert record.seq == state.seq + 1, (record.seq, state.seq)
    state.seq = record.seq
    state.time_ms = record.time_ms
    state.chain = chain
    body = record.body
    match body:
        case Changed():
            for change in body.changes:
                after = document_after(change, record.seq, record.time_ms, record.author)
                state.replace(state.documents.get(change.document), after)
            state.drafts.pop(body.draft, None)
        case Drafted():
            state.enter_draft(draft_of(record, body))
        case SessionOpened():
            _apply_opened(state, record, body, now)
        case SessionClosed():
            session = state.sessions.pop(record.session, None)
            if session is not None and state.holders.get(session.name) == session.id:
                del state.holders[session.name]
        case _:
            assert_never(body)
    session = state.sessions.get(record.session)
    if session is not None and record.request > session.request_high:
        session.request_high = record.request


def _apply_opened(state: State, record: Record, body: SessionOpened, now: float) -> None:
    state.enter_session(state.sessions.get(record.session) or session_of(record, body, now))


def draft_of(record: Record, body: Drafted) -> DraftState:
    """Return the waiting draft that a record describes."""
    return DraftState(
        seq=record.seq,
        author=record.author,
        path=body.conflict.path,
        document=body.document,
        base_revision=body.conflict.expected,
        content_key=body.content_key,
        digest=body.digest,
    )


def session_of(record: Record, body: SessionOpened, now: float) -> SessionEntry:
    """Return the open session that a record describes."""
    return SessionEntry(
        id=record.session,
        actor=record.actor,
        name=record.author,
        kind=body.kind,
        started_ms=record.time_ms,
        seen=now,
        program=body.program,
        model=body.model,
        host=body.host,
        pid=body.pid,
        pid_started=body.pid_started,
        predecessor=body.predecessor,
        ephemeral=body.ephemeral,
    )
