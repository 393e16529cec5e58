"""The stages around the runtime, on simulated time: the journal, git, the files, the queries.

Each is the production class with its tasks taken out: what is called on the event loop (queueing,
batching, gathering) is the product's own code, and what waits for a thread or a clock happens as
events of the timeline.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from functools import partial
from pathlib import Path
from random import Random
from typing import Any, Final, Protocol, cast

import anyio
import msgspec

from agent_trace_coordinator.core.effects import AnswerStatus
from agent_trace_coordinator.core.records import Entry, Record
from agent_trace_coordinator.errors import JournalFull
from agent_trace_coordinator.server.file_stage import GATHER_SECONDS, FileStage
from agent_trace_coordinator.server.git_stage import GitStage
from agent_trace_coordinator.server.journal_stage import PROBE_SECONDS, JournalStage
from agent_trace_coordinator.server.queries import Queries, RepositoryFigures
from agent_trace_coordinator.storage.base import SetAside, Signature
from agent_trace_coordinator.storage.journal import Journal
from agent_trace_protocol import InternalError, Log, LogEntry, StatusReport

from .disk import Disk, SimulatedIndex, SimulatedTree

__all__ = [
    "Faults",
    "InlineTasks",
    "Process",
    "SimulatedFiles",
    "SimulatedGit",
    "SimulatedJournal",
    "SimulatedQueries",
    "commit_id",
]


class Process(Protocol):
    """The process that the stages belong to: it can be paused, and it can be gone."""

    def soon(self, delay: float, action: Callable[[], None]) -> None:
        """Do something on the event loop after a delay, unless the process has ended by then."""
        ...

    def disk_failed(self) -> None:
        """The journal could not be synced: the process ends."""
        ...


class Faults(Protocol):
    """What may go wrong under the stages, drawn for each seed."""

    sync_seconds: float
    """Mean time a batch takes to become durable."""
    git_seconds: float
    """Mean time until records are commits."""

    def sync_fails(self) -> bool:
        """Whether this batch's sync fails."""
        ...

    def git_fails(self) -> bool:
        """Whether git refuses to work now."""
        ...


TELLING_SECONDS: Final = 0.001
"""Mean time until those who waited for a batch are told, when there is a next one."""


class SimulatedJournal(JournalStage):
    """Group commit: while one batch is written, what arrives forms the next."""

    def __init__(
        self,
        disk: Disk,
        process: Process,
        faults: Faults,
        random: Random,
        *,
        on_submit: Callable[[Entry], None],
        on_durable: Callable[[list[Entry]], None],
        on_full: Callable[[JournalFull], None],
        on_healed: Callable[[], None],
    ) -> None:
        super().__init__(
            cast(Journal, None),
            disk.seq,
            on_durable=on_durable,
            on_full=on_full,
            on_healed=on_healed,
        )
        self._disk = disk
        self._process = process
        self._faults = faults
        self._random = random
        self._on_submit = on_submit
        self._busy = False
        self.writing: list[Entry] = []
        """The batch that is under way: a crash may or may not leave it on the disk."""

    @property
    def untold(self) -> list[Entry]:
        """A batch that is on the disk, of which nobody was told: a crash leaves it there."""
        return self._untold

    def submit(self, entry: Entry) -> None:
        super().submit(entry)
        self._on_submit(entry)
        self._wake_up()

    def _wake_up(self) -> None:
        # The writing task runs when the step that submits has come to its end, never within it.
        if not self._busy:
            self._busy = True
            self._process.soon(0.0, self._begin)

    def _begin(self) -> None:
        self._busy = bool(self._pending or self._commits)
        if not self._busy:
            return
        if self._gate() is not None:
            # Git is too far behind. The production stage waits for an event; looking again is
            # the same without an event loop.
            self._process.soon(0.05, self._begin)
            return
        self.writing = self._take()
        delay = self._random.expovariate(1 / self._faults.sync_seconds)
        self._process.soon(delay, self._finish)

    def note_commits(self, commits: list[tuple[int, str]]) -> None:
        super().note_commits(commits)
        self._wake_up()

    def _finish(self) -> None:
        self._tell()
        batch, self.writing = self.writing, []
        if self._disk.full:
            self._pending.clear()
            self.pending_bytes = 0
            self._on_full(JournalFull("the disk takes no writes: simulated"))
            self._process.soon(PROBE_SECONDS, self._probe)
            return
        if batch and self._faults.sync_fails():
            self.writing = batch
            self._process.disk_failed()
            return
        self._disk.write(batch)
        self._disk.commits.update(self._commits)
        self._commits = []
        # The next batch is on its way before anybody is told of this one.
        self._untold = batch
        if self._pending:
            self._process.soon(self._random.expovariate(1 / TELLING_SECONDS), self._tell)
        else:
            self._tell()
        self._begin()

    def _probe(self) -> None:
        if self._disk.full:
            self._process.soon(PROBE_SECONDS, self._probe)
            return
        self._on_healed()
        self._begin()


class SimulatedGit(GitStage):
    """Commits come some time after their records, and become visible a little later."""

    def __init__(
        self,
        disk: Disk,
        process: Process,
        faults: Faults,
        random: Random,
        *,
        on_committed: Callable[[list[tuple[int, str]]], None],
        on_progress: Callable[[], None],
    ) -> None:
        # The production constructor opens streams to git processes; there are none.
        self._disk = disk
        self._process = process
        self._faults = faults
        self._random = random
        self._tell_committed = on_committed
        self._tell_progress = on_progress
        self._busy = False
        self._moved = anyio.Event()
        self._lost_seq = 0
        self.git_seq = self.durable_seq = disk.seq
        self._lost_seq = 0
        self.failure = ""

    def add(self, batch: list[Entry]) -> None:
        self.durable_seq = batch[-1].record.seq
        self._begin()

    def want(self, seq: int) -> None:
        self._begin()

    def behind(self, records_max: int) -> anyio.Event | None:
        return None if self.lag_count <= records_max or self.failure else self._moved

    def _begin(self) -> None:
        if not self._busy and self.git_seq < self.durable_seq:
            self._busy = True
            delay = self._random.expovariate(1 / self._faults.git_seconds)
            self._process.soon(delay, self._commit)

    def _commit(self) -> None:
        if self._faults.git_fails():
            self.failure = "git failed: simulated"
            self._process.soon(1.0, self._commit)
            self._tell_progress()
            return
        self.failure = ""
        seq = self.durable_seq
        entries = self._disk.entries[self.git_seq : seq]
        self._tell_committed([(each.record.seq, commit_id(each)) for each in entries])
        self._process.soon(0.002, partial(self._show, seq))

    def _show(self, seq: int) -> None:
        self.git_seq = seq
        self._busy = False
        self._tell_progress()
        self._begin()


def commit_id(entry: Entry) -> str:
    """Return the commit an entry becomes: as in the product, a pure function of the journal."""
    return entry.chain.hex()[:40]


class SimulatedFiles(FileStage):
    """The production gathering of changes; the files follow a moment after each batch."""

    AT_ONCE = 3

    def __init__(
        self,
        tree: SimulatedTree,
        process: Process,
        durable_seq: int,
        content: Callable[[int, bytes], bytes],
        *,
        on_progress: Callable[[], None],
        on_set_aside: Callable[[list[SetAside], int], None],
    ) -> None:
        super().__init__(
            tree, durable_seq, content, on_progress=on_progress, on_set_aside=on_set_aside
        )
        self._directory = tree
        self._process = process
        self._busy = False

    @property
    def pending_count(self) -> int:
        """Files that are still to be written; one that is brought back has no operation."""
        return len(self._updates) + len(self._under_way)

    def add(self, batch: list[Entry]) -> None:
        super().add(batch)
        self._begin(GATHER_SECONDS)

    def put_back(self, path: str, content: bytes, captured: Signature | None) -> None:
        super().put_back(path, content, captured)
        self._begin(0.001)

    def want(self, seq: int) -> None:
        if seq > self.written_seq:
            self._begin(0.001)

    def _begin(self, delay: float) -> None:
        if not self._busy:
            self._busy = True
            self._process.soon(delay, self._write)

    def _write(self) -> None:
        self._busy = False
        updates = self._take()
        self._written(updates, self._directory.apply(updates))
        if self._under_way:
            self._begin(0.001)


class SimulatedQueries(Queries):
    """Queries that are answered at once, by the production bookkeeping over the simulated index."""

    def __init__(self, index: SimulatedIndex) -> None:
        super().__init__(index, Path("/simulated"), "", _no_figures)
        self._entries = index

    async def records_after(self, seq: int, last: int, limit: int) -> list[Record]:
        return self._entries.records_after(seq, last, limit)

    async def log(self, request: Log, document: int, seq: int) -> tuple[list[LogEntry], bool]:
        # As in the product: nothing beyond the operation the question was asked at is shown.
        if not 0 < request.before <= seq:
            request = msgspec.structs.replace(request, before=seq + 1)
        entries, more = self._entries.log(request, document)
        return [
            msgspec.structs.replace(entry, commit=entry.commit or self.commit(entry.seq))
            for entry in entries
        ], more

    async def status(
        self, answer: AnswerStatus, store: str, epoch: int, read_only: str, trouble: str
    ) -> StatusReport:
        raise InternalError("the simulation asks for no status")


def _no_figures() -> RepositoryFigures:
    return RepositoryFigures(0, "", 0, 0, "", 0)


class InlineTasks:
    """A task group whose tasks run to their end when they are started: none of them waits."""

    def __init__(self, process: Process) -> None:
        self._process = process

    def start_soon(self, function: Callable[..., Coroutine[Any, Any, None]], *args: object) -> None:
        """Run the task as the next event."""
        self._process.soon(0.0, partial(_run_through, function, *args))


def _run_through(function: Callable[..., Coroutine[Any, Any, None]], *args: object) -> None:
    try:
        function(*args).send(None)
    except StopIteration:
        return
    raise AssertionError("a simulated query waited")
