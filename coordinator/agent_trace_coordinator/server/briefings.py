"""Questions about the trace, answered off the event loop: briefings, recaps, and why.

One worker thread and one connection of their own, so that neither the log nor the write path waits
for them. What a document says is worked out when it is asked for and kept until the document
changes, within a bound; it is a function of the content, so losing it costs time and nothing else.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from typing import Final, assert_never

import anyio
import anyio.to_thread

from agent_trace_coordinator.core.brief_source import DocumentNote, PastSession
from agent_trace_coordinator.core.briefing import compose
from agent_trace_coordinator.core.digest import digest_of
from agent_trace_coordinator.core.effects import AnswerTrace
from agent_trace_coordinator.core.entries import log_entries
from agent_trace_coordinator.core.recap import STRETCH_OPERATIONS, recap_part
from agent_trace_coordinator.core.records import (
    BasedOn,
    Change,
    Changed,
    Record,
    SessionClosed,
    SessionOpened,
)
from agent_trace_coordinator.core.sight import Sight
from agent_trace_coordinator.core.state import DocumentState
from agent_trace_coordinator.core.why import basis_of, origin_of
from agent_trace_coordinator.errors import CorruptStore
from agent_trace_coordinator.storage.trace_index import OPERATIONS_COUNTED_MAX, TraceIndex
from agent_trace_protocol import (
    Actor,
    Brief,
    NotFound,
    Reason,
    Recap,
    RecapPart,
    RecapSession,
    Reply,
    SessionInfo,
    SessionState,
    Why,
)

__all__ = ["Briefings", "Trace"]

NOTES_KEPT_MAX: Final = 2000
"""Documents of which it is remembered what they say: twice what one briefing looks at. Of a
hostile document that may be 16 KiB."""

REVISIONS_BEHIND_MAX: Final = 8
"""Revisions of a document whose writers' reads count for what it rests on."""

READS_WALKED_MAX: Final = 200
"""Operations of a session that are looked at for what it had read."""


class Trace:
    """The index with a memory for what documents say. Used by one thread at a time."""

    def __init__(self, index: TraceIndex) -> None:
        self._index = index
        self._notes: OrderedDict[int, tuple[int, DocumentNote]] = OrderedDict()
        """By document: the revision, and what is known of it."""

    def answer(self, question: AnswerTrace) -> Reply:
        """Return the answer to a question whose records are durable."""
        request, sight = question.request, question.sight
        match request:
            case Brief():
                if request.fresh:
                    self._notes.clear()
                return compose(sight, request, self)
            case Why():
                return self._why(sight, request)
            case RecapSession():
                return self._recap(sight, request)
            case _:
                assert_never(request)

    # -- what the briefing asks ------------------------------------------------------------

    def sessions_of(self, actor: Actor, name: str, seq: int, limit: int) -> Iterator[PastSession]:
        return self._index.sessions_of(actor, name, seq, limit)

    def operations(self, session: int, seq: int, limit: int, before: int = 0) -> list[Record]:
        return self._index.operations(session, seq, limit, before)

    def notes(self, session: int, seq: int, limit: int) -> list[Record]:
        return self._index.notes(session, seq, limit)

    def count_operations(self, session: int, seq: int, limit: int) -> int:
        return self._index.count_operations(session, seq, limit)

    def next_grant(self, path: str, token: int, seq: int) -> Record | None:
        return self._index.next_grant(path, token, seq)

    def record(self, seq: int) -> Record | None:
        return self._index.record(seq)

    def note_of(self, document: DocumentState) -> DocumentNote | None:
        known = self._notes.get(document.id)
        if known is not None and known[0] == document.revision:
            self._notes.move_to_end(document.id)
            return known[1]
        try:
            digest = digest_of(self._index.content(document.content_key, document.digest))
            reads = self._reads_behind(document, known)
        except CorruptStore:
            # What is damaged is said to be, and must not keep the rest from being told.
            return None
        note = DocumentNote(digest, reads)
        self._notes[document.id] = document.revision, note
        self._notes.move_to_end(document.id)
        if len(self._notes) > NOTES_KEPT_MAX:
            self._notes.popitem(last=False)
        return note

    def _reads_behind(
        self, document: DocumentState, known: tuple[int, DocumentNote] | None
    ) -> tuple[BasedOn, ...]:
        """Return what the writers of a document's last revisions had read."""
        first = max(1, document.revision - REVISIONS_BEHIND_MAX + 1)
        found: dict[int, BasedOn] = {}
        if known is not None and known[0] < document.revision:
            first = max(first, known[0] + 1)
            found = {read.document: read for read in known[1].based_on}
        for revision in range(first, document.revision + 1):
            made = self._index.change(document.id, revision)
            if made is not None and isinstance(made[0].body, Changed):
                found |= {read.document: read for read in made[0].body.based_on}
        return tuple(found.values())

    # -- recaps and reasons ----------------------------------------------------------------

    def _recap(self, sight: Sight, request: RecapSession) -> Recap:
        session = self._index.session(request.session, sight.seq)
        if session is None:
            raise NotFound(
                f"session {request.session[:64]} is not on record: it changed nothing, or never was"
            )
        opened = session.opened.seq
        parts: list[RecapPart] = []
        before = 0
        while len(parts) < request.parts:
            records = self._index.operations(opened, sight.seq, STRETCH_OPERATIONS, before)
            if not records:
                break
            before = records[-1].request
            parts.append(recap_part(records[::-1]))
        count = self._index.count_operations(opened, sight.seq, OPERATIONS_COUNTED_MAX)
        return Recap(request.session, count, tuple(parts))

    def _why(self, sight: Sight, request: Why) -> Reason:
        document = sight.document
        assert document is not None, "the core has looked it up"
        revision = request.revision or document.revision

        def find(number: int) -> tuple[Record, Change] | None:
            return self._index.change(document.id, number)

        def content(change: Change) -> bytes:
            return self._index.content(change.content_key, change.digest)

        maker, text, known = revision, b"", True
        if request.line:
            origin = origin_of(document.path, request.line, revision, find, content)
            maker, text, known = origin.revision, origin.text, origin.found
        made = find(maker)
        if made is None:
            raise NotFound(f"{document.path} has no revision {maker} on record")
        record, change = made
        assert isinstance(record.body, Changed)
        entry = log_entries(record)[record.body.changes.index(change)]
        session = self._index.session(record.session, sight.seq) if record.session else None
        own: list[Record] = [record]
        if session is not None and record.request:
            own += self._index.operations(
                session.opened.seq, record.seq - 1, READS_WALKED_MAX, record.request
            )
        return Reason(
            path=document.path,
            revision=revision,
            line=request.line,
            text=text,
            entry=entry,
            session=None if session is None else _info(session),
            based_on=basis_of(own, sight.documents.get),
            found=known,
        )


def _info(session: PastSession) -> SessionInfo:
    begin, closed = session.opened.body, session.closed
    assert isinstance(begin, SessionOpened)
    assert closed is None or isinstance(closed.body, SessionClosed)
    return SessionInfo(
        id=session.id,
        actor=session.opened.actor,
        name=session.opened.author,
        kind=begin.kind,
        state=SessionState.LIVE if closed is None else SessionState.ENDED,
        started_ms=session.opened.time_ms,
        idle_seconds=0.0,
        program=begin.program,
        host=begin.host,
        pid=begin.pid,
        predecessor=begin.predecessor,
        model=begin.model,
        transport=begin.transport,
        ended_ms=0 if closed is None else closed.time_ms,
        reason=session.reason,
    )


class Briefings:
    """The trace in a worker thread: one question at a time."""

    def __init__(self, index: TraceIndex) -> None:
        """`index` belongs to these questions alone."""
        self._trace = Trace(index)
        self._limiter = anyio.CapacityLimiter(1)

    async def answer(self, question: AnswerTrace) -> Reply:
        """Return the answer to a question whose records are durable.

        Raises:
            NotFound: there is no such session, revision or line.
            CorruptStore: a record that it needs is damaged.
        """
        return await anyio.to_thread.run_sync(self._trace.answer, question, limiter=self._limiter)
