"""One coordinator process after another on the simulated disk, around the production `Runtime`.

Everything that happens inside the process goes through `_enter`: it is dropped when the process is
gone, kept when it is paused, cut off in the middle when it is to be killed there, and followed by
the checks of its state.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Protocol, cast

from anyio.abc import TaskGroup

from agent_trace_coordinator.core.effects import Effect
from agent_trace_coordinator.core.grants import resume
from agent_trace_coordinator.core.inputs import FilesChanged, Now, Received, Refresh, Tick
from agent_trace_coordinator.core.invariants import check
from agent_trace_coordinator.core.machine import step
from agent_trace_coordinator.core.records import Entry
from agent_trace_coordinator.core.sessions import TICK_SECONDS
from agent_trace_coordinator.core.state import State
from agent_trace_coordinator.core.trace_state import is_generated
from agent_trace_coordinator.errors import JournalFull
from agent_trace_coordinator.server.lookup import Lookup
from agent_trace_coordinator.server.runtime import Runtime

from .clock import SimulatedClock, Timeline
from .disk import Disk, SetAsideFolder, SimulatedIndex, SimulatedTree
from .memory_oracle import GIT_LAG_RECORDS_MAX, check_bounds
from .stages import (
    InlineTasks,
    SimulatedFiles,
    SimulatedGit,
    SimulatedJournal,
    SimulatedQueries,
)
from .watching import SimulatedWatcher

if TYPE_CHECKING:
    from .faults import FaultPlan

__all__ = ["Coordinator", "Observer"]


class ProcessKilled(BaseException):
    """The process ends between two statements; no handler of the product may notice."""


class Observer(Protocol):
    """Who watches the process from outside; see `checker.Checker`."""

    def on_started(self, life: int, now: float, state: State) -> None: ...
    def on_handled(self, peer: bytes, frames: list[bytes], now: float) -> None: ...
    def on_submit(self, entry: Entry, now: float) -> None: ...
    def on_durable(self, batch: list[Entry]) -> None: ...
    def on_paused(self, start: float, end: float) -> None: ...
    def on_state(self, state: State, read_only: bool) -> None: ...
    def on_full(self, now: float) -> None: ...


class _Lookup(Lookup):
    @property
    def pending_count(self) -> int:
        """Whatever is kept until an operation is durable."""
        return len(self._pending) + len(self._pending_contents) + len(self._pending_changes)


class _Runtime(Runtime):
    """The production runtime with a view of what it holds."""

    def run_queries_in(self, tasks: InlineTasks) -> None:
        self._tasks = cast(TaskGroup, tasks)

    @property
    def read_only(self) -> bool:
        return bool(self._read_only)

    @property
    def waiting_count(self) -> int:
        """Operations that somebody waits for."""
        return len(self._held)

    @property
    def files_seq(self) -> int:
        """The last operation that the files show."""
        return self._files.written_seq

    @property
    def followers_count(self) -> int:
        """Requests that wait for an event."""
        return self._feed.waiter_count

    @property
    def held_count(self) -> int:
        return len(self._held) + len(self._in_git) + self._query_count


class Coordinator:
    """The process that serves the store, whichever life of it runs now."""

    def __init__(
        self,
        timeline: Timeline,
        clock: SimulatedClock,
        disk: Disk,
        faults: FaultPlan,
        random: Random,
        observer: Observer,
        send: Callable[[bytes, bytes, bytes], None],
        generating: Random,
    ) -> None:
        """`generating` decides when the generated documents are brought up to date."""
        self.timeline = timeline
        self._clock = clock
        self._disk = disk
        self._faults = faults
        self._random = random
        self._observer = observer
        self._send_to_network = send
        self._generating = generating
        self._refresh_due = False
        self._inbox: deque[Callable[[], None]] = deque()
        self._kill_after = -1
        self._paused = False
        self.life = 0
        """Counts the processes; nothing of an earlier one happens any more."""
        self.running = False
        self.stirred = True
        """Whether its state may have changed since it was last checked."""

    # -- life and death --------------------------------------------------------------------

    def start(self) -> None:
        """Begin a life as `service.serve` does: count it, load, restore, and serve."""
        disk = self._disk
        self.life += 1
        disk.epoch += 1
        state = self._load()
        disk.commits.update(self._faults.commit_ids(disk.entries))
        tree = self._tree = SimulatedTree(disk)
        disk.restore_files(tree)
        index = SimulatedIndex(disk)
        self.lookup = _Lookup(index, tree, files_seq=lambda: self.files.written_seq)
        process = _Life(self, self.life)
        folder = cast(Path, SetAsideFolder(disk))
        self.git = SimulatedGit(
            disk,
            process,
            self._faults,
            self._random,
            on_committed=self._committed,
            on_progress=lambda: runtime.on_shown(),
        )
        self.files = SimulatedFiles(
            tree,
            process,
            disk.seq,
            self.lookup.content,
            on_progress=lambda: runtime.on_shown(),
            on_set_aside=lambda kept, seq: runtime.adoption.set_aside(folder, kept, seq),
        )
        self.journal = SimulatedJournal(
            disk,
            process,
            self._faults,
            self._random,
            on_submit=self._submitted,
            on_durable=self._durable,
            on_full=self._full,
            on_healed=lambda: self._healed(process),
        )
        runtime = self.runtime = _Runtime(
            state,
            self.lookup,
            self.journal,
            self.git,
            self.files,
            SimulatedQueries(index),
            self,
            self._clock.read,
            reload=self._load,
            git_lag_records_max=GIT_LAG_RECORDS_MAX,
            idle_seconds=None,
            signs=tree,
        )
        self._watcher = SimulatedWatcher(runtime, tree, process, self._random)
        runtime.run_queries_in(InlineTasks(process))
        self.timeline.after(self._faults.start_seconds(), partial(self._serve, process, state))

    def _serve(self, process: _Life, state: State) -> None:
        self.running = self.stirred = True
        self._observer.on_started(self.life, self.timeline.now, state)
        process.soon(TICK_SECONDS, partial(self._tick, process))
        self._watcher.start()
        self._refresh_due = False
        self._refresh_soon(process)

    def _refresh_soon(self, process: _Life) -> None:
        """As the product's stage does: a while after something that is to be told of."""
        if self._disk.rules.generated and not self._refresh_due:
            self._refresh_due = True
            process.soon(self._generating.choice((0.0, 0.05, 0.2, 2.0)), self._refresh)

    def _refresh(self) -> None:
        self._refresh_due = False
        self.runtime.refresh_generated()

    def _load(self) -> State:
        state = self._disk.load(self.timeline.now)
        resume(state, self._clock.read())
        check(state)
        return state

    def _tick(self, process: _Life) -> None:
        self.runtime.tick()
        process.soon(TICK_SECONDS, partial(self._tick, process))

    def crash(self) -> None:
        """End the process now. What was not durable is gone; a batch under way may be there."""
        if not self.running:
            return
        self.running = False
        self._paused = False
        self._kill_after = -1
        self._inbox.clear()
        if self.journal.untold:
            self._observer.on_durable(self.journal.untold)
        batch = self.journal.writing
        if batch and not self._disk.full and self._random.random() < 0.5:
            self._disk.write(batch)
            self._observer.on_durable(batch)
        self.timeline.after(self._random.expovariate(1 / 0.3), self.start)

    def kill_within_next_step(self) -> None:
        """End the process in the middle of something it does soon: between two of its effects."""
        if self.running:
            self._kill_after = self._random.randrange(12)

    def _maybe_killed(self) -> None:
        if self._kill_after >= 0:
            self._kill_after -= 1
            if self._kill_after < 0:
                raise ProcessKilled

    def pause(self, seconds: float) -> None:
        """Stop the process as SIGSTOP does."""
        if self.running and not self._paused:
            self._paused = True
            start = self.timeline.now
            self.timeline.after(seconds, partial(self._resume, self.life, start))

    def _resume(self, life: int, start: float) -> None:
        if life != self.life or not self._paused:
            return
        self._paused = False
        self._observer.on_paused(start, self.timeline.now)
        waiting, self._inbox = self._inbox, deque()
        if self._random.random() < 0.5:
            # The timer may be served before the sockets are.
            self.enter(life, self.runtime.tick)
        for action in waiting:
            self.enter(life, action)

    # -- what happens inside ---------------------------------------------------------------

    def enter(self, life: int, action: Callable[[], None]) -> None:
        """Do something in the process of that life, if it still runs."""
        if life != self.life or not self.running:
            return
        if self._paused:
            self._inbox.append(action)
            return
        try:
            action()
        except ProcessKilled:
            self.crash()
            return
        if self.running:
            runtime = self.runtime
            assert not runtime.read_only or not runtime.waiting_count, (
                "requests wait for a disk that takes no writes"
            )
            if self.stirred:
                # What changes neither the state nor what is durable, a timer or a commit, is not
                # followed by all these comparisons. A tick comes each second, and is.
                self.stirred = False
                check(runtime.state)
                check_bounds(runtime.state)
                self._observer.on_state(runtime.state, runtime.read_only)

    def step(
        self, state: State, input: Received | Tick | FilesChanged | Refresh, now: Now
    ) -> list[Effect]:
        """Decide as the product does; what it makes of the state is checked afterwards."""
        self.stirred = True
        return step(state, input, now)

    def deliver(self, peer: bytes, frames: list[bytes]) -> None:
        """A message has arrived at the coordinator's socket."""
        self.enter(self.life, partial(self._receive, peer, frames))

    def _receive(self, peer: bytes, frames: list[bytes]) -> None:
        self._observer.on_handled(peer, frames, self.timeline.now)
        self.runtime.receive(peer, frames)

    def _submitted(self, entry: Entry) -> None:
        self._maybe_killed()
        self._observer.on_submit(entry, self.timeline.now)

    def _durable(self, batch: list[Entry]) -> None:
        self.stirred = True
        self._observer.on_durable(batch)
        self._maybe_killed()
        self.runtime.on_durable(batch)
        if not all(is_generated(entry.record) for entry in batch):
            self._refresh_soon(_Life(self, self.life))

    def _committed(self, commits: list[tuple[int, str]]) -> None:
        self.runtime.on_committed(commits)

    def _healed(self, process: _Life) -> None:
        self.stirred = True
        self.runtime.on_healed()
        self._refresh_soon(process)

    def _full(self, error: JournalFull) -> None:
        self.stirred = True
        self._observer.on_full(self.timeline.now)
        self.runtime.on_full(error)

    # -- the sender's side -----------------------------------------------------------------

    def send(self, peer: bytes, envelope: bytes, body: bytes) -> None:
        """Send a reply; see `server.runtime.Sender`."""
        self._maybe_killed()
        self._send_to_network(peer, envelope, body)

    def has_room(self, peer: bytes, size: int) -> bool:
        """Everybody reads."""
        return True

    def sent(self) -> None:
        """Nothing is gathered here."""

    @property
    def idle(self) -> bool:
        """Whether nothing waits for anything."""
        return (
            self.running
            and not self._paused
            and not self._tree.capture(self.runtime.paths, 0)
            and self.runtime.held_count == 0
            and self.lookup.pending_count == 0
            and self.journal.pending_count == 0
            and self.journal.pending_bytes == 0
            and not self.journal.untold
            and not (self._disk.rules.generated and self.runtime.state.trace.fresh)
        )

    @property
    def at_rest(self) -> bool:
        """Whether files and git have followed as well, it knows that the disk takes writes, and
        nobody waits for a lease or an event: a killed program seems to, until its time is over."""
        seq = self.journal.durable_seq
        return (
            self.idle
            and not self.runtime.read_only
            and not self.runtime.state.waiters
            and not self.runtime.followers_count
            and self.files.written_seq == seq == self.git.git_seq
            and not self.files.pending_count
        )


class _Life:
    """What the stages know of the process they belong to."""

    def __init__(self, coordinator: Coordinator, life: int) -> None:
        self._coordinator = coordinator
        self._life = life

    def soon(self, delay: float, action: Callable[[], None]) -> None:
        self._coordinator.timeline.after(
            delay, partial(self._coordinator.enter, self._life, action)
        )

    def disk_failed(self) -> None:
        self._coordinator.crash()
