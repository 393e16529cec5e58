"""Transactions, and what is answered to them: the same the second time as the first."""

from __future__ import annotations

from agent_trace_protocol import (
    Committed,
    Durability,
    InternalError,
    InvalidRequest,
    LeaseInfo,
    Refused,
    Transact,
    WriteResult,
)
from agent_trace_protocol.limits import TEXT_FIELD_LENGTH_MAX

from .documents import decide
from .drafts import Late, drafted, no_room, refusal_of_draft, told_of
from .effects import Answer, Effect
from .inputs import Now, Received
from .lease_guard import Guard
from .reads import take_reads
from .recording import append, introduce
from .records import Changed, Drafted, Record, RecordBody
from .state import SessionEntry, State

__all__ = ["repeat", "transact"]


def transact(
    state: State, session: SessionEntry, input: Received, request: Transact, now: Now
) -> list[Effect]:
    """Decide a transaction, or answer one that was decided before."""
    if input.number < 1:
        raise InvalidRequest(f"{input.number} is not a request number; they count from 1")
    in_git = request.durability is Durability.GIT
    previous = input.facts.previous
    if previous is not None:
        return [repeat(previous, in_git)]
    if len(request.message) > TEXT_FIELD_LENGTH_MAX or not request.message.isprintable():
        raise InvalidRequest(
            f"a message is one line of at most {TEXT_FIELD_LENGTH_MAX} printable characters"
        )
    seq = state.seq + (1 if session.journaled else 2)
    guard = Guard(state, session.id, request.leases, now)
    body: RecordBody
    notices: tuple[str, ...] = ()
    try:
        decided = decide(
            state,
            session.actor,
            session.name,
            request.operations,
            input.facts,
            seq,
            confirm=request.confirm,
            guard=guard,
        )
        body = Changed(
            tuple(decided.changes),
            request.message,
            decided.draft,
            " ".join(decided.override),
            decided.violation,
            annotations=tuple(decided.annotations),
            based_on=take_reads(session),
        )
        contents, notices = tuple(decided.contents), tuple(decided.notices)
    except Late as late:
        digest = late.digest(session.actor, session.name)
        waiting = state.drafts.get(state.draft_attempts.get(digest, 0))
        if waiting is not None:
            return [Answer(Refused(told_of(late, waiting)), state.seq)]
        full = no_room(state, late, session.actor, session.name)
        if full:
            late.error.message += f"; {full}"
            raise late.error from None
        body, contents = drafted(late, digest, seq)
    effects: list[Effect] = [*introduce(state, session, now)]
    appended = append(
        state,
        session,
        body,
        now,
        request=input.number,
        fingerprint=input.fingerprint,
        contents=contents,
    )
    outcome = _outcome(appended.entry.record, in_git, guard.warnings, notices)
    return [*effects, appended, outcome]


def repeat(previous: Record, in_git: bool) -> Answer:
    """Answer a request that was carried out before: the same answer, and nothing done."""
    return _outcome(previous, in_git)


def _outcome(
    record: Record,
    in_git: bool,
    warnings: tuple[LeaseInfo, ...] = (),
    notices: tuple[str, ...] = (),
) -> Answer:
    """Return the answer to the transaction that made a record; the same one every time, but for
    warnings and notices, which are about the moment."""
    body = record.body
    if isinstance(body, Drafted):
        refusal = refusal_of_draft(body.code, body.conflict, body.lease)
        return Answer(Refused(refusal), record.seq)
    if not isinstance(body, Changed):
        raise InternalError(f"record {record.seq} is not a transaction's")
    committed = Committed(
        record.seq,
        tuple(
            WriteResult(change.path, change.revision, change.action, change.added, change.removed)
            for change in body.changes
        ),
        warnings=warnings,
        notices=notices,
    )
    return Answer(committed, record.seq, in_git)
