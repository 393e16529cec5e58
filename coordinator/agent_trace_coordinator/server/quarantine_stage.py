"""Refused writes and drafts, durable ones, become files; off the event loop, in nobody's way."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Final

import anyio
import anyio.to_thread

from agent_trace_coordinator.core.records import Changed, Discarded, Drafted, Entry, Violated
from agent_trace_coordinator.core.state import State
from agent_trace_coordinator.errors import CorruptStore
from agent_trace_coordinator.storage.drafts import DraftFiles, draft_name
from agent_trace_coordinator.storage.index import Index
from agent_trace_coordinator.storage.quarantine import (
    Quarantine,
    QuarantinedText,
    quarantine_name,
)

__all__ = ["QuarantineStage"]

_log = logging.getLogger("agent_trace.coordinator.quarantine")

JOBS_MAX: Final = 10_000
"""Files that wait to be written or removed; what is beyond is made at the next start."""


class QuarantineStage:
    """Durable records in, files out. What is missed here is made again at the next start."""

    def __init__(self, quarantine: Quarantine, drafts: DraftFiles, index: Index) -> None:
        """`index` belongs to this stage's thread."""
        self._quarantine = quarantine
        self._drafts = drafts
        self._index = index
        self._limiter = anyio.CapacityLimiter(1)
        self._jobs: deque[Callable[[], None]] = deque(maxlen=JOBS_MAX)
        self._wake = anyio.Event()

    def restore(self, state: State) -> None:
        """Make the files that are missing, and remove those of what no longer waits."""
        there = self._quarantine.names()
        wanted = {
            quarantine_name(violation.seq, violation.body.path): violation.seq
            for violation in state.violations.values()
        }
        for name, seq in wanted.items():
            if name not in there:
                self._add(partial(self._write, seq))
        for name in there - wanted.keys():
            self._add(partial(self._quarantine.remove_set_aside, name))
        self._add(self._drafts.remove_litter)
        there = self._drafts.names()
        wanted = {
            draft_name(draft.seq, draft.body.conflict.path): draft.seq
            for draft in state.drafts.values()
        }
        for name, seq in wanted.items():
            if name not in there:
                self._add(partial(self._write_draft, seq))
        for name in there - wanted.keys():
            self._add(partial(self._drafts.remove_file, name))

    def add(self, batch: list[Entry]) -> None:
        """Take durable operations, in order."""
        for entry in batch:
            body = entry.record.body
            if isinstance(body, Violated):
                self._add(partial(self._write, entry.record.seq))
            elif isinstance(body, Drafted):
                self._add(partial(self._write_draft, entry.record.seq))
            elif isinstance(body, (Changed, Discarded)):
                if body.violation:
                    self._add(partial(self._quarantine.remove, body.violation))
                if body.draft:
                    self._add(partial(self._drafts.remove, body.draft))

    def forget_set_aside(self, name: str) -> None:
        """What was set aside under this name is on record: its bare copy is not needed."""
        self._add(partial(self._quarantine.remove_set_aside, name))

    def _add(self, job: Callable[[], None]) -> None:
        self._jobs.append(job)
        self._wake.set()

    def _write(self, seq: int) -> None:
        record = self._index.record(seq)
        if record is None or not isinstance(record.body, Violated):
            return
        self._quarantine.write(record, self._texts(record.body))

    def _write_draft(self, seq: int) -> None:
        record = self._index.record(seq)
        if record is None or not isinstance(record.body, Drafted):
            return
        self._drafts.write(record, self._texts(record.body))

    def _texts(self, body: Violated | Drafted) -> list[QuarantinedText]:
        return [
            QuarantinedText(kept.path, self._index.content(kept.content_key, kept.digest))
            for kept in body.kept
            if kept.content_key
        ]

    async def run(self) -> None:
        """Write files until cancelled."""
        while True:
            if not self._jobs:
                await self._wake.wait()
            self._wake = anyio.Event()
            while self._jobs:
                job = self._jobs.popleft()
                try:
                    await anyio.to_thread.run_sync(job, limiter=self._limiter)
                except (OSError, CorruptStore) as error:
                    # The text is in state.db, or was discarded meanwhile.
                    _log.warning("a file of a refused write or a draft can not be made: %s", error)
