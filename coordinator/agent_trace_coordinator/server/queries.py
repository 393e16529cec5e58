"""Questions that take a walk through the index, answered off the event loop."""

from __future__ import annotations

import os
import resource
import time
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Final

import anyio
import anyio.to_thread
import msgspec

from agent_trace_coordinator import __version__
from agent_trace_coordinator.core.draft_views import info_of_draft, report_of_draft
from agent_trace_coordinator.core.effects import AnswerDrafts, AnswerStatus
from agent_trace_coordinator.core.records import Record
from agent_trace_coordinator.errors import CorruptStore
from agent_trace_coordinator.storage.history_index import HistoryIndex
from agent_trace_coordinator.storage.index import Index
from agent_trace_protocol import (
    DraftInfo,
    DraftPage,
    DraftReport,
    Log,
    LogEntry,
    MirrorInfo,
    NotFound,
    SessionInfo,
    Sessions,
    ShowDraft,
    StatusReport,
)

from .history import History
from .search_stage import SearchStage

__all__ = ["Queries", "RepositoryFigures"]

COMMITS_KEPT_MAX: Final = 10_000
"""Commit ids remembered until they are certainly in the index."""


class RepositoryFigures(msgspec.Struct, frozen=True):
    """What the git stage knows of the repository."""

    git_seq: int
    head: str
    packs: int
    repository_bytes: int
    maintenance: str
    budget_bytes: int
    """What the repository should stay below; 0 for no budget."""
    mirrors: tuple[MirrorInfo, ...] = ()


class Queries:
    """Reads of the index for requests, each in a worker thread, one at a time."""

    def __init__(
        self,
        index: Index,
        root: Path,
        endpoint: str,
        repository: Callable[[], RepositoryFigures],
        history: HistoryIndex | None = None,
        search: SearchStage | None = None,
    ) -> None:
        """`index` and `history` belong to these queries alone; `repository` is called in the
        worker thread."""
        self.history = None if history is None else History(history, self.commit)
        self.search = search
        self._index = index
        self._root = root
        self._endpoint = endpoint
        self._repository = repository
        self._started = time.monotonic()
        self._limiter = anyio.CapacityLimiter(1)
        self._commits: OrderedDict[int, str] = OrderedDict()

    def note_commits(self, commits: list[tuple[int, str]]) -> None:
        """Remember commit ids that the index does not have yet."""
        self._commits.update(commits)
        while len(self._commits) > COMMITS_KEPT_MAX:
            self._commits.popitem(last=False)

    def commit(self, seq: int) -> str:
        """Return the commit id of an operation that was committed lately; empty if unknown."""
        return self._commits.get(seq, "")

    async def log(self, request: Log, document: int, seq: int) -> tuple[list[LogEntry], bool]:
        """Return what a log request asks for as of operation `seq`, and whether there is more."""
        if not 0 < request.before <= seq:
            request = msgspec.structs.replace(request, before=seq + 1)
        if self.history is not None and (request.since_ms or request.until_ms):
            after, before = await self.history.time_range(request.since_ms, request.until_ms, seq)
            request = msgspec.structs.replace(
                request,
                after=max(request.after, after),
                before=min(request.before, before or request.before),
            )
        entries, more = await anyio.to_thread.run_sync(
            self._index.log, request, document, limiter=self._limiter
        )
        complete = [
            entry
            if entry.commit
            else msgspec.structs.replace(entry, commit=self._commits.get(entry.seq, ""))
            for entry in entries
        ]
        return complete, more

    async def records_after(self, seq: int, last: int, limit: int) -> list[Record]:
        """Return durable records after `seq`, up to `last`, oldest first, at most `limit`."""
        return await anyio.to_thread.run_sync(
            self._index.records_after, seq, last, limit, limiter=self._limiter
        )

    async def ended_sessions(self, request: Sessions, limit: int) -> list[SessionInfo]:
        """Return sessions that have ended, the last one first."""
        return await anyio.to_thread.run_sync(
            self._index.ended_sessions, request, limit, limiter=self._limiter
        )

    async def drafts(self, answer: AnswerDrafts) -> DraftPage | DraftReport:
        """Return drafts with what their texts would do now."""
        return await anyio.to_thread.run_sync(self._drafts, answer, limiter=self._limiter)

    def _drafts(self, answer: AnswerDrafts) -> DraftPage | DraftReport:
        infos: list[DraftInfo] = []
        for draft, documents in answer.drafts:
            try:
                if isinstance(answer.request, ShowDraft):
                    return report_of_draft(draft, documents, self._index)
                infos.append(info_of_draft(draft, documents, self._index))
            except CorruptStore:
                if self._index.waits_as_draft(draft.seq):
                    raise
                # Discarded meanwhile, and its text with it.
                if isinstance(answer.request, ShowDraft):
                    id = answer.request.draft
                    raise NotFound(f"there is no draft {id!r}, it was discarded") from None
        return DraftPage(tuple(infos), answer.more)

    async def status(
        self, answer: AnswerStatus, store: str, epoch: int, read_only: str, trouble: str
    ) -> StatusReport:
        """Return how the coordinator and the store are."""
        figures = await anyio.to_thread.run_sync(self._repository, limiter=self._limiter)
        return StatusReport(
            store=store,
            root=os.fsencode(self._root).decode("utf-8", "replace"),
            version=__version__,
            pid=os.getpid(),
            epoch=epoch,
            uptime_seconds=time.monotonic() - self._started,
            endpoint=self._endpoint,
            seq=answer.after,
            git_seq=figures.git_seq,
            head=figures.head,
            documents=answer.documents,
            sessions_live=answer.sessions_live,
            sessions_stale=answer.sessions_stale,
            read_only=read_only,
            rss_bytes=_resident_bytes(),
            repository_bytes=figures.repository_bytes,
            journal_bytes=_journal_bytes(self._root),
            packs=figures.packs,
            maintenance=figures.maintenance,
            trouble=trouble,
            repository_budget_bytes=figures.budget_bytes,
            leases=answer.leases,
            drafts=answer.drafts,
            violations=answer.violations,
            mirrors=figures.mirrors,
        )


def _resident_bytes() -> int:
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except (OSError, ValueError, IndexError):
        # Not Linux: the peak has to do.
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return pages * resource.getpagesize()


def _journal_bytes(root: Path) -> int:
    total = 0
    for name in ("state.db", "state.db-wal"):
        try:
            total += (root / ".agent-trace" / name).stat().st_size
        except FileNotFoundError:
            continue
    return total
