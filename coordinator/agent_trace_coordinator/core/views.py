"""What requests that only look are answered with: documents, sessions, history and events."""

from __future__ import annotations

import bisect
import heapq
import itertools

from agent_trace_protocol import (
    DocumentInfo,
    Events,
    InvalidRequest,
    ListDocuments,
    Log,
    NotFound,
    Page,
    Read,
    Search,
    SessionList,
    Sessions,
    SessionState,
    parse_path,
    parse_pattern,
    parse_tag,
)
from agent_trace_protocol.limits import EVENTS_WAIT_SECONDS_MAX, PAGE_ENTRIES_MAX, SEARCH_HITS_MAX

from .effects import (
    Answer,
    AnswerContent,
    AnswerEvents,
    AnswerQuery,
    AnswerSearch,
    AnswerSessions,
    AnswerStatus,
)
from .generated import count_generated, is_rendered, read_generated
from .inputs import Facts, Now
from .records import Annotation
from .search_query import match_expression
from .sessions import info_of, session_state
from .state import DocumentState, State

__all__ = [
    "document_info",
    "list_documents",
    "list_sessions",
    "read",
    "read_events",
    "read_log",
    "read_status",
    "search",
]


def read(state: State, request: Read, facts: Facts) -> AnswerContent | Answer:
    """Return which revision of which document is to be sent."""
    path = parse_path(request.path)
    if not request.revision and is_rendered(state, path):
        return Answer(read_generated(state, path, facts), state.seq)
    document = state.document_at(path)
    after = document.seq if document is not None else state.seq
    if document is None and request.revision:
        # That another one is not there any more may not be durable yet.
        document = state.deleted_at(path)
    if document is None:
        raise NotFound(f"there is no document {path}")
    revision = request.revision or document.revision
    if not 1 <= revision <= document.revision:
        raise NotFound(f"{path} has revisions 1 to {document.revision}, not {request.revision}")
    return AnswerContent(document, revision, after)


def list_documents(state: State, request: ListDocuments) -> Page:
    """Return a page of the documents."""
    limit = _limit(request.limit)
    start = bisect.bisect_right(state.paths, request.after)
    if request.prefix:
        start = max(start, bisect.bisect_left(state.paths, request.prefix))
    tag = parse_tag(request.tag) if request.tag else ""
    listed: list[DocumentInfo] = []
    for path in itertools.islice(state.paths, start, None):
        if request.prefix and not path.startswith(request.prefix):
            break
        document = state.documents[state.by_path[path]]
        if request.type is not None and document.type is not request.type:
            continue
        annotation = state.annotations.get(document.id)
        if tag and (annotation is None or tag not in annotation.tags):
            continue
        if len(listed) == limit:
            return Page(tuple(listed), True)
        listed.append(document_info(document, annotation))
    return Page(tuple(listed), False)


def read_log(state: State, request: Log) -> AnswerQuery:
    """Return of which document the log is to be sent."""
    _limit(request.limit)
    document = 0
    if request.path:
        path = parse_path(request.path)
        found = state.document_at(path) or state.deleted_at(path)
        if found is None:
            raise NotFound(f"there is no document {path}, and none was deleted from there")
        document = found.id
    return AnswerQuery(request, document, state.seq)


def search(state: State, request: Search) -> AnswerSearch:
    """Return that a search is to be made, if the query can be understood."""
    if not 1 <= request.limit <= SEARCH_HITS_MAX:
        raise InvalidRequest(f"a search has 1 to {SEARCH_HITS_MAX} hits, not {request.limit}")
    match_expression(request.query)
    return AnswerSearch(request, state.seq)


def _limit(limit: int) -> int:
    if not 1 <= limit <= PAGE_ENTRIES_MAX:
        raise InvalidRequest(f"a page has 1 to {PAGE_ENTRIES_MAX} entries, not {limit}")
    return limit


def document_info(document: DocumentState, annotation: Annotation | None) -> DocumentInfo:
    """Return a document as a listing shows it."""
    return DocumentInfo(
        id=document.id,
        path=document.path,
        type=document.type,
        revision=document.revision,
        size=document.size,
        seq=document.seq,
        time_ms=document.time_ms,
        author=document.author,
        tags=() if annotation is None else annotation.tags,
        description="" if annotation is None else annotation.description,
    )


def list_sessions(state: State, request: Sessions, now: Now) -> Answer | AnswerSessions:
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


def read_status(state: State, now: Now) -> AnswerStatus:
    """Return how the store is at this point of the order."""
    states = [session_state(state, session, now) for session in state.sessions.values()]
    return AnswerStatus(
        documents=len(state.by_path) - count_generated(state),
        leases=len(state.leases.by_token),
        violations=len(state.violations),
        drafts=len(state.drafts),
        sessions_live=states.count(SessionState.LIVE),
        sessions_stale=states.count(SessionState.STALE),
        after=state.seq,
    )


def read_events(state: State, request: Events) -> AnswerEvents:
    """Return that events are to be sent, if the request makes sense."""
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
