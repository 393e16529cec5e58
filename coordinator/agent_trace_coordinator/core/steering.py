"""Steering: what users say about where things go, for every agent to read.

A statement stands in context.md until another one supersedes it or a user drops it. Agents may
not: what steers them would be their own words. Both are records, so the history has them.
"""

from __future__ import annotations

from agent_trace_protocol import (
    Action,
    Actor,
    Done,
    DropStatement,
    InternalError,
    InvalidRequest,
    NotFound,
    StatementInfo,
    StatementList,
    Steer,
    TooLarge,
)
from agent_trace_protocol.limits import STATEMENT_LENGTH_MAX

from .effects import Answer, Effect
from .inputs import Now, Received
from .policy import forbid
from .recording import append, introduce
from .records import Record, Steered, SteeringDropped
from .state import SessionEntry, State
from .trace_state import STATEMENTS_MAX, Statement

__all__ = ["list_statements", "parse_statement_id", "statement_id", "steer"]


def statement_id(seq: int) -> str:
    """Return the id of the statement that record `seq` makes."""
    return f"update-{seq}"


def parse_statement_id(text: str) -> int:
    """Return the seq of a statement's record, such as 17 for `update-17`; 0 if none can be."""
    digits = text.removeprefix("update-")
    if digits == text or not (digits.isascii() and digits.isdigit()) or len(digits) > 18:
        return 0
    return int(digits)


def list_statements(state: State) -> StatementList:
    """Return the statements that stand, oldest first."""
    return StatementList(tuple(map(_info, state.trace.statements.values())))


def steer(
    state: State,
    session: SessionEntry,
    input: Received,
    request: Steer | DropStatement,
    now: Now,
) -> list[Effect]:
    """Make a statement, or drop one.

    Raises:
        Forbidden: only users may; it goes on record.
    """
    if input.number < 1:
        raise InvalidRequest(f"{input.number} is not a request number; they count from 1")
    previous = input.facts.previous
    if previous is not None:
        return [_repeated(previous)]
    if session.actor is not Actor.USER:
        action = Action.STEER if isinstance(request, Steer) else Action.UNSTEER
        raise forbid(
            "only-users-steer",
            action,
            "",
            "only a user says where things go; nobody can grant it: write a proposal to a plan, "
            'or ask a user to run agent-trace context update "..."',
        )
    body = _said(state, request) if isinstance(request, Steer) else _dropped(state, request)
    effects: list[Effect] = [
        *introduce(state, session, now),
        append(state, session, body, now, request=input.number, fingerprint=input.fingerprint),
    ]
    if isinstance(body, SteeringDropped):
        return [*effects, Answer(Done(), state.seq)]
    info = _info(state.trace.statements[state.seq])
    return [*effects, Answer(StatementList((info,)), state.seq)]


def _said(state: State, request: Steer) -> Steered:
    text = request.text.strip()
    if not text or len(text) > STATEMENT_LENGTH_MAX or not text.isprintable():
        raise InvalidRequest(
            f"a statement is one line of 1 to {STATEMENT_LENGTH_MAX} printable characters"
        )
    replaces = _standing(state, request.replaces) if request.replaces else 0
    if not replaces and len(state.trace.statements) >= STATEMENTS_MAX:
        raise TooLarge(
            f"{STATEMENTS_MAX} statements stand already; drop some: agent-trace context updates"
        )
    return Steered(text, replaces)


def _dropped(state: State, request: DropStatement) -> SteeringDropped:
    return SteeringDropped(_standing(state, request.id))


def _standing(state: State, id: str) -> int:
    seq = parse_statement_id(id)
    if seq not in state.trace.statements:
        raise NotFound(
            f"no statement {id[:64]!r} stands; it may be superseded or dropped: "
            "agent-trace context updates"
        )
    return seq


def _info(said: Statement) -> StatementInfo:
    return StatementInfo(statement_id(said.seq), said.seq, said.time_ms, said.author, said.text)


def _repeated(previous: Record) -> Answer:
    """Answer a request that was carried out before."""
    body = previous.body
    if isinstance(body, SteeringDropped):
        return Answer(Done(), previous.seq)
    if not isinstance(body, Steered):
        raise InternalError(f"record {previous.seq} is not that of a statement")
    said = Statement(previous.seq, previous.time_ms, previous.author, body.text)
    return Answer(StatementList((_info(said),)), previous.seq)
