"""Requests about rights and refused writes, and what a refusal leaves behind.

A refused write is durable before its writer is told: the answer waits for the record that keeps
what it brought, by the same order law as every other answer.
"""

from __future__ import annotations

from typing import Final

from agent_trace_protocol import (
    Action,
    Actor,
    DiscardViolation,
    DocumentType,
    Done,
    InternalError,
    InvalidRequest,
    Lock,
    NotFound,
    PermissionDenied,
    PermissionEntry,
    PermissionReport,
    Permissions,
    Permit,
    Refused,
    SessionKind,
    ShowViolation,
    TooLarge,
    Unlock,
    ViolationPage,
    Violations,
    parse_path,
)
from agent_trace_protocol.ids import parse_agent_name
from agent_trace_protocol.limits import PAGE_ENTRIES_MAX

from .effects import Answer, AnswerViolation, Effect
from .grants import GRANTS_MAX, expired, info_of_grant
from .inputs import RECORDED_REQUESTS, Now, Received
from .permissions import Forbidden, Verb, effective_type, explain, permit_of
from .recording import append, introduce
from .records import Discarded, Locked, Record, Unlocked
from .state import DocumentState, SessionEntry, State, ViolationState
from .violations import (
    Attempt,
    count_again,
    find_violation,
    info_of_violation,
    refusal_of,
    violated,
)

__all__ = [
    "PolicyRequest",
    "author_without_session",
    "end_grants",
    "forbid",
    "keep",
    "policy_request",
    "record_refusal",
    "repeated",
]

PolicyRequest = Permissions | Unlock | Lock | Violations | ShowViolation | DiscardViolation


def policy_request(
    state: State, session: SessionEntry, input: Received, request: PolicyRequest, now: Now
) -> list[Effect]:
    """Answer a request about rights or refused writes.

    Raises:
        Forbidden: the session may not ask this; it goes on record.
    """
    match request:
        case Permissions():
            return [Answer(_report(state, session, request, now), state.seq)]
        case Violations():
            return [Answer(_page(state, session, request), state.seq)]
        case ShowViolation():
            return [_show(state, session, request)]
        case _:
            return _change(state, session, input, request, now)


def _change(
    state: State,
    session: SessionEntry,
    input: Received,
    request: Unlock | Lock | DiscardViolation,
    now: Now,
) -> list[Effect]:
    if input.number < 1:
        raise InvalidRequest(f"{input.number} is not a request number; they count from 1")
    previous = input.facts.previous
    if previous is not None:
        return [repeated(previous)]
    match request:
        case Unlock():
            body: Unlocked | Locked | Discarded = _unlock(state, session, request)
        case Lock():
            body = _lock(state, session, request)
        case DiscardViolation():
            violation = _violation(state, session, request.violation, "discard")
            body = Discarded(violation.seq)
    effects: list[Effect] = [
        *introduce(state, session, now),
        append(state, session, body, now, request=input.number, fingerprint=input.fingerprint),
    ]
    return [*effects, Answer(Done(), state.seq)]


def repeated(previous: Record) -> Answer:
    """Answer a request about rights that was carried out before."""
    if not isinstance(previous.body, (Unlocked, Locked, Discarded)):
        raise InternalError(f"record {previous.seq} is not that of a request about rights")
    return Answer(Done(), previous.seq)


# ---- refusals -------------------------------------------------------------------------------


def author_without_session(actor: Actor, name: str) -> SessionEntry:
    """Return who stands in a record of what no session did."""
    return SessionEntry("", actor, name, SessionKind.LIBRARY, 0, 0.0)


def forbid(rule: str, action: Action, path: str, message: str) -> Forbidden:
    """Return the refusal of something that is no write of a document."""
    forbidden = Forbidden(rule, PermissionDenied(message))
    forbidden.attempt = Attempt(action, path)
    return forbidden


def record_refusal(
    state: State, session: SessionEntry, input: Received, forbidden: Forbidden, now: Now
) -> list[Effect]:
    """Put a refusal on record, or count it if the same was refused before, and answer it."""
    attempt = forbidden.attempt
    assert attempt is not None, "a refusal without an attempt"
    digest = attempt.digest(session.actor, session.name, forbidden.rule)
    effects: list[Effect] = []
    waiting = state.violations.get(state.attempts.get(digest, 0))
    # Of a question nobody knows whether it was asked before under the same number, and no two
    # records of a session have one.
    number = input.number if isinstance(input.request, RECORDED_REQUESTS) else 0
    if waiting is None:
        effects += introduce(state, session, now)
        effects += keep(state, session, attempt, forbidden, now, number, input.fingerprint)
        waiting = state.violations[state.attempts[digest]]
    elif session.journaled:
        effects += keep(state, session, attempt, forbidden, now, number, input.fingerprint)
    else:
        # A one-shot is not put on record for having tried the same again.
        count_again(state, waiting)
    return [*effects, Answer(Refused(refusal_of(waiting.seq, waiting.body)), state.seq)]


def keep(
    state: State,
    author: SessionEntry,
    attempt: Attempt,
    forbidden: Forbidden,
    now: Now,
    request: int = 0,
    fingerprint: bytes = b"",
) -> list[Effect]:
    """Return the record that a refusal leaves; none if the same attempt is only counted."""
    digest = attempt.digest(author.actor, author.name, forbidden.rule)
    waiting = state.violations.get(state.attempts.get(digest, 0))
    if waiting is not None:
        body = count_again(state, waiting)
        if body is None:
            return []
        # With its number, so that the same request is not counted again after a restart.
        return [
            append(
                state,
                author,
                body,
                now,
                request=request,
                fingerprint=fingerprint if request else b"",
            )
        ]
    violation, contents = violated(
        state, attempt, forbidden.rule, forbidden.error, digest, state.seq + 1
    )
    return [
        append(
            state,
            author,
            violation,
            now,
            request=request,
            fingerprint=fingerprint if request else b"",
            contents=contents,
        )
    ]


# ---- rights ---------------------------------------------------------------------------------


def _unlock(state: State, session: SessionEntry, request: Unlock) -> Unlocked:
    if session.actor is not Actor.USER:
        raise forbid(
            "only-users-unlock",
            Action.UNLOCK,
            request.path,
            f"only a user unlocks {request.path}; ask one: "
            f"agent-trace unlock {request.path} --for agent:{session.name}",
        )
    document = _document(state, request.path)
    if request.agent:
        parse_agent_name(request.agent)
    if len(state.grants) >= GRANTS_MAX:
        raise TooLarge(f"{len(state.grants)} unlocks hold already; end some with agent-trace lock")
    return Unlocked(document.id, document.path, request.agent, request.seconds)


def _lock(state: State, session: SessionEntry, request: Lock) -> Locked:
    if session.actor is not Actor.USER:
        raise forbid(
            "only-users-lock", Action.LOCK, request.path, f"only a user locks {request.path} again"
        )
    document = _document(state, request.path)
    grants = tuple(
        grant.seq
        for grant in state.grants.values()
        if grant.document == document.id and request.agent in ("", grant.agent)
    )
    if not grants:
        whom = f" for {request.agent}" if request.agent else ""
        raise NotFound(f"{document.path} is not unlocked{whom}")
    return Locked(grants, document.path, "locked")


def _document(state: State, path: str) -> DocumentState:
    document = state.document_at(parse_path(path))
    if document is None:
        raise NotFound(f"there is no document {path}")
    return document


def end_grants(state: State, now: Now) -> list[Effect]:
    """End the unlocks whose time is over, on record. Comes before anything that they decide."""
    if not state.grants:
        return []
    return [
        append(state, author_without_session(Actor.SYSTEM, "system"), body, now)
        for _, body in expired(state, now)
    ]


def _report(
    state: State, session: SessionEntry, request: Permissions, now: Now
) -> PermissionReport:
    actor = session.actor
    holding = [grant for grant in state.grants.values() if grant.until > now.monotonic]
    if not request.path:
        everything = tuple(
            _entry(type, actor, verb, permit_of(type, actor, verb), "")
            for type in DocumentType
            for verb in Verb
        )
        infos = tuple(info_of_grant(state, grant, now) for grant in holding)
        return PermissionReport(actor, "", False, everything, infos[:PAGE_ENTRIES_MAX])
    path = parse_path(request.path)
    document = state.document_at(path)
    grants = [grant for grant in holding if document is not None and grant.document == document.id]
    unlocked = actor is Actor.AGENT and any(each.agent in ("", session.name) for each in grants)
    entries: list[PermissionEntry] = []
    if document is None:
        for declared in DocumentType:
            type = effective_type(path, declared)
            permit = permit_of(type, actor, Verb.CREATE)
            entry = _entry(type, actor, Verb.CREATE, permit, path)
            if entry not in entries:
                entries.append(entry)
    else:
        type = effective_type(path, document.type)
        for verb in Verb:
            if verb is Verb.CREATE:
                continue
            permit = permit_of(type, actor, verb)
            if unlocked and verb is not Verb.RECLASSIFY:
                permit = Permit.YES
            entries.append(_entry(type, actor, verb, permit, path))
    infos = tuple(info_of_grant(state, grant, now) for grant in grants)
    return PermissionReport(actor, path, document is not None, tuple(entries), infos)


def _entry(
    type: DocumentType, actor: Actor, verb: Verb, permit: Permit, path: str
) -> PermissionEntry:
    reason = "" if permit is Permit.YES else explain(type, actor, verb, path)[1]
    return PermissionEntry(type, verb.value, permit, reason)


# ---- violations -----------------------------------------------------------------------------

_SEEN_BY: Final = {Actor.USER}
"""Who sees what others tried, and the texts: refused text may hold what nobody else should read."""


def _page(state: State, session: SessionEntry, request: Violations) -> ViolationPage:
    if not 1 <= request.limit <= PAGE_ENTRIES_MAX:
        raise InvalidRequest(f"a page has 1 to {PAGE_ENTRIES_MAX} entries, not {request.limit}")
    found: list[ViolationState] = []
    for violation in reversed(state.violations.values()):
        if request.before and violation.seq >= request.before:
            continue
        own = (violation.actor, violation.author) == (session.actor, session.name)
        if session.actor not in _SEEN_BY and not own:
            continue
        if len(found) == request.limit:
            return ViolationPage(tuple(info_of_violation(state, each) for each in found), True)
        found.append(violation)
    return ViolationPage(tuple(info_of_violation(state, each) for each in found), False)


def _violation(state: State, session: SessionEntry, id: str, verb: str) -> ViolationState:
    if session.actor not in _SEEN_BY:
        raise forbid(
            f"only-users-{verb}",
            Action.DISCARD if verb == "discard" else Action.REFUSE,
            id,
            f"only a user may {verb} {id}; nobody can grant it: ask a user to run "
            f"agent-trace violations {verb} {id}",
        )
    return find_violation(state, id)


def _show(state: State, session: SessionEntry, request: ShowViolation) -> AnswerViolation:
    violation = _violation(state, session, request.violation, "show")
    current: DocumentState | None = None
    for kept in violation.body.kept:
        if kept.path == violation.body.path:
            current = state.documents.get(kept.document) or state.document_at(kept.path)
            break
    if current is not None and current.deleted:
        current = None
    return AnswerViolation(violation, info_of_violation(state, violation), current, state.seq)
