"""`step`: the one entrance of the core. It dispatches and orders; the rules lie in the modules.

Every accepted operation goes the same way: decided without touching the state, made a `Record`,
applied to the state by `apply_record`, and returned as an `Append` in front of the answer that
depends on it. A refusal changes nothing.
"""

from __future__ import annotations

import bisect
import heapq
import itertools
from typing import assert_never

import msgspec

from agent_trace_protocol import (
    AcquireLease,
    Action,
    Actor,
    AgentTraceError,
    CancelLease,
    Close,
    Committed,
    Conflict,
    DiscardViolation,
    DocumentInfo,
    Done,
    Durability,
    Events,
    EvictSession,
    Heartbeat,
    InternalError,
    InvalidRequest,
    LeaseInfo,
    Leases,
    ListDocuments,
    Lock,
    Log,
    NotFound,
    Open,
    Opened,
    Page,
    Permissions,
    Ping,
    Read,
    Refused,
    ReleaseLease,
    RenewLease,
    Request,
    RequestReused,
    SessionList,
    Sessions,
    SessionSuperseded,
    SessionUnknown,
    ShowViolation,
    StaleLease,
    Status,
    Stop,
    Transact,
    Unlock,
    Violations,
    WriteResult,
    parse_path,
    parse_pattern,
)
from agent_trace_protocol.limits import (
    EVENTS_WAIT_SECONDS_MAX,
    PAGE_ENTRIES_MAX,
    TEXT_FIELD_LENGTH_MAX,
)

from .documents import LateWrite, StaleWrite, decide, draft_id
from .effects import (
    Answer,
    AnswerContent,
    AnswerEvents,
    AnswerQuery,
    AnswerSessions,
    Effect,
    Leave,
)
from .files import take_files
from .inputs import FilesChanged, Now, Received, Tick
from .lease_guard import Guard
from .lease_queue import expire, settle, stop_waiting
from .lease_table import LeaseState
from .lease_views import held_info
from .leases import acquire, cancel, hand_over, list_leases, release, renew
from .permissions import Forbidden
from .policy import end_grants, forbid, policy_request, record_refusal
from .recording import append, introduce
from .records import (
    Changed,
    Drafted,
    Record,
    RecordBody,
    SessionClosed,
    Violated,
    content_digest,
    content_key,
)
from .sessions import (
    begin,
    check_resumed,
    check_version,
    due,
    extend,
    info_of,
)
from .state import DocumentState, SessionEntry, State
from .violations import refusal_of

__all__ = ["step"]


def step(state: State, input: Received | Tick | FilesChanged, now: Now) -> list[Effect]:
    """Take one input, change the state, and return what must be done, in order.

    Never raises for anything a client sent: a refusal is an `Answer` too.
    """
    match input:
        case Received():
            # Time in which nothing ran counts for nobody, whatever comes first after it.
            extend(state, now)
            try:
                effects = _receive(state, input, now)
                if state.waiters and state.leases.freed:
                    effects += settle(state, now)
                return effects
            except AgentTraceError as error:
                # A refusal tells of the state too, and of what is not durable in it.
                return [Answer(Refused(error.to_info()), state.seq)]
        case Tick():
            return _tick(state, input, now)
        case FilesChanged():
            extend(state, now)
            return take_files(state, input, now)
        case _:
            assert_never(input)


def _receive(state: State, input: Received, now: Now) -> list[Effect]:
    request = input.request
    if isinstance(request, Open):
        return _open(state, input, request, now)
    session = state.sessions.get(input.session)
    if session is None:
        previous = input.facts.previous
        if isinstance(request, Transact) and previous is not None:
            # The session has ended, and what it did stays done: its answer is still its answer.
            in_git = request.durability is Durability.GIT
            return [_repeat(previous, input.fingerprint, in_git)]
        if input.facts.session_ended:
            raise SessionSuperseded(
                f"session {input.session} ended ({input.facts.session_ended}); connect anew"
            )
        raise SessionUnknown(f"there is no open session {input.session}; open it first")
    session.seen = now.monotonic
    # Whether an unlock still holds is known before anything is decided by it.
    writes = isinstance(request, (Transact, Unlock, Lock, DiscardViolation))
    ended = end_grants(state, now) if writes else []
    try:
        return ended + _answer(state, session, input, request, now)
    except Forbidden as forbidden:
        return ended + record_refusal(state, session, input, forbidden, now)
    except AgentTraceError as error:
        if not ended:
            raise
        return [*ended, Answer(Refused(error.to_info()), state.seq)]


def _answer(
    state: State, session: SessionEntry, input: Received, request: Request, now: Now
) -> list[Effect]:
    assert not isinstance(request, Open), "opening comes before there is a session"
    match request:
        case Transact():
            return _transact(state, session, input, request, now)
        case (
            Permissions() | Unlock() | Lock() | Violations() | ShowViolation() | DiscardViolation()
        ):
            return policy_request(state, session, input, request, now)
        case Heartbeat() | Ping():
            return [Answer(Done(), 0)]
        case Read():
            return [_read(state, request)]
        case ListDocuments():
            return [Answer(_page(state, request), state.seq)]
        case Log():
            return [_log(state, request)]
        case Status():
            return [AnswerQuery(request, 0, state.seq)]
        case Sessions():
            return [_sessions(state, request, now)]
        case EvictSession():
            return _evict(state, session, request, now)
        case AcquireLease():
            if session.actor is Actor.READER:
                message = "a reader takes no leases; nobody can grant it: connect as an agent"
                raise forbid("reader", Action.REFUSE, request.path, message)
            return acquire(state, session, input, request, now)
        case RenewLease():
            return renew(state, session, request, now)
        case ReleaseLease():
            return release(state, session, input, request, now)
        case CancelLease():
            return cancel(state, session, input, request, now)
        case Leases():
            return [Answer(list_leases(state, request, now), state.seq)]
        case Events():
            return [_events(state, request)]
        case Close():
            return [*_end(state, session, _reason(request.reason), now), Answer(Done(), state.seq)]
        case Stop():
            if session.actor is not Actor.USER:
                message = "only a user may stop the coordinator; nobody can grant it"
                raise forbid("only-users-stop", Action.CLOSE, "", message)
            return [Answer(Done(), state.seq), Leave()]
        case _:
            assert_never(request)


# ---- sessions -------------------------------------------------------------------------------


def _open(state: State, input: Received, request: Open, now: Now) -> list[Effect]:
    protocol = check_version(request)
    effects: list[Effect] = []
    session = state.sessions.get(input.session)
    if session is not None:
        check_resumed(session, request)
        session.seen = now.monotonic
    else:
        session, superseded = begin(state, input.session, request, input.facts, now)
        inherited: list[LeaseState] = []
        if superseded is not None:
            inherited = state.leases.held_by(superseded.id)
            effects += _end(state, superseded, f"superseded by {session.id}", now)
        if session.ephemeral:
            state.sessions[session.id] = session
        else:
            effects += introduce(state, session, now)
            # Before anybody who waits gets them.
            effects += hand_over(state, inherited, session, now)
    opened = Opened(
        session=session.id,
        protocol=protocol,
        epoch=state.epoch,
        store=state.store,
        heartbeat_seconds=state.rules.heartbeat_seconds,
        stale_seconds=state.rules.stale_seconds,
        document_bytes_max=state.rules.document_bytes_max,
        next_number=session.request_high + 1,
        predecessor=session.predecessor,
        leases=held_info(state, session.id, now),
    )
    effects.append(Answer(opened, state.seq))
    return effects


def _sessions(state: State, request: Sessions, now: Now) -> Answer | AnswerSessions:
    """Return the sessions that gave a sign of life last, as many as a page holds."""
    asked = [
        each
        for each in state.sessions.values()
        if each.id.startswith(request.id) and request.name in ("", each.name)
    ]
    latest = heapq.nlargest(_limit(request.limit), asked, key=lambda each: each.seen)
    infos = tuple(info_of(state, each, now) for each in latest)
    if request.ended and len(infos) < request.limit:
        return AnswerSessions(request, infos, state.seq)
    return Answer(SessionList(infos), state.seq)


def _evict(state: State, session: SessionEntry, request: EvictSession, now: Now) -> list[Effect]:
    if session.actor is not Actor.USER:
        message = "only a user ends another's session; ask one: agent-trace sessions evict"
        raise forbid("only-users-evict", Action.CLOSE, request.session[:64], message)
    if request.session == session.id:
        raise InvalidRequest("this is the asking session itself; close it")
    evicted = state.sessions.get(request.session)
    if evicted is None:
        raise NotFound(f"there is no open session {request.session[:64]}")
    if not request.reason.isprintable() or len(request.reason) > TEXT_FIELD_LENGTH_MAX:
        raise InvalidRequest(
            f"a reason is one line of at most {TEXT_FIELD_LENGTH_MAX} printable characters"
        )
    reason = f": {request.reason}" if request.reason else ""
    effects = _end(state, evicted, _reason(f"evicted by {session.name}{reason}"), now)
    return [*effects, Answer(Done(), state.seq)]


def _end(state: State, session: SessionEntry, reason: str, now: Now) -> list[Effect]:
    effects = stop_waiting(state, session.id, reason)
    if session.journaled:
        return [append(state, session, SessionClosed(reason), now), *effects]
    del state.sessions[session.id]
    return effects


def _reason(text: str) -> str:
    return text[:TEXT_FIELD_LENGTH_MAX] if text and text.isprintable() else "closed"


def _tick(state: State, input: Tick, now: Now) -> list[Effect]:
    extend(state, now)
    effects: list[Effect] = []
    for session, closed in due(state, now):
        effects += _end(state, session, closed.reason, now)
    return effects + expire(state, input.gone, now) + end_grants(state, now)


def _events(state: State, request: Events) -> AnswerEvents:
    _limit(request.limit)
    if request.path:
        parse_pattern(request.path)
    if request.wait_seconds > EVENTS_WAIT_SECONDS_MAX:
        raise InvalidRequest(
            f"a request for events waits at most {EVENTS_WAIT_SECONDS_MAX:g} s, not "
            f"{request.wait_seconds:g}"
        )
    if request.since > state.seq:
        raise InvalidRequest(
            f"the store is at operation {state.seq}, so nothing after {request.since} can be "
            "missing; is this another store?"
        )
    return AnswerEvents(request)


# ---- documents ------------------------------------------------------------------------------


def _transact(
    state: State, session: SessionEntry, input: Received, request: Transact, now: Now
) -> list[Effect]:
    if input.number < 1:
        raise InvalidRequest(f"{input.number} is not a request number; they count from 1")
    in_git = request.durability is Durability.GIT
    previous = input.facts.previous
    if previous is not None:
        return [_repeat(previous, input.fingerprint, in_git)]
    if len(request.message) > TEXT_FIELD_LENGTH_MAX or not request.message.isprintable():
        raise InvalidRequest(
            f"a message is one line of at most {TEXT_FIELD_LENGTH_MAX} printable characters"
        )
    seq = state.seq + (1 if session.journaled else 2)
    guard = Guard(state, session.id, request.leases, now)
    body: RecordBody
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
        )
        contents = tuple(decided.contents)
    except LateWrite as late:
        key = content_key(seq, 0)
        body = Drafted(
            conflict=msgspec.structs.replace(late.info, draft=draft_id(seq)),
            document=late.document,
            content_key=key,
            digest=content_digest(late.text),
            size=len(late.text),
        )
        contents = ((key, late.text),)
    except StaleWrite as late:
        key = content_key(seq, 0)
        body = Drafted(
            conflict=msgspec.structs.replace(late.conflict, draft=draft_id(seq)),
            document=late.document,
            content_key=key,
            digest=content_digest(late.text),
            size=len(late.text),
            lease=late.kept_as(draft_id(seq)),
        )
        contents = ((key, late.text),)
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
    effects += [appended, _outcome(appended.entry.record, in_git, guard.warnings)]
    return effects


def _repeat(previous: Record, fingerprint: bytes, in_git: bool) -> Answer:
    """Answer a request that was carried out before: the same answer, and nothing done."""
    if previous.fingerprint != fingerprint:
        raise RequestReused(
            f"request {previous.request} of session {previous.session} was used for other content"
        )
    return _outcome(previous, in_git)


def _outcome(record: Record, in_git: bool, warnings: tuple[LeaseInfo, ...] = ()) -> Answer:
    """Return the answer to the transaction that made a record; the same one every time, but for
    warnings, which are about the moment."""
    body = record.body
    if isinstance(body, Drafted) and body.lease is not None:
        lost = body.lease
        by = "nobody holds it now"
        if lost.holder:
            by = f"{lost.holder} holds it since operation {lost.since_seq}"
        message = (
            f"the lease under which {lost.path} was to be written is not held by this session any "
            f"more: {by}; your text is kept as {lost.draft}"
        )
        return Answer(Refused(StaleLease(message, lost).to_info()), record.seq)
    if isinstance(body, Drafted):
        info = body.conflict
        message = (
            f"{info.path} is at revision {info.current}, not {info.expected}; your text is kept "
            f"as {info.draft}"
        )
        return Answer(Refused(Conflict(message, info).to_info()), record.seq)
    if isinstance(body, Violated):
        return Answer(Refused(refusal_of(record.seq, body)), record.seq)
    if not isinstance(body, Changed):
        raise InternalError(f"record {record.seq} is not a transaction's")
    committed = Committed(
        record.seq,
        tuple(
            WriteResult(change.path, change.revision, change.action, change.added, change.removed)
            for change in body.changes
        ),
        warnings=warnings,
    )
    return Answer(committed, record.seq, in_git)


def _read(state: State, request: Read) -> AnswerContent:
    path = parse_path(request.path)
    document = state.document_at(path)
    if document is None and request.revision:
        document = state.deleted_at(path)
    if document is None:
        raise NotFound(f"there is no document {path}")
    revision = request.revision or document.revision
    if not 1 <= revision <= document.revision:
        raise NotFound(f"{path} has revisions 1 to {document.revision}, not {request.revision}")
    return AnswerContent(document, revision, document.seq)


def _page(state: State, request: ListDocuments) -> Page:
    limit = _limit(request.limit)
    start = bisect.bisect_right(state.paths, request.after)
    if request.prefix:
        start = max(start, bisect.bisect_left(state.paths, request.prefix))
    listed: list[DocumentInfo] = []
    for path in itertools.islice(state.paths, start, None):
        if request.prefix and not path.startswith(request.prefix):
            break
        document = state.documents[state.by_path[path]]
        if request.type is not None and document.type is not request.type:
            continue
        if len(listed) == limit:
            return Page(tuple(listed), True)
        listed.append(_document_info(document))
    return Page(tuple(listed), False)


def _log(state: State, request: Log) -> AnswerQuery:
    _limit(request.limit)
    document = 0
    if request.path:
        path = parse_path(request.path)
        found = state.document_at(path) or state.deleted_at(path)
        if found is None:
            raise NotFound(f"there is no document {path}, and none was deleted from there")
        document = found.id
    return AnswerQuery(request, document, state.seq)


def _limit(limit: int) -> int:
    if not 1 <= limit <= PAGE_ENTRIES_MAX:
        raise InvalidRequest(f"a page has 1 to {PAGE_ENTRIES_MAX} entries, not {limit}")
    return limit


def _document_info(document: DocumentState) -> DocumentInfo:
    return DocumentInfo(
        id=document.id,
        path=document.path,
        type=document.type,
        revision=document.revision,
        size=document.size,
        seq=document.seq,
        time_ms=document.time_ms,
        author=document.author,
    )
