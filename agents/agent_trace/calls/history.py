"""How documents came to be what they are, and the store as it once was."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from datetime import datetime
from pathlib import Path
from typing import BinaryIO

import msgspec

from agent_trace.exporting import document_object, export_files, named, trace_record
from agent_trace.moments import Moment, moment
from agent_trace.results import Blamed, BlamedLine, Exported, Past
from agent_trace_protocol import (
    Action,
    Blame,
    BlameReport,
    Diff,
    DiffReport,
    DocumentInfo,
    DocumentType,
    EventPage,
    Events,
    InvalidRequest,
    Log,
    LogEntry,
    LogPage,
    Snapshot,
    SnapshotPage,
    TracePage,
    Traces,
)
from agent_trace_protocol.limits import PAGE_ENTRIES_MAX

from .base import Calls, choice, content

__all__ = ["History"]

TRACE_PAGE_ENTRIES = 200
"""Operations of a page of traces: each costs a comparison of texts."""


class History(Calls):
    """What history is read with. A moment is a seq, a time ago such as `2h`, or an ISO time."""

    async def log(
        self,
        path: str | None = None,
        *,
        limit: int = 50,
        before: int | None = None,
        author: str = "",
        session: str = "",
        action: Action | str | None = None,
        type: DocumentType | str | None = None,
        since: Moment | int | str | datetime | None = None,
        until: Moment | int | str | datetime | None = None,
    ) -> tuple[LogEntry, ...]:
        """Return what happened, newest first. All conditions hold before the limit does.

        Args:
            path: only this document, followed through its moves.
            limit: at most so many entries.
            before: only entries with a smaller seq.
            author: only what this agent or user did.
            session: only what this session did.
            action: only entries of this kind.
            type: only what was done to documents that were of this type then.
            since: only what came after this operation, or at this time or later.
            until: only what came up to this operation, or at this time or earlier.

        Raises:
            NotFound: there is no such document, and none was deleted from there.
        """
        if limit < 1:
            raise InvalidRequest(f"{limit} is no number of entries; ask for at least 1")
        kind = None if action is None else choice(Action, action)
        document = None if type is None else choice(DocumentType, type)
        first, last = moment(since), moment(until, end=True)
        bound = min((each for each in (before or 0, last.seq and last.seq + 1) if each), default=0)
        entries: list[LogEntry] = []
        while True:
            request = Log(
                path or "",
                min(limit - len(entries), PAGE_ENTRIES_MAX),
                entries[-1].seq if entries else bound,
                author,
                session,
                kind,
                document,
                first.seq,
                first.time_ms,
                last.time_ms,
            )
            page = await self._ask(request, LogPage)
            entries += page.entries
            if not page.more or not page.entries or len(entries) >= limit:
                return tuple(entries)

    async def diff(
        self,
        path: str,
        old: int | None = None,
        new: int | None = None,
        *,
        text: str | bytes | None = None,
    ) -> DiffReport:
        """Return what makes one revision of a document of another, as a unified diff.

        Args:
            path: a document's, or that of one that was deleted.
            old: the revision before; the one before `new`, or the newest with `text`, if not given.
            new: the revision after; the newest if not given.
            text: what is compared with `old`, in the place of a revision.

        Raises:
            NotFound: there is no such document or revision.
        """
        for revision in (old, new):
            if revision is not None and revision < 1:
                raise InvalidRequest(f"{revision} is not a revision; they count from 1")
        after = None if text is None else content(text)
        return await self._ask(Diff(path, old or 0, new or 0, after), DiffReport)

    async def blame(
        self,
        path: str,
        revision: int | None = None,
        *,
        first_line: int = 1,
        last_line: int | None = None,
    ) -> Blamed:
        """Return which revision brought each line of a document, and who made it.

        Some thousand revisions are looked at; lines that are older are marked as not found.

        Args:
            revision: the revision to explain; the newest if not given.
            first_line: the first line to explain, from 1.
            last_line: the last one; the text's last if not given.

        Raises:
            NotFound: there is no such document or revision.
        """
        report = await self._ask(
            Blame(path, revision or 0, first_line, last_line or 0), BlameReport
        )
        entries = {entry.revision: entry for entry in report.entries}
        texts = report.content.decode("utf-8", "replace").split("\n")
        lines: list[BlamedLine] = []
        for run in report.ranges:
            entry = entries[run.revision]
            lines += [
                BlamedLine(
                    number,
                    texts[number - 1],
                    run.revision,
                    entry.seq,
                    entry.time_ms,
                    entry.author,
                    entry.session,
                    entry.commit,
                    run.found,
                )
                for number in range(run.first_line, run.last_line + 1)
            ]
        return Blamed(report.path, report.revision, tuple(lines))

    # -- the store as it once was --------------------------------------------------------------

    async def snapshot_pages(
        self,
        at: Moment | int | str | datetime | None = None,
        *,
        contents: bool = False,
        path: str = "",
    ) -> AsyncGenerator[SnapshotPage, None]:
        """Yield the documents as they were, ordered by id, in pages of one consistent picture.

        Args:
            at: as of which operation or time; as of now if not given.
            contents: whether contents are returned as well.
            path: only the document that was at this path.

        Raises:
            NotFound: the store has not come that far yet.
        """
        when = moment(at, end=True)
        seq, after = when.seq, 0
        while True:
            # Only the first one asks for a time: what it meant is what all others are about.
            time_ms = 0 if seq else when.time_ms
            request = Snapshot(seq, time_ms, after, PAGE_ENTRIES_MAX, contents, path)
            page = await self._ask(request, SnapshotPage)
            yield page
            if not page.more or not page.seq:
                return
            seq, after = page.seq, page.after

    async def snapshot(
        self, at: Moment | int | str | datetime | None = None, *, path: str = ""
    ) -> Past:
        """Return what the store's documents were, without contents; arguments and errors as for
        `snapshot_pages`."""
        seq = time_ms = 0
        found: list[DocumentInfo] = []
        async for page in self.snapshot_pages(at, path=path):
            seq, time_ms = page.seq, page.time_ms
            found += [each.info for each in page.documents]
        return Past(seq, time_ms, tuple(sorted(found, key=lambda info: info.path)))

    async def trace_page(
        self, after: int = 0, *, until: int = 0, limit: int = TRACE_PAGE_ENTRIES
    ) -> TracePage:
        """Return a page of operations that changed documents, with the lines each one brought;
        going on with `after=page.cursor` gives all of them."""
        return await self._ask(Traces(after, until, limit), TracePage)

    async def trace_pages(
        self,
        since: Moment | int | str | datetime | None = None,
        until: Moment | int | str | datetime | None = None,
    ) -> AsyncGenerator[TracePage, None]:
        """Yield the operations that changed documents, oldest first, with the lines each brought.

        Args:
            since: only what came after this operation, or at this time or later.
            until: only what came up to this operation, or at this time or earlier.
        """
        first, last = moment(since), moment(until, end=True)
        after, bound = await self._seq_before(first), last.seq
        if last.time_ms:
            bound = await self._seq_at(last.time_ms)
            if not bound:
                return
        more = True
        while more:
            page = await self.trace_page(after, until=bound)
            yield page
            after, more = page.cursor, page.more

    async def _seq_before(self, first: Moment) -> int:
        return await self._seq_at(first.time_ms - 1) if first.time_ms > 1 else first.seq

    async def _seq_at(self, time_ms: int) -> int:
        """Return the last operation at a time or before; 0 for none."""
        page = await self._ask(Snapshot(0, time_ms, 0, 1), SnapshotPage)
        return page.seq

    # -- taken out of the store ----------------------------------------------------------------

    async def export(
        self,
        directory: str | os.PathLike[str],
        at: Moment | int | str | datetime | None = None,
        *,
        on_progress: Callable[[int], None] | None = None,
    ) -> Exported:
        """Write all documents, as they were at one moment, as files below a new directory.

        Cancelled or failed, it leaves nothing behind.

        Args:
            at: as of which operation or time; as of now if not given.
            on_progress: is told of how many more documents were written.

        Raises:
            InvalidRequest: something lies there that is not an empty directory.
        """
        pages = self.snapshot_pages(at, contents=True)
        return await export_files(pages, Path(directory), on_progress)

    async def export_json(
        self,
        file: BinaryIO,
        at: Moment | int | str | datetime | None = None,
        *,
        on_progress: Callable[[int], None] | None = None,
    ) -> Exported:
        """Write one JSON object: all documents as they were at one moment, and the log up to it.

        It is written as it comes, so a store of any size takes little memory.
        """
        encode = msgspec.json.encode
        seq = time_ms = count = size = 0
        async with aclosing(self.snapshot_pages(at, contents=True)) as pages:
            async for page in pages:
                if not seq:
                    seq, time_ms = page.seq, page.time_ms
                    head = {"format": "agent-trace", "version": 1, "seq": seq, "time_ms": time_ms}
                    file.write(encode(head)[:-1] + b',"documents":[')
                for document in page.documents:
                    file.write(b"," if count else b"")
                    file.write(b"\n" + encode(document_object(document)))
                    count += 1
                    size += document.info.size
                if on_progress is not None:
                    on_progress(len(page.documents))
        file.write(b'],"log":[' if seq else b'{"documents":[],"log":[')
        cursor, first = 0, True
        while cursor < seq:
            told = await self._ask(Events(cursor, PAGE_ENTRIES_MAX), EventPage)
            for entry in told.events:
                if entry.seq <= seq:
                    file.write((b"\n" if first else b",\n") + encode(named(entry)))
                    first = False
            cursor = told.cursor
            if not told.more:
                break
        file.write(b"]}\n")
        return Exported(seq, time_ms, count, size)

    async def export_traces(
        self,
        file: BinaryIO,
        since: Moment | int | str | datetime | None = None,
        until: Moment | int | str | datetime | None = None,
        *,
        on_progress: Callable[[int], None] | None = None,
    ) -> int:
        """Write the operations as records of the public Agent Trace format, one JSON a line, and
        return how many there were; arguments as for `trace_pages`."""
        count = 0
        async with aclosing(self.trace_pages(since, until)) as pages:
            async for page in pages:
                for trace in page.traces:
                    record = trace_record(page.store, trace)
                    if record is not None:
                        file.write(msgspec.json.encode(record) + b"\n")
                        count += 1
                if on_progress is not None:
                    on_progress(len(page.traces))
        return count
