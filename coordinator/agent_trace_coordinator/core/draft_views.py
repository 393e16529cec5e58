"""Drafts as they are asked for: listed, shown with what others changed, discarded."""

from __future__ import annotations

from typing import Final, Protocol

from agent_trace_protocol import (
    Action,
    Actor,
    DiscardDraft,
    Done,
    DraftInfo,
    DraftReport,
    Drafts,
    DraftText,
    InvalidRequest,
    ShowDraft,
    parse_path,
)
from agent_trace_protocol.limits import DOCUMENT_BYTES_MAX

from .drafts import draft_id, find_draft
from .effects import Answer, AnswerDrafts, Effect
from .inputs import Now, Received
from .merge import merge, show_changes
from .permissions import Forbidden
from .policy import repeated
from .recording import append, introduce
from .records import Change, Discarded, Kept, Record
from .state import DocumentState, DraftState, SessionEntry, State
from .violations import Attempt

__all__ = ["DraftRequest", "Revisions", "draft_request", "info_of_draft", "report_of_draft"]

DRAFTS_PAGE_MAX: Final = 100
"""Entries of a page of drafts: for each of them three texts are read and merged."""

DIFF_BYTES_MAX: Final = 16_000
"""Bytes of a diff that a report shows."""

REPORT_DIFFS_BYTES_MAX: Final = 4 * DIFF_BYTES_MAX
"""Bytes of all diffs of a report: a draft has up to 64 texts."""

WRITERS_MAX: Final = 100
"""Revisions whose writers a report names."""

DraftRequest = Drafts | ShowDraft | DiscardDraft


class Revisions(Protocol):
    """Where contents and revisions are looked up."""

    def content(self, key: int, digest: bytes) -> bytes: ...
    def change(self, document: int, revision: int) -> tuple[Record, Change] | None: ...


def draft_request(
    state: State, session: SessionEntry, input: Received, request: DraftRequest, now: Now
) -> list[Effect]:
    """Answer a request about drafts.

    Raises:
        Forbidden: the draft is another one's; it goes on record.
    """
    match request:
        case Drafts():
            return [_page(state, session, request)]
        case ShowDraft():
            draft = _own(state, session, request.draft, "sees")
            return [AnswerDrafts(request, ((draft, _documents(state, draft)),), False, state.seq)]
        case DiscardDraft():
            if input.number < 1:
                raise InvalidRequest(f"{input.number} is not a request number; they count from 1")
            if input.facts.previous is not None:
                return [repeated(input.facts.previous)]
            draft = _own(state, session, request.draft, "discards")
            body = Discarded(draft=draft.seq)
            return [
                *introduce(state, session, now),
                append(
                    state, session, body, now, request=input.number, fingerprint=input.fingerprint
                ),
                Answer(Done(), state.seq),
            ]


def _page(state: State, session: SessionEntry, request: Drafts) -> AnswerDrafts:
    if not 1 <= request.limit <= DRAFTS_PAGE_MAX:
        raise InvalidRequest(
            f"a page of drafts has 1 to {DRAFTS_PAGE_MAX} entries, not {request.limit}"
        )
    path = parse_path(request.path) if request.path else ""
    found: list[tuple[DraftState, tuple[DocumentState | None, ...]]] = []
    for draft in reversed(state.drafts.values()):
        own = (draft.actor, draft.author) == (session.actor, session.name)
        if (
            (request.before and draft.seq >= request.before)
            or (session.actor is not Actor.USER and not own)
            or request.author not in ("", draft.author)
        ):
            continue
        documents = _documents(state, draft)
        if path and not any(
            path in (kept.path, "" if document is None else document.path)
            for kept, document in zip(draft.body.kept, documents, strict=True)
        ):
            continue
        if len(found) == request.limit:
            return AnswerDrafts(request, tuple(found), True, state.seq)
        found.append((draft, documents))
    return AnswerDrafts(request, tuple(found), False, state.seq)


def _own(state: State, session: SessionEntry, id: str, does: str) -> DraftState:
    try:
        return find_draft(state, id, session.actor, session.name, does)
    except Forbidden as forbidden:
        forbidden.attempt = Attempt(Action.DRAFT, id)
        raise


def _documents(state: State, draft: DraftState) -> tuple[DocumentState | None, ...]:
    return tuple(state.kept_document(kept) for kept in draft.body.kept)


# ---- with the texts; where they are looked up is for the caller to say ----------------------


def _merged(
    kept: Kept, document: DocumentState | None, revisions: Revisions
) -> tuple[bool, bytes | None, bytes]:
    """Return whether a text can be joined with its document, the text it is based on, and what
    the document is now."""
    if document is None:
        return kept.base_revision == 0 or kept.action is Action.DELETE, b"", b""
    current = revisions.content(document.content_key, document.digest)
    if document.id != kept.document:
        # Another document has its path by now, or has been made there first.
        return kept.action is Action.DELETE, None if kept.base_revision else b"", current
    base: bytes | None = None if kept.base_revision else b""
    change = revisions.change(document.id, kept.base_revision)
    if change is not None and change[1].content_key:
        base = revisions.content(change[1].content_key, change[1].digest)
    if kept.base_revision == document.revision:
        return True, base, current
    if kept.action is Action.DELETE or base is None or not kept.base_revision:
        return False, base, current
    mine = revisions.content(kept.content_key, kept.digest)
    return merge(base, mine, current) is not None, base, current


def info_of_draft(
    draft: DraftState, documents: tuple[DocumentState | None, ...], revisions: Revisions
) -> DraftInfo:
    """Return a draft as a listing shows it."""
    kept = draft.body.kept
    first = next((at for at, each in enumerate(kept) if each.path == draft.body.conflict.path), 0)
    document = documents[first]
    return DraftInfo(
        id=draft_id(draft.seq),
        seq=draft.seq,
        time_ms=draft.time_ms,
        actor=draft.actor,
        author=draft.author,
        session=draft.session,
        code=draft.body.code,
        path=kept[first].path if document is None else document.path,
        base_revision=kept[first].base_revision,
        current=0 if document is None else document.revision,
        texts=len(kept),
        size=draft.size,
        merges=all(
            _merged(each, now, revisions)[0] for each, now in zip(kept, documents, strict=True)
        ),
    )


def report_of_draft(
    draft: DraftState, documents: tuple[DocumentState | None, ...], revisions: Revisions
) -> DraftReport:
    """Return a draft with its texts, what each would change, and what others changed."""
    texts: list[DraftText] = []
    room, diff_room = DOCUMENT_BYTES_MAX - REPORT_DIFFS_BYTES_MAX, REPORT_DIFFS_BYTES_MAX
    for kept, document in zip(draft.body.kept, documents, strict=True):
        merges, base, current = _merged(kept, document, revisions)
        mine = b"" if not kept.content_key else revisions.content(kept.content_key, kept.digest)
        shown = len(mine) <= room
        room -= len(mine) if shown else 0
        diff = others = ""
        if diff_room > 0:
            diff = show_changes(current, mine, DIFF_BYTES_MAX)
            if document is not None and base is not None:
                others = show_changes(base, current, DIFF_BYTES_MAX)
            diff_room -= len(diff.encode()) + len(others.encode())
        texts.append(
            DraftText(
                path=kept.path if document is None else document.path,
                action=kept.action,
                base_revision=kept.base_revision,
                current=0 if document is None else document.revision,
                size=kept.size,
                shown=shown,
                content=mine if shown else b"",
                merges=merges,
                diff=diff,
                others=others,
                writers=_writers(kept, document, revisions),
            )
        )
    return DraftReport(info_of_draft(draft, documents, revisions), tuple(texts))


def _writers(kept: Kept, document: DocumentState | None, revisions: Revisions) -> tuple[str, ...]:
    if document is None:
        return ()
    first = max(kept.base_revision, document.revision - WRITERS_MAX)
    writers: dict[str, None] = {}
    for revision in range(document.revision, first, -1):
        change = revisions.change(document.id, revision)
        if change is not None:
            writers[change[0].author] = None
    return tuple(writers)
