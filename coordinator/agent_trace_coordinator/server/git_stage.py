"""The git committer: follows the journal at a bounded distance, one commit per record.

What it keeps in memory is only a window on the journal. When git fails or falls behind, the window
is dropped and the records are read again from state.db, so memory does not grow and nothing depends
on the window.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable
from typing import Final, TypeVar, TypeVarTuple, Unpack

import anyio
import anyio.to_thread

from agent_trace_coordinator.core.records import Entry
from agent_trace_coordinator.errors import GitFailed
from agent_trace_coordinator.storage.base import History
from agent_trace_coordinator.storage.index import Index

__all__ = ["GitStage"]

_T = TypeVar("_T")
_Args = TypeVarTuple("_Args")

_log = logging.getLogger("agent_trace.coordinator.git")

CHUNK_RECORDS_MAX: Final = 256
"""Records streamed before the answers are read."""

GATHER_RECORDS: Final = 64
"""Records that are worth a turn of the thread at once."""

GATHER_SECONDS: Final = 0.02
"""How long fewer records wait for more."""

WINDOW_BYTES_MAX: Final = 64 << 20
"""Contents kept for git; what is beyond is read again from state.db."""

CHECKPOINT_SECONDS: Final = 0.5
"""Longest time a commit waits for its checkpoint when nobody asks for it. Each checkpoint makes a
pack, so a shorter time makes more of them."""

LAG_SECONDS_MAX: Final = 2.0
"""How long a durable record may wait for its commit before new batches wait for git."""

SLOW_CHECKPOINT_SECONDS: Final = 0.01
"""From here on a checkpoint is worth sharing: whoever was answered by the last one, and is known to
ask again at once, is waited for. Else those who wait fall into two halves that take turns, and each
pays for a checkpoint of its own."""

SHARING: Final = 0.75
"""How long the first of them waits for the others, as a part of what the last checkpoint took.
Who comes later than that after the last one writes now and then, and waits for nobody."""

MAINTENANCE_CHECKPOINTS: Final = 256
"""Checkpoints, so packs, after which the repository is tidied; commits wait meanwhile."""

FAILURES_APART_SECONDS: Final = 5.0
"""Failures of git closer together than this are one outage."""

RETRY_SECONDS: Final = 1.0
"""Pause before git is tried again after it failed."""

LOOK_SECONDS: Final = 5.0
"""How often it is looked whether somebody took away what git had: some 0.1 ms of a thread."""


class GitStage:
    """Durable records in, commits out."""

    def __init__(
        self,
        history: History,
        index: Index,
        git_seq: int,
        *,
        on_committed: Callable[[list[tuple[int, str]]], None],
        on_progress: Callable[[], None],
        durable_seq: int | None = None,
        look_seconds: float = LOOK_SECONDS,
    ) -> None:
        """`git_seq` is where the history stands; `index` belongs to this stage's thread.

        `durable_seq` is where the journal stands, if further: what is between is committed from
        the journal, and nobody waits for it. `on_progress` is called when `git_seq` or `failure`
        has changed."""
        self._look_seconds = look_seconds
        self._look_at = time.monotonic() + look_seconds
        durable_seq = git_seq if durable_seq is None else durable_seq
        self._lost_seq = durable_seq if durable_seq > git_seq else 0
        self._history = history
        self._index = index
        self._on_committed = on_committed
        self._on_progress = on_progress
        self._limiter = anyio.CapacityLimiter(1)
        self._window: deque[Entry] = deque()
        self._window_bytes = 0
        self._added: deque[tuple[int, float]] = deque()
        """When batches became durable, by their last seq."""
        self._wake = anyio.Event()
        self._hurry = anyio.Event()
        self._progress = anyio.Event()
        self._committed_seq = git_seq
        self._wanted_seq = 0
        self._wanted: list[int] = []
        """What somebody waits for, one for each who does."""
        self._expected_count = 0
        """How many waited when the last checkpoint came to its end, or were answered by it."""
        self._checkpoint_seconds = 0.0
        """How long the last one took."""
        self._wanted_at = 0.0
        """Since when somebody waits for the next one."""
        self._checkpointed_at = time.monotonic()
        self.git_seq = git_seq
        """The last record whose commit is durable and visible."""
        self.durable_seq = durable_seq
        """The last record that is durable in the journal: where git has to get to."""
        self.maintenance = ""
        """What maintenance last did."""
        self._checkpoint_count = 0
        self._failed_at = -FAILURES_APART_SECONDS
        self.failure = (
            f"git lacks {durable_seq - git_seq} operations; it is getting them from the journal"
            if self._lost_seq
            else ""
        )
        """Why git is not following; empty when it is."""

    @property
    def lag_count(self) -> int:
        """Records that git has not got yet; those that it had and lost do not count."""
        return self.durable_seq - max(self.git_seq, self._lost_seq)

    def lag_seconds(self, now: float) -> float:
        """Return how long the oldest record that git lacks has been durable, at a moment of the
        monotonic clock."""
        lacking = (moment for seq, moment in self._added if seq > self.git_seq)
        return max(0.0, now - next(lacking, now))

    def add(self, batch: list[Entry]) -> None:
        """Take durable operations, in order."""
        for entry in batch:
            self._window.append(entry)
            self._window_bytes += entry.content_bytes
        self.durable_seq = batch[-1].record.seq
        self._added.append((self.durable_seq, time.monotonic()))
        if self._window_bytes > WINDOW_BYTES_MAX:
            self._drop_window()
        self._wake.set()
        if self.durable_seq - self._committed_seq >= GATHER_RECORDS:
            self._hurry.set()

    def want(self, seq: int) -> None:
        """Somebody waits for this record's commit: checkpoint as soon as it is there."""
        if seq > self.git_seq:
            if not self._wanted:
                self._wanted_at = time.monotonic()
            self._wanted.append(seq)
            self._hasten(seq)

    def _hasten(self, seq: int) -> None:
        self._wanted_seq = max(self._wanted_seq, seq)
        self._wake.set()
        self._hurry.set()

    def behind(self, records_max: int) -> anyio.Event | None:
        """Return None if git is close enough, else an event that is set when it has moved."""
        while self._added and self._added[0][0] <= self.git_seq:
            self._added.popleft()
        if self.failure:
            # It will not move soon; whoever writes is told so once the distance is too large.
            return None
        late = self._added and time.monotonic() - self._added[0][1] > LAG_SECONDS_MAX
        if late or self.lag_count > records_max:
            self._hasten(self.durable_seq)
            return self._progress
        return None

    async def run(self) -> None:
        """Follow the journal until cancelled."""
        while True:
            try:
                await self._step()
            except (GitFailed, OSError) as error:
                await self._recover(error)

    async def _recover(self, error: GitFailed | OSError) -> None:
        """Start git again: at once the first time, later with pauses."""
        # Who waits for a commit goes on waiting over one death of a git process.
        again = time.monotonic() - self._failed_at < FAILURES_APART_SECONDS
        self._failed_at = time.monotonic()
        # While it can not be started, only what changes is worth another line.
        level = logging.DEBUG if self.failure else logging.WARNING
        _log.log(level, "git failed; the journal has everything, trying again: %s", _line(error))
        _log.debug("where git failed", exc_info=error)
        if again:
            self.failure = self.failure or str(error)
            self._move()
            await anyio.sleep(RETRY_SECONDS)
        await self._restart(error)

    async def _restart(self, failed: GitFailed | OSError) -> None:
        self._drop_window()
        try:
            self._committed_seq = await self._run(self._history.start)
        except (GitFailed, OSError) as error:
            if str(error) != self.failure:
                _log.warning("git can not be started: %s", _line(error))
            self.failure = str(error)
            self._move()
            return
        if self._committed_seq >= self.git_seq:
            self.failure = ""
            return
        # A damaged repository has less than it had: what it lacks is no commit to show. Until it
        # has it again, nobody waits for git.
        self._lost_seq = max(self._lost_seq, self.git_seq)
        self.git_seq = self._committed_seq
        self.failure = f"{_line(failed)}; the history is being made again from the journal"
        self._move()

    async def _step(self) -> None:
        await self._look()
        if self._committed_seq == self.durable_seq and self._committed_seq == self.git_seq:
            with anyio.move_on_after(RETRY_SECONDS if self.failure else self._look_seconds):
                await self._wake.wait()
            if not self._wake.is_set():
                return
        self._wake = anyio.Event()
        await self._gather()
        entries = await self._take()
        if entries:
            commits = await self._run(self._history.commit, entries)
            self._committed_seq = entries[-1].record.seq
            self._on_committed(commits)
        if self._committed_seq > self.git_seq:
            wait = self._checkpointed_at + CHECKPOINT_SECONDS - time.monotonic()
            wanted = self.git_seq < self._wanted_seq <= self._committed_seq
            if wanted and (sharing := self._sharing_seconds()) > 0:
                with anyio.move_on_after(sharing):
                    await self._wake.wait()
            elif wanted or wait <= 0:
                await self._checkpoint()
            elif self._committed_seq == self.durable_seq:
                with anyio.move_on_after(wait):
                    await self._wake.wait()

    async def _gather(self) -> None:
        """Let more records come before git is fed, unless somebody waits: each turn of the thread
        and of the pipe costs as much as several commits."""
        if 0 < self.durable_seq - self._committed_seq < GATHER_RECORDS and not self._is_wanted():
            self._hurry = anyio.Event()
            with anyio.move_on_after(GATHER_SECONDS):
                await self._hurry.wait()

    async def _look(self) -> None:
        """Notice now and then what somebody took away, also when there is nothing to commit."""
        now = time.monotonic()
        if not self.failure and now < self._look_at:
            return
        self._look_at = now + self._look_seconds
        if missing := await self._run(self._history.missing):
            raise GitFailed(missing)

    def _sharing_seconds(self) -> float:
        """Return how much longer others are waited for that are about to want a checkpoint too."""
        shared = self._checkpoint_seconds
        if (
            shared < SLOW_CHECKPOINT_SECONDS
            or len(self._wanted) >= self._expected_count
            or self._wanted_at > self._checkpointed_at + shared
        ):
            return 0.0
        return self._wanted_at + SHARING * shared - time.monotonic()

    def _is_wanted(self) -> bool:
        return self._wanted_seq > self._committed_seq

    async def _run(self, function: Callable[[Unpack[_Args]], _T], *args: *_Args) -> _T:
        """Call a function of the history in this stage's own thread turn."""
        return await anyio.to_thread.run_sync(function, *args, limiter=self._limiter)

    async def _checkpoint(self) -> None:
        began = time.monotonic()
        await self._run(self._history.checkpoint)
        self._checkpointed_at = time.monotonic()
        self._checkpoint_seconds = self._checkpointed_at - began
        self.git_seq = self._committed_seq
        if self._lost_seq and self.git_seq >= self._lost_seq:
            _log.info("git has everything again, up to operation %d", self.git_seq)
            self._lost_seq, self.failure = 0, ""
        self._expected_count = len(self._wanted)
        self._wanted = [seq for seq in self._wanted if seq > self.git_seq]
        self._wanted_at = self._checkpointed_at
        self._move()
        self._checkpoint_count += 1
        if self._checkpoint_count % MAINTENANCE_CHECKPOINTS == 0:
            self.maintenance = await self._run(self._history.maintain)
            _log.info("maintenance: %s", self.maintenance)

    def _move(self) -> None:
        self._progress.set()
        self._progress = anyio.Event()
        self._on_progress()

    async def _take(self) -> list[Entry]:
        """Return the next records to commit, from the window or from state.db."""
        if self._committed_seq >= self.durable_seq:
            return []
        while self._window and self._window[0].record.seq <= self._committed_seq:
            self._forget_first()
        if self._window and self._window[0].record.seq == self._committed_seq + 1:
            entries: list[Entry] = []
            while self._window and len(entries) < CHUNK_RECORDS_MAX:
                entries.append(self._forget_first())
            return entries
        return await self._run(self._read, self._committed_seq + 1)

    def _read(self, first: int) -> list[Entry]:
        return list(self._index.entries(first, CHUNK_RECORDS_MAX))

    def _forget_first(self) -> Entry:
        entry = self._window.popleft()
        self._window_bytes -= entry.content_bytes
        return entry

    def _drop_window(self) -> None:
        self._window.clear()
        self._window_bytes = 0

    async def drained(self) -> None:
        """Return when everything durable is in git, or git fails."""
        if self.durable_seq > self.git_seq:
            self._hasten(self.durable_seq)
        while self.git_seq < self.durable_seq and not self.failure:
            await self._progress.wait()


def _line(error: Exception) -> str:
    """Return what an error says on one line: git's own words often have several."""
    return " ".join(str(error).split())
