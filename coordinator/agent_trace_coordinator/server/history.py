"""Answers about history, each worked out in a worker thread from the index.

A long one goes back to the end of the line between two steps, so that a short one waits for a step
of it, never for all of it. Every content was compared with its recorded hash.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from functools import partial
from typing import Final, TypeVar, assert_never

import anyio
import anyio.to_thread
import msgspec

from agent_trace_coordinator.core.blame import Blame as BlameWalk
from agent_trace_coordinator.core.diffs import difference, ranges_added
from agent_trace_coordinator.core.effects import AnswerHistory
from agent_trace_coordinator.core.entries import log_entries
from agent_trace_coordinator.core.lines import text_lines
from agent_trace_coordinator.core.records import Change, Changed, Record, split_key
from agent_trace_coordinator.core.views import document_info
from agent_trace_coordinator.storage.history_index import HistoryIndex, PastDocument
from agent_trace_protocol import (
    Blame,
    BlameRange,
    BlameReport,
    Diff,
    DiffReport,
    DocumentReport,
    LogEntry,
    NotFound,
    Reply,
    ShowDocument,
    Snapshot,
    SnapshotDocument,
    SnapshotPage,
    Trace,
    TraceFile,
    TracePage,
    TraceRange,
    Traces,
)

__all__ = ["History"]

DIFF_BYTES_MAX: Final = 4 << 20
"""Bytes of a diff: half of what a reply holds."""

PAGE_BYTES_MAX: Final = 4 << 20
"""Bytes of contents on a page, unless one alone is larger."""

BLAME_STEP_REVISIONS: Final = 100
"""Revisions that are looked at in one go: some ten milliseconds."""

BLAME_REVISIONS_MAX: Final = 5000
"""Revisions that are looked at for one answer: within a second for usual documents."""

SECONDS_MAX: Final = 2.0
"""Seconds of work for one answer; then it ends where it has got to, and says so. Texts can be made
that take a tenth of a second each to compare."""

BLAME_BYTES_MAX: Final = 64 << 20
"""Bytes of contents that are looked at for one answer."""

TRACE_STEP_RECORDS: Final = 25
"""Operations whose lines are worked out in one go."""

_R = TypeVar("_R")


class History:
    """Answers questions about history. Used by the event loop."""

    def __init__(self, index: HistoryIndex, commit: Callable[[int], str]) -> None:
        """`index` belongs to these questions alone; `commit` knows the commits that it lacks."""
        self._index = index
        self._commit = commit
        self._limiter = anyio.CapacityLimiter(1)

    async def answer(self, asked: AnswerHistory, store: str) -> Reply:
        """Return the answer to a question, as of the operation at which it was decided.

        Raises:
            AgentTraceError: there is none; the message says why.
        """
        request = asked.request
        match request:
            case Diff():
                return await self._run(partial(self._diff, request, asked.document))
            case Blame():
                return await self._blame(request, asked.document)
            case ShowDocument():
                assert asked.report is not None
                return await self._run(partial(self._show, asked.report, asked.after))
            case Snapshot():
                return await self._run(partial(self._snapshot, request, asked.after))
            case Traces():
                return await self._traces(request, store)
            case _:
                assert_never(request)

    async def time_range(self, since_ms: int, until_ms: int, last: int) -> tuple[int, int]:
        """Return the operations between two times: after the first seq, before the second; 0 for
        no bound."""
        return await self._run(partial(self._time_range, since_ms, until_ms, last))

    def _time_range(self, since_ms: int, until_ms: int, last: int) -> tuple[int, int]:
        after = self._index.last_seq_at(since_ms - 1, last) if since_ms else 0
        before = self._index.last_seq_at(until_ms, last) + 1 if until_ms else 0
        return after, before

    async def _run(self, work: Callable[[], _R]) -> _R:
        return await anyio.to_thread.run_sync(work, limiter=self._limiter)

    # -- in the worker thread ----------------------------------------------------------------

    def _change(self, document: int, revision: int) -> tuple[Record, Change]:
        found = self._index.change(document, revision)
        if found is None:
            raise NotFound(f"there is no revision {revision}")
        return found

    def _content(self, change: Change) -> bytes:
        """Return the content after a change; nothing after a deletion."""
        if not change.content_key:
            return b""
        return self._index.content(change.content_key, change.digest)

    def _entry(self, record: Record, change: Change) -> LogEntry:
        body = record.body
        assert isinstance(body, Changed)
        entry = log_entries(record)[body.changes.index(change)]
        commit = self._index.commit(record.seq) or self._commit(record.seq)
        return msgspec.structs.replace(entry, commit=commit)

    def _diff(self, request: Diff, document: int) -> DiffReport:
        before, old_path = b"", ""
        if request.old:
            _, change = self._change(document, request.old)
            before, old_path = self._content(change), change.path
        if request.content is None:
            _, change = self._change(document, request.new)
            after, new_path = self._content(change), change.path
        else:
            after, new_path = request.content, request.path
        made = difference(before, after, DIFF_BYTES_MAX)
        return DiffReport(
            old_path=old_path or new_path,
            old_revision=request.old,
            new_path=new_path,
            new_revision=request.new,
            diff=made.text,
            added=made.added,
            removed=made.removed,
            left_out=made.left_out,
        )

    async def _blame(self, request: Blame, document: int) -> BlameReport:
        def begin() -> tuple[bytes, BlameWalk, str]:
            _, change = self._change(document, request.revision)
            content = self._content(change)
            count = len(text_lines(content))
            first, last = max(1, request.first_line), request.last_line or count
            lines = range(first, min(last, count) + 1)
            return content, BlameWalk(request.revision, content, lines=lines), change.path

        content, walk, path = await self._run(begin)
        revision, size, looked_at = request.revision, 0, 0
        until = time.monotonic() + SECONDS_MAX
        while not walk.done and looked_at < BLAME_REVISIONS_MAX and size < BLAME_BYTES_MAX:
            revision, read, count = await self._run(
                partial(self._look_back, walk, document, revision, until)
            )
            size += read
            looked_at += count
            if not count or time.monotonic() > until:
                break
        origins = walk.origins(complete=revision <= 1)
        ranges: list[BlameRange] = []
        for origin in origins:
            if ranges and (ranges[-1].revision, ranges[-1].found) == (
                origin.revision,
                origin.found,
            ):
                ranges[-1] = msgspec.structs.replace(ranges[-1], last_line=origin.line)
            else:
                ranges.append(BlameRange(origin.line, origin.line, origin.revision, origin.found))
        named = sorted({each.revision for each in ranges})
        entries = await self._run(
            lambda: tuple(self._entry(*self._change(document, each)) for each in named)
        )
        return BlameReport(path, request.revision, content, tuple(ranges), entries)

    def _look_back(
        self, walk: BlameWalk, document: int, revision: int, until: float
    ) -> tuple[int, int, int]:
        """Go some revisions back; return the one that was reached, bytes and number of them."""
        size = count = 0
        for _, change in self._index.revisions_before(document, revision, BLAME_STEP_REVISIONS):
            revision = change.revision
            count += 1
            if change.content_key:
                content = self._content(change)
                size += len(content)
                walk.look_back(revision, content)
                if walk.done or time.monotonic() > until:
                    break
        return revision, size, count

    def _show(self, report: DocumentReport, seq: int) -> DocumentReport:
        document = report.document
        record, _ = self._change(document.id, 1)
        _, change = self._change(document.id, document.revision)
        sessions, complete = self._index.touched_by(document.id)
        return msgspec.structs.replace(
            report,
            created_seq=record.seq,
            created_ms=record.time_ms,
            created_by=record.author,
            lines=len(text_lines(self._content(change))),
            sessions=sessions,
            sessions_complete=complete,
        )

    def _snapshot(self, request: Snapshot, last: int) -> SnapshotPage:
        seq = request.seq or last
        if not request.seq and request.time_ms:
            seq = self._index.last_seq_at(request.time_ms, last)
        found = self._index.documents_at(seq, request.after, request.limit)
        documents: list[SnapshotDocument] = []
        after, size, more = request.after, 0, len(found) == request.limit
        for past in found:
            if not past.state.deleted and request.path in ("", past.state.path):
                size += past.state.size if request.contents else 0
                if documents and size > PAGE_BYTES_MAX:
                    more = True
                    break
                documents.append(self._past(past, request.contents))
            after = past.state.id
        return SnapshotPage(seq, self._index.time_of(seq), tuple(documents), after, more)

    def _past(self, past: PastDocument, contents: bool) -> SnapshotDocument:
        state = past.state
        content = self._index.content(state.content_key, state.digest) if contents else None
        return SnapshotDocument(document_info(state, past.annotation), content)

    async def _traces(self, request: Traces, store: str) -> TracePage:
        traces: list[Trace] = []
        cursor = request.after
        until = time.monotonic() + SECONDS_MAX
        while True:
            limit = min(TRACE_STEP_RECORDS, request.limit - len(traces))
            records = await self._run(
                partial(self._index.changed_after, cursor, request.until, limit)
            )
            traces += await self._run(partial(self._trace_all, records))
            if len(records) < limit:
                return TracePage(store, tuple(traces), max(cursor, request.until), False)
            cursor = records[-1].seq
            if len(traces) == request.limit or time.monotonic() > until:
                return TracePage(store, tuple(traces), cursor, cursor < request.until)

    def _trace_all(self, records: list[Record]) -> list[Trace]:
        return [self._trace(record) for record in records]

    def _trace(self, record: Record) -> Trace:
        body = record.body
        assert isinstance(body, Changed)
        opened = self._index.opened(record.session) if record.session else None
        return Trace(
            seq=record.seq,
            time_ms=record.time_ms,
            actor=record.actor,
            author=record.author,
            session=record.session,
            program="" if opened is None else opened.program,
            model="" if opened is None else opened.model,
            commit=self._index.commit(record.seq) or self._commit(record.seq),
            files=tuple(
                TraceFile(change.path, change.revision, change.action, self._ranges(change, record))
                for change in body.changes
            ),
        )

    def _ranges(self, change: Change, record: Record) -> tuple[TraceRange, ...]:
        if not change.content_key or split_key(change.content_key)[0] != record.seq:
            # It brought no text: a deletion, a move or a change of what stands beside it.
            return ()
        before = b""
        if change.revision > 1:
            before = self._content(self._change(change.document, change.revision - 1)[1])
        after = self._content(change)
        lines = text_lines(after)
        return tuple(
            TraceRange(first, last, hashlib.sha256(b"".join(lines[first - 1 : last])).digest())
            for first, last in ranges_added(before, after)
        )
