"""Questions about history: which document and which revision are meant, and what may be asked for.

What is known in memory is said here; the rest is read from the index by the shell, as of the
operation at which the question was decided.
"""

from __future__ import annotations

import msgspec

from agent_trace_protocol import (
    Blame,
    Diff,
    DocumentReport,
    InvalidRequest,
    NotFound,
    ShowDocument,
    Snapshot,
    TooLarge,
    Traces,
    parse_path,
    parse_pattern,
)
from agent_trace_protocol.limits import PAGE_ENTRIES_MAX

from .drafts import draft_id
from .effects import AnswerHistory
from .grants import info_of_grant
from .inputs import Now
from .lease_views import lease_info
from .state import DocumentState, State
from .views import document_info
from .violations import violation_id

__all__ = ["Question", "ask_history"]

Question = Diff | Blame | ShowDocument | Snapshot | Traces


def ask_history(state: State, request: Question, now: Now) -> AnswerHistory:
    """Return what is to be looked up for a question.

    Raises:
        NotFound: there is no such document or revision.
        InvalidRequest: it can not be answered.
    """
    match request:
        case Diff():
            return _diff(state, request)
        case Blame():
            return _blame(state, request)
        case ShowDocument():
            return _show(state, request, now)
        case Snapshot():
            _check_limit(request.limit)
            if request.seq > state.seq:
                raise NotFound(f"the store is at operation {state.seq}, not yet at {request.seq}")
            path = parse_path(request.path) if request.path else ""
            return AnswerHistory(msgspec.structs.replace(request, path=path), 0, state.seq)
        case Traces():
            _check_limit(request.limit)
            last = min(request.until or state.seq, state.seq)
            return AnswerHistory(msgspec.structs.replace(request, until=last), 0, state.seq)


def _diff(state: State, request: Diff) -> AnswerHistory:
    document = _document(state, request.path)
    newest = document.revision
    if request.content is not None:
        if request.new:
            raise InvalidRequest("compare with a revision or with a text, not with both")
        if len(request.content) > state.rules.document_bytes_max:
            raise TooLarge(
                f"the text has {len(request.content)} bytes; a document has at most "
                f"{state.rules.document_bytes_max}"
            )
        old, new = request.old or newest, 0
    elif request.old:
        old, new = request.old, request.new or newest
    else:
        new = request.new or newest
        old = new - 1
    for revision in (old, new):
        _check_revision(document, revision, least=0)
    asked = msgspec.structs.replace(request, path=document.path, old=old, new=new)
    return AnswerHistory(asked, document.id, state.seq)


def _blame(state: State, request: Blame) -> AnswerHistory:
    document = _document(state, request.path)
    revision = request.revision or document.revision
    if document.deleted and not request.revision:
        # What it was when it was there; the deletion itself has no lines.
        revision -= 1
    _check_revision(document, revision, least=1)
    if request.last_line and request.last_line < max(1, request.first_line):
        raise InvalidRequest(f"lines {request.first_line} to {request.last_line} are none")
    asked = msgspec.structs.replace(request, path=document.path, revision=revision)
    return AnswerHistory(asked, document.id, state.seq)


def _show(state: State, request: ShowDocument, now: Now) -> AnswerHistory:
    document = _document(state, request.path)
    pattern = parse_pattern(document.path)
    report = DocumentReport(
        document=document_info(document, state.annotations.get(document.id)),
        deleted=document.deleted,
        created_seq=0,
        created_ms=0,
        created_by="",
        lines=0,
        sessions=(),
        sessions_complete=False,
        leases=()
        if document.deleted
        else tuple(lease_info(state, each, now) for each in state.leases.overlapping(pattern)),
        grants=tuple(
            info_of_grant(state, each, now)
            for each in state.grants.values()
            if each.document == document.id and each.until > now.monotonic
        ),
        drafts=tuple(
            draft_id(each.seq)
            for each in state.drafts.values()
            if any(kept.document == document.id for kept in each.body.kept)
        ),
        violations=tuple(
            violation_id(each.seq)
            for each in state.violations.values()
            if any(kept.document == document.id for kept in each.body.kept)
        ),
    )
    return AnswerHistory(request, document.id, state.seq, report)


def _document(state: State, text: str) -> DocumentState:
    path = parse_path(text)
    found = state.document_at(path) or state.deleted_at(path)
    if found is None:
        raise NotFound(f"there is no document {path}, and none was deleted from there")
    return found


def _check_revision(document: DocumentState, revision: int, *, least: int) -> None:
    if not least <= revision <= document.revision:
        raise NotFound(f"{document.path} has revisions 1 to {document.revision}, not {revision}")


def _check_limit(limit: int) -> None:
    if not 1 <= limit <= PAGE_ENTRIES_MAX:
        raise InvalidRequest(f"a page has 1 to {PAGE_ENTRIES_MAX} entries, not {limit}")
