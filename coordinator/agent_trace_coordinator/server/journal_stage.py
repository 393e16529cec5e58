"""Group commit: while one batch is made durable, what arrives forms the next.

The stage owns the writing side of the journal; the event loop never waits for the disk, and the
disk waits for the event loop as little as can be: when a batch is durable, the next one is handed
to the thread first, and what waited for the one before is told while the thread writes.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Final

import anyio
import anyio.to_thread

from agent_trace_coordinator.core.records import Entry
from agent_trace_coordinator.errors import JournalFull
from agent_trace_coordinator.storage.journal import Journal

__all__ = ["JournalStage"]

_log = logging.getLogger("agent_trace.coordinator.journal")

BATCH_RECORDS_MAX: Final = 1024
"""Records in one transaction: bounds how long the next batch waits."""

BATCH_BYTES_MAX: Final = 16 << 20
"""Contents in one transaction."""

COMMITS_WAIT_SECONDS: Final = 1.0
"""How long commit ids wait for a batch to be written with."""

PROBE_SECONDS: Final = 1.0
"""How often a disk that takes no writes is tried again."""


TURNS_AHEAD: Final = 3
"""Turns of the event loop after which the next batch is with its thread."""


class JournalStage:
    """Appends in, durable batches out."""

    def __init__(
        self,
        journal: Journal,
        durable_seq: int,
        *,
        on_durable: Callable[[list[Entry]], None],
        on_full: Callable[[JournalFull], None],
        on_healed: Callable[[], None],
    ) -> None:
        """`on_durable` gets each batch once it is durable; `on_full` is told that nothing that was
        submitted and not durable yet ever will be; `on_healed` that the disk takes writes again."""
        self._journal = journal
        self._on_durable = on_durable
        self._on_full = on_full
        self._on_healed = on_healed
        self._limiter = anyio.CapacityLimiter(1)
        self._wake = anyio.Event()
        self._idle = anyio.Event()
        self._tidy = anyio.Event()
        self._tidying = self._tidied = False
        self._pending: list[Entry] = []
        self._untold: list[Entry] = []
        """A batch that is durable, of which nobody was told."""
        self.has_news = False
        """Whether a batch has come to its end, and the event loop has not taken note of it. Set by
        the thread: whoever has much to do on the loop makes way."""
        self._commits: list[tuple[int, str]] = []
        self._gate: Callable[[], anyio.Event | None] = lambda: None
        self.durable_seq = durable_seq
        self.pending_bytes = 0
        self.batch_seconds = 0.0
        """What writing and syncing the last batch took."""

    @property
    def pending_count(self) -> int:
        """Records submitted and not yet taken into a batch."""
        return len(self._pending)

    def hold_while(self, gate: Callable[[], anyio.Event | None]) -> None:
        """Before each batch, wait for the event that `gate` returns, until it returns None."""
        self._gate = gate

    def submit(self, entry: Entry) -> None:
        """Queue an operation; it becomes durable in the order of the calls."""
        self._pending.append(entry)
        if self._idle.is_set():
            self._idle = anyio.Event()
        self.pending_bytes += entry.content_bytes
        self._wake.set()

    def note_commits(self, commits: list[tuple[int, str]]) -> None:
        """Remember which commits records became; it is written with a later batch."""
        if not self._commits:
            self._wake.set()
        self._commits += commits

    async def run(self) -> None:
        """Write batches until cancelled; a batch that was begun is finished first.

        Raises:
            JournalFailed: the disk failed; the process must end and acknowledge nothing more.
        """
        async with anyio.create_task_group() as tasks:
            while True:
                if not self._pending:
                    self._tell()
                if not self._pending:
                    self._idle.set()
                    # Commits wait a moment for a batch to ride along with.
                    with anyio.move_on_after(COMMITS_WAIT_SECONDS if self._commits else None):
                        await self._wake.wait()
                    if self._idle.is_set():
                        self._idle = anyio.Event()
                self._wake = anyio.Event()
                while (event := self._gate()) is not None:
                    self._tell()
                    await event.wait()
                if self._untold:
                    tasks.start_soon(self._tell_beside)
                if self._pending or self._commits:
                    await self._write_batch()

    async def _tell_beside(self) -> None:
        """Tell of a batch as soon as the next one is with its thread."""
        for _ in range(TURNS_AHEAD):
            await anyio.lowlevel.checkpoint()
        self._tell()

    def _tell(self) -> None:
        """Tell of the batch that is durable, if that was not done; always before the next one."""
        batch, self._untold = self._untold, []
        self.has_news = False
        if batch:
            self.durable_seq = batch[-1].record.seq
            self._on_durable(batch)

    async def run_tidy(self) -> None:
        """Keep the write-ahead log short until cancelled, beside `run`."""
        while True:
            await self._tidy.wait()
            self._tidy = anyio.Event()
            await anyio.to_thread.run_sync(self._journal.tidy_beside)
            self._tidied = True

    async def _write_batch(self) -> None:
        batch = self._take()
        commits, self._commits = self._commits, []
        began = time.monotonic()
        try:
            await anyio.to_thread.run_sync(self._append, batch, commits, limiter=self._limiter)
        except JournalFull as error:
            self._tell()
            self._commits = commits + self._commits
            self._pending.clear()
            self.pending_bytes = 0
            _log.error("the store is read-only: %s", error)
            self._on_full(error)
            # Nothing is pending any more: whoever wants to leave need not wait for the disk.
            self._idle.set()
            await self._heal()
            return
        if batch:
            self.batch_seconds = time.monotonic() - began
        self._tell()
        self._untold, self.has_news = batch, bool(batch)
        if self._journal.tidy_due and not self._tidying:
            self._tidying = True
            self._tidy.set()
        elif self._tidied:
            self._tidied = self._tidying = False
            self._tell()
            await anyio.to_thread.run_sync(self._journal.tidy, limiter=self._limiter)

    def _append(self, batch: list[Entry], commits: list[tuple[int, str]]) -> None:
        try:
            self._journal.append(batch, commits)
        finally:
            self.has_news = True

    def _take(self) -> list[Entry]:
        size = count = 0
        for entry in self._pending:
            count += 1
            size += entry.content_bytes
            if count == BATCH_RECORDS_MAX or size >= BATCH_BYTES_MAX:
                break
        batch, self._pending = self._pending[:count], self._pending[count:]
        self.pending_bytes -= size
        return batch

    async def _heal(self) -> None:
        while True:
            await anyio.sleep(PROBE_SECONDS)
            try:
                await anyio.to_thread.run_sync(self._journal.probe, limiter=self._limiter)
            except JournalFull:
                continue
            _log.info("the disk takes writes again")
            self._on_healed()
            return

    async def flush_commits(self) -> None:
        """Write the remembered commits now. They can be rebuilt, so a full disk is no error."""
        commits, self._commits = self._commits, []
        if commits:
            try:
                nothing: list[Entry] = []
                await anyio.to_thread.run_sync(
                    self._journal.append, nothing, commits, limiter=self._limiter
                )
            except JournalFull:
                self._commits = commits + self._commits

    async def drained(self) -> None:
        """Return when everything that was submitted is durable."""
        await self._idle.wait()
