"""Prometheus metrics: counts and times as they come, everything else looked at when it is asked.

Numbers only: no name of an agent, no path and no content is ever in a label, so whoever may read
them learns how the coordinator is, not what anybody wrote.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from time import monotonic
from typing import Final

import anyio.from_thread
from anyio.lowlevel import EventLoopToken
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Histogram,
    Info,
    ProcessCollector,
    start_http_server,
)
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from agent_trace_coordinator import __version__
from agent_trace_coordinator.core.entries import note_action
from agent_trace_coordinator.core.records import Changed, Entry
from agent_trace_coordinator.errors import StoreInvalid
from agent_trace_protocol import Action, ErrorCode

from .figures import Figures
from .tcp import numeric_address

__all__ = ["Metrics", "Start"]

SECONDS: Final = (
    *(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0),
)
"""Upper bounds of times: from one sync of a fast disk to a machine in trouble."""

OPERATIONS: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
"""Upper bounds of a batch's size, whose limit is the last."""

BATCHES_MAX: Final = 10_000
"""Batches whose way to git is timed; while git is farther behind, the oldest are not."""


@dataclass(frozen=True, slots=True)
class Start:
    """What the last start of the coordinator took."""

    seconds: float
    """From the lock to the first request."""
    replayed: int
    """Operations that git lacked and was given again."""


class Metrics(Collector):
    """An observer that counts, and what is asked for the rest."""

    def __init__(self, start: Start) -> None:
        self._start = start
        self._figures: Callable[[], Figures] | None = None
        self._token: EventLoopToken | None = None
        self._asked: deque[tuple[int, float]] = deque()
        """Operations that are accepted and not durable, and when they were asked for."""
        self._batches: deque[tuple[int, float]] = deque(maxlen=BATCHES_MAX)
        """Batches that git lacks, by their last operation, and when they became durable."""
        registry = self.registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self._operations = Counter(
            "agent_trace_operations",
            "Operations that became durable.",
            ("actor", "action"),
            registry=registry,
        )
        self._refusals = Counter(
            "agent_trace_refusals", "Refusals that were sent.", ("code",), registry=registry
        )
        self._full = Counter(
            "agent_trace_read_only", "Times that the disk took no more.", registry=registry
        )
        self._acknowledged = Histogram(
            "agent_trace_acknowledge_seconds",
            "From the request for an operation until it is durable and answered.",
            buckets=SECONDS,
            registry=registry,
        )
        self._synced = Histogram(
            "agent_trace_journal_sync_seconds",
            "Writing and syncing one batch of the journal.",
            buckets=SECONDS,
            registry=registry,
        )
        self._batch_size = Histogram(
            "agent_trace_journal_batch_operations",
            "Operations in one batch of the journal.",
            buckets=OPERATIONS,
            registry=registry,
        )
        self._committed = Histogram(
            "agent_trace_git_seconds",
            "From a batch being durable until its commits are, too.",
            buckets=SECONDS,
            registry=registry,
        )
        Info("agent_trace_build", "What runs.", registry=registry).info({"version": __version__})
        registry.register(self)

    # -- what it is told ---------------------------------------------------------------------

    def accepted(self, entry: Entry, asked: float) -> None:
        """See `Observer`."""
        self._asked.append((entry.record.seq, asked))

    def refused(self, code: ErrorCode) -> None:
        """See `Observer`."""
        self._refusals.labels(code.value).inc()

    def durable(self, batch: list[Entry], seconds: float) -> None:
        """See `Observer`."""
        now = monotonic()
        last = batch[-1].record.seq
        self._synced.observe(seconds)
        self._batch_size.observe(len(batch))
        self._batches.append((last, now))
        for entry in batch:
            record = entry.record
            self._operations.labels(record.actor.value, _action_of(entry).value).inc()
        while self._asked and self._asked[0][0] <= last:
            self._acknowledged.observe(now - self._asked.popleft()[1])

    def in_git(self, seq: int) -> None:
        """See `Observer`."""
        if self._batches and self._batches[0][0] <= seq:
            now = monotonic()
            while self._batches and self._batches[0][0] <= seq:
                self._committed.observe(now - self._batches.popleft()[1])

    def lost(self) -> None:
        """See `Observer`."""
        self._asked.clear()
        self._full.inc()

    # -- what it asks ------------------------------------------------------------------------

    def look_at(self, figures: Callable[[], Figures], token: EventLoopToken) -> None:
        """From here on, ask `figures` on the event loop of `token` whenever somebody scrapes."""
        self._figures, self._token = figures, token

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield what is only looked at; called by the library, in a thread of its own."""
        yield _gauge("start_seconds", "What the last start took.", self._start.seconds)
        yield _gauge(
            "start_replayed_operations",
            "Operations that git lacked at the last start.",
            self._start.replayed,
        )
        if self._figures is None or self._token is None:
            return
        now = anyio.from_thread.run_sync(self._figures, token=self._token)
        yield _gauge("operation", "The last operation that is durable.", now.seq)
        yield _gauge("documents", "Documents of the store.", now.documents)
        sessions = GaugeMetricFamily("agent_trace_sessions", "Open sessions.", labels=("state",))
        sessions.add_metric(("live",), now.sessions_live)
        sessions.add_metric(("stale",), now.sessions_stale)
        yield sessions
        yield _gauge("leases", "Leases that are held.", now.leases)
        yield _gauge("lease_waiters", "Requests that wait for a lease.", now.lease_waiters)
        yield _gauge("drafts", "Drafts that wait.", now.drafts)
        yield _gauge("violations", "Refused writes that wait for a user.", now.violations)
        yield _gauge("git_lag_operations", "Operations that git lacks.", now.git_lag_operations)
        yield _gauge("git_lag_seconds", "Age of the oldest of them.", now.git_lag_seconds)
        yield _gauge("files_lag_operations", "Operations the files lack.", now.files_lag_operations)
        yield _gauge("pending_operations", "Accepted, in no batch yet.", now.pending_operations)
        yield _gauge("pending_bytes", "Contents of these.", now.pending_bytes)
        yield _gauge("pending_queries", "Queries that are not answered.", now.load.queries)
        yield _gauge(
            "pending_answers", "Answers that wait for git or files.", now.load.waiting_for_git
        )
        yield _gauge("store_read_only", "1 while the disk takes no writes.", now.load.read_only)
        yield _gauge("git_failing", "1 while git does not follow.", now.git_failing)
        yield _gauge("files_failing", "1 while files can not be written.", now.files_failing)

    @contextmanager
    def served(self, text: str, *, anywhere: bool) -> Generator[str]:
        """Serve the metrics over HTTP at `ADDRESS:PORT` for the length of a block; yield the URL.

        Raises:
            StoreInvalid: there is no listening there.
        """
        host, port = numeric_address(f"tcp://{text}", anywhere=anywhere)
        try:
            server, thread = start_http_server(port, host, self.registry)
        except OSError as error:
            raise StoreInvalid(
                f"metrics can not be served at {text}: {error.strerror}; name another port"
            ) from error
        try:
            shown = f"[{host}]" if ":" in host else host
            yield f"http://{shown}:{server.server_port}/metrics"
        finally:
            self._figures = None
            server.shutdown()
            server.server_close()
            thread.join()


def _gauge(name: str, about: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"agent_trace_{name}", about, value=float(value))


def _action_of(entry: Entry) -> Action:
    """Return what an operation did; of a transaction, what it did first."""
    body = entry.record.body
    if isinstance(body, Changed):
        return body.changes[0].action if body.changes else Action.REPAIR
    action = note_action(body)
    assert action is not None
    return action
