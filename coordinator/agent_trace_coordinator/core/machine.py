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
    Actor,
    AgentTraceError,
    Close,
    Committed,
    Conflict,
    DocumentInfo,
    Done,
    Durability,
    Heartbeat,
    InternalError,
    InvalidRequest,
    ListDocuments,
    Log,
    NotFound,
    Open,
    Opened,
    Page,
    PermissionDenied,
    Ping,
    Read,
    Refused,
    RequestReused,
    SessionList,
    Sessions,
    SessionUnknown,
    Status,
    Stop,
    Transact,
    WriteResult,
    parse_path,
)
from agent_trace_protocol.limits import PAGE_ENTRIES_MAX, TEXT_FIELD_LENGTH_MAX

from .apply import apply_record
from .documents import LateWrite, decide, draft_id
from .effects import Answer, AnswerContent, AnswerQuery, Append, Effect, Leave
from .inputs import Now, Received, Tick
from .records import (
    Changed,
    Drafted,
    Entry,
    Record,
    RecordBody,
    SessionClosed,
    chain_hash,
    content_digest,
    content_key,
    encode_record,
)
from .sessions import (
    begin,
    check_resumed,
    check_version,
    due,
    extend,
    info_of,
    opened_body,
)
from .state import DocumentState, SessionEntry, State

__all__ = ["step"]


def step(state: State, input: Received | Tick, now: Now) -> list[Effect]:
    """Take one input, change the state, and return what must be done, in order.

    Never raises for anything a client sent: a refusal is an `Answer` too.
    """
    match input:
        case Received():
            try:
                return _receive(state, input, now)
            except AgentTraceError as error:
                return [Answer(Refused(error.to_info()), 0)]
        case Tick():
            return _tick(state, now)
        case _:
            assert_never(input)


def _receive(state: State, input: Received, now: Now) -> list[Effect]:
    request = input.request
    if isinstance(request, Open):
        return _open(state, input, request, now)
    session = state.sessions.get(input.session)
    if session is None:
        raise SessionUnknown(f"there is no open session {input.session}; open it first")
    session.seen = now.monotonic
    match request:
        case Transact():
            return _transact(state, session, input, request, now)
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
            return [Answer(_session_list(state, now), state.seq)]
        case Close():
            return [*_end(state, session, _reason(request.reason), now), Answer(Done(), state.seq)]
        case Stop():
            if session.actor is not Actor.USER:
                raise PermissionDenied("only a user may stop the coordinator")
            return [Answer(Done(), state.seq), Leave()]
        case _:
            assert_never(request)


# ---- records --------------------------------------------------------------------------------


def _append(
    state: State,
    session: SessionEntry,
    body: RecordBody,
    now: Now,
    *,
    request: int = 0,
    fingerprint: bytes = b"",
    contents: tuple[tuple[int, bytes], ...] = (),
) -> Append:
    """Make the next record, apply it, and return the effect that makes it durable."""
    record = Record(
        seq=state.seq + 1,
        epoch=state.epoch,
        # Recorded times never decrease, whatever the wall clock does.
        time_ms=max(now.wall_ms, state.time_ms),
        actor=session.actor,
        author=session.name,
        session=session.id,
        request=request,
        fingerprint=fingerprint,
        body=body,
    )
    encoded = encode_record(record)
    chain = chain_hash(state.chain, encoded)
    apply_record(state, record, chain, now.monotonic)
    return Append(Entry(record, encoded, chain, contents))


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
        if superseded is not None:
            effects += _end(state, superseded, f"superseded by {session.id}", now)
        if session.ephemeral:
            state.sessions[session.id] = session
        else:
            effects.append(_append(state, session, opened_body(session), now))
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
    )
    effects.append(Answer(opened, state.seq))
    return effects


def _session_list(state: State, now: Now) -> SessionList:
    """Return the sessions that gave a sign of life last, as many as a page holds."""
    latest = heapq.nlargest(PAGE_ENTRIES_MAX, state.sessions.values(), key=lambda each: each.seen)
    return SessionList(tuple(info_of(state, each, now) for each in latest))


def _end(state: State, session: SessionEntry, reason: str, now: Now) -> list[Effect]:
    if session.journaled:
        return [_append(state, session, SessionClosed(reason), now)]
    del state.sessions[session.id]
    return []


def _reason(text: str) -> str:
    return text[:TEXT_FIELD_LENGTH_MAX] if text and text.isprintable() else "closed"


def _tick(state: State, now: Now) -> list[Effect]:
    extend(state, now)
    effects: list[Effect] = []
    for session, closed in due(state, now):
        effects += _end(state, session, closed.reason, now)
    return effects


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
    introduce = not session.journaled
    seq = state.seq + (2 if introduce else 1)
    body: RecordBody
    try:
        decided = decide(state, session.actor, session.name, request.operations, input.facts, seq)
        body = Changed(tuple(decided.changes), request.message, decided.draft)
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
    effects: list[Effect] = []
    if introduce:
        effects.append(_append(state, session, opened_body(session), now))
    append = _append(
        state,
        session,
        body,
        now,
        request=input.number,
        fingerprint=input.fingerprint,
        contents=contents,
    )
    effects += [append, _outcome(append.entry.record, in_git)]
    return effects


def _repeat(previous: Record, fingerprint: bytes, in_git: bool) -> Answer:
    """Answer a request that was carried out before: the same answer, and nothing done."""
    if previous.fingerprint != fingerprint:
        raise RequestReused(
            f"request {previous.request} of session {previous.session} was used for other content"
        )
    return _outcome(previous, in_git)


def _outcome(record: Record, in_git: bool) -> Answer:
    """Return the answer to the transaction that made a record; the same one every time."""
    body = record.body
    if isinstance(body, Drafted):
        info = body.conflict
        message = (
            f"{info.path} is at revision {info.current}, not {info.expected}; your text is kept "
            f"as {info.draft}"
        )
        return Answer(Refused(Conflict(message, info).to_info()), record.seq)
    if not isinstance(body, Changed):
        raise InternalError(f"record {record.seq} is not a transaction's")
    committed = Committed(
        record.seq,
        tuple(
            WriteResult(change.path, change.revision, change.action, change.added, change.removed)
            for change in body.changes
        ),
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
