"""What a record does to the state: the one way the state ever changes for good.

The live path and recovery both come through here, so a state rebuilt from the journal is the state
that was. Nothing is decided here.
"""

from __future__ import annotations

from dataclasses import replace
from typing import assert_never

from agent_trace_protocol import Action, parse_pattern

from .lease_table import LeaseState
from .records import (
    Annotation,
    Change,
    Changed,
    Discarded,
    Drafted,
    LeaseExtended,
    LeaseGranted,
    LeaseReleased,
    Locked,
    Record,
    Repeated,
    SessionClosed,
    SessionOpened,
    Steered,
    SteeringDropped,
    Unlocked,
    Violated,
)
from .state import DocumentState, DraftState, GrantState, SessionEntry, State, ViolationState

__all__ = [
    "annotation_of",
    "apply_record",
    "document_after",
    "draft_of",
    "grant_of",
    "lease_of",
    "session_of",
    "violation_of",
]


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
        deleted=change.action in (Action.DELETE, Action.UNTRACK),
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
                if change.previous_path:
                    state.leases.move(change.previous_path, change.path)
            for annotation in body.annotations:
                state.annotations[annotation.document] = annotation
            state.leave_draft(body.draft)
            state.leave_violation(body.violation)
        case Drafted():
            state.enter_draft(draft_of(record, body))
        case SessionOpened():
            _apply_opened(state, record, body, now)
        case SessionClosed():
            state.leases.drop_session(record.session)
            session = state.sessions.pop(record.session, None)
            if session is not None and state.holders.get(session.name) == session.id:
                del state.holders[session.name]
        case Violated():
            state.enter_violation(violation_of(record, body))
        case Repeated():
            violation = state.violations.get(body.violation)
            if violation is not None:
                state.enter_violation(replace(violation, count=body.count))
        case Discarded():
            state.leave_draft(body.draft)
            state.leave_violation(body.violation)
        case Unlocked():
            state.grants[record.seq] = grant_of(record, body, now)
        case Locked():
            for seq in body.unlocks:
                state.grants.pop(seq, None)
        case LeaseGranted():
            state.leases.drop(body.previous)
            state.leases.enter(lease_of(record, body, now))
        case LeaseExtended():
            lease = state.leases.by_token.get(body.token)
            if lease is not None:
                lease.ttl_ms = body.ttl_ms
        case LeaseReleased():
            state.leases.drop(body.token)
        case Steered() | SteeringDropped():
            # The trace has it, below.
            pass
        case _:
            assert_never(body)
    state.trace.note(record, collect=state.rules.generated)
    session = state.sessions.get(record.session)
    if session is not None and record.request > session.request_high:
        session.request_high = record.request


def _apply_opened(state: State, record: Record, body: SessionOpened, now: float) -> None:
    state.enter_session(state.sessions.get(record.session) or session_of(record, body, now))


def annotation_of(record: Record, index: int) -> Annotation | None:
    """Return the annotation that change `index` of a record is; None if it is none."""
    body = record.body
    if not isinstance(body, Changed) or index >= len(body.changes):
        return None
    change = body.changes[index]
    for annotation in body.annotations:
        if (annotation.document, annotation.revision) == (change.document, change.revision):
            return annotation
    return None


def draft_of(record: Record, body: Drafted) -> DraftState:
    """Return the waiting draft that a record describes."""
    return DraftState(
        seq=record.seq,
        time_ms=record.time_ms,
        actor=record.actor,
        author=record.author,
        session=record.session,
        body=body,
    )


def violation_of(record: Record, body: Violated) -> ViolationState:
    """Return the refused write that a record describes, tried once."""
    return ViolationState(
        seq=record.seq,
        time_ms=record.time_ms,
        actor=record.actor,
        author=record.author,
        session=record.session,
        body=body,
    )


def grant_of(record: Record, body: Unlocked, now: float) -> GrantState:
    """Return the unlock that a record describes, with all of its time still to come."""
    return GrantState(
        seq=record.seq,
        document=body.document,
        agent=body.agent,
        granted_by=record.author,
        granted_ms=record.time_ms,
        seconds=body.seconds,
        epoch=record.epoch,
        until=now + body.seconds,
    )


def lease_of(record: Record, body: LeaseGranted, now: float) -> LeaseState:
    """Return the lease that a record describes, with all of its time still to come."""
    return LeaseState(
        token=record.seq,
        session=record.session,
        actor=record.actor,
        holder=record.author,
        pattern=parse_pattern(body.path),
        shared=body.shared,
        ttl_ms=body.ttl_ms,
        granted_ms=record.time_ms,
        request=record.request,
        renewed=now,
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
        transport=body.transport,
        key=body.key,
        ephemeral=body.ephemeral,
    )
